"""A half-open link: nothing passes and nobody is told. The agent notices, cuts it, connects anew, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from cdc.errors import Transient
from cdc.journal import Journal
from cdc.model import Dataset
from cdc.uplink import AckReport, LinkReport, Uplink, UplinkSettings
from tests.support.product import Product, eventually
from tests.support.proxy import FaultyProxy
from tests.support.store_feeder import PEOPLE, batch, person
from tests.support.trouble import MIB, ThreadedProxy, behind, equal
from transport import client
from transport.client import connect, tls_context
from transport.codec import schema_id
from transport.frames import LoadBegin, LoadEnd, WindowEnd
from transport.machine import system_runtime
from transport.runtime import Link
from transport.session import Limits

FULL = os.environ.get("CDC_TEST_SIZE") == "full"
SHORT = Limits(ping_interval=0.3, silence=1.0, progress=2.0, handshake=20.0)
SOON = 8.0  # seconds: the limits, and the two seconds that last words may take
DATASETS = [Dataset(name="people", table="person", channel="hr")]


def new_product(folder: Path) -> Product:
    erp = folder / "erp.db"
    with closing(sqlite3.connect(erp)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)")
    return Product(folder, erp, DATASETS)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Product]:
    """The cloud runs, the agent is enrolled and does not run."""
    made = new_product(tmp_path)
    try:
        made.set_up()
        yield made
    finally:
        made.close()


class Agent:
    """A real uplink with a real journal in this process, with limits of its own."""

    def __init__(self, made: Product, proxy: FaultyProxy) -> None:
        runtime = system_runtime()
        self.proxy = proxy
        self.folder = made.folder
        self.executor = runtime.executor("journal")
        path = made.state / "acme" / "journal.db"
        self.journal = Journal(path, limit=256 * MIB, reserve=0, new_id=runtime.new_id)
        self.journal.open()
        self.uplink = Uplink(
            UplinkSettings("acme", "tests", {"hr": 1}, SHORT), self.journal, self.executor, self._dial, runtime, self
        )
        self.open = asyncio.Event()
        self.acked = asyncio.Event()
        self.epochs: list[int] = []
        self.stop = asyncio.Event()

    def link(self, report: LinkReport) -> None:
        if report.state == "open":
            self.epochs.append(report.epoch)
            self.open.set()

    def ack(self, report: AckReport) -> None:
        self.acked.set()

    async def _dial(self) -> Link:
        return await connect(f"https://localhost:{self.proxy.port}", tls_context(self.folder / "ca.pem"))

    def fill(self, batches: int) -> None:
        """One load of so many batches of about 100 kB, which cannot be compressed, in one window."""
        rng = Random(3)
        with self.journal.window("hr") as window:
            window.append(PEOPLE)
            window.append(LoadBegin("people", schema_id(PEOPLE), 1))
            for n in range(batches):
                window.append(batch([person(n * 100 + i, rng.randbytes(500).hex()) for i in range(100)], 1))
            window.append(LoadEnd("people", 1, batches * 100))
            window.append(WindowEnd(b"position", 0, 1, batches * 100, "2026-01-01T00:00:00Z"))
            window.complete(b"position")

    async def connection(self) -> None:
        """One connection, to its end."""
        self.open.clear()
        self.acked.clear()
        await self.uplink.run(self.stop)

    async def applied(self, seq: int) -> None:
        while (state := self.journal.channel("hr")) is None or state.applied < seq:
            self.acked.clear()
            await self.acked.wait()

    def close(self) -> None:
        self.journal.close()
        self.executor.close()


@pytest.fixture
async def agent(made: Product) -> AsyncIterator[Agent]:
    async with FaultyProxy(made.cloud_port) as proxy:
        agent = Agent(made, proxy)
        yield agent
        agent.close()


def of_the_link() -> list[str]:
    names = ("uplink", "conversation", "link")
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(names)]


async def ends_soon(running: asyncio.Task[None]) -> str:
    """What the connection ended with."""
    async with asyncio.timeout(SOON):
        with pytest.raises(Transient) as raised:
            await running
    assert of_the_link() == []
    return str(raised.value)


async def goes_on(agent: Agent, last: int) -> None:
    """The next connection; the cloud, which may know nothing of the old one's end, lets it in and fences the other off."""
    agent.proxy.flow()
    running = asyncio.create_task(agent.connection())
    async with asyncio.timeout(30):
        await agent.open.wait()
        await agent.applied(last)
    agent.stop.set()
    await running
    assert agent.epochs == sorted(set(agent.epochs))
    assert len(agent.epochs) == 2


async def test_an_idle_link_that_went_half_open_is_noticed_and_made_anew(agent: Agent) -> None:
    running = asyncio.create_task(agent.connection())
    await asyncio.wait_for(agent.open.wait(), 20)
    agent.proxy.stall()
    assert "T1008" in await ends_soon(running)
    agent.fill(1)
    await goes_on(agent, 5)


async def test_a_send_that_is_blocked_on_a_half_open_link_does_not_survive_and_nothing_is_lost(agent: Agent) -> None:
    agent.fill(300)
    running = asyncio.create_task(agent.connection())
    await asyncio.wait_for(agent.acked.wait(), 20)
    agent.proxy.stall()
    message = await ends_soon(running)
    assert "T1007" in message or "T1008" in message
    await goes_on(agent, 304)


async def test_a_cloud_that_accepts_and_never_answers_is_left_again(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.5)
    agent.proxy.stall()
    assert "T1010" in await ends_soon(asyncio.create_task(agent.connection()))


@pytest.mark.full
@pytest.mark.skipif(not FULL, reason="takes as long as the limits of production")
def test_two_programs_find_each_other_again_after_a_half_open_link(made: Product) -> None:
    with ThreadedProxy(made.cloud_port) as proxy:
        behind(made, proxy)
        made.start_agent()
        made.wait_until_caught_up()
        proxy.stall()
        before = proxy.accepted
        with closing(sqlite3.connect(made.erp)) as db, db:
            db.execute("INSERT INTO person VALUES (1, 'into the dark')")
        eventually("the agent leaves the link", lambda: "T1008" in str(made.company_health()["problems"]), 90)
        proxy.flow()
        made.wait_until_caught_up(120)
        assert proxy.accepted > before
        equal(made)
