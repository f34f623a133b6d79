"""AdventureWorks in a SQL Server database: real types, schemas, identities, keys, indexes; and tables for every other type.

The real rows where they are, else rows made from a seed. `Connection` is one of pyodbc in the database, in autocommit mode.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

from cdc.model import Dataset
from tests.support.adventureworks import CHANNELS, DATA
from tests.support.adventureworks_shape import SHAPES, Shape
from tests.support.sqlserver_values import TEXTS, literal, parsed, quoted

SMALL = 1_500  # rows of each table that `create` takes unless told otherwise
BATCH_ROWS = 400  # of one INSERT
BATCH_CHARACTERS = 400_000
ALIASES = {"Name": ("nvarchar(50)", "[dbo].[Name]"), "bit": ("bit", "[dbo].[Flag]")}
_IDENTITIES = """
    Department.DepartmentID Shift.ShiftID JobCandidate.JobCandidateID EmailAddress.EmailAddressID ProductPhoto.ProductPhotoID
    PhoneNumberType.PhoneNumberTypeID ProductCategory.ProductCategoryID ProductSubcategory.ProductSubcategoryID
    Location.LocationID Product.ProductID CurrencyRate.CurrencyRateID ShipMethod.ShipMethodID
    PurchaseOrderHeader.PurchaseOrderID PurchaseOrderDetail.PurchaseOrderDetailID EveryType.ID
"""
IDENTITIES = frozenset(_IDENTITIES.split())
ON_CHANGE = {
    "EmployeePayHistory.BusinessEntityID": "ON UPDATE CASCADE ON DELETE CASCADE",
    "ProductInventory.LocationID": "ON DELETE CASCADE",
    "ProductProductPhoto.ProductPhotoID": "ON DELETE CASCADE",
    "CurrencyRate.FromCurrencyCode": "ON UPDATE CASCADE",
    "JobCandidate.BusinessEntityID": "ON DELETE SET NULL",
}
COMPUTED = {"Purchasing.PurchaseOrderDetail": ("LineTotal", "[OrderQty] * [ReceivedQty]")}
STAMPED = "Purchasing.PurchaseOrderHeader"  # has a rowversion
TRIGGER = """
CREATE TRIGGER [Purchasing].[uPurchaseOrderDetail] ON [Purchasing].[PurchaseOrderDetail] AFTER INSERT, UPDATE, DELETE AS
BEGIN
  SET NOCOUNT ON;
  UPDATE h SET [ModifiedDate] = GETDATE()
  FROM [Purchasing].[PurchaseOrderHeader] AS h
  WHERE h.[PurchaseOrderID] IN (SELECT [PurchaseOrderID] FROM inserted)
     OR h.[PurchaseOrderID] IN (SELECT [PurchaseOrderID] FROM deleted);
END"""
OTHERS: dict[str, Shape] = {
    "Types.EveryType": Shape(
        "ID int, ABit bit?, ATiny tinyint?, ASmall smallint?, ABig bigint?, ADecimal decimal(38;10)?, ANumeric numeric(9)?, "
        "AMoney money?, ASmallMoney smallmoney?, AFloat float?, AReal real?, ADate date?, ATime time?, ATime3 time(3)?, "
        "ADateTime datetime?, ASmallDateTime smalldatetime?, ADateTime2 datetime2(7)?, ADateTime0 datetime2(0)?, "
        "AnOffset datetimeoffset(7)?, AnOffset0 datetimeoffset(0)?, AChar char(5)?, AVarChar varchar(50)?, ANChar nchar(4)?, "
        "ANVarChar nvarchar(100)?, AMax nvarchar(max)?, AText text?, ANText ntext?, ABinary binary(6)?, "
        "AVarBinary varbinary(20)?, ABlob varbinary(max)?, AnImage image?, AGuid uniqueidentifier?, AnXml xml?, "
        "ANode hierarchyid?, AVariant sql_variant?, APlace geography?",
        "ID",
        120,
    ),
    "Types.ByParts": Shape(
        "Code nchar(5), Part decimal(9;2), Moment datetime2(7), Remark nvarchar(40)?, Size real?", "Code Part Moment", 60
    ),
    "Types.ByGuid": Shape("ID uniqueidentifier, Tag varchar(20), Number bigint?", "ID", 60, "", "Tag"),
    "Types.ByText": Shape("Title nvarchar(30), Number int, Remark nvarchar(max)?", "Title", 60),
    "Types.ByBytes": Shape("Hash varbinary(8), Moment datetime, Remark nvarchar(40)?", "Hash Moment", 60),
}


class Connection(Protocol):
    """What is used of pyodbc's."""

    def execute(self, sql: str, *parameters: Any) -> Any: ...

    def close(self) -> None: ...


class Column(NamedTuple):
    """A column that INSERT may name (neither computed nor rowversion)."""

    name: str
    type: str  # as in sys.types, alias types resolved
    nullable: bool
    identity: bool

    @property
    def text(self) -> bool:
        return parsed(self.type)[0] in TEXTS


class Table(NamedTuple):
    """A table of the ERP."""

    name: str  # schema.table
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rows: int
    references: dict[str, str]  # column -> table; to its only key column
    unique: tuple[tuple[str, ...], ...]  # besides the key

    def at(self, column: str) -> int:
        return next(n for n, c in enumerate(self.columns) if c.name == column)

    def column(self, name: str) -> Column:
        return self.columns[self.at(name)]

    @property
    def identity(self) -> Column | None:
        return next((c for c in self.columns if c.identity), None)


class Summary(NamedTuple):
    """What was made."""

    real: bool
    rows: dict[str, int]


def tables() -> list[Table]:
    """Parents before their children."""
    waiting = [_table(name, shape) for name, shape in chain(SHAPES.items(), OTHERS.items())]
    ordered: list[Table] = []
    while waiting:
        done = {t.name for t in ordered}
        ready = [t for t in waiting if set(t.references.values()) <= done]
        ordered += ready
        waiting = [t for t in waiting if t not in ready]
    return ordered


def _table(name: str, shape: Shape) -> Table:
    short = name.partition(".")[2]
    columns = []
    for text in shape.columns.split(", "):
        column, kind = text.rstrip("?").split(" ")
        columns.append(Column(column, kind.replace(";", ","), text.endswith("?"), f"{short}.{column}" in IDENTITIES))
    references = dict(text.split(" > ") for text in shape.references.split(", ")) if shape.references else {}
    unique = tuple(tuple(text.split()) for text in shape.unique.split("|")) if shape.unique else ()
    return Table(name, tuple(columns), tuple(shape.key.split()), shape.rows, references, unique)


def datasets() -> tuple[Dataset, ...]:
    """One a table: `HumanResources.Shift` is `shift`; channels `hr`, `shop`, `binary`, `types`."""
    return tuple(Dataset(name=dataset_name(t.name), table=t.name, channel=_channel(t.name)) for t in tables())


def dataset_name(table: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", table.split(".")[1]).lower()


def _channel(table: str) -> str:
    return "binary" if table.endswith("ProductPhoto") else CHANNELS.get(table.split(".", maxsplit=1)[0], "types")


# -- statements --------------------------------------------------------------------------------------------------------------


def bracketed(name: str) -> str:
    """`HumanResources.Shift` -> `[HumanResources].[Shift]`."""
    return ".".join(f"[{part}]" for part in name.split("."))


def names(columns: Iterable[str]) -> str:
    return ", ".join(f"[{c}]" for c in columns)


def structure() -> Iterator[str]:
    """Schemas, alias types, tables, indexes and the trigger; one batch each."""
    for schema in dict.fromkeys(t.name.split(".")[0] for t in tables()):
        yield f"CREATE SCHEMA [{schema}]"
    yield "CREATE TYPE [dbo].[Name] FROM nvarchar(50) NULL"
    yield "CREATE TYPE [dbo].[Flag] FROM bit NOT NULL"
    for table in tables():
        yield from ddl(table)
    yield TRIGGER


def ddl(table: Table) -> Iterator[str]:
    """The table with its key and references, then its indexes."""
    short = table.name.split(".")[1]
    lines = [_column_line(column) for column in table.columns]
    if table.name in COMPUTED:
        lines.append("[{}] AS ({})".format(*COMPUTED[table.name]))
    if table.name == STAMPED:
        lines.append("[RowStamp] rowversion NOT NULL")
    lines.append(f"CONSTRAINT [PK_{short}] PRIMARY KEY CLUSTERED ({names(table.key)})")
    parents = {t.name: t for t in tables()}
    for column, parent in table.references.items():
        target = f"{bracketed(parent)} ({names(parents[parent].key)})"
        more = ON_CHANGE.get(f"{short}.{column}", "")
        lines.append(f"CONSTRAINT [FK_{short}_{column}] FOREIGN KEY ([{column}]) REFERENCES {target} {more}".rstrip())
    yield f"CREATE TABLE {bracketed(table.name)} ({', '.join(lines)})"
    for n, columns in enumerate(table.unique, 1):
        yield f"CREATE UNIQUE INDEX [AK_{short}_{n}] ON {bracketed(table.name)} ({names(columns)})"
    for column in table.references:
        if column != table.key[0]:
            yield f"CREATE INDEX [IX_{short}_{column}] ON {bracketed(table.name)} ([{column}])"


def _column_line(column: Column) -> str:
    declared = column.type
    for name in (column.name, column.type):
        if name in ALIASES and ALIASES[name][0] == column.type:
            declared = ALIASES[name][1]
    return (
        f"[{column.name}] {declared}{' IDENTITY(1,1)' if column.identity else ''} {'NULL' if column.nullable else 'NOT NULL'}"
    )


def tracking() -> Iterator[str]:
    """Change tracking of database and tables, and snapshot isolation."""
    yield "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON"
    yield "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)"
    for n, table in enumerate(tables()):
        masks = " WITH (TRACK_COLUMNS_UPDATED = ON)" if n % 3 == 0 else ""
        yield f"ALTER TABLE {bracketed(table.name)} ENABLE CHANGE_TRACKING{masks}"


def inserts(table: Table, rows: Iterable[Sequence[str]], *, identity: bool = True) -> Iterator[str]:
    """Batches that insert rows of literals; `identity`: the rows bring their identity values."""
    into = f"INSERT INTO {bracketed(table.name)} ({names(c.name for c in table.columns)}) VALUES\n"
    before = f"SET IDENTITY_INSERT {bracketed(table.name)} ON;\n" if identity and table.identity else ""
    after = f";\nSET IDENTITY_INSERT {bracketed(table.name)} OFF;" if before else ""
    most = 1 if any(c.type == "sql_variant" for c in table.columns) else BATCH_ROWS  # one type a column of VALUES
    batch: list[str] = []
    size = 0
    for row in rows:
        line = f"({', '.join(row)})"
        if batch and (len(batch) >= most or size + len(line) > BATCH_CHARACTERS):
            yield before + into + ",\n".join(batch) + after
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield before + into + ",\n".join(batch) + after


# -- rows --------------------------------------------------------------------------------------------------------------------


def create(
    connection: Connection, seed: int = 0, *, data: Path = DATA, most: int | None = SMALL, tracked: bool = True
) -> Summary:
    """Makes everything in an empty database. `most`: rows of a table (None: all); rows whose parents are left out are too."""
    real = (data / "schema.json").is_file()
    for statement in structure():
        connection.execute(statement)
    counts: dict[str, int] = {}
    for table, rows in all_rows(seed, data=data, most=most):
        counts[table.name] = len(rows)
        for statement in inserts(table, rows):
            connection.execute(statement)
    for statement in tracking() if tracked else ():
        connection.execute(statement)
    return Summary(real, counts)


def all_rows(seed: int, *, data: Path = DATA, most: int | None = SMALL) -> Iterator[tuple[Table, list[list[str]]]]:
    """Every table with its rows as literals; references lead to rows that are there."""
    real = (data / "schema.json").is_file()
    rng = Random(seed)
    known: dict[str, dict[str, None]] = {}
    for table in tables():
        if real and table.name in SHAPES:
            rows = [row for row in _real(table, data, most) if _whole(table, row, known)]
        else:
            rows = list(_made(rng, table, max(3, min(table.rows, (most or table.rows) // 3)), known))
        known[table.name] = dict.fromkeys(row[table.at(table.key[0])] for row in rows)
        yield table, rows


def _whole(table: Table, row: Sequence[str], known: dict[str, dict[str, None]]) -> bool:
    cells = ((row[table.at(column)], parent) for column, parent in table.references.items())
    return all(cell == "NULL" or cell in known[parent] for cell, parent in cells)


def _real(table: Table, data: Path, most: int | None) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 30)
    with (data / f"{table.name}.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        assert next(reader) == [c.name for c in table.columns]
        for number, fields in enumerate(reader):
            if most is not None and number >= most:
                return
            yield [cell(text, column) for text, column in zip(fields, table.columns, strict=True)]


def cell(text: str, column: Column) -> str:
    """A field of a CSV file as a literal."""
    name = parsed(column.type)[0]
    if not text and column.nullable:
        return "NULL"
    if name in {"varbinary", "binary", "image"}:
        return "0x" + text
    if name in {"money", "smallmoney", "decimal", "numeric"}:
        return format(Decimal(text), "f")
    if name in {"datetime", "datetime2", "smalldatetime"}:
        return f"'{text.replace(' ', 'T')}'"
    if name == "hierarchyid":
        return f"hierarchyid::Parse('{path(bytes.fromhex(text))}')"
    if "char" in name or name in {"xml", "text", "ntext"}:
        return quoted(text)
    return text if name in {"bit", "tinyint", "smallint", "int", "bigint"} else f"'{text}'"


STEPS = (  # how a hierarchyid writes a child's number: the bits of its place, least number
    (re.compile("01(..)1"), 0),
    (re.compile("100(..)1"), 4),
    (re.compile("101(...)1"), 8),
    (re.compile("110(..)0(.)1(...)1"), 16),
)


def path(data: bytes) -> str:
    """`0x5AC0` -> `/1/1/`: https://learn.microsoft.com/openspecs/sql_server_protocols/ms-ssclrt/ (numbers up to 79)."""
    bits, at, steps = "".join(f"{byte:08b}" for byte in data), 0, []
    while bits[at:].strip("0"):
        match, least = next((m, least) for pattern, least in STEPS if (m := pattern.match(bits, at)))
        steps.append(least + int("".join(match.groups()), 2))
        at = match.end()
    return "/" + "".join(f"{step}/" for step in steps)


def _made(rng: Random, table: Table, count: int, known: dict[str, dict[str, None]]) -> Iterator[list[str]]:
    seen: set[tuple[object, ...]] = set()
    parents = {name: list(keys) for name, keys in known.items()}
    for number in range(1, count + 1):
        row = new_row(rng, table, number, parents)
        sets = [
            (n, *(row[table.at(c)].rstrip(" '").casefold() for c in columns))
            for n, columns in enumerate((table.key, *table.unique))
        ]
        if not seen.intersection(sets):
            seen.update(sets)
            yield row


def new_row(rng: Random, table: Table, number: int, parents: dict[str, list[str]]) -> list[str]:
    """A random row of literals; `number` for a key of its own, `parents`: keys that references may name."""
    row: list[str] = []
    bound = {*table.key, *(c for columns in table.unique for c in columns)}
    for column in table.columns:
        if parent := table.references.get(column.name):
            row.append("NULL" if column.nullable and rng.random() < 0.3 else rng.choice(parents[parent]))
        elif column.identity or (column.name == table.key[-1] and column.type == "int"):
            row.append(str(number))
        else:
            row.append(literal(rng, column.type, nullable=column.nullable, key=column.name in bound))
    return row
