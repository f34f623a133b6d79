"""adapter: one connection to SQL Server and its one thread, through aioodbc; errors come as ours.

Three things that aioodbc leaves open are settled here: the thread is the connection's own (the loop's default threads also look
up names for the uplink), a cancelled call ends the statement on the server instead of waiting it out, and a connection that is
in doubt is never used again. Rows are fetched many at a time, never one by one: each call is a hop between threads.

The driver's order to cancel comes back only when the server has confirmed it (measured: one round trip; on a dead link never),
so it has a second thread. And a statement that was cancelled may come back without an error, as if it had no more rows: what a
call brings after `cancel` is thrown away.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from cdc.errors import AgentError, CompanyStopped, Transient
from cdc.secret import read_secret
from cdc.source_settings import SqlServerSource
from cdc.sources.base import ROWS_PER_READ
from cdc.sources.sqlserver import driver
from cdc.sources.sqlserver.failures import Failure, ServerFailure, as_error, understand
from cdc.sources.sqlserver.parameters import Parameters, sizes, values
from transport.runtime import Executor, Runtime
from transport.tasks import to_the_end

T = TypeVar("T")
Row: TypeAlias = Sequence[Any]  # the driver's own rows: like tuples, by position

CANCEL_AGAIN = 0.05  # seconds; an order to cancel that comes before the statement has begun is lost
GIVE_UP = 5.0  # seconds until a statement that does not end is left to itself, with its connection
ROLL_BACK = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
PING = "SELECT @@TRANCOUNT"

_burials: set[asyncio.Future[None]] = set()  # connections that were given up and whose last call still runs


class Odbc(NamedTuple):
    """The two modules, which nothing else of the product needs."""

    pyodbc: Any
    aioodbc: Any


def odbc() -> Odbc:
    """Imports them. Raises CompanyStopped A2240 where they, or the system's driver manager, are not installed."""
    try:
        import aioodbc
        import pyodbc
    except ImportError as error:
        raise CompanyStopped("A2240", f"{error.name or 'pyodbc'} cannot be loaded: {error}") from error
    pyodbc.pooling = False  # the driver manager's own pool hands out sessions with the settings of others
    return Odbc(pyodbc, aioodbc)


def where(settings: SqlServerSource) -> str:
    """How errors name the database."""
    return f"{settings.server}, database {settings.database}"


def _string(settings: SqlServerSource, loaded: Odbc) -> str:
    """Blocking: reads the list of drivers and the password."""
    place = where(settings)
    chosen = driver.choose(settings.driver, loaded.pyodbc.drivers(), place)
    if driver.is_path(chosen) and not Path(chosen).is_file():
        raise CompanyStopped("A2241", f"there is no driver {chosen}", where=place)
    password = read_secret(settings.password, where=place) if settings.password else ""
    return driver.connection_string(settings, chosen, password)


class _Hands(concurrent.futures.Executor):
    """A `transport.runtime.Executor` as aioodbc wants it: what it submits is awaited on the loop it was submitted from."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """A future of the running loop, which `loop.run_in_executor` hands on as it is."""
        return asyncio.ensure_future(self._executor.run(lambda: call(*args, **named)))


class Connection:
    """One session, for one caller at a time; in autocommit mode, transactions are begun and ended by statements.

    Every call may raise Transient, CompanyStopped or, with `table=True`, DatasetPaused; `failures.failure_of` has the number.
    A cancelled call has ended on the server when CancelledError comes out, or the connection is `doubtful` from then on.
    """

    def __init__(self, loaded: Odbc, runtime: Runtime, name: str, settings: SqlServerSource) -> None:
        self._odbc = loaded
        self._executor = runtime.executor(name)
        self._second: Callable[[], Executor] = lambda: runtime.executor(f"{name}-cancel")
        self._settings = settings
        self._where = where(settings)
        self._session: Any = None  # aioodbc's
        self._raw: Any = None  # pyodbc's, of the same session
        self._cursor: Any = None  # aioodbc's, one for all statements: its prepared statement is kept while the text is the same
        self._statement: Any = None  # pyodbc's cursor under it
        self._canceller: Executor | None = None  # made when it is first needed
        self._cancelling: asyncio.Future[None] | None = None  # the driver's order to cancel, while it is under way
        self._interrupted = False  # since the last reset
        self._call: asyncio.Future[Any] | None = None  # the last one; it may not have ended
        self.doubtful = False  # nobody knows what state the session is in: only to be closed

    # -- life ----------------------------------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, settings: SqlServerSource, runtime: Runtime, name: str) -> Self:
        """Logs in. `name`: of the connection's thread. A cancelled login is left to end by itself and closed then."""
        loaded = odbc()
        made = cls(loaded, runtime, name, settings)
        try:
            await made._run(made._connect())
        except BaseException:
            await made.close()
            raise
        return made

    async def _connect(self) -> None:
        settings = self._settings
        text = await self._executor.run(lambda: _string(settings, self._odbc))

        async def created(raw: Any) -> None:
            self._raw = raw
            await self._executor.run(lambda: setattr(raw, "timeout", max(1, round(settings.query_timeout))))

        self._session = await self._odbc.aioodbc.connect(
            dsn=text,
            autocommit=True,
            timeout=max(1, round(settings.login_timeout)),
            executor=_Hands(self._executor),
            after_created=created,
        )
        self._closes_quietly(self._session)
        self._statement = await self._executor.run(self._raw.cursor)
        self._cursor = self._odbc.aioodbc.Cursor(self._statement, self._session)

    def _closes_quietly(self, session: Any) -> None:
        """Nothing is freed that a thread still uses, also where aioodbc closes a lost session by itself.

        And the statement is freed first: left to itself it would be when the last thread lets go of it, which may be while this
        one disconnects; the driver manager then frees it twice, and the process dies.
        """
        at_once = session.close

        async def close() -> None:
            await self._quiet()
            statement, self._statement = self._statement, None
            if statement is not None:
                with contextlib.suppress(self._odbc.pyodbc.Error):
                    await self._executor.run(statement.close)
            await at_once()

        session.close = close

    async def _quiet(self) -> None:
        """Waits until no order to cancel is under way."""
        if self._cancelling is not None:
            await asyncio.wait([self._cancelling])

    async def close(self) -> None:
        """Ends a running statement, the session and the thread. Idempotent. Never waits longer than GIVE_UP for the server."""
        given_up = self._running and self._interrupted
        if self._running:
            self.cancel()
        self.doubtful = True
        end = asyncio.ensure_future(self._bury())
        _burials.add(end)
        end.add_done_callback(_burials.discard)
        await asyncio.wait([end], timeout=0.0 if given_up else GIVE_UP)

    @property
    def _running(self) -> bool:
        return self._call is not None and not self._call.done()

    async def _bury(self) -> None:
        """Waits for the last call, then closes what is left of the session: nothing is freed that a thread still uses."""
        if self._call is not None:
            await asyncio.wait([self._call])
        await self._quiet()
        if self._canceller is not None:
            self._canceller.close()
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(self._odbc.pyodbc.Error):  # it is gone in any case
                await session.close()
        self._cursor = self._statement = self._raw = None
        self._executor.close()

    # -- statements ----------------------------------------------------------------------------------------------------------

    async def execute(self, sql: str, parameters: Parameters = (), *, table: bool = False) -> list[Row]:
        """The rows of the first result; [] if the batch has none. Errors behind it are raised as well.

        `table`: the statement concerns one table of a dataset, so a missing permission pauses only that dataset.
        """
        results = await self.results(sql, parameters, table=table)
        return results[0] if results else []

    async def results(self, sql: str, parameters: Parameters = (), *, table: bool = False) -> list[list[Row]]:
        """All results that have columns, each whole: for small ones."""
        return await self._run(self._results(sql, parameters), table=table)

    async def fetch(
        self, sql: str, parameters: Parameters = (), *, size: int = ROWS_PER_READ, table: bool = False
    ) -> AsyncGenerator[list[Row], None]:
        """The rows of the one result, `size` at most at a time, in bounded memory.

        Close it (`contextlib.aclosing`) when not all of it is wanted: the rest is then cancelled on the server. No other
        statement may run on this connection meanwhile.
        """
        await self._run(self._begin(sql, parameters), table=table)
        ended = False
        try:
            while rows := await self._run(self._rows(size), table=table):
                yield rows
            await self._run(self._drain(), table=table)
            ended = True
        finally:
            if not ended:
                await self.drop()

    async def work(self, call: Callable[[Any, Any], T], *, table: bool = False) -> T:
        """The result of `call(session, statement)`: pyodbc's own objects, in the connection's thread, in one hop.

        For what is to be done with rows beside fetching them. The call leaves the statement at its end, or `drop` follows.
        """

        async def called() -> T:
            if self._statement is None:
                raise Transient("A2248", "the connection is closed", where=self._where)
            return await self._executor.run(lambda: call(self._raw, self._statement))

        return await self._run(called(), table=table)

    async def drop(self) -> None:
        """Gives up what is left of a result of `work`; nobody need wait for the server to send it."""
        if not self.doubtful:
            await to_the_end(self._drop())

    async def _results(self, sql: str, parameters: Parameters) -> list[list[Row]]:
        await self._begin(sql, parameters)
        results: list[list[Row]] = []
        more = self._cursor.description is not None
        while more:
            results.append(await self._cursor.fetchall())
            more = await self._next()
        return results

    async def _begin(self, sql: str, parameters: Parameters) -> None:
        """Executes, and steps over what has no columns."""
        cursor = self._cursor
        if cursor is None or cursor.closed:
            raise Transient("A2248", "the connection is closed", where=self._where)
        if parameters:
            await cursor.setinputsizes(sizes(parameters))
            await cursor.execute(sql, values(parameters))
        else:
            await cursor.execute(sql)
        if cursor.description is None:
            await self._next()

    async def _next(self) -> bool:
        """Goes to the next result that has columns; errors of the statements between are raised."""
        while await self._cursor.nextset():
            if self._cursor.description is not None:
                return True
        return False

    async def _rows(self, size: int) -> list[Row]:
        if self._cursor.description is None:
            return []
        rows: list[Row] = await self._cursor.fetchmany(size)
        return rows

    async def _drain(self) -> None:
        while await self._next():
            pass

    async def _drop(self) -> None:
        """Closing the driver's statement tells the server to stop sending."""
        with contextlib.suppress(AgentError, TimeoutError):
            async with asyncio.timeout(GIVE_UP):
                await self._run(self._renew())

    async def _renew(self) -> None:
        await self._quiet()
        old, self._statement = self._statement, None
        await self._executor.run(old.close)
        self._statement = await self._executor.run(self._raw.cursor)
        self._cursor = self._odbc.aioodbc.Cursor(self._statement, self._session)

    # -- ending a statement --------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Has the statement ended that runs, if one does, and comes back at once; the call it belongs to then raises A2212.

        So does every further one, until `reset`.
        """
        statement = self._statement
        self._interrupted = True
        if statement is None or (self._cancelling is not None and not self._cancelling.done()):
            return

        def order() -> None:
            with contextlib.suppress(self._odbc.pyodbc.Error):  # nothing runs, or the session is gone
                statement.cancel()

        if self._canceller is None:
            self._canceller = self._second()
        self._cancelling = asyncio.ensure_future(self._canceller.run(order))
        self._cancelling.add_done_callback(_seen)

    async def reset(self) -> bool:
        """Rolls back what is open and asks for a sign of life. False: the connection is `doubtful`, close it."""
        if not self.doubtful:
            try:
                async with asyncio.timeout(GIVE_UP):
                    await self._quiet()  # a late order would end the next statement
                    self._interrupted = False
                    await self.execute(ROLL_BACK)
                    rows = await self.execute(PING)
                self.doubtful = self.doubtful or not rows or rows[0][0] != 0
            except (AgentError, TimeoutError):
                self.doubtful = True
        return not self.doubtful

    async def _run(self, work: Coroutine[Any, Any, T], *, table: bool = False) -> T:
        """The result of `work`; on cancellation its statement is ended first."""
        if self.doubtful or self._interrupted:
            work.close()
            raise self._unusable()
        task = asyncio.ensure_future(work)
        self._call = task
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            await to_the_end(self._end(task))
            raise
        except self._odbc.pyodbc.Error as error:
            raise self._translated(understand(error.args), table=table) from ServerFailure(understand(error.args))
        if self._interrupted:
            raise self._unusable()
        return result

    def _unusable(self) -> Transient:
        if self.doubtful:
            return Transient("A2248", "the connection is in doubt", where=self._where)
        return Transient("A2212", "the statement was ended", where=self._where)

    async def _end(self, task: asyncio.Future[Any]) -> None:
        task.add_done_callback(_seen)
        for _ in range(round(GIVE_UP / CANCEL_AGAIN) if self._statement is not None else 0):  # a login cannot be cancelled
            self.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN)
            if task.done():
                return
        self._interrupted = self.doubtful = True

    def _translated(self, failure: Failure, *, table: bool) -> AgentError:
        self.doubtful = self.doubtful or failure.fatal
        return as_error(failure, self._where, table=table)


def _seen(task: asyncio.Future[Any]) -> None:
    """The one who cancelled does not ask how the call ended."""
    if not task.cancelled():
        task.exception()
