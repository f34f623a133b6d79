"""Random transactions on AdventureWorks in SQL Server from several connections at once, as a rough ERP would make them.

Locks are real: writers wait for each other, and a deadlock's victim (1205), a lock that was waited for too long (1222) and a
lost connection are tried again, as an application would. What a constraint refuses costs one statement.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, NamedTuple, Self

import pyodbc

from tests.support.adventureworks_sqlserver import Column, Connection, Table, bracketed, names, new_row, tables
from tests.support.sqlserver_values import binary, can_be_spoilt, literal, parsed, quoted, spoilt

LOCK_TIMEOUT = 4_000  # ms
FIRST_FRESH_KEY = 1_000_000
NUMBER = re.compile(r"\((\d+)\) \(SQL")
AGAIN = {1205, 1222}  # the transaction is over or cannot go on: rolled back and tried again
REFUSED = {220, 245, 515, 547, 2601, 2627, 2628, 8115, 8152}  # the statement alone is undone
LOST = {596, 233, 10053, 10054, 10060, 976, 983, 3906, 4060, 18456, 0}
AWAY = 0.05  # seconds before a server that was lost is tried again
READ = {  # how a key column is read, so that it can stand in a WHERE exactly
    "date": "CONVERT(varchar(10), {0}, 23)",
    "datetime": "CONVERT(varchar(30), {0}, 126)",
    "datetime2": "CONVERT(varchar(30), {0}, 121)",
    "decimal": "CONVERT(varchar(41), {0})",
    "uniqueidentifier": "CONVERT(varchar(36), {0})",
}
Change = Callable[["SqlServerWriter", Table], None]


class Done(NamedTuple):
    """One transaction."""

    committed: bool
    operations: tuple[str, ...]  # what was done and not refused by a constraint


class GaveUp(Exception):
    """The transaction is over: deadlock, lock timeout or lost connection."""

    def __init__(self, number: int) -> None:
        super().__init__(str(number))
        self.number = number


class SqlServerWriter:
    """One connection of the ERP. The same seed makes the same transactions as long as it is alone.

    `spoil`: the share of updates that write a text which cannot be carried. `but`: tables it leaves alone. Close it, or use it
    with `with`.
    """

    def __init__(self, connect: Callable[[], Connection], seed: int, *, spoil: float = 0.0, but: Sequence[str] = ()) -> None:
        self.rng = Random(seed)
        self.spoil = spoil
        self.happened: Counter[int] = Counter()  # error numbers
        self._connect = connect
        self._tables = [t for t in tables() if t.name not in but]
        self._by_name = {t.name: t for t in tables()}
        self._weights = [1 + min(table.rows, 600) ** 0.5 for table in self._tables]
        self._fresh = FIRST_FRESH_KEY + seed % 1_000 * 100_000
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(pyodbc.Error):
                self._connection.close()
            self._connection = None

    def run(self, transactions: int) -> int:
        """Returns how many operations were committed."""
        return sum(len(done.operations) for done in (self.step() for _ in range(transactions)) if done.committed)

    def step(self) -> Done:
        """One transaction of one to about twenty operations, on one or a few tables; one in eight is rolled back."""
        try:
            self.execute("BEGIN TRANSACTION")
            done = tuple(self._operations())
            keep = self.rng.random() > 0.125
            self.execute("COMMIT TRANSACTION" if keep else "ROLLBACK TRANSACTION")
        except GaveUp as problem:
            self._recover(problem)
            return Done(False, ())
        return Done(keep, done)

    def _recover(self, problem: GaveUp) -> None:
        if problem.number in AGAIN:
            try:
                self.execute("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
            except GaveUp:
                self.close()
        else:
            self.close()
            time.sleep(AWAY)

    def _operations(self) -> Iterator[str]:
        table = self._table()
        for number in range(self.rng.choice((1, 1, 2, 3, 5, 20))):
            if self.rng.random() < 0.3:
                table = self._table()
            name = self.rng.choices(list(CHANGES), WEIGHTS)[0]
            try:
                if self.rng.random() < 0.1:
                    with self._savepoint(f"S{number}", keep=self.rng.random() < 0.5):
                        CHANGES[name](self, table)
                else:
                    CHANGES[name](self, table)
            except pyodbc.Error as error:
                if error_number(error) not in REFUSED:
                    error.add_note(f"{name} {table.name}")
                    raise
                continue
            yield f"{name} {table.name}"

    @contextmanager
    def _savepoint(self, name: str, *, keep: bool) -> Iterator[None]:
        self.execute(f"SAVE TRANSACTION {name}")
        yield
        if not keep:
            self.execute(f"ROLLBACK TRANSACTION {name}")

    # -- statements ------------------------------------------------------------------------------------------------------

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Its rows, if it has any. Raises GaveUp, or pyodbc.Error for what is wrong with the statement itself."""
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._connection.execute(f"SET LOCK_TIMEOUT {LOCK_TIMEOUT}")
            cursor = self._connection.execute(sql, *parameters)
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            cursor.close()
        except pyodbc.Error as error:
            number = error_number(error)
            self.happened[number] += 1
            if number in AGAIN or lost(error):
                raise GaveUp(number) from error
            raise
        return rows

    def key(self, table: Table) -> dict[str, str] | None:
        """The key of any row, as literals by column; None: the table is empty."""
        columns = [table.column(name) for name in table.key]
        picked = ", ".join(READ.get(parsed(c.type)[0], "{0}").format(f"[{c.name}]") for c in columns)
        order, first, source = names(table.key), columns[0], bracketed(table.name)
        hint = " WITH (READPAST)" if self.rng.random() < 0.3 else ""
        rows: list[tuple[Any, ...]] = []
        if first.type in {"int", "smallint", "tinyint"}:
            low, high = self.execute(f"SELECT MIN([{first.name}]), MAX([{first.name}]) FROM {source}")[0]
            at = self.rng.randint(low, high) if low is not None else 0
            rows = self.execute(f"SELECT TOP (1) {picked} FROM {source}{hint} WHERE [{first.name}] >= ? ORDER BY {order}", at)
        elif first.text:
            letter = self.rng.choice("ABCDEFGHKLMNPRSTUZ0123456789")
            rows = self.execute(
                f"SELECT TOP (1) {picked} FROM {source}{hint} WHERE [{first.name}] >= ? ORDER BY {order}", letter
            )
        if not rows:
            rows = self.execute(f"SELECT TOP (1) {picked} FROM {source}{hint} ORDER BY {order}")
        return {c.name: as_literal(c, cell) for c, cell in zip(columns, rows[0], strict=True)} if rows else None

    def new(self, table: Table) -> list[str] | None:
        """Literals of a row that is not there yet (probably); its references exist; None: a parent is empty."""
        parents: dict[str, list[str]] = {}
        for parent in table.references.values():
            key = self.key(self._by_name[parent])
            if key is None:
                return None
            parents[parent] = list(key.values())
        return new_row(self.rng, table, self.fresh(table), parents)

    def fresh(self, table: Table) -> int:
        """A number that nobody has used."""
        self._fresh += 1
        return self._fresh

    def free_columns(self, table: Table) -> list[Column]:
        """Columns without a role."""
        bound = {*table.key, *table.references, *(c for columns in table.unique for c in columns)}
        return [c for c in table.columns if c.name not in bound and not c.identity]

    def put(self, table: Table, row: Sequence[str], *, identity: bool) -> None:
        """INSERT; the server numbers the row unless `identity` says that the row brings its number."""
        shown = [(c.name, cell) for c, cell in zip(table.columns, row, strict=True) if identity or not c.identity]
        cells = ", ".join(cell for _, cell in shown)
        sql = f"INSERT INTO {bracketed(table.name)} ({names(name for name, _ in shown)}) VALUES ({cells})"
        if identity and table.identity:
            switch = f"SET IDENTITY_INSERT {bracketed(table.name)}"
            try:
                self.execute(f"{switch} ON; {sql}; {switch} OFF")
            except pyodbc.Error:
                self.execute(f"{switch} OFF")
                raise
        else:
            self.execute(sql)

    def _table(self) -> Table:
        return self.rng.choices(self._tables, self._weights)[0]


def error_number(error: pyodbc.Error) -> int:
    """The server's number; 0: none, the connection is lost."""
    found = NUMBER.findall(str(error.args[-1])) if error.args else []
    return int(found[0]) if found else 0


def lost(error: pyodbc.Error) -> bool:
    return str(error.args[0]) in {"08S01", "08001", "08003", "HYT00", "HYT01", "28000"} or error_number(error) in LOST


def as_literal(column: Column, cell: Any) -> str:
    """A cell of a key as it was read, as a literal of its type."""
    if isinstance(cell, bytes | bytearray):
        return binary(bytes(cell))
    if isinstance(cell, str):
        return quoted(cell) if column.text else f"CAST('{cell}' AS {column.type})"
    return str(int(cell)) if isinstance(cell, bool | int) else str(cell)


def where(key: dict[str, str], alias: str = "") -> str:
    return " AND ".join(f"{alias}[{column}] = {cell}" for column, cell in key.items())


# -- what a transaction may do ---------------------------------------------------------------------------------------------


def insert(writer: SqlServerWriter, table: Table) -> None:
    if row := writer.new(table):
        writer.put(table, row, identity=False)


def insert_with_parameters(writer: SqlServerWriter, table: Table) -> None:
    """As most applications do: values bound, here those of texts and numbers."""
    row = writer.new(table)
    if row is None:
        return
    cells, bound = [], []
    shown = [(c, cell) for c, cell in zip(table.columns, row, strict=True) if not c.identity]
    for column, cell in shown:
        plain = cell.lstrip("-").isdigit() and column.type in {"int", "smallint", "tinyint"}
        text = cell.startswith("N'") and column.text and "NCHAR(" not in cell
        cells.append("?" if plain or text else cell)
        if plain or text:
            bound.append(int(cell) if plain else cell[2:-1].replace("''", "'"))
    sql = f"INSERT INTO {bracketed(table.name)} ({names(c.name for c, _ in shown)}) VALUES ({', '.join(cells)})"
    writer.execute(sql, *bound)


def update(writer: SqlServerWriter, table: Table) -> None:
    if key := writer.key(table):
        column = writer.rng.choice(writer.free_columns(table))
        bad = can_be_spoilt(column.type) and writer.rng.random() < writer.spoil
        cell = spoilt(writer.rng, column.type) if bad else literal(writer.rng, column.type, nullable=column.nullable)
        writer.execute(f"UPDATE {bracketed(table.name)} SET [{column.name}] = {cell} WHERE {where(key)}")


def update_many(writer: SqlServerWriter, table: Table) -> None:
    column = table.columns[-1]
    first = table.column(table.key[0])
    key = writer.key(table)
    if key and first.type in {"int", "smallint", "tinyint"} and column.name not in table.key:
        cell = literal(writer.rng, column.type, nullable=column.nullable)
        low = int(key[first.name])
        between = f"[{first.name}] BETWEEN {low} AND {low + writer.rng.randint(1, 60)}"
        writer.execute(f"UPDATE {bracketed(table.name)} SET [{column.name}] = {cell} WHERE {between}")


def same_again(writer: SqlServerWriter, table: Table) -> None:
    if key := writer.key(table):
        column = writer.rng.choice(writer.free_columns(table)).name
        writer.execute(f"UPDATE {bracketed(table.name)} SET [{column}] = [{column}] WHERE {where(key)}")


def delete(writer: SqlServerWriter, table: Table) -> None:
    if key := writer.key(table):
        writer.execute(f"DELETE FROM {bracketed(table.name)} WHERE {where(key)}")


def delete_and_insert_again(writer: SqlServerWriter, table: Table) -> None:
    """Another row under the key of one that has just gone."""
    key, row = writer.key(table), writer.new(table)
    if key and row:
        for column, cell in key.items():
            row[table.at(column)] = cell
        writer.execute(f"DELETE FROM {bracketed(table.name)} WHERE {where(key)}")
        writer.put(table, row, identity=True)


def movable(table: Table) -> list[Column]:
    """Key columns that may be updated."""
    return [c for c in map(table.column, table.key) if not c.identity]


def change_key(writer: SqlServerWriter, table: Table) -> None:
    columns, key, row = movable(table), writer.key(table), writer.new(table)
    if columns and key and row:
        column = writer.rng.choice(columns)
        cell = row[table.at(column.name)]
        writer.execute(f"UPDATE {bracketed(table.name)} SET [{column.name}] = {cell} WHERE {where(key)}")


def change_case_of_key(writer: SqlServerWriter, table: Table) -> None:
    """The same key to the server, written otherwise."""
    columns, key = [c for c in movable(table) if c.text], writer.key(table)
    if columns and key:
        column = writer.rng.choice(columns)
        how = writer.rng.choice(("LOWER({0})", "UPPER({0})", "RTRIM({0}) + N'  '", "RTRIM({0})")).format(f"[{column.name}]")
        size = parsed(column.type)[1]
        writer.execute(f"UPDATE {bracketed(table.name)} SET [{column.name}] = LEFT({how}, {size}) WHERE {where(key)}")


def swap(writer: SqlServerWriter, table: Table) -> None:
    """Two rows exchange their unique values in one statement."""
    if not table.unique:
        return
    columns = writer.rng.choice(table.unique)
    one, other = writer.key(table), writer.key(table)
    if one is None or other is None or one == other:
        return
    name = bracketed(table.name)
    sets = ", ".join(f"[{c}] = b.[{c}]" for c in columns)
    pair = f"({where(one, 'a.')} AND {where(other, 'b.')}) OR ({where(other, 'a.')} AND {where(one, 'b.')})"
    writer.execute(f"UPDATE a SET {sets} FROM {name} AS a INNER JOIN {name} AS b ON {pair}")


CHANGES: dict[str, Change] = {
    "insert": insert,
    "insert with parameters": insert_with_parameters,
    "update": update,
    "update many": update_many,
    "same again": same_again,
    "delete": delete,
    "delete and insert again": delete_and_insert_again,
    "change key": change_key,
    "change case of key": change_case_of_key,
    "swap": swap,
}
WEIGHTS = (20, 12, 32, 3, 3, 12, 6, 8, 5, 4)


class Writers:
    """An ERP at work: threads with a connection each, until they are told to end or have made enough transactions."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        seed: int,
        transactions: int,
        *,
        threads: int = 3,
        spoil: float = 0.0,
        but: Sequence[str] = (),
    ) -> None:
        self.operations = self.committed = 0
        self.errors: list[BaseException] = []
        self.happened: Counter[int] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._options: dict[str, Any] = {"spoil": spoil, "but": but}
        work = [(connect, seed * 100 + n, transactions) for n in range(threads)]
        self._threads = [threading.Thread(target=self._work, args=each) for each in work]

    def _work(self, connect: Callable[[], Connection], seed: int, transactions: int) -> None:
        try:
            with SqlServerWriter(connect, seed, **self._options) as writer:
                for _ in range(transactions):
                    if self._stop.is_set():
                        break
                    done = writer.step()
                    with self._lock:
                        self.operations += len(done.operations) if done.committed else 0
                        self.committed += done.committed
                with self._lock:
                    self.happened.update(writer.happened)
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.errors.append(error)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()
        self._fail()

    @contextmanager
    def working(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        self._fail()

    def _fail(self) -> None:
        """With the first error of a thread, if there was one."""
        if self.errors:
            raise self.errors[0]
