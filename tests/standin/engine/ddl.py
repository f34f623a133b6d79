"""adapter: statements that declare: tables, indexes, schemas, types, modules, principals, permissions, databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tests.standin.engine import backup, ddl_alter, ddl_databases, ddl_security, ddl_tables, permissions, types
from tests.standin.engine import ddl_catalogue as catalogue
from tests.standin.engine import ddl_expressions as expressions
from tests.standin.engine.ddl_stored import sequence
from tests.standin.engine.model import ColumnInfo, ProcedureInfo, State, TableInfo, TriggerInfo
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

# Run outside of transactions: the session must not have begun one (error 226).
OUTSIDE = (ast.CreateDatabase, ast.AlterDatabase, ast.Backup, ast.Restore)
# Not allowed in a snapshot transaction: https://learn.microsoft.com/sql/t-sql/statements/set-transaction-isolation-level-transact-sql
NOT_IN_SNAPSHOT = (ast.AlterTable, ast.CreateIndex)


def is_outside(statement: ast.Statement) -> bool:
    """Whether the statement must run without any transaction of PostgreSQL."""
    return isinstance(statement, OUTSIDE) or (isinstance(statement, ast.Drop) and statement.kind == "database")


async def execute(state: State, statement: ast.Statement) -> None:
    """Every DDL, security and database statement of `ast`, inside the open transaction (storage.begin), besides `is_outside`.

    Raises SqlError and Refused.
    """
    if is_outside(statement) and (state.trancount or state.connection.is_in_transaction()):
        raise SqlError(226, f"{_named(statement)} statement not allowed within multi-statement transaction.", state=6)
    if state.snapshot and state.trancount and isinstance(statement, NOT_IN_SNAPSHOT):
        raise SqlError(
            3964,
            "Transaction failed because this DDL statement is not allowed inside a snapshot isolation transaction. Since "
            "metadata is not versioned, a metadata change can lead to inconsistency if mixed within snapshot isolation.",
        )
    execute_ = _EXECUTE.get(type(statement))
    if execute_ is None:
        raise Refused(f"the statement {type(statement).__name__}")
    if not is_outside(statement) and not _is_temporary(statement):
        _writable(state)
        await catalogue.declaring(state)
    await execute_(state, statement)


def _named(statement: ast.Statement) -> str:
    names = {ast.CreateDatabase: "CREATE DATABASE", ast.AlterDatabase: "ALTER DATABASE", ast.Drop: "DROP DATABASE"}
    return names.get(type(statement), type(statement).__name__.upper() + " DATABASE")


def _is_temporary(statement: ast.Statement) -> bool:
    names = {ast.CreateTable: "name", ast.CreateIndex: "table", ast.AlterTable: "table", ast.Truncate: "table"}
    if isinstance(statement, ast.Drop):
        return statement.kind == "table" and all(n.parts[-1].startswith("#") for n in statement.names)
    field = names.get(type(statement))
    return field is not None and str(getattr(statement, field).parts[-1]).startswith("#")


def _writable(state: State) -> None:
    options = state.database.options
    if options.read_only or options.secondary:
        raise SqlError(3906, f'Failed to update database "{state.database.name}" because the database is read-only.', state=2)


async def rename(state: State, name: str, new: str, kind: str) -> None:
    """sp_rename @objname, @newname, @objtype ("", "OBJECT", "COLUMN", "INDEX")."""
    _writable(state)
    await catalogue.declaring(state)
    await ddl_alter.rename(state, name, new, kind)


# -- schemas, types, modules -------------------------------------------------------------------------------------------------


async def _create_schema(state: State, statement: ast.CreateSchema) -> None:
    """Raises SqlError 2714, 2759, 262. Who creates a schema without AUTHORIZATION owns it."""
    permissions.require_database(state, "CREATE SCHEMA")
    folded = statement.name.casefold()
    if folded in state.catalogue.schemas or folded in ("sys", "information_schema"):
        raise SqlError(2714, f"There is already an object named '{statement.name}' in the database.", state=6)
    owner = statement.owner or permissions.user_of(state).name
    if owner.casefold() not in state.catalogue.principals:
        raise SqlError(15151, f"Cannot find the user '{owner}', because it does not exist or you do not have permission.")
    owned = state.catalogue.permissions
    if owner.casefold() != "dbo":
        owned |= {("GRANT", "CONTROL", f"SCHEMA:{folded}", owner.casefold())}
    schemas = {**state.catalogue.schemas, folded: statement.name}
    catalogue.change(state, replace(state.catalogue, schemas=schemas, permissions=owned))


async def _create_type(state: State, statement: ast.CreateType) -> None:
    """Raises SqlError 219."""
    schema, name = catalogue.schema_and_name(state, statement.name)
    permissions.require_schema(state, "CREATE TYPE", schema)
    key = (schema.casefold(), name.casefold())
    if key in state.catalogue.types:
        raise SqlError(219, f"The type '{schema}.{name}' already exists, or you do not have permission to create it.")
    if statement.base.builtin is None:
        raise Refused("an alias type of an alias type")
    base = types.declared(statement.base.builtin)
    catalogue.change(state, replace(state.catalogue, types={**state.catalogue.types, key: (base, statement.nullable)}))


async def _create_trigger(state: State, statement: ast.CreateTrigger) -> None:
    """Raises SqlError 8197, 2714, 2113."""
    table = catalogue.find(state, statement.table)
    if table is None or table.temporary or not permissions.may(state, "ALTER", table):
        raise SqlError(
            8197, f"The object '{'.'.join(statement.table.parts)}' does not exist or is invalid for this operation.", state=4
        )
    name = statement.name.parts[-1]
    if catalogue.taken(state.catalogue, table.schema, name):
        raise SqlError(2714, f"There is already an object named '{name}' in the database.", state=2)
    trigger = TriggerInfo(catalogue.next_id(state), name, statement)
    catalogue.put(state, replace(table, triggers=(*table.triggers, trigger)))


async def _create_view(state: State, statement: ast.CreateView) -> None:
    schema, name = catalogue.schema_for(state, statement.name, "CREATE VIEW")
    shown = expressions.view_columns(state, statement.query)
    columns = tuple(ColumnInfo(place, c.name, c.type, c.nullable) for place, c in enumerate(shown, 1))
    for column in columns:
        if not column.name:
            raise SqlError(
                4511,
                f"Create View or Function failed because no column name was specified for column {column.column_id}.",
            )
    created = catalogue.now(state)
    number = catalogue.next_id(state)
    view = TableInfo(
        number, schema, name, "V", columns, query=statement.query, created=created, modified=created, text=statement.text
    )
    catalogue.put(state, view)


async def _create_procedure(state: State, statement: ast.CreateProcedure) -> None:
    schema, name = catalogue.schema_for(state, statement.name, "CREATE PROCEDURE")
    catalogue.put_procedure(state, ProcedureInfo(catalogue.next_id(state), schema, name, statement))


# -- DROP --------------------------------------------------------------------------------------------------------------------


async def _drop(state: State, statement: ast.Drop) -> None:
    for name in statement.names:
        if statement.kind == "table":
            await ddl_tables.drop(state, name, if_exists=statement.if_exists)
        elif statement.kind == "index":
            await _drop_index(state, name, statement)
        elif statement.kind == "database":
            await ddl_databases.drop(state, name.parts[-1], if_exists=statement.if_exists)
        elif statement.kind in ("user", "login"):
            ddl_security.drop(state, statement.kind, name.parts[-1], if_exists=statement.if_exists)
        else:
            _drop_other(state, statement, name)


async def _drop_index(state: State, name: ast.Name, statement: ast.Drop) -> None:
    on = statement.on or ast.Name(name.parts[:-1])
    if not on.parts:
        raise Refused("DROP INDEX without its table")
    await ddl_tables.drop_index(state, name.parts[-1], on, if_exists=statement.if_exists)


def _drop_other(state: State, statement: ast.Drop, name: ast.Name) -> None:
    removers: dict[str, Callable[[State, ast.Name], bool]] = {
        "schema": _drop_schema,
        "type": _drop_type,
        "view": _drop_view,
        "procedure": _drop_procedure,
        "trigger": _drop_trigger,
    }
    if statement.kind not in removers:
        raise Refused(f"DROP {statement.kind.upper()}")
    if not removers[statement.kind](state, name) and not statement.if_exists:
        raise SqlError(
            15151 if statement.kind == "schema" else 3701,
            f"Cannot drop the {statement.kind} '{'.'.join(name.parts)}', because it does not exist or you do not "
            "have permission.",
            severity=16 if statement.kind == "schema" else 11,
            state=5,
        )


def _drop_schema(state: State, name: ast.Name) -> bool:
    folded = name.parts[-1].casefold()
    now = state.catalogue
    if folded not in now.schemas or not permissions.covers(state, "ALTER", (f"SCHEMA:{folded}", "DATABASE:")):
        return False
    inside = [t.name for t in now.tables.values() if t.schema.casefold() == folded]
    inside += [n for (schema, n) in [*now.procedures, *now.types] if schema == folded]
    if inside:
        raise SqlError(3729, f"Cannot drop schema '{name.parts[-1]}' because it is being referenced by object '{inside[0]}'.")
    kept = frozenset(p for p in now.permissions if p[2] != f"SCHEMA:{folded}")
    catalogue.change(state, replace(now, schemas={k: v for k, v in now.schemas.items() if k != folded}, permissions=kept))
    return True


def _drop_type(state: State, name: ast.Name) -> bool:
    key = catalogue.key_of(state, name)
    if key not in state.catalogue.types:
        return False
    for table in state.catalogue.tables.values():
        for column in table.columns:
            if column.user_type and (column.user_type[0].casefold(), column.user_type[1].casefold()) == key:
                raise SqlError(
                    3732,
                    f"Cannot drop type '{'.'.join(name.parts)}' because it is being referenced by object '{table.name}'. "
                    "There may be other objects that reference this type.",
                )
    catalogue.change(state, replace(state.catalogue, types={k: v for k, v in state.catalogue.types.items() if k != key}))
    return True


def _drop_view(state: State, name: ast.Name) -> bool:
    view = catalogue.find(state, name)
    if view is None or view.kind != "V" or not permissions.may(state, "ALTER", view):
        return False
    catalogue.remove(state, view)
    return True


def _drop_procedure(state: State, name: ast.Name) -> bool:
    key = catalogue.key_of(state, name)
    now = state.catalogue
    if key not in now.procedures:
        return False
    catalogue.change(state, replace(now, procedures={k: v for k, v in now.procedures.items() if k != key}))
    return True


def _drop_trigger(state: State, name: ast.Name) -> bool:
    schema, plain = catalogue.key_of(state, name)
    for table in state.catalogue.tables.values():
        for trigger in table.triggers:
            if (
                table.schema.casefold() == schema
                and trigger.name.casefold() == plain
                and permissions.may(state, "ALTER", table)
            ):
                catalogue.put(state, replace(table, triggers=tuple(t for t in table.triggers if t is not trigger)))
                return True
    return False


_EXECUTE: dict[type, Callable[[State, Any], Awaitable[None]]] = {
    ast.CreateTable: ddl_tables.create,
    ast.Truncate: ddl_tables.truncate,
    ast.CreateIndex: ddl_tables.create_index,
    ast.AlterTable: ddl_alter.alter,
    ast.CreateSchema: _create_schema,
    ast.CreateType: _create_type,
    ast.CreateTrigger: _create_trigger,
    ast.CreateView: _create_view,
    ast.CreateProcedure: _create_procedure,
    ast.Drop: _drop,
    ast.CreateDatabase: ddl_databases.create,
    ast.AlterDatabase: ddl_databases.alter,
    ast.Backup: backup.backup,
    ast.Restore: backup.restore,
    ast.CreateLogin: ddl_security.create_login,
    ast.CreateUser: ddl_security.create_user,
    ast.AlterRole: ddl_security.alter_role,
    ast.Permission: ddl_security.permission,
}

temporary = ddl_tables.temporary
of_columns = ddl_tables.of_columns

__all__ = ["execute", "is_outside", "of_columns", "rename", "sequence", "temporary"]
