"""shell: rows a second from SQLite to SQLite over TLS, full and differential, with the CPU time of both programs."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bench import data
from bench.installation import Installation, installation
from bench.processes import Used


class Measured(NamedTuple):
    """One sync."""

    name: str
    rows: int
    wall: float  # seconds
    agent: float  # CPU seconds
    cloud: float
    agent_peak: int = 0  # bytes, since the program started
    cloud_peak: int = 0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.wall


POLL = 'poll = "100ms"'  # so that what is measured is work, not waiting for the next look


def start_up(folder: Path) -> Measured:
    """What both programs need for a table without rows: what a full sync costs before its first row."""
    with installation(folder, data.create(folder.with_suffix(".erp"), 0), settings=POLL) as made:
        return _full(made, 0)


def full_and_differential(folder: Path, rows: int, start: Measured) -> list[Measured]:
    """A first full read, then one transaction that updates every row."""
    with installation(folder, data.create(folder.with_suffix(".erp"), rows), settings=POLL) as made:
        full = _full(made, rows)
        net = full._replace(wall=full.wall - start.wall, agent=full.agent - start.agent, cloud=full.cloud - start.cloud)
        return [net, differential(made, rows)]


def _full(made: Installation, rows: int) -> Measured:
    before = made.cloud.used()
    began = time.monotonic()
    made.agent.start()
    made.wait("the first full read", rows, made.loaded)
    return _since(made, "full", rows, began, Used(0.0, 0), before)


def differential(made: Installation, rows: int) -> Measured:
    """One transaction that updates `rows` rows, from its commit to the cloud's."""
    goal = made.cursor() + rows
    with closing(sqlite3.connect(made.erp, timeout=60)) as db:
        db.execute("PRAGMA synchronous = OFF")
        with db:
            db.execute(f"UPDATE {data.TABLE} SET HOURS = HOURS + 0.25, REMARK = 'zmiana' WHERE ID <= ?", (rows,))
            before, began = (made.agent.used(), made.cloud.used()), time.monotonic()
    made.wait("the differential sync", rows, lambda: made.cursor() >= goal)
    return _since(made, "differential", rows, began, *before)


def _since(made: Installation, name: str, rows: int, began: float, agent: Used, cloud: Used) -> Measured:
    wall = time.monotonic() - began
    a, c = made.agent.used(), made.cloud.used()
    return Measured(name, rows, wall, a.cpu - agent.cpu, c.cpu - cloud.cpu, a.peak, c.peak)
