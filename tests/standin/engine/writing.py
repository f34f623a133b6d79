"""pure: INSERT, UPDATE and DELETE compiled: which columns get which expressions, which rows are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.standin.engine import arithmetic, casting, errors, selecting, types
from tests.standin.engine.expressions import condition, value
from tests.standin.engine.model import ColumnInfo, State, TableInfo
from tests.standin.engine.scope import Context, Relation, Scope, Typed
from tests.standin.engine.sources import From, columns_of, find_table, key_of
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

_ROWVERSIONS = frozenset({"timestamp", "rowversion"})
_END = "'9999-12-31 23:59:59.9999999'"


@dataclass(slots=True)
class Write:
    """A statement without RETURNING. `rows`: a SELECT of the same effect for INSTEAD OF: o<id> old, n<id> new values."""

    verb: str  # INSERT, UPDATE, DELETE
    table: TableInfo
    sql: str
    rows: str
    ctes: list[str] = field(default_factory=list)
    assigned: Sequence[ColumnInfo] | None = None
    explicit_identity: bool = False


def kept(table: TableInfo) -> list[ColumnInfo]:
    """The columns that hold values of their own."""
    return [c for c in table.columns if c.computed is None]


def identity_of(table: TableInfo) -> ColumnInfo | None:
    """Its identity column."""
    return next((c for c in table.columns if c.identity is not None), None)


def full_name(state: State, table: TableInfo) -> str:
    """As messages name it."""
    if table.temporary:
        return f"tempdb.dbo.{table.name}"
    return f"{state.database.name}.{table.schema}.{table.name}"


def _named(table: TableInfo, names: Sequence[str]) -> list[ColumnInfo]:
    found: list[ColumnInfo] = []
    for name in names:
        column = table.column(name)
        if column is None:
            raise errors.invalid_column(name)
        if column in found:
            raise SqlError(
                264,
                f"The column name '{name}' is specified more than once in the SET clause or column list of an INSERT. A column "
                "cannot be assigned more than one value in the same clause.",
            )
        found.append(column)
    return found


def _store(ctx: Context, typed: Typed, column: ColumnInfo, table: TableInfo) -> str:
    target = ctx.with_collation(column.type)
    return casting.store(typed, target, full_name(ctx.state, table), column.name).sql


def _default(ctx: Context, column: ColumnInfo, table: TableInfo) -> str:
    """What a column gets that is not mentioned."""
    if column.generated:
        if column.generated == "ROW END":
            return f"{_END}::text"
        now = value(ctx, Scope(), ast.Call("SYSUTCDATETIME", ()))
        return casting.implicit(now, column.type).sql
    if column.default is None:
        return casting.null(column.type)
    return _store(ctx, value(ctx, Scope(), column.default), column, table)


# -- INSERT ------------------------------------------------------------------------------------------------------------------


def insert(ctx: Context, statement: ast.Insert, table: TableInfo) -> Write:
    """Raises SqlError 207, 213, 264, 271, 273, 544, 545 and others."""
    ctes = selecting.with_ctes(ctx, statement.ctes)
    given = _insertable(ctx.state, table, statement)
    source, cells = _source(ctx, statement, table, given)
    identity = identity_of(table)
    explicit = identity is not None and identity in given
    _check_identity(ctx.state, table, explicit=explicit)
    targets = {c.column_id: cell for c, cell in zip(given, cells, strict=True)}
    for column in kept(table):
        if column.column_id not in targets and column.identity is None and column.type.name not in _ROWVERSIONS:
            targets[column.column_id] = _default(ctx, column, table)
    limit = ""
    if statement.top is not None:
        limit = f" LIMIT {casting.implicit(value(ctx, Scope(), statement.top), types.BIGINT).sql}"
    into = ", ".join(f"c{i}" for i in targets)
    made = ", ".join(targets.values())
    listed = f"({into}) SELECT {made}{source}{limit}" if targets else ("DEFAULT VALUES" if not source else "")
    if not listed:
        raise Refused("INSERT into a table without columns that hold values")
    rows = f"SELECT {', '.join(f'{cell} AS n{i}' for i, cell in targets.items())}{source}{limit}"
    return Write("INSERT", table, f"INSERT INTO {table.stored} {listed}", rows, ctes, None, explicit)


def _insertable(state: State, table: TableInfo, statement: ast.Insert) -> list[ColumnInfo]:
    if statement.source is None:
        return []
    if not statement.columns:
        explicit = state.identity_insert == table.object_id
        return [
            c
            for c in kept(table)
            if not c.hidden and not c.generated and (c.identity is None or explicit) and c.type.name not in _ROWVERSIONS
        ]
    columns = _named(table, statement.columns)
    for place, column in enumerate(columns):
        if column.computed is not None:
            raise _computed(column)
        if column.type.name in _ROWVERSIONS and not _all_default(statement, place):
            raise SqlError(
                273,
                "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the "
                "timestamp column, or insert a DEFAULT into the timestamp column.",
            )
        if column.generated and not _all_default(statement, place):
            raise SqlError(
                13536,
                f"Cannot insert an explicit value into a GENERATED ALWAYS column in table '{full_name(state, table)}'. Use "
                "INSERT with a column list to exclude the GENERATED ALWAYS column, or insert a DEFAULT into GENERATED "
                "ALWAYS column.",
            )
    return columns


def _computed(column: ColumnInfo) -> SqlError:
    return SqlError(
        271,
        f'The column "{column.name}" cannot be modified because it is either a computed column or is the result of a UNION '
        "operator.",
    )


def _all_default(statement: ast.Insert, place: int) -> bool:
    source = statement.source
    return isinstance(source, ast.Values) and all(isinstance(row[place], ast.Default) for row in source.rows)


def _check_identity(state: State, table: TableInfo, *, explicit: bool) -> None:
    allowed = state.identity_insert == table.object_id
    if explicit and not allowed:
        raise SqlError(
            544, f"Cannot insert explicit value for identity column in table '{table.name}' when IDENTITY_INSERT is set to OFF."
        )
    if allowed and not explicit and identity_of(table) is not None:
        raise SqlError(
            545,
            f"Explicit value must be specified for identity column in table '{table.name}' either when IDENTITY_INSERT is set "
            "to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.",
        )


def _source(ctx: Context, statement: ast.Insert, table: TableInfo, given: Sequence[ColumnInfo]) -> tuple[str, list[str]]:
    """FROM, and the expressions for the columns that are given."""
    if statement.source is None:
        return "", []
    if isinstance(statement.source, ast.Values):
        return _values(ctx, statement.source.rows, table, given, named=bool(statement.columns))
    block = selecting.compile_query(ctx, statement.source, None, top=True)
    if len(block.columns) != len(given):
        raise _counts(len(given), len(block.columns), named=bool(statement.columns), what="select list")
    cells = [
        _store(ctx, _of(t, f"s.k{i}"), column, table) for i, (t, column) in enumerate(zip(block.columns, given, strict=True), 1)
    ]
    return f" FROM ({block.sql}) AS s", cells


def _of(typed: Typed, sql: str) -> Typed:
    """A column of a subquery; a NULL without a type stays one."""
    return typed if typed.null else typed.to(sql)


def _counts(columns: int, values: int, *, named: bool, what: str) -> SqlError:
    if not named:
        return SqlError(213, "Column name or number of supplied values does not match table definition.")
    if what == "select list":
        fewer = "fewer" if columns > values else "more"
        return SqlError(
            120 if fewer == "fewer" else 121,
            f"The select list for the INSERT statement contains {fewer} items than the insert list. The number of SELECT "
            "values must match the number of INSERT columns.",
            severity=15,
        )
    more = "more" if columns > values else "fewer"
    return SqlError(
        109 if more == "more" else 110,
        f"There are {more} columns in the INSERT statement than values specified in the VALUES clause. The number of values in "
        "the VALUES clause must match the number of columns specified in the INSERT statement.",
        severity=15,
    )


def _values(
    ctx: Context, rows: Sequence[Sequence[ast.Expression]], table: TableInfo, given: Sequence[ColumnInfo], *, named: bool
) -> tuple[str, list[str]]:
    for row in rows:
        if len(row) != len(given):
            raise _counts(len(given), len(row), named=named, what="values")
    scope = Scope()
    typed = [[None if isinstance(cell, ast.Default) else value(ctx, scope, cell) for cell in row] for row in rows]
    columns = [_column_cells(ctx, list(cells), table, c) for cells, c in zip(zip(*typed, strict=True), given, strict=True)]
    if len(rows) == 1:
        return "", [cells[0] for cells in columns]
    lines = ", ".join(f"({', '.join(line)})" for line in zip(*columns, strict=True))
    names = [f"v{i}" for i in range(1, len(given) + 1)]
    return f" FROM (VALUES {lines}) AS s({', '.join(names)})", [f"s.{name}" for name in names]


def _column_cells(ctx: Context, cells: list[Typed | None], table: TableInfo, column: ColumnInfo) -> list[str]:
    """The cells of one column of VALUES: they become one type first, as documented, when there are several rows."""
    known = [c for c in cells if c is not None]
    if len(known) > 1 and len({c.type for c in known if not c.null}) > 1:
        target = arithmetic.unified(known)
        if not _same_family(known):
            cells = [None if c is None else casting.implicit(c, target) for c in cells]
    return [_default(ctx, column, table) if c is None else _store(ctx, c, column, table) for c in cells]


def _same_family(cells: Sequence[Typed]) -> bool:
    """Whether becoming one type first changes no value: texts of the same kind, binaries."""
    names = {c.type.name for c in cells if not c.null}
    return len(names) == 1 and names <= {"varchar", "nvarchar", "varbinary"}


# -- UPDATE, DELETE ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Target:
    relation: Relation
    scope: Scope
    source: str = ""  # FROM or USING, besides the target
    where: str = ""
    joined: str = ""  # the whole FROM with the target in it, for the forms that need it
    plain: bool = True  # `source` does without the target


def locate(state: State, statement: ast.Update | ast.Delete) -> tuple[TableInfo, ast.TableRef | None]:
    """The table that is written, and where it stands in FROM (its name may be an alias)."""
    if statement.source is not None:
        wanted = tuple(p.casefold() for p in statement.table.parts)
        leaves = [leaf for leaf in _leaves(statement.source) if isinstance(leaf, ast.TableRef)]
        named = [leaf for leaf in leaves if leaf.alias and (leaf.alias.casefold(),) == wanted]
        same = named or [leaf for leaf in leaves if _same_table(state, leaf.name, statement.table)]
        if len(same) > 1:
            raise SqlError(8154, f"The table '{'.'.join(statement.table.parts)}' is ambiguous.")
        if same:
            return find_table(state, same[0].name), same[0]
        raise Refused("UPDATE or DELETE of a table that does not stand in its FROM")
    return find_table(state, statement.table), None


def _same_table(state: State, a: ast.Name, b: ast.Name) -> bool:
    try:
        return find_table(state, a) is find_table(state, b)
    except SqlError:
        return False


def _leaves(source: ast.Source) -> list[ast.Source]:
    if isinstance(source, ast.Join):
        return [*_leaves(source.left), *_leaves(source.right)]
    return [source]


def update(ctx: Context, statement: ast.Update, table: TableInfo, leaf: ast.TableRef | None) -> Write:
    """Raises SqlError 207, 264, 271, 272, 8102, 13537 and others."""
    ctes = selecting.with_ctes(ctx, statement.ctes)
    columns = _named(table, [name for name, _ in statement.assignments])
    for column in columns:
        _updatable(ctx.state, table, column)
    target = _target(ctx, statement, table, leaf)
    cells = {
        c.column_id: _default(ctx, c, table)
        if isinstance(node, ast.Default)
        else _store(ctx, value(ctx, target.scope, node), c, table)
        for c, (_, node) in zip(columns, statement.assignments, strict=True)
    }
    for column in kept(table):
        if column.generated == "ROW START":
            cells[column.column_id] = _default(ctx, column, table)
    alias = target.relation.alias
    new = [f"{cells.get(c.column_id, f'{alias}.c{c.column_id}')} AS n{c.column_id}" for c in kept(table)]
    rows = f"SELECT {_old(table, alias)}, {', '.join(new)} FROM {target.joined}{target.where}{_top(ctx, statement)}"
    if statement.top is not None or (target.source and not target.plain):
        sql = _through_keys(ctx, "UPDATE", statement, table, target, cells)
    else:
        sets = ", ".join(f"c{i} = {cell}" for i, cell in cells.items())
        using = f" FROM {target.source}" if target.source else ""
        sql = f"UPDATE {table.stored} AS {alias} SET {sets}{using}{target.where}"
    return Write("UPDATE", table, sql, rows, ctes, columns)


def delete(ctx: Context, statement: ast.Delete, table: TableInfo, leaf: ast.TableRef | None) -> Write:
    """DELETE."""
    ctes = selecting.with_ctes(ctx, statement.ctes)
    target = _target(ctx, statement, table, leaf)
    alias = target.relation.alias
    rows = f"SELECT {_old(table, alias)} FROM {target.joined}{target.where}{_top(ctx, statement)}"
    if statement.top is not None or (target.source and not target.plain):
        sql = _through_keys(ctx, "DELETE", statement, table, target, {})
    else:
        using = f" USING {target.source}" if target.source else ""
        sql = f"DELETE FROM {table.stored} AS {alias}{using}{target.where}"
    return Write("DELETE", table, sql, rows, ctes)


def _old(table: TableInfo, alias: str) -> str:
    return ", ".join(f"{alias}.c{c.column_id} AS o{c.column_id}" for c in kept(table))


def _top(ctx: Context, statement: ast.Update | ast.Delete) -> str:
    if statement.top is None:
        return ""
    return f" LIMIT {casting.implicit(value(ctx, Scope(), statement.top), types.BIGINT).sql}"


def _updatable(state: State, table: TableInfo, column: ColumnInfo) -> None:
    if column.computed is not None:
        raise _computed(column)
    if column.identity is not None:
        raise SqlError(8102, f"Cannot update identity column '{column.name}'.")
    if column.type.name in _ROWVERSIONS:
        raise SqlError(272, "Cannot update a timestamp column.")
    if column.generated:
        raise SqlError(13537, f"Cannot update GENERATED ALWAYS columns in table '{full_name(state, table)}'.")


def _target(ctx: Context, statement: ast.Update | ast.Delete, table: TableInfo, leaf: ast.TableRef | None) -> _Target:
    scope = Scope()
    source = From(ctx, scope, selecting.compile_query)
    hints = tuple(statement.hints) + (leaf.hints if leaf is not None else ())
    if leaf is None or statement.source is None:
        node = ast.TableRef(statement.table, "", hints)
        required = len(ctx.requires)
        joined = source.source(node)
        found = _Target(scope.relations[0], scope, joined=joined)
        if statement.where is None:
            del ctx.requires[required:]  # nothing is read
    else:
        found = _among(ctx, source, table, leaf, statement.source)
    if statement.where is not None:
        text = condition(ctx, scope, statement.where)
        found.where = f"{found.where} AND {text}" if found.where else f" WHERE {text}"
    for relation in scope.relations:
        if relation.table is not None and relation.table.kind != "V" and (relation is not found.relation or hints):
            ctx.reads.append(key_of(ctx, scope, relation, statement.where))
    return found


def _among(ctx: Context, source: From, table: TableInfo, leaf: ast.TableRef, tree: ast.Source) -> _Target:
    """The target beside others. Inner joins become FROM with conditions in WHERE, so that PostgreSQL checks them again
    when it had to wait for the row; other joins stay as they are."""
    others: list[ast.Source] = []
    conditions: list[ast.Expression] = []
    if _inner(tree, leaf, others, conditions):
        first = source.source(leaf)
        relation = source.scope.relations[0]
        texts = [source.source(other) for other in others]
        wheres = [condition(ctx, source.scope, node) for node in conditions]
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        joined = " CROSS JOIN ".join([first, *texts])
        return _Target(relation, source.scope, " CROSS JOIN ".join(texts), where, joined)
    text = source.source(tree)
    names = (leaf.alias.casefold(),) if leaf.alias else tuple(p.casefold() for p in leaf.name.parts)
    relation = next(r for r in source.scope.relations if names in r.names and r.table is table)
    return _Target(relation, source.scope, text, "", text, plain=False)


def _inner(tree: ast.Source, leaf: ast.TableRef, others: list[ast.Source], conditions: list[ast.Expression]) -> bool:
    """Takes the tree apart along inner joins down to the target; False: something else is on the way."""
    if tree is leaf:
        return True
    if not isinstance(tree, ast.Join) or tree.kind not in {"INNER", "CROSS"}:
        return False
    here, there = (tree.left, tree.right) if _holds(tree.left, leaf) else (tree.right, tree.left)
    if any(isinstance(part, ast.VersionTable) for part in _leaves(there)) or not _inner(here, leaf, others, conditions):
        return False
    others.append(there)
    if tree.on is not None:
        conditions.append(tree.on)
    return True


def _holds(tree: ast.Source, leaf: ast.TableRef) -> bool:
    return any(part is leaf for part in _leaves(tree))


def _through_keys(
    ctx: Context,
    verb: str,
    statement: ast.Update | ast.Delete,
    table: TableInfo,
    target: _Target,
    cells: dict[int, str],
) -> str:
    """The rows are chosen and locked first, then written by their keys."""
    alias = target.relation.alias
    keys = [c.stored for c in table.key] or ["ctid"]
    values = [f"{cell} AS v{i}" for i, cell in cells.items()]
    chosen = ", ".join([*(f"{alias}.{key} AS {key}" for key in keys), *values])
    lock = "" if target.relation.optional else f" FOR UPDATE OF {alias}"
    rows = f"(SELECT {chosen} FROM {target.joined}{target.where}{_top(ctx, statement)}{lock}) AS s"
    match = " AND ".join(f"u.{key} = s.{key}" for key in keys)
    if verb == "DELETE":
        return f"DELETE FROM {table.stored} AS u USING {rows} WHERE {match}"
    sets = ", ".join(f"c{i} = s.v{i}" for i in cells)
    return f"UPDATE {table.stored} AS u SET {sets} FROM {rows} WHERE {match}"


# -- OUTPUT ------------------------------------------------------------------------------------------------------------------


def outputs(ctx: Context, table: TableInfo, verb: str, items: Sequence[ast.SelectItem]) -> list[tuple[str, Typed]]:
    """The items of OUTPUT as names and expressions over `w`, whose columns are o<id> (deleted) and n<id> (inserted)."""
    relations = []
    if verb != "DELETE":
        relations.append(Relation((("inserted",),), columns_of(ctx, table, "w", "n")))
    if verb != "INSERT":
        relations.append(Relation((("deleted",),), columns_of(ctx, table, "w", "o")))
    return selecting.items_of(ctx, Scope(relations), items)
