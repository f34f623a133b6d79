"""adapter: rows of one statement in portions of bounded memory, whatever stands in them; changes and pages as batches.

SQLite refuses by itself to hand out a cell over its length limit, and stdlib `sqlite3` to hand out text that is not UTF-8;
either costs the whole fetch. So rows are fetched **fast** with a small limit; where that fails, **one by one** with the limit
of a row; and the one row that fails even so, **cell by cell**. No row pays for the look at another.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple, cast

import msgspec

from cdc.sources.base import ROWS_PER_READ, Page
from cdc.sources.sqlite import statements
from cdc.sources.sqlite.cells import TOO_BIG, BadText, Columns, LongKey, Stored, Target, batch, columns_of, long_key
from cdc.sources.sqlite.plans import Plan
from cdc.sources.sqlite.statements import KeyTerm, Reading
from transport.frames import MAX_KEY, MAX_ROW, Batch, Type

Row = tuple[Stored, ...]

FAST_CELL = 4 << 10  # bytes: larger cells are fetched with their row alone
FAST_MEMORY = 32 << 20  # bytes that one fast fetch may take at most
LARGE_MEMORY = 2 << 20  # bytes of rows fetched one by one that make a portion
PAGE_MEMORY = 8 << 20  # bytes of rows fetched one by one that make a page
_LEAST_ROWS = 64
_LONG = frozenset({Type.TEXT, Type.BYTES, Type.XML, Type.JSON})
_RAW_TEXT = 1  # MessagePack extension: a key's TEXT that is not UTF-8
_OVERHEAD = 9  # encoded bytes of a cell beside its content, at most


def reading(plan: Plan) -> Reading:
    """The plan as the statements want it."""
    key = zip(plan.key.columns, plan.declared_collations, strict=True)
    return Reading(
        plan.table.name,
        tuple(KeyTerm(k.name, k.collation, declared, k.descending) for k, declared in key),
        tuple(k.name for k in plan.key.columns if k.nullable),
        tuple(c.name for c in plan.columns),
        plan.dataset.filter,
    )


def target(plan: Plan, generation: int) -> Target:
    """What the plan's batches are for."""
    width = len(plan.key.columns)
    return Target(plan.dataset.name, plan.schema_id, generation, plan.columns[:width], plan.columns[width:])


class Select(NamedTuple):
    """A statement that ends in LIMIT ? OFFSET ?, its other parameters, and how its rows are found one by one."""

    sql: str
    parameters: Sequence[Any]
    keys_sql: str  # the same rows, their keys only, guarded
    plan: Plan
    reading: Reading
    before: int  # columns before the row's own: the changed key


class Rows:
    """The rows of a statement, in portions."""

    def __init__(self, connection: sqlite3.Connection, select: Select) -> None:
        self._connection = connection
        self._select = select
        self._delivered = 0
        self._cursor: sqlite3.Cursor | None = None
        self._one_by_one = False
        self._longest = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        long = sum(1 for column in select.plan.columns if column.type in _LONG)
        self._portion = max(_LEAST_ROWS, min(ROWS_PER_READ, FAST_MEMORY // (FAST_CELL * max(1, long))))
        self.large = 0  # bytes fetched one by one so far

    def close(self) -> None:
        """Ends the statement; idempotent."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def next(self, most: int = ROWS_PER_READ) -> list[Row]:
        """The next portion; empty at the end."""
        most = min(most, self._portion)
        rows = self._large(most) if self._one_by_one else self._fast(most)
        self._delivered += len(rows)
        if not rows:
            self.close()
        return rows

    def _fast(self, most: int) -> list[Row]:
        with self._cells_up_to(FAST_CELL):
            try:
                return cast("list[Row]", self._at(0).fetchmany(most))
            except sqlite3.Error as error:
                _raise_unless_a_cell(error)
        self.close()
        self._one_by_one = True
        return self._large(most)

    def _large(self, most: int) -> list[Row]:
        rows: list[Row] = []
        size = 0
        while len(rows) < most and size < LARGE_MEMORY:
            row = self._one(len(rows))
            if row is None:
                break
            row, bytes_ = _fitting(row)
            rows.append(row)
            size += bytes_
        self.large += size
        return rows

    def _one(self, pending: int) -> Row | None:
        with self._cells_up_to(MAX_ROW):
            try:
                return cast("Row | None", self._at(pending).fetchone())
            except sqlite3.Error as error:
                _raise_unless_a_cell(error)
        self.close()
        return self._cell_by_cell(pending)

    def _at(self, pending: int) -> sqlite3.Cursor:
        """The cursor, before row `delivered + pending`."""
        if self._cursor is None:
            parameters = (*self._select.parameters, -1, self._delivered + pending)
            self._cursor = self._connection.execute(self._select.sql, parameters)
        return self._cursor

    def _cell_by_cell(self, pending: int) -> Row | None:
        """One row whose key is fetched first; what of it is too long becomes TOO_BIG, text that is not UTF-8 BadText."""
        s = self._select
        with _any_text(self._connection):
            found = self._connection.execute(s.keys_sql, (*s.parameters, 1, self._delivered + pending)).fetchone()
        if found is None:
            return None
        key = tuple(long_key(cell, length) if length else cell for cell, length in zip(found[::2], found[1::2], strict=True))
        rest = self._too_long(key) if any(found[1::2]) else self._row(key)
        return key[: s.before] + rest

    def _too_long(self, key: Row) -> Row:
        return key + (TOO_BIG,) * (len(self._select.reading.columns) - len(key))

    def _row(self, key: Row) -> Row:
        places = placeholders(key)
        s = self._select
        missing: Row = (None,) * len(s.reading.columns)
        with self._cells_up_to(MAX_ROW), _any_text(self._connection):
            if self._connection.execute(statements.row(s.reading, places, ()), key).fetchone() is None:
                return missing
            return tuple(self._cell(column, places, key) for column in s.reading.columns)

    def _cell(self, column: str, places: Sequence[str], key: Row) -> Stored:
        sql = statements.row(self._select.reading, places, (column,))
        try:
            return cast("Stored", self._connection.execute(sql, key).fetchone()[0])
        except sqlite3.DataError:
            return TOO_BIG

    @contextlib.contextmanager
    def _cells_up_to(self, bytes_: int) -> Iterator[None]:
        """Other statements of this connection keep the ordinary limit."""
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, bytes_)
        try:
            yield
        finally:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._longest)


def _raise_unless_a_cell(error: sqlite3.Error) -> None:
    """Only a cell that cannot be handed out makes a closer look worth while."""
    not_utf8 = isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)
    if not (not_utf8 or isinstance(error, sqlite3.DataError)):
        raise error


@contextlib.contextmanager
def _any_text(connection: sqlite3.Connection) -> Iterator[None]:
    factory = connection.text_factory
    connection.text_factory = _text
    try:
        yield
    finally:
        connection.text_factory = factory


def _text(data: bytes) -> str | BadText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BadText(data)


def _fitting(row: Row) -> tuple[Row, int]:
    """The row, its largest cell replaced until it can travel, and about how many bytes it takes."""
    sizes = [_size(cell) for cell in row]
    total = sum(sizes)
    while total > MAX_ROW:
        largest = sizes.index(max(sizes))
        row = (*row[:largest], TOO_BIG, *row[largest + 1 :])
        total -= sizes[largest]
        sizes[largest] = 0
    return row, total


def _size(cell: Stored) -> int:
    if isinstance(cell, str):
        return _OVERHEAD + (len(cell) if cell.isascii() else len(cell.encode()))
    return _OVERHEAD + (len(cell) if isinstance(cell, bytes) else 0)


def placeholders(key: Sequence[Stored]) -> list[str]:
    """How each key cell is bound: text that is not UTF-8 goes in as bytes."""
    return ["CAST(? AS TEXT)" if isinstance(cell, BadText) else "?" for cell in key]


# -- keys in positions -------------------------------------------------------------------------------------------------------


def pack_key(key: Sequence[Stored]) -> bytes:
    """The raw key cells, as a position keeps them."""
    cells = [msgspec.msgpack.Ext(_RAW_TEXT, bytes(cell)) if isinstance(cell, BadText) else cell for cell in key]
    return msgspec.msgpack.encode(cells)


def unpack_key(data: bytes) -> list[Stored]:
    """What `pack_key` packed; b"" is no key."""
    cells = msgspec.msgpack.decode(data, type=list[Any]) if data else []
    return [BadText(cell.data) if isinstance(cell, msgspec.msgpack.Ext) else cell for cell in cells]


# -- changes -----------------------------------------------------------------------------------------------------------------


def changes(connection: sqlite3.Connection, plan: Plan, tbl: int, since: int, until: int) -> Iterator[Batch]:
    """The net changes of a table in (since, until]."""
    r, to = reading(plan), target(plan, 0)
    parameters = (since, until, tbl)
    rows = Rows(connection, Select(statements.changes(r), parameters, statements.changed_keys(r), plan, r, r.width))
    with contextlib.closing(rows):
        while portion := rows.next():
            if made := batch(to, *_split(portion, r.width)):
                yield made
    if r.nullable:
        yield from _changed_null_keys(connection, r, to, parameters)


def _split(portion: list[Row], width: int) -> tuple[Columns, Columns]:
    """Rows that are there, without the changed key before them, and keys of those that are gone."""
    columns = columns_of(portion)
    if None not in columns[width]:
        return columns[width:], ()
    there = columns_of([row for row in portion if row[width] is not None])
    gone = columns_of([row[:width] for row in portion if row[width] is None])
    return there[width:], gone


def _changed_null_keys(connection: sqlite3.Connection, r: Reading, to: Target, parameters: Sequence[int]) -> Iterator[Batch]:
    """Rows that have no identity: withheld as long as any of that key is there."""
    with _any_text(connection):
        changed = connection.execute(statements.changed_null_keys(r), parameters)
        count = statements.count_of_key(r)
        while portion := changed.fetchmany(ROWS_PER_READ):
            there = [bool(connection.execute(count, key).fetchone()[0]) for key in portion]
            gone = [key for key, is_there in zip(portion, there, strict=True) if not is_there]
            if made := batch(to, _without_values(to, compress(portion, there)), columns_of(gone)):
                yield made


def _without_values(to: Target, keys: Iterable[Row]) -> Columns:
    return columns_of([(*key, *(None,) * len(to.values)) for key in keys])


# -- pages -------------------------------------------------------------------------------------------------------------------


def page(connection: sqlite3.Connection, plan: Plan, generation: int, after: bytes, most: int) -> Page:
    """The next `most` rows in key order: fewer where they are large, more where none of their keys can be remembered."""
    r, to = reading(plan), target(plan, generation)
    start = unpack_key(after)
    places = placeholders(start)
    select = Select(statements.page(r, places), start, statements.page_keys(r, places), plan, r, 0)
    batches: list[Batch | None] = []
    count, last = 0, after
    rows = Rows(connection, select)
    with contextlib.closing(rows):
        while last == after or (count < most and rows.large < PAGE_MEMORY):
            portion = rows.next(max(1, most - count))
            if not portion:
                more = _null_keys(connection, r, to) if r.nullable else []
                made = [b for b in (*batches, *more) if b]
                return Page(made, last, count + sum(len(b.ops) for b in more), done=True)
            count += len(portion)
            last = next((pack_key(key) for row in reversed(portion) if _is_short(key := row[: r.width])), last)
            batches.append(batch(to, columns_of(portion)))
    return Page([b for b in batches if b], last, count, done=False)


def _is_short(key: Row) -> bool:
    """Whether a position can keep it."""
    if any(isinstance(cell, (LongKey, type(TOO_BIG))) for cell in key):
        return False
    return sum(map(_size, key)) <= MAX_KEY


def _null_keys(connection: sqlite3.Connection, r: Reading, to: Target) -> list[Batch]:
    with _any_text(connection):
        found = connection.execute(statements.null_keys(r), (ROWS_PER_READ, 0)).fetchall()
    made = batch(to, _without_values(to, (row[: r.width] for row in found)))
    return [made] if made else []
