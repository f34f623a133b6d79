"""The script for a DBA: whole, quoted, T-SQL, and only what was asked for in force."""

from __future__ import annotations

import re

import pytest

from cdc.errors import AgentError
from cdc.model import Dataset
from cdc.source_settings import Login, Secret, SqlServerSource
from cdc.sources.sqlserver.installing import layouts
from cdc.sources.sqlserver.scripting import Wanted, script
from tests.support import tsqlcheck

DAY = 86_400.0
SETTINGS = SqlServerSource(server="erp", database="ERP] x", user="cd]c", password=Secret(env="X"))
DATASETS = [
    Dataset(name="employee", table="HR.Employee", channel="main"),
    Dataset(name="again", table="[HR].[Employee]", channel="main"),
    Dataset(name="leave", table="HR.[Sick]]Leave]", channel="main"),
]
ALL = Wanted(tracking=True, retention=7 * DAY, snapshot=True)
NOTHING = Wanted(tracking=False, retention=3 * DAY, snapshot=False)


def made(wanted: Wanted = ALL, settings: SqlServerSource = SETTINGS) -> str:
    return script(settings, DATASETS, layouts(), wanted)


def in_force(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("--") and line != "GO"]


def test_every_batch_is_t_sql() -> None:
    if reason := tsqlcheck.missing():
        pytest.skip(reason)
    texts = [text for wanted in (ALL, NOTHING) for text in tsqlcheck.batches("script", made(wanted))]
    assert len(texts) > 20
    assert [str(finding) for finding in tsqlcheck.check(texts).findings] == []


def test_everything_that_was_asked_for_is_in_force() -> None:
    lines = in_force(made())
    for expected in (
        "USE [ERP]] x];",
        "CREATE USER [cd]]c] FOR LOGIN [cd]]c];",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::[erp_cdc] TO [cd]]c];",
        "GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::[HR].[Sick]]Leave] TO [cd]]c];",
        "ALTER DATABASE [ERP]] x] SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON);",
        "ALTER TABLE [HR].[Sick]]Leave] ENABLE CHANGE_TRACKING;",
        "ALTER DATABASE [ERP]] x] SET ALLOW_SNAPSHOT_ISOLATION ON;",
    ):
        assert lines.count(expected) == 1, expected


def test_two_datasets_of_one_table_need_it_once() -> None:
    assert made().count("ALTER TABLE [HR].[Employee] ENABLE CHANGE_TRACKING;") == 1


def test_what_was_not_asked_for_stands_there_as_a_comment() -> None:
    text = made(NOTHING)
    assert not [line for line in in_force(text) if re.match(r"ALTER (DATABASE|TABLE \[HR\])", line)]
    assert "-- ALTER TABLE [HR].[Employee] ENABLE CHANGE_TRACKING;" in text
    assert "-- ALTER DATABASE [ERP]] x] SET ALLOW_SNAPSHOT_ISOLATION ON;" in text


def test_statements_that_cannot_be_repeated_look_first() -> None:
    """Each of them fails where the thing is there already."""
    lines = made().splitlines()
    once = [n for n, line in enumerate(lines) if re.match(r"(ALTER|CREATE|INSERT)\b", line)]
    assert len(once) >= 8
    assert [lines[n] for n in once if not lines[n - 1].startswith("IF ")] == []


def test_an_integrated_login_is_for_the_dba_to_name() -> None:
    settings = SqlServerSource(server="erp", database="ERP", login=Login.INTEGRATED)
    assert not [line for line in in_force(made(ALL, settings)) if line.startswith(("GRANT", "CREATE USER"))]
    assert r"-- GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::[HR].[Employee] TO [DOMAIN\account];" in made(ALL, settings)


def test_the_owner_of_everything_is_granted_nothing() -> None:
    settings = SqlServerSource(server="erp", database="ERP", user="SA", password=Secret(env="X"))
    assert "GRANT" not in "\n".join(in_force(made(ALL, settings)))


def test_a_table_that_has_no_name_is_said() -> None:
    with pytest.raises(AgentError) as caught:
        script(SETTINGS, [Dataset(name="wrong", table="a.b.c", channel="main")], [], ALL)
    assert (caught.value.code, caught.value.where) == ("A2221", "dataset wrong, table a.b.c")


def test_a_name_cannot_end_its_comment() -> None:
    settings = SqlServerSource(server="erp", database="ERP\u2028DROP TABLE x", user="cdc", password=Secret(env="X"))
    assert made(ALL, settings).startswith("-- Prepares the database ERP?DROP TABLE x for the agent")
