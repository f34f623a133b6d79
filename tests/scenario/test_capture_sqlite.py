"""Capture over a real SQLite ERP: threads, triggers, pages, windows that outgrow their limit, a rebuilt table, a restore."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from cdc.capture import Capture, CaptureSettings, Declared, Did
from cdc.errors import CompanyStopped
from cdc.journal import Journal
from cdc.model import Dataset
from cdc.sources.sqlite.source import SqliteSource
from tests.support.copy_model import CopyModel, Rows
from transport.machine import system_runtime

DECLARED = Declared(tuple(Dataset(name=name, table=name, channel="hr") for name in ("person", "photo")))


class Erp:
    def __init__(self, path: Path) -> None:
        self.path = path
        with self.open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, score REAL)")
            db.execute("CREATE TABLE photo(owner INTEGER, kind TEXT, data BLOB, PRIMARY KEY(owner, kind))")

    def open(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self.path, isolation_level=None))

    def do(self, *statements: str) -> None:
        with self.open() as db:
            db.execute("BEGIN")
            for statement in statements:
                db.execute(statement)
            db.execute("COMMIT")

    def back_up(self, target: Path) -> None:
        with self.open() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.path, target)

    def restore(self, backup: Path) -> None:
        for file in self.path.parent.glob(self.path.name + "*"):
            file.unlink()
        shutil.copy(backup, self.path)

    def rows(self, table: str, keys: int) -> Rows:
        with self.open() as db:
            return {row[:keys]: row[keys:] for row in db.execute(f"SELECT * FROM {table}")}


@pytest.fixture
def erp(tmp_path: Path) -> Erp:
    return Erp(tmp_path / "erp.sqlite")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.sqlite", limit=64 << 20, reserve=0, new_id=system_runtime().new_id)
    made.open()
    made.restart("hr", b"")
    yield made
    made.close()


@pytest.fixture
async def source(erp: Erp) -> AsyncIterator[SqliteSource]:
    made = SqliteSource(erp.path, system_runtime())
    await made.open()
    await made.install(DECLARED.datasets)
    yield made
    await made.close()


class Run:
    """A capture on threads, and the copy that takes its windows."""

    def __init__(self, source: SqliteSource, journal: Journal, **settings: int) -> None:
        runtime = system_runtime()
        self.executor = runtime.executor("journal")
        self.journal = journal
        self.copy = CopyModel()
        self.capture = Capture(
            "hr", lambda: DECLARED, source, journal, self.executor, runtime, CaptureSettings(empty=0, **settings)
        )

    async def settle(self) -> list[Did]:
        done: list[Did] = []
        while not done or done[-1] in (Did.LOADED, Did.WINDOW):
            done.append(await self.capture.cycle())
            self.copy.drain(self.journal, "hr")
        return done

    def same(self, erp: Erp) -> bool:
        visible = self.copy.visible
        return visible["person"] == erp.rows("person", 1) and visible["photo"] == erp.rows("photo", 2)


@pytest.fixture
async def run(source: SqliteSource, journal: Journal) -> AsyncIterator[Run]:
    made = Run(source, journal, page_rows=400)
    yield made
    made.executor.close()


def people(first: int, last: int) -> str:
    return (
        f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
        "INSERT INTO person SELECT i, 'person ' || i || hex(randomblob(20)), i / 2.0 FROM n"
    )


async def test_a_load_by_pages_while_people_work_ends_equal(erp: Erp, run: Run) -> None:
    erp.do(people(1, 3000), "INSERT INTO photo SELECT id, 'front', randomblob(200) FROM person WHERE id % 10 = 0")
    random = Random(1)
    while await run.capture.cycle() is Did.LOADED:
        erp.do(
            f"UPDATE person SET id = id + 10000 WHERE id = {random.randrange(3000)}",
            f"DELETE FROM person WHERE id = {random.randrange(3000)}",
            f"INSERT OR REPLACE INTO photo VALUES({random.randrange(3000)}, 'side', x'00')",
        )
        run.copy.drain(run.journal, "hr")
    await run.settle()
    assert run.same(erp)
    assert run.copy.reloading == []


async def test_a_transaction_that_outgrows_the_window_is_read_by_pages(
    erp: Erp, source: SqliteSource, journal: Journal
) -> None:
    run = Run(source, journal, window_limit=30_000, page_rows=1000)
    await run.settle()
    erp.do(people(1, 5000), "INSERT INTO photo VALUES(1, 'front', x'01')")
    assert await run.capture.cycle() is Did.LOADED
    run.copy.drain(run.journal, "hr")
    assert run.copy.reloading == ["person"]
    assert run.copy.visible["photo"] == {(1, "front"): (b"\x01",)}
    await run.settle()
    run.executor.close()
    assert run.same(erp)


async def test_a_rebuilt_table_is_tracked_again_and_read_anew(erp: Erp, run: Run) -> None:
    erp.do(people(1, 50))
    await run.settle()
    erp.do(
        "CREATE TABLE other(id INTEGER PRIMARY KEY, name TEXT, score REAL)",
        "INSERT INTO other SELECT id, 'rebuilt', score FROM person WHERE id < 40",
        "DROP TABLE person",
        "ALTER TABLE other RENAME TO person",
    )
    await run.settle()
    assert run.same(erp)
    erp.do("UPDATE person SET name = 'tracked' WHERE id = 7")
    await run.settle()
    assert run.same(erp)


async def test_a_restored_database_stops_the_company(erp: Erp, source: SqliteSource, run: Run, tmp_path: Path) -> None:
    await run.settle()
    erp.back_up(tmp_path / "backup")
    erp.do(people(1, 50))
    await run.settle()
    await source.close()
    erp.restore(tmp_path / "backup")
    for n in range(1, 30):
        erp.do(people(n * 100, n * 100 + 20))
    await source.open()
    with pytest.raises(CompanyStopped) as caught:
        await run.capture.cycle()
    assert caught.value.code == "A2401"


async def test_a_cancelled_cycle_leaves_nothing_behind(erp: Erp, run: Run) -> None:
    erp.do(people(1, 3000))
    for rounds in range(1, 12):
        task = asyncio.ensure_future(run.capture.cycle())
        for _ in range(rounds * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await run.settle()
    assert run.same(erp)
    state = run.journal.channel("hr")
    assert state is not None
    assert run.journal.used() == state.bytes
