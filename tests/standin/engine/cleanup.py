"""adapter: the server's clock moved, and change tracking cleaned up: by retention when the clock moves, or by force."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.standin.ports import SqlError

if TYPE_CHECKING:
    from tests.standin.engine.database import Database, Engine


async def move_clock(engine: Engine, seconds: float) -> None:
    """Moves the clock by so many seconds, then cleans up every database with AUTO_CLEANUP = ON."""
    engine.offset += timedelta(seconds=seconds)
    for database in list(engine.databases.values()):
        tracking = database.options.tracking
        if tracking.on and tracking.auto_cleanup:
            await _older_than(database, tracking.kept())


async def force(engine: Engine, name: str, version: int | None, age: float | None) -> int:
    """Cleans up to a version, what is older than an age in seconds, or everything; the oldest valid version then.

    Raises SqlError 911.
    """
    database = engine.database(name)
    if database is None:
        raise SqlError(911, f"Database '{name}' does not exist. Make sure that the name is entered correctly.")
    if age is not None:
        return await _older_than(database, timedelta(seconds=age))
    return await _up_to(database, 2**62 if version is None else version)


async def mistell(engine: Engine, name: str) -> None:
    """Every change recorded so far is told as a delete, as builds before the correction KB4135113 may do of updates.

    https://support.microsoft.com/help/4135113. Raises SqlError 911.
    """
    database = engine.database(name)
    if database is None:
        raise SqlError(911, f"Database '{name}' does not exist. Make sure that the name is entered correctly.")
    async with database.maintenance() as connection:
        for row in await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'track' AND tablename ~ '^t[0-9]+$'"
        ):
            await connection.execute(f"UPDATE track.{row['tablename']} SET op = 'D'")


async def _older_than(database: Database, age: timedelta) -> int:
    async with database.maintenance() as connection:
        version = await connection.fetchval("SELECT standin.version_at($1)", database.engine.now() - age)
    return await _up_to(database, version) if version is not None else 0


async def _up_to(database: Database, version: int) -> int:
    async with database.maintenance() as connection:
        return int(await connection.fetchval("SELECT standin.clean($1)", version))
