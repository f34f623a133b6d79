"""A hostile other side, towards the running cloud and the running agent: refused with a code, and nothing else happens."""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc.control import Client, SyncRequest
from cdc.journal_identity import Identity, IdentityFile
from cdc.model import Dataset
from tests.support import hostile
from tests.support.product import Product, eventually, product
from tests.support.trouble import MIB, LoopThread, directly, equal, memory
from transport.codec import decode, encode, proof_text, schema_id
from transport.frames import (
    MAX_RAW,
    PROTOCOL,
    STREAM_PATH,
    Ack,
    Batch,
    Bye,
    Challenge,
    Column,
    Control,
    Detach,
    Hello,
    LoadBegin,
    LoadEnd,
    Proof,
    Ready,
    Refuse,
    Schema,
    Stream,
    StreamMessage,
    Type,
    Welcome,
    WindowEnd,
)
from transport.runtime import unwatched

REFUSED = 2 * MAX_RAW  # resident memory that all frames together may cost which are refused for what they are
GROWTH = 64 * MIB  # the same with frames as large as frames may be
PEOPLE = [Dataset(name="people", table="person", channel="hr")]


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One product for the whole module: what one attack broke, the next test would see."""
    folder = tmp_path_factory.mktemp("hostile")
    execute(
        folder / "erp.db",
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "INSERT INTO person VALUES (1, 'Zofia Wójcik')",
    )
    with product(folder, folder / "erp.db", PEOPLE) as made:
        made.start_agent()
        made.wait_until_caught_up()
        yield made


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as made:
        yield made


@pytest.fixture(autouse=True)
def running(made: Product) -> None:
    if not made.agent.running:
        made.start_agent()


def goes_on(made: Product, name: str) -> None:
    """A row on its way from the ERP to the cloud, after whatever happened."""
    execute(made.erp, f"INSERT INTO person(name) VALUES ('{name}')")
    equal(made)


# -- towards the cloud -----------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """How the other side ended the connection."""

    code: str | None  # of its goodbye or refusal; "": there is no reason to end it; None: it ended without one
    close: int | None  # of the WebSocket


class Attacker:
    """A raw WebSocket client."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def expect(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(20):
            message = decode(await self.ws.receive_bytes())
        assert isinstance(message, kind), message
        return message

    async def say(self, message: Control) -> None:
        await self.ws.send_bytes(encode(message))

    async def stream(self, channel: str, *messages: StreamMessage) -> None:
        for seq, message in enumerate(messages, 1):
            await self.ws.send_bytes(hostile.sealed(message, channel, seq))

    async def ended(self) -> Answer:
        """The first word that ends the conversation, or an ack: nothing will end this one."""
        async with asyncio.timeout(20):
            while (received := await self.ws.receive()).type is aiohttp.WSMsgType.BINARY:
                match decode(received.data):
                    case Bye(code) | Refuse(code):
                        return Answer(code, None)
                    case Ack(applied=applied) if applied:
                        return Answer("", None)
        return Answer(None, self.ws.close_code)


@asynccontextmanager
async def attacker(made: Product) -> AsyncIterator[Attacker]:
    context = ssl.create_default_context(cafile=str(made.folder / "ca.pem"))
    url = f"https://localhost:{made.cloud_port}{STREAM_PATH}"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.ws_connect(url, max_msg_size=0) as ws,
    ):
        yield Attacker(ws)


async def answer_to(made: Product, act: Callable[[Attacker], Awaitable[None]]) -> Answer:
    async with attacker(made) as enemy:
        await act(enemy)
        return await enemy.ended()


def test_whatever_a_stranger_sends_to_the_cloud_ends_with_a_code_and_costs_little_memory(
    made: Product, loop: LoopThread
) -> None:
    before = memory(made.cloud.pid)
    for name, (data, code) in {**hostile.raw_frames(), **hostile.misplaced_to_cloud(), **hostile.as_large_as_may_be()}.items():
        assert memory(made.cloud.pid) - before < REFUSED, name
        found = loop.run(answer_to(made, lambda enemy, data=data: enemy.ws.send_bytes(data)))  # type: ignore[misc]
        assert found.code == code, (name, found)
        again = loop.run(answer_to(made, lambda enemy, data=data: after_hello(enemy, data)))  # type: ignore[misc]
        assert again.code, (name, again)
    assert memory(made.cloud.pid) - before < GROWTH
    goes_on(made, "after strangers")
    assert made.cloud.running


async def after_hello(enemy: Attacker, data: bytes) -> None:
    await enemy.ws.send_bytes(hostile.hello())
    await enemy.expect(Challenge)
    await enemy.ws.send_bytes(data)


def test_a_message_over_the_limit_is_refused_before_it_is_read(made: Product, loop: LoopThread) -> None:
    before = memory(made.cloud.pid)
    for _ in range(5):
        found = loop.run(answer_to(made, lambda enemy: enemy.ws.send_bytes(hostile.TOO_LONG)))
        assert found.close in (aiohttp.WSCloseCode.MESSAGE_TOO_BIG, aiohttp.WSCloseCode.ABNORMAL_CLOSURE), found
    assert "T1002" in made.cloud.log()
    assert memory(made.cloud.pid) - before < GROWTH
    goes_on(made, "after large messages")


def test_a_text_message_is_refused_with_a_code(made: Product, loop: LoopThread) -> None:
    found = loop.run(answer_to(made, lambda enemy: enemy.ws.send_str("hello")))
    assert found.code == "T1001"


def test_somebody_without_the_key_is_refused_and_learns_nothing(made: Product, loop: LoopThread) -> None:
    answers = []
    for company in ("acme", "nobody"):

        async def act(enemy: Attacker, company: str = company) -> None:
            await enemy.ws.send_bytes(hostile.hello(company))
            await enemy.expect(Challenge)
            await enemy.say(Proof(b"x" * 64))

        answers.append(loop.run(answer_to(made, act)))
    assert [a.code for a in answers] == ["C3204", "C3204"]
    assert made.company_health()["link"]["state"] == "open"  # the right one is not disturbed


PERSON = Schema("people", "hr", "up", [Column("id", Type.INT, nullable=False, key=1), Column("name", Type.TEXT, nullable=True)])
WIDE = Schema("wide", "hr", "up", [Column(f"c{n}", Type.INT, nullable=False, key=int(n == 0)) for n in range(1_024)])
STRAY = Schema("stray", "hr", "up", PERSON.columns)
END = WindowEnd(b"p", 0, 1, 0, "2026-01-01T00:00:00Z")


def batch(ops: bytes, keys: list[Any], values: list[Any], schema: Schema = PERSON) -> Batch:
    return Batch(schema.dataset, schema_id(schema), 0, ops, keys, values)


LOAD = LoadBegin("stray", schema_id(STRAY), 1)
STREAMS: dict[str, tuple[str, list[StreamMessage]]] = {
    "rows without a schema": ("T1005", [batch(b"\0", [[1]], [["x"]]), END]),
    "rows before any load": ("T1005", [STRAY, batch(b"\0", [[1]], [["x"]], STRAY), END]),
    "columns of other lengths": ("T1001", [PERSON, batch(b"\0\0", [[1, 2]], [["x"]]), END]),
    "an operation that does not exist": ("T1001", [PERSON, batch(b"\7", [[1]], [[]]), END]),
    "too few columns": ("T1005", [STRAY, LOAD, batch(b"\0", [[1]], [], STRAY), END]),
    "a load that never began": ("T1005", [LoadEnd("people", 77, 0), END]),
    "a load of a schema that was never sent": ("T1005", [LoadBegin("people", b"?" * 16, 78), END]),
    "a dataset name that is none": ("C3107", [Schema('x"; DROP TABLE _dataset; --', "hr", "up", PERSON.columns), END]),
    "a column name that is none": ("C3108", [Schema("odd", "hr", "up", [Column("\0", Type.INT, nullable=False, key=1)]), END]),
    "a schema without a key": ("C3108", [Schema("odd", "hr", "up", [Column("x", Type.INT, nullable=False)]), END]),
    "a dataset of another channel taken over": ("", [Detach("people"), END]),
    "unknown datasets that leave": ("", [Detach("never"), END]),
    "a position of 900 kB": ("", [WindowEnd(b"p" * 900_000, 0, 1, 0, "x")]),
}
"""Name -> the code it is answered with ("": it takes effect) and messages of a channel of its own."""


class Stolen:
    """An agent's identity in other hands: what somebody with the key may do."""

    def __init__(self, made: Product) -> None:
        self._made = made
        self._file = IdentityFile(made.state / "acme" / "journal.identity", unwatched)

    def identity(self) -> Identity:
        found = self._file.load()
        assert found is not None
        return found

    async def enter(self, enemy: Attacker, channel: str) -> None:
        """To the state OPEN; the secret is kept for the right owner, as the agent would."""
        me = self.identity()
        await enemy.say(Hello(PROTOCOL, PROTOCOL, "cdc/9", me.company, me.installation, me.secret, me.epoch))
        challenge = await enemy.expect(Challenge)
        key = Ed25519PrivateKey.from_private_bytes(me.private_key)
        await enemy.say(Proof(key.sign(proof_text(challenge.nonce, me.company, me.installation))))
        welcome = await enemy.expect(Welcome)
        self._file.save(Identity(me.installation, welcome.next_secret, welcome.epoch, me.private_key, me.cloud, me.company))
        await enemy.say(Ready([Stream(channel, hostile.JOURNAL, 1)]))


def test_an_agent_gone_mad_harms_neither_the_service_nor_what_is_visible(made: Product, loop: LoopThread) -> None:
    """With the right key, in the state OPEN: windows that no healthy agent sends, on a channel of their own."""
    made.agent.stop()
    stolen, before = Stolen(made), memory(made.cloud.pid)
    visible = rows(made)
    for n, (name, (code, messages)) in enumerate(STREAMS.items()):

        async def act(enemy: Attacker, n: int = n, messages: list[StreamMessage] = messages) -> None:
            await stolen.enter(enemy, f"mad{n}")
            await enemy.stream(f"mad{n}", *messages)

        found = loop.run(answer_to(made, act))
        assert found.code == code, (name, found)
    for name, (data, _) in hostile.raw_frames().items():

        async def throw(enemy: Attacker, data: bytes = data) -> None:
            await stolen.enter(enemy, "hr2")
            await enemy.ws.send_bytes(data)

        found = loop.run(answer_to(made, throw))
        assert found.code, (name, found)
    assert "Traceback" not in made.cloud.log(), made.cloud.log()[-3000:]
    assert memory(made.cloud.pid) - before < GROWTH
    assert rows(made) == visible
    made.start_agent()
    goes_on(made, "after madness")


def test_more_than_the_credit_allows_is_refused(made: Product, loop: LoopThread) -> None:
    made.agent.stop()
    stolen = Stolen(made)

    async def flood(enemy: Attacker) -> None:
        await stolen.enter(enemy, "flood")
        await enemy.stream("flood", PERSON)
        for seq in range(3, 600):  # never 2: nothing of it may be staged
            await enemy.ws.send_bytes(hostile.sealed(Detach("x"), "flood", seq))

    assert loop.run(answer_to(made, flood)).code == "T1006"
    made.start_agent()
    goes_on(made, "after a flood")


def rows(made: Product) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{made.copy}?mode=ro", uri=True)) as db:
        return db.execute("SELECT * FROM people ORDER BY id").fetchall()


# -- towards the agent -----------------------------------------------------------------------------------------------------


class FakeCloud:
    """Answers the stream with `act`, and counts who comes."""

    def __init__(self, folder: Path, loop: LoopThread) -> None:
        self._folder = folder
        self._loop = loop
        self.came = 0
        self.act: Callable[[web.WebSocketResponse], Awaitable[None]] = self.silent
        self.port = 0

    def __enter__(self) -> Self:
        self._loop.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._runner.cleanup())

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get(STREAM_PATH, self._stream)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._folder / "cert.pem", self._folder / "key.pem")
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        self.came += 1
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        try:
            await ws.receive_bytes()  # the hello
            await self.act(ws)
            await ws.receive()  # the goodbye
        except (ConnectionError, TypeError):
            pass
        return ws

    async def silent(self, ws: web.WebSocketResponse) -> None:
        pass


def test_whatever_a_hostile_cloud_sends_the_agent_lives_and_finds_back(made: Product, loop: LoopThread) -> None:
    before = memory(made.agent.pid)
    attacks = {**hostile.raw_frames(), **hostile.misplaced_to_agent()}
    with FakeCloud(made.folder, loop) as enemy:
        made.agent_url_port = enemy.port
        made.write_agent_config()
        for name, (data, code) in attacks.items():

            async def act(ws: web.WebSocketResponse, data: bytes = data) -> None:
                await ws.send_bytes(data)

            enemy.act = act
            assert told(made, enemy, code) == "A2605", name
        for unpacked, code in ((too_long, "T1002"), (text, "T1001")):
            enemy.act = unpacked
            assert told(made, enemy, code) == "A2605"
        execute(made.erp, "INSERT INTO person(name) VALUES ('kept in the journal')")
        assert memory(made.agent.pid) - before < GROWTH
        assert made.agent.running
    directly(made)
    goes_on(made, "after a hostile cloud")


async def too_long(ws: web.WebSocketResponse) -> None:
    await ws.send_bytes(hostile.TOO_LONG)


async def text(ws: web.WebSocketResponse) -> None:
    await ws.send_str("<html>")


def told(made: Product, enemy: FakeCloud, code: str) -> str:
    """The code with which health shows what another connection, asked for at once, has met: `code` of the wire."""
    came, failures = enemy.came, uplink(made)["total"]
    eventually("the agent waits", lambda: uplink(made)["state"] == "waiting" or enemy.came > came)
    Client(made.state).sync(SyncRequest("acme"))

    def found() -> Any:
        now = uplink(made)
        return enemy.came > came and now["total"] > failures and code in now["problem"]["message"] and now["problem"]["code"]

    return str(eventually(f"{code} in health", found))


def uplink(made: Product) -> dict[str, Any]:
    return next((s for s in made.company_health()["services"] if s["name"] == "uplink"), {"total": 0, "state": "none"})
