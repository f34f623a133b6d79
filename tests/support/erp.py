"""The harness of the source contract: a real ERP database that tests write to, and a follower that keeps a copy of it.

Another kind of database joins the contract suite by implementing `Erp` and being named in `tests/contract/conftest.py`.
Statements that tests hand to `Session.execute` keep to what SQL databases have in common; parameters are `?`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

from cdc.model import Dataset, Facts, LoadMark, Position, Schema
from cdc.sources.base import Page, Reader, Source
from transport.frames import Batch, Cell, Op, Withheld
from transport.values import key_identities, loose_identity


class Session(Protocol):
    """One connection of the ERP itself; autocommit outside `transaction`."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    def close(self) -> None: ...

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Commits at the end, rolls back on an exception."""
        ...


class Erp(Protocol):
    """A database of the ERP."""

    replaces: bool  # knows INSERT OR REPLACE and UPDATE OR REPLACE
    untracks: bool  # a table that no dataset names any more is no longer tracked

    def source(self) -> Source:
        """A source for it, not open yet."""
        ...

    def connect(self) -> Session:
        """Another connection; the harness closes those that are left."""
        ...

    def create(self, table: str, columns: Mapping[str, str], key: Sequence[str], unique: Sequence[Sequence[str]] = ()) -> None:
        """A table; declared types are words that both kinds know: INT, NVARCHAR(50), DECIMAL(10,2), DATE, BIT, ..."""
        ...

    async def install(self, source: Source, datasets: Sequence[Dataset]) -> list[str]:
        """The product's `install`, and before it what only a person may do to the database."""
        ...

    async def expire(self, source: Source) -> None:
        """Change records up to now are forgotten, as if the retention had passed."""
        ...

    def after_update(self, table: str, *statements: str) -> None:
        """A trigger. In the statements `{row}` names a row as it is now, and `{from_rows}` is the FROM clause it takes."""
        ...

    def rebuild(self, table: str, change: str = "") -> None:
        """Create anew, copy, drop, rename: what migration tools do. `change`: an UPDATE's SET applied to the copy."""
        ...

    def truncate(self, table: str) -> None: ...

    def backup(self) -> object: ...

    def restore(self, backup: object) -> None:
        """Puts the backup in the database's place, as an administrator would."""
        ...

    def close(self) -> None: ...


Rows = dict[bytes, tuple[Cell, ...]]


class Copy:
    """What a receiver that applies every batch has of one dataset: rows by identity, in the schema's column order."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rows: Rows = {}
        self.withheld: dict[bytes, Withheld] = {}

    def apply(self, batch: Batch) -> None:
        keys, values = self.schema.keys(), self.schema.values()
        cells = list(zip(*batch.keys, strict=True))
        upserts = iter(zip(*batch.values, strict=True)) if batch.values else iter([()] * len(cells))
        reasons = iter(batch.withheld)
        places = [c.name for c in (*keys, *values)]
        for op, key in zip(batch.ops, cells, strict=True):
            if op == Op.WITHHELD:
                self.withheld[loose_identity(keys, key)] = next(reasons)
                continue
            identity = key_identities(keys, [[cell] for cell in key])[0] if op == Op.UPSERT else loose_identity(keys, key)
            self.withheld.pop(identity, None)
            if op == Op.UPSERT:
                row = dict(zip(places, (*key, *next(upserts)), strict=True))
                self.rows[identity] = tuple(row[c.name] for c in self.schema.columns)
            else:
                self.rows.pop(identity, None)

    def sorted(self) -> list[tuple[Cell, ...]]:
        return sorted(self.rows.values(), key=repr)


class Follower:
    """The least that an agent does: pages first, then windows, each with its witness."""

    def __init__(self, source: Source, datasets: Sequence[Dataset], page_rows: int = 100) -> None:
        self.source = source
        self.datasets = list(datasets)
        self.page_rows = page_rows
        self.copies: dict[str, Copy] = {}
        self.schemas: dict[str, Schema] = {}
        self.position: Position | None = None
        self.batches: list[Batch] = []
        self._nonces = 0

    async def start(self) -> None:
        """Notes where changes begin; nothing is loaded yet."""
        for description in await self.source.describe(self.datasets):
            assert description.schema is not None, description.problem
            self.schemas[description.dataset] = description.schema
            self.copies[description.dataset] = Copy(description.schema)
        async with self.source.reader() as reader:
            facts = await reader.facts(None, self.datasets)
        await self._reach(facts)

    async def facts(self) -> Facts:
        async with self.source.reader() as reader:
            return await reader.facts(self.position, self.datasets)

    async def _reach(self, facts: Facts) -> None:
        self._nonces += 1
        self.position = Position(facts.version, facts.incarnation, self._nonces.to_bytes(16, "big"))
        await self.source.witness(self.position, 0)

    async def load(self) -> None:
        """Every page of every dataset, with the changes between them."""
        for dataset in self.datasets:
            mark = LoadMark(dataset.name, 1, b"", 0, "")
            while not (page := await self.page(dataset, mark.after)).done:
                mark = LoadMark(dataset.name, 1, page.after, mark.rows + page.rows, "")
                await self.catch_up()
        await self.catch_up()

    async def page(self, dataset: Dataset, after: bytes) -> Page:
        async with self.source.reader() as reader:
            page = await reader.page(dataset, self.schemas[dataset.name], 1, after, self.page_rows)
        for batch in page.batches:
            self.copies[dataset.name].apply(batch)
        return page

    async def catch_up(self) -> list[Batch]:
        """One window."""
        assert self.position is not None
        async with self.source.reader() as reader:
            facts = await reader.facts(self.position, self.datasets)
            assert all(table.min_valid is not None and table.min_valid <= self.position.version for table in facts.tables), (
                facts
            )
            self.batches = await self._window(reader, self.position.version)
        await self._reach(facts)
        return self.batches

    async def _window(self, reader: Reader, since: int) -> list[Batch]:
        result: list[Batch] = []
        changed = await reader.changed(since, self.datasets)
        for dataset in self.datasets:
            if dataset.name in changed:
                async for batch in reader.changes(dataset, self.schemas[dataset.name], since):
                    self.copies[dataset.name].apply(batch)
                    result.append(batch)
        return result

    def rows(self, dataset: str) -> list[tuple[Cell, ...]]:
        return self.copies[dataset].sorted()

    def withheld(self, dataset: str) -> list[str]:
        return sorted(reason.code for reason in self.copies[dataset].withheld.values())


def ops(batches: Sequence[Batch]) -> list[tuple[str, tuple[Cell, ...]]]:
    """(operation, key) of every row, sorted."""
    return sorted(
        ((Op(op).name.lower(), key) for b in batches for op, key in zip(b.ops, zip(*b.keys, strict=True), strict=True)),
        key=repr,
    )


@contextlib.asynccontextmanager
async def following(erp: Erp, *datasets: Dataset, page_rows: int = 100) -> AsyncIterator[Follower]:
    """An installed source and a follower that has caught up with it."""
    source = erp.source()
    await source.open()
    try:
        words = await erp.install(source, datasets)
        assert not [text for text in words if text.startswith("not tracked")], words
        follower = Follower(source, datasets, page_rows)
        await follower.start()
        await follower.load()
        yield follower
    finally:
        await source.close()


@contextlib.contextmanager
def closing(erp: Erp) -> Iterator[Erp]:
    try:
        yield erp
    finally:
        erp.close()
