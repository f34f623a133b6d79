"""What befalls an installation: files lost or put back, tables rebuilt, datasets moved. In the end both sides are equal."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdc.model import Dataset
from tests.support.one_process import COMPANY, World, company_of, lived, small_buffers
from tests.support.sim_erp import DATASETS
from tests.support.virtual import run_virtually

CHECK = 60.0  # seconds within which an idle database is looked at


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def life(folder: Path, course: Callable[[World], Awaitable[Any]], clean_up: float = 3_600.0, **settings: Any) -> World:
    """A world at work, then what befalls it."""
    world = World(folder, 3, **settings)

    async def whole(world: World) -> None:
        for _ in range(25):
            world.erp.work()
        await world.start()
        await world.converge()
        await course(world)
        world.fail_if_broken()

    with small_buffers(clean_up):
        run_virtually(world.clock, lived(world, whole))
    return world


def delete_journal(world: World) -> None:
    for path in world.agent.journal.parent.glob("journal.db*"):
        path.unlink()


async def until_step(world: World, name: str) -> None:
    """Until this durable step is done once more."""
    seen, began = len(world.steps), world.clock.seconds
    while name not in world.steps[seen:]:
        assert world.clock.seconds < began + 60, world.steps[seen:]
        await asyncio.sleep(0.0001)


def half_there(world: World) -> list[str]:
    """Channels of whose next window the cloud has a part."""
    with contextlib.closing(sqlite3.connect(world.cloud.copy)) as db:
        return [name for (name,) in db.execute("SELECT name FROM _channel WHERE staged > applied")]


def generations(world: World) -> dict[str, int]:
    return {d.name: d.generation for d in world.cloud._stores[-1].datasets()}


def codes(world: World) -> set[str]:
    assert world.agent.board is not None
    company = world.agent.board.health(world.clock.now()).companies[0]
    return {problem.code for problem in company.problems}


# -- the agent's folder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["journal.frames", "store.stage"])
def test_a_journal_that_is_deleted_in_mid_window_costs_nothing(tmp_path: Path, step: str) -> None:
    """Of a window being written, and of one that the cloud has half: it is read again from the cloud's position."""

    async def course(world: World) -> None:
        before = generations(world)
        if step == "store.stage":
            await world.agent.full()  # pages of both datasets are more than the cloud takes at a time
        world.erp.commit(lambda _: [world.erp._photo(f"half {n}", 1_500) for n in range(40)])
        await until_step(world, step)
        await world.crash(world.agent, lambda: delete_journal(world))
        assert step != "store.stage" or half_there(world)
        world.erp.work()
        await world.agent.start()
        await world.converge()
        assert step == "store.stage" or generations(world) == before  # nothing was read anew

    life(tmp_path, course)


def test_a_journal_restored_from_yesterday_follows_the_cloud(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        saved = world.save("agent", "yesterday")
        for _ in range(5):
            world.erp.work()
        await world.converge()
        before, applied = generations(world), world.positions()
        identity = world.agent.journal.with_suffix(".identity")
        newest = identity.read_bytes()
        await world.crash(world.agent, lambda: world.put_back("agent", saved))
        identity.write_bytes(newest)
        world.erp.work()
        await world.agent.start()
        await world.converge()
        assert generations(world) == before
        assert all(world.positions()[channel].version >= applied[channel].version for channel in applied)

    life(tmp_path, course)


def test_a_whole_folder_restored_from_yesterday_stops_until_somebody_takes_over(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        saved = world.save("agent", "yesterday")
        await world.agent.stop()
        await world.agent.start()
        world.erp.work()
        await world.converge()
        applied = world.applied
        await world.crash(world.agent, lambda: world.put_back("agent", saved))
        world.erp.work()
        await world.agent.start()
        await asyncio.sleep(200)
        assert (world.stopped, world.applied) == ("A2606", applied)
        assert ("link", "refused", "C3206") in [event[1:] for event in world.trace]
        world.agent.take_over()
        await world.converge(person=False)

    life(tmp_path, course)


# -- the ERP ---------------------------------------------------------------------------------------------------------------


def test_a_machine_restored_with_erp_and_agent_applies_nothing_before_a_person_has_spoken(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.expected |= {"A2401", "A2402"}
        saved = {family: world.save(family, "image") for family in ("agent", "erp")}
        await world.agent.stop()
        await world.agent.start()
        for _ in range(5):
            world.erp.work()
        await world.converge()
        position, applied, before = world.positions(), world.applied, generations(world)

        def restore() -> None:
            world.put_back("agent", saved["agent"])
            world.put_back_erp(saved["erp"])

        await world.crash(world.agent, restore)
        for _ in range(20):  # past the version that the cloud has
            world.erp.work()
        assert world.erp.version > max(p.version for p in position.values())
        await world.agent.start()
        await asyncio.sleep(100)
        assert world.stopped == "A2606"
        world.agent.take_over()
        await asyncio.sleep(100)
        assert world.stopped == "A2401"
        assert (world.positions(), world.applied) == (position, applied)
        await world.agent.restored("real")
        await world.converge()
        assert all(p.incarnation != position["hr"].incarnation for p in world.positions().values())
        assert all(generations(world)[name] > before[name] for name in before)

    life(tmp_path, course)


def test_a_restored_erp_is_noticed_under_the_running_agent(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.expected |= {"A2401", "A2402"}
        saved = world.save("erp", "backup")
        for _ in range(5):
            world.erp.work()
        await world.converge()
        applied = world.applied
        world.put_back_erp(saved)
        await asyncio.sleep(CHECK)
        assert (world.stopped, world.applied) == ("A2401", applied)

    life(tmp_path, course)


def test_a_copy_is_left_alone(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.expected |= {"A2401", "A2608"}
        saved = world.save("erp", "backup")
        world.erp.work()
        await world.converge()
        applied = world.applied
        world.put_back_erp(saved)
        await asyncio.sleep(CHECK)
        await world.agent.restored("copy")
        await asyncio.sleep(5)
        assert world.stopped == "A2608"
        steps = len(world.steps)
        world.agent.take_over()  # whatever wakes it
        await asyncio.sleep(1_000)
        assert set(world.steps[steps:]) <= {"journal.open"}
        await world.crash(world.agent)
        await world.agent.start()
        await asyncio.sleep(100)
        assert (world.stopped, world.applied) == ("A2608", applied)

    life(tmp_path, course)


@pytest.mark.parametrize("saved", [False, True], ids=["triggers lost", "triggers made again"])
@pytest.mark.parametrize("table", ["person", "line"])
def test_a_rebuilt_table_is_read_anew_with_what_was_written_meanwhile(tmp_path: Path, table: str, *, saved: bool) -> None:
    async def course(world: World) -> None:
        name = {"person": "people", "line": "lines"}[table]
        before = generations(world)
        await world.agent.stop()
        world.erp.rebuild(table, saved=False)
        world.erp.commit(
            lambda db: db.execute(
                f"DELETE FROM {table} WHERE rowid % 4 = 0" if table == "person" else "DELETE FROM line WHERE pos = 1"
            )
        )
        if saved:
            world.erp.rebuild(table, saved=saved)
        await world.agent.start()
        await world.converge()
        assert {n for n in before if generations(world)[n] > before[n]} == {name}

    life(tmp_path, course)


def test_a_table_dropped_and_made_anew_in_an_idle_database_is_noticed_within_a_minute(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.erp.commit(lambda db: db.execute("DELETE FROM person WHERE id > 8"))  # few enough to go without being asked for
        await world.converge()
        await asyncio.sleep(90)
        version = world.erp.version
        world.erp.empty("person")
        assert world.erp.version == version
        await asyncio.sleep(CHECK + 1)
        world.assert_equal(["people"])

    life(tmp_path, course)


def test_change_records_that_somebody_removed_are_not_missed(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        await world.agent.stop()
        for _ in range(4):
            world.erp.work()
        world.erp.commit(lambda db: db.execute("DELETE FROM _cdc_log WHERE seq = (SELECT max(seq) - 3 FROM _cdc_log)"))
        await world.agent.start()
        await world.converge()

    life(tmp_path, course)


def test_a_vacuum_costs_no_full_read(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        before = generations(world)
        world.erp.db.execute("VACUUM")
        world.erp.work()
        await asyncio.sleep(CHECK + 5)
        await world.converge()
        assert generations(world) == before

    life(tmp_path, course)


def test_an_agent_that_was_away_for_longer_than_the_retention_misses_nothing(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        before = generations(world)
        await world.agent.stop()
        for _ in range(3):
            world.erp.work()
        await asyncio.sleep(600)
        await world.agent.start()
        await world.converge()
        assert generations(world) == before  # records that nobody has read are not removed
        removed = world.steps.count("sqlite.clean_up")
        world.erp.work()
        await asyncio.sleep(400)
        assert world.steps.count("sqlite.clean_up") > removed
        await world.converge()
        assert generations(world) == before

    life(tmp_path, course, clean_up=60.0, retention=120.0)


# -- the cloud -------------------------------------------------------------------------------------------------------------


def test_a_cloud_restored_from_a_backup_gets_what_it_lost_again(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        saved = {family: world.save(family, "backup") for family in ("store", "registry")}
        world.cut()
        await asyncio.sleep(5)
        for _ in range(6):
            world.erp.work()
        await world.converge()
        epoch, before = world._epoch, world.positions()

        def restore() -> None:
            for family, place in saved.items():
                world.put_back(family, place)
            world.went_back(copy=True)

        await world.crash(world.cloud, restore)
        await world.cloud.start()
        await world.cloud.open()
        assert all(world.positions()[channel].version < before[channel].version for channel in before)
        await world.converge()
        assert world._epoch > epoch

    life(tmp_path, course)


def test_a_copy_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        def delete() -> None:
            shutil.rmtree(world.cloud.copy.parent)
            world.went_back(copy=True)

        await world.crash(world.cloud, delete)
        await world.cloud.start()
        await world.converge()

    life(tmp_path, course)


def test_a_cloud_that_lost_everything_needs_an_enrolment_and_nothing_else(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        await world.crash(world.cloud, lambda: shutil.rmtree(world.cloud.folder))
        await world.cloud.start()
        await asyncio.sleep(100)
        assert world.stopped == "A2606"
        assert ("link", "refused", "C3204") in [event[1:] for event in world.trace]
        world._positions.clear()
        await world.crash(world.agent)
        world.enrol()
        world._epoch = 0
        await world.agent.start()
        await world.converge()

    life(tmp_path, course)


# -- the configuration -----------------------------------------------------------------------------------------------------


def with_datasets(world: World, *datasets: Dataset) -> Any:
    return company_of(world.erp.path, datasets)


def moved(name: str, channel: str) -> list[Dataset]:
    return [msgspec.structs.replace(d, channel=channel) if d.name == name else d for d in DATASETS]


def test_a_removed_dataset_stays_as_it_was_and_is_read_anew_when_it_comes_back(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        people, lines, photos = DATASETS
        before = generations(world)
        await world.agent.replace(with_datasets(world, people, photos))
        world.erp.work()
        await world.converge()
        assert world.states()["lines"] == "detached"
        world.erp.bulk(20)
        await world.converge()
        await world.agent.replace(with_datasets(world, people, lines, photos))
        await world.converge()
        assert generations(world)["lines"] > before["lines"]
        assert generations(world)["people"] == before["people"]

    life(tmp_path, course)


def test_a_channel_that_is_removed_with_its_datasets_leaves_them_detached(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        people, lines, photos = DATASETS
        await world.agent.replace(with_datasets(world, people, lines))
        for _ in range(5):
            world.erp.work()
        await world.converge()
        assert world.states() == {"people": "live", "lines": "live", "photos": "detached"}
        await world.agent.replace(with_datasets(world, people, lines, photos))
        await world.converge()

    life(tmp_path, course)


@pytest.mark.parametrize("channel", ["binary", "new"])
def test_a_dataset_moved_to_another_channel_is_read_there_anew(tmp_path: Path, channel: str) -> None:
    async def course(world: World) -> None:
        before = generations(world)
        world.erp.work()
        await world.agent.replace(with_datasets(world, *moved("lines", channel)))
        for _ in range(4):
            world.erp.work()
            await asyncio.sleep(0.5)
        await world.converge()
        assert {d.name: d.channel for d in world.cloud._stores[-1].datasets()}["lines"] == channel
        assert generations(world)["lines"] > before["lines"]
        await world.agent.replace(with_datasets(world, *DATASETS))
        world.erp.work()
        await world.converge()

    life(tmp_path, course)


@pytest.mark.parametrize("back", [False, True], ids=["moved", "moved and back"])
@pytest.mark.parametrize("name", ["lines", "photos"])
def test_a_dataset_moved_while_the_cloud_is_away_is_current_afterwards(tmp_path: Path, name: str, *, back: bool) -> None:
    """Frames of both channels have waited, and no channel waits for the other: an older load may arrive after a newer one."""

    async def course(world: World) -> None:
        await world.cloud.stop()
        await world.agent.full()
        world.erp.work()
        await asyncio.sleep(5)
        to = {"lines": "binary", "photos": "hr"}[name]
        await world.agent.replace(with_datasets(world, *moved(name, to)))
        world.erp.work()
        await asyncio.sleep(5)
        if back:
            await world.agent.replace(with_datasets(world, *DATASETS))
            world.erp.work()
            await asyncio.sleep(5)
        await world.cloud.start()
        await world.converge()
        world.erp.work()
        await world.converge()

    life(tmp_path, course)


def test_a_clock_that_was_set_back_makes_no_load_look_old(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.clock.offset -= timedelta(hours=30)
        await world.crash(world.agent, lambda: delete_journal(world))
        await world.agent.replace(with_datasets(world, *moved("lines", "binary")))
        await world.converge()
        world.erp.work()
        await world.converge()

    life(tmp_path, course)


def test_a_link_that_is_cut_after_each_success_is_opened_again_at_once(tmp_path: Path) -> None:
    """A wait that grew with every cut would soon be a minute, though nothing but the link is bad."""

    async def course(world: World) -> None:
        for _ in range(12):
            world.cut()
            world.erp.work()
            await world.converge()
        links = [event for event in world.trace if event[1] == "link"]
        waits = [then[0] - cut[0] for cut, then in itertools.pairwise(links) if cut[2] == "closed"]
        assert len(waits) >= 12
        assert max(waits) < 1.0

    life(tmp_path, course)


def test_a_channel_whose_only_dataset_moves_away_is_given_up(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        await world.agent.replace(with_datasets(world, *moved("photos", "hr")))
        world.erp.work()
        await world.converge()
        await world.agent.replace(with_datasets(world, *DATASETS))
        world.erp.work()
        await world.converge()

    life(tmp_path, course)


# -- a load that would remove much -----------------------------------------------------------------------------------------


async def lose_most(world: World) -> None:
    """Everything is there; then the table is empty, and its triggers are gone."""
    world.erp.commit(lambda _: [world.erp._line(99, n) for n in range(80)])
    await world.converge()
    world.erp.empty("line")
    await asyncio.sleep(CHECK + 5)


def test_a_load_that_would_remove_much_is_held_and_shown(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        await lose_most(world)
        assert world.states()["lines"] == "held"
        assert "A2505" in codes(world)
        assert world.cloud.tenants is not None
        tenant = await world.cloud.tenants.tenant(COMPANY)
        assert await tenant.write(lambda store: store.approve("lines"))
        world.assert_equal()
        world.erp.work()
        await world.converge()
        assert "A2505" not in codes(world)

    life(tmp_path, course)


def test_a_rejected_load_leaves_the_copy_until_the_next_full_read(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        await lose_most(world)
        assert world.cloud.tenants is not None
        tenant = await world.cloud.tenants.tenant(COMPANY)
        assert await tenant.write(lambda store: store.reject("lines"))
        assert world.states()["lines"] == "reloading"
        world.erp.commit(lambda _: [world.erp._line(99, n) for n in range(80)])  # the cause is mended
        await asyncio.sleep(30)
        assert world.states()["lines"] == "reloading"
        await world.agent.full()
        await world.converge()

    life(tmp_path, course)
