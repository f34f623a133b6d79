"""shell: one client: encryption, login, then one message after the other, with attention heard in between."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from tests.standin.ports import Controller, Engine, Refused, Session, SqlError
from tests.standin.wire import tokens
from tests.standin.wire.collations import collation_bytes
from tests.standin.wire.link import Link, Outgoing
from tests.standin.wire.login import UTF8, BadLogin, ClientLogin, read_login
from tests.standin.wire.packets import DEFAULT as DEFAULT_SIZE
from tests.standin.wire.packets import BrokenPacket, Kind, Message, packet_size, packets
from tests.standin.wire.prelogin import BadPrelogin, answer
from tests.standin.wire.replay import Tape
from tests.standin.wire.serving import Cut, Fatal, Requests
from tests.standin.wire.tls import Tls

LOGIN_LIMIT = 30.0  # seconds from the first byte to the end of the login
_LOST = (ConnectionError, ssl.SSLError, BrokenPacket, BadPrelogin, BadLogin)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server says that it is."""

    name: str = "STANDIN"
    version: str = "15.0.4430.1"

    @property
    def number(self) -> bytes:
        """Major, minor and build of the version, as the protocol has them."""
        major, minor, build = (int(part) for part in self.version.split(".")[:3])
        return bytes([major, minor]) + build.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Face:
    """What the server shows: `identity` is asked at every login; `collation`: of a session's database, "" the server's."""

    identity: Callable[[], Identity] = Identity
    collation: Callable[[Session], str] = lambda _: ""


class Connection:
    """From the first byte to the last."""

    def __init__(
        self, link: Link, engine: Engine, controller: Controller, context: ssl.SSLContext, face: Face, tape: Tape
    ) -> None:
        self._link, self._engine, self._controller = link, engine, controller
        self._context, self._tape = context, tape
        self._identity, self._collation = face.identity(), face.collation
        self._task: asyncio.Task[None] | None = None
        self._outgoing: Outgoing | None = None
        self.session: Session | None = None

    async def serve(self, opened: Callable[[Connection], None]) -> None:
        """Until the client has gone or is sent away; `opened` is called after the login. The session is closed then."""
        try:
            async with aclosing(self._link.messages()) as messages:
                async with asyncio.timeout(LOGIN_LIMIT):
                    session = await self._login(messages)
                if session is not None:
                    self._link.spid, self.session = session.spid, session
                    opened(self)
                    await self._requests(messages, session)
        except (*_LOST, TimeoutError) as error:
            _log.debug("connection ended: %s", error)
        finally:
            await self._stop_running()
            if self.session is not None:
                await self.session.close()
            self._link.end()

    def abort(self) -> None:
        """Cuts it; `serve` ends then."""
        self._link.abort()

    # -- until the login -----------------------------------------------------------------------------------------------------

    async def _login(self, messages: AsyncIterator[Message]) -> Session | None:
        tls = Tls(self._context)
        async for message in messages:
            if message.kind == Kind.LOGIN:
                return await self._welcome(read_login(message.payload))
            if message.kind != Kind.PRELOGIN:
                raise BrokenPacket(f"a message of kind {message.kind} before the login")
            if message.payload[:1] == b"\x16":  # a TLS handshake record
                self._handshake(tls, message.payload)
            else:
                options, able = answer(message.payload, self._identity.number)
                self._link.write(packets(Kind.RESULT, options))
                if not able:
                    raise BadPrelogin("the client cannot encrypt")
        return None

    def _handshake(self, tls: Tls, data: bytes) -> None:
        said, done = tls.handshake(data)
        if said:
            self._link.write(packets(Kind.PRELOGIN, said))
        if done:
            self._link.encrypt_with(tls)

    async def _welcome(self, client: ClientLogin) -> Session | None:
        try:
            session = await self._session(client)
        except SqlError as refusal:
            failed = tokens.error(refusal, self._identity.name) + tokens.done(tokens.DONE, tokens.FAILED)
            self._link.answer().finish(failed)
            return None
        self._link.answer().finish(self._welcome_tokens(client, session))
        self._link.packet_size = packet_size(client.packet_size)
        return session

    async def _session(self, client: ClientLogin) -> Session:
        if client.integrated:
            raise SqlError(18452, "Login failed. The login is from an untrusted domain.", severity=14)
        try:
            return await self._engine.login(client.login)
        except SqlError:
            raise
        except Exception as error:
            _log.exception("a login failed")
            raise Refused(f"internal error: {type(error).__name__}: {error}") from error

    def _welcome_tokens(self, client: ClientLogin, session: Session) -> bytes:
        server, size = self._identity.name, packet_size(client.packet_size)
        utf8 = [(UTF8, b"\1")] if UTF8 in client.features else []
        return b"".join(
            (
                tokens.database_change("master", session.database, server),
                tokens.collation_change(collation_bytes(self._collation(session))),
                tokens.language_change(server),
                tokens.login_acknowledgement(self._identity.number),
                tokens.packet_size_change(size, DEFAULT_SIZE),
                tokens.feature_acknowledgement(utf8) if client.features else b"",
                tokens.done(tokens.DONE, tokens.FINAL),
            )
        )

    # -- after it ------------------------------------------------------------------------------------------------------------

    async def _requests(self, messages: AsyncIterator[Message], session: Session) -> None:
        requests = Requests(session, self._controller, self._identity.name, self._tape, self._collation)
        async for message in messages:
            if message.kind == Kind.ATTENTION:
                await self._attention(requests)
                continue
            if self._task is not None:
                await asyncio.wait([self._task])  # a client that does not wait for its answer
            self._outgoing = self._link.answer()
            self._task = asyncio.create_task(self._answer(requests, message, self._outgoing))

    async def _answer(self, requests: Requests, message: Message, outgoing: Outgoing) -> None:
        try:
            try:
                await requests.answer(message, outgoing)
            except Cut:
                await outgoing.cut()
            except Fatal:
                self._link.end()
        except ConnectionError:
            self._link.abort()

    async def _attention(self, requests: Requests) -> None:
        """The running request is cancelled; its answer ends, or a new one does, with the acknowledgement."""
        await self._stop_running()
        outgoing, interrupted = self._outgoing, b""
        if outgoing is None or outgoing.finished:
            outgoing = self._link.answer()
        else:  # without this a driver takes the acknowledgement for success
            interrupted = tokens.done(tokens.DONE, tokens.FAILED | tokens.MORE)
        outgoing.finish(requests.lost_transaction() + interrupted + tokens.done(tokens.DONE, tokens.ATTENTION))

    async def _stop_running(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            _log.error("a request failed", exc_info=error)
        self._task = None
