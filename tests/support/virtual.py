"""A virtual clock: an event loop whose time jumps to the next timer, inline executors, and links in memory.

Agent and cloud run on it in one process; the same seed gives the same trace.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from transport.runtime import Durable, Runtime, unwatched

T = TypeVar("T")
START = datetime(2026, 3, 1, tzinfo=UTC)


class VirtualClock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.offset = timedelta(0)  # what a person did to the wall clock

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds) + self.offset

    def monotonic(self) -> float:
        return self.seconds


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock there."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: nothing is ready and no timer is set")
        self._clock.seconds += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_JumpingSelector(clock))

    def time(self) -> float:
        return self._virtual.seconds


class InlineExecutor:
    """Runs the call at once, on the loop."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    async def run(self, call: Callable[[], T]) -> T:
        await asyncio.sleep(0)  # as a thread would, let others go on first
        return call()

    def close(self) -> None:
        pass


def virtual_runtime(clock: VirtualClock, seed: int, durable: Durable = unwatched) -> Runtime:
    return Runtime(clock=clock, random=Random(seed), executor=InlineExecutor, durable=durable)


def run_virtually(clock: VirtualClock, main: Coroutine[Any, Any, T]) -> T:
    """The result of `main` on a virtual loop of its own."""
    loop = VirtualLoop(clock)
    try:
        return loop.run_until_complete(main)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:  # gather of nothing belongs to no loop
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class MemoryLink:
    """One end of a connection in memory, with latency in virtual seconds; `cut` ends it for both without a word."""

    def __init__(self, latency: float = 0.001) -> None:
        self._latency = latency
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._peer: MemoryLink | None = None
        self._gone = False

    @staticmethod
    def pair(latency: float = 0.001) -> tuple[MemoryLink, MemoryLink]:
        one, other = MemoryLink(latency), MemoryLink(latency)
        one._peer, other._peer = other, one
        return one, other

    async def send(self, data: bytes) -> None:
        await asyncio.sleep(self._latency)
        peer = self._peer
        if self._gone or peer is None or peer._gone:
            raise ConnectionError("the link is cut")
        peer._inbox.put_nowait(bytes(data))

    async def receive(self) -> bytes | None:
        if self._gone and self._inbox.empty():
            return None
        return await self._inbox.get()

    def abort(self) -> None:
        self.cut()

    async def wait_closed(self) -> None:
        self.cut()

    def cut(self) -> None:
        for end in (self, self._peer):
            if end is not None and not end._gone:
                end._gone = True
                end._inbox.put_nowait(None)
