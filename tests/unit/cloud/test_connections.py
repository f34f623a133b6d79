"""Connections of agents as they meet: fencing while a window is applied, ends at bad moments, nothing left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cloud import ingest
from cloud.errors import CloudError, StoreError
from cloud.ingest import AgentConnection, IngestSettings
from cloud.store.base import Applied, Decode, Progress, Staged
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from cloud.tenants import Tenants
from tests.support.scripted_agent import COMPANY, END, AgentTalk, ScriptedAgent, refused
from tests.support.store_feeder import PEOPLE, batch, person
from tests.support.virtual import MemoryLink
from transport import conversation
from transport.codec import schema_id
from transport.frames import Bye, LoadBegin, LoadEnd
from transport.machine import system_runtime


class SlowStore(SqliteStore):
    """An apply stands still while the gate is closed, in its own thread, as one of two million rows does."""

    gate = threading.Event()
    applying = threading.Event()
    trouble: Exception | None = None

    def apply(self, channel: str, journal_id: bytes, tail: Sequence[Staged], decode: Decode, progress: Progress) -> Applied:
        self.applying.set()
        while not self.gate.wait(0.01):
            progress(1)
        if self.trouble is not None:
            raise self.trouble
        return super().apply(channel, journal_id, tail, decode, progress)


class Cloud:
    """The service without sockets, on real threads."""

    def __init__(self, folder: Path) -> None:
        runtime = system_runtime()
        self.clock = runtime.clock
        self._runtime = runtime
        self.registry = Registry(folder / "cloud.db", runtime)
        self.tenants = Tenants(
            folder / "companies", self.registry, runtime.executor("registry"), runtime, lambda path: SlowStore(path, runtime)
        )
        self.agent = ScriptedAgent()
        self.agent.enrol(self.registry)
        self.serving: list[asyncio.Task[None]] = []
        self.talks: list[AgentTalk] = []

    def connect(self, *channels: str) -> AgentTalk:
        near, far = MemoryLink.pair(0.0)
        connection = AgentConnection(self.tenants, IngestSettings("test"), self._runtime)
        self.serving.append(asyncio.create_task(connection.run(far), name="serving"))
        self.talks.append(self.agent.connect(near, self.clock, *channels))
        return self.talks[-1]

    async def applying(self) -> None:
        assert await asyncio.to_thread(SlowStore.applying.wait, 10)

    async def tenant_users(self) -> int:
        return sum(tenant.users for tenant in self.tenants.opened())


@pytest.fixture
async def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    monkeypatch.setattr(SlowStore, "gate", threading.Event())
    monkeypatch.setattr(SlowStore, "applying", threading.Event())
    monkeypatch.setattr(SlowStore, "trouble", None)
    monkeypatch.setattr(conversation, "LAST_WORDS", 0.3)
    monkeypatch.setattr(ingest, "LAST_WORDS", 0.3)
    SlowStore.gate.set()
    made = Cloud(tmp_path)
    yield made
    SlowStore.gate.set()
    await made.tenants.close()
    await asyncio.gather(*made.serving, *(talk.task for talk in made.talks), return_exceptions=True)
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [name for name in left if name.startswith(("ingest", "conversation", "tenant"))] == []


def rows(count: int) -> list[Any]:
    page = batch([person(n) for n in range(count)], 1)
    return [PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), page, LoadEnd("people", 1, count), END]


def hold_applies() -> None:
    SlowStore.gate.clear()
    SlowStore.applying.clear()


async def test_a_newer_connection_is_told_what_the_older_one_was_still_applying(cloud: Cloud) -> None:
    old = cloud.connect()
    await old.welcome()
    hold_applies()
    old.say(*rows(3))
    await cloud.applying()
    new = cloud.connect()
    assert refused(await old.over()) == "C3205"
    assert not new.task.done()
    SlowStore.gate.set()
    (state,) = (await new.welcome()).channels
    assert (state.staged, state.applied) == (5, 5)


async def test_followers_learn_of_a_window_whose_connection_was_fenced_off_meanwhile(cloud: Cloud) -> None:
    old = cloud.connect()
    await old.welcome()
    hold_applies()
    old.say(*rows(3))
    await cloud.applying()
    async with cloud.tenants.using(COMPANY) as tenant:
        follower = asyncio.create_task(tenant.wait(0, 600.0))
        await asyncio.sleep(0)
        new = cloud.connect()
        await old.over()
        SlowStore.gate.set()
        async with asyncio.timeout(10):
            await follower
        await new.welcome()


async def test_a_connection_that_dies_while_it_waits_for_the_older_one_leaves_nothing(cloud: Cloud) -> None:
    old = cloud.connect()
    await old.welcome()
    hold_applies()
    old.say(*rows(3))
    await cloud.applying()
    dying = cloud.connect()
    await old.over()
    dying.task.cancel()
    third = cloud.connect()
    SlowStore.gate.set()
    (state,) = (await third.welcome()).channels
    assert state.applied == 5
    await asyncio.wait([cloud.serving[1]])
    assert await cloud.tenant_users() == 1


async def test_a_cancelled_connection_has_stopped_writing_when_it_is_gone(cloud: Cloud) -> None:
    talk = cloud.connect()
    await talk.welcome()
    hold_applies()
    talk.say(*rows(3))
    await cloud.applying()
    for _ in range(3):
        cloud.serving[0].cancel()
        await asyncio.sleep(0.01)
    assert not cloud.serving[0].done()
    SlowStore.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await cloud.serving[0]
    assert cloud.tenants.connected() == 0
    assert await cloud.tenant_users() == 0
    assert await cloud.tenants.read(COMPANY, lambda store: store.channels()[0].applied) == 5


async def test_a_store_s_fault_ends_the_connection_once_with_its_code_whatever_the_number_of_channels(cloud: Cloud) -> None:
    talk = cloud.connect("hr", "shop")
    await talk.welcome()
    SlowStore.trouble = StoreError("C3103", "no room", where="acme.db")
    talk.say(END, channel="hr")
    talk.say(END, channel="shop")
    words = await talk.over()
    assert isinstance(words, Bye)
    assert words.code == "C3103"
    with pytest.raises(CloudError, match="no room"):
        await cloud.serving[0]


async def test_an_unexpected_error_while_applying_ends_that_connection_alone(cloud: Cloud) -> None:
    talk = cloud.connect()
    await talk.welcome()
    SlowStore.trouble = ZeroDivisionError()
    talk.say(END)
    await talk.over()
    with pytest.raises(ZeroDivisionError):
        await cloud.serving[0]
    SlowStore.trouble = None
    again = cloud.connect()
    await again.welcome()
    again.say(END)
    assert (await again.applied(1)).applied == 1


async def test_more_channels_than_are_allowed_are_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MAX_CHANNELS", 2)
    talk = cloud.connect("a", "b", "c")
    assert (await talk.over()).code == "T1005"


async def test_the_end_of_the_service_finishes_the_window_that_is_being_applied(cloud: Cloud) -> None:
    talk = cloud.connect()
    await talk.welcome()
    hold_applies()
    talk.say(*rows(3))
    await cloud.applying()
    release = asyncio.create_task(cloud.tenants.release(grace=600.0))
    assert refused(await talk.over()) == "C3017"
    SlowStore.gate.set()
    await release
    assert await cloud.tenants.read(COMPANY, lambda store: store.channels()[0].applied) == 5


async def test_a_second_signal_gives_the_window_up_whole(cloud: Cloud) -> None:
    talk = cloud.connect()
    await talk.welcome()
    hold_applies()
    talk.say(*rows(3))
    await cloud.applying()
    hurry = asyncio.Event()
    release = asyncio.create_task(cloud.tenants.release(grace=600.0, hurry=hurry))
    await talk.over()
    assert not release.done()
    hurry.set()
    async with asyncio.timeout(10):
        await release
    SlowStore.gate.set()
    assert await cloud.tenants.read(COMPANY, lambda store: store.channels()[0].applied) == 0


async def test_no_agent_is_let_in_while_the_service_stops(cloud: Cloud) -> None:
    await cloud.tenants.release()
    assert refused(await cloud.connect().over()) == "C3017"
    assert cloud.agent.epoch == 0
