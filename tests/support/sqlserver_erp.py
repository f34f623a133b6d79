"""The SQL Server database of an ERP, for the source contract."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from cdc.model import Dataset
from cdc.source_settings import SnapshotUse
from cdc.sources.base import Source
from cdc.sources.sqlserver.source import SqlServerSource
from tests.support.sqlserver import Server
from transport.machine import SystemClock, ThreadExecutor
from transport.runtime import Runtime

RETENTION = 7 * 86_400.0


class SqlServerSession:
    """The ERP's own, through the driver; statements that fail undo only themselves, as usual there."""

    def __init__(self, server: Server, database: str) -> None:
        self.connection = server.connect(database)
        self.cursor = self.connection.cursor()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql, list(parameters)) if parameters else self.cursor.execute(sql)
        return [tuple(row) for row in self.cursor.fetchall()] if self.cursor.description else []

    def close(self) -> None:
        if not self.connection.closed:
            self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.execute("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.execute("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
            raise
        self.execute("COMMIT TRANSACTION")


class SqlServerErp:
    replaces = False
    untracks = False

    def __init__(self, server: Server, options: str = "") -> None:
        self.server = server
        self.database = server.create(options)
        self._sessions: list[SqlServerSession] = []
        self._tables: dict[str, tuple[str, list[str]]] = {}
        self._backups = 0
        self.admin = self.connect()

    def source(self, *, structure_every: float = 0.0, **settings: Any) -> SqlServerSource:
        runtime = Runtime(clock=SystemClock(), random=Random(7), executor=ThreadExecutor)
        return SqlServerSource(self.server.settings(self.database, **settings), runtime, structure_every=structure_every)

    def degraded(self) -> SqlServerSource:
        """A source that may read without snapshots."""
        return self.source(snapshot=SnapshotUse.AUTO)

    def connect(self) -> SqlServerSession:
        session = SqlServerSession(self.server, self.database)
        self._sessions.append(session)
        return session

    def create(self, table: str, columns: Mapping[str, str], key: Sequence[str], unique: Sequence[Sequence[str]] = ()) -> None:
        """Several NULLs may stand in what is unique, as in other databases."""
        parts = [f"{name} {declared}" for name, declared in columns.items()]
        parts.append(f"PRIMARY KEY ({', '.join(key)})")
        definition = f"({', '.join(parts)})"
        indexes = [
            f"CREATE UNIQUE INDEX unique_{i} ON {{table}} ({', '.join(names)}) "
            f"WHERE {' AND '.join(f'{name} IS NOT NULL' for name in names)}"
            for i, names in enumerate(unique)
        ]
        self._tables[table] = (definition, indexes)
        self._create(table, table)

    def _create(self, table: str, like: str) -> None:
        definition, indexes = self._tables[like]
        self.admin.execute(f"CREATE TABLE {table} {definition}")
        for index in indexes:
            self.admin.execute(index.format(table=table))

    def track(self, *tables: str) -> None:
        """What `enable` does, without a source."""
        if not self.admin.execute("SELECT 1 FROM sys.change_tracking_databases WHERE database_id = DB_ID()"):
            self.admin.execute("ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)")
            self.admin.execute("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        for table in tables:
            self.admin.execute(f"ALTER TABLE {table} ENABLE CHANGE_TRACKING")

    async def install(self, source: Source, datasets: Sequence[Dataset]) -> list[str]:
        assert isinstance(source, SqlServerSource)
        words = await source.enable(datasets, tracking=True, retention=RETENTION, snapshot=True)
        done = [text for text in words if not text.startswith("not tracked")]
        return done + await source.install(datasets)

    async def expire(self, source: Source) -> None:
        version = self.admin.execute("SELECT CHANGE_TRACKING_CURRENT_VERSION()")[0][0]
        self.server.control.cleanup(self.database, version=version)

    def after_update(self, table: str, *statements: str) -> None:
        body = " ".join(statement.format(row="changed", from_rows="FROM inserted AS changed") + ";" for statement in statements)
        self.admin.execute(f"CREATE TRIGGER after_{table} ON {table} AFTER UPDATE AS BEGIN SET NOCOUNT ON; {body} END")

    def rebuild(self, table: str, change: str = "") -> None:
        with self.admin.transaction():
            self._create("rebuilt", table)
            self.admin.execute(f"INSERT INTO rebuilt SELECT * FROM {table}")
            if change:
                self.admin.execute(f"UPDATE rebuilt SET {change}")
            self.admin.execute(f"DROP TABLE {table}")
            self.admin.execute(f"EXEC sp_rename N'rebuilt', N'{table}'")

    def truncate(self, table: str) -> None:
        self.admin.execute(f"TRUNCATE TABLE {table}")

    def backup(self) -> object:
        self._backups += 1
        file = f"{self.database}_{self._backups}.bak"
        self.admin.execute(f"BACKUP DATABASE [{self.database}] TO DISK = N'{file}' WITH INIT")
        return file

    def restore(self, backup: object) -> None:
        """Everybody is thrown out, the database is replaced."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        with self.server.connected() as connection:
            connection.execute(f"ALTER DATABASE [{self.database}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
            connection.execute(f"RESTORE DATABASE [{self.database}] FROM DISK = N'{backup}' WITH REPLACE")
            connection.execute(f"ALTER DATABASE [{self.database}] SET MULTI_USER")
        self.admin = self.connect()

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self.server.drop(self.database)


@pytest.fixture
def sqlserver_erp(sql_server: Server) -> Iterator[SqlServerErp]:
    made = SqlServerErp(sql_server)
    try:
        yield made
    finally:
        made.close()
