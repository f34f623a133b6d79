"""The SQLite file of an ERP, for the source contract."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from cdc.model import Dataset
from cdc.sources.base import Source
from cdc.sources.sqlite import SqliteSource
from tests.support.virtual import VirtualClock
from transport.machine import ThreadExecutor
from transport.runtime import Runtime


class SqliteSession:
    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")


class SqliteErp:
    replaces = True
    untracks = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "erp.db"
        self.clock = VirtualClock()
        self._sessions: list[SqliteSession] = []
        self._backups = 0
        self.admin = self.connect()
        self.admin.execute("PRAGMA journal_mode = WAL")
        self.admin.execute("PRAGMA synchronous = OFF")

    def source(self) -> SqliteSource:
        runtime = Runtime(clock=self.clock, random=Random(7), executor=ThreadExecutor)
        return SqliteSource(self.path, runtime, busy_timeout=30)

    def connect(self) -> SqliteSession:
        session = SqliteSession(self.path)
        self._sessions.append(session)
        return session

    def script(self, sql: str) -> None:
        self.admin.connection.executescript(sql)

    def create(self, table: str, columns: Mapping[str, str], key: Sequence[str], unique: Sequence[Sequence[str]] = ()) -> None:
        parts = [f"{name} {declared}" for name, declared in columns.items()]
        parts += [f"PRIMARY KEY({', '.join(key)})", *(f"UNIQUE({', '.join(names)})" for names in unique)]
        self.admin.execute(f"CREATE TABLE {table}({', '.join(parts)})")

    async def install(self, source: Source, datasets: Sequence[Dataset]) -> list[str]:
        return await source.install(datasets)

    async def expire(self, source: Source) -> None:
        await source.clean_up(0)

    def after_update(self, table: str, *statements: str) -> None:
        body = " ".join(statement.format(row="NEW", from_rows="") + ";" for statement in statements)
        self.admin.execute(f"CREATE TRIGGER after_{table} AFTER UPDATE ON {table} BEGIN {body} END")

    def rebuild(self, table: str, change: str = "") -> None:
        sql = self.admin.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,))[0][0]
        with self.admin.transaction():
            self.admin.execute(
                sql.replace(f"CREATE TABLE {table}", "CREATE TABLE rebuilt", 1).replace(f'"{table}"', "rebuilt", 1)
            )
            self.admin.execute(f"INSERT INTO rebuilt SELECT * FROM {table}")
            if change:
                self.admin.execute(f"UPDATE rebuilt SET {change}")
            self.admin.execute(f"DROP TABLE {table}")
            self.admin.execute(f"ALTER TABLE rebuilt RENAME TO {table}")

    def truncate(self, table: str) -> None:
        self.admin.execute(f"DELETE FROM {table}")

    def backup(self) -> object:
        self._backups += 1
        path = self.path.with_name(f"backup{self._backups}.db")
        with contextlib.closing(sqlite3.connect(path)) as target:
            self.admin.connection.backup(target)
        return path

    def restore(self, backup: object) -> None:
        """The ERP stops, the file is replaced, the ERP starts again."""
        assert isinstance(backup, Path)
        for session in self._sessions:
            session.connection.close()
        self._sessions.clear()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        fresh = self.path.with_name("fresh.db")
        shutil.copyfile(backup, fresh)
        fresh.replace(self.path)
        self.admin = self.connect()
        self.admin.execute("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        for session in self._sessions:
            session.connection.close()
