"""An agent without journal and ERP: it says what the test tells it to, through the real session, to a real cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.store.registry import Registry
from transport.codec import encode, proof_text
from transport.conversation import Conversation
from transport.frames import PROTOCOL, Ack, Hello, Refuse, Stream, StreamMessage, Welcome, WindowEnd
from transport.runtime import Clock, Link
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

E = TypeVar("E")
COMPANY = "acme"
JOURNAL = b"journal-of-tests"
END = WindowEnd(b"position", 0, 1, 0, "2026-03-01T00:00:00Z", [])


class ScriptedAgent:
    """One installation. `connect` is one connection, which ends when the link does."""

    def __init__(self, company: str = COMPANY) -> None:
        self.company = company
        self.key = Ed25519PrivateKey.generate()
        self.installation = b"i" * 16
        self.secret = b""
        self.epoch = 0

    def enrol(self, registry: Registry) -> None:
        registry.add_company(self.company)
        code = registry.new_enrolment_code(self.company, 3600)
        registry.enrol(code, self.installation, self.key.public_key().public_bytes_raw())

    def connect(self, link: Link, clock: Clock, *channels: str, limits: Limits = Limits()) -> AgentTalk:  # noqa: B008
        return AgentTalk(self, link, clock, channels or ("hr",), limits)


class AgentTalk:
    """One connection of the agent: everything that was heard, in order."""

    def __init__(self, agent: ScriptedAgent, link: Link, clock: Clock, channels: tuple[str, ...], limits: Limits) -> None:
        self._agent = agent
        self._channels = channels
        self.session = Session(Side.AGENT, clock.monotonic(), limits)
        self.conversation = Conversation(self.session, link, clock)
        self.heard: list[Event] = []
        self.seq = dict.fromkeys(channels, 0)
        self._news = asyncio.Event()
        self.session.hello(
            Hello(PROTOCOL, PROTOCOL, "test", agent.company, agent.installation, agent.secret, agent.epoch, takeover=False)
        )
        self.task = asyncio.create_task(self.conversation.run(self._handle), name="scripted agent")
        self.task.add_done_callback(lambda _: self._news.set())

    async def _handle(self, event: Event) -> None:
        self.heard.append(event)
        self._news.set()
        match event:
            case ChallengeReceived(nonce):
                self.session.prove(self._agent.key.sign(proof_text(nonce, self._agent.company, self._agent.installation)))
            case Welcomed(welcome):
                self._ready(welcome)
            case RefusedByPeer() | Ended():
                raise ConnectionError("it is over")
            case Stalled(error):
                raise error

    def _ready(self, welcome: Welcome) -> None:
        self._agent.secret, self._agent.epoch = welcome.next_secret, welcome.epoch
        staged = {state.channel: state.staged for state in welcome.channels}
        self.seq = {name: staged.get(name, 0) for name in self._channels}
        self.session.ready([Stream(name, JOURNAL, self.seq[name] + 1) for name in self._channels])

    def say(self, *messages: StreamMessage, channel: str = "hr") -> None:
        """The channel's next frames."""
        for message in messages:
            self.seq[channel] += 1
            envelope = encode(message, channel=channel, journal_id=JOURNAL, seq=self.seq[channel])
            self.session.send(channel, self.seq[channel], envelope)
        self.conversation.flush()

    async def until(self, found: Callable[[list[Event]], E | None]) -> E:
        """What `found` finds in what was heard."""
        async with asyncio.timeout(20):
            while (result := found(self.heard)) is None:
                assert not self.task.done(), f"the connection ended; heard: {self.heard}"
                self._news.clear()
                await self._news.wait()
        return result

    async def welcome(self) -> Welcome:
        return await self.until(lambda heard: next((e.welcome for e in heard if isinstance(e, Welcomed)), None))

    async def applied(self, seq: int, channel: str = "hr") -> Ack:
        def found(heard: list[Event]) -> Ack | None:
            acks = (e.ack for e in heard if isinstance(e, Acked))
            return next((a for a in acks if a.channel == channel and a.applied >= seq), None)

        return await self.until(found)

    async def over(self) -> Any:
        """The refusal or goodbye it ended with; None: it was cut."""
        async with asyncio.timeout(20):
            await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.exception()
        words = [
            e.refuse if isinstance(e, RefusedByPeer) else e.bye for e in self.heard if isinstance(e, RefusedByPeer | Ended)
        ]
        return words[0] if words else None


def refused(words: Any) -> str:
    """The code of a refusal."""
    assert isinstance(words, Refuse), words
    return words.code
