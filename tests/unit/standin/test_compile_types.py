"""Types, stored forms and implicit conversions, without a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.standin.engine import types, values
from tests.standin.ports import Refused, SqlError, SqlType, Variant

t = types.parse


@pytest.mark.parametrize(
    ("text", "system_type_id", "facets"),
    [
        ("bit", 104, (1, 1, 0)),
        ("decimal(9,2)", 106, (5, 9, 2)),
        ("decimal(38,10)", 106, (17, 38, 10)),
        ("nvarchar(50)", 231, (100, 0, 0)),
        ("varchar(max)", 167, (-1, 0, 0)),
        ("datetime2(0)", 42, (6, 19, 0)),
        ("datetime2(7)", 42, (8, 27, 7)),
        ("time(3)", 41, (4, 12, 3)),
        ("datetimeoffset(7)", 43, (10, 34, 7)),
        ("rowversion", 189, (8, 0, 0)),
        ("sysname", 231, (256, 0, 0)),
        ("hierarchyid", 240, (892, 0, 0)),
    ],
)
def test_a_type_is_shown_as_in_sys_columns(text: str, system_type_id: int, facets: tuple[int, int, int]) -> None:
    assert types.system_type_id(t(text)) == system_type_id
    assert types.facets(t(text)) == facets


@pytest.mark.parametrize("text", ["decimal(18,4)", "nvarchar(max)", "datetime2(3)", "char(7)", "money", "xml"])
def test_rendering_reverses_parsing(text: str) -> None:
    assert types.render(t(text)) == text


def test_float_with_few_bits_is_real() -> None:
    assert t("float(24)").name == "real"
    assert t("float(25)").name == "float"


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(Refused):
        t("cursor")


@pytest.mark.parametrize(
    ("op", "a", "b", "expected"),
    [  # the table of "Precision, scale, and length"
        ("+", "decimal(9,2)", "decimal(9,4)", (12, 4)),
        ("*", "decimal(9,2)", "decimal(9,4)", (19, 6)),
        ("/", "decimal(9,2)", "decimal(9,4)", (23, 12)),
        ("%", "decimal(9,2)", "decimal(9,4)", (9, 4)),
        ("*", "decimal(38,10)", "decimal(38,10)", (38, 6)),
        ("*", "decimal(30,10)", "decimal(20,10)", (38, 7)),
        ("+", "decimal(38,10)", "decimal(38,4)", (38, 4)),
    ],
)
def test_decimal_arithmetic_has_the_documented_precision(op: str, a: str, b: str, expected: tuple[int, int]) -> None:
    result = types.decimal_result(op, t(a), t(b))
    assert (result.precision, result.scale) == expected


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "zażółć \U0001f600", "\udfff\ud800"])
def test_any_text_comes_back_from_storage(text: str) -> None:
    stored = values.to_storage(t("nvarchar(9)"), text)
    assert "\0" not in stored
    stored.encode()
    assert values.from_storage(t("nvarchar(9)"), stored) == text


def test_a_text_that_uses_the_storage_plane_is_refused() -> None:
    with pytest.raises(Refused):
        values.to_storage(t("nvarchar(9)"), "\U000f0041")


def test_uniqueidentifiers_sort_by_their_last_group_first() -> None:
    low = "ffffffff-ffff-ffff-ffff-000000000001"
    high = "00000000-0000-0000-0000-000000000002"
    assert values.guid_stored(low) < values.guid_stored(high)
    assert values.guid_original(values.guid_stored(low)) == low


@pytest.mark.parametrize(
    "variant",
    [
        Variant(t("int"), 5),
        Variant(t("decimal(9,3)"), Decimal("1.500")),
        Variant(SqlType("nvarchar", 5, collation="Polish_CI_AS"), "ż\0"),
        Variant(t("varbinary(4)"), b"\0\xff"),
        Variant(t("bit"), True),
        Variant(t("float"), 0.1),
        Variant(t("uniqueidentifier"), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        Variant(t("datetime2(7)"), "2020-01-01 00:00:00.1234567"),
    ],
)
def test_a_variant_comes_back_from_storage(variant: Variant) -> None:
    assert values.from_storage(t("sql_variant"), values.to_storage(t("sql_variant"), variant)) == variant


def test_a_point_comes_back_from_storage() -> None:
    raw = bytes.fromhex("e6100000010c") + bytes(range(16))
    stored = values.to_storage(t("geography"), raw)
    assert values.from_storage(t("geography"), stored) == raw


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        ("2020-01-02 03:04:05.998", "varchar(40)", "datetime", "2020-01-02 03:04:05.997"),
        ("2020-12-31T23:59:59.999", "varchar(40)", "datetime", "2021-01-01 00:00:00.000"),
        ("2020-01-01 00:00:00.003", "datetime", "datetime2(7)", "2020-01-01 00:00:00.0033333"),
        ("2020-01-01 00:00:30", "datetime2(0)", "smalldatetime", "2020-01-01 00:01:00"),
        ("13:00", "varchar(9)", "time(2)", "13:00:00.00"),
        ("", "varchar(1)", "date", "1900-01-01"),
        ("2020-01-01 00:00:00.1234567 +02:00", "datetimeoffset(7)", "datetime2(3)", "2020-01-01 00:00:00.123"),
        ("ab", "varchar(9)", "char(4)", "ab  "),
        ("abcdef", "varchar(9)", "varchar(3)", "abc"),
        (Decimal("1.005"), "decimal(9,3)", "decimal(9,2)", Decimal("1.01")),
        (Decimal("-1.005"), "decimal(9,3)", "decimal(9,2)", Decimal("-1.01")),
        ("$1,234.56789", "varchar(20)", "money", Decimal("1234.5679")),
        (-1.9, "float", "int", -1),
        (" 12 ", "varchar(9)", "int", 12),
        ("TRUE", "varchar(9)", "bit", True),
        (10, "int", "varbinary(8)", b"\0\0\0\n"),
        (b"\xff\xff\xff\xfe", "varbinary(4)", "int", -2),
        (12345, "int", "varchar(3)", "*"),
        (1234567.0, "float", "varchar(30)", "1.23457e+006"),
        ("6F9619FF-8B86-D011-B42D-00C04FC964FF", "varchar(40)", "uniqueidentifier", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    ],
)
def test_a_value_is_converted_as_documented(value: Any, source: str, target: str, expected: Any) -> None:
    assert values.assign(value, t(source), t(target)) == expected


@pytest.mark.parametrize(
    ("value", "source", "target", "number"),
    [
        ("x", "varchar(9)", "int", 245),
        ("99999999999", "varchar(20)", "int", 248),
        ("300", "varchar(9)", "tinyint", 244),
        ("x", "varchar(9)", "bigint", 8114),
        ("x", "varchar(9)", "decimal(9,2)", 8114),
        ("nope", "varchar(9)", "uniqueidentifier", 8169),
        ("abc", "varchar(9)", "money", 235),
        ("2020-13-01", "varchar(20)", "date", 241),
        ("2020-02-30", "varchar(20)", "datetime", 242),
        ("1752-12-31", "varchar(20)", "datetime", 242),
        (300, "int", "tinyint", 220),
        (2**40, "bigint", "int", 8115),
        (Decimal(1000), "decimal(9,2)", "decimal(4,2)", 8115),
        ("text", "varchar(9)", "varbinary(9)", 257),
        (1, "int", "date", 206),
    ],
)
def test_what_cannot_be_converted_has_the_servers_error(value: Any, source: str, target: str, number: int) -> None:
    with pytest.raises(SqlError) as raised:
        values.assign(value, t(source), t(target))
    assert raised.value.number == number
