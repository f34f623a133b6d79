"""adapter: reading and replacing the catalogue of a session's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from tests.standin.engine import permissions
from tests.standin.engine.model import Catalogue, State, TableInfo
from tests.standin.ports import Refused, SqlError, SqlType
from tests.standin.tsql.ast import Name, TypeName

if TYPE_CHECKING:
    from tests.standin.engine.model import ProcedureInfo


def stamp(moment: datetime) -> str:
    """As a datetime: with three digits."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03}"


def now(state: State) -> str:
    """The server's clock."""
    return stamp(state.database.engine.now())


async def declaring(state: State) -> None:
    """To be awaited before each declaration: one transaction at a time declares in a database, on the newest catalogue."""
    await state.connection.execute("SELECT pg_advisory_xact_lock(3, 0)")
    async with state.database.publishing:  # PostgreSQL gives its lock away before the one who held it hears of the commit
        pass
    if state.catalogue.generation <= state.database.catalogue.generation:
        state.catalogue = state.database.catalogue


def schema_and_name(state: State, name: Name) -> tuple[str, str]:
    """`t`, `s.t`, `d.s.t` (of this database only) as schema and name. Raises Refused."""
    parts = name.parts
    if len(parts) > 3 or (len(parts) == 3 and parts[0] and parts[0].casefold() != state.database.name.casefold()):
        raise Refused(f"the name {'.'.join(parts)}, which is of another database or server")
    return (parts[-2] if len(parts) > 1 and parts[-2] else "dbo"), parts[-1]


def key_of(state: State, name: Name) -> tuple[str, str]:
    """The key of the catalogue's mappings."""
    schema, plain = schema_and_name(state, name)
    return schema.casefold(), plain.casefold()


def find(state: State, name: Name) -> TableInfo | None:
    """A table, view or temporary table."""
    if name.parts[-1].startswith("#"):
        return state.temporaries.get(name.parts[-1].casefold())
    return state.catalogue.tables.get(key_of(state, name))


def schema_for(state: State, name: Name, permission: str) -> tuple[str, str]:
    """Where something may be created: the schema as written when it was created, and the new name. Raises 2760, 2714, 262."""
    schema, plain = schema_and_name(state, name)
    known = state.catalogue.schemas.get(schema.casefold())
    if known is None:
        raise SqlError(
            2760, f'The specified schema name "{schema}" either does not exist or you do not have permission to use it.'
        )
    permissions.require_schema(state, permission, known)
    if taken(state.catalogue, known, plain):
        raise SqlError(2714, f"There is already an object named '{plain}' in the database.", state=6)
    return known, plain


def taken(catalogue: Catalogue, schema: str, name: str) -> bool:
    """Whether an object (a constraint and a trigger too) of the schema has the name."""
    key = (schema.casefold(), name.casefold())
    if key in catalogue.tables or key in catalogue.procedures:
        return True
    tables = (t for t in catalogue.tables.values() if t.schema.casefold() == key[0])
    return any(key[1] == inner.casefold() for t in tables for inner in inner_names(t))


def inner_names(table: TableInfo) -> Iterable[str]:
    """Of its constraints and triggers."""
    yield from (i.name for i in table.indexes if i.constraint or i.primary)
    yield from (f.name for f in table.foreign_keys)
    yield from (c.name for c in table.checks)
    yield from (t.name for t in table.triggers)
    yield from (c.default_name for c in table.columns if c.default is not None)


def change(state: State, catalogue: Catalogue) -> None:
    """The transaction's catalogue from here on."""
    state.catalogue = replace(catalogue, generation=max(catalogue.generation, state.database.catalogue.generation) + 1)


def next_id(state: State) -> int:
    """A new object id. They lie apart like the server's, so that nothing depends on their order."""
    number = state.catalogue.next_id
    state.catalogue = replace(state.catalogue, next_id=number + 16)
    return number


def put(state: State, table: TableInfo, old: tuple[str, str] | None = None, *, touch: bool = True) -> TableInfo:
    """Adds or replaces a table or view, whose shape is a new one; `old`: its key until now; `touch`: modify_date is now.

    Temporary ones stay in the session.
    """
    table = replace(table, shape=table.shape + 1, modified=now(state) if touch else table.modified)
    if table.temporary:
        state.temporaries[table.name.casefold()] = table
        return table
    tables = dict(state.catalogue.tables)
    if old is not None:
        tables.pop(old, None)
    tables[table.schema.casefold(), table.name.casefold()] = table
    change(state, replace(state.catalogue, tables=tables))
    state.database.locks.alter(state.spid, [table.object_id])
    return table


def remove(state: State, table: TableInfo) -> None:
    """Takes a table or view out, with the permissions on it."""
    if table.temporary:
        state.temporaries.pop(table.name.casefold(), None)
        return
    tables = dict(state.catalogue.tables)
    tables.pop((table.schema.casefold(), table.name.casefold()))
    mine = f"OBJECT:{table.object_id}"
    kept = frozenset(p for p in state.catalogue.permissions if p[2] != mine)
    change(state, replace(state.catalogue, tables=tables, permissions=kept))
    state.database.locks.alter(state.spid, [table.object_id])


def put_procedure(state: State, procedure: ProcedureInfo) -> None:
    """Adds or replaces a procedure."""
    procedures = dict(state.catalogue.procedures)
    procedures[procedure.schema.casefold(), procedure.name.casefold()] = procedure
    change(state, replace(state.catalogue, procedures=procedures))


def resolve_type(state: State, name: TypeName) -> tuple[SqlType, tuple[str, str] | None, bool | None]:
    """The type a name means, the alias type it is written as, and that alias type's nullability. Raises SqlError 2715."""
    if name.builtin is not None:
        return name.builtin, None, None
    schema, plain = schema_and_name(state, name.name)
    found = state.catalogue.types.get((schema.casefold(), plain.casefold()))
    if found is None:
        raise SqlError(2715, f"Column, parameter, or variable #1: Cannot find data type {plain}.", state=6)
    return found[0], (schema, plain), found[1]
