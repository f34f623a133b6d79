"""Power cuts: what a side had not synced when it died is gone, and nothing that counts was among it.

SQLite cannot be given a file layer that forgets, so files are copied at each completed durable step that syncs, and a side that
dies begins anew from its copies. On the agent's machine stands the ERP, too, which itself does not sync its commits.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.one_process import World, lived, small_buffers
from tests.support.virtual import run_virtually

MOST = 1_000 if os.environ.get("CDC_TEST_SIZE") == "full" else 8  # of a side's steps, those after which the power goes
OWN = {"agent": ("journal", "sqlite"), "cloud": ("store", "registry")}  # first words of a side's steps


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def course(world: World) -> None:
    """A load by pages, then changes; the ERP's last commits are always ones that nothing has synced yet."""
    for _ in range(20):
        world.erp.work()
    await world.start()
    await world.converge()
    for _ in range(4):
        world.erp.work()
        await world.converge()
        world.erp.work()
    world.erp.bulk(80)
    await world.converge()


def run(folder: Path, number: int | None, power: tuple[str, ...]) -> World:
    folder.mkdir()
    world = World(folder, 11)
    world.watch_power = True
    world.power = dict.fromkeys(power, True)
    world.together = len(power) > 1

    async def life(world: World) -> None:
        if number is not None:
            world.kill = (number, True)
        await course(world)

    with small_buffers():
        run_virtually(world.clock, lived(world, life))
    return world


@pytest.mark.parametrize("power", [("agent",), ("cloud",), ("agent", "cloud")], ids=["agent", "cloud", "both"])
def test_a_power_cut_at_any_durable_step_loses_nothing_that_was_acknowledged(tmp_path: Path, power: tuple[str, ...]) -> None:
    """A position that the ERP no longer knows would stop the company (A2401), which fails the test."""
    calm = run(tmp_path / "calm", None, power)
    words = tuple(word for side in power for word in OWN[side])
    numbers = [n for n, name in enumerate(calm.steps) if name.startswith(words) and n >= calm.set_up_steps]
    for number in numbers[:: max(1, len(numbers) // MOST)]:
        folder = tmp_path / str(number)
        try:
            world = run(folder, number, power)
        except BaseException as error:
            error.add_note(f"power cut after step {number}")
            raise
        assert {event[2] for event in world.trace if event[1] == "power"} >= {power[-1]}
        shutil.rmtree(folder)


def test_what_the_erp_lost_in_a_power_cut_never_reached_the_cloud(tmp_path: Path) -> None:
    """A window's version is synced in the ERP before the window is complete."""
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world", 5)
    world.watch_power, world.power, world.revive = True, {"agent": True}, True

    async def life(world: World) -> None:
        await world.start()
        await world.converge()
        lost = 0
        for _ in range(12):
            world.erp.work()
            world.kill = (len(world.steps), False)  # before whatever comes next is synced
            before = world.erp.version
            await world.converge(600)
            lost += world.erp.version < before
            assert all(p.version <= world.erp.version for p in world.positions().values())
        assert lost > 0

    with small_buffers():
        run_virtually(world.clock, lived(world, life))
