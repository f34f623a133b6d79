"""shell: rows of a source -> frames of an open window; one batch is encoded and written while the next one is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from cdc.batching import Batcher
from cdc.errors import AgentError
from cdc.journal import WindowWriter
from transport.frames import Batch, Kind, Schema, StreamMessage
from transport.runtime import Executor


class Outgrown(AgentError):
    """Internal: the changes do not fit one window; `sizes` bytes of each dataset so far."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__("A2103", "the changes outgrow a window")
        self.sizes = sizes


class NoRoom(AgentError):
    """Internal: the changes would fit a window, but not what is free in the journal now; `size` bytes so far."""

    def __init__(self, size: int) -> None:
        super().__init__("A2103", "the journal has no room for the window")
        self.size = size


class Intake:
    """The window being filled. At most two batches are in memory."""

    def __init__(self, writer: WindowWriter, executor: Executor, *, limit: int, room: int) -> None:
        """`limit`: bytes a window's changes may take; `room`: bytes that are free for it now."""
        self.rows = 0
        self.withheld = 0
        self.sizes: dict[str, int] = {}  # bytes of changes by dataset
        self._writer = writer
        self._executor = executor
        self._limit = limit
        self._room = room
        self._paged: set[str] = set()  # datasets whose schema stands before their pages
        self._pending: asyncio.Task[None] | None = None

    @property
    def left(self) -> int:
        """Bytes the window may still take."""
        return min(self._limit, self._room) - self._writer.size

    async def say(self, *messages: StreamMessage) -> None:
        """Append messages that are not rows."""
        await self.settle()
        await self._executor.run(lambda: self._append(messages))

    async def changes(self, schema: Schema, batcher: Batcher, batches: AsyncIterator[Batch]) -> None:
        """Append a dataset's changes. Raises Outgrown, NoRoom."""
        try:
            await self.say(schema)
            async for batch in batches:
                await self._hand_over(batch, batcher)
                self._check()
            await self.settle()
            self._check()
        finally:
            if isinstance(batches, AsyncGenerator):
                await batches.aclose()  # before its reader ends

    async def page(self, schema: Schema, batcher: Batcher, batches: Iterable[Batch]) -> None:
        """Append a page of a load; the last batch is still on its way when this returns."""
        if schema.dataset not in self._paged:
            self._paged.add(schema.dataset)
            await self.say(schema)
        for batch in batches:
            await self._hand_over(batch, batcher)
        if not batcher.row_bytes:
            await self.settle()  # the size of the next page depends on it

    async def settle(self) -> None:
        """Wait for the batch on its way; raises what became of it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            await pending

    async def drop(self) -> None:
        """Wait for the batch on its way and forget it: the window is abandoned."""
        pending, self._pending = self._pending, None
        if pending is not None:
            await asyncio.wait([pending])
            pending.exception()

    async def _hand_over(self, batch: Batch, batcher: Batcher) -> None:
        await self.settle()
        self._pending = asyncio.ensure_future(self._executor.run(lambda: self._write(batch, batcher)))

    def _append(self, messages: Iterable[StreamMessage]) -> None:
        for message in messages:
            self._writer.append(message)

    def _write(self, batch: Batch, batcher: Batcher) -> None:
        before = self._writer.size
        for piece in batcher.pieces(batch):
            self._writer.append_raw(Kind.BATCH, piece.raw)
            self.rows += piece.rows
            self.withheld += piece.withheld
        if batch.generation == 0:
            self.sizes[batch.dataset] = self.sizes.get(batch.dataset, 0) + self._writer.size - before

    def _check(self) -> None:
        changed = sum(self.sizes.values())
        if changed > self._limit:
            raise Outgrown(dict(self.sizes))
        if changed > self._room:
            raise NoRoom(changed)
