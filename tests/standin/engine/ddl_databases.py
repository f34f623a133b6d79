"""adapter: CREATE, ALTER and DROP DATABASE."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.standin.engine import permissions
from tests.standin.engine.database import SYSTEM_DATABASES, Database, Tracking
from tests.standin.engine.model import State
from tests.standin.engine.waiting import timed_out
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

UNITS = ("MINUTES", "HOURS", "DAYS")


async def create(state: State, statement: ast.CreateDatabase) -> None:
    """Raises SqlError 262, 1801, 448."""
    if not permissions.on_server(state, "CREATE ANY DATABASE"):
        raise SqlError(262, "CREATE DATABASE permission denied in database 'master'.", severity=14)
    await state.database.engine.create_database(statement.name, statement.collation)


async def drop(state: State, name: str, *, if_exists: bool) -> None:
    """Raises SqlError 3701, 3702."""
    engine = state.database.engine
    if engine.database(name) is None and if_exists:
        return
    if not permissions.alter_database(state, name):
        raise SqlError(
            3701,
            f"Cannot drop the database '{name}', because it does not exist or you do not have permission.",
            severity=11,
        )
    await engine.drop_database(name, state)


async def alter(state: State, statement: ast.AlterDatabase) -> None:
    """ALTER DATABASE ... SET one option, at once. Raises SqlError 5011, 5061 and those of the option."""
    name = statement.name or state.database.name
    database = state.database.engine.database(name)
    if database is None or not permissions.alter_database(state, name):
        raise SqlError(
            5011,
            f"User does not have permission to alter database '{name}', the database does not exist, or the database is not in "
            "a state that allows access checks.",
            severity=14,
            state=9,
        )
    option = _OPTIONS.get(statement.option)
    if option is None:
        raise Refused(f"ALTER DATABASE ... SET {statement.option}")
    await option(state, database, statement)


def _on(statement: ast.AlterDatabase) -> bool:
    if statement.value.upper() not in ("ON", "OFF"):
        raise Refused(f"ALTER DATABASE ... SET {statement.option} {statement.value}")
    return statement.value.upper() == "ON"


async def _alone(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    """Other sessions of the database are ended (WITH ROLLBACK IMMEDIATE) or waited for."""
    waited = 0.0
    while [s for s in database.sessions() if s is not state]:
        if statement.with_rollback:
            await state.database.engine.end_sessions(database, state)  # also those that have come meanwhile
        if 0 <= state.lock_timeout <= waited * 1000:
            raise timed_out()
        await asyncio.sleep(0.01)
        waited += 0.01


async def _snapshot(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    """Waits for the transactions that are open, as the documentation says."""
    while any(s.trancount for s in database.sessions() if s is not state):  # noqa: ASYNC110 (they end in many ways)
        await asyncio.sleep(0.01)
    database.options.snapshot = _on(statement)


async def _read_committed_snapshot(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    await _alone(state, database, statement)
    database.options.read_committed_snapshot = _on(statement)


async def _read_only(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    await _alone(state, database, statement)
    database.options.read_only = statement.option == "READ_ONLY"


async def _user_access(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    if statement.option == "SINGLE_USER":
        await _alone(state, database, statement)
    database.options.single_user = statement.option == "SINGLE_USER"


async def _recovery(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    database.options.recovery = _one_of(statement, "FULL", "SIMPLE", "BULK_LOGGED")


async def _durability(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    database.options.delayed_durability = _one_of(statement, "DISABLED", "ALLOWED", "FORCED")


def _one_of(statement: ast.AlterDatabase, *known: str) -> str:
    if statement.value.upper() not in known:
        raise Refused(f"ALTER DATABASE ... SET {statement.option} {statement.value}")
    return statement.value.upper()


async def _compatibility(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    if not statement.value.isdigit() or not 100 <= int(statement.value) <= 170:
        raise SqlError(15048, "Valid values of the database compatibility level are 100, 110, 120, 130, 140, 150, or 160.")
    database.options.compatibility = int(statement.value)


# -- change tracking ---------------------------------------------------------------------------------------------------------


async def _tracking(state: State, database: Database, statement: ast.AlterDatabase) -> None:
    """Raises SqlError 5088, 5089, 5090, 5092, 22115. The versions go on where they were when it is switched on again."""
    if database.name in SYSTEM_DATABASES:
        raise SqlError(
            5090,
            f"Database '{database.name}' is a system database. Change tracking settings cannot be modified for "
            "system databases.",
        )
    tracking = database.options.tracking
    if statement.value.upper() == "OFF":
        _may_end(database)
        database.options.tracking = Tracking()
        async with database.maintenance() as connection:
            await connection.execute("SELECT standin.clean(standin.current_version())")
        return
    if statement.value.upper() == "ON" and tracking.on:
        raise SqlError(5088, f"Change tracking is already enabled for database '{database.name}'.")
    if not statement.value and not tracking.on:
        raise _disabled(database, 2)
    new = Tracking(True, tracking.retention, tracking.units, tracking.auto_cleanup) if tracking.on else Tracking(True)
    for option, value in statement.settings:
        _setting(new, option.upper(), value.upper())
    database.options.tracking = new


def _disabled(database: Database, state: int) -> SqlError:
    return SqlError(
        5089,
        f"Change tracking is disabled for database '{database.name}'. Change tracking must be enabled on a database to modify "
        "change tracking settings.",
        state=state,
    )


def _may_end(database: Database) -> None:
    if not database.options.tracking.on:
        raise _disabled(database, 1)
    if any(table.tracked for table in database.catalogue.tables.values()):
        raise SqlError(
            22115,
            f"Change tracking is enabled for one or more tables in database '{database.name}'. Disable change tracking on each "
            "table before disabling it for the database. Use the sys.change_tracking_tables catalog view to obtain a list of "
            "tables for which change tracking is enabled.",
        )


def _setting(tracking: Tracking, option: str, value: str) -> None:
    if option == "AUTO_CLEANUP":
        tracking.auto_cleanup = value == "ON"
        return
    number, _, units = value.partition(" ")
    if option != "CHANGE_RETENTION" or not number.isdigit() or units.strip() not in UNITS:
        raise Refused(f"the change tracking option {option} = {value}")
    if not 1 <= int(number) * {"MINUTES": 1, "HOURS": 60, "DAYS": 1440}[units.strip()] < 2**31:
        raise SqlError(
            5092,
            "The value for change tracking option 'CHANGE_RETENTION' is not valid. The value must be between 1 and 2147483647 "
            "minutes.",
            severity=15,
        )
    tracking.retention, tracking.units = int(number), units.strip()


_OPTIONS: dict[str, Callable[[State, Database, ast.AlterDatabase], Awaitable[None]]] = {
    "CHANGE_TRACKING": _tracking,
    "ALLOW_SNAPSHOT_ISOLATION": _snapshot,
    "READ_COMMITTED_SNAPSHOT": _read_committed_snapshot,
    "READ_ONLY": _read_only,
    "READ_WRITE": _read_only,
    "SINGLE_USER": _user_access,
    "MULTI_USER": _user_access,
    "RECOVERY": _recovery,
    "DELAYED_DURABILITY": _durability,
    "COMPATIBILITY_LEVEL": _compatibility,
}
