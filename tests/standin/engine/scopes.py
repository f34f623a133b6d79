"""adapter: what belongs to one procedure, trigger or piece of dynamic SQL, and is given back at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.standin.engine.model import State, TableInfo
from tests.standin.engine.options import Settings
from tests.standin.ports import SqlError

if TYPE_CHECKING:
    from tests.standin.engine.interpreter import Runner

DEEPEST = 32  # levels of procedures and triggers
TOO_DEEP = "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32)."


class Scope:
    """A procedure, dynamic SQL, a trigger or a parameterised request: variables, options and temporary tables of its own."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.state = runner.state
        self.settings = Settings.of(self.state)
        self.variables = self.state.variables
        self.table_variables = self.state.table_variables
        self.temporaries = set(self.state.temporaries)
        self.identity = self.state.identity
        self.database = self.state.database.name

    async def __aenter__(self) -> Self:
        """Raises SqlError 217."""
        if self.runner.level >= DEEPEST:
            raise SqlError(217, TOO_DEEP)
        self.runner.level += 1
        state = self.state
        state.variables, state.table_variables, state.identity = {}, {}, None
        return self

    async def __aexit__(self, *_: object) -> None:
        state, own = self.state, self.state.table_variables
        self.runner.level -= 1
        self.settings.restore(state)
        state.variables, state.table_variables, state.identity = self.variables, self.table_variables, self.identity
        if state.connection.is_closed():
            return
        fresh = {name: table for name, table in state.temporaries.items() if name not in self.temporaries}
        for name, table in [*fresh.items(), *((n, t) for n, t in own.items() if n.startswith("@"))]:
            state.temporaries.pop(name, None)
            await drop_stored(state, table)
        if state.database.name != self.database:
            await self.runner.use(self.database)


async def drop_stored(state: State, table: TableInfo) -> None:
    """Drops a temporary table or table variable whose scope has ended."""
    await state.connection.execute(f"DROP TABLE IF EXISTS {table.stored}")
