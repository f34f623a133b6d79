"""An ERP in memory, a real journal, capture and a copy, any of which may be ended between two durable steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from cdc.capture import Capture, CaptureSettings, Declared, Did
from cdc.journal import Journal
from cdc.model import Position
from cdc.status import Captured
from tests.support.copy_model import CopyModel
from tests.support.memory_source import MemoryErp, MemorySource, MemoryTable, dataset
from tests.support.virtual import InlineExecutor, VirtualClock, run_virtually, virtual_runtime
from transport.frames import Cell

MIB = 1024 * 1024


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """A Durable that counts its steps, and ends the process before or after the one that is chosen."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kill_at: int | None = None
        self.after = False
        self.dead = False

    def revive(self) -> None:
        """A new process begins."""
        self.dead, self.kill_at = False, None

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        here = len(self.names) == self.kill_at
        self.names.append(step)
        self.dead = self.dead or (here and not self.after)
        if self.dead:  # and whatever cleans up on the way out
            raise Killed
        yield
        self.dead = here
        if self.dead:
            raise Killed


class Source(MemorySource):
    """Its mark in the ERP is a durable step as well."""

    def __init__(self, erp: MemoryErp, steps: Steps) -> None:
        super().__init__(erp)
        self._steps = steps

    async def witness(self, position: Position, keep_from: int) -> None:
        with self._steps("erp.witness"):
            await super().witness(position, keep_from)


class CaptureWorld:
    """Tables a and b of one channel. `restart` is what a new process does."""

    def __init__(self, path: Path, *, limit: int = 64 * MIB, **settings: Any) -> None:
        self.path = path
        self.limit = limit
        self.clock = VirtualClock()
        self.steps = Steps()
        self.erp = MemoryErp(a=MemoryTable(), b=MemoryTable())
        self.copy = CopyModel()
        self.declared = Declared((dataset("a"), dataset("b")))
        self.settings = CaptureSettings(**settings)
        self.said: list[Captured] = []
        self._seeds = count(1)
        self._checked = 0
        self.start()
        if self.journal.channel("hr") is None:
            self.journal.restart("hr", b"")

    def start(self) -> None:
        runtime = virtual_runtime(self.clock, next(self._seeds), self.steps)
        self.journal = Journal(self.path, limit=self.limit, reserve=0, new_id=runtime.new_id, durable=self.steps)
        self.journal.open()
        self.source = Source(self.erp, self.steps)
        self.capture = Capture(
            "hr", lambda: self.declared, self.source, self.journal, InlineExecutor(), runtime, self.settings, self.said.append
        )

    def restart(self) -> None:
        self.journal.close()
        self.start()

    def fill(self, table: str, keys: range, text: Cell = "x") -> None:
        with self.erp.commit() as erp:
            for key in keys:
                erp.put(table, key, text)

    def run(self, call: Any) -> Any:
        return run_virtually(self.clock, call)

    def cycle(self) -> Did | None:
        """None: the process was ended in it."""
        self.clock.seconds += 0.01
        try:
            did = self.run(self.capture.cycle())
        except Killed:
            self.steps.revive()
            self.restart()
            return None
        assert isinstance(did, Did)
        return did

    def drain(self, windows: int = 1_000_000) -> None:
        """The copy takes windows one by one; each must show the ERP as it was."""
        try:
            while windows > 0 and self.copy.drain(self.journal, "hr", 1):
                windows -= 1
                self.check()
        except Killed:
            self.check()  # the copy has the window, the journal does not know it yet
            self.steps.revive()
            self.restart()
            self.resume()

    def resume(self) -> None:
        """As at a hello: what the cloud has applied is acknowledged again; what it has not, is sent again."""
        self.copy.reconnect()
        state = self.journal.channel("hr")
        if state is not None and self.copy.applied(state.journal_id) > state.applied:
            self.journal.applied("hr", self.copy.applied(state.journal_id))

    def settle(self) -> None:
        """Cycles until nothing is under way, all of it taken by the copy."""
        for _ in range(10_000):
            did = self.cycle()
            self.drain()
            if did in (Did.IDLE, Did.CHECKED):
                return
        raise AssertionError("capture does not come to rest")

    def check(self) -> None:
        """At the last window's end, every dataset that is not said to be stale is what the ERP was at that version."""
        for end in self.copy.ends[self._checked :]:
            was = self.erp.at(end.to_version)
            for name, rows in self.copy.visible.items():
                if name not in self.copy.reloading and name not in self.copy.detached:
                    assert rows == {(key,): row for key, row in was[name].items()}, (name, end.to_version)
        self._checked = len(self.copy.ends)

    def equal(self) -> bool:
        names = [d.name for d in self.declared.datasets]
        erp = {n: {(key,): row for key, row in self.erp.tables[n].rows.items()} for n in names}
        return erp == {n: self.copy.visible.get(n) for n in names} and self.copy.reloading == []
