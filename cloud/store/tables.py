"""adapter: the table of one generation: creating it, writing rows by columns, reading them back in canonical form.

A table is WITHOUT ROWID and STRICT with `_key` as its only unique index. INSERT OR REPLACE then overwrites without a search of
its own (measured against a rowid table with an index: 10 % less time for new rows, 20 to 30 % less for those that exist).
"""

from __future__ import annotations

import enum
import operator
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import Any, NamedTuple, TypeVar

from cloud.store.base import Row
from cloud.store.names import KEY, WITHHELD, declared, quoted, table_name, unique_names
from transport.frames import Cell, Column, Schema, Type, Withheld

Cells = Sequence[Sequence[Cell]]  # one list a column
REFUSALS = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)  # of one row, not of the database
_BLOCK_PARAMETERS = 1_024  # of a statement that inserts many rows
_LEAST_BLOCK = 8  # rows below which it gains nothing
_CHUNKS = (1, 16, 256, 2048)  # sizes of IN lists: few texts, prepared once
_BLAMED = re.compile(r"(?:column|failed:) \S+?\.(.+)$")
K = TypeVar("K")


class Guess(enum.Enum):
    """What most rows of a batch probably are in the table. It decides which statement goes first."""

    NEW = enum.auto()
    OLD = enum.auto()
    MIXED = enum.auto()


class Put(NamedTuple):
    """What writing rows did."""

    added: int  # keys that were not there
    refused: list[tuple[int, Withheld]]  # rows the database does not take, by their place in the batch

    def next_guess(self, rows: int) -> Guess:
        """Expect of the next batch what this one was."""
        if self.added == 0:
            return Guess.OLD
        return Guess.NEW if self.added + len(self.refused) == rows else Guess.MIXED


class Table:
    """The statements of one generation's table. Columns stand in wire order: key columns in key order, then the others."""

    def __init__(self, dataset: str, number: int, schema: Schema) -> None:
        self.name = table_name(dataset, number)
        self.schema = schema
        self.columns: list[Column] = [*schema.keys(), *schema.values()]
        self._stored = dict(zip((c.name for c in self.columns), _stored_names(self.columns), strict=True))
        self._floats = [i for i, c in enumerate(self.columns) if c.type is Type.FLOAT]
        self._bools = [c.name for c in schema.columns if c.type is Type.BOOL]
        self._names = [c.name for c in schema.columns]
        names = ", ".join(map(quoted, (KEY, *self._stored.values())))
        marks = ", ".join("?" * (len(self.columns) + 1))
        table, read = quoted(self.name), ", ".join(quoted(self._stored[name]) for name in self._names)
        self._block = _BLOCK_PARAMETERS // (len(self.columns) + 1)  # rows
        self._add, self._add_block = (
            f"INSERT INTO {table} ({names}) VALUES {values} ON CONFLICT ({quoted(KEY)}) DO NOTHING"
            for values in (f"({marks})", ", ".join([f"({marks})"] * self._block))
        )
        self._replace = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"
        assigned = ", ".join(f"{quoted(name)} = ?{i}" for i, name in enumerate(self._stored.values(), 2))
        self._update = f"UPDATE {table} SET {assigned}, {quoted(WITHHELD)} = NULL WHERE {quoted(KEY)} = ?1"
        self._remove = f"DELETE FROM {table} WHERE {quoted(KEY)} = ?"
        self._mark = f"UPDATE {table} SET {quoted(WITHHELD)} = ? WHERE {quoted(KEY)} = ?"
        self._among = f"FROM {table} WHERE {quoted(KEY)} IN"
        self._select = f"SELECT {quoted(KEY)}, {quoted(WITHHELD)}, {read}"
        self._page = f"{self._select} FROM {table} WHERE {quoted(KEY)} > ? ORDER BY {quoted(KEY)} LIMIT ?"

    # -- structure -------------------------------------------------------------------------------------------------------

    def create(self, db: sqlite3.Connection) -> None:
        """Create the table, empty."""
        columns = ", ".join(f"{quoted(self._stored[c.name])} {declared(c.type)}" for c in self.columns)
        db.execute(
            f"CREATE TABLE {quoted(self.name)} "
            f"({quoted(KEY)} BLOB PRIMARY KEY, {columns}, {quoted(WITHHELD)} TEXT) STRICT, WITHOUT ROWID"
        )

    def show(self, db: sqlite3.Connection) -> None:
        """Point the view that people query at this table."""
        view = quoted(self.schema.dataset)
        names = ", ".join(map(quoted, unique_names(self._names)))
        columns = ", ".join(quoted(self._stored[name]) for name in self._names)
        db.execute(f"DROP VIEW IF EXISTS {view}")
        db.execute(f"CREATE VIEW {view} ({names}) AS SELECT {columns} FROM {quoted(self.name)}")

    def drop(self, db: sqlite3.Connection) -> None:
        """Drop the table; measured 45 ms for a million rows, so it is done in the transaction of the swap."""
        db.execute(f"DROP TABLE {quoted(self.name)}")

    def missing_in(self, db: sqlite3.Connection, other: Table) -> int:
        """How many rows of this table have no counterpart in the other, by key; by number where the keys are made otherwise."""
        if _key_form(self.schema) != _key_form(other.schema):
            counts = [db.execute(f"SELECT count(*) FROM {quoted(t.name)}").fetchone()[0] for t in (self, other)]
            return max(0, int(counts[0] - counts[1]))
        mine, its, key = quoted(self.name), quoted(other.name), quoted(KEY)
        found = db.execute(
            f"SELECT count(*) FROM {mine} AS a WHERE NOT EXISTS (SELECT 1 FROM {its} AS b WHERE b.{key} = a.{key})"
        ).fetchone()
        return int(found[0])

    # -- writing ---------------------------------------------------------------------------------------------------------

    def put_rows(self, db: sqlite3.Connection, keys: list[bytes], cells: Cells, guess: Guess) -> Put:
        """Insert or replace rows; a later one of the same key wins.

        A refused row changes nothing, the others go on: a statement is atomic in SQLite, so there is no need to search for the
        row to blame. A wrong guess costs time only.
        """
        blanks = self._not_numbers(cells)
        if not blanks:
            added, refused = self._put(db, keys, cells, guess)
            return Put(added, list(refused.items()))
        good = [i not in blanks for i in range(len(keys))]
        places = list(compress(range(len(keys)), good))
        added, refused = self._put(db, list(compress(keys, good)), [list(compress(c, good)) for c in cells], guess)
        return Put(added, [*blanks.items(), *((places[at], reason) for at, reason in refused.items())])

    def remove_rows(self, db: sqlite3.Connection, keys: list[bytes]) -> int:
        """Delete rows. Returns how many there were."""
        return db.executemany(self._remove, zip(map(bytearray, keys))).rowcount

    def mark_row(self, db: sqlite3.Connection, key: bytes, code: str) -> bool:
        """Mark the last version of a row as withheld. False: there is none."""
        return db.execute(self._mark, (code, key)).rowcount > 0

    def keep_row(self, db: sqlite3.Connection, visible: Table, key: bytes) -> bool:
        """Take over the last version of a row from another generation of the same schema. False: it has none, or is here."""
        kept = db.execute(
            f"INSERT INTO {quoted(self.name)} SELECT * FROM {quoted(visible.name)} WHERE {quoted(KEY)} = ? "
            "ON CONFLICT DO NOTHING",
            (key,),
        )
        return kept.rowcount > 0

    def _put(self, db: sqlite3.Connection, keys: list[bytes], cells: Cells, guess: Guess) -> tuple[int, dict[int, Withheld]]:
        raw = list(map(bytearray, keys))  # binds in a fifth of the time of bytes
        if guess is Guess.NEW:
            added, refused = self._add_rows(db, raw, cells)
            if added + len(refused) < len(keys):
                _, refused = self._run(db, self._replace, raw, cells)
            return added, refused
        if guess is Guess.OLD:
            updated, refused = self._run(db, self._update, raw, cells)
            if updated + len(refused) == len(keys):
                return 0, refused
            if len(set(keys)) == len(keys):  # otherwise the first of a new key would stay, not the last
                return self._run(db, self._add, raw, cells, refused)
        return self._replace_counted(db, keys, raw, cells)

    def _add_rows(self, db: sqlite3.Connection, keys: list[bytearray], cells: Cells) -> tuple[int, dict[int, Withheld]]:
        """Insert as `_run` does, but many rows a statement: a sixth less time. A block with a refused row goes row by row."""
        if len(keys) < self._block or self._block < _LEAST_BLOCK:
            return self._run(db, self._add, keys, cells)
        before, end = db.total_changes, len(keys) - len(keys) % self._block
        source = iter(keys[:end])
        flat = chain.from_iterable(zip(source, *cells, strict=False))
        blocks = zip(*[flat] * (self._block * (len(cells) + 1)), strict=True)
        singly = [(end, len(keys))]
        refused: dict[int, Withheld] = {}
        while operator.length_hint(source):
            try:
                db.executemany(self._add_block, blocks)
            except REFUSALS:
                if not db.in_transaction:
                    raise  # as in `_run`
                at = end - operator.length_hint(source)
                singly.append((at - self._block, at))
        for start, stop in singly:
            _, found = self._run(db, self._add, keys[start:stop], [column[start:stop] for column in cells])
            refused |= {start + at: reason for at, reason in found.items()}
        return db.total_changes - before, refused

    def _replace_counted(
        self, db: sqlite3.Connection, keys: list[bytes], raw: list[bytearray], cells: Cells
    ) -> tuple[int, dict[int, Withheld]]:
        distinct = set(keys)
        looked_up = raw if len(distinct) == len(keys) else list(map(bytearray, distinct))
        before = self._count_among(db, looked_up)
        _, refused = self._run(db, self._replace, raw, cells)
        after = self._count_among(db, looked_up) if refused else len(distinct)
        return after - before, refused

    def _run(
        self,
        db: sqlite3.Connection,
        sql: str,
        keys: list[bytearray],
        cells: Cells,
        refused: dict[int, Withheld] | None = None,
    ) -> tuple[int, dict[int, Withheld]]:
        """Execute once a row, also after rows that are refused. Returns how many rows were written, and why which were not."""
        source = iter(keys)
        rows = zip(source, *cells, strict=True)
        before, refused = db.total_changes, refused or {}
        while True:
            try:
                db.executemany(sql, rows)
            except REFUSALS as error:
                if not db.in_transaction:
                    raise  # a trigger of somebody else's rolled everything back
                at = len(keys) - operator.length_hint(source) - 1
                refused[at] = self._reason(error, [column[at] for column in cells])
            else:
                return db.total_changes - before, refused

    def _not_numbers(self, cells: Cells) -> dict[int, Withheld]:
        """Rows with a float that is not a number, which SQLite would keep as NULL."""
        found: dict[int, Withheld] = {}
        for column, values in ((self.columns[i].name, cells[i]) for i in self._floats):
            unequal = list(map(operator.ne, values, values))  # only NaN is not equal to itself
            if True in unequal:
                reason = Withheld("C3123", column)
                found.update({i: reason for i, nan in enumerate(unequal) if nan})
        return found

    def _reason(self, error: Exception, cells: Sequence[Cell]) -> Withheld:
        if isinstance(error, OverflowError):
            return Withheld("C3121", self._first(cells, lambda cell: type(cell) is int and not -(2**63) <= cell < 2**63))
        if isinstance(error, sqlite3.DataError):
            sizes = [len(cell) if isinstance(cell, str | bytes) else 0 for cell in cells]
            return Withheld("C3122", self.columns[sizes.index(max(sizes))].name, f"{max(sizes)} bytes or characters")
        if isinstance(error, UnicodeEncodeError):
            return Withheld("C3124", self._first(cells, lambda cell: type(cell) is str and not _is_unicode(cell)))
        found = _BLAMED.search(str(error))
        name = next((name for name, stored in self._stored.items() if found and stored == found[1]), "")
        return Withheld("C3124" if str(error).startswith("cannot store ") else "C3120", name, str(error)[:200])

    def _first(self, cells: Sequence[Cell], wrong: Callable[[Cell], bool]) -> str:
        return next((column.name for column, cell in zip(self.columns, cells, strict=True) if wrong(cell)), "")

    # -- reading ---------------------------------------------------------------------------------------------------------

    def page(self, db: sqlite3.Connection, after: bytes, limit: int) -> list[Row]:
        """Read rows in the order of their identities' bytes, those greater than `after`."""
        return list(self._rows(db.execute(self._page, (after, limit))))

    def rows_of(self, db: sqlite3.Connection, keys: Iterable[bytes]) -> dict[bytes, Row]:
        """Read those of the rows that are here, by identity."""
        found: dict[bytes, Row] = {}
        for chunk in _chunks(list(keys)):
            rows = db.execute(f"{self._select} {self._among} ({_marks(len(chunk))})", chunk)
            found.update((row.key, row) for row in self._rows(rows))
        return found

    def _count_among(self, db: sqlite3.Connection, keys: list[bytearray]) -> int:
        return sum(
            db.execute(f"SELECT count(*) {self._among} ({_marks(len(chunk))})", chunk).fetchone()[0] for chunk in _chunks(keys)
        )

    def _rows(self, found: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
        for key, withheld, *values in found:
            cells = dict(zip(self._names, values, strict=True))
            for name in self._bools:
                if cells[name] is not None:
                    cells[name] = bool(cells[name])
            yield Row(key, cells, withheld or "")


def _stored_names(columns: Sequence[Column]) -> list[str]:
    """Name the columns as in the table: the ERP's names, but ours come first."""
    return unique_names((c.name for c in columns), taken=(KEY, WITHHELD))


def _key_form(schema: Schema) -> list[tuple[Any, ...]]:
    return [(c.type, c.scale, c.fold, c.pad) for c in schema.keys()]  # noqa: SIM118  # not a dict


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _chunks(keys: Sequence[K]) -> Iterator[list[K]]:
    """Cut into lists of few sizes, the last one filled up by repeating a key, which changes no IN."""
    for at in range(0, len(keys), _CHUNKS[-1]):
        chunk = list(keys[at : at + _CHUNKS[-1]])
        size = next(size for size in _CHUNKS if size >= len(chunk))
        yield chunk + chunk[-1:] * (size - len(chunk))


@lru_cache
def _marks(count: int) -> str:
    return ",".join("?" * count)
