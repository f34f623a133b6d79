"""adapter: a declared dataset and the table found for it -> all that is needed to read it, or why it cannot be read."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from cdc.errors import DatasetPaused
from cdc.model import Dataset, Description
from cdc.sources.sqlite import types
from cdc.sources.sqlite.catalogue import Catalogue
from cdc.sources.sqlite.quoting import is_own, name
from cdc.sources.sqlite.sqltext import filter_problem
from cdc.sources.sqlite.structure import ColumnInfo, Key, NoKey, TableInfo, key_of
from transport.codec import schema_id
from transport.frames import MAX_COLUMNS, Column, Fold, Schema, Type

MAX_NAME = 63  # bytes of a column name that every store can keep
_KNOWN_COLLATIONS = {"BINARY": (Fold.NONE, False), "NOCASE": (Fold.ASCII, False), "RTRIM": (Fold.NONE, True)}
_UNSTABLE = frozenset({"random", "randomblob", "changes", "total_changes", "last_insert_rowid", "load_extension"})


class Plan(NamedTuple):
    """How one dataset is read. `columns` is the order of selection: the key's, then the others."""

    dataset: Dataset
    table: TableInfo
    key: Key
    declared_collations: tuple[str, ...]  # of the key's columns
    schema: Schema
    schema_id: bytes
    fingerprint: bytes
    columns: tuple[Column, ...]


class Plans:
    """The plans of datasets on one connection, kept as long as the schema stands."""

    def __init__(self, connection: sqlite3.Connection, catalogue: Catalogue) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._made: dict[str, tuple[int, Dataset, Plan | DatasetPaused]] = {}
        self._keys: dict[str, tuple[int, Dataset, tuple[TableInfo, Key]]] = {}

    def plan(self, dataset: Dataset) -> Plan:
        """Raises DatasetPaused with the reason why it cannot be read."""
        made = self.attempt(dataset)
        if isinstance(made, DatasetPaused):
            raise made
        return made

    def attempt(self, dataset: Dataset) -> Plan | DatasetPaused:
        """The plan, or the reason why there is none."""
        generation = self._catalogue.refresh()
        kept = self._made.get(dataset.name)
        if kept is None or kept[:2] != (generation, dataset):
            kept = self._made[dataset.name] = (generation, dataset, self._make(dataset))
        return kept[2]

    def key(self, dataset: Dataset) -> tuple[TableInfo, Key]:
        """What is tracked for a dataset. Raises DatasetPaused."""
        generation = self._catalogue.generation
        kept = self._keys.get(dataset.name)
        if kept is None or kept[:2] != (generation, dataset):
            kept = self._keys[dataset.name] = (generation, dataset, self._find_key(dataset))
        return kept[2]

    def _find_key(self, dataset: Dataset) -> tuple[TableInfo, Key]:
        table = find_table(self._catalogue, dataset)
        try:
            return table, key_of(table, dataset.key)
        except NoKey as problem:
            raise paused("A2223", str(problem), dataset) from None

    def describe(self, dataset: Dataset) -> Description:
        """Never raises for a dataset."""
        made = self.attempt(dataset)
        if isinstance(made, DatasetPaused):
            return Description(dataset.name, None, code=made.code, problem=made.message)
        return Description(dataset.name, made.schema, made.fingerprint)

    def _make(self, dataset: Dataset) -> Plan | DatasetPaused:
        try:
            return _make(self._connection, self._catalogue, dataset, *self.key(dataset))
        except DatasetPaused as problem:
            return problem


def paused(code: str, message: str, dataset: Dataset) -> DatasetPaused:
    """The error of one dataset."""
    return DatasetPaused(code, message, where=f"dataset {dataset.name}, table {dataset.table}")


def find_table(catalogue: Catalogue, dataset: Dataset) -> TableInfo:
    """Raises DatasetPaused if there is none that can be tracked."""
    table = catalogue.table(dataset.table)
    if table is None:
        raise paused("A2221", "there is no such table", dataset)
    if table.kind != "table" or is_own(table.name) or table.name.lower().startswith("sqlite_"):
        what = (
            "the product's own or SQLite's" if table.kind == "table" else f"a {table.kind} table".replace("view table", "view")
        )
        raise paused("A2222", f"it is {what}; only ordinary tables can be tracked", dataset)
    return table


def _make(connection: sqlite3.Connection, catalogue: Catalogue, dataset: Dataset, table: TableInfo, key: Key) -> Plan:
    for column in key.columns:
        if column.collation not in _KNOWN_COLLATIONS:
            raise paused("A2229", f'the key column {column.name} has the collation "{column.collation}"', dataset)
    chosen = _chosen(dataset, table, key)
    columns = _columns(catalogue, dataset, table, key, chosen)
    schema = Schema(dataset.name, dataset.channel, dataset.direction.value, columns)
    collations = tuple(_declared_collation(catalogue, table, c.name) for c in key.columns)
    by_name = {c.name: c for c in columns}
    ordered = [by_name[n] for n in key.names] + [c for c in columns if not c.key]
    _try(connection, dataset, table, ordered)
    if dataset.filter:
        _check_filter(connection, dataset, table)
    found = [dataset.name, dataset.table, dataset.filter, key.encode(), schema]
    print_ = hashlib.blake2b(msgspec.msgpack.encode(found), digest_size=16, person=b"erp-cdc found").digest()
    return Plan(dataset, table, key, collations, schema, schema_id(schema), print_, tuple(ordered))


def _declared_collation(catalogue: Catalogue, table: TableInfo, column: str) -> str:
    return catalogue.collation(table.name, column)


# -- columns -----------------------------------------------------------------------------------------------------------------


def _chosen(dataset: Dataset, table: TableInfo, key: Key) -> list[ColumnInfo]:
    """The columns that travel, in the order declared; the key always does."""
    named = [_existing(dataset, table, n) for n in dataset.columns]
    for excluded in dataset.exclude:
        if _existing(dataset, table, excluded).name in key.names:
            raise paused("A2224", f"the column {excluded} is part of the key and cannot be left out", dataset)
    for override in dataset.types:
        _existing(dataset, table, override)
    left_out = {n.lower() for n in dataset.exclude}
    if named:
        missing = [_existing(dataset, table, n) for n in key.names if n not in {c.name for c in named}]
        named = [*missing, *named]
    chosen = [c for c in named or table.columns if c.name.lower() not in left_out]
    if len(chosen) > MAX_COLUMNS:
        raise paused("A2228", f"{len(chosen)} columns; at most {MAX_COLUMNS} can travel", dataset)
    return chosen


def _existing(dataset: Dataset, table: TableInfo, wanted: str) -> ColumnInfo:
    found = table.column(wanted)
    if found is None:
        raise paused("A2224", f"the table has no column {wanted}", dataset)
    return found


def _columns(catalogue: Catalogue, dataset: Dataset, table: TableInfo, key: Key, chosen: Iterable[ColumnInfo]) -> list[Column]:
    overrides = {n.lower(): t for n, t in dataset.types.items()}
    places = {n: i + 1 for i, n in enumerate(key.names)}
    collations = {c.name: c.collation for c in key.columns}
    result: list[Column] = []
    for info in chosen:
        _check_name(dataset, info.name)
        collation = collations.get(info.name) or catalogue.collation(table.name, info.name)
        fold, pad = _KNOWN_COLLATIONS.get(collation, (Fold.NONE, False))
        try:
            made = types.column(
                info.name,
                info.declared,
                overrides.get(info.name.lower(), ""),
                nullable=not info.notnull,
                key=places.get(info.name, 0),
                fold=fold,
                pad=pad,
            )
        except types.TypeProblem as problem:
            raise paused(problem.code, f"column {info.name}: {problem.message}", dataset) from None
        _check_key_type(dataset, made, collation)
        result.append(made)
    return result


def _check_name(dataset: Dataset, column: str) -> None:
    if len(column.encode()) > MAX_NAME:
        raise paused(
            "A2228", f"the column {column[:20]}... has a name of over {MAX_NAME} bytes; rename it or exclude it", dataset
        )


def _check_key_type(dataset: Dataset, column: Column, collation: str) -> None:
    """A key whose collation holds texts equal that the copy would hold apart can only be carried as text, which is folded."""
    if column.key and collation != "BINARY" and column.type in (Type.XML, Type.JSON):
        message = f"the key column {column.name} is {column.type.value} compared by {collation}; read it as text"
        raise paused("A2229", f'{message}: types = {{ {column.name} = "TEXT" }}', dataset)


def _try(connection: sqlite3.Connection, dataset: Dataset, table: TableInfo, columns: Sequence[Column]) -> None:
    """Generated columns may use functions that only the ERP's own program has."""
    try:
        connection.execute(f"SELECT {', '.join(name(c.name) for c in columns)} FROM {name(table.name)} LIMIT 0")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        raise paused("A2230", str(error), dataset) from error


# -- the filter --------------------------------------------------------------------------------------------------------------


def _check_filter(connection: sqlite3.Connection, dataset: Dataset, table: TableInfo) -> None:
    """One condition on the row's own columns, that says the same of the same row at any time."""
    problem = filter_problem(dataset.filter)
    if not problem:
        judge, found = _judge(table.name)
        connection.set_authorizer(judge)
        try:
            connection.execute(f"SELECT 1 FROM {name(table.name)} WHERE (\n{dataset.filter}\n) LIMIT 0")
        except (sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.Warning) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if not found and code not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, 0):
                raise
            problem = found[0] if found else str(error)
        finally:
            connection.set_authorizer(None)
    if problem:
        raise paused("A2227", f"the filter {problem}", dataset)


def _judge(table: str) -> tuple[Callable[..., int], list[str]]:
    """An authorizer for one SELECT from one table, and what it refused."""
    found: list[str] = []
    selects: list[int] = []

    def judge(action: int, one: str | None, two: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_SELECT:
            selects.append(action)
            if len(selects) > 1:
                found.append("must look at the row alone, not at a query")
        elif action == sqlite3.SQLITE_READ:
            if (one or "").lower() != table.lower():
                found.append(f"reads another table: {one}")
        elif action == sqlite3.SQLITE_FUNCTION:
            if (two or "").lower() in _UNSTABLE:
                found.append(f"uses {two}(), which says something else each time")
        else:
            found.append("must be a condition")
        return sqlite3.SQLITE_DENY if found else sqlite3.SQLITE_OK

    return judge, found
