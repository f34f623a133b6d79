"""adapter: CREATE, DROP and TRUNCATE TABLE, CREATE and DROP INDEX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.standin.engine import ddl_catalogue as catalogue
from tests.standin.engine import ddl_columns as columns
from tests.standin.engine import ddl_expressions as expressions
from tests.standin.engine import ddl_stored as stored
from tests.standin.engine import permissions, tracking
from tests.standin.engine.model import ColumnInfo, IndexInfo, State, TableInfo
from tests.standin.ports import Refused, ResultColumn, SqlError
from tests.standin.tsql import ast


async def create(state: State, statement: ast.CreateTable) -> None:
    """CREATE TABLE, temporary ones (#t) included. Raises SqlError 2714, 2760, 262 and those of columns and constraints."""
    name = statement.name.parts[-1]
    if name.startswith("##"):
        raise Refused("global temporary tables")
    if name.startswith("#"):
        if name.casefold() in state.temporaries:
            raise SqlError(2714, f"There is already an object named '{name}' in the database.", state=6)
        table = await temporary(state, statement)
        state.temporaries[name.casefold()] = table
        return
    schema, name = catalogue.schema_for(state, statement.name, "CREATE TABLE")
    created = catalogue.now(state)
    table = TableInfo(catalogue.next_id(state), schema, name, "U", (), created=created, modified=created)
    await _build(state, table, statement)


async def temporary(state: State, statement: ast.CreateTable) -> TableInfo:
    """A temporary table or table variable, which the caller keeps in the session."""
    number = state.database.engine.next_temporary()
    created = catalogue.now(state)
    table = TableInfo(number, "dbo", statement.name.parts[-1], "U", (), created=created, modified=created, temporary=True)
    before = dict(state.temporaries)
    table = await _build(state, table, statement)
    state.temporaries = before
    return table


async def of_columns(state: State, name: ast.Name, made: Sequence[ResultColumn]) -> TableInfo:
    """SELECT INTO: a table with these columns and nothing else; the rows are the caller's. Raises SqlError 2714, 1038."""
    if any(not c.name for c in made):
        raise SqlError(
            1038,
            "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name.",
            severity=15,
            state=5,
        )
    infos = tuple(
        ColumnInfo(place, c.name, c.type, c.nullable, (1, 1) if c.identity else None) for place, c in enumerate(made, 1)
    )
    created = catalogue.now(state)
    if name.parts[-1].startswith("#"):
        number = state.database.engine.next_temporary()
        table = TableInfo(number, "dbo", name.parts[-1], "U", infos, created=created, modified=created, temporary=True)
    else:
        await catalogue.declaring(state)
        schema, plain = catalogue.schema_for(state, name, "CREATE TABLE")
        table = TableInfo(catalogue.next_id(state), schema, plain, "U", infos, created=created, modified=created)
    await stored.run(state, stored.create(table))
    return catalogue.put(state, table)


async def _build(state: State, table: TableInfo, statement: ast.CreateTable) -> TableInfo:
    constraints = list(statement.constraints)
    computed = [c for c in statement.columns if c.computed is not None]
    for place, made in enumerate(statement.columns, 1):
        if made.computed is None:
            table = replace(table, columns=(*table.columns, columns.column(state, table, place, made)))
        constraints[:0] = columns.inline(made)
    for made in computed:
        place = 1 + next(p for p, c in enumerate(statement.columns) if c is made)
        info = columns.column(state, table, place, made)
        table = replace(table, columns=tuple(sorted((*table.columns, info), key=lambda c: c.column_id)))
    if statement.period is not None and {c.generated for c in table.columns if c.generated} != {"ROW START", "ROW END"}:
        raise SqlError(13504, "Temporal 'GENERATED ALWAYS AS ROW START' column definition missing.")
    table = _keys(state, table, constraints)
    await stored.run(state, stored.create(table))
    for index in table.indexes:
        await stored.run(state, stored.index(table, index))
    if table.key:
        await stored.run(state, stored.lock_keys(table))
    table = catalogue.put(state, table)
    for made_constraint in constraints:
        if made_constraint.kind in ("check", "foreign key"):
            table = await add_constraint(state, table, made_constraint)
    return table


def _keys(state: State, table: TableInfo, constraints: Sequence[ast.Constraint]) -> TableInfo:
    ordered = sorted(constraints, key=lambda c: c.kind != "primary key")
    for made in ordered:
        if made.kind in ("primary key", "unique"):
            _free(state, table, made.name)
            table = columns.with_key(table, columns.key(state, table, made))
    return table


def _free(state: State, table: TableInfo, name: str) -> None:
    known = any(name.casefold() == other.casefold() for other in catalogue.inner_names(table))
    if name and not table.temporary and (known or catalogue.taken(state.catalogue, table.schema, name)):
        raise SqlError(2714, f"There is already an object named '{name}' in the database.", state=5)


async def add_constraint(state: State, table: TableInfo, made: ast.Constraint) -> TableInfo:
    """ADD CONSTRAINT, and the constraints of CREATE TABLE that refer to other things. Existing rows are checked."""
    _free(state, table, made.name)
    if made.kind in ("primary key", "unique"):
        return await _add_key(state, table, made)
    if made.kind == "check":
        check = columns.check(state, table, made)
        condition = expressions.condition(state, table, check.expression)
        table = catalogue.put(state, replace(table, checks=(*table.checks, check)))
        await stored.run(
            state, f"ALTER TABLE {table.stored} ADD CONSTRAINT c{check.object_id} CHECK (({condition}) IS NOT FALSE)"
        )
        return table
    if table.temporary:
        return table  # a foreign key of a temporary table is not enforced, as documented
    foreign, parent, index = columns.foreign_key(state, table, made)
    table = catalogue.put(state, replace(table, foreign_keys=(*table.foreign_keys, foreign)))
    await stored.run(state, stored.foreign_key(table, foreign, parent, index))
    return table


async def _add_key(state: State, table: TableInfo, made: ast.Constraint) -> TableInfo:
    nullable = {c.column_id: c.name for c in table.columns if c.nullable}
    index = columns.key(state, table, made)
    wrong = [nullable[column_id] for column_id, _ in index.columns if column_id in nullable]
    if index.primary and wrong:
        raise SqlError(8111, f"Cannot define PRIMARY KEY constraint on nullable column in table '{table.name}'.")
    table = columns.with_key(table, index)
    await stored.run(state, stored.index(table, index))
    if index.primary:
        await stored.run(state, stored.lock_keys(table))
    return catalogue.put(state, table)


# -- indexes -----------------------------------------------------------------------------------------------------------------


async def create_index(state: State, statement: ast.CreateIndex) -> None:
    """CREATE [UNIQUE] INDEX. Raises SqlError 1913, 1088, 1911, 1505."""
    table = altered(state, statement.table, 1088)
    if any(i.name.casefold() == statement.name.casefold() for i in table.indexes):
        raise SqlError(
            1913,
            "The operation failed because an index or statistics with name "
            f"'{statement.name}' already exists on table '{table.schema}.{table.name}'.",
        )
    ids = columns.column_ids(table, [name for name, _ in statement.columns])
    columns.comparable(table, ids, "index")
    by_id = {c.column_id: c for c in table.columns}
    if statement.unique and any(by_id[i].computed is not None for i in ids):
        raise Refused("a unique index over a computed column")
    index = IndexInfo(
        columns.next_index(table),
        statement.name,
        tuple(zip(ids, (descending for _, descending in statement.columns), strict=True)),
        unique=statement.unique,
        include=columns.column_ids(table, statement.include),
        where=statement.where,
    )
    where = "" if statement.where is None else expressions.condition(state, table, statement.where)
    table = catalogue.put(state, replace(table, indexes=(*table.indexes, index)))
    await stored.run(state, stored.index(table, index, where))


async def drop_index(state: State, name: str, on: ast.Name, *, if_exists: bool) -> None:
    """DROP INDEX. Raises SqlError 3701, 3723."""
    table = altered(state, on, 1088)
    index = next((i for i in table.indexes if i.name.casefold() == name.casefold()), None)
    if index is None:
        if if_exists:
            return
        raise SqlError(
            3701,
            f"Cannot drop the index '{table.name}.{name}', because it does not exist or you do not have permission.",
            severity=11,
            state=6,
        )
    if index.primary or index.constraint:
        raise SqlError(
            3723,
            f"An explicit DROP INDEX is not allowed on index '{table.name}.{name}'. "
            f"It is being used for {'PRIMARY KEY' if index.primary else 'UNIQUE KEY'} constraint enforcement.",
            state=4,
        )
    await stored.run(state, stored.drop_index(table, index))
    catalogue.put(state, replace(table, indexes=tuple(i for i in table.indexes if i is not index)))


# -- tables that exist -------------------------------------------------------------------------------------------------------


def altered(state: State, name: ast.Name, number: int = 4902) -> TableInfo:
    """A table that may be altered. Raises SqlError `number` (4902 or 1088)."""
    table = catalogue.find(state, name)
    if table is None or table.kind != "U" or not permissions.may(state, "ALTER", table):
        raise SqlError(
            number, f'Cannot find the object "{".".join(name.parts)}" because it does not exist or you do not have permissions.'
        )
    return table


async def drop(state: State, name: ast.Name, *, if_exists: bool) -> None:
    """DROP TABLE. Raises SqlError 3701, 3726."""
    table = catalogue.find(state, name)
    if table is None or table.kind != "U" or not permissions.may(state, "ALTER", table):
        if table is None and if_exists:
            return
        raise SqlError(
            3701,
            f"Cannot drop the table '{'.'.join(name.parts)}', because it does not exist or you do not have permission.",
            severity=11,
            state=5,
        )
    if referencing(state, table):
        raise SqlError(3726, f"Could not drop object '{table.name}' because it is referenced by a FOREIGN KEY constraint.")
    if table.tracked:
        await tracking.disable(state, table)
    where = "pg_temp" if table.temporary else "data"
    functions = "".join(f"DROP FUNCTION IF EXISTS {where}.{letter}{table.object_id}() CASCADE;" for letter in "kv")
    await stored.run(state, f"DROP TABLE {table.stored};{functions}")
    catalogue.remove(state, table)


def referencing(state: State, table: TableInfo) -> list[TableInfo]:
    """Other tables with a foreign key to it."""
    return [
        other
        for other in state.catalogue.tables.values()
        if other.object_id != table.object_id and any(f.referenced == table.object_id for f in other.foreign_keys)
    ]


async def truncate(state: State, statement: ast.Truncate) -> None:
    """TRUNCATE TABLE: untracked; identities begin again. Raises SqlError 4701, 4712."""
    table = catalogue.find(state, statement.table)
    if table is None or table.kind != "U" or not permissions.may(state, "ALTER", table):
        raise SqlError(
            4701,
            f'Cannot find the object "{statement.table.parts[-1]}" because it does not exist or you do not have permissions.',
        )
    if referencing(state, table):
        raise SqlError(
            4712, f"Cannot truncate table '{table.name}' because it is being referenced by a FOREIGN KEY constraint."
        )
    if not table.temporary:
        await catalogue.declaring(state)
    await stored.run(state, f"TRUNCATE {table.stored} RESTART IDENTITY")
    if table.tracked:
        await tracking.truncated(state, table)
    catalogue.put(state, table, touch=False)
