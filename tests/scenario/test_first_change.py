"""The skeleton: one table, one row, two processes, real TLS, kill -9, a comparison."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model import Dataset
from tests.support.product import Product, product


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


def rows(path: Path, relation: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(f"SELECT id, name FROM {relation} ORDER BY id").fetchall()


@pytest.fixture
def erp(tmp_path: Path) -> Path:
    path = tmp_path / "erp.db"
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "INSERT INTO person VALUES (1, 'Zofia Wójcik')",
    )
    return path


@pytest.fixture
def running(tmp_path: Path, erp: Path) -> Iterator[Product]:
    with product(tmp_path, erp, [Dataset(name="people", table="person", channel="hr")]) as made:
        made.start_agent()
        made.wait_until_caught_up()
        yield made


def same(made: Product) -> bool:
    return rows(made.erp, "person") == rows(made.copy, "people")


def test_a_row_that_was_there_is_in_the_copy(running: Product) -> None:
    assert rows(running.copy, "people") == [(1, "Zofia Wójcik")]


def test_a_row_that_comes_later_is_in_the_copy(running: Product) -> None:
    execute(running.erp, "INSERT INTO person VALUES (2, 'Łukasz Żak')", "UPDATE person SET name = 'Zofia Nowak' WHERE id = 1")
    running.wait_until_caught_up()
    assert rows(running.copy, "people") == [(1, "Zofia Nowak"), (2, "Łukasz Żak")]


def test_both_sides_are_equal_after_kill_9_of_either(running: Product) -> None:
    running.agent.kill()
    execute(running.erp, "INSERT INTO person VALUES (3, 'Ewa')", "DELETE FROM person WHERE id = 1")
    running.start_agent()
    running.wait_until_caught_up()
    assert same(running)
    running.cloud.kill()
    execute(running.erp, "INSERT INTO person VALUES (4, 'Jan')")
    running.start_cloud()
    running.wait_until_caught_up()
    assert same(running)


def test_both_programs_end_in_order_when_asked(running: Product) -> None:
    assert running.agent.stop() == 0
    assert running.cloud.stop() == 0
