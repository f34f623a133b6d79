"""adapter: what decides whether a window may be read, asked in the window's own transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cdc.errors import CompanyStopped, DatasetPaused
from cdc.model import Dataset, Facts, Position, TableState, Witness
from cdc.sources.sqlite.catalogue import Anchored, Catalogue, Registry, Tracked, find_tracked, log_state, meta, registry
from cdc.sources.sqlite.plans import Plans
from cdc.sources.sqlite.structure import Key
from cdc.sources.sqlite.tracking import LOG, WITNESS


class Changed(NamedTuple):
    """Change records of one table after a version: how many, the first and the last."""

    records: int
    first: int
    last: int


def facts(
    connection: sqlite3.Connection, catalogue: Catalogue, plans: Plans, position: Position | None, datasets: Sequence[Dataset]
) -> Facts:
    """See `cdc.sources.base.Reader.facts`. Raises CompanyStopped if our structures are damaged."""
    catalogue.refresh()
    log = log_state(connection)
    incarnation = meta(connection, "incarnation")
    if not isinstance(incarnation, bytes):
        raise CompanyStopped("A2205", "the incarnation is missing among the product's own tables")
    since = log.version if position is None else position.version
    hole = records_after(connection, since) < log.version - since
    lines = registry(connection)
    states = [_state(catalogue, plans, lines, log, dataset, log.version if hole else 0) for dataset in datasets]
    return Facts(log.version, incarnation, _verdict(connection, log.version, incarnation, position), states)


def records_after(connection: sqlite3.Connection, since: int) -> int:
    """How many change records there are; fewer than the numbers between means that somebody removed some."""
    return int(connection.execute(f"SELECT count(*) FROM {LOG} WHERE seq > ?", (since,)).fetchone()[0])


def _state(
    catalogue: Catalogue, plans: Plans, lines: Registry, log: Anchored, dataset: Dataset, hole_before: int
) -> TableState:
    found = tracked_as(plans, lines, dataset)
    if found is None:
        return TableState(dataset.name, "", 0, None)
    line, key = found
    valid = log.whole and catalogue.intact(line, key)
    min_valid = max(line.min_valid, hole_before) if valid else None
    return TableState(dataset.name, str(line.tbl), line.begin_version, min_valid)


def tracked_as(plans: Plans, lines: Registry, dataset: Dataset) -> tuple[Tracked, Key] | None:
    """The registry's line of a dataset; None if its table or key is not tracked."""
    try:
        table, key = plans.key(dataset)
    except DatasetPaused:
        return None
    line = find_tracked(lines, table.name, key)
    return None if line is None else (line, key)


def _verdict(connection: sqlite3.Connection, version: int, incarnation: bytes, position: Position | None) -> Witness:
    if position is None:
        return Witness.FOUND
    if position.incarnation != incarnation or position.version > version:
        return Witness.FOREIGN
    sql = f"SELECT 1 FROM {WITNESS} WHERE nonce = ? AND incarnation = ?"
    if connection.execute(sql, (position.nonce, incarnation)).fetchone():
        return Witness.FOUND
    oldest = connection.execute(f"SELECT min(version) FROM {WITNESS} WHERE incarnation = ?", (incarnation,)).fetchone()[0]
    return Witness.UNPROVEN if oldest is not None and position.version < oldest else Witness.FOREIGN


def changed(connection: sqlite3.Connection, since: int) -> dict[int, Changed]:
    """By table number; one pass over the records, however many tables there are."""
    sql = f"SELECT tbl, count(*), min(seq), max(seq) FROM {LOG} WHERE seq > ? GROUP BY tbl"
    return {row[0]: Changed(*row[1:]) for row in connection.execute(sql, (since,))}


def lost(connection: sqlite3.Connection, catalogue: Catalogue, plans: Plans, datasets: Iterable[Dataset]) -> list[Dataset]:
    """Datasets whose table was tracked and no longer is: rebuilt, or changed in what tracking depends on."""
    catalogue.refresh()
    lines = registry(connection)
    whole = log_state(connection).whole
    known = {table for table, _ in lines}
    result: list[Dataset] = []
    for dataset in datasets:
        if dataset.table.lower() in known:
            found = tracked_as(plans, lines, dataset)
            if found is None or not (whole and catalogue.intact(*found)):
                result.append(dataset)
    return result


def last_witness(connection: sqlite3.Connection) -> tuple[int, bytes] | None:
    """The newest line of the witness log: number and nonce."""
    row: tuple[int, bytes] | None = connection.execute(f"SELECT seq, nonce FROM {WITNESS} ORDER BY seq DESC LIMIT 1").fetchone()
    return row
