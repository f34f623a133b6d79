"""pure: a dataset as written in the file -> `cdc.model.Dataset`, and what cannot stand together in it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Annotated

import msgspec

from cdc.model import Dataset, Direction
from transport.frames import MAX_COLUMNS

DatasetName = Annotated[
    str,
    msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z", description="a-z, 0-9 and _, beginning with a letter, 40 at most"),
]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]  # an identifier of the ERP


class DatasetTable(msgspec.Struct, frozen=True, kw_only=True):
    """`[[company.dataset]]`."""

    name: DatasetName
    table: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    channel: str = "main"
    direction: Direction = Direction.UP
    key: tuple[Word, ...] = ()
    columns: tuple[Word, ...] = ()
    exclude: tuple[Word, ...] = ()
    types: dict[str, Word] = {}
    filter: Annotated[str, msgspec.Meta(max_length=4_000)] = ""


def declared(table: DatasetTable) -> Dataset:
    """The dataset everything else works with."""
    return Dataset(
        name=table.name,
        table=table.table,
        channel=table.channel,
        direction=table.direction,
        key=table.key,
        columns=table.columns,
        exclude=table.exclude,
        types=dict(table.types),
        filter=table.filter.strip(),
    )


def contradictions(table: DatasetTable, channels: Container[str], seen: Container[str]) -> Iterator[tuple[str, str]]:
    """(key, message) for each thing that is possible alone, but not together; `seen`: names of the datasets before it."""
    if table.name in seen:
        yield "name", "is used by another dataset of this company"
    if table.channel not in channels:
        yield "channel", f'"{table.channel}" is not a channel of this company'
    yield from _columns(table)


def _columns(table: DatasetTable) -> Iterator[tuple[str, str]]:
    if len(table.columns) > MAX_COLUMNS:
        yield "columns", f"must be at most {MAX_COLUMNS}"
    for key, names in (("key", table.key), ("columns", table.columns), ("exclude", table.exclude)):
        for name in _twice(names):
            yield key, f'names "{name}" twice'
    excluded = _folded(table.exclude)
    for name in table.key:
        if name.casefold() in excluded:
            yield "exclude", f'"{name}" belongs to the key and cannot be left out'
        if table.columns and name.casefold() not in _folded(table.columns):
            yield "columns", f'must contain the key column "{name}"'
    for name in table.columns:
        if name.casefold() in excluded and name not in table.key:
            yield "exclude", f'"{name}" stands in columns too'


def _twice(names: Sequence[str]) -> list[str]:
    folded = [n.casefold() for n in names]
    return [n for i, n in enumerate(names) if n.casefold() in folded[:i]]


def _folded(names: Sequence[str]) -> set[str]:
    return {n.casefold() for n in names}
