"""adapter: what the copy knows of its datasets: schemas, generations, who owns them, and how they stand."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from cloud.store.base import DatasetState, WithheldRow
from cloud.store.tables import Table
from transport.codec import schema_id
from transport.frames import Schema

_pack = msgspec.msgpack.Encoder().encode
_unpack_schema = msgspec.msgpack.Decoder(Schema).decode
_unpack_names = msgspec.msgpack.Decoder(list[str]).decode


class Generation(msgspec.Struct):
    """One table of a dataset: the visible one, or the one being loaded (or held: loaded, waiting for a person)."""

    dataset: str
    number: int  # of its table; grows within the dataset
    channel: str  # whose changes it takes
    generation: int  # what the agent calls it
    schema_id: bytes
    held: bool = False
    rows: int = 0
    withheld: int = 0


class Record(msgspec.Struct):
    """One dataset."""

    name: str
    last_number: int = 0
    detached: bool = False
    reloading: bool = False  # the agent says that the visible copy is incomplete or stale
    rejected: bytes = b""  # schema id of a load that ended and was never shown: the visible copy is stale
    lost: list[str] = []  # channels that the dataset has left for another: what they still send is out of date
    applied_at: str = ""  # of the last window before it was detached
    read_at: str = ""
    visible: Generation | None = None
    loading: Generation | None = None

    def generations(self) -> list[Generation]:
        """One or two: the visible one first."""
        return [g for g in (self.visible, self.loading) if g is not None]

    def is_outdated(self, channel: str, generation: int) -> bool:
        """Whether the dataset has gone on in another channel since the agent began that load: channels wait for no other."""
        given_up = self.visible if self.detached else None
        return any(g.channel != channel and g.generation >= generation for g in self.generations() if g is not given_up)

    def state(self) -> str:
        """How applications see it; see DatasetState."""
        if self.loading is not None and self.loading.held:
            return "held"
        if self.detached and self.loading is None and not self.rejected:
            return "detached"
        if self.visible is None:
            return "loading"
        other_schema = self.loading is not None and self.loading.schema_id != self.visible.schema_id
        return "reloading" if self.reloading or self.rejected or self.detached or other_schema else "live"


class Catalogue:
    """Reads and writes the records. Schemas and statements are kept in memory, for writer and readers alike."""

    def __init__(self) -> None:
        self._schemas: dict[bytes, Schema] = {}
        self._tables: dict[tuple[str, int, bytes], Table] = {}

    def forget(self) -> None:
        """After a transaction that was rolled back: what it wrote never was."""
        self._schemas.clear()
        self._tables.clear()

    def schema(self, db: sqlite3.Connection, identity: bytes) -> Schema | None:
        """Return the schema of that id, if it ever came."""
        schema = self._schemas.get(identity)
        if schema is None:
            found = db.execute("SELECT body FROM _schema WHERE id = ?", (identity,)).fetchone()
            if found is None:
                return None
            schema = self._schemas[identity] = _unpack_schema(found[0])
        return schema

    def add_schema(self, db: sqlite3.Connection, schema: Schema) -> None:
        """Keep a schema under its id."""
        db.execute("INSERT INTO _schema(id, body) VALUES (?, ?) ON CONFLICT DO NOTHING", (schema_id(schema), _pack(schema)))

    def table(self, db: sqlite3.Connection, generation: Generation) -> Table:
        """Return the statements of a generation's table."""
        key = (generation.dataset, generation.number, generation.schema_id)
        table = self._tables.get(key)
        if table is None:
            schema = self.schema(db, generation.schema_id)
            if schema is None:
                raise LookupError(f"no schema for {generation.dataset}")
            if len(self._tables) > _MAX_TABLES:
                self._tables.clear()
            table = self._tables[key] = Table(generation.dataset, generation.number, schema)
        return table

    def state(self, db: sqlite3.Connection, record: Record) -> DatasetState:
        """Say how the dataset stands."""
        shown = record.generations()[0]
        applied_at, read_at = record.applied_at, record.read_at
        if not record.detached:
            applied_at, read_at = times(db, shown.channel)
        return DatasetState(
            name=record.name,
            channel=shown.channel,
            state=record.state(),
            schema=self.table(db, shown).schema,
            rows=record.visible.rows if record.visible else 0,
            withheld=shown.withheld,
            applied_at=applied_at,
            read_at=read_at,
            generation=record.visible.generation if record.visible else 0,
        )


_MAX_TABLES = 4_096


def load(db: sqlite3.Connection, name: str) -> Record | None:
    """Read one dataset."""
    found = db.execute(f"SELECT {_DATASET} FROM _dataset WHERE name = ?", (name,)).fetchone()
    if found is None:
        return None
    return _record(found, db.execute(f"SELECT visible, {_GENERATION} FROM _generation WHERE dataset = ?", (name,)).fetchall())


def load_all(db: sqlite3.Connection) -> list[Record]:
    """Read all datasets, by name."""
    rows = db.execute(f"SELECT visible, {_GENERATION} FROM _generation").fetchall()
    return [
        _record(found, [row for row in rows if row[1] == found[0]])
        for found in db.execute(f"SELECT {_DATASET} FROM _dataset ORDER BY name").fetchall()
    ]


def save(db: sqlite3.Connection, record: Record) -> None:
    """Write one dataset."""
    r = record
    db.execute(
        f"INSERT OR REPLACE INTO _dataset({_DATASET}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (r.name, r.last_number, r.detached, r.reloading, r.rejected, _pack(r.lost), r.applied_at, r.read_at),
    )
    for generation in record.generations():
        db.execute(
            f"INSERT OR REPLACE INTO _generation(visible, {_GENERATION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (generation is record.visible, *msgspec.structs.astuple(generation)),
        )


def remove(db: sqlite3.Connection, name: str) -> None:
    """Forget a dataset of which nothing is left."""
    db.execute("DELETE FROM _dataset WHERE name = ?", (name,))


def times(db: sqlite3.Connection, channel: str) -> tuple[str, str]:
    """Return when the channel's last window took effect, and when it was read."""
    found = db.execute("SELECT applied_at, read_at FROM _channel WHERE name = ?", (channel,)).fetchone()
    return (found[0], found[1]) if found else ("", "")


def owned_by(db: sqlite3.Connection, channel: str) -> list[str]:
    """List the datasets of which a generation takes this channel's changes."""
    sql = "SELECT DISTINCT dataset FROM _generation WHERE channel = ? ORDER BY dataset"
    return [dataset for (dataset,) in db.execute(sql, (channel,))]


def note_reloading(db: sqlite3.Connection, channel: str, reloading: list[str]) -> None:
    """Keep which datasets of the channel are incomplete or stale, as its last window says."""
    marks = ",".join("?" * len(reloading))
    db.execute(
        f"UPDATE _dataset SET reloading = name IN ({marks}) WHERE reloading <> (name IN ({marks})) "
        f"AND name IN (SELECT dataset FROM {_SHOWN} WHERE channel = ?)",
        (*reloading, *reloading, channel),
    )


def drop(db: sqlite3.Connection, table: Table, generation: Generation) -> None:
    """Remove a generation with its rows and what is withheld of it."""
    number = (generation.dataset, generation.number)
    table.drop(db)
    db.execute("DELETE FROM _withheld WHERE dataset = ? AND number = ?", number)
    db.execute("DELETE FROM _generation WHERE dataset = ? AND number = ?", number)


# -- withheld rows -----------------------------------------------------------------------------------------------------------


def withhold(db: sqlite3.Connection, generation: Generation, row: WithheldRow) -> None:
    """List a row as withheld; one that already was keeps its time."""
    db.execute(
        "INSERT INTO _withheld(dataset, number, key, code, column_name, detail, since, side) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET code = excluded.code, column_name = excluded.column_name, detail = excluded.detail, "
        "side = excluded.side",
        (generation.dataset, generation.number, row.key, row.code, row.column, row.detail, row.since, row.side),
    )


def release(db: sqlite3.Connection, generation: Generation, keys: list[bytes]) -> None:
    """Take rows off the list of the withheld ones."""
    name, number = generation.dataset, generation.number
    db.executemany("DELETE FROM _withheld WHERE dataset = ? AND number = ? AND key = ?", ((name, number, key) for key in keys))


def count_withheld(db: sqlite3.Connection, generation: Generation) -> int:
    """Count the withheld rows of a generation."""
    number = (generation.dataset, generation.number)
    return int(db.execute("SELECT count(*) FROM _withheld WHERE dataset = ? AND number = ?", number).fetchone()[0])


def withheld(db: sqlite3.Connection, dataset: str | None, limit: int) -> list[WithheldRow]:
    """List what is withheld: of the visible generation, or of the first one being loaded."""
    rows = db.execute(
        "SELECT w.dataset, key, code, column_name, detail, since, side FROM _withheld AS w "
        f"JOIN {_SHOWN} AS g ON g.dataset = w.dataset AND g.number = w.number "
        "WHERE w.dataset = coalesce(?, w.dataset) ORDER BY w.dataset, key LIMIT ?",
        (dataset, limit),
    )
    return [WithheldRow(*row) for row in rows]


def withheld_of(db: sqlite3.Connection, channel: str) -> int:
    """Count the withheld rows of a channel's datasets."""
    return int(db.execute(f"SELECT total(withheld) FROM {_SHOWN} WHERE channel = ?", (channel,)).fetchone()[0])


def held_of(db: sqlite3.Connection, channel: str) -> list[str]:
    """List the datasets of a channel whose load waits for a person."""
    return [name for (name,) in db.execute("SELECT dataset FROM _generation WHERE channel = ? AND held ORDER BY 1", (channel,))]


_DATASET = "name, last_number, detached, reloading, rejected, lost, applied_at, read_at"
_GENERATION = "dataset, number, channel, generation, schema_id, held, rows, withheld"
_SHOWN = (
    "(SELECT * FROM _generation AS s WHERE visible OR NOT EXISTS "
    "(SELECT 1 FROM _generation AS v WHERE v.dataset = s.dataset AND v.visible))"
)


def _record(found: tuple[Any, ...], rows: list[tuple[Any, ...]]) -> Record:
    name, number, detached, reloading, rejected, lost, applied_at, read_at = found
    record = Record(name, number, bool(detached), bool(reloading), rejected, _unpack_names(lost), applied_at, read_at)
    for visible, *fields in rows:
        generation = Generation(*fields)
        generation.held = bool(generation.held)
        if visible:
            record.visible = generation
        else:
            record.loading = generation
    return record
