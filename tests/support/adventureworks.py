"""AdventureWorks in a SQLite file with its keys and foreign keys: the real rows where they are, else made from a seed."""

from __future__ import annotations

import csv
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from cdc.model import Dataset
from tests.support.adventureworks_shape import SHAPES, Shape
from tests.support.random_values import value

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CDC_TEST_DATA", ROOT.parent / "shared" / "data")) / "adventureworks"
TYPES = {
    "money": "TEXT_DECIMAL(19,4)",
    "smallmoney": "TEXT_DECIMAL(10,4)",
    "datetime": "DATETIME(3)",
    "time": "TIME(7)",
    "uniqueidentifier": "GUID",
    "varbinary(max)": "BLOB",
    "hierarchyid": "TEXT",
}
CASCADING = {"PurchaseOrderDetail", "ProductInventory", "ProductProductPhoto", "ProductListPriceHistory", "EmployeePayHistory"}
CHANNELS = {"HumanResources": "hr", "Person": "hr", "Production": "shop", "Purchasing": "shop", "Sales": "shop"}


class Column(NamedTuple):
    """A column of the SQLite table."""

    name: str
    declared: str
    nullable: bool


class Table(NamedTuple):
    """A table of the SQLite file; `HumanResources.Shift` has become `HumanResources_Shift`."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rows: int
    references: dict[str, str]  # column -> table; to its only key column
    unique: tuple[tuple[str, ...], ...]  # besides the key

    def at(self, column: str) -> int:
        return next(n for n, c in enumerate(self.columns) if c.name == column)


class Summary(NamedTuple):
    """What was made."""

    real: bool
    rows: dict[str, int]


def tables() -> list[Table]:
    """Parents before their children."""
    waiting = [_table(name, shape) for name, shape in SHAPES.items()]
    ordered: list[Table] = []
    while waiting:
        done = {t.name for t in ordered}
        ready = [t for t in waiting if set(t.references.values()) <= done]
        ordered += ready
        waiting = [t for t in waiting if t not in ready]
    return ordered


def _table(name: str, shape: Shape) -> Table:
    columns = []
    for text in shape.columns.split(", "):
        column, kind = text.rstrip("?").split(" ")
        columns.append(Column(column, TYPES.get(kind, kind.replace(";", ",").upper()), text.endswith("?")))
    references = dict(text.split(" > ") for text in shape.references.split(", ")) if shape.references else {}
    unique = tuple(tuple(text.split()) for text in shape.unique.split("|")) if shape.unique else ()
    key = tuple(shape.key.split())
    references = {column: _flat(parent) for column, parent in references.items()}
    return Table(_flat(name), tuple(columns), key, shape.rows, references, unique)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def datasets() -> tuple[Dataset, ...]:
    """One a table: `HumanResources_Shift` is `shift`; channels `hr`, `shop`, `binary`."""
    return tuple(Dataset(name=_snake(t.name), table=t.name, channel=_channel(t.name)) for t in tables())


def _snake(table: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", table.split("_")[1]).lower()


def _channel(table: str) -> str:
    return "binary" if table.endswith("ProductPhoto") else CHANNELS[table.split("_", maxsplit=1)[0]]


# -- making the file -------------------------------------------------------------------------------------------------------


def create(path: Path, seed: int = 0, *, data: Path = DATA, scale: float = 1.0) -> Summary:
    """Writes the database (WAL). Without `data`, rows are generated, `scale` times as many as in the original."""
    real = (data / "schema.json").is_file()
    rng = Random(seed)
    counts: dict[str, int] = {}
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("BEGIN")
        known: dict[str, list[Any]] = {}
        for table in tables():
            for statement in ddl(table):
                database.execute(statement)
            rows = list(_real(table, data) if real else _made(rng, table, max(3, round(table.rows * scale)), known))
            marks = ", ".join("?" * len(table.columns))
            database.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
            counts[table.name] = len(rows)
            known[table.name] = [row[table.at(table.key[0])] for row in rows]
        database.execute("COMMIT")
    return Summary(real, counts)


def ddl(table: Table) -> list[str]:
    """The table with its key, its references (updates cascade, some deletes too) and its unique indexes."""
    lines = []
    for column in table.columns:
        kind, single = column.declared, table.key == (column.name,)
        if single and kind in {"INT", "SMALLINT", "TINYINT"}:
            lines.append(f'"{column.name}" INTEGER PRIMARY KEY')
            continue
        text = f'"{column.name}" {kind}{"" if column.nullable else " NOT NULL"}'
        if kind == "NCHAR(3)":
            text += " COLLATE NOCASE"
        if parent := table.references.get(column.name):
            deleted = "SET NULL" if column.nullable else "CASCADE" if _snakeless(table.name) in CASCADING else "NO ACTION"
            text += f' REFERENCES "{parent}" ON UPDATE CASCADE ON DELETE {deleted}'
        lines.append(text)
    if not any("PRIMARY KEY" in line for line in lines):
        lines.append(f"PRIMARY KEY ({_names(table.key)})")
    statements = [f'CREATE TABLE "{table.name}" ({", ".join(lines)})']
    for n, columns in enumerate(table.unique, 1):
        statements.append(f'CREATE UNIQUE INDEX "{table.name}_u{n}" ON "{table.name}" ({_names(columns)})')
    searched = [column for column in table.references if column != table.key[0]]
    statements += [f'CREATE INDEX "{table.name}_by_{c}" ON "{table.name}" ("{c}")' for c in searched]
    return statements


def _snakeless(table: str) -> str:
    return table.split("_")[1]


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{c}"' for c in columns)


def _real(table: Table, data: Path) -> Iterator[list[Any]]:
    csv.field_size_limit(1 << 30)
    with (data / f"{table.name.replace('_', '.', 1)}.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        assert next(reader) == [c.name for c in table.columns]
        for fields in reader:
            yield [_cell(text, column) for text, column in zip(fields, table.columns, strict=True)]


def _cell(text: str, column: Column) -> Any:
    if not text and column.nullable:
        return None
    return bytes.fromhex(text) if column.declared == "BLOB" else text


def _made(rng: Random, table: Table, count: int, known: dict[str, list[Any]]) -> Iterator[list[Any]]:
    seen: set[tuple[Any, ...]] = set()
    for number in range(1, count + 1):
        row = new_row(rng, table, number, known)
        sets = [(n, *(row[table.at(c)] for c in columns)) for n, columns in enumerate((table.key, *table.unique))]
        if not seen.intersection(sets):
            seen.update(sets)
            yield row


def new_row(rng: Random, table: Table, number: int, known: dict[str, list[Any]]) -> list[Any]:
    """A random row; `number` for a key of its own, `known`: keys that references may name."""
    row: list[Any] = []
    for column in table.columns:
        if parent := table.references.get(column.name):
            row.append(None if column.nullable and rng.random() < 0.3 else rng.choice(known[parent]))
        elif column.name == table.key[-1] and column.declared in {"INT", "SMALLINT", "TINYINT"}:
            row.append(number)
        else:
            row.append(value(rng, column.declared, nullable=column.nullable, key=column.name in table.key))
    return row
