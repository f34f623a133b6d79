"""Microsoft's parser takes every file of ours, the script for a DBA, and what the builders make of any table."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from cdc.model import Dataset
from cdc.source_settings import Secret, SqlServerSource
from cdc.sources.sqlserver import statements
from cdc.sources.sqlserver.installing import layouts
from cdc.sources.sqlserver.plans import Database, make
from cdc.sources.sqlserver.preflight import period
from cdc.sources.sqlserver.scripting import Wanted, script
from cdc.sources.sqlserver.statements import Reading
from cdc.sources.sqlserver.structure import KeyPart, Table
from cdc.sources.sqlserver.types import Found
from tests.support.tsqlcheck import ROOT, Text, batches, check, missing, with_names_for_marks

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there")

FILES = sorted((ROOT / "cdc" / "sources" / "sqlserver" / "sql").glob("*.sql"))
PLACES = {"{objects}": "1, 2", "{places}": "(0, N'[dbo].[T]')"}  # what builders put into files
CODE_PAGE, UNICODE = "Polish_CI_AS", "Latin1_General_100_CI_AS_SC"
KINDS = {  # type -> bytes, precision, scale, collation
    "tinyint": (1, 3, 0, ""),
    "bigint": (8, 19, 0, ""),
    "bit": (1, 1, 0, ""),
    "decimal": (17, 38, 10, ""),
    "money": (8, 19, 4, ""),
    "float": (8, 53, 0, ""),
    "real": (4, 24, 0, ""),
    "char": (10, 0, 0, CODE_PAGE),
    "varchar": (40, 0, 0, CODE_PAGE),
    "nchar": (20, 0, 0, UNICODE),
    "nvarchar": (100, 0, 0, UNICODE),
    "binary": (16, 0, 0, ""),
    "varbinary": (64, 0, 0, ""),
    "timestamp": (8, 0, 0, ""),
    "date": (3, 10, 0, ""),
    "time": (5, 16, 7, ""),
    "smalldatetime": (4, 16, 0, ""),
    "datetime": (8, 23, 3, ""),
    "datetime2": (8, 27, 7, ""),
    "uniqueidentifier": (16, 0, 0, ""),
    "hierarchyid": (892, 0, 0, ""),
}
NO_KEYS = {
    "datetimeoffset": (10, 34, 7, ""),
    "text": (16, 0, 0, CODE_PAGE),
    "ntext": (16, 0, 0, UNICODE),
    "image": (16, 0, 0, ""),
    "xml": (-1, 0, 0, ""),
    "sql_variant": (8016, 0, 0, ""),
    "geography": (-1, 0, 0, ""),
    "geometry": (-1, 0, 0, ""),
}
NAMES = ("plain", "Order Details", "select", "a]b", "it's", "żółw", "a?b", "[x]", "--", "/*", "{c}", "@p")


def found(name: str, kind: str) -> Found:
    length, precision, scale, collation = {**KINDS, **NO_KEYS}[kind]
    return Found(name, kind, length, precision, scale, collation)


def reading(key: tuple[Found, ...], values: tuple[Found, ...], *, filter_: str = "", descending: bool = False) -> Reading:
    primary = tuple(KeyPart(k.name, descending and i == 1) for i, k in enumerate(key))
    table = Table(1, "my schema]", "it's a ?", "", (*key, *values), primary)
    dataset = Dataset(name="d", table="x", channel="c", filter=filter_)
    return make(dataset, table, Database(unmask=True)).reading


def of(r: Reading) -> list[str]:
    """Every statement of one dataset."""
    begun = [True] + [False] * (len(r.key) - 1)
    return [
        statements.changes(r),
        statements.changed_keys(r),
        statements.page(r, []),
        statements.page(r, begun),
        statements.page_keys(r, begun),
        statements.row(r, r.values, begun),
        statements.row(r, [], begun),
        statements.probe(r),
    ]


def faults(texts: list[str]) -> list[str]:
    return [str(finding) for finding in check([Text(sql, with_names_for_marks(sql)) for sql in texts]).findings]


def test_every_file_is_t_sql() -> None:
    texts = []
    for path in FILES:
        script_ = path.read_text(encoding="utf-8")
        for place, example in PLACES.items():
            script_ = script_.replace(place, example)
        texts += batches(path.name, with_names_for_marks(script_))
    report = check(texts)
    assert [str(finding) for finding in report.findings] == []
    assert report.batches >= len(FILES) > 20


@pytest.mark.parametrize("tracking", [False, True])
def test_the_script_for_a_dba_is_t_sql(tracking: bool) -> None:
    settings = SqlServerSource(server="erp", database="ERP 'x' ]", user="DOM]\\o'x", password=Secret(env="X"))
    datasets = [Dataset(name=f"d{i}", table=f"dbo.[{name.replace(']', ']]')}]", channel="c") for i, name in enumerate(NAMES)]
    text = script(settings, datasets, layouts(), Wanted(tracking, 7 * 86_400, tracking))
    report = check(batches("script", text))
    assert [str(finding) for finding in report.findings] == []
    assert report.batches > len(datasets)


def test_a_key_of_any_type_is_read_by_t_sql() -> None:
    assert faults([sql for kind in KINDS for sql in of(reading((found("k", kind),), (found("v", "bigint"),)))]) == []


def test_a_value_of_any_type_is_read_by_t_sql() -> None:
    values = tuple(found(f"v{i}", kind) for i, kind in enumerate({**KINDS, **NO_KEYS}))
    assert faults(of(reading((found("k", "bigint"),), values))) == []


def test_a_key_of_several_columns_in_any_order_is_read_by_t_sql() -> None:
    key = tuple(found(f"k{i}", kind) for i, kind in enumerate(("varchar", "datetime2", "bigint", "uniqueidentifier")))
    assert faults([sql for d in (False, True) for sql in of(reading(key, (), descending=d))]) == []


@pytest.mark.parametrize("filter_", ["[state] = N'x' -- open?", "active = 1 AND name LIKE N'a?%' /* why */"])
def test_a_filter_is_read_by_t_sql(filter_: str) -> None:
    r = reading((found("k", "bigint"),), (found("state", "nvarchar"), found("active", "bit")), filter_=filter_)
    assert faults([*of(r), statements.condition(r.table, r.filter)]) == []


def test_any_name_is_read_by_t_sql() -> None:
    names = list(NAMES)
    Random(3).shuffle(names)
    key, values = tuple(found(n, "nvarchar") for n in names[:2]), tuple(found(n, "datetime") for n in names[2:])
    tables = [("s]", n) for n in names]
    many = [statements.changed_tables(tables), statements.changed_counts(tables), statements.tables(tables)]
    assert faults([*of(reading(key, values)), *many]) == []


@pytest.mark.parametrize("seconds", [1.0, 60.0, 3_600.0, 90_000.0, 7 * 86_400.0])
def test_what_is_turned_on_is_t_sql(seconds: float) -> None:
    texts = [statements.enable_database(seconds), statements.change_retention(seconds), statements.lock_timeout(seconds)]
    assert faults([*texts, statements.enable_table(("a", "b")), statements.ALLOW_SNAPSHOT, statements.drop_table("a")]) == []
    assert period(seconds)


def test_there_is_a_file_for_each_name_that_is_asked_for() -> None:
    used = {match for path in (ROOT / "cdc").rglob("*.py") for match in _asked(path)}
    assert used <= {path.stem for path in FILES}


def _asked(path: Path) -> set[str]:
    return set(re.findall(r"\bstatic\(\"(\w+)\"\)", path.read_text(encoding="utf-8")))
