from __future__ import annotations

import msgspec
import pytest

from cdc.errors import DatasetPaused
from cdc.sources.sqlserver.types import Found
from tests.support.sqlserver_columns import EVERY, ID, LATIN, STAFF, plan, table
from transport.frames import Column, Type


def columns(*found: Found, **changes: object) -> dict[str, Column]:
    dataset = msgspec.structs.replace(STAFF, **changes)
    return {column.name: column for column in plan(table(ID, *found), dataset).schema.columns}


def refusal(*found: Found, key: tuple[str, ...] = ("id",), **changes: object) -> str:
    with pytest.raises(DatasetPaused) as caught:
        plan(table(ID, *found, key=key), msgspec.structs.replace(STAFF, **changes))
    return caught.value.code


def test_every_type_travels_as_the_table_of_types_says() -> None:
    found = columns(*EVERY)
    kinds = {name: (c.type.value, c.precision, c.scale, c.length, c.source_type) for name, c in found.items() if name != "id"}
    assert kinds == {
        "c_tinyint": ("int", 0, 0, 0, "tinyint"),
        "c_smallint": ("int", 0, 0, 0, "smallint"),
        "c_int": ("int", 0, 0, 0, "int"),
        "c_bigint": ("int", 0, 0, 0, "bigint"),
        "c_bit": ("bool", 0, 0, 0, "bit"),
        "c_decimal": ("decimal", 38, 10, 0, "decimal(38,10)"),
        "c_numeric": ("decimal", 9, 2, 0, "numeric(9,2)"),
        "c_money": ("decimal", 19, 4, 0, "money"),
        "c_smallmoney": ("decimal", 10, 4, 0, "smallmoney"),
        "c_float": ("float", 0, 0, 0, "float"),
        "c_real": ("float", 0, 0, 0, "real"),
        "c_char": ("text", 0, 0, 10, "char(10)"),
        "c_varchar": ("text", 0, 0, 50, "varchar(50)"),
        "c_varchar_max": ("text", 0, 0, 0, "varchar(max)"),
        "c_nchar": ("text", 0, 0, 10, "nchar(10)"),
        "c_nvarchar": ("text", 0, 0, 50, "nvarchar(50)"),
        "c_nvarchar_max": ("text", 0, 0, 0, "nvarchar(max)"),
        "c_text": ("text", 0, 0, 0, "text"),
        "c_ntext": ("text", 0, 0, 0, "ntext"),
        "c_binary": ("bytes", 0, 0, 8, "binary(8)"),
        "c_varbinary": ("bytes", 0, 0, 50, "varbinary(50)"),
        "c_varbinary_max": ("bytes", 0, 0, 0, "varbinary(max)"),
        "c_image": ("bytes", 0, 0, 0, "image"),
        "c_rowversion": ("bytes", 0, 0, 8, "rowversion"),
        "c_guid": ("guid", 0, 0, 0, "uniqueidentifier"),
        "c_date": ("date", 0, 0, 0, "date"),
        "c_time": ("time", 0, 7, 0, "time(7)"),
        "c_smalldatetime": ("datetime", 0, 0, 0, "smalldatetime"),
        "c_datetime": ("datetime", 0, 3, 0, "datetime"),
        "c_datetime2": ("datetime", 0, 7, 0, "datetime2(7)"),
        "c_datetimeoffset": ("datetimeoffset", 0, 7, 0, "datetimeoffset(7)"),
        "c_xml": ("xml", 0, 0, 0, "xml"),
        "c_hierarchyid": ("text", 0, 0, 0, "hierarchyid"),
        "c_variant": ("json", 0, 0, 0, "sql_variant"),
        "c_geography": ("json", 0, 0, 0, "geography"),
        "c_geometry": ("json", 0, 0, 0, "geometry"),
    }


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Found("x", "", 10, 0, 0), "A2270"),
        (Found("x", "json", -1, 0, 0), "A2270"),
        (Found("x", "xml", -1, 0, 0, column_set=True), "A2270"),
        (Found("x", "int", 4, 10, 0, encrypted=True), "A2271"),
        (Found("x", "int", 4, 10, 0, masked=True), "A2274"),
        (Found("n" * 64, "int", 4, 10, 0), "A2228"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name_until_it_is_left_out(found: Found, code: str) -> None:
    assert refusal(found) == code
    if code != "A2228":
        assert list(columns(found, exclude=("x",))) == ["id"]


def test_a_mask_does_no_harm_to_who_may_look_behind_it() -> None:
    made = plan(table(ID, Found("x", "int", 4, 10, 0, masked=True)), unmask=True)
    assert [column.name for column in made.schema.columns] == ["id", "x"]


@pytest.mark.parametrize("type_", ["datetimeoffset", "sql_variant"])
def test_a_key_that_the_server_compares_in_its_own_way_is_refused(type_: str) -> None:
    assert refusal(Found("k", type_, 10, 34, 7, nullable=False), key=("k",)) == "A2272"


def test_hidden_columns_travel_only_when_they_are_named() -> None:
    since = Found("since", "datetime2", 8, 27, 7, hidden=True)
    assert list(columns(since)) == ["id"]
    assert list(columns(since, columns=("id", "since"))) == ["id", "since"]


@pytest.mark.parametrize(
    ("found", "override", "kind"),
    [
        (Found("x", "decimal", 9, 10, 2), "TEXT", (Type.TEXT, 0, 0)),
        (Found("x", "int", 4, 10, 0), "NVARCHAR(20)", (Type.TEXT, 0, 0)),
        (Found("x", "int", 4, 10, 0), "BIT", (Type.BOOL, 0, 0)),
        (Found("x", "char", 10, 0, 0, LATIN), "DATE", (Type.DATE, 0, 0)),
        (Found("x", "varchar", 30, 0, 0, LATIN), "datetime2(3)", (Type.DATETIME, 0, 3)),
        (Found("x", "varchar", 30, 0, 0, LATIN), "DECIMAL(15,2)", (Type.DECIMAL, 15, 2)),
        (Found("x", "nvarchar", -1, 0, 0, LATIN), "JSON", (Type.JSON, 0, 0)),
    ],
)
def test_a_column_is_read_as_declared_where_that_has_a_meaning(
    found: Found, override: str, kind: tuple[Type, int, int]
) -> None:
    made = columns(found, types={"X": override})["x"]
    assert (made.type, made.precision, made.scale) == kind


@pytest.mark.parametrize(
    ("type_", "override"),
    [
        ("int", "WHATEVER"),
        ("varchar", "DECIMAL"),
        ("int", "DATE"),
        ("varbinary", "TEXT"),
        ("varchar", "TIME(12)"),
        ("int", "(("),
    ],
)
def test_what_has_no_meaning_is_refused(type_: str, override: str) -> None:
    assert refusal(Found("x", type_, 10, 10, 0, LATIN), types={"x": override}) == "A2225"


def test_a_key_is_read_as_it_is_or_as_text() -> None:
    key = Found("k", "varchar", 10, 0, 0, LATIN, nullable=False)
    assert refusal(key, key=("k",), types={"k": "DATE"}) == "A2225"
    assert plan(table(key, key=("k",)), msgspec.structs.replace(STAFF, types={"k": "TEXT"})).schema.columns[0].type is Type.TEXT


def test_the_fingerprint_moves_with_everything_that_decides_what_travels() -> None:
    found = Found("x", "nvarchar", 100, 0, 0, LATIN)
    changes = [
        found,
        found._replace(max_length=102),
        found._replace(collation="Polish_CI_AS"),
        found._replace(nullable=False),
        found._replace(type="varchar"),
        found._replace(computed=True, definition="(1)"),
        found._replace(name="y"),
    ]
    prints = [plan(table(ID, change)).fingerprint for change in changes]
    prints.append(plan(table(ID, found), msgspec.structs.replace(STAFF, filter="id > 1")).fingerprint)
    assert len(set(prints)) == len(prints)
    assert plan(table(ID, found)).fingerprint == prints[0]
