"""adapter: rows of one statement in portions of bounded memory, whatever stands in them; changes and pages as batches.

Everything here runs in the connection's own thread, one hop a portion: fetching, turning rows into columns, converting.

A text with half of a surrogate pair makes the driver fail for the one row it is in. Such rows are only counted; at the end the
statement runs once more with a decoder that lets them through (slow, hence not always), and they alone are taken from it. It is
the same snapshot, and without one (degraded mode) a row that was mended in between comes with the next window.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from cdc.sources.base import ROWS_PER_READ, Page
from cdc.sources.sqlserver import cells, statements
from cdc.sources.sqlserver.parameters import Parameter, Parameters, bigint, integer, nvarchar, sizes, values, varbinary, varchar
from cdc.sources.sqlserver.plans import Plan
from cdc.sources.sqlserver.statements import KeyTerm, is_text, key_length
from cdc.sources.sqlserver.types import Carried
from transport.frames import MAX_KEY, Batch

Row = Sequence[Any]

PORTION = min(1_000, ROWS_PER_READ)  # rows: measured, more of them do not stay in the processor's cache until they are columns
MEMORY = 32 << 20  # bytes that one portion of ordinary rows may take at most
LARGE_MEMORY = 2 << 20  # bytes of very large cells that make a portion
PAGE_MEMORY = 8 << 20  # bytes of very large cells that make a page
LEAST_ROWS = 32
_SQL_CHAR, _SQL_WCHAR, _SQL_DOUBLE = 1, -8, 8
_WIDE = (-8, -9, -10)  # ODBC's types of UTF-16
_RAW_TEXT = 1  # MessagePack extension: a key's text that is no Unicode, as UTF-16


def _decoded(data: bytes) -> str:
    return data.decode("utf-16-le", "surrogatepass")


def prepare(session: Any) -> None:
    """Texts of every code page come as UTF-16: what the driver makes of them else depends on the agent's locale."""
    session.setdecoding(_SQL_CHAR, encoding="utf-16le", ctype=_SQL_WCHAR)
    session.setdecoding(_SQL_WCHAR, encoding="utf-16le", ctype=_SQL_WCHAR)


@contextlib.contextmanager
def _any_text(session: Any) -> Iterator[None]:
    """Texts with half of a surrogate pair are fetched, too."""
    for type_ in _WIDE:
        session.add_output_converter(type_, _decoded)
    try:
        yield
    finally:
        for type_ in _WIDE:
            session.remove_output_converter(type_)


# -- rows --------------------------------------------------------------------------------------------------------------------


class Select(NamedTuple):
    """A statement, its parameters, and how its rows are fetched."""

    sql: str
    parameters: Parameters
    sizes: tuple[int, ...]  # places of the sizes of very large cells
    row_bytes: int


def select(plan: Plan, sql: str, parameters: Parameters, before: int) -> Select:
    """Of a statement that selects `before` columns in front of the plan's values."""
    return Select(sql, parameters, _size_places(plan.reading.values, before), max(1, plan.row_bytes))


def _size_places(columns: Sequence[Carried], before: int) -> tuple[int, ...]:
    places: list[int] = []
    for c in columns:
        if c.size:
            places.append(before + 1)
        before += len(c.expressions)
    return tuple(places)


class Rows:
    """The rows of a statement, in portions. Methods take pyodbc's session and statement."""

    def __init__(self, select: Select) -> None:
        self._select = select
        self._portion = max(LEAST_ROWS, min(PORTION, MEMORY // select.row_bytes))
        self.begun = False
        self.ended = False
        self.undecodable = 0  # rows that were skipped
        self.large = 0  # bytes of very large cells so far
        self._cut = False  # the last portion ended early, for its size

    def begin(self, statement: Any) -> None:
        """Executes."""
        self.begun = True
        statement.setinputsizes(sizes(self._select.parameters))
        statement.execute(self._select.sql, values(self._select.parameters))

    def next(self, statement: Any, most: int = ROWS_PER_READ) -> list[Row]:
        """The next portion; empty at the end, or when nothing of a portion could be decoded."""
        if not self.begun:
            self.begin(statement)
        most = min(most, self._portion)
        rows: list[Row] = []
        skipped = self._take(statement, rows, most)
        while skipped:
            skipped = self._take(statement, rows, most)
        if len(rows) < most and not self._cut:
            self._finish(statement)
        return rows

    def _take(self, statement: Any, rows: list[Row], most: int) -> bool:
        """Rows up to `most` in all. True: one was skipped, and others may follow."""
        try:
            if self._select.sizes:
                self._cut = self._sized(statement, rows, most)
            else:
                rows.extend(islice(statement, most - len(rows)))  # keeps what came before an exception
        except UnicodeDecodeError:
            self.undecodable += 1
            return len(rows) < most
        return False

    def _sized(self, statement: Any, rows: list[Row], most: int) -> bool:
        """One by one, counting: no more than LARGE_MEMORY and one row. True: there may be more."""
        places, total = self._select.sizes, 0
        for row in statement:
            rows.append(row)
            for place in places:
                total += row[place] or 0
            if len(rows) >= most or total >= LARGE_MEMORY:
                self.large += total
                return len(rows) < most
        self.large += total
        return False

    def _finish(self, statement: Any) -> None:
        """Errors behind the rows are raised here."""
        while statement.nextset():
            pass
        self.ended = True


def fetch_all(session: Any, statement: Any, sql: str, parameters: Parameters, most: int) -> list[Row]:
    """At most that many small rows, whatever texts stand in them."""
    with _any_text(session):
        statement.setinputsizes(sizes(parameters))
        statement.execute(sql, values(parameters))
        rows: list[Row] = statement.fetchmany(most)
        while len(rows) < most and statement.nextset():
            pass
    return rows


# -- changes -----------------------------------------------------------------------------------------------------------------


class Changes:
    """The net changes of a dataset after a version; `next` once for each portion."""

    def __init__(self, plan: Plan, since: int) -> None:
        reading = plan.reading
        self.plan = plan
        self._target = plan.target(0)
        before = len(reading.key) + 1 + sum(k.loose for k in reading.key)
        self._select = select(plan, statements.changes(reading), (bigint(since),), before)
        self._rows = Rows(self._select)
        self._again: Rows | None = None  # the second run, for rows that could not be decoded
        self.ended = False

    @property
    def pending(self) -> bool:
        """Whether the statement is in the middle of its rows."""
        running = self._again or self._rows
        return running.begun and not running.ended

    def next(self, session: Any, statement: Any) -> list[Batch]:
        """The next batches: portions until they are ROWS_PER_READ rows, or large."""
        batches: list[Batch] = []
        count, large = 0, self._rows.large + LARGE_MEMORY
        while not self.ended and count < ROWS_PER_READ and self._rows.large < large:
            made = self._next(session, statement)
            if made is not None:
                batches.append(made)
                count += len(made.ops)
        return batches

    def _next(self, session: Any, statement: Any) -> Batch | None:
        if self._again is None:
            made = cells.changes(self._target, self._rows.next(statement))
            if self._rows.ended:
                if self._rows.undecodable:
                    self._again = Rows(self._select)
                self.ended = self._again is None
            return made
        with _any_text(session):
            rows = self._again.next(statement)
        self.ended = self._again.ended
        return cells.changes(self._target, cells.undecodable(rows))


# -- pages -------------------------------------------------------------------------------------------------------------------


class PageRead:
    """One page: the rows behind a key, in the order of the key's index."""

    def __init__(self, plan: Plan, generation: int, after: bytes, most: int) -> None:
        self._plan = plan
        self._target = plan.target(generation)
        self._after = after
        self._most = most
        self._width = len(plan.reading.key)
        start = unpack_key(after)
        as_bytes = [isinstance(cell, msgspec.msgpack.Ext) for cell in start]
        parameters = (integer(most), *key_parameters(plan.reading.ordered, start))
        self._select = select(plan, statements.page(plan.reading, as_bytes), parameters, self._width)
        self.pending = False  # the statement is in the middle of its rows

    def read(self, session: Any, statement: Any) -> Page:
        """The page; a row that cannot be decoded makes it be read once more."""
        self.pending = True
        page = self._read(statement)
        if page is None:
            with _any_text(session):
                page = self._read(statement)
        if page is None:  # pragma: no cover  # every text can be decoded so
            raise AssertionError("a text that is not UTF-16")
        return page

    def _read(self, statement: Any) -> Page | None:
        rows = Rows(self._select)
        batches: list[Batch] = []
        count, last = 0, self._after
        while not rows.ended and count < self._most and rows.large < PAGE_MEMORY:
            portion = rows.next(statement, self._most - count)
            if portion:
                count += len(portion)
                last = self._key(portion, last)
                if made := cells.page(self._target, portion):
                    batches.append(made)
        done = rows.ended and count < self._most and not rows.undecodable
        if count >= self._most and not rows.ended:
            self._finish(statement)
            rows.ended = True
        self.pending = not rows.ended
        return None if rows.undecodable else Page(batches, last, count, done=done)

    @staticmethod
    def _finish(statement: Any) -> None:
        while statement.nextset():
            pass

    def _key(self, portion: Sequence[Row], otherwise: bytes) -> bytes:
        """The last row's key, in the order of the index, as a position keeps it; the last of those that it can keep."""
        for row in reversed(portion):
            packed = pack_key([row[i] for i in self._plan.reading.order])
            if len(packed) <= MAX_KEY:
                return packed
        return otherwise


# -- keys in positions -------------------------------------------------------------------------------------------------------


def pack_key(key: Sequence[Any]) -> bytes:
    """The raw key cells in index order."""
    return msgspec.msgpack.encode([_packed(cell) for cell in key])


def _packed(cell: Any) -> Any:
    if isinstance(cell, str) and not cell.isascii():
        try:
            cell.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(_RAW_TEXT, cell.encode("utf-16-le", "surrogatepass"))
    return cell


def unpack_key(data: bytes) -> list[Any]:
    """What `pack_key` packed; b"" is no key."""
    return msgspec.msgpack.decode(data, type=list[Any]) if data else []


def key_parameters(key: Sequence[KeyTerm], cells_: Sequence[Any]) -> Parameters:
    """The key's cells as parameters of the types that the statements expect; empty without a key."""
    return tuple(_parameter(k, cell) for k, cell in zip(key, cells_, strict=bool(cells_)))


def _parameter(k: KeyTerm, cell: Any) -> Parameter:
    if isinstance(cell, msgspec.msgpack.Ext):
        return varbinary(bytes(cell.data), 2 * key_length(k.found))
    if is_text(k.found):
        return nvarchar(cell, key_length(k.found))
    return _PARAMETERS.get(k.found.type, _as_text)(k, cell)


def _as_text(_: KeyTerm, cell: Any) -> Parameter:
    return varchar(cell, 50)


_Make = Callable[[KeyTerm, Any], Parameter]
_PARAMETERS: dict[str, _Make] = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint", "bit"), lambda _, cell: bigint(cell)),
    **dict.fromkeys(("float", "real"), lambda _, cell: Parameter(cell, _SQL_DOUBLE, 53)),
    **dict.fromkeys(("binary", "varbinary", "timestamp"), lambda k, cell: varbinary(cell, max(1, k.found.max_length))),
    "hierarchyid": lambda _, cell: varchar(cell, 4000),
}
