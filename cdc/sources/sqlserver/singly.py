"""adapter: rows read one by one, where the server fails at one of them: a computed column that divides by zero, say.

Slow (a statement for each row), so only what a whole statement could not read is read so, and no more than MOST rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cdc.errors import AgentError, DatasetPaused, Transient
from cdc.sources.base import Page
from cdc.sources.sqlserver import cells, statements
from cdc.sources.sqlserver.connection import PING, Connection
from cdc.sources.sqlserver.failures import Kind, failure_of
from cdc.sources.sqlserver.parameters import Parameters, bigint, integer
from cdc.sources.sqlserver.plans import Plan, paused, place
from cdc.sources.sqlserver.reading import Row, fetch_all, key_parameters, pack_key, unpack_key
from cdc.sources.sqlserver.types import Carried
from transport.frames import MAX_KEY, Batch, Withheld

MOST = 20_000  # rows; at about a millisecond each
PORTION = 200  # rows of a batch
AT_A_ROW = frozenset({Kind.VALUE, Kind.REFUSED})  # kinds of errors that a row's content can cause


class Failed(DatasetPaused):
    """The server failed at a row of a whole statement, and the read transaction is still there."""


class Singly:
    """One dataset's rows, in the read transaction of the session."""

    def __init__(self, connection: Connection, plan: Plan) -> None:
        self._connection = connection
        self._plan = plan
        self._loose = [k.carried for k in plan.reading.key if k.loose]

    async def changes(self, since: int) -> AsyncIterator[Batch]:
        """As `Changes`; rows that a failed statement has told before are told once more. Raises DatasetPaused."""
        reading = self._plan.reading
        found = await self._keys(statements.changed_keys(reading), (bigint(since),))
        for start in range(0, len(found), PORTION):
            made = await self._changes(found[start : start + PORTION])
            if made is not None:
                yield made

    async def _changes(self, found: Sequence[Row]) -> Batch | None:
        width = len(self._plan.reading.key)
        columns = [*self._loose, *self._plan.reading.values]
        rows: list[Row] = []
        bad: list[tuple[Row, Withheld]] = []
        for line in found:
            key = tuple(line[:width])
            row = await self._row(key, columns) if line[width] else None
            if isinstance(row, Withheld):
                bad.append((key, row))
            else:
                rows.append((*key, 1, *row) if row is not None else (*key, 0, *[None] * self._selected(columns)))
        return cells.with_withheld(self._plan.target(0), cells.changes(self._plan.target(0), rows), bad)

    async def page(self, generation: int, after: bytes, most: int) -> Page:
        """As `PageRead`."""
        reading, target = self._plan.reading, self._plan.target(generation)
        start = unpack_key(after)
        as_bytes = [not isinstance(cell, (str, bytes, int, float)) for cell in start]
        parameters = (integer(min(most, PORTION)), *key_parameters(reading.ordered, start))
        found = await self._keys(statements.page_keys(reading, as_bytes), parameters)
        rows: list[Row] = []
        bad: list[tuple[Row, Withheld]] = []
        for key in found:
            row = await self._row(key, reading.values)
            if isinstance(row, Withheld):
                bad.append((key, row))
            elif row is not None:
                rows.append((*key, *row))
        made = cells.with_withheld(target, cells.page(target, rows), bad)
        last = next((p for key in reversed(found) if len(p := pack_key([key[i] for i in reading.order])) <= MAX_KEY), after)
        return Page([made] if made else [], last, len(found), done=len(found) < min(most, PORTION))

    async def _keys(self, sql: str, parameters: Parameters) -> list[Row]:
        try:
            found = await self._connection.work(
                lambda session, statement: fetch_all(session, statement, sql, parameters, MOST + 1), table=True
            )
        except AgentError as error:
            raise await self.judged(error) from error
        if len(found) > MOST:
            message = f"the server fails at a row of it, and more than {MOST} rows changed: too many to be read one by one"
            raise paused("A2230", message, self._plan.dataset)
        return found

    async def _row(self, key: Row, columns: Sequence[Carried]) -> Row | Withheld | None:
        """The row's cells; why it cannot be read; None: it is not there."""
        try:
            return await self._cells(key, columns)
        except AgentError as error:
            problem = await self.judged(error)
            if not isinstance(problem, Failed):
                raise problem from error
        for column in columns:
            try:
                await self._cells(key, [column])
            except AgentError as error:
                problem = await self.judged(error)
                if not isinstance(problem, Failed):
                    raise problem from error
                failure = failure_of(error)
                return Withheld("A2275", column.column.name, f"error {failure.number if failure else 0} of the server")
        return Withheld("A2275", "", "the server fails at the row")

    async def _cells(self, key: Row, columns: Sequence[Carried]) -> Row | None:
        reading = self._plan.reading
        ordered = [key[i] for i in reading.order]
        as_bytes = [False] * len(ordered)
        sql = statements.row(reading, columns, as_bytes)
        parameters = key_parameters(reading.ordered, ordered)
        rows = await self._connection.work(
            lambda session, statement: fetch_all(session, statement, sql, parameters, 1), table=True
        )
        return (tuple(rows[0]) if columns else ()) if rows else None

    @staticmethod
    def _selected(columns: Sequence[Carried]) -> int:
        return sum(len(c.expressions) for c in columns)

    async def judged(self, error: AgentError) -> AgentError:
        """What an error of a statement on the dataset's table means: `Failed` where its rows are to blame."""
        return await judged(self._connection, self._plan, error)


async def judged(connection: Connection, plan: Plan, error: AgentError) -> AgentError:
    """See `Singly.judged`. An error that ended the transaction is Transient: nothing more may be read in it."""
    failure = failure_of(error)
    at_a_row = failure is not None and failure.kind in AT_A_ROW
    if failure is None or not (at_a_row or isinstance(error, DatasetPaused)):
        return error
    if connection.doubtful:
        return Transient(error.code, error.message, where=place(plan.dataset))
    rows = await connection.execute(PING)
    if not rows or not rows[0][0]:
        return Transient("A2257", f"an error ended the read transaction: {failure.text}", where=place(plan.dataset))
    if isinstance(error, DatasetPaused):
        return error
    return Failed("A2230", f"the server cannot read it: {failure.text}", where=place(plan.dataset))
