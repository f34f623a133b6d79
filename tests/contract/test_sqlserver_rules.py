"""The rules of reading change tracking that only show when the server does something between two statements."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from cdc.errors import DatasetPaused, Transient
from cdc.model import Dataset
from tests.support.erp import Follower, following, ops
from tests.support.sqlserver_erp import SqlServerErp, SqlServerSession, sqlserver_erp

__all__ = ["sqlserver_erp"]  # a fixture

STAFF = Dataset(name="staff", table="dbo.staff", channel="hr")
CHANGES_OF_STAFF = r"CHANGETABLE\(CHANGES \[dbo\]\.\[staff\], @from\) AS CT\s+LEFT OUTER JOIN"


@pytest.fixture
def session(sqlserver_erp: SqlServerErp) -> SqlServerSession:
    for table in ("staff", "elsewhere"):
        sqlserver_erp.create(table, {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    session = sqlserver_erp.connect()
    session.execute("INSERT INTO staff(id, name) VALUES (1, 'a'), (2, 'b')")
    return session


@pytest.fixture
def live(sqlserver_erp: SqlServerErp) -> Iterator[None]:
    """CHANGE_TRACKING_CURRENT_VERSION() sees what was committed after the snapshot: nothing documented forbids it."""
    sqlserver_erp.server.control.set("versions", "live")
    yield
    sqlserver_erp.server.control.set("versions", "snapshot")


def everything(erp: SqlServerErp, session: SqlServerSession) -> int:
    """Cleans up all that was changed so far; the version until which."""
    version = int(session.execute("SELECT CHANGE_TRACKING_CURRENT_VERSION()")[0][0])
    erp.server.control.cleanup(erp.database, version=version)
    return version


async def changes(follower: Follower, since: int) -> None:
    async with follower.source.reader() as reader:
        await reader.facts(follower.position, [STAFF])
        async for batch in reader.changes(STAFF, follower.schemas["staff"], since):
            follower.copies["staff"].apply(batch)


async def test_changes_that_were_cleaned_up_are_not_taken_for_none(
    sqlserver_erp: SqlServerErp, session: SqlServerSession
) -> None:
    async with following(sqlserver_erp, STAFF) as follower:
        assert follower.position is not None
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        everything(sqlserver_erp, session)
        with pytest.raises(DatasetPaused, match="A2231"):
            await changes(follower, follower.position.version)


async def test_changes_that_are_cleaned_up_while_they_are_read_are_not_taken_for_all(
    sqlserver_erp: SqlServerErp, session: SqlServerSession
) -> None:
    """Without a snapshot; with one, the stand-in's clean-up keeps to it, and nobody says that the server's does."""
    control = sqlserver_erp.server.control
    sqlserver_erp.track("staff")
    session.execute(f"ALTER DATABASE [{sqlserver_erp.database}] SET ALLOW_SNAPSHOT_ISOLATION OFF")
    source = sqlserver_erp.degraded()
    await source.open()
    try:
        await source.install([STAFF])
        follower = Follower(source, [STAFF])
        await follower.start()
        assert follower.position is not None
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        control.add(CHANGES_OF_STAFF, barrier="clean-up")
        reading = asyncio.ensure_future(changes(follower, follower.position.version))
        await asyncio.to_thread(control.wait, "clean-up")
        await asyncio.to_thread(everything, sqlserver_erp, session)
        control.resume("clean-up")
        with pytest.raises(DatasetPaused, match="A2231"):
            await reading
    finally:
        await source.close()


async def test_the_clean_up_of_a_table_that_nobody_reads_loses_nothing(
    sqlserver_erp: SqlServerErp, session: SqlServerSession
) -> None:
    """The table out of scope was tracked later, so that its oldest valid version is higher than the position."""
    async with following(sqlserver_erp, STAFF) as follower:
        assert follower.position is not None
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        session.execute("ALTER TABLE elsewhere ENABLE CHANGE_TRACKING")
        session.execute("INSERT INTO elsewhere(id, name) VALUES (1, 'a')")
        session.execute("TRUNCATE TABLE elsewhere")
        (state,) = (await follower.facts()).tables
        assert state.min_valid is not None
        assert state.min_valid <= follower.position.version
        assert ops(await follower.catch_up()) == [("upsert", (1,))]


async def test_a_row_that_is_there_is_an_upsert_whatever_the_operation_says(
    sqlserver_erp: SqlServerErp, session: SqlServerSession
) -> None:
    async with following(sqlserver_erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        session.execute("DELETE FROM staff WHERE id = 2")
        sqlserver_erp.server.control.mistell(sqlserver_erp.database)
        assert session.execute("SELECT id, SYS_CHANGE_OPERATION FROM CHANGETABLE(CHANGES staff, 0) AS CT ORDER BY id") == [
            (1, "D"),
            (2, "D"),
        ]
        assert ops(await follower.catch_up()) == [("delete", (2,)), ("upsert", (1,))]
        assert follower.rows("staff") == [(1, "x")]


@pytest.mark.usefixtures("live")
async def test_a_commit_after_the_snapshot_is_in_the_next_window(
    sqlserver_erp: SqlServerErp, session: SqlServerSession
) -> None:
    """The version is asked for first, so it cannot name a commit that the snapshot does not show."""
    control = sqlserver_erp.server.control
    async with following(sqlserver_erp, STAFF) as follower:
        control.add(r"MIN_VALID_VERSION\(t\.\[object_id\]\) AS \[min_valid\]", barrier="facts")
        window = asyncio.ensure_future(follower.catch_up())
        await asyncio.to_thread(control.wait, "facts")
        await asyncio.to_thread(session.execute, "UPDATE staff SET name = 'later' WHERE id = 1")
        control.resume("facts")
        await window
        await follower.catch_up()
        assert follower.rows("staff") == [(1, "later"), (2, "b")]


async def test_the_mark_of_a_window_is_not_left_in_a_database_that_was_restored_meanwhile(
    sqlserver_erp: SqlServerErp, session: SqlServerSession
) -> None:
    async with following(sqlserver_erp, STAFF) as follower:
        backup = sqlserver_erp.backup()
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        await follower.catch_up()
        assert follower.position is not None
        sqlserver_erp.restore(backup)
        with contextlib.suppress(Transient):  # the session is gone
            await follower.source.pulse()
        await follower.source.pulse()
        with pytest.raises(Transient, match="A2213"):
            await follower.source.witness(follower.position, 0)
        marks = sqlserver_erp.admin.execute("SELECT COUNT(*) FROM erp_cdc.witness WHERE nonce = ?", [follower.position.nonce])
        assert marks == [(0,)]
