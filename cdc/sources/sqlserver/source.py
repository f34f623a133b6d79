"""adapter: the port `cdc.sources.base.Source` over one SQL Server database.

Two sessions, each with a thread of its own: one reads windows, each in one SNAPSHOT transaction, and blocks no writer; the
other asks for the pulse, describes, and writes to the few tables of our own schema. Nothing else is ever written to the ERP.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence

from cdc.errors import AgentError, CompanyStopped, DatasetPaused, Transient
from cdc.model import Dataset, Description, Finding, Position
from cdc.source_settings import SnapshotUse
from cdc.source_settings import SqlServerSource as Settings
from cdc.sources.base import Pulse
from cdc.sources.sqlserver import doctor, installing, reading, scripting, statements
from cdc.sources.sqlserver.catalogue import Catalogue
from cdc.sources.sqlserver.connection import Connection, where
from cdc.sources.sqlserver.facts import NOT_INSTALLED, Seen
from cdc.sources.sqlserver.lane import Lane
from cdc.sources.sqlserver.logins import Logins
from cdc.sources.sqlserver.plans import Database, Plan
from cdc.sources.sqlserver.snapshot import About, Memory, Snapshot, SqlServerReader
from cdc.sources.sqlserver.statements import static
from transport.runtime import Runtime
from transport.tasks import to_the_end


class SqlServerSource:
    """One ERP database. `structure_every`: seconds between two looks at what costs the server a scan of its catalogue.

    For `inspect` alone: `retention`, seconds that changes should be kept; `pause`, the longest time between two looks.
    `logins`: what is known of the login from other sources of the company.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        *,
        structure_every: float = 15.0,
        retention: float = doctor.RETENTION,
        pause: float = 0.0,
        logins: Logins | None = None,
    ) -> None:
        self._settings = settings
        self._logins = logins or Logins()
        self._runtime = runtime
        self._every = structure_every
        self._needs = (retention, pause)
        self._where = where(settings)
        self._lanes: tuple[Lane, Lane] | None = None  # for windows, for everything else
        self._catalogue = Catalogue()
        self._memory = Memory()
        self._structure: tuple[float, int] | None = None  # when it was looked at, and what it was
        self._about: About | None = None

    # -- life ----------------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See the port. The product's structures may still be missing: `install` needs an open source."""
        if self._lanes is not None:
            return
        lanes = (self._lane("read"), self._lane("write"))
        try:
            for lane in lanes:
                await lane.open()
            async with lanes[1].use() as connection:
                await installing.layout(connection, self._where)
        except BaseException:
            await _close(lanes)
            raise
        self._lanes = lanes

    def _lane(self, name: str) -> Lane:
        return Lane(self._settings, self._runtime, f"sqlserver-{self._settings.database}-{name}", self._prepare, self._logins)

    async def _prepare(self, connection: Connection) -> None:
        """Settles a new session, and looks whether changes can be asked for here at all."""
        await connection.work(lambda session, _: reading.prepare(session))
        await connection.execute(static("session"))
        await connection.execute(statements.lock_timeout(self._settings.lock_timeout))
        await self._look(connection)
        self._structure = None

    async def _look(self, connection: Connection) -> None:
        """What is known of the database: whether it can be written (no secondary), whether it shows snapshots."""
        (row,) = await connection.execute(static("database"))
        if row[4] != "READ_WRITE":
            message = f"Updateability is {row[4] or 'not known'}: a secondary replica, a standby or a read-only database"
            raise Transient("A2253", message, where=self._where)
        self._catalogue.database = Database(unmask=bool(row[6]))
        kept = await installing.retention(connection)
        self._about = About(self._now(), row[0] != installing.SNAPSHOT_ON, kept)

    def _now(self) -> float:
        return self._runtime.clock.monotonic()

    async def close(self) -> None:
        """See the port."""
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            await _close(lanes)

    def _open(self) -> tuple[Lane, Lane]:
        if self._lanes is None:
            raise Transient("A2212", "the source is not open", where=self._where)
        return self._lanes

    # -- reading -------------------------------------------------------------------------------------------------------------

    async def pulse(self) -> Pulse:
        """See the port. Not held up by a running read transaction."""
        async with self._open()[1].use() as connection:
            (row,) = await connection.execute(static("pulse"))
            if row[1] is None:
                raise CompanyStopped("A2205", NOT_INSTALLED, where=self._where)
            return Pulse(self._version(row[0]), await self._look_at_structure(connection))

    def _version(self, found: int | None) -> int:
        if found is None:
            raise CompanyStopped("A2329", "change tracking is off for the database", where=self._where)
        return int(found)

    async def _look_at_structure(self, connection: Connection) -> int:
        """A number that moves with every table that is made, changed or removed."""
        if self._structure is None or self._now() - self._structure[0] >= self._every:
            (row,) = await connection.execute(static("structure"))
            digest = hashlib.blake2b(repr(tuple(row)).encode(), digest_size=8).digest()
            self._structure = (self._now(), int.from_bytes(digest, "big") >> 1)
        return self._structure[1]

    async def describe(self, datasets: Sequence[Dataset]) -> list[Description]:
        """See the port."""
        async with self._open()[1].use() as connection:
            found = await self._catalogue.describe(connection, datasets)
        self._memory.failed.clear()  # what could not be read is tried again
        return [_description(dataset, made) for dataset, made in zip(datasets, found, strict=True)]

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[SqlServerReader]:
        """See the port. One at a time; others wait for their turn."""
        async with self._open()[0].use() as connection:
            snapshot = await self._begin(connection)
            try:
                yield SqlServerReader(snapshot)
            finally:
                await to_the_end(_end(connection, snapshot))

    async def _begin(self, connection: Connection) -> Snapshot:
        """Begins the transaction; its first statement asks for the version, so that nothing read later is older."""
        about = await self._seen(connection)
        try:
            (row,) = await connection.execute(static("begin_committed" if about.degraded else "begin_snapshot"))
        except AgentError:
            self._about = None
            raise
        version = self._version(row[0])
        return Snapshot(connection, self._catalogue, self._memory, version, about, self._where, self._unreadable_due())

    def _unreadable_due(self) -> bool:
        """Whether it is time to look which tables the agent's user may not read."""
        now = self._now()
        if now - self._memory.looked < self._every:
            return False
        self._memory.looked = now
        return True

    async def _seen(self, connection: Connection) -> About:
        """Not older than `structure_every`. Raises CompanyStopped where windows must be of one moment and cannot be."""
        if self._about is None or self._now() - self._about.at >= self._every:
            await self._look(connection)
        about = self._about
        if about is None:  # pragma: no cover  # `_look` has set it or raised
            raise AssertionError
        if about.degraded and self._settings.snapshot is SnapshotUse.REQUIRE:
            self._about = None
            raise CompanyStopped("A2252", "snapshot isolation is not allowed in the database", where=self._where)
        return about

    # -- writing -------------------------------------------------------------------------------------------------------------

    async def witness(self, position: Position, keep_from: int) -> None:
        """See the port."""
        async with self._open()[1].use() as connection:
            with self._runtime.durable("sqlserver.witness"):
                same = await installing.witness(connection, position, keep_from, self._memory.seen, self._where)
        if not same:
            message = "the database was restored between reading and the witness's line"
            raise Transient("A2213", message, where=self._where)

    async def install(self, datasets: Sequence[Dataset]) -> list[str]:
        """See the port. Change tracking itself is turned on by `enable`, or by a person: what is not tracked is said."""
        async with self._open()[1].use() as connection:
            with self._runtime.durable("sqlserver.install"):
                done = await installing.install(connection, self._where)
            missing = await installing.untracked(connection, self._catalogue, datasets)
        self._structure = None
        return done + [f"not tracked: {problem}" for problem in missing]

    async def enable(self, datasets: Sequence[Dataset], *, tracking: bool, retention: float, snapshot: bool) -> list[str]:
        """See `cdc.sources.base.Installable`."""
        done: list[str] = []
        async with self._open()[1].use() as connection:
            if snapshot:
                done += await installing.allow_snapshot(connection)
            if tracking:
                done += await installing.enable_tracking(connection, self._catalogue, datasets, retention)
        self._about = self._structure = None
        return done

    async def script(
        self, datasets: Sequence[Dataset], *, tracking: bool = False, retention: float = 0.0, snapshot: bool = False
    ) -> str:
        """See `cdc.sources.base.Installable`."""
        wanted = scripting.Wanted(tracking=tracking, retention=retention, snapshot=snapshot)
        return scripting.script(self._settings, datasets, installing.layouts(), wanted)

    async def uninstall(self) -> list[str]:
        """See the port. Change tracking stays as it is: others may use it."""
        async with self._open()[1].use() as connection:
            with self._runtime.durable("sqlserver.uninstall"):
                done = await installing.uninstall(connection)
        self._structure, self._memory.seen = None, Seen()
        return done

    async def repair(self, datasets: Sequence[Dataset]) -> list[str]:
        """See the port. Only a person turns tracking on: says for which tables, and changes nothing."""
        async with self._open()[1].use() as connection:
            missing = await installing.untracked(connection, self._catalogue, datasets)
        return [f"not tracked: {problem}" for problem in missing]

    async def clean_up(self, retention: float) -> int:
        """See the port. The server cleans its change records up by itself; here only old lines of our own log go."""
        async with self._open()[1].use() as connection:
            await installing.clean_witness(connection, retention)
        return 0

    async def new_incarnation(self) -> bytes:
        """See the port."""
        made = self._runtime.new_id()
        async with self._open()[1].use() as connection:
            with self._runtime.durable("sqlserver.incarnation"):
                await installing.new_incarnation(connection, made)
        return made

    async def inspect(self, datasets: Sequence[Dataset]) -> list[Finding]:
        """See the port. Works on a source that is not open, and on one that cannot be opened."""
        retention, pause = self._needs
        return await doctor.inspect(
            self._settings, self._runtime, datasets, retention=retention, pause=pause, describe=self._described
        )

    async def _described(self, datasets: Sequence[Dataset]) -> list[Description]:
        if self._lanes is not None:
            return await self.describe(datasets)
        try:
            await self.open()
            return await self.describe(datasets)
        finally:
            await self.close()


async def _close(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        await lane.close()


async def _end(connection: Connection, snapshot: Snapshot) -> None:
    """Ends the transaction, which wrote nothing. A session for which that fails is not used again."""
    if connection.doubtful:
        return
    try:
        await snapshot.close()
        await connection.execute(static("end"))
    except AgentError:
        await connection.reset()


def _description(dataset: Dataset, made: Plan | DatasetPaused) -> Description:
    if isinstance(made, Plan):
        return made.description
    return Description(dataset.name, None, code=made.code, problem=made.message)
