"""adapter: what one read transaction says: facts, changed datasets, changes, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from cdc.errors import AgentError, DatasetPaused, Transient
from cdc.model import Dataset, Facts, Note, Position, Schema, TableState
from cdc.sources.base import Page
from cdc.sources.sqlserver import statements
from cdc.sources.sqlserver.catalogue import Catalogue, portions
from cdc.sources.sqlserver.connection import Connection
from cdc.sources.sqlserver.facts import Seen, Tracked, own, tracked, tracked_one, untracked, verdict
from cdc.sources.sqlserver.failures import Kind, failure_of
from cdc.sources.sqlserver.parameters import bigint
from cdc.sources.sqlserver.plans import Plan, paused, place
from cdc.sources.sqlserver.reading import Changes, PageRead
from cdc.sources.sqlserver.singly import Failed, Singly, judged
from cdc.sources.sqlserver.statements import static
from transport.frames import Batch

T = TypeVar("T")
NO_SNAPSHOT = "snapshot isolation is not allowed, so rows of one window can be of different moments; no change is lost"
MANY = 2**62  # changes of the only dataset that has any: nobody asks how many


class Memory(msgspec.Struct):
    """What a source remembers from one read transaction to the next."""

    seen: Seen = Seen()
    looked: float = float("-inf")  # monotonic: when it was last asked which tables may not be read
    unreadable: frozenset[int] = frozenset()
    failed: dict[str, DatasetPaused] = {}  # datasets whose reading ended the transaction; not tried again until described


class About(NamedTuple):
    """What was last seen of the database."""

    at: float  # monotonic
    degraded: bool  # snapshot isolation is not allowed
    retention: float | None  # seconds that changes are kept; None: change tracking is off


class Snapshot:
    """One read transaction on one session."""

    def __init__(
        self,
        connection: Connection,
        catalogue: Catalogue,
        memory: Memory,
        version: int,
        about: About,
        where: str,
        look: bool,
    ) -> None:
        """`version`: asked for before anything else was; `look`: ask which tables may not be read."""
        self.version = version
        self._connection = connection
        self._catalogue = catalogue
        self._memory = memory
        self._about = about
        self._where = where
        self._look = look
        self._tracked: dict[int, Tracked] | None = None
        self._singles: dict[int, Tracked] = {}  # while not all of them were asked for
        self._lost = False  # an error of the server ended the transaction
        self._closed = False
        self._reading: Changes | None = None

    async def close(self) -> None:
        """Gives up what is still being read."""
        self._closed = True
        await self._leave()

    async def _leave(self) -> None:
        read, self._reading = self._reading, None
        if read is not None and read.pending:
            await self._connection.drop()

    # -- facts ---------------------------------------------------------------------------------------------------------------

    async def facts(self, position: Position | None, datasets: Sequence[Dataset]) -> Facts:
        """See the port."""
        found = await own(self._connection, position, self._where)
        self._memory.seen = found.seen
        if self._look:
            self._look = False
            rows = await self._connection.execute(static("unreadable"))
            self._memory.unreadable = frozenset(int(row[0]) for row in rows)
        states = await self._states(datasets)
        said = verdict(found, self.version, position)
        notes = (Note("A2418", NO_SNAPSHOT),) if self._about.degraded else ()
        return Facts(self.version, found.incarnation, said, [states[d.name] for d in datasets], notes, self._about.retention)

    async def _states(self, datasets: Sequence[Dataset]) -> dict[str, TableState]:
        lines = await self._lines()
        unknown = [d for d in datasets if self._line(lines, self._catalogue.known(d)) is None]
        if unknown:
            await self._catalogue.describe(self._connection, unknown)
        result: dict[str, TableState] = {}
        for dataset in datasets:
            plan = self._catalogue.known(dataset)
            line = self._line(lines, plan)
            readable = plan is not None and line is not None and await self._may_read(plan)
            result[dataset.name] = line.state(dataset.name) if line is not None and readable else untracked(dataset)
        return result

    async def _lines(self) -> dict[int, Tracked]:
        if self._tracked is None:
            self._tracked = await tracked(self._connection)
        return self._tracked

    @staticmethod
    def _line(lines: dict[int, Tracked], plan: Plan | None) -> Tracked | None:
        """The table that a plan was made for, under the name it had then."""
        line = lines.get(plan.table.object_id) if plan is not None else None
        return line if plan is not None and line is not None and line.identity[:3] == _identity(plan)[:3] else None

    async def _may_read(self, plan: Plan) -> bool:
        """The server's list names tables of which not every column may be read; whether ours may, it says when asked."""
        if plan.table.object_id not in self._memory.unreadable:
            return True
        try:
            await self._connection.execute(statements.probe(plan.reading), table=True)
        except DatasetPaused:
            return False
        except Transient as error:
            if _kind(error) is not Kind.CHANGED:
                raise
        return True

    # -- what changed --------------------------------------------------------------------------------------------------------

    async def changed(self, since: int, datasets: Sequence[Dataset]) -> dict[str, int]:
        """See the port."""
        states = await self._states(datasets)
        names: dict[tuple[str, str], list[str]] = {}
        for dataset in datasets:
            plan, valid = self._catalogue.known(dataset), states[dataset.name].min_valid
            if plan is not None and valid is not None and valid <= since:
                names.setdefault(plan.table.parts, []).append(dataset.name)
        tables = await self._asked(statements.changed_tables, list(names), since)
        counts = dict.fromkeys(tables, MANY)
        if len(tables) > 1:
            counts = await self._asked(statements.changed_counts, list(tables), since)
        return {name: max(1, count) for table, count in counts.items() for name in names[table]}

    async def _asked(
        self, build: Callable[[Sequence[tuple[str, str]]], str], tables: Sequence[tuple[str, str]], since: int
    ) -> dict[tuple[str, str], int]:
        """Tables named in the answers, with the number beside their place if there is one."""
        result: dict[tuple[str, str], int] = {}
        for part in portions(tables):
            try:
                rows = await self._connection.execute(build(part), (bigint(since),))
            except AgentError as error:
                raise self._moved(error) from error
            result |= {part[row[0]]: int(row[1]) if len(row) > 1 else 0 for row in rows}
        return result

    def _moved(self, error: AgentError) -> AgentError:
        """Permissions and tables were asked for a moment ago: they changed meanwhile, and are asked for again."""
        if _kind(error) is not Kind.PERMISSION:
            return error
        return Transient("A2211", "a permission was withdrawn at this moment", where=self._where)

    # -- rows ----------------------------------------------------------------------------------------------------------------

    async def changes(self, dataset: Dataset, schema: Schema, since: int) -> AsyncIterator[Batch]:
        """See the port. What is valid is checked before and after: clean-up and TRUNCATE keep to no snapshot."""
        plan, line = await self._plan(dataset, schema)
        self._check_valid(dataset, line, since)
        self._reading = read = Changes(plan, since)
        try:
            while not read.ended:
                for batch in await self._work(plan, read.next):
                    yield batch
        except Failed:
            await self._leave()
            async for batch in self._singly(plan, since):
                yield batch
        finally:
            if not self._closed:  # else the session may be another reader's already
                await self._leave()
        again = await tracked_one(self._connection, plan.table.object_id)
        self._check_valid(dataset, again, since)
        if again is None or again.begin_version != line.begin_version:
            raise paused("A2231", "its tracking began anew while it was read", dataset)

    async def _singly(self, plan: Plan, since: int) -> AsyncIterator[Batch]:
        try:
            async for batch in Singly(self._connection, plan).changes(since):
                yield batch
        except Transient as error:
            self._note(plan.dataset, error)
            raise

    async def page(self, dataset: Dataset, schema: Schema, generation: int, after: bytes, rows: int) -> Page:
        """See the port."""
        plan, _ = await self._plan(dataset, schema)
        read = PageRead(plan, generation, after, rows)
        try:
            page = await self._work(plan, read.read)
        except Failed:
            return await Singly(self._connection, plan).page(generation, after, rows)
        finally:
            if read.pending:
                await self._connection.drop()
        return page

    async def _plan(self, dataset: Dataset, schema: Schema) -> tuple[Plan, Tracked]:
        """Raises Transient if the table is no longer as it was described, DatasetPaused if it cannot be read at all."""
        if self._lost:
            raise Transient("A2257", "an error ended the read transaction", where=self._where)
        if failed := self._memory.failed.get(dataset.name):
            raise failed
        plan = self._catalogue.known(dataset)
        if plan is None:
            (made,) = await self._catalogue.describe(self._connection, [dataset])
            if isinstance(made, DatasetPaused):
                raise made
            plan = made
        line = await self._one(plan.table.object_id)
        if line is None or line.identity != _identity(plan) or plan.schema != schema:
            raise Transient("A2211", "the table is not as it was described", where=place(dataset))
        return plan, line

    async def _one(self, object_id: int) -> Tracked | None:
        """As the table was when it was first asked for in this transaction."""
        lines = self._tracked if self._tracked is not None else self._singles
        if object_id not in lines and (line := await tracked_one(self._connection, object_id)) is not None:
            lines[object_id] = line
        return lines.get(object_id)

    def _check_valid(self, dataset: Dataset, line: Tracked | None, since: int) -> None:
        valid = line.state("").min_valid if line is not None else None
        if valid is None:
            raise paused("A2330", "its changes are not tracked, or the permission to see them is missing", dataset)
        if valid > since:
            raise paused("A2231", f"its changes since version {since} cannot be told any more", dataset)

    async def _work(self, plan: Plan, call: Callable[[Any, Any], T]) -> T:
        """One portion. Raises DatasetPaused for what only this dataset's table is to blame for."""
        try:
            return await self._connection.work(call, table=True)
        except (DatasetPaused, Transient) as error:
            said = await judged(self._connection, plan, error)
            self._note(plan.dataset, said)
            raise said from error

    def _note(self, dataset: Dataset, error: AgentError) -> None:
        """An error that ended the transaction is to blame on the dataset: it is left out until it is described anew."""
        if error.code == "A2257" and isinstance(error, Transient):
            self._lost = True
            self._memory.failed[dataset.name] = paused("A2230", error.message, dataset)


def _identity(plan: Plan) -> tuple[int, str, str, str]:
    table = plan.table
    return table.object_id, table.schema, table.name, table.modified


def _kind(error: AgentError) -> Kind | None:
    failure = failure_of(error)
    return None if failure is None else failure.kind


class SqlServerReader:
    """The port `cdc.sources.base.Reader`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def facts(self, position: Position | None, datasets: Sequence[Dataset]) -> Facts:
        """See the port."""
        return await self._snapshot.facts(position, datasets)

    async def changed(self, since: int, datasets: Sequence[Dataset]) -> dict[str, int]:
        """See the port."""
        return await self._snapshot.changed(since, datasets)

    def changes(self, dataset: Dataset, schema: Schema, since: int) -> AsyncIterator[Batch]:
        """See the port."""
        return self._snapshot.changes(dataset, schema, since)

    async def page(self, dataset: Dataset, schema: Schema, generation: int, after: bytes, rows: int) -> Page:
        """See the port."""
        return await self._snapshot.page(dataset, schema, generation, after, rows)
