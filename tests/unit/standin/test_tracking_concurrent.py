"""Versions become visible in the order of commits: a reader that follows them loses nothing, whoever commits meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.standin.engine.database import Engine
from tests.support.standin_storage import INT, Client, Storage, column, option, table, track

WRITERS, COMMITS, ROWS = 4, 40, 12


async def write(client: Client, seed: int) -> None:
    """Transactions of one to three rows, some rolled back."""
    choices = random.Random(seed)
    for number in range(COMMITS):
        await client.begin()
        for key in sorted(choices.sample(range(ROWS), choices.randint(1, 3))):
            upsert = "INSERT INTO {t} VALUES ($1, $2) ON CONFLICT (c1) DO UPDATE SET c2 = $2"
            remove = "DELETE FROM {t} WHERE c1 = $1 AND $2::int IS NOT NULL"
            await client.write("t", upsert if choices.random() < 0.7 else remove, key, seed * 1000 + number)
            await asyncio.sleep(0)
        await (client.commit() if choices.random() < 0.9 else client.rollback())


async def follow(reader: Client, copy: dict[int, int], since: int) -> int:
    """One poll: the version first, then every change since the last with the row as it is."""
    await reader.begin()
    version = await reader.version()
    assert version is not None
    rows: dict[int, Any] = dict(await reader.read("t"))
    for change in await reader.changes("t", since):
        assert since < change[0] <= version, "a version that the snapshot does not have"
        key = change[5]
        assert (change[2] == "D") == (key not in rows)
        if key in rows:
            copy[key] = rows[key]
        else:
            copy.pop(key, None)
    assert copy == rows, "the changes do not lead from one snapshot to the next"
    await reader.commit()
    return version


async def test_a_follower_of_versions_arrives_at_every_snapshot() -> None:
    engine = await Engine.start()
    server = Storage(engine)
    try:
        database = await server.database()
        clients = [await server.client(database) for _ in range(WRITERS)]
        await clients[0].do(option("CHANGE_TRACKING", "ON"), option("ALLOW_SNAPSHOT_ISOLATION", "ON"))
        await clients[0].do(table("t", column("id"), column("a", INT)), track("t"))
        reader = await server.client(database, isolation="SNAPSHOT")
        writers = [asyncio.create_task(write(client, seed)) for seed, client in enumerate(clients, 1)]
        copy: dict[int, int] = {}
        version = polls = 0
        while not all(writer.done() for writer in writers):
            version = await follow(reader, copy, version)
            polls += 1
        await asyncio.gather(*writers)
        version = await follow(reader, copy, version)
        [(commits, last)] = await reader.fetch("SELECT count(*), max(commit_ts) FROM standin.commits")
        assert commits == last == version, "versions without gaps"
        assert polls > 5
    finally:
        await server.leave()
        await engine.stop()
