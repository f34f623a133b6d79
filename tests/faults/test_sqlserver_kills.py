"""The agent's process ends between any two durable steps of a window on SQL Server; afterwards nothing is missing."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from cdc.capture import Capture, CaptureSettings, Declared, Did
from cdc.journal import Journal
from cdc.model import Dataset
from cdc.sources.sqlserver.source import SqlServerSource
from tests.support.capture_world import MIB, Killed, Steps
from tests.support.copy_model import CopyModel
from tests.support.sqlserver_erp import SqlServerErp, SqlServerSession, sqlserver_erp
from tests.support.virtual import InlineExecutor
from transport.machine import SystemClock, ThreadExecutor
from transport.runtime import Runtime

__all__ = ["sqlserver_erp"]  # a fixture

STAFF = Dataset(name="staff", table="dbo.staff", channel="hr")
ROWS = 12
FULL = os.environ.get("CDC_TEST_SIZE") == "full"
WORK = (
    "UPDATE staff SET name = 'x' WHERE id < 5",
    "DELETE FROM staff WHERE id = 3",
    "UPDATE staff SET id = id + 100 WHERE id = 7",
    "INSERT INTO staff(id, name) VALUES (3, 'back')",
)


class Nth(Steps):
    """Ends the process at the nth time of one step."""

    def __init__(self, name: str, nth: int, *, after: bool) -> None:
        super().__init__()
        self._left = nth
        self._name = name
        self.after = after

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        self._left -= step == self._name
        if self._left == 0:
            self._left, self.kill_at = -1, len(self.names)
        with super().__call__(step):
            yield


class Life:
    """A channel whose process may end at a step, and begins anew."""

    def __init__(self, folder: Path, erp: SqlServerErp, steps: Steps) -> None:
        self._folder = folder
        self._erp = erp
        self.steps = steps
        self.copy = CopyModel()
        self.ended = 0

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[tuple[Capture, Journal]]:
        runtime = Runtime(clock=SystemClock(), random=Random(1), executor=ThreadExecutor, durable=self.steps)
        self._folder.mkdir(exist_ok=True)
        journal = Journal(self._folder / "journal.db", limit=64 * MIB, reserve=0, new_id=runtime.new_id, durable=self.steps)
        source = SqlServerSource(self._erp.server.settings(self._erp.database), runtime, structure_every=0.0)
        try:
            journal.open()
            await source.open()
            if journal.channel("hr") is None:
                journal.restart("hr", b"")
            settings = CaptureSettings(page_rows=5)
            yield (
                Capture("hr", lambda: Declared((STAFF,)), source, journal, InlineExecutor(), runtime, settings, _nobody),
                journal,
            )
        finally:
            self.steps.revive()
            await source.close()
            journal.close()

    async def until_idle(self) -> None:
        """As often as its process ends, another one goes on."""
        while True:
            try:
                async with self.process() as (capture, journal):
                    self._resume(journal)
                    did = None
                    while did not in (Did.IDLE, Did.CHECKED):
                        did = await capture.cycle()
                        self.copy.drain(journal, "hr", 1_000)
                    return
            except Killed:
                self.ended += 1

    def _resume(self, journal: Journal) -> None:
        self.copy.reconnect()
        state = journal.channel("hr")
        if state is not None and self.copy.applied(state.journal_id) > state.applied:
            journal.applied("hr", self.copy.applied(state.journal_id))


def _nobody(_: object) -> None:
    """Nobody looks at the status."""


async def course(life: Life, session: SqlServerSession) -> None:
    await life.until_idle()
    for statement in WORK:
        await asyncio.to_thread(session.execute, statement)
        await life.until_idle()


def equal(life: Life, session: SqlServerSession) -> bool:
    return life.copy.visible["staff"] == {(key,): (name,) for key, name in session.execute("SELECT id, name FROM staff")}


async def lived(folder: Path, erp: SqlServerErp, steps: Steps) -> int:
    """One whole life on a table as it was at first; how often its process ended."""
    session = erp.connect()
    session.execute("DELETE FROM staff")
    for key in range(ROWS):
        session.execute("INSERT INTO staff(id, name) VALUES (?, ?)", [key, f"n{key}"])
    life = Life(folder, erp, steps)
    await course(life, session)
    assert equal(life, session), steps.names
    session.close()
    return life.ended


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_process_that_ends_at_any_durable_step_loses_nothing(
    tmp_path: Path, sqlserver_erp: SqlServerErp, *, after: bool
) -> None:
    sqlserver_erp.create("staff", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    owner = sqlserver_erp.source()
    await owner.open()
    await sqlserver_erp.install(owner, [STAFF])
    await owner.close()
    calm = Steps()
    assert await lived(tmp_path / "calm", sqlserver_erp, calm) == 0
    assert calm.names.count("sqlserver.witness") > len(WORK)
    for name, times in Counter(calm.names).items():
        for nth in {1, min(times, len(WORK))} if FULL else {min(times, 2)}:
            folder = tmp_path / f"{name}-{nth}"
            assert await lived(folder, sqlserver_erp, Nth(name, nth, after=after)) == 1, (name, nth)
