"""`cdc doctor` on SQL Server: each defect alone gives exactly its finding, and the statement it names mends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from cdc.model import Dataset, Finding, Severity
from cdc.source_settings import Secret, SnapshotUse
from cdc.sources.sqlserver.source import SqlServerSource
from tests.support.product import free_port
from tests.support.sqlserver import Server, driver_file
from tests.support.sqlserver_prepared import DATASETS, Prepared, prepared
from transport.machine import system_runtime

ERROR, WARNING = Severity.ERROR, Severity.WARNING
DAY = 86_400.0
OUR_TABLES = (  # as `cdc install` makes them, as far as the doctor looks
    "CREATE SCHEMA [erp_cdc]",
    "CREATE TABLE [erp_cdc].[settings] ([name] nvarchar(40) NOT NULL PRIMARY KEY, [number] bigint NULL)",
)
TRACKED = (
    "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
    "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 3 DAYS, AUTO_CLEANUP = ON)",
    "ALTER TABLE [HR].[Employee] ENABLE CHANGE_TRACKING",
    "ALTER TABLE [HR].[Sick Leave] ENABLE CHANGE_TRACKING",
)
GRANTED = (
    "GRANT SELECT, VIEW CHANGE TRACKING ON SCHEMA::[HR] TO [{user}]",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::[erp_cdc] TO [{user}]",
)


@pytest.fixture
def bare(sql_server: Server, database: str) -> Iterator[Prepared]:
    with prepared(sql_server, database) as made:
        yield made


@pytest.fixture
def erp(bare: Prepared) -> Prepared:
    bare.execute(*OUR_TABLES, *TRACKED, *(grant.format(user=bare.user) for grant in GRANTED))
    return bare


def seen(findings: list[Finding]) -> list[tuple[str, Severity, str]]:
    """Code, severity, and the dataset it is about."""
    return [(f.code, f.severity, f.where.partition(",")[0] if f.where.startswith("dataset") else "") for f in findings]


async def test_a_prepared_database_has_no_finding(erp: Prepared) -> None:
    assert await erp.findings() == []


@pytest.mark.parametrize(
    ("defect", "code", "severity", "dataset"),
    [
        ("ALTER TABLE [HR].[Employee] DISABLE CHANGE_TRACKING", "A2330", ERROR, "dataset employee"),
        ("DENY SELECT ON OBJECT::[HR].[Sick Leave] TO [{user}]", "A2254", ERROR, "dataset sick_leave"),
        ("DENY VIEW CHANGE TRACKING ON OBJECT::[HR].[Employee] TO [{user}]", "A2254", ERROR, "dataset employee"),
        ("REVOKE INSERT ON SCHEMA::[erp_cdc] FROM [{user}]", "A2254", ERROR, ""),
        ("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF", "A2252", ERROR, ""),
        ("ALTER DATABASE CURRENT SET CHANGE_TRACKING (CHANGE_RETENTION = 40 HOURS)", "A2331", WARNING, ""),
        ("ALTER DATABASE CURRENT SET CHANGE_TRACKING (AUTO_CLEANUP = OFF)", "A2332", WARNING, ""),
        ("ALTER DATABASE CURRENT SET DELAYED_DURABILITY = FORCED", "A2334", WARNING, ""),
    ],
)
async def test_a_defect_is_found_alone_and_its_statement_mends_it(
    erp: Prepared, defect: str, code: str, severity: Severity, dataset: str
) -> None:
    erp.execute(defect.format(user=erp.user))
    (found,) = await erp.findings()
    assert seen([found]) == [(code, severity, dataset)]
    erp.execute(found.statement)
    assert await erp.findings() == []


async def test_the_statements_of_a_bare_database_prepare_it(bare: Prepared) -> None:
    """As a DBA works the list down, and looks again."""
    bare.execute(*OUR_TABLES)
    done: list[str] = []
    while found := await bare.findings():
        assert len(done) < 12, (done, found)
        assert found[0].statement
        bare.execute(found[0].statement)
        done.append(found[0].code)
    assert done[0] == "A2252"
    assert {"A2252", "A2329", "A2330", "A2221", "A2254"} >= set(done) >= {"A2252", "A2329", "A2221"}


async def test_tracking_off_for_the_database_is_off_for_its_tables(erp: Prepared) -> None:
    erp.execute(*(f"ALTER TABLE {table} DISABLE CHANGE_TRACKING" for table in ("[HR].[Employee]", "[HR].[Sick Leave]")))
    erp.execute("ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF")
    found = await erp.findings()
    assert [f.code for f in found] == ["A2329", "A2330", "A2330"]
    erp.execute(*(f.statement for f in found))
    assert await erp.findings() == []


async def test_our_own_tables_are_asked_for(bare: Prepared) -> None:
    bare.execute(*TRACKED, GRANTED[0].format(user=bare.user))
    (found,) = await bare.findings()
    assert (found.code, found.statement) == ("A2205", "cdc install")


async def test_retention_is_held_against_the_schedule(erp: Prepared) -> None:
    (found,) = await erp.findings(pause=4 * DAY)
    assert seen([found]) == [("A2331", ERROR, "")]
    erp.execute(found.statement)
    assert await erp.findings(pause=4 * DAY - 60) == []


async def test_without_snapshots_the_mode_that_is_allowed_decides(erp: Prepared) -> None:
    erp.execute("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
    (found,) = await erp.findings(snapshot=SnapshotUse.AUTO)
    assert (found.code, found.severity) == ("A2252", WARNING)


async def test_read_committed_snapshot_is_explained_as_another_thing(erp: Prepared) -> None:
    erp.execute(
        "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF",
        "ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE",
    )
    (found,) = await erp.findings()
    assert "READ_COMMITTED_SNAPSHOT, which is on, is another thing" in found.message


async def test_a_low_compatibility_level_is_a_warning_without_a_statement(erp: Prepared) -> None:
    erp.execute("ALTER DATABASE CURRENT SET COMPATIBILITY_LEVEL = 100")
    (found,) = await erp.findings()
    assert (found.code, found.severity, found.statement) == ("A2335", WARNING, "")


@pytest.mark.parametrize(
    ("make", "table", "code"),
    [
        ("CREATE TABLE [HR].[Note] ([Text] nvarchar(50) NULL)", "HR.Note", "A2223"),
        ("CREATE VIEW [HR].[Names] AS SELECT [Name] FROM [HR].[Employee]", "HR.Names", "A2222"),
        ("SELECT 1", "HR.Nothing", "A2221"),
        ("SELECT 1", "ERP.HR.Employee", "A2221"),
    ],
)
async def test_what_cannot_be_a_dataset_is_named(erp: Prepared, make: str, table: str, code: str) -> None:
    erp.execute(make)
    found = await erp.findings([*DATASETS, Dataset(name="wrong", table=table, channel="main")])
    assert seen(found) == [(code, ERROR, "dataset wrong")]


async def test_a_key_that_cannot_be_matched_wholly_is_warned_about(erp: Prepared) -> None:
    erp.execute(
        "CREATE TABLE [HR].[Code] ([Code] varchar(9) COLLATE Czech_CI_AS NOT NULL PRIMARY KEY, [N] int NULL)",
        "ALTER TABLE [HR].[Code] ENABLE CHANGE_TRACKING",
    )
    (found,) = await erp.findings([*DATASETS, Dataset(name="code", table="HR.Code", channel="main")])
    assert (found.code, found.severity) == ("A2273", WARNING)


async def test_a_dataset_that_cannot_be_carried_is_named_once_all_else_is_in_order(erp: Prepared) -> None:
    erp.execute(
        "CREATE TABLE [HR].[Moment] ([At] datetimeoffset(0) NOT NULL PRIMARY KEY)",
        "ALTER TABLE [HR].[Moment] ENABLE CHANGE_TRACKING",
    )
    source = SqlServerSource(erp.settings(), system_runtime())
    found = await source.inspect([*DATASETS, Dataset(name="moment", table="HR.Moment", channel="main")])
    wrong = [f for f in found if f.severity is ERROR]
    assert seen(wrong) == [("A2272", ERROR, "dataset moment")]
    assert wrong[0].remedy


async def test_a_table_without_any_right_is_not_seen_and_the_grant_is_named(bare: Prepared) -> None:
    bare.execute(*OUR_TABLES, *TRACKED, GRANTED[1].format(user=bare.user))
    found = await bare.findings()
    assert [f.code for f in found] == ["A2221", "A2221"]
    bare.execute(*(f.statement for f in found))
    assert await bare.findings() == []


async def test_a_secondary_replica_is_named(erp: Prepared) -> None:
    control = erp.server.control
    control.set("secondary", True, database=erp.database)
    try:
        codes = [f.code for f in await erp.findings()]
    finally:
        control.set("secondary", False, database=erp.database)
    assert "A2253" in codes


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("product_version", "13.0.4474.0", ["A2327", "A2327"]),
        ("product_version", "14.0.3026.27", ["A2327"]),
        ("product_version", "14.0.3029.16", []),
        ("product_version", "12.0.6449.1", ["A2326"]),
        ("engine_edition", 5, ["A2326"]),
    ],
)
async def test_the_servers_release_and_build_are_judged(erp: Prepared, option: str, value: object, expected: list[str]) -> None:
    control = erp.server.control
    before = {"product_version": "16.0.4165.4", "engine_edition": 3}[option]
    control.set(option, value)
    try:
        found = await erp.findings(everything=True)
    finally:
        control.set(option, before)
    assert [f.code for f in found] == expected


# -- before anything can be asked ------------------------------------------------------------------------------------------


async def test_a_wrong_password(erp: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_TEST_WRONG", "hunter2")
    (found,) = await erp.findings(password=Secret(env="CDC_TEST_WRONG"))
    assert (found.code, found.severity) == ("A2246", ERROR)
    assert "hunter2" not in repr(found)


async def test_a_password_that_is_nowhere(erp: Prepared) -> None:
    (found,) = await erp.findings(password=Secret(env="CDC_TEST_NOWHERE"))
    assert (found.code, found.severity) == ("A2321", ERROR)
    assert "CDC_TEST_NOWHERE" in found.message


async def test_a_login_without_a_user_in_the_database(erp: Prepared) -> None:
    erp.execute(f"DROP USER [{erp.user}]")
    (found,) = await erp.findings()
    assert found.code == "A2247"
    with erp.server.connected() as connection:
        connection.execute(found.statement)
    assert "A2247" not in [f.code for f in await erp.findings()]


async def test_a_database_that_does_not_exist(erp: Prepared) -> None:
    (found,) = await erp.findings(database="cdc_test_nothing")
    assert found.code == "A2247"


async def test_a_server_that_does_not_answer(erp: Prepared) -> None:
    (found,) = await erp.findings(server=f"localhost,{free_port()}", login_timeout=1.0)
    assert found.code == "A2244"


async def test_a_certificate_that_nobody_can_verify(erp: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = erp.server.control  # a stand-in, whose authority only the environment names
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    (found,) = await erp.findings()
    assert found.code == "A2245"
    (warned,) = await erp.findings(trust_server_certificate=True)
    assert (warned.code, warned.severity) == ("A2324", WARNING)


async def test_a_driver_that_would_lose_data(erp: Prepared) -> None:
    (found,) = await erp.findings(driver="/usr/lib/odbc/libtdsodbc.so")
    assert found.code == "A2242"
    assert "4,000 characters" in found.message


async def test_no_driver_but_one_that_would_lose_data(erp: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyodbc

    monkeypatch.setattr(pyodbc, "drivers", lambda: ["FreeTDS"])
    (found,) = await erp.findings(driver="")
    assert found.code == "A2241"
    assert "FreeTDS cannot be used" in found.message
    assert "msodbcsql18" in found.message


async def test_no_odbc_at_all(erp: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    (found,) = await erp.findings()
    assert found.code == "A2240"
    assert "erp-cdc[sqlserver]" in found.remedy


def test_the_driver_of_the_tests_is_there(sql_server: Server) -> None:
    assert driver_file() is not None


# -- clean-up of change records --------------------------------------------------------------------------------------------

HISTORY = (
    "CREATE TABLE [dbo].[MSchange_tracking_history] ([internal_table_name] nvarchar(128) NOT NULL, [table_name] nvarchar(128)"
    " NOT NULL, [start_time] datetime NOT NULL, [end_time] datetime NOT NULL, [rows_cleaned_up] bigint NOT NULL,"
    " [cleanup_version] bigint NOT NULL, [comments] ntext NOT NULL)"
)


def clean_up(minutes: int, comments: str = "") -> str:
    began = f"DATEADD(minute, -{minutes}, GETDATE())"
    return (
        "INSERT INTO [dbo].[MSchange_tracking_history] VALUES"
        f" (N'change_tracking_1', N'Employee', {began}, {began}, 0, 1, N'{comments}')"
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([clean_up(29)], []),
        ([clean_up(2000), clean_up(29)], []),
        ([clean_up(2000)], [("A2336", WARNING, "")]),
        ([clean_up(29, "Cleanup error: Lock request time out period exceeded")], [("A2336", WARNING, "")]),
        ([clean_up(3000, "Cleanup error: Lock request time out period exceeded"), clean_up(29)], []),
    ],
)
async def test_clean_up_that_does_not_get_on_is_named(
    erp: Prepared, lines: list[str], expected: list[tuple[str, Severity, str]]
) -> None:
    """The table is the server's own where clean-up has run; here it is made by hand."""
    erp.execute(HISTORY, *lines, f"GRANT SELECT ON OBJECT::[dbo].[MSchange_tracking_history] TO [{erp.user}]")
    assert seen(await erp.findings()) == expected


async def test_a_history_that_the_agent_may_not_see_is_no_finding(erp: Prepared) -> None:
    erp.execute(HISTORY, clean_up(2000))
    assert await erp.findings() == []
