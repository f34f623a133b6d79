"""Transactions: counts, names, isolation, conflicts, triggers, application locks, reset, KILL, USE."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.standin.engine.database import Engine
from tests.standin.ports import Request, SqlError, Transaction
from tests.support.standin_session import Sessions, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
LOCK = "EXEC @r = sp_getapplock @Resource = N'x', @LockMode = N'{}', @LockOwner = N'{}', @LockTimeout = {}; SELECT @r"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sessions() -> AsyncIterator[Sessions]:
    found = Sessions(await Engine.start())
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def name(sessions: Sessions) -> str:
    found = await sessions.database("ALLOW_SNAPSHOT_ISOLATION ON")
    talk = await sessions.talk(found)
    await talk.ok("CREATE TABLE t (id int NOT NULL PRIMARY KEY, n nvarchar(10) NULL)")
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def talk(sessions: Sessions, name: str) -> Talk:
    found = await sessions.talk(name)
    await found.ok("DELETE t; INSERT t VALUES (1, N'a'), (2, N'b')")
    return found


async def test_only_the_outermost_commit_commits(talk: Talk) -> None:
    told = await talk.told("BEGIN TRAN; BEGIN TRAN; DELETE t; COMMIT; SELECT @@TRANCOUNT; COMMIT; SELECT @@TRANCOUNT")
    assert told == ["begun", "delete 2", [(1,)], "select 1", "committed", [(0,)], "select 1"]


async def test_rollback_undoes_all_levels(talk: Talk) -> None:
    assert await talk.told("BEGIN TRAN; BEGIN TRAN; DELETE t; ROLLBACK; SELECT @@TRANCOUNT") == [
        "begun",
        "delete 2",
        "rolled back",
        [(0,)],
        "select 1",
    ]
    assert await talk.one("SELECT COUNT(*) FROM t") == 2


async def test_without_a_transaction_commit_rollback_and_save_are_errors(talk: Talk) -> None:
    assert await talk.told("COMMIT; ROLLBACK; SAVE TRAN a; PRINT 'after'") == [3902, 3903, 628, "after"]


async def test_a_savepoint_is_rolled_back_to_by_name(talk: Talk) -> None:
    sql = "BEGIN TRAN; DELETE t WHERE id = 1; SAVE TRAN a; DELETE t; ROLLBACK TRAN a; SELECT id FROM t; ROLLBACK TRAN b; COMMIT"
    assert await talk.told(sql) == ["begun", "delete 1", "delete 1", [(2,)], "select 1", 6401, "committed"]


async def test_the_outermost_name_rolls_back_all(talk: Talk) -> None:
    sql = "DECLARE @n nvarchar(5) = N'x'; BEGIN TRAN @n; BEGIN TRAN y; ROLLBACK TRAN y; ROLLBACK TRAN @n; SELECT @@TRANCOUNT"
    assert await talk.told(sql) == ["begun", 6401, "rolled back", [(0,)], "select 1"]


async def test_every_transaction_has_a_descriptor_of_its_own(talk: Talk) -> None:
    events = await talk.events("BEGIN TRAN; COMMIT; BEGIN TRAN; ROLLBACK")
    told = [(event.change, event.descriptor) for event in events if isinstance(event, Transaction)]
    assert [change for change, _ in told] == ["begun", "committed", "begun", "rolled back"]
    assert told[0][1] == told[1][1] != told[2][1] == told[3][1]


async def test_orders_of_a_transaction_manager(talk: Talk) -> None:
    assert await talk.order("begin", isolation=5) == ["begun"]
    assert talk.state.isolation == "SNAPSHOT"
    assert talk.session.descriptor
    await talk.ok("DELETE t")
    assert await talk.order("rollback") == ["rolled back"]
    assert talk.session.descriptor == 0
    assert await talk.order("commit") == [3902]
    assert await talk.one("SELECT COUNT(*) FROM t") == 2


async def test_a_transaction_outlives_its_batch(talk: Talk) -> None:
    await talk.ok("BEGIN TRAN", "DELETE t")
    assert await talk.one("SELECT @@TRANCOUNT") == 1
    assert await talk.told("COMMIT") == ["committed"]


# -- snapshots ---------------------------------------------------------------------------------------------------------------


async def test_a_snapshot_begins_with_the_first_read_and_stays(sessions: Sessions, name: str, talk: Talk) -> None:
    other = await sessions.talk(name)
    await talk.ok(SNAPSHOT, "BEGIN TRAN")
    await other.ok("DELETE t WHERE id = 1")
    assert await talk.rows("SELECT id FROM t") == [(2,)]
    await other.ok("DELETE t")
    assert await talk.rows("SELECT id FROM t") == [(2,)]
    await talk.ok("COMMIT")
    assert await talk.rows("SELECT id FROM t") == []


async def test_a_snapshot_that_changes_what_another_changed_is_rolled_back(sessions: Sessions, name: str, talk: Talk) -> None:
    other = await sessions.talk(name)
    await talk.ok(SNAPSHOT, "BEGIN TRAN", "SELECT COUNT(*) FROM t")
    await other.ok("UPDATE t SET n = N'x' WHERE id = 1")
    assert await talk.told("UPDATE t SET n = N'y' WHERE id = 1; PRINT 'after'") == ["rolled back", 3960]
    assert await talk.one("SELECT @@TRANCOUNT") == 0


async def test_snapshot_set_inside_another_transaction_fails_at_the_next_read(talk: Talk) -> None:
    await talk.ok("BEGIN TRAN", SNAPSHOT)
    assert await talk.told("SELECT * FROM t") == ["rolled back", 3951]


async def test_snapshot_where_it_is_not_allowed_fails_at_the_first_read(sessions: Sessions) -> None:
    talk = await sessions.talk(await sessions.database())
    await talk.ok("CREATE TABLE t (id int)", SNAPSHOT, "BEGIN TRAN")
    assert await talk.told("SELECT * FROM t") == ["rolled back", 3952]


async def test_a_lock_that_is_not_had_in_time_leaves_the_transaction(sessions: Sessions, name: str, talk: Talk) -> None:
    other = await sessions.talk(name)
    await other.ok("BEGIN TRAN", "UPDATE t SET n = N'x' WHERE id = 1")
    await talk.ok("SET LOCK_TIMEOUT 50; BEGIN TRAN")
    assert await talk.told("UPDATE t SET n = N'y' WHERE id = 1; PRINT 'after'") == [1222, "after"]
    assert await talk.one("SELECT @@TRANCOUNT") == 1
    await other.ok("ROLLBACK")


async def test_a_deadlock_rolls_its_victim_back(sessions: Sessions, name: str, talk: Talk) -> None:
    other = await sessions.talk(name)
    await talk.ok("SET DEADLOCK_PRIORITY LOW; BEGIN TRAN", "UPDATE t SET n = N'x' WHERE id = 1")
    await other.ok("BEGIN TRAN", "UPDATE t SET n = N'y' WHERE id = 2")
    blocked = asyncio.create_task(other.told("UPDATE t SET n = N'y' WHERE id = 1"))
    told = await talk.told("UPDATE t SET n = N'x' WHERE id = 2; PRINT 'after'")
    ends = [told, await blocked]
    assert sorted(map(str, ends)) == sorted(
        map(str, (["rolled back", 1205], ["update 1"] if 1205 in told else ["update 1", "after"]))
    )
    for one in (talk, other):
        await one.ok("IF @@TRANCOUNT > 0 ROLLBACK")


# -- triggers ----------------------------------------------------------------------------------------------------------------


async def with_trigger(sessions: Sessions, body: str) -> Talk:
    talk = await sessions.talk(await sessions.database())
    await talk.ok(
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, n nvarchar(10) NULL)",
        "CREATE TABLE log (id int IDENTITY PRIMARY KEY, old int NULL, new int NULL)",
        f"CREATE TRIGGER tr ON t AFTER INSERT, UPDATE, DELETE AS {body}",
    )
    return talk


async def test_a_trigger_sees_the_rows_of_its_statement(sessions: Sessions) -> None:
    body = "INSERT log (old, new) SELECT d.id, i.id FROM inserted AS i FULL JOIN deleted AS d ON i.id = d.id"
    talk = await with_trigger(sessions, body)
    await talk.ok("INSERT t VALUES (1, N'a'), (2, N'b')", "DELETE t WHERE id = 1", "UPDATE t SET n = N'x'")
    assert sorted(await talk.rows("SELECT old, new FROM log"), key=str) == [(1, None), (2, 2), (None, 1), (None, 2)]


async def test_rollback_in_a_trigger_ends_transaction_and_batch(sessions: Sessions) -> None:
    talk = await with_trigger(
        sessions, "IF EXISTS (SELECT * FROM inserted WHERE id = 3) BEGIN ROLLBACK; RAISERROR (N'no', 16, 1) END"
    )
    assert await talk.told("BEGIN TRAN; INSERT t VALUES (1, N'a'); INSERT t VALUES (3, N'c'); PRINT 'after'") == [
        "begun",
        "insert 1",
        50000,
        "rolled back",
        3609,
    ]
    assert await talk.told("INSERT t VALUES (3, N'c'); PRINT 'after'") == [50000, 3609]
    assert await talk.rows("SELECT id FROM t") == []


async def test_an_error_in_a_trigger_ends_transaction_and_batch(sessions: Sessions) -> None:
    talk = await with_trigger(sessions, "SELECT 1 / 0 AS x")
    assert [t for t in await talk.told("BEGIN TRAN; INSERT t VALUES (1, N'a'); PRINT 'after'") if not isinstance(t, list)] == [
        "begun",
        "rolled back",
        8134,
    ]
    assert await talk.rows("SELECT id FROM t") == []


async def test_a_trigger_counts_a_transaction_of_its_statement(sessions: Sessions) -> None:
    talk = await with_trigger(sessions, "INSERT log (old) VALUES (@@TRANCOUNT)")
    await talk.ok("INSERT t VALUES (1, N'a')")
    assert await talk.rows("SELECT old FROM log") == [(1,)]
    assert await talk.one("SELECT @@TRANCOUNT") == 0


async def test_a_trigger_does_not_change_scope_identity(sessions: Sessions) -> None:
    talk = await with_trigger(sessions, "INSERT log (old) VALUES (1)")
    assert await talk.rows("INSERT t VALUES (1, N'a'); SELECT SCOPE_IDENTITY()") == [(None,)]


# -- application locks -------------------------------------------------------------------------------------------------------


async def lock(talk: Talk, mode: str, owner: str, wait: int) -> int:
    found: int = await talk.one("DECLARE @r int; " + LOCK.format(mode, owner, wait))
    return found


async def test_application_locks_of_sessions_exclude_each_other(sessions: Sessions, name: str) -> None:
    one, two = await sessions.talk(name), await sessions.talk(name)
    assert await lock(one, "Exclusive", "Session", 0) == 0
    assert await lock(one, "Exclusive", "Session", 0) == 0
    assert await lock(two, "Shared", "Session", 0) == -1
    release = "EXEC sp_releaseapplock @Resource = N'x', @LockOwner = N'Session'"
    await one.ok(release, release)
    assert await one.failed(release) == [1223]
    assert await lock(two, "Shared", "Session", 0) == 0
    assert await lock(one, "Shared", "Session", 0) == 0
    await one.session.close()
    await two.session.close()


async def test_an_application_lock_of_a_transaction_ends_with_it(sessions: Sessions, name: str) -> None:
    one, two = await sessions.talk(name), await sessions.talk(name)
    assert await one.failed("EXEC sp_getapplock N'x', N'Exclusive'") == [1230]
    await one.ok("BEGIN TRAN")
    assert await lock(one, "Exclusive", "Transaction", 0) == 0
    waiting = asyncio.create_task(lock(two, "Exclusive", "Session", 5000))
    await asyncio.sleep(0)
    await one.ok("COMMIT")
    assert await waiting in (0, 1)
    await two.session.close()
    assert await lock(one, "Exclusive", "Session", 0) == 0
    await one.session.close()


# -- the session -------------------------------------------------------------------------------------------------------------


async def test_reset_rolls_back_and_gives_defaults_but_keeps_the_isolation_level(talk: Talk) -> None:
    await talk.ok("SET XACT_ABORT ON; SET LOCK_TIMEOUT 5; CREATE TABLE #x (id int)", SNAPSHOT, "BEGIN TRAN; DELETE t")
    await talk.session.reset()
    assert (talk.state.xact_abort, talk.state.lock_timeout, talk.state.isolation) == (False, -1, "SNAPSHOT")
    assert await talk.rows("SELECT @@TRANCOUNT, (SELECT COUNT(*) FROM t)") == [(0, 2)]
    assert await talk.failed("SELECT * FROM #x") == [208]


async def test_use_changes_the_database_and_reset_brings_it_back(sessions: Sessions, name: str) -> None:
    talk, other = await sessions.talk(name), await sessions.database()
    assert await talk.told(f"USE [{other}]") == [(name, other)]
    assert talk.session.database == other
    assert await talk.failed("USE nowhere") == [911]
    await talk.session.reset()
    assert talk.session.database == name


async def test_dynamic_sql_comes_back_from_another_database(sessions: Sessions, name: str) -> None:
    talk, other = await sessions.talk(name), await sessions.database()
    assert await talk.told(f"EXEC (N'USE [{other}]')") == [(name, other), (other, name)]


async def test_a_killed_session_is_told_so(sessions: Sessions, name: str) -> None:
    one, two = await sessions.talk(name), await sessions.talk(name)
    await two.ok(f"KILL {one.session.spid}")
    with pytest.raises(SqlError) as caught:
        async for _ in one.session.run(Request("SELECT 1")):
            pass
    assert (caught.value.number, caught.value.severity) == (596, 21)
    assert await two.failed(f"KILL {two.session.spid}") == [6104]
    assert await two.failed("KILL 32000") == [6106]


async def test_statements_on_databases_need_to_be_outside_of_transactions(talk: Talk) -> None:
    assert await talk.told("BEGIN TRAN; CREATE DATABASE x; ALTER DATABASE CURRENT SET READ_ONLY; ROLLBACK") == [
        "begun",
        226,
        226,
        "rolled back",
    ]
