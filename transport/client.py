"""shell: the agent's end of one connection: a WebSocket over TLS, and the enrolment call."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import msgspec

from transport.errors import Refused, TransportError
from transport.frames import ENROL_PATH, MAX_ENVELOPE, STREAM_PATH, EnrolReply, EnrolRequest
from transport.websocket import payload

MAX_ANSWER = 64 * 1024  # bytes of an answer that is not the stream; whoever sends more is not the cloud
CLOSING = 2.0  # seconds; the transport is gone by then, so nothing should wait
CONNECT_TIMEOUT = 20.0  # seconds, name resolution to the end of the upgrade


class Unreachable(TransportError):
    """No connection: network, name, port, or the service is down. Retrying helps."""


class Untrusted(TransportError):
    """The certificate of the other side does not pass: nothing was sent."""


class NotOurs(TransportError):
    """Something answered that is not the cloud service (a proxy, a portal, another server)."""


class Problem(msgspec.Struct):
    """RFC 9457 body of a refusal, as the cloud writes it."""

    code: str = ""
    detail: str = ""
    remedy: str = ""


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Verifies certificate and host name, against the machine's authorities or those in the file `ca`; TLS 1.2 or newer.

    Raises Untrusted when the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or getattr(error, "reason", "") or type(error).__name__
        raise Untrusted("T1011", f"the file of authorities cannot be read: {reason}", where=str(ca)) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class ClientLink:
    """A WebSocket as a `transport.runtime.Link`; every link has a connector of its own, so that `abort` ends just this one."""

    def __init__(self, session: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._ws = ws
        self._ending: asyncio.Task[None] | None = None

    async def send(self, data: bytes) -> None:
        """See `Link`."""
        await self._ws.send_bytes(data)

    async def receive(self) -> bytes | None:
        """See `Link`."""
        return payload(await self._ws.receive())

    def abort(self) -> None:
        """Cuts the TLS transport: closing the WebSocket would wait behind a send that is blocked on a dead link."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name="link.abort")

    async def _end(self) -> None:
        connector = self._session.connector
        if connector is not None:
            await connector.close(abort_ssl=True)
        with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError, RuntimeError):
            async with asyncio.timeout(CLOSING):
                await self._ws.close()  # nothing is said any more; it gives the connection back
        await self._session.close()

    async def wait_closed(self) -> None:
        """Aborts if need be and waits until sockets and tasks of the link are gone."""
        self.abort()
        if self._ending is not None:
            await self._ending


def _session(context: ssl.SSLContext, *, force_close: bool = True) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=1, force_close=force_close),
        timeout=aiohttp.ClientTimeout(total=CONNECT_TIMEOUT),
        trust_env=True,
    )


@contextlib.asynccontextmanager
async def _one_request(context: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose connection is gone at the end: TLS closes with a handshake, which a command's end would not await."""
    session = _session(context, force_close=False)
    try:
        yield session
    finally:
        if session.connector is not None:
            await session.connector.close(abort_ssl=True)
        await session.close()


TEMPORARY = (429, 500, 502, 503, 504)  # of a cloud that restarts or is busy, or of the proxy before it


def _translate(error: Exception, url: str) -> TransportError:
    """What went wrong while connecting, by type; `url` has no secrets."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return Untrusted("T1011", f"its certificate is not accepted: {error}", where=url)
    if isinstance(error, aiohttp.WSServerHandshakeError) and error.status not in TEMPORARY:
        return NotOurs("T1012", f"answered {error.status} instead of opening the stream", where=url)
    return Unreachable("T1010", f"cannot be reached: {type(error).__name__}: {error}", where=url)


async def connect(url: str, context: ssl.SSLContext, headers: Mapping[str, str] | None = None) -> ClientLink:
    """Opens one link to the cloud at `url` (https://host:port). Raises Unreachable, Untrusted or NotOurs."""
    session = _session(context)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            ws = await session.ws_connect(
                url.rstrip("/") + STREAM_PATH,
                headers=headers,
                autoping=True,
                compress=0,
                max_msg_size=MAX_ENVELOPE,
            )
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        await session.close()
        raise _translate(error, url) from error
    except BaseException:
        await session.close()
        raise
    return ClientLink(session, ws)


async def enrol(url: str, context: ssl.SSLContext, request: EnrolRequest) -> EnrolReply:
    """Shows a one-time code. Raises Unreachable, Untrusted, NotOurs, or Refused with the cloud's code."""
    async with _one_request(context) as session:
        try:
            async with session.post(url.rstrip("/") + ENROL_PATH, data=msgspec.json.encode(request)) as response:
                body = await _small(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translate(error, url) from error
    try:
        if response.status == 200:
            return msgspec.json.decode(body, type=EnrolReply)
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotOurs("T1012", f"answered {response.status} with something unknown", where=url) from error
    raise Refused(problem.code or "T1012", problem.detail, retry_after=None, remedy=problem.remedy)


async def _small(response: aiohttp.ClientResponse) -> bytes:
    """The body; of one that is too long, its beginning."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER:
            break
    return bytes(body)


async def probe(url: str, context: ssl.SSLContext) -> None:
    """Asks whether the cloud is there. Raises Unreachable, Untrusted or NotOurs."""
    async with _one_request(context) as session:
        try:
            async with session.get(url.rstrip("/") + "/live") as response:
                body = await _small(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translate(error, url) from error
    try:
        alive = response.status == 200 and msgspec.json.decode(body, type=dict[str, str]).get("status") == "ok"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        alive = False
    if not alive:
        raise NotOurs("T1012", f"answered {response.status} with something unknown", where=url)
