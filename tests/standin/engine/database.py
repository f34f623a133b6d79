"""adapter: the server (databases, logins, sessions, clock) and one database of it (options, committed catalogue)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from tests.standin import postgres
from tests.standin.control import Control
from tests.standin.engine.model import COLLATION, Catalogue, PrincipalInfo, State
from tests.standin.engine.waiting import Locks
from tests.standin.ports import Login, Refused, Session, SqlError

if TYPE_CHECKING:
    from tests.standin.engine.backup import Backup
    from tests.standin.postgres import Postgres

SA_PASSWORD = "Stand-in-1"  # of the login sa unless Engine.start says otherwise
COLLATIONS = re.compile(r"\w+?_(CI|CS)_AS(_KS)?(_WS)?(_VSS)?(_SC)?(_UTF8)?|\w+?_BIN2?(_UTF8)?", re.IGNORECASE)
SYSTEM_DATABASES = ("master", "tempdb", "model", "msdb")


@dataclass(slots=True)
class Tracking:
    """Change tracking of a database. `units`: MINUTES, HOURS, DAYS."""

    on: bool = False
    retention: int = 2
    units: str = "DAYS"
    auto_cleanup: bool = True

    def kept(self) -> timedelta:
        """How long changes are kept."""
        return timedelta(**{self.units.lower(): self.retention})


@dataclass(slots=True)
class Options:
    """What ALTER DATABASE and the control channel set."""

    snapshot: bool = False
    read_committed_snapshot: bool = False
    read_only: bool = False
    single_user: bool = False
    secondary: bool = False  # a readable secondary replica, by control
    compatibility: int = 150
    recovery: str = "FULL"
    delayed_durability: str = "DISABLED"
    tracking: Tracking = field(default_factory=Tracking)

    def copy(self) -> Options:
        """Independent of this one."""
        return replace(self, tracking=replace(self.tracking))


@dataclass(slots=True)
class Guids:
    """Of sys.database_recovery_status."""

    database: str = field(default_factory=lambda: str(uuid.uuid4()))
    family: str = field(default_factory=lambda: str(uuid.uuid4()))
    fork: str = field(default_factory=lambda: str(uuid.uuid4()))
    first_fork: str | None = None


def new_catalogue() -> Catalogue:
    """Of a database just created."""
    fixed = (("dbo", 1, "sa"), ("guest", 2, ""), ("INFORMATION_SCHEMA", 3, ""), ("sys", 4, ""))
    return Catalogue(
        schemas={"dbo": "dbo", "guest": "guest"},
        principals={name.casefold(): PrincipalInfo(number, name, login) for name, number, login in fixed},
    )


class Database:
    """One database: a database of PostgreSQL, its options, and the catalogue as committed."""

    def __init__(self, engine: Engine, name: str, database_id: int, collation: str, created: datetime) -> None:
        self.engine = engine
        self.name = name
        self.database_id = database_id
        self.collation = collation
        self.created = created
        self.stored = f"d{database_id}_{engine.next_copy()}"  # its name in PostgreSQL
        self.catalogue = new_catalogue()
        self.options = Options()
        self.guids = Guids()
        self.locks = Locks(self)
        self.newest = 0  # the version committed last
        self._keeper: asyncpg.Connection[asyncpg.Record] | None = None
        self._keeping = asyncio.Lock()
        self.publishing = asyncio.Lock()  # held from before COMMIT until the catalogue it commits is published

    def publish(self, catalogue: Catalogue) -> None:
        """A transaction that changed the catalogue has committed."""
        self.catalogue = catalogue

    def committed(self, version: int) -> None:
        """A transaction that changed tracked tables has committed."""
        self.newest = max(self.newest, version)

    def sessions(self) -> list[State]:
        """Those whose database it is."""
        return [state for state in self.engine.sessions.values() if state.database is self]

    @contextlib.asynccontextmanager
    async def maintenance(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of the server's own, for one user at a time."""
        async with self._keeping:
            if self._keeper is None or self._keeper.is_closed():
                self._keeper = await self.engine.server.connect(self.stored)
            yield self._keeper

    async def close(self) -> None:
        """Ends the server's own connection."""
        if self._keeper is not None:
            await self._keeper.close()
            self._keeper = None


@dataclass(slots=True)
class LoginInfo:
    """A SQL login."""

    name: str
    password: str
    principal_id: int
    database: str = "master"
    roles: set[str] = field(default_factory=set)  # of the server
    permissions: set[tuple[str, str]] = field(default_factory=set)  # GRANT|DENY, permission on the server


@dataclass(slots=True)
class Emulated:
    """What the control channel can make the server be."""

    versions: str = "snapshot"  # "live": CHANGE_TRACKING_CURRENT_VERSION() sees commits newer than the transaction's snapshot
    product_version: str = "16.0.4165.4"
    edition: str = "Developer Edition (64-bit)"
    engine_edition: int = 3
    server_name: str = "STANDIN"


class Engine:
    """The server; see ports.Engine."""

    def __init__(self, server: Postgres, password: str) -> None:
        self.server = server
        self.databases: dict[str, Database] = {}
        self.logins = {"sa": LoginInfo("sa", password, 1, roles={"sysadmin"})}
        self.sessions: dict[int, State] = {}
        self.emulated = Emulated()
        self.backups: dict[str, Backup] = {}  # by file name
        self.started = datetime.now(UTC)
        self.offset = timedelta()
        self.control = Control(self)
        self.creating = asyncio.Lock()
        self._next_spid = 50
        self._next_database = 0
        self._next_copy = 0
        self._next_temporary = 1_000_000_000
        self._next_login = 259

    @classmethod
    async def start(cls, folder: Path | None = None, password: str = SA_PASSWORD) -> Engine:
        """A server with its system databases. `folder`: where the data lies (the temporary folder)."""
        engine = cls(await postgres.start(folder), password)
        for name in SYSTEM_DATABASES:
            await engine.create_database(name)
        return engine

    async def stop(self) -> None:
        """Ends it with everything in it."""
        await self.control.close()
        for database in self.databases.values():
            await database.close()
        await self.server.stop()

    def now(self) -> datetime:
        """The server's time, UTC, as the control channel moved it."""
        return datetime.now(UTC) + self.offset

    def next_copy(self) -> int:
        """A number that no database of PostgreSQL had yet."""
        self._next_copy += 1
        return self._next_copy

    def next_temporary(self) -> int:
        """An object id for a temporary table or a table variable: unique on the server."""
        self._next_temporary += 1
        return self._next_temporary

    def database(self, name: str) -> Database | None:
        """By name, in any case."""
        return self.databases.get(name.casefold())

    # -- databases -----------------------------------------------------------------------------------------------------------

    async def create_database(self, name: str, collation: str = "", template: str = postgres.TEMPLATE) -> Database:
        """Raises SqlError 1801, 448."""
        if self.database(name) is not None:
            raise SqlError(1801, f"Database '{name}' already exists. Choose a different database name.", state=3)
        if collation and not COLLATIONS.fullmatch(collation):
            if "_AI" in collation.upper():
                raise Refused(f"the collation {collation}: accents are never ignored here")
            raise SqlError(448, f"Invalid collation '{collation}'.")
        self._next_database += 1
        database = Database(self, name, self._next_database, collation or COLLATION, self.now())
        await self.copy(template, database.stored)
        self.databases[name.casefold()] = database
        return database

    async def copy(self, template: str, target: str) -> None:
        """A copy of a database of PostgreSQL, under a new name. Nobody may be connected to the template."""
        async with self.creating:
            admin = await self.server.connect(postgres.ADMIN)
            try:
                await admin.execute(f"CREATE DATABASE {target} TEMPLATE {template} STRATEGY file_copy")
            finally:
                await admin.close()

    async def discard(self, stored: str) -> None:
        """Drops a database of PostgreSQL, whoever is connected."""
        admin = await self.server.connect(postgres.ADMIN)
        try:
            await admin.execute(f"DROP DATABASE IF EXISTS {stored} WITH (FORCE)")
        finally:
            await admin.close()

    async def drop_database(self, name: str, by: State | None = None) -> None:
        """Raises SqlError 3701, 3702."""
        database = self.database(name)
        if database is None:
            raise SqlError(3701, f"Cannot drop the database '{name}', because it does not exist or you do not have permission.")
        if name.casefold() in SYSTEM_DATABASES:
            raise SqlError(3708, f"Cannot drop the database '{name}' because it is a system database.")
        if database.sessions():
            raise SqlError(3702, f'Cannot drop database "{name}" because it is currently in use.')
        del self.databases[name.casefold()]
        await database.close()
        await self.discard(database.stored)

    async def end_sessions(self, database: Database, besides: State | None = None) -> None:
        """WITH ROLLBACK IMMEDIATE: every other session of the database is ended."""
        for state in database.sessions():
            if state is not besides and state.spid in self.sessions:  # it may have ended by itself
                await self.kill(state.spid)

    # -- sessions ------------------------------------------------------------------------------------------------------------

    async def login(self, login: Login) -> Session:
        """Raises SqlError 18456 (refused), 4060 (no such database, or no user in it), and others by rule."""
        from tests.standin.engine.session import EngineSession

        await self.control.login(login)
        known = self.logins.get(login.user.casefold())
        if known is None or known.password != login.password:
            raise SqlError(18456, f"Login failed for user '{login.user}'.", severity=14)
        database = self.database(login.database or known.database)
        if database is None or user_in(database, known) is None:
            name = login.database or known.database
            raise SqlError(4060, f'Cannot open database "{name}" requested by the login. The login failed.', severity=11)
        self._admit(database)
        self._next_spid += 1
        state = State(await self.server.connect(database.stored), database, database.catalogue, login, self._next_spid)
        self.sessions[state.spid] = state
        return EngineSession(state, self)

    def _admit(self, database: Database) -> None:
        if database.options.single_user and database.sessions():
            raise SqlError(
                924, f"Database '{database.name}' is already open and can only have one user at a time.", severity=14
            )

    async def switch(self, state: State, name: str) -> None:
        """USE: raises SqlError 911, 916, 924. Temporary tables do not come along (refused)."""
        database = self.database(name)
        if database is None:
            raise SqlError(911, f"Database '{name}' does not exist. Make sure that the name is entered correctly.")
        if database is state.database:
            return
        if user_in(database, self.logins[state.login.user.casefold()]) is None:
            raise SqlError(
                916,
                f'The server principal "{state.login.user}" is not able to access the database "{database.name}" '
                "under the current security context.",
                severity=14,
            )
        if state.trancount or state.temporaries or state.table_variables:
            raise Refused("USE inside a transaction or with temporary tables")
        self._admit(database)
        connection = await self.server.connect(database.stored)
        await state.connection.close()
        state.connection, state.database, state.catalogue, state.settings = connection, database, database.catalogue, None

    async def leave(self, state: State) -> None:
        """The session has ended: its transaction is rolled back. Idempotent."""
        self.sessions.pop(state.spid, None)
        state.database.locks.release(state.spid)
        if not state.connection.is_closed():
            try:
                await asyncio.wait_for(state.connection.close(), 5)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                state.connection.terminate()

    async def kill(self, spid: int) -> None:
        """KILL: the session's next word ends its connection. Raises SqlError 6106."""
        state = self.sessions.pop(spid, None)
        if state is None:
            raise SqlError(6106, f"Process ID {spid} is not an active process ID.")
        pid = state.connection.get_server_pid()
        state.connection.terminate()
        self.control.cut(spid)
        await self._ended(pid)
        state.database.locks.release(spid)

    async def _ended(self, pid: int) -> None:
        admin = await self.server.connect(postgres.ADMIN)
        try:
            await admin.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        finally:
            await admin.close()

    # -- logins --------------------------------------------------------------------------------------------------------------

    def create_login(self, name: str, password: str, database: str = "master") -> None:
        """Raises SqlError 15025."""
        if name.casefold() in self.logins:
            raise SqlError(15025, f"The server principal '{name}' already exists.")
        self._next_login += 1
        self.logins[name.casefold()] = LoginInfo(name, password, self._next_login, database)

    def drop_login(self, name: str) -> None:
        """Raises SqlError 15151, 15434."""
        if name.casefold() not in self.logins:
            raise SqlError(15151, f"Cannot drop the login '{name}', because it does not exist or you do not have permission.")
        if any(state.login.user.casefold() == name.casefold() for state in self.sessions.values()):
            raise SqlError(15434, f"Could not drop login '{name}' as the user is currently logged in.")
        del self.logins[name.casefold()]


def user_in(database: Database, login: LoginInfo, catalogue: Catalogue | None = None) -> PrincipalInfo | None:
    """The user that a login is in a database: dbo for a sysadmin; guest in the system's databases."""
    principals = (catalogue or database.catalogue).principals
    if "sysadmin" in login.roles:
        return principals["dbo"]
    for principal in principals.values():
        if principal.login.casefold() == login.name.casefold():
            return principal
    return principals["guest"] if database.name in SYSTEM_DATABASES else None


__all__ = ["SA_PASSWORD", "Database", "Emulated", "Engine", "LoginInfo", "Options", "Tracking", "new_catalogue", "user_in"]
