"""Random transactions on a database of AdventureWorks' shape, from several connections, as a rough ERP would make them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

from tests.support.adventureworks import Column, Table, new_row, tables
from tests.support.random_values import spoiled, value

PATIENCE = 30.0  # seconds to wait for another writer
FIRST_FRESH_KEY = 1_000_000
SMALL = frozenset({"TINYINT", "SMALLINT"})
Change = Callable[["RandomWriter", sqlite3.Connection, Table], None]


class Done(NamedTuple):
    """One transaction."""

    committed: bool
    operations: tuple[str, ...]  # what was tried and not refused by a constraint


class RandomWriter:
    """Commits random transactions; the same seed on the same file makes the same ones, as long as it is alone.

    `spoil`: the share of updates that write a cell which cannot be carried, or a key that is not canonical. Close it, or use
    it with `with`.
    """

    def __init__(self, path: Path, seed: int, *, connections: int = 3, spoil: float = 0.0) -> None:
        self.rng = Random(seed)
        self.spoil = spoil
        self._tables = tables()
        self._weights = [1 + min(table.rows, 600) ** 0.5 for table in self._tables]
        self._fresh = FIRST_FRESH_KEY + seed % 1000 * 100_000
        self._connections = [self._connect(path) for _ in range(connections)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def run(self, transactions: int) -> int:
        """Returns how many operations were committed."""
        return sum(len(done.operations) for done in (self.step() for _ in range(transactions)) if done.committed)

    def step(self) -> Done:
        """One transaction of one to about twenty operations, on one or a few tables; one in eight is rolled back."""
        database = self.rng.choice(self._connections)
        database.execute(f"PRAGMA recursive_triggers = {int(self.rng.random() < 0.2)}")
        database.execute("BEGIN IMMEDIATE")
        try:
            if self.rng.random() < 0.3:
                database.execute("PRAGMA defer_foreign_keys = ON")
            done = tuple(self._operations(database))
            keep = self.rng.random() > 0.125
            database.execute("COMMIT" if keep else "ROLLBACK")
        except sqlite3.IntegrityError:  # a deferred reference that leads nowhere
            database.execute("ROLLBACK")
            return Done(False, ())
        return Done(keep, done)

    def _operations(self, database: sqlite3.Connection) -> Iterator[str]:
        table = self._table()
        for _ in range(self.rng.choice((1, 1, 2, 3, 5, 20))):
            if self.rng.random() < 0.3:
                table = self._table()
            name = self.rng.choices(list(CHANGES), WEIGHTS)[0]
            try:
                if self.rng.random() < 0.1:
                    with savepoint(database, keep=self.rng.random() < 0.5):
                        CHANGES[name](self, database, table)
                else:
                    CHANGES[name](self, database, table)
            except sqlite3.IntegrityError:
                continue  # the statement alone is undone
            yield f"{name} {table.name}"

    # -- choices ---------------------------------------------------------------------------------------------------------

    def _connect(self, path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA synchronous = OFF")
        return database

    def _table(self) -> Table:
        return self.rng.choices(self._tables, self._weights)[0]

    def fresh(self, column: Column) -> int:
        """A number that nobody has used; small types take their chances."""
        self._fresh += 1
        return self.rng.randint(0, 32_000) if column.declared in SMALL else self._fresh

    def rowid(self, database: sqlite3.Connection, table: Table) -> int | None:
        """Any row; None: the table is empty."""
        low, high = database.execute(f'SELECT min(rowid), max(rowid) FROM "{table.name}"').fetchone()
        if low is None:
            return None
        at = self.rng.randint(low, high)
        found = database.execute(f'SELECT rowid FROM "{table.name}" WHERE rowid >= ? ORDER BY rowid LIMIT 1', (at,)).fetchone()
        return int(found[0])

    def row(self, database: sqlite3.Connection, table: Table) -> list[Any] | None:
        """Any row's cells; None: the table is empty, or the row cannot be read any more (not UTF-8)."""
        rowid = self.rowid(database, table)
        names = ", ".join(f'"{c.name}"' for c in table.columns)
        try:
            found = database.execute(f'SELECT {names} FROM "{table.name}" WHERE rowid = ?', (rowid,)).fetchone()
        except sqlite3.OperationalError:
            return None
        return list(found) if found else None

    def new(self, database: sqlite3.Connection, table: Table) -> list[Any]:
        """A row that is not there yet (probably); its references exist, if anything does."""
        known = {parent: [self.parent(database, parent)] for parent in table.references.values()}
        number = self.fresh(table.columns[table.at(table.key[-1])])
        return new_row(self.rng, table, number, known)

    def parent(self, database: sqlite3.Connection, name: str) -> Any:
        """A key that a reference may name."""
        table = next(t for t in self._tables if t.name == name)
        found = database.execute(
            f'SELECT "{table.key[0]}" FROM "{name}" WHERE rowid = ?', (self.rowid(database, table),)
        ).fetchone()
        return found[0] if found else None

    def free_columns(self, table: Table) -> list[Column]:
        """Columns without a role."""
        bound = {*table.key, *table.references, *(c for columns in table.unique for c in columns)}
        return [c for c in table.columns if c.name not in bound]


@contextmanager
def savepoint(database: sqlite3.Connection, *, keep: bool) -> Iterator[None]:
    database.execute("SAVEPOINT inner")
    try:
        yield
        if not keep:
            database.execute("ROLLBACK TO inner")
    except sqlite3.IntegrityError:
        database.execute("ROLLBACK TO inner")
        raise
    finally:
        database.execute("RELEASE inner")


# -- what a transaction may do ---------------------------------------------------------------------------------------------


def _put(database: sqlite3.Connection, verb: str, table: Table, row: list[Any]) -> None:
    names = ", ".join(f'"{c.name}"' for c in table.columns)
    database.execute(f'{verb} INTO "{table.name}" ({names}) VALUES ({", ".join("?" * len(row))})', row)


def insert(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    _put(database, "INSERT", table, writer.new(database, table))


def update(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    column = writer.rng.choice(writer.free_columns(table))
    where = "WHERE rowid = ?"
    rowid = writer.rowid(database, table)
    if writer.rng.random() < writer.spoil:
        database.execute(
            f'UPDATE "{table.name}" SET "{column.name}" = {spoiled(writer.rng, column.declared)} {where}', (rowid,)
        )
    else:
        cell = value(writer.rng, column.declared, nullable=column.nullable)
        database.execute(f'UPDATE "{table.name}" SET "{column.name}" = ? {where}', (cell, rowid))


def update_many(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    first = writer.rowid(database, table) or 0
    day = value(writer.rng, "DATETIME(3)")
    where = "WHERE rowid BETWEEN ? AND ?"
    database.execute(f'UPDATE "{table.name}" SET "ModifiedDate" = ? {where}', (day, first, first + writer.rng.randint(1, 60)))


def same_again(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    rowid = writer.rowid(database, table)
    database.execute(f'UPDATE "{table.name}" SET "ModifiedDate" = "ModifiedDate" WHERE rowid = ?', (rowid,))


def delete(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    database.execute(f'DELETE FROM "{table.name}" WHERE rowid = ?', (writer.rowid(database, table),))


def delete_and_insert_again(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    if row := writer.row(database, table):
        where = " AND ".join(f'"{c}" = ?' for c in table.key)
        database.execute(f'DELETE FROM "{table.name}" WHERE {where}', [row[table.at(c)] for c in table.key])
        _put(database, "INSERT", table, row)


def replace_by_key(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    """INSERT OR REPLACE: the row of the same key goes, and those of the same unique values, without a delete trigger."""
    row, old = writer.new(database, table), writer.row(database, table)
    if old and writer.rng.random() < 0.8:
        for column in table.key:
            row[table.at(column)] = old[table.at(column)]
    _put(database, writer.rng.choice(("INSERT OR REPLACE", "REPLACE")), table, row)


def replace_by_unique(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    """A new key with the unique values of one row, or of several: each of them goes."""
    row = writer.new(database, table)
    for columns in table.unique:
        if old := writer.row(database, table):
            for column in columns:
                row[table.at(column)] = old[table.at(column)]
    _put(database, "INSERT OR REPLACE", table, row)


def update_or_replace(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    """One row takes another's unique values, or its key: the other goes."""
    columns = writer.rng.choice((table.key, *table.unique))
    old, rowid = writer.row(database, table), writer.rowid(database, table)
    if old:
        sets = ", ".join(f'"{c}" = ?' for c in columns)
        cells = [old[table.at(c)] for c in columns]
        database.execute(f'UPDATE OR REPLACE "{table.name}" SET {sets} WHERE rowid = ?', (*cells, rowid))


def upsert(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    row, old = writer.new(database, table), writer.row(database, table)
    for column in table.key if old else ():
        row[table.at(column)] = old[table.at(column)] if old else None
    names = ", ".join(f'"{c.name}"' for c in table.columns)
    key = ", ".join(f'"{c}"' for c in table.key)
    sets = ", ".join(f'"{c.name}" = excluded."{c.name}"' for c in table.columns if c.name not in table.key)
    marks = ", ".join("?" * len(row))
    database.execute(f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {sets}', row)


def change_key(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    column = table.columns[table.at(writer.rng.choice(table.key))]
    if parent := table.references.get(column.name):
        cell = writer.parent(database, parent)
    elif "INT" in column.declared:
        cell = writer.fresh(column)
    else:
        cell = value(writer.rng, column.declared, key=writer.rng.random() >= writer.spoil)
    database.execute(f'UPDATE "{table.name}" SET "{column.name}" = ? WHERE rowid = ?', (cell, writer.rowid(database, table)))


def change_case_of_key(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    """For NOCASE the same key, written otherwise."""
    column = table.columns[table.at(table.key[0])]
    if column.declared == "NCHAR(3)":
        how = writer.rng.choice(("lower", "upper"))
        name = f'"{column.name}"'
        database.execute(f'UPDATE "{table.name}" SET {name} = {how}({name}) WHERE rowid = ?', (writer.rowid(database, table),))


def swap(writer: RandomWriter, database: sqlite3.Connection, table: Table) -> None:
    """Two rows exchange their key or a set of unique values, by way of a third."""
    columns = writer.rng.choice((table.key, *table.unique))
    one, other, spare = writer.row(database, table), writer.row(database, table), writer.new(database, table)
    if not one or not other or one == other:
        return
    sets, where = ", ".join(f'"{c}" = ?' for c in columns), " AND ".join(f'"{c}" = ?' for c in columns)
    first, second, third = ([row[table.at(c)] for c in columns] for row in (one, other, spare))
    for before, after in ((first, third), (second, first), (third, second)):
        database.execute(f'UPDATE "{table.name}" SET {sets} WHERE {where}', (*after, *before))


CHANGES: dict[str, Change] = {
    "insert": insert,
    "update": update,
    "update many": update_many,
    "same again": same_again,
    "delete": delete,
    "delete and insert again": delete_and_insert_again,
    "replace by key": replace_by_key,
    "replace by unique": replace_by_unique,
    "update or replace": update_or_replace,
    "upsert": upsert,
    "change key": change_key,
    "change case of key": change_case_of_key,
    "swap": swap,
}
WEIGHTS = (30, 30, 3, 3, 12, 4, 8, 5, 4, 6, 8, 3, 5)


def run(path: Path, seed: int, transactions: int, **options: Any) -> int:
    """Opens a writer, lets it work, closes it; for threads and processes of their own."""
    with closing(RandomWriter(path, seed, **options)) as writer:
        return writer.run(transactions)
