"""Cycles of capture over an ERP in memory and a real journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdc.capture import ACCEPTED, Declared, Did
from cdc.errors import CompanyStopped, DatasetPaused, Transient
from cdc.model import Dataset, Direction, Note, Position
from cdc.sources.base import Pulse
from cdc.status import Phase
from tests.support.capture_world import MIB, CaptureWorld
from tests.support.memory_source import connection_lost, dataset


class Failing:
    """A reader to which the changes of dataset a are closed."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def __aenter__(self) -> Any:
        self._reader = await self._context.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._context.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def changes(self, dataset: Dataset, *rest: Any) -> Any:
        return self._closed() if dataset.name == "a" else self._reader.changes(dataset, *rest)

    async def _closed(self) -> Any:
        if self._reader is not None:
            raise DatasetPaused("A2412", "the table is locked away", where="a")
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def world(path: Path) -> Iterator[CaptureWorld]:
    made = CaptureWorld(path)
    yield made
    made.journal.close()


def test_the_first_windows_bring_everything(world: CaptureWorld) -> None:
    world.fill("a", range(10))
    assert world.cycle() is Did.WINDOW
    world.settle()
    assert world.equal()
    assert [s[0] for s in world.copy.swaps] == ["a", "b"]


def test_a_change_is_in_the_next_window(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    with world.erp.commit() as erp:
        erp.put("a", 1, "new")
        erp.drop("a", 2)
        erp.put("b", 7, "other")
    world.settle()
    assert world.equal()
    assert len(world.copy.ends) == 2
    assert (world.copy.ends[1].from_version, world.copy.ends[1].to_version, world.copy.ends[1].rows) == (1, 2, 3)


def test_an_idle_poll_reads_nothing(world: CaptureWorld) -> None:
    world.settle()
    world.source.reads.clear()
    assert world.cycle() is Did.IDLE
    assert world.source.reads == []


def test_everything_is_looked_at_once_a_minute_though_nothing_moves(world: CaptureWorld) -> None:
    world.settle()
    world.clock.seconds += 61
    assert world.cycle() is Did.CHECKED
    assert world.cycle() is Did.IDLE


def test_without_the_channel_in_the_journal_capture_waits_for_the_cloud(path: Path) -> None:
    world = CaptureWorld(path)
    world.journal._channels.clear()
    assert world.cycle() is Did.WAITING
    assert world.said[-1].phase is Phase.WAITING
    world.journal.close()


def test_commits_of_others_move_the_position_but_not_with_every_poll(world: CaptureWorld) -> None:
    world.settle()
    for _ in range(20):
        with world.erp.commit():
            pass
        world.clock.seconds += 1
        world.cycle()
    world.drain()
    assert 2 <= len(world.copy.ends) <= 4
    with world.erp.commit():
        pass
    assert world.cycle() is Did.CHECKED
    world.clock.seconds += 11
    assert world.cycle() is Did.WINDOW
    world.drain()
    assert world.copy.version == world.erp.version


def test_a_large_table_is_loaded_page_by_page_while_changes_flow(path: Path) -> None:
    world = CaptureWorld(path, page_rows=100)
    world.fill("a", range(1000))
    pages = 0
    while world.cycle() is Did.LOADED:
        pages += 1
        with world.erp.commit() as erp:
            erp.put("a", pages * 37 % 1000, f"changed {pages}")
            erp.drop("a", pages * 91 % 1000)
            erp.put("b", pages, "b")
        world.drain()
        assert "b" in world.copy.reloading
    world.settle()
    assert pages >= 10
    assert world.equal()
    world.journal.close()


def test_a_load_goes_on_at_its_page_after_a_restart(path: Path) -> None:
    world = CaptureWorld(path, page_rows=100)
    world.fill("a", range(1000))
    for _ in range(4):
        assert world.cycle() is Did.LOADED
    world.restart()
    world.source.reads.clear()
    world.settle()
    assert world.equal()
    assert world.source.reads.count("page:a") == 6
    assert [s[0] for s in world.copy.swaps].count("a") == 1
    world.journal.close()


def test_pages_of_heavy_rows_are_small(path: Path) -> None:
    world = CaptureWorld(path, page_rows=1000, page_bytes=100_000)
    world.fill("a", range(2000), "x" * 1000)
    while world.cycle() is Did.LOADED:
        pass
    world.settle()
    assert world.equal()
    ends = [end.rows for end in world.copy.ends]
    assert max(ends[1:]) <= 110
    world.journal.close()


def test_a_window_that_outgrows_its_limit_is_abandoned_and_its_big_dataset_read_by_pages(path: Path) -> None:
    world = CaptureWorld(path, window_limit=60_000, page_rows=300)
    world.fill("b", range(5))
    world.settle()
    random = Random(1)
    with world.erp.commit() as erp:
        for key in range(3000):
            erp.put("a", key, random.randbytes(30).hex())
        erp.put("b", 1, "changed")
    assert world.cycle() is Did.LOADED
    world.drain()
    assert world.copy.reloading == ["a"]
    assert world.copy.visible["b"][(1,)] == ("changed",)
    world.settle()
    assert world.equal()
    world.journal.close()


def test_a_full_journal_pauses_capture_and_it_resumes_by_itself(path: Path) -> None:
    world = CaptureWorld(path, limit=MIB, min_room=MIB // 2, page_bytes=200_000, page_rows=500)
    random = Random(1)
    with world.erp.commit() as erp:
        for key in range(3000):
            erp.put("a", key, random.randbytes(300).hex())
    did = world.cycle()
    while did is Did.LOADED:
        did = world.cycle()
    assert did is Did.FULL
    assert [p.code for p in world.said[-1].problems] == ["A2103"]
    assert world.said[-1].phase is Phase.WAITING
    since = world.said[-1].problems[0].since
    world.clock.seconds += 5
    assert world.cycle() is Did.FULL
    assert world.said[-1].problems[0].since == since
    for _ in range(50):
        world.drain()
        if world.cycle() not in (Did.LOADED, Did.FULL):
            break
    world.settle()
    assert world.equal()
    assert world.said[-1].problems == ()
    world.journal.close()


def test_a_window_that_does_not_fit_yet_waits_instead_of_being_read_anew(path: Path) -> None:
    world = CaptureWorld(path, limit=MIB, min_room=100_000)
    world.settle()
    random = Random(1)
    for n in range(3):
        with world.erp.commit() as erp:
            for key in range(1500):
                erp.put("a", n * 1500 + key, random.randbytes(300).hex())
        assert world.cycle() is (Did.WINDOW if n < 2 else Did.FULL)
    assert world.cycle() is Did.FULL
    world.drain()
    assert world.cycle() is Did.WINDOW
    world.settle()
    assert world.equal()
    assert [s[0] for s in world.copy.swaps] == ["a", "b"]
    world.journal.close()


def test_a_restored_erp_stops_the_company_and_nothing_is_captured(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    backup = world.erp.backup()
    world.fill("a", range(3, 6))
    world.settle()
    ends = len(world.copy.ends)
    for n in range(10):  # the restored database has gone on, beyond the position's version
        backup.version += 1
        backup.put("a", 100 + n, "other history")
    world.source.erp = world.erp = backup
    with pytest.raises(CompanyStopped) as caught:
        world.cycle()
    assert caught.value.code == "A2401"
    with pytest.raises(CompanyStopped):
        world.cycle()
    world.drain()
    assert len(world.copy.ends) == ends


def test_a_history_that_a_person_accepted_is_read_anew(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    backup = world.erp.backup()
    world.fill("a", range(3, 6))
    world.settle()
    world.source.erp = world.erp = backup
    with pytest.raises(CompanyStopped):
        world.cycle()
    accepted = world.run(world.source.new_incarnation())
    world.restart()
    with pytest.raises(CompanyStopped) as caught:
        world.cycle()
    assert caught.value.code == "A2402"
    world.journal.put(ACCEPTED, accepted)
    world.restart()
    world.settle()
    assert world.equal()


def test_a_truncated_table_is_read_anew_though_no_version_moved_past_the_position(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.erp.truncate("a")
    world.settle()
    assert world.equal()


def test_lost_tracking_is_repaired_and_the_table_read_anew(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.erp.untrack("a")
    with world.erp.commit() as erp:
        erp.tables["a"].rows[9] = ("untracked",)
    world.settle()
    assert world.equal()
    assert world.said[-1].problems == ()


def test_a_table_that_cannot_be_repaired_is_paused_alone_and_read_anew_later(
    world: CaptureWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settle()

    async def nothing(datasets: Any) -> list[str]:
        return []

    with monkeypatch.context() as patch:
        patch.setattr(world.source, "repair", nothing)
        world.erp.untrack("a")
        world.fill("b", range(5))
        world.settle()
        assert [(p.code, p.where) for p in world.said[-1].problems] == [("A2411", "a")]
        assert world.copy.reloading == ["a"]
        assert len(world.copy.visible["b"]) == 5
        assert world.cycle() is Did.IDLE
    with world.erp.commit() as erp:
        erp.tables["a"].rows[9] = ("untracked",)
    world.clock.seconds += 61
    world.settle()
    assert world.equal()
    assert world.said[-1].problems == ()


def test_history_that_was_cleaned_up_is_read_anew(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.fill("a", range(3, 6))
    with world.erp.commit() as erp:
        erp.drop("a", 1)
    world.erp.forget(world.erp.version)
    world.settle()
    assert world.equal()


def test_a_changed_filter_and_a_new_column_are_read_anew(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.declared = Declared((Dataset(name="a", table="a", channel="hr", filter="id > 0"), dataset("b")))
    assert world.cycle() is Did.WINDOW
    world.drain()
    assert [s[0] for s in world.copy.swaps] == ["a", "b", "a"]


def test_a_dataset_taken_out_of_the_file_is_detached_and_a_broken_one_only_paused(world: CaptureWorld) -> None:
    world.settle()
    world.declared = Declared((), broken=("b",))
    world.settle()
    assert world.copy.detached == {"a"}
    assert world.copy.reloading == ["b"]
    world.declared = Declared((dataset("a"), dataset("b")))
    world.clock.seconds += 1
    world.fill("a", range(2))
    world.settle()
    assert world.equal()


def test_a_dataset_sent_once_is_not_captured_after_its_load(world: CaptureWorld) -> None:
    once = Dataset(name="a", table="a", channel="hr", direction=Direction.ONCE)
    down = Dataset(name="b", table="b", channel="hr", direction=Direction.DOWN)
    world.declared = Declared((once, down))
    world.fill("a", range(3))
    world.settle()
    world.fill("a", range(9))
    world.settle()
    assert len(world.copy.visible["a"]) == 3
    assert "b" not in world.copy.visible


def test_a_dataset_that_cannot_be_read_is_paused_alone(world: CaptureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill("a", range(3))
    world.fill("b", range(3))
    world.settle()
    world.fill("a", range(4))
    with world.erp.commit() as erp:
        for key in range(9):
            erp.put("b", key, "new")
    reader = world.source.reader
    with monkeypatch.context() as patch:
        patch.setattr(world.source, "reader", lambda: Failing(reader()))
        assert world.cycle() is Did.WINDOW
    world.drain()
    assert world.copy.reloading == ["a"]
    assert len(world.copy.visible["b"]) == 9
    assert [p.where for p in world.said[-1].problems] == ["a"]
    world.clock.seconds += 61
    world.settle()
    assert world.equal()


def test_a_full_read_that_was_asked_for_survives_a_restart_and_keeps_the_copy_current(path: Path) -> None:
    world = CaptureWorld(path, page_rows=100)
    world.fill("a", range(250))
    world.settle()
    world.run(world.capture.request_full())
    world.restart()
    with world.erp.commit() as erp:
        erp.put("a", 1, "meanwhile")
    assert world.cycle() is Did.LOADED
    world.drain()
    assert world.copy.reloading == []
    assert world.copy.visible["a"][(1,)] == ("meanwhile",)
    world.settle()
    assert world.equal()
    assert [s[0] for s in world.copy.swaps] == ["a", "b", "a", "b"] or len(world.copy.swaps) == 4
    assert world.journal.get("next_full:hr") is None
    world.journal.close()


def test_one_dataset_alone_can_be_read_anew(world: CaptureWorld) -> None:
    world.settle()
    world.run(world.capture.request_full(["b"]))
    world.settle()
    assert [s[0] for s in world.copy.swaps] == ["a", "b", "b"]


def test_a_lost_journal_goes_on_from_the_position_the_cloud_has(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.fill("a", range(3, 6))
    world.cycle()
    world.journal.restart("hr", world.copy.position)  # what was captured since is gone with the journal
    world.source.reads.clear()
    world.settle()
    assert world.equal()
    assert not [r for r in world.source.reads if r.startswith("page")]


def test_a_position_from_the_middle_of_a_load_goes_on_at_its_page(path: Path) -> None:
    world = CaptureWorld(path, page_rows=100)
    world.fill("a", range(1000))
    for _ in range(4):
        world.cycle()
    world.drain(2)
    world.cycle()
    world.journal.restart("hr", world.copy.position)
    world.settle()
    assert world.equal()
    world.journal.close()


def test_a_window_during_which_the_channel_was_restarted_is_read_again(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.fill("a", range(5))
    witness = world.source.witness

    async def restarting(position: Position, keep_from: int) -> None:
        await witness(position, keep_from)
        world.journal.restart("hr", world.copy.position)

    world.source.witness = restarting  # type: ignore[method-assign]
    assert world.cycle() is Did.CHECKED
    world.source.witness = witness  # type: ignore[method-assign]
    world.settle()
    assert world.equal()


def test_a_window_read_from_a_position_that_is_no_longer_the_channels_is_never_written(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    world.settle()
    world.fill("a", range(3, 6))
    assert world.cycle() is Did.WINDOW  # the cloud does not get this one
    world.fill("a", range(6, 9))
    pulse = world.source.pulse

    async def restarting() -> Pulse:
        world.journal.restart("hr", world.copy.position)
        return await pulse()

    world.source.pulse = restarting  # type: ignore[method-assign]
    assert world.cycle() is Did.CHECKED
    world.source.pulse = pulse  # type: ignore[method-assign]
    world.settle()
    assert world.equal()


def test_a_lost_connection_is_raised_and_the_next_cycle_looks_at_everything(world: CaptureWorld) -> None:
    world.settle()
    world.fill("a", range(3))
    world.source.failures.append(connection_lost())
    with pytest.raises(Transient):
        world.cycle()
    world.settle()
    assert world.equal()


def test_rows_that_cannot_travel_are_withheld_and_counted(world: CaptureWorld) -> None:
    world.fill("a", range(3))
    with world.erp.commit() as erp:
        erp.put("a", 1, "half \ud800 pair")
    assert world.cycle() is Did.WINDOW
    world.copy.drain(world.journal, "hr")
    assert world.copy.visible["a"] == {(0,): ("x",), (1,): "T1009", (2,): ("x",)}


def test_the_witness_log_keeps_what_any_channel_may_ask_for(world: CaptureWorld) -> None:
    for n in range(5):
        world.fill("a", range(n + 1))
        world.settle()
        world.erp.forget(world.erp.version)
        world.clock.seconds += 61
    position = Position.decode(world.copy.position)
    assert (position.incarnation, position.version, position.nonce) in world.erp.witnessed
    assert len(world.erp.witnessed) < 5


def test_run_polls_until_it_is_stopped_and_wakes_when_told(world: CaptureWorld) -> None:
    async def scenario() -> None:
        stop = asyncio.Event()
        task = asyncio.ensure_future(world.capture.run(stop))
        await asyncio.sleep(3.5)
        world.fill("a", range(3))
        before = world.clock.seconds
        world.capture.wake.set()
        await asyncio.sleep(0.1)
        assert world.copy.drain(world.journal, "hr")
        assert world.clock.seconds - before < 0.2
        await asyncio.sleep(5)
        stop.set()
        await task

    world.run(scenario())
    assert world.equal()
    assert world.said[0].phase is Phase.STARTING
    assert world.said[-1].phase is Phase.CURRENT


# -- what a source says of itself ------------------------------------------------------------------------------------------


def test_a_degraded_mode_is_shown_as_long_as_it_lasts(world: CaptureWorld) -> None:
    world.erp.notes = (Note("A2418", "read without snapshots"),)
    world.settle()
    (problem,) = world.said[-1].problems
    assert (problem.code, problem.where, problem.message) == ("A2418", "hr", "read without snapshots")
    assert world.said[-1].phase is Phase.CURRENT
    world.erp.notes = ()
    world.capture.wake.set()
    world.clock.seconds += 60
    world.settle()
    assert world.said[-1].problems == ()


def test_the_retention_runs_only_while_nothing_can_be_captured(path: Path) -> None:
    world = CaptureWorld(path, limit=MIB, min_room=MIB // 2)
    world.erp.retention = 7200.0
    world.settle()
    assert world.said[-1].retention_left == 7200.0
    random, did = Random(1), Did.WINDOW
    while did is Did.WINDOW:
        with world.erp.commit() as erp:
            for key in range(500):
                erp.put("a", key, random.randbytes(300).hex())
        did = world.cycle() or Did.WINDOW
    assert did is Did.FULL
    assert world.said[-1].retention_left is None
    world.journal.close()
