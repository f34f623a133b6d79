"""One company in trouble, and one dataset in trouble, disturb no other: of the same agent and of the same cloud."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cdc.model import Dataset
from tests.support.comparing import assert_equal
from tests.support.product import PATIENCE, Product, datasets_toml, eventually
from tests.support.trouble import equal

PEOPLE = Dataset(name="people", table="person", channel="hr")
TROUBLED = [
    PEOPLE,
    Dataset(name="nowhere", table="no_such_table", channel="hr"),
    Dataset(name="keyless", table="keyless", channel="hr"),
    Dataset(name="no_column", table="person", channel="hr", exclude=("colour",)),
    Dataset(name="bad_filter", table="person", channel="hr", filter="name = (SELECT 1)"),
    Dataset(name="a_view", table="everyone", channel="hr"),
]
CODES = {"nowhere": "A2221", "keyless": "A2223", "no_column": "A2224", "bad_filter": "A2227", "a_view": "A2222"}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


def new_erp(path: Path) -> Path:
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TABLE keyless(name TEXT)",
        "CREATE VIEW everyone AS SELECT * FROM person",
        "INSERT INTO person VALUES (1, 'Zofia Wójcik')",
    )
    return path


class Two(Product):
    """A second company, beta, beside the first one."""

    def __init__(self, folder: Path) -> None:
        self.beta_erp = new_erp(folder / "beta.db")
        super().__init__(folder, new_erp(folder / "erp.db"), [PEOPLE])
        self.beta_copy = self.data / "companies" / "beta.db"

    def agent_config(self) -> str:
        return (
            super().agent_config()
            + f"""
[[company]]
name = "beta"
source = {{ kind = "sqlite", path = "{self.beta_erp}" }}
poll = "200ms"
[[company.channel]]
name = "hr"
{datasets_toml(TROUBLED)}"""
        )

    def set_up(self) -> None:
        super().set_up()
        out = self.cloud.call("company", "add", "beta").stdout
        code = next(line.split(":", 1)[1].strip() for line in out.splitlines() if line.startswith("enrolment code:"))
        self.agent.call("enrol", "beta", code)

    def beta(self) -> dict[str, Any]:
        return next(c for c in self.health()["companies"] if c["name"] == "beta")

    def codes(self) -> set[str]:
        return {problem["code"] for problem in self.beta()["problems"]}

    def beta_is_equal(self) -> bool:
        def same() -> bool:
            try:
                with closing(sqlite3.connect(f"file:{self.beta_copy}?mode=ro", uri=True)) as db:
                    theirs = db.execute("SELECT id, name FROM people ORDER BY id").fetchall()
            except sqlite3.OperationalError:
                return False  # not there yet
            with closing(sqlite3.connect(self.beta_erp)) as db:
                return bool(db.execute("SELECT id, name FROM person ORDER BY id").fetchall() == theirs)

        eventually("beta's copy is equal", same, PATIENCE)
        assert_equal(self.beta_erp, self.beta_copy, [PEOPLE], self.folder)
        return True


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    try:
        made.set_up()
        yield made
    finally:
        made.close()


def flows(made: Two, name: str) -> None:
    """The first company, whatever the other does."""
    execute(made.erp, f"INSERT INTO person(name) VALUES ('{name}')")
    equal(made)
    assert made.company_health()["status"] == "ok"
    assert made.problems() == set()


def test_broken_datasets_are_named_one_by_one_and_the_others_of_their_channel_flow(made: Two) -> None:
    made.start_agent()
    flows(made, "beside broken datasets")
    eventually("each is named", lambda: set(CODES.values()) <= made.codes())
    where = {p["where"].split("/")[-1]: p["code"] for p in made.beta()["problems"] if p["code"] in CODES.values()}
    assert where == CODES
    execute(made.beta_erp, "INSERT INTO person(name) VALUES ('beside broken datasets')")
    assert made.beta_is_equal()


def test_a_company_without_its_erp_file_stops_alone_and_goes_on_when_the_file_is_back(made: Two) -> None:
    away = made.beta_erp.with_name("away.db")
    with closing(sqlite3.connect(made.beta_erp)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.beta_erp.rename(away)
    made.start_agent()
    eventually("beta says so", lambda: "A2202" in made.codes())
    assert made.beta()["status"] == "stopped"
    flows(made, "beside a company without a file")
    assert made.health()["status"] == "degraded"
    away.rename(made.beta_erp)
    made.agent.call("sync", "beta")
    assert made.beta_is_equal()


def test_a_company_whose_erp_or_copy_is_locked_holds_up_no_other(made: Two) -> None:
    made.start_agent()
    assert made.beta_is_equal()
    with closing(sqlite3.connect(made.beta_erp, isolation_level=None)) as erp:
        erp.execute("BEGIN IMMEDIATE")
        flows(made, "beside a locked ERP")
    with closing(sqlite3.connect(made.beta_copy, isolation_level=None)) as copy:
        copy.execute("BEGIN IMMEDIATE")
        execute(made.beta_erp, "INSERT INTO person(name) VALUES ('to a locked copy')")
        for n in range(3):
            flows(made, f"beside a locked copy {n}")
    assert made.beta_is_equal()


def test_a_company_whose_copy_is_damaged_stops_alone(made: Two) -> None:
    made.start_agent()
    assert made.beta_is_equal()
    made.cloud.stop()
    broken = made.beta_copy
    for file in broken.parent.glob("beta.db-*"):
        file.unlink()
    broken.write_bytes(b"This is no database. " * 2000)
    made.start_cloud()
    flows(made, "beside a damaged copy")
    eventually("beta says so", lambda: "C3102" in str(made.beta()["problems"]))
    for file in broken.parent.glob("beta.db*"):
        file.unlink()
    made.agent.call("sync", "beta")
    assert made.beta_is_equal()
