"""pure: a declared dataset and the table found for it -> all that is needed to read it, or why it cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from cdc.errors import DatasetPaused
from cdc.model import Dataset, Description
from cdc.sources.sqlserver import filters, types
from cdc.sources.sqlserver.cells import KeyColumn, Target, key_column
from cdc.sources.sqlserver.collations import Comparison, comparison
from cdc.sources.sqlserver.statements import KeyTerm, Reading, is_text
from cdc.sources.sqlserver.structure import NoKey, Table, key_of
from cdc.sources.sqlserver.types import Carried, Found
from transport.codec import schema_id
from transport.frames import MAX_COLUMNS, Fold, Schema

MAX_NAME = 63  # bytes of a column name that every store can keep
_LOOSE = frozenset({"binary", "varbinary"})  # the server compares them as if zeros followed


class Database(NamedTuple):
    """What of the database decides how its tables are read."""

    unmask: bool  # the agent's user sees what masks hide from others


class Plan(NamedTuple):
    """How one dataset is read."""

    dataset: Dataset
    table: Table
    schema: Schema
    schema_id: bytes
    fingerprint: bytes
    reading: Reading
    keys: tuple[KeyColumn, ...]
    row_bytes: int  # a row takes in memory at most, apart from very large cells
    large: bool  # has columns with very large cells

    def target(self, generation: int) -> Target:
        """What its batches are for."""
        return Target(self.dataset.name, self.schema_id, generation, self.keys, self.reading.values)

    @property
    def description(self) -> Description:
        """As the port says it."""
        return Description(self.dataset.name, self.schema, self.fingerprint)


def place(dataset: Dataset) -> str:
    """How errors name a dataset."""
    return f"dataset {dataset.name}, table {dataset.table}"


def paused(code: str, message: str, dataset: Dataset) -> DatasetPaused:
    """The error of one dataset."""
    return DatasetPaused(code, message, where=place(dataset))


def make(dataset: Dataset, table: Table, database: Database) -> Plan:
    """Raises DatasetPaused with the reason why it cannot be read. A filter is still to be compiled by the server."""
    try:
        key = key_of(table, dataset.key)
    except NoKey as problem:
        raise paused("A2223", str(problem), dataset) from None
    chosen = _chosen(dataset, table, key)
    carried = {found.name: _carried(dataset, found, key, database) for found in chosen}
    if dataset.filter and (reason := filters.problem(dataset.filter)):
        raise paused("A2227", f"the filter {reason}", dataset)
    columns = [c.column for c in carried.values()]
    schema = Schema(dataset.name, dataset.channel, dataset.direction.value, columns)
    terms, keys = _keys(table, key, carried)
    order = tuple(key.index(part.name) for part in table.primary)
    values = tuple(c for name, c in carried.items() if name not in key)
    return Plan(
        dataset,
        table,
        schema,
        schema_id(schema),
        _fingerprint(dataset, schema, chosen),
        Reading(table.parts, terms, order, values, dataset.filter),
        keys,
        sum(types.row_bytes(found) for found in chosen),
        any(types.is_large(found) for found in chosen),
    )


def _keys(table: Table, key: Sequence[str], carried: dict[str, Carried]) -> tuple[tuple[KeyTerm, ...], tuple[KeyColumn, ...]]:
    descending = {part.name: part.descending for part in table.primary}
    terms: list[KeyTerm] = []
    columns: list[KeyColumn] = []
    for name in key:
        found = table.column(name)
        if found is None:  # pragma: no cover  # the key was taken from the table
            raise AssertionError(name)
        loose = is_text(found) or found.type in _LOOSE
        term = KeyTerm(found, carried[name], descending[name], loose)
        terms.append(term)
        columns.append(key_column(term, _comparison(found)))
    return tuple(terms), tuple(columns)


def _comparison(found: Found) -> Comparison | None:
    return comparison(found.collation) if is_text(found) else None


def _fingerprint(dataset: Dataset, schema: Schema, chosen: Sequence[Found]) -> bytes:
    """Of everything declared and found that decides what travels."""
    found = [(c.name, types.declared(c), c.collation, c.nullable, c.definition) for c in chosen]
    everything = [dataset.name, dataset.table, dataset.filter, schema, found]
    return hashlib.blake2b(msgspec.msgpack.encode(everything), digest_size=16, person=b"erp-cdc found").digest()


# -- columns -----------------------------------------------------------------------------------------------------------------


def _chosen(dataset: Dataset, table: Table, key: Sequence[str]) -> list[Found]:
    """The columns that travel, in the order declared; the key always does, hidden columns only when they are named."""
    named = [_existing(dataset, table, wanted) for wanted in dataset.columns]
    left_out = {_existing(dataset, table, wanted).name for wanted in dataset.exclude}
    if in_key := left_out & set(key):
        raise paused("A2224", f"the column {min(in_key)} is part of the key and cannot be left out", dataset)
    for override in dataset.types:
        _existing(dataset, table, override)
    if named:
        there = {found.name for found in named}
        named = [*(_existing(dataset, table, name) for name in key if name not in there), *named]
    every = named or [found for found in table.columns if not found.hidden or found.name in key]
    chosen = list({found.name: found for found in every if found.name not in left_out}.values())
    if len(chosen) > MAX_COLUMNS:
        raise paused("A2228", f"{len(chosen)} columns; at most {MAX_COLUMNS} can travel", dataset)
    return chosen


def _existing(dataset: Dataset, table: Table, wanted: str) -> Found:
    found = table.column(wanted)
    if found is None:
        raise paused("A2224", f"the table has no column {wanted}", dataset)
    return found


def _carried(dataset: Dataset, found: Found, key: Sequence[str], database: Database) -> Carried:
    if len(found.name.encode()) > MAX_NAME:
        message = f"the column {found.name[:20]}... has a name of over {MAX_NAME} bytes; rename it or exclude it"
        raise paused("A2228", message, dataset)
    if found.masked and not database.unmask:
        message = f'column {found.name}: it is masked for the agent\'s user; exclude = ["{found.name}"], or GRANT UNMASK'
        raise paused("A2274", message, dataset)
    how = comparison(found.collation) if is_text(found) else None
    override = next((t for name, t in dataset.types.items() if name.casefold() == found.name.casefold()), "")
    at = key.index(found.name) + 1 if found.name in key else 0
    fold = how.fold if how else Fold.NONE
    try:
        return types.carried(found, override, key=at, fold=fold, pad=how is not None)
    except types.TypeProblem as problem:
        raise paused(problem.code, f"column {found.name}: {problem.message}", dataset) from None
