"""Rows whose very key cannot be carried: listed while they are there, off the list when they have gone, stopping nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.store.sqlite import SqliteStore
from tests.support.store_feeder import Feeder, batch, identity, manual_runtime
from transport.frames import Cell, Column, Fold, Op, Schema, Type, Withheld
from transport.values import loose_identity

CODES = Schema(
    "codes",
    "hr",
    "up",
    [
        Column("code", Type.TEXT, nullable=False, key=1, fold=Fold.ASCII),
        Column("day", Type.DATETIME, nullable=False, key=2, scale=3),
        Column("name", Type.TEXT, nullable=True),
    ],
)
DAY = "2026-01-01 00:00:00.000"
REASON = Withheld("A2302", "code", "BLOB in a column read as text")
NASTY: list[list[Cell]] = [
    [None, DAY],
    [b"\xff\x00", DAY],
    [5, DAY],
    [True, DAY],
    [1.5, DAY],
    [2**70, DAY],
    ["half \ud800", DAY],
    ["x" * 9_000, DAY],
    ["abc", "2026-01-01T00:00:00"],
    ["abc", None],
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "acme.db", manual_runtime())
    yield made
    made.close()


@pytest.fixture
def feeder(store: SqliteStore) -> Feeder:
    made = Feeder(store)
    made.load([{"code": "ABC", "day": DAY, "name": "kept"}], schema=CODES)
    return made


def rows(store: SqliteStore) -> list[Cell]:
    return [row.cells["name"] for row in store.rows("codes", b"", 9)]


@pytest.mark.parametrize("key", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("fold", Fold)
@pytest.mark.parametrize("pad", [False, True])
def test_any_key_at_all_has_a_name(key: list[Cell], fold: Fold, pad: bool) -> None:
    column = Column("code", Type.TEXT, nullable=False, key=1, fold=fold, pad=pad)
    assert loose_identity([column, CODES.columns[1]], key)


CARRIED = [key for key in NASTY if key[0] not in (2**70, "half \ud800", "x" * 9_000)]  # the others are sent as a stand-in


@pytest.mark.parametrize("key", CARRIED, ids=range(len(CARRIED)))
def test_a_withheld_row_with_any_key_is_listed_and_goes_off_the_list_with_its_row(
    store: SqliteStore, feeder: Feeder, key: list[Cell]
) -> None:
    applied = feeder.window(batch([(Op.WITHHELD, key)], schema=CODES, reason=REASON))
    assert applied.withheld == 1
    applied = feeder.window(batch([(Op.DELETE, key)], schema=CODES))
    assert (applied.withheld, rows(store)) == (0, ["kept"])


def test_a_bad_key_is_mended_in_one_window_with_rows_that_are_well(store: SqliteStore, feeder: Feeder) -> None:
    feeder.window(batch([(Op.WITHHELD, [b"\xff", DAY])], schema=CODES, reason=REASON))
    mended = {"code": "XYZ", "day": DAY, "name": "mended"}
    applied = feeder.window(batch([mended, (Op.DELETE, ["abc", DAY]), (Op.DELETE, [b"\xff", DAY])], schema=CODES))
    assert (applied.withheld, rows(store)) == (0, ["mended"])


def test_a_row_with_a_key_of_the_wrong_kind_is_withheld_alone(store: SqliteStore, feeder: Feeder) -> None:
    """A healthy agent never sends one."""
    bad = {"code": b"\xff", "day": DAY, "name": "bad"}
    good = {"code": "good", "day": DAY, "name": "good"}
    applied = feeder.window(batch([bad, good], schema=CODES))
    assert (applied.withheld, sorted(map(str, rows(store)))) == (1, ["good", "kept"])
    assert [row.code for row in store.withheld("codes", 9)] == ["T1009"]
    assert identity("good", DAY, schema=CODES) in {row.key for row in store.rows("codes", b"", 9)}
