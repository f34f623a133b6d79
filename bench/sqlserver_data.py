"""adapter: a SQL Server (the stand-in of the tests) to measure with: the time sheet with its real types, and idle tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench import data
from tests.support.sqlserver import Server, lacking, stand_in

TABLE = f"dbo.{data.TABLE}"
DDL = f"""
CREATE TABLE {TABLE} (
  ID int NOT NULL PRIMARY KEY, EMPLOYEE_ID int NOT NULL, WORK_DATE date NOT NULL, TIME_FROM time(0) NOT NULL,
  HOURS decimal(5,2) NOT NULL, RATE decimal(15,4) NULL, PROJECT nvarchar(20) NULL, REMARK nvarchar(200) NULL,
  APPROVED bit NOT NULL, LOAD_FACTOR float NULL, MODIFIED datetime2(3) NOT NULL, ROW_GUID uniqueidentifier NOT NULL)
"""
TRACKING = (
    "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
    "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
)
BATCH = 500  # rows of one INSERT


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A stand-in of its own. Raises RuntimeError with what is missing."""
    if reason := lacking():
        raise RuntimeError(reason)
    folder.chmod(0o711)  # PostgreSQL runs as another user where we are root
    with stand_in(folder) as made:
        yield made


def create(made: Server, rows: int) -> str:
    """A database with `rows` rows in `TABLE`, tracked. Returns its name."""
    name = made.create()
    with made.connected(name) as connection:
        for statement in (DDL, *TRACKING, f"ALTER TABLE {TABLE} ENABLE CHANGE_TRACKING"):
            connection.execute(statement)
        lines = [f"({', '.join(_literal(cell) for cell in row)})" for row in data.work_time(rows)]
        for start in range(0, rows, BATCH):
            connection.execute(f"INSERT INTO {TABLE} VALUES {', '.join(lines[start : start + BATCH])}")
    return name


def create_idle(made: Server, tables: int) -> tuple[str, list[str]]:
    """A database with so many small tracked tables. Returns its name and theirs."""
    name = made.create()
    names = [f"dbo.T{n:04}" for n in range(tables)]
    with made.connected(name) as connection:
        for statement in TRACKING:
            connection.execute(statement)
        for table in names:
            connection.execute(f"CREATE TABLE {table} (ID int NOT NULL PRIMARY KEY, NAME nvarchar(40) NULL)")
            connection.execute(f"INSERT INTO {table} VALUES (1, N'a'), (2, N'b')")
            connection.execute(f"ALTER TABLE {table} ENABLE CHANGE_TRACKING")
    return name, names


def _literal(cell: object) -> str:
    if cell is None:
        return "NULL"
    if isinstance(cell, str):
        return "N'" + cell.replace("'", "''") + "'"
    return f"{cell:E}" if isinstance(cell, float) and abs(cell) < 1 else str(cell)
