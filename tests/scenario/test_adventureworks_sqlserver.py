"""AdventureWorks from SQL Server to the cloud, by Microsoft's driver, while an ERP writes at random and everything breaks."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support import adventureworks_sqlserver as adventureworks
from tests.support.product import eventually
from tests.support.sqlserver import Server
from tests.support.sqlserver_product import SqlServerProduct, sqlserver_product
from tests.support.sqlserver_writer import SqlServerWriter, Writers

FULL = os.environ.get("CDC_TEST_SIZE") == "full"
SEED = int(os.environ.get("CDC_TEST_SEED", "21"))
ROWS = None if FULL else 400  # of each table
TRANSACTIONS = 3_000 if FULL else 100  # of each of three writers
FAULTS = 40 if FULL else 12
SPOILT = 0.01  # share of the updates that write something which cannot be carried
CHANGES = r"FROM CHANGETABLE\(CHANGES"  # only the product asks for changes
PRODUCT = "erp-cdc"  # as the server's list of sessions shows it

pytestmark = pytest.mark.timeout(3_000 if FULL else 300)


@pytest.fixture
def made(tmp_path: Path, sql_server: Server, database: str) -> Iterator[SqlServerProduct]:
    with sql_server.connected(database) as connection:
        assert len(adventureworks.create(connection, SEED, most=ROWS).rows) == 29
    with sqlserver_product(tmp_path, sql_server, database, adventureworks.datasets()) as made:
        made.as_an_agent()
        yield made


def connector(made: SqlServerProduct) -> Callable[[], Any]:
    return lambda: made.server.connect(made.database, APP="the ERP")


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
    spoilt.chmod(0o600)
    return spoilt


def test_both_sides_are_equal_while_the_erp_is_written_to_and_a_wrong_value_is_found(made: SqlServerProduct) -> None:
    """Full read and differential reading at once; then the comparer is shown to be no yes-man."""
    writers = Writers(connector(made), SEED, TRANSACTIONS, spoil=SPOILT)
    with writers.working():
        made.start_agent()
        writers.wait()
    assert writers.operations > TRANSACTIONS
    found = made.equal()
    assert sum(found.rows(d.name)[1] for d in made.datasets) > 2_000
    wrong_values = (
        ("shift", "Name", "Name || '!'"),
        ("location", "CostRate", "'0.0001'"),
        ("shift", "StartTime", "'00:00:00.0000001'"),
        ("department", "ModifiedDate", "'2001-01-01 00:00:00.003'"),
    )
    for view, column, cell in wrong_values:
        spoilt = changed_by_hand(made.copy, made.folder, view, column, cell)
        wrong = made.compare(spoilt, [d for d in made.datasets if d.name == view])
        assert wrong.exit_code == 1, wrong.errors
        assert [(d, kind, c) for d, kind, _, c in wrong.differences] == [(view, "value", column)]


class Faults:
    """Everything that may happen to a client of SQL Server, one at a time, at moments that the seed chooses."""

    def __init__(self, made: SqlServerProduct, rng: Random) -> None:
        self._made = made
        self._rng = rng
        self._control = made.server.control
        self._number = 0
        self.all: tuple[Callable[[], None], ...] = (
            self.deadlock,
            self.snapshot_conflict,
            self.object_changed,
            self.cut_in_a_result,
            self.connection_killed,
            self.connection_lost_at_a_statement,
            self.secondary,
            self.failover,
            self.not_a_primary,
            self.paused_in_a_window,
            self.agent_killed,
            self.agent_killed_in_a_window,
        )

    def some(self, count: int) -> None:
        """Each kind at least once, if there are enough of them."""
        chosen = [*self.all, *self._rng.choices(self.all, k=max(0, count - len(self.all)))]
        self._rng.shuffle(chosen)
        for fault in chosen[:count]:
            time.sleep(self._rng.uniform(0.0, 0.4))
            fault()

    def _rule(self, **rule: Any) -> str:
        """A rule of its own name, for the product's requests."""
        self._number += 1
        name = f"fault {self._number}"
        self._control.add(rule.pop("match", CHANGES), name=name, database=self._made.database, **rule)
        return name

    def _happened(self, name: str) -> None:
        """The fault has struck as often as it should."""
        eventually(f"{name} strikes", lambda: self._done(name))
        self._control.remove(name)

    def _done(self, name: str) -> bool:
        rules = [rule for rule in self._control.call("rules") if rule["name"] == name]
        return bool(rules) and rules[0]["done"] >= rules[0]["times"]

    def deadlock(self) -> None:
        self._happened(self._rule(error={"number": 1205}))

    def snapshot_conflict(self) -> None:
        self._happened(self._rule(error={"number": 3960}))

    def object_changed(self) -> None:
        self._happened(self._rule(error={"number": 3961}, times=2))

    def cut_in_a_result(self) -> None:
        self._happened(self._rule(match=r"LEFT OUTER JOIN", cut_after_rows=self._rng.randint(0, 2)))

    def connection_killed(self) -> None:
        self._control.kill(database=self._made.database, application=PRODUCT)

    def connection_lost_at_a_statement(self) -> None:
        self._happened(self._rule(kill=True, times=2))

    def secondary(self) -> None:
        """The database is a readable secondary for a while; then a primary again."""
        self._control.set("secondary", True, database=self._made.database)
        try:
            self._control.kill(database=self._made.database, application=PRODUCT)
            self._happened(self._rule(match="CHANGE_TRACKING_CURRENT_VERSION|Updateability"))
        finally:
            self._control.set("secondary", False, database=self._made.database)

    def failover(self) -> None:
        """All sessions end; the agent cannot log in until the other server has taken over."""
        name = self._rule(match="agent_", login=True, error={"number": self._rng.choice((4060, 18456))}, times=3)
        self._control.kill(database=self._made.database)
        self._happened(name)

    def not_a_primary(self) -> None:
        self._happened(self._rule(error={"number": 976}))

    def paused_in_a_window(self) -> None:
        """The ERP goes on while a window is open."""
        name = self._rule(barrier=f"barrier {self._number + 1}")
        assert self._control.wait(f"barrier {self._number}")
        time.sleep(0.3)
        self._control.resume(f"barrier {self._number}")
        self._happened(name)

    def agent_killed(self) -> None:
        self._made.agent.kill()
        self._made.start_agent()

    def agent_killed_in_a_window(self) -> None:
        name = self._rule(barrier=f"barrier {self._number + 1}")
        assert self._control.wait(f"barrier {self._number}")
        self._made.agent.kill()
        self._control.resume(f"barrier {self._number}")
        self._control.remove(name)
        self._made.start_agent()


def test_both_sides_are_equal_after_every_fault_that_a_server_knows(made: SqlServerProduct) -> None:
    made.start_agent()
    writers = Writers(connector(made), SEED + 100, 1_000_000, spoil=SPOILT)
    with writers.working():
        Faults(made, Random(SEED)).some(FAULTS)
    assert writers.operations > FAULTS
    made.equal()


def test_a_client_that_waits_for_nothing_sees_deadlocks_of_its_own(made: SqlServerProduct) -> None:
    """The writers are real: they wait for each other's rows, and two that wait in a circle are parted by the server."""
    first, second = (SqlServerWriter(connector(made), n) for n in range(2))
    with first, second:
        table = "[HumanResources].[Department]"
        for writer, row in ((first, 1), (second, 2)):
            writer.execute("BEGIN TRANSACTION")
            writer.execute(f"UPDATE {table} SET [GroupName] = N'mine' WHERE [DepartmentID] = {row}")
        outcomes = parted(first, second, table)
    assert sorted(outcomes) == [0, 1205]
    made.start_agent()
    made.equal()


def parted(first: SqlServerWriter, second: SqlServerWriter, table: str) -> list[int]:
    """Each wants the other's row; the error numbers they get."""
    import threading

    from tests.support.sqlserver_writer import GaveUp

    numbers: list[int] = []

    def want(writer: SqlServerWriter, row: int) -> None:
        try:
            writer.execute(f"UPDATE {table} SET [GroupName] = N'yours' WHERE [DepartmentID] = {row}")
            writer.execute("COMMIT TRANSACTION")
            numbers.append(0)
        except GaveUp as problem:
            numbers.append(problem.number)

    threads = [threading.Thread(target=want, args=args) for args in ((first, 2), (second, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return numbers
