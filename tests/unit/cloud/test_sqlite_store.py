"""What only the SQLite store has: views for people, what SQLite refuses, its file."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.errors import REGISTRY, StoreError
from cloud.store import sqlite as sqlite_store
from cloud.store.changeset import change_set
from cloud.store.names import quoted, unique_names
from cloud.store.sqlite import SqliteStore
from cloud.store.tables import Guess, Table
from tests.support.store_feeder import ALL_KINDS, PEOPLE, Feeder, batch, cells_of, identity, manual_runtime, names_of, person
from transport.codec import schema_id
from transport.frames import Batch, Column, LoadBegin, LoadEnd, Op, Schema, StreamMessage, Type, Withheld

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "acme.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, manual_runtime())
    yield store
    store.close()


@pytest.fixture
def hr(store: SqliteStore) -> Feeder:
    feeder = Feeder(store)
    feeder.load([person(i, age=30 + i, active=i % 2 == 0, pay="10.50", rate=1.5) for i in range(1, 21)])
    return feeder


def ask(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql, values).fetchall()


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)


def apply(feeder: Feeder, *given: StreamMessage) -> None:
    """A window of messages that no codec would let through."""
    messages = [*given, feeder.end()]
    frames = feeder.frames(*(PEOPLE for _ in messages))
    feeder.store.apply(feeder.channel, feeder.journal, frames, lambda _: messages.pop(0), lambda _: None)


# -- what a person sees ------------------------------------------------------------------------------------------------------


def test_a_person_queries_the_view_of_a_dataset(path: Path, hr: Feeder) -> None:
    assert ask(path, "SELECT name, age + 1, active, pay FROM people WHERE id = 2") == [("P2", 33, 1, "10.50")]
    assert ask(path, "SELECT sum(rate), typeof(max(rate)) FROM people") == [(30.0, "real")]


def test_a_view_has_the_declared_columns_and_no_others(path: Path, hr: Feeder) -> None:
    columns = [name for (name,) in ask(path, "SELECT name FROM pragma_table_info('people')")]
    assert columns == [c.name for c in PEOPLE.columns]


def test_a_view_shows_the_order_that_was_declared_not_that_of_the_key(path: Path, hr: Feeder) -> None:
    hr.load([], schema=ALL_KINDS)
    columns = [name for (name,) in ask(path, "SELECT name FROM pragma_table_info('kinds')")]
    assert columns == [c.name for c in ALL_KINDS.columns]


def test_a_view_follows_the_swap(path: Path, hr: Feeder) -> None:
    hr.load([person(i, "new") for i in range(1, 21)], 2)
    assert ask(path, "SELECT DISTINCT name FROM people") == [("new",)]
    assert ask(path, "SELECT name FROM sqlite_master WHERE name LIKE 'd|_people%' ESCAPE '|'") == [("d_people_g2",)]


def test_a_dataset_may_be_called_like_a_word_of_sql(path: Path, hr: Feeder) -> None:
    orders = Schema("order", "hr", "up", [Column("select", Type.INT, nullable=False, key=1)])
    hr.load([{"select": 5}], schema=orders)
    assert ask(path, 'SELECT "select" FROM "order"') == [(5,)]


def test_a_view_tells_columns_apart_that_sqlite_would_take_for_one(path: Path, hr: Feeder) -> None:
    schema = Schema(
        "twins", "hr", "up", [Column(n, Type.INT, nullable=False, key=int(n == "Id")) for n in ("Id", "ID", "_key")]
    )
    hr.load([{"Id": 1, "ID": 2, "_key": 3}], schema=schema)
    assert ask(path, "SELECT Id, ID_2, _key FROM twins") == [(1, 2, 3)]


def test_nothing_but_the_key_is_unique_and_nothing_refers(path: Path, hr: Feeder) -> None:
    assert ask(
        path, "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE 'd|_%' ESCAPE '|' AND sql <> ''"
    ) == [(0,)]
    assert ask(path, "SELECT * FROM pragma_foreign_key_list('d_people_g1')") == []


def test_names_are_quoted_and_made_unique() -> None:
    assert quoted('a"b') == '"a""b"'
    assert unique_names(["a", "A", "a_2", "ż", "Ż"], taken=("B",)) == ["a", "A_2", "a_2_2", "ż", "Ż"]


# -- rows that SQLite refuses ------------------------------------------------------------------------------------------------


def trigger(path: Path, on: str = "INSERT", table: str = "d_people_g1") -> None:
    change(
        path,
        f"CREATE TRIGGER refuse_{on.lower()} BEFORE {on} ON {table} WHEN new.age = 13 "
        "BEGIN SELECT RAISE(ABORT, 'no 13 here'); END",
    )


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("bad", [(0,), (49,), (0, 1, 2), (3, 7, 48, 49), tuple(range(50))])
def test_each_row_that_is_refused_is_withheld_and_the_others_go_on(
    path: Path, hr: Feeder, count: int, bad: tuple[int, ...]
) -> None:
    trigger(path)
    trigger(path, on="UPDATE")
    rows = [person(i, "new", age=13 if i in bad else 50) for i in range(count)]
    applied = hr.window(batch(rows))
    refused = [i for i in range(count) if i in bad]
    assert [w.key for w in hr.store.withheld("people", 100)] == sorted(identity(i) for i in refused)
    assert {w.code for w in hr.store.withheld("people", 100)} <= {"C3120"}
    assert applied.withheld == len(refused)
    names = names_of(hr.store)
    assert [i for i, name in names.items() if name == "new"] == [i for i in range(count) if i not in bad]
    assert hr.store.datasets()[0].rows == len(names)


def test_a_refused_row_keeps_its_last_version_and_says_who_refused_it(path: Path, hr: Feeder) -> None:
    trigger(path, on="UPDATE")
    hr.window(batch([person(1, "new", age=13)]))
    row = hr.store.row("people", identity(1))
    assert row is not None
    assert (row.cells["name"], row.withheld) == ("P1", "C3120")
    (listed,) = hr.store.withheld("people", 10)
    assert (listed.side, listed.detail) == ("cloud", "no 13 here")
    hr.window(batch([person(1, "cured", age=14)]))
    assert (hr.store.withheld("people", 10), names_of(hr.store)[1]) == ([], "cured")


@pytest.mark.parametrize("pages", [False, True])
def test_refused_rows_among_new_and_old_ones_are_counted_exactly(path: Path, hr: Feeder, pages: bool) -> None:
    if pages:
        hr.window(LoadBegin("people", schema_id(PEOPLE), 2), batch([person(i) for i in range(10, 15)], 2))
    for on in ("INSERT", "UPDATE"):
        trigger(path, on=on, table=f"d_people_g{2 if pages else 1}")
    for _ in range(2):
        hr.window(batch([person(i, "new", age=13 if i % 5 == 0 else 50) for i in range(5, 31)], 2 if pages else 0))
    hr.window(*([LoadEnd("people", 2, 0)] if pages else []))
    hr.store.approve("people")
    names = names_of(hr.store)
    assert hr.store.datasets()[0].rows == len(names)
    assert {i for i, name in names.items() if name == "new"} == {i for i in range(5, 31) if i % 5}


def test_a_row_refused_in_a_load_keeps_the_version_that_was_visible(path: Path, hr: Feeder) -> None:
    hr.window(LoadBegin("people", schema_id(PEOPLE), 2))
    change(path, "CREATE TRIGGER r BEFORE INSERT ON d_people_g2 WHEN new.age = 13 BEGIN SELECT RAISE(ABORT, 'no'); END")
    hr.window(batch([person(i, "new", age=13 if i == 3 else 1) for i in range(1, 21)], 2), LoadEnd("people", 2, 20))
    row = hr.store.row("people", identity(3))
    assert row is not None
    assert (row.cells["name"], row.withheld, hr.store.datasets()[0].rows) == ("P3", "C3120", 20)


def hand_made(row: dict[str, object]) -> Batch:
    cells = [[row[c.name]] for c in PEOPLE.columns]
    return Batch("people", schema_id(PEOPLE), 0, b"\0\0", [[1, *cells[0]]], [[None, *c] for c in cells[1:]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("age", 2**63, "C3121"),
        ("age", "old", "C3124"),
        ("rate", float("nan"), "C3123"),
        ("photo", "text", "C3124"),
        ("name", b"bytes", "C3124"),
        ("name", "half \ud800", "C3124"),
        ("age", 1.5, "C3124"),
    ],
)
def test_a_cell_that_sqlite_would_change_or_cannot_keep_costs_its_row_only(
    hr: Feeder, column: str, value: object, code: str
) -> None:
    apply(hr, hand_made(person(2) | {column: value}))  # type: ignore[arg-type]
    (listed,) = hr.store.withheld("people", 10)
    assert (listed.key, listed.code, listed.column, listed.side) == (identity(2), code, column, "cloud")
    assert str(value) not in listed.detail
    assert names_of(hr.store) == {i: f"P{i}" for i in range(2, 21)} | {1: None}


def test_a_value_over_the_databases_limit_costs_its_row_only(store: SqliteStore, hr: Feeder) -> None:
    with store._file.write("test") as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    hr.window(batch([person(1, photo=b"x" * 200_000), person(2, "small"), person(3, "x" * 200_000)]))
    assert [(w.key, w.code, w.column) for w in store.withheld("people", 10)] == [
        (identity(1), "C3122", "photo"),
        (identity(3), "C3122", "name"),
    ]
    assert (names_of(store)[1], names_of(store)[2]) == ("P1", "small")


def test_infinity_and_zeros_are_kept(hr: Feeder) -> None:
    for value in (float("inf"), -1e308, 5e-324, 0.0):
        apply(hr, hand_made(person(2, rate=value)))
        row = hr.store.row("people", identity(2))
        assert row is not None
        assert row.cells["rate"] == value


def test_a_null_or_impossible_key_costs_its_row_only(hr: Feeder) -> None:
    none = [[None, None, None]] * 6
    reason = Withheld("A2901")
    given = Batch("people", schema_id(PEOPLE), 0, b"\0\2\0\0\1", [[None, 3, 2**64, 9, 2**65]], none, [reason])  # type: ignore[arg-type]
    apply(hr, given)
    withheld = {w.key: (w.code, w.detail) for w in hr.store.withheld("people", 10)}
    assert sorted(withheld.values()) == [
        ("A2901", ""),
        ("T1009", "NULL in a key"),
        ("T1009", "a key with an integer over 63 bits"),
    ]
    assert names_of(hr.store)[9] is None


def test_a_batch_with_a_null_key_keeps_the_others_in_order() -> None:
    given = Batch("people", b"", 0, b"\0\0\2", [[None, 1, 2]], [["a", "b"]] * 6, [Withheld("X")])  # type: ignore[arg-type]
    ready = change_set(PEOPLE, given)
    assert ready.ops == b"\2\0\2"
    upserts, withheld = ready.parts
    assert (upserts.op, upserts.cells) == (Op.UPSERT, [[1], *([["b"]] * 6)])
    assert [r.code for r in withheld.reasons] == ["T1009", "X"]


def test_a_trigger_that_rolls_everything_back_applies_nothing(path: Path, hr: Feeder) -> None:
    change(path, "CREATE TRIGGER r BEFORE UPDATE ON d_people_g1 BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
    before = hr.store.channels()
    with pytest.raises(StoreError, match="C3106"):
        hr.window(batch([person(1, "x")]))
    assert hr.store.channels() == before


@pytest.mark.parametrize("guess", list(Guess))
def test_a_wrong_guess_costs_time_only(tmp_path: Path, guess: Guess) -> None:
    with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as db:
        table = Table("people", 1, PEOPLE)
        table.create(db)
        db.execute("BEGIN")
        added = 0
        for ids in (range(10), range(10), range(5, 15), range(5, 15)):
            keys = [identity(i) for i in ids]
            added += table.put_rows(db, keys, [list(ids), *([["x"] * len(keys)] + [[None] * len(keys)] * 5)], guess).added
        assert added == 15 == len(table.page(db, b"", 100))
        db.execute("COMMIT")


# -- the file ----------------------------------------------------------------------------------------------------------------


def test_the_file_is_durable_and_belongs_to_its_user_only(path: Path, store: SqliteStore) -> None:
    with store._file.write("test") as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert path.stat().st_mode & 0o077 == 0


def test_a_store_of_a_newer_version_is_refused_by_name(path: Path, store: SqliteStore) -> None:
    store.close()
    change(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"C3104 .*acme.db: the file has version 99, this program knows 1"):
        SqliteStore(path, manual_runtime())


def test_an_older_store_is_brought_up_to_date(
    path: Path, hr: Feeder, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    newer = (*sqlite_store.MIGRATIONS, "CREATE TABLE _later(x) STRICT".replace("x", "x INTEGER"))
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", newer)
    again = SqliteStore(path, manual_runtime())
    assert len(cells_of(again)) == 20
    again.close()
    assert ask(path, "PRAGMA user_version") == [(2,)]
    assert ask(path, "SELECT * FROM _later") == []


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    change(path, "CREATE TABLE mine(x)")
    with pytest.raises(StoreError, match=r"C3102 .*another program"):
        SqliteStore(path, manual_runtime())


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreError, match="C3102"):
        SqliteStore(path, manual_runtime())


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"C3101 .*No such file"):
        SqliteStore(tmp_path / "missing" / "acme.db", manual_runtime())


def test_a_full_disk_applies_nothing_and_goes_on_when_there_is_room(store: SqliteStore, hr: Feeder) -> None:
    with store._file.write("test") as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count={pages + 2}")
    before = store.channels()
    window = [batch([person(i, "x" * 500) for i in range(1000)])]
    with pytest.raises(StoreError, match="C3103"):
        hr.window(*window)
    assert store.channels() == before
    assert names_of(store)[1] == "P1"
    with store._file.write("test") as db:
        db.execute("PRAGMA max_page_count=1000000")
    hr.window(*window)
    assert len(names_of(store)) == 1000


def test_another_process_that_writes_is_told(path: Path, store: SqliteStore, hr: Feeder) -> None:
    with store._file.write("test") as db:
        db.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="C3105"):
            hr.window()
        other.execute("ROLLBACK")
    hr.window()


def test_a_decision_of_the_command_line_is_seen_by_the_running_service(path: Path, hr: Feeder, store: SqliteStore) -> None:
    hr.load([person(1, "new")], 2)
    command_line = SqliteStore(path, manual_runtime())
    assert command_line.approve("people")
    command_line.close()
    assert names_of(store) == {1: "new"}
    hr.window(batch([person(1, "newer")]))
    assert names_of(store) == {1: "newer"}


def test_every_code_of_the_store_is_explained() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "cloud" / "store").glob("*.py"))
    used = set(re.findall(r"\"(C3[12]\d\d)\"", text))
    assert used - set(REGISTRY) == set()


MEMORY = """
import resource, sys
from pathlib import Path
from cloud.store.base import Staged
from cloud.store.sqlite import SqliteStore
from tests.support.store_feeder import *
windows = int(sys.argv[2])
store = SqliteStore(Path(sys.argv[1]), manual_runtime(), cache=4 << 20)
hr = Feeder(store)
hr.load([])
page = lambda at: batch([person(i, name="somebody with a rather long name %d" % i) for i in range(at, at + 2000)])
for at in range(windows):
    hr.stage(page(at * 2000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
hr.window()
assert store.datasets()[0].rows == windows * 2000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
store.close()
"""


def test_a_window_of_any_size_needs_the_same_memory(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "big.db"), "60"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 24 * 1024  # KiB; the rows alone are 12 MiB on disk and over 60 in memory
