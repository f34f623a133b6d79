"""Turns on one session, and when it is made anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

pytest.importorskip("pyodbc", reason="`sh tools/debian.sh` says what to install", exc_type=ImportError)

import pyodbc

from cdc.errors import CompanyStopped, Transient
from cdc.source_settings import Secret, SqlServerSource
from cdc.sources.sqlserver import connection as connection_module
from cdc.sources.sqlserver import lane as lane_module
from cdc.sources.sqlserver.connection import PING, ROLL_BACK, Connection
from cdc.sources.sqlserver.lane import Lane
from cdc.sources.sqlserver.logins import PATIENCE, Logins
from tests.support.fake_odbc import LOST, Blocked, FakeDriver, odbc_error
from tests.support.virtual import VirtualClock
from transport.machine import ThreadExecutor
from transport.runtime import Runtime

SETTINGS = SqlServerSource(server="erp", database="ERP", user="cdc", password=Secret(env="ERP_PASSWORD"))


@pytest.fixture
def odbc(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver()
    monkeypatch.setenv("ERP_PASSWORD", "secret")
    monkeypatch.setattr(pyodbc, "connect", made.connect)
    monkeypatch.setattr(pyodbc, "drivers", lambda: ["ODBC Driver 18 for SQL Server"])
    return made


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def lane(odbc: FakeDriver, clock: VirtualClock) -> AsyncIterator[Lane]:
    made = Lane(SETTINGS, Runtime(clock=clock, random=Random(1), executor=ThreadExecutor), "erp-read")
    yield made
    await made.close()


async def reached(blocked: Blocked) -> None:
    assert await asyncio.to_thread(blocked.reached.wait, 10)


async def one(lane: Lane, sql: str) -> None:
    async with lane.use() as connection:
        await connection.execute(sql)


async def test_the_session_is_kept_from_turn_to_turn(odbc: FakeDriver, lane: Lane) -> None:
    await lane.open()
    for _ in range(3):
        await one(lane, "SELECT 1")
    assert len(odbc.connections) == lane.sessions == 1
    assert ROLL_BACK not in odbc.log


async def test_turns_are_taken_in_order_of_asking(odbc: FakeDriver, lane: Lane) -> None:
    slow = odbc.answers["slow"] = Blocked()
    first = asyncio.ensure_future(one(lane, "slow"))
    await reached(slow)
    others = [asyncio.ensure_future(one(lane, f"SELECT {n}")) for n in range(3)]
    await asyncio.sleep(0)
    slow.ended.set()
    await asyncio.gather(first, *others)
    assert odbc.log == ["slow", "SELECT 0", "SELECT 1", "SELECT 2"]


async def test_after_an_error_what_is_open_is_rolled_back(odbc: FakeDriver, lane: Lane) -> None:
    odbc.answers["x"] = odbc_error("42000", 3961)
    with pytest.raises(Transient, match="A2251"):
        await one(lane, "x")
    await one(lane, "SELECT 1")
    assert odbc.log == ["x", ROLL_BACK, PING, "SELECT 1"]
    assert lane.sessions == 1


async def test_a_cancelled_turn_ends_its_statement_and_rolls_back(odbc: FakeDriver, lane: Lane) -> None:
    slow = odbc.answers["slow"] = Blocked()
    task = asyncio.ensure_future(one(lane, "slow"))
    await reached(slow)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [line for line in odbc.log if line != "cancel"] == ["slow", ROLL_BACK, PING]
    await one(lane, "SELECT 1")
    assert lane.sessions == 1


async def test_a_lost_session_is_made_anew(odbc: FakeDriver, lane: Lane) -> None:
    odbc.answers["x"] = odbc_error(*LOST, server=False, text="Communication link failure")
    with pytest.raises(Transient, match="A2248"):
        await one(lane, "x")
    await one(lane, "SELECT 1")
    assert lane.sessions == 2
    assert [made.closed for made in odbc.connections] == [True, False]


async def test_a_session_that_does_not_answer_after_an_error_is_made_anew(odbc: FakeDriver, lane: Lane) -> None:
    odbc.answers |= {"x": odbc_error("42000", 1205), PING: odbc_error("08S01", 104, server=False)}
    with pytest.raises(Transient, match="A2250"):
        await one(lane, "x")
    odbc.answers[PING] = [(0,)]
    await one(lane, "SELECT 1")
    assert lane.sessions == 2


async def test_a_new_session_is_prepared_before_it_is_used(odbc: FakeDriver, clock: VirtualClock) -> None:
    async def prepare(connection: Connection) -> None:
        await connection.execute("SET NOCOUNT ON")

    runtime = Runtime(clock=clock, random=Random(1), executor=ThreadExecutor)
    made = Lane(SETTINGS, runtime, "erp-read", prepare)
    odbc.answers["SET NOCOUNT ON"] = odbc_error("42000", 229)
    with pytest.raises(CompanyStopped):
        await made.open()
    assert odbc.connections[0].closed
    odbc.answers["SET NOCOUNT ON"] = None
    await one(made, "SELECT 1")
    assert odbc.log[-2:] == ["SET NOCOUNT ON", "SELECT 1"]
    await made.close()


async def test_a_login_that_worked_in_one_lane_is_known_to_the_next(odbc: FakeDriver, clock: VirtualClock) -> None:
    """A service that failed begins again with new lanes, in the middle of a failover."""
    runtime, logins = Runtime(clock=clock, random=Random(1), executor=ThreadExecutor), Logins()
    first, second = (Lane(SETTINGS, runtime, f"erp-{n}", logins=logins) for n in range(2))
    await one(first, "SELECT 1")
    await first.close()
    odbc.logins.append(odbc_error("28000", 18456))
    with pytest.raises(Transient, match="A2246"):
        await second.open()
    await one(second, "SELECT 1")
    await second.close()


async def test_a_login_that_never_worked_is_not_tried_again(odbc: FakeDriver, lane: Lane) -> None:
    odbc.logins.append(odbc_error("28000", 18456))
    with pytest.raises(CompanyStopped, match="A2246"):
        await lane.open()


async def test_a_login_that_worked_may_be_refused_for_a_while(odbc: FakeDriver, lane: Lane, clock: VirtualClock) -> None:
    await lane.open()
    odbc.answers["x"] = odbc_error(*LOST, server=False, text="Communication link failure")
    with pytest.raises(Transient, match="A2248"):
        await one(lane, "x")
    odbc.logins = [odbc_error("28000", 18456) for _ in range(3)]
    with pytest.raises(Transient, match="A2246"):
        await lane.open()
    clock.seconds += PATIENCE - 1
    with pytest.raises(Transient, match="A2246"):
        await lane.open()
    clock.seconds += 2
    with pytest.raises(CompanyStopped, match="A2246"):
        await lane.open()


async def test_a_database_that_cannot_be_opened_may_be_starting(odbc: FakeDriver, lane: Lane, clock: VirtualClock) -> None:
    odbc.logins = [odbc_error("42000", 4060) for _ in range(2)]
    with pytest.raises(Transient, match="A2247"):
        await lane.open()
    clock.seconds += PATIENCE + 1
    with pytest.raises(CompanyStopped, match="A2247"):
        await lane.open()
    await lane.open()
    odbc.logins.append(odbc_error("42000", 4060))
    await one(lane, "SELECT 1")  # the session that is there is not concerned


async def test_a_database_that_was_open_once_is_waited_for(odbc: FakeDriver, lane: Lane, clock: VirtualClock) -> None:
    """Maintenance takes as long as it takes."""
    await lane.open()
    odbc.answers["x"] = odbc_error(*LOST, server=False, text="Communication link failure")
    with pytest.raises(Transient, match="A2248"):
        await one(lane, "x")
    for _ in range(3):
        odbc.logins.append(odbc_error("42000", 4060))
        with pytest.raises(Transient, match="A2247"):
            await lane.open()
        clock.seconds += PATIENCE + 1
    await one(lane, "SELECT 1")


async def test_closing_ends_the_running_statement_and_who_waits_is_told(odbc: FakeDriver, lane: Lane) -> None:
    slow = odbc.answers["slow"] = Blocked()
    running = asyncio.ensure_future(one(lane, "slow"))
    await reached(slow)
    waiting = asyncio.ensure_future(one(lane, "SELECT 1"))
    await asyncio.sleep(0)
    await lane.close()
    for task in (running, waiting):
        with pytest.raises(Transient, match="A2212"):
            await task
    assert odbc.connections[0].closed
    await lane.close()


async def test_closing_an_idle_lane_cancels_nothing(odbc: FakeDriver, lane: Lane) -> None:
    await one(lane, "SELECT 1")
    await lane.close()
    assert odbc.log == ["SELECT 1"]


async def test_closing_does_not_wait_for_ever_for_a_statement_that_cannot_be_ended(
    odbc: FakeDriver, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "GIVE_UP", 0.1)
    monkeypatch.setattr(lane_module, "GIVE_UP", 0.1)
    deaf = odbc.answers["deaf"] = Blocked(deaf=True)
    running = asyncio.ensure_future(one(lane, "deaf"))
    await reached(deaf)
    await lane.close()
    assert not odbc.connections[0].closed
    deaf.ended.set()
    await asyncio.gather(running, *connection_module._burials, return_exceptions=True)
    assert odbc.connections[0].closed
