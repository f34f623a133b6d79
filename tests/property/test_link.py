"""Two sessions over a link that may end anywhere and, in between, lose, double and reorder: nothing lost, nothing twice.

The agent keeps frames durably, the cloud staged frames and what took effect; both lose everything else whenever the link ends,
and now and then a folder is restored or a journal lost. The cloud's copy must be the list of all changes, each once, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.codec import decode, decode_body, decode_frame, encode
from transport.errors import RemoteProtocolError
from transport.frames import PROTOCOL, Ack, Batch, ChannelState, Hello, Message, Stream, Welcome, WindowEnd
from transport.resume import Adopt, Continue, Fresh, resume, staged_check
from transport.session import (
    Acked,
    ChallengeReceived,
    Delivered,
    Ended,
    HelloReceived,
    Limits,
    ProofReceived,
    ReadyReceived,
    RefusedByPeer,
    Session,
    Side,
    Stalled,
    State,
    Welcomed,
)

CHANNELS = ("hr", "shop")
CREDIT_BYTES, CREDIT_FRAMES = 600, 5


def rows_read(position: bytes) -> int:
    """A position is the number of changes read, and a nonce."""
    return int(position.split()[0]) if position else 0


@dataclass
class Erp:
    """What has happened in the database: one number after the other."""

    changes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0))


@dataclass
class Journal:
    """One channel of the agent, durable."""

    journal_id: bytes
    base_position: bytes = b""
    position: bytes = b""
    first_seq: int = 1
    last_seq: int = 0
    frames: dict[int, bytes] = field(default_factory=dict)
    staged: int = 0
    applied: int = 0

    def window(self, channel: str, position: bytes, messages: list[Message]) -> None:
        for message in messages:
            self.last_seq += 1
            self.frames[self.last_seq] = encode(message, channel=channel, journal_id=self.journal_id, seq=self.last_seq)
        self.position = position

    def acknowledge(self, ack: Ack) -> None:
        assert self.staged <= ack.staged <= self.last_seq
        assert self.applied <= ack.applied
        self.staged, self.applied = ack.staged, ack.applied
        while self.first_seq <= ack.applied:
            end = decode(self.frames.pop(self.first_seq))
            if isinstance(end, WindowEnd):
                self.base_position = end.position
            self.first_seq += 1

    def position_at(self, seq: int) -> bytes | None:
        if seq not in self.frames:
            return None
        end = decode(self.frames[seq])
        return end.position if isinstance(end, WindowEnd) else b""

    def check(self, state: ChannelState) -> int | None:
        seqs = range(state.applied + 1, state.staged + 1)
        return staged_check(decode_frame(self.frames[seq]).crc for seq in seqs) if all(s in self.frames for s in seqs) else None

    def copy(self) -> Journal:
        return Journal(**{**self.__dict__, "frames": dict(self.frames)})


class Agent:
    """Durable journals and one connection at a time."""

    def __init__(self, erp: Erp, random: Random) -> None:
        self.erp = erp
        self.random = random
        self.journals: dict[str, Journal] = {}
        self.session: Session | None = None
        self.next: dict[str, int] = {}

    def new_id(self) -> bytes:
        return self.random.randbytes(16)

    def capture(self, channel: str) -> None:
        """The next window: from the journal's position to now, as a few batches."""
        journal = self.journals.setdefault(channel, Journal(self.new_id()))
        done, now = rows_read(journal.position), self.erp.changes[channel]
        if done == now:
            return
        rows = list(range(done + 1, now + 1))
        cut = self.random.randint(0, len(rows))
        batches: list[Message] = [
            Batch(channel, b"s", 0, bytes(len(part)), [list(part)], [[f"{self.random.random()}"] * len(part)])
            for part in (rows[:cut], rows[cut:])
            if part
        ]
        position = f"{now} {self.random.randrange(10**9)}".encode()
        journal.window(channel, position, [*batches, WindowEnd(position, done, now, len(rows), "2026-01-01T00:00:00Z")])

    def connect(self) -> None:
        self.session = Session(Side.AGENT, 0.0)
        self.next = {}
        self.session.hello(Hello(PROTOCOL, PROTOCOL, "agent", "acme", b"i", b"s", 0))

    def handle(self, event: Any) -> None:
        assert self.session is not None
        match event:
            case ChallengeReceived():
                self.session.prove(b"g")
            case Welcomed(welcome):
                states = {state.channel: state for state in welcome.channels}
                self.session.ready([self.resume(channel, states.get(channel)) for channel in CHANNELS])
            case Acked(ack):
                self.journals[ack.channel].acknowledge(ack)
            case Ended() | RefusedByPeer() | Stalled():
                raise AssertionError(event)

    def resume(self, channel: str, state: ChannelState | None) -> Stream:
        journal = self.journals.get(channel)
        known = journal.position_at(state.applied) if journal is not None and state is not None else None
        check = journal.check(state) if journal is not None and state is not None else None
        match resume(journal, state, known, check):
            case Continue(next_seq):
                assert journal is not None
                if state is not None:  # an ack may have been lost with the last link
                    journal.acknowledge(Ack(channel, state.staged, max(state.applied, journal.applied)))
                start = next_seq
            case Adopt(position):
                journal, start = Journal(self.new_id(), position, position), 1
            case Fresh():
                journal, start = Journal(self.new_id()), 1
        self.journals[channel] = journal
        self.next[channel] = start
        return Stream(channel, journal.journal_id, start)

    def feed(self) -> None:
        session = self.session
        if session is None or session.state is not State.OPEN:
            return
        for channel, seq in self.next.items():
            journal = self.journals[channel]
            while seq <= journal.last_seq and session.can_send(channel, len(journal.frames[seq])):
                session.send(channel, seq, journal.frames[seq])
                seq += 1
            self.next[channel] = seq


class Cloud:
    """Durable staged frames, position and copy; one connection at a time."""

    def __init__(self) -> None:
        self.states: dict[str, ChannelState] = {}
        self.staged: dict[str, dict[int, bytes]] = {channel: {} for channel in CHANNELS}
        self.copy: dict[str, list[int]] = {channel: [] for channel in CHANNELS}
        self.waiting: dict[str, dict[int, bytes]] = {}
        self.session: Session | None = None

    def connect(self) -> None:
        self.session = Session(Side.CLOUD, 0.0, Limits(), CREDIT_BYTES, CREDIT_FRAMES)
        self.waiting = {channel: {} for channel in CHANNELS}

    def handle(self, event: Any) -> None:
        assert self.session is not None
        match event:
            case HelloReceived():
                self.session.challenge(b"n")
            case ProofReceived():
                states = [self.checked(state) for state in self.states.values()]
                self.session.welcome(Welcome(PROTOCOL, "cloud", 1, b"t", CREDIT_BYTES, CREDIT_FRAMES, states))
            case ReadyReceived(ready):
                for stream in ready.streams:
                    self.adopt(stream)
            case Delivered(channel, frame, envelope):
                assert decode_body(frame) is not None
                self.waiting[channel][frame.seq] = envelope

    def checked(self, state: ChannelState) -> ChannelState:
        staged = self.staged[state.channel]
        return msgspec.structs.replace(state, check=staged_check(decode_frame(staged[seq]).crc for seq in sorted(staged)))

    def adopt(self, stream: Stream) -> None:
        known = self.states.get(stream.channel)
        if known is None or known.journal_id != stream.journal_id:
            self.staged[stream.channel].clear()
            before = stream.next_seq - 1
            position = known.position if known else b""
            self.states[stream.channel] = ChannelState(stream.channel, stream.journal_id, before, before, position)

    def work(self, channel: str) -> None:
        """Stage what waits and apply the windows that are complete; durable from here on, acknowledged afterwards."""
        waiting, staged = self.waiting.get(channel), self.staged[channel]
        if not waiting or self.session is None or self.session.state is not State.OPEN:
            return
        state = self.states[channel]
        assert list(waiting) == list(range(state.staged + 1, state.staged + 1 + len(waiting))), "a gap or a repetition"
        staged.update(waiting)
        state = msgspec.structs.replace(state, staged=max(waiting))
        waiting.clear()
        for seq in sorted(staged):
            end = decode(staged[seq])
            if isinstance(end, WindowEnd):
                state = self.apply(channel, state, seq, end)
        self.states[channel] = state
        self.session.ack(Ack(channel, state.staged, state.applied))

    def apply(self, channel: str, state: ChannelState, seq: int, end: WindowEnd) -> ChannelState:
        rows: list[int] = []
        for number in range(state.applied + 1, seq + 1):
            message = decode(self.staged[channel].pop(number))
            if isinstance(message, Batch):
                rows += [int(str(cell)) for cell in message.keys[0]]
        before = rows_read(state.position)
        assert end.from_version == before, "a window that does not follow the copy's position"
        assert rows == list(range(before + 1, end.to_version + 1)), "a change lost or applied twice"
        self.copy[channel] += rows
        return msgspec.structs.replace(state, applied=seq, position=end.position)


class Link:
    """What is under way between the two. Control keeps its order; stream frames may be doubled, delayed and overtaken."""

    def __init__(self, random: Random, *, faulty: bool) -> None:
        self.random, self.faulty = random, faulty
        self.up: list[bytes] = []
        self.down: list[bytes] = []

    def put(self, queue: list[bytes], messages: list[bytes], *, stream: bool) -> None:
        for data in messages:
            queue.append(data)
            if stream and self.faulty and self.random.random() < 0.3:
                queue.append(data)
        if stream and self.faulty:
            self.random.shuffle(queue)


class World:
    """Agent, cloud, and the link between them, driven by a seed."""

    def __init__(self, seed: int, *, disasters: bool) -> None:
        self.random = Random(seed)
        self.erp = Erp()
        self.agent = Agent(self.erp, self.random)
        self.cloud = Cloud()
        self.link: Link | None = None
        self.disasters = disasters
        self.faulty = True
        self.backup: dict[str, Journal] = {}
        self.highest: dict[tuple[str, bytes], tuple[int, int]] = {}

    def connect(self) -> None:
        self.link = Link(self.random, faulty=self.faulty)
        self.agent.connect()
        self.cloud.connect()

    def cut(self) -> None:
        """The link ends: what was under way is lost, and what a side had only in memory with it."""
        self.link = self.agent.session = self.cloud.session = None
        self.cloud.waiting = {}

    def move(self) -> None:
        """Something happens."""
        channel = self.random.choice(CHANNELS)
        [step] = self.random.choices(
            [self.change, self.agent.capture, self.send, self.arrive_up, self.arrive_down, self.cloud.work, self.trouble],
            [2, 2, 5, 6, 6, 4, 1],
        )
        step(*([channel] if step in (self.change, self.agent.capture, self.cloud.work) else []))  # type: ignore[operator]
        self.check_counters()

    def change(self, channel: str) -> None:
        self.erp.changes[channel] += self.random.randint(1, 4)

    def send(self) -> None:
        if self.link is None:
            return self.connect()
        assert self.agent.session is not None
        assert self.cloud.session is not None
        self.agent.feed()
        self.link.put(self.link.up, self.agent.session.outgoing(), stream=self.ready())
        self.link.put(self.link.down, self.cloud.session.outgoing(), stream=False)
        return None

    def ready(self) -> bool:
        """Only frames are under way: READY has arrived."""
        return self.cloud.session is not None and self.cloud.session.state is State.OPEN

    def arrive_up(self) -> None:
        if self.link is not None and self.link.up and self.cloud.session is not None:
            for event in self.cloud.session.receive(self.link.up.pop(0), 0.0):
                self.cloud.handle(event)

    def arrive_down(self) -> None:
        if self.link is not None and self.link.down and self.agent.session is not None:
            for event in self.agent.session.receive(self.link.down.pop(0), 0.0):
                self.agent.handle(event)

    def trouble(self) -> None:
        kind = self.random.random()
        if kind < 0.5:
            self.cut_in_a_message() if self.link is not None else None
            self.cut()
        elif kind < 0.6 and self.disasters:
            self.backup = {name: journal.copy() for name, journal in self.agent.journals.items()}
        elif kind < 0.7 and self.disasters:
            self.cut()
            self.agent.journals = {name: journal.copy() for name, journal in self.backup.items()}
        elif kind < 0.75 and self.disasters:
            self.cut()
            self.agent.journals = {}

    def cut_in_a_message(self) -> None:
        """The last message arrives in part: it is refused, and nothing of it taken."""
        assert self.link is not None
        for queue, session in ((self.link.up, self.cloud.session), (self.link.down, self.agent.session)):
            if queue and session is not None:
                with pytest.raises(RemoteProtocolError):
                    session.receive(queue[0][: self.random.randrange(len(queue[0]))], 0.0)

    def check_counters(self) -> None:
        for channel, state in self.cloud.states.items():
            before = self.highest.get((channel, state.journal_id), (0, 0))
            assert state.staged >= before[0]
            assert state.applied >= before[1]
            self.highest[channel, state.journal_id] = (state.staged, state.applied)
            assert self.cloud.copy[channel] == list(range(1, len(self.cloud.copy[channel]) + 1))

    def settle(self) -> None:
        """No more faults: everything that happened arrives."""
        self.faulty = False
        self.cut()
        for _ in range(60):
            for channel in CHANNELS:
                self.agent.capture(channel)
                self.cloud.work(channel)
            self.send()
            while self.link is not None and (self.link.up or self.link.down):
                self.arrive_up()
                self.arrive_down()
            self.check_counters()
        for channel in CHANNELS:
            assert self.cloud.copy[channel] == list(range(1, self.erp.changes[channel] + 1))
            assert not self.agent.journals[channel].frames
            assert self.cloud.states[channel].applied == self.agent.journals[channel].last_seq


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 400))
def test_whatever_the_link_does_every_change_arrives_once_and_in_order(seed: int, moves: int) -> None:
    world = World(seed, disasters=False)
    for _ in range(moves):
        world.move()
    world.settle()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 400))
def test_lost_and_restored_journals_lose_nothing_that_the_erp_still_has(seed: int, moves: int) -> None:
    world = World(seed, disasters=True)
    for _ in range(moves):
        world.move()
    world.settle()
