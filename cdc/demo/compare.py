"""shell: compares an ERP database with its copy, row by row and value by value, on its own terms.

`python compare.py ERP.db COPY.db --datasets FILE [--json]`; exit 0: all equal, 1: they differ, 2: could not compare.
It imports nothing of the product and reads the declared types of the ERP itself, so that a mistake made on the way cannot hide
behind the same mistake here. FILE is a JSON list of {"dataset", "table", "columns", "exclude", "key", "types", "filter"}; only
the first two are needed: without columns all are meant, without a key the primary key. Both sides are read in the order of the
key, a few thousand rows at a time. Rows that the copy lists as withheld, with a reason, are counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

FETCH = 4_000  # rows read at a time
FETCH_BLOBS = 100  # the same where there are large cells
MISSING, EXTRA = "missing", "extra"
ALONE = {MISSING: "in the ERP, neither in the cloud nor listed as withheld", EXTRA: "in the cloud, not in the ERP"}
SHOWN = 20  # differences kept by dataset
ASCII_LOWER = {n: n + 32 for n in range(ord("A"), ord("Z") + 1)}
MEMO_LIMIT = 100_000  # distinct values remembered by column
DECLARED = re.compile(r"\s*([A-Za-z_0-9 ]*?)\s*(?:\(\s*(\w+)\s*(?:,\s*(\d+)\s*)?\))?\s*$")
FAMILIES = {
    "int": "INT INTEGER BIGINT SMALLINT TINYINT MEDIUMINT INT2 INT4 INT8",
    "decimal": "DECIMAL NUMERIC TEXT_DECIMAL MONEY SMALLMONEY",
    "float": "REAL FLOAT DOUBLE",
    "bool": "BIT BOOL BOOLEAN",
    "date": "DATE",
    "time": "TIME",
    "datetime": "DATETIME DATETIME2 SMALLDATETIME TIMESTAMP",
    "datetimeoffset": "DATETIMEOFFSET",
    "guid": "GUID UUID UNIQUEIDENTIFIER",
    "bytes": "BLOB BINARY VARBINARY IMAGE",
}
FAMILY_OF = {name: family for family, text in FAMILIES.items() for name in text.split()}
STORED_AS: dict[str, type] = {"int": int, "bool": int, "float": float, "bytes": bytes}  # in the copy; every other one as text
MONEY_SCALE = 4
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z")
GUID = re.compile(
    r"\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?\Z", re.IGNORECASE | re.ASCII
)
SURROGATE = re.compile("[\ud800-\udfff]")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
CLOCK = re.compile(r"([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?\Z")
OFFSET = re.compile(r"(.+?) ?(?:([Zz])|([+-][0-9]{2}):?([0-9]{2}))\Z", re.DOTALL)

Key = tuple[Any, ...]
Cells = Sequence[Any]  # of one column


class Bad(NamedTuple):
    """A cell that has no canonical form: equal to nothing in the copy."""

    why: str


ODD = Bad("is of the wrong kind")  # a cell of the copy in the wrong storage class


class Column(NamedTuple):
    """One column as declared in the ERP."""

    name: str
    family: str
    digits: int  # decimal: after the point; times: of the second's fraction
    nocase: bool


class Difference(NamedTuple):
    """One thing that is not as it should be."""

    kind: str  # missing, extra, value, withheld, structure
    key: str
    column: str
    detail: str


class Verdict(NamedTuple):
    """What was found in one dataset."""

    dataset: str
    erp_rows: int
    cloud_rows: int
    withheld: int
    differing: int
    differences: list[Difference]


class NoForm(ValueError):
    """A raw cell has no canonical form; the text says why."""


class Unusable(Exception):
    """The comparison cannot be made; the text says why."""


# -- the declared types, read independently --------------------------------------------------------------------------------


def column_of(name: str, declared: str, collation: str) -> Column:
    """Tell what a declared type means."""
    match = DECLARED.match(declared)
    base, first, second = match.groups() if match else (declared, None, None)
    family = FAMILY_OF.get(base.upper().partition(" ")[0], "text")
    last = second if family == "decimal" else first
    digits = int(last) if last and last.isdigit() else MONEY_SCALE if "MONEY" in base.upper() else 0
    return Column(name, family, digits, collation.upper() == "NOCASE")


def decimal_text(value: object, digits: int) -> str:
    """Write exactly `digits` places after the point; a value that needs more has no canonical form."""
    text = f"{value:.15g}" if isinstance(value, float) else str(value) if isinstance(value, int) else _text(value)
    if not NUMBER.match(text):
        raise NoForm("is not a number")
    value = Decimal(text)
    fixed = format(value or Decimal(0), f".{digits}f")
    if Decimal(fixed) != value:
        raise NoForm("has more digits than declared")
    return fixed


def date_text(value: object, _: int) -> str:
    """Write `YYYY-MM-DD`; a midnight after it may go."""
    text = _text(value)
    if not DAY.match(text[:10]) or (text[10:] and time_text(text[11:], 0) != "00:00:00"):
        raise NoForm("is not a date")
    return date.fromisoformat(text[:10]).isoformat()


def time_text(value: object, digits: int) -> str:
    """Write `HH:MM:SS` and exactly `digits` of a fraction."""
    match = CLOCK.match(_text(value))
    if not match:
        raise NoForm("is not a time of day")
    minutes, seconds, fraction = match[1], match[2] or "00", match[3] or ""
    time.fromisoformat(f"{minutes}:{seconds}")
    if fraction[digits:].strip("0"):
        raise NoForm("has more digits than declared")
    return f"{minutes}:{seconds}" + (f".{fraction[:digits]:0<{digits}}" if digits else "")


def datetime_text(value: object, digits: int) -> str:
    """Write date, a blank, time; a date alone is its midnight."""
    text = _text(value)
    day, rest = text[:10], text[10:] or " 00:00:00"
    if rest[0] not in " T":
        raise NoForm("is not a date and time")
    return f"{date_text(day, 0)} {time_text(rest[1:], digits)}"


def offset_text(value: object, digits: int) -> str:
    """Write date, time and offset; UTC is +00:00."""
    match = OFFSET.match(_text(value))
    if not match:
        raise NoForm("has no offset")
    offset = "+00:00" if match[2] else f"{match[3]}:{match[4]}"
    return datetime_text(match[1], digits) + ("+00:00" if offset == "-00:00" else offset)


def guid_text(value: object, _: int) -> str:
    """Write it in lower case with dashes."""
    match = GUID.match(_text(value))
    if not match:
        raise NoForm("is not a guid")
    return "-".join(match.groups()).lower()


def of_class(value: object, kinds: tuple[type, ...], what: str) -> Any:
    """Take it as it is."""
    if not isinstance(value, kinds):
        raise NoForm(f"is not {what}")
    return value


def _text(value: object) -> str:
    return str(of_class(value, (str,), "text"))


def bool_number(value: object, _: int) -> int:
    """Take 0 or 1."""
    if value not in (0, 1):
        raise NoForm("is neither 0 nor 1")
    return int(of_class(value, (int,), "a number"))


def plain_text(value: object, _: int) -> str:
    """Take it as it is, if it is Unicode."""
    text = _text(value)
    text.encode("utf-8")
    return text


READERS: dict[str, Callable[[object, int], Any]] = {
    "int": lambda value, _: of_class(value, (int,), "an integer"),
    "decimal": decimal_text,
    "float": lambda value, _: float(of_class(value, (int, float), "a number")),
    "bool": bool_number,
    "date": date_text,
    "time": time_text,
    "datetime": datetime_text,
    "datetimeoffset": offset_text,
    "guid": guid_text,
    "bytes": lambda value, _: of_class(value, (bytes,), "binary"),
    "text": plain_text,
}
AS_IT_IS: dict[str, type] = {"int": int, "text": str, "bytes": bytes, "float": float}  # canonical already, if of that class
REORDERED = frozenset({"decimal", "date", "time", "datetime", "datetimeoffset", "guid"})  # raw order may differ from canonical


class Reading(dict[Any, Any]):
    """Raw cell -> canonical cell or `Bad` of one column, remembered."""

    def __init__(self, column: Column) -> None:
        super().__init__()
        self._read = READERS[column.family]
        self._column = column

    def __missing__(self, raw: Any) -> Any:
        value: Any = None
        try:
            value = raw if raw is None else self._read(raw, self._column.digits)
        except NoForm as problem:
            value = Bad(str(problem))
        except ValueError:
            value = Bad(f"is not a valid {self._column.family}")
        if len(self) > MEMO_LIMIT:
            self.clear()
        if not isinstance(raw, bytes | float):  # large, or 0.0 == -0.0 and 1.0 == 1
            self[raw] = value
        return value

    def ordering(self, raw: Any) -> Any:
        """Give what a row's key is sorted by."""
        return None if isinstance(cell := self[raw], Bad) else cell

    def of(self, cells: Cells) -> Cells:
        """Read a column's cells into canonical form."""
        simple = AS_IT_IS.get(self._column.family)
        classes = set(map(type, cells))
        classes.discard(type(None))
        if simple and classes <= {simple} and not (simple is str and SURROGATE.search("".join(filter(None, cells)))):
            return cells
        return [self[cell] for cell in cells]


# -- reading both sides ----------------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """One dataset to compare; the key columns come first in `columns`."""

    dataset: str
    table: str
    columns: list[Column]
    keys: int
    filter: str


def quoted(name: str) -> str:
    """Quote an identifier of SQLite."""
    return '"' + name.replace('"', '""') + '"'


def connect(path: Path) -> sqlite3.Connection:
    """Read-only; one state of the database for everything read."""
    if not path.is_file():
        raise Unusable(f"{path} is not there")
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as problem:
        database.close()
        raise Unusable(f"{path} cannot be read: {problem}") from problem
    return database


def task_of(erp: sqlite3.Connection, entry: dict[str, Any]) -> Task:
    """Completes a declaration with what the ERP's own schema says."""
    table = entry["table"]
    found = erp.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,)).fetchall()
    if not found:
        raise Unusable(f"{entry['dataset']}: the ERP has no table {table}")
    indexed = "SELECT x.name, x.coll FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x WHERE l.[unique] AND x.key"
    collations = dict(erp.execute(indexed, (table,)))
    declared = {name: type_ for name, type_, _ in found} | entry.get("types", {})
    key = entry.get("key") or [name for name, _, place in sorted(found, key=lambda c: c[2]) if place]
    left_out = set(entry.get("exclude", ()))
    wanted = entry.get("columns") or [name for name, *_ in found]
    names = [*key, *(name for name in wanted if name not in key and name not in left_out)]
    if unknown := [name for name in names if name not in declared]:
        raise Unusable(f"{entry['dataset']}: {table} has no column {', '.join(unknown)}")
    columns = [column_of(name, declared[name] or "", collations.get(name) or "") for name in names]
    return Task(entry["dataset"], table, columns, len(key), entry.get("filter", ""))


class Rows:
    """One side's rows in the order of the canonical key; those whose key is no key are set apart."""

    def __init__(self, task: Task, select: sqlite3.Cursor, canonical: Callable[[list[Cells]], list[Cells]]) -> None:
        self.rows: list[Key] = []
        self.fetch = FETCH_BLOBS if any(c.family == "bytes" for c in task.columns) else FETCH
        self.total = self.refused = 0
        self.keyless: set[Key] = set()
        self.listed: Callable[[Key], bool] = lambda _: False  # whether a key as it stands in the database is withheld
        self._task, self._select, self._canonical = task, select, canonical

    def fill(self) -> bool:
        """Read on when little is left; False at the end."""
        while len(self.rows) < self.fetch and (raw := self._select.fetchmany(self.fetch)):
            self.total += len(raw)
            given: list[Cells] = list(zip(*raw, strict=True))
            columns = self._canonical(given)
            if any(None in given[n] or tuple(columns[n]) != given[n] for n in range(self._task.keys)):
                self.rows.extend(self._with_key(columns, raw))
            else:
                self.rows.extend(zip(*columns, strict=True))
        return bool(self.rows)

    def _with_key(self, columns: list[Cells], raw: list[Key]) -> Iterator[Key]:
        for row, original in zip(zip(*columns, strict=True), raw, strict=True):
            key, given = row[: self._task.keys], original[: self._task.keys]
            if any(cell is None or isinstance(cell, Bad) for cell in key):
                self.keyless.add(given)
            elif key != given and self.listed(given):  # two texts could mean the same key, so such a row may be withheld
                self.refused += 1
            else:
                yield row


def erp_rows(erp: sqlite3.Connection, task: Task) -> Rows:
    """Read the ERP's side into canonical form."""
    readings = [Reading(column) for column in task.columns]
    order = []
    for n, column in enumerate(task.columns[: task.keys]):
        name = quoted(column.name)
        if column.family in REORDERED:
            erp.create_function(f"canonical_{n}", 1, readings[n].ordering, deterministic=True)
            name = f"canonical_{n}({name})"
        order.append(f"{name} COLLATE BINARY")
    where = f" WHERE {task.filter}" if task.filter else ""
    names = ", ".join(quoted(c.name) for c in task.columns)
    select = erp.execute(f"SELECT {names} FROM {quoted(task.table)}{where} ORDER BY {', '.join(order)}")
    return Rows(task, select, lambda columns: [r.of(c) for r, c in zip(readings, columns, strict=True)])


def cloud_rows(copy: sqlite3.Connection, task: Task) -> Rows:
    """Read the copy's side: nothing is converted, a wrong storage class equals nothing."""
    view = copy.execute("SELECT name FROM pragma_table_info(?)", (task.dataset,)).fetchall()
    if not view:
        raise Unusable("the copy has no view of that name")
    if lacking := {c.name for c in task.columns} - {name for (name,) in view}:
        raise Unusable(f"the copy's view lacks {', '.join(sorted(lacking))}")
    classes = [STORED_AS.get(column.family, str) for column in task.columns]
    names = ", ".join(quoted(c.name) for c in task.columns)
    order = ", ".join(f"{quoted(c.name)} COLLATE BINARY" for c in task.columns[: task.keys])
    select = copy.execute(f"SELECT {names} FROM {quoted(task.dataset)} ORDER BY {order}")
    return Rows(task, select, lambda columns: [_of_class(cells, kind) for cells, kind in zip(columns, classes, strict=True)])


def _of_class(cells: Cells, kind: type) -> Cells:
    if set(map(type, cells)) <= {kind, type(None)}:
        return cells
    return [cell if cell is None or type(cell) is kind else ODD for cell in cells]


class WithheldList:
    """The rows of one dataset that the copy lists as withheld, with a reason; by key as a MessagePack array."""

    def __init__(self, copy: sqlite3.Connection, task: Task) -> None:
        self._columns = task.columns[: task.keys]
        self._met: set[bytes] = set()
        visible = "number IN (SELECT number FROM _generation g WHERE g.dataset = w.dataset AND g.visible)"
        numbered = copy.execute("SELECT 1 FROM pragma_table_info('_withheld') WHERE name = 'number'").fetchone()
        select = f"SELECT key, code FROM _withheld w WHERE dataset = ? AND {visible if numbered else True}"
        listed = copy.execute(select, (task.dataset,)).fetchall()
        self.keys = {bytes(key) for key, code in listed if code}
        self.unexplained = [bytes(key) for key, code in listed if not code]

    def has(self, key: Key) -> bool:
        """Whether the row of that key is listed; remembers that it was met."""
        if not self.keys or (identity := self._identity(key)) not in self.keys:
            return False
        self._met.add(identity)
        return True

    def unmet(self) -> set[bytes]:
        """Tell what is listed although no row of the ERP has the key."""
        return self.keys - self._met

    def _identity(self, key: Key) -> bytes:
        return bytes([0x90 + len(key)]) + b"".join(map(pack, key, self._columns))


WIDTHS = ((8, "B"), (16, "H"), (32, "I"), (64, "Q"))  # bits and struct codes of MessagePack's numbers and lengths


def pack(cell: Any, column: Column) -> bytes:
    """Write one cell of a key as MessagePack, in the shortest form; NOCASE text in lower case."""
    if isinstance(cell, str):
        text = (cell.translate(ASCII_LOWER) if column.nocase else cell).encode()
        return (bytes([0xA0 + len(text)]) if len(text) < 32 else _head(0xD9, len(text))) + text
    if isinstance(cell, bytes):
        return _head(0xC4, len(cell)) + cell
    if isinstance(cell, float):
        return struct.pack(">Bd", 0xCB, cell or 0.0)
    if column.family == "bool":
        return b"\xc3" if cell else b"\xc2"
    if -32 <= cell < 128:
        return struct.pack(">b", cell)
    return _head(0xCC, cell) if cell > 0 else _head(0xD0, cell, signed=1)


def _head(kind: int, number: int, signed: int = 0) -> bytes:
    """Write a number, or the length of a text or of bytes, as the first of the four forms that has room."""
    for n, (bits, code) in enumerate(WIDTHS):
        if -(1 << bits - 1) * signed <= number < 1 << bits - signed:
            return struct.pack(f">B{code.lower() if signed else code}", kind + n, number)
    raise Unusable("a key is longer than MessagePack can say")


class Comparison:
    """Walks both sides of one dataset by key and notes what differs."""

    def __init__(self, task: Task, erp: Rows, cloud: Rows, withheld: WithheldList) -> None:
        self._task, self._erp, self._cloud, self._withheld = task, erp, cloud, withheld
        self._count = self._listed = 0
        erp.listed = withheld.has
        self._found: list[Difference] = []

    def run(self) -> Verdict:
        """Read both sides to their end."""
        while (more := self._erp.fill()) | self._cloud.fill():
            left, right = self._erp.rows, self._cloud.rows
            size = min(len(left), len(right))
            if size and not self._withheld.keys and left[:size] == right[:size]:
                del left[:size], right[:size]
            elif more and right:
                self._merge(left, right)
            else:
                for row in left:
                    self._alone(MISSING, row)
                for row in right:
                    self._alone(EXTRA, row)
                left.clear()
                right.clear()
        self._listed_but_absent()
        return Verdict(self._task.dataset, self._erp.total, self._cloud.total, self._listed, self._count, self._found)

    def _merge(self, left: list[Key], right: list[Key]) -> None:
        keys, i, j = self._task.keys, 0, 0
        while i < len(left) and j < len(right):
            ours, theirs = left[i], right[j]
            if ours[:keys] == theirs[:keys]:
                self._pair(ours, theirs)
                i, j = i + 1, j + 1
            elif ours[:keys] < theirs[:keys]:
                self._alone(MISSING, ours)
                i += 1
            else:
                self._alone(EXTRA, theirs)
                j += 1
        del left[:i], right[:j]

    def _pair(self, ours: Key, theirs: Key) -> None:
        key = ours[: self._task.keys]
        if self._withheld.has(key):
            self._listed += 1
        elif ours != theirs:
            for column, mine, other in zip(self._task.columns, ours, theirs, strict=True):
                if mine != other:
                    self._note("value", key, column.name, describe(mine, other))

    def _alone(self, kind: str, row: Key) -> None:
        key = row[: self._task.keys]
        if self._withheld.has(key):
            self._listed += kind == MISSING
            return
        bad = next((c.name for c, cell in zip(self._task.columns, row, strict=True) if isinstance(cell, Bad)), "")
        self._note(kind, key, bad, ALONE[kind])

    def _listed_but_absent(self) -> None:
        """Hold the list against the rows: one whose key cannot be read must be listed too, and what is listed must exist."""
        unmet, keyless = self._withheld.unmet(), self._erp.keyless
        self._listed += self._erp.refused + min(len(unmet), len(keyless))
        for key in self._cloud.keyless:
            self._note(EXTRA, key, "", "in the cloud with a key of the wrong kind")
        if len(keyless) > len(unmet):
            self._note(MISSING, (), "", f"{len(keyless) - len(unmet)} rows without a usable key are not listed as withheld")
        if len(unmet) > len(keyless):
            self._note("withheld", (min(unmet),), "", "listed as withheld, but the ERP has no such row")
        for identity in self._withheld.unexplained:
            self._note("withheld", (identity,), "", "listed as withheld without a reason")

    def _note(self, kind: str, key: Key, column: str, detail: str) -> None:
        self._count += 1
        if len(self._found) < SHOWN:
            self._found.append(Difference(kind, ", ".join(str(cell)[:60] for cell in key), column, detail))


def describe(mine: Any, other: Any) -> str:
    """Why two cells differ, without their contents."""
    if isinstance(mine, Bad):
        return f"the ERP's value {mine.why}, and the row is not listed as withheld"
    if isinstance(other, Bad):
        return f"the cloud's value {other.why}"
    if mine is None or other is None:
        return f"only the {'ERP' if mine is None else 'cloud'} has NULL"
    return "the values differ"


def compare(erp: sqlite3.Connection, copy: sqlite3.Connection, task: Task) -> Verdict:
    """One dataset; text that is not UTF-8 is read a second time with its bytes escaped."""
    for factory in (str, lambda raw: raw.decode("utf-8", "surrogateescape")):
        erp.text_factory = copy.text_factory = factory
        try:
            return Comparison(task, erp_rows(erp, task), cloud_rows(copy, task), WithheldList(copy, task)).run()
        except sqlite3.OperationalError as problem:
            if "decode" not in str(problem).lower() or factory is not str:
                raise
    raise AssertionError


def compare_files(erp_path: Path, copy_path: Path, entries: list[dict[str, Any]]) -> list[Verdict]:
    """All datasets, by name. Raises Unusable for what cannot be compared at all."""
    verdicts = []
    with contextlib.closing(connect(erp_path)) as erp, contextlib.closing(connect(copy_path)) as copy:
        for entry in sorted(entries, key=lambda e: str(e["dataset"])):
            task = task_of(erp, entry)
            try:
                verdicts.append(compare(erp, copy, task))
            except Unusable as problem:
                verdicts.append(Verdict(task.dataset, 0, 0, 0, 1, [Difference("structure", "", "", str(problem))]))
    return verdicts


def table(verdicts: list[Verdict]) -> str:
    """Align the result as a table, with a sum."""
    counts = [(v.erp_rows, v.cloud_rows, v.withheld, v.differing) for v in verdicts]
    erp, cloud, withheld, differing = (sum(column) for column in zip(*counts, strict=True))
    total = Verdict("total", erp, cloud, withheld, differing, [])
    lines = [("dataset", "rows in the ERP", "rows in the cloud", "withheld", "equal")]
    for v in [*verdicts, total]:
        cells = (f"{v.erp_rows:,}", f"{v.cloud_rows:,}", f"{v.withheld:,}")
        lines.append((v.dataset, *cells, "NO" if v.differing else "yes"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    rule = "  ".join("-" * w for w in widths)
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def explained(verdicts: list[Verdict]) -> str:
    """Every difference kept, one a line."""
    lines = []
    for verdict in verdicts:
        for kind, key, column, detail in verdict.differences:
            place = f" key ({key})" if key else ""
            lines.append(f"{verdict.dataset}:{place}{f' column {column}' if column else ''}: {kind}: {detail}")
        if verdict.differing > len(verdict.differences):
            lines.append(f"{verdict.dataset}: and {verdict.differing - len(verdict.differences)} more")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Compares an ERP database with its copy in the cloud, value by value.")
    parser.add_argument("erp", type=Path, help="the ERP's SQLite file")
    parser.add_argument("copy", type=Path, help="the company's copy in the cloud, a SQLite file")
    parser.add_argument("--datasets", type=Path, required=True, help="JSON list of datasets")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        verdicts = compare_files(options.erp, options.copy, json.loads(options.datasets.read_text(encoding="utf-8")))
    except (Unusable, OSError, ValueError, KeyError, sqlite3.Error) as problem:
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
