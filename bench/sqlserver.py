"""shell: the SQL Server source against a bare loop with the same SELECT and driver, and beside a client of somebody else's.

The server is the stand-in of the tests. It answers the measured statement with rows that it encoded before (`replay`), so that
the client is what is measured. Its latencies, and rates that include its work, are not SQL Server's.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

from bench import data, sqlserver_data
from bench.end_to_end import POLL
from bench.installation import installation
from bench.processes import ROOT
from bench.report import Measured
from cdc.model import Dataset, Position, Schema
from cdc.sources.base import ROWS_PER_READ
from cdc.sources.sqlserver.source import SqlServerSource
from tests.support.sqlserver import Server, driver_file
from tests.support.sqlserver_product import source_table
from transport.machine import calm_collector, system_runtime

DATASET = Dataset(name=data.TABLE.lower(), table=sqlserver_data.TABLE, channel="hr")
REPEAT = 5
CHANGES, PAGES = r"SELECT CT\..*FROM CHANGETABLE", r"SELECT TOP \(@rows\).*WHERE"  # what is replayed
PEERS = Path(os.environ.get("VENV", ROOT / ".venv")) / "peers" / "bin"
PARAMETER = re.compile(r"@P\d+\b")


# -- the source and the bare loop ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(
    server: Server, database: str, datasets: Sequence[Dataset]
) -> AsyncIterator[tuple[SqlServerSource, list[Schema]]]:
    """An installed source and the schemas."""
    source = SqlServerSource(server.settings(database), system_runtime())
    await source.open()
    try:
        await source.install(datasets)
        found = await source.describe(datasets)
        problems = [d.problem for d in found if d.schema is None]
        if problems:
            raise RuntimeError(problems[0])
        yield source, [d.schema for d in found if d.schema is not None]
    finally:
        await source.close()


class Clock:
    """Wall and CPU time of this process."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def since(self, name: str, rows: int) -> Measured:
        return Measured(name, rows, time.perf_counter() - self._begun[0], time.process_time() - self._begun[1])


async def _source_changes(source: SqlServerSource, schema: Schema, rows: int) -> Measured:
    async with source.reader() as reader:
        clock = Clock()
        found = 0
        async for batch in reader.changes(DATASET, schema, 0):
            found += len(batch.ops)
        measured = clock.since("changes: source", found)
    if found != rows:
        raise RuntimeError(f"{found} changes instead of {rows}")
    return measured


async def _source_pages(source: SqlServerSource, schema: Schema, rows: int) -> Measured:
    """The second page as often as `rows` needs: its statement is replayed."""
    async with source.reader() as reader:
        after = (await reader.page(DATASET, schema, 1, b"", ROWS_PER_READ)).after
        await reader.page(DATASET, schema, 1, after, ROWS_PER_READ)
        clock = Clock()
        found = 0
        while found < rows:
            page = await reader.page(DATASET, schema, 1, after, ROWS_PER_READ)
            found += sum(len(batch.ops) for batch in page.batches)
        return clock.since("pages: source", found)


def _bare(server: Server, database: str, name: str, text: str, parameters: Sequence[int], times: int) -> Measured:
    """The same text, parameters and driver; rows are fetched and dropped."""
    with closing(server.connect(database)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(text, *parameters)
        cursor.fetchall()
        clock = Clock()
        found = 0
        for _ in range(times):
            cursor.execute(text, *parameters)
            while rows := cursor.fetchmany(ROWS_PER_READ):
                found += len(rows)
        return clock.since(name, found)


def _text(server: Server, match: str) -> str:
    """What the source sent, as it can be sent again."""
    texts = sorted(server.control.log(match), key=len)
    if not texts:
        raise RuntimeError(f"the source sent nothing like {match}")
    return PARAMETER.sub("?", texts[-1])


def against_the_bare_loop(server: Server, database: str, rows: int) -> list[Measured]:
    """Changes and pages, each by the source and by the bare loop, in turns: the one that took least CPU of each counts."""
    calm_collector()
    server.control.add(CHANGES, name="changes", replay="changes", times=0)
    server.control.add(PAGES, name="pages", replay="pages", times=0)
    try:
        return asyncio.run(_in_turns(server, database, rows))
    finally:
        server.control.remove()


async def _in_turns(server: Server, database: str, rows: int) -> list[Measured]:
    found: list[list[Measured]] = []
    async with opened(server, database, [DATASET]) as (source, [schema]):
        await _source_changes(source, schema, rows)  # records what is replayed from then on
        await _source_pages(source, schema, ROWS_PER_READ)
        changes, pages = _text(server, CHANGES), _text(server, PAGES)
        for _ in range(REPEAT):
            turn = [_bare(server, database, "changes: bare loop", changes, (0,), 1)]
            turn.append(await _source_changes(source, schema, rows))
            turn.append(_bare(server, database, "pages: bare loop", pages, (ROWS_PER_READ,) * 2, rows // ROWS_PER_READ))
            turn.append(await _source_pages(source, schema, rows))
            found.append(turn)
    return [min(each, key=lambda m: m.cpu) for each in zip(*found, strict=True)]


# -- somebody else's client ----------------------------------------------------------------------------------------------------


def tap(folder: Path, server: Server, database: str, rows: int) -> list[Measured]:
    """firebend-tap-mssql on the same table, live: changes and full, less what it takes when there is nothing to do."""
    host, _, port = server.place.partition(",")
    config = {"host": host, "port": port, "database": database, "user": server.user, "password": server.password}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odbcinst.ini").write_text(f"[ODBC Driver 17 for SQL Server]\nDriver={driver_file()}\n")
    run = _Tap(folder)
    catalog = json.loads(run("--discover"))
    for stream in catalog["streams"]:
        chosen = stream["table_name"] == data.TABLE
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"] |= {"selected": chosen, "replication-method": "LOG_BASED"}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    (folder / "state.json").write_text("{}")
    full = run.measured("pages: tap", rows)
    with server.connected(database) as connection:
        connection.execute("CREATE TABLE dbo.LAST (ID int NOT NULL PRIMARY KEY)")
        connection.execute("ALTER TABLE dbo.LAST ENABLE CHANGE_TRACKING")
        connection.execute(
            "INSERT INTO dbo.LAST VALUES (1)"
        )  # so that the version it asks for again holds nothing of the table
    run.measured("", 0)
    start = run.measured("", 0)
    with server.connected(database) as connection:
        connection.execute(f"UPDATE {sqlserver_data.TABLE} SET HOURS = HOURS")
    changes = run.measured("changes: tap", rows)
    return [m._replace(wall=m.wall - start.wall, cpu=m.cpu - start.cpu) for m in (changes, full)]


class _Tap:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *words: str) -> str:
        command = [str(PEERS / "tap-mssql"), "--config", str(self._folder / "config.json"), *words]
        env = {**os.environ, "ODBCSYSINI": str(self._folder)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=1_200)
        if done.returncode:
            raise RuntimeError(done.stderr[-2_000:])
        return done.stdout

    def measured(self, name: str, rows: int) -> Measured:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        lines = self("--catalog", str(self._folder / "catalog.json"), "--state", str(self._folder / "state.json")).splitlines()
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = sum(line.startswith('{"type": "RECORD"') for line in lines)
        if found < rows:
            raise RuntimeError(f"the tap reported {found} rows instead of {rows}")
        states = [line for line in lines if line.startswith('{"type": "STATE"')]
        (self._folder / "state.json").write_text(json.dumps(json.loads(states[-1])["value"]))
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Measured(name, found, wall, cpu)


# -- the whole pipeline --------------------------------------------------------------------------------------------------------


def pipeline(folder: Path, server: Server, database: str, rows: int) -> Measured:
    """One transaction that changed every row, from the first look at it to the cloud's commit; the statement is replayed."""
    source = source_table(server, database)
    with installation(folder, folder, (sqlserver_data.TABLE,), POLL, source=source) as made:
        made.agent.start()
        made.wait("the first full read", rows, made.loaded)
        goal = made.cursor() + rows
        server.control.add(CHANGES, name="changes", replay="changes", times=0)
        server.control.add("CHANGE_TRACKING_CURRENT_VERSION", name="wait", barrier="wait", times=0)
        try:
            with server.connected(database) as connection:
                connection.execute(f"UPDATE {sqlserver_data.TABLE} SET HOURS = HOURS")
            before, clock = (made.agent.used(), made.cloud.used()), time.perf_counter()
            server.control.remove("wait")
            made.wait("the differential sync", rows, lambda: made.cursor() >= goal)
            wall, after = time.perf_counter() - clock, (made.agent.used(), made.cloud.used())
        finally:
            server.control.remove()
    cpu = sum(a.cpu - b.cpu for a, b in zip(after, before, strict=True))
    return Measured("changes: agent and cloud", rows, wall, cpu)


# -- doing nothing -------------------------------------------------------------------------------------------------------------


class Idle(NamedTuple):
    """One look at an idle database, in milliseconds: the pulse of every poll, and the check of every table once a minute."""

    tables: int
    pulse: float
    pulse_cpu: float
    check: float
    check_cpu: float


def idle(server: Server, tables: int, times: int) -> Idle:
    """Nothing happens in so many tables."""
    database, names = sqlserver_data.create_idle(server, tables)
    datasets = [Dataset(name=n.partition(".")[2].lower(), table=n, channel="hr") for n in names]
    try:
        return asyncio.run(_idle(server, database, datasets, times))
    finally:
        server.drop(database)


async def _idle(server: Server, database: str, datasets: Sequence[Dataset], times: int) -> Idle:
    async with opened(server, database, datasets) as (source, _):
        async with source.reader() as reader:
            facts = await reader.facts(None, datasets)
        position = Position(facts.version, facts.incarnation, bytes(16))
        await source.witness(position, 0)

        async def check() -> None:
            async with source.reader() as reader:
                await reader.facts(position, datasets)
                await reader.changed(position.version, datasets)

        pulse, checked = await _each(source.pulse, times), await _each(check, max(1, times // 5))
        return Idle(len(datasets), *pulse, *checked)


async def _each(act: Callable[[], Any], times: int) -> tuple[float, float]:
    """Milliseconds of each by the clock on the wall, and of this process."""
    await act()
    clock = Clock()
    for _ in range(times):
        await act()
    measured = clock.since("", times)
    return measured.wall / times * 1e3, measured.cpu / times * 1e3
