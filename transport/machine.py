"""adapter: the real machine behind the ports of `transport.runtime`: clock, threads, randomness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import SystemRandom
from typing import TypeVar

from transport.runtime import Runtime

T = TypeVar("T")


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()


async def _finish(future: asyncio.Future[T]) -> T:
    """The future's result; when the wait is cancelled, the call that has begun is still waited for.

    So nothing runs on in a thread behind the back of whoever cancelled: the connection it uses is free again.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # seen: the one who cancelled does not ask for it
        raise


class ThreadExecutor:
    """One thread of its own: calls run one after the other, in order."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """See `transport.runtime.Executor`."""
        return await _finish(asyncio.get_running_loop().run_in_executor(self._pool, call))

    def close(self) -> None:
        """See `transport.runtime.Executor`."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class SharedExecutor:
    """One queue of calls on a pool shared with others: in order for this owner, side by side with the rest."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._turn = asyncio.Lock()

    async def run(self, call: Callable[[], T]) -> T:
        """See `transport.runtime.Executor`."""
        async with self._turn:
            return await _finish(asyncio.get_running_loop().run_in_executor(self._pool, call))

    def close(self) -> None:
        """The pool belongs to whoever made it."""


def system_runtime() -> Runtime:
    """The runtime of production: a thread for each executor."""
    return Runtime(clock=SystemClock(), random=SystemRandom(), executor=ThreadExecutor)


def pooled_runtime(pool: ThreadPoolExecutor) -> Runtime:
    """The runtime of a service with thousands of companies: their executors share `pool`."""
    return Runtime(clock=SystemClock(), random=SystemRandom(), executor=lambda _name: SharedExecutor(pool))
