"""What a person orders from the running agent: to look now, to read everything anew, now or at the next run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdc.errors import AgentError
from tests.support.one_process import World, lived, small_buffers
from tests.support.virtual import run_virtually


def life(folder: Path, course: Callable[[World], Awaitable[Any]], **settings: Any) -> World:
    world = World(folder, **settings)

    async def whole(world: World) -> None:
        for _ in range(10):
            world.erp.work()
        await world.start()
        await world.converge()
        await course(world)
        await world.converge()

    with small_buffers():
        run_virtually(world.clock, lived(world, whole))
    return world


async def order(world: World, channel: str, **how: bool) -> list[str]:
    assert world.agent.parts is not None
    return await world.agent.parts.sync(channel, **how)  # type: ignore[arg-type]


def generations(world: World) -> dict[str, int]:
    return {d.name: d.generation for d in world.cloud._stores[-1].datasets()}


def test_a_full_read_begins_at_once(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        before = generations(world)
        assert await order(world, "", full=True) == ["hr", "binary"]
        await asyncio.sleep(0.9)  # less than a poll
        assert all(generations(world)[name] > before[name] for name in before)

    life(tmp_path, course)


def test_a_full_read_for_the_next_run_wakes_nobody_and_comes_with_the_next_change(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        before = generations(world)
        assert await order(world, "hr", full=True, later=True) == ["hr"]
        await asyncio.sleep(5)
        assert generations(world) == before
        world.erp.work()
        await world.converge()
        now = generations(world)
        assert now["people"] > before["people"]
        assert now["lines"] > before["lines"]
        assert now["photos"] == before["photos"]
        world.erp.work()
        await world.converge()
        assert generations(world) == now  # it was read once

    life(tmp_path, course)


def test_a_full_read_for_the_next_run_outlives_the_agent(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        before = generations(world)
        await order(world, "", full=True, later=True)
        await world.crash(world.agent)
        assert generations(world) == before
        await world.agent.start()
        await asyncio.sleep(3)
        assert all(generations(world)[name] > before[name] for name in before)

    life(tmp_path, course)


def test_a_full_read_may_be_asked_for_while_the_company_stands_still(tmp_path: Path) -> None:
    """The order is durable: it is carried out as soon as the company goes on."""

    async def course(world: World) -> None:
        before = generations(world)
        identity = world.agent.journal.with_suffix(".identity")
        old = identity.read_bytes()
        world.cut()
        await asyncio.sleep(5)  # another secret was granted
        await world.crash(world.agent)
        identity.write_bytes(old)
        await world.agent.start()
        await asyncio.sleep(5)
        assert world.stopped == "A2606"
        await order(world, "", full=True)
        await order(world, "", full=False)
        world.agent.take_over()
        await asyncio.sleep(5)
        assert all(generations(world)[name] > before[name] for name in before)

    life(tmp_path, course)


def test_an_order_for_an_unknown_channel_is_refused(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        with pytest.raises(AgentError, match="A2513"):
            await order(world, "nothing", full=True)

    life(tmp_path, course)


def test_looking_now_does_not_wait_for_the_next_poll(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.erp.commit(lambda db: db.execute("INSERT OR REPLACE INTO person(id, name) VALUES (1, 'at once')"))
        await asyncio.sleep(1)
        with pytest.raises(AssertionError):
            world.assert_equal(["people"])
        await order(world, "hr", full=False)
        await asyncio.sleep(0.5)
        world.assert_equal(["people"])

    life(tmp_path, course, poll=120.0)
