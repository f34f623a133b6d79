"""Whatever the rows: pieces put together are the batch, and limits hold."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.batching import Batcher, carried_key
from transport.codec import decode, seal
from transport.frames import Batch, Cell, Column, Kind, Op, Schema, Type, Withheld

COLUMNS = [Column("k", Type.TEXT, nullable=False, key=1), *(Column(n, Type.FLOAT, nullable=True) for n in "ab")]
SCHEMA = Schema("d", "c", "up", COLUMNS)

cells = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=60), st.binary(max_size=400), st.floats(), st.just("\udfff")
)
rows = st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.one_of(st.integers(0, 99), st.text(max_size=9)), st.tuples(cells, cells))


def as_batch(found: list[tuple[int, Cell, tuple[Cell, Cell]]]) -> Batch:
    values = [cells for op, _, cells in found if op == Op.UPSERT]
    withheld = [Withheld("A1", "", str(n)) for n, (op, _, _) in enumerate(found) if op == Op.WITHHELD]
    columns: list[list[Cell]] = [[v[0] for v in values], [v[1] for v in values]]
    return Batch("d", b"s", 3, bytes(op for op, _, _ in found), [[key for _, key, _ in found]], columns, withheld)


def as_rows(batch: Batch) -> list[tuple[int, Cell, object]]:
    values: Any = zip(*batch.values, strict=True)
    reasons: Any = iter(batch.withheld)
    content: dict[Op, Any] = {Op.UPSERT: values, Op.DELETE: repeat(None), Op.WITHHELD: reasons}
    return [(op, key, next(content[Op(op)])) for op, key in zip(batch.ops, batch.keys[0], strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=60), st.integers(60, 3000), st.integers(400, 3000))
def test_pieces_put_together_are_the_batch_but_for_what_is_withheld(
    found: list[tuple[int, Cell, tuple[Cell, Cell]]], target: int, max_row: int
) -> None:
    batch = as_batch(found)
    batcher = Batcher(SCHEMA, target=target, max_row=max_row)
    out: list[tuple[int, Cell, object]] = []
    for piece in batcher.pieces(batch):
        decoded = decode(seal(piece.raw, Kind.BATCH))
        assert isinstance(decoded, Batch)
        assert (decoded.dataset, decoded.schema_id, decoded.generation) == ("d", b"s", 3)
        assert piece.rows == len(decoded.ops)
        assert piece.withheld == len(decoded.withheld)
        assert len(piece.raw) <= target or (piece.rows == 1 and len(piece.raw) <= max_row)
        out += as_rows(decoded)
    expected = as_rows(batch)
    assert len(out) == len(expected)
    for (op, key, content), (was_op, was_key, was_content) in zip(out, expected, strict=True):
        assert key in (was_key, carried_key([was_key])[0])
        assert (op, content) == (was_op, was_content) or (op == Op.WITHHELD and was_op == Op.UPSERT)
