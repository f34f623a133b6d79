"""What version 1 wrote must load for ever: store, registry, structures in the ERP, configuration."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc.config import Text, load
from cdc.model import Dataset, Position, Witness
from cdc.source_settings import Login, Secret, SnapshotUse, SqlServerSource
from cdc.sources.sqlite.source import SqliteSource
from cloud.config import parse_config
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from tests.support.virtual import VirtualClock, run_virtually, virtual_runtime
from transport.runtime import Runtime

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PEOPLE = Dataset(name="people", table="person", channel="hr")


def restored(name: str, folder: Path) -> Path:
    """A database made from its dump."""
    path = folder / name.replace(".sql", ".db")
    with closing(sqlite3.connect(path)) as db:
        db.executescript((GOLDEN / name).read_text(encoding="utf-8"))
        db.execute("PRAGMA journal_mode = WAL")
    return path


@pytest.fixture
def runtime() -> Runtime:
    return virtual_runtime(VirtualClock(), seed=1)


@pytest.fixture
def store(tmp_path: Path, runtime: Runtime) -> Iterator[SqliteStore]:
    opened = SqliteStore(restored("store-1.sql", tmp_path), runtime)
    yield opened
    opened.close()


def test_a_store_of_version_1_loads(store: SqliteStore) -> None:
    (people,) = store.datasets()
    assert (people.name, people.state, people.rows, people.withheld) == ("people", "live", 2, 1)
    assert [row.cells["name"] for row in store.rows("people", b"", 10)] == ["Zofia Nowak", "Łukasz Żak"]
    assert store.cursor() == 3


def test_the_position_in_a_store_of_version_1_is_accepted_by_the_erp_it_came_from(
    store: SqliteStore, tmp_path: Path, runtime: Runtime
) -> None:
    (channel,) = store.channels()
    position = Position.decode(channel.position)

    async def witness() -> Witness:
        source = SqliteSource(restored("erp-1.sql", tmp_path), runtime)
        await source.open()
        try:
            async with source.reader() as reader:
                return (await reader.facts(position, [PEOPLE])).witness
        finally:
            await source.close()

    assert run_virtually(VirtualClock(), witness()) is Witness.FOUND


def test_a_registry_of_version_1_loads(tmp_path: Path, runtime: Runtime) -> None:
    registry = Registry(restored("registry-1.sql", tmp_path), runtime)
    try:
        assert [company.id for company in registry.companies()] == ["acme"]
        agent = registry.agent("acme")
        assert agent is not None
        assert not agent.revoked
    finally:
        registry.close()


@pytest.mark.parametrize("name", ["agent-1.toml", "agent-1-sqlserver.toml"])
def test_configurations_of_version_1_load(name: str) -> None:
    path = GOLDEN / name
    assert load([Text(path, path.read_text(encoding="utf-8"))]).problems == ()


def test_a_sql_server_in_a_configuration_of_version_1_means_what_it_meant() -> None:
    path = GOLDEN / "agent-1-sqlserver.toml"
    config = load([Text(path, path.read_text(encoding="utf-8"))]).required()
    assert config.companies[0].source == SqlServerSource(
        server="erp.acme.example",
        database="ERP",
        driver="",
        login=Login.SQL,
        user="cdc",
        password=Secret(env="CDC_ERP_PASSWORD"),
        encrypt=True,
        trust_server_certificate=False,
        certificate_host="",
        login_timeout=15.0,
        query_timeout=120.0,
        lock_timeout=5.0,
        multi_subnet_failover=False,
        snapshot=SnapshotUse.REQUIRE,
    )


def test_a_configuration_of_the_cloud_of_version_1_loads() -> None:
    assert parse_config((GOLDEN / "cloud-1.toml").read_text(encoding="utf-8"), where="cloud-1.toml").version == 1
