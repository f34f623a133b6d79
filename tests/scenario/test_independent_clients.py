"""Clients that nobody here wrote, in an environment and processes of their own: do they find a SQL Server, and what we find?

The tap reads change tracking by statements of its own; what it reports of two versions is held against what our source reports
of the same two. Two more drivers log in, read every type, bind parameters and roll back.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cdc.model import Dataset
from cdc.sources.sqlserver.source import SqlServerSource
from tests.support import adventureworks_sqlserver as adventureworks
from tests.support.erp import Follower
from tests.support.sqlserver import Server, driver_file
from tests.support.sqlserver_writer import Writers
from transport.frames import Op
from transport.machine import system_runtime

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("VENV", ROOT / ".venv")) / "peers" / "bin"
SMOKE = ROOT / "tests" / "support" / "peer_smoke.py"
# Tables whose columns the tap names without brackets and whose keys JSON keeps.
TAPPED = (
    "Person.EmailAddress",
    "Production.Product",
    "Sales.Currency",
    "HumanResources.EmployeeDepartmentHistory",
    "Types.ByGuid",
)
DRIVER_17 = "ODBC Driver 17 for SQL Server"  # the name that the tap asks for

pytestmark = pytest.mark.skipif(not (PEERS / "tap-mssql").exists(), reason="tools/peers.sh has not installed the clients")


# -- the tap -------------------------------------------------------------------------------------------------------------------


class Tap:
    """firebend-tap-mssql: `discover`, then `sync` as often as one likes; it remembers its state."""

    def __init__(self, folder: Path, server: Server, database: str) -> None:
        self.state: dict[str, Any] = {}
        self._folder = folder
        host, _, port = server.place.partition(",")
        config = {"host": host, "port": port, "database": database, "user": server.user, "password": server.password}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "odbcinst.ini").write_text(f"[{DRIVER_17}]\nDriver={driver_file()}\n", encoding="utf-8")

    def _run(self, *words: str) -> str:
        command = [str(PEERS / "tap-mssql"), "--config", str(self._folder / "config.json"), *words]
        env = {**os.environ, "ODBCSYSINI": str(self._folder), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def discover(self) -> dict[str, Any]:
        return dict(json.loads(self._run("--discover")))

    def select(self, catalog: dict[str, Any], tables: Sequence[str], method: str) -> None:
        """Says what is wanted, as its users do: in the catalogue's metadata."""
        wanted = {table.replace(".", "-", 1) for table in tables}
        for stream in catalog["streams"]:
            for entry in stream["metadata"]:
                if not entry["breadcrumb"]:
                    entry["metadata"] |= {"selected": stream["tap_stream_id"] in wanted, "replication-method": method}
        (self._folder / "catalog.json").write_text(json.dumps(catalog), encoding="utf-8")

    def sync(self) -> list[dict[str, Any]]:
        """The records, each with its stream; the state is kept for the next time."""
        (self._folder / "state.json").write_text(json.dumps(self.state), encoding="utf-8")
        words = ("--catalog", str(self._folder / "catalog.json"), "--state", str(self._folder / "state.json"))
        messages = [json.loads(line) for line in self._run(*words).splitlines()]
        for message in messages:
            if message["type"] == "STATE":
                self.state = message["value"]
        return [message for message in messages if message["type"] == "RECORD"]


@pytest.fixture
def tap(tmp_path: Path, sql_server: Server, erp: str) -> Tap:
    if not sql_server.place.startswith("localhost"):
        pytest.skip("the tap verifies the server's certificate by the name localhost")
    return Tap(tmp_path, sql_server, erp)


@pytest.fixture
def erp(sql_server: Server, database: str) -> str:
    with sql_server.connected(database) as connection:
        adventureworks.create(connection, 5, most=300)
        connection.execute("CREATE TABLE dbo.marker (id int NOT NULL PRIMARY KEY)")
        connection.execute("ALTER TABLE dbo.marker ENABLE CHANGE_TRACKING")
    return database


def mark(server: Server, database: str, number: int) -> None:
    """A version of its own, so that the tap, which asks for the last one again, finds nothing of ours in it."""
    with server.connected(database) as connection:
        connection.execute("INSERT INTO dbo.marker (id) VALUES (?)", number)


@pytest.fixture
async def follower(sql_server: Server, erp: str) -> Any:
    datasets = [Dataset(name=adventureworks.dataset_name(t), table=t, channel="all") for t in TAPPED]
    source = SqlServerSource(sql_server.settings(erp), system_runtime())
    await source.open()
    try:
        await source.install(datasets)
        yield Follower(source, datasets, page_rows=200)
    finally:
        await source.close()


def tables() -> dict[str, adventureworks.Table]:
    return {t.name: t for t in adventureworks.tables() if t.name in TAPPED}


Change = tuple[str, tuple[str, ...], bool]  # table, key, whether it is gone


def plain(cell: Any) -> str:
    """One writing for both: a guid in small letters, a date without a time of midnight."""
    text = str(cell)
    return text.removesuffix("T00:00:00+00:00").removesuffix("T00:00:00.000000Z").removesuffix("T00:00:00Z").lower()


def table_of(record: dict[str, Any]) -> str:
    return str(record["stream"]).replace("-", ".", 1).replace("_", ".", 1)


def picked(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Texts and whole numbers of the rows, sorted: what JSON keeps as it is."""
    return sorted(tuple(plain(row[name]) for name in columns) for row in rows)


def tap_changes(records: Sequence[dict[str, Any]]) -> set[Change]:
    found = set()
    for record in records:
        table = table_of(record)
        key = tuple(plain(record["record"][name]) for name in tables()[table].key)
        found.add((table, key, record["record"].get("_sdc_deleted_at") is not None))
    return found


def our_changes(follower: Follower) -> set[Change]:
    names = {d.name: d.table for d in follower.datasets}
    return {
        (names[batch.dataset], tuple(map(plain, key)), op == Op.DELETE)
        for batch in follower.batches
        for op, key in zip(batch.ops, zip(*batch.keys, strict=True), strict=True)
    }


async def test_the_tap_finds_tables_keys_and_columns(tap: Tap) -> None:
    catalog = {s["tap_stream_id"]: s for s in tap.discover()["streams"]}
    for name, table in tables().items():
        stream = catalog[name.replace(".", "-", 1)]
        keys = next(m["metadata"]["table-key-properties"] for m in stream["metadata"] if not m["breadcrumb"])
        assert set(keys) == set(table.key)
        assert set(stream["schema"]["properties"]) == {c.name for c in table.columns}


async def test_the_tap_and_our_source_report_the_same_rows_and_the_same_changes(
    tap: Tap, follower: Follower, sql_server: Server, erp: str
) -> None:
    tap.select(tap.discover(), TAPPED, "LOG_BASED")
    mark(sql_server, erp, 1)
    records = tap.sync()
    await follower.start()
    await follower.load()
    for dataset in follower.datasets:
        theirs_rows = [r["record"] for r in records if table_of(r) == dataset.table]
        columns = [
            c.name for c in tables()[dataset.table].columns if c.type.startswith(("nvarchar", "nchar")) or "int" in c.type
        ]
        names = [c.name for c in follower.schemas[dataset.name].columns]
        ours_rows = [dict(zip(names, row, strict=True)) for row in follower.rows(dataset.name)]
        assert len(ours_rows) == len(theirs_rows) > 0
        assert picked(ours_rows, columns) == picked(theirs_rows, columns)
    before: set[Change] = set()
    for number in range(2, 5):
        others = [t.name for t in adventureworks.tables() if t.name not in TAPPED]
        writers = Writers(lambda: sql_server.connect(erp), number, 40, threads=2, but=others)
        with writers.working():
            writers.wait()
        mark(sql_server, erp, number)
        await follower.catch_up()
        theirs, ours = tap_changes(tap.sync()), our_changes(follower)
        assert ours
        assert ours <= theirs
        assert theirs - ours <= before  # it asks for the last version of each table again
        before = theirs


# -- two other drivers ------------------------------------------------------------------------------------------------------


EXACT = {
    "bit": True,
    "tinyint": 255,
    "smallint": -32768,
    "int": -2147483648,
    "bigint": 9223372036854775807,
    "decimal": "12345678901234567890.1234567890",
    "money": "-922337203685477.5808",
    "smallmoney": "214748.3647",
    "float": 2.5e-300,
    "real": 0.25,
    "date": "2026-02-28",
    "datetime": "2026-02-28 10:11:12.997000",
    "datetime2": "2026-02-28 10:11:12.123456",
    "smalldatetime": "2026-02-28 10:11:00",
    "char": "abc  ",
    "varchar": "caf",
    "nchar": "żó  ",
    "nvarchar": "zażółć 🚲",
    "nvarchar(max)": "ł" * 9_000,
    "varchar(max)": "x" * 9_000,
    "binary": "01020000",
    "varbinary": "00ff",
    "varbinary(max)": "deadbeef",
    "uniqueidentifier": "00112233-4455-6677-8899-aabbccddeeff",
    "xml": "<a>ł</a>",
    "null": None,
}


@pytest.mark.parametrize("driver", ["pymssql", "mssql_python"])
def test_another_driver_logs_in_reads_every_type_binds_and_rolls_back(driver: str, sql_server: Server, database: str) -> None:
    host, _, port = sql_server.place.partition(",")
    to = {"host": host, "port": int(port), "user": sql_server.user, "password": sql_server.password, "database": database}
    command = [str(PEERS / "python"), str(SMOKE), driver]
    done = subprocess.run(command, input=json.dumps(to), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout)
    values = {name: value.lower() if name == "uniqueidentifier" else value for name, value in seen["values"].items()}
    assert {name: values[name] for name in EXACT} == EXACT
    assert values["time"].startswith("23:59:58.123456")
    assert seen["rows"] == [[1, "Łódź 🚲", "12.25"], [2, None, None]]
    assert (seen["inside"], seen["after rollback"]) == (0, 2)
    assert seen["error"]
