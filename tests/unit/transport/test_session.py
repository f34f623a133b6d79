"""The conversation: what may happen when, order, credits, acknowledgements, and time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.messages import BATCH, JOURNAL, MESSAGES
from transport import codec
from transport.codec import encode
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.frames import PROTOCOL, Ack, Bye, ChannelState, Flag, Hello, Kind, Message, Ping, Ready, Stream, Welcome
from transport.session import (
    TRANSITIONS,
    Acked,
    ChallengeReceived,
    Delivered,
    Ended,
    Event,
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

ROOT = Path(__file__).resolve().parents[3]
HELLO = Hello(PROTOCOL, PROTOCOL, "agent", "acme", b"i" * 16, b"s" * 16, 0)
CREDIT_BYTES, CREDIT_FRAMES = 1000, 4


def welcome(*channels: ChannelState, **changes: Any) -> Welcome:
    fields: dict[str, Any] = {"protocol": PROTOCOL, "credit_bytes": CREDIT_BYTES, "credit_frames": CREDIT_FRAMES, **changes}
    return Welcome(software="cloud", epoch=1, next_secret=b"t" * 16, channels=list(channels), **fields)


def data_frame(seq: int, *, channel: str = "hr", journal: bytes = JOURNAL, size: int = 1, text: str = "x") -> bytes:
    """A stream frame with about `size` bytes."""
    detach = msgspec.structs.replace(MESSAGES["detach"], dataset=text * size)
    raw = codec.raw_body(detach)
    fields = msgspec.msgpack.decode(codec.seal(b"", Kind.DETACH, channel=channel, journal_id=journal, seq=seq))
    return msgspec.msgpack.encode([*fields[:6], len(raw), codec.crc32(raw), raw])


class Pair:
    """An agent and a cloud with nothing between them."""

    def __init__(self, *channels: ChannelState, streams: tuple[Stream, ...] = (Stream("hr", JOURNAL, 1),)) -> None:
        self.channels, self.streams = channels, streams
        self.agent = Session(Side.AGENT, 0.0)
        self.cloud = Session(Side.CLOUD, 0.0, Limits(), CREDIT_BYTES, CREDIT_FRAMES)

    def flow(self, now: float = 0.0) -> list[Event]:
        """Everything that is to be sent arrives."""
        events: list[Event] = []
        while (up := self.agent.outgoing()) + (down := self.cloud.outgoing()):
            events += [e for data in up for e in self.cloud.receive(data, now)]
            events += [e for data in down for e in self.agent.receive(data, now)]
        return events

    def steps(self) -> dict[State, Callable[[], None]]:
        """What brings both sides from each state to the next."""
        return {
            State.NEW: lambda: self.agent.hello(HELLO),
            State.HELLO: lambda: self.cloud.challenge(b"n"),
            State.CHALLENGED: lambda: self.agent.prove(b"g"),
            State.PROVED: lambda: self.cloud.welcome(welcome(*self.channels)),
            State.WELCOMED: lambda: self.agent.ready(list(self.streams)),
        }

    def reach(self, state: State) -> Pair:
        """Both sides in that state, nothing under way."""
        if state is State.CLOSED:
            self.reach(State.OPEN).agent.bye()
            self.flow()
            return self
        for before, step in self.steps().items():
            if before is state:
                break
            step()
            self.flow()
        assert (self.agent.state, self.cloud.state) == (state, state)
        return self

    def __getitem__(self, side: Side) -> Session:
        return self.agent if side is Side.AGENT else self.cloud


def opened(*channels: ChannelState, streams: tuple[Stream, ...] = (Stream("hr", JOURNAL, 1),)) -> Pair:
    return Pair(*channels, streams=streams).reach(State.OPEN)


# -- the table -------------------------------------------------------------------------------------------------------------

READY = Ready([Stream("hr", JOURNAL, 1)])
GOOD: dict[str, Message] = {
    **{codec.KINDS[type(message)].name: message for message in MESSAGES.values()},
    "HELLO": HELLO,
    "WELCOME": welcome(),
    "READY": READY,
    "ACK": Ack("hr", 0, 0),
}
CALLS: dict[str, Callable[[Session], None]] = {
    "hello()": lambda s: s.hello(HELLO),
    "prove()": lambda s: s.prove(b"g"),
    "ready()": lambda s: s.ready(READY.streams),
    "send()": lambda s: s.send("hr", 1, data_frame(1)),
    "challenge()": lambda s: s.challenge(b"n"),
    "welcome()": lambda s: s.welcome(welcome()),
    "refuse()": lambda s: s.refuse("C3204", "no", None),
    "ack()": lambda s: s.ack(Ack("hr", 0, 0)),
    "bye()": lambda s: s.bye("T1001", "reason"),
}
RECEIVED = [kind.name for kind in Kind if not codec.is_stream(kind)] + ["STREAM"]
EVERYWHERE = [(side, state) for side in Side for state in State]


def bytes_of(word: str) -> bytes:
    return data_frame(1) if word == "STREAM" else encode(GOOD[word])


@pytest.mark.parametrize("word", RECEIVED)
@pytest.mark.parametrize(("side", "state"), EVERYWHERE)
def test_a_message_is_taken_exactly_where_the_table_has_it(side: Side, state: State, word: str) -> None:
    session = Pair().reach(state)[side]
    expected = TRANSITIONS.get((side, state, word))
    if expected is None:
        with pytest.raises(RemoteProtocolError) as caught:
            session.receive(bytes_of(word), 0.0)
        assert caught.value.code == "T1005"
        assert session.state is state
    else:
        session.receive(bytes_of(word), 0.0)
        assert session.state is expected


@pytest.mark.parametrize("word", CALLS)
@pytest.mark.parametrize(("side", "state"), EVERYWHERE)
def test_a_call_is_allowed_exactly_where_the_table_has_it(side: Side, state: State, word: str) -> None:
    session = Pair().reach(state)[side]
    expected = TRANSITIONS.get((side, state, word))
    if expected is None:
        with pytest.raises(LocalProtocolError):
            CALLS[word](session)
        assert (session.state, session.outgoing()) == (state, [])
    else:
        CALLS[word](session)
        assert session.state is expected


def test_the_table_has_no_word_that_does_not_exist() -> None:
    assert {word for _, _, word in TRANSITIONS} <= {*RECEIVED, *CALLS}


def table_of_docs() -> dict[tuple[Side, State, str], State]:
    """The expected table, written by hand in the docs: cells may list several words, `any` are all states."""
    text = (ROOT / "docs" / "04-protocol.md").read_text(encoding="utf-8")
    lines = text.split("<!-- state table -->")[1].strip().splitlines()[2:]
    table = {}
    for line in lines:
        sides, states, words, then = (re.findall(r"[A-Za-z]+(?:\(\))?", cell) for cell in line.strip("|").split("|"))
        for side in sides:
            for state in list(State) if states == ["any"] else [State(s) for s in states]:
                for word in words:
                    assert (Side(side), state, word) not in table, f"twice in the docs: {side} {state} {word}"
                    table[Side(side), state, word] = state if then == ["same"] else State(then[0])
    return table


def test_the_table_by_hand_in_the_docs_is_the_table_of_the_code() -> None:
    assert table_of_docs() == TRANSITIONS


# -- handshake -------------------------------------------------------------------------------------------------------------


def test_a_conversation_opens_and_tells_each_side_what_the_other_said() -> None:
    pair = Pair()
    seen: list[Event] = []
    for step in pair.steps().values():
        step()
        seen += pair.flow()
    assert seen == [
        HelloReceived(HELLO),
        ChallengeReceived(b"n"),
        ProofReceived(b"g"),
        Welcomed(welcome()),
        ReadyReceived(READY),
    ]
    assert pair.agent.state is pair.cloud.state is State.OPEN


@pytest.mark.parametrize(("oldest", "newest", "older"), [(PROTOCOL + 1, PROTOCOL + 2, "the cloud"), (0, 0, "the agent")])
def test_without_a_common_version_the_cloud_refuses_and_names_both(oldest: int, newest: int, older: str) -> None:
    pair = Pair()
    pair.agent.hello(msgspec.structs.replace(HELLO, oldest=oldest, newest=newest))
    with pytest.raises(RemoteProtocolError) as caught:
        pair.cloud.receive(pair.agent.outgoing()[0], 0.0)
    assert caught.value.code == "T1004"
    [event] = pair.flow()
    assert isinstance(event, RefusedByPeer)
    assert event.refuse.code == "T1004"
    assert f"{newest}" in event.refuse.message
    assert f"the cloud speaks {PROTOCOL}; upgrade {older}" in event.refuse.message


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"protocol": PROTOCOL + 1}, "T1004"), ({"credit_bytes": 0}, "T1005"), ({"credit_frames": 0}, "T1005")],
)
def test_an_agent_takes_no_welcome_it_cannot_live_with(changes: dict[str, int], code: str) -> None:
    agent = Pair().reach(State.PROVED).agent
    with pytest.raises(RemoteProtocolError) as caught:
        agent.receive(encode(welcome(**changes)), 0.0)
    assert caught.value.code == code


def test_a_welcome_grants_no_more_than_the_cloud_has_memory_for() -> None:
    cloud = Pair().reach(State.PROVED).cloud
    with pytest.raises(LocalProtocolError):
        cloud.welcome(welcome(credit_bytes=CREDIT_BYTES + 1))
    assert cloud.state is State.PROVED


@pytest.mark.parametrize(
    "streams",
    [
        [Stream("hr", JOURNAL, 12)],
        [Stream("hr", JOURNAL, 14)],
        [Stream("hr", b"k" * 16, 0)],
        [Stream("hr", b"", 1)],
        [Stream("", JOURNAL, 1)],
        [Stream("hr", JOURNAL, 13), Stream("hr", JOURNAL, 13)],
    ],
    ids=["before staged", "beyond staged", "seq 0", "no journal", "no channel", "twice"],
)
def test_ready_continues_right_after_what_is_staged(streams: list[Stream]) -> None:
    pair = Pair(ChannelState("hr", JOURNAL, 12, 10, b"p")).reach(State.WELCOMED)
    pair.agent.ready(streams)
    with pytest.raises(RemoteProtocolError):
        pair.flow()


def test_another_journal_id_begins_where_it_says() -> None:
    pair = opened(ChannelState("hr", JOURNAL, 12, 10, b"p"), streams=(Stream("hr", b"k" * 16, 1),))
    pair.agent.send("hr", 1, data_frame(1, journal=b"k" * 16))
    assert [type(event) for event in pair.flow()] == [Delivered]


# -- frames ----------------------------------------------------------------------------------------------------------------


def delivered(events: list[Event]) -> list[int]:
    return [event.frame.seq for event in events if isinstance(event, Delivered)]


def test_frames_in_any_order_are_delivered_in_order_and_once() -> None:
    cloud = opened().cloud
    got = [delivered(cloud.receive(data_frame(seq), 0.0)) for seq in (3, 2, 3, 1, 2, 4)]
    assert got == [[], [], [], [1, 2, 3], [], [4]]


def test_a_delivered_frame_brings_its_bytes() -> None:
    data = data_frame(1)
    [event] = opened().cloud.receive(data, 0.0)
    assert event == Delivered("hr", codec.decode_frame(data), data)


@pytest.mark.parametrize("first", [1, 2], ids=["already delivered", "still waiting"])
def test_a_number_with_other_content_is_a_conflict(first: int) -> None:
    cloud = opened().cloud
    cloud.receive(data_frame(first), 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        cloud.receive(data_frame(first, text="y"), 0.0)
    assert caught.value.code == "T1006"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (data_frame(1, journal=b"k" * 16), "T1006"),
        (data_frame(1, channel="shop"), "T1005"),
        (data_frame(CREDIT_FRAMES + 1), "T1006"),
    ],
    ids=["another journal", "another channel", "beyond the window"],
)
def test_a_frame_from_elsewhere_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        opened().cloud.receive(data, 0.0)
    assert caught.value.code == code


def test_more_bytes_than_granted_are_refused() -> None:
    cloud = opened().cloud
    cloud.receive(data_frame(1, size=600), 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        cloud.receive(data_frame(2, size=600), 0.0)
    assert caught.value.code == "T1006"


def unknown(flags: int) -> bytes:
    fields = msgspec.msgpack.decode(data_frame(1))
    return msgspec.msgpack.encode([fields[0], 60, flags, *fields[3:]])


def test_an_optional_frame_of_an_unknown_kind_keeps_its_number() -> None:
    assert delivered(opened().cloud.receive(unknown(Flag.OPTIONAL), 0.0)) == [1]


def test_another_frame_of_an_unknown_kind_is_refused_before_it_is_stored() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        opened().cloud.receive(unknown(0), 0.0)
    assert caught.value.code == "T1001"


def test_nothing_is_received_after_a_breach_but_a_goodbye_can_be_said() -> None:
    pair = opened()
    with pytest.raises(RemoteProtocolError):
        pair.cloud.receive(b"HTTP/1.1 502", 0.0)
    with pytest.raises(LocalProtocolError):
        pair.cloud.receive(data_frame(1), 0.0)
    pair.cloud.bye("T1001", "not readable")
    assert pair.agent.receive(pair.cloud.outgoing()[0], 0.0) == [Ended(Bye("T1001", "not readable"))]


# -- credits and acks ------------------------------------------------------------------------------------------------------


def test_credits_in_frames_come_back_when_they_are_staged() -> None:
    pair = opened()
    for seq in range(1, CREDIT_FRAMES + 1):
        pair.agent.send("hr", seq, data_frame(seq))
    assert (pair.agent.room("hr"), pair.agent.can_send("hr", 1)) == (0, False)
    pair.flow()
    pair.cloud.ack(Ack("hr", 3, 0))
    assert pair.flow() == [Acked(Ack("hr", 3, 0))]
    assert pair.agent.room("hr") > 0
    assert pair.agent.can_send("hr", 1)


def test_credits_in_bytes_bound_what_is_under_way() -> None:
    agent = opened().agent
    size = len(data_frame(1, size=500))
    agent.send("hr", 1, data_frame(1, size=500))
    assert agent.room("hr") == CREDIT_BYTES - size
    with pytest.raises(LocalProtocolError):
        agent.send("hr", 2, data_frame(2, size=500))


def test_a_frame_larger_than_the_credit_goes_alone() -> None:
    pair = opened()
    pair.agent.send("hr", 1, data_frame(1, size=5000))
    assert not pair.agent.can_send("hr", 1)
    assert delivered(pair.flow()) == [1]
    pair.cloud.ack(Ack("hr", 1, 0))
    pair.flow()
    assert pair.agent.room("hr") == CREDIT_BYTES


def test_a_channel_without_an_announcement_has_no_room() -> None:
    agent = opened().agent
    assert agent.room("shop") == 0
    with pytest.raises(LocalProtocolError):
        agent.send("shop", 1, data_frame(1, channel="shop"))


@pytest.mark.parametrize("seq", [0, 2])
def test_numbers_are_sent_without_gaps(seq: int) -> None:
    with pytest.raises(LocalProtocolError):
        opened().agent.send("hr", seq, data_frame(seq))


ACKS = [Ack("hr", 3, 0), Ack("hr", 0, 0), Ack("hr", 2, 0), Ack("hr", 1, 2), Ack("shop", 1, 0)]


@pytest.mark.parametrize("ack", ACKS, ids=["never sent", "staged back", "applied back", "applied beyond staged", "no channel"])
def test_an_ack_that_cannot_be_is_refused_by_both_sides(ack: Ack) -> None:
    pair = opened()
    for seq in (1, 2):
        pair.agent.send("hr", seq, data_frame(seq))
    pair.flow()
    pair.cloud.ack(Ack("hr", 1, 1))
    pair.flow()
    with pytest.raises(LocalProtocolError):
        pair.cloud.ack(ack)
    with pytest.raises(RemoteProtocolError) as caught:
        pair.agent.receive(encode(ack), 0.0)
    assert caught.value.code in {"T1005", "T1006"}


def test_a_late_note_of_progress_is_dropped() -> None:
    pair = opened()
    pair.agent.send("hr", 1, data_frame(1))
    pair.flow()
    pair.cloud.ack(Ack("hr", 1, 1))
    pair.cloud.ack(Ack("hr", 1, 0, progress=500))
    assert pair.flow() == [Acked(Ack("hr", 1, 1))]


def test_control_goes_before_stream() -> None:
    pair = opened()
    pair.agent.send("hr", 1, data_frame(1))
    pair.agent.receive(encode(Ping(7)), 0.0)
    kinds = [codec.decode_frame(data).kind for data in pair.agent.outgoing()]
    assert kinds == [Kind.PONG, Kind.DETACH]


# -- the end ---------------------------------------------------------------------------------------------------------------


def test_a_goodbye_is_answered_and_nothing_else_is_sent() -> None:
    pair = opened()
    pair.agent.send("hr", 1, data_frame(1))
    pair.agent.bye("", "shutdown")
    assert pair.flow() == [Ended(Bye("", "shutdown")), Ended(Bye())]
    assert pair.agent.state is pair.cloud.state is State.CLOSED


def test_what_was_under_way_when_we_said_goodbye_is_ignored() -> None:
    pair = opened()
    pair.agent.bye()
    assert pair.agent.receive(encode(Ack("hr", 0, 0)), 0.0) == []
    assert pair.agent.receive(encode(Bye()), 0.0) == [Ended(Bye())]


def test_a_second_goodbye_says_nothing() -> None:
    agent = opened().agent
    agent.bye()
    agent.bye()
    assert len(agent.outgoing()) == 1
    assert (agent.room("hr"), agent.can_send("hr", 1)) == (0, False)


# -- time ------------------------------------------------------------------------------------------------------------------


def test_a_quiet_link_is_asked_and_stays_when_it_answers() -> None:
    pair = opened()
    assert pair.agent.next_tick() == 15.0
    assert pair.agent.tick(14.9) == [] == pair.agent.outgoing()
    pair.agent.tick(15.0)
    assert pair.flow(15.1) == []
    assert pair.agent.tick(40.0) == []
    assert pair.agent.state is State.OPEN


def test_a_silent_link_is_given_up() -> None:
    agent = opened().agent
    agent.tick(15.0)
    assert agent.next_tick() == 40.0
    assert agent.tick(39.9) == []
    [event] = agent.tick(40.0)
    assert isinstance(event, Stalled)
    assert event.error.code == "T1008"


def test_a_machine_that_slept_asks_first() -> None:
    agent = opened().agent
    assert agent.tick(7200.0) == []
    assert len(agent.outgoing()) == 1
    assert agent.next_tick() == 7225.0


def test_frames_without_progress_end_the_link_although_it_answers() -> None:
    pair = opened()
    pair.agent.send("hr", 1, data_frame(1))
    stalled: list[Event] = []
    for now in range(100):
        stalled = pair.agent.tick(float(now))
        if stalled:
            break
        pair.flow(float(now))
    [event] = stalled
    assert isinstance(event, Stalled)
    assert (event.error.code, now) == ("T1007", 90)


@pytest.mark.parametrize("grow", [lambda n: Ack("hr", n, 0), lambda n: Ack("hr", 0, 0, progress=n)], ids=["staged", "progress"])
def test_an_ack_that_advances_is_progress(grow: Callable[[int], Ack]) -> None:
    pair = opened()
    for seq in (1, 2, 3, 4):
        pair.agent.send("hr", seq, data_frame(seq))
    pair.flow()
    for step in (1, 2, 3):
        pair.cloud.ack(grow(step))
        pair.flow(step * 80.0)
        assert pair.agent.tick(step * 80.0 + 10) == []


def test_the_same_ack_again_is_no_progress() -> None:
    pair = opened()
    for seq in (1, 2):
        pair.agent.send("hr", seq, data_frame(seq))
    pair.flow()
    for now in (0.0, 40.0, 80.0):
        pair.cloud.ack(Ack("hr", 1, 0, progress=5))
        pair.flow(now)
    [event] = pair.agent.tick(91.0)
    assert isinstance(event, Stalled)


def test_nothing_waits_when_all_is_staged() -> None:
    pair = opened()
    pair.agent.send("hr", 1, data_frame(1))
    pair.flow()
    pair.cloud.ack(Ack("hr", 1, 0))
    pair.flow()
    pair.agent.tick(200.0)
    pair.flow(200.0)
    pair.agent.send("hr", 2, data_frame(2))
    assert pair.agent.tick(210.0) == []


@pytest.mark.parametrize("side", Side)
def test_a_handshake_has_an_end(side: Side) -> None:
    session = Pair().reach(State.CHALLENGED)[side]
    assert session.next_tick() == 30.0
    assert session.tick(29.0) == []
    [event] = session.tick(30.0)
    assert isinstance(event, Stalled)
    assert session.tick(31.0) == []
    assert session.next_tick() > 31.0


def test_a_batch_travels_whole() -> None:
    pair = opened()
    pair.agent.send("hr", 1, encode(BATCH, channel="hr", journal_id=JOURNAL, seq=1))
    [event] = pair.flow()
    assert isinstance(event, Delivered)
    assert codec.decode_body(event.frame) == BATCH
