"""adapter: `CompanyStore` on SQLite: one file a company, in which data, position and feed commit together.

The views of the file, one a dataset, may be queried by anybody while the service runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

from cloud.store import catalogue as cat
from cloud.store import feed, staging
from cloud.store.base import Applied, Change, DatasetState, Decode, Progress, Row, Staged, WithheldRow
from cloud.store.catalogue import Catalogue
from cloud.store.feed import Entry, Feed
from cloud.store.file import MIB, SqliteFile, utc
from cloud.store.tables import Table
from cloud.store.transaction import StoreTransaction
from cloud.store.window import Window
from transport.errors import RemoteProtocolError
from transport.frames import ChannelState
from transport.runtime import Runtime

APPLICATION = 0x63646331  # marks the file as a company's copy
CLEAN_UP_EVERY = 3600.0  # seconds

MIGRATIONS = (
    """
    CREATE TABLE _meta(cursor INTEGER NOT NULL, floor INTEGER NOT NULL) STRICT;
    INSERT INTO _meta VALUES (0, 0);
    CREATE TABLE _channel(
      name TEXT PRIMARY KEY, journal_id BLOB NOT NULL, staged INTEGER NOT NULL, applied INTEGER NOT NULL,
      position BLOB NOT NULL DEFAULT x'', applied_at TEXT NOT NULL DEFAULT '', read_at TEXT NOT NULL DEFAULT '')
      STRICT, WITHOUT ROWID;
    CREATE TABLE _staging(
      channel TEXT NOT NULL, seq INTEGER NOT NULL, crc INTEGER NOT NULL, envelope BLOB NOT NULL,
      PRIMARY KEY(channel, seq)) STRICT, WITHOUT ROWID;
    CREATE TABLE _schema(id BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE _dataset(
      name TEXT PRIMARY KEY, last_number INTEGER NOT NULL, detached INTEGER NOT NULL, reloading INTEGER NOT NULL,
      rejected BLOB NOT NULL, lost BLOB NOT NULL, applied_at TEXT NOT NULL, read_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE _generation(
      dataset TEXT NOT NULL, number INTEGER NOT NULL, visible INTEGER NOT NULL, channel TEXT NOT NULL,
      generation INTEGER NOT NULL, schema_id BLOB NOT NULL, held INTEGER NOT NULL, rows INTEGER NOT NULL,
      withheld INTEGER NOT NULL, PRIMARY KEY(dataset, number)) STRICT, WITHOUT ROWID;
    CREATE TABLE _withheld(
      dataset TEXT NOT NULL, number INTEGER NOT NULL, key BLOB NOT NULL, code TEXT NOT NULL, column_name TEXT NOT NULL,
      detail TEXT NOT NULL, since TEXT NOT NULL, side TEXT NOT NULL, PRIMARY KEY(dataset, number, key)) STRICT, WITHOUT ROWID;
    CREATE TABLE _feed(
      last INTEGER PRIMARY KEY, count INTEGER NOT NULL, at TEXT NOT NULL, dataset TEXT NOT NULL, ops BLOB NOT NULL,
      keys BLOB NOT NULL) STRICT;
    """,
)


class SqliteStore:
    """The copy of one company; see `CompanyStore`. Writes from any thread take turns, reads wait for none of them."""

    def __init__(
        self, path: Path, runtime: Runtime, *, retention_days: float = 30, cache: int = 64 * MIB, readers: int = 4
    ) -> None:
        """Open or create. `cache`: bytes of pages a connection may hold. Raises StoreError C3101 to C3106."""
        self._runtime = runtime
        self._retention = timedelta(days=retention_days)
        self._cleaned = float("-inf")
        self._catalogue = Catalogue()
        self._feed = Feed()
        self._file = SqliteFile(
            path, runtime.durable, migrations=MIGRATIONS, application=APPLICATION, cache=cache, readers=readers
        )

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    # -- the agent's side ------------------------------------------------------------------------------------------------

    def channels(self) -> list[ChannelState]:
        """See `CompanyStore.channels`."""
        with self._file.read() as db:
            return staging.states(db)

    def adopt(self, channel: str, journal_id: bytes, next_seq: int) -> ChannelState:
        """See `CompanyStore.adopt`."""
        with self._file.write("store.adopt") as db:
            return staging.adopt(db, channel, journal_id, next_seq)

    def release(self, channels: Collection[str]) -> list[str]:
        """See `CompanyStore.release`."""
        with self._file.read() as db:
            gone = [name for name in staging.names(db) if name not in channels]
        if not gone:
            return []
        with self._changing("store.release") as transaction:
            detached = [dataset for name in gone for dataset in transaction.release(name)]
            transaction.flush()
        return detached

    def stage(self, channel: str, journal_id: bytes, frames: Sequence[Staged]) -> int:
        """See `CompanyStore.stage`. Raises RemoteProtocolError T1006 for frames that do not follow."""
        with self._file.write("store.stage") as db:
            return staging.stage(db, staging.current(db, channel, journal_id), frames)

    def apply(self, channel: str, journal_id: bytes, tail: Sequence[Staged], decode: Decode, progress: Progress) -> Applied:
        """See `CompanyStore.apply`. Raises RemoteProtocolError T1005, T1006 and what `decode` raises: nothing is applied."""
        with self._changing("store.apply") as transaction:
            db = transaction.db
            known = staging.current(db, channel, journal_id)
            window, seq = Window(transaction, channel, progress), known.applied
            for seq, envelope in staging.envelopes(db, known, tail):
                window.take(seq, decode(envelope))
            if not window.complete:
                raise RemoteProtocolError("T1005", "frames without the end of their window", where=channel)
            applied = Applied(seq, window.rows, transaction.cursor, cat.withheld_of(db, channel), cat.held_of(db, channel))
        self._clean_up_now_and_then()
        return applied

    # -- applications ----------------------------------------------------------------------------------------------------

    def datasets(self) -> list[DatasetState]:
        """See `CompanyStore.datasets`."""
        with self._file.read() as db:
            return [self._catalogue.state(db, record) for record in cat.load_all(db)]

    def row(self, dataset: str, key: bytes) -> Row | None:
        """See `CompanyStore.row`."""
        with self._file.read() as db:
            table = self._visible(db, dataset)
            return table.rows_of(db, [key]).get(key) if table else None

    def rows(self, dataset: str, after: bytes, limit: int) -> list[Row]:
        """See `CompanyStore.rows`."""
        with self._file.read() as db:
            table = self._visible(db, dataset)
            return table.page(db, after, limit) if table else []

    def cursor(self) -> int:
        """See `CompanyStore.cursor`."""
        with self._file.read() as db:
            return feed.bounds(db)[1]

    def changes(self, after: int, limit: int, datasets: Iterable[str] | None = None) -> list[Change] | None:
        """See `CompanyStore.changes`. None also for a cursor ahead of the feed: it is of a store before its restore."""
        with self._file.read() as db:
            floor, newest = feed.bounds(db)
            if not floor <= after <= newest:
                return None
            entries = feed.read(db, after, limit, datasets)
            rows = self._rows_of(db, entries)
        return [
            Change(e.cursor, e.dataset, e.op, e.key, rows[e.dataset].get(e.key) if e.op == "upsert" else None) for e in entries
        ]

    def withheld(self, dataset: str | None, limit: int) -> list[WithheldRow]:
        """See `CompanyStore.withheld`."""
        with self._file.read() as db:
            return cat.withheld(db, dataset, limit)

    def approve(self, dataset: str) -> bool:
        """See `CompanyStore.approve`."""
        with self._changing("store.approve") as transaction:
            record = transaction.record(dataset)
            if record is None or record.loading is None or not record.loading.held:
                return False
            transaction.swap(record)
            transaction.flush()
        return True

    def reject(self, dataset: str) -> bool:
        """See `CompanyStore.reject`."""
        with self._changing("store.reject") as transaction:
            record = transaction.record(dataset)
            if record is None or record.loading is None or not record.loading.held:
                return False
            transaction.reject(record)
            transaction.flush()
        return True

    def clean_up(self, before: str) -> int:
        """See `CompanyStore.clean_up`."""
        with self._file.write("store.clean_up") as db:
            return feed.clean_up(db, before)

    # -- helpers ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self, step: str) -> Iterator[StoreTransaction]:
        try:
            with self._file.write(step) as db:
                yield StoreTransaction(db, self._catalogue, self._feed, utc(self._runtime.clock.now()))
        except BaseException:
            self._catalogue.forget()
            raise

    def _clean_up_now_and_then(self) -> None:
        now = self._runtime.clock.monotonic()
        if now - self._cleaned >= CLEAN_UP_EVERY:
            self._cleaned = now
            self.clean_up(utc(self._runtime.clock.now() - self._retention))

    def _visible(self, db: Connection, dataset: str) -> Table | None:
        record = cat.load(db, dataset)
        return self._catalogue.table(db, record.visible) if record and record.visible else None

    def _rows_of(self, db: Connection, entries: list[Entry]) -> dict[str, dict[bytes, Row]]:
        keys: dict[str, list[bytes]] = {}
        for entry in entries:
            if entry.op == "upsert":
                keys.setdefault(entry.dataset, []).append(entry.key)
        tables = {dataset: self._visible(db, dataset) for dataset in keys}
        return {dataset: table.rows_of(db, keys[dataset]) if table else {} for dataset, table in tables.items()}
