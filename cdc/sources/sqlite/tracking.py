"""pure: the SQL text of our structures in an ERP file, and of the triggers of a tracked table.

One log for all tables, in the order of commits: SQLite has one writer at a time, so the highest `seq` that a snapshot shows is
a version that never falls inside a commit. `seq` is the rowid without AUTOINCREMENT: the last row is never removed, so numbers
are never used again, and they have no gaps, so that a hole tells of removed records. (AUTOINCREMENT would leave
`sqlite_sequence` in the ERP's schema for ever.) Change records carry no time: `_cdc_clock` says how far the log was when.

The log has no constraint that a conflict policy of the ERP's statement (which overrides the one in a trigger) could act upon.

REPLACE removes rows without firing a delete trigger. Before an insert or update, the keys of rows it could displace through any
unique index but the tracked key are recorded; one that was displaced is not there afterwards, one that was not is just read.
"""

from __future__ import annotations

from typing import NamedTuple

from cdc.sources.sqlite.quoting import name, names
from cdc.sources.sqlite.sqltext import identifiers, index_text
from cdc.sources.sqlite.structure import IndexInfo, Key, TableInfo, Term

LAYOUT = 1  # of the structures and triggers below
LOG, META, TABLES, WITNESS, RECEIPTS, CLOCK = (
    "_cdc_log",
    "_cdc_meta",
    "_cdc_tables",
    "_cdc_witness",
    "_cdc_receipts",
    "_cdc_clock",
)
ANCHOR = 0  # the `tbl` of records that belong to no table: the log's first, and those that only raise the version
_LEAST_KEYS = 2

STRUCTURES = (
    f"CREATE TABLE {META}(name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    f"CREATE TABLE {LOG}(seq INTEGER PRIMARY KEY, tbl, command, {', '.join(f'k{i + 1}' for i in range(_LEAST_KEYS))})",
    f"CREATE TABLE {TABLES}(tbl INTEGER PRIMARY KEY, name TEXT, key TEXT, begin_version, min_valid, layout)",
    f"CREATE TABLE {WITNESS}(seq INTEGER PRIMARY KEY, incarnation BLOB, version INTEGER, nonce BLOB, at TEXT)",
    f"CREATE INDEX {WITNESS}_nonce ON {WITNESS}(nonce)",
    f"CREATE TABLE {RECEIPTS}(command BLOB PRIMARY KEY, outcome BLOB, at TEXT) WITHOUT ROWID",
    f"CREATE TABLE {CLOCK}(at TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID",
)


class Trigger(NamedTuple):
    """A trigger of ours and the statement that creates it, exactly as SQLite keeps it."""

    name: str
    sql: str


def log_columns(keys: int) -> str:
    """The log's key columns, with commas between."""
    return ", ".join(f"k{i + 1}" for i in range(keys))


def seal(tbl: int) -> Trigger:
    """The last one created for a table; never fires.

    SQLite's own recipe for changing a table (create, copy, drop, rename, triggers again from their saved text) brings our
    triggers back without a word; but then they stand behind the seal in the schema, and what happened between was not recorded.
    """
    sql = f"CREATE TRIGGER _cdc_{tbl}_seal AFTER DELETE ON {TABLES} WHEN 0 BEGIN SELECT 0; END"
    return Trigger(f"_cdc_{tbl}_seal", sql)


def triggers(tbl: int, table: TableInfo, key: Key) -> list[Trigger]:
    """All triggers of a tracked table but the seal. Raises ValueError for an index that cannot be read."""
    new, old = (", ".join(f"{row}.{name(c)}" for c in key.names) for row in ("NEW", "OLD"))
    log = f"INSERT INTO {LOG}(tbl, {log_columns(len(key.columns))})"
    changed = " OR ".join(f"OLD.{name(c.name)} IS NOT NEW.{name(c.name)} COLLATE {name(c.collation)}" for c in key.columns)
    bodies = {
        "ai AFTER INSERT": [f"{log} VALUES({tbl}, {new})"],
        "ad AFTER DELETE": [f"{log} VALUES({tbl}, {old})"],
        "au AFTER UPDATE": [f"{log} VALUES({tbl}, {new})", f"{log} SELECT {tbl}, {old} WHERE {changed}"],
    }
    victims = _victims(table, key)
    if victims:
        found = f"{log} SELECT {tbl}, {names(key.names)} FROM {name(table.name)} WHERE "
        itself = " AND ".join(f"{name(c.name)} IS OLD.{name(c.name)} COLLATE {name(c.collation)}" for c in key.columns)
        bodies["bi BEFORE INSERT"] = [found + victim.matches for victim in victims]
        bodies["bu BEFORE UPDATE"] = [
            f"{found}{victim.matches}{victim.unless_unchanged} AND NOT ({itself})" for victim in victims
        ]
    return [_trigger(tbl, head, table.name, body) for head, body in bodies.items()]


def _trigger(tbl: int, head: str, table: str, body: list[str]) -> Trigger:
    suffix, event = head.split(" ", 1)
    statements = " ".join(f"{statement};" for statement in body)
    own = f"_cdc_{tbl}_{suffix}"
    return Trigger(own, f"CREATE TRIGGER {own} {event} ON {name(table)} BEGIN {statements} END")


class _Victim(NamedTuple):
    """Condition for the rows that the new row would displace through one index."""

    matches: str
    unless_unchanged: str  # spares the look-up of an update that leaves the index's columns alone


def _victims(table: TableInfo, key: Key) -> list[_Victim]:
    found = [_through(table, index) for index in table.unique if not _is_key(index, key)]
    if table.rowid and table.rowid not in key.names:
        row = name(table.rowid) if table.alias else table.rowid
        found.insert(0, _Victim(f"{row} = NEW.{row}", f" AND NEW.{row} IS NOT OLD.{row}"))
    return found


def _is_key(index: IndexInfo, key: Key) -> bool:
    """Whether displacing through the index needs the same key: what is displaced is then recorded as the new row itself."""
    same = {c.name: c.collation for c in key.columns}
    return not index.partial and {t.name: t.collation for t in index.terms} == same


def _through(table: TableInfo, index: IndexInfo) -> _Victim:
    text = index_text(index.sql) if index.sql else None
    parts, changes = [], []
    for i, term in enumerate(index.terms):
        if term.name is not None:
            parts.append(f"{name(term.name)} = NEW.{name(term.name)} COLLATE {name(term.collation)}")
            changes.append(f"NEW.{name(term.name)} IS NOT OLD.{name(term.name)} COLLATE {name(term.collation)}")
        else:
            parts.append(_expression(table, term, text.terms[i] if text else ""))
    if index.partial and text:
        parts.append(f"({text.where})")
    simple = not index.partial and len(changes) == len(parts)
    return _Victim(" AND ".join(parts), f" AND ({' OR '.join(changes)})" if simple else "")


def _expression(table: TableInfo, term: Term, text: str) -> str:
    """Compare an index expression of each row with that of the new row, which is laid out as a row of its own for it."""
    if not text:
        raise ValueError("an expression without text")
    used = identifiers(text)
    columns = ", ".join(f"NEW.{name(c.name)} AS {name(c.name)}" for c in table.columns if c.name.lower() in used)
    return f"({text}) = (SELECT {text} FROM (SELECT {columns or '0'})) COLLATE {name(term.collation)}"


def widen(have: int, need: int) -> list[str]:
    """Statements that give the log enough key columns."""
    return [f"ALTER TABLE {LOG} ADD COLUMN k{i + 1}" for i in range(have, need)]
