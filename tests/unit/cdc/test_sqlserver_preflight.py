"""What facts about a SQL Server mean, and the statements that mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from cdc.errors import REGISTRY
from cdc.model import Dataset, Finding, Severity
from cdc.source_settings import Secret, SnapshotUse, SqlServerSource
from cdc.sources.sqlserver.preflight import (
    CleanUps,
    DatabaseFacts,
    Rights,
    ServerFacts,
    TableFacts,
    TrackingFacts,
    judge_clean_ups,
    judge_database,
    judge_keys,
    judge_own,
    judge_server,
    judge_settings,
    judge_table,
    judge_tracking,
    period,
)
from tests.support import tsqlcheck

HOUR, DAY = 3600.0, 86_400.0
WHERE = "erp, database ERP"
SETTINGS = SqlServerSource(server="erp", database="ERP", user="cdc", password=Secret(file=Path("/etc/cdc/erp.password")))
DATABASE = DatabaseFacts(
    name="ERP] x",
    compatibility=150,
    snapshot=1,
    committed_snapshot=False,
    durability=0,
    updateability="READ_WRITE",
    user="cdc]",
    schema=True,
    installed=True,
    history=True,
)
ALL_RIGHTS = Rights(select=True, insert=True, update=True, delete=True, history=True)
TRACKING = TrackingFacts(period=3, units=3, clean_up=True)
TABLE = TableFacts(kind="U ", schema="HR", table="Sick]Leave", has_key=True, may_read=True, may_ask=True, tracked=True)
PEOPLE = Dataset(name="people", table="HR.[Sick]]Leave]", channel="hr")


def bad(findings: Iterable[Finding]) -> list[tuple[str, Severity]]:
    return [(f.code, f.severity) for f in findings if f.severity is not Severity.OK]


def errors(*codes: str) -> list[tuple[str, Severity]]:
    return [(code, Severity.ERROR) for code in codes]


def warnings(*codes: str) -> list[tuple[str, Severity]]:
    return [(code, Severity.WARNING) for code in codes]


def settings(**changes: object) -> SqlServerSource:
    return SqlServerSource(**{"server": "erp", "database": "ERP", "user": "cdc", "password": SETTINGS.password, **changes})


def database(use: SnapshotUse = SnapshotUse.REQUIRE, **changes: object) -> list[Finding]:
    return list(judge_database(DATABASE._replace(**changes), use, WHERE))


def tracking(facts: TrackingFacts | None, retention: float = 3 * DAY, pause: float = 60.0) -> list[Finding]:
    return list(judge_tracking(facts, "ERP", WHERE, retention=retention, pause=pause))


def table(facts: TableFacts | None = TABLE, **changes: object) -> list[Finding]:
    return list(judge_table(PEOPLE, facts and facts._replace(**changes), "cdc"))


# -- connection ------------------------------------------------------------------------------------------------------------


def test_a_verified_connection_is_right() -> None:
    assert bad(judge_settings(SETTINGS, WHERE, exposed=False)) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"encrypt": False}, "A2323"), ({"trust_server_certificate": True}, "A2324")],
)
def test_a_connection_that_others_can_read_is_warned_about(changes: dict[str, bool], code: str) -> None:
    assert bad(judge_settings(settings(**changes), WHERE, exposed=False)) == warnings(code)


def test_a_password_file_that_all_may_read_is_warned_about() -> None:
    found = list(judge_settings(SETTINGS, WHERE, exposed=True))
    assert bad(found) == warnings("A2325")
    assert found[-1].statement == "chmod 640 /etc/cdc/erp.password"


# -- server ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "edition", "expected"),
    [
        ("15.0.4415.2", 3, []),
        ("13.0.6300.2", 2, []),
        ("13.0.5893.48", 2, warnings("A2327")),
        ("13.0.1601.5", 2, warnings("A2327", "A2327")),
        ("14.0.3006.16", 3, warnings("A2327", "A2327")),
        ("14.0.3026.27", 3, warnings("A2327")),
        ("12.0.6449.1", 3, errors("A2326")),
        ("12.0.2000.8", 5, warnings("A2326")),
        ("16.0.1000.6", 8, warnings("A2326")),
        ("", 0, warnings("A2326")),
    ],
)
def test_the_server_is_judged_by_release_and_build(version: str, edition: int, expected: list[tuple[str, Severity]]) -> None:
    assert bad(judge_server(ServerFacts(version, edition), WHERE)) == expected


def test_a_defect_is_named_with_its_article_and_its_update() -> None:
    (_, defect) = judge_server(ServerFacts("14.0.3026.27", 3), WHERE)
    assert defect.message.startswith("KB4135113: ")
    assert "SQL Server 2017 CU8" in defect.message
    assert defect.remedy.endswith(" https://support.microsoft.com/help/4135113")


def test_where_no_list_of_fixes_says_it_the_finding_says_so() -> None:
    (_, defect) = judge_server(ServerFacts("13.0.5026.0", 3), WHERE)
    assert defect.message.endswith("no list of fixes up to this build names it")


# -- database --------------------------------------------------------------------------------------------------------------


def test_a_database_that_is_ready_has_no_finding() -> None:
    assert bad(database()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"updateability": "READ_ONLY"}, errors("A2253")),
        ({"updateability": ""}, errors("A2253")),
        ({"snapshot": 0}, errors("A2252")),
        ({"snapshot": 2}, errors("A2252")),
        ({"snapshot": 3}, warnings("A2333")),
        ({"durability": 1}, []),
        ({"durability": 2}, warnings("A2334")),
        ({"compatibility": 110}, []),
        ({"compatibility": 100}, warnings("A2335")),
        ({"updateability": "READ_ONLY", "snapshot": 0, "durability": 2}, [*errors("A2253", "A2252"), *warnings("A2334")]),
    ],
)
def test_the_database_is_judged_by_its_states(changes: dict[str, object], expected: list[tuple[str, Severity]]) -> None:
    assert bad(database(**changes)) == expected


def test_without_snapshots_the_degraded_mode_is_a_warning_where_it_is_allowed() -> None:
    (found,) = database(SnapshotUse.AUTO, snapshot=0)
    assert found.severity is Severity.WARNING
    assert "degraded" in found.message


def test_read_committed_snapshot_is_explained_as_another_thing() -> None:
    (without,), (explained,) = database(snapshot=0), database(snapshot=0, committed_snapshot=True)
    assert "READ_COMMITTED_SNAPSHOT" not in without.message
    assert "READ_COMMITTED_SNAPSHOT, which is on, is another thing" in explained.message


def test_names_in_statements_are_quoted() -> None:
    (found,) = [f for f in database(snapshot=0) if f.statement]
    assert found.statement == "ALTER DATABASE [ERP]] x] SET ALLOW_SNAPSHOT_ISOLATION ON;"


# -- change tracking -------------------------------------------------------------------------------------------------------


def test_tracking_that_is_off_is_turned_on_with_the_retention_of_the_configuration() -> None:
    (found,) = tracking(None, retention=7 * DAY)
    assert (found.code, found.severity) == ("A2329", Severity.ERROR)
    assert found.statement == "ALTER DATABASE [ERP] SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON);"


@pytest.mark.parametrize(
    ("facts", "pause", "expected"),
    [
        (TrackingFacts(2, 3, clean_up=True), 60.0, []),
        (TrackingFacts(47, 2, clean_up=True), 60.0, warnings("A2331")),
        (TrackingFacts(30, 1, clean_up=True), 60.0, warnings("A2331")),
        (TrackingFacts(2, 3, clean_up=True), 2 * DAY, errors("A2331")),
        (TrackingFacts(49, 2, clean_up=True), 2 * DAY, []),
        (TrackingFacts(2, 3, clean_up=False), 60.0, warnings("A2332")),
        (TrackingFacts(1, 1, clean_up=False), HOUR, [*errors("A2331"), *warnings("A2332")]),
    ],
)
def test_retention_is_held_against_schedule_and_outages(
    facts: TrackingFacts, pause: float, expected: list[tuple[str, Severity]]
) -> None:
    assert bad(tracking(facts, pause=pause)) == expected


def test_a_retention_is_never_mended_to_less_than_the_schedule_needs() -> None:
    (found,) = tracking(TrackingFacts(1, 3, clean_up=True), retention=DAY, pause=5 * DAY)
    assert found.statement == "ALTER DATABASE [ERP] SET CHANGE_TRACKING (CHANGE_RETENTION = 5 DAYS);"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3 * DAY, "3 DAYS"), (DAY + HOUR, "25 HOURS"), (61.0, "2 MINUTES"), (1.0, "1 MINUTES"), (90 * 60.0, "90 MINUTES")],
)
def test_a_period_is_whole_units_and_never_shorter(seconds: float, text: str) -> None:
    assert period(seconds) == text


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (CleanUps(None, 0), []),
        (CleanUps(29, 0), []),
        (CleanUps(1440, 0), []),
        (CleanUps(1441, 0), warnings("A2336")),
        (CleanUps(10, 2), warnings("A2336")),
    ],
)
def test_clean_up_that_has_stopped_or_fails_is_noticed(facts: CleanUps, expected: list[tuple[str, Severity]]) -> None:
    assert bad(judge_clean_ups(facts, WHERE)) == expected


# -- our own structures ----------------------------------------------------------------------------------------------------


def test_our_structures_are_asked_for_before_the_rights_on_them() -> None:
    nothing = Rights(select=None, insert=None, update=None, delete=None, history=None)
    (found,) = judge_own(DATABASE._replace(schema=False, installed=False), nothing, WHERE)
    assert (found.code, found.severity, found.statement) == ("A2205", Severity.ERROR, "cdc install")


def test_rights_that_are_missing_are_granted_by_one_statement() -> None:
    (found,) = judge_own(DATABASE, ALL_RIGHTS._replace(insert=False, delete=None), WHERE)
    assert found.statement == "GRANT INSERT, DELETE ON SCHEMA::[erp_cdc] TO [cdc]]];"
    assert bad(judge_own(DATABASE, ALL_RIGHTS, WHERE)) == []


# -- tables ----------------------------------------------------------------------------------------------------------------


def test_a_table_that_is_ready_has_no_finding() -> None:
    assert table() == []


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"may_read": False}, ["A2254"]),
        ({"may_ask": False}, ["A2254"]),
        ({"tracked": False}, ["A2330"]),
        ({"has_key": False, "tracked": False}, ["A2223"]),
        ({"kind": "V "}, ["A2222"]),
        ({"may_read": False, "may_ask": False, "tracked": False}, ["A2254", "A2330"]),
    ],
)
def test_a_table_is_judged_by_permission_key_and_tracking(changes: dict[str, object], codes: list[str]) -> None:
    assert bad(table(**changes)) == errors(*codes)


def test_permissions_are_granted_by_one_statement() -> None:
    (found,) = table(may_read=False, may_ask=False)
    assert found.statement == "GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::[HR].[Sick]]Leave] TO [cdc];"


def test_a_table_that_cannot_be_seen_may_lack_permission() -> None:
    (found,) = table(None)
    assert (found.code, found.severity) == ("A2221", Severity.ERROR)
    assert found.statement == "GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::[HR].[Sick]]Leave] TO [cdc];"
    (nameless,) = judge_table(Dataset(name="x", table="a.b.c", channel="hr"), None, "cdc")
    assert nameless.statement == ""


@pytest.mark.parametrize(
    ("collation", "words"),
    [
        ("Latin1_General_CI_AS", ""),
        ("Polish_CI_AS", ""),
        ("SQL_Latin1_General_CP1_CI_AS", ""),
        ("Japanese_BIN2", ""),
        ("Latin1_General_CI_AI", "accents"),
        ("Turkish_CI_AS", "accents or one of the letters i, I"),
        ("Czech_CI_AS", "accents or one of the pairs ch"),
        ("Klingon_CI_AS", "letters"),
    ],
)
def test_a_key_whose_collation_cannot_be_repeated_wholly_is_warned_about(collation: str, words: str) -> None:
    found = list(judge_keys(PEOPLE, [("Code", collation)]))
    assert bad(found) == (warnings("A2273") if words else [])
    assert all(f.message.endswith(f"rows whose key has {words} are withheld") for f in found)


# -- all of them -----------------------------------------------------------------------------------------------------------


def everything() -> Iterator[Finding]:
    yield from judge_settings(settings(encrypt=False), WHERE, exposed=True)
    yield from judge_server(ServerFacts("13.0.1601.5", 3), WHERE)
    yield from database(updateability="READ_ONLY", snapshot=0, durability=2, compatibility=100)
    yield from tracking(None)
    yield from tracking(TrackingFacts(1, 1, clean_up=False), pause=HOUR)
    yield from judge_clean_ups(CleanUps(1, 1), WHERE)
    yield from judge_own(DATABASE, ALL_RIGHTS._replace(select=False), WHERE)
    yield from table(None)
    yield from table(may_read=False, tracked=False)
    yield from table(kind="V")
    yield from judge_keys(PEOPLE, [("Code", "Turkish_CI_AS")])


def test_every_finding_has_a_code_of_the_registry_and_every_bad_one_a_remedy() -> None:
    for finding in everything():
        assert finding.code in REGISTRY
        assert finding.message
        assert finding.remedy or finding.severity is Severity.OK


def test_every_statement_is_t_sql() -> None:
    if reason := tsqlcheck.missing():
        pytest.skip(reason)
    statements = {f.statement for f in everything() if f.statement and not f.statement.startswith(("chmod", "cdc"))}
    assert len(statements) >= 8
    assert tsqlcheck.check([tsqlcheck.Text(s, s) for s in sorted(statements)]).findings == []
