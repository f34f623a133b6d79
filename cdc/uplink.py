"""shell: the one conversation of a company with the cloud: proves who we are, resumes each channel, sends frames, takes acks.

One call of `Uplink.connect_once` is one connection; the supervisor decides about the next. Frames leave the journal in order
per channel and are trimmed when the cloud has applied them; channels take turns by weight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc.errors import CompanyStopped, Transient
from cdc.journal import Identity, Journal, JournalChannel
from transport.client import NotOurs, Unreachable, Untrusted
from transport.codec import decode_frame, proof_text
from transport.conversation import Conversation, LinkLost
from transport.errors import Refused, RemoteProtocolError, TransportError
from transport.frames import KIB, OLDEST_PROTOCOL, PROTOCOL, Ack, ChannelState, Hello, Refuse, Stream, Welcome
from transport.resume import Adopt, Continue, resume, staged_check
from transport.runtime import Executor, Link, Runtime
from transport.session import (
    Acked,
    ChallengeReceived,
    Ended,
    Event,
    Limits,
    RefusedByPeer,
    Session,
    Side,
    Stalled,
    Welcomed,
)
from transport.tasks import cancel_all, first_of_all, to_the_end

TURN_BYTES = 256 * KIB  # of frames read from the journal per turn and unit of weight
TURN_FRAMES = 64


class LinkReport(msgspec.Struct, frozen=True):
    """What the uplink tells the status board."""

    state: str  # connecting, open, closed, refused
    code: str = ""
    message: str = ""
    epoch: int = 0


class AckReport(msgspec.Struct, frozen=True):
    """What the cloud last said of one channel."""

    channel: str
    staged: int
    applied: int
    withheld: int
    held: tuple[str, ...]
    at: float  # monotonic seconds


class Reports(Protocol):
    """Where the uplink's news go."""

    def link(self, report: LinkReport) -> None:
        """The link changed its state."""
        ...

    def ack(self, report: AckReport) -> None:
        """The cloud acknowledged."""
        ...


class UplinkSettings(NamedTuple):
    """What the configuration says of the conversation."""

    company: str
    software: str
    weights: Mapping[str, int]
    limits: Limits = Limits()


class Uplink:
    """The company's end of the conversation.

    `connected` is set while frames may flow; `adopted` is called with a channel whose journal was restarted from the cloud's
    position, so that capture starts from there.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        journal: Journal,
        executor: Executor,
        dial: Callable[[], Awaitable[Link]],
        runtime: Runtime,
        reports: Reports,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.executor = executor
        self.dial = dial
        self.runtime = runtime
        self.reports = reports
        self.work = asyncio.Event()
        self.taking_over = False
        self.progressed = False  # the cloud applied something since the connection began
        self.welcomed = asyncio.Event()  # the cloud has said, at least once, what it has
        self.acked = asyncio.Event()  # set at each ack; whoever waits for room or progress clears it

    def wake(self) -> None:
        """The journal has something new."""
        self.work.set()

    def take_over(self) -> None:
        """A person said that this installation is the one: the next hello says so."""
        self.taking_over = True

    async def run(self, stop: asyncio.Event) -> None:
        """One connection, until it ends or `stop` is set. Raises Transient, or CompanyStopped when a person must act."""
        identity = await self.executor.run(self.journal.identity)
        if identity is None:
            raise CompanyStopped(
                "A2601", "this company is not enrolled: run `cdc enrol COMPANY CODE`", where=self.settings.company
            )
        self.progressed = False
        self.reports.link(LinkReport(state="connecting"))
        try:
            await self._connection(identity, stop)
        except Refused:
            raise
        except TransportError as error:
            self.reports.link(LinkReport(state="closed", code=error.code, message=error.message))
            raise self._translate(error) from error
        except (ConnectionError, TimeoutError) as error:
            self.reports.link(LinkReport(state="closed", code="T1013", message=type(error).__name__))
            raise self._lost("A2602", f"the connection was lost: {type(error).__name__}") from error

    def _translate(self, error: TransportError) -> Transient:
        code = {Untrusted: "A2603", NotOurs: "A2604", Unreachable: "A2602"}.get(type(error), "A2602")
        if isinstance(error, RemoteProtocolError):
            code = "A2605"
        return self._lost(code, str(error))

    def _lost(self, code: str, message: str) -> Transient:
        return Transient(code, message, where=self.settings.company, progressed=self.progressed)

    async def _connection(self, identity: Identity, stop: asyncio.Event) -> None:
        link = await self.dial()
        session = Session(Side.AGENT, self.runtime.clock.monotonic(), self.settings.limits)
        conversation = Conversation(session, link, self.runtime.clock)
        talk = _Talk(self, identity, conversation)
        session.hello(
            Hello(
                oldest=OLDEST_PROTOCOL,
                newest=PROTOCOL,
                software=self.settings.software,
                company=identity.company,
                installation=identity.installation,
                secret=identity.secret,
                epoch=identity.epoch,
                takeover=self.taking_over,
            )
        )
        tasks = [
            asyncio.create_task(conversation.run(talk.handle), name="uplink.conversation"),
            asyncio.create_task(talk.feed(), name="uplink.feed"),
            asyncio.create_task(_stopping(stop, conversation), name="uplink.stop"),
        ]
        try:
            await first_of_all(tasks)
            if not stop.is_set():
                raise LinkLost("T1013", "the link ended", where=identity.cloud)
            self.reports.link(LinkReport(state="closed"))
        except (TransportError, ConnectionError):
            if not stop.is_set():
                raise
            self.reports.link(LinkReport(state="closed"))  # the cloud's goodbye was faster than ours
        finally:
            link.abort()
            await cancel_all(tasks)
            await to_the_end(link.wait_closed())


async def _stopping(stop: asyncio.Event, conversation: Conversation) -> None:
    await stop.wait()
    await conversation.end()


class _Talk:
    """The agent's answers within one connection."""

    def __init__(self, uplink: Uplink, identity: Identity, conversation: Conversation) -> None:
        self._uplink = uplink
        self._identity = identity
        self._conversation = conversation
        self._session = conversation.session
        self._sent: dict[str, int] = {}  # channel -> last seq handed to the session
        self._journal_ids: dict[str, bytes] = {}
        self._open = asyncio.Event()

    async def handle(self, event: Event) -> None:
        """Answers one event of the session."""
        match event:
            case ChallengeReceived(nonce):
                self._prove(nonce)
            case Welcomed(welcome):
                await self._welcomed(welcome)
            case Acked(ack):
                await self._acked(ack)
            case RefusedByPeer(refuse):
                await self._refused(refuse)
            case Ended(bye):
                raise LinkLost("T1013", bye.message or "the cloud said goodbye", where=self._identity.cloud)
            case Stalled(error):
                raise error
            case _:
                pass

    def _prove(self, nonce: bytes) -> None:
        key = Ed25519PrivateKey.from_private_bytes(self._identity.private_key)
        self._session.prove(key.sign(proof_text(nonce, self._identity.company, self._identity.installation)))
        self._conversation.flush()

    async def _welcomed(self, welcome: Welcome) -> None:
        """Stores the new secret first: whoever knows only the old one is no longer us."""
        up = self._uplink
        await up.executor.run(lambda: up.journal.remember(welcome.next_secret, welcome.epoch, self._identity.installation))
        up.taking_over = False
        states = {state.channel: state for state in welcome.channels}
        streams = await up.executor.run(lambda: _resume(up.journal, up.settings.weights, states))
        self._session.ready(streams)
        for stream in streams:
            self._sent[stream.channel] = stream.next_seq - 1
            self._journal_ids[stream.channel] = stream.journal_id
        self._conversation.flush()
        self._open.set()
        up.welcomed.set()
        up.reports.link(LinkReport(state="open", epoch=welcome.epoch))
        up.wake()

    async def _acked(self, ack: Ack) -> None:
        up = self._uplink
        up.progressed |= await up.executor.run(lambda: _acknowledge(up.journal, ack))
        up.reports.ack(
            AckReport(ack.channel, ack.staged, ack.applied, ack.withheld, tuple(ack.held), up.runtime.clock.monotonic())
        )
        up.acked.set()
        up.wake()

    async def _refused(self, refuse: Refuse) -> None:
        up = self._uplink
        if await self._enrolled_anew():
            raise LinkLost("T1013", "the company was enrolled anew: the new identity connects", where=up.settings.company)
        up.reports.link(LinkReport(state="refused", code=refuse.code, message=refuse.message))
        where = up.settings.company
        if refuse.retry_after is None:
            raise CompanyStopped("A2606", f"the cloud refused this agent ({refuse.code}): {refuse.message}", where=where)
        raise Refused(refuse.code, refuse.message, retry_after=refuse.retry_after)

    async def _enrolled_anew(self) -> bool:
        """Whether `cdc enrol` gave the company another identity since this connection began."""
        current = await self._uplink.executor.run(self._uplink.journal.identity)
        return current is not None and current.installation != self._identity.installation

    async def feed(self) -> None:
        """Journal to session, while credits last, channel by channel in turn."""
        await self._open.wait()
        up = self._uplink
        while True:
            up.work.clear()
            moved = [await self._turn(channel, weight) for channel, weight in up.settings.weights.items()]
            if any(moved):
                self._conversation.flush()
            else:
                await up.work.wait()

    async def _turn(self, channel: str, weight: int) -> bool:
        """Hands one turn's frames of one channel to the session; False if there was nothing to send or no room."""
        up = self._uplink
        if channel not in self._sent:
            return False
        room = self._session.room(channel)
        if room <= 0:
            return False
        after, size = self._sent[channel], min(room, TURN_BYTES * weight)
        stored = await up.executor.run(lambda: up.journal.read(channel, after, size, TURN_FRAMES))
        for seq, envelope in stored:
            if not self._session.can_send(channel, len(envelope)):
                break
            self._session.send(channel, seq, envelope)
            self._sent[channel] = seq
        return self._sent[channel] > after


def _resume(journal: Journal, channels: Mapping[str, int], states: Mapping[str, ChannelState]) -> list[Stream]:
    """Decides for each channel how it goes on, and makes the journal so. Channels that are no longer declared go."""
    for kept in journal.channels():
        if kept.channel not in channels:
            journal.forget(kept.channel)
    return [_resume_channel(journal, name, states.get(name)) for name in channels]


def _resume_channel(journal: Journal, name: str, state: ChannelState | None) -> Stream:
    kept = journal.channel(name)
    at_applied = check = None
    if kept is not None and state is not None and kept.first_seq - 1 <= state.applied <= state.staged <= kept.last_seq:
        at_applied = journal.position_at(name, state.applied)
        check = staged_check(_checksums(journal, name, state.applied, state.staged))
    match resume(kept, state, at_applied, check):
        case Continue(next_seq) if kept is not None:
            if state is not None:  # the last ack may have been lost with the link
                journal.staged(name, state.staged)
                journal.applied(name, state.applied)
            return Stream(name, kept.journal_id, next_seq)
        case Adopt(position):
            return Stream(name, journal.restart(name, position).journal_id, 1)
        case _:
            return Stream(name, journal.restart(name, b"").journal_id, 1)


def _checksums(journal: Journal, channel: str, after: int, upto: int) -> Iterator[int]:
    """Of the frames after `after` up to `upto`, a turn's worth in memory at a time."""
    while after < upto:
        for seq, envelope in journal.read(channel, after, TURN_BYTES, TURN_FRAMES):
            if seq > upto:
                return
            yield decode_frame(envelope).crc
            after = seq


def _acknowledge(journal: Journal, ack: Ack) -> bool:
    """Return whether the cloud applied more than it had."""
    before = journal.channel(ack.channel)
    journal.staged(ack.channel, ack.staged)
    journal.applied(ack.channel, ack.applied)
    return before is None or ack.applied > before.applied


__all__ = ["AckReport", "JournalChannel", "LinkReport", "Reports", "Uplink", "UplinkSettings"]
