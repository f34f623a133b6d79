"""adapter: one SQLite file of the cloud: opening, migrations, one writer, several readers, what SQLite's errors mean."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cloud.errors import StoreError
from transport.runtime import Durable

PAGE = 8 * 1024  # bytes; measured: a fifth less time a row than 4 KiB, and small commits stay small
WAL_PAGES = 4_000  # of the write-ahead log before a checkpoint: 32 MiB
KIB = 1024
MIB = 1024 * KIB
WAIT = 5.0  # seconds for another process's lock

# Without an adapter sqlite3 looks for one along a slow path, 0.3 µs for each NULL and bool (a tenth of a row). These change
# no value: {}.get(None) is None.
sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]
sqlite3.register_adapter(bool, int)


def utc(moment: datetime) -> str:
    """Write a time as kept in every table: UTC with milliseconds and Z; the order of the texts is the order of the times."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class SqliteFile:
    """One database file. Writes take turns under a lock; reads have connections of their own and wait for nobody."""

    def __init__(
        self, path: Path, durable: Durable, *, migrations: Sequence[str], application: int, cache: int, readers: int
    ) -> None:
        """Open, create or migrate. `cache`: bytes of pages held per connection. Raises StoreError C3101 to C3106."""
        self.path = path
        self._durable = durable
        self._migrations = migrations
        self._application = application
        self._cache = cache
        self._lock = threading.RLock()  # held by the one that writes
        self._connections = threading.Lock()  # held for a moment; a reader never waits for the writer
        self._all: list[sqlite3.Connection] = []
        self._idle: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(readers):
            self._idle.put(None)  # opened at first use
        self._closed = False
        try:
            self._touch()
            with self._errors():
                self._writer = self._open()
                self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent; an open transaction is rolled back."""
        with self._lock:
            self._closed = True
            with self._connections:
                while self._all:
                    self._all.pop().close()

    @contextlib.contextmanager
    def write(self, step: str) -> Iterator[sqlite3.Connection]:
        """Run one transaction, committed as the durable step of that name; any exception rolls it back."""
        with self._lock, self._errors():
            connection = self._writer
            self._check_open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                with self._durable(step):
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself has rolled back after a full disk
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the database, whatever is being written meanwhile."""
        with self._errors():
            connection = self._idle.get()
            try:
                connection = self._reader(connection)
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    connection.execute("COMMIT")
            finally:
                self._idle.put(connection)

    def _reader(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        self._check_open()
        if connection is None:
            connection = self._open()
            connection.execute("PRAGMA query_only=ON")
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("C3106", "the store is closed", where=self.path.name)

    def _touch(self) -> None:
        """Create the file, and say why it cannot be used, which SQLite does not.

        Before any connection, never later: POSIX takes away all locks a process has on a file when it closes any handle of it.
        Then another process believes itself alone, and its last act is to remove the write-ahead log that is in use here.
        """
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if not os.access(self.path, os.R_OK | os.W_OK):
                raise StoreError("C3101", "the file cannot be read and written", where=str(self.path)) from None
        except OSError as error:
            raise StoreError("C3101", f"{error.strerror}", where=str(self.path)) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=WAIT, isolation_level=None, check_same_thread=False, cached_statements=1024
        )
        with self._connections:
            self._all.append(connection)
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute(f"PRAGMA cache_size=-{self._cache // KIB}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA secure_delete=OFF")  # some builds zero freed pages: twice the writing
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={64 * MIB}")
        return connection

    def _migrate(self) -> None:
        connection, where = self._writer, str(self.path)
        version, application = (connection.execute(f"PRAGMA {p}").fetchone()[0] for p in ("user_version", "application_id"))
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != self._application and (tables or version):
            raise StoreError("C3102", "this is a database of another program", where=where)
        newest = len(self._migrations)
        if version > newest:
            raise StoreError("C3104", f"the file has version {version}, this program knows {newest}", where=where)
        connection.execute("PRAGMA journal_mode=WAL")
        for number, script in enumerate(self._migrations[version:], version + 1):
            with self.write("store.migrate"):
                for statement in filter(str.strip, script.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={self._application}")
                connection.execute(f"PRAGMA user_version={number}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _meaning(error, self.path) from error


def _meaning(error: sqlite3.Error, path: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    for code, beginnings, message in _MEANINGS:
        if name.startswith(beginnings):
            return StoreError(code, f"{message} ({name})", where=path.name)
    return StoreError("C3106", f"{error} ({name})", where=path.name)


_MEANINGS = (
    ("C3103", ("SQLITE_FULL",), "there is no room for what should be written"),
    ("C3102", ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"), "the file is no database or is damaged"),
    ("C3105", ("SQLITE_BUSY", "SQLITE_LOCKED"), "another process holds the file"),
    ("C3101", ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"), "the file cannot be opened or written"),
)
