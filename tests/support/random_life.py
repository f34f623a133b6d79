"""What may happen to the world in a random order: work, cuts, delays, crashes, clean-ups, rebuilt tables, restored files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from cdc.model import Dataset
from tests.support.one_process import Killed, Side, World, company_of, lived, small_buffers
from tests.support.sim_erp import DATASETS, TABLES
from tests.support.virtual import run_virtually

CLEAN_UP = 15.0  # seconds between two clean-ups of change records
RETENTION = 25.0
QUIET = 400.0  # seconds after the last fault within which everything is equal


def _moved(**channels: str) -> list[Dataset]:
    return [msgspec.structs.replace(d, channel=channels.get(d.name, d.channel)) for d in DATASETS]


CONFIGURATIONS = (
    DATASETS,
    DATASETS,
    DATASETS[1:],
    DATASETS[:2],
    _moved(lines="binary"),
    _moved(photos="hr"),
    _moved(people="binary", photos="hr"),
    _moved(lines="new"),
)


class RandomLife:
    """One seed's course of events."""

    def __init__(self, world: World, seed: int, actions: int) -> None:
        self.world = world
        self.random = Random(seed ^ 0x5EED)
        self.actions = actions
        self.saved: dict[str, Path] = {}

    async def __call__(self, world: World) -> None:
        random = self.random
        world.down_for = lambda: random.choice((0.5, 3.0, 40.0))
        world.jitter = random.choice((0.0, 0.02, 0.3))
        world.slow = random.choice((0.0, 0.002, 0.05))
        world.refuse = random.choice((0.0, 0.2))
        world.watch_power = random.random() < 0.3
        world.power = {"agent": world.watch_power, "cloud": world.watch_power}
        names, weights = zip(*((act, weight) for act, weight in ACTS.items()), strict=True)
        for _ in range(10):
            world.erp.work()
        await world.start()
        for _ in range(self.actions):
            act = random.choices(names, weights)[0]
            world.note(act.__name__, world.erp.version)
            await act(self)
            await asyncio.sleep(random.choice((0.0, 0.05, 0.7, 2.0, 6.0)))
            world.fail_if_broken()
        world.kill, world.refuse, world.jitter, world.slow, world.stalled_until = None, 0.0, 0.0, 0.0, 0.0
        world.note("calm")
        await world.converge(QUIET)

    # -- acts ------------------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        self.world.erp.work()

    async def bulk(self) -> None:
        self.world.erp.bulk(self.random.choice((30, 120)))

    async def wait(self) -> None:
        await asyncio.sleep(self.random.choice((10.0, 61.0)))

    async def cut(self) -> None:
        self.world.cut()

    async def stall(self) -> None:
        self.world.stalled_until = self.world.clock.seconds + self.random.choice((2.0, 50.0, 130.0))

    async def kill(self) -> None:
        """At one of the next durable steps, on whichever side it is."""
        self.world.kill = (len(self.world.steps) + self.random.randrange(12), self.random.random() < 0.5)

    async def restart(self) -> None:
        """In order."""
        side = self._side()
        if side is None:
            return
        await side.stop()
        await asyncio.sleep(self.random.choice((0.0, 5.0)))
        await self.world.up(side)

    async def crash(self) -> None:
        side = self._side()
        if side is not None:
            await self.world.crash(side)
            await asyncio.sleep(self.random.choice((0.0, 5.0)))
            await self.world.up(side)

    async def full(self) -> None:
        if self.world.agent.alive and self.world.agent.parts is not None and self.world.agent.parts.captures:
            try:
                await self.world.agent.full()
            except Killed:
                return

    async def rebuild(self) -> None:
        self.world.erp.rebuild(self.random.choice(list(TABLES)), saved=self.random.random() < 0.5)
        if self.random.random() < 0.5:
            self.world.erp.work()
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.choice((0.05, 1.0)))
            await self.full()

    async def empty(self) -> None:
        self.world.erp.empty(self.random.choice(list(TABLES)))

    async def save(self) -> None:
        """A backup of one of the places where something is kept."""
        family = self.random.choice(("agent", "agent", "erp", "store", "registry"))
        if self.world.files(family):
            self.saved[family] = self.world.save(family, "backup")

    async def restore(self) -> None:
        """The agent's folder as it was; with the old secret or only the journal."""
        agent, saved = self.world.agent, self.saved.get("agent")
        if saved is None or not agent.alive:
            return
        identity = agent.journal.with_suffix(".identity")
        whole, newest = self.random.random() < 0.3, identity.read_bytes()
        await self.world.crash(agent, lambda: self.world.put_back("agent", saved))
        if not whole:
            identity.write_bytes(newest)
        self.world.went_back()
        await self.world.up(agent)

    async def restore_cloud(self) -> None:
        """Copies and registry, or one of them alone, as they were."""
        cloud = self.world.cloud
        if not cloud.alive:
            return
        families = [f for f in ("store", "registry") if f in self.saved and self.random.random() < 0.8]

        def put_back() -> None:
            for family in families:
                self.world.put_back(family, self.saved[family])
            self.world.went_back(copy=True)

        await self.world.crash(cloud, put_back)
        await self.world.up(cloud)

    async def restore_erp(self) -> None:
        """The ERP's file as it was, under the running agent or while it is down."""
        world, saved = self.world, self.saved.get("erp")
        if saved is None or not world.agent.alive:
            return
        world.expected |= {"A2401", "A2402"}
        if self.random.random() < 0.5:
            world.put_back_erp(saved)
        else:
            await world.crash(world.agent, lambda: world.put_back_erp(saved))
            await world.up(world.agent)
        if self.random.random() < 0.7:
            world.erp.work()

    async def configure(self) -> None:
        """Datasets and channels come, go and move."""
        agent = self.world.agent
        if agent.alive:
            chosen = self.random.choice(CONFIGURATIONS)
            await agent.replace(company_of(self.world.erp.path, chosen, retention=RETENTION))

    async def clock(self) -> None:
        """Somebody sets the machine's wall clock."""
        self.world.clock.offset += timedelta(hours=self.random.choice((-30, -1, 1, 30)))

    async def person(self) -> None:
        await self.world.act()

    async def lose(self) -> None:
        """The journal is deleted."""
        agent = self.world.agent
        if agent.alive:
            await self.world.crash(agent, lambda: [p.unlink() for p in agent.journal.parent.glob("journal.db*")])
            await self.world.up(agent)

    def _side(self) -> Side | None:
        side = self.random.choice((self.world.agent, self.world.cloud))
        return side if side.alive else None


ACTS: dict[Callable[[RandomLife], Awaitable[Any]], int] = {
    RandomLife.work: 30,
    RandomLife.bulk: 4,
    RandomLife.wait: 4,
    RandomLife.cut: 6,
    RandomLife.stall: 2,
    RandomLife.kill: 10,
    RandomLife.restart: 3,
    RandomLife.crash: 3,
    RandomLife.full: 2,
    RandomLife.rebuild: 2,
    RandomLife.empty: 1,
    RandomLife.save: 6,
    RandomLife.restore: 2,
    RandomLife.restore_cloud: 1,
    RandomLife.restore_erp: 1,
    RandomLife.person: 2,
    RandomLife.clock: 1,
    RandomLife.configure: 3,
    RandomLife.lose: 1,
}


def live(folder: Path, seed: int, actions: int) -> World:
    """A whole life, checked all along; a failure names its seed."""
    world = World(folder, seed, retention=RETENTION)
    try:
        with small_buffers(CLEAN_UP):
            run_virtually(world.clock, lived(world, RandomLife(world, seed, actions)))
        world.fail_if_broken()
    except BaseException as error:
        error.add_note(f"seed {seed}, {actions} acts; the last events:")
        error.add_note("\n".join(map(repr, world.trace[-40:])))
        raise
    return world
