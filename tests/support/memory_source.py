"""An ERP in memory that keeps to the source port: for tests that are about capture, not about a database.

Commits take a version each; a reader sees one state whatever is committed meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec

from cdc.errors import Transient
from cdc.model import Dataset, Description, Facts, Finding, Note, Position, Schema, TableState, Witness
from cdc.sources.base import ROWS_PER_READ, Page, Pulse
from transport.codec import schema_id
from transport.frames import Batch, Cell, Column, Op, Type

Key = int
Rows = dict[Key, tuple[Cell, ...]]


class MemoryTable:
    """Rows (id -> values), and for each key ever touched the version of its last change."""

    def __init__(self, columns: Sequence[str] = ("text",), object_id: str = "1") -> None:
        self.columns = tuple(columns)
        self.object_id = object_id
        self.begin_version = 0
        self.min_valid: int | None = 0
        self.rows: Rows = {}
        self.touched: dict[Key, int] = {}

    def copy(self) -> MemoryTable:
        made = MemoryTable(self.columns, self.object_id)
        made.begin_version, made.min_valid = self.begin_version, self.min_valid
        made.rows, made.touched = dict(self.rows), dict(self.touched)
        return made


class MemoryErp:
    """The database: survives every crash of the agent."""

    def __init__(self, **tables: MemoryTable) -> None:
        self.tables = tables
        self.version = 0
        self.structure = 0
        self.incarnation = b"first"
        self.witnessed: list[tuple[bytes, int, bytes]] = []
        self.witnessed_from = 0

        self.notes: tuple[Note, ...] = ()
        self.retention: float | None = None
        self.history: dict[int, dict[str, Rows]] = {0: {name: dict(table.rows) for name, table in tables.items()}}

    @contextlib.contextmanager
    def commit(self) -> Iterator[MemoryErp]:
        """One transaction: `put` and `drop` inside it get one version."""
        self.version += 1
        yield self
        self.history[self.version] = {name: dict(table.rows) for name, table in self.tables.items()}

    def at(self, version: int) -> dict[str, Rows]:
        """The tables as the last commit up to that version left them."""
        return self.history[max((v for v in self.history if v <= version), default=0)]

    def put(self, table: str, key: Key, *values: Cell) -> None:
        self.tables[table].rows[key] = values
        self.tables[table].touched[key] = self.version

    def drop(self, table: str, key: Key) -> None:
        if self.tables[table].rows.pop(key, None) is not None:
            self.tables[table].touched[key] = self.version

    def truncate(self, table: str) -> None:
        """As SQL Server: untracked; tracking begins anew."""
        with self.commit():
            found = self.tables[table]
            found.rows.clear()
            found.touched.clear()
            found.begin_version = found.min_valid = self.version
            self.structure += 1

    def untrack(self, table: str) -> None:
        self.tables[table].min_valid = None
        self.structure += 1

    def forget(self, before: int) -> None:
        """Clean-up: changes up to that version are no longer known."""
        for table in self.tables.values():
            table.touched = {key: v for key, v in table.touched.items() if v > before}
            if table.min_valid is not None:
                table.min_valid = max(table.min_valid, before)

    def backup(self) -> MemoryErp:
        made = MemoryErp(**{name: table.copy() for name, table in self.tables.items()})
        made.version, made.structure, made.incarnation = self.version, self.structure, self.incarnation
        made.witnessed, made.witnessed_from = list(self.witnessed), self.witnessed_from
        made.history = dict(self.history)
        made.notes, made.retention = self.notes, self.retention
        return made


def dataset(name: str, channel: str = "hr") -> Dataset:
    return Dataset(name=name, table=name, channel=channel, key=("id",))


class MemorySource:
    """A connection to it. `failures`: raised one by one by the next reads; `reads`: what was read, for tests that count."""

    def __init__(self, erp: MemoryErp) -> None:
        self.erp = erp
        self.reads: list[str] = []
        self.failures: list[Exception] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def pulse(self) -> Pulse:
        return Pulse(self.erp.version, self.erp.structure)

    async def describe(self, datasets: Sequence[Dataset]) -> list[Description]:
        self.reads.append("describe")
        return [self._describe(d) for d in datasets]

    def _describe(self, declared: Dataset) -> Description:
        table = self.erp.tables.get(declared.table)
        if table is None:
            return Description(declared.name, None, code="A2412", problem="no such table")
        values = [Column(name, Type.TEXT, nullable=True) for name in table.columns]
        schema = Schema(declared.name, declared.channel, "up", [Column("id", Type.INT, nullable=False, key=1), *values])
        return Description(declared.name, schema, schema_id(schema) + declared.filter.encode())

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[MemoryReader]:
        self.reads.append("reader")
        yield MemoryReader(self, self.erp.backup())

    async def witness(self, position: Position, keep_from: int) -> None:
        self.reads.append("witness")
        erp = self.erp
        erp.witnessed = [w for w in erp.witnessed if w[1] >= keep_from]
        erp.witnessed.append((position.incarnation, position.version, position.nonce))
        erp.witnessed_from = max(erp.witnessed_from, keep_from)

    async def install(self, datasets: Sequence[Dataset]) -> list[str]:
        return await self.repair(datasets)

    async def uninstall(self) -> list[str]:
        return []

    async def repair(self, datasets: Sequence[Dataset]) -> list[str]:
        done = []
        for table in (self.erp.tables[d.table] for d in datasets if d.table in self.erp.tables):
            if table.min_valid is None:
                self.erp.version += 1
                table.touched.clear()
                table.begin_version = table.min_valid = self.erp.version
                done.append("a table is tracked again")
        return done

    async def clean_up(self, retention: float) -> int:
        return 0

    async def new_incarnation(self) -> bytes:
        self.erp.incarnation += b"+"
        return self.erp.incarnation

    async def inspect(self, datasets: Sequence[Dataset]) -> list[Finding]:
        return []


class MemoryReader:
    def __init__(self, source: MemorySource, erp: MemoryErp) -> None:
        self._source = source
        self._erp = erp

    def _note(self, what: str) -> None:
        self._source.reads.append(what)
        if self._source.failures:
            raise self._source.failures.pop(0)

    async def facts(self, position: Position | None, datasets: Sequence[Dataset]) -> Facts:
        self._note("facts")
        tables = [(d.name, self._erp.tables[d.table]) for d in datasets if d.table in self._erp.tables]
        states = [TableState(name, t.object_id, t.begin_version, t.min_valid) for name, t in tables]
        erp = self._erp
        return Facts(erp.version, erp.incarnation, self._verdict(position), states, erp.notes, erp.retention)

    def _verdict(self, position: Position | None) -> Witness:
        if position is None:
            return Witness.FOUND
        if (position.incarnation, position.version, position.nonce) in self._erp.witnessed:
            return Witness.FOUND
        return Witness.UNPROVEN if position.version < self._erp.witnessed_from else Witness.FOREIGN

    async def changed(self, since: int, datasets: Sequence[Dataset]) -> dict[str, int]:
        self._note("changed")
        counts = {d.name: len(self._touched(d, since)) for d in datasets}
        return {name: count for name, count in counts.items() if count}

    def _touched(self, declared: Dataset, since: int) -> list[Key]:
        return [key for key, version in self._erp.tables[declared.table].touched.items() if version > since]

    async def changes(self, dataset: Dataset, schema: Schema, since: int) -> AsyncIterator[Batch]:
        self._note(f"changes:{dataset.name}")
        keys = self._touched(dataset, since)
        for start in range(0, len(keys), ROWS_PER_READ):
            yield self._batch(dataset, schema, 0, keys[start : start + ROWS_PER_READ])

    async def page(self, dataset: Dataset, schema: Schema, generation: int, after: bytes, rows: int) -> Page:
        self._note(f"page:{dataset.name}")
        low = msgspec.msgpack.decode(after, type=list[int])[0] if after else None
        keys = sorted(key for key in self._erp.tables[dataset.table].rows if low is None or key > low)
        taken = keys[:rows]
        batches = [
            self._batch(dataset, schema, generation, taken[n : n + ROWS_PER_READ]) for n in range(0, len(taken), ROWS_PER_READ)
        ]
        last = msgspec.msgpack.encode([taken[-1]]) if taken else after
        return Page(batches, last, len(taken), len(taken) == len(keys))

    def _batch(self, dataset: Dataset, schema: Schema, generation: int, keys: Sequence[Key]) -> Batch:
        rows = self._erp.tables[dataset.table].rows
        width = len(schema.values())
        ops = bytes(Op.UPSERT if key in rows else Op.DELETE for key in keys)
        found = [rows[key] for key in keys if key in rows]
        values: list[Any] = [[row[n] for row in found] for n in range(width)]
        return Batch(dataset.name, schema_id(schema), generation, ops, [list(keys)], values)


def connection_lost() -> Transient:
    return Transient("A2404", "the connection was lost")
