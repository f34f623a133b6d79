"""adapter: ERP files to measure with: a time sheet of twelve columns as ERPs have them, made from a seed."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

TABLE = "WORK_TIME"
COLUMNS = 12
DDL = f"""
CREATE TABLE {TABLE} (
  ID INTEGER PRIMARY KEY, EMPLOYEE_ID INTEGER NOT NULL, WORK_DATE DATE NOT NULL, TIME_FROM TIME NOT NULL,
  HOURS DECIMAL(5,2) NOT NULL, RATE DECIMAL(15,4), PROJECT NVARCHAR(20), REMARK NVARCHAR(200), APPROVED BIT NOT NULL,
  LOAD_FACTOR REAL, MODIFIED DATETIME2(3) NOT NULL, ROW_GUID UNIQUEIDENTIFIER NOT NULL)
"""
VARIETY = 4_099  # distinct values of the columns that repeat; prime, so that their combinations do not
_WORDS = ["odbiór", "montaż", "przegląd", "szkolenie", "biuro", "urlop", "delegacja", "serwis", "magazyn", "żuraw", "klient"]


def work_time(rows: int, seed: int = 2026, start: int = 1) -> Iterator[tuple[object, ...]]:
    """Rows of `TABLE`, IDs from `start`."""
    rnd = random.Random(seed)
    kinds = range(VARIETY)
    dates = [f"20{rnd.randrange(22, 27)}-{rnd.randrange(1, 13):02}-{rnd.randrange(1, 29):02}" for _ in kinds]
    times = [f"{rnd.randrange(24):02}:{rnd.randrange(60):02}:00" for _ in kinds]
    remarks = [None if rnd.random() < 0.4 else " ".join(rnd.choices(_WORDS, k=rnd.randrange(1, 8))) for _ in kinds]
    projects = [None if rnd.random() < 0.1 else f"P-{rnd.randrange(9_000):04}" for _ in kinds]
    columns = (
        range(start, start + rows),
        itertools.cycle([rnd.randrange(1, 5_000) for _ in range(VARIETY - 70)]),
        itertools.cycle(dates),
        itertools.cycle(times[: VARIETY - 10]),
        itertools.cycle([rnd.randrange(4, 48) / 4 for _ in range(97)]),
        itertools.cycle([rnd.randrange(200_000, 2_000_000) / 10_000 for _ in range(1_009)]),
        itertools.cycle(projects[: VARIETY - 30]),
        itertools.cycle(remarks[: VARIETY - 50]),
        itertools.cycle([int(rnd.random() < 0.7) for _ in range(101)]),
        iter(rnd.random, None),
        map("{} {}.{:03}".format, itertools.cycle(dates[::-1]), itertools.cycle(times), itertools.cycle(range(0, 1_000, 7))),
        (_guid(rnd.getrandbits(128)) for _ in itertools.count()),
    )
    return zip(*columns, strict=False)


def _guid(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def create(path: Path, rows: int) -> Path:
    """An ERP file with `rows` rows in `TABLE`."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        with db:
            db.execute(DDL)
            insert(db, rows)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def insert(db: sqlite3.Connection, rows: int, start: int = 1) -> None:
    """More rows; the caller commits."""
    marks = ",".join("?" * COLUMNS)
    db.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", work_time(rows, start=start))
