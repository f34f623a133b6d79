"""shell: a server with a scripted engine behind the wire, for tests of the wire alone.

`python -m tests.unit.standin.fake_engine CERTIFICATE` prints its port and ends when its standard input does. A request's first
word says what is answered; `state` tells what happened to the engine so far.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

from tests.standin.ports import (
    MAX,
    Columns,
    Done,
    Event,
    Failed,
    Info,
    Login,
    Output,
    Parameter,
    Refused,
    Request,
    ResultColumn,
    Rows,
    Session,
    SqlError,
    SqlType,
    Transaction,
    Variant,
    Verdict,
)
from tests.standin.server import Server
from tests.standin.wire.tls import make_context

INT = SqlType("int")
PLAIN = {  # a value of every type
    "bit": (SqlType("bit"), True),
    "tinyint": (SqlType("tinyint"), 255),
    "smallint": (SqlType("smallint"), -32768),
    "int": (SqlType("int"), -(2**31)),
    "bigint": (SqlType("bigint"), 2**63 - 1),
    "decimal": (SqlType("decimal", precision=38, scale=10), Decimal("-1234567890123456789012345678.0123456789")),
    "money": (SqlType("money"), Decimal("-922337203685477.5808")),
    "smallmoney": (SqlType("smallmoney"), Decimal("214748.3647")),
    "float": (SqlType("float"), 1.1),
    "real": (SqlType("real"), 0.5),
    "char": (SqlType("char", 3), "ab "),
    "varchar": (SqlType("varchar", 20), "Zażółć €"),
    "polish": (SqlType("varchar", 20, collation="Polish_CI_AS"), "Zażółć €"),
    "utf8": (SqlType("varchar", 40, collation="Latin1_General_100_CI_AS_SC_UTF8"), "Zażółć 😀"),
    "nchar": (SqlType("nchar", 3), "ół "),
    "nvarchar": (SqlType("nvarchar", 20), "Zażółć 😀"),
    "varcharmax": (SqlType("varchar", MAX), "x" * 100_000),
    "nvarcharmax": (SqlType("nvarchar", MAX), "ż" * 100_000),
    "text": (SqlType("text", MAX), "t" * 10_000),
    "ntext": (SqlType("ntext", MAX), "ż" * 10_000),
    "xml": (SqlType("xml", MAX), "<a>ż</a>"),
    "binary": (SqlType("binary", 4), b"\0\1\2\3"),
    "varbinary": (SqlType("varbinary", 20), bytes(range(20))),
    "varbinarymax": (SqlType("varbinary", MAX), bytes(range(256)) * 400),
    "image": (SqlType("image", MAX), bytes(range(256)) * 40),
    "rowversion": (SqlType("timestamp"), b"\0\0\0\0\0\0\7\xd1"),
    "uniqueidentifier": (SqlType("uniqueidentifier"), "01234567-89ab-cdef-0123-456789abcdef"),
    "date": (SqlType("date"), "2020-02-29"),
    "time": (SqlType("time", scale=7), "23:59:59.9999999"),
    "smalldatetime": (SqlType("smalldatetime"), "2079-06-06 23:59:00"),
    "datetime": (SqlType("datetime"), "1753-01-01 00:00:00.003"),
    "datetime2": (SqlType("datetime2", scale=6), "9999-12-31 23:59:59.999999"),
    "datetimeoffset": (SqlType("datetimeoffset", scale=7), "2020-01-01 00:30:00.1234567 +02:00"),
    "variant": (SqlType("sql_variant"), Variant(SqlType("nvarchar", 5), "żółw")),
}
TWELVE = [
    ResultColumn("id", SqlType("int"), nullable=False),
    ResultColumn("big", SqlType("bigint")),
    ResultColumn("flag", SqlType("bit")),
    ResultColumn("amount", SqlType("decimal", precision=18, scale=4)),
    ResultColumn("at", SqlType("datetime2", scale=7)),
    ResultColumn("day", SqlType("date")),
    ResultColumn("name", SqlType("nvarchar", 50)),
    ResultColumn("note", SqlType("nvarchar", 100)),
    ResultColumn("guid", SqlType("uniqueidentifier")),
    ResultColumn("ratio", SqlType("float")),
    ResultColumn("kind", SqlType("int")),
    ResultColumn("hash", SqlType("varbinary", 16)),
]


def twelve(number: int) -> tuple[object, ...]:
    """A row of 12 columns."""
    return (
        number,
        number * 1_000_003,
        number % 2 == 0,
        Decimal(number).scaleb(-2),
        f"2024-{number % 12 + 1:02}-{number % 28 + 1:02} 12:{number % 60:02}:{number % 59:02}.{number % 10_000_000:07}",
        f"20{number % 80 + 10}-05-17",
        f"Employee {number}",
        "a short note, ż" if number % 3 else None,
        f"00000000-0000-4000-8000-{number:012x}",
        number / 7,
        number % 17,
        number.to_bytes(16, "big"),
    )


class FakeSession:
    """Answers by the first word."""

    def __init__(self, engine: FakeEngine, login: Login, spid: int) -> None:
        self.engine, self.login, self.spid = engine, login, spid
        self.database = login.database or "master"
        self.descriptor = 0

    async def run(self, request: Request) -> AsyncIterator[Event]:
        word, _, rest = request.sql.partition("/*")[0].rstrip().partition(" ")
        self.engine.seen[word.lower()] += 1
        answer = getattr(self, f"on_{word.lower().strip(';')}", None)
        if answer is None:
            yield Failed(Refused(f"no script for {request.sql[:200]}"))
            return
        async for event in answer(rest, request.parameters):
            yield event

    async def on_type(self, rest: str, _: object) -> AsyncIterator[Event]:
        kind, value = PLAIN[rest]
        yield Columns([ResultColumn(rest, kind), ResultColumn("nothing", kind), ResultColumn("after", INT)])
        yield Rows([(value, None, 7), (value, None, 8)])
        yield Done("select", 2)

    async def on_raw(self, rest: str, _: object) -> AsyncIterator[Event]:
        yield Columns([ResultColumn("raw", SqlType(rest))])
        yield Rows([("/1/",)])
        yield Done("select", 1)

    async def on_rows(self, rest: str, _: object) -> AsyncIterator[Event]:
        yield Columns(TWELVE)
        count = int(rest)
        for start in range(0, count, 1000):
            yield Rows([twelve(number) for number in range(start, min(start + 1000, count))])
            self.engine.seen["portions"] += 1
        yield Done("select", count)

    async def on_echo(self, _: str, parameters: list[Parameter]) -> AsyncIterator[Event]:
        yield Columns([ResultColumn(one.name[1:], one.type) for one in parameters])
        yield Rows([[one.value for one in parameters]])
        yield Done("select", 1)

    async def on_names(self, _: str, parameters: list[Parameter]) -> AsyncIterator[Event]:
        yield Columns([ResultColumn("type", SqlType("nvarchar", 100)), ResultColumn("value", SqlType("nvarchar", 4000))])
        yield Rows([(f"{p.type.name} {p.type.length} {p.type.precision} {p.type.scale}", repr(p.value)) for p in parameters])
        yield Done("select", len(parameters))

    async def on_error(self, rest: str, _: object) -> AsyncIterator[Event]:
        number, _, severity = rest.partition(" ")
        yield Failed(SqlError(int(number), "scripted", severity=int(severity or 16), state=3, line=5))

    async def on_insert(self, rest: str, parameters: list[Parameter]) -> AsyncIterator[Event]:
        if any(one.value == 13 for one in parameters):
            yield Failed(SqlError(2627, "Violation of PRIMARY KEY constraint."))
            return
        self.engine.seen["inserted"] += 1
        yield Done("insert", int(rest) if rest.isdigit() else 1)

    async def on_lost(self, _: str, __: object) -> AsyncIterator[Event]:
        ended, self.descriptor = self.descriptor, 0
        yield Transaction("rolled back", ended)
        yield Failed(SqlError(1205, "deadlock", severity=13))

    async def on_begin(self, _: str, __: object) -> AsyncIterator[Event]:
        async for event in self.transaction("begin"):
            yield event
        yield Done()

    async def on_commit(self, _: str, __: object) -> AsyncIterator[Event]:
        async for event in self.transaction("commit"):
            yield event
        yield Done()

    async def on_if(self, _: str, __: object) -> AsyncIterator[Event]:
        yield Done()

    async def on_set(self, _: str, __: object) -> AsyncIterator[Event]:
        yield Done()

    async def on_many(self, _: str, __: object) -> AsyncIterator[Event]:
        yield Done()
        yield Done("update", 3)
        yield Info(0, "printed")
        for number in (1, 2):
            yield Columns([ResultColumn("n", INT)])
            yield Rows([(number,)])
            yield Done("select", 1)
        yield Failed(SqlError(547, "constraint"))

    async def on_broken(self, _: str, __: object) -> AsyncIterator[Event]:
        yield Columns([ResultColumn("n", INT)])
        yield Rows([("no number",)])
        yield Done("select", 1)

    async def on_wait(self, _: str, __: object) -> AsyncIterator[Event]:
        try:
            await asyncio.sleep(60)
            yield Done()
        except asyncio.CancelledError:
            self.engine.seen["cancelled"] += 1
            raise

    async def on_abort(self, _: str, __: object) -> AsyncIterator[Event]:
        try:
            await asyncio.sleep(60)
            yield Done()
        finally:
            self.descriptor = 0  # XACT_ABORT

    async def on_exec(self, _: str, parameters: list[Parameter]) -> AsyncIterator[Event]:
        yield Done("update", 1)
        yield Output(parameters[0].name, INT, 42)
        for one in parameters[1:]:
            if one.output:
                yield Output(one.name, one.type, None if one.value is None else one.value * 2)

    async def on_kill(self, _: str, __: object) -> AsyncIterator[Event]:
        yield Failed(SqlError(596, "Cannot continue the execution because the session is in the kill state.", severity=21))

    async def on_state(self, _: str, __: object) -> AsyncIterator[Event]:
        yield Columns([ResultColumn("what", SqlType("nvarchar", 200)), ResultColumn("count", INT)])
        yield Rows(list(self.engine.seen.items()))
        yield Done("select", None)

    async def on_login(self, _: str, __: object) -> AsyncIterator[Event]:
        login = self.login
        yield Columns([ResultColumn(name, SqlType("nvarchar", 128)) for name in ("user", "database", "application")])
        yield Rows([(login.user, login.database, login.application)])
        yield Done("select", 1)
        yield Columns([ResultColumn("read_only", SqlType("bit"))])
        yield Rows([(login.read_only,)])
        yield Done("select", 1)

    async def on_select(self, _: str, parameters: list[Parameter]) -> AsyncIterator[Event]:
        yield Columns([ResultColumn("", INT)])
        yield Rows([(len(parameters) or 1,)])
        yield Done("select", 1)

    async def transaction(self, order: str, *, isolation: int = 0, name: str = "") -> AsyncIterator[Event]:
        self.engine.seen[f"{order}{name}"] += 1
        if order == "begin":
            self.engine.transactions += 1
            self.descriptor = self.engine.transactions
            yield Transaction("begun", self.descriptor)
        elif order in ("commit", "rollback"):
            ended, self.descriptor = self.descriptor, 0
            yield Transaction("committed" if order == "commit" else "rolled back", ended)

    async def describe(self, request: Request) -> list[Parameter]:
        self.engine.seen["described"] += 1
        kinds = [
            SqlType("int"),
            SqlType("varbinary", MAX),
            SqlType("datetime2", scale=7),
            SqlType("decimal", precision=10, scale=2),
        ]
        count = request.sql.count("@P")
        return [Parameter(f"@P{place + 1}", kinds[place % 4], None) for place in range(count)]

    async def reset(self) -> None:
        self.engine.seen["reset"] += 1
        self.descriptor = 0

    async def close(self) -> None:
        self.engine.seen["closed"] += 1


class FakeEngine:
    """Logs everyone in whose password is `right`."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.transactions = 0
        self.spid = 50

    async def login(self, login: Login) -> Session:
        if login.password != "right;}{ł":
            raise SqlError(18456, f"Login failed for user '{login.user}'.", severity=14)
        if login.database == "missing":
            raise SqlError(4060, 'Cannot open database "missing" requested by the login. The login failed.', severity=11)
        self.spid += 1
        return FakeSession(self, login, self.spid)


class FakeController:
    """Its verdicts stand in the text of the request: `/* delay=1 cut=3 ... */`."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    async def received(self, spid: int, request: Request) -> Verdict:
        verdict = Verdict()
        _, _, marks = request.sql.partition("/*")
        for mark in marks.removesuffix("*/").split():
            key, _, value = mark.partition("=")
            if key == "error":
                verdict.error = SqlError(int(value), "injected", severity=13)
            elif key == "delay":
                verdict.delay = float(value)
            elif key == "cut":
                verdict.cut_after_rows = int(value)
            elif key == "kill":
                verdict.kill = True
            elif key == "replay":
                verdict.replay = value
        return verdict

    def refused(self, spid: int, sql: str, error: SqlError) -> None:
        self.engine.seen["refused"] += 1


async def main() -> None:
    """Serves until the standard input ends."""
    engine = FakeEngine()
    server = Server(engine, FakeController(engine), make_context(Path(sys.argv[1])))
    print(await server.start(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
