"""The control channel: rules, barriers, kills, clock, logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.standin.control_client import AsyncControl, Control, ControlError
from tests.standin.engine.database import SA_PASSWORD, Engine
from tests.standin.ports import Login, Refused, Request, SqlError
from tests.support.standin_storage import Storage, column, option, table, track

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[Engine]:
    engine = await Engine.start()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def control(engine: Engine) -> AsyncIterator[AsyncControl]:
    yield AsyncControl(await engine.control.serve())
    await engine.control.close()
    engine.control.rules.clear()
    engine.control.log.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def server(engine: Engine) -> AsyncIterator[Storage]:
    storage = Storage(engine)
    yield storage
    await storage.leave()


async def received(engine: Engine, sql: str, spid: int = 0) -> int:
    """The number of the error that the request is to be answered with."""
    error = (await engine.control.received(spid, Request(sql))).error
    return error.number if error else 0


async def test_an_error_at_the_nth_match_as_often_as_said(engine: Engine, control: AsyncControl) -> None:
    await control.fail("update .*t", 1205, nth=2, times=2)
    assert [await received(engine, "UPDATE dbo.t SET a = 1") for _ in range(5)] == [0, 1205, 1205, 0, 0]
    assert await received(engine, "SELECT 1") == 0
    [rule] = await control.call("rules")
    assert (rule["seen"], rule["done"]) == (5, 2)


async def test_a_rule_of_a_database_leaves_others_alone(engine: Engine, control: AsyncControl, server: Storage) -> None:
    client = await server.client(await server.database())
    await control.fail("x", 3960, database=client.state.database.name, times=0)
    assert await received(engine, "x", client.state.spid) == 3960
    assert await received(engine, "x", 0) == 0
    await control.remove()
    assert await received(engine, "x", client.state.spid) == 0


async def test_delays_cuts_kills_and_replays_are_told_to_the_wire(engine: Engine, control: AsyncControl) -> None:
    await control.add("a", delay=0.5, cut_after_rows=3, kill=True, replay="rows", name="all")
    verdict = await engine.control.received(0, Request("a"))
    assert (verdict.delay, verdict.cut_after_rows, verdict.kill, verdict.replay, verdict.notes) == (
        0.5,
        3,
        True,
        "rows",
        ["all"],
    )


async def test_a_request_waits_at_a_barrier_until_it_is_resumed(engine: Engine, control: AsyncControl) -> None:
    await control.add("commit", barrier="before commit")
    assert not await control.wait("before commit", 0.01)
    request = asyncio.create_task(received(engine, "COMMIT TRANSACTION"))
    assert await control.wait("before commit")
    assert not request.done()
    await control.resume("before commit")
    assert await request == 0


async def test_logins_are_refused_by_password_database_and_rule(engine: Engine, control: AsyncControl) -> None:
    await control.add("sa", login=True, error={"number": 976, "message": "not now"})
    for login, number in [
        (Login("sa", SA_PASSWORD, ""), 976),
        (Login("sa", "wrong", ""), 18456),
        (Login("nobody", "", ""), 18456),
        (Login("sa", SA_PASSWORD, "missing"), 4060),
    ]:
        with pytest.raises(SqlError) as raised:
            await engine.login(login)
        assert raised.value.number == number


async def test_a_killed_session_is_gone_and_its_transaction_rolled_back(
    engine: Engine, control: AsyncControl, server: Storage
) -> None:
    database = await server.database()
    victim, other = await server.client(database), await server.client(database)
    await victim.do(table("t", column("id")))
    other.state.catalogue = database.catalogue
    await victim.begin()
    await victim.write("t", "INSERT INTO {t} VALUES (1)")
    cut: list[int] = []
    engine.control.cutters[victim.state.spid] = lambda: cut.append(victim.state.spid)
    assert await control.kill(spid=victim.state.spid) == cut == [victim.state.spid]
    assert await other.read("t") == []
    assert [s["spid"] for s in await control.sessions() if s["database"] == database.name] == [other.state.spid]


async def test_the_clock_and_forced_clean_up(engine: Engine, control: AsyncControl, server: Storage) -> None:
    client = await server.client(await server.database())
    await client.do(option("CHANGE_TRACKING", "ON"), table("t", column("id")), track("t"))
    await client.write("t", "INSERT INTO {t} VALUES (1)")
    await client.write("t", "INSERT INTO {t} VALUES (2)")
    before = engine.now()
    await control.clock(3600)
    assert (engine.now() - before).total_seconds() >= 3600
    assert await client.min_valid("t") == 0
    assert await control.cleanup(client.state.database.name, version=1) == 1
    assert await client.min_valid("t") == 1
    assert await control.cleanup(client.state.database.name, age=60) == 2
    assert await client.min_valid("t") == 2


async def test_a_secondary_refuses_change_tracking_and_writes(control: AsyncControl, server: Storage) -> None:
    client = await server.client(await server.database())
    await client.do(option("CHANGE_TRACKING", "ON"), table("t", column("id")), track("t"))
    await control.set("secondary", True, database=client.state.database.name)
    for operation, number in [(client.version(), 22117), (client.write("t", "INSERT INTO {t} VALUES (1)"), 3906)]:
        with pytest.raises(SqlError) as raised:
            await operation
        assert raised.value.number == number


async def test_the_log_counts_texts_and_what_was_refused_is_kept(engine: Engine, control: AsyncControl, tmp_path: Path) -> None:
    for sql in ("SELECT 1", "SELECT 1", "MERGE x\nUSING y"):
        await received(engine, sql)
    engine.control.refused(7, "MERGE x", Refused("MERGE"))
    assert await control.log("^select") == {"SELECT 1": 2}
    assert await control.dump(str(tmp_path / "log")) == 2
    assert (tmp_path / "log").read_text().splitlines() == ['"SELECT 1"', '"MERGE x\\nUSING y"']
    [refused] = await control.refused(reset=True)
    assert (refused["spid"], refused["number"], refused["message"]) == (7, 50000, "stand-in: MERGE")
    assert await control.refused() == []


async def test_the_blocking_client_and_errors_of_the_channel(engine: Engine, control: AsyncControl) -> None:
    blocking = Control(control.port)
    await asyncio.to_thread(blocking.fail, "x", 1222)
    assert await received(engine, "x") == 1222
    with pytest.raises(ControlError, match="KeyError"):
        await asyncio.to_thread(blocking.set, "nonsense", 1)
    with pytest.raises(ControlError, match="do_nothing"):
        await control.call("nothing")
