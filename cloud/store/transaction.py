"""adapter: one write transaction on the copy: the records it touches, the feed's cursor, and the swap of generations."""

from __future__ import annotations

import sqlite3

from cloud.store import catalogue as cat
from cloud.store import staging
from cloud.store.base import WithheldRow
from cloud.store.catalogue import Catalogue, Generation, Record
from cloud.store.changeset import ChangeSet, Part
from cloud.store.feed import Feed, bounds
from cloud.store.tables import Guess, Table
from transport.frames import Op, Schema, Withheld

SWAP_LOSS = 0.3  # a load that would remove a greater share of what is visible waits for a person
SWAP_FLOOR = 10  # visible rows up to which that is not asked: a small table changes a lot by nature


class StoreTransaction:
    """What is read is kept until `flush`, which writes what has changed; the caller commits."""

    def __init__(self, db: sqlite3.Connection, catalogue: Catalogue, feed: Feed, now: str) -> None:
        self.db = db
        self.now = now
        self._catalogue = catalogue
        self._feed = feed
        self._records: dict[str, Record] = {}
        self._recount: dict[tuple[str, int], Generation] = {}  # whose withheld rows changed in number
        self._guess: dict[tuple[str, int], Guess] = {}  # by generation: what the next batch will be
        self.cursor = bounds(db)[1]

    # -- records ---------------------------------------------------------------------------------------------------------

    def record(self, dataset: str) -> Record | None:
        """Return a dataset, if it ever came."""
        record = self._records.get(dataset) or cat.load(self.db, dataset)
        if record is not None:
            self._records[dataset] = record
        return record

    def new_record(self, dataset: str) -> Record:
        """Begin with a dataset that came for the first time."""
        record = self._records[dataset] = Record(dataset)
        return record

    def schema(self, identity: bytes) -> Schema | None:
        """Return the schema of that id, if it ever came."""
        return self._catalogue.schema(self.db, identity)

    def add_schema(self, schema: Schema) -> None:
        """Keep a schema."""
        self._catalogue.add_schema(self.db, schema)

    def flush(self) -> None:
        """Write the records and the cursor."""
        for generation in self._recount.values():
            generation.withheld = cat.count_withheld(self.db, generation)
        for record in self._records.values():
            if record.generations():
                cat.save(self.db, record)
            else:
                cat.remove(self.db, record.name)
        self.db.execute("UPDATE _meta SET cursor = ?", (self.cursor,))
        self._records.clear()
        self._recount.clear()

    # -- generations -----------------------------------------------------------------------------------------------------

    def begin_load(self, record: Record, channel: str, generation: int, schema_id: bytes) -> None:
        """Create an empty generation; an earlier unfinished one is dropped.

        What is visible is stale then if that one was held: the agent, whose load had ended, does not say so.
        """
        if record.loading is not None and record.loading.held:
            record.rejected = record.loading.schema_id
        self.discard(record, new_owner=channel)
        record.lost = [name for name in record.lost if name != channel]
        record.last_number += 1
        record.loading = Generation(record.name, record.last_number, channel, generation, schema_id)
        self._table(record.loading).create(self.db)

    def ignore(self, record: Record, channel: str) -> None:
        """Note that what this channel still sends of the dataset is out of date."""
        _disown(record, channel, "")

    def discard(self, record: Record, new_owner: str = "") -> None:
        """Drop the generation that is being loaded or held, if there is one."""
        if record.loading is None:
            return
        _disown(record, record.loading.channel, new_owner or record.loading.channel)
        self._drop(record.loading)
        record.loading = None

    def detach(self, record: Record, channel: str) -> None:
        """Note that the dataset left that channel; a load that it had begun ends, what is visible stays."""
        if record.loading is not None and record.loading.channel == channel:
            self.discard(record)
        if record.visible is not None and record.visible.channel == channel and not record.detached:
            record.detached, record.reloading = True, False
            record.applied_at, record.read_at = cat.times(self.db, channel)
        record.lost = [name for name in record.lost if name != channel]

    def release(self, channel: str) -> list[str]:
        """Forget a channel that the agent no longer has. Returns its datasets, which are detached now."""
        datasets = cat.owned_by(self.db, channel)
        for dataset in datasets:
            record = self.record(dataset)
            if record is not None:
                self.detach(record, channel)
        staging.forget(self.db, channel)
        return datasets

    def swap_or_hold(self, record: Record) -> None:
        """Make the loaded generation the visible one, unless too much would go: then it waits for a person."""
        visible, loading = record.visible, record.loading
        if loading is None:
            return
        if visible is not None and visible.rows > SWAP_FLOOR:
            missing = self._table(visible).missing_in(self.db, self._table(loading))
            if missing > SWAP_LOSS * visible.rows:
                loading.held = True
                return
        self.swap(record)

    def swap(self, record: Record) -> None:
        """Make the loaded generation the visible one; followers of the feed read it anew."""
        visible, loading = record.visible, record.loading
        if loading is None:
            return
        self._table(loading).show(self.db)
        if visible is not None:
            _disown(record, visible.channel, loading.channel)
            self._drop(visible)
        loading.held = False
        record.visible, record.loading = loading, None
        record.detached, record.rejected, record.applied_at, record.read_at = False, b"", "", ""
        self.cursor = self._feed.reset(self.db, self.cursor, self.now, record.name)

    def reject(self, record: Record) -> None:
        """Drop a held load. The visible copy is stale from now on: what the load found is not in it."""
        if record.loading is not None:
            record.rejected = record.loading.schema_id
            self.discard(record)

    def _drop(self, generation: Generation) -> None:
        cat.drop(self.db, self._table(generation), generation)
        self._recount.pop((generation.dataset, generation.number), None)

    def _table(self, generation: Generation) -> Table:
        return self._catalogue.table(self.db, generation)

    # -- rows ------------------------------------------------------------------------------------------------------------

    def write(self, record: Record, generation: Generation, changes: ChangeSet, *, page: bool) -> None:
        """Write a batch into one generation; changes of the visible one stand in the feed."""
        for part in changes.parts:
            if part.op != Op.WITHHELD and generation.withheld:
                cat.release(self.db, generation, part.keys)
                self._recount[generation.dataset, generation.number] = generation
            self._write_part(record, generation, part, page)
        if generation is record.visible:
            self.cursor = self._feed.append(self.db, self.cursor, self.now, record.name, changes.ops, changes.keys)

    def _write_part(self, record: Record, generation: Generation, part: Part, page: bool) -> None:
        if part.op == Op.UPSERT:
            for at, reason in self._put(generation, part, page):
                self._withhold(record, generation, part.keys[at], reason, "cloud")
        elif part.op == Op.DELETE:
            generation.rows -= self._table(generation).remove_rows(self.db, part.keys)
        else:
            for key, reason in zip(part.keys, part.reasons, strict=True):
                self._withhold(record, generation, key, reason, "erp")

    def _put(self, generation: Generation, part: Part, page: bool) -> list[tuple[int, Withheld]]:
        place = (generation.dataset, generation.number)
        guess = self._guess.get(place, Guess.NEW if page else Guess.OLD)
        put = self._table(generation).put_rows(self.db, part.keys, part.cells, guess)
        self._guess[place] = put.next_guess(len(part.keys))
        generation.rows += put.added
        return put.refused

    def _withhold(self, record: Record, generation: Generation, key: bytes, reason: Withheld, side: str) -> None:
        """Keep the last version of the row, marked; in a load that is the visible one's."""
        table, visible = self._table(generation), record.visible
        same_form = visible is not None and visible is not generation and visible.schema_id == generation.schema_id
        marked = table.mark_row(self.db, key, reason.code)
        if not marked and same_form and visible and table.keep_row(self.db, self._table(visible), key):
            generation.rows += 1
            table.mark_row(self.db, key, reason.code)
        row = WithheldRow(record.name, key, reason.code, reason.column, reason.detail, self.now, side)
        cat.withhold(self.db, generation, row)
        generation.withheld += 1  # more than none; counted at the end
        self._recount[generation.dataset, generation.number] = generation


def _disown(record: Record, old: str, new: str) -> None:
    if old != new and old not in record.lost:
        record.lost = [*record.lost, old]
