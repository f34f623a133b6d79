"""shell: compares a SQL Server database with its copy, row by row and value by value, on its own terms.

`python sqlserver_compare.py COPY.db --erp FILE --datasets FILE [--json]`; exit 0: all equal, 1: they differ, 2: could not
compare. The ERP's file holds an ODBC connection string. The ERP is read by plain SELECTs; what the driver hands over raw (the
structures of ODBC for times, UTF-16 for texts) is put into the copy's form here, and types come from the server's catalogue. Of
the product only the demo's comparer is used, which knows how a copy's file is laid out and imports nothing of it either.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyodbc

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cdc.demo.compare import (
    SURROGATE,
    Bad,
    Column,
    Comparison,
    Difference,
    Rows,
    Task,
    Unusable,
    Verdict,
    WithheldList,
    cloud_rows,
    connect,
    explained,
    table,
)

CATALOGUE = """
SELECT c.name, ISNULL(b.name, u.name), c.scale, ISNULL(k.key_ordinal, 0)
FROM sys.columns AS c
INNER JOIN sys.types AS u ON u.user_type_id = c.user_type_id
LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id
LEFT JOIN (SELECT x.object_id, x.column_id, x.key_ordinal FROM sys.index_columns AS x INNER JOIN sys.indexes AS i
           ON i.object_id = x.object_id AND i.index_id = x.index_id AND i.is_primary_key = 1) AS k
  ON k.object_id = c.object_id AND k.column_id = c.column_id
WHERE c.object_id = OBJECT_ID(?) ORDER BY c.column_id"""
FAMILIES = {
    "int": "tinyint smallint int bigint",
    "bool": "bit",
    "decimal": "decimal numeric money smallmoney",
    "float": "float real",
    "date": "date",
    "time": "time",
    "datetime": "datetime datetime2 smalldatetime",
    "datetimeoffset": "datetimeoffset",
    "guid": "uniqueidentifier",
    "bytes": "binary varbinary image timestamp rowversion",
    "text": "char varchar text nchar nvarchar ntext xml sysname hierarchyid",
    "json": "sql_variant geography geometry",
}
FAMILY_OF = {name: family for family, text in FAMILIES.items() for name in text.split()}
DIGITS = {"datetime": 3, "smalldatetime": 0, "money": 4, "smallmoney": 4}  # where the catalogue's scale says something else
SINGLE = struct.Struct("<f")


class Source(NamedTuple):
    """A column as the server declares it."""

    name: str
    type: str
    digits: int
    place: int  # in the key, from 1


# -- what the driver hands over ----------------------------------------------------------------------------------------------


def _wide(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-16-le", "surrogatepass")


def _offset(raw: bytes | None) -> str | None:
    """SQL_SS_TIMESTAMPOFFSET_STRUCT: https://learn.microsoft.com/sql/relational-databases/native-client-odbc-date-time/."""
    if raw is None:
        return None
    year, month, day, hour, minute, second, nanoseconds, hours, minutes = struct.unpack("<hHHHHHIhh", raw[:20])
    sign = "-" if hours < 0 or minutes < 0 else "+"
    clock = f"{hour:02}:{minute:02}:{second:02}.{nanoseconds // 100:07}"
    return f"{year:04}-{month:02}-{day:02} {clock}{sign}{abs(hours):02}:{abs(minutes):02}"


def _moment(raw: bytes | None) -> str | None:
    """As the driver hands over: smalldatetime and datetime as on the wire (days since 1900; minutes, or 1/300 s), others as
    TIMESTAMP_STRUCT."""
    if raw is None:
        return None
    if len(raw) < 16:
        days, rest = struct.unpack("<HH" if len(raw) == 4 else "<iI", raw)
        thousandths = rest * 60_000 if len(raw) == 4 else (rest * 20 + 3) // 6
        found = datetime(1900, 1, 1) + timedelta(days=days, milliseconds=thousandths)
        return f"{found.year:04}-{found:%m-%d %H:%M:%S.%f}0"
    year, month, day, hour, minute, second, nanoseconds = struct.unpack("<hHHHHHI", raw)
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanoseconds // 100:07}"


def _clock(raw: bytes | None) -> str | None:
    """SQL_SS_TIME2_STRUCT."""
    if raw is None:
        return None
    hour, minute, second, nanoseconds = struct.unpack("<HHHxxI", raw[:12])
    return f"{hour:02}:{minute:02}:{second:02}.{nanoseconds // 100:07}"


CONVERTERS: dict[int, Callable[[bytes | None], str | None]] = {
    pyodbc.SQL_WCHAR: _wide,
    pyodbc.SQL_WVARCHAR: _wide,
    pyodbc.SQL_WLONGVARCHAR: _wide,
    pyodbc.SQL_TYPE_TIMESTAMP: _moment,
    -154: _clock,
    -155: _offset,
}


def erp_connection(text: str) -> pyodbc.Connection:
    """In autocommit mode, with times and texts as the driver has them."""
    connection = pyodbc.connect(text, autocommit=True, timeout=20)
    for kind, converter in CONVERTERS.items():
        connection.add_output_converter(kind, converter)
    return connection


# -- into the copy's form ----------------------------------------------------------------------------------------------------


def canonical(column: Source, cell: Any) -> Any:
    """The cell as the copy must have it, or Bad."""
    if cell is None:
        return None
    return FORMS[FAMILY_OF[column.type]](column, cell)


def _decimal(column: Source, cell: Any) -> str:
    return format(Decimal(cell) or Decimal(0), f".{column.digits}f")


def _fraction(column: Source, cell: str) -> str:
    """Seven digits of a second, cut to those declared."""
    head, _, rest = cell.partition(".")
    return f"{head}.{rest[: column.digits]}" if column.digits else head


def _with_offset(column: Source, cell: str) -> str:
    return _fraction(column, cell[:-6]) + cell[-6:]


def _text(_: Source, cell: Any) -> Any:
    if not isinstance(cell, str):
        return Bad("is not text")
    if "\0" in cell or SURROGATE.search(cell):
        return Bad("is text that cannot be carried")
    return cell


FORMS: dict[str, Callable[[Source, Any], Any]] = {
    "int": lambda _, cell: int(cell),
    "bool": lambda _, cell: int(cell),
    "decimal": _decimal,
    "float": lambda _, cell: float(cell),
    "date": lambda _, cell: cell.isoformat(),
    "time": _fraction,
    "datetime": _fraction,
    "datetimeoffset": _with_offset,
    "guid": lambda _, cell: str(cell).lower(),
    "bytes": lambda _, cell: bytes(cell),
    "text": _text,
    "json": lambda column, cell: _variant(cell) if column.type == "sql_variant" else cell,
}
EXPRESSIONS = {
    "hierarchyid": "{}.ToString()",
    "xml": "CONVERT(nvarchar(max), {})",
    "sql_variant": "CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({0}, 'BaseType')) + N'|' + CONVERT(nvarchar(4000), {0})",
    **dict.fromkeys(
        ("geography", "geometry"), "CONVERT(varchar(20), {0}.STSrid) + '|' + CONVERT(varchar(max), {0}.AsBinaryZM(), 2)"
    ),
}


def _variant(cell: str) -> str:
    """Base type and value; of a time the zeros at its end say nothing."""
    base, _, value = cell.partition("|")
    if "date" in base or "time" in base:
        value = value.rstrip("0").rstrip(".") if "." in value else value
    return f"{base}|{value.lower() if base == 'uniqueidentifier' else value}"


def of_copy(column: Source, cell: Any) -> Any:
    """A cell of the copy whose text is JSON, as `canonical` writes the ERP's."""
    if cell is None or FAMILY_OF[column.type] != "json" or not isinstance(cell, str):
        return cell
    said = json.loads(cell)
    if column.type == "sql_variant":
        return _variant(f"{said['type'].partition('(')[0]}|{said['value']}")
    return f"{said['srid']}|{said['wkb']}"


# -- reading both sides ------------------------------------------------------------------------------------------------------


class Ready:
    """Rows that are sorted and in the copy's form already, in place of a cursor."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        return [row for _, row in zip(range(size), self._rows, strict=False)]


class Withheld(WithheldList):
    """The copy's list; keys match as a server that knows neither case nor trailing blanks would have it."""

    def __init__(self, copy: Any, task: Task) -> None:
        super().__init__(copy, task)
        self.keys = {self._identity(tuple(msgspec.msgpack.decode(key))) for key in self.keys}

    def _identity(self, key: tuple[Any, ...]) -> bytes:
        return repr([cell.rstrip(" ").casefold() if isinstance(cell, str) else cell for cell in key]).encode()


def columns_of(erp: pyodbc.Connection, entry: dict[str, Any]) -> list[Source]:
    """The columns of the dataset, those of the key first, as the server has them."""
    found = []
    for name, kind, scale, place in erp.execute(CATALOGUE, entry["table"]).fetchall():
        found.append(Source(name, kind, DIGITS.get(kind, scale), place))
    if not found:
        raise Unusable(f"{entry['dataset']}: the ERP has no table {entry['table']}")
    wanted, left_out = entry.get("columns") or [c.name for c in found], set(entry.get("exclude", ()))
    key = sorted((c for c in found if c.place), key=lambda c: c.place)
    values = [c for c in found if not c.place and c.name in wanted and c.name not in left_out]
    return [*key, *values]


def select(columns: Sequence[Source], entry: dict[str, Any]) -> str:
    picked = ", ".join(EXPRESSIONS.get(c.type, "{}").format("[" + c.name.replace("]", "]]") + "]") for c in columns)
    place = ".".join(f"[{part}]" for part in entry["table"].split("."))
    where = f" WHERE {entry['filter']}" if entry.get("filter") else ""
    return f"SELECT {picked} FROM {place}{where}"


def erp_rows(erp: pyodbc.Connection, columns: Sequence[Source], task: Task, entry: dict[str, Any]) -> Rows:
    """All of them in memory: a test's table is small, and no server sorts as Python does."""
    rows = [
        tuple(canonical(column, cell) for column, cell in zip(columns, row, strict=True))
        for row in erp.execute(select(columns, entry)).fetchall()
    ]
    rows.sort(key=lambda row: [(0, "") if isinstance(cell, Bad) else (1, cell) for cell in row[: task.keys]])
    return Rows(task, Ready(iter(rows)), lambda cells: list(cells))  # type: ignore[arg-type]


def copied_rows(copy: Any, columns: Sequence[Source], task: Task) -> Rows:
    """As the demo's comparer reads them; JSON is understood."""
    rows = cloud_rows(copy, task)
    if any(FAMILY_OF[c.type] == "json" for c in columns):
        plain = rows._canonical

        def understood(cells: list[Any]) -> list[Any]:
            return [[of_copy(c, cell) for cell in found] for c, found in zip(columns, plain(cells), strict=True)]

        rows._canonical = understood
    return rows


def compare(erp: pyodbc.Connection, copy: Any, entry: dict[str, Any]) -> Verdict:
    """One dataset."""
    columns = columns_of(erp, entry)
    unknown = sorted({c.type for c in columns} - set(FAMILY_OF))
    if unknown:
        raise Unusable(f"{entry['dataset']}: type {', '.join(unknown)}")
    listed = [Column(c.name, FAMILY_OF[c.type], c.digits, nocase=True) for c in columns]
    task = Task(entry["dataset"], entry["table"], listed, sum(c.place > 0 for c in columns), entry.get("filter", ""))
    try:
        return Comparison(
            task, erp_rows(erp, columns, task, entry), copied_rows(copy, columns, task), Withheld(copy, task)
        ).run()
    except Unusable as problem:
        return Verdict(task.dataset, 0, 0, 0, 1, [Difference("structure", "", "", str(problem))])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Compares a SQL Server database with its copy in the cloud, value by value.")
    parser.add_argument("copy", type=Path, help="the company's copy in the cloud, a SQLite file")
    parser.add_argument("--erp", type=Path, required=True, help="a file with the connection string")
    parser.add_argument("--datasets", type=Path, required=True, help="JSON list of datasets")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    entries = json.loads(options.datasets.read_text(encoding="utf-8"))
    try:
        with (
            closing(erp_connection(options.erp.read_text(encoding="utf-8").strip())) as erp,
            closing(connect(options.copy)) as copy,
        ):
            verdicts = [compare(erp, copy, entry) for entry in sorted(entries, key=lambda e: str(e["dataset"]))]
    except (Unusable, OSError, pyodbc.Error) as problem:
        sys.stderr.write(f"cannot compare: {problem}\n")
        return 2
    equal = not any(v.differing for v in verdicts)
    found = [{**v._asdict(), "differences": [d._asdict() for d in v.differences]} for v in verdicts]
    if options.json:
        sys.stdout.write(json.dumps({"equal": equal, "datasets": found}, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n\n".join(filter(None, (table(verdicts), explained(verdicts)))) + "\n")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
