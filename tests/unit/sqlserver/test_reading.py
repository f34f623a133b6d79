"""Rows in portions of bounded memory, against a driver's cursor that behaves as pyodbc's does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from cdc.sources.base import ROWS_PER_READ
from cdc.sources.sqlserver.reading import LARGE_MEMORY, PAGE_MEMORY, PORTION, Changes, PageRead, pack_key, unpack_key
from cdc.sources.sqlserver.types import Found
from tests.support.sqlserver_columns import ID, LATIN, plan, table
from transport.frames import MIB, Op

NOTE = Found("note", "nvarchar", 100, 0, 0, LATIN)
NAME = Found("name", "nvarchar", 100, 0, 0, LATIN, nullable=False)
PHOTO = Found("photo", "varbinary", -1, 0, 0)


class Session:
    """Of pyodbc: how texts are decoded belongs to it."""

    def __init__(self) -> None:
        self.converters: dict[int, Callable[[bytes], str]] = {}

    def add_output_converter(self, type_: int, converter: Callable[[bytes], str]) -> None:
        self.converters[type_] = converter

    def remove_output_converter(self, type_: int) -> None:
        del self.converters[type_]


class Statement:
    """Of pyodbc: rows of UTF-16, decoded when they are fetched; a row that cannot be decoded is passed over."""

    def __init__(self, session: Session, rows: Sequence[Sequence[Any]]) -> None:
        self.session = session
        self.rows = rows
        self.executed: list[tuple[str, list[Any]]] = []
        self.left: Iterator[Sequence[Any]] = iter(())
        self.most = 0

    def setinputsizes(self, _: Sequence[Any]) -> None:
        """Not looked at."""

    def execute(self, sql: str, values: list[Any]) -> None:
        self.executed.append((sql, values))
        self.left = iter(self.rows[: values[0]] if "TOP (@rows)" in sql else self.rows)

    def __iter__(self) -> Statement:
        return self

    def __next__(self) -> tuple[Any, ...]:
        return tuple(self._decoded(cell) for cell in next(self.left))

    def _decoded(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        data = cell.encode("utf-16-le", "surrogatepass")
        return self.session.converters[-9](data) if -9 in self.session.converters else data.decode("utf-16-le")

    def nextset(self) -> bool:
        return False


def driver(rows: Sequence[Sequence[Any]]) -> tuple[Session, Statement]:
    session = Session()
    return session, Statement(session, rows)


def all_changes(read: Changes, session: Session, statement: Statement) -> list[Any]:
    batches: list[Any] = []
    while not read.ended:
        made = read.next(session, statement)
        assert sum(len(batch.ops) for batch in made) <= ROWS_PER_READ
        batches += made
    return batches


def test_changes_come_in_portions() -> None:
    session, statement = driver([(i, 1, "x") for i in range(4_500)])
    batches = all_changes(Changes(plan(table(ID, NOTE)), 7), session, statement)
    assert [len(batch.ops) for batch in batches] == [PORTION] * (4_500 // PORTION) + [500]
    assert PORTION <= ROWS_PER_READ
    assert statement.executed[0][1] == [7]


def test_rows_that_cannot_be_decoded_are_withheld_and_all_others_come_once() -> None:
    rows = [(i, 1, "half \ud83d" if i in (3, 2_500) else "ż") for i in range(4_000)]
    session, statement = driver(rows)
    read = Changes(plan(table(ID, NOTE)), 0)
    batches = all_changes(read, session, statement)
    keys = [(op, key) for batch in batches for op, key in zip(batch.ops, batch.keys[0], strict=True)]
    assert sorted(key for op, key in keys if op == Op.UPSERT) == [i for i in range(4_000) if i not in (3, 2_500)]
    assert [key for op, key in keys if op == Op.WITHHELD] == [3, 2_500]
    assert {reason.code for batch in batches for reason in batch.withheld} == {"A2304"}
    assert len(statement.executed) == 2
    assert session.converters == {}


def test_wide_rows_make_small_portions() -> None:
    columns = [Found(f"c{i}", "nvarchar", 8_000, 0, 0, LATIN) for i in range(50)]
    session, statement = driver([(i, 1, *["x"] * 50) for i in range(100)])
    sizes = [len(batch.ops) for batch in all_changes(Changes(plan(table(ID, *columns)), 0), session, statement)]
    assert max(sizes) < 50


def test_large_cells_make_small_portions() -> None:
    session, statement = driver([(i, 1, b"x", MIB) for i in range(10)])
    read = Changes(plan(table(ID, PHOTO)), 0)
    sizes = [len(batch.ops) for batch in all_changes(read, session, statement)]
    assert max(sizes) == LARGE_MEMORY // MIB
    assert sum(sizes) == 10


def read_page(rows: Sequence[Sequence[Any]], most: int, *columns: Found, key: str = "id") -> tuple[Any, PageRead, Statement]:
    session, statement = driver(rows)
    read = PageRead(plan(table(*columns, key=(key,))), 4, b"", most)
    return read.read(session, statement), read, statement


def test_a_page_ends_with_the_key_of_its_last_row() -> None:
    page, read, _ = read_page([(1, "a"), (2, "b"), (3, "c")], 2, ID, NOTE)
    assert (page.rows, page.done, unpack_key(page.after)) == (2, False, [2])
    assert not read.pending
    assert page.batches[0].generation == 4


def test_the_last_page_says_so() -> None:
    page, _, _ = read_page([(1, "a")], 2, ID, NOTE)
    assert (page.rows, page.done) == (1, True)


def test_a_page_of_large_cells_ends_early() -> None:
    page, read, _ = read_page([(i, b"x", MIB) for i in range(100)], 100, ID, PHOTO)
    assert page.rows == PAGE_MEMORY // MIB
    assert not page.done
    assert read.pending


def test_a_page_with_a_damaged_text_is_read_once_more_and_loses_nothing() -> None:
    page, _, statement = read_page([(1, "a"), (2, "\udc00"), (3, "c")], 3, ID, NOTE)
    assert (page.rows, unpack_key(page.after)) == (3, [3])
    assert page.batches[0].ops == bytes([Op.UPSERT, Op.UPSERT, Op.WITHHELD])
    assert len(statement.executed) == 2


def test_a_page_that_ends_with_a_damaged_key_goes_on_behind_it() -> None:
    page, _, _ = read_page([("a", 1), ("b\ud83d", 2)], 2, NAME, ID._replace(nullable=True), key="name")
    (key,) = unpack_key(page.after)
    assert isinstance(key, msgspec.msgpack.Ext)
    session, statement = driver([])
    PageRead(plan(table(NAME, ID, key=("name",))), 4, page.after, 2).read(session, statement)
    sql, values = statement.executed[0]
    assert "CONVERT(nvarchar(50), ?)" in sql
    assert values == [2, "b\ud83d".encode("utf-16-le", "surrogatepass")]


@pytest.mark.parametrize("key", [[1], ["a", "12.50", b"\0", 1.5], ["ż"], []])
def test_a_key_is_packed_and_unpacked(key: list[Any]) -> None:
    assert unpack_key(pack_key(key)) == key
