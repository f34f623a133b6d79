"""adapter: one connection: requests, transaction manager requests, cancellation, reset. See ports.Session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from tests.standin.engine import applocks, conversion, flow
from tests.standin.engine.interpreter import INT, Runner
from tests.standin.engine.options import DEFAULTS
from tests.standin.engine.scopes import Scope, drop_stored
from tests.standin.engine.transactions import Transactions
from tests.standin.ports import Event, Failed, Output, Parameter, Refused, Request, SqlError
from tests.standin.tsql import ast
from tests.standin.tsql.variables import Checked, read

if TYPE_CHECKING:
    from tests.standin.engine.database import Engine
    from tests.standin.engine.model import State

Work = Callable[[Runner], Awaitable[None]]

_LEVELS = {1: "READ UNCOMMITTED", 2: "READ COMMITTED", 3: "REPEATABLE READ", 4: "SERIALIZABLE", 5: "SNAPSHOT"}


class EngineSession:
    """ports.Session over a state."""

    def __init__(self, state: State, engine: Engine) -> None:
        self.state = state
        self.engine = engine
        self.transactions = Transactions(state)
        self._home = state.database.name  # the database of the login

    @property
    def database(self) -> str:
        return self.state.database.name

    @property
    def spid(self) -> int:
        return self.state.spid

    @property
    def descriptor(self) -> int:
        return self.state.descriptor

    # -- requests ------------------------------------------------------------------------------------------------------------

    def run(self, request: Request) -> AsyncIterator[Event]:
        """See ports.Session."""
        return self._events(lambda runner: self._request(runner, request))

    def transaction(self, order: str, *, isolation: int = 0, name: str = "") -> AsyncIterator[Event]:
        """See ports.Session."""
        statement: ast.Statement
        if order == "begin":
            statement = ast.BeginTransaction(name)
        elif order == "commit":
            statement = ast.CommitTransaction()
        elif order == "rollback":
            statement = ast.RollbackTransaction(name)
        else:
            statement = ast.SaveTransaction(name)

        async def work(runner: Runner) -> None:
            if isolation:
                self.state.isolation = _LEVELS[isolation]
            await runner.batch([statement], [1])

        return self._events(work)

    async def _request(self, runner: Runner, request: Request) -> None:
        checked = await self._checked(runner, request)
        if checked is None:
            return
        if request.parameters:  # sp_executesql: a scope of its own
            async with Scope(runner):
                await self._scope(runner, request, checked)
        else:
            await self._top(runner, checked)

    async def _top(self, runner: Runner, checked: Checked) -> None:
        """A plain batch: its variables end with it, what it sets stays."""
        state = self.state
        state.variables, state.table_variables = {}, {}
        try:
            await self._scope(runner, Request(""), checked)
        finally:
            tables, state.table_variables, state.variables = state.table_variables, {}, {}
            if not state.connection.is_closed():
                for table in tables.values():
                    await drop_stored(state, table)

    async def _scope(self, runner: Runner, request: Request, checked: Checked) -> None:
        state = self.state
        try:
            for parameter in request.parameters:
                state.variables[parameter.name.casefold()] = (parameter.type, _fitting(parameter))
            runner.declare(list(checked.declared))
        except SqlError as error:
            await runner.emit(Failed(error))
            return
        if not await runner.batch(checked.batch.statements, checked.batch.lines):
            return
        for parameter in request.parameters:
            if parameter.output:
                kind, value = state.variables[parameter.name.casefold()]
                await runner.emit(Output(parameter.name, kind, value))
        if request.parameters:
            await runner.emit(Output("", INT, 0))

    async def _checked(self, runner: Runner, request: Request) -> Checked | None:
        """The batch, or None after an error that keeps all of it from running."""
        try:
            checked = read(request.sql)
            checked.check([parameter.name for parameter in request.parameters])
        except SqlError as error:
            self.state.error = error.number
            await runner.emit(Failed(_fresh(error)))
            return None
        return checked

    # -- how events get out --------------------------------------------------------------------------------------------------

    async def _events(self, work: Work) -> AsyncIterator[Event]:
        """Runs in a task of its own, so that whoever reads may stop at any event."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(1)
        task = asyncio.create_task(self._work(work, queue))
        try:
            while (event := await queue.get()) is not None:
                yield event
            await task
        finally:
            if not task.done():
                task.cancel()
            with suppress(asyncio.CancelledError, SqlError):
                await task

    async def _work(self, work: Work, queue: asyncio.Queue[Event | None]) -> None:
        runner = Runner(self.state, self.engine, self.transactions, queue.put)
        try:
            await work(runner)
        except asyncio.CancelledError:
            await self._cancelled()
            raise
        except flow.Disconnected as ended:
            await queue.put(None)
            raise ended.error from None
        except BaseException:
            await queue.put(None)
            raise
        await queue.put(None)

    async def _cancelled(self) -> None:
        """The statement is undone already; with XACT_ABORT ON, or in a doomed transaction, all of it is."""
        if self.state.xact_abort or self.state.doomed:
            await self._undo()

    async def _undo(self) -> None:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            if await self.transactions.undo() is not None:
                applocks.of(self.state.database).ended(self.spid, applocks.TRANSACTION)

    # -- parameters ----------------------------------------------------------------------------------------------------------

    async def describe(self, request: Request) -> list[Parameter]:
        """See ports.Session."""
        from tests.standin.engine.describing import describe

        return describe(self.state, request.sql, request.parameters)

    # -- the end -------------------------------------------------------------------------------------------------------------

    async def reset(self) -> None:
        """See ports.Session."""
        state = self.state
        await self._undo()
        for table in [*state.temporaries.values(), *state.table_variables.values()]:
            await drop_stored(state, table)
        state.temporaries, state.table_variables, state.variables = {}, {}, {}
        replace(DEFAULTS, isolation=state.isolation).restore(state)
        state.identity = state.last_identity = state.caught = None
        state.rowcount = state.error = 0
        applocks.of(state.database).ended(self.spid)
        if self.engine.database(self._home) is not None:
            await self.engine.switch(state, self._home)

    async def close(self) -> None:
        """See ports.Session."""
        applocks.of(self.state.database).ended(self.spid)
        await self.engine.leave(self.state)


def _fitting(parameter: Parameter) -> object:
    """A parameter's value as its declared type holds it."""
    return None if parameter.value is None else conversion.assign(parameter.value, parameter.type, parameter.type)


def _fresh(error: SqlError) -> SqlError:
    """Errors of the parser may be reported more than once; each report has its own."""
    if isinstance(error, Refused):
        return error
    return SqlError(error.number, error.message, severity=error.severity, state=error.state, line=error.line)
