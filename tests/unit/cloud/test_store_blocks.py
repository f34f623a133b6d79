"""Rows that go into a table many at a time: what is refused, doubled or left over is found as if they went one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from cloud.store.tables import Guess, Table
from transport.frames import Cell, Column, Schema, Type

ROWS = 5_000
SCHEMA = Schema("person", "hr", "up", [Column("id", Type.INT, nullable=False, key=1), Column("name", Type.TEXT, nullable=True)])


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        TABLE.create(connection)
        connection.execute("BEGIN")
        yield connection


TABLE = Table("person", 1, SCHEMA)


def rows(count: int) -> tuple[list[bytes], list[list[Cell]]]:
    return [n.to_bytes(4, "big") for n in range(count)], [list(range(count)), [f"name {n}" for n in range(count)]]


def stored(db: sqlite3.Connection) -> dict[int, str]:
    return dict(db.execute(f"SELECT id, name FROM {TABLE.name} ORDER BY id"))


@pytest.mark.parametrize("count", [0, 1, 7, 341, 342, 1_023, 1_024, 1_025, ROWS])
def test_every_row_is_stored_whatever_their_number(db: sqlite3.Connection, count: int) -> None:
    put = TABLE.put_rows(db, *rows(count), Guess.NEW)
    assert (put.added, put.refused) == (count, [])
    assert stored(db) == {n: f"name {n}" for n in range(count)}


def test_refused_rows_are_left_out_alone_each_with_its_place(db: sqlite3.Connection) -> None:
    keys, cells = rows(ROWS)
    wrong: dict[int, Cell] = {0: "\ud800", 1: b"bytes", 700: "\ud800", ROWS - 1: b"bytes"}
    for at, cell in wrong.items():
        cells[1][at] = cell
    put = TABLE.put_rows(db, keys, cells, Guess.NEW)
    assert put.added == ROWS - len(wrong)
    assert sorted(at for at, _ in put.refused) == sorted(wrong)
    assert {reason.column for _, reason in put.refused} == {"name"}
    assert stored(db) == {n: f"name {n}" for n in range(ROWS) if n not in wrong}


def test_of_a_key_that_is_there_twice_the_later_row_wins(db: sqlite3.Connection) -> None:
    keys, cells = rows(ROWS)
    keys[-1], cells[0][-1] = keys[3], cells[0][3]
    put = TABLE.put_rows(db, keys, cells, Guess.NEW)
    assert put.added == ROWS - 1
    assert stored(db)[3] == f"name {ROWS - 1}"


def test_rows_that_were_there_are_replaced_though_they_were_thought_new(db: sqlite3.Connection) -> None:
    TABLE.put_rows(db, *rows(10), Guess.NEW)
    keys, cells = rows(ROWS)
    cells[1] = [f"other {n}" for n in range(ROWS)]
    assert TABLE.put_rows(db, keys, cells, Guess.NEW).added == ROWS - 10
    assert stored(db) == {n: f"other {n}" for n in range(ROWS)}
