"""The demo's company is believable: nothing in it contradicts anything else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from cdc.demo import company
from cdc.demo.holidays import DAY, SATURDAY, easter, holidays, workdays
from cdc.demo.staff import PESEL_WEIGHTS

SEED = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "erp.db"
    company.create(path, SEED, employees=120, years=2)
    return path


@pytest.fixture
def erp(made: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(made)) as database:
        yield database


def none(erp: sqlite3.Connection, sql: str) -> bool:
    return erp.execute(sql).fetchall() == []


def test_the_same_seed_makes_the_same_company(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        company.create(tmp_path / name, seed, employees=30, years=1)
    dumps = []
    for name in "abc":
        with closing(sqlite3.connect(tmp_path / name)) as database:
            dumps.append(list(database.iterdump()))
    assert dumps[0] == dumps[1]
    assert dumps[0] != dumps[2]


def test_the_full_size_has_several_hundred_thousand_rows(tmp_path: Path) -> None:
    summary = company.create(tmp_path / "erp.db", SEED)
    assert summary.employees == 300
    assert 400_000 < summary.total < 900_000
    assert summary.rows["work_time"] + summary.rows["work_plan"] + summary.rows["timesheets"] > summary.total * 9 // 10


def test_the_file_is_in_wal_mode(erp: sqlite3.Connection) -> None:
    assert erp.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "erp.db"
    first = company.create(path, SEED, employees=30, years=1)
    assert company.create(path, SEED, employees=30, years=1) == first


def test_every_reference_is_kept(erp: sqlite3.Connection) -> None:
    assert none(erp, "PRAGMA foreign_key_check")


def test_every_table_is_declared_once_with_an_allowed_name(erp: sqlite3.Connection) -> None:
    tables = {name for (name,) in erp.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    declared = company.datasets()
    assert sorted(d.table for d in declared) == sorted(tables)
    assert len({d.name for d in declared}) == len(declared)
    assert {d.channel for d in declared} == {"hr", "time"}


def test_nobody_works_before_being_hired_or_after_being_dismissed(erp: sqlite3.Connection) -> None:
    for table in ("work_time", "work_plan", "timesheets"):
        outside = "day < hired_on OR day > coalesce(dismissed_on, '9999-12-31')"
        assert none(erp, f"SELECT * FROM {table} JOIN employees USING (employee_id) WHERE {outside}")


def test_nobody_works_on_weekends_and_holidays(erp: sqlite3.Connection) -> None:
    for table in ("work_time", "work_plan", "timesheets"):
        days = {date.fromisoformat(day) for (day,) in erp.execute(f"SELECT DISTINCT day FROM {table}")}
        assert days <= set(workdays(min(days), max(days)))


def test_nobody_works_during_an_absence(erp: sqlite3.Connection) -> None:
    both = "a.employee_id = w.employee_id AND w.day BETWEEN a.from_day AND a.to_day"
    assert none(erp, f"SELECT * FROM absences a JOIN work_time w ON {both}")


def test_leave_stays_within_its_limits(erp: sqlite3.Connection) -> None:
    assert none(erp, "SELECT * FROM leave_limits WHERE used > days + carried_over")
    assert none(erp, "SELECT * FROM leave_limits WHERE leave_kind = 'UŻ' AND used > 4")


def test_used_leave_is_what_the_absences_say(erp: sqlite3.Connection) -> None:
    taken = """SELECT sum(working_days) FROM absences a WHERE a.employee_id = l.employee_id
        AND CAST(substr(from_day, 1, 4) AS INT) = l.year AND a.leave_kind IN ('UW', 'UŻ')"""
    assert none(erp, f"SELECT * FROM leave_limits l WHERE leave_kind = 'UW' AND used <> coalesce(({taken}), 0)")


def test_departments_have_one_root_and_no_cycle(erp: sqlite3.Connection) -> None:
    reached = """WITH RECURSIVE t(id) AS (SELECT department_id FROM departments WHERE parent_id IS NULL
        UNION ALL SELECT department_id FROM departments JOIN t ON parent_id = t.id)
        SELECT count(*), count(DISTINCT id) FROM t"""
    count = erp.execute("SELECT count(*) FROM departments").fetchone()[0]
    assert erp.execute(reached).fetchone() == (count, count)
    assert erp.execute("SELECT count(*) FROM departments WHERE parent_id IS NULL").fetchone() == (1,)


def test_history_has_neither_gaps_nor_overlaps_and_ends_with_what_is_now(erp: sqlite3.Connection) -> None:
    rows = erp.execute("SELECT employee_id, valid_from, valid_to FROM employee_history ORDER BY 1, 2").fetchall()
    for (who, _, until), (next_who, start, _) in pairwise(rows):
        if who == next_who:
            assert date.fromisoformat(until) + DAY == date.fromisoformat(start)
    newest = "SELECT max(valid_from) FROM employee_history n WHERE n.employee_id = h.employee_id"
    assert none(
        erp,
        f"""SELECT * FROM employees e JOIN employee_history h USING (employee_id) WHERE valid_from = ({newest})
        AND (h.department_id, h.position_id, h.valid_to) IS NOT (e.department_id, e.position_id, e.dismissed_on)""",
    )


def test_no_pesel_could_be_a_real_persons(erp: sqlite3.Connection) -> None:
    for pesel, birth, marked in erp.execute("SELECT pesel, birth_date, pesel_fictional FROM employees"):
        digits = [int(d) for d in pesel]
        right = -sum(d * w for d, w in zip(digits, PESEL_WEIGHTS, strict=False)) % 10
        assert (len(digits), marked) == (11, 1)
        assert digits[10] != right
        assert pesel[:2] == birth[2:4]


def test_there_is_something_of_every_kind(erp: sqlite3.Connection) -> None:
    text = " ".join(str(row) for row in erp.execute("SELECT last_name, street, city FROM employees"))
    assert set("ąćęłńóśźż") & set(text)
    assert erp.execute("SELECT count(*) FROM employee_photos WHERE substr(photo, 1, 4) = x'89504e47'").fetchone()[0] > 3
    assert erp.execute("SELECT count(*) FROM qualifications WHERE typeof(score) = 'real'").fetchone()[0] > 3
    assert none(erp, "SELECT * FROM employee_history WHERE typeof(base_pay) <> 'text'")


@pytest.mark.parametrize(
    ("year", "day"), [(2023, date(2023, 4, 9)), (2024, date(2024, 3, 31)), (2025, date(2025, 4, 20)), (2038, date(2038, 4, 25))]
)
def test_easter_moves(year: int, day: date) -> None:
    assert easter(year) == day


def test_corpus_christi_moves_with_easter() -> None:
    assert holidays(2024)[date(2024, 5, 30)] == "Boże Ciało"
    assert holidays(2025)[date(2025, 6, 19)] == "Boże Ciało"


def test_christmas_eve_is_free_from_2025_on() -> None:
    assert date(2024, 12, 24) in workdays(date(2024, 12, 1), date(2024, 12, 31))
    assert date(2025, 12, 24) not in workdays(date(2025, 12, 1), date(2025, 12, 31))
    assert all(day.weekday() < SATURDAY for day in workdays(date(2025, 1, 1), date(2025, 2, 1)))
