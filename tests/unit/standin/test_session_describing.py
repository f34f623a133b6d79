"""Types of parameters that nobody declared, by the rules of sp_describe_undeclared_parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.standin.engine.database import Engine
from tests.standin.ports import MAX, Parameter, Request, SqlError, SqlType
from tests.support.standin_session import INT, Sessions, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def talk() -> AsyncIterator[Talk]:
    found = Sessions(await Engine.start())
    talk = await found.talk()
    await talk.ok(
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, c char(30), n nvarchar(50), d decimal(9, 2), w datetime2(3), "
        "b varbinary(16), m nvarchar(max), s smallint)",
    )
    yield talk
    await found.close()


def named(kind: SqlType) -> str:
    return f"{kind.name} {kind.length or ''}{kind.precision or ''}{'.' if kind.scale else ''}{kind.scale or ''}".strip()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO t (n, d, w) VALUES (@P1, @P2, @P3)", ["nvarchar 50", "decimal 9.2", "datetime2 .3"]),
        ("INSERT t (n, id) SELECT @P1, id FROM t WHERE id = @P2", ["nvarchar 50", "int"]),
        ("UPDATE t SET c = @P1, b = @P2 WHERE id = @P3", ["char 30", "varbinary 16", "int"]),
        ("UPDATE x SET x.c = @P1 FROM t AS x WHERE x.id IN (@P2, @P3)", ["char 30", "int", "int"]),
        ("DELETE TOP (@P1) FROM t WHERE n = @P2 AND id BETWEEN @P3 AND @P4", ["bigint", "nvarchar 50", "int", "int"]),
        ("SELECT * FROM t WHERE c = @P1", ["char 30"]),
        ("SELECT * FROM t WHERE c > @P1 OR d <= @P2 OR w < @P3", ["varchar 8000", "decimal 38.19", "datetime2 .7"]),
        ("SELECT * FROM t WHERE n LIKE @P1 AND m > @P2", ["nvarchar 4000", f"nvarchar {MAX}"]),
        ("SELECT CAST(@P1 AS date), CONVERT(nvarchar(9), @P2)", ["date", "nvarchar 9"]),
        ("SELECT * FROM t WHERE id = id + @P1", ["int"]),
        ("SELECT * FROM t WHERE id = s + @P1", ["int"]),
        ("SELECT TOP (@P1) id FROM t ORDER BY id OFFSET @P2 ROWS", ["bigint", "bigint"]),
        ("SELECT a.x FROM (SELECT n AS x FROM t) AS a WHERE a.x = @P1", ["nvarchar 50"]),
        ("WITH q (y) AS (SELECT w FROM t) SELECT * FROM q WHERE y = @P1", ["datetime2 .3"]),
        ("SELECT * FROM CHANGETABLE(CHANGES t, @P1) AS c WHERE c.id = @P2", ["bigint", "int"]),
        ("SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM t AS u WHERE u.n = @P1 AND t.id = @P2)", ["nvarchar 50", "int"]),
        ("DECLARE @a int = @P1; SET @a = @P2; IF @a = @P3 SELECT 1", ["int", "int", "int"]),
        (";WITH CHANGE_TRACKING_CONTEXT(@P1) DELETE t WHERE id = @P2", ["varbinary 128", "int"]),
        ("SELECT id FROM t UNION ALL SELECT id FROM t WHERE id = @P1", ["int"]),
        ("SELECT 1", []),
    ],
)
async def test_parameters_take_the_type_of_what_they_meet(talk: Talk, sql: str, expected: list[str]) -> None:
    assert [named(parameter.type) for parameter in await talk.session.describe(Request(sql))] == expected


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT @P1", 11506),
        ("SELECT * FROM t WHERE @P1 = @P2", 11503),
        ("SELECT * FROM t WHERE id = @P1 OR id = @P1", 11508),
        ("SELECT * FROM nowhere WHERE id = @P1", 208),
        ("INSERT t (nothing) VALUES (@P1)", 207),
        ("SELECT FROM", 156),
    ],
)
async def test_what_cannot_be_deduced_is_an_error(talk: Talk, sql: str, number: int) -> None:
    with pytest.raises(SqlError) as caught:
        await talk.session.describe(Request(sql))
    assert caught.value.number == number


async def test_declared_parameters_are_left_out(talk: Talk) -> None:
    found = await talk.session.describe(Request("SELECT * FROM t WHERE id = @a AND n = @b", [Parameter("@A", INT, None)]))
    assert [parameter.name for parameter in found] == ["@b"]
