"""What is only so on SQL Server: its types, its rules of change tracking, what a person allows and withdraws there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from cdc.errors import CompanyStopped, DatasetPaused, Transient
from cdc.model import Dataset, Facts, Position, Witness
from cdc.source_settings import SnapshotUse
from cdc.sources.sqlserver.source import SqlServerSource
from cdc.sources.sqlserver.statements import IN_ONE
from tests.support.erp import Follower, following, ops
from tests.support.sqlserver import Server
from tests.support.sqlserver_erp import SqlServerErp, SqlServerSession, sqlserver_erp
from transport.frames import Batch, Type
from transport.values import check_cell

__all__ = ["sqlserver_erp"]  # a fixture

STAFF = Dataset(name="staff", table="dbo.staff", channel="hr")
TEAMS = Dataset(name="teams", table="dbo.teams", channel="hr")
CHANGES_OF_STAFF = r"CHANGETABLE\(CHANGES \[dbo\]\.\[staff\], @from\) AS CT\s+LEFT OUTER JOIN"


def make_staff(erp: SqlServerErp) -> SqlServerSession:
    erp.create("staff", {"id": "INT NOT NULL", "name": "NVARCHAR(50)", "team": "INT"}, key=["id"])
    erp.create("teams", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    session = erp.connect()
    session.execute("INSERT INTO staff(id, name, team) VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 1)")
    session.execute("INSERT INTO teams(id, name) VALUES (1, 'one'), (2, 'two')")
    return session


def rows_of(session: SqlServerSession, table: str) -> list[tuple[Any, ...]]:
    return sorted(session.execute(f"SELECT * FROM {table}"), key=repr)


async def read(follower: Follower, dataset: Dataset, since: int | None = None) -> list[Batch]:
    """The changes of one dataset, in a window of its own that moves no position."""
    assert follower.position is not None
    since = follower.position.version if since is None else since
    async with follower.source.reader() as reader:
        await reader.facts(follower.position, [dataset])
        return [b async for b in reader.changes(dataset, follower.schemas[dataset.name], since)]


# -- types -----------------------------------------------------------------------------------------------------------------

VALUES: list[tuple[str, str, Any]] = [  # declared type, literal, canonical cell
    ("tinyint", "255", 255),
    ("smallint", "-32768", -32768),
    ("int", "-2147483648", -2147483648),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("bit", "1", True),
    ("decimal(38,10)", "-1234567890123456789012345678.0123456789", "-1234567890123456789012345678.0123456789"),
    ("decimal(5,5)", "0.00001", "0.00001"),
    ("numeric(9,2)", "7", "7.00"),
    ("money", "-922337203685477.5808", "-922337203685477.5808"),
    ("smallmoney", "0.5", "0.5000"),
    ("float", "1.7976931348623157E+308", 1.7976931348623157e308),
    ("float", "0.1", 0.1),
    ("real", "0.1", 0.10000000149011612),
    ("char(5)", "'ab'", "ab   "),
    ("varchar(20)", "'plain '", "plain "),
    ("nchar(4)", "N'żó'", "żó  "),
    ("nvarchar(20)", "N'Zażółć 😀'", "Zażółć 😀"),
    ("nvarchar(max)", "REPLICATE(CONVERT(nvarchar(max), N'ż'), 20000)", "ż" * 20_000),
    ("varchar(max)", "REPLICATE(CONVERT(varchar(max), 'x'), 20000)", "x" * 20_000),
    ("text", "'a long story'", "a long story"),
    ("ntext", "N'długa historia'", "długa historia"),
    ("binary(4)", "0x01", b"\x01\0\0\0"),
    ("varbinary(10)", "0x00FF00", b"\0\xff\0"),
    ("varbinary(max)", "CONVERT(varbinary(max), REPLICATE(CONVERT(varchar(max), 'x'), 20000))", b"x" * 20_000),
    ("image", "0xCAFE", b"\xca\xfe"),
    ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    ("date", "'0001-01-01'", "0001-01-01"),
    ("time(7)", "'23:59:59.9999999'", "23:59:59.9999999"),
    ("time(0)", "'01:02:03'", "01:02:03"),
    ("smalldatetime", "'2026-01-31T23:59:00'", "2026-01-31 23:59:00"),
    ("datetime", "'2026-01-31T23:59:59.997'", "2026-01-31 23:59:59.997"),
    ("datetime2(7)", "'9999-12-31T23:59:59.9999999'", "9999-12-31 23:59:59.9999999"),
    ("datetime2(0)", "'2026-01-31T00:00:00'", "2026-01-31 00:00:00"),
    ("datetimeoffset(7)", "'2026-01-31 01:02:03.1234567 +02:00'", "2026-01-31 01:02:03.1234567+02:00"),
    ("datetimeoffset(0)", "'2026-01-31 01:02:03 -11:30'", "2026-01-31 01:02:03-11:30"),
    ("xml", "N'<a b=\"1\">ż</a>'", '<a b="1">ż</a>'),
    ("hierarchyid", "hierarchyid::Parse('/1/2.1/')", "/1/2.1/"),
]


def value_table(erp: SqlServerErp) -> SqlServerSession:
    columns = {f"c{i}": f"{declared} NULL" for i, (declared, _, _) in enumerate(VALUES)}
    erp.create("kinds", {"id": "INT NOT NULL", **columns}, key=["id"])
    session = erp.connect()
    session.execute("INSERT INTO kinds(id) VALUES (2)")
    session.execute(f"INSERT INTO kinds VALUES (1, {', '.join(literal for _, literal, _ in VALUES)})")
    return session


async def test_every_value_travels_without_loss_in_pages_and_in_changes(sqlserver_erp: SqlServerErp) -> None:
    session = value_table(sqlserver_erp)
    kinds = Dataset(name="kinds", table="kinds", channel="hr")
    expected = (1, *(cell for _, _, cell in VALUES))
    async with following(sqlserver_erp, kinds) as follower:
        assert follower.rows("kinds")[0] == expected
        assert follower.rows("kinds")[1] == (2, *[None] * len(VALUES))
        assert [type(cell) for cell in follower.rows("kinds")[0]] == [type(cell) for cell in expected]
        for column, cell in zip(follower.schemas["kinds"].columns, expected, strict=True):
            assert check_cell(column, cell) == ""
        session.execute("UPDATE kinds SET id = 7 WHERE id = 1")
        await follower.catch_up()
        assert follower.rows("kinds")[1] == (7, *expected[1:])


async def test_a_rowversion_travels_as_its_bytes(sqlserver_erp: SqlServerErp) -> None:
    sqlserver_erp.create("v", {"id": "INT NOT NULL", "stamp": "rowversion"}, key=["id"])
    session = sqlserver_erp.connect()
    session.execute("INSERT INTO v(id) VALUES (1)")
    async with following(sqlserver_erp, Dataset(name="v", table="v", channel="hr")) as follower:
        assert follower.rows("v") == [(1, bytes(session.execute("SELECT stamp FROM v")[0][0]))]
        assert follower.schemas["v"].columns[1].writable is False


async def test_what_a_variant_holds_travels_with_its_type(sqlserver_erp: SqlServerErp) -> None:
    sqlserver_erp.create("v", {"id": "INT NOT NULL", "x": "sql_variant"}, key=["id"])
    session = sqlserver_erp.connect()
    literals = ["CONVERT(decimal(9,2), 12.5)", "N'ż'", "CONVERT(bigint, 7)", "0x0AFF", "CONVERT(date, '2026-01-31')", "NULL"]
    for i, literal in enumerate(literals):
        session.execute(f"INSERT INTO v VALUES ({i}, {literal})")
    async with following(sqlserver_erp, Dataset(name="v", table="v", channel="hr")) as follower:
        found = [None if cell is None else json.loads(str(cell)) for _, cell in follower.rows("v")]
        assert [f and (f["type"].partition("(")[0], f["value"]) for f in found] == [
            ("decimal", "12.50"),
            ("nvarchar", "ż"),
            ("bigint", "7"),
            ("varbinary", "0AFF"),
            ("date", "2026-01-31"),
            None,
        ]
        assert found[0]["type"] == "decimal(9,2)"


async def test_places_on_a_map_travel_with_their_reference_system(sqlserver_erp: SqlServerErp) -> None:
    sqlserver_erp.create("p", {"id": "INT NOT NULL", "place": "geography"}, key=["id"])
    session = sqlserver_erp.connect()
    session.execute("INSERT INTO p VALUES (1, geography::STGeomFromText('POINT(21 52)', 4326)), (2, NULL)")
    async with following(sqlserver_erp, Dataset(name="p", table="p", channel="hr")) as follower:
        (_, place), (_, nothing) = follower.rows("p")
        found = json.loads(str(place))
        assert found["srid"] == 4326
        assert bytes.fromhex(found["wkb"])[:5] == b"\x01\x01\0\0\0"
        assert nothing is None


async def test_computed_columns_and_alias_types_travel_as_what_they_are(sqlserver_erp: SqlServerErp) -> None:
    session = sqlserver_erp.connect()
    session.execute("CREATE TYPE dbo.Phone FROM nvarchar(25) NULL")
    session.execute("CREATE TABLE c (id INT NOT NULL PRIMARY KEY, phone dbo.Phone, twice AS (id * 2))")
    session.execute("INSERT INTO c(id, phone) VALUES (4, N'+48')")
    async with following(sqlserver_erp, Dataset(name="c", table="c", channel="hr")) as follower:
        assert follower.rows("c") == [(4, "+48", 8)]
        assert [c.source_type for c in follower.schemas["c"].columns] == ["int", "nvarchar(25)", "int"]


@pytest.mark.parametrize(
    ("declared", "literals"),
    [
        ("bigint", ["-5", "0", "7000000000"]),
        ("bit", ["0", "1"]),
        ("decimal(9,2)", ["-1.5", "0", "10.25"]),
        ("money", ["-1.5", "0.0001", "10"]),
        ("float", ["-1.5", "0.1", "1E10"]),
        ("nvarchar(20)", ["N'a'", "N'B'", "N'c d'", "N'ż'"]),
        ("varchar(20)", ["'a'", "'B'", "'c-d'"]),
        ("char(5)", ["'a'", "'bcd'"]),
        ("varbinary(8)", ["0x01", "0x0102", "0xFF"]),
        ("date", ["'2026-01-31'", "'0001-01-01'", "'9999-12-31'"]),
        ("time(7)", ["'00:00:00'", "'00:00:00.0000001'", "'23:59:59.9999999'"]),
        ("datetime", ["'2026-01-31T00:00:00.003'", "'2026-01-31T00:00:00.007'", "'1753-01-01T00:00:00'"]),
        ("datetime2(7)", ["'2026-01-31T00:00:00.0000001'", "'2026-01-31T00:00:00.0000002'"]),
        ("smalldatetime", ["'2026-01-31T00:01:00'", "'2026-01-31T00:02:00'"]),
        ("uniqueidentifier", [f"'{i:08x}-0000-0000-0000-0000000000{j:02x}'" for i, j in ((1, 2), (2, 1), (3, 3), (255, 0))]),
        ("hierarchyid", ["hierarchyid::Parse('/1/')", "hierarchyid::Parse('/1/1/')", "hierarchyid::Parse('/2/')"]),
    ],
)
async def test_pages_go_on_behind_a_key_of_every_type(
    sqlserver_erp: SqlServerErp, declared: str, literals: Sequence[str]
) -> None:
    sqlserver_erp.create("k", {"part": "INT NOT NULL", "id": f"{declared} NOT NULL", "n": "INT"}, key=["part", "id"])
    session = sqlserver_erp.connect()
    for n, literal in enumerate(literals):
        session.execute(f"INSERT INTO k VALUES ({n % 2}, {literal}, {n})")
    async with following(sqlserver_erp, Dataset(name="k", table="k", channel="hr"), page_rows=1) as follower:
        assert sorted(row[2] for row in follower.rows("k")) == list(range(len(literals)))
        session.execute("UPDATE k SET n = n + 100")
        await follower.catch_up()
        assert sorted(row[2] for row in follower.rows("k")) == [100 + n for n in range(len(literals))]


async def test_pages_follow_an_index_that_runs_down(sqlserver_erp: SqlServerErp) -> None:
    session = sqlserver_erp.connect()
    session.execute("CREATE TABLE d (a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (a DESC, b))")
    session.execute("INSERT INTO d VALUES (1, 1), (1, 2), (2, 1), (2, 2), (3, 1)")
    down = Dataset(name="d", table="d", channel="hr")
    async with following(sqlserver_erp, down, page_rows=2) as follower:
        assert follower.rows("d") == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
        page = await follower.page(down, b"")
        assert page.batches[0].keys == [[3, 2], [1, 1]]


# -- rows that cannot travel -----------------------------------------------------------------------------------------------


async def test_half_a_surrogate_pair_costs_its_row_only(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    session.execute("UPDATE staff SET name = N'x' + NCHAR(55357) WHERE id = 2")
    async with following(sqlserver_erp, STAFF) as follower:
        assert [row[0] for row in follower.rows("staff")] == [1, 3]
        assert follower.withheld("staff") == ["A2304"]
        session.execute("UPDATE staff SET team = 9")
        assert ops(await follower.catch_up()) == [("upsert", (1,)), ("upsert", (3,)), ("withheld", (2,))]
        session.execute("UPDATE staff SET name = N'mended' WHERE id = 2")
        await follower.catch_up()
        assert follower.rows("staff") == rows_of(session, "staff")
        assert follower.withheld("staff") == []


async def test_a_character_that_nobody_can_keep_costs_its_row_only(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    session.execute("UPDATE staff SET name = N'x' + NCHAR(0) + N'y' WHERE id = 2")
    async with following(sqlserver_erp, STAFF) as follower:
        assert [row[0] for row in follower.rows("staff")] == [1, 3]
        assert follower.withheld("staff") == ["A2305"]


async def test_a_key_of_which_only_the_server_knows_its_equals_is_withheld(sqlserver_erp: SqlServerErp) -> None:
    sqlserver_erp.create("t", {"id": "NVARCHAR(20) NOT NULL", "n": "INT"}, key=["id"])
    session = sqlserver_erp.connect()
    session.execute("INSERT INTO t VALUES (N'Strasse', 1), (N'ﬁx', 2)")
    async with following(sqlserver_erp, Dataset(name="t", table="t", channel="hr")) as follower:
        assert follower.rows("t") == [("Strasse", 1)]
        assert follower.withheld("t") == ["A2273"]


async def test_a_key_changed_only_in_case_or_trailing_blanks_is_one_row(sqlserver_erp: SqlServerErp) -> None:
    sqlserver_erp.create("t", {"id": "NVARCHAR(20) NOT NULL", "n": "INT"}, key=["id"])
    session = sqlserver_erp.connect()
    session.execute("INSERT INTO t VALUES (N'abc', 1), (N'd', 2)")
    async with following(sqlserver_erp, Dataset(name="t", table="t", channel="hr")) as follower:
        session.execute("UPDATE t SET id = N'ABC' WHERE n = 1")
        session.execute("UPDATE t SET id = N'd ' WHERE n = 2")
        await follower.catch_up()
        assert follower.rows("t") == [("ABC", 1), ("d ", 2)]


async def test_a_row_at_which_the_server_fails_costs_that_row_only(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    session.execute("CREATE TABLE q (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, share AS (100 / n))")
    session.execute("INSERT INTO q(id, n) VALUES (1, 1), (2, 0), (3, 4), (4, 5)")
    async with following(sqlserver_erp, Dataset(name="q", table="q", channel="hr"), TEAMS) as follower:
        assert follower.rows("q") == [(1, 1, 100), (3, 4, 25), (4, 5, 20)]
        assert follower.withheld("q") == ["A2275"]
        session.execute("UPDATE q SET n = 2 WHERE id IN (1, 2); DELETE FROM q WHERE id = 3; UPDATE q SET n = 0 WHERE id = 4")
        session.execute("UPDATE teams SET name = 'x'")
        assert {op: key for op, key in ops(await follower.catch_up()) if len(key) == 1 and op == "withheld"} == {
            "withheld": (4,)
        }
        assert follower.rows("q")[:2] == [(1, 2, 50), (2, 2, 50)]
        assert follower.withheld("q") == ["A2275"]
        assert follower.rows("teams") == rows_of(session, "teams")


async def test_a_condition_that_fails_for_a_row_pauses_its_dataset_and_the_others_flow(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    numbers = msgspec.structs.replace(STAFF, name="numbers", filter="CONVERT(int, name) > 0")
    session.execute("UPDATE staff SET name = '1'")
    async with following(sqlserver_erp, numbers, TEAMS) as follower:
        session.execute("UPDATE staff SET name = 'none' WHERE id = 2")
        session.execute("UPDATE teams SET name = 'x' WHERE id = 1")
        found: list[str] = []
        for _ in range(2):
            with contextlib.suppress(Transient):
                found = await paused_by(follower, numbers, TEAMS)
        assert found == ["numbers A2230"]
        assert (1, "x") in follower.rows("teams")


async def paused_by(follower: Follower, *datasets: Dataset) -> list[str]:
    """A window as capture reads it: a dataset that cannot be read costs the others nothing."""
    assert follower.position is not None
    since, problems = follower.position.version, []
    async with follower.source.reader() as reader:
        await reader.facts(follower.position, datasets)
        for dataset in datasets:
            try:
                async for batch in reader.changes(dataset, follower.schemas[dataset.name], since):
                    follower.copies[dataset.name].apply(batch)
            except DatasetPaused as problem:
                problems.append(f"{dataset.name} {problem.code}")
    return problems


# -- what is valid ---------------------------------------------------------------------------------------------------------


async def test_a_table_truncated_exactly_at_the_position_has_begun_anew(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'seen' WHERE id = 1")
        await follower.catch_up()
        before = (await follower.facts()).tables[0]
        sqlserver_erp.truncate("staff")
        after = (await follower.facts()).tables[0]
        assert after.object_id == before.object_id
        assert after.begin_version != before.begin_version or after.min_valid is None


async def test_tracking_turned_off_and_on_has_begun_anew(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF, TEAMS) as follower:
        before = (await follower.facts()).tables[0]
        session.execute("UPDATE teams SET name = 'x'")
        session.execute("ALTER TABLE staff DISABLE CHANGE_TRACKING")
        assert [t.min_valid is None for t in (await follower.facts()).tables] == [True, False]
        session.execute("ALTER TABLE staff ENABLE CHANGE_TRACKING")
        after = (await follower.facts()).tables[0]
        assert after.begin_version > before.begin_version


async def test_a_table_truncated_while_it_is_read_is_not_taken_for_read(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    control = sqlserver_erp.server.control
    async with following(sqlserver_erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'x'")
        control.add(CHANGES_OF_STAFF, barrier="truncate")
        reading = asyncio.ensure_future(read(follower, STAFF))
        await asyncio.to_thread(control.wait, "truncate")
        await asyncio.to_thread(sqlserver_erp.truncate, "staff")
        control.resume("truncate")
        with pytest.raises((DatasetPaused, Transient)):
            await reading


async def test_a_permission_withdrawn_in_mid_run_pauses_that_table_and_the_others_flow(agent: Agent) -> None:
    session = make_staff(agent.erp)
    async with agent.following(STAFF, TEAMS) as follower:
        for right, back in (("VIEW CHANGE TRACKING", True), ("SELECT", False)):
            session.execute(f"REVOKE {right} ON OBJECT::dbo.staff FROM {agent.user}")
            session.execute("UPDATE teams SET name = name + 'x'")
            facts = await follower.facts()
            assert [t.min_valid is None for t in facts.tables] == [True, False], right
            follower.datasets = [TEAMS]
            await follower.catch_up()
            assert follower.rows("teams") == rows_of(session, "teams")
            follower.datasets = [STAFF, TEAMS]
            if back:
                session.execute(f"GRANT {right} ON OBJECT::dbo.staff TO {agent.user}")
                assert (await follower.facts()).tables[0].min_valid is not None


async def test_a_permission_withdrawn_within_a_window_pauses_that_dataset(agent: Agent) -> None:
    session = make_staff(agent.erp)
    async with agent.following(STAFF, TEAMS) as follower:
        session.execute("UPDATE staff SET name = 'x'")
        session.execute("UPDATE teams SET name = 'x'")
        assert follower.position is not None
        async with follower.source.reader() as reader:
            await reader.facts(follower.position, [STAFF, TEAMS])
            session.execute(f"REVOKE SELECT ON OBJECT::dbo.staff FROM {agent.user}")
            with pytest.raises(DatasetPaused, match="A2254"):
                _ = [b async for b in reader.changes(STAFF, follower.schemas["staff"], follower.position.version)]
            found = [b async for b in reader.changes(TEAMS, follower.schemas["teams"], follower.position.version)]
        assert ops(found) == [("upsert", (1,)), ("upsert", (2,))]


class Agent:
    """A source that logs in as a user with no more rights than it needs."""

    user = "agent_user"

    def __init__(self, erp: SqlServerErp) -> None:
        self.erp = erp
        self.password = erp.server.password
        with erp.server.connected() as connection:
            connection.execute(f"CREATE LOGIN {self.user}_{erp.database} WITH PASSWORD = '{self.password}', CHECK_POLICY = OFF")
        erp.admin.execute(f"CREATE USER {self.user} FOR LOGIN {self.user}_{erp.database}")

    def source(self) -> SqlServerSource:
        return self.erp.source(user=f"{self.user}_{self.erp.database}")

    @contextlib.asynccontextmanager
    async def following(self, *datasets: Dataset) -> AsyncIterator[Follower]:
        owner = self.erp.source()
        await owner.open()
        await self.erp.install(owner, datasets)
        await owner.close()
        self.erp.admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::erp_cdc TO {self.user}")
        for dataset in datasets:
            self.erp.admin.execute(f"GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::{dataset.table} TO {self.user}")
        source = self.source()
        await source.open()
        try:
            follower = Follower(source, datasets)
            await follower.start()
            await follower.load()
            yield follower
        finally:
            await source.close()

    def close(self) -> None:
        with self.erp.server.connected() as connection:
            connection.execute(f"DROP LOGIN {self.user}_{self.erp.database}")


@pytest.fixture
def agent(sqlserver_erp: SqlServerErp) -> Any:
    made = Agent(sqlserver_erp)
    yield made
    made.close()


# -- order, and without snapshots ------------------------------------------------------------------------------------------


async def degraded(erp: SqlServerErp, *datasets: Dataset) -> Follower:
    """A follower over a database that allows no snapshots."""
    owner = erp.source(snapshot=SnapshotUse.AUTO)
    await owner.open()
    await owner.enable(datasets, tracking=True, retention=86_400, snapshot=False)
    await owner.install(datasets)
    follower = Follower(owner, datasets)
    await follower.start()
    await follower.load()
    return follower


async def test_without_snapshots_the_agent_says_so_and_loses_nothing(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    follower = await degraded(sqlserver_erp, STAFF, TEAMS)
    try:
        facts = await follower.facts()
        assert [note.code for note in facts.notes] == ["A2418"]
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        session.execute("DELETE FROM teams WHERE id = 1")
        await follower.catch_up()
        assert follower.rows("staff") == rows_of(session, "staff")
        assert follower.rows("teams") == rows_of(session, "teams")
        session.execute("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        assert (await follower.facts()).notes == ()
    finally:
        await follower.source.close()


async def test_without_snapshots_where_they_are_required_the_company_stops(sqlserver_erp: SqlServerErp) -> None:
    make_staff(sqlserver_erp)
    sqlserver_erp.track("staff")
    sqlserver_erp.admin.execute("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
    source = sqlserver_erp.source()
    await source.open()
    try:
        await source.install([STAFF])
        with pytest.raises(CompanyStopped, match="A2252"):
            async with source.reader():
                pass
    finally:
        await source.close()


async def test_a_commit_between_two_reads_of_a_window_is_in_it_or_in_the_next(sqlserver_erp: SqlServerErp) -> None:
    """The version is asked for before anything is read: what is read later can only be newer."""
    session = make_staff(sqlserver_erp)
    control = sqlserver_erp.server.control
    follower = await degraded(sqlserver_erp, TEAMS, STAFF)
    try:
        session.execute("UPDATE staff SET name = 'x'")
        session.execute("UPDATE teams SET name = 'x'")
        control.add(CHANGES_OF_STAFF, barrier="between")
        window = asyncio.ensure_future(follower.catch_up())
        await asyncio.to_thread(control.wait, "between")
        await asyncio.to_thread(session.execute, "UPDATE teams SET name = 'later' WHERE id = 1")
        control.resume("between")
        await window
        await follower.catch_up()
        assert follower.rows("teams") == rows_of(session, "teams")
    finally:
        await follower.source.close()


async def test_a_row_that_is_updated_faster_than_the_poll_is_in_every_window(sqlserver_erp: SqlServerErp) -> None:
    """No upper bound: a row touched again after the version was asked for is told as it is now."""
    session = make_staff(sqlserver_erp)
    control = sqlserver_erp.server.control
    follower = await degraded(sqlserver_erp, STAFF)
    try:
        for turn in range(3):
            session.execute("UPDATE staff SET team = team + 1 WHERE id = 1")
            control.add(CHANGES_OF_STAFF, barrier=f"hot {turn}")
            window = asyncio.ensure_future(follower.catch_up())
            await asyncio.to_thread(control.wait, f"hot {turn}")
            await asyncio.to_thread(session.execute, "UPDATE staff SET team = team + 1 WHERE id = 1")
            control.resume(f"hot {turn}")
            assert ("upsert", (1,)) in ops(await window)
            assert follower.rows("staff") == rows_of(session, "staff")
    finally:
        await follower.source.close()


async def test_a_window_under_snapshot_shows_the_state_at_its_beginning(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    control = sqlserver_erp.server.control
    async with following(sqlserver_erp, STAFF, TEAMS) as follower:
        session.execute("UPDATE staff SET name = 'x'")
        control.add(CHANGES_OF_STAFF, barrier="later")
        reading = asyncio.ensure_future(read(follower, STAFF))
        await asyncio.to_thread(control.wait, "later")
        await asyncio.to_thread(session.execute, "DELETE FROM staff")
        control.resume("later")
        assert ops(await reading) == [("upsert", (i,)) for i in (1, 2, 3)]


# -- trouble with the server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1205, 1222, 3960, 3961, 22117, 40197, 8628])
async def test_a_passing_error_abandons_the_window_and_the_next_one_is_whole(sqlserver_erp: SqlServerErp, number: int) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'x'")
        sqlserver_erp.server.control.fail(CHANGES_OF_STAFF, number)
        with pytest.raises(Transient):
            await read(follower, STAFF)
        assert len(ops(await follower.catch_up())) == 3
        assert follower.rows("staff") == rows_of(session, "staff")


async def test_a_session_that_is_lost_in_mid_window_is_made_anew(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'x'")
        sqlserver_erp.server.control.add(CHANGES_OF_STAFF, kill=True)
        with pytest.raises(Transient):
            await read(follower, STAFF)
        assert len(ops(await follower.catch_up())) == 3


async def test_a_secondary_is_waited_out(sqlserver_erp: SqlServerErp) -> None:
    make_staff(sqlserver_erp)
    sqlserver_erp.track("staff")
    sqlserver_erp.admin.execute("ALTER DATABASE CURRENT SET READ_ONLY WITH ROLLBACK IMMEDIATE")
    source = sqlserver_erp.source()
    with pytest.raises(Transient, match="A2253"):
        await source.open()
    sqlserver_erp.admin.execute("ALTER DATABASE CURRENT SET READ_WRITE WITH ROLLBACK IMMEDIATE")


async def test_change_tracking_turned_off_for_the_database_stops_the_company(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        session.execute("ALTER TABLE staff DISABLE CHANGE_TRACKING")
        session.execute("ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF")
        with pytest.raises(CompanyStopped, match="A2329"):
            await follower.source.pulse()


# -- our own structures ----------------------------------------------------------------------------------------------------


async def test_structures_of_a_newer_version_are_left_alone(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF):
        session.execute("UPDATE erp_cdc.settings SET number = 99 WHERE name = 'layout'")
    source = sqlserver_erp.source()
    with pytest.raises(CompanyStopped, match="A2209"):
        await source.open()


async def test_the_witness_moves_no_version(sqlserver_erp: SqlServerErp) -> None:
    make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        before = await follower.source.pulse()
        facts = await follower.facts()
        await follower.source.witness(Position(facts.version, facts.incarnation, b"n" * 16), 0)
        assert await follower.source.pulse() == before


async def test_install_says_what_is_not_tracked_and_enables_nothing(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    source = sqlserver_erp.source(snapshot=SnapshotUse.AUTO)
    await source.open()
    try:
        words = await source.install([STAFF])
        assert [text for text in words if text.startswith("not tracked") and "A2330" in text]
        assert session.execute("SELECT 1 FROM sys.change_tracking_databases WHERE database_id = DB_ID()") == []
        assert await source.repair([STAFF]) == [text for text in words if text.startswith("not tracked")]
        assert await source.enable([STAFF], tracking=True, retention=90_000, snapshot=True)
        assert await source.enable([STAFF], tracking=True, retention=86_400, snapshot=True) == []
        assert await source.install([STAFF]) == []
    finally:
        await source.close()


# -- what a dataset looks like ---------------------------------------------------------------------------------------------


async def described(source: SqlServerSource, *datasets: Dataset) -> dict[str, str]:
    await source.open()
    try:
        return {d.dataset: d.code for d in await source.describe(datasets)}
    finally:
        await source.close()


async def test_only_tables_with_a_primary_key_can_be_datasets(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    session.execute("CREATE TABLE heap (id INT NOT NULL)")
    session.execute("CREATE VIEW everybody AS SELECT id FROM staff")
    names = {"heap": "A2223", "everybody": "A2222", "other.staff": "A2221", "a.b.c": "A2221"}
    datasets = [Dataset(name=f"d{i}", table=name, channel="hr") for i, name in enumerate(names)]
    found = await described(sqlserver_erp.source(), *datasets)
    assert list(found.values()) == list(names.values())


async def test_a_table_of_another_schema_and_an_odd_name_is_found(sqlserver_erp: SqlServerErp) -> None:
    session = sqlserver_erp.connect()
    session.execute("CREATE SCHEMA [odd ones]")
    session.execute("CREATE TABLE [odd ones].[it's a ]]table] ([the key] INT NOT NULL PRIMARY KEY, [a.b] INT)")
    session.execute("INSERT INTO [odd ones].[it's a ]]table] VALUES (1, 2)")
    odd = Dataset(name="odd", table="[odd ones].[it's a ]]table]", channel="hr", filter="[a.b] > 1")
    async with following(sqlserver_erp, odd) as follower:
        assert follower.rows("odd") == [(1, 2)]
        session.execute("UPDATE [odd ones].[it's a ]]table] SET [a.b] = 3")
        assert ops(await follower.catch_up()) == [("upsert", (1,))]


async def test_a_column_added_with_a_default_is_another_table_to_read(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        before = (await follower.source.describe([STAFF]))[0]
        session.execute("ALTER TABLE staff ADD note NVARCHAR(10) NOT NULL DEFAULT 'new'")
        after = (await follower.source.describe([STAFF]))[0]
        assert before.fingerprint != after.fingerprint
        assert after.schema is not None
        assert after.schema.columns[-1].type is Type.TEXT


# -- many tables, idle -----------------------------------------------------------------------------------------------------


async def test_more_tables_than_fit_one_question_are_asked_in_several(sqlserver_erp: SqlServerErp) -> None:
    session = sqlserver_erp.connect()
    datasets = [Dataset(name=f"t{i}", table=f"t{i}", channel="hr") for i in range(IN_ONE + 5)]
    session.execute("".join(f"CREATE TABLE {d.table} (id INT NOT NULL PRIMARY KEY);" for d in datasets))
    async with following(sqlserver_erp, *datasets) as follower:
        assert follower.position is not None
        session.execute(f"INSERT INTO t3 VALUES (1), (2); INSERT INTO t{IN_ONE + 2} VALUES (1)")
        async with follower.source.reader() as reader:
            await reader.facts(follower.position, datasets)
            assert await reader.changed(follower.position.version, datasets) == {"t3": 2, f"t{IN_ONE + 2}": 1}


async def test_an_idle_poll_is_one_small_statement(sqlserver_erp: SqlServerErp) -> None:
    make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF):
        source = sqlserver_erp.source(structure_every=3_600)
        await source.open()
        try:
            await source.pulse()
            sqlserver_erp.server.control.clear()
            for _ in range(3):
                await source.pulse()
            log = sqlserver_erp.server.control.log()
        finally:
            await source.close()
        assert list(log.values()) == [3]
        assert "CHANGE_TRACKING_CURRENT_VERSION" in next(iter(log))


async def test_a_position_is_proved_by_the_witness_after_a_restore_to_the_past(sqlserver_erp: SqlServerErp) -> None:
    session = make_staff(sqlserver_erp)
    async with following(sqlserver_erp, STAFF) as follower:
        backup = sqlserver_erp.backup()
        session.execute("UPDATE staff SET name = 'lost'")
        await follower.catch_up()
        sqlserver_erp.restore(backup)
        for _ in range(5):
            sqlserver_erp.connect().execute("UPDATE staff SET name = 'other'")
        facts: Facts | None = None
        while facts is None:
            with contextlib.suppress(Transient):
                facts = await follower.facts()
        assert follower.position is not None
        assert facts.version > follower.position.version
        assert facts.witness is Witness.FOREIGN


def test_the_fixture_makes_databases_of_its_own(sqlserver_erp: SqlServerErp, sql_server: Server) -> None:
    assert sqlserver_erp.database in sql_server.left_overs()
