"""shell: each stage alone, through the functions the programs use, on the same rows.

Rows go through page by page, as in the programs, so that each stage finds caches and heap as it does there; the clock of a
stage runs only while it works.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TypeVar

from bench import data
from bench.link import send
from bench.report import Measured
from cdc.batching import Batcher
from cdc.journal import Journal, Stored
from cdc.model import Dataset
from cdc.sources.base import Page
from cdc.sources.sqlite.source import SqliteSource
from cloud.store.base import Staged
from cloud.store.sqlite import SqliteStore
from transport.codec import KINDS, decode_body, decode_frame, raw_body, schema_id, seal
from transport.frames import Batch, LoadBegin, LoadEnd, Schema, StreamMessage, WindowEnd
from transport.machine import system_runtime

PAGE_ROWS = 20_000  # the agent's default
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

    def add(self, stage: str, wall: float, cpu: float) -> None:
        """Seconds more."""
        before = self._spent[stage]
        self._spent[stage] = (before[0] + wall, before[1] + cpu)

    def measured(self, rows: int) -> list[Measured]:
        """In the order a row takes."""
        return [Measured(name, rows, *self._spent[name]) for name in NAMES]


class Line:
    """Everything between the source's pages and the cloud's file, in one thread."""

    def __init__(self, folder: Path, schema: Schema, clocks: Clocks) -> None:
        runtime = system_runtime()
        self.envelopes: list[bytes] = []  # of all batches
        self._clocks = clocks
        self._schema = schema
        self._batcher = Batcher(schema)
        self._journal = Journal(folder / "journal.db", limit=1 << 30, reserve=1 << 20, new_id=runtime.new_id)
        self._journal.open()
        self._id = self._journal.restart(CHANNEL, b"").journal_id
        self._store = SqliteStore(folder / "copy.db", runtime)
        self._store.adopt(CHANNEL, self._id, 1)
        self._seq = itertools.count(1)
        self._first: list[StreamMessage] = [schema, LoadBegin(DATASET, schema_id(schema), 1)]

    def close(self) -> None:
        """Journal and copy."""
        self._journal.close()
        self._store.close()

    def page(self, page: Page) -> None:
        """A window with this page, through every stage but reading and the link."""
        time_, rows = self._clocks.time, page.rows
        raws = time_("encode", lambda: [p.raw for batch in page.batches for p in self._batcher.pieces(batch)])
        before = [self._sealed(message) for message in self._first]
        self._first = []
        batches = time_("compress", lambda: [Stored(seq := next(self._seq), self._seal(raw, seq)) for raw in raws])
        ends = [LoadEnd(DATASET, 1, rows)] if page.done else []
        after = [self._sealed(message) for message in (*ends, WindowEnd(b"p", 0, 1, rows, ""))]
        frames = [*before, *batches, *after]
        time_("journal", lambda: self._keep(frames))
        messages = {seq: time_("decode", lambda e=envelope: decode_body(decode_frame(e))) for seq, envelope in frames}  # type: ignore[misc]
        tail = [Staged(seq, 0, envelope) for seq, envelope in frames]
        decoded = iter(messages.values())
        time_("write", lambda: self._store.apply(CHANNEL, self._id, tail, lambda _: next(decoded), lambda _: None))  # type: ignore[arg-type,return-value]
        self.envelopes += [envelope for _, envelope in batches]

    def _seal(self, raw: bytes, seq: int) -> bytes:
        return seal(raw, KINDS[Batch], channel=CHANNEL, journal_id=self._id, seq=seq)

    def _sealed(self, message: StreamMessage) -> Stored:
        seq = next(self._seq)
        return Stored(seq, seal(raw_body(message), KINDS[type(message)], channel=CHANNEL, journal_id=self._id, seq=seq))

    def _keep(self, frames: Sequence[Stored]) -> None:
        """Into the journal, out of it for the link, and gone when the cloud has applied them."""
        writer = self._journal.window(CHANNEL)
        writer.frames, writer.size = len(frames), sum(len(envelope) for _, envelope in frames)
        after = self._journal.complete(writer, frames, b"p", {}).last_seq - len(frames)
        while found := self._journal.read(CHANNEL, after, 256 << 10, 64):
            after = found[-1].seq
        self._journal.applied(CHANNEL, after)


def stages(folder: Path, rows: int) -> list[Measured]:
    """All of them, in the order a row takes."""
    folder.mkdir()
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
        async for page in _pages(source, dataset, found.schema, clocks):
            line.page(page)
    return line.envelopes


async def _pages(source: SqliteSource, dataset: Dataset, schema: Schema, clocks: Clocks) -> AsyncIterator[Page]:
    """As capture asks for them."""
    after, done = b"", False
    while not done:
        wall, cpu = time.perf_counter(), time.process_time()
        async with source.reader() as reader:
            page = await reader.page(dataset, schema, 1, after, PAGE_ROWS)
        clocks.add("read", time.perf_counter() - wall, time.process_time() - cpu)
        yield page
        after, done = page.after, page.done
