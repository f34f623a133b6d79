"""shell: makes the demo's ERP database, a Polish HR company generated from a seed, and declares its datasets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random
from typing import NamedTuple

from cdc.demo import people_at_work, staff
from cdc.demo.staff import Book
from cdc.model import Dataset

LAST_DAY = date(2025, 12, 31)
SCHEMA = Path(__file__).with_name("schema.sql")
INDEXES_MARK = "-- after loading"
FLUSH_ROWS = 20_000
TIME_TABLES = ("work_plan", "work_time", "timesheets", "calendars", "calendar_days", "zones")
DOCUMENT_TABLES = (
    "departments",
    "positions",
    "structures",
    "structure_centres",
    "subordination",
    "employees",
    "employee_photos",
    "employee_history",
    "mail_accounts",
    "qualifications",
    "leave_limits",
    "absences",
    "projects",
    "business_trips",
    "business_trip_lines",
)


class Summary(NamedTuple):
    """What was made."""

    employees: int
    rows: dict[str, int]  # by table

    @property
    def total(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


def datasets() -> tuple[Dataset, ...]:
    """Declare what the agent's file does: channel `hr` for documents and people, `time` for work time and plans."""
    return (
        Dataset(name="company", table="company_info", channel="hr"),
        *(
            Dataset(name=name, table=name, channel="hr", exclude=("bank_account",) if name == "employees" else ())
            for name in DOCUMENT_TABLES
        ),
        Dataset(name="civil_contracts", table="civil_contracts", channel="hr", filter="status <> 'szkic'"),
        *(Dataset(name=name, table=name, channel="time") for name in TIME_TABLES),
    )


def create(path: Path, seed: int, employees: int = 300, years: int = 3, last_day: date = LAST_DAY) -> Summary:
    """Write the database anew (WAL), the same for the same arguments. Whole calendar years up to `last_day`'s."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    tables, _, indexes = SCHEMA.read_text(encoding="utf-8").partition(INDEXES_MARK)
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; BEGIN;" + tables
        )
        counts: dict[str, int] = {}
        for book in _books(Random(seed), employees, years, last_day):  # noqa: S311 (a made-up company, not a secret)
            _write(database, book, counts)
        database.executescript(f"--{indexes}; PRAGMA journal_mode = WAL;")
    finally:
        database.close()
    return Summary(counts["employees"], counts)


def _books(rng: Random, employees: int, years: int, last_day: date) -> Iterator[Book]:
    """Rows in an order that gives every table's key columns ascending, at most about FLUSH_ROWS at a time."""
    period = staff.Period.ending(last_day, years)
    tree = staff.departments(employees)
    people = staff.employ(rng, tree, period)
    yield staff.organisation(rng, tree, period)
    yield staff.employee_rows(rng, people, period)
    yield staff.structures(rng, tree, people, period)
    projects = people_at_work.projects(rng, people, period)
    yield {"projects": projects, "civil_contracts": people_at_work.civil_contracts(rng, period)}
    records = people_at_work.Records(rng, period, [str(row[0]) for row in projects])
    pending: Book = {}
    for person in people:
        for table, rows in records.of(person).items():
            pending.setdefault(table, []).extend(rows)
        if sum(map(len, pending.values())) > FLUSH_ROWS:
            yield pending
            pending = {}
    yield pending


def _write(database: sqlite3.Connection, book: Book, counts: dict[str, int]) -> None:
    for table, rows in book.items():
        counts[table] = counts.get(table, 0) + len(rows)
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            database.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
