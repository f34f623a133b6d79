"""The same session through Microsoft's driver: TLS, logins, types, cancelling, faults, and a loop that never waits."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from random import Random

import pytest

from cdc.errors import AgentError, CompanyStopped, Transient
from cdc.source_settings import Secret
from cdc.sources.sqlserver.connection import Connection
from cdc.sources.sqlserver.failures import failure_of
from cdc.sources.sqlserver.lane import Lane
from cdc.sources.sqlserver.parameters import bigint, nvarchar, varbinary, varchar
from tests.support.proxy import FaultyProxy
from tests.support.sqlserver import Server
from transport.machine import SystemClock, ThreadExecutor
from transport.runtime import Runtime

RUNTIME = Runtime(clock=SystemClock(), random=Random(1), executor=ThreadExecutor)
SLOW = "WAITFOR DELAY '00:00:30'"
STALL = 0.1  # seconds the loop may stand still at most; measured: under 0.02


@pytest.fixture
async def session(sql_server: Server) -> AsyncIterator[Connection]:
    made = await Connection.open(sql_server.settings("master"), RUNTIME, "test")
    yield made
    await made.close()


@pytest.fixture
def numbers(sql_server: Server, database: str) -> str:
    """A database with a table of 3,000 rows."""
    with sql_server.connected(database) as connection:
        connection.execute("CREATE TABLE dbo.numbers (n int NOT NULL PRIMARY KEY, t nvarchar(200) NOT NULL)")
        for start in range(0, 3_000, 1_000):
            rows = ", ".join(f"({n}, N'{'x' * 200}')" for n in range(start, start + 1_000))
            connection.execute(f"INSERT INTO dbo.numbers (n, t) VALUES {rows}")
    return database


class Watcher:
    """The longest time in which the loop did nothing else."""

    def __init__(self) -> None:
        self.gap = 0.0

    async def run(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.gap = max(self.gap, now - last)
            last = now


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Watcher]:
    watcher = Watcher()
    task = asyncio.ensure_future(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.wait([task])


# -- logging in ----------------------------------------------------------------------------------------------------------------


async def test_the_certificate_is_checked_against_the_servers_name(sql_server: Server) -> None:
    _ = sql_server.control  # of our own making, for the name localhost
    settings = sql_server.settings("master", server=f"127.0.0.1,{sql_server.port}")
    with pytest.raises(CompanyStopped, match="A2245"):
        await Connection.open(settings, RUNTIME, "test")
    trusting = sql_server.settings("master", server=f"127.0.0.1,{sql_server.port}", trust_server_certificate=True)
    await (await Connection.open(trusting, RUNTIME, "test")).close()
    named = sql_server.settings("master", server=f"127.0.0.1,{sql_server.port}", certificate_host="localhost")
    await (await Connection.open(named, RUNTIME, "test")).close()


async def test_a_wrong_password_and_a_missing_database_are_told_apart(
    sql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CompanyStopped, match="A2247"):
        await Connection.open(sql_server.settings("cdc_test_none"), RUNTIME, "test")
    monkeypatch.setenv("WRONG", "no;such}password")
    with pytest.raises(CompanyStopped, match="A2246") as caught:
        await Connection.open(sql_server.settings("master", password=Secret(env="WRONG")), RUNTIME, "test")
    assert "no;such}password" not in str(caught.value)


async def test_any_password_reaches_the_server(sql_server: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    login, password = f"cdc_test_{secrets.token_hex(4)}", "Aa1;PWD={x}};} 'ł\"=" + secrets.token_hex(4)
    with sql_server.connected(database) as connection:
        quoted = password.replace("'", "''")
        connection.execute(f"CREATE LOGIN [{login}] WITH PASSWORD = N'{quoted}', CHECK_POLICY = OFF")
        connection.execute(f"CREATE USER [{login}] FOR LOGIN [{login}]")
    monkeypatch.setenv("ODD", password)
    try:
        made = await Connection.open(sql_server.settings(database, user=login, password=Secret(env="ODD")), RUNTIME, "test")
        assert [tuple(row) for row in await made.execute("SELECT SUSER_SNAME(), DB_NAME()")] == [(login, database)]
        await made.close()
    finally:
        with sql_server.connected(database) as connection:
            connection.execute(f"DROP USER [{login}]")
            connection.execute(f"DROP LOGIN [{login}]")


async def test_a_server_that_is_not_there_is_tried_again(sql_server: Server) -> None:
    async with FaultyProxy(sql_server.port) as proxy:
        port = proxy.port
    settings = sql_server.settings("master", server=f"localhost,{port}", login_timeout=1.0)
    with pytest.raises(Transient, match="A2244"):
        await Connection.open(settings, RUNTIME, "test")


async def test_the_server_sees_who_is_connected(sql_server: Server, session: Connection) -> None:
    assert [tuple(row) for row in await session.execute("SELECT APP_NAME()")] == [("erp-cdc",)]


# -- statements and parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x", "x" * 128])
async def test_a_text_is_sent_with_a_size_of_its_own_choosing(session: Connection, text: str) -> None:
    base = "CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY(CONVERT(sql_variant, ?), 'BaseType'))"
    sql = f"SELECT {base}, CONVERT(int, SQL_VARIANT_PROPERTY(CONVERT(sql_variant, ?), 'MaxLength'))"
    wide, narrow = nvarchar(text, 128), varchar(text, 200)
    assert tuple((await session.execute(sql, (wide, wide)))[0]) == ("nvarchar", 256)
    assert tuple((await session.execute(sql, (narrow, narrow)))[0]) == ("varchar", 200)


async def test_values_come_back_as_they_were_sent(session: Connection) -> None:
    sent = (bigint(2**63 - 1), nvarchar("Zażółć 😀\n", 50), varbinary(bytes(range(256)), 300), bigint(None), nvarchar(None, 5))
    rows = await session.execute("SELECT ?, ?, ?, ?, ?", sent)
    assert tuple(rows[0]) == tuple(parameter.value for parameter in sent)


async def test_several_results_and_an_error_behind_them(session: Connection) -> None:
    assert [[tuple(row) for row in rows] for rows in await session.results("SELECT 1; PRINT 'x'; SELECT 2")] == [[(1,)], [(2,)]]
    with pytest.raises(Transient, match="A2257"):
        await session.results("SELECT 1; RAISERROR(N'Kowalski', 16, 1)")
    assert [tuple(row) for row in await session.execute("SELECT 1")] == [(1,)]


async def test_an_error_has_its_number(session: Connection) -> None:
    with pytest.raises(Transient, match=r"A2211.*208") as caught:
        await session.execute("SELECT 1 FROM dbo.cdc_test_nowhere")
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.number == 208


async def test_rows_come_in_portions_and_the_rest_may_be_left(sql_server: Server, numbers: str) -> None:
    made = await Connection.open(sql_server.settings(numbers), RUNTIME, "test")
    sizes = [len(rows) async for rows in made.fetch("SELECT n, t FROM dbo.numbers ORDER BY n", size=1_300)]
    assert sizes == [1_300, 1_300, 400]
    async with contextlib.aclosing(made.fetch("SELECT n, t FROM dbo.numbers ORDER BY n", size=100)) as portions:
        assert (await anext(portions))[99][0] == 99
    assert [tuple(row) for row in await made.execute("SELECT COUNT(*) FROM dbo.numbers")] == [(3_000,)]
    await made.close()


# -- ending statements ---------------------------------------------------------------------------------------------------------


async def running(sql_server: Server, session: Connection, sql: str = SLOW) -> asyncio.Task[list[object]]:
    """A statement that stands at a barrier of the server."""
    sql_server.control.add("WAITFOR", barrier="slow")
    task = asyncio.ensure_future(session.execute(sql))
    assert await asyncio.to_thread(sql_server.control.wait, "slow")
    return task  # type: ignore[return-value]


async def test_a_cancelled_call_ends_the_statement_on_the_server(sql_server: Server, session: Connection) -> None:
    task = await running(sql_server, session)
    begun = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.perf_counter() - begun < 5
    assert await session.reset()
    assert [tuple(row) for row in await session.execute("SELECT 1")] == [(1,)]


async def test_what_a_cancelled_transaction_did_is_rolled_back(sql_server: Server, numbers: str) -> None:
    lane = Lane(sql_server.settings(numbers), RUNTIME, "test")

    async def work() -> None:
        async with lane.use() as connection:
            await connection.execute("BEGIN TRANSACTION")
            await connection.execute("DELETE FROM dbo.numbers")
            await connection.execute(SLOW)

    sql_server.control.add("WAITFOR", barrier="slow")
    task = asyncio.ensure_future(work())
    assert await asyncio.to_thread(sql_server.control.wait, "slow")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with lane.use() as connection:
        rows = await connection.execute("SELECT @@TRANCOUNT, COUNT(*) FROM dbo.numbers")
    assert [tuple(row) for row in rows] == [(0, 3_000)]
    assert lane.sessions == 1
    await lane.close()


async def test_closing_a_lane_ends_what_runs_in_it(sql_server: Server) -> None:
    lane = Lane(sql_server.settings("master"), RUNTIME, "test")

    async def work() -> None:
        async with lane.use() as connection:
            await connection.execute(SLOW)

    sql_server.control.add("WAITFOR", barrier="slow")
    task = asyncio.ensure_future(work())
    assert await asyncio.to_thread(sql_server.control.wait, "slow")
    await lane.close()
    with pytest.raises(Transient, match="A2212"):
        await task


async def test_a_statement_that_takes_too_long_is_given_up(sql_server: Server) -> None:
    made = await Connection.open(sql_server.settings("master", query_timeout=1.0), RUNTIME, "test")
    with pytest.raises(Transient, match="A2249"):
        await made.execute(SLOW)
    assert await made.reset()
    await made.close()


# -- faults --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(1205, "A2250"), (1222, "A2250"), (3960, "A2251"), (22117, "A2253"), (229, "A2254")]
)
async def test_an_error_of_the_server_leaves_the_session_usable(
    sql_server: Server, session: Connection, number: int, code: str
) -> None:
    sql_server.control.fail("SELECT 17", number)
    with pytest.raises(AgentError, match=code):
        await session.execute("SELECT 17")
    assert await session.reset()


async def test_a_session_that_was_killed_is_made_anew(sql_server: Server) -> None:
    lane = Lane(sql_server.settings("master"), RUNTIME, "test")
    async with lane.use() as connection:
        spid = (await connection.execute("SELECT @@SPID"))[0][0]
    sql_server.control.kill(spid=spid)
    with pytest.raises(Transient, match="A2248"):
        async with lane.use() as connection:
            await connection.execute("SELECT 1")
    async with lane.use() as connection:
        await connection.execute("SELECT 1")
    assert lane.sessions == 2
    await lane.close()


async def test_a_connection_cut_in_mid_result_is_no_end_of_the_rows(sql_server: Server, numbers: str) -> None:
    made = await Connection.open(sql_server.settings(numbers), RUNTIME, "test")
    sql_server.control.add("FROM dbo.numbers", cut_after_rows=1_000)
    with pytest.raises(Transient, match="A2248"):
        _ = [rows async for rows in made.fetch("SELECT n, t FROM dbo.numbers ORDER BY n", size=500)]
    assert made.doubtful
    await made.close()


async def test_a_login_refused_during_a_failover_is_tried_again(sql_server: Server) -> None:
    lane = Lane(sql_server.settings("master"), RUNTIME, "test")
    await lane.open()
    sql_server.control.kill(application="erp-cdc")
    sql_server.control.add("", login=True, error={"number": 18456})
    with pytest.raises(Transient, match="A2248"):
        async with lane.use() as connection:
            await connection.execute("SELECT 1")
    with pytest.raises(Transient, match="A2246"):
        await lane.open()
    await lane.open()
    await lane.close()


# -- the loop ------------------------------------------------------------------------------------------------------------------


async def test_the_loop_never_waits_for_a_slow_server_behind_a_slow_link(sql_server: Server, numbers: str) -> None:
    """A measurement: a link of 200 ms there and back, a query of 600 ms, rows, a cancellation; the bound is generous."""
    async with FaultyProxy(sql_server.port, delay=0.1) as proxy, watched() as watcher:
        made = await Connection.open(sql_server.settings(numbers, server=f"localhost,{proxy.port}"), RUNTIME, "test")
        await made.execute("WAITFOR DELAY '00:00:00.600'; SELECT ?", (nvarchar(None, 10),))
        assert sum([len(rows) async for rows in made.fetch("SELECT n, t FROM dbo.numbers", size=500)]) == 3_000
        task = asyncio.ensure_future(made.execute(SLOW))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait([task])
        assert await made.reset()
        await made.close()
    print(f"longest stop of the loop: {watcher.gap * 1000:.1f} ms")
    assert watcher.gap < STALL
