"""The comparer's own conversions: what the driver hands over raw, in the form that the copy must have."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("pyodbc", reason="pyodbc cannot be loaded", exc_type=ImportError)

from cdc.demo.compare import Bad
from tests.support import sqlserver_compare as compare
from tests.support.sqlserver_compare import Source, canonical, of_copy


def column(kind: str, digits: int = 0) -> Source:
    return Source("c", kind, digits, 0)


def test_times_come_as_the_structures_of_odbc() -> None:
    moment = struct.pack("<hHHHHHI", 9999, 12, 31, 23, 59, 59, 999_999_900)
    assert compare._moment(moment) == "9999-12-31 23:59:59.9999999"
    assert compare._clock(struct.pack("<HHHxxI", 1, 2, 3, 100)) == "01:02:03.0000001"
    for ticks, fraction in ((0, "0000000"), (1, "0030000"), (2, "0070000"), (299, "9970000")):
        assert compare._moment(struct.pack("<iI", -53_690, 86_399 * 300 + ticks)) == f"1753-01-01 23:59:59.{fraction}"
    assert compare._moment(struct.pack("<HH", 46_079, 611)) == "2026-02-28 10:11:00.0000000"
    west = struct.pack("<hHHHHHIhh", 1, 1, 1, 0, 0, 0, 0, -3, -30)
    assert compare._offset(west) == "0001-01-01 00:00:00.0000000-03:30"
    assert compare._offset(struct.pack("<hHHHHHIhh", 2026, 1, 2, 3, 4, 5, 600, 5, 45)) == "2026-01-02 03:04:05.0000006+05:45"
    assert [f(None) for f in (compare._moment, compare._clock, compare._offset, compare._wide)] == [None] * 4


@pytest.mark.parametrize(
    ("kind", "digits", "cell", "form"),
    [
        ("datetime", 3, "2026-01-01 23:59:59.9970000", "2026-01-01 23:59:59.997"),
        ("smalldatetime", 0, "2026-01-01 00:01:00.0000000", "2026-01-01 00:01:00"),
        ("datetime2", 2, "2026-01-01 00:01:00.1200000", "2026-01-01 00:01:00.12"),
        ("time", 7, "00:01:00.1234567", "00:01:00.1234567"),
        ("datetimeoffset", 3, "2026-01-01 00:01:00.1230000+02:00", "2026-01-01 00:01:00.123+02:00"),
        ("money", 4, Decimal("-0.0000"), "0.0000"),
        ("decimal", 2, Decimal("1E+3"), "1000.00"),
        ("uniqueidentifier", 0, "00112233-4455-6677-8899-AABBCCDDEEFF", "00112233-4455-6677-8899-aabbccddeeff"),
        ("bit", 0, True, 1),
        ("sql_variant", 0, "datetime2|2026-01-01 00:00:00.1230000", "datetime2|2026-01-01 00:00:00.123"),
        ("int", 0, None, None),
    ],
)
def test_a_cell_takes_the_form_of_the_copy(kind: str, digits: int, cell: Any, form: Any) -> None:
    assert canonical(column(kind, digits), cell) == form


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_cannot_be_carried_equals_nothing(text: str) -> None:
    assert isinstance(canonical(column("nvarchar"), text), Bad)
    assert compare._wide(text.encode("utf-16-le", "surrogatepass")) == text


def test_json_of_the_copy_is_understood() -> None:
    variant = '{"type":"decimal(9,2)","value":"1.50"}'
    assert of_copy(column("sql_variant"), variant) == "decimal|1.50"
    assert of_copy(column("geography"), '{"srid":4326,"wkb":"01AB"}') == "4326|01AB"
    assert of_copy(column("nvarchar"), variant) == variant


def test_columns_are_selected_under_their_quoted_names() -> None:
    columns = [column("int"), Source("a]b", "hierarchyid", 0, 0)]
    text = compare.select(columns, {"table": "dbo.t", "filter": "c > 1"})
    assert text == "SELECT [c], [a]]b].ToString() FROM [dbo].[t] WHERE c > 1"
