"""shell: each stage alone, through the functions the programs use, on the same rows.

Rows go through page by page, as in the programs, so that each stage finds caches and heap as it does there; the clock of a
stage runs only while it works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

from bench import data
from bench.link import send
from bench.report import Measured
from cdc.batching import Batcher
from cdc.journal import Journal, Stored
from cdc.model import Dataset
from cdc.sources.base import ROWS_PER_READ, Page
from cdc.sources.sqlite.source import SqliteSource
from cdc.uplink import TURN_BYTES, TURN_FRAMES
from cloud.ingest import decode_stream
from cloud.store.base import Staged
from cloud.store.sqlite import SqliteStore
from transport.codec import schema_id, seal
from transport.frames import Batch, Kind, LoadBegin, LoadEnd, Schema, StreamMessage, WindowEnd
from transport.machine import calm_collector, system_runtime

WINDOW_ROWS = 20_000  # the agent's default
CHANNEL, DATASET = "hr", data.TABLE.lower()
NAMES = ("read", "encode", "compress", "journal", "send", "decode", "write")
T = TypeVar("T")


class Clocks:
    """Wall and CPU time (of this process, all threads) by stage."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys(NAMES, (0.0, 0.0))

    def time(self, stage: str, call: Callable[[], T]) -> T:
        """The result of `call`, which is that stage's work."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.add(stage, time.perf_counter() - wall, time.process_time() - cpu)
        return result

    @contextmanager
    def inside(self, stage: str, within: str) -> Iterator[None]:
        """The block is that stage's work, but for what `within` takes meanwhile."""
        wall, cpu, other = time.perf_counter(), time.process_time(), self._spent[within]
        yield
        now = self._spent[within]
        self.add(stage, time.perf_counter() - wall - (now[0] - other[0]), time.process_time() - cpu - (now[1] - other[1]))

    def add(self, stage: str, wall: float, cpu: float) -> None:
        """Seconds more."""
        before = self._spent[stage]
        self._spent[stage] = (before[0] + wall, before[1] + cpu)

    def measured(self, rows: int) -> list[Measured]:
        """In the order a row takes. The journal's writer seals, so that time was counted in two stages."""
        wall, cpu = (taken - sealing for taken, sealing in zip(self._spent["journal"], self._spent["compress"], strict=True))
        self._spent["journal"] = wall, cpu
        return [Measured(name, rows, *self._spent[name]) for name in NAMES]


class Line:
    """Everything between the source's pages and the cloud's file but the link, in one thread."""

    def __init__(self, folder: Path, schema: Schema, clocks: Clocks) -> None:
        runtime = system_runtime()
        self.envelopes: list[bytes] = []
        self._clocks = clocks
        self._batcher = Batcher(schema)
        self._journal = Journal(folder / "journal.db", limit=1 << 30, reserve=1 << 20, new_id=runtime.new_id)
        self._journal.open()
        self._id = self._journal.restart(CHANNEL, b"").journal_id
        self._store = SqliteStore(folder / "copy.db", runtime)
        self._store.adopt(CHANNEL, self._id, 1)
        self._writer = self._journal.window(CHANNEL)
        self._writer.append(schema)
        self._writer.append(LoadBegin(DATASET, schema_id(schema), 1))

    def close(self) -> None:
        """Journal and copy."""
        self._journal.close()
        self._store.close()

    def rows(self, batches: Sequence[Batch]) -> None:
        """Encoded, compressed and into the open window."""
        raws = self._clocks.time("encode", lambda: [p.raw for batch in batches for p in self._batcher.pieces(batch)])
        self._clocks.time(
            "compress", lambda: [seal(raw, Kind.BATCH, channel=CHANNEL, journal_id=self._id, seq=1) for raw in raws]
        )
        self._clocks.time("journal", lambda: self._append(raws))

    def _append(self, raws: Sequence[bytes]) -> None:
        for raw in raws:
            self._writer.append_raw(Kind.BATCH, raw)

    def end(self, *, last: bool) -> None:
        """The window is complete in the journal, is read for the link, applied to the copy, and trimmed."""
        if last:
            self._writer.append(LoadEnd(DATASET, 1, 0))
        self._writer.append(WindowEnd(b"p", 0, 1, 0, ""))
        frames = self._clocks.time("journal", self._completed)
        tail = [Staged(seq, 0, envelope) for seq, envelope in frames]
        with self._clocks.inside("write", "decode"):
            self._store.apply(CHANNEL, self._id, tail, self._decoded, lambda _: None)
        self._clocks.time("journal", lambda: self._journal.applied(CHANNEL, frames[-1].seq))
        self.envelopes += [envelope for _, envelope in frames]
        self._writer = self._journal.window(CHANNEL)

    def _completed(self) -> list[Stored]:
        frames: list[Stored] = []
        state = self._writer.complete(b"p")
        after = state.last_seq - self._writer.frames
        while found := self._journal.read(CHANNEL, after, TURN_BYTES, TURN_FRAMES):
            frames += found
            after = found[-1].seq
        return frames

    def _decoded(self, envelope: bytes) -> StreamMessage | None:
        return self._clocks.time("decode", lambda: decode_stream(envelope))


def stages(folder: Path, rows: int) -> list[Measured]:
    """All of them, in the order a row takes."""
    folder.mkdir()
    calm_collector()  # as both programs do
    clocks = Clocks()
    envelopes = asyncio.run(_through(folder, rows, clocks))
    clocks.add("send", *send(folder, envelopes))
    return clocks.measured(rows)


async def _through(folder: Path, rows: int, clocks: Clocks) -> list[bytes]:
    """Every stage but the link; the envelopes for that one."""
    dataset = Dataset(name=DATASET, table=data.TABLE, channel=CHANNEL)
    source = SqliteSource(data.create(folder / "erp.db", rows), system_runtime())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(source.close)
        await source.open()
        await source.install([dataset])
        (found,) = await source.describe([dataset])
        if found.schema is None:
            raise RuntimeError(found.problem)
        line = stack.enter_context(closing(Line(folder, found.schema, clocks)))
        async for page, ends in _pages(source, dataset, found.schema, clocks):
            line.rows(page.batches)
            if ends:
                line.end(last=page.done)
    return line.envelopes


async def _pages(source: SqliteSource, dataset: Dataset, schema: Schema, clocks: Clocks) -> AsyncIterator[tuple[Page, bool]]:
    """As capture asks for them; and whether the window ends."""
    after, done, rows = b"", False, 0
    while not done:
        async with source.reader() as reader:
            while not done and rows < WINDOW_ROWS:
                wall, cpu = time.perf_counter(), time.process_time()
                page = await reader.page(dataset, schema, 1, after, ROWS_PER_READ)
                clocks.add("read", time.perf_counter() - wall, time.process_time() - cpu)
                after, done, rows = page.after, page.done, rows + page.rows
                yield page, done or rows >= WINDOW_ROWS
        rows = 0
