"""No room: a full journal, a disk that takes no more, windows larger than journal and credits. Capture waits, and goes on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model import Dataset
from tests.support.product import Product, eventually, product
from tests.support.trouble import MIB, equal, file_size_limit, memory

FULL = os.environ.get("CDC_TEST_SIZE") == "full"
PHOTOS = [Dataset(name="photos", table="photo", channel="hr"), Dataset(name="people", table="person", channel="hr")]
AGENT_MEMORY = 250 * MIB
CLOUD_MEMORY = 300 * MIB


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


@pytest.fixture
def erp(tmp_path: Path) -> Path:
    path = tmp_path / "erp.db"
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE photo(id INTEGER PRIMARY KEY, data BLOB)",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, born DATE, pay DECIMAL(9,2))",
        "INSERT INTO photo VALUES (1, NULL), (2, NULL)",
    )
    return path


@pytest.fixture
def made(tmp_path: Path, erp: Path) -> Iterator[Product]:
    with product(tmp_path, erp, PHOTOS, journal_limit='"16 MiB"', window_limit='"4 MiB"') as made:
        made.start_agent()
        made.wait_until_caught_up()
        yield made


def waiting(made: Product) -> int:
    """Bytes in the journal."""
    return int(made.company_health()["journal"]["bytes"])


def fill(made: Product) -> None:
    """New photos, each a window of its own that cannot be compressed, until there is no room for another."""
    for _ in range(60):
        before = waiting(made)
        execute(made.erp, "UPDATE photo SET data = randomblob(1024 * 1024)")
        eventually("another window, or no room", lambda before=before: waiting(made) > before or "A2103" in made.problems())
        if "A2103" in made.problems():
            return
    pytest.fail("the journal took everything")


def goes_on(made: Product) -> None:
    equal(made)
    eventually("health is clean", lambda: not made.problems())


def test_a_full_journal_pauses_capture_is_shown_and_over_when_the_cloud_is_back(made: Product) -> None:
    made.cloud.kill()
    fill(made)
    assert waiting(made) <= 16 * MIB
    execute(made.erp, "INSERT INTO person(name) VALUES ('while it is full')")
    made.start_cloud()
    goes_on(made)


def test_a_disk_that_takes_no_more_pauses_capture_and_loses_nothing(made: Product) -> None:
    with file_size_limit(made.agent.pid, 6 * MIB):
        made.cloud.kill()
        fill(made)
        assert made.agent.running
    made.start_cloud()
    goes_on(made)


def test_what_the_cloud_takes_makes_room_though_the_disk_takes_no_more(made: Product) -> None:
    with file_size_limit(made.agent.pid, 6 * MIB):
        made.cloud.kill()
        fill(made)
        made.start_cloud()
        goes_on(made)


def test_an_agent_killed_with_a_full_journal_goes_on_from_it(made: Product) -> None:
    made.cloud.kill()
    fill(made)
    made.agent.kill()
    execute(made.erp, "DELETE FROM photo WHERE id = 1")
    made.start_agent()
    made.start_cloud()
    goes_on(made)


# -- windows larger than everything ------------------------------------------------------------------------------------------


def test_a_transaction_larger_than_window_journal_and_credits_ends_well_in_bounded_memory(made: Product) -> None:
    rows = 2_000_000 if FULL else 200_000
    patience = 900.0 if FULL else 120.0
    execute(
        made.erp,
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO person "
        "SELECT i, 'person ' || i || ' ' || hex(randomblob(100)), date('1950-01-01', (i % 20000) || ' days'), i % 9000 / 100.0 "
        "FROM n",
    )
    made.wait_until_caught_up(patience)
    assert "capture.outgrown" in made.agent.log()
    execute(made.erp, "UPDATE person SET pay = pay + 0.1", "UPDATE photo SET data = randomblob(5000)")
    made.wait_until_caught_up(patience)
    execute(made.erp, f"DELETE FROM person WHERE id > {rows // 10}", "UPDATE person SET id = -id WHERE id % 7 = 0")
    made.wait_until_caught_up(patience)
    if made.company_health()["channels"][0]["held_loads"]:  # the deletes outgrew a window too: a person says they are meant
        assert "A2505" in made.problems()
        made.cloud.call("load", "accept", "acme", "people")
    equal(made)
    assert memory(made.agent.pid) < AGENT_MEMORY, memory(made.agent.pid) / MIB
    assert memory(made.cloud.pid) < CLOUD_MEMORY, memory(made.cloud.pid) / MIB
