"""Stored cells to canonical columns: whole columns at once say what one by one says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.sources.sqlite import cells
from cdc.sources.sqlite.cells import TOO_BIG, BadText, Stored, Target, batch, columns_of, convert, long_key, shown
from transport.frames import Cell, Column, Op, Type
from transport.values import check_cell

KEY = Column("id", Type.INT, nullable=False, key=1)
COLUMNS = [
    Column("x", type_, nullable=nullable, precision=10 if type_ is Type.DECIMAL else 0, scale=scale)
    for type_ in Type
    for nullable in (True, False)
    for scale in ((0, 3) if type_ in (Type.DECIMAL, Type.TIME, Type.DATETIME, Type.DATETIMEOFFSET) else (0,))
]
GUID = "01234567-89ab-cdef-0123-456789abcdef"
INTERESTING: list[Stored] = [
    None, 0, 1, 2, -1, 2**63 - 1, 0.0, -0.0, 0.5, 1.0, 0.1 + 0.2, 12.3456, 1e15, math.inf,
    "", "a", "a\0b", "zażółć", "1", "1.5", "12.500", "-0", "2024-02-29", "2023-02-29", "2024-02-29T10:00",
    "2024-02-29 10:00:00",
    "2024-02-29 10:00:00.123", "10:00:00", "10:00", "24:00:00", "2024-02-29 10:00:00+02:00", "2024-02-29 10:00:00.123Z", GUID,
    GUID.upper(), b"", b"\xff", BadText(b"\xff"), BadText(b"\xed\xa0\x80"), TOO_BIG,
]  # fmt: skip
STORED = st.one_of(st.sampled_from(INTERESTING), st.integers(-1000, 1000), st.floats(-1000, 1000).map(lambda x: round(x, 2)))


def one_by_one(column: Column, stored: list[Stored]) -> list[tuple[Cell, str]]:
    found = [convert([column], [[cell]]) for cell in stored]
    return [(f.columns[0][0], f.withheld[0].code if f.withheld else "") for f in found]


@settings(max_examples=1000)
@given(st.sampled_from(COLUMNS), st.lists(STORED, min_size=1, max_size=8), st.integers(1, 20))
def test_a_column_is_converted_as_its_cells_are(column: Column, stored: list[Stored], times: int) -> None:
    whole = convert([column], [stored * times])
    alone = one_by_one(column, stored) * times
    assert {i: reason.code for i, reason in whole.withheld.items()} == {i: code for i, (_, code) in enumerate(alone) if code}
    good = [
        (cell, value)
        for i, (cell, (value, _)) in enumerate(zip(whole.columns[0], alone, strict=True))
        if i not in whole.withheld
    ]
    assert all(type(a) is type(b) and a == b for a, b in good)


@given(st.sampled_from(COLUMNS), st.lists(STORED, min_size=1, max_size=30))
def test_what_is_not_withheld_is_canonical(column: Column, stored: list[Stored]) -> None:
    found = convert([column], [stored])
    assert [
        check_cell(column, c) for i, c in enumerate(found.columns[0]) if i not in found.withheld and check_cell(column, c)
    ] == []


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=50))
def test_decimals_kept_as_real_come_back_digit_by_digit(cents: list[int]) -> None:
    column = Column("x", Type.DECIMAL, nullable=False, precision=15, scale=2)
    texts = [f"{'-' if c < 0 else ''}{abs(c) // 100}.{abs(c) % 100:02}" for c in cents]
    assert convert([column], [[float(text) for text in texts]]).columns == [texts]


def test_more_numbers_than_are_remembered_are_still_right() -> None:
    column = Column("x", Type.DECIMAL, nullable=True, precision=14, scale=3)
    for start in range(0, 60_000, 2_000):
        numbers: list[Stored] = [None, 0.125, *(float(n) for n in range(start, start + 2_000))]
        assert convert([column], [numbers]).columns[0][:3] == [None, "0.125", f"{start}.000"]
    assert len(cells._memo(14, 3)[0]) <= cells._REMEMBERED + 2_002


def test_zero_has_no_sign() -> None:
    column = Column("x", Type.DECIMAL, nullable=False, precision=9, scale=2)
    assert convert([column], [[-0.0, 0, 0.0]]).columns == [["0.00"] * 3]


def test_noise_of_binary_fractions_is_not_a_digit() -> None:
    column = Column("x", Type.DECIMAL, nullable=False, precision=10, scale=2)
    assert convert([column], [[0.1 + 0.2, 1.1 * 3, 5]]).columns == [["0.30", "3.30", "5.00"]]
    assert convert([column], [[0.301]]).withheld[0].code == "A2307"


@pytest.mark.parametrize(
    ("type_", "cell", "code"),
    [
        (Type.GUID, GUID.upper(), "A2306"),
        (Type.DECIMAL, "1.5", "A2306"),
        (Type.DATETIME, "2024-01-01", "A2306"),
        (Type.TEXT, "x" * 5000, "A2309"),
        (Type.BYTES, b"x" * 5000, "A2309"),
        (Type.TEXT, None, "A2301"),
        (Type.TEXT, long_key(b"x" * 64, 9_000), "A2309"),
    ],
)
def test_a_key_must_be_canonical_and_short_as_it_is(type_: Type, cell: Stored, code: str) -> None:
    column = Column("id", type_, nullable=False, key=1, precision=10, scale=2)
    assert convert([column], [[cell]]).withheld[0].code == code


def test_the_parts_of_a_key_share_its_length() -> None:
    columns = [Column(f"k{i}", Type.TEXT, nullable=False, key=i + 1) for i in range(4)]
    assert not convert(columns, [["x" * 1000]] * 4).withheld
    assert convert(columns, [["x" * 1000], ["x" * 1100], ["x"], ["x"]]).withheld[0].column == "k1"


@pytest.mark.parametrize("cell", ["k" * 5000, b"k" * 5000, BadText(b"k" * 5000)])
def test_a_long_key_is_shown_the_same_whether_or_not_it_was_fetched(cell: Stored) -> None:
    assert shown(cell) == shown(long_key(b"k" * 64, 5000)) != shown(long_key(b"k" * 64, 5001))


def test_short_bad_keys_are_shown_as_they_are() -> None:
    assert [shown(cell) for cell in ("a\0", 7, b"\1", None, TOO_BIG)] == ["a\0", 7, b"\1", None, None]


def target(*values: Column) -> Target:
    return Target("d", b"id", 3, [KEY], values)


TEXT = Column("t", Type.TEXT, nullable=True)


def test_a_batch_has_upserts_then_withheld_then_deletes() -> None:
    made = batch(target(TEXT), columns_of([(1, "a"), (2, 5), (3, None)]), columns_of([(8,), (9,)]))
    assert made is not None
    assert made.ops == bytes([Op.UPSERT, Op.UPSERT, Op.WITHHELD, Op.DELETE, Op.DELETE])
    assert (made.keys, made.values) == ([[1, 3, 2, 8, 9]], [["a", None]])
    assert [(w.code, w.column) for w in made.withheld] == [("A2302", "t")]
    assert (made.dataset, made.schema_id, made.generation) == ("d", b"id", 3)


def test_a_batch_of_deletes_alone_has_every_column() -> None:
    made = batch(target(TEXT), (), columns_of([(8,)]))
    assert made is not None
    assert (made.ops, made.keys, made.values) == (bytes([Op.DELETE]), [[8]], [[]])


def test_a_batch_of_nothing_is_none() -> None:
    assert batch(target(TEXT), ()) is None


def test_a_table_of_keys_alone_travels() -> None:
    made = batch(target(), columns_of([(1,), (2,)]), columns_of([(3,)]))
    assert made is not None
    assert (made.ops, made.keys, made.values) == (bytes([0, 0, 1]), [[1, 2, 3]], [])


def test_the_first_bad_column_of_a_row_is_its_reason() -> None:
    made = batch(target(TEXT, Column("u", Type.INT, nullable=False)), columns_of([(1, "a\0", "x"), (None, 1, 2)]))
    assert made is not None
    assert [(w.code, w.column) for w in made.withheld] == [("A2305", "t"), ("A2301", "id")]
