"""adapter: what SQLite says of the ERP's tables, and how our tracking of them stands; kept until the schema changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from cdc.sources.sqlite.quoting import is_own, name
from cdc.sources.sqlite.structure import ColumnInfo, IndexInfo, Key, TableInfo, Term
from cdc.sources.sqlite.tracking import LAYOUT, LOG, META, TABLES, Trigger, seal, triggers

_PROBES = "SELECT 'a' UNION SELECT 'A' UNION SELECT 'b' UNION SELECT 'b '"


class Tracked(NamedTuple):
    """One line of the registry."""

    tbl: int
    name: str
    key: str  # as `Key.encode`
    begin_version: int
    min_valid: int
    layout: int


Registry = Mapping[tuple[str, str], Tracked]


class Anchored(NamedTuple):
    """How the log stands."""

    version: int  # its last record
    whole: bool  # it begins where our last clean-up left it


def version_of_schema(connection: sqlite3.Connection) -> int:
    """Changes with every change of any structure in the file."""
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])


def is_installed(connection: sqlite3.Connection) -> bool:
    """Whether our structures are there at all."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (META,)).fetchone()
    return found is not None


def meta(connection: sqlite3.Connection, key: str) -> bytes | int | None:
    """One of our own settings."""
    row = connection.execute(f"SELECT value FROM {META} WHERE name = ?", (key,)).fetchone()
    value: bytes | int | None = row[0] if row else None
    return value


def set_meta(connection: sqlite3.Connection, key: str, value: bytes | int) -> None:
    """Part of the caller's transaction."""
    connection.execute(f"INSERT OR REPLACE INTO {META}(name, value) VALUES(?, ?)", (key, value))


def version(connection: sqlite3.Connection) -> int:
    """The number of the last change record; 0 if somebody emptied the log."""
    return int(connection.execute(f"SELECT max(seq) FROM {LOG}").fetchone()[0] or 0)


def log_state(connection: sqlite3.Connection) -> Anchored:
    """The version, and whether the log's beginning is still the record that install or clean-up left there."""
    first = connection.execute(f"SELECT seq, tbl FROM {LOG} ORDER BY seq LIMIT 1").fetchone()
    return Anchored(version(connection), first == (meta(connection, "floor"), 0))


def registry(connection: sqlite3.Connection) -> Registry:
    """All tracked tables, by lower-case name and key."""
    rows = connection.execute(f"SELECT tbl, name, key, begin_version, min_valid, layout FROM {TABLES} ORDER BY tbl")
    lines = (Tracked(*row) for row in rows)
    return {(line.name.lower(), line.key): line for line in lines}


def find_tracked(lines: Registry, table: str, key: Key) -> Tracked | None:
    """The registry's line for a table and key."""
    return lines.get((table.lower(), key.encode()))


def log_width(connection: sqlite3.Connection) -> int:
    """How many key columns the log has."""
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (LOG,))
    return sum(1 for (column,) in rows if column[:1] == "k" and column[1:].isdigit())


def own_triggers(connection: sqlite3.Connection) -> dict[str, tuple[str, str, int]]:
    """Our triggers by name: the table each is on, its statement, and its place in the schema."""
    rows = connection.execute("SELECT name, tbl_name, sql, rowid FROM sqlite_schema WHERE type = 'trigger'")
    return {row[0]: (row[1], row[2], row[3]) for row in rows if is_own(row[0])}


def is_intact(found: dict[str, tuple[str, str, int]], tbl: int, table: str, expected: Iterable[Trigger]) -> bool:
    """Whether exactly the expected triggers are there, none of them made after the table was sealed."""
    sealed = found.get(seal(tbl).name)
    if sealed is None:
        return False
    wanted = list(expected)
    same = all(t.name in found and found[t.name][:2] == (table, t.sql) and found[t.name][2] < sealed[2] for t in wanted)
    ours = {n for n in found if n.startswith(f"_cdc_{tbl}_")}
    return same and ours == {t.name for t in wanted} | {seal(tbl).name}


class Catalogue:
    """Tables and the state of their tracking on one connection, read anew when the schema has changed. Not for two threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._version = -1
        self.generation = 0
        self._tables: dict[str, TableInfo | None] = {}
        self._collations: dict[tuple[str, str], str] = {}
        self._intact: dict[tuple[int, str, str], bool] = {}
        self._triggers: dict[str, tuple[str, str, int]] | None = None

    def refresh(self) -> int:
        """Forgets everything if the schema is another; call it at the beginning of each transaction.

        Returns a number that is another whenever something was forgotten.
        """
        now = version_of_schema(self._connection)
        if now != self._version:
            self.forget()
            self._version = now
        return self.generation

    def forget(self) -> None:
        """After a rollback the schema's version says nothing: the same number can come again for another schema."""
        self._version, self._triggers = -1, None
        self.generation += 1
        for cache in (self._tables, self._collations, self._intact):
            cache.clear()

    def table(self, wanted: str) -> TableInfo | None:
        """The table of that name; None if there is none."""
        key = wanted.lower()
        if key not in self._tables:
            self._tables[key] = read_table(self._connection, wanted)
        return self._tables[key]

    def collation(self, table: str, column: str) -> str:
        """The collation a column is declared with, upper case; "?" for one that this connection does not have.

        No PRAGMA tells it. A compound SELECT compares by the collation of its first part: which of four texts are left tells.
        """
        key = (table.lower(), column.lower())
        if key not in self._collations:
            self._collations[key] = self._probe(table, column)
        return self._collations[key]

    def _probe(self, table: str, column: str) -> str:
        sql = f"SELECT {name(column)} FROM {name(table)} WHERE 0 UNION {_PROBES}"
        try:
            left = {row[0] for row in self._connection.execute(sql)}
        except sqlite3.OperationalError as error:
            if "collation" not in str(error):
                raise
            return "?"
        if len(left) == 4:
            return "BINARY"
        return "RTRIM" if len({text.strip() for text in left}) == 3 else "NOCASE"

    def intact(self, line: Tracked, key: Key) -> bool:
        """Whether the triggers of a tracked table are the ones its present structure needs, and were never away."""
        cached = (line.tbl, line.name, line.key)
        if cached not in self._intact:
            self._intact[cached] = self._look(line, key)
        return self._intact[cached]

    def _look(self, line: Tracked, key: Key) -> bool:
        table = self.table(line.name)
        if table is None or line.layout != LAYOUT:
            return False
        if self._triggers is None:
            self._triggers = own_triggers(self._connection)
        try:
            expected = triggers(line.tbl, table, key)
        except ValueError:
            return False
        return is_intact(self._triggers, line.tbl, table.name, expected)


def read_table(connection: sqlite3.Connection, wanted: str) -> TableInfo | None:
    """One table as SQLite describes it, whatever the case of its name."""
    found = connection.execute("SELECT name, type, wr FROM pragma_table_list(?) WHERE schema = 'main'", (wanted,)).fetchone()
    if found is None:
        return None
    table, kind, without_rowid = found
    sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ? AND type IN ('table', 'view')", (table,)).fetchone()
    columns = connection.execute('SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid', (table,))
    infos = tuple(ColumnInfo(n, t, bool(nn), pk, hidden in (2, 3)) for n, t, nn, pk, hidden in columns if hidden != 1)
    return TableInfo(table, kind, bool(without_rowid), infos, _unique_indexes(connection, table), sql[0] or "" if sql else "")


def _unique_indexes(connection: sqlite3.Connection, table: str) -> tuple[IndexInfo, ...]:
    rows = connection.execute(
        "SELECT l.name, l.origin, l.partial, s.sql FROM pragma_index_list(?) AS l "
        "LEFT JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name WHERE l.\"unique\" ORDER BY l.name",
        (table,),
    ).fetchall()
    return tuple(IndexInfo(n, origin, bool(partial), _terms(connection, n), sql or "") for n, origin, partial, sql in rows)


def _terms(connection: sqlite3.Connection, index: str) -> tuple[Term, ...]:
    rows = connection.execute('SELECT name, "desc", coll FROM pragma_index_xinfo(?) WHERE "key" ORDER BY seqno', (index,))
    return tuple(Term(n, bool(desc), str(coll or "BINARY").upper()) for n, desc, coll in rows)


def decode_key(text: str) -> list[tuple[str, str]]:
    """The (name, collation) pairs of a registry line."""
    return msgspec.json.decode(text, type=list[tuple[str, str]])
