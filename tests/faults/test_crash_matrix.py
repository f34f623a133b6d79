"""Either program ends between any two durable steps of a full and a differential cycle; then both are equal all the same."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.one_process import Killed, World, company_of, lived, small_buffers
from tests.support.sim_erp import DATASETS
from tests.support.virtual import run_virtually

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("CDC_TEST_SIZE") == "full"
EACH = 1_000 if FULL else 2  # of a step's occurrences, those at which a process is ended; spread over the course
RETENTION = 20.0  # seconds
LITERAL = re.compile(r'\b_?(?:durable|commit|transaction|write|changing)\(\s*"([a-z_]+\.[a-z_]+)"')

EXEMPT = {
    "registry.add_company": "the operator's command, before there is an agent",
    "registry.new_code": "the operator's command; a code that was not shown is made again",
    "registry.enrol": "may be repeated with the same code, see tests/unit/cloud/test_registry.py",
    "registry.suspend": "the operator's command, one transaction",
    "registry.revoke_agent": "the operator's command, one transaction",
    "registry.add_token": "the operator's command, one transaction",
    "registry.revoke_token": "the operator's command, one transaction",
    "registry.seen": "one time stamp, which nothing is built on",
    "sqlite.install": "a person's command, one transaction that may be repeated",
    "sqlite.uninstall": "a person's command, one transaction that may be repeated",
    "sqlite.incarnation": "a person's answer to a restored database, see tests/scenario/test_recovery.py",
    "sqlserver.install": "a person's command; its script may be run again",
    "sqlserver.uninstall": "a person's command, which may be repeated",
    "sqlserver.incarnation": "a person's answer to a restored database, one statement",
    "sqlserver.witness": "see tests/faults/test_sqlserver_kills.py",
    "store.approve": "a person's answer to a held load, see tests/scenario/test_recovery.py",
    "store.reject": "a person's answer to a held load, see tests/contract/test_store.py",
    "state.private_file": "the control token, which is made anew at each start",
}


def literals() -> set[str]:
    """Names of all durable steps in the source."""
    found: set[str] = set()
    for package in ("cdc", "cloud", "transport"):
        for path in (ROOT / package).rglob("*.py"):
            found.update(LITERAL.findall(path.read_text(encoding="utf-8")))
    return found


async def course(world: World) -> None:
    """A full read by pages, changes, all of it anew, too large a window, a rebuilt table, clean-ups, a channel less."""
    for _ in range(30):
        world.erp.work()
    world.erp.bulk(60)
    await world.start()
    await world.converge()
    world.erp.work()
    await asyncio.sleep(2)
    with contextlib.suppress(Killed):
        await world.agent.full()
    world.erp.work()
    await world.converge()
    world.erp.commit(lambda _: [world.erp._photo(f"large {n}", 4_000) for n in range(120)])
    await world.converge()
    world.erp.rebuild("line", saved=False)
    world.erp.work()
    await world.converge()
    await asyncio.sleep(40)  # two clean-ups
    await world.agent.replace(company_of(world.erp.path, DATASETS[:2], retention=RETENTION))  # a channel is gone
    world.erp.work()
    await world.converge()
    await world.agent.replace(company_of(world.erp.path, DATASETS, retention=RETENTION))
    world.erp.work()
    await world.converge()


def begun(folder: Path) -> World:
    return World(folder, 7, retention=RETENTION)


def run(world: World, kill: tuple[int, bool] | None) -> list[str]:
    """The steps of the course, from the first after the set-up."""

    async def life(world: World) -> int:
        before = len(world.steps)
        if kill is not None:
            world.kill = (before + kill[0], kill[1])
        await course(world)
        return before

    with small_buffers(clean_up=15.0):
        before = run_virtually(world.clock, lived(world, life))
    return world.steps[before:]


@functools.cache
def calm() -> list[str]:
    """What the course does when nothing goes wrong; it does exactly the same up to the step at which a process ends."""
    folder = Path(tempfile.mkdtemp())
    try:
        return run(begun(folder), None)
    finally:
        shutil.rmtree(folder)


def spread(numbers: list[int], most: int) -> list[int]:
    """The first and the last, and others evenly between them."""
    if len(numbers) <= most:
        return numbers
    return [numbers[n * (len(numbers) - 1) // (most - 1)] for n in range(most)]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_durable_step_is_in_the_matrix_or_left_out_for_a_reason() -> None:
    assert set(calm()) == literals() - EXEMPT.keys()
    assert EXEMPT.keys() <= literals()


def test_the_course_does_the_same_each_time(tmp_path: Path) -> None:
    assert run(begun(tmp_path), None) == calm()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", sorted(literals() - EXEMPT.keys()))
def test_a_program_that_ends_at_a_durable_step_loses_nothing(tmp_path: Path, step: str, *, after: bool) -> None:
    numbers = [number for number, name in enumerate(calm()) if name == step]
    for number in spread(numbers, EACH):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = begun(folder)
        try:
            steps = run(world, (number, after))
        except BaseException as error:
            error.add_note(f"ended {'after' if after else 'before'} step {number}, {step}")
            error.add_note("\n".join(map(repr, world.trace[-40:])))
            raise
        assert any(event[1] == "kill" for event in world.trace), (number, step)
        assert steps[: number + 1] == calm()[: number + 1]
        shutil.rmtree(folder)
