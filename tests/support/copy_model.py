"""What a cloud makes of a channel's frames, as a dict: windows take effect whole, a generation replaces the visible one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cdc.journal import Journal
from cdc.model import Position
from transport.codec import decode, decode_frame, schema_id
from transport.frames import Batch, Cell, Detach, LoadBegin, LoadEnd, Op, Schema, StreamMessage, WindowEnd

Row = Any  # tuple of cells, or the code of a withheld row
Rows = dict[tuple[Cell, ...], Row]


class CopyModel:
    def __init__(self) -> None:
        self.visible: dict[str, Rows] = {}
        self.loading: dict[str, tuple[int, Rows]] = {}
        self.generations: dict[str, int] = {}
        self.detached: set[str] = set()
        self.reloading: list[str] = []
        self.position = b""
        self.ends: list[WindowEnd] = []
        self.swaps: list[tuple[str, int, int]] = []
        self._schemas: dict[bytes, set[bytes]] = {}
        self._waiting: list[StreamMessage] = []
        self._journal_id = b""
        self._seq = 0
        self._applied = 0

    def take(self, envelopes: Iterable[bytes]) -> None:
        """Frames in order; a window takes effect at its end."""
        for envelope in envelopes:
            frame = decode_frame(envelope)
            if frame.journal_id != self._journal_id:
                self._journal_id, self._seq, self._waiting = frame.journal_id, 0, []
                self._applied = 0
            assert frame.seq == self._seq + 1
            self._seq = frame.seq
            message = decode(envelope)
            assert isinstance(message, Schema | LoadBegin | Batch | LoadEnd | WindowEnd | Detach)
            self._waiting.append(message)
            if isinstance(message, WindowEnd):
                for waiting in self._waiting:
                    self._apply(waiting)
                self._waiting = []
                self._applied = frame.seq

    def drain(self, journal: Journal, channel: str, windows: int = 1_000_000) -> int:
        """Take the journal's next windows and acknowledge them; how many there were."""
        state = journal.channel(channel)
        assert state is not None
        after = self._seq if state.journal_id == self._journal_id else 0
        done = 0
        while done < windows and (stored := journal.read(channel, after, 1, 1)):
            self.take(s.envelope for s in stored)
            after = stored[-1].seq
            if not self._waiting:
                journal.applied(channel, after)
                done += 1
        return done

    def applied(self, journal_id: bytes) -> int:
        """Last seq of that journal id that took effect."""
        return self._applied if journal_id == self._journal_id else 0

    def reconnect(self) -> None:
        """Frames of a window without its end are sent again."""
        self._seq, self._waiting = self._applied, []

    def _apply(self, message: StreamMessage) -> None:
        match message:
            case Schema():
                self._schemas.setdefault(self._journal_id, set()).add(schema_id(message))
            case LoadBegin():
                assert message.generation > self.generations.get(message.dataset, 0)
                assert message.schema_id in self._schemas[self._journal_id]
                self.generations[message.dataset] = message.generation
                self.loading[message.dataset] = (message.generation, {})
                self.detached.discard(message.dataset)
            case Batch():
                assert message.schema_id in self._schemas[self._journal_id]
                for rows in self._targets(message):
                    rows |= as_rows(message)
                    for key in [key for key, row in rows.items() if row is None]:
                        del rows[key]
            case LoadEnd():
                generation, rows = self.loading.pop(message.dataset)
                assert generation == message.generation
                self.visible[message.dataset] = rows
                self.swaps.append((message.dataset, generation, message.rows))
            case Detach():
                self.detached.add(message.dataset)
            case WindowEnd():
                self.position, self.reloading = message.position, message.reloading
                self.ends.append(message)

    def _targets(self, batch: Batch) -> Iterator[Rows]:
        if batch.generation == 0 and batch.dataset in self.visible:
            yield self.visible[batch.dataset]
        if batch.dataset in self.loading and batch.generation in (0, self.loading[batch.dataset][0]):
            yield self.loading[batch.dataset][1]

    @property
    def version(self) -> int:
        return Position.decode(self.position).version


def as_rows(batch: Batch) -> Rows:
    """Key -> values, code of a withheld row, or None for a delete."""
    values: Any = zip(*batch.values, strict=True) if batch.values else iter([()] * batch.ops.count(Op.UPSERT))
    reasons = iter(batch.withheld)
    keys = zip(*batch.keys, strict=True)
    found: Rows = {}
    for op, key in zip(batch.ops, keys, strict=True):
        found[key] = next(values) if op == Op.UPSERT else next(reasons).code if op == Op.WITHHELD else None
    return found
