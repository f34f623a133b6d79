"""adapter: the journal's SQLite file: opening, migrations, transactions, and what SQLite's errors mean for an agent."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from cdc.errors import ProgramStopped, Transient
from transport.runtime import Durable

VERSION = 1
PAGE = 16 * 1024  # bytes; frames are tens of KiB: fewer overflow pages than with 4 KiB (measured), small commits stay small
WAL_PAGES = 1_000  # of the write-ahead log before a checkpoint
MIB = 1024 * 1024

_MIGRATIONS = (
    """
    CREATE TABLE channel(
      number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, journal_id BLOB NOT NULL,
      first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, base_position BLOB NOT NULL, position BLOB NOT NULL,
      staged INTEGER NOT NULL, applied INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
    CREATE TABLE frame(id INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
    CREATE TABLE span(
      channel INTEGER NOT NULL, last_seq INTEGER NOT NULL, position BLOB NOT NULL, bytes INTEGER NOT NULL,
      PRIMARY KEY(channel, last_seq)) STRICT, WITHOUT ROWID;
    CREATE TABLE carried(
      channel INTEGER NOT NULL, schema_id BLOB NOT NULL, PRIMARY KEY(channel, schema_id)) STRICT, WITHOUT ROWID;
    CREATE TABLE setting(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
)


class JournalDamaged(Transient):
    """A2104: the file must be set aside and made anew (`open_or_renew`); the cloud's positions are used."""


class JournalFile:
    """One connection; every public method may be called from any thread, one at a time."""

    def __init__(self, path: Path, *, pages: int, durable: Durable) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._pages = pages
        self._durable = durable
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open, create or migrate. Raises ProgramStopped (A2101, A2102, A2105), JournalDamaged, Transient (A2103)."""
        try:
            with self.errors():
                self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent; an open transaction is rolled back."""
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        if self._connection is None:
            raise Transient("A2404", "the journal is closed", where=self.path.name)
        return self._connection

    @contextlib.contextmanager
    def transaction(self, step: str, *, sync: bool = True) -> Iterator[sqlite3.Connection]:
        """Run one transaction, committed as the durable step of that name.

        Without `sync`, a power cut may lose it, whole and with everything after it; the end of the process does not.
        """
        with self.lock, self.errors():
            connection = self.connection
            connection.execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                with self._durable(step):
                    connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:  # SQLite itself has rolled back after a full disk
                    connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error) and _is_full(error):
                    self._make_room(connection)
                raise

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Moves the write-ahead log into the database, where pages of frames that went are free. On a full disk it may fail."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors as errors of the agent."""
        try:
            yield
        except sqlite3.Error as error:
            raise _meaning(error, self.path) from error
        except OSError as error:
            raise ProgramStopped("A2102", f"{error.strerror}", where=str(self.path)) from error

    def problems(self) -> list[str]:
        """Return what SQLite's own check finds; empty: sound. Raises JournalDamaged where it cannot even be asked."""
        with self.lock, self.errors():
            found = [str(row[0]) for row in self.connection.execute("PRAGMA quick_check(10)")]
        return [] if found == ["ok"] else found

    def _open(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._connection = connection
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ProgramStopped("A2105", f"the file has version {version}, this program knows {VERSION}", where=str(self.path))
        if version == 0:
            connection.execute(f"PRAGMA page_size={PAGE}")
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA secure_delete=OFF")  # some builds zero freed pages: twice the writing
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={64 * MIB}")
        connection.execute(f"PRAGMA max_page_count={self._pages}")
        for number, script in enumerate(_MIGRATIONS[version:], version + 1):
            with self.transaction("journal.migrate"):
                for statement in filter(str.strip, script.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")
        connection.execute("PRAGMA incremental_vacuum")  # gives back what an earlier backlog took


def _is_full(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    return name == "SQLITE_FULL" or name.startswith(("SQLITE_IOERR", "SQLITE_NOMEM"))  # a file size limit is an IOERR_WRITE


def _meaning(error: sqlite3.Error, path: Path) -> Exception:
    name = getattr(error, "sqlite_errorname", "") or ""
    where = path.name
    if _is_full(error):
        return Transient("A2103", f"the disk does not take another window ({name})", where=where)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")):
        return JournalDamaged("A2104", f"{error} ({name})", where=where)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ProgramStopped("A2101", "another process writes to the journal", where=where)
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return ProgramStopped("A2102", f"{error} ({name})", where=str(path))
    return JournalDamaged("A2104", f"{error} ({name or type(error).__name__})", where=where)
