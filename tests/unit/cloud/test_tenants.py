"""Stores of thousands of companies: opened when somebody asks, closed when nobody does, never under somebody's hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud.errors import StoreError
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from cloud.tenants import Tenants
from transport.machine import system_runtime


class World:
    """Three stores may stay open; every opening and closing is noted."""

    def __init__(self, folder: Path) -> None:
        runtime = system_runtime()
        self.seen: list[tuple[str, str]] = []
        self.trouble: Exception | None = None
        self.closing = threading.Event()
        self.closing.set()
        world = self

        class Store(SqliteStore):
            def __init__(self, path: Path) -> None:
                if world.trouble is not None:
                    raise world.trouble
                super().__init__(path, runtime)
                self.name = path.stem
                world.seen.append(("open", self.name))

            def close(self) -> None:
                assert world.closing.wait(10)
                super().close()
                world.seen.append(("close", self.name))

        registry = Registry(folder / "cloud.db", runtime)
        self.tenants = Tenants(folder / "companies", registry, runtime.executor("registry"), runtime, Store, keep_open=3)

    async def look(self, *companies: str) -> None:
        for company in companies:
            assert await self.tenants.read(company, lambda store: store.cursor()) == 0

    async def settled(self) -> list[tuple[str, str]]:
        while self.tenants._closing:
            await asyncio.wait(list(self.tenants._closing.values()))
        return self.seen

    def open_now(self) -> set[str]:
        return {tenant.company for tenant in self.tenants.opened()}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    made.closing.set()
    await made.tenants.close()
    opened, closed = ([name for what, name in made.seen if what == word] for word in ("open", "close"))
    assert sorted(opened) == sorted(closed)
    assert [t.name for t in threading.enumerate() if t.name.startswith(("store", "read", "registry"))] == []


async def test_the_store_that_was_used_longest_ago_is_closed_when_there_are_too_many(world: World) -> None:
    await world.look("a", "b", "c", "a", "d")
    assert ("close", "b") in await world.settled()
    assert world.open_now() == {"a", "c", "d"}


async def test_a_store_in_use_is_never_closed(world: World) -> None:
    async with world.tenants.using("a") as tenant:
        await world.look("b", "c", "d", "e", "f")
        await world.settled()
        assert "a" in world.open_now()
        assert await tenant.read(lambda store: store.cursor()) == 0


async def test_more_companies_than_may_stay_open_can_be_in_use_together(world: World) -> None:
    tenants = [await world.tenants.hold(name) for name in "abcdef"]
    assert world.open_now() == set("abcdef")
    for tenant in tenants:
        world.tenants.let_go(tenant)
    await world.settled()
    assert world.open_now() == set("def")


async def test_whoever_waits_for_changes_keeps_the_store_open(world: World) -> None:
    waiting = asyncio.create_task(world.tenants.wait("a", 0, 600.0))
    await world.look("b", "c", "d", "e")
    await world.settled()
    async with world.tenants.using("a") as tenant:
        tenant.moved()
    await waiting
    assert ("close", "a") not in world.seen


async def test_a_company_asked_for_while_its_store_closes_waits_and_gets_a_new_one(world: World) -> None:
    world.closing.clear()
    await world.look("a", "b", "c", "d")
    again = asyncio.create_task(world.look("a"))
    await asyncio.sleep(0)
    assert not again.done()
    world.closing.set()
    await again
    mine = [what for what, name in world.seen if name == "a"]
    assert mine == ["open", "close", "open"]


async def test_many_callers_share_one_opening(world: World) -> None:
    await asyncio.gather(*(world.look("a") for _ in range(20)))
    assert world.seen == [("open", "a")]


async def test_an_opening_that_failed_is_tried_again_by_the_next_caller(world: World) -> None:
    world.trouble = StoreError("C3105", "another process holds the file", where="a.db")
    found: list[Any] = await asyncio.gather(*(world.look("a") for _ in range(3)), return_exceptions=True)
    assert [getattr(error, "code", error) for error in found] == ["C3105"] * 3
    world.trouble = None
    await world.look("a")


async def test_a_caller_that_goes_away_leaves_the_opening_to_the_others(world: World) -> None:
    impatient, patient = (asyncio.create_task(world.look("a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_no_read_ever_meets_a_closed_store_however_fast_they_change(world: World) -> None:
    async def reader(first: int) -> None:
        for number in range(15):
            await world.look("abcdefgh"[(first + number * 3) % 8])

    await asyncio.gather(*(reader(n) for n in range(8)))
    await world.settled()
    assert len(world.open_now()) == 3


async def test_a_folder_that_cannot_be_used_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "companies").write_text("a file")
    with pytest.raises(StoreError) as caught:
        await world.look("a")
    assert (caught.value.code, caught.value.where) == ("C3101", str(tmp_path / "companies"))
