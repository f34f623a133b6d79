"""pure: the T-SQL that reads a dataset. Names are quoted, values are bound; numbers of rows and objects stand as they are.

`?` marks a parameter, in the order of `DECLARE`. `CT` is the change table, `T` the table itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from cdc.sources.sqlserver.quoting import collation, literal, name, qualified
from cdc.sources.sqlserver.types import Carried, Found, declared

MATCH = "[__erp_cdc_match]"  # whether a row matches the filter, in the derived table that has one
IN_ONE = 250  # tables, or objects, in one statement: a batch that the server compiles in milliseconds


@cache
def static(file: str) -> str:
    """The text of `sql/<file>.sql`."""
    return resources.files("cdc.sources.sqlserver").joinpath("sql", f"{file}.sql").read_text("utf-8")


def batches(file: str) -> list[str]:
    """The batches of a script that has GO between them."""
    return [part.strip() for part in static(file).split("\nGO\n") if part.strip()]


class KeyTerm(NamedTuple):
    """One key column."""

    found: Found
    carried: Carried
    descending: bool  # in the primary key's index
    loose: bool  # the server holds values equal that the agent tells apart: both are selected


class Reading(NamedTuple):
    """What the statements need to know of a dataset."""

    table: tuple[str, str]
    key: tuple[KeyTerm, ...]  # as the key travels
    order: tuple[int, ...]  # places in `key`, in the order of the primary key's index
    values: tuple[Carried, ...]
    filter: str  # "" or a checked condition on the row's own columns

    @property
    def ordered(self) -> tuple[KeyTerm, ...]:
        """The key in the order of its index."""
        return tuple(self.key[i] for i in self.order)


# -- expressions -------------------------------------------------------------------------------------------------------------


def _expressions(alias: str, columns: Iterable[Carried]) -> list[str]:
    return [e.replace("{c}", f"{alias}.{name(c.column.name)}") for c in columns for e in c.expressions]


def _key(r: Reading) -> list[Carried]:
    return [k.carried for k in r.key]


def _list(expressions: Iterable[str]) -> str:
    return ",\n       ".join(expressions)


# -- changes -----------------------------------------------------------------------------------------------------------------


def changes(r: Reading) -> str:
    """Each key changed after version `?`; whether its row is there (and matches); its loose keys as they are now; values."""
    loose = [k.carried for k in r.key if k.loose]
    columns = [*_expressions("CT", _key(r)), _exists(r), *_expressions("T", (*loose, *r.values))]
    return f"DECLARE @from bigint = ?;\nSELECT {_list(columns)}\n{_changed(r)};"


def changed_keys(r: Reading) -> str:
    """The first part of `changes` alone: keys, and whether their rows are there."""
    columns = [*_expressions("CT", _key(r)), _exists(r)]
    return f"DECLARE @from bigint = ?;\nSELECT {_list(columns)}\n{_changed(r)};"


def _exists(r: Reading) -> str:
    there = f"T.{name(r.key[0].carried.column.name)} IS NULL THEN 0"
    matches = f"WHEN T.{MATCH} = 1 THEN 1 ELSE 0" if r.filter else "ELSE 1"
    return f"CASE WHEN {there} {matches} END AS [__exists]"


def _changed(r: Reading) -> str:
    table = qualified(r.table)
    on = " AND ".join(f"T.{name(k.carried.column.name)} = CT.{name(k.carried.column.name)}" for k in r.key)
    return f"FROM CHANGETABLE(CHANGES {table}, @from) AS CT\nLEFT OUTER JOIN {_own(r)} AS T ON {on}"


def _own(r: Reading) -> str:
    """The table; with a filter a derived one, in which the filter's bare names can only be the table's own columns."""
    if not r.filter:
        return qualified(r.table)
    columns = ", ".join(f"F.{name(c.column.name)}" for c in (*_key(r), *r.values))
    match = f"CASE WHEN (\n{r.filter}\n) THEN 1 ELSE 0 END AS {MATCH}"
    return f"(SELECT {columns}, {match} FROM {qualified(r.table)} AS F)"


def changed_tables(tables: Sequence[tuple[str, str]]) -> str:
    """The places of the tables that have a change after version `?`."""
    parts = [
        f"SELECT {i} AS [place] WHERE EXISTS (SELECT 1 FROM CHANGETABLE(CHANGES {qualified(t)}, @from) AS CT)"
        for i, t in enumerate(tables)
    ]
    return "DECLARE @from bigint = ?;\n" + "\nUNION ALL\n".join(parts) + ";"


def changed_counts(tables: Sequence[tuple[str, str]]) -> str:
    """For the place of each table: how many keys changed after version `?`."""
    parts = [
        f"SELECT {i} AS [place], COUNT_BIG(*) AS [keys] FROM CHANGETABLE(CHANGES {qualified(t)}, @from) AS CT"
        for i, t in enumerate(tables)
    ]
    return "DECLARE @from bigint = ?;\n" + "\nUNION ALL\n".join(parts) + ";"


# -- pages -------------------------------------------------------------------------------------------------------------------


def page(r: Reading, after: Sequence[bool]) -> str:
    """At most `?` rows in the order of the key's index, from the first (no `after`) or behind a key.

    `after`: one for each key column, in the order of the index: True where its `?` is bound as the UTF-16 bytes of a text.
    """
    columns = _expressions("T", (*_key(r), *r.values))
    return f"{_declared(r, after)}SELECT TOP (@rows) {_list(columns)}\n{_paged(r, bool(after))};"


def page_keys(r: Reading, after: Sequence[bool]) -> str:
    """The keys of `page` alone."""
    return f"{_declared(r, after)}SELECT TOP (@rows) {_list(_expressions('T', _key(r)))}\n{_paged(r, bool(after))};"


def _declared(r: Reading, after: Sequence[bool]) -> str:
    keys = _declare_key(r.ordered, after)
    return "DECLARE @rows int = ?;\n" + (f"{keys}\n" if keys else "")


def _declare_key(key: Sequence[KeyTerm], after: Sequence[bool]) -> str:
    parts = [f"@k{i} {_variable(k, as_bytes=b)}" for i, (k, b) in enumerate(zip(key, after, strict=False))]
    return f"DECLARE {', '.join(parts)};" if parts else ""


def _paged(r: Reading, begun: bool) -> str:
    conditions = [_beyond(r.ordered)] if begun else []
    if r.filter:
        conditions.append(f"(\n{r.filter}\n)")
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    order = ", ".join(f"T.{name(k.carried.column.name)}" + (" DESC" if k.descending else "") for k in r.ordered)
    return f"FROM {qualified(r.table)} AS T{where}\nORDER BY {order}"


def _beyond(key: Sequence[KeyTerm]) -> str:
    """Behind the key @k0, @k1, ...: written out column by column, with its first part alone before it for the index."""
    text = ""
    for i, k in reversed(list(enumerate(key))):
        column, operand = f"T.{name(k.carried.column.name)}", _operand(k, i)
        further = f"{column} {'<' if k.descending else '>'} {operand}"
        text = f"({further} OR ({column} = {operand} AND {text}))" if text else further
    if len(key) == 1:
        return text
    first = f"T.{name(key[0].carried.column.name)} {'<=' if key[0].descending else '>='} {_operand(key[0], 0)}"
    return f"{first} AND {text}"


def row(r: Reading, columns: Sequence[Carried], after: Sequence[bool]) -> str:
    """Some columns (none: 1) of the row whose key is bound, in the order of the key's index."""
    same = " AND ".join(f"T.{name(k.carried.column.name)} = {_operand(k, i)}" for i, k in enumerate(r.ordered))
    selected = _list(_expressions("T", columns)) if columns else "1 AS [one]"
    return f"{_declare_key(r.ordered, after)}\nSELECT {selected}\nFROM {qualified(r.table)} AS T\nWHERE {same};"


# -- keys as variables -------------------------------------------------------------------------------------------------------

_STYLES = {"date": 23, "smalldatetime": 120, "datetime": 121, "datetime2": 121, "time": 121}
_PLAIN = frozenset({"tinyint", "smallint", "int", "bigint", "bit", "float", "real", "binary", "varbinary", "timestamp"})
_UNICODE = frozenset({"nchar", "nvarchar"})
_CODE_PAGE = frozenset({"char", "varchar"})


def is_text(found: Found) -> bool:
    """Whether a key of that type is compared by a collation."""
    return found.type in _UNICODE or found.type in _CODE_PAGE


def _variable(k: KeyTerm, *, as_bytes: bool) -> str:
    """The type and value of a variable that compares with the column as the column's own values do."""
    kind = k.found.type
    if is_text(k.found):
        type_ = f"nvarchar({key_length(k.found)})"
        return f"{type_} = CONVERT({type_}, ?)" if as_bytes else f"{type_} = ?"
    if kind == "hierarchyid":
        return "hierarchyid = hierarchyid::Parse(?)"
    type_ = "binary(8)" if kind == "timestamp" else declared(k.found)
    if kind in _PLAIN:
        return f"{type_} = ?"
    style = f", {_STYLES[kind]}" if kind in _STYLES else ""
    return f"{type_} = CONVERT({type_}, ?{style})"


def key_length(found: Found) -> int:
    """Characters of a variable for a text key; no key of an index is longer than 1,700 bytes."""
    characters = found.max_length // 2 if found.type in _UNICODE else found.max_length
    return min(max(characters, 1), 4000)


def _operand(k: KeyTerm, i: int) -> str:
    """A variable has the database's collation, so text of another code page is converted by the column's."""
    if k.found.type not in _CODE_PAGE:
        return f"@k{i}"
    return f"CONVERT({declared(k.found)}, @k{i} COLLATE {collation(k.found.collation)})"


# -- what is there -----------------------------------------------------------------------------------------------------------


def tables(wanted: Sequence[Sequence[str]]) -> str:
    """For the place of each name: what it names."""
    places = ", ".join(f"({i}, {literal(qualified(parts))})" for i, parts in enumerate(wanted))
    return static("tables").replace("{places}", places)


def columns(objects: Iterable[int]) -> str:
    """The columns of tables."""
    return static("columns").replace("{objects}", _numbers(objects))


def keys(objects: Iterable[int]) -> str:
    """The primary keys of tables."""
    return static("keys").replace("{objects}", _numbers(objects))


def _numbers(objects: Iterable[int]) -> str:
    return ", ".join(str(int(o)) for o in objects)


def condition(table: Sequence[str], filter_: str) -> str:
    """Compiles a filter, and reads nothing."""
    return f"SELECT TOP (0) 1 AS [one] FROM {qualified(table)} AS T WHERE (\n{filter_}\n);"


def probe(r: Reading) -> str:
    """Compiles what is read of a table, which takes the permission to read it, and reads nothing."""
    return f"SELECT TOP (0) {_list(_expressions('T', (*_key(r), *r.values)))}\nFROM {qualified(r.table)} AS T;"


def drop_table(table: str) -> str:
    """Of our own schema."""
    return f"DROP TABLE [erp_cdc].{name(table)};"


def lock_timeout(seconds: float) -> str:
    """How long a statement waits for a lock of the ERP."""
    return f"SET LOCK_TIMEOUT {max(0, round(seconds * 1000))};"


# -- what a person allows ------------------------------------------------------------------------------------------------------


def enable_database(seconds: float) -> str:
    """Change tracking for the database; kept for so long, in whole minutes and never less."""
    return f"ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = {retention(seconds)}, AUTO_CLEANUP = ON);"


def change_retention(seconds: float) -> str:
    """Another retention for a database that is tracked."""
    return f"ALTER DATABASE CURRENT SET CHANGE_TRACKING (CHANGE_RETENTION = {retention(seconds)}, AUTO_CLEANUP = ON);"


def retention(seconds: float) -> str:
    """As T-SQL writes it: whole days, hours or minutes, never less than asked for."""
    minutes = max(1, -int(-seconds // 60))
    for unit, size in (("DAYS", 1440), ("HOURS", 60)):
        if minutes % size == 0:
            return f"{minutes // size} {unit}"
    return f"{minutes} MINUTES"


def enable_table(table: Sequence[str]) -> str:
    """Change tracking for a table."""
    return f"ALTER TABLE {qualified(table)} ENABLE CHANGE_TRACKING;"


ALLOW_SNAPSHOT = "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;"
