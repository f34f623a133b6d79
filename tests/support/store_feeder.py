"""An agent's channel as a store sees it: messages as real envelopes, windows, staging, another journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeAlias
from zlib import crc32

from cloud.store.base import Applied, CompanyStore, Staged
from tests.support.virtual import InlineExecutor
from transport.codec import decode, encode, schema_id
from transport.frames import (
    Batch,
    Cell,
    Column,
    Fold,
    LoadBegin,
    LoadEnd,
    Op,
    Schema,
    StreamMessage,
    Type,
    WindowEnd,
    Withheld,
)
from transport.runtime import Durable, Runtime, unwatched
from transport.values import key_identity

JOURNAL = b"journal-of-tests"
TOO_LARGE = Withheld("A2901", "photo", "too large")

PEOPLE = Schema(
    "people",
    "hr",
    "up",
    [
        Column("id", Type.INT, nullable=False, key=1),
        Column("name", Type.TEXT, nullable=True),
        Column("pay", Type.DECIMAL, nullable=True, precision=19, scale=2),
        Column("active", Type.BOOL, nullable=True),
        Column("rate", Type.FLOAT, nullable=True),
        Column("photo", Type.BYTES, nullable=True),
        Column("age", Type.INT, nullable=True),
    ],
)
ALL_KINDS = Schema(
    "kinds",
    "hr",
    "both",
    [
        Column("n", Type.TEXT, nullable=True),
        Column("code", Type.TEXT, nullable=False, key=2, fold=Fold.UNICODE, pad=True),
        Column("id", Type.INT, nullable=False, key=1),
        *(Column(f"c_{kind.value}", kind, nullable=True, scale=2) for kind in Type),
    ],
)


Given: TypeAlias = dict[str, Cell] | tuple[Op, Sequence[Cell]]
"""A row to come, or (DELETE or WITHHELD, its key)."""


class ManualClock:
    """Moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def manual_runtime(clock: ManualClock | None = None, durable: Durable = unwatched) -> Runtime:
    return Runtime(clock or ManualClock(), Random(7), InlineExecutor, durable)


def person(number: int, name: str | None = "", **cells: Cell) -> dict[str, Cell]:
    """One row of PEOPLE."""
    row: dict[str, Cell] = {c.name: None for c in PEOPLE.columns}
    return row | {"id": number, "name": f"P{number}" if name == "" else name} | cells


def identity(*key: Cell, schema: Schema = PEOPLE) -> bytes:
    return key_identity(schema.keys(), list(key))


def batch(
    rows: Iterable[Given],
    generation: int = 0,
    schema: Schema = PEOPLE,
    reason: Withheld = TOO_LARGE,
) -> Batch:
    """Rows in order: a dict is an upsert, (op, key) a delete or a withheld row."""
    ops = bytearray()
    keys: list[list[Cell]] = [[] for _ in schema.keys()]  # noqa: SIM118
    values: list[list[Cell]] = [[] for _ in schema.values()]
    withheld = []
    for row in rows:
        if isinstance(row, dict):
            ops.append(Op.UPSERT)
            key = [row[c.name] for c in schema.keys()]  # noqa: SIM118
            for column, values_of in zip(schema.values(), values, strict=True):
                values_of.append(row[column.name])
        else:
            op, key = row[0], list(row[1])
            ops.append(op)
            if op == Op.WITHHELD:
                withheld.append(reason)
        for cell, column_cells in zip(key, keys, strict=True):
            column_cells.append(cell)
    return Batch(schema.dataset, schema_id(schema), generation, bytes(ops), keys, values, withheld)


class Feeder:
    """One channel of an agent."""

    def __init__(self, store: CompanyStore, channel: str = "hr", journal: bytes = JOURNAL, next_seq: int = 1) -> None:
        self.store = store
        self.channel = channel
        self.journal = journal
        self.seq = next_seq - 1
        self.windows = 0
        self.progress: list[int] = []
        store.adopt(channel, journal, next_seq)

    def frames(self, *messages: StreamMessage) -> list[Staged]:
        """The messages as the next frames."""
        made = []
        for message in messages:
            self.seq += 1
            envelope = encode(message, channel=self.channel, journal_id=self.journal, seq=self.seq)
            made.append(Staged(self.seq, crc32(envelope), envelope))
        return made

    def stage(self, *messages: StreamMessage) -> int:
        return self.store.stage(self.channel, self.journal, self.frames(*messages))

    def window(self, *messages: StreamMessage, reloading: Sequence[str] = ()) -> Applied:
        """Apply what is staged, these, and the window's end; a failure takes the numbers back."""
        before = self.seq
        tail = self.frames(*messages, self.end(reloading))
        try:
            return self.apply(tail)
        except BaseException:
            self.seq = before
            raise

    def apply(self, tail: Sequence[Staged]) -> Applied:
        return self.store.apply(self.channel, self.journal, tail, _decoded, self.progress.append)

    def end(self, reloading: Sequence[str] = ()) -> WindowEnd:
        self.windows += 1
        position = b"position %d" % self.windows
        return WindowEnd(
            position, self.windows - 1, self.windows, 0, f"2026-03-01T00:00:{self.windows % 60:02d}Z", list(reloading)
        )

    def load(self, rows: Iterable[Given], generation: int = 1, schema: Schema = PEOPLE, *more: StreamMessage) -> Applied:
        """A whole load in one window."""
        page = batch(rows, generation, schema)
        return self.window(
            schema,
            LoadBegin(schema.dataset, schema_id(schema), generation),
            page,
            *more,
            LoadEnd(schema.dataset, generation, len(page.ops)),
        )


def _decoded(envelope: bytes) -> StreamMessage:
    return decode(envelope)  # type: ignore[return-value]


def cells_of(store: CompanyStore, dataset: str = "people") -> dict[bytes, dict[str, Cell]]:
    """Everything visible, read by small pages."""
    found: dict[bytes, dict[str, Cell]] = {}
    after = b""
    while page := store.rows(dataset, after, 7):
        found.update((row.key, row.cells) for row in page)
        after = page[-1].key
    return found


def names_of(store: CompanyStore) -> dict[Cell, Cell]:
    """Id -> name of PEOPLE."""
    return {cells["id"]: cells["name"] for cells in cells_of(store).values()}
