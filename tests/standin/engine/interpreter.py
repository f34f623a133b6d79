"""adapter: runs statements: control flow, TRY and CATCH, variables, transactions; queries and DML go to the compiler.

What happens is reported to `emit`, in order. https://learn.microsoft.com/sql/t-sql/language-elements/control-of-flow
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.standin.engine import applocks, ddl, ddl_tables, flow
from tests.standin.engine.evaluating import Evaluating
from tests.standin.engine.model import State, TableInfo, TriggerInfo
from tests.standin.engine.options import set_option
from tests.standin.engine.procedures import execute
from tests.standin.engine.scopes import DEEPEST, TOO_DEEP, Scope
from tests.standin.engine.transactions import Transactions
from tests.standin.ports import Database, Done, Event, Failed, Info, Refused, SqlError, SqlType, Transaction
from tests.standin.tsql import ast
from tests.standin.tsql.variables import Mention, mentions

if TYPE_CHECKING:
    from tests.standin.engine.database import Engine

Emit = Callable[[Event], Awaitable[None]]

INT = SqlType("int")
_DOOMED_AT_END = "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back."
_ENDED_IN_TRIGGER = "The transaction ended in the trigger. The batch has been aborted."
_ERROR_IN_TRIGGER = (
    "An error was raised during trigger execution. The batch has been aborted and the user transaction, if any, has been "
    "rolled back."
)
_KILLED = "Cannot continue the execution because the session is in the kill state."
_OUTSIDE = (ast.CreateDatabase, ast.AlterDatabase, ast.Backup, ast.Restore)  # never within a transaction
_DDL = (
    *(
        ast.CreateTable,
        ast.CreateIndex,
        ast.CreateSchema,
        ast.CreateType,
        ast.CreateTrigger,
        ast.CreateView,
        ast.CreateProcedure,
    ),
    *(ast.CreateLogin, ast.CreateUser, ast.AlterRole, ast.AlterTable, ast.Drop, ast.Permission, ast.Truncate),
)


class Runner(Evaluating):
    """Runs one request of a session; model.Interpreter for the DML."""

    def __init__(self, state: State, engine: Engine, transactions: Transactions, emit: Emit) -> None:
        super().__init__(state, transactions)
        self.engine = engine
        self.emit = emit
        self.level = 0  # of procedures, dynamic SQL and triggers
        self.tries: list[int] = []  # the level of each TRY that is open
        self.procedure: str | None = None
        self.in_trigger = False
        self._trigger_error: SqlError | None = None
        self._thrown = False

    # -- requests and scopes -------------------------------------------------------------------------------------------------

    async def batch(self, statements: Sequence[ast.Statement], lines: Sequence[int]) -> bool:
        """The outermost scope; False when an error ended it. Raises flow.Disconnected."""
        try:
            await self.statements(statements, lines)
        except flow.Returned:
            pass
        except (flow.ScopeEnded, flow.BatchEnded):
            await self._lost()
            return False
        if self.state.doomed:
            await self._lost()
            await self.emit(Failed(SqlError(3998, _DOOMED_AT_END)))
        return True

    async def _lost(self) -> None:
        """A doomed transaction does not outlive its batch."""
        if self.state.doomed:
            await self.report(await self.transactions.undo())

    def declare(self, found: Sequence[Mention]) -> None:
        """Declares a scope's variables, NULL. Raises SqlError 2715."""
        for mention in found:
            if mention.type is not None and mention.name not in self.state.variables:
                self.state.variables[mention.name] = (self.resolve(mention.type), None)

    async def statements(self, statements: Sequence[ast.Statement], lines: Sequence[int]) -> None:
        for statement, line in zip(statements, lines, strict=True):
            await self.statement(statement, line)

    async def statement(self, statement: ast.Statement, line: int) -> None:
        """One statement; its error is reported, caught or ends the scope, by SQL Server's rules."""
        compound = _COMPOUND.get(type(statement))
        if compound is not None:
            await compound(self, statement, line)
            return
        if await self.guarded(statement, line, _SIMPLE[type(statement)](self, statement)):
            self.state.error = 0

    async def guarded(self, statement: ast.Statement, line: int, work: Awaitable[Any]) -> bool:
        """Whether it went well; an error is dealt with."""
        state = self.state
        try:
            await work
        except flow.Signal:
            raise
        except Exception as error:
            if state.connection.is_closed():  # killed: whatever it was that failed then
                raise flow.Disconnected(SqlError(596, _KILLED, severity=21)) from error
            if isinstance(error, SqlError):
                await self._failed(statement, error, line)
            elif isinstance(error, asyncpg.PostgresError):
                await self._failed(statement, self.translated(error, statement), line)
            else:
                raise
        else:
            return True
        return False

    # -- errors --------------------------------------------------------------------------------------------------------------

    async def _failed(self, statement: ast.Statement, error: SqlError, line: int) -> None:
        """Reports the error or hands it to a CATCH; raises a flow.Signal unless the next statement runs."""
        state = self.state
        from_trigger, thrown, self._thrown = error is self._trigger_error, self._thrown, False
        of_dynamic_sql = isinstance(statement, ast.Execute) and error.severity == 15  # its lines are counted within it
        if not from_trigger and not of_dynamic_sql and not (thrown and error is state.caught):
            error.line = line
        state.error, state.rowcount = error.number, 0
        if error.severity >= 20:
            await self.transactions.undo()
            raise flow.Disconnected(error)
        what = flow.effect(error, statement, xact_abort=state.xact_abort, from_trigger=from_trigger, thrown=thrown)
        target = self._target(what)
        if target is not None:
            state.doomed = state.doomed or (what.dooms and state.trancount > 0)
            raise flow.Caught(error, self.procedure, target)
        if self.in_trigger and (what.batch or what.compile):
            raise flow.TriggerFailed(error)
        if what.dooms:
            await self.report(await self.transactions.undo())
        await self.emit(Failed(error))
        if what.batch:
            raise flow.BatchEnded
        if what.compile:
            raise flow.ScopeEnded

    def _target(self, what: flow.Effect) -> int | None:
        """The TRY that sees the error."""
        if not what.catchable:
            return None
        places = [place for place, level in enumerate(self.tries) if level < self.level or not what.compile]
        return places[-1] if places else None

    def translated(self, error: asyncpg.PostgresError, statement: ast.Statement) -> SqlError:
        """PostgreSQL's error as SQL Server's."""
        from tests.standin.engine.errors import translate

        words = {ast.Update: "UPDATE", ast.Delete: "DELETE", ast.Query: "SELECT", ast.AlterTable: "ALTER TABLE"}
        return translate(error, self.state, words.get(type(statement), "INSERT"))

    async def report(self, change: Transaction | None) -> None:
        """A transaction began or ended; its application locks end with it."""
        if change is None:
            return
        if change.change != "begun":
            applocks.of(self.state.database).ended(self.state.spid, applocks.TRANSACTION)
        await self.emit(change)

    async def done(self, event: Done | None = None) -> None:
        """A statement ended: its count is noted, and told unless NOCOUNT is ON."""
        event = event or Done()
        if event.count is not None or not event.command:  # the compiler has noted what NOCOUNT keeps it from telling
            self.state.rowcount = event.count or 0
        await self.emit(replace(event, count=None) if self.state.nocount else event)

    # -- control flow --------------------------------------------------------------------------------------------------------

    async def _if(self, statement: ast.If, line: int) -> None:
        verdict: list[bool] = []
        if not await self.guarded(statement, line, self._ask(statement.condition, verdict)):
            return
        self.state.error = 0
        if verdict[0]:
            await self.statement(statement.then, statement.then_line)
        elif statement.otherwise is not None:
            await self.statement(statement.otherwise, statement.otherwise_line)

    async def _ask(self, condition: ast.Expression, verdict: list[bool]) -> None:
        verdict.append(await self.holds(condition))
        self.state.rowcount = 0

    async def _while(self, statement: ast.While, line: int) -> None:
        while True:
            verdict: list[bool] = []
            if not await self.guarded(statement, line, self._ask(statement.condition, verdict)) or not verdict[0]:
                return
            try:
                await self.statement(statement.body, statement.line)
            except flow.LoopEnded as ended:
                if not ended.again:
                    return
            await asyncio.sleep(0)  # a loop without data can be cancelled too

    async def _block(self, statement: ast.Block, line: int) -> None:
        await self.statements(statement.statements, statement.lines)

    async def _try(self, statement: ast.TryCatch, line: int) -> None:
        place = len(self.tries)
        level, procedure, trigger = self.level, self.procedure, self.in_trigger
        self.tries.append(level)
        try:
            await self.statements(statement.attempt, statement.attempt_lines)
        except flow.Caught as found:
            if found.target != place:
                raise
            caught = found
        else:
            return
        finally:
            del self.tries[place:]
            self.level, self.procedure, self.in_trigger = level, procedure, trigger
        await self._catch(statement, caught)

    async def _catch(self, statement: ast.TryCatch, caught: flow.Caught) -> None:
        state = self.state
        before = state.caught, state.caught_procedure
        state.caught, state.caught_procedure = caught.error, caught.procedure
        try:
            await self.statements(statement.caught, statement.caught_lines)
        finally:
            state.caught, state.caught_procedure = before

    async def _break(self, statement: ast.Break) -> None:
        raise flow.LoopEnded(statement.again)

    async def _return(self, statement: ast.Return) -> None:
        if statement.value is None:
            raise flow.Returned(0)
        if self.procedure is None or self.in_trigger:
            message = "A RETURN statement with a return value cannot be used in this context."
            raise SqlError(178, message, severity=15)
        raise flow.Returned(await self.convert(statement.value, INT) or 0)

    async def _waitfor(self, statement: ast.WaitFor) -> None:
        from tests.standin.engine.messages import seconds

        delay = statement.delay if isinstance(statement.delay, str) else await self.text(statement.delay)
        await asyncio.sleep(seconds(delay or ""))
        await self.done()

    # -- variables and messages ----------------------------------------------------------------------------------------------

    async def _declare(self, statement: ast.Declare) -> None:
        if statement.table is not None:
            name = statement.table.name.parts[0].casefold()
            if name not in self.state.table_variables:  # in a loop it keeps its rows
                async with self.transactions.statement(writes=False):
                    self.state.table_variables[name] = await ddl_tables.temporary(self.state, statement.table)
            return
        for name, _, value in statement.variables:
            if value is not None:
                await self.assign(name, value)
                self.state.rowcount = 1

    async def _set(self, statement: ast.SetVariable) -> None:
        await self.assign(statement.name, statement.value)
        await self.done()
        self.state.rowcount = 1

    async def _print(self, statement: ast.Print) -> None:
        await self.emit(Info(0, await self.text(statement.value) or " "))
        await self.done()

    async def _throw(self, statement: ast.Throw) -> None:
        self._thrown = True
        if statement.number is None:
            if self.state.caught is None:
                message = (
                    "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement "
                    "inside a CATCH block, or add error parameters to the THROW statement."
                )
                raise SqlError(10704, message, severity=15)
            raise self.state.caught
        number = await self.convert(statement.number, INT)
        if number is None or number < 50000:
            message = (
                f"Error number {number} in the THROW statement is outside the valid range. Specify an error number in the "
                "valid range of 50000 to 2147483647."
            )
            raise SqlError(35100, message)
        message = await self.text(statement.message or ast.Literal("null", None)) or ""
        raise SqlError(number, message, state=await self.convert(statement.state or ast.Literal("int", 1), INT) or 0)

    async def _raiserror(self, statement: ast.RaiseError) -> None:
        from tests.standin.engine.messages import format_message

        kind, value = await self.value(statement.message)
        if kind.name not in ("char", "varchar", "nchar", "nvarchar"):
            raise Refused("RAISERROR of a message by number")
        severity = max(0, await self.convert(statement.severity, INT) or 0)
        state = await self.convert(statement.state, INT) or 0
        message = format_message(value or "", [await self.value(argument) for argument in statement.arguments])
        if severity > 18:
            raise SqlError(
                2754,
                "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH "
                "LOG option.",
            )
        state = 1 if state < 0 else min(state, 255)
        if severity > 10:
            raise SqlError(50000, message, severity=severity, state=state)
        await self.emit(Info(50000, message, severity, state))
        await self.done()

    # -- session and transactions --------------------------------------------------------------------------------------------

    async def _set_option(self, statement: ast.SetOption) -> None:
        set_option(self.state, statement)
        await self.done()

    async def _set_isolation(self, statement: ast.SetIsolation) -> None:
        self.state.isolation = statement.level
        await self.done()

    async def _begin(self, statement: ast.BeginTransaction) -> None:
        await self.report(await self.transactions.begin(await self.name(statement.name)))
        await self.done()

    async def _commit(self, statement: ast.CommitTransaction) -> None:
        await self.report(await self.transactions.commit())
        await self.done()

    async def _rollback(self, statement: ast.RollbackTransaction) -> None:
        await self.report(await self.transactions.rollback(await self.name(statement.name)))
        await self.done()

    async def _save(self, statement: ast.SaveTransaction) -> None:
        await self.transactions.save(await self.name(statement.name))
        await self.done()

    async def _use(self, statement: ast.Use) -> None:
        await self.use(statement.database)
        await self.done()

    async def use(self, name: str) -> None:
        """Changes the session's database."""
        old = self.state.database.name
        await self.engine.switch(self.state, name)
        if self.state.database.name != old:
            await self.emit(Database(old, self.state.database.name))

    async def _kill(self, statement: ast.Kill) -> None:
        from tests.standin.engine.permissions import on_server

        if statement.spid == self.state.spid:
            raise SqlError(6104, "Cannot use KILL to kill your own process.")
        if not on_server(self.state, "ALTER ANY CONNECTION"):
            raise SqlError(6102, "User does not have permission to use the KILL statement.", severity=14)
        if self.state.trancount:
            raise SqlError(6115, "KILL command cannot be used inside user transactions.")
        await self.engine.kill(statement.spid)
        await self.done()

    # -- data ----------------------------------------------------------------------------------------------------------------

    async def _query(self, query: ast.Query) -> None:
        if assigned(query):
            await self.select_into_variables(query)
            await self.emit(Done())
            return
        from tests.standin.engine.queries import run_query

        ended: Done | None
        async with (
            self.transactions.statement(writes=into(query) is not None),
            aclosing(_closable(run_query(self.state, query))) as events,
        ):
            ended = await self._forward(events)
        await self.done(ended)

    async def _dml(self, statement: ast.Insert | ast.Update | ast.Delete) -> None:
        from tests.standin.engine import dml

        context = await self.context(statement.context)
        ended: Done | None
        async with self.transactions.statement(writes=True):
            before, self.state.context = self.state.context, context
            try:
                async with aclosing(_closable(dml.execute(self.state, statement, self))) as events:
                    ended = await self._forward(events)
            finally:
                self.state.context = before
        await self.done(ended)

    async def _forward(self, events: AsyncIterator[Event]) -> Done | None:
        """Everything but the statement's end, which is told when its transaction has ended."""
        ended = None
        async for event in events:
            if isinstance(event, Done):
                ended = event
            else:
                await self.emit(event)
        return ended

    async def _ddl(self, statement: ast.Statement) -> None:
        if ddl.is_outside(statement):
            self._not_in_transaction(statement)
            await ddl.execute(self.state, statement)
        else:
            async with self.transactions.statement(writes=True):
                await ddl.execute(self.state, statement)
        await self.done()

    def _not_in_transaction(self, statement: ast.Statement) -> None:
        if not self.state.trancount:
            return
        if isinstance(statement, ast.Backup | ast.Restore):
            raise SqlError(3021, "Cannot perform a backup or restore operation within a transaction.")
        word = {ast.CreateDatabase: "CREATE DATABASE", ast.AlterDatabase: "ALTER DATABASE"}.get(
            type(statement), "DROP DATABASE"
        )
        raise SqlError(226, f"{word} statement not allowed within multi-statement transaction.")

    async def _execute(self, statement: ast.Execute) -> None:
        await execute(self, statement)

    # -- triggers ------------------------------------------------------------------------------------------------------------

    async def run_trigger(self, trigger: TriggerInfo, inserted: TableInfo, deleted: TableInfo) -> AsyncIterator[Event]:
        """See model.Interpreter. What the body reports goes to `emit` at once."""
        if self.level >= DEEPEST:
            raise self._from_trigger(SqlError(217, TOO_DEEP))
        state, transactions = self.state, self.transactions
        outer = self.tries, self.procedure, self.in_trigger, transactions.floor, state.trancount
        self.tries, self.procedure, self.in_trigger = [], trigger.name, True
        state.trancount = transactions.floor = max(1, state.trancount)
        try:
            async with Scope(self) as scope:
                state.table_variables = {"inserted": inserted, "deleted": deleted}
                state.xact_abort = True
                await self._trigger_body(trigger, scope)
        finally:
            undone, transactions.undone = transactions.undone, False
            doomed = state.doomed
            self.tries, self.procedure, self.in_trigger, transactions.floor, state.trancount = outer
            state.doomed = doomed and state.trancount > 0
        if undone:
            raise self._from_trigger(SqlError(3609, _ENDED_IN_TRIGGER))
        if doomed:
            raise self._from_trigger(SqlError(3616, _ERROR_IN_TRIGGER))
        nothing: tuple[Event, ...] = ()
        for event in nothing:
            yield event

    async def _trigger_body(self, trigger: TriggerInfo, scope: Scope) -> None:
        body, lines = trigger.statement.body, trigger.statement.lines
        self.declare([m for m in mentions(body, lines) if m.declared])
        try:
            await self.statements(body, lines)
        except (flow.Returned, flow.ScopeEnded):
            pass
        except flow.TriggerFailed as failed:
            raise self._from_trigger(failed.error) from None

    def _from_trigger(self, error: SqlError) -> SqlError:
        self._trigger_error = error
        return error


def into(query: ast.Query) -> ast.Name | None:
    """The new table of SELECT ... INTO."""
    body = query.body
    while isinstance(body, ast.Compound):
        body = body.left
    return body.into


def assigned(query: ast.Query) -> bool:
    """Whether it assigns to variables."""
    return isinstance(query.body, ast.Select) and any(item.assign for item in query.body.items)


def _closable(events: AsyncIterator[Event]) -> Any:
    """An asynchronous generator, for aclosing."""
    return events


_COMPOUND: dict[type, Callable[[Runner, Any, int], Awaitable[None]]] = {
    ast.If: Runner._if,
    ast.While: Runner._while,
    ast.Block: Runner._block,
    ast.TryCatch: Runner._try,
}
_SIMPLE: dict[type, Callable[[Runner, Any], Awaitable[None]]] = {
    ast.Break: Runner._break,
    ast.Return: Runner._return,
    ast.WaitFor: Runner._waitfor,
    ast.Declare: Runner._declare,
    ast.SetVariable: Runner._set,
    ast.Print: Runner._print,
    ast.Throw: Runner._throw,
    ast.RaiseError: Runner._raiserror,
    ast.SetOption: Runner._set_option,
    ast.SetIsolation: Runner._set_isolation,
    ast.BeginTransaction: Runner._begin,
    ast.CommitTransaction: Runner._commit,
    ast.RollbackTransaction: Runner._rollback,
    ast.SaveTransaction: Runner._save,
    ast.Use: Runner._use,
    ast.Kill: Runner._kill,
    ast.Query: Runner._query,
    ast.Insert: Runner._dml,
    ast.Update: Runner._dml,
    ast.Delete: Runner._dml,
    ast.Execute: Runner._execute,
    **dict.fromkeys((*_DDL, *_OUTSIDE), Runner._ddl),
}
