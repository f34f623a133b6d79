"""pure: FROM compiled: tables, views, system views, derived tables, CHANGETABLE, joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.standin.engine import arithmetic, casting, errors, system, tracking, types
from tests.standin.engine.expressions import condition, conjuncts, value
from tests.standin.engine.model import ColumnInfo, State, TableInfo
from tests.standin.engine.scope import DEFAULT, IMPLICIT, Context, ReadPlan, Relation, Scope, Typed, Visible
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

if TYPE_CHECKING:
    from tests.standin.engine.selecting import Block

Compile = Callable[[Context, ast.Query, Scope | None], "Block"]


@dataclass(slots=True)
class From:
    """Compiles the sources of one block into `scope`."""

    ctx: Context
    scope: Scope
    query: Compile

    def source(self, node: ast.Source) -> str:
        """SQL of a source; its relations are added to the scope."""
        if isinstance(node, ast.Join):
            return self._join(node)
        if isinstance(node, ast.TableRef):
            return self._add(*self.table(node))
        if isinstance(node, ast.ChangeTable):
            return self._add(*self._changes(node))
        if isinstance(node, ast.VersionTable):
            return self._add(*self._version(node))
        return self._add(*self._derived(node))

    def _add(self, sql: str, relation: Relation) -> str:
        exposed = relation.names[-1]
        if any(known.names[-1] == exposed for known in self.scope.relations):
            raise _same_names(".".join(exposed), alias=len(relation.names) == 1 and relation.table is None)
        self.scope.relations.append(relation)
        return sql

    # -- joins -----------------------------------------------------------------------------------------------------------

    def _join(self, node: ast.Join) -> str:
        chain: list[ast.Join] = []
        left: ast.Source = node
        while isinstance(left, ast.Join):
            chain.append(left)
            left = left.left
        sql = self.source(left)
        for join in reversed(chain):
            sql = self._joined(sql, join)
        return sql

    def _joined(self, left: str, join: ast.Join) -> str:
        before = len(self.scope.relations)
        if join.kind.endswith("APPLY"):
            right = self._lateral(join.right)
            self._optional(before, None if join.kind == "CROSS APPLY" else "right")
            return f"({left} CROSS JOIN {right})" if join.kind == "CROSS APPLY" else f"({left} LEFT JOIN {right} ON true)"
        right = self.source(join.right)
        if join.kind == "CROSS":
            return f"({left} CROSS JOIN {right})"
        on = condition(self.ctx, self.scope, join.on) if join.on is not None else "true"
        self._optional(before, {"LEFT": "right", "RIGHT": "left", "FULL": "both"}.get(join.kind))
        return f"({left} {join.kind} JOIN {right} ON {on})"

    def _optional(self, before: int, side: str | None) -> None:
        for place, relation in enumerate(self.scope.relations):
            if side == "both" or (side and (side == "right") == (place >= before)):
                relation.optional = True

    def _lateral(self, node: ast.Source) -> str:
        """The right side of APPLY: it sees what stands before it."""
        if isinstance(node, ast.Join):
            raise Refused("APPLY of a join")
        if isinstance(node, ast.Derived) and isinstance(node.query, ast.Query):
            block = self.query(self.ctx, node.query, self.scope)
            sql, relation = self._named(block.sql, [*block.names], block.columns, node)
            return self._add(f"LATERAL {sql}", relation)
        if isinstance(node, (ast.Derived, ast.VersionTable)):
            sql, relation = self._version(node) if isinstance(node, ast.VersionTable) else self._rows(node)
            return self._add(sql if sql.startswith("LATERAL") else f"LATERAL {sql}", relation)
        return self.source(node)

    # -- tables ----------------------------------------------------------------------------------------------------------

    def table(self, node: ast.TableRef) -> tuple[str, Relation]:
        """A table, a view, a common table expression. Raises SqlError 208, 1087, Refused."""
        parts = node.name.parts
        names = _qualifiers(node)
        if len(parts) == 1 and parts[0].casefold() in self.ctx.ctes:
            name, columns = self.ctx.ctes[parts[0].casefold()]
            if not name:
                raise Refused("a recursive common table expression")
            alias = self.ctx.fresh("r")
            seen = [Visible(c.name, c.value.to(f"{alias}.k{i}")) for i, c in enumerate(columns, 1)]
            return f"{name} AS {alias}", Relation(names, seen, alias)
        if len(parts) > 1 and parts[-2].casefold() in {"sys", "information_schema"}:
            return self._system(node, names)
        table = find_table(self.ctx.state, node.name)
        if table.kind == "V":
            return self._view(table, names)
        return self.base(table, names, node.hints)

    def base(self, table: TableInfo, names: tuple[tuple[str, ...], ...], hints: tuple[str, ...]) -> tuple[str, Relation]:
        """A stored table."""
        alias = self.ctx.fresh("r")
        relation = Relation(names, columns_of(self.ctx, table, alias), alias, table, hints)
        if not table.temporary:
            self.ctx.requires.append(("SELECT", table))
        return f"{table.stored} AS {alias}", relation

    def _view(self, table: TableInfo, names: tuple[tuple[str, ...], ...]) -> tuple[str, Relation]:
        if table.query is None or self.ctx.depth > 32:
            raise SqlError(217, "Maximum view nesting level exceeded (limit 32).")
        self.ctx.requires.append(("SELECT", table))
        kept, ctes = list(self.ctx.requires), self.ctx.ctes
        self.ctx.depth, self.ctx.ctes = self.ctx.depth + 1, {}
        block = self.query(self.ctx, table.query, None)
        self.ctx.depth, self.ctx.ctes = self.ctx.depth - 1, ctes
        self.ctx.requires[:] = kept  # the view's owner is asked no more: ownership chaining
        alias = self.ctx.fresh("r")
        written = [c.name for c in table.columns] or list(block.names)
        seen = [_visible(n, t, f"{alias}.k{i}") for i, (n, t) in enumerate(zip(written, block.columns, strict=True), 1)]
        return f"({block.sql}) AS {alias}", Relation(names, seen, alias, table)

    def _system(self, node: ast.TableRef, names: tuple[tuple[str, ...], ...]) -> tuple[str, Relation]:
        parts = node.name.parts
        written = ".".join(parts)
        if len(parts) > 2 and parts[-3].casefold() not in {"", self.ctx.state.database.name.casefold()}:
            raise Refused(f"{written}: a view of another database")
        found = system.view(".".join(parts[-2:]), self.ctx.state)
        if found is None:
            raise Refused(f"the system view {written}")
        self.ctx.cacheable = False
        return self._relation(found, names)

    def _relation(
        self, found: tracking.Relation, names: tuple[tuple[str, ...], ...], renamed: Sequence[str] = ()
    ) -> tuple[str, Relation]:
        alias = self.ctx.fresh("r")
        if renamed and len(renamed) != len(found.columns):
            raise SqlError(8158, f"'{names[0][-1]}' has a different number of columns than were specified in the column list.")
        written = renamed or [c.name for c in found.columns]
        seen = [
            Visible(name, Typed(f"{alias}.k{i}", self.ctx.with_collation(c.type), c.nullable, IMPLICIT))
            for i, (name, c) in enumerate(zip(written, found.columns, strict=True), 1)
        ]
        return f"{found.sql} AS {alias}", Relation(names, seen, alias)

    # -- CHANGETABLE -----------------------------------------------------------------------------------------------------

    def _tracked(self, name: ast.Name) -> TableInfo:
        table = find_table(self.ctx.state, name)
        tracking.require_tracked(table, ".".join(name.parts))
        self.ctx.requires += [("SELECT", table), ("VIEW CHANGE TRACKING", table)]
        self.ctx.reads.append(ReadPlan(table, "", ("NOLOCK",)))
        return table

    def _changes(self, node: ast.ChangeTable) -> tuple[str, Relation]:
        table = self._tracked(node.table)
        since = casting.implicit(value(self.ctx, Scope(), node.since), types.BIGINT).sql
        return self._relation(tracking.changes(table, since), ((node.alias.casefold(),),), node.columns)

    def _version(self, node: ast.VersionTable) -> tuple[str, Relation]:
        table = self._tracked(node.table)
        given = {k.casefold(): v for k, v in zip(node.keys, node.values, strict=True)}
        if set(given) != {c.name.casefold() for c in table.key}:
            raise SqlError(
                22112, f"Each primary key column must be specified once in the CHANGETABLE function for '{table.name}'."
            )
        values = [
            casting.implicit(value(self.ctx, self.scope, given[c.name.casefold()]), self.ctx.with_collation(c.type)).sql
            for c in table.key
        ]
        sql, relation = self._relation(tracking.version_of(table, values), ((node.alias.casefold(),),))
        return f"LATERAL {sql}", relation

    # -- derived tables --------------------------------------------------------------------------------------------------

    def _derived(self, node: ast.Derived) -> tuple[str, Relation]:
        if isinstance(node.query, ast.Values):
            return self._rows(node)
        block = self.query(self.ctx, node.query, self.scope.outer)
        return self._named(block.sql, block.names, block.columns, node)

    def _rows(self, node: ast.Derived) -> tuple[str, Relation]:
        assert isinstance(node.query, ast.Values)
        sql, columns = rows(self.ctx, self.scope, node.query.rows)
        return self._named(sql, node.columns, columns, node)

    def _named(self, sql: str, names: Sequence[str], columns: Sequence[Typed], node: ast.Derived) -> tuple[str, Relation]:
        written = node.columns or names
        if len(written) != len(columns):
            few = 8158 if len(columns) > len(written) else 8159
            raise SqlError(few, f"'{node.alias}' has a different number of columns than were specified in the column list.")
        _unique(written, node.alias)
        alias = self.ctx.fresh("r")
        seen = [_visible(n, t, f"{alias}.k{i}") for i, (n, t) in enumerate(zip(written, columns, strict=True), 1)]
        shape = f"({', '.join(f'k{i}' for i in range(1, len(columns) + 1))})"
        return f"({sql}) AS {alias}{shape}", Relation(((node.alias.casefold(),),), seen, alias)


def _same_names(name: str, *, alias: bool) -> SqlError:
    if alias:
        return SqlError(1011, f"The correlation name '{name}' is specified multiple times in a FROM clause.")
    text = f'The objects "{name}" and "{name}" in the FROM clause have the same exposed names.'
    return SqlError(1013, f"{text} Use correlation names to distinguish them.")


def _unique(names: Sequence[str], owner: str) -> None:
    seen = set()
    for place, name in enumerate(names, 1):
        if not name:
            raise SqlError(8155, f"No column name was specified for column {place} of '{owner}'.", state=2)
        if name.casefold() in seen:
            raise SqlError(8156, f"The column '{name}' was specified multiple times for '{owner}'.")
        seen.add(name.casefold())


def _visible(name: str, typed: Typed, sql: str) -> Visible:
    known = typed.to(sql)
    return Visible(name, replace(known, null=False, label=max(typed.label, DEFAULT)))


def _qualifiers(node: ast.TableRef) -> tuple[tuple[str, ...], ...]:
    if node.alias:
        return ((node.alias.casefold(),),)
    parts = tuple(p.casefold() for p in node.name.parts)
    return tuple(parts[i:] for i in range(len(parts) - 1, -1, -1))


def find_table(state: State, name: ast.Name) -> TableInfo:
    """A table by its name as written. Raises SqlError 208, 1087, Refused."""
    parts = name.parts
    last = parts[-1].casefold()
    written = ".".join(parts)
    if last.startswith("@"):
        if last not in state.table_variables:
            raise errors.undeclared_table_variable(parts[-1])
        return state.table_variables[last]
    if len(parts) == 1 and last in {"inserted", "deleted"} and last in state.table_variables:
        return state.table_variables[last]
    if last.startswith("#"):
        if last not in state.temporaries:
            raise errors.invalid_object(written)
        return state.temporaries[last]
    if len(parts) > 3 or (len(parts) == 3 and parts[0].casefold() not in {"", state.database.name.casefold()}):
        raise Refused(f"{written}: a table of another database")
    schema = parts[-2].casefold() if len(parts) > 1 and parts[-2] else "dbo"
    found = state.catalogue.tables.get((schema, last))
    if found is None:
        raise errors.invalid_object(written)
    return found


def columns_of(ctx: Context, table: TableInfo, alias: str, letter: str = "c") -> list[Visible]:
    """A stored table's columns, named by the letter and their ids; computed ones are compiled when asked for."""
    stored = [c for c in table.columns if c.computed is None]
    plain = [Visible(c.name, column(ctx, c, alias, letter), c.hidden) for c in stored]
    inside = Scope([Relation(((table.name.casefold(),), (table.schema.casefold(), table.name.casefold())), plain)])
    by_name = {v.name: v for v in plain}
    return [by_name[c.name] if c.computed is None else _computed(ctx, inside, c) for c in table.columns]


def column(ctx: Context, info: ColumnInfo, alias: str, letter: str = "c") -> Typed:
    """A stored column."""
    type_ = ctx.with_collation(info.type)
    return Typed(f"{alias}.{letter}{info.column_id}", type_, info.nullable, IMPLICIT, identity=info.identity is not None)


def _computed(ctx: Context, inside: Scope, info: ColumnInfo) -> Visible:
    def make() -> Typed:
        assert info.computed is not None
        found = value(ctx, inside, info.computed)
        cast = casting.implicit(found, ctx.with_collation(info.type))
        return replace(cast, nullable=info.nullable, label=IMPLICIT, constant=None, slot=None)

    return Visible(info.name, None, info.hidden, make)


def rows(ctx: Context, scope: Scope, lines: Sequence[Sequence[ast.Expression]]) -> tuple[str, list[Typed]]:
    """VALUES: each column of one type."""
    typed = [[value(ctx, scope, cell) for cell in line] for line in lines]
    if len({len(line) for line in typed}) != 1:
        raise SqlError(10709, "The number of columns for each row in a table value constructor must be the same.")
    columns, texts = [], []
    for cells in zip(*typed, strict=True):
        target, sides = arithmetic.unite(cells)
        columns.append(Typed("", target, any(c.nullable for c in cells), max(c.label for c in cells)))
        texts.append(sides)
    return f"VALUES {', '.join(f'({_listed(line)})' for line in zip(*texts, strict=True))}", columns


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts)


# -- keys --------------------------------------------------------------------------------------------------------------------

_FIXED = (ast.Literal, ast.Variable)


def key_of(ctx: Context, scope: Scope, relation: Relation, where: ast.Expression | None) -> ReadPlan:
    """What is read of a table, with the full primary key where the condition fixes it to constants and variables."""
    table = relation.table
    assert table is not None
    plan = ReadPlan(table, relation.alias, relation.hints)
    fixed: dict[str, ast.Expression] = {}
    for part in conjuncts(where):
        if isinstance(part, ast.Binary) and part.op == "=":
            for name, other in ((part.left, part.right), (part.right, part.left)):
                if isinstance(name, ast.ColumnRef) and _constant(other):
                    found = scope.here(name.parts)
                    if found and found[0] is relation:
                        fixed[name.parts[-1].casefold()] = other
    if not table.key or any(c.name.casefold() not in fixed for c in table.key):
        return plan
    typed = [value(ctx, scope, fixed[c.name.casefold()]) for c in table.key]
    if any(t.null or types.rank(t.type) < types.rank(c.type) for t, c in zip(typed, table.key, strict=True)):
        return plan
    sqls = [casting.implicit(t, ctx.with_collation(c.type)).sql for t, c in zip(typed, table.key, strict=True)]
    text, arguments = ctx.arguments.used_in("\x00".join(sqls))
    return replace(plan, key=tuple(text.split("\x00")), arguments=arguments)


def _constant(node: Any) -> bool:
    if isinstance(node, ast.Variable):
        return not node.name.startswith("@@")
    if isinstance(node, (ast.Convert, ast.Unary)):
        return _constant(node.operand)
    return isinstance(node, ast.Literal)
