"""adapter: one connection and its one thread; a call whose caller was cancelled is interrupted instead of waited out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from cdc.errors import Transient
from cdc.sources.sqlite.connection import translated
from transport.runtime import Runtime

T = TypeVar("T")


class Lane:
    """Calls on one connection, one after the other."""

    def __init__(self, runtime: Runtime, name: str, where: str) -> None:
        self._executor = runtime.executor(name)
        self._where = where
        self._turn = asyncio.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closing = False

    async def open(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Connects in the lane's own thread."""
        self._connection = await self._executor.run(connect)

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `call(connection)`; errors of SQLite come as ours. A cancelled call has ended when this raises."""
        async with self._turn:
            connection = self._connection
            if connection is None or self._closing:
                raise Transient("A2212", "the connection is closed", where=self._where)

            def guarded() -> T:
                with translated(self._where):
                    return call(connection)

            task = asyncio.ensure_future(self._executor.run(guarded))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await self._interrupt(connection, task)
                raise

    async def _interrupt(self, connection: sqlite3.Connection, task: asyncio.Future[T]) -> None:
        """Python code of the call may begin another statement after the one that was ended: until it is done, each is."""
        while not task.done():
            connection.interrupt()
            await asyncio.wait([task], timeout=0.05)
        if not task.cancelled():
            task.exception()  # seen: the one who cancelled does not ask for it

    async def close(self) -> None:
        """Ends a running statement, then the connection and the thread. Idempotent."""
        self._closing = True
        connection = self._connection
        if connection is not None:
            await self._end(connection)
        self._executor.close()

    async def _end(self, connection: sqlite3.Connection) -> None:
        turn = asyncio.ensure_future(self._turn.acquire())
        while not turn.done():
            connection.interrupt()
            await asyncio.wait([turn], timeout=0.05)
        try:
            self._connection = None
            await self._executor.run(connection.close)
        finally:
            self._turn.release()
