"""adapter: the real machine behind the ports of `transport.runtime`: clock, threads, randomness."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from random import SystemRandom
from typing import TypeVar

from transport.runtime import Executor, Runtime
from transport.tasks import to_the_end

T = TypeVar("T")


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()


async def _finish(call: Future[T]) -> T:
    """The call's result; when the wait is cancelled, a call that has begun is still waited for, another never begins.

    So nothing runs on in a thread behind the back of whoever cancelled: the connection it uses is free again.
    """
    future = asyncio.wrap_future(call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not call.cancel():
            await to_the_end(asyncio.gather(future, return_exceptions=True))
        raise


class ThreadExecutor:
    """One thread of its own: calls run one after the other, in order."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """See `transport.runtime.Executor`."""
        return await _finish(self._pool.submit(call))

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
            return await _finish(self._pool.submit(call))

    def close(self) -> None:
        """The pool belongs to whoever made it."""


def system_runtime() -> Runtime:
    """The runtime of production: a thread for each executor."""
    return Runtime(clock=SystemClock(), random=SystemRandom(), executor=ThreadExecutor)


def pooled_runtime(pools: Mapping[str, ThreadPoolExecutor]) -> Runtime:
    """The runtime of a service with thousands of companies: executors named `kind.company` share the pool of their kind.

    An executor of another name has a thread of its own, which no company's long work ever holds up.
    """

    def executor(name: str) -> Executor:
        kind, dot, _ = name.partition(".")
        return SharedExecutor(pools[kind]) if dot and kind in pools else ThreadExecutor(name)

    return Runtime(clock=SystemClock(), random=SystemRandom(), executor=executor)


def calm_collector() -> None:
    """Make the cycle collector run seldom: for a program that has started, and whose work is long lists of plain values.

    Rows come as thousands of tuples at a time, none of them in a cycle, and each 700 of them would start a collection
    (measured: a fifth of the time of a row). What exists now is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
