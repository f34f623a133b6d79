"""Both ends of a real TLS connection: half-open links free whoever waits on them, and answers of strangers are bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from tests.support.proxy import FaultyProxy
from transport import client, conversation
from transport.client import NotOurs, Unreachable, Untrusted, connect, enrol, probe, tls_context
from transport.conversation import Conversation
from transport.errors import Refused, TransportError
from transport.frames import ENROL_PATH, STREAM_PATH, EnrolRequest
from transport.machine import SystemClock
from transport.server import ServerLink, accept
from transport.session import Event, Limits, Session, Side, Stalled

SHORT = Limits(ping_interval=0.2, silence=0.5, progress=0.5, handshake=0.5)


class Site:
    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self.port = port
        self.trust = trust
        self.url = f"https://localhost:{port}"


@asynccontextmanager
async def site(*routes: web.RouteDef) -> AsyncIterator[Site]:
    """A server with real TLS."""
    ca = trustme.CA()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(own)
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own).start()
    try:
        yield Site(runner.addresses[0][1], trust)
    finally:
        await runner.cleanup()


async def nothing(event: Event) -> None:
    if isinstance(event, Stalled):
        raise event.error


# -- half-open links -------------------------------------------------------------------------------------------------------


async def test_the_server_s_handler_ends_although_its_sends_are_blocked_on_a_half_open_link() -> None:
    """What it returns afterwards closes the WebSocket: that must not wait for the peer either."""
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def stream(request: web.Request) -> web.StreamResponse:
        link, ws = await accept(request)
        flood = asyncio.create_task(_flood(link))
        try:
            await Conversation(Session(Side.CLOUD, SystemClock().monotonic(), SHORT), link, SystemClock()).run(nothing)
        except TransportError as error:
            ended.set_result(error)
        await asyncio.wait([flood])
        flood.exception()
        return ws

    async with site(web.get(STREAM_PATH, stream)) as served, FaultyProxy(served.port) as proxy:
        link = await connect(f"https://localhost:{proxy.port}", served.trust)
        proxy.stall()
        async with asyncio.timeout(10):
            error = await ended
        assert isinstance(error, TransportError)
        assert error.code == "T1008"
        async with asyncio.timeout(10):
            await link.wait_closed()
            handlers = [task for task in asyncio.all_tasks() if "RequestHandler.start" in repr(task)]
            await asyncio.gather(*handlers, return_exceptions=True)


async def _flood(link: ServerLink) -> None:
    while True:
        await link.send(b"x" * 1_000_000)


async def test_the_agent_s_blocked_send_is_freed_by_the_abort() -> None:
    async def deaf(request: web.Request) -> web.StreamResponse:
        _, ws = await accept(request)
        await gate.wait()
        return ws

    gate = asyncio.Event()
    async with site(web.get(STREAM_PATH, deaf)) as served, FaultyProxy(served.port) as proxy:
        link = await connect(f"https://localhost:{proxy.port}", served.trust)
        proxy.stall()
        blocked = await _blocked_send(link)
        async with asyncio.timeout(10):
            await link.wait_closed()
            with pytest.raises(ConnectionError):
                await blocked
        gate.set()


async def _blocked_send(link: client.ClientLink) -> asyncio.Task[None]:
    """One that has not ended within a moment: the buffers of the system and of the proxy are full."""
    while True:
        send = asyncio.create_task(link.send(b"x" * 1_000_000))
        if not (await asyncio.wait([send], timeout=0.5))[0]:
            return send
        send.result()


async def test_a_conversation_on_a_half_open_link_ends_in_time_and_leaves_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "LAST_WORDS", 0.2)
    gate = asyncio.Event()

    async def deaf(request: web.Request) -> web.StreamResponse:
        _, ws = await accept(request)
        await gate.wait()
        return ws

    async with site(web.get(STREAM_PATH, deaf)) as served, FaultyProxy(served.port) as proxy:
        link = await connect(f"https://localhost:{proxy.port}", served.trust)
        proxy.stall()
        session = Session(Side.AGENT, SystemClock().monotonic(), SHORT)
        async with asyncio.timeout(10):
            with pytest.raises(TransportError) as caught:
                await Conversation(session, link, SystemClock()).run(nothing)
            await link.wait_closed()
        assert caught.value.code == "T1008"
        assert [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith(("conversation", "link"))] == []
        gate.set()


async def test_a_link_outlives_the_time_for_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.5)

    async def echo(request: web.Request) -> web.StreamResponse:
        link, ws = await accept(request)
        while (data := await link.receive()) is not None:
            await link.send(data)
        return ws

    async with site(web.get(STREAM_PATH, echo)) as served:
        link = await connect(served.url, served.trust)
        end = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < end:
            await link.send(b"still here")
            assert await link.receive() == b"still here"
            await asyncio.sleep(0.05)
        await link.wait_closed()


# -- what else may answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "kind"), [(503, Unreachable), (502, Unreachable), (429, Unreachable), (404, NotOurs)])
async def test_a_cloud_that_restarts_behind_its_proxy_is_no_other_server(status: int, kind: type[TransportError]) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with site(web.get(STREAM_PATH, answer)) as served:
        with pytest.raises(kind):
            await connect(served.url, served.trust)


async def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 10.0)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    async with site(web.get("/live", endless), web.post(ENROL_PATH, endless)) as served:
        with pytest.raises(NotOurs):
            await probe(served.url, served.trust)
        with pytest.raises(NotOurs):
            await enrol(served.url, served.trust, EnrolRequest("code", b"i" * 16, b"k" * 32))


async def test_a_refused_enrolment_says_what_the_cloud_advises() -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"code": "C3210", "detail": "was used", "remedy": "Ask for another."}, status=403)

    async with site(web.post(ENROL_PATH, refuse)) as served:
        with pytest.raises(Refused) as caught:
            await enrol(served.url, served.trust, EnrolRequest("code", b"i" * 16, b"k" * 32))
    assert (caught.value.code, caught.value.remedy) == ("C3210", "Ask for another.")


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_file_of_authorities_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Untrusted) as caught:
        tls_context(path)
    assert (caught.value.code, caught.value.where) == ("T1011", str(path))
