"""INSERT, UPDATE, DELETE, OUTPUT and triggers over the engine and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.standin.engine.database import Engine
from tests.standin.ports import Parameter, SqlType
from tests.support.standin_sql import Sql, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = count()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[Engine]:
    engine = await Engine.start()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def sql(engine: Engine) -> AsyncIterator[Sql]:
    """A session of a new database with tables `part` and `line`."""
    name = f"w{next(_numbers)}"
    await engine.create_database(name)
    session = await opened(engine, name)
    await session(
        "CREATE TABLE dbo.part (id int IDENTITY(1,1) NOT NULL CONSTRAINT PK_part PRIMARY KEY, code nvarchar(5) NOT NULL, "
        "price decimal(9,2) NULL DEFAULT 1.5, twice AS price * 2, version rowversion)"
    )
    await session("CREATE UNIQUE INDEX UX_code ON dbo.part (code)")
    await session(
        "CREATE TABLE dbo.line (id int NOT NULL CONSTRAINT PK_line PRIMARY KEY, part int NOT NULL "
        "CONSTRAINT FK_line_part REFERENCES dbo.part (id), n int NULL CONSTRAINT CK_n CHECK (n > 0))"
    )
    await session("CREATE TABLE dbo.log (id int IDENTITY PRIMARY KEY, what nvarchar(100))")
    yield session
    await session.session.close()


async def rows(sql: Sql, text: str) -> list[tuple[object, ...]]:
    return (await sql(text)).rows


async def test_an_insert_fills_identity_defaults_and_rowversion(sql: Sql) -> None:
    answer = await sql("INSERT INTO part (code) VALUES (N'a'), (N'b'); SELECT SCOPE_IDENTITY(), @@ROWCOUNT, @@IDENTITY")
    assert answer.rows == [(2, 2, 2)]
    found = await rows(sql, "SELECT id, code, price, twice, version FROM part")
    assert [(i, c, str(p), str(t)) for i, c, p, t, _ in found] == [(1, "a", "1.50", "3.00"), (2, "b", "1.50", "3.00")]
    assert found[0][4] < found[1][4]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "number", "says"),
    [
        (
            "INSERT INTO part (code) VALUES (NULL)",
            515,
            "column 'code', table '{db}.dbo.part'; column does not allow nulls. INSERT",
        ),
        (
            "INSERT INTO part (code) VALUES (N'toolong')",
            2628,
            "table '{db}.dbo.part', column 'code'. Truncated value: 'toolo'.",
        ),
        ("INSERT INTO part (code) VALUES (N'A ')", 2601, "unique index 'UX_code'. The duplicate key value is (a)."),
        ("INSERT INTO part (id, code) VALUES (9, N'x')", 544, "IDENTITY_INSERT is set to OFF"),
        ("SET IDENTITY_INSERT part ON; INSERT INTO part (code) VALUES (N'x')", 545, "Explicit value"),
        ("INSERT INTO part (twice, code) VALUES (1, N'x')", 271, "twice"),
        ("INSERT INTO part (version, code) VALUES (0x01, N'x')", 273, "timestamp"),
        ("INSERT INTO part (code, price) VALUES (N'x')", 109, "more columns"),
        ("INSERT INTO part VALUES (N'x')", 213, "does not match"),
        ("INSERT INTO part (code, code) VALUES (N'x', N'y')", 264, "code"),
        ("INSERT INTO part (nope) VALUES (1)", 207, "nope"),
        ("UPDATE part SET id = 5", 8102, "'id'"),
        ("UPDATE part SET version = 0x01", 272, "timestamp"),
        ("UPDATE part SET code = NULL", 515, "UPDATE fails."),
        ("INSERT INTO line VALUES (1, 99, 1)", 547, 'FOREIGN KEY constraint "FK_line_part"'),
        ("INSERT INTO line VALUES (1, 1, -1)", 547, 'CHECK constraint "CK_n"'),
        (
            "INSERT INTO line VALUES (7, 1, 1), (7, 1, 1)",
            2627,
            "PRIMARY KEY constraint 'PK_line'. Cannot insert duplicate key in",
        ),
        ("INSERT INTO line VALUES (1, 1, 1); DELETE FROM part WHERE id = 1", 547, 'REFERENCE constraint "FK_line_part"'),
        ("INSERT INTO part (code, price) VALUES (N'x', 12345678.9)", 8115, "numeric"),
        ("UPDATE nothing SET a = 1", 208, "nothing"),
    ],
)
async def test_a_write_that_is_not_allowed_has_the_servers_error(sql: Sql, text: str, number: int, says: str) -> None:
    await sql("INSERT INTO part (code) VALUES (N'a')")
    found, message = await sql.error(text)
    assert found == number
    assert says.format(db=sql.session.database) in message


async def test_identity_insert_moves_the_seed(sql: Sql) -> None:
    await sql("SET IDENTITY_INSERT part ON; INSERT INTO part (id, code) VALUES (10, N'x'); SET IDENTITY_INSERT part OFF")
    await sql("INSERT INTO part (code) VALUES (N'y')")
    assert await rows(sql, "SELECT MAX(id) FROM part") == [(11,)]


async def test_an_update_gives_old_and_new_values(sql: Sql) -> None:
    await sql("INSERT INTO part (code) VALUES (N'a'), (N'b')")
    answer = await sql("UPDATE part SET price = price + id OUTPUT deleted.price, inserted.price, inserted.twice WHERE id = 2")
    assert [[str(v) for v in row] for row in answer.rows] == [["1.50", "3.50", "7.00"]]


async def test_rows_are_updated_through_joins(sql: Sql) -> None:
    await sql("INSERT INTO part (code) VALUES (N'a'), (N'b'), (N'c')")
    await sql("UPDATE p SET code = p.code + v.s FROM part AS p INNER JOIN (VALUES (1, N'1'), (2, N'2')) v(i, s) ON v.i = p.id")
    await sql(
        "UPDATE p SET code = p.code + N'?' FROM part AS p LEFT JOIN (VALUES (1), (2)) v(i) ON v.i = p.id WHERE v.i IS NULL"
    )
    assert await rows(sql, "SELECT code FROM part ORDER BY id") == [("a1",), ("b2",), ("c?",)]


async def test_rows_are_deleted_through_joins_and_by_number(sql: Sql) -> None:
    await sql("INSERT INTO part (code) VALUES (N'a'), (N'b'), (N'c')")
    await sql("DELETE p FROM part p JOIN (VALUES (1)) v(i) ON v.i = p.id")
    answer = await sql("DELETE TOP (1) FROM part")
    assert answer.counts == [1]
    assert await rows(sql, "SELECT COUNT(*) FROM part") == [(1,)]


async def test_what_a_write_puts_out_goes_into_a_table_variable(sql: Sql) -> None:
    answer = await sql(
        "DECLARE @t TABLE (i int, c nvarchar(9)); "
        "INSERT INTO part (code) OUTPUT inserted.id, inserted.code INTO @t SELECT N'q' UNION ALL SELECT N'r'; SELECT * FROM @t"
    )
    assert answer.rows == [(1, "q"), (2, "r")]


async def test_select_into_makes_a_table(sql: Sql) -> None:
    await sql("INSERT INTO part (code) VALUES (N'a'); SELECT id, code, price + 1 AS more INTO #copy FROM part")
    assert [str(v) for v in (await rows(sql, "SELECT * FROM #copy"))[0]] == ["1", "a", "2.50"]


async def test_an_after_trigger_sees_both_row_sets_once_a_statement(sql: Sql) -> None:
    await sql(
        "CREATE TRIGGER dbo.t ON dbo.part AFTER INSERT, UPDATE, DELETE AS INSERT INTO dbo.log (what) SELECT CONCAT("
        "(SELECT COUNT(*) FROM inserted), N'/', (SELECT COUNT(*) FROM deleted), N'/', (SELECT MAX(twice) FROM inserted))"
    )
    answer = await sql("INSERT INTO part (code) VALUES (N'a'), (N'b'); SELECT SCOPE_IDENTITY(), @@IDENTITY")
    assert answer.rows == [(2, 1)]  # @@IDENTITY is the trigger's
    await sql("UPDATE part SET price = 4; DELETE FROM part WHERE id = 99; DELETE FROM part")
    assert await rows(sql, "SELECT what FROM log ORDER BY id") == [("2/0/3.00",), ("2/2/8.00",), ("0/0/",), ("0/2/",)]


async def test_an_instead_of_trigger_runs_in_place_of_the_write(sql: Sql) -> None:
    await sql("INSERT INTO part (code) VALUES (N'a'), (N'b')")
    await sql(
        "CREATE TRIGGER dbo.t ON dbo.part INSTEAD OF DELETE AS "
        "UPDATE dbo.part SET price = 0 WHERE id IN (SELECT id FROM deleted)"
    )
    await sql("DELETE FROM part WHERE id = 1")
    assert [(i, str(p)) for i, p in await rows(sql, "SELECT id, price FROM part ORDER BY id")] == [(1, "0.00"), (2, "1.50")]


async def test_an_instead_of_trigger_may_write_the_table_itself(sql: Sql) -> None:
    await sql(
        "CREATE TRIGGER dbo.t ON dbo.part INSTEAD OF INSERT AS "
        "INSERT INTO dbo.part (code, price) SELECT UPPER(code), price FROM inserted"
    )
    await sql("INSERT INTO part (code) VALUES (N'a')")
    assert [(c, str(p)) for c, p in await rows(sql, "SELECT code, price FROM part")] == [("A", "1.50")]


async def test_output_without_into_is_refused_where_triggers_are_enabled(sql: Sql) -> None:
    await sql("CREATE TRIGGER dbo.t ON dbo.part AFTER INSERT AS PRINT 'x'")
    found, _ = await sql.error("INSERT INTO part (code) OUTPUT inserted.id VALUES (N'a')")
    assert found == 334


async def test_a_failed_statement_leaves_the_transaction_as_it_was(sql: Sql) -> None:
    await sql.tried("BEGIN TRAN; INSERT INTO part (code) VALUES (N'a'); INSERT INTO part (code) VALUES (NULL); COMMIT")
    assert await rows(sql, "SELECT code FROM part") == [("a",)]


async def test_the_context_of_a_write_is_tracked_and_that_of_a_trigger_is_not(sql: Sql) -> None:
    await sql("ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)")
    await sql("ALTER TABLE dbo.part ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON)")
    await sql("ALTER TABLE dbo.log ENABLE CHANGE_TRACKING")
    await sql("CREATE TRIGGER dbo.t ON dbo.part AFTER INSERT, UPDATE AS INSERT INTO dbo.log (what) VALUES (N'fired')")
    await sql("INSERT INTO part (code) VALUES (N'a')")
    mark = Parameter("@mark", SqlType("varbinary", 128), b"\x01\x02")
    await sql(";WITH CHANGE_TRACKING_CONTEXT (@mark) UPDATE part SET price = 5 WHERE id = 1", mark)
    price = "COLUMNPROPERTY(OBJECT_ID(N'dbo.part'), 'price', 'ColumnId')"
    found = await rows(
        sql,
        "SELECT SYS_CHANGE_OPERATION, SYS_CHANGE_CONTEXT, CHANGE_TRACKING_IS_COLUMN_IN_MASK("
        f"{price}, SYS_CHANGE_COLUMNS) FROM CHANGETABLE(CHANGES part, 1) AS c",
    )
    assert found == [("U", b"\x01\x02", True)]
    assert await rows(sql, "SELECT DISTINCT SYS_CHANGE_CONTEXT FROM CHANGETABLE(CHANGES log, 0) AS c") == [(None,)]


async def test_without_a_right_reading_and_writing_are_denied(engine: Engine, sql: Sql) -> None:
    name = f"login{next(_numbers)}"
    await sql(f"CREATE LOGIN {name} WITH PASSWORD = 'Secret-12'; CREATE USER {name} FOR LOGIN {name}")
    other = await opened(engine, sql.session.database, name, "Secret-12")
    try:
        assert (await other.error("SELECT * FROM part"))[0] == 229
        assert (await other.error("DELETE FROM part"))[0] == 229
        await sql(f"GRANT SELECT ON dbo.part TO {name}")
        assert (await other("SELECT COUNT(*) FROM part")).rows == [(0,)]
        found, message = await other.error("INSERT INTO part (code) VALUES (N'x')")
        assert (found, "The INSERT permission was denied on the object 'part'" in message) == (229, True)
    finally:
        await other.session.close()


async def _blocked(engine: Engine, sql: Sql) -> None:
    """Returns when a session of the database waits for a lock."""
    database = engine.database(sql.session.database)
    assert database is not None
    async with database.maintenance() as connection:
        await connection.execute(
            "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(.01); END LOOP; END $$"
        )


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE part SET price = price + 1 WHERE id = 1",
        "UPDATE p SET price = p.price + 1 FROM part p JOIN (VALUES (1)) v(i) ON v.i = p.id",
        "UPDATE p SET price = p.price + 1 FROM part p LEFT JOIN (VALUES (1)) v(i) ON v.i = p.id WHERE v.i = 1",
        "UPDATE TOP (1) part SET price = price + 1 WHERE id = 1",
    ],
)
async def test_an_update_that_waited_for_a_row_starts_from_what_was_committed(engine: Engine, sql: Sql, text: str) -> None:
    other = await opened(engine, sql.session.database)
    try:
        await sql("INSERT INTO part (code, price) VALUES (N'a', 0); BEGIN TRAN; UPDATE part SET price = 10")
        waiting = asyncio.create_task(other(text))
        await asyncio.wait_for(_blocked(engine, sql), 20)
        await sql("COMMIT")
        assert (await waiting).counts == [1]
        assert [str(p) for (p,) in await rows(sql, "SELECT price FROM part")] == ["11.00"]
    finally:
        await other.session.close()


async def test_a_row_changed_since_the_snapshot_cannot_be_updated(engine: Engine, sql: Sql) -> None:
    other = await opened(engine, sql.session.database)
    try:
        await sql("INSERT INTO part (code) VALUES (N'a'); ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        await sql("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT * FROM part")
        await other("UPDATE part SET price = 2")
        found, message = await sql.error("UPDATE part SET price = 3")
        assert (found, "access table 'dbo.part'" in message) == (3960, True)
        assert await rows(sql, "SELECT @@TRANCOUNT") == [(0,)]
    finally:
        await other.session.close()
