"""pure: the SELECT statements that read a dataset; every value in them is bound.

Parameters that every stream of rows ends with: `LIMIT ? OFFSET ?`, so that a stream can be taken up again where it failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cdc.sources.sqlite.cells import BEGINNING
from cdc.sources.sqlite.quoting import name, names
from cdc.sources.sqlite.tracking import LOG
from transport.frames import MAX_KEY

_CHANGED = "_cdc_changed"  # the derived table of changed keys


class KeyTerm(NamedTuple):
    """One key column; its own collation is not always that of the index that makes it a key."""

    name: str
    collation: str  # of the index
    declared: str  # of the column
    descending: bool

    @property
    def quoted(self) -> str:
        """The column, with COLLATE only where it is needed: it keeps SQLite from using the rest of an index."""
        return name(self.name) + self.collate

    @property
    def collate(self) -> str:
        """The clause, or "" where the column's own collation is the right one."""
        return "" if self.collation == self.declared else f" COLLATE {name(self.collation)}"


class Reading(NamedTuple):
    """What the statements need to know of a dataset."""

    table: str
    key: tuple[KeyTerm, ...]
    nullable: tuple[str, ...]  # key columns that may hold NULL
    columns: tuple[str, ...]  # to select: the key's, then the others
    filter: str  # "" or a checked condition

    @property
    def width(self) -> int:
        """Number of key columns."""
        return len(self.key)

    @property
    def condition(self) -> str:
        """`AND (filter)`; on lines of its own, since a filter may end in a comment."""
        return f" AND (\n{self.filter}\n)" if self.filter else ""


def changes(r: Reading) -> str:
    """Each key changed in (?, ?] of table ?, then its row, or NULLs if there is none. Keys with NULL are not in it."""
    return f"SELECT {_changed_keys(r)}, {_own_columns(r)} {_joined(r)} LIMIT ? OFFSET ?"


def changed_keys(r: Reading) -> str:
    """The keys of `changes`, in the same order, guarded as `guarded` does."""
    keys = [f"{_CHANGED}._cdc_{i}" for i in range(r.width)]
    return f"SELECT {guarded(keys)} {_joined(r)} LIMIT ? OFFSET ?"


def _changed_keys(r: Reading) -> str:
    return ", ".join(f"{_CHANGED}._cdc_{i}" for i in range(r.width))


def _own_columns(r: Reading) -> str:
    return ", ".join(f"{name(r.table)}.{name(c)}" for c in r.columns)


def _joined(r: Reading) -> str:
    keys = ", ".join(f"k{i + 1} COLLATE {name(k.collation)} AS _cdc_{i}" for i, k in enumerate(r.key))
    present = "".join(f" AND k{i + 1} IS NOT NULL" for i, k in enumerate(r.key) if k.name in r.nullable)
    changed = f"SELECT DISTINCT {keys} FROM {LOG} WHERE seq > ? AND seq <= ? AND tbl = ?{present}"
    on = " AND ".join(f"{name(r.table)}.{name(k.name)} = {_CHANGED}._cdc_{i}{k.collate}" for i, k in enumerate(r.key))
    return f"FROM ({changed}) AS {_CHANGED} LEFT JOIN {name(r.table)} ON {on}{r.condition}"


def guarded(expressions: Sequence[str]) -> str:
    """For each: the value, or the beginning of its bytes if it is longer than a key may be; then its length if it is, or 0."""
    parts = []
    for e in expressions:
        length = f"length(CAST({e} AS BLOB))"
        beginning = f"substr(CAST({e} AS BLOB), 1, {BEGINNING})"
        parts.append(f"CASE WHEN {length} > {MAX_KEY} THEN {beginning} ELSE {e} END")
        parts.append(f"CASE WHEN {length} > {MAX_KEY} THEN {length} ELSE 0 END")
    return ", ".join(parts)


def changed_null_keys(r: Reading) -> str:
    """The keys with a NULL changed in (?, ?] of table ?."""
    keys = ", ".join(f"k{i + 1}" for i in range(r.width))
    null = " OR ".join(f"k{i + 1} IS NULL" for i, k in enumerate(r.key) if k.name in r.nullable)
    return f"SELECT DISTINCT {keys} FROM {LOG} WHERE seq > ? AND seq <= ? AND tbl = ? AND ({null})"


def count_of_key(r: Reading) -> str:
    """How many rows have exactly this key, NULLs counting as equal."""
    same = " AND ".join(f"{name(k.name)} IS ?{k.collate}" for k in r.key)
    return f"SELECT count(*) FROM {name(r.table)} WHERE {same}{r.condition}"


def null_keys(r: Reading) -> str:
    """Each key with a NULL in it, and how many rows have it."""
    keys = names(k.name for k in r.key)
    null = " OR ".join(f"{name(n)} IS NULL" for n in r.nullable)
    return f"SELECT {keys}, count(*) FROM {name(r.table)} WHERE ({null}){r.condition} GROUP BY {keys} LIMIT ? OFFSET ?"


def page(r: Reading, after: Sequence[str]) -> str:
    """Rows in key order, those after the key bound to the placeholders `after` (none: from the first)."""
    return f"SELECT {_own_columns(r)} {_paged(r, after)}"


def page_keys(r: Reading, after: Sequence[str]) -> str:
    """The keys of `page`, guarded."""
    keys = [f"{name(r.table)}.{name(k.name)}" for k in r.key]
    return f"SELECT {guarded(keys)} {_paged(r, after)}"


def _paged(r: Reading, after: Sequence[str]) -> str:
    conditions = [f"{name(n)} IS NOT NULL" for n in r.nullable]
    if after:
        conditions.append(_beyond(r, after))
    if r.filter:
        conditions.append(f"(\n{r.filter}\n)")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = ", ".join(k.quoted + (" DESC" if k.descending else "") for k in r.key)
    return f"FROM {name(r.table)}{where} ORDER BY {order} LIMIT ? OFFSET ?"


def _beyond(r: Reading, after: Sequence[str]) -> str:
    """One comparison of row values where the index runs one way; else written out, with its first part for the index."""
    ways = {k.descending for k in r.key}
    columns = [k.quoted for k in r.key]
    if len(ways) == 1:
        sign = "<" if ways.pop() else ">"
        return f"({', '.join(columns)}) {sign} ({', '.join(after)})" if r.width > 1 else f"{columns[0]} {sign} {after[0]}"
    numbered = [place.replace("?", f"?{i + 1}") for i, place in enumerate(after)]
    text = ""
    for column, k, place in reversed(list(zip(columns, r.key, numbered, strict=True))):
        further = f"{column} {'<' if k.descending else '>'} {place}"
        text = f"({further} OR ({column} = {place} AND {text}))" if text else further
    first = f"{columns[0]} {'<=' if r.key[0].descending else '>='} {numbered[0]}"
    return f"{first} AND {text}"


def row(r: Reading, keys: Sequence[str], columns: Sequence[str]) -> str:
    """Some columns (none: 1) of the row whose key is bound to the placeholders `keys`."""
    same = " AND ".join(f"{name(k.name)} = {place}{k.collate}" for k, place in zip(r.key, keys, strict=True))
    return f"SELECT {names(columns) or '1'} FROM {name(r.table)} WHERE {same}{r.condition}"
