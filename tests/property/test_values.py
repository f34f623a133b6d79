"""Canonical values: helpers write what the checks accept, columns are judged like their cells, identity follows folding."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from transport.errors import NotCarried
from transport.frames import Cell, Column, Fold, Type
from transport.values import (
    bad_cells,
    canonical_datetime,
    canonical_datetimeoffset,
    canonical_decimal,
    canonical_guid,
    canonical_time,
    check_cell,
    fold_text,
    key_identities,
    key_identity,
    row_hash,
)

few = settings(max_examples=150, deadline=None)

scales = st.integers(0, 7)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
near_misses = st.one_of(
    st.text("0123456789.-+eE :TZ\t\nabf{}\0", max_size=30),
    st.from_regex(r"-?[0-9]{1,4}\.[0-9]{1,3}\n?"),
    st.from_regex(
        r"[0-9]{4}-[0-3][0-9]-[0-3][0-9]( [0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,3})?([+-][01][0-9]:[0-6][0-9])?)?"
    ),
    st.text(max_size=4),
    st.text(st.characters(categories=["Cs", "Nd"]), max_size=3),
)
cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    near_misses,
    st.binary(max_size=3),
    st.dates().map(str),
    st.uuids().map(str),
)
columns = st.builds(
    Column,
    name=st.just("c"),
    type=st.sampled_from(Type),
    nullable=st.booleans(),
    key=st.integers(0, 1),
    precision=st.integers(0, 6),
    scale=st.integers(0, 3),
)


def column(kind: Type, scale: int = 0, precision: int = 0) -> Column:
    return Column("c", kind, False, precision=precision, scale=scale)


@few
@given(columns, st.lists(cells, max_size=6))
def test_a_column_is_judged_like_its_cells(where: Column, some: list[Cell]) -> None:
    one_by_one = [(i, reason) for i, cell in enumerate(some) if (reason := check_cell(where, cell))]
    assert bad_cells(where, some) == one_by_one


@settings(max_examples=400, deadline=None)
@given(columns, st.lists(near_misses, min_size=1, max_size=4))
def test_a_column_of_text_is_judged_like_its_cells(where: Column, some: list[Cell]) -> None:
    assert [i for i, _ in bad_cells(where, some)] == [i for i, cell in enumerate(some) if check_cell(where, cell)]


@few
@given(st.one_of(st.integers(), st.floats(), st.decimals().map(str), near_misses), st.integers(0, 38), scales)
def test_a_decimal_that_is_written_is_canonical_and_the_same_number(value: float | str, precision: int, scale: int) -> None:
    written = canonical_decimal(value, precision, scale)
    if written is not None:
        assert check_cell(column(Type.DECIMAL, scale, precision), written) == ""
        assert Decimal(written) == Decimal(str(value))
        assert canonical_decimal(written, precision, scale) == written


@few
@given(st.from_regex(r"-?(0|[1-9][0-9]{0,3})\.[0-9]{2}", fullmatch=True))
def test_a_decimal_is_canonical_exactly_when_it_is_written_as_it_is(text: str) -> None:
    assert (check_cell(column(Type.DECIMAL, 2, 6), text) == "") == (canonical_decimal(text, 6, 2) == text)


@few
@given(st.datetimes(), st.integers(6, 7), st.sampled_from("T "))
def test_a_moment_that_is_written_is_canonical(moment: dt.datetime, scale: int, between: str) -> None:
    text = moment.isoformat(between)
    written = canonical_datetime(text, scale)
    assert written is not None
    assert check_cell(column(Type.DATETIME, scale), written) == ""
    assert dt.datetime.fromisoformat(written) == moment
    time = canonical_time(text[11:], scale)
    assert time is not None
    assert check_cell(column(Type.TIME, scale), time) == ""
    with_offset = canonical_datetimeoffset(text + "-0130", scale)
    assert with_offset == f"{written}-01:30"
    assert check_cell(column(Type.DATETIMEOFFSET, scale), with_offset) == ""


@few
@given(near_misses, scales)
def test_whatever_a_helper_writes_is_canonical(text: str, scale: int) -> None:
    helpers = {Type.TIME: canonical_time, Type.DATETIME: canonical_datetime, Type.DATETIMEOFFSET: canonical_datetimeoffset}
    for kind, helper in helpers.items():
        written = helper(text, scale)
        assert written is None or check_cell(column(kind, scale), written) == ""
        assert check_cell(column(kind, scale), text) or written == text


@few
@given(st.uuids())
def test_a_guid_is_canonical_however_it_was_written(guid: uuid.UUID) -> None:
    for text in (str(guid), guid.hex, f"{{{guid}}}".upper()):
        assert canonical_guid(text) == str(guid)
    assert check_cell(column(Type.GUID), str(guid)) == ""


@few
@given(texts, texts, st.sampled_from(Fold), st.booleans())
def test_keys_are_equal_exactly_when_their_folded_texts_are(one: str, other: str, fold: Fold, pad: bool) -> None:
    where = [Column("c", Type.TEXT, False, key=1, fold=fold, pad=pad)]
    for a, b in ((one, other), (one, one.upper()), (one, one.lower()), (one, one + " ")):
        equal = key_identity(where, [a]) == key_identity(where, [b])
        assert equal == (fold_text(a, fold, pad) == fold_text(b, fold, pad))


@few
@given(texts, st.sampled_from(Fold), st.booleans())
def test_folding_twice_is_folding_once_and_keeps_letters_apart(text: str, fold: Fold, pad: bool) -> None:
    folded = fold_text(text, fold, pad)
    assert fold_text(folded, fold, pad) == folded
    assert len(folded) == len(text.rstrip(" ") if pad else text)


@few
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), texts), max_size=8))
def test_identities_are_the_same_in_any_company_and_order(rows: list[tuple[int, str]]) -> None:
    where = [Column("a", Type.INT, False, key=1), Column("b", Type.TEXT, False, key=2, fold=Fold.UNICODE)]
    many = key_identities(where, [[row[0] for row in rows], [row[1] for row in rows]])
    turned = key_identities(where, [[row[0] for row in rows[::-1]], [row[1] for row in rows[::-1]]])
    assert many == turned[::-1] == [key_identity(where, row) for row in rows]


@few
@given(columns, cells, cells)
def test_hashes_of_canonical_cells_are_equal_exactly_when_the_cells_are(where: Column, one: Cell, other: Cell) -> None:
    if check_cell(where, one) == check_cell(where, other) == "":
        assert (row_hash([where], [one]) == row_hash([where], [other])) == (one == other)


@few
@given(columns, cells)
def test_a_canonical_cell_of_a_key_has_an_identity(where: Column, cell: Cell) -> None:
    if check_cell(where, cell) == "" and cell is not None:
        assert key_identity([where], [cell])
    elif cell is None:
        try:
            key_identity([where], [cell])
        except NotCarried as error:
            assert error.code == "T1009"  # noqa: PT017
