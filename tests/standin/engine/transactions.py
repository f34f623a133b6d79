"""adapter: SQL Server's rules of transactions: @@TRANCOUNT, names, savepoints, doomed ones. storage.py does the work."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.standin.engine import storage
from tests.standin.ports import Refused, SqlError, Transaction

if TYPE_CHECKING:
    from tests.standin.engine.model import State

_descriptors = itertools.count(0x1_0000_0001)  # of the whole server

NO_COMMIT = (
    "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the "
    "transaction."
)


class Transactions:
    """Of one session. What begins or ends one returns the event to report, or None."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.name = ""
        self.touched = False  # the open transaction has read or written
        self.floor = 0  # the count in which the running trigger began; it must not commit below
        self.undone = False  # a trigger rolled back; carried out when its statement has ended

    async def begin(self, name: str) -> Transaction | None:
        """BEGIN TRANSACTION."""
        state = self.state
        if state.trancount:
            state.trancount += 1
            return None
        await storage.begin(state)
        self.name, self.touched = name, False
        state.trancount, state.doomed = 1, False
        state.descriptor = next(_descriptors)
        return Transaction("begun", state.descriptor)

    async def commit(self) -> Transaction | None:
        """COMMIT. Raises SqlError 3902, 3930."""
        state = self.state
        if not state.trancount:
            raise SqlError(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
        if state.doomed:
            raise SqlError(3930, NO_COMMIT)
        if self.floor and state.trancount <= self.floor:
            raise Refused("COMMIT of the outer transaction in a trigger")
        if state.trancount > 1:
            state.trancount -= 1
            return None
        descriptor = state.descriptor
        try:
            await storage.commit(state)
        except BaseException:
            self._ended()
            raise
        self._ended()
        return Transaction("committed", descriptor)

    async def rollback(self, name: str = "") -> Transaction | None:
        """ROLLBACK, of everything or to a savepoint. Raises SqlError 3903, 3931, 6401."""
        state = self.state
        if not state.trancount:
            raise SqlError(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
        if name and storage.has_savepoint(state, name):
            if state.doomed:
                message = (
                    "The current transaction cannot be rolled back to a savepoint, because it cannot be committed. Roll back "
                    "the entire transaction."
                )
                raise SqlError(3931, message)
            await storage.rollback_to(state, name)
            self._forget_table_variables()
            return None
        if name and name != self.name:
            raise SqlError(6401, f"Cannot roll back {name}. No transaction or savepoint of that name was found.")
        if self.floor:
            self.undone = True
            return None
        return await self.undo()

    async def undo(self) -> Transaction | None:
        """Rolls back whatever is open; without a transaction it does nothing."""
        state = self.state
        open_one, descriptor = state.trancount > 0, state.descriptor
        try:
            if not state.connection.is_closed():
                await storage.rollback(state)
                self._forget_table_variables()
        finally:
            self._ended()
        return Transaction("rolled back", descriptor) if open_one and descriptor else None

    async def save(self, name: str) -> None:
        """SAVE TRANSACTION. Raises SqlError 628, 3933."""
        state = self.state
        if not state.trancount:
            raise SqlError(628, "Cannot issue SAVE TRANSACTION when there is no active transaction.")
        if state.doomed:
            raise SqlError(3930, NO_COMMIT)
        if self.floor:
            raise Refused("SAVE TRANSACTION in a trigger")
        await storage.save(state, name)

    def _forget_table_variables(self) -> None:
        """SQL Server keeps their rows through a rollback, PostgreSQL does not: later uses fail (1087) instead of lying."""
        for name in [name for name in self.state.table_variables if name.startswith("@")]:
            del self.state.table_variables[name]

    def _ended(self) -> None:
        state = self.state
        state.trancount, state.doomed, state.descriptor = 0, False, 0
        self.name, self.touched = "", False

    @asynccontextmanager
    async def statement(self, *, writes: bool) -> AsyncIterator[None]:
        """One statement that reads or writes data: alone in a transaction, or undone alone within the open one.

        Raises SqlError 3930 for a write in a doomed transaction.
        """
        state = self.state
        if not state.trancount:
            async with storage.autocommit(state):
                yield
            return
        if self.undone:
            raise Refused("a statement on data in a trigger after ROLLBACK")
        if writes and state.doomed:
            raise SqlError(3930, NO_COMMIT)
        if not self.touched:
            self.touched = True
            state.catalogue = state.database.catalogue  # a snapshot begins with the first statement, not with BEGIN
        async with storage.statement(state):
            yield
