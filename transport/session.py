"""pure: the conversation between agent and cloud, one class for both sides; bytes in, events out; time enters only as `now`.

The shell hands every message of the link to `receive`, calls `tick` when `next_tick` is due, and sends what `outgoing`
returns, in order. What may happen when is the table `TRANSITIONS`, which stands by hand in docs/04-protocol.md too.

Guarantees. Frames of a channel are delivered once and in order, whatever the carrier doubles or reorders within the credit
window; a gap is never delivered over. Acknowledgements only grow. A peer that breaks a rule raises RemoteProtocolError, after
which only `bye` and `outgoing` make sense; a call that does not belong raises LocalProtocolError and changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from transport.codec import TYPES, decode_body, decode_frame, encode, is_stream, proof_text
from transport.errors import LocalProtocolError, RemoteProtocolError, TransportError
from transport.flow import Inbound, Outbound
from transport.frames import (
    MIB,
    OLDEST_PROTOCOL,
    PROTOCOL,
    Ack,
    Bye,
    Challenge,
    ChannelState,
    Control,
    Flag,
    Frame,
    Hello,
    Kind,
    Ping,
    Pong,
    Proof,
    Ready,
    Refuse,
    Stream,
    Welcome,
)


class Side(StrEnum):
    """Which end of the connection."""

    AGENT = "agent"
    CLOUD = "cloud"


class State(StrEnum):
    """How far the conversation has come; the same word on both sides for the same moment, a message apart."""

    NEW = "new"
    HELLO = "hello"
    CHALLENGED = "challenged"
    PROVED = "proved"
    WELCOMED = "welcomed"
    OPEN = "open"
    CLOSED = "closed"


class Limits(msgspec.Struct, frozen=True):
    """Seconds."""

    ping_interval: float = 15.0  # without hearing anything until we ask
    silence: float = 40.0  # without hearing anything, having asked, until the link counts as dead
    progress: float = 90.0  # with frames waiting and no acknowledgement that advances
    handshake: float = 30.0  # from the beginning to the state OPEN


# -- events ----------------------------------------------------------------------------------------------------------------


class HelloReceived(msgspec.Struct, frozen=True):
    """To the cloud: answer with `challenge` or `refuse`."""

    hello: Hello


class ChallengeReceived(msgspec.Struct, frozen=True):
    """To the agent: answer with `prove`."""

    nonce: bytes


class ProofReceived(msgspec.Struct, frozen=True):
    """To the cloud: verify it over `proof_text`, answer with `welcome` or `refuse`."""

    signature: bytes


class Welcomed(msgspec.Struct, frozen=True):
    """To the agent: store the new secret, decide for each channel (`transport.resume`), answer with `ready`."""

    welcome: Welcome


class ReadyReceived(msgspec.Struct, frozen=True):
    """To the cloud: frames follow."""

    ready: Ready


class Delivered(msgspec.Struct, frozen=True):
    """To the cloud: the channel's next frame. Its body is not yet decoded; kinds unknown here may be marked optional."""

    channel: str
    frame: Frame
    envelope: bytes


class Acked(msgspec.Struct, frozen=True):
    """To the agent: what is durable in the cloud, and what took effect."""

    ack: Ack


class RefusedByPeer(msgspec.Struct, frozen=True):
    """To the agent: the conversation is over."""

    refuse: Refuse


class Ended(msgspec.Struct, frozen=True):
    """The peer said goodbye: nothing more will come, nothing more is sent but our own goodbye."""

    bye: Bye


class Stalled(msgspec.Struct, frozen=True):
    """The link is as good as dead (T1007, T1008): cut it."""

    error: TransportError


Event: TypeAlias = (
    HelloReceived
    | ChallengeReceived
    | ProofReceived
    | Welcomed
    | ReadyReceived
    | Delivered
    | Acked
    | RefusedByPeer
    | Ended
    | Stalled
)


# -- the table -------------------------------------------------------------------------------------------------------------

STREAM = "STREAM"  # any kind from 32 to 63

_HANDSHAKE: dict[tuple[Side, State, str], State] = {
    (Side.AGENT, State.NEW, "hello()"): State.HELLO,
    (Side.AGENT, State.HELLO, "CHALLENGE"): State.CHALLENGED,
    (Side.AGENT, State.CHALLENGED, "prove()"): State.PROVED,
    (Side.AGENT, State.PROVED, "WELCOME"): State.WELCOMED,
    (Side.AGENT, State.WELCOMED, "ready()"): State.OPEN,
    (Side.AGENT, State.OPEN, "send()"): State.OPEN,
    (Side.AGENT, State.OPEN, "ACK"): State.OPEN,
    (Side.CLOUD, State.NEW, "HELLO"): State.HELLO,
    (Side.CLOUD, State.HELLO, "challenge()"): State.CHALLENGED,
    (Side.CLOUD, State.CHALLENGED, "PROOF"): State.PROVED,
    (Side.CLOUD, State.PROVED, "welcome()"): State.WELCOMED,
    (Side.CLOUD, State.WELCOMED, "READY"): State.OPEN,
    (Side.CLOUD, State.OPEN, STREAM): State.OPEN,
    (Side.CLOUD, State.OPEN, "ack()"): State.OPEN,
}
_LIVING = [state for state in State if state is not State.CLOSED]
_TALKING = [state for state in _LIVING if state is not State.NEW]
_RECEIVED = [*(kind.name for kind in Kind if not is_stream(kind)), STREAM]

TRANSITIONS: dict[tuple[Side, State, str], State] = {
    **_HANDSHAKE,
    **{(side, state, word): state for side in Side for state in _TALKING for word in ("PING", "PONG")},
    **{(side, state, word): State.CLOSED for side in Side for state in State for word in ("bye()", "BYE")},
    **{(Side.CLOUD, state, "refuse()"): State.CLOSED for state in _LIVING},
    **{(Side.AGENT, state, "REFUSE"): State.CLOSED for state in _LIVING},
    **{(side, State.CLOSED, word): State.CLOSED for side in Side for word in _RECEIVED},  # on its way when we closed: ignored
    (Side.CLOUD, State.CLOSED, "ack()"): State.CLOSED,  # the store finished after the goodbye: not sent
}
"""(side, state, kind received or call of our own side) -> state; anything else is an error."""


class Session:
    """One conversation, seen from one side."""

    def __init__(
        self,
        side: Side,
        now: float,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        credit_bytes: int = 8 * MIB,
        credit_frames: int = 512,
    ) -> None:
        """`credit_bytes` and `credit_frames`: the most that the cloud may grant a channel; without meaning for the agent."""
        self.side = side
        self.state = State.NEW
        self.limits = limits
        self._credit = (credit_bytes, credit_frames)
        self._failed = False
        self._control: deque[bytes] = deque()
        self._stream: deque[bytes] = deque()
        self._known: dict[str, ChannelState] = {}  # cloud: what the welcome said
        self._inbound: dict[str, Inbound] = {}
        self._outbound: dict[str, Outbound] = {}
        self._began = self._heard = self._now = self._moved = now
        self._asked: float | None = None  # when the ping went out that nothing has answered yet
        self._pings = 0
        self._takes: dict[type[Any], Callable[[Any], list[Event]]] = {
            Hello: self._take_hello,
            Challenge: lambda m: [ChallengeReceived(m.nonce)],
            Proof: lambda m: [ProofReceived(m.signature)],
            Welcome: self._take_welcome,
            Ready: self._take_ready,
            Refuse: lambda m: [RefusedByPeer(m)],
            Bye: self._take_bye,
            Ping: self._take_ping,
            Pong: lambda _: [],
            Ack: self._take_ack,
        }

    # -- bytes and time ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take one message of the link. Raises RemoteProtocolError: end this connection."""
        if self._failed:
            raise LocalProtocolError("T1005", "the conversation has failed; nothing more is received")
        try:
            return self._receive(data, now)
        except RemoteProtocolError:
            self._failed = True
            raise

    def _receive(self, data: bytes, now: float) -> list[Event]:
        frame = decode_frame(data)
        self._now = self._heard = now
        self._asked = None
        if is_stream(frame.kind):
            return self._take_frame(frame, data) if self._moves(STREAM) else []
        message = decode_body(frame)
        if message is None:
            return []  # of a newer peer, and optional
        if self._moves(Kind(frame.kind).name):
            return self._takes[type(message)](message)
        return [Ended(message)] if isinstance(message, Bye) else []

    def outgoing(self) -> list[bytes]:
        """Drain what is to be sent, in order: control before stream."""
        out = [*self._control, *self._stream]
        self._control.clear()
        self._stream.clear()
        return out

    @property
    def unsent(self) -> int:
        """Control messages that `outgoing` has not handed over yet."""
        return len(self._control)

    def tick(self, now: float) -> list[Event]:
        """Look at the clock: ask whether the peer is there, notice that it is not. After `Stalled` the link is to be cut."""
        self._now = now
        if self._failed or self.state is State.CLOSED:
            return []
        if (error := self._stall(now)) is not None:
            self._failed = True
            return [Stalled(error)]
        if self.state is State.OPEN and self._asked is None and now - self._heard >= self.limits.ping_interval:
            self._asked = now
            self._pings += 1
            self._say(Ping(self._pings))
        return []

    def next_tick(self) -> float:
        """When `tick` is due."""
        if self._failed or self.state is State.CLOSED:
            return self._now + self.limits.silence
        if self.state is not State.OPEN:
            return self._began + self.limits.handshake
        dues = [self._heard + self.limits.ping_interval if self._asked is None else self._asked + self._patience()]
        if self._waiting():
            dues.append(self._moved + self.limits.progress)
        return min(dues)

    def _stall(self, now: float) -> TransportError | None:
        if self.state is not State.OPEN:
            if now - self._began < self.limits.handshake:
                return None
            return TransportError("T1008", f"the handshake was not complete within {self.limits.handshake:g} s")
        # Counted from the question, not from the last answer: a machine that slept has to ask first.
        if self._asked is not None and now - self._asked >= self._patience():
            return TransportError("T1008", f"nothing was heard from the other side for {now - self._heard:.0f} s")
        if self._waiting() and now - self._moved >= self.limits.progress:
            return TransportError("T1007", f"frames wait for an acknowledgement and none came for {now - self._moved:.0f} s")
        return None

    def _patience(self) -> float:
        return max(0.0, self.limits.silence - self.limits.ping_interval)

    def _waiting(self) -> bool:
        """Whether any channel waits. One long apply holds up the company's other channels, so they share one watchdog."""
        return any(channel.waiting for channel in self._outbound.values())

    # -- agent -------------------------------------------------------------------------------------------------------------

    def hello(self, hello: Hello) -> None:
        """Begin."""
        self._speak("hello()", hello)

    def prove(self, signature: bytes) -> None:
        """Answer the challenge."""
        self._speak("prove()", Proof(signature))

    def ready(self, streams: list[Stream]) -> None:
        """Say how each channel continues; the new secret is stored durably."""
        self._check("ready()")
        self._speak("ready()", Ready(streams))
        self._outbound = {s.channel: Outbound(s.journal_id, s.next_seq, *self._credit) for s in streams}
        self._moved = self._now  # the time of the last `receive` or `tick`: at most a ping interval ago

    def room(self, channel: str) -> int:
        """Bytes that the channel's credits still allow; 0: wait for an ack."""
        outbound = self._outbound.get(channel)
        return outbound.room() if outbound is not None and self._flows() else 0

    def can_send(self, channel: str, size: int) -> bool:
        """Tell whether the channel's credits allow an envelope of that size; one beyond them all goes alone."""
        outbound = self._outbound.get(channel)
        return outbound is not None and self._flows() and outbound.takes(size)

    def _flows(self) -> bool:
        return self.state is State.OPEN and not self._failed

    def send(self, channel: str, seq: int, envelope: bytes) -> None:
        """Queue the channel's next frame, as `can_send` allows."""
        self._check("send()")
        outbound = self._outbound.get(channel)
        if outbound is None:
            raise LocalProtocolError("T1005", "the channel was not announced in READY", where=channel)
        if not self._waiting():
            self._moved = self._now  # the watchdog counts from the first frame that waits
        outbound.send(seq, len(envelope), channel)
        self._stream.append(envelope)

    # -- cloud -------------------------------------------------------------------------------------------------------------

    def challenge(self, nonce: bytes) -> None:
        """Answer HELLO."""
        self._speak("challenge()", Challenge(nonce))

    def welcome(self, welcome: Welcome) -> None:
        """Answer a proof that holds; frames may come as soon as READY has."""
        self._check("welcome()")
        if welcome.credit_bytes > self._credit[0] or welcome.credit_frames > self._credit[1]:
            raise LocalProtocolError("T1005", "a welcome that grants more credit than the session was made for")
        self._speak("welcome()", welcome)
        self._credit = (welcome.credit_bytes, welcome.credit_frames)
        self._known = {state.channel: state for state in welcome.channels}

    def refuse(self, code: str, message: str, retry_after: float | None) -> None:
        """End the conversation: no. `retry_after` in seconds; None: until a person acts."""
        self._speak("refuse()", Refuse(code, message, retry_after))

    def ack(self, ack: Ack) -> None:
        """Say what is durable and what took effect. A note of progress that comes late, behind a newer ack, is dropped."""
        self._check("ack()")
        if self.state is State.CLOSED:
            return
        inbound = self._inbound.get(ack.channel)
        if inbound is None:
            raise LocalProtocolError("T1005", "an ack for a channel that was not announced", where=ack.channel)
        if inbound.ack(ack):
            self._say(ack)

    # -- both --------------------------------------------------------------------------------------------------------------

    def bye(self, code: str = "", message: str = "") -> None:
        """Say goodbye; frames not yet sent stay where they are stored. Nothing happens when the conversation is over."""
        if self.state is not State.CLOSED:
            self._speak("bye()", Bye(code, message))
            self._stream.clear()

    def _check(self, word: str) -> State:
        state = TRANSITIONS.get((self.side, self.state, word))
        if state is None or (self._failed and state is not State.CLOSED):
            raise LocalProtocolError("T1005", f"{word} in the state {self.state} of the {self.side}")
        return state

    def _speak(self, word: str, message: Control) -> None:
        state = self._check(word)
        self._say(message)
        self.state = state

    def _say(self, message: Control) -> None:
        self._control.append(encode(message))

    # -- what the peer says ----------------------------------------------------------------------------------------------------

    def _moves(self, word: str) -> bool:
        """Move on as the table says; False when the conversation is over and the message does not count."""
        state = TRANSITIONS.get((self.side, self.state, word))
        if state is None:
            raise RemoteProtocolError("T1005", f"{word} in the state {self.state} of the {self.side}")
        over = self.state is State.CLOSED
        self.state = state
        return not over

    def _take_hello(self, hello: Hello) -> list[Event]:
        if hello.newest < OLDEST_PROTOCOL or hello.oldest > PROTOCOL:
            error = version_refusal(hello)
            self.refuse(error.code, error.message, None)
            raise error
        return [HelloReceived(hello)]

    def _take_welcome(self, welcome: Welcome) -> list[Event]:
        if not OLDEST_PROTOCOL <= welcome.protocol <= PROTOCOL:
            raise RemoteProtocolError(
                "T1004", f"the cloud chose version {welcome.protocol} of the protocol, this agent speaks {_spoken()}"
            )
        if welcome.credit_bytes <= 0 or welcome.credit_frames <= 0:
            raise RemoteProtocolError("T1005", "a welcome without credit")
        self._credit = (welcome.credit_bytes, welcome.credit_frames)
        return [Welcomed(welcome)]

    def _take_ready(self, ready: Ready) -> list[Event]:
        for stream in ready.streams:
            known = self._known.get(stream.channel)
            if stream.channel in self._inbound:
                raise RemoteProtocolError("T1005", "READY names a channel twice", where=stream.channel)
            if not stream.channel or not stream.journal_id or stream.next_seq < 1:
                raise RemoteProtocolError("T1006", "READY without channel, journal id or seq", where=stream.channel)
            if known is not None and known.journal_id == stream.journal_id and stream.next_seq != known.staged + 1:
                problem = f"READY continues at {stream.next_seq}, staged is {known.staged}"
                raise RemoteProtocolError("T1006", problem, where=stream.channel)
            applied = known.applied if known is not None and known.journal_id == stream.journal_id else stream.next_seq - 1
            self._inbound[stream.channel] = Inbound(stream, applied, *self._credit)
        return [ReadyReceived(ready)]

    def _take_frame(self, frame: Frame, envelope: bytes) -> list[Event]:
        if frame.kind not in TYPES and not frame.flags & Flag.OPTIONAL:
            raise RemoteProtocolError("T1001", f"a frame of the unknown kind {frame.kind}", where=frame.channel)
        inbound = self._inbound.get(frame.channel)
        if inbound is None:
            raise RemoteProtocolError("T1005", "a frame for a channel that was not announced", where=frame.channel)
        return [Delivered(frame.channel, *found) for found in inbound.take(frame, envelope)]

    def _take_ack(self, ack: Ack) -> list[Event]:
        outbound = self._outbound.get(ack.channel)
        if outbound is None:
            raise RemoteProtocolError("T1005", "an ack for a channel that was not announced", where=ack.channel)
        if outbound.take(ack):
            self._moved = self._now
        return [Acked(ack)]

    def _take_ping(self, ping: Ping) -> list[Event]:
        self._say(Pong(ping.token))
        return []

    def _take_bye(self, bye: Bye) -> list[Event]:
        self._stream.clear()
        self._say(Bye())
        return [Ended(bye)]


def version_refusal(hello: Hello) -> RemoteProtocolError:
    """Say, naming both, that the two sides have no version in common and which is to be upgraded."""
    older = "the agent" if hello.newest < OLDEST_PROTOCOL else "the cloud"
    asked = str(hello.newest) if hello.oldest == hello.newest else f"{hello.oldest} to {hello.newest}"
    return RemoteProtocolError(
        "T1004", f"the agent speaks version {asked} of the protocol, the cloud speaks {_spoken()}; upgrade {older}"
    )


def _spoken() -> str:
    return str(PROTOCOL) if OLDEST_PROTOCOL == PROTOCOL else f"{OLDEST_PROTOCOL} to {PROTOCOL}"


__all__ = [
    "TRANSITIONS",
    "Acked",
    "ChallengeReceived",
    "Delivered",
    "Ended",
    "Event",
    "HelloReceived",
    "Limits",
    "ProofReceived",
    "ReadyReceived",
    "RefusedByPeer",
    "Session",
    "Side",
    "Stalled",
    "State",
    "Welcomed",
    "proof_text",
]
