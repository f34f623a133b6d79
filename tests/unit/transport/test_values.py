"""Canonical values: golden vectors, what is canonical and what is not, identity and hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transport.errors import NotCarried
from transport.frames import MAX_KEY, Cell, Column, Fold, Type
from transport.values import (
    bad_cells,
    canonical_date,
    canonical_datetime,
    canonical_datetimeoffset,
    canonical_decimal,
    canonical_guid,
    canonical_time,
    check_cell,
    fold_text,
    key_identities,
    key_identity,
    loose_identity,
    row_hash,
)

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "values.json").read_text(encoding="utf-8"))


def column(kind: Type, *, key: bool = False, **other: Any) -> Column:
    return Column("c", kind, not key, key=int(key), **other)


def cell_of(vector: dict[str, Any]) -> Cell:
    return bytes.fromhex(vector["cell"]) if vector["type"] == "bytes" else vector["cell"]


def golden_column(vector: dict[str, Any]) -> Column:
    fold, pad = Fold(vector.get("fold", "")), vector.get("pad", False)
    return column(
        Type(vector["type"]),
        key=True,
        precision=vector.get("precision", 0),
        scale=vector.get("scale", 0),
        fold=fold,
        pad=pad,
    )


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda v: f"{v['type']} {v['cell']!r:.30}")
def test_golden_values_keep_their_identity_and_hash(vector: dict[str, Any]) -> None:
    where, cell = golden_column(vector), cell_of(vector)
    assert check_cell(where, cell) == ""
    assert bad_cells(where, [cell, cell]) == []
    assert key_identity([where], [cell]).hex() == vector["identity"]
    assert row_hash([where], [cell]).hex() == vector["hash"]


def test_every_type_has_golden_values() -> None:
    assert {vector["type"] for vector in GOLDEN} == set(Type)


DEC = column(Type.DECIMAL, precision=6, scale=2)
WHOLE = column(Type.DECIMAL, precision=4)
SMALL = column(Type.DECIMAL, precision=2, scale=2)
ANY = column(Type.DECIMAL, scale=1)
TIME = column(Type.TIME, scale=3)
MOMENT = column(Type.DATETIME, scale=3)
SECOND = column(Type.DATETIME)
OFFSET = column(Type.DATETIMEOFFSET)

NOT_CANONICAL: list[tuple[Column, Cell]] = [
    *((column(Type.INT), c) for c in (True, 1.0, "1", 2**63, -(2**63) - 1, b"1")),
    *((DEC, c) for c in ("1", "1.2", "1.234", "01.20", "-0.00", "+1.00", "1e2", "1E+2", ".50", "12345.00", " 1.00", "1.00\n")),
    *(
        (DEC, c)
        for c in ("", "-", "1,00", "--1.00", "-01.00", "1.0-", "1.00\t\n1.00", "\u0661.00", "00.00", 1.0, 1, "NaN", "-.50")
    ),
    *((WHOLE, c) for c in ("12345", "-0", "007", "1.", "1.0", "")),
    *((SMALL, c) for c in ("1.00", ".10", "-1.10", "-0.00", "00.10")),
    *((ANY, c) for c in ("1", "00.1", "-0.0")),
    *((column(Type.FLOAT), c) for c in (1, "1.0", float("nan"), float("inf"), -float("inf"), True)),
    *((column(Type.BOOL), c) for c in (0, 1, "true")),
    *((column(kind), c) for kind in (Type.TEXT, Type.XML, Type.JSON) for c in ("a\0", "\ud800", "\udc00\ud800", b"a", 1)),
    *((column(Type.BYTES), c) for c in ("a", bytearray(b"a"), 1)),  # type: ignore[misc]
    *((column(Type.DATE), c) for c in ("2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "2024-01-00", "2024-04-31")),
    *(
        (column(Type.DATE), c)
        for c in ("0000-01-01", "2024-1-01", "20240101", "2024-W01-1", "2024-01-01 ", "2024-01-0\uff11", "")
    ),
    *(
        (TIME, c)
        for c in ("24:00:00.000", "12:60:00.000", "12:00:60.000", "12:00:00", "12:00:00.00", "12:00:00.0000", "1:00:00.000")
    ),
    *(
        (MOMENT, c)
        for c in ("2024-01-01T12:00:00.000", "2024-01-01 12:00:00", "2024-02-30 12:00:00.000", "2024-01-01  12:00:00.000")
    ),
    *((SECOND, c) for c in ("2024-01-01", "2024-01-01 12:00:00.", "2024-01-01 12:00:00Z", "2024-01-01 24:00:00")),
    *(
        (OFFSET, c)
        for c in ("2024-01-01 12:00:00", "2024-01-01 12:00:00Z", "2024-01-01 12:00:00 +02:00", "2024-01-01 12:00:00-00:00")
    ),
    *(
        (OFFSET, c)
        for c in ("2024-01-01 12:00:00+14:01", "2024-01-01 12:00:00+15:00", "2024-01-01 12:00:00+0200", "+02:00", "")
    ),
    *(
        (column(Type.GUID), c)
        for c in ("{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "6F9619FF-8b86-d011-b42d-00c04fc964ff", "0" * 36, "")
    ),
]


@pytest.mark.parametrize(("where", "cell"), NOT_CANONICAL)
def test_what_is_not_canonical_is_named_alone_and_among_good_cells(where: Column, cell: Cell) -> None:
    good = next(
        c
        for w, c in CANONICAL
        if w is where or (w.type is where.type and (w.scale, w.precision) == (where.scale, where.precision))
    )
    assert check_cell(where, cell) != ""
    assert [i for i, _ in bad_cells(where, [good, cell, good])] == [1]
    assert [i for i, _ in bad_cells(where, [cell])] == [0]


CANONICAL: list[tuple[Column, Cell]] = [
    *((column(Type.INT), c) for c in (0, -1, 2**63 - 1, -(2**63))),
    *((DEC, c) for c in ("0.00", "-0.01", "1234.50", "-9999.99", "10.00")),
    *((WHOLE, c) for c in ("0", "-1", "9999", "10")),
    *((SMALL, c) for c in ("0.00", "-0.10", "0.99")),
    *((ANY, c) for c in ("0.0", "-1234567890123456789012345678901234567890.5")),
    *((column(Type.FLOAT), c) for c in (0.0, -0.0, 1.5, 1e308, 5e-324)),
    *((column(Type.BOOL), c) for c in (True, False)),
    *((column(kind), c) for kind in (Type.TEXT, Type.XML, Type.JSON) for c in ("", "a", " zażółć \n😀 ", "a\t\n")),
    *((column(Type.BYTES), c) for c in (b"", b"\0\xff")),
    *((column(Type.DATE), c) for c in ("2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "2023-04-30")),
    *((TIME, c) for c in ("00:00:00.000", "23:59:59.999")),
    *((MOMENT, c) for c in ("2024-02-29 23:59:59.997", "0001-01-01 00:00:00.000")),
    *((SECOND, c) for c in ("2024-01-31 12:00:00", "9999-12-31 23:59:59")),
    *((OFFSET, c) for c in ("2024-01-01 12:00:00+02:00", "2024-01-01 12:00:00+00:00", "2024-01-01 12:00:00-14:00")),
    *((column(Type.GUID), c) for c in ("6f9619ff-8b86-d011-b42d-00c04fc964ff", "00000000-0000-0000-0000-000000000000")),
]


@pytest.mark.parametrize(("where", "cell"), CANONICAL)
def test_what_is_canonical_passes_alone_and_with_nulls(where: Column, cell: Cell) -> None:
    assert check_cell(where, cell) == ""
    assert bad_cells(where, [cell, None, cell]) == []


def test_null_is_refused_in_a_key_and_where_the_column_has_none() -> None:
    strict = Column("c", Type.INT, nullable=False)
    assert "key" in check_cell(column(Type.INT, key=True), None)
    assert bad_cells(strict, [1, None]) == [(1, "NULL in a column without NULLs")]
    assert bad_cells(column(Type.INT), [None, None]) == bad_cells(strict, []) == []


def test_reasons_do_not_repeat_the_content() -> None:
    assert not any("secret" in check_cell(column(kind), "secret\0") for kind in Type)


def test_a_column_of_huge_texts_is_looked_at_one_by_one() -> None:
    assert bad_cells(column(Type.TEXT), ["a" * (3 << 20), "b" * (3 << 20), "\0"]) == [(2, "text with U+0000")]


# -- helpers for adapters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "precision", "scale", "expected"),
    [
        (5, 6, 2, "5.00"),
        ("5", 6, 2, "5.00"),
        (0.1, 6, 2, "0.10"),
        (-0.0, 6, 2, "0.00"),
        ("-0", 6, 2, "0.00"),
        ("1e3", 6, 2, "1000.00"),
        ("1.50E-1", 6, 2, "0.15"),
        ("+007.5", 6, 2, "7.50"),
        (".5", 6, 2, "0.50"),
        ("5.", 6, 2, "5.00"),
        ("1.2300", 6, 2, "1.23"),
        (123456789012345678901234567890, 38, 0, "123456789012345678901234567890"),
        ("-12.5", 0, 4, "-12.5000"),
        (1e22, 38, 0, "1" + "0" * 22),
        ("1.234", 6, 2, None),
        ("12345.00", 6, 2, None),
        (0.1 + 0.2, 6, 2, None),
        (float("nan"), 6, 2, None),
        (float("inf"), 6, 2, None),
        ("1e9999", 0, 2, None),
        ("1e-9999", 0, 2, None),
        ("abc", 6, 2, None),
        ("", 6, 2, None),
        (" 1", 6, 2, None),
        ("1_0", 6, 2, None),
        ("\u0661", 6, 2, None),
    ],
)
def test_a_number_becomes_a_decimal_of_the_declared_scale_or_nothing(
    value: Any, precision: int, scale: int, expected: Any
) -> None:
    assert canonical_decimal(value, precision, scale) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (canonical_guid("{6F9619FF-8B86-D011-B42D-00C04FC964FF}"), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        (canonical_guid("6f9619ff8b86d011b42d00c04fc964ff"), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        (canonical_guid("6f9619ff"), None),
        (canonical_date("2024-02-29"), "2024-02-29"),
        (canonical_date("2024-02-29 00:00:00.000"), "2024-02-29"),
        (canonical_date("2024-02-29 00:00:01"), None),
        (canonical_date("29.02.2024"), None),
        (canonical_time("12:30", 0), "12:30:00"),
        (canonical_time("12:30:15.5", 3), "12:30:15.500"),
        (canonical_time("12:30:15.1230000", 3), "12:30:15.123"),
        (canonical_time("12:30:15.1234", 3), None),
        (canonical_time("25:00", 0), None),
        (canonical_datetime("2024-01-01T12:30:15", 3), "2024-01-01 12:30:15.000"),
        (canonical_datetime("2024-01-01", 0), "2024-01-01 00:00:00"),
        (canonical_datetime("2024-01-01x12:30", 0), None),
        (canonical_datetime("now", 0), None),
        (canonical_datetimeoffset("2024-01-01T12:30:15Z", 0), "2024-01-01 12:30:15+00:00"),
        (canonical_datetimeoffset("2024-01-01 12:30:15.12 +0200", 2), "2024-01-01 12:30:15.12+02:00"),
        (canonical_datetimeoffset("2024-01-01 12:30:15-00:00", 0), "2024-01-01 12:30:15+00:00"),
        (canonical_datetimeoffset("2024-01-01 12:30:15", 0), None),
        (canonical_datetimeoffset("2024-01-01", 0), None),
        (canonical_datetimeoffset("2024-01-01 12:30:15+15:00", 0), None),
    ],
)
def test_helpers_write_the_canonical_text_or_nothing(result: str | None, expected: str | None) -> None:
    assert result == expected


# -- folding, identity, hash -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fold", "pad", "expected"),
    [
        ("Łódź ", Fold.NONE, False, "Łódź "),
        ("Łódź  ", Fold.NONE, True, "Łódź"),
        ("ŁÓDŹ", Fold.UNICODE, False, "łódź"),
        ("ŁÓDŹ a", Fold.ASCII, False, "ŁÓdŹ a"),
        ("ŁÓDŹ A", Fold.ASCII, False, "ŁÓdŹ a"),
        ("ABC ", Fold.UNICODE, True, "abc"),
        ("tab\t", Fold.NONE, True, "tab\t"),
        ("ΟΔΟΣ ΟΔΟς", Fold.UNICODE, False, "οδοσ οδοσ"),
        ("Straße", Fold.UNICODE, False, "straße"),
        ("STRASSE", Fold.UNICODE, False, "strasse"),
        ("ẞ", Fold.UNICODE, False, "ß"),
        ("ﬁ İ", Fold.UNICODE, False, "ﬁ İ"),
    ],
)
def test_texts_are_folded_letter_by_letter(text: str, fold: Fold, pad: bool, expected: str) -> None:
    assert fold_text(text, fold, pad) == expected


def test_identities_of_a_column_are_those_of_its_rows() -> None:
    columns = [column(Type.TEXT, key=True, fold=Fold.UNICODE, pad=True), column(Type.INT, key=True)]
    rows: list[list[Cell]] = [["A ", 1], ["a", 1], ["a", 2]]
    many = key_identities(columns, [list(c) for c in zip(*rows, strict=True)])
    assert many == [key_identity(columns, row) for row in rows]
    assert many[0] == many[1] != many[2]
    assert key_identities(columns, [[], []]) == []


def test_zero_has_no_sign_in_identity_and_hash() -> None:
    floats = column(Type.FLOAT, key=True)
    assert key_identity([floats], [-0.0]) == key_identity([floats], [0.0])
    assert row_hash([floats, floats], [-0.0, 1.0]) == row_hash([floats, floats], [0.0, 1.0])
    assert row_hash([floats, column(Type.INT)], [0.0, 0]) != row_hash([floats, column(Type.BOOL)], [0.0, False])


@pytest.mark.parametrize("cell", [None, "k" * MAX_KEY, "\ud800", 2**64], ids=["NULL", "too long", "surrogate", "65 bits"])
def test_what_cannot_be_a_key_has_no_identity_but_a_name(cell: Cell) -> None:
    columns = [column(Type.TEXT, key=True)]
    with pytest.raises(NotCarried) as caught:
        key_identity(columns, [cell])
    assert caught.value.code == "T1009"
    assert 0 < len(loose_identity(columns, [cell])) <= MAX_KEY


def test_a_withheld_row_with_a_good_key_has_its_own_identity() -> None:
    columns = [column(Type.TEXT, key=True, fold=Fold.ASCII)]
    assert loose_identity(columns, ["A"]) == key_identity(columns, ["a"])


def test_hash_needs_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        row_hash([column(Type.INT)] * 2, [1])
