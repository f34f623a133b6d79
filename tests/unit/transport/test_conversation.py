"""One session over one link: what ends it, what is still heard, and that a dead or hostile link holds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.virtual import MemoryLink, VirtualClock, run_virtually
from transport import conversation as talk
from transport.codec import decode_body, decode_frame, encode
from transport.conversation import Conversation, Farewell
from transport.errors import RemoteProtocolError, TransportError
from transport.frames import PROTOCOL, Hello, Message, Ping, Refuse
from transport.session import Event, HelloReceived, Limits, RefusedByPeer, Session, Side, Stalled

HELLO = Hello(PROTOCOL, PROTOCOL, "test", "acme", b"i" * 16, b"", 0, False)


class BlockedLink(MemoryLink):
    """Half-open: what is sent waits for ever, until the link is aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked = asyncio.Event()
        self.aborted = asyncio.Event()

    async def send(self, data: bytes) -> None:
        self.blocked.set()
        await self.aborted.wait()
        raise ConnectionError("aborted")

    def abort(self) -> None:
        self.aborted.set()
        super().abort()


class World:
    """The cloud's conversation at one end, what the test does at the other, in virtual time."""

    def __init__(self, clock: VirtualClock, limits: Limits = Limits()) -> None:  # noqa: B008
        self.clock = clock
        self.session = Session(Side.CLOUD, clock.monotonic(), limits)
        self.far, self.near = MemoryLink.pair()
        self.events: list[Event] = []
        self.conversation = Conversation(self.session, self.near, clock)

    def on(self, link: MemoryLink) -> None:
        self.near = link
        self.far = MemoryLink()
        link._peer, self.far._peer = self.far, link
        self.conversation = Conversation(self.session, link, self.clock)

    async def say(self, message: Message) -> None:
        await self.far.send(encode(message))

    async def heard(self) -> Any:
        data = await self.far.receive()
        return None if data is None else decode_body(decode_frame(data))

    async def note(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Stalled):
            raise event.error


def virtually(test: Callable[[VirtualClock], Awaitable[None]]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        await test(clock)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert [task.get_name() for task in left] == []

    run_virtually(clock, main())


def test_a_peer_that_ends_the_link_ends_the_conversation() -> None:
    async def test(clock: VirtualClock) -> None:
        world = World(clock)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.say(HELLO)
        world.far.cut()
        await run
        assert world.events == [HelloReceived(HELLO)]

    virtually(test)


def test_a_peer_that_breaks_the_protocol_hears_why_before_the_cut() -> None:
    async def test(clock: VirtualClock) -> None:
        world = World(clock)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.far.send(b"\x00")
        assert (await world.heard()).code == "T1001"
        assert not run.done()  # it may still be reading
        world.far.cut()
        with pytest.raises(RemoteProtocolError):
            await run
        assert clock.seconds < talk.LAST_WORDS

    virtually(test)


def test_a_refusal_waits_for_the_peer_to_hear_it_and_not_longer_than_a_moment() -> None:
    async def test(clock: VirtualClock) -> None:
        world = World(clock)

        async def refuse(event: Event) -> None:
            world.session.refuse("C3204", "no", None)
            await world.conversation.sent()
            raise Farewell

        run = asyncio.create_task(world.conversation.run(refuse))
        await world.say(HELLO)
        assert (await world.heard()).code == "C3204"
        with pytest.raises(Farewell):
            await run
        assert talk.LAST_WORDS <= clock.seconds < 2 * talk.LAST_WORDS

    virtually(test)


def test_what_the_peer_said_before_the_link_broke_is_heard_although_sending_failed_first() -> None:
    async def test(clock: VirtualClock) -> None:
        class Broken(MemoryLink):
            async def send(self, data: bytes) -> None:
                raise ConnectionResetError

        agent, broken = Session(Side.AGENT, clock.monotonic()), Broken()
        agent.hello(HELLO)  # fails at once
        conversation = Conversation(agent, broken, clock)
        seen: list[Event] = []

        async def handle(event: Event) -> None:
            seen.append(event)
            raise TransportError("T1013", "refused")

        run = asyncio.create_task(conversation.run(handle))
        await asyncio.sleep(0.5)
        broken._inbox.put_nowait(encode(Refuse("C3206", "an old secret", None)))
        with pytest.raises(TransportError, match="refused"):
            await run
        assert isinstance(seen[0], RefusedByPeer)

    virtually(test)


def test_a_blocked_send_is_given_up_and_freed_by_the_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "SEND_TIMEOUT", 3.0)

    async def test(clock: VirtualClock) -> None:
        world = World(clock)
        link = BlockedLink()
        world.on(link)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.say(HELLO)
        await asyncio.sleep(0.01)
        world.session.challenge(b"n" * 32)
        world.conversation.flush()
        with pytest.raises(TimeoutError):
            await run
        assert link.aborted.is_set()
        assert 3.0 <= clock.seconds < 4.0

    virtually(test)


def test_a_goodbye_on_a_half_open_link_takes_only_a_moment() -> None:
    async def test(clock: VirtualClock) -> None:
        world = World(clock)
        link = BlockedLink()
        world.on(link)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.conversation.end("C3103", "no room")
        assert talk.LAST_WORDS <= clock.seconds < talk.LAST_WORDS + 1
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert link.aborted.is_set()

    virtually(test)


def test_a_stranger_that_says_nothing_is_cut_off_when_the_handshake_s_time_is_over() -> None:
    async def test(clock: VirtualClock) -> None:
        world = World(clock, Limits(handshake=5.0))
        with pytest.raises(TransportError) as caught:
            await world.conversation.run(world.note)
        assert caught.value.code == "T1008"
        assert 5.0 <= clock.seconds < 6.0

    virtually(test)


def test_silence_is_noticed_in_time_although_the_state_changed_while_the_watch_slept() -> None:
    """At the beginning the watch sleeps for the handshake's limit; in the state OPEN a ping is due much earlier."""

    async def test(clock: VirtualClock) -> None:
        limits = Limits(ping_interval=1.0, silence=2.0, handshake=600.0)
        world = World(clock, limits)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.say(HELLO)
        await asyncio.sleep(0.01)
        world.session.state = type(world.session.state).OPEN
        with pytest.raises(TransportError) as caught:
            await run
        assert caught.value.code == "T1008"
        assert clock.seconds < 10.0

    virtually(test)


def test_a_peer_that_pings_and_never_reads_is_not_read_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "MAX_UNSENT", 10)

    async def test(clock: VirtualClock) -> None:
        world = World(clock)
        link = BlockedLink()
        world.on(link)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.say(HELLO)
        await world.say(Ping(0))
        await link.blocked.wait()
        for token in range(1_000):
            await world.say(Ping(token))
        assert world.session.unsent == talk.MAX_UNSENT + 1
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    virtually(test)


def test_cancelling_a_conversation_leaves_no_task_and_no_link() -> None:
    async def test(clock: VirtualClock) -> None:
        world = World(clock)
        run = asyncio.create_task(world.conversation.run(world.note))
        await world.say(HELLO)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await world.far.receive() is None

    virtually(test)
