"""pure: names and types of the copy: which are allowed, how they are quoted, what a column is declared as."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cloud.errors import StoreError
from transport.frames import Schema, Type

MAX_NAME = 63  # bytes of a column's name: PostgreSQL's limit, kept by every store
KEY = "_key"
WITHHELD = "_withheld"

_DATASET = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED = re.compile(r"sqlite_.*|d_.*_g[0-9]+")  # SQLite's own names; tables of generations
_DECLARED = {Type.INT: "INTEGER", Type.BOOL: "INTEGER", Type.FLOAT: "REAL", Type.BYTES: "BLOB"}  # all others: TEXT, exact


def quoted(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def table_name(dataset: str, number: int) -> str:
    """Name the table of a dataset's generation."""
    return f"d_{dataset}_g{number}"


def declared(kind: Type) -> str:
    """Say what a column of that type is declared as in a STRICT table: a real type where it loses nothing."""
    return _DECLARED.get(kind, "TEXT")


def check_schema(schema: Schema) -> None:
    """Refuse names that the copy cannot have. Raises StoreError C3107, C3108."""
    if not _DATASET.fullmatch(schema.dataset) or _RESERVED.fullmatch(schema.dataset):
        raise StoreError("C3107", "this name cannot be given to a dataset", where=schema.dataset[:80])
    if not schema.keys():
        raise StoreError("C3108", "the schema has no key column", where=schema.dataset)
    seen: set[str] = set()
    for column in schema.columns:
        problem = _column_problem(column.name) or ("is there twice" if column.name in seen else "")
        if problem:
            raise StoreError("C3108", f"column {column.name[:80]!r} {problem}", where=schema.dataset)
        seen.add(column.name)


def _column_problem(name: str) -> str:
    if not name:
        return "has no name"
    if "\0" in name:
        return "has U+0000 in its name"
    return f"has a name over {MAX_NAME} bytes" if len(name.encode()) > MAX_NAME else ""


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Rename what SQLite would take for the same column (it ignores the case of ASCII letters): `Name`, `NAME_2`."""
    used = {_folded(name) for name in taken}
    result = []
    for name in names:
        candidate, number = name, 1
        while _folded(candidate) in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(_folded(candidate))
        result.append(candidate)
    return result


def _folded(name: str) -> str:
    return re.sub("[A-Z]+", lambda match: match[0].lower(), name)
