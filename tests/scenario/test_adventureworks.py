"""AdventureWorks from SQLite to the cloud over TLS, while an ERP writes to it at random and everything else breaks."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.support import adventureworks
from tests.support.comparing import compare
from tests.support.product import Product, product
from tests.support.random_writer import RandomWriter
from tests.support.trouble import ThreadedProxy, behind, equal

FULL = os.environ.get("CDC_TEST_SIZE") == "full"
WRITERS = 2  # threads, three connections each
TRANSACTIONS = 10_000 if FULL else 1_000  # of each writer; an operation a transaction at least, eight at the mean
FAULTS = 40 if FULL else 7
SEED = int(os.environ.get("CDC_TEST_SEED", "20"))
SPOILT = 0.01  # share of the updates that write something which cannot be carried


class Writers:
    """An ERP at work: threads that commit random transactions until they are told to end, or have made enough of them."""

    def __init__(self, erp: Path, seed: int, transactions: int) -> None:
        self.operations = 0
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(erp, seed + n, transactions)) for n in range(WRITERS)]

    def _work(self, erp: Path, seed: int, transactions: int) -> None:
        try:
            with RandomWriter(erp, seed, spoil=SPOILT) as writer:
                for _ in range(transactions):
                    if self._stop.is_set():
                        return
                    done = writer.step()
                    self.operations += len(done.operations) if done.committed else 0
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.errors.append(error)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()
        assert self.errors == []

    @contextmanager
    def working(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        assert self.errors == []


@pytest.fixture
def erp(tmp_path: Path) -> Path:
    path = tmp_path / "adventureworks.db"
    made = adventureworks.create(path, SEED, scale=0.2)
    assert len(made.rows) == 24
    return path


@pytest.fixture
def made(tmp_path: Path, erp: Path) -> Iterator[Product]:
    with product(tmp_path, erp, adventureworks.datasets()) as made:
        yield made


def sizes(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as database:
        names = [table.name for table in adventureworks.tables()]
        return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def changed_by_hand(copy: Path, folder: Path, view: str, column: str, cell: str) -> Path:
    """A copy of the copy in which one value of one row is another."""
    spoilt = folder / "spoilt.db"
    with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(spoilt)) as target:
        source.backup(target)
        sql = "SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?"
        table = target.execute(sql, (view,)).fetchone()[0].rsplit('FROM "', 1)[1].rstrip('"')
        with target:
            found = target.execute(f'UPDATE "{table}" SET "{column}" = {cell} WHERE _key = (SELECT max(_key) FROM "{table}")')
        assert found.rowcount == 1
    return spoilt


def test_both_sides_are_equal_while_the_erp_is_written_to_and_one_wrong_value_is_found(made: Product) -> None:
    """Full read, differential reading and REPLACEs all at once; then the comparer is shown to be no yes-man."""
    before = sizes(made.erp)
    writers = Writers(made.erp, SEED, TRANSACTIONS)
    with writers.working():
        made.start_agent()
        writers.wait()
    assert writers.operations > TRANSACTIONS
    assert sizes(made.erp) != before
    found = equal(made)
    assert sum(found.rows(d.name)[0] for d in made.datasets) > sum(before.values()) // 2
    spoilt = changed_by_hand(made.copy, made.folder, "shift", "Name", "Name || '!'")
    wrong = compare(made.erp, spoilt, made.datasets, made.folder)
    assert wrong.exit_code == 1
    assert [(dataset, kind, column) for dataset, kind, _, column in wrong.differences] == [("shift", "value", "Name")]


class Faults:
    """Everything that may end while it works, one at a time, at moments that the seed chooses."""

    def __init__(self, made: Product, proxy: ThreadedProxy, rng: Random) -> None:
        self._made = made
        self._proxy = proxy
        self._rng = rng
        self.all = (self.kill_agent, self.kill_cloud, self.kill_both, self.cut, self.cut_in_a_frame, self.stall)

    def some(self, count: int) -> None:
        """Each kind at least once, if there are enough of them."""
        chosen = [*self.all, *self._rng.choices(self.all, k=max(0, count - len(self.all)))]
        self._rng.shuffle(chosen)
        for fault in chosen[:count]:
            self.pause(1.5)
            fault()

    def pause(self, longest: float) -> None:
        time.sleep(self._rng.uniform(0.0, longest))

    def kill_agent(self) -> None:
        self._made.agent.kill()
        self._made.start_agent()

    def kill_cloud(self) -> None:
        self._made.cloud.kill()
        self.pause(0.5)
        self._made.start_cloud()

    def kill_both(self) -> None:
        self._made.cloud.kill()
        self._made.agent.kill()
        self._made.agent.start()
        self._made.start_cloud()

    def cut(self) -> None:
        self._proxy.cut()

    def cut_in_a_frame(self) -> None:
        self._proxy.cut_after(self._rng.randint(1, 60_000))

    def stall(self) -> None:
        """Half-open for a moment, then gone: what was on its way may or may not have arrived."""
        self._proxy.stall()
        self.pause(1.0)
        self._proxy.cut()
        self._proxy.flow()


def test_both_sides_are_equal_after_kills_and_cuts_at_random_moments(made: Product) -> None:
    rng = Random(SEED)
    with ThreadedProxy(made.cloud_port) as proxy:
        behind(made, proxy)
        made.start_agent()
        writers = Writers(made.erp, SEED + 100, 1_000_000)
        with writers.working():
            Faults(made, proxy, rng).some(FAULTS)
        assert writers.operations > FAULTS
        equal(made)
        assert proxy.accepted > 1
