"""adapter: the port `cdc.sources.base.Source` over one SQLite file.

Two connections, each with a thread of its own: one only reads (`query_only`), one writes our structures and asks for the pulse.
In WAL mode readers block no writer. Our write transactions are short: the longest is `install`, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cdc.errors import AgentError, CompanyStopped, DatasetPaused, Transient
from cdc.model import Dataset, Description, Facts, Finding, Position, Schema
from cdc.sources.base import Page, Pulse
from cdc.sources.sqlite import doctor, reading
from cdc.sources.sqlite.catalogue import Catalogue, registry, version, version_of_schema
from cdc.sources.sqlite.connection import connect, writing
from cdc.sources.sqlite.facts import Changed, changed, facts, last_witness, tracked_as
from cdc.sources.sqlite.installing import Installer
from cdc.sources.sqlite.lane import Lane
from cdc.sources.sqlite.plans import Plan, Plans, paused
from transport.frames import Batch
from transport.runtime import Runtime

T = TypeVar("T")


class Snapshot:
    """What one read transaction says; blocking, in the reading connection's thread."""

    def __init__(
        self, connection: sqlite3.Connection, catalogue: Catalogue, plans: Plans, seen: list[tuple[int, bytes] | None]
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._plans = plans
        self._seen = seen
        self._changed: tuple[int, dict[int, Changed]] | None = None
        self._running: list[Iterator[Batch]] = []
        self.version = version(connection)
        catalogue.refresh()

    def facts(self, position: Position | None, datasets: Sequence[Dataset]) -> Facts:
        """See the port."""
        self._seen[0] = last_witness(self._connection)
        return facts(self._connection, self._catalogue, self._plans, position, datasets)

    def changed(self, since: int, datasets: Sequence[Dataset]) -> dict[str, int]:
        """See the port."""
        counts = self._counts(since)
        lines = registry(self._connection)
        result: dict[str, int] = {}
        for dataset in datasets:
            found = tracked_as(self._plans, lines, dataset)
            if found and found[0].tbl in counts:
                result[dataset.name] = counts[found[0].tbl].records
        return result

    def _counts(self, since: int) -> dict[int, Changed]:
        if self._changed is None or self._changed[0] != since:
            self._changed = (since, changed(self._connection, since))
        return self._changed[1]

    def changes(self, dataset: Dataset, schema: Schema, since: int) -> Iterator[Batch]:
        """See the port. The range is narrowed to the table's own records, where they were counted."""
        plan = self.plan(dataset, schema)
        found = tracked_as(self._plans, registry(self._connection), dataset)
        if found is None:
            raise paused("A2232", "its changes are not tracked", dataset)
        if not self._catalogue.intact(*found) or found[0].min_valid > since:
            raise paused("A2231", f"its changes since version {since} cannot be told any more", dataset)
        tbl, until = found[0].tbl, self.version
        if self._changed is not None and self._changed[0] == since:
            counted = self._changed[1].get(tbl)
            if counted is None:
                return iter(())
            since, until = counted.first - 1, counted.last
        batches = reading.changes(self._connection, plan, tbl, since, until)
        self._running.append(batches)
        return batches

    def page(self, dataset: Dataset, schema: Schema, generation: int, after: bytes, rows: int) -> Page:
        """See the port."""
        return reading.page(self._connection, self.plan(dataset, schema), generation, after, rows)

    def plan(self, dataset: Dataset, schema: Schema) -> Plan:
        """Raises Transient if the table is no longer as it was described."""
        plan = self._plans.plan(dataset)
        if plan.schema != schema:
            where = f"dataset {dataset.name}, table {dataset.table}"
            raise Transient("A2211", "the table is not as it was described", where=where)
        return plan

    def close(self) -> None:
        """Ends the statements that are still open."""
        for batches in self._running:
            close = getattr(batches, "close", None)
            if close is not None:
                close()
        self._running.clear()


class SqliteReader:
    """The port `cdc.sources.base.Reader`: a snapshot, asked through its lane."""

    def __init__(self, lane: Lane, snapshot: Snapshot) -> None:
        self._lane = lane
        self._snapshot = snapshot

    async def facts(self, position: Position | None, datasets: Sequence[Dataset]) -> Facts:
        """See the port."""
        return await self._lane.run(lambda _: self._snapshot.facts(position, datasets))

    async def changed(self, since: int, datasets: Sequence[Dataset]) -> dict[str, int]:
        """See the port."""
        return await self._lane.run(lambda _: self._snapshot.changed(since, datasets))

    async def changes(self, dataset: Dataset, schema: Schema, since: int) -> AsyncIterator[Batch]:
        """See the port."""
        batches = await self._lane.run(lambda _: self._snapshot.changes(dataset, schema, since))
        while (batch := await self._lane.run(lambda _: next(batches, None))) is not None:
            yield batch

    async def page(self, dataset: Dataset, schema: Schema, generation: int, after: bytes, rows: int) -> Page:
        """See the port."""
        return await self._lane.run(lambda _: self._snapshot.page(dataset, schema, generation, after, rows))


class _Open:
    """Everything that exists between `open` and `close`."""

    def __init__(self, runtime: Runtime, name: str, where: str) -> None:
        self.reading = Lane(runtime, f"{name}-read", where)
        self.writing = Lane(runtime, f"{name}-write", where)
        self.file: tuple[int, int] = (0, 0)
        self.catalogue: Catalogue
        self.plans: Plans
        self.installer: Installer


class SqliteSource:
    """One ERP database in one file. `busy_timeout`: seconds to wait for the ERP's own writers before it is called locked."""

    def __init__(self, path: Path, runtime: Runtime, *, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._where = str(path)
        self._runtime = runtime
        self._busy_timeout = busy_timeout
        self._turn = asyncio.Lock()  # one read transaction at a time
        self._now: _Open | None = None
        self._seen: list[tuple[int, bytes] | None] = [None]  # the witness log's last line in the last snapshot

    # -- life ----------------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See the port. The product's structures may still be missing: `install` needs an open source."""
        if self._now is not None:
            return
        made = _Open(self._runtime, f"sqlite-{self._path.stem}", self._where)
        try:
            await made.reading.open(lambda: self._connect(query_only=True))
            await made.writing.open(lambda: self._connect(query_only=False))
            made.file = self._identity()
            await made.reading.run(lambda c: self._prepare_reading(made, c))
            await made.writing.run(lambda c: self._prepare_writing(made, c))
        except BaseException:
            await made.reading.close()
            await made.writing.close()
            raise
        self._now, self._seen = made, [None]

    def _connect(self, *, query_only: bool) -> sqlite3.Connection:
        return connect(self._path, busy_timeout=self._busy_timeout, query_only=query_only)

    def _prepare_reading(self, made: _Open, connection: sqlite3.Connection) -> None:
        made.catalogue = Catalogue(connection)
        made.plans = Plans(connection, made.catalogue)

    def _prepare_writing(self, made: _Open, connection: sqlite3.Connection) -> None:
        made.installer = Installer(connection, self._where)
        made.installer.check_layout()

    async def close(self) -> None:
        """See the port."""
        made, self._now = self._now, None
        if made is not None:
            await made.reading.close()
            await made.writing.close()

    def _open(self) -> _Open:
        if self._now is None:
            raise Transient("A2212", "the source is not open", where=self._where)
        return self._now

    def _identity(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    def _check_same_file(self, made: _Open) -> None:
        """A connection goes on reading the file it opened, also when another was put in its place."""
        if self._identity() != made.file:
            raise Transient("A2210", "another file was put in its place", where=self._where)

    # -- reading -------------------------------------------------------------------------------------------------------------

    async def pulse(self) -> Pulse:
        """See the port. Not held up by a running read transaction."""
        made = self._open()

        def ask(connection: sqlite3.Connection) -> Pulse:
            self._check_same_file(made)
            return Pulse(version(connection), version_of_schema(connection))

        return await made.writing.run(ask)

    async def describe(self, datasets: Sequence[Dataset]) -> list[Description]:
        """See the port."""
        made = self._open()
        return await made.writing.run(lambda _: [made.installer.plans.describe(dataset) for dataset in datasets])

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[SqliteReader]:
        """See the port. One at a time; others wait for their turn."""
        made = self._open()
        async with self._turn:
            snapshot = await made.reading.run(lambda c: self._begin(made, c))
            try:
                yield SqliteReader(made.reading, snapshot)
            finally:
                with contextlib.suppress(Transient):  # closed meanwhile: the transaction went with the connection
                    await asyncio.shield(asyncio.ensure_future(made.reading.run(lambda c: _end(c, snapshot))))

    def _begin(self, made: _Open, connection: sqlite3.Connection) -> Snapshot:
        self._check_same_file(made)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("BEGIN")
        try:
            return Snapshot(connection, made.catalogue, made.plans, self._seen)
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    # -- writing -------------------------------------------------------------------------------------------------------------

    async def witness(self, position: Position, keep_from: int) -> None:
        """See the port."""
        seen, at = self._seen[0], _text(self._runtime.clock.now())
        await self._write("sqlite.witness", lambda own: own.witness(position, keep_from, seen, at))

    async def install(self, datasets: Sequence[Dataset]) -> list[str]:
        """See the port. A dataset that cannot be tracked is said in the words and costs the others nothing."""
        made = self._open()
        await made.writing.run(lambda _: made.installer.look(datasets))
        return await self._write("sqlite.install", lambda own: own.install(datasets, self._runtime.new_id))

    async def script(
        self, datasets: Sequence[Dataset], *, tracking: bool = False, retention: float = 0.0, snapshot: bool = False
    ) -> str:
        """See `cdc.sources.base.Installable`. Raises AgentError A2320: what is made here has no meaning in other hands."""
        raise AgentError("A2320", "there is no script for a file: `cdc install` makes what is needed", where=self._where)

    async def enable(self, datasets: Sequence[Dataset], *, tracking: bool, retention: float, snapshot: bool) -> list[str]:
        """See `cdc.sources.base.Installable`. Raises AgentError A2320: the triggers that `install` makes are the tracking."""
        raise AgentError("A2320", "there is nothing to enable in a file: `cdc install` makes what is needed", where=self._where)

    async def uninstall(self) -> list[str]:
        """See the port."""
        return await self._write("sqlite.uninstall", lambda own: own.uninstall())

    async def repair(self, datasets: Sequence[Dataset]) -> list[str]:
        """See the port."""
        return await self._write("sqlite.repair", lambda own: own.repair(datasets))

    async def clean_up(self, retention: float) -> int:
        """See the port. How old a record is, is known from the times of earlier calls: call it regularly."""
        now = self._runtime.clock.now()
        cutoff = _text(now - timedelta(seconds=retention))
        limit = await self._write("sqlite.clock", lambda own: own.note_time(_text(now), cutoff))
        removed, more = 0, limit > 0
        while more:
            portion, more = await self._write("sqlite.clean_up", lambda own: own.clean_up(limit))
            removed += portion
        return removed

    async def new_incarnation(self) -> bytes:
        """See the port."""
        made = self._runtime.new_id()
        await self._write("sqlite.incarnation", lambda own: own.new_incarnation(made))
        return made

    async def _write(self, step: str, work: Callable[[Installer], T]) -> T:
        """One durable write transaction."""
        made = self._open()

        def write(connection: sqlite3.Connection) -> T:
            self._check_same_file(made)
            try:
                with writing(connection):
                    result = work(made.installer)
                    with self._runtime.durable(step):
                        connection.execute("COMMIT")
            except BaseException:
                made.installer.catalogue.forget()
                raise
            return result

        return await made.writing.run(write)

    async def inspect(self, datasets: Sequence[Dataset]) -> list[Finding]:
        """See the port. Works on a source that is not open, and on one that cannot be opened."""
        executor = self._runtime.executor(f"sqlite-{self._path.stem}-doctor")
        try:
            return await executor.run(lambda: doctor.inspect(self._path, self._busy_timeout, datasets))
        finally:
            executor.close()


def _end(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    snapshot.close()
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _text(moment: datetime) -> str:
    """UTC with microseconds: the order of the texts is the order of time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


__all__ = ["CompanyStopped", "DatasetPaused", "SqliteReader", "SqliteSource"]
