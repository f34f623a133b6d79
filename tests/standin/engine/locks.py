"""adapter: blocking as SQL Server blocks.

How the compiler uses it, once per statement, after name resolution and before PostgreSQL sees the statement:

    if not await locks.before(state, reads, writes): compile again, for the catalogue changed while it waited
    sql += locks.clause(state, reads)      # a query whose rows are to be locked
    async with locks.reading(state, reads): run the query and fetch its rows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.standin.engine.model import State, TableInfo


@dataclass(frozen=True, slots=True)
class Read:
    """A table in FROM. `key`: SQL expressions of PostgreSQL for its full primary key, with `arguments` for their $1, $2.

    `alias`: of the table in the compiled query, for the locking clause.
    """

    table: TableInfo
    alias: str = ""
    hints: tuple[str, ...] = ()
    key: tuple[str, ...] | None = None
    arguments: tuple[object, ...] = ()


async def before(state: State, reads: Sequence[Read], writes: Sequence[TableInfo]) -> bool:
    """Waits as SQL Server would for others' uncommitted work on these tables, and takes the locks that hints ask for.

    False: the catalogue changed meanwhile. Raises SqlError 1222, 1205, 3951, 3952, 3961, 3906.
    """
    raise NotImplementedError


def clause(state: State, reads: Sequence[Read]) -> str:
    """` FOR NO KEY UPDATE OF a` and the like, or "". Only for a query without grouping; see `before` for the others."""
    raise NotImplementedError
