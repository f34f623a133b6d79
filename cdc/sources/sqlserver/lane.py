"""adapter: turns on one session, which is made when it is needed and made anew when nobody knows its state any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from cdc.errors import CompanyStopped, Transient
from cdc.source_settings import SqlServerSource
from cdc.sources.sqlserver.connection import CANCEL_AGAIN, GIVE_UP, Connection, where
from cdc.sources.sqlserver.logins import Logins
from transport.runtime import Runtime
from transport.tasks import to_the_end


async def _nothing(connection: Connection) -> None:
    """Prepares nothing."""


class Lane:
    """One caller at a time has the session, in order of asking.

    `prepare(connection)` makes a new session ready: its settings, what is known of the database. `sessions` counts them:
    another number means that everything remembered of the last one (temporary tables, what was read before) is void.
    `logins`: what is known of the login, shared with other lanes.
    """

    def __init__(
        self,
        settings: SqlServerSource,
        runtime: Runtime,
        name: str,
        prepare: Callable[[Connection], Awaitable[None]] = _nothing,
        logins: Logins | None = None,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._name = name
        self._prepare = prepare
        self._turn = asyncio.Lock()
        self._connection: Connection | None = None
        self._logins = logins or Logins()
        self._closing = False
        self.sessions = 0

    async def open(self) -> None:
        """Logs in now, instead of at the first use."""
        async with self.use():
            pass

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """The session, alone. After an error or a cancellation what is open is rolled back, or the session is given up."""
        async with self._turn:
            connection = await self._ready()
            try:
                yield connection
            except BaseException:
                await to_the_end(self._settle(connection))
                raise

    async def _ready(self) -> Connection:
        if self._closing:
            raise Transient("A2212", "the connection is closed", where=where(self._settings))
        if self._connection is not None and self._connection.doubtful:
            await self._give_up()
        if self._connection is None:
            self._connection = await self._opened()
        return self._connection

    async def _opened(self) -> Connection:
        try:
            made = await Connection.open(self._settings, self._runtime, self._name)
        except CompanyStopped as error:
            raise self._logins.refused(error, self._runtime.clock.monotonic()) from error.__cause__
        except Transient:
            self._logins.passing()
            raise
        try:
            await self._prepare(made)
        except BaseException:
            await made.close()
            raise
        self._logins.succeeded()
        self.sessions += 1
        return made

    async def _settle(self, connection: Connection) -> None:
        if not await connection.reset() and connection is self._connection:
            await self._give_up()

    async def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Ends a running statement first; whoever waits for its turn gets Transient A2212. Idempotent."""
        self._closing = True
        turn = asyncio.ensure_future(self._turn.acquire())
        await asyncio.sleep(0)  # where nobody has it, it is ours now, and there is nothing to cancel
        for _ in range(round(GIVE_UP / CANCEL_AGAIN)):
            if turn.done():
                break
            if self._connection is not None:
                self._connection.cancel()
            await asyncio.wait([turn], timeout=CANCEL_AGAIN)
        held = turn.done()
        if not held:
            turn.cancel()
        try:
            await self._give_up()
        finally:
            if held:
                self._turn.release()
