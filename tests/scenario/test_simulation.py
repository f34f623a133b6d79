"""Agent and cloud in one process on a virtual clock: random work and random faults; the same seed, the same trace."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.random_life import live

FULL = os.environ.get("CDC_TEST_SIZE") == "full"
ACTS = 60


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of faults are logged; a failure has its trace."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", range(24))
def test_every_window_shows_the_erp_as_it_was_and_in_the_end_both_are_equal(tmp_path: Path, seed: int) -> None:
    world = live(tmp_path, seed, ACTS)
    assert world.applied > 0
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("seed", [1, 6, 14])
def test_the_same_seed_gives_the_same_trace(tmp_path: Path, seed: int) -> None:
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    one, other = (live(folder, seed, ACTS) for folder in folders)
    assert one.trace == other.trace
    assert one.steps == other.steps


def test_another_seed_gives_another_trace(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    assert live(folders[0], 2, 10).trace != live(folders[1], 3, 10).trace


@pytest.mark.full
@pytest.mark.timeout(3_000)
@pytest.mark.skipif(not FULL, reason="CDC_TEST_SIZE=full")
@pytest.mark.parametrize("part", range(10))
def test_many_long_lives_end_well(tmp_path: Path, part: int) -> None:
    for seed in range(10_000 + part * 60, 10_000 + (part + 1) * 60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        live(folder, seed, 3 * ACTS)
        shutil.rmtree(folder)
