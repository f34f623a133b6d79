"""One session: its thread, its errors, and how it ends; with a driver that does what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from random import Random

import pytest

pytest.importorskip("pyodbc", reason="`sh tools/debian.sh` says what to install", exc_type=ImportError)

import pyodbc

from cdc.errors import CompanyStopped, DatasetPaused, Transient
from cdc.source_settings import Secret, SqlServerSource
from cdc.sources.sqlserver import connection as module
from cdc.sources.sqlserver.connection import Connection
from cdc.sources.sqlserver.failures import failure_of
from cdc.sources.sqlserver.parameters import bigint, nvarchar
from tests.support.fake_odbc import LOST, Blocked, FakeDriver, odbc_error
from tests.support.virtual import VirtualClock
from transport.machine import ThreadExecutor
from transport.runtime import Runtime

SETTINGS = SqlServerSource(server="erp", database="ERP", user="cdc", password=Secret(env="ERP_PASSWORD"))
RUNTIME = Runtime(clock=VirtualClock(), random=Random(1), executor=ThreadExecutor)


@pytest.fixture
def odbc(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver()
    monkeypatch.setenv("ERP_PASSWORD", "sec;ret")
    monkeypatch.setattr(pyodbc, "connect", made.connect)
    monkeypatch.setattr(pyodbc, "drivers", lambda: ["ODBC Driver 18 for SQL Server"])
    return made


@pytest.fixture
async def session(odbc: FakeDriver) -> AsyncIterator[Connection]:
    made = await Connection.open(SETTINGS, RUNTIME, "erp-read")
    yield made
    await made.close()


async def reached(blocked: Blocked) -> None:
    assert await asyncio.to_thread(blocked.reached.wait, 10)


async def test_a_session_is_in_autocommit_mode_with_both_time_limits(odbc: FakeDriver, session: Connection) -> None:
    made = odbc.connections[0]
    assert made.autocommit is True
    assert made.options["timeout"] == 15
    assert made.timeout == 120
    assert pyodbc.pooling is False


async def test_every_call_but_cancel_is_made_in_the_sessions_own_thread(odbc: FakeDriver) -> None:
    odbc.answers["SELECT 1"] = [(1,)]
    made = await Connection.open(SETTINGS, RUNTIME, "erp-read")
    await made.execute("SELECT 1")
    await made.close()
    assert odbc.threads == {"erp-read_0"}


async def test_the_rows_of_the_first_result_that_has_columns_are_given(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["batch"] = (None, [(1,), (2,)], None)
    assert await session.execute("batch") == [(1,), (2,)]
    odbc.answers["nothing"] = None
    assert await session.execute("nothing") == []


async def test_all_results_are_given_where_they_are_asked_for(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["batch"] = ([(1,)], None, [], [(3,)])
    assert await session.results("batch") == [[(1,)], [], [(3,)]]


async def test_an_error_behind_the_first_result_is_raised(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["batch"] = ([(1,)], odbc_error("42000", 1222))
    with pytest.raises(Transient, match="A2250"):
        await session.execute("batch")


async def test_parameters_are_sent_with_their_types(odbc: FakeDriver, session: Connection) -> None:
    sent: list[object] = []
    odbc.answers["SELECT ?"] = lambda *parameters: sent.extend(parameters)
    await session.execute("SELECT ?", (bigint(7), nvarchar("x", 128)))
    assert sent == [[7, "x"]]
    assert session._statement.sizes == [(-5, 19, 0), (-9, 128, 0)]


async def test_rows_come_in_portions(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["many"] = [(n,) for n in range(5)]
    assert [rows async for rows in session.fetch("many", size=2)] == [[(0,), (1,)], [(2,), (3,)], [(4,)]]


async def test_an_error_behind_the_last_portion_is_raised(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["many"] = ([(1,)], odbc_error("42000", 3961))
    with pytest.raises(Transient, match="A2251"):
        _ = [rows async for rows in session.fetch("many", size=2)]


async def test_a_result_that_is_not_wanted_to_its_end_is_dropped(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers |= {"many": [(n,) for n in range(5)], "SELECT 1": [(1,)]}
    old = session._statement
    async with contextlib.aclosing(session.fetch("many", size=2)) as portions:
        async for _ in portions:
            break
    assert old.closed
    assert await session.execute("SELECT 1") == [(1,)]


async def test_an_error_says_what_it_is_and_holds_no_values(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["x"] = odbc_error("23000", 2627, text="The duplicate key value is (Kowalski).")
    with pytest.raises(Transient, match=r"A2259 erp, database ERP: .*2627") as caught:
        await session.execute("x")
    chain = [caught.value, caught.value.__cause__]
    assert "Kowalski" not in str(chain)
    assert caught.value.__suppress_context__
    found = failure_of(caught.value)
    assert found is not None
    assert found.number == 2627


async def test_a_permission_missing_for_one_table_pauses_a_dataset(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["x"] = odbc_error("42000", 229)
    with pytest.raises(DatasetPaused, match="A2254"):
        await session.execute("x", table=True)


async def test_a_cancelled_call_ends_its_statement_and_the_session_can_be_used_again(
    odbc: FakeDriver, session: Connection
) -> None:
    slow = odbc.answers["slow"] = Blocked()
    task = asyncio.ensure_future(session.execute("slow"))
    await reached(slow)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cancelled
    assert await session.reset()
    assert odbc.log[-2:] == [module.ROLL_BACK, module.PING]


async def test_what_a_cancelled_statement_brings_without_an_error_is_thrown_away(odbc: FakeDriver, session: Connection) -> None:
    mute = odbc.answers["mute"] = Blocked(mute=True)
    task = asyncio.ensure_future(session.execute("mute"))
    await reached(mute)
    session.cancel()
    with pytest.raises(Transient, match="A2212"):
        await task


async def test_after_an_order_to_cancel_nothing_is_executed_until_the_session_is_reset(
    odbc: FakeDriver, session: Connection
) -> None:
    odbc.answers["many"] = [(n,) for n in range(5)]
    portions = session.fetch("many", size=2)
    assert await anext(portions) == [(0,), (1,)]
    session.cancel()
    with pytest.raises(Transient, match="A2212"):
        await anext(portions)
    with pytest.raises(Transient, match="A2212"):
        await session.execute("many")
    assert await session.reset()
    assert len(await session.execute("many")) == 5


async def test_an_order_to_cancel_does_not_hold_up_the_loop_on_a_dead_link(
    odbc: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_UP", 0.1)
    session = await Connection.open(SETTINGS, RUNTIME, "erp-read")
    deaf = odbc.answers["deaf"] = Blocked(deaf=True)
    task = asyncio.ensure_future(session.execute("deaf"))
    await reached(deaf)
    for _ in range(3):
        session.cancel()  # comes back although the driver's own order does not
    assert not await session.reset()
    assert session.doubtful
    await session.close()
    deaf.ended.set()
    with pytest.raises(Transient):
        await task
    await asyncio.gather(*module._burials)


async def test_a_lost_session_is_not_closed_while_an_order_to_cancel_is_under_way(
    odbc: FakeDriver, session: Connection
) -> None:
    lost = odbc.answers["lost"] = Blocked(deaf=True, meets=odbc_error(*LOST, server=False, text="Communication link failure"))
    task = asyncio.ensure_future(session.execute("lost"))
    await reached(lost)
    session.cancel()
    await asyncio.to_thread(lost.ordered.wait, 10)
    lost.failed.set()
    await asyncio.sleep(0.05)
    assert not odbc.connections[0].closed  # aioodbc would have closed it by now
    lost.ended.set()
    with pytest.raises(Transient, match="A2248"):
        await task
    assert odbc.connections[0].closed


async def test_a_session_with_a_transaction_that_stays_open_is_in_doubt(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers[module.PING] = [(1,)]
    assert not await session.reset()
    with pytest.raises(Transient, match="in doubt"):
        await session.execute("SELECT 1")


async def test_a_lost_session_is_in_doubt_and_nothing_more_is_asked(odbc: FakeDriver, session: Connection) -> None:
    odbc.answers["x"] = odbc_error(*LOST, server=False, text="Communication link failure")
    with pytest.raises(Transient, match="A2248"):
        await session.execute("x")
    count = len(odbc.log)
    assert session.doubtful
    assert not await session.reset()
    assert len(odbc.log) == count


async def test_a_statement_that_cannot_be_ended_is_left_to_itself_and_its_session_closed_later(
    odbc: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_UP", 0.1)
    session = await Connection.open(SETTINGS, RUNTIME, "erp-read")
    deaf = odbc.answers["deaf"] = Blocked(deaf=True)
    task = asyncio.ensure_future(session.execute("deaf"))
    await reached(deaf)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.doubtful
    await session.close()
    assert not odbc.connections[0].closed  # its last call still runs
    deaf.ended.set()
    await asyncio.gather(*module._burials)
    assert odbc.connections[0].closed


async def test_a_login_that_hangs_does_not_hold_up_who_cancels_it(odbc: FakeDriver) -> None:
    hanging = Blocked()
    odbc.logins.append(hanging)
    task = asyncio.ensure_future(Connection.open(SETTINGS, RUNTIME, "erp-read"))
    await reached(hanging)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert odbc.connections == []
    hanging.ended.set()
    await asyncio.gather(*module._burials)
    assert [made.closed for made in odbc.connections] == [True]


async def test_a_refused_login_closes_what_was_opened(odbc: FakeDriver) -> None:
    odbc.logins.append(odbc_error("28000", 18456))
    with pytest.raises(CompanyStopped, match="A2246"):
        await Connection.open(SETTINGS, RUNTIME, "erp-read")
    assert not module._burials


async def test_closing_twice_is_closing_once(odbc: FakeDriver, session: Connection) -> None:
    await session.close()
    await session.close()
    assert odbc.connections[0].closed
    with pytest.raises(Transient, match="A2248"):
        await session.execute("SELECT 1")


async def test_statements_are_freed_before_their_session_also_where_it_was_lost(odbc: FakeDriver) -> None:
    odbc.answers |= {"x": odbc_error(*LOST, server=False, text="Communication link failure"), "many": [(1,), (2,)]}
    for sql in ("many", "x"):
        made = await Connection.open(SETTINGS, RUNTIME, "erp-read")
        with contextlib.suppress(Transient):
            await made.execute(sql)
        await made.close()
    assert [(made.closed, made.statements_left) for made in odbc.connections] == [(True, [])] * 2
    assert odbc.threads == {"erp-read_0"}


async def test_the_password_goes_nowhere_but_into_the_connection_string(odbc: FakeDriver) -> None:
    odbc.logins.append(odbc_error("28000", 18456))
    with pytest.raises(CompanyStopped) as caught:
        await Connection.open(SETTINGS, RUNTIME, "erp-read")
    assert "sec;ret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    made = await Connection.open(SETTINGS, RUNTIME, "erp-read")
    assert "PWD={sec;ret}" in odbc.connections[0].text
    await made.close()


async def test_a_driver_at_a_path_where_there_is_none_is_said(odbc: FakeDriver) -> None:
    settings = SqlServerSource(server="erp", database="ERP", driver="/nowhere/libmsodbcsql.so")
    with pytest.raises(CompanyStopped, match="A2241"):
        await Connection.open(settings, RUNTIME, "erp-read")


BLOCKED_IMPORT = """
import sys
sys.modules["pyodbc"] = sys.modules["aioodbc"] = None
import asyncio, random
import cdc.cli, cdc.daemon
from cdc.errors import CompanyStopped
from cdc.sources.sqlserver import connection, driver, failures, lane, parameters
try:
    connection.odbc()
except CompanyStopped as error:
    print(error.code)
"""


def test_nothing_else_of_the_product_needs_the_driver() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED_IMPORT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "A2240"


LAZY = "import sys, cdc.cli, cdc.daemon; print(sorted({'pyodbc', 'aioodbc'} & set(sys.modules)))"


def test_the_driver_is_imported_only_when_a_session_is_opened() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
