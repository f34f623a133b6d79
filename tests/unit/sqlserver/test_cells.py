"""Fetched rows to batches: what travels, what is withheld, which keys are deletes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from cdc.model import Dataset
from cdc.sources.sqlserver import cells
from cdc.sources.sqlserver.cells import Target
from cdc.sources.sqlserver.types import Found
from tests.support.sqlserver_columns import ID, LATIN, STAFF, plan, table
from transport.frames import MAX_ROW, Batch, Op
from transport.values import check_cell

CODE = Found("code", "nvarchar", 40, 0, 0, LATIN, nullable=False)
NOTE = Found("note", "nvarchar", 100, 0, 0, LATIN)


def target(*columns: Found, key: tuple[str, ...] = ("id",), **changes: Any) -> Target:
    return plan(table(*columns, key=key), msgspec.structs.replace(STAFF, **changes)).target(0)


def told(batch: Batch | None) -> list[tuple[str, tuple[Any, ...]]]:
    if batch is None:
        return []
    return [(Op(op).name.lower(), key) for op, key in zip(batch.ops, zip(*batch.keys, strict=True), strict=True)]


def made(to: Target, rows: Sequence[Sequence[Any]]) -> Batch:
    batch = cells.changes(to, rows)
    assert batch is not None
    return batch


def test_a_row_that_is_there_is_an_upsert_and_one_that_is_not_a_delete() -> None:
    batch = made(target(ID, NOTE), [(1, 1, "a"), (2, 0, None), (3, 1, None)])
    assert told(batch) == [("upsert", (1,)), ("upsert", (3,)), ("delete", (2,))]
    assert batch.values == [["a", None]]


def test_nothing_changed_is_no_batch() -> None:
    assert cells.changes(target(ID, NOTE), []) is None


def test_a_key_that_changed_only_in_case_or_trailing_blanks_is_one_upsert_with_the_key_as_it_is_now() -> None:
    to = target(CODE, NOTE, key=("code",))
    batch = made(to, [("abc", 1, "ABC", "x"), ("d", 1, "d ", "y")])
    assert told(batch) == [("upsert", ("ABC",)), ("upsert", ("d ",))]


def test_a_key_that_the_server_holds_equal_and_the_agent_does_not_leaves_no_old_row() -> None:
    to = target(CODE._replace(collation="Latin1_General_CI_AI"), NOTE, key=("code",))
    batch = made(to, [("a", 1, "á", "x"), ("b", 1, "b", "y")])
    assert told(batch) == [("upsert", ("b",)), ("withheld", ("á",)), ("delete", ("a",))]
    assert [reason.code for reason in batch.withheld] == ["A2273"]


def test_binary_keys_that_differ_in_zeros_at_the_end_leave_no_old_row() -> None:
    to = target(Found("k", "varbinary", 8, 0, 0, nullable=False), NOTE, key=("k",))
    assert told(made(to, [(b"\1", 1, b"\1\0", "x")])) == [("upsert", (b"\1\0",)), ("delete", (b"\1",))]


@pytest.mark.parametrize("key", ["Straße", "e\u0301", "\u00ad1"])
def test_a_key_outside_of_what_the_agent_can_compare_is_withheld_and_never_merged(key: str) -> None:
    batch = made(target(CODE, NOTE, key=("code",)), [("a", 1, "a", "x"), (key, 1, key, "y")])
    assert told(batch) == [("upsert", ("a",)), ("withheld", (key,))]
    assert (batch.withheld[0].code, batch.withheld[0].column) == ("A2273", "code")
    assert key not in batch.withheld[0].detail


def test_a_binary_collation_withholds_no_key() -> None:
    to = target(CODE._replace(collation="Latin1_General_BIN2"), NOTE, key=("code",))
    assert told(made(to, [("ß", 1, "ß", None)])) == [("upsert", ("ß",))]


@pytest.mark.parametrize(("text", "code"), [("a\0b", "A2305"), ("a\ud83d", "A2304")])
def test_a_damaged_text_costs_its_row_only(text: str, code: str) -> None:
    batch = made(target(ID, NOTE), [(1, 1, "a"), (2, 1, text), (3, 1, "ż")])
    assert told(batch) == [("upsert", (1,)), ("upsert", (3,)), ("withheld", (2,))]
    assert batch.values == [["a", "ż"]]
    assert [(w.code, w.column) for w in batch.withheld] == [(code, "note")]


def test_a_damaged_key_is_the_same_when_it_is_withheld_and_when_it_is_deleted() -> None:
    to = target(CODE, NOTE, key=("code",))
    withheld = made(to, [("a\ud83d", 1, "a\ud83d", "x")])
    deleted = made(to, [("a\ud83d", 0, None, None)])
    assert [op for op, _ in told(withheld) + told(deleted)] == ["withheld", "delete"]
    assert withheld.keys == deleted.keys


def test_a_cell_too_large_to_travel_costs_its_row_only() -> None:
    photo = Found("photo", "varbinary", -1, 0, 0)
    batch = made(target(ID, photo), [(1, 1, b"x", 1), (2, 1, None, MAX_ROW + 1), (3, 1, None, None)])
    assert told(batch) == [("upsert", (1,)), ("upsert", (3,)), ("withheld", (2,))]
    assert batch.values == [[b"x", None]]
    assert [w.code for w in batch.withheld] == ["A2308"]


def test_a_zero_with_a_sign_is_a_zero() -> None:
    batch = made(target(ID, Found("pay", "decimal", 9, 9, 2)), [(1, 1, "-0.00"), (2, 1, "-0.50"), (3, 1, None)])
    assert batch.values == [["0.00", "-0.50", None]]


def test_a_text_read_as_another_type_is_canonical_or_withheld() -> None:
    day = Found("day", "char", 30, 0, 0, LATIN)
    to = target(ID, day, types={"day": "DATETIME(3)"})
    batch = made(to, [(1, 1, "2026-01-31T10:00"), (2, 1, "31.01.2026"), (3, 1, None), (4, 1, "2026-01-31 10:00:00.000")])
    assert batch.values == [["2026-01-31 10:00:00.000", None, "2026-01-31 10:00:00.000"]]
    assert [w.code for w in batch.withheld] == ["A2306"]


def test_an_integer_read_as_a_truth_value_is_one_or_withheld() -> None:
    batch = made(target(ID, Found("x", "int", 4, 10, 0), types={"x": "BIT"}), [(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 1, None)])
    assert batch.values == [[False, True, None]]
    assert [w.code for w in batch.withheld] == ["A2306"]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("12.50", "decimal|9|2|5|", {"type": "decimal(9,2)", "value": "12.50"}),
        ("a\ud83d", "nvarchar|0|0|20|Polish_CI_AS", {"type": "nvarchar(10)", "value": "a\ud83d", "collation": "Polish_CI_AS"}),
        ("0AFF", "varbinary|0|0|8000|", {"type": "varbinary(8000)", "value": "0AFF"}),
        ("1", "int|10|0|4|", {"type": "int", "value": "1"}),
        ("01:02:03.1000000", "time|16|1|5|", {"type": "time(1)", "value": "01:02:03.1000000"}),
    ],
)
def test_a_variant_tells_its_type_and_its_value(value: str, kind: str, expected: dict[str, str]) -> None:
    batch = made(target(ID, Found("v", "sql_variant", 8016, 0, 0)), [(1, 1, value, kind), (2, 1, None, None)])
    assert batch.values[0][1] is None
    text = batch.values[0][0]
    assert isinstance(text, str)
    assert json.loads(text) == expected
    assert check_cell(plan(table(ID, Found("v", "sql_variant", 8016, 0, 0))).schema.columns[1], text) == ""


def test_a_page_has_keys_and_values_as_they_are() -> None:
    to = target(CODE, ID, NOTE, key=("code", "id"))
    batch = cells.page(to, [("a", 1, "x"), ("ß", 2, "y")])
    assert told(batch) == [("upsert", ("a", 1)), ("withheld", ("ß", 2))]


def test_a_key_longer_than_a_key_may_be_is_withheld() -> None:
    long = Found("k", "nvarchar", 3400, 0, 0, "Latin1_General_BIN2", nullable=False)
    to = target(long, ID, NOTE, key=("k", "id"))
    batch = cells.page(to, [("中" * 700, 1, "x"), ("a", 2, "y")])
    assert told(batch)[0] == ("upsert", ("a", 2))
    assert batch is not None
    assert [w.code for w in batch.withheld] == ["A2309"]


def test_a_dataset_without_values_has_keys_only() -> None:
    to = target(ID, NOTE, columns=("id",))
    assert told(made(to, [(1, 1), (2, 0)])) == [("upsert", (1,)), ("delete", (2,))]


def test_the_same_rows_are_told_whatever_dataset_they_are_for() -> None:
    other = plan(table(ID, NOTE), Dataset(name="other", table="staff", channel="x")).target(3)
    assert made(other, [(1, 1, "a")]).generation == 3
