"""pure: SELECT compiled: blocks with grouping and ordering, UNION and its kind, common table expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.standin.engine import aggregates, arithmetic, casting, collating, errors, types
from tests.standin.engine.expressions import condition, order_key, value
from tests.standin.engine.scope import Context, ReadPlan, Relation, Scope, Typed, Visible, canonical
from tests.standin.engine.sources import From, key_of
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

_OPTIONS = (
    "RECOMPILE", "MAXDOP", "FORCE ORDER", "HASH JOIN", "LOOP JOIN", "MERGE JOIN", "KEEP PLAN", "KEEPFIXED PLAN", "FAST",
    "OPTIMIZE FOR UNKNOWN", "HASH GROUP", "ORDER GROUP", "CONCAT UNION", "HASH UNION", "MERGE UNION",
)  # fmt: skip


@dataclass(slots=True)
class Block:
    """A compiled query: its columns are k1, k2 ... in PostgreSQL; each Typed says its type, not its SQL."""

    sql: str
    names: list[str]
    columns: list[Typed]
    locked: list[ReadPlan] = field(default_factory=list)  # tables whose rows a locking clause may name
    assigns: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Item:
    name: str
    typed: Typed
    node: ast.Expression | None
    assign: str = ""


def compile_query(ctx: Context, query: ast.Query, outer: Scope | None, *, top: bool = False) -> Block:
    """A whole query. `outer`: the block around a subquery; `top`: it is a statement. Raises SqlError, Refused."""
    for option in query.options:
        if not option.upper().startswith(_OPTIONS):
            raise Refused(f"OPTION ({option})")
    limited = query.offset is not None or (isinstance(query.body, ast.Select) and query.body.top is not None)
    if query.order and not top and not limited:
        raise SqlError(
            1033,
            "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table "
            "expressions, unless TOP, OFFSET or FOR XML is also specified.",
            severity=15,
        )
    ctes = ctx.ctes
    head = with_clause(with_ctes(ctx, query.ctes))
    if isinstance(query.body, ast.Select):
        block = _select(ctx, query.body, outer, query)
    else:
        block = _ordered_compound(ctx, query.body, outer, query)
    ctx.ctes = ctes
    block.sql = head + block.sql
    return block


def with_clause(parts: Sequence[str]) -> str:
    """WITH q1 AS (...), or nothing."""
    return f"WITH {', '.join(parts)} " if parts else ""


def with_ctes(ctx: Context, ctes: Sequence[tuple[str, tuple[str, ...], ast.Query]]) -> list[str]:
    """`q1 AS (...)` of each, whose names are in sight from here on."""
    parts = []
    ctx.ctes = dict(ctx.ctes)
    for name, written, query in ctes:
        ctx.ctes[name.casefold()] = ("", [])
        block = compile_query(ctx, query, None)
        names = written or block.names
        if len(names) != len(block.columns):
            raise SqlError(8158, f"'{name}' has a different number of columns than were specified in the column list.")
        stored = ctx.fresh("q")
        shape = ", ".join(f"k{i}" for i in range(1, len(names) + 1))
        ctx.ctes[name.casefold()] = (stored, [Visible(n, t) for n, t in zip(names, block.columns, strict=True)])
        parts.append(f"{stored}({shape}) AS ({block.sql})")
    return parts


def subquery(ctx: Context, query: ast.Query, scope: Scope) -> tuple[str, Sequence[Typed]]:
    """A query inside an expression."""
    block = compile_query(ctx, query, scope)
    return block.sql, block.columns


def context(state: Any) -> Context:
    """For one compilation."""
    return Context(state, subquery=subquery)


# -- one block ---------------------------------------------------------------------------------------------------------------


def _select(ctx: Context, body: ast.Select, outer: Scope | None, query: ast.Query | None) -> Block:
    scope = Scope(outer=outer)
    source = From(ctx, scope, compile_query)
    text = f" FROM {source.source(body.source)}" if body.source is not None else ""
    where = f" WHERE {condition(ctx, scope, body.where)}" if body.where is not None else ""
    plans = _reads(ctx, scope, body.where)
    grouped, group = _grouping(ctx, scope, body, query)
    items = _items(ctx, scope, body.items)
    having = f" HAVING {condition(ctx, scope, body.having)}" if body.having is not None else ""
    tail = f"{text}{where}{group}{having}"
    order = _order(ctx, scope, items, query.order if query else (), distinct=body.distinct)
    limit = _limit(ctx, scope, body, query)
    listed = ", ".join(f"{_output(item.typed)} AS k{i}" for i, item in enumerate(items, 1))
    columns = [_result(item.typed) for item in items]
    if body.distinct:
        sql = _distinct(f"SELECT {listed}{tail}", columns, order, limit)
    else:
        sql = f"SELECT {listed}{tail}{f' ORDER BY {_joined(order)}' if order else ''}{limit}"
    plain = not (grouped or body.distinct)
    return Block(sql, [i.name for i in items], columns, plans if plain else [], _assigned(items))


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts)


def _output(typed: Typed) -> str:
    return casting.null(typed.type) if typed.null else typed.sql


def _result(typed: Typed) -> Typed:
    return replace(typed, sql=_output(typed), constant=None, slot=None)


def _reads(ctx: Context, scope: Scope, where: ast.Expression | None) -> list[ReadPlan]:
    """Notes the stored tables of the block; returns those that are never on the outer side of a join."""
    plans = []
    for relation in scope.relations:
        if relation.table is not None and relation.table.kind != "V":
            plan = key_of(ctx, scope, relation, where)
            ctx.reads.append(plan)
            if not relation.optional:
                plans.append(plan)
    return plans


def _assigned(items: Sequence[_Item]) -> list[str]:
    names = [i.assign for i in items if i.assign]
    if names and len(names) != len(items):
        raise SqlError(
            141, "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
            severity=15,
        )  # fmt: skip
    return names


def _items(ctx: Context, scope: Scope, written: Sequence[ast.SelectItem]) -> list[_Item]:
    items = []
    for item in written:
        if isinstance(item.expression, ast.Star):
            items += _star(scope, item.expression)
            continue
        typed = value(ctx, scope, item.expression)
        if item.assign:
            typed = _to_variable(ctx, typed, item.assign)
        items.append(_Item(item.alias or name_of(item.expression), typed, item.expression, item.assign))
    return items


def items_of(ctx: Context, scope: Scope, written: Sequence[ast.SelectItem]) -> list[tuple[str, Typed]]:
    """A select list over a scope of the caller's (OUTPUT): names and values."""
    return [(item.name, item.typed) for item in _items(ctx, scope, written)]


def _to_variable(ctx: Context, typed: Typed, name: str) -> Typed:
    known = ctx.state.variables.get(name.casefold())
    if known is None:
        raise errors.undeclared_variable(name)
    return casting.implicit(typed, ctx.with_collation(known[0]))


def name_of(node: ast.Expression) -> str:
    """The name a result column has by itself."""
    return node.parts[-1] if isinstance(node, ast.ColumnRef) else ""


def _star(scope: Scope, star: ast.Star) -> list[_Item]:
    found: list[_Item] = []
    matched = False
    for relation in scope.relations:
        if star.qualifier and not relation.is_called(star.qualifier):
            continue
        matched = True
        for column in relation.columns:
            if not column.hidden:
                typed = replace(column.value, nullable=True) if relation.optional else column.value
                found.append(_Item(column.name, typed, ast.ColumnRef((column.name,))))
    if not matched:
        if star.qualifier:
            raise _unknown_prefix(".".join(star.qualifier))
        raise SqlError(263, "Must specify table to select from.")
    if scope.groups is not None:
        raise Refused("* in a grouped query")
    return found


def _unknown_prefix(prefix: str) -> SqlError:
    text = f"The column prefix '{prefix}' does not match with a table name or alias name used in the query."
    return SqlError(107, text, severity=15)


# -- grouping ----------------------------------------------------------------------------------------------------------------


def _grouping(ctx: Context, scope: Scope, body: ast.Select, query: ast.Query | None) -> tuple[bool, str]:
    """Whether the block is grouped, and its GROUP BY."""
    order = query.order if query else ()
    parts: list[object] = [*(i.expression for i in body.items), body.having, *(o.expression for o in order)]
    if not body.group and body.having is None and not any(has_aggregate(p) for p in parts):
        return False, ""
    groups: dict[object, Typed] = {}
    keys: list[str] = []
    for node in body.group:
        typed = value(ctx, scope, node)
        if collating.needs_key(typed.type):
            keys.append(collating.key(typed))
            groups[canonical(node, scope)] = replace(typed, sql=f"any_value({typed.sql})")
        else:
            keys.append(typed.sql)
            groups[canonical(node, scope)] = typed
    scope.groups = groups
    return True, f" GROUP BY {_joined(list(dict.fromkeys(keys)))}" if keys else ""


def has_aggregate(node: object) -> bool:
    """Whether an aggregate function stands in it, outside of subqueries and windows."""
    if isinstance(node, ast.Call) and node.name.upper() in aggregates.AGGREGATES:
        return True
    if isinstance(node, (ast.Query, ast.Window)):
        return False
    if isinstance(node, (list, tuple)):
        return any(has_aggregate(part) for part in node)
    names = getattr(type(node), "__dataclass_fields__", ())
    return any(has_aggregate(getattr(node, name)) for name in names)


# -- ordering ----------------------------------------------------------------------------------------------------------------


def _order(ctx: Context, scope: Scope, items: Sequence[_Item], order: Sequence[ast.OrderItem], *, distinct: bool) -> list[str]:
    keys = []
    for part in order:
        place = _place(scope, items, part.expression)
        if place is not None:
            typed = items[place].typed
            if distinct:
                typed = replace(typed, sql=f"d.k{place + 1}")
        elif distinct:
            raise SqlError(145, "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.", severity=15)
        elif isinstance(part.expression, ast.Subquery):
            raise Refused("ORDER BY (SELECT ...)")
        else:
            typed = value(ctx, scope, part.expression)
        if not typed.null:
            keys.append(order_key(typed, descending=part.descending))
    return keys


def _place(scope: Scope, items: Sequence[_Item], node: ast.Expression) -> int | None:
    """Which output an item of ORDER BY means: by number, by name, by the same expression."""
    if isinstance(node, ast.Literal) and node.kind == "int":
        place = int(node.value) if isinstance(node.value, int) else 0
        if not 1 <= place <= len(items):
            text = f"The ORDER BY position number {place} is out of range of the number of items in the select list."
            raise SqlError(108, text)
        return place - 1
    if isinstance(node, ast.ColumnRef) and len(node.parts) == 1:
        named = [i for i, item in enumerate(items) if item.name.casefold() == node.parts[0].casefold()]
        if len({items[i].typed.sql for i in named}) > 1:
            raise errors.ambiguous_column(node.parts[0])
        if named:
            return named[0]
    if isinstance(node, ast.Literal):
        raise SqlError(408, "A constant expression was encountered in the ORDER BY list, position 1.")
    wanted = _canonical(node, scope)
    for i, item in enumerate(items):
        if item.node is not None and wanted is not None and _canonical(item.node, scope) == wanted:
            return i
    return None


def _canonical(node: ast.Expression, scope: Scope) -> object | None:
    try:
        return canonical(node, scope)
    except SqlError:
        return None


def _limit(ctx: Context, scope: Scope, body: ast.Select, query: ast.Query | None) -> str:
    count = body.top
    skip = query.offset if query else None
    if query is not None and query.fetch is not None:
        count = query.fetch
    parts = []
    if count is not None:
        parts.append(f" LIMIT {casting.implicit(value(ctx, Scope(outer=scope.outer), count), types.BIGINT).sql}")
    if skip is not None:
        parts.append(f" OFFSET {casting.implicit(value(ctx, Scope(outer=scope.outer), skip), types.BIGINT).sql}")
    return "".join(parts)


def _distinct(sql: str, columns: Sequence[Typed], order: Sequence[str], limit: str) -> str:
    """Rows that are equal under their collations once."""
    names = ", ".join(f"k{i}" for i in range(1, len(columns) + 1))
    keys = [collating.key(replace(c, sql=f"b.k{i}")) for i, c in enumerate(columns, 1)]
    if any(collating.needs_key(c.type) for c in columns):
        inner = f"SELECT DISTINCT ON ({_joined(keys)}) {names} FROM ({sql}) AS b"
    else:
        inner = f"SELECT DISTINCT {names} FROM ({sql}) AS b"
    if not order and not limit:
        return inner
    return f"SELECT {names} FROM ({inner}) AS d{f' ORDER BY {_joined(order)}' if order else ''}{limit}"


# -- UNION and its kind --------------------------------------------------------------------------------------------------------


def _ordered_compound(ctx: Context, body: ast.Compound, outer: Scope | None, query: ast.Query) -> Block:
    block = _compound(ctx, body, outer)
    if not query.order and query.offset is None:
        return block
    items = [
        _Item(n, replace(t, sql=f"u.k{i}"), None) for i, (n, t) in enumerate(zip(block.names, block.columns, strict=True), 1)
    ]
    seen = [Visible(item.name, item.typed) for item in items]
    scope = Scope([Relation((("",),), seen)], outer)
    order = _order(ctx, scope, items, query.order, distinct=False)
    limit = _limit(ctx, scope, ast.Select(()), query)
    names = _names(len(items), "u.")
    block.sql = f"SELECT {names} FROM ({block.sql}) AS u{f' ORDER BY {_joined(order)}' if order else ''}{limit}"
    return block


def _names(count: int, prefix: str) -> str:
    return ", ".join(f"{prefix}k{i} AS k{i}" for i in range(1, count + 1))


def _compound(ctx: Context, body: ast.Select | ast.Compound, outer: Scope | None) -> Block:
    """Chains lean to the left and may be long: they are walked."""
    chain: list[tuple[str, ast.Select | ast.Compound]] = []
    left: ast.Select | ast.Compound = body
    while isinstance(left, ast.Compound):
        chain.append((left.op, left.right))
        left = left.left
    result = _select(ctx, left, outer, None)
    pending = [result]
    for op, right in reversed(chain):
        block = _compound(ctx, right, outer) if isinstance(right, ast.Compound) else _select(ctx, right, outer, None)
        if op == "UNION ALL":
            pending.append(block)
        else:
            pending = [_set(op, _all(pending), block)]
    return _all(pending)


def _unite(blocks: Sequence[Block]) -> tuple[list[Typed], list[str]]:
    """The common types, and each block's SQL converted to them."""
    if len({len(b.columns) for b in blocks}) != 1:
        raise SqlError(
            205, "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in "
            "their target lists.",
        )  # fmt: skip
    targets = []
    for cells in zip(*(b.columns for b in blocks), strict=True):
        kinds = list(dict.fromkeys(replace(c, sql="", nullable=True) for c in cells))
        target = arithmetic.unified(kinds)
        targets.append(Typed("", target, any(c.nullable for c in cells), max(c.label for c in cells)))
    return targets, [_converted(b, targets) for b in blocks]


def _converted(block: Block, targets: Sequence[Typed]) -> str:
    if all(c.type == t.type for c, t in zip(block.columns, targets, strict=True)):
        return block.sql
    cells = [
        casting.implicit(replace(c, sql=f"b.k{i}"), t.type).sql
        for i, (c, t) in enumerate(zip(block.columns, targets, strict=True), 1)
    ]
    if all(cell == f"b.k{i}" for i, cell in enumerate(cells, 1)):
        return block.sql
    return f"SELECT {', '.join(f'{cell} AS k{i}' for i, cell in enumerate(cells, 1))} FROM ({block.sql}) AS b"


def _all(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    targets, texts = _unite(blocks)
    return Block(" UNION ALL ".join(f"({text})" for text in texts), blocks[0].names, targets)


def _set(op: str, left: Block, right: Block) -> Block:
    targets, (a, b) = _unite([left, right])
    if op == "UNION":
        return Block(_distinct(f"({a}) UNION ALL ({b})", targets, [], ""), left.names, targets)
    same = " AND ".join(
        f"{collating.key(replace(t, sql=f'x.k{i}'))} IS NOT DISTINCT FROM {collating.key(replace(t, sql=f'y.k{i}'))}"
        for i, t in enumerate(targets, 1)
    )
    word = {"EXCEPT": "NOT EXISTS", "INTERSECT": "EXISTS"}.get(op)
    if word is None:
        raise Refused(op)
    names = _names(len(targets), "x.")
    sql = f"SELECT {names} FROM ({a}) AS x WHERE {word} (SELECT FROM ({b}) AS y WHERE {same})"
    return Block(_distinct(sql, targets, [], ""), left.names, targets)
