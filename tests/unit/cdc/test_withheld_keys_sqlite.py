"""Rows of an SQLite ERP whose key cannot be carried: withheld while they are there, deleted by the same name afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model import Dataset, Facts, Position
from cdc.sources.sqlite.source import SqliteSource
from transport.frames import Batch, Op
from transport.machine import system_runtime
from transport.values import loose_identity

DATASET = Dataset(name="codes", table="codes", channel="hr")
KEYS = [
    "x'ff00'",
    "CAST(x'ff61' AS TEXT)",
    "CAST(x'eda080' AS TEXT)",
    "CAST(x'610062' AS TEXT)",
    "replace(hex(zeroblob(2500)), '00', 'ab')",
    "NULL",
]


class World:
    """An ERP and what its source says has changed since the last look."""

    def __init__(self, path: Path, source: SqliteSource) -> None:
        self._path = path
        self._source = source
        self._version = 0

    def do(self, sql: str) -> None:
        with closing(sqlite3.connect(self._path)) as db, db:
            db.execute(sql)

    async def start(self) -> None:
        """Changes count from here."""
        async with self._source.reader() as reader:
            await self._reach(await reader.facts(None, [DATASET]))

    async def _reach(self, facts: Facts) -> None:
        await self._source.witness(Position(facts.version, facts.incarnation, bytes(16)), 0)
        self._version = facts.version

    async def news(self) -> list[tuple[int, bytes]]:
        """(op, name) of every row that changed."""
        schema = (await self._source.describe([DATASET]))[0].schema
        assert schema is not None
        async with self._source.reader() as reader:
            facts = await reader.facts(None, [DATASET])
            batches: list[Batch] = [b async for b in reader.changes(DATASET, schema, self._version)]
        await self._reach(facts)
        keys = schema.keys()
        return [
            (op, loose_identity(keys, key)) for b in batches for op, key in zip(b.ops, zip(*b.keys, strict=True), strict=True)
        ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "erp.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE codes(code TEXT COLLATE NOCASE, n INTEGER, name TEXT, PRIMARY KEY(code, n))")
    source = SqliteSource(path, system_runtime())
    await source.open()
    await source.install([DATASET])
    made = World(path, source)
    await made.start()
    yield made
    await source.close()


@pytest.mark.parametrize("key", KEYS)
async def test_a_withheld_row_that_goes_is_deleted_by_the_name_it_was_withheld_by(world: World, key: str) -> None:
    world.do(f"INSERT INTO codes VALUES ({key}, 1, 'x')")
    ((op, name),) = await world.news()
    assert op == Op.WITHHELD
    world.do("DELETE FROM codes")
    assert await world.news() == [(Op.DELETE, name)]


@pytest.mark.parametrize("key", KEYS)
async def test_a_bad_key_that_is_mended_is_a_delete_and_a_row(world: World, key: str) -> None:
    world.do(f"INSERT INTO codes VALUES ({key}, 1, 'x')")
    ((_, name),) = await world.news()
    world.do("UPDATE codes SET code = 'good'")
    news = dict(reversed(entry) for entry in await world.news())  # name -> op
    assert news.pop(name) == Op.DELETE
    assert list(news.values()) == [Op.UPSERT]


async def test_a_key_with_null_stays_withheld_as_long_as_one_of_its_rows_is_there(world: World) -> None:
    world.do("INSERT INTO codes VALUES (NULL, 1, 'x'), (NULL, 1, 'y')")
    ((op, name),) = await world.news()
    assert op == Op.WITHHELD
    world.do("DELETE FROM codes WHERE name = 'x'")
    assert await world.news() == [(Op.WITHHELD, name)]
    world.do("DELETE FROM codes WHERE name = 'y'")
    assert await world.news() == [(Op.DELETE, name)]
