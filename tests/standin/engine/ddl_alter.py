"""adapter: ALTER TABLE, and sp_rename."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.standin.engine import ddl_catalogue as catalogue
from tests.standin.engine import ddl_columns as columns
from tests.standin.engine import ddl_expressions as expressions
from tests.standin.engine import ddl_stored as stored
from tests.standin.engine import ddl_tables as tables
from tests.standin.engine import permissions, tracking, types
from tests.standin.engine.model import CheckInfo, ColumnInfo, ForeignKeyInfo, State, TableInfo
from tests.standin.ports import MAX, SqlError
from tests.standin.tsql import ast

UNTRACKED = "SET LOCAL session_replication_role = replica; {}; SET LOCAL session_replication_role = origin"


async def alter(state: State, statement: ast.AlterTable) -> None:
    """ALTER TABLE: its actions in order. Raises SqlError 4902 and those of the actions."""
    tables.altered(state, statement.table)
    for action in statement.actions:
        table = tables.altered(state, statement.table)
        await _ACTIONS[type(action)](state, table, action)


# -- columns -----------------------------------------------------------------------------------------------------------------


async def _add_column(state: State, table: TableInfo, made: ast.ColumnDef) -> None:
    last = max([table.last_column, *(c.column_id for c in table.columns)])
    info = columns.column(state, table, last + 1, made)
    table = replace(table, columns=(*table.columns, info), last_column=info.column_id)
    if info.computed is None:
        await _add_stored(state, table, info)
    table = catalogue.put(state, table)
    if table.tracked:
        await tracking.renew(state, table)
    for constraint in columns.inline(made):
        table = await tables.add_constraint(state, table, constraint)


async def _add_stored(state: State, table: TableInfo, info: ColumnInfo) -> None:
    """The rows that exist get their value without being changes: https://learn.microsoft.com/sql/relational-databases/track-changes/manage-change-tracking-sql-server"""
    await stored.run(state, f"ALTER TABLE {table.stored} ADD COLUMN {info.stored} {types.pg_type(info.type)}")
    value = ""
    if info.identity is not None:
        await stored.run(state, stored.create_sequence(table, info))
        value = f"nextval('{stored.sequence(table)}')"
    elif info.type.name in columns.ROWVERSIONS:
        value = "standin.next_rowversion()"
    elif info.default is not None and not info.nullable:
        value = expressions.stored_value(state, table, info, info.default)
    if value:
        await stored.run(state, UNTRACKED.format(f"UPDATE {table.stored} SET {info.stored} = {value}"))
    elif not info.nullable and await state.connection.fetchval(f"SELECT EXISTS (SELECT FROM {table.stored})"):
        raise SqlError(
            4901,
            "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition "
            "specified, or the "
            "column being added is an identity or timestamp column, or alternatively if none of the previous conditions are "
            f"satisfied the table must be empty to allow addition of this column. Column '{info.name}' cannot be added to "
            f"non-empty table '{table.name}' because it does not satisfy these conditions.",
        )
    if not info.nullable:
        await stored.run(state, f"ALTER TABLE {table.stored} ALTER COLUMN {info.stored} SET NOT NULL")
    if info.identity is not None:
        await stored.run(
            state, f"ALTER TABLE {table.stored} ALTER COLUMN {info.stored} SET DEFAULT nextval('{stored.sequence(table)}')"
        )
    if info.type.name in columns.ROWVERSIONS:
        await stored.run(state, stored.stamp_rows(table))


def _column(table: TableInfo, name: str) -> ColumnInfo:
    info = table.column(name)
    if info is None:
        raise SqlError(4924, f"ALTER TABLE ALTER COLUMN failed because column '{name}' does not exist in table '{table.name}'.")
    return info


async def _alter_column(state: State, table: TableInfo, made: ast.AlterColumn) -> None:
    info = _column(table, made.name)
    base, alias, alias_nullable = catalogue.resolve_type(state, made.type)
    type_ = columns.collated(state, types.declared(base), made.collation)
    nullable = made.nullable if made.nullable is not None else alias_nullable if alias_nullable is not None else True
    widens = (
        type_.name == info.type.name and type_.collation == info.type.collation and _at_least(type_.length, info.type.length)
    )
    _free_of(table, info, keep_indexes=widens)
    changed = replace(info, type=type_, nullable=nullable, user_type=alias)
    place = list(table.columns).index(info)
    new = replace(table, columns=(*table.columns[:place], changed, *table.columns[place + 1 :]))
    if type_ != info.type:
        await _convert(state, table, info, changed)
    if nullable != info.nullable:
        verb = "DROP" if nullable else "SET"
        await stored.run(state, f"ALTER TABLE {table.stored} ALTER COLUMN {info.stored} {verb} NOT NULL")
    new = catalogue.put(state, new)
    if new.tracked:
        await tracking.renew(state, new)


def _at_least(new: int, old: int) -> bool:
    return new == MAX or (old != MAX and new >= old)


async def _convert(state: State, table: TableInfo, old: ColumnInfo, new: ColumnInfo) -> None:
    """Existing rows converted, untracked; what does not fit is an error."""
    value = expressions.stored_value(state, table, new, ast.ColumnRef((old.name,)))
    await stored.run(
        state, f"ALTER TABLE {table.stored} ALTER COLUMN {old.stored} TYPE {types.pg_type(new.type)} USING {value}"
    )


def _free_of(table: TableInfo, info: ColumnInfo, *, keep_indexes: bool = False) -> None:
    """Raises SqlError 5074 when a constraint, an index or a computed column needs the column as it is."""
    for name in _dependents(table, info, keep_indexes):
        raise SqlError(5074, f"The object '{name}' is dependent on column '{info.name}'.")


def _dependents(table: TableInfo, info: ColumnInfo, keep_indexes: bool) -> list[str]:
    number = info.column_id
    found = [
        i.name
        for i in table.indexes
        if number in {column_id for column_id, _ in i.columns} and (i.primary or i.constraint or not keep_indexes)
    ]
    if not keep_indexes:
        found += [i.name for i in table.indexes if number in i.include]
    found += [f.name for f in table.foreign_keys if number in f.columns]
    found += [c.name for c in table.checks if mentions(c.expression, info.name)]
    return found + [c.name for c in table.columns if c.computed is not None and mentions(c.computed, info.name)]


def mentions(node: object, name: str) -> bool:
    """Whether an expression refers to a column of the name."""
    if isinstance(node, ast.ColumnRef):
        return node.parts[-1].casefold() == name.casefold()
    if isinstance(node, (list, tuple)):
        return any(mentions(part, name) for part in node)
    fields = getattr(type(node), "__dataclass_fields__", None)
    return fields is not None and any(mentions(getattr(node, field), name) for field in fields)


async def _drop_column(state: State, table: TableInfo, action: ast.DropColumn) -> None:
    info = table.column(action.name)
    if info is None:
        if action.if_exists:
            return
        raise SqlError(
            4924, f"ALTER TABLE DROP COLUMN failed because column '{action.name}' does not exist in table '{table.name}'."
        )
    _free_of(table, info)
    if info.default is not None:
        raise SqlError(5074, f"The object '{info.default_name}' is dependent on column '{info.name}'.")
    if len(table.columns) == 1:
        raise SqlError(
            4923,
            f"ALTER TABLE DROP COLUMN failed because '{info.name}' is the only data column in table '{table.name}'. "
            "A table must have at least one data column.",
        )
    if info.type.name in columns.ROWVERSIONS:
        await stored.run(state, f"DROP TRIGGER rowversion ON {table.stored}")
    if info.computed is None:
        await stored.run(state, f"ALTER TABLE {table.stored} DROP COLUMN {info.stored} CASCADE")
    last = max(table.last_column, *(c.column_id for c in table.columns))
    table = replace(table, columns=tuple(c for c in table.columns if c is not info), last_column=last)
    table = catalogue.put(state, table)
    if table.tracked:
        await tracking.renew(state, table)


# -- constraints and triggers ------------------------------------------------------------------------------------------------


async def _add_constraint(state: State, table: TableInfo, made: ast.Constraint) -> None:
    await tables.add_constraint(state, table, made)


async def _drop_constraint(state: State, table: TableInfo, action: ast.DropConstraint) -> None:
    name = action.name.casefold()
    for index in table.indexes:
        if index.name.casefold() == name and (index.primary or index.constraint):
            await _drop_key(state, table, index.index_id)
            return
    for foreign in table.foreign_keys:
        if foreign.name.casefold() == name:
            kept = tuple(f for f in table.foreign_keys if f is not foreign)
            await stored.run(state, stored.drop_constraint(table, f"f{foreign.object_id}"))
            catalogue.put(state, replace(table, foreign_keys=kept))
            return
    for check in table.checks:
        if check.name.casefold() == name:
            await stored.run(state, stored.drop_constraint(table, f"c{check.object_id}"))
            catalogue.put(state, replace(table, checks=tuple(c for c in table.checks if c is not check)))
            return
    for info in table.columns:
        if info.default is not None and info.default_name.casefold() == name:
            plain = replace(info, default=None, default_name="", default_id=0)
            catalogue.put(state, replace(table, columns=tuple(plain if c is info else c for c in table.columns)))
            return
    if not action.if_exists:
        raise SqlError(3728, f"'{action.name}' is not a constraint.")


async def _drop_key(state: State, table: TableInfo, index_id: int) -> None:
    index = next(i for i in table.indexes if i.index_id == index_id)
    if index.primary and table.tracked:
        raise SqlError(
            3735,
            f"The primary key constraint '{index.name}' on table '{table.name}' cannot be dropped because change tracking is "
            "enabled on the table. Change tracking requires a primary key constraint on the table. Disable change tracking "
            "before dropping the constraint.",
        )
    ids = {column_id for column_id, _ in index.columns}
    for other in (table, *tables.referencing(state, table)):
        for foreign in other.foreign_keys:
            if foreign.referenced == table.object_id and set(foreign.referenced_columns) == ids:
                raise SqlError(
                    3725,
                    f"The constraint '{index.name}' is being referenced by table '{other.name}', foreign key constraint "
                    f"'{foreign.name}'.",
                    state=0,
                )
    unlocking = stored.unlock_keys(table) if index.primary else ""
    await stored.run(state, stored.drop_index(table, index), unlocking)
    catalogue.put(state, replace(table, indexes=tuple(i for i in table.indexes if i is not index)))


async def _switch_constraint(state: State, table: TableInfo, action: ast.Check) -> None:
    """CHECK and NOCHECK CONSTRAINT: rows that exist are not looked at again (WITH NOCHECK is the default here)."""
    name, every = action.name.casefold(), action.name.upper() in ("", "ALL")
    constraints: list[ForeignKeyInfo | CheckInfo] = [*table.foreign_keys, *table.checks]
    known = [c for c in constraints if every or c.name.casefold() == name]
    if not known and not every:
        raise SqlError(
            4917,
            f"Constraint '{action.name}' does not exist.",
        )
    for foreign in [f for f in table.foreign_keys if f in known and f.disabled == action.enable]:
        await stored.switch_foreign_key(state, table, foreign, enable=action.enable)
    for check in [c for c in table.checks if c in known and c.disabled == action.enable]:
        text = (
            f"ADD CONSTRAINT c{check.object_id} CHECK (({expressions.condition(state, table, check.expression)}) IS NOT FALSE)"
        )
        verb = f"{text} NOT VALID" if action.enable else f"DROP CONSTRAINT c{check.object_id}"
        await stored.run(state, f"ALTER TABLE {table.stored} {verb}")
    foreign_keys = tuple(replace(f, disabled=not action.enable) if f in known else f for f in table.foreign_keys)
    checks = tuple(replace(c, disabled=not action.enable) if c in known else c for c in table.checks)
    catalogue.put(state, replace(table, foreign_keys=foreign_keys, checks=checks))


async def _switch_trigger(state: State, table: TableInfo, action: ast.TriggerSwitch) -> None:
    name, every = action.name.casefold(), action.name.upper() in ("", "ALL")
    if not every and not any(t.name.casefold() == name for t in table.triggers):
        raise SqlError(
            4920, f"ALTER TABLE failed because trigger '{action.name}' on table '{table.name}' does not exist.", state=0
        )
    triggers = tuple(
        replace(t, disabled=not action.enable) if every or t.name.casefold() == name else t for t in table.triggers
    )
    catalogue.put(state, replace(table, triggers=triggers))


# -- change tracking ---------------------------------------------------------------------------------------------------------


async def _tracking(state: State, table: TableInfo, action: ast.Tracking) -> None:
    """Raises SqlError 1718, 4996, 4997, 4998."""
    if not action.enable:
        if not table.tracked:
            raise SqlError(4998, f"Change tracking is not enabled on table '{table.name}'.")
        await tracking.disable(state, table)
        catalogue.put(state, replace(table, tracked=False, columns_updated=False))
        return
    if table.temporary or not state.database.options.tracking.on:
        name = "tempdb" if table.temporary else state.database.name
        raise SqlError(
            1718,
            f"Change tracking must be enabled on database '{name}' before it can be enabled on table '{table.name}'.",
        )
    if table.tracked:
        raise SqlError(4996, f"Change tracking is already enabled for table '{table.name}'.")
    if not table.key:
        raise SqlError(
            4997,
            f"Cannot enable change tracking on table '{table.name}'. Change tracking requires a primary key on the table. "
            "Create a primary key on the table before enabling change tracking.",
        )
    table = catalogue.put(state, replace(table, tracked=True, columns_updated=action.columns_updated))
    await tracking.enable(state, table)


_ACTIONS: dict[type, Callable[[State, TableInfo, object], Awaitable[None]]] = {
    ast.ColumnDef: _add_column,  # type: ignore[dict-item]
    ast.Constraint: _add_constraint,  # type: ignore[dict-item]
    ast.AlterColumn: _alter_column,  # type: ignore[dict-item]
    ast.DropColumn: _drop_column,  # type: ignore[dict-item]
    ast.DropConstraint: _drop_constraint,  # type: ignore[dict-item]
    ast.Tracking: _tracking,  # type: ignore[dict-item]
    ast.TriggerSwitch: _switch_trigger,  # type: ignore[dict-item]
    ast.Check: _switch_constraint,  # type: ignore[dict-item]
}


# -- sp_rename ---------------------------------------------------------------------------------------------------------------


async def rename(state: State, name: str, new: str, kind: str) -> None:
    """sp_rename: a table, view, column, index or constraint. Raises SqlError 15225, 15248, 15335."""
    parts = permissions.split(name)
    if kind.upper() in ("COLUMN", "INDEX") and len(parts) < 2:
        raise _unknown(name)
    if kind.upper() == "COLUMN":
        await _rename_column(state, _table(state, parts[:-1], name), parts[-1], new)
    elif kind.upper() == "INDEX":
        await _rename_index(state, _table(state, parts[:-1], name), parts[-1], new)
    else:
        await _rename_object(state, parts, name, new)


def _unknown(name: str) -> SqlError:
    return SqlError(15225, f"No item by the name of '{name}' could be found in the current database.", severity=11)


def _table(state: State, parts: list[str], name: str) -> TableInfo:
    table = catalogue.find(state, ast.Name(tuple(parts)))
    if table is None or not permissions.may(state, "ALTER", table):
        raise _unknown(name)
    return table


def _in_use(new: str, kind: str) -> SqlError:
    return SqlError(
        15335,
        f"Error: The new name '{new}' is already in use as a {kind} name and would cause a duplicate that is not permitted.",
        severity=11,
    )


async def _rename_column(state: State, table: TableInfo, old: str, new: str) -> None:
    info = table.column(old)
    if info is None:
        raise SqlError(
            15248, "Either the parameter @objname is ambiguous or the claimed @objtype (COLUMN) is wrong.", severity=11
        )
    if any(mentions(c.expression, old) for c in table.checks) or any(
        c.computed is not None and mentions(c.computed, old) for c in table.columns
    ):
        raise SqlError(
            15336, f"Object '{table.name}.{old}' cannot be renamed because the object participates in enforced dependencies."
        )
    other = table.column(new)
    if other is not None and other is not info:
        raise _in_use(new, "COLUMN")
    catalogue.put(state, replace(table, columns=tuple(replace(c, name=new) if c is info else c for c in table.columns)))


async def _rename_index(state: State, table: TableInfo, old: str, new: str) -> None:
    index = next((i for i in table.indexes if i.name.casefold() == old.casefold()), None)
    if index is None:
        raise SqlError(
            15248, "Either the parameter @objname is ambiguous or the claimed @objtype (INDEX) is wrong.", severity=11
        )
    catalogue.put(state, replace(table, indexes=tuple(replace(i, name=new) if i is index else i for i in table.indexes)))


async def _rename_object(state: State, parts: list[str], name: str, new: str) -> None:
    table = catalogue.find(state, ast.Name(tuple(parts)))
    if table is None:
        await _rename_constraint(state, parts, name, new)
        return
    if not permissions.may(state, "ALTER", table):
        raise _unknown(name)
    if new.casefold() != table.name.casefold() and catalogue.taken(state.catalogue, table.schema, new):
        raise _in_use(new, "OBJECT")
    catalogue.put(state, replace(table, name=new), old=(table.schema.casefold(), table.name.casefold()))


async def _rename_constraint(state: State, parts: list[str], name: str, new: str) -> None:
    schema, old = (parts[-2] if len(parts) > 1 else "dbo").casefold(), parts[-1].casefold()
    for table in state.catalogue.tables.values():
        if table.schema.casefold() == schema and any(old == inner.casefold() for inner in catalogue.inner_names(table)):
            catalogue.put(
                state,
                replace(
                    table,
                    indexes=tuple(replace(i, name=new) if i.name.casefold() == old else i for i in table.indexes),
                    foreign_keys=tuple(replace(f, name=new) if f.name.casefold() == old else f for f in table.foreign_keys),
                    checks=tuple(replace(c, name=new) if c.name.casefold() == old else c for c in table.checks),
                    triggers=tuple(replace(t, name=new) if t.name.casefold() == old else t for t in table.triggers),
                    columns=tuple(
                        replace(c, default_name=new) if c.default_name.casefold() == old else c for c in table.columns
                    ),
                ),
            )
            return
    raise _unknown(name)
