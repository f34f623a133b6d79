"""adapter: BACKUP and RESTORE DATABASE ... DISK: copies of the PostgreSQL database, kept by file name.

https://learn.microsoft.com/sql/t-sql/statements/restore-statements-transact-sql
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.standin.engine import permissions
from tests.standin.engine.database import Database, Guids, Options
from tests.standin.engine.model import Catalogue, State
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

if TYPE_CHECKING:
    from tests.standin.engine.database import Engine

_IGNORED = {
    "INIT",
    "NOINIT",
    "FORMAT",
    "NOFORMAT",
    "COPY_ONLY",
    "COMPRESSION",
    "NO_COMPRESSION",
    "CHECKSUM",
    "RECOVERY",
    "REPLACE",
}


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup file holds."""

    name: str
    stored: str  # the copy in PostgreSQL
    collation: str
    catalogue: Catalogue
    options: Options
    guids: Guids
    newest: int


def _options(options: tuple[str, ...]) -> set[str]:
    known = {option.upper() for option in options if not option.upper().startswith("STATS")}
    if known - _IGNORED:
        raise Refused(f"the options {', '.join(sorted(known - _IGNORED))} of a backup")
    return known


async def backup(state: State, statement: ast.Backup) -> None:
    """A copy of the database as committed, while its sessions stand still. Raises SqlError 911, 262."""
    engine = state.database.engine
    database = engine.database(statement.database)
    _options(statement.options)
    if database is None:
        raise SqlError(911, f"Database '{statement.database}' does not exist. Make sure that the name is entered correctly.")
    if not permissions.alter_database(state, statement.database):
        raise SqlError(262, f"BACKUP DATABASE permission denied in database '{database.name}'.", severity=14)
    stored = f"b{engine.next_copy()}"
    await _dump(engine, database, stored)
    old = engine.backups.get(statement.file)
    engine.backups[statement.file] = Backup(
        database.name,
        stored,
        database.collation,
        database.catalogue,
        database.options.copy(),
        replace(database.guids),
        database.newest,
    )
    if old is not None:
        await engine.discard(old.stored)


async def _dump(engine: Engine, database: Database, stored: str) -> None:
    """PostgreSQL copies no database that someone is connected to: the sessions' connections go through a dump instead."""
    await database.close()
    if not database.sessions():
        await engine.copy(database.stored, stored)
        return
    await engine.server.clone(database.stored, stored)


async def restore(state: State, statement: ast.Restore) -> None:
    """Puts a backup in the place of a database, or makes a new one. Raises SqlError 3101, 3154, 3159, 3201, 262."""
    engine = state.database.engine
    options = _options(statement.options)
    kept = engine.backups.get(statement.file)
    if kept is None:
        raise SqlError(
            3201,
            f"Cannot open backup device '{statement.file}'. Operating system error 2(The system cannot find the "
            "file specified.).",
            state=2,
        )
    if not permissions.on_server(state, "CREATE ANY DATABASE") and not permissions.alter_database(state, statement.database):
        raise SqlError(3110, f"User does not have permission to RESTORE database '{statement.database}'.", severity=14)
    database = engine.database(statement.database)
    if database is None:
        database = await engine.create_database(statement.database, kept.collation)
        database.guids = Guids(family=kept.guids.family, first_fork=kept.guids.first_fork or kept.guids.fork)
    elif state.database is database:
        raise SqlError(
            3102,
            f"RESTORE cannot process database '{database.name}' because it is in use by this session. It is "
            "recommended that the "
            "master database be used when performing this operation.",
        )
    elif database.sessions():
        raise SqlError(3101, "Exclusive access could not be obtained because the database is in use.")
    elif kept.name.casefold() != database.name.casefold() and "REPLACE" not in options:
        raise SqlError(
            3154, f"The backup set holds a backup of a database other than the existing '{database.name}' database.", state=4
        )
    else:
        database.guids = replace(kept.guids, first_fork=kept.guids.first_fork or kept.guids.fork, fork=str(uuid.uuid4()))
    await _replace(engine, database, kept)


async def _replace(engine: Engine, database: Database, kept: Backup) -> None:
    await database.close()
    old, database.stored = database.stored, f"d{database.database_id}_{engine.next_copy()}"
    await engine.copy(kept.stored, database.stored)
    await engine.discard(old)
    database.collation = kept.collation
    database.catalogue = replace(kept.catalogue, generation=max(kept.catalogue.generation, database.catalogue.generation) + 1)
    database.options = kept.options.copy()
    database.newest = kept.newest


__all__ = ["Backup", "backup", "restore"]
