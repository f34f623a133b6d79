"""docs/03 is true: the functions it names exist and are called in the order in which it tells of them."""

from __future__ import annotations

import asyncio
import importlib
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from cdc.model import Dataset
from cloud.queries import list_changes
from cloud.routes import ChangesRequest
from tests.support.both_sides import AgentSide, CloudSide, both_sides, company
from tests.support.virtual import VirtualClock, run_virtually, virtual_runtime

ROOT = Path(__file__).resolve().parents[2]
SYMBOL = re.compile(r"`((?:cdc|cloud|transport)(?:\.\w+){2,})`")


def named() -> list[str]:
    """The functions of the walk, in the order of the text; modules named in passing are left out."""
    text = (ROOT / "docs" / "03-one-change.md").read_text(encoding="utf-8")
    return [name for name in SYMBOL.findall(text) if callable(resolve(name))]


def resolve(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


class Calls:
    """The order in which functions of interest are first called."""

    def __init__(self, names: list[str]) -> None:
        self._names = set(names)
        self.order: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
            if name in self._names and name not in self.order:
                self.order.append(name)


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def test_every_symbol_of_the_walk_exists() -> None:
    assert len(named()) > 15


def test_a_change_passes_the_functions_in_the_order_of_the_walk(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = virtual_runtime(clock, seed=3)
    erp = tmp_path / "erp.db"
    execute(erp, "PRAGMA journal_mode = WAL")
    execute(erp, "CREATE TABLE leave(id INTEGER PRIMARY KEY, employee INTEGER, kind TEXT)")
    made = company(erp, [Dataset(name="leave", table="leave", channel="hr")])
    calls = Calls(named())

    def rows(cloud: CloudSide) -> int:
        if not cloud.copy.exists():
            return -1
        with closing(sqlite3.connect(cloud.copy)) as db:
            try:
                return int(db.execute("SELECT count(*) FROM leave").fetchone()[0])
            except sqlite3.OperationalError:
                return -1

    async def walk(agent: AgentSide, cloud: CloudSide) -> None:
        await agent.until(lambda: rows(cloud) == 0)
        cursor = await cloud.tenants.read("acme", lambda store: store.cursor())
        await asyncio.sleep(40)  # in the middle between two pings
        sys.setprofile(calls)
        try:
            execute(erp, "INSERT INTO leave VALUES (1, 7, 'special')")
            await agent.until(lambda: rows(cloud) == 1)
            await agent.until(lambda: "cdc.journal.Journal.applied" in calls.order)
            await cloud.tenants.read("acme", lambda store: list_changes(store, ChangesRequest(after=cursor, limit=10)))
        finally:
            sys.setprofile(None)

    async def main() -> None:
        async with both_sides(tmp_path, made, runtime) as (agent, cloud):
            await walk(agent, cloud)

    run_virtually(clock, main())
    assert calls.order == named()
