"""adapter: connections to an ERP file: opened without ever creating one, checked, and with errors that say who must act."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cdc.errors import AgentError, CompanyStopped, Transient

CACHE_KIB = 8_192
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_UNUSABLE = {
    sqlite3.SQLITE_NOTADB: ("A2203", "the file is not an SQLite database"),
    sqlite3.SQLITE_CORRUPT: ("A2206", "SQLite finds the file damaged"),
    sqlite3.SQLITE_READONLY: ("A2208", "the file, or its folder, cannot be written by the agent's user"),
    sqlite3.SQLITE_PERM: ("A2208", "the agent's user may not use the file"),
    sqlite3.SQLITE_AUTH: ("A2208", "the agent's user may not use the file"),
}


def connect(path: Path, *, busy_timeout: float, query_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode to an existing database in WAL mode. Raises CompanyStopped or Transient.

    `synchronous=FULL`: a commit of ours is followed by an fsync of the WAL, to which everything is appended; so it also makes
    durable every commit of the ERP before it, even where the ERP itself runs with `synchronous=NORMAL`.
    """
    where = str(path)
    if not path.is_file():
        raise CompanyStopped("A2202", "there is no such file", where=where)
    with translated(where):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            _prepare(connection, where, query_only=query_only)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, where: str, *, query_only: bool) -> None:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        message = f"the journal mode is {mode}; in that mode readers and writers would block each other"
        raise CompanyStopped("A2204", message, where=where)
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA query_only = {int(query_only)}")


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Turns errors of SQLite into ours; `where`: the file, or file and table."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, where) from error


def translate(error: sqlite3.Error, where: str) -> AgentError:
    """The error to raise instead. Messages of SQLite name structures, never contents."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = str(error)
    if "decode to UTF-8" in text:  # the message shows the text
        text = "text that is not UTF-8"
    if code in _UNUSABLE:
        own, message = _UNUSABLE[code]
        return CompanyStopped(own, message, where=where)
    if code in _LOCKED:
        return Transient("A2201", "another connection holds the database for too long", where=where)
    if code == sqlite3.SQLITE_INTERRUPT or isinstance(error, sqlite3.ProgrammingError):
        return Transient("A2212", "the statement was ended", where=where)
    if "no such table: _cdc_" in text or "no such table: main._cdc_" in text:
        return CompanyStopped("A2205", "the product's own tables are not there", where=where)
    if code == sqlite3.SQLITE_ERROR or code == sqlite3.SQLITE_SCHEMA:
        return Transient("A2211", f"a table is not as it was: {text}", where=where)
    return Transient("A2207", f"{getattr(error, 'sqlite_errorname', 'error')}: {text}", where=where)


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction, taken at once, so that nothing read in it can change under it. The caller commits."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
