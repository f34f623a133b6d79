"""pure: a table of the ERP as SQLite describes it, and the key its rows are told apart by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

ROWIDS = ("rowid", "_rowid_", "oid")


class ColumnInfo(NamedTuple):
    """One line of PRAGMA table_xinfo."""

    name: str
    declared: str
    notnull: bool
    pk: int  # 1-based place in the primary key, or 0
    generated: bool


class Term(NamedTuple):
    """One term of an index; `name` is None for an expression."""

    name: str | None
    descending: bool
    collation: str  # upper case


class IndexInfo(NamedTuple):
    """A unique index."""

    name: str
    origin: str  # pk, u (constraint) or c (CREATE INDEX)
    partial: bool
    terms: tuple[Term, ...]
    sql: str  # "" for those of constraints

    @property
    def names(self) -> tuple[str | None, ...]:
        """The columns, in index order."""
        return tuple(term.name for term in self.terms)


class TableInfo(NamedTuple):
    """A table with its unique indexes; `collations` are those that text columns are declared with."""

    name: str
    kind: str  # table, view, virtual, shadow
    without_rowid: bool
    columns: tuple[ColumnInfo, ...]
    unique: tuple[IndexInfo, ...]
    sql: str

    def column(self, name: str) -> ColumnInfo | None:
        """By name; SQLite ignores the case of ASCII letters."""
        return next((c for c in self.columns if c.name.lower() == name.lower()), None)

    @property
    def primary(self) -> tuple[str, ...]:
        """The primary key's columns in its order."""
        return tuple(c.name for c in sorted(self.columns, key=lambda c: c.pk) if c.pk)

    @property
    def alias(self) -> str:
        """The INTEGER PRIMARY KEY column, another name of the rowid; "" if there is none."""
        key = [c for c in self.columns if c.pk]
        single = len(key) == 1 and key[0].declared.upper() == "INTEGER" and not self.without_rowid
        return key[0].name if single and not any(i.origin == "pk" for i in self.unique) else ""

    @property
    def rowid(self) -> str:
        """A name by which statements reach the rowid; "" if there is none."""
        if self.without_rowid:
            return ""
        taken = {c.name.lower() for c in self.columns}
        return self.alias or next((r for r in ROWIDS if r not in taken), "")


class KeyColumn(NamedTuple):
    """One column of a tracked key."""

    name: str
    collation: str  # of the unique index, upper case: what tells keys apart
    descending: bool
    nullable: bool


class Key(NamedTuple):
    """What tells a table's rows apart."""

    columns: tuple[KeyColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """In key order."""
        return tuple(c.name for c in self.columns)

    def encode(self) -> str:
        """As the registry keeps it."""
        return msgspec.json.encode([(c.name, c.collation) for c in self.columns]).decode()


class NoKey(Exception):
    """Why a table has no usable key."""


def key_of(table: TableInfo, wanted: Sequence[str]) -> Key:
    """The key named, or the primary key. Raises NoKey."""
    names = tuple(_known(table, wanted)) or table.primary
    if not names:
        ways = " or ".join(f"key = {_toml(index.names)}" for index in table.unique if _plain(index))
        raise NoKey(f"the table has no PRIMARY KEY; say what tells its rows apart: {ways or 'it needs a unique index first'}")
    if len(set(names)) != len(names):
        raise NoKey("the key names a column twice")
    if table.alias and names == (table.alias,):
        return Key((KeyColumn(names[0], "BINARY", descending=False, nullable=False),))
    index = next((i for i in _by_origin(table.unique) if _plain(i) and set(i.names) == set(names)), None)
    if index is None:
        raise NoKey(f"there is no unique index of exactly {', '.join(names)}")
    terms = {term.name: term for term in index.terms}
    nullable = {c.name: not c.notnull and not (table.without_rowid and c.pk) for c in table.columns}
    return Key(tuple(KeyColumn(n, terms[n].collation, terms[n].descending, nullable[n]) for n in names))


def _known(table: TableInfo, wanted: Iterable[str]) -> Iterable[str]:
    for name in wanted:
        found = table.column(name)
        if found is None:
            raise NoKey(f"the key names the column {name}, which the table does not have")
        yield found.name


def _plain(index: IndexInfo) -> bool:
    return not index.partial and None not in index.names


def _by_origin(indexes: Iterable[IndexInfo]) -> list[IndexInfo]:
    return sorted(indexes, key=lambda i: i.origin != "pk")


def _toml(names: Iterable[str | None]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
