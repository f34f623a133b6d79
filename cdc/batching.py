"""pure: batches as a source reads them -> bodies of frames: split by measured size, rows that cannot travel withheld."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from transport.codec import raw_body
from transport.errors import NotCarried
from transport.frames import BATCH_TARGET, MAX_KEY, MAX_ROW, Batch, Cell, Column, Op, Schema, Type, Withheld

FILL = 0.9  # of the target: an estimate a little too high costs less than encoding twice
FIRST_ROWS = 128  # rows encoded together before anything is known of their size
_LONG_CELL = MAX_KEY // 8  # characters kept of a key's cell that is too long


class Piece(NamedTuple):
    """The body of one frame: a Batch, encoded."""

    raw: bytes
    rows: int
    withheld: int  # of the rows


class Batcher:
    """Splits one dataset's batches; remembers how large its rows are.

    In: batches as the source gives them. Out: the same rows in the same order, in pieces of at most `target` bytes, or of one
    row. A row over `max_row` bytes, or with a value that cannot travel, becomes WITHHELD with its code.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        target: int = BATCH_TARGET,
        max_row: int = MAX_ROW,
        encode: Callable[[Batch], bytes] = raw_body,
    ) -> None:
        """`encode` raises NotCarried."""
        self._columns = [column.name for column in schema.values()]
        self._floats = _places(schema.keys()), _places(schema.values())
        self._target = min(target, max_row)  # so that no row over `max_row` hides in a piece of several
        self._max_row = max_row
        self._encode = encode
        self.row_bytes = 0.0  # estimate; 0.0: nothing known

    def pieces(self, batch: Batch) -> Iterator[Piece]:
        """Yield the batch's rows as bodies of frames."""
        start, rows = 0, len(batch.ops)
        while start < rows:
            left = rows - start
            count = math.ceil(left / math.ceil(left / self._fit()))  # equal pieces, no small rest
            yield from self._piece(part(batch, start, start + count))
            start += count

    def _fit(self) -> int:
        return max(1, int(self._target * FILL / self.row_bytes)) if self.row_bytes else FIRST_ROWS

    def _piece(self, batch: Batch) -> Iterator[Piece]:
        rows = len(batch.ops)
        try:
            raw = self._encoded(batch)
        except NotCarried as error:
            if rows == 1:
                yield self._withhold(batch, error.code, error.message)
            else:
                yield from self._split(batch, 2)
            return
        size = len(raw)
        self.row_bytes = max(size / rows, 0.75 * self.row_bytes + 0.25 * size / rows)
        if size <= self._target or (rows == 1 and size <= self._max_row):
            yield Piece(raw, rows, len(batch.withheld))
        elif rows == 1:
            yield self._withhold(batch, "A2421", f"the row takes {size} bytes, the limit is {self._max_row}")
        else:
            yield from self._split(batch, min(rows, math.ceil(size / (self._target * FILL))))

    def _encoded(self, batch: Batch) -> bytes:
        keys, values = self._floats
        if keys or values:
            _check_floats(batch, keys, values)
        return self._encode(batch)

    def _split(self, batch: Batch, parts: int) -> Iterator[Piece]:
        rows = len(batch.ops)
        step = math.ceil(rows / parts)
        for start in range(0, rows, step):
            yield from self._piece(part(batch, start, min(start + step, rows)))

    def _withhold(self, batch: Batch, code: str, detail: str) -> Piece:
        """Replace the only row: a row of values by its reason, a key that cannot travel by one that can."""
        keys = [[cell] for cell in carried_key([column[0] for column in batch.keys])]
        no_values: list[list[Cell]] = [[] for _ in batch.values]
        change = {"keys": keys, "values": no_values}
        if batch.ops[0] == Op.DELETE:
            stand_in = msgspec.structs.replace(batch, **change)
        else:
            why = batch.withheld[0] if batch.withheld else Withheld(code, self._blame(batch), detail)
            plain = Withheld(*(_text(field) for field in msgspec.structs.astuple(why)))
            stand_in = msgspec.structs.replace(batch, **change, ops=bytes([Op.WITHHELD]), withheld=[plain])
        return Piece(self._encode(stand_in), 1, len(stand_in.withheld))

    def _blame(self, batch: Batch) -> str:
        """Name the column that does not encode, or else the largest; "" if it is the key."""
        sizes: list[int] = []
        if batch.ops[0] != Op.UPSERT or not self._carried(batch, []):
            return ""
        for place, (name, column) in enumerate(zip(self._columns, batch.values, strict=True)):
            size = self._carried(batch, column, [0] if place in self._floats[1] else [])
            if not size:
                return name
            sizes.append(size)
        return self._columns[max(range(len(sizes)), key=sizes.__getitem__)] if sizes else ""

    def _carried(self, batch: Batch, column: list[Cell], floats: Sequence[int] = ()) -> int:
        """Return the encoded size of the row's key with this column alone; 0: it cannot travel."""
        try:
            values = [column] if column else []
            alone = batch if column else msgspec.structs.replace(batch, ops=bytes([Op.DELETE]))
            row = msgspec.structs.replace(alone, values=values)
            _check_floats(row, self._floats[0], floats)
            return len(self._encode(row))
        except NotCarried:
            return 0


def _check_floats(batch: Batch, keys: Sequence[int], values: Sequence[int]) -> None:
    """Raise NotCarried for a float that is not finite: MessagePack takes it, every receiver refuses the whole batch."""
    columns = [batch.keys[n] for n in keys] + [batch.values[n] for n in values]
    if not all(math.isfinite(cell) for column in columns for cell in column if type(cell) is float):
        raise NotCarried("T1009", "a float is not finite", where=batch.dataset)


def _places(columns: Sequence[Column]) -> list[int]:
    return [n for n, column in enumerate(columns) if column.type == Type.FLOAT]


def part(batch: Batch, start: int, stop: int) -> Batch:
    """Return rows `start` to `stop` (exclusive) of a batch."""
    ops = batch.ops
    if start == 0 and stop >= len(ops):
        return batch
    first, last = ops.count(Op.UPSERT, 0, start), ops.count(Op.UPSERT, 0, stop)
    kept, end = ops.count(Op.WITHHELD, 0, start), ops.count(Op.WITHHELD, 0, stop)
    return Batch(
        batch.dataset,
        batch.schema_id,
        batch.generation,
        ops[start:stop],
        [column[start:stop] for column in batch.keys],
        [column[first:last] for column in batch.values],
        batch.withheld[kept:end],
    )


def carried_key(key: Sequence[Cell]) -> list[Cell]:
    """Return a key that can travel and stands for this one: readable, always the same, never that of another row."""
    return [_carried_cell(cell) for cell in key]


def _carried_cell(cell: Cell) -> Cell:
    if isinstance(cell, bytes):
        return cell if len(cell) <= _LONG_CELL else cell[:_LONG_CELL] + hashlib.blake2b(cell, digest_size=8).digest()
    if isinstance(cell, float) and not math.isfinite(cell):
        return str(cell)
    if isinstance(cell, int) and not -(2**63) <= cell < 2**63:
        return str(cell)
    return _shortened(_text(cell)) if isinstance(cell, str) else cell


def _shortened(text: str) -> str:
    if len(text) <= _LONG_CELL:
        return text
    return f"{text[:_LONG_CELL]}…{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _text(text: str) -> str:
    """Write what is not Unicode text as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
