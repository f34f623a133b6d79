"""Batches: errors and what goes on after them, TRY and CATCH, messages, variables, dynamic SQL, procedures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from tests.standin.engine.database import Engine
from tests.standin.engine.messages import format_message, seconds
from tests.standin.ports import Failed, Info, Parameter, Refused, Request, Rows, SqlError, SqlType
from tests.support.standin_session import INT, TEXT, Sessions, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sessions() -> AsyncIterator[Sessions]:
    found = Sessions(await Engine.start())
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def name(sessions: Sessions) -> str:
    found = await sessions.database()
    talk = await sessions.talk(found)
    await talk.ok(
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, n nvarchar(10) NULL)",
        "CREATE TABLE u (id int IDENTITY(1, 1) PRIMARY KEY, a int NOT NULL CHECK (a > 0))",
        "CREATE PROCEDURE twice @a int, @b int = 5, @sum int OUTPUT AS SET @sum = @a * 2 + @b; RETURN 7",
        "CREATE PROCEDURE fails AS SELECT 1 / 0; PRINT 'after'",
        "CREATE PROCEDURE unknown AS SELECT * FROM nowhere; PRINT 'never'",
    )
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def talk(sessions: Sessions, name: str) -> Talk:
    found = await sessions.talk(name)
    await found.ok("DELETE t; DELETE u")
    return found


# -- errors ------------------------------------------------------------------------------------------------------------------


async def test_after_an_error_of_a_statement_the_batch_goes_on(talk: Talk) -> None:
    assert await talk.told("SELECT 1 / 0; SELECT 2") == [8134, [(2,)], "select 1"]


async def test_xact_abort_ends_the_batch_and_the_transaction(talk: Talk) -> None:
    told = await talk.told("SET XACT_ABORT ON; BEGIN TRAN; INSERT t VALUES (1, N'a'); SELECT 1 / 0; SELECT 2")
    assert told == ["begun", "insert 1", "rolled back", 8134]
    assert await talk.rows("SELECT id FROM t") == []


async def test_a_statement_that_fails_is_undone_alone(talk: Talk) -> None:
    told = await talk.told("BEGIN TRAN; INSERT t VALUES (1, N'a'); INSERT t VALUES (2, N'b'), (1, N'c'); COMMIT")
    assert told == ["begun", "insert 1", 2627, "committed"]
    assert await talk.rows("SELECT id FROM t") == [(1,)]


async def test_a_failed_conversion_ends_the_batch_and_the_transaction(talk: Talk) -> None:
    told = await talk.told("BEGIN TRAN; INSERT t VALUES (1, N'a'); INSERT t (id) VALUES (CONVERT(int, N'x')); SELECT 2")
    assert told == ["begun", "insert 1", "rolled back", 245]


async def test_a_syntax_error_keeps_all_of_the_batch_from_running(talk: Talk) -> None:
    assert await talk.told("PRINT 'a'; SELECT FROM t") == [156]


async def test_an_undeclared_variable_keeps_all_of_the_batch_from_running(talk: Talk) -> None:
    assert await talk.told("PRINT 'a'; SET @x = 1") == [137]
    assert await talk.told("PRINT 'a'; INSERT @t VALUES (1)") == [1087]
    assert await talk.told("PRINT 'a'; DECLARE @x int; DECLARE @X int") == [134]


async def test_an_unknown_table_ends_the_batch_and_not_the_transaction(talk: Talk) -> None:
    assert await talk.told("BEGIN TRAN; PRINT 'a'; SELECT * FROM nowhere; PRINT 'b'") == ["begun", "a", 208]
    assert await talk.told("ROLLBACK") == ["rolled back"]


async def test_errors_name_the_line_of_their_statement(talk: Talk) -> None:
    events = await talk.events("PRINT 'a'\n\nBEGIN\n  PRINT 'b'\n  SELECT 1 / 0\nEND")
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.error.line == 5
    events = await talk.events("\nEXEC nothing\nEXEC (N'PRINT 1\n\nSELECT FROM t')")
    assert [event.error.line for event in events if isinstance(event, Failed)] == [2, 3]


async def test_what_is_not_emulated_ends_the_batch_even_inside_try(talk: Talk) -> None:
    sql = "BEGIN TRY SET DATEFORMAT dmy; END TRY BEGIN CATCH PRINT 'caught' END CATCH; PRINT 'after'"
    events = [event async for event in talk.session.run(Request(sql))]
    assert [type(event.error) for event in events if isinstance(event, Failed)] == [Refused]
    assert [event for event in events if isinstance(event, Info)] == []


# -- TRY and CATCH -----------------------------------------------------------------------------------------------------------


async def test_catch_knows_the_error(talk: Talk) -> None:
    sql = """
BEGIN TRY
  SELECT 1 / 0
END TRY
BEGIN CATCH
  SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_LINE(), ERROR_PROCEDURE(), XACT_STATE()
END CATCH;
SELECT ERROR_NUMBER()"""
    assert await talk.rows(sql) == [(8134, 16, 3, None, 0), (None,)]


async def test_catch_sees_errors_of_procedures(talk: Talk) -> None:
    sql = "BEGIN TRY EXEC fails; PRINT 'x' END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_PROCEDURE() END CATCH"
    assert (await talk.rows(sql))[-1] == (8134, "fails")


async def test_an_unknown_table_is_caught_only_further_out(talk: Talk) -> None:
    sql = "BEGIN TRY SELECT * FROM nowhere END TRY BEGIN CATCH PRINT 'caught' END CATCH; PRINT 'after'"
    assert await talk.told(sql) == [208]
    sql = "BEGIN TRY EXEC unknown END TRY BEGIN CATCH PRINT 'caught' END CATCH; PRINT 'after'"
    assert await talk.told(sql) == ["caught", "after"]


async def test_throw_without_arguments_raises_the_error_again(talk: Talk) -> None:
    sql = "BEGIN TRY\nSELECT 1 / 0 END TRY BEGIN CATCH PRINT 'x';\n\nTHROW; END CATCH; PRINT 'after'"
    events = await talk.events(sql)
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.error.number, failed.error.line) == (8134, 2)
    assert [event.message for event in events if isinstance(event, Info)] == ["x"]


async def test_throw_ends_the_batch_and_leaves_the_transaction(talk: Talk) -> None:
    assert await talk.told("BEGIN TRAN; THROW 50001, N'stop', 3; PRINT 'after'") == ["begun", 50001]
    assert await talk.one("SELECT @@TRANCOUNT") == 1
    await talk.ok("ROLLBACK")
    assert await talk.failed("THROW 5, N'stop', 3") == [35100]
    assert await talk.failed("THROW") == [10704]


async def test_a_doomed_transaction_reads_but_neither_writes_nor_commits(talk: Talk) -> None:
    sql = """
SET XACT_ABORT ON; BEGIN TRAN; INSERT t VALUES (1, N'a');
BEGIN TRY INSERT t VALUES (1, N'b') END TRY BEGIN CATCH
  SELECT XACT_STATE(), (SELECT COUNT(*) FROM t);
  BEGIN TRY COMMIT END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH
  BEGIN TRY DELETE t END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH
  ROLLBACK
END CATCH
SELECT XACT_STATE()"""
    assert await talk.rows(sql) == [(-1, 1), (3930,), (3930,), (0,)]


async def test_a_doomed_transaction_does_not_outlive_its_batch(talk: Talk) -> None:
    sql = "SET XACT_ABORT ON; BEGIN TRAN; BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH PRINT 'x' END CATCH"
    assert await talk.told(sql) == ["begun", "x", "rolled back", 3998]


async def test_errors_in_catch_go_further_out(talk: Talk) -> None:
    sql = """
BEGIN TRY
  BEGIN TRY THROW 50001, N'a', 1 END TRY BEGIN CATCH THROW 50002, N'b', 1 END CATCH
END TRY BEGIN CATCH PRINT ERROR_MESSAGE() END CATCH"""
    assert await talk.told(sql) == ["b"]


# -- messages ----------------------------------------------------------------------------------------------------------------


async def test_raiserror_reports_and_the_batch_goes_on_even_with_xact_abort(talk: Talk) -> None:
    sql = "SET XACT_ABORT ON; BEGIN TRAN; RAISERROR (N'no %s of %d', 16, 2, N'row', 5); PRINT 'after'; COMMIT"
    events = await talk.events(sql)
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.error.number, failed.error.message, failed.error.state) == (50000, "no row of 5", 2)
    assert [event.message for event in events if isinstance(event, Info)] == ["after"]
    assert await talk.told("RAISERROR (N'quiet', 10, 1) WITH NOWAIT") == ["quiet"]
    assert await talk.failed("RAISERROR (N'loud', 19, 1)") == [2754]


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("100%%", [], "100%"),
        ("%5d|%-5d|%05i", [(INT, 1), (INT, 2), (INT, 3)], "    1|2    |00003"),
        ("%s", [(TEXT, None)], "(null)"),
        ("%s", [], "(null)"),
        ("%x %X", [(INT, 255), (INT, 255)], "ff FF"),
        ("%.2s", [(TEXT, "abc")], "ab"),
    ],
)
async def test_arguments_take_their_places(text: str, arguments: list[tuple[SqlType, object]], expected: str) -> None:
    assert format_message(text, arguments) == expected


async def test_arguments_of_another_type_are_an_error() -> None:
    with pytest.raises(SqlError) as caught:
        format_message("%d", [(TEXT, "a")])
    assert caught.value.number == 2786


@pytest.mark.parametrize(("text", "expected"), [("00:00:01", 1), ("0:1:0.5", 60.5), ("01:00", 3600), ("00:00:00.002", 0.002)])
async def test_delays_are_times_of_a_day(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "24:00:00", "00:60", "x"])
async def test_other_delays_are_errors(text: str) -> None:
    with pytest.raises(SqlError, match="Incorrect time syntax"):
        seconds(text)


# -- variables and control flow ----------------------------------------------------------------------------------------------


async def test_variables_are_converted_to_their_types(talk: Talk) -> None:
    sql = "DECLARE @a int = N'5', @b nvarchar(2) = N'abc', @c decimal(5, 1) = 2.25; SET @a += 1; SELECT @a, @b, @c"
    assert await talk.rows(sql) == [(6, "ab", Decimal("2.3"))]


async def test_a_variable_declared_in_a_branch_that_did_not_run_exists(talk: Talk) -> None:
    assert await talk.rows("IF 1 = 0 DECLARE @a int = 5; SELECT @a") == [(None,)]


async def test_select_assigns_the_last_row_and_without_rows_nothing(talk: Talk) -> None:
    await talk.ok("INSERT t VALUES (1, N'a'), (2, N'b')")
    sql = "DECLARE @a int = 7, @n nvarchar(10); SELECT @a = id, @n = n FROM t WHERE id = {}; SELECT @@ROWCOUNT; SELECT @a, @n"
    assert await talk.rows(sql.format(2)) == [(1,), (2, "b")]
    assert await talk.rows(sql.format(3)) == [(0,), (7, None)]
    assert await talk.rows("DECLARE @a int, @b int; SELECT @a = 1, @b = @a + 1; SELECT @b") == [(2,)]


async def test_while_breaks_and_continues(talk: Talk) -> None:
    sql = """
DECLARE @i int = 0, @s nvarchar(50) = N'';
WHILE @i < 10 BEGIN
  SET @i += 1;
  IF @i = 2 CONTINUE;
  IF @i = 5 BREAK;
  SET @s = @s + CONVERT(nvarchar(5), @i)
END
SELECT @s"""
    assert await talk.one(sql) == "134"


async def test_if_takes_unknown_for_false(talk: Talk) -> None:
    assert await talk.told("DECLARE @a int; IF @a = 1 PRINT 'yes' ELSE PRINT 'no'") == ["no"]


async def test_return_ends_the_batch(talk: Talk) -> None:
    assert await talk.told("PRINT 'a'; RETURN; PRINT 'b'") == ["a"]
    assert await talk.failed("RETURN 5") == [178]


async def test_select_into_makes_a_table(talk: Talk) -> None:
    await talk.ok("INSERT t VALUES (1, N'a'), (2, N'b')")
    assert await talk.told("SELECT id, n AS m INTO #copy FROM t WHERE id > 1; SELECT * FROM #copy; DROP TABLE #copy") == [
        "select 1",
        [(2, "b")],
        "select 1",
    ]


async def test_long_unions_and_conditions_run(talk: Talk) -> None:
    union = " UNION ALL ".join(f"SELECT {n} AS a WHERE EXISTS (SELECT 1 FROM t)" for n in range(1000))
    assert await talk.rows(union) == []
    assert await talk.rows("SELECT 1 WHERE " + " AND ".join(f"{n} = {n}" for n in range(1000))) == [(1,)]


async def test_error_and_rowcount_tell_of_the_statement_before(talk: Talk) -> None:
    sql = (
        "INSERT t VALUES (1, N'a'), (2, N'b'); SELECT @@ROWCOUNT; SELECT @@ERROR; SELECT 1 / 0; SELECT @@ERROR; SELECT @@ERROR"
    )
    assert [said for said in await talk.told(sql) if isinstance(said, list)] == [[(2,)], [(0,)], [(8134,)], [(0,)]]


async def test_nocount_leaves_counts_out(talk: Talk) -> None:
    assert await talk.told("SET NOCOUNT ON; INSERT t VALUES (1, N'a'); SELECT @@ROWCOUNT") == [[(1,)]]


async def test_settings_of_a_batch_stay_and_those_of_a_parameterised_one_do_not(talk: Talk) -> None:
    await talk.ok("SET LOCK_TIMEOUT 100; SET XACT_ABORT ON")
    await talk.rows("SET LOCK_TIMEOUT 5; SET XACT_ABORT OFF; SELECT @a", Parameter("@a", INT, 1))
    assert (talk.state.lock_timeout, talk.state.xact_abort) == (100, True)


async def test_table_variables_live_as_long_as_their_batch(talk: Talk) -> None:
    assert await talk.rows(
        "DECLARE @t TABLE (id int PRIMARY KEY); INSERT @t VALUES (1), (2); SELECT id FROM @t ORDER BY id"
    ) == [
        (1,),
        (2,),
    ]
    assert await talk.failed("SELECT * FROM @t") == [1087]


async def test_unknown_values_of_options_are_refused(talk: Talk) -> None:
    for sql in ("SET ANSI_NULLS OFF", "SET IMPLICIT_TRANSACTIONS ON", "SET LANGUAGE german"):
        events = [event async for event in talk.session.run(Request(sql))]
        assert [type(event.error) for event in events if isinstance(event, Failed)] == [Refused]


# -- dynamic SQL and procedures ----------------------------------------------------------------------------------------------


async def test_parameters_are_declared_and_come_back(talk: Talk) -> None:
    sql = "SET @b = @a + 1"
    assert await talk.told(sql, Parameter("@a", INT, 1), Parameter("@b", INT, None, output=True)) == [("@b", 2), ("", 0)]


async def test_procedures_take_and_give_parameters(talk: Talk) -> None:
    sql = """
DECLARE @r int, @s int; EXEC @r = twice 4, @sum = @s OUTPUT; SELECT @r, @s;
EXEC twice @b = 1, @a = 2, @sum = @s OUT; SELECT @s"""
    assert await talk.rows(sql) == [(7, 13), (5,)]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("EXEC nothing", 2812),
        ("EXEC twice", 201),
        ("EXEC twice 1, 2, 3, 4", 8144),
        ("EXEC twice @x = 1", 8145),
        ("EXEC twice @a = 1, @a = 2", 8143),
    ],
)
async def test_wrong_calls_are_errors(talk: Talk, sql: str, number: int) -> None:
    assert await talk.told(f"{sql}; PRINT 'after'") == [number, "after"]


async def test_errors_in_a_procedure_do_not_end_it(talk: Talk) -> None:
    assert await talk.told("EXEC fails; PRINT 'caller'") == [8134, "after", "caller"]


async def test_an_unknown_table_ends_the_procedure_and_not_its_caller(talk: Talk) -> None:
    assert await talk.told("EXEC unknown; PRINT 'caller'") == [208, "caller"]


async def test_dynamic_sql_has_variables_of_its_own(talk: Talk) -> None:
    assert await talk.told("DECLARE @a int = 1; EXEC (N'SELECT @a'); PRINT 'after'") == [137, "after"]
    sql = "DECLARE @o int; EXEC sp_executesql N'SET @y = @x * 2', N'@x int, @y int OUTPUT', @x = 21, @y = @o OUTPUT; SELECT @o"
    assert await talk.rows(sql) == [(42,)]


async def test_dynamic_sql_gives_settings_and_temporary_tables_back(talk: Talk) -> None:
    await talk.ok("EXEC (N'SET NOCOUNT ON; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; CREATE TABLE #x (id int)')")
    assert (talk.state.nocount, talk.state.isolation) == (False, "READ COMMITTED")
    assert await talk.failed("SELECT * FROM #x") == [208]
    await talk.ok("CREATE TABLE #y (id int)", "EXEC (N'INSERT #y VALUES (1)')")
    assert await talk.rows("SELECT id FROM #y") == [(1,)]


async def test_calls_nest_thirty_two_levels(talk: Talk) -> None:
    await talk.ok("CREATE PROCEDURE deep AS EXEC deep")
    assert await talk.failed("EXEC deep") == [217]


async def test_scope_identity_belongs_to_the_scope(talk: Talk) -> None:
    sql = "INSERT u (a) VALUES (1); EXEC (N'SELECT SCOPE_IDENTITY()'); SELECT CASE WHEN SCOPE_IDENTITY() > 0 THEN 1 ELSE 0 END"
    assert await talk.rows(sql) == [(None,), (1,)]


async def test_create_schema_needs_a_batch_of_its_own_which_dynamic_sql_is(talk: Talk) -> None:
    assert await talk.failed("PRINT 'x'; CREATE SCHEMA own") == [111]
    await talk.ok("IF SCHEMA_ID(N'own') IS NULL EXEC (N'CREATE SCHEMA [own]')")
    assert await talk.one("SELECT CASE WHEN SCHEMA_ID(N'own') > 0 THEN 1 ELSE 0 END") == 1


async def test_identity_insert_is_for_one_table(talk: Talk) -> None:
    await talk.ok("CREATE TABLE v (id int IDENTITY PRIMARY KEY)")
    await talk.ok("SET IDENTITY_INSERT u ON; INSERT u (id, a) VALUES (100, 1)")
    assert await talk.failed("SET IDENTITY_INSERT v ON") == [8107]
    assert await talk.failed("SET IDENTITY_INSERT t ON") == [8106]
    assert await talk.failed("SET IDENTITY_INSERT nowhere ON") == [1088]
    await talk.ok("SET IDENTITY_INSERT u OFF; DROP TABLE v")


# -- cancellation ------------------------------------------------------------------------------------------------------------


async def cancelled(talk: Talk, sql: str, until: str) -> None:
    """Runs until a message is there, then the client's attention comes."""
    reached = asyncio.Event()

    async def run() -> None:
        async for event in talk.session.run(Request(sql)):
            if isinstance(event, Info) and event.message == until:
                reached.set()

    task = asyncio.create_task(run())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_batch_keeps_its_transaction(talk: Talk) -> None:
    await cancelled(talk, "BEGIN TRAN; INSERT t VALUES (1, N'a'); PRINT 'go'; WAITFOR DELAY '00:01:00'", "go")
    assert await talk.rows("SELECT @@TRANCOUNT, (SELECT COUNT(*) FROM t)") == [(1, 1)]
    await talk.ok("ROLLBACK")


async def test_a_cancelled_batch_with_xact_abort_is_rolled_back(talk: Talk) -> None:
    await cancelled(
        talk, "SET XACT_ABORT ON; BEGIN TRAN; INSERT t VALUES (1, N'a'); PRINT 'go'; WAITFOR DELAY '00:01:00'", "go"
    )
    assert talk.session.descriptor == 0
    assert await talk.rows("SELECT @@TRANCOUNT, (SELECT COUNT(*) FROM t)") == [(0, 0)]


async def test_an_endless_loop_can_be_cancelled(talk: Talk) -> None:
    await cancelled(talk, "PRINT 'go'; WHILE 1 = 1 SET NOCOUNT ON", "go")
    assert await talk.one("SELECT 1") == 1


async def test_who_stops_reading_in_the_middle_of_a_result_stops_the_batch(talk: Talk) -> None:
    await talk.ok("INSERT t (id) VALUES " + ", ".join(f"({n})" for n in range(300)))
    stream: Any = talk.session.run(Request("SELECT a.id FROM t AS a, t AS b, t AS c; INSERT t (id) VALUES (1000)"))
    async for event in stream:
        if isinstance(event, Rows):
            break
    await stream.aclose()
    assert await talk.one("SELECT COUNT(*) FROM t") == 300
