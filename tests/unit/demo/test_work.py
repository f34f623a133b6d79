"""People at work leave a consistent ERP behind and say truly what they did."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc.demo import company
from cdc.demo.deeds import Deed
from cdc.demo.work import Worker

DEEDS = 500
KEYS = {d.name: (d.table, d.filter) for d in company.datasets()}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Deed], list[bool]]:
    """An ERP after many deeds, the deeds, and whether each one's row was there (or gone) right after it."""
    path = tmp_path_factory.mktemp("work") / "erp.db"
    company.create(path, 8, employees=80, years=1)
    deeds, true = [], []
    with Worker(path, 8) as worker, closing(sqlite3.connect(path)) as reader:
        for _ in range(DEEDS):
            deeds.append(worker.step())
            true.append(exists(reader, deeds[-1]) is not deeds[-1].deleted)
    return path, deeds, true


@pytest.fixture
def erp(worked: tuple[Path, list[Deed], list[bool]]) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(worked[0])) as database:
        yield database


def exists(database: sqlite3.Connection, deed: Deed) -> bool:
    table, condition = KEYS[deed.dataset]
    names = [n for (n,) in database.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,))]
    where = " AND ".join([*(f"{n} = ?" for n in names), *([condition] if condition else [])])
    return bool(database.execute(f"SELECT 1 FROM {table} WHERE {where}", deed.key).fetchall())


def test_every_deed_says_truly_what_it_did(worked: tuple[Path, list[Deed], list[bool]]) -> None:
    assert [deed for deed, true in zip(worked[1], worked[2], strict=True) if not true] == []


def test_people_do_many_kinds_of_things(worked: tuple[Path, list[Deed], list[bool]]) -> None:
    datasets = Counter(deed.dataset for deed in worked[1])
    assert len(datasets) >= 10
    assert sum(deed.deleted for deed in worked[1]) > 10
    assert all(deed.polish and deed.english for deed in worked[1])


def test_references_limits_and_history_stay_consistent(erp: sqlite3.Connection) -> None:
    assert erp.execute("PRAGMA foreign_key_check").fetchall() == []
    assert erp.execute("SELECT * FROM leave_limits WHERE used > days + carried_over OR used < 0").fetchall() == []
    open_twice = "SELECT employee_id FROM employee_history WHERE valid_to IS NULL GROUP BY 1 HAVING count(*) > 1"
    assert erp.execute(open_twice).fetchall() == []


def test_the_same_seed_does_the_same(tmp_path: Path) -> None:
    done = []
    for name in "ab":
        company.create(tmp_path / name, 8, employees=40, years=1)
        with Worker(tmp_path / name, 3) as worker:
            done.append([worker.step() for _ in range(60)])
    assert done[0] == done[1]
