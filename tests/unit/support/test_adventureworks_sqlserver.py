"""The shape of AdventureWorks is the one that Microsoft publishes; rows are literals of their column's type."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.support import adventureworks_sqlserver as made
from tests.support.adventureworks import DATA
from tests.support.adventureworks_shape import SHAPES
from tests.support.sqlserver_values import MAKERS, literal, parsed, quoted, spoilt

NOWHERE = Path("nowhere")
needs_data = pytest.mark.skipif(not (DATA / "schema.json").is_file(), reason="the data of AdventureWorks is not there")


@needs_data
def test_types_keys_identities_and_references_are_those_of_the_published_schema() -> None:
    published = json.loads((DATA / "schema.json").read_text(encoding="utf-8"))
    ours = {t.name: t for t in made.tables() if t.name in SHAPES}
    assert set(ours) == set(published)
    for name, table in published.items():
        columns = [(c["name"], c["type"], c["nullable"], c["identity"]) for c in table["columns"]]
        assert [tuple(c) for c in ours[name].columns] == columns, name
        assert list(ours[name].key) == table["primary_key"]
        assert ours[name].references == {k["columns"][0]: k["references"] for k in table["foreign_keys"]}


@needs_data
def test_a_row_whose_parent_is_left_out_is_left_out_too() -> None:
    rows = {table.name: rows for table, rows in made.all_rows(1, most=600)}
    orders = {row[0] for row in rows["Purchasing.PurchaseOrderHeader"]}
    details = rows["Purchasing.PurchaseOrderDetail"]
    assert details
    assert {row[0] for row in details} <= orders


@needs_data
def test_places_in_the_hierarchy_are_read_from_their_bits() -> None:
    assert [made.path(bytes.fromhex(text)) for text in ("58", "5AC0", "5AD6", "5AE158", "")] == [
        "/1/",
        "/1/1/",
        "/1/1/1/",
        "/1/1/4/1/",
        "/",
    ]
    employees = next(rows for table, rows in made.all_rows(1) if table.name == "HumanResources.Employee")
    paths = {row[3] for row in employees if row[3] != "NULL"}
    assert len(paths) == sum(row[3] != "NULL" for row in employees)
    assert all(text.removeprefix("hierarchyid::Parse('").count("/") > 1 for text in paths)


def test_without_the_data_there_are_rows_for_every_table() -> None:
    rows = {table.name: rows for table, rows in made.all_rows(1, data=NOWHERE, most=90)}
    assert len(rows) == len(SHAPES) + len(made.OTHERS)
    assert all(rows.values())
    assert rows == {table.name: rows for table, rows in made.all_rows(1, data=NOWHERE, most=90)}


def test_a_batch_brings_identity_values_only_where_there_is_an_identity() -> None:
    by_name = {t.name: t for t in made.tables()}
    shift, currency = by_name["HumanResources.Shift"], by_name["Sales.Currency"]
    assert next(made.inserts(shift, [["1"] * 5])).startswith("SET IDENTITY_INSERT [HumanResources].[Shift] ON;")
    assert next(made.inserts(currency, [["N'x'"] * 3])).startswith("INSERT INTO [Sales].[Currency]")
    assert len(list(made.inserts(currency, [["N'x'"] * 3] * (made.BATCH_ROWS + 1)))) == 2


@pytest.mark.parametrize("name", MAKERS)
def test_every_type_has_values_and_nulls(name: str) -> None:
    declared = {"decimal": "decimal(9,2)", "binary": "binary(4)", "char": "char(3)"}.get(name, name)
    rng = Random(7)
    found = {literal(rng, declared, nullable=True) for _ in range(200)}
    assert "NULL" in found
    assert len(found) > 2


def test_text_is_cut_as_the_server_counts_it() -> None:
    rng = Random(7)
    for _ in range(300):
        text = literal(rng, "nvarchar(5)")[2:-1].replace("''", "'")
        assert len(text.encode("utf-16-le")) <= 10


def test_what_cannot_be_carried_is_an_expression_of_the_server() -> None:
    assert "NCHAR(" in spoilt(Random(1), "nvarchar(50)")
    assert "NCHAR(" not in spoilt(Random(1), "int")


def test_a_declared_type_is_read_with_the_servers_defaults() -> None:
    assert parsed("datetime2") == ("datetime2", 7, 0)
    assert parsed("nvarchar(max)") == ("nvarchar", -1, 0)
    assert parsed("decimal(38,10)") == ("decimal", 38, 10)
    assert quoted("O'Brien") == "N'O''Brien'"
