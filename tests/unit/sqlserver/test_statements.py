"""The statements as they are sent, held against texts that were looked at; `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from cdc.model import Dataset
from cdc.sources.sqlserver import statements
from cdc.sources.sqlserver.reading import key_parameters
from cdc.sources.sqlserver.statements import Reading
from cdc.sources.sqlserver.types import Found
from tests.support import tsqlcheck
from tests.support.sqlserver_columns import EVERY, ID, LATIN, STAFF, plan, table

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "sqlserver"
NAME = Found("Name", "nvarchar", 100, 0, 0, LATIN, nullable=False)
CODE = Found("co]de", "varchar", 10, 0, 0, "Polish_CI_AS", nullable=False)
DAY = Found("day", "datetime", 8, 23, 3, nullable=False)
FILTER = "c_int > 1 -- only those"


def keyed(*columns: Found, descending: tuple[str, ...] = ()) -> Reading:
    names = tuple(column.name for column in columns)
    return plan(table(*columns, Found("v", "int", 4, 10, 0), key=names, descending=descending)).reading


def every_key() -> dict[str, str]:
    """A page behind a key of each type that can be one."""
    result: dict[str, str] = {}
    for column in EVERY:
        if column.max_length != -1 and column.type not in ("text", "ntext", "image", "datetimeoffset", "sql_variant"):
            result[f"page_by_{column.type}"] = statements.page(keyed(column._replace(nullable=False)), [False])
    return result


def texts() -> dict[str, str]:
    everything = table(ID, *EVERY)
    filtered = plan(everything, msgspec.structs.replace(STAFF, filter=FILTER)).reading
    several = keyed(NAME, CODE, DAY, descending=("co]de",))
    tables = [("dbo", "staff"), ("other schema", "it's]")]
    return {
        "changes": statements.changes(plan(everything).reading),
        "changes_filtered": statements.changes(filtered),
        "changes_several": statements.changes(several),
        "changed_keys": statements.changed_keys(filtered),
        "changed_tables": statements.changed_tables(tables),
        "changed_counts": statements.changed_counts(tables),
        "page_first": statements.page(plan(everything).reading, []),
        "page_filtered": statements.page(filtered, [False]),
        "page_several": statements.page(several, [False, False, False]),
        "page_damaged_text": statements.page(several, [True, False, False]),
        "page_keys": statements.page_keys(several, [False, False, False]),
        "row": statements.row(several, several.values, [False, False, False]),
        "row_there": statements.row(several, [], [False, False, False]),
        "probe": statements.probe(several),
        "condition": statements.condition(("dbo", "staff"), FILTER),
        "tables": statements.tables(tables),
        "columns": statements.columns([7, 8]),
        "keys": statements.keys([7, 8]),
        "enable": "\n".join(
            [
                statements.enable_database(7 * 86_400),
                statements.change_retention(90 * 60),
                statements.enable_table(tables[1]),
                statements.ALLOW_SNAPSHOT,
                statements.drop_table("witness"),
                statements.lock_timeout(2.5),
            ]
        ),
        **every_key(),
    }


@pytest.mark.parametrize("name", sorted(texts()))
def test_the_text_is_the_one_that_was_looked_at(name: str) -> None:
    path = FOLDER / f"{name}.sql"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(texts()[name] + "\n", encoding="utf-8")
    assert texts()[name] + "\n" == path.read_text(encoding="utf-8")


def test_no_golden_text_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.sql")} == set(texts())


@pytest.mark.skipif(bool(tsqlcheck.missing()), reason=tsqlcheck.missing())
def test_every_text_passes_the_parser_of_microsoft() -> None:
    static = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.parents[2].glob("cdc/sources/sqlserver/sql/*.sql")}
    batches = [
        tsqlcheck.Text(batch.name, with_parameters(batch.sql))
        for name, text in {**static, **texts()}.items()
        if "{" not in text or name in texts()
        for batch in tsqlcheck.batches(name, text)
    ]
    assert tsqlcheck.check(batches).findings == []


def with_parameters(sql: str) -> str:
    parts = sql.split("?")
    return "".join(part + f"@P{i}" for i, part in enumerate(parts[:-1], 1)) + parts[-1]


@pytest.mark.parametrize("column", [c for c in EVERY if c.type in ("int", "decimal", "nvarchar", "varbinary", "datetime2")])
def test_a_page_takes_one_parameter_for_each_column_of_its_key(column: Found) -> None:
    reading = keyed(column._replace(nullable=False), DAY)
    sql = statements.page(reading, [False, False])
    assert sql.count("?") == 1 + len(key_parameters(reading.ordered, [1, "2026-01-31 00:00:00.000"])) == 3


def test_parameters_have_sizes_that_do_not_depend_on_their_values() -> None:
    reading = keyed(NAME, CODE)
    one, other = (key_parameters(reading.ordered, key) for key in (["a", "b"], ["abcdef", "cd"]))
    assert [(p.type, p.size) for p in one] == [(p.type, p.size) for p in other] == [(-9, 50), (-9, 10)]


def test_the_key_travels_in_the_order_declared_and_pages_run_in_the_order_of_the_index() -> None:
    made = plan(table(ID, NAME, key=("id", "Name")), Dataset(name="staff", table="staff", channel="hr", key=("Name", "id")))
    assert [c.name for c in made.schema.keys()] == ["Name", "id"]  # noqa: SIM118  # no mapping
    assert [k.carried.column.name for k in made.reading.ordered] == ["id", "Name"]
    assert "ORDER BY T.[id], T.[Name]" in statements.page(made.reading, [])


def test_no_upper_bound_and_no_operation_stands_in_the_changes() -> None:
    sql = texts()["changes"]
    assert "SYS_CHANGE_VERSION" not in sql
    assert "SYS_CHANGE_OPERATION" not in sql
    assert "WHERE" not in sql.replace("CASE WHEN", "")


@pytest.mark.parametrize(
    ("seconds", "words"), [(86_400, "1 DAYS"), (90_000, "25 HOURS"), (5_400, "90 MINUTES"), (61, "2 MINUTES"), (0, "1 MINUTES")]
)
def test_a_retention_is_never_shorter_than_asked_for(seconds: float, words: str) -> None:
    assert statements.retention(seconds) == words
