"""Batches into frames."""

from __future__ import annotations

import msgspec
import pytest

from cdc.batching import Batcher, carried_key, part
from transport.codec import decode, raw_body, seal
from transport.frames import MAX_KEY, Batch, Cell, Column, Kind, Op, Schema, Type, Withheld


def schema(key: Type, *values: Type) -> Schema:
    columns = [Column(f"v{n}", type_, nullable=True) for n, type_ in enumerate(values)]
    return Schema("d", "c", "up", [Column("k", key, nullable=False, key=1), *columns])


TEXTS = schema(Type.INT, Type.INT, Type.TEXT)


def decoded(raw: bytes) -> Batch:
    batch = decode(seal(raw, Kind.BATCH))
    assert isinstance(batch, Batch)
    return batch


def upserts(cells: list[Cell]) -> Batch:
    keys: list[Cell] = [*range(len(cells))]
    return Batch("d", b"s", 0, bytes(len(cells)), [keys], [keys, cells])


def test_a_small_batch_is_one_piece() -> None:
    pieces = list(Batcher(TEXTS).pieces(upserts(["a", "b"])))
    assert [p.rows for p in pieces] == [2]
    assert decoded(pieces[0].raw) == upserts(["a", "b"])


def test_pieces_keep_to_the_target_and_are_of_about_equal_size() -> None:
    batcher = Batcher(TEXTS, target=10_000)
    list(batcher.pieces(upserts(["x" * 100] * 2000)))
    sizes = [len(p.raw) for p in batcher.pieces(upserts(["x" * 100] * 2000))]
    assert max(sizes) <= 10_000
    assert min(sizes) > 7_000


def test_a_row_over_the_target_travels_alone_and_one_over_the_limit_is_withheld() -> None:
    pieces = list(Batcher(TEXTS, target=100, max_row=1000).pieces(upserts(["a", "b" * 500, "c" * 5000, "d"])))
    batches = [decoded(p.raw) for p in pieces]
    assert b"".join(b.ops for b in batches) == bytes([0, 0, Op.WITHHELD, 0])
    (reason,) = [w for b in batches for w in b.withheld]
    assert (reason.code, reason.column) == ("A2421", "v1")
    assert "ccc" not in reason.detail


def test_no_row_over_the_limit_hides_in_a_piece_of_several() -> None:
    pieces = list(Batcher(TEXTS, target=100_000, max_row=1000).pieces(upserts(["a", "c" * 5000, "d"])))
    assert sum(p.withheld for p in pieces) == 1


@pytest.mark.parametrize("bad", ["half \ud800 pair", float("inf"), float("nan"), 2**70])
def test_a_value_that_cannot_travel_costs_its_row_alone(bad: Cell) -> None:
    cells: list[Cell] = ["fine"] * 100
    cells[37] = bad
    batches = [decoded(p.raw) for p in Batcher(schema(Type.INT, Type.INT, Type.FLOAT)).pieces(upserts(cells))]
    ops = b"".join(b.ops for b in batches)
    keys = [k for b in batches for k in b.keys[0]]
    assert keys == list(range(100))
    assert [i for i, op in enumerate(ops) if op == Op.WITHHELD] == [37]
    (reason,) = [w for b in batches for w in b.withheld]
    assert (reason.code, reason.column) == ("T1009", "v1")


@pytest.mark.parametrize("key", ["\ud800", "x" * 10_000, b"x" * 10_000, float("inf"), 2**70])
def test_a_key_that_cannot_travel_is_stood_in_for_in_withheld_rows_and_deletes(key: Cell) -> None:
    batch = Batch("d", b"s", 0, bytes([0, 1, 2]), [[key] * 3], [["v"]], [Withheld("A1", "c", "why")])
    pieces = list(Batcher(schema(Type.FLOAT, Type.TEXT)).pieces(batch))
    batches = [decoded(p.raw) for p in pieces]
    assert [b.ops for b in batches] == [bytes([2]), bytes([1]), bytes([2])]
    assert {str(b.keys) for b in batches} == {str([[carried_key([key])[0]]])}
    assert batches[2].withheld == [Withheld("A1", "c", "why")]
    assert all(seal(p.raw, Kind.BATCH) for p in pieces)


def test_stand_ins_of_long_keys_are_short_and_differ() -> None:
    one, other = carried_key(["x" * 10_000 + "a"] * 4), carried_key(["x" * 10_000 + "b"] * 4)
    assert one != other
    assert len(msgspec.msgpack.encode(one)) <= MAX_KEY


def test_a_part_takes_the_values_and_reasons_of_its_rows() -> None:
    reasons = [Withheld("A1"), Withheld("A2")]
    batch = Batch("d", b"s", 7, bytes([0, 1, 2, 0, 2, 1]), [[1, 2, 3, 4, 5, 6]], [["a", "b"]], reasons)
    assert part(batch, 2, 5) == Batch("d", b"s", 7, bytes([2, 0, 2]), [[3, 4, 5]], [["b"]], reasons)
    assert part(batch, 0, 6) is batch
    assert raw_body(part(batch, 5, 6))
