"""shell: one agent's connection: proves who it is, stages its frames durably, applies each window whole, acknowledges.

Two cumulative acks go back: **staged** (durable here, returns credits, the point to resume from) and **applied** (took effect
together with the position, lets the journal trim). A window that arrived whole is applied straight from memory, which makes it
staged and applied at once; a longer one is staged piece by piece, so that memory stays within the credits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.errors import CloudError, RegistryError
from cloud.store.base import Applied, CompanyStore, Staged
from cloud.store.registry import Agent, Grant
from cloud.tenants import STOPPING_RETRY, Tenant, Tenants
from transport.codec import decode_body, decode_frame, is_stream, proof_text
from transport.conversation import LAST_WORDS, Conversation, Farewell, LinkLost
from transport.errors import RemoteProtocolError, TransportError
from transport.frames import MIB, PROTOCOL, Ack, ChannelState, Hello, Kind, Ready, Stream, StreamMessage, Welcome
from transport.runtime import Link, Runtime
from transport.session import (
    Delivered,
    Ended,
    Event,
    HelloReceived,
    Limits,
    ProofReceived,
    ReadyReceived,
    Session,
    Side,
    Stalled,
    State,
)
from transport.tasks import cancel_all, first_of_all, to_the_end

log = logging.getLogger("cloud.ingest")

STAGE_BYTES = 4 * MIB  # unfinished window in memory before it is staged
STAGE_DELAY = 0.25  # seconds without a new frame before an unfinished window is staged
STAGE_LATEST = 5.0  # seconds a frame waits at most, when the others trickle in: the agent must see progress
MAX_CHANNELS = 256  # of one agent; each may have its credits waiting in memory
PROGRESS_EVERY = 1.0  # seconds between acks that only say that a long apply goes on
FENCED_RETRY = 5.0  # seconds a connection that was fenced off waits
RECHECK = 10.0  # seconds between two looks whether the agent is still trusted: revoking does not wait for the next hello
RETRY_STORE = 30.0  # seconds an agent waits when the company's store has a fault


class IngestSettings(NamedTuple):
    """What the configuration grants each channel of an agent."""

    software: str
    credit_bytes: int = 8 * MIB
    credit_frames: int = 512
    limits: Limits = Limits()


class Refusal(Farewell):
    """Ends the handshake with words for the agent; `retry_after` None: a person must act."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


def decode_stream(envelope: bytes) -> StreamMessage | None:
    """The message of a stored stream frame; None: an optional one of a kind unknown here. Raises RemoteProtocolError."""
    frame = decode_frame(envelope)
    if not is_stream(frame.kind):
        raise RemoteProtocolError("T1005", f"kind {frame.kind} is not a stream message")
    return cast("StreamMessage | None", decode_body(frame))


class _Channel:
    """Frames of one channel on their way from the link into the store."""

    def __init__(self, name: str, journal_id: bytes, state: ChannelState) -> None:
        self.name = name
        self.journal_id = journal_id
        self.staged = state.staged
        self.applied = state.applied
        self.waiting: list[Staged] = []
        self.waiting_bytes = 0
        self.since = 0.0  # monotonic seconds, of the first frame in `waiting`
        self.ends: list[int] = []  # seqs of window ends in `waiting`
        self.arrived = asyncio.Event()

    def add(self, frame_kind: int, staged: Staged, now: float) -> None:
        """One more frame, in order."""
        if not self.waiting:
            self.since = now
        self.waiting.append(staged)
        self.waiting_bytes += len(staged.envelope)
        if frame_kind == Kind.WINDOW_END:
            self.ends.append(staged.seq)
        self.arrived.set()

    def take_window(self) -> list[Staged]:
        """The frames up to the first window end."""
        count = self.ends.pop(0) - self.waiting[0].seq + 1
        return self._take(count)

    def take_all(self) -> list[Staged]:
        """Every waiting frame, of a window that has not ended."""
        return self._take(len(self.waiting))

    def _take(self, count: int) -> list[Staged]:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        self.waiting_bytes -= sum(len(frame.envelope) for frame in taken)
        return taken


class AgentConnection:
    """One agent's connection from its hello to its end."""

    def __init__(
        self, tenants: Tenants, settings: IngestSettings, runtime: Runtime, proved: Callable[[], None] = lambda: None
    ) -> None:
        """`proved`: called once the agent has proved who it is."""
        self._proved = proved
        self._tenants = tenants
        self._settings = settings
        self._runtime = runtime
        self._hello: Hello | None = None
        self._agent: Agent | None = None
        self._nonce = b""
        self._grant: Grant | None = None
        self._held: Tenant | None = None  # its store stays open for us
        self._tenant: Tenant | None = None  # whose connection we became
        self._channels: dict[str, _Channel] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()
        self._conversation: Conversation | None = None
        self._task: asyncio.Task[None] | None = None
        self._reason: CloudError | TransportError | None = None  # why we end it
        self._over = False
        self._interrupted = False  # read by the thread that applies

    # -- life ------------------------------------------------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Until the connection ends, for whatever reason; raises what ended it if that was a fault."""
        session = Session(
            Side.CLOUD,
            self._runtime.clock.monotonic(),
            self._settings.limits,
            credit_bytes=self._settings.credit_bytes,
            credit_frames=self._settings.credit_frames,
        )
        self._conversation = Conversation(session, link, self._runtime.clock)
        self._task = asyncio.create_task(self._conversation.run(self._handle), name="ingest.conversation")
        try:
            await first_of_all([self._failed, self._task])
        except Refusal:
            return
        except (TransportError, ConnectionError):
            if self._reason is None:
                raise
        finally:
            await to_the_end(self._leave(link))
        if self._reason is not None:
            raise self._reason

    async def _leave(self, link: Link) -> None:
        self._over = True
        link.abort()
        if self._task is not None:
            await cancel_all([self._task])
        await cancel_all(self._workers)  # the conversation has ended: nobody adds to them
        if not self._failed.cancel():
            self._failed.exception()  # seen
        if self._tenant is not None and self._tenant.connection is self:
            self._tenant.connection = None
        if self._held is not None:
            self._tenants.let_go(self._held)
        self._gone.set()

    async def fence(self, code: str, message: str, retry_after: float | None) -> None:
        """Ends this connection, saying why, and waits until it writes nothing more."""
        await self._dismiss(code, message, retry_after)
        await self._gone.wait()

    def interrupt(self) -> None:
        """The window being applied is given up: nothing of it takes effect."""
        self._interrupted = True

    async def _dismiss(self, code: str, message: str, retry_after: float | None) -> None:
        """Refuses to go on, from outside the conversation."""
        if self._conversation is not None and self._conversation.session.state is not State.CLOSED:
            self._conversation.session.refuse(code, message, retry_after)
            await self._said()
        self._end()

    async def _said(self) -> None:
        """Waits, for a moment, until our last words are sent, and again until the agent has heard them and hangs up."""
        await self._talk.sent()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LAST_WORDS)

    def _end(self, error: Exception | None = None) -> None:
        """Has `run` end, and raise this."""
        if self._failed.done():
            return
        if error is None:
            self._failed.set_result(None)
        else:
            self._failed.set_exception(error)

    # -- handshake -------------------------------------------------------------------------------------------------------

    async def _handle(self, event: Event) -> None:
        """Answers one event of the session."""
        try:
            match event:
                case HelloReceived(hello):
                    await self._challenge(hello)
                case ProofReceived(signature):
                    await self._welcome(signature)
                case ReadyReceived(ready):
                    await self._ready(ready)
                case Delivered():
                    self.delivered(event)
                case Ended():
                    raise LinkLost("T1013", "the agent said goodbye")
                case Stalled(error):
                    raise error
                case _:
                    pass
        except Refusal as refusal:
            await self._refuse(refusal)
            raise
        except CloudError as error:
            answer = Refusal(error.code, error.message, None if isinstance(error, RegistryError) else RETRY_STORE)
            await self._refuse(answer)
            raise answer from error

    async def _refuse(self, refusal: Refusal) -> None:
        conversation = self._talk
        log_refusal(refusal)
        conversation.session.refuse(refusal.code, refusal.message, refusal.retry_after)
        await conversation.sent()

    @property
    def _talk(self) -> Conversation:
        if self._conversation is None:
            raise RuntimeError("no conversation before run()")
        return self._conversation

    async def _challenge(self, hello: Hello) -> None:
        try:
            self._agent = await self._tenants.registry(lambda registry: registry.agent(hello.company))
        except RegistryError:
            self._agent = None  # answered like a wrong signature: strangers learn nothing about companies
        self._hello = hello
        self._nonce = self._runtime.new_id() + self._runtime.new_id()
        self._talk.session.challenge(self._nonce)

    async def _welcome(self, signature: bytes) -> None:
        """The signature first: nothing of the company is said to, or changed by, somebody without its key."""
        hello, agent = self._hello, self._agent
        if hello is None:
            raise RemoteProtocolError("T1005", "proof before hello")
        if agent is None or not _signed(agent, hello, self._nonce, signature):
            raise _not_enrolled()
        self._proved()
        tenant = self._held = await self._tenants.hold(hello.company)
        async with tenant.entering:
            self._grant = await self._enter(tenant, hello)
            channels = await tenant.write(lambda store: store.channels())
        self._talk.session.welcome(
            Welcome(
                protocol=min(PROTOCOL, hello.newest),
                software=self._settings.software,
                epoch=self._grant.epoch,
                next_secret=self._grant.next_secret,
                credit_bytes=self._settings.credit_bytes,
                credit_frames=self._settings.credit_frames,
                channels=channels,
            )
        )

    async def _enter(self, tenant: Tenant, hello: Hello) -> Grant:
        """Becomes the company's connection; the earlier one is fenced off and has stopped writing when this returns.

        An old secret means two installations: both stop, since either may be the wrong one.
        """
        if self._tenants.stopping:
            raise Refusal("C3017", "the service is stopping", STOPPING_RETRY)
        try:
            grant = await self._tenants.registry(
                lambda registry: registry.hello(hello.company, hello.installation, hello.secret, hello.epoch, hello.takeover)
            )
        except RegistryError as error:
            if tenant.connection is not None and error.code in STOPS_BOTH:
                await tenant.connection.fence(error.code, error.message, None)
            raise
        if tenant.connection is not None:
            await tenant.connection.fence("C3205", "a newer connection of this company has taken over", FENCED_RETRY)
        tenant.connection = self
        self._tenant = tenant
        return grant

    async def _ready(self, ready: Ready) -> None:
        tenant, grant, hello = self._tenant, self._grant, self._hello
        if tenant is None or grant is None or hello is None:
            raise RemoteProtocolError("T1005", "ready before welcome")
        if len(ready.streams) > MAX_CHANNELS:
            raise RemoteProtocolError("T1005", f"{len(ready.streams)} channels, where {MAX_CHANNELS} are allowed")
        await self._tenants.registry(lambda registry: registry.confirm(hello.company, grant.next_secret))
        announced = {stream.channel for stream in ready.streams}
        await tenant.write(lambda store: store.release(announced))
        for stream in ready.streams:
            name = stream.channel
            channel = _Channel(name, stream.journal_id, await tenant.write(_adopting(stream)))
            self._channels[name] = channel
            self._workers.append(asyncio.create_task(self._work(tenant, channel), name=f"ingest.{hello.company}.{name}"))
        self._workers.append(asyncio.create_task(self._keep_checking(hello.company), name=f"ingest.{hello.company}"))

    async def _keep_checking(self, company: str) -> None:
        """Ends the connection once the agent is revoked or replaced, or the company suspended, which other processes do."""
        while True:
            await asyncio.sleep(RECHECK)
            try:
                agent, known = await self._tenants.registry(
                    lambda registry: (registry.agent(company), registry.company(company))
                )
            except CloudError as error:  # of the registry's disk: no reason to end what works
                log.warning("the agent was not checked: %s", error, extra={"action": "agent.unchecked", "code": error.code})
                continue
            if known is None or known.state != "active":
                refusal = Refusal("C3208", "the company is suspended")
            elif agent != self._agent:
                refusal = _not_enrolled()
            else:
                continue
            log_refusal(refusal)
            await self._dismiss(refusal.code, refusal.message, refusal.retry_after)
            return

    # -- stream ----------------------------------------------------------------------------------------------------------

    def delivered(self, event: Delivered) -> None:
        """The next frame of a channel, in order."""
        channel = self._channels.get(event.channel)
        if channel is None:
            raise RemoteProtocolError("T1005", "a frame for a channel that was not announced", where=event.channel)
        staged = Staged(event.frame.seq, event.frame.crc, event.envelope)
        channel.add(event.frame.kind, staged, self._runtime.clock.monotonic())

    async def _work(self, tenant: Tenant, channel: _Channel) -> None:
        """Stages and applies one channel's frames; a fault ends the connection, the agent sends again what was not staged."""
        try:
            while True:
                await self._step(tenant, channel)
        except (CloudError, TransportError) as error:
            if self._reason is None and not self._over:  # of several channels the first decides
                self._reason = error
                self._talk.session.bye(error.code, error.message)
                await self._said()
                self._end()
        except Exception as error:  # noqa: BLE001  # the boundary of a connection: a defect ends it, not the service
            self._end(error)

    async def _step(self, tenant: Tenant, channel: _Channel) -> None:
        if channel.ends:
            await self._apply(tenant, channel, channel.take_window())
        elif channel.waiting_bytes >= min(STAGE_BYTES, self._settings.credit_bytes // 2) or not await self._more(channel):
            await self._stage(tenant, channel, channel.take_all())

    async def _more(self, channel: _Channel) -> bool:
        """Waits for the next frame; False when an unfinished window has waited long enough for one."""
        channel.arrived.clear()
        if not channel.waiting:
            await channel.arrived.wait()
            return True
        latest = channel.since + STAGE_LATEST - self._runtime.clock.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(STAGE_DELAY, latest))):
                await channel.arrived.wait()
        except TimeoutError:
            return False
        return True

    async def _stage(self, tenant: Tenant, channel: _Channel, frames: list[Staged]) -> None:
        """Frames are decoded once, when their window is applied: their checksums were compared when they came."""
        channel.staged = await tenant.write(lambda store: store.stage(channel.name, channel.journal_id, frames))
        self._ack(Ack(channel=channel.name, staged=channel.staged, applied=channel.applied))

    async def _apply(self, tenant: Tenant, channel: _Channel, tail: list[Staged]) -> None:
        progress = self._progress(channel)
        try:
            applied: Applied = await tenant.write(
                lambda store: store.apply(channel.name, channel.journal_id, tail, decode_stream, progress)
            )
            channel.staged = channel.applied = applied.seq
            self._ack(
                Ack(
                    channel=channel.name,
                    staged=applied.seq,
                    applied=applied.seq,
                    withheld=applied.withheld,
                    held=applied.held,
                )
            )
        finally:
            tenant.moved()  # also when we were fenced off meanwhile: it took effect all the same

    def _progress(self, channel: _Channel) -> Callable[[int], None]:
        """Says now and then that a long apply goes on, so that the agent's watchdog does not take it for a dead link."""
        loop = asyncio.get_running_loop()
        last = self._runtime.clock.monotonic()

        def report(rows: int) -> None:
            nonlocal last
            if self._interrupted:
                raise CloudError(
                    "C3017", "the service is stopping: the window is applied after the restart", where=channel.name
                )
            now = self._runtime.clock.monotonic()
            if now - last >= PROGRESS_EVERY:
                last = now
                note = Ack(channel=channel.name, staged=channel.staged, applied=channel.applied, progress=rows)
                loop.call_soon_threadsafe(self._ack, note)

        return report

    def _ack(self, ack: Ack) -> None:
        if not self._over:
            self._talk.session.ack(ack)
            self._talk.flush()


STOPS_BOTH = frozenset({"C3206", "C3207"})  # an old installation secret: there are two


def _adopting(stream: Stream) -> Callable[[CompanyStore], ChannelState]:
    return lambda store: store.adopt(stream.channel, stream.journal_id, stream.next_seq)


def log_refusal(refusal: Refusal) -> None:
    """For the operator."""
    log.warning("agent refused: %s %s", refusal.code, refusal, extra={"action": "agent.refused", "code": refusal.code})


def _not_enrolled() -> Refusal:
    return Refusal("C3204", "this installation's key is not the one enrolled for the company; enrol it again")


def _signed(agent: Agent, hello: Hello, nonce: bytes, signature: bytes) -> bool:
    if agent.revoked or agent.installation != hello.installation:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(agent.public_key).verify(
            signature, proof_text(nonce, hello.company, hello.installation)
        )
    except InvalidSignature:
        return False
    return True


__all__ = ["AgentConnection", "ChannelState", "IngestSettings", "decode_stream"]
