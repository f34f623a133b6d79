"""adapter: a channel's frames applied within one transaction: schemas, loads, changes, and the end that makes them visible."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from cloud.store import catalogue as cat
from cloud.store import staging
from cloud.store.catalogue import Generation, Record
from cloud.store.changeset import change_set
from cloud.store.names import check_schema
from cloud.store.transaction import StoreTransaction
from transport.errors import RemoteProtocolError
from transport.frames import Batch, Detach, LoadBegin, LoadEnd, Schema, StreamMessage, WindowEnd

PROGRESS_ROWS = 4_096


class Window:
    """One or more whole windows of a channel. Raises RemoteProtocolError T1005 for what a healthy agent never sends."""

    def __init__(self, transaction: StoreTransaction, channel: str, progress: Callable[[int], None]) -> None:
        self.rows = 0
        self.complete = False  # the last frame taken ended a window
        self._transaction = transaction
        self._channel = channel
        self._progress = progress
        self._reported = 0
        self._ending: list[str] = []  # datasets whose load is complete at the window's end

    def take(self, seq: int, message: StreamMessage | None) -> None:
        """Apply one frame. None: an optional one, of a kind that is unknown here."""
        self.complete = False
        match message:
            case Batch():
                self._batch(message)
            case Schema():
                self._schema(message)
            case LoadBegin():
                self._load_begin(message)
            case LoadEnd():
                self._load_end(message)
            case WindowEnd():
                self._end(seq, message)
            case Detach():
                record = self._transaction.record(message.dataset)
                if record is not None:
                    self._transaction.detach(record, self._channel)
            case None:
                pass

    # -- frames ----------------------------------------------------------------------------------------------------------

    def _schema(self, schema: Schema) -> None:
        check_schema(schema)
        self._transaction.add_schema(schema)

    def _load_begin(self, begin: LoadBegin) -> None:
        self._known_schema(begin.schema_id, begin.dataset)
        record = self._transaction.record(begin.dataset) or self._transaction.new_record(begin.dataset)
        if record.is_outdated(self._channel, begin.generation):
            self._transaction.ignore(record, self._channel)
            return
        if begin.dataset in self._ending:
            self._ending.remove(begin.dataset)
        self._transaction.begin_load(record, self._channel, begin.generation, begin.schema_id)

    def _batch(self, batch: Batch) -> None:
        schema = self._known_schema(batch.schema_id, batch.dataset)
        record = self._transaction.record(batch.dataset)
        if record is None:
            raise self._misplaced(batch.dataset, "rows before any load")
        targets = self._page_target(record, batch) if batch.generation else self._change_targets(record, batch)
        if targets:
            changes = change_set(schema, batch)
            for generation in targets:
                self._transaction.write(record, generation, changes, page=batch.generation != 0)
        self.rows += len(batch.ops)
        if self.rows - self._reported >= PROGRESS_ROWS:
            self._reported = self.rows
            self._progress(self.rows)

    def _load_end(self, end: LoadEnd) -> None:
        record = self._transaction.record(end.dataset)
        if record is None:
            raise self._misplaced(end.dataset, "the end of a load that never began")
        if self._open_load(record, end.generation) is not None:
            self._ending.append(end.dataset)

    def _end(self, seq: int, end: WindowEnd) -> None:
        for dataset in self._ending:
            record = self._transaction.record(dataset)
            if record is not None:
                self._transaction.swap_or_hold(record)
        self._ending.clear()
        self._transaction.flush()
        cat.note_reloading(self._db, self._channel, end.reloading)
        staging.finish(self._db, self._channel, seq, end, self._transaction.now)
        self.complete = True

    # -- where rows go ---------------------------------------------------------------------------------------------------

    def _page_target(self, record: Record, batch: Batch) -> list[Generation]:
        """Find the generation that a page is for."""
        loading = self._open_load(record, batch.generation)
        if loading is not None and loading.schema_id != batch.schema_id:
            raise self._misplaced(batch.dataset, "a page with another schema than its load")
        return [] if loading is None else [loading]

    def _open_load(self, record: Record, generation: int) -> Generation | None:
        """Find a load of this channel that has not ended. None: the dataset has left this channel, which does not know yet."""
        loading = record.loading
        if (
            loading is None
            or (loading.channel, loading.generation) != (self._channel, generation)
            or loading.held
            or record.name in self._ending
        ):
            if self._channel in record.lost:
                return None
            raise self._misplaced(record.name, f"generation {generation} is not being loaded")
        return loading

    def _change_targets(self, record: Record, batch: Batch) -> list[Generation]:
        """Find the generations that take changes of this channel: the visible one and the one being loaded.

        With another schema the visible one takes none: it is stale until the load that came with that schema is swapped in.
        """
        owned = [
            g for g in record.generations() if g.channel == self._channel and not (record.detached and g is record.visible)
        ]
        targets = [g for g in owned if g.schema_id == batch.schema_id]
        if record.loading in owned and record.loading not in targets:
            raise self._misplaced(batch.dataset, "changes with another schema than the load under way")
        if not targets and self._channel not in record.lost and batch.schema_id != record.rejected:
            raise self._misplaced(batch.dataset, "changes of a dataset that this channel does not have in that form")
        return targets

    # -- helpers ---------------------------------------------------------------------------------------------------------

    @property
    def _db(self) -> sqlite3.Connection:
        return self._transaction.db

    def _known_schema(self, identity: bytes, dataset: str) -> Schema:
        schema = self._transaction.schema(identity)
        if schema is None or schema.dataset != dataset:
            raise self._misplaced(dataset, "a schema that was not sent before")
        return schema

    def _misplaced(self, dataset: str, what: str) -> RemoteProtocolError:
        return RemoteProtocolError("T1005", what, where=f"{self._channel}/{dataset}")
