"""shell: waiting for tasks so that nothing is left half done and no failure is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """The result of `work`, which is never interrupted: a cancellation of the wait goes on when the work has ended."""
    future = asyncio.ensure_future(work)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError from None if future.cancelled() else future.exception()
    return future.result()


async def first_of_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Until one has ended. Raises what it raised; of several that ended together the first in `tasks` decides."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()


async def cancel_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancels them and waits until every one has ended, however often the wait is cancelled."""
    for task in tasks:
        task.cancel()
    if tasks:
        await to_the_end(asyncio.gather(*tasks, return_exceptions=True))
