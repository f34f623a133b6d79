"""The agent's process ends between any two durable steps of capture and journal; afterwards nothing is missing."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.support.capture_world import CaptureWorld


def script(world: CaptureWorld) -> None:
    """A load by pages with changes in between, deletes, a window that outgrows its limit, a full read that is asked for."""
    with world.erp.commit() as erp:
        for key in range(60):
            erp.put("a", key, f"first {key}")
    for step in range(6):
        world.cycle()
        world.drain(1)
        with world.erp.commit() as erp:
            erp.put("a", step * 7, f"changed {step}")
            erp.drop("a", step * 11 + 1)
            erp.put("b", step, "b")
    world.settle()
    with world.erp.commit() as erp:
        for key in range(100, 200):
            erp.put("a", key, f"{key * 7919 % 10007}" * 5)
    world.cycle()
    world.journal.put("next_full:hr", b"")
    world.settle()
    with world.erp.commit() as erp:
        erp.drop("a", 3)
    world.settle()


def make(path: Path) -> CaptureWorld:
    return CaptureWorld(path / "journal.sqlite", page_rows=20, window_limit=2000)


def step_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    world = make(tmp_path_factory.mktemp("calm"))
    begun = len(world.steps.names)
    script(world)
    world.journal.close()
    assert world.equal()
    return world.steps.names[begun:]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_that_ends_at_any_durable_step_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, *, after: bool
) -> None:
    names = step_names(tmp_path_factory)
    assert {"erp.witness", "journal.window", "journal.applied", "journal.setting"} <= set(names)
    for number in range(len(names)):
        world = make(tmp_path_factory.mktemp("kill"))
        world.steps.kill_at = len(world.steps.names) + number
        world.steps.after = after
        if names[number] == "journal.setting":  # a person's request: whoever asked sees that it failed
            world.journal.close()
            continue
        script(world)
        assert len(world.steps.names) > len(names), names[number]  # it was ended, and did more
        assert world.equal(), names[number]
        world.journal.close()


def test_open_frames_of_a_large_window_are_left_behind_by_no_kill(tmp_path: Path) -> None:
    world = CaptureWorld(tmp_path / "journal.sqlite")
    random = Random(1)
    big = [random.randbytes(1500).hex() for _ in range(4000)]
    with world.erp.commit() as erp:
        for key, text in enumerate(big):
            erp.put("a", key, text)
    world.settle()
    with world.erp.commit() as erp:
        for key, text in enumerate(big):
            erp.put("a", key, text[::-1])
    before = len(world.steps.names)
    world.cycle()
    assert "journal.frames" in world.steps.names[before:]
    world.drain()
    with world.erp.commit() as erp:
        for key, text in enumerate(big):
            erp.put("a", key, text)
    world.steps.kill_at = len(world.steps.names) + 1
    assert world.cycle() is None
    state = world.journal.channel("hr")
    assert state is not None
    assert world.journal.used() == state.bytes
    world.settle()
    assert world.equal()
    world.journal.close()
