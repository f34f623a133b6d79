"""What the embedded source keeps beyond the common contract: what only SQLite does to an ERP's rows."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc.errors import CompanyStopped, Transient
from cdc.model import Dataset, Severity, Witness
from cdc.sources.sqlite import SqliteSource, doctor
from tests.support.erp import Follower, following, ops
from tests.support.sqlite_erp import SqliteErp
from transport.frames import MAX_ROW, Fold, Withheld
from transport.machine import system_runtime


@pytest.fixture
def erp(tmp_path: Path) -> Iterator[SqliteErp]:
    made = SqliteErp(tmp_path)
    yield made
    made.close()


def dataset(name: str = "t", **more: Any) -> Dataset:
    return Dataset(name="t", table=name, channel="hr", **more)


def table(erp: SqliteErp, sql: str = "SELECT * FROM t") -> list[tuple[Any, ...]]:
    return sorted(erp.admin.execute(sql), key=repr)


# -- REPLACE and other conflict policies ------------------------------------------------------------------------------------

REPLACED = [
    ("id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INT", ""),
    ("id TEXT PRIMARY KEY, u TEXT UNIQUE, v INT", ""),
    ("id TEXT PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, v INT", ""),
    ("id INTEGER PRIMARY KEY, u TEXT, v INT", "CREATE UNIQUE INDEX i ON t(u) WHERE v > 0 AND v <> 7"),
    ("id INTEGER PRIMARY KEY, u TEXT, v INT", "CREATE UNIQUE INDEX i ON t(lower(u) DESC, v % 10)"),
    ("id INTEGER PRIMARY KEY, u TEXT, v INT", "CREATE UNIQUE INDEX i ON t(u COLLATE NOCASE)"),
    ("id INTEGER PRIMARY KEY, u TEXT UNIQUE ON CONFLICT REPLACE, v INT", ""),
    ("id TEXT NOT NULL, u TEXT UNIQUE, v INT, PRIMARY KEY(id, v)", ""),
    ("id INTEGER, u TEXT UNIQUE, v INT, PRIMARY KEY(id)", "CREATE UNIQUE INDEX i ON t(v, u)"),
    ("id INTEGER PRIMARY KEY, u TEXT, v INT, g TEXT GENERATED ALWAYS AS (u || 'x') STORED UNIQUE", ""),
    ("id INTEGER PRIMARY KEY, u TEXT, v INT, g TEXT GENERATED ALWAYS AS (u || 'x') VIRTUAL UNIQUE", ""),
]


@pytest.mark.parametrize("without_rowid", ["", " WITHOUT ROWID"])
@pytest.mark.parametrize(("columns", "index"), REPLACED)
async def test_what_replace_displaces_through_another_unique_index_is_deleted(
    erp: SqliteErp, columns: str, index: str, without_rowid: str
) -> None:
    erp.script(f"CREATE TABLE t({columns}){without_rowid};{index}")
    erp.script("INSERT INTO t(id, u, v) VALUES('1', 'a', 1), ('2', 'b', 2), ('3', 'c', 3), ('4', 'd', 4)")
    async with following(erp, dataset()) as follower:
        for sql in (
            "INSERT OR REPLACE INTO t(id, u, v) VALUES('5', 'a', 1)",
            "REPLACE INTO t(id, u, v) VALUES('2', 'c', 3)",
            "UPDATE OR REPLACE t SET u = 'd', v = 4 WHERE id = '2'",
            "UPDATE OR REPLACE t SET id = '9', u = 'a' WHERE id = '2'",
            "INSERT OR REPLACE INTO t(id, u, v) VALUES('9', 'q', 1), ('10', 'q', 1)",
            "INSERT OR IGNORE INTO t(id, u, v) VALUES('11', 'q', 1)",
        ):
            erp.admin.execute(sql)
            await follower.catch_up()
            assert follower.rows("t") == table(erp), sql


async def test_what_replace_displaces_through_the_rowid_is_deleted(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id TEXT PRIMARY KEY, v INT); INSERT INTO t(rowid, id) VALUES(1, 'a'), (2, 'b')")
    async with following(erp, dataset()) as follower:
        erp.admin.execute("INSERT OR REPLACE INTO t(rowid, id) VALUES(1, 'c')")
        erp.admin.execute("UPDATE OR REPLACE t SET rowid = 2 WHERE id = 'c'")
        assert ops(await follower.catch_up()) == [("delete", ("a",)), ("delete", ("b",)), ("upsert", ("c",))]


async def test_what_replace_displaces_through_the_primary_key_when_another_key_is_tracked(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE); INSERT INTO t VALUES(1, 'a'), (2, 'b')")
    async with following(erp, dataset(key=("code",))) as follower:
        erp.admin.execute("INSERT OR REPLACE INTO t VALUES(1, 'c')")
        assert ops(await follower.catch_up()) == [("delete", ("a",)), ("upsert", ("c",))]


async def test_children_that_go_with_a_replaced_parent_are_deleted(erp: SqliteErp) -> None:
    erp.script(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, u TEXT UNIQUE);"
        "CREATE TABLE t(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE);"
        "INSERT INTO p VALUES(1, 'a'); INSERT INTO t VALUES(10, 1), (11, 1); PRAGMA foreign_keys = ON"
    )
    async with following(erp, dataset(types={"p": "INT"})) as follower:
        erp.admin.execute("INSERT OR REPLACE INTO p VALUES(2, 'a')")
        assert ops(await follower.catch_up()) == [("delete", (10,)), ("delete", (11,))]


@pytest.mark.parametrize("policy", ["REPLACE", "IGNORE", "FAIL", "ABORT", "ROLLBACK"])
async def test_the_conflict_policy_of_the_erps_statement_cannot_harm_the_log(erp: SqliteErp, policy: str) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c')")
    async with following(erp, dataset()) as follower:
        for sql in (
            f"INSERT OR {policy} INTO t VALUES(7, 'g'), (8, 'h'), (9, 'a'), (10, 'j')",
            f"UPDATE OR {policy} t SET u = 'b'",
            f"UPDATE OR {policy} t SET id = id + 1",
        ):
            with contextlib.suppress(sqlite3.IntegrityError):
                erp.admin.execute(sql)
            await follower.catch_up()
            assert follower.rows("t") == table(erp)
        numbers = [row[0] for row in erp.admin.execute("SELECT seq FROM _cdc_log ORDER BY seq")]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_recursive_triggers_of_the_erps_connection_change_nothing(erp: SqliteErp) -> None:
    erp.script(
        "PRAGMA recursive_triggers = ON; CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INT);"
        "CREATE TRIGGER down AFTER UPDATE ON t WHEN NEW.n > 0 BEGIN UPDATE t SET n = NEW.n - 1 WHERE id = NEW.id; END;"
        "INSERT INTO t VALUES(1, 'a', 0), (2, 'b', 0)"
    )
    async with following(erp, dataset()) as follower:
        erp.script("UPDATE t SET n = 5 WHERE id = 1; INSERT OR REPLACE INTO t VALUES(3, 'b', 1)")
        await follower.catch_up()
        assert follower.rows("t") == table(erp) == [(1, "a", 0), (3, "b", 1)]


async def test_an_upsert_clause_and_a_delete_of_everything_are_seen(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO t VALUES(1, 'a'), (2, 'b')")
    async with following(erp, dataset()) as follower:
        erp.admin.execute("INSERT INTO t VALUES(3, 'a') ON CONFLICT(u) DO UPDATE SET id = 30")
        assert ops(await follower.catch_up()) == [("delete", (1,)), ("upsert", (30,))]
        erp.admin.execute("DELETE FROM t")
        assert ops(await follower.catch_up()) == [("delete", (2,)), ("delete", (30,))]


# -- keys -------------------------------------------------------------------------------------------------------------------


async def test_a_key_changed_only_in_case_is_one_identity(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY, v INT); INSERT INTO t VALUES('abc', 1), ('x', 1)")
    async with following(erp, dataset()) as follower:
        assert follower.schemas["t"].columns[0].fold is Fold.ASCII
        erp.admin.execute("UPDATE t SET id = 'ABC', v = 2 WHERE id = 'abc'")
        assert ops(await follower.catch_up()) == [("upsert", ("ABC",))]
        assert follower.rows("t") == table(erp)


async def test_trailing_blanks_do_not_tell_keys_apart_under_rtrim(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id TEXT COLLATE RTRIM PRIMARY KEY, v INT); INSERT INTO t VALUES('a ', 1)")
    async with following(erp, dataset()) as follower:
        assert follower.schemas["t"].columns[0].pad is True
        erp.admin.execute("UPDATE t SET id = 'a   '")
        assert ops(await follower.catch_up()) == [("upsert", ("a   ",))]


async def test_the_collation_of_the_index_tells_keys_apart_not_that_of_the_column(erp: SqliteErp) -> None:
    erp.script(
        "CREATE TABLE t(id TEXT COLLATE NOCASE NOT NULL, v INT); CREATE UNIQUE INDEX i ON t(id COLLATE BINARY);"
        "INSERT INTO t VALUES('a', 1), ('A', 2), ('b', 3), ('B', 4)"
    )
    async with following(erp, dataset(key=("id",)), page_rows=1) as follower:
        assert follower.rows("t") == table(erp)
        erp.admin.execute("DELETE FROM t WHERE id = 'a' COLLATE BINARY")
        erp.admin.execute("UPDATE t SET id = 'C' WHERE id = 'b' COLLATE BINARY")
        assert ops(await follower.catch_up()) == [("delete", ("a",)), ("delete", ("b",)), ("upsert", ("C",))]


@pytest.mark.parametrize("order", ["a, b", "a DESC, b DESC", "a DESC, b", "a, b DESC"])
@pytest.mark.parametrize("collation", ["BINARY", "NOCASE", "RTRIM"])
async def test_pages_follow_every_order_and_collation_of_the_key(erp: SqliteErp, order: str, collation: str) -> None:
    erp.script(f"CREATE TABLE t(a TEXT COLLATE {collation}, b, v INT, PRIMARY KEY({order})) WITHOUT ROWID")
    names = ["a", "B", "b1", "C", "", "ą", "a b"]
    for i in range(60):
        erp.admin.execute("INSERT OR IGNORE INTO t VALUES(?, ?, ?)", (names[i % 7], i // 7, i))
    async with following(erp, dataset(types={"b": "INT"}), page_rows=4) as follower:
        assert follower.rows("t") == table(erp)


async def test_pages_use_the_index_of_the_key(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(a TEXT COLLATE NOCASE, b INT, v INT, PRIMARY KEY(a, b))")
    async with following(erp, dataset()) as follower:
        from cdc.sources.sqlite import reading, statements

        plan = follower.source._open().installer.plans.plan(dataset())  # type: ignore[attr-defined]
        made = reading.reading(plan)
        pages = erp.admin.execute(f"EXPLAIN QUERY PLAN {statements.page(made, ('?', '?'))}", ("a", 1, 1, 0))
        changes = erp.admin.execute(f"EXPLAIN QUERY PLAN {statements.changes(made)}", (1, 2, 1, -1, 0))
        assert [row[3] for row in pages] == ["SEARCH t USING INDEX sqlite_autoindex_t_1 ((a,b)>(?,?))"]
        assert any("SEARCH t USING INDEX sqlite_autoindex_t_1 (a=? AND b=?)" in row[3] for row in changes)


async def test_keys_that_look_alike_in_a_column_without_type_are_held_apart(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id BLOB PRIMARY KEY NOT NULL, v INT); INSERT INTO t VALUES(x'31', 1), (x'32', 2)")
    async with following(erp, dataset()) as follower:
        erp.script("INSERT INTO t VALUES('1', 3); DELETE FROM t WHERE id = x'32'")
        await follower.catch_up()
        assert list(follower.rows("t")) == [(b"1", 1)]
        assert follower.withheld("t") == ["A2302"]


async def test_odd_names_are_quoted_everywhere(erp: SqliteErp) -> None:
    erp.script(
        'CREATE TABLE "o""dd; table"("a key" INTEGER, "sel""ect" TEXT UNIQUE, [group] TEXT, `x'
        '\'y` INT, PRIMARY KEY("a key")); INSERT INTO "o""dd; table" VALUES(1, \'a\', \'b\', 2)'
    )
    d = dataset('o"dd; table', filter="\"group\" <> 'hidden'")
    async with following(erp, d) as follower:
        erp.script("INSERT OR REPLACE INTO \"o\"\"dd; table\" VALUES(2, 'a', 'c', 3)")
        assert ops(await follower.catch_up()) == [("delete", (1,)), ("upsert", (2,))]
        assert follower.rows("t") == [(2, "a", "c", 3)]


async def test_generated_columns_travel(erp: SqliteErp) -> None:
    erp.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b INT GENERATED ALWAYS AS (a * 2), c INT AS (a + 1) STORED);"
        "INSERT INTO t(id, a) VALUES(1, 5)"
    )
    async with following(erp, dataset()) as follower:
        erp.script("UPDATE t SET a = 6")
        await follower.catch_up()
        assert follower.rows("t") == [(1, 6, 12, 7)]


async def test_a_table_without_primary_key_needs_a_key_with_a_unique_index(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(a INT NOT NULL, b TEXT); CREATE UNIQUE INDEX i ON t(a); INSERT INTO t VALUES(1, 'x')")
    source = erp.source()
    await source.open()
    found = await source.describe([dataset(), dataset(key=("b",)), dataset(key=("A",))])
    await source.close()
    assert [d.code for d in found] == ["A2223", "A2223", ""]
    assert 'key = ["a"]' in found[0].problem


# -- rows that are withheld -------------------------------------------------------------------------------------------------

LIMIT = MAX_ROW
BAD = [
    ("INTEGER", "'abc'", "A2302"),
    ("INTEGER", "1.5", "A2302"),
    ("TEXT", "x'00ff'", "A2302"),
    ("TEXT", "CAST(x'61ff62' AS TEXT)", "A2303"),
    ("TEXT", "CAST(x'61eda08062' AS TEXT)", "A2304"),
    ("TEXT", "'a' || char(0) || 'b'", "A2305"),
    ("TEXT", f"printf('%.{LIMIT + 1}c', 'x')", "A2308"),
    ("TEXT", f"printf('%.{LIMIT}c', 'x')", "A2308"),
    ("BLOB", "zeroblob(40000000)", "A2308"),
    ("BLOB", "'text'", "A2302"),
    ("DATE", "'2024-02-30'", "A2306"),
    ("DATE", "'1.2.2024'", "A2306"),
    ("DATE", "20240101", "A2302"),
    ("TIME(3)", "'25:00:00.000'", "A2306"),
    ("DATETIME", "'2024-01-01 10:00:00.123'", "A2306"),
    ("DATETIMEOFFSET", "'2024-01-01 10:00:00'", "A2306"),
    ("GUID", "'nothing-like-it'", "A2306"),
    ("DECIMAL(10,2)", "1.234", "A2307"),
    ("DECIMAL(10,2)", "123456789.5", "A2307"),
    ("DECIMAL(10,2)", "'twelve'", "A2307"),
    ("TEXT_DECIMAL(19,4)", "'1.23456'", "A2307"),
    ("TEXT_DECIMAL(19,4)", "x'31'", "A2302"),
    ("BIT", "2", "A2306"),
    ("BIT", "'yes'", "A2302"),
    ("REAL", "9e999", "A2310"),
    ("REAL", "'high'", "A2302"),
    ("JSON", "x'7b7d'", "A2302"),
]


@pytest.mark.parametrize(("declared", "value", "code"), BAD)
async def test_a_row_that_cannot_travel_is_withheld_and_stops_nothing(
    erp: SqliteErp, declared: str, value: str, code: str
) -> None:
    erp.script(
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, x {declared}, y TEXT); INSERT INTO t VALUES(1, NULL, 'a'), (3, NULL, 'c')"
    )
    erp.script(f"INSERT INTO t VALUES(2, {value}, 'b')")
    async with following(erp, dataset(), page_rows=2) as follower:
        assert follower.rows("t") == [(1, None, "a"), (3, None, "c")]
        assert follower.withheld("t") == [code]
        erp.script(f"INSERT INTO t VALUES(4, {value}, 'd'); UPDATE t SET y = 'aa' WHERE id = 1; DELETE FROM t WHERE id = 3")
        batches = await follower.catch_up()
        assert ops(batches) == [("delete", (3,)), ("upsert", (1,)), ("withheld", (4,))]
        reason = batches[0].withheld[0]
        assert (reason.code, reason.column) == (code, "x")
        erp.script("UPDATE t SET x = NULL")
        await follower.catch_up()
        assert follower.rows("t") == table(erp)
        assert follower.withheld("t") == []


async def test_reasons_do_not_show_what_is_in_the_row(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, d DATE, m DECIMAL(10,2), x TEXT)")
    erp.script("INSERT INTO t VALUES(1, 'secret', NULL, NULL), (2, NULL, 'secret', NULL), (3, NULL, NULL, 'secret' || char(0))")
    async with following(erp, dataset()) as follower:
        assert len(follower.copies["t"].withheld) == 3
        assert "secret" not in repr(follower.copies["t"].withheld)


async def test_every_row_bad_in_its_own_way_is_withheld_in_one_window(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c DATE)")
    async with following(erp, dataset()) as follower:
        with erp.admin.transaction():
            for i in range(300):
                a = b"\xff" if i % 50 == 0 else b"good"
                erp.admin.execute(
                    "INSERT INTO t VALUES(?, CAST(? AS TEXT), ?, ?)", (i, a, "x\0" if i % 70 == 1 else "y" * 9000, "2024-01-01")
                )
        await follower.catch_up()
        assert len(follower.rows("t")) == 300 - 6 - 5
        assert follower.withheld("t") == ["A2303"] * 6 + ["A2305"] * 5


async def test_a_row_is_too_large_though_each_of_its_cells_would_do(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB)")
    erp.admin.execute(
        "INSERT INTO t VALUES(1, ?, ?), (2, ?, ?)", ("x" * 5_000_000, b"y" * 5_000_000, "x" * 4_000_000, b"z" * 4_000_000)
    )
    async with following(erp, dataset()) as follower:
        assert [row[0] for row in follower.rows("t")] == [2]
        assert follower.withheld("t") == ["A2308"]


async def test_a_page_of_large_rows_ends_early_and_the_load_goes_on(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB)")
    for i in range(30):
        erp.admin.execute("INSERT INTO t VALUES(?, ?)", (i, bytes([i]) * 1_000_000))
    async with following(erp, dataset()) as follower, follower.source.reader() as reader:
        page = await reader.page(dataset(), follower.schemas["t"], 1, b"", 1000)
        assert 0 < page.rows < 30
        assert not page.done
        assert max(sum(len(cell) for cell in b.values[0] if isinstance(cell, bytes)) for b in page.batches) <= 4_000_000
        assert follower.rows("t") == table(erp)


async def test_rows_with_null_in_their_key_are_withheld(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(a TEXT, b INT, v INT, PRIMARY KEY(a, b))")
    erp.script("INSERT INTO t VALUES(NULL, 1, 1), (NULL, 1, 2), ('x', NULL, 3), ('x', 1, 4), ('y', 2, 5)")
    async with following(erp, dataset(), page_rows=1) as follower:
        assert follower.rows("t") == [("x", 1, 4), ("y", 2, 5)]
        assert follower.withheld("t") == ["A2301", "A2301"]
        erp.script("INSERT INTO t VALUES(NULL, NULL, 9); UPDATE t SET v = 44 WHERE v = 4")
        batches = await follower.catch_up()
        assert ops(batches) == [("upsert", ("x", 1)), ("withheld", (None, None))]
        erp.script("UPDATE t SET a = 'z' || v, b = 0 WHERE a IS NULL OR b IS NULL")
        await follower.catch_up()
        assert follower.rows("t") == table(erp)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("CAST(x'ff' AS TEXT)", "A2303"),
        ("'a' || char(0)", "A2305"),
        ("x'01'", "A2302"),
        ("printf('%.5000c', 'k')", "A2309"),
        ("printf('%.9000000c', 'k')", "A2309"),
    ],
)
async def test_a_key_that_cannot_travel_is_withheld_and_pages_go_on_behind_it(erp: SqliteErp, value: str, code: str) -> None:
    erp.script(f"CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, v INT); INSERT INTO t VALUES({value}, 1), ('b', 2), ('z', 3)")
    async with following(erp, dataset(), page_rows=1) as follower:
        assert follower.rows("t") == [("b", 2), ("z", 3)]
        assert follower.withheld("t") == [code]
        erp.script(f"UPDATE t SET v = 5; DELETE FROM t WHERE id = {value}; INSERT INTO t VALUES('c', 1)")
        await follower.catch_up()
        assert follower.rows("t") == table(erp)


async def test_a_key_too_long_has_one_name_whichever_way_it_was_fetched(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, v TEXT); INSERT INTO t VALUES(printf('%.5000c', 'k'), 'small')")
    async with following(erp, dataset()) as follower:
        (before,) = follower.copies["t"].withheld
        erp.script("UPDATE t SET v = CAST(x'ff' AS TEXT)")  # now the row is fetched cell by cell
        await follower.catch_up()
        assert list(follower.copies["t"].withheld) == [before]


async def test_a_key_that_is_not_canonical_is_withheld_rather_than_made_another(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id GUID PRIMARY KEY NOT NULL, v INT)")
    upper = "ABCDEF00-0000-0000-0000-000000000000"
    erp.admin.execute("INSERT INTO t VALUES(?, 1), (?, 2)", (upper, upper.lower()))
    async with following(erp, dataset()) as follower:
        assert follower.rows("t") == [(upper.lower(), 2)]
        assert follower.withheld("t") == ["A2306"]
    async with following(erp, dataset(types={"id": "TEXT"})) as follower:
        assert follower.rows("t") == table(erp)


async def test_canonical_forms_of_what_sqlite_keeps(erp: SqliteErp) -> None:
    erp.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a DECIMAL(10,2), b TEXT_DECIMAL(19,4), c DATETIME(3), d GUID,"
        " e BIT, f REAL, g JSON);"
        "INSERT INTO t VALUES(1, 12, '12.5', '2024-01-01T10:00', '{ABCDEF00-0000-0000-0000-000000000000}', 1, 2, '12'),"
        "(2, 0.1 + 0.2, '-0', '2024-01-01', NULL, 0, -0.5, '1.5'), (3, -7.25, '00.10', NULL, NULL, NULL, NULL, '{\"a\":1}')"
    )
    async with following(erp, dataset()) as follower:
        assert follower.rows("t") == [
            (1, "12.00", "12.5000", "2024-01-01 10:00:00.000", "abcdef00-0000-0000-0000-000000000000", True, 2.0, "12"),
            (2, "0.30", "0.0000", "2024-01-01 00:00:00.000", None, False, -0.5, "1.5"),
            (3, "-7.25", "0.1000", None, None, None, None, '{"a":1}'),
        ]


async def test_decimals_wider_than_sqlite_keeps_are_refused_with_the_way_out(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, pay MONEY)")
    source = erp.source()
    await source.open()
    found = await source.describe(
        [dataset(), dataset(types={"pay": "DECIMAL(15,4)"}), dataset(types={"pay": "TEXT_DECIMAL(19,4)"})]
    )
    await source.close()
    assert [d.code for d in found] == ["A2226", "", "A2226"]
    assert "TEXT_DECIMAL(19,4)" in found[0].problem


# -- tracking ---------------------------------------------------------------------------------------------------------------


async def test_triggers_that_come_back_after_a_rebuild_do_not_hide_it(erp: SqliteErp) -> None:
    """SQLite's own recipe for changing a table makes its triggers again from their saved text."""
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES(1, 1)")
    async with following(erp, dataset()) as follower:
        saved = [row[0] for row in erp.admin.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 't'")]
        erp.rebuild("t", change="v = v + 1")
        for sql in saved:
            erp.admin.execute(sql)
        assert (await follower.facts()).tables[0].min_valid is None
        await follower.source.repair([dataset()])
        assert (await follower.facts()).tables[0].min_valid is not None


async def test_an_altered_trigger_is_lost_tracking(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT)")
    async with following(erp, dataset()) as follower:
        erp.script("DROP TRIGGER _cdc_1_ad; CREATE TRIGGER _cdc_1_ad AFTER DELETE ON t BEGIN SELECT 1; END")
        assert (await follower.facts()).tables[0].min_valid is None


async def test_a_new_unique_index_needs_the_tracking_anew(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES(1, 1), (2, 2)")
    async with following(erp, dataset()) as follower:
        erp.script("CREATE UNIQUE INDEX i ON t(v)")
        assert (await follower.facts()).tables[0].min_valid is None
        await follower.source.repair([dataset()])
        await follower.start()
        await follower.load()
        erp.script("INSERT OR REPLACE INTO t VALUES(3, 2)")
        assert ops(await follower.catch_up()) == [("delete", (2,)), ("upsert", (3,))]


async def test_vacuum_reindex_analyze_and_a_plain_new_column_leave_the_tracking_alone(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, u TEXT); CREATE UNIQUE INDEX i ON t(lower(u))")
    async with following(erp, dataset(columns=("id", "v"))) as follower:
        before = await follower.source.pulse()
        erp.script("INSERT INTO t VALUES(1, 1, 'a'); VACUUM; REINDEX; ANALYZE; ALTER TABLE t ADD COLUMN w TEXT")
        assert (await follower.facts()).tables[0].min_valid is not None
        assert (await follower.source.pulse()).version == before.version + 1
        assert ops(await follower.catch_up()) == [("upsert", (1,))]


async def test_versions_never_go_back_after_clean_up_vacuum_and_a_reset_of_sequences(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v INT)")
    async with following(erp, dataset()) as follower:
        seen = 0
        for _ in range(4):
            erp.script("INSERT INTO t(v) VALUES(1), (2); UPDATE t SET v = 3")
            await follower.catch_up()
            await follower.source.clean_up(0)
            erp.script("VACUUM; DELETE FROM sqlite_sequence")
            now = (await follower.source.pulse()).version
            assert now > seen
            seen = now
        assert erp.admin.execute("SELECT count(*) FROM _cdc_log") == [(1,)]


async def test_clean_up_removes_many_records_in_short_transactions(erp: SqliteErp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.sources.sqlite.installing.CLEAN_UP_ROWS", 10)
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT)")
    async with following(erp, dataset()) as follower:
        for i in range(45):
            erp.admin.execute("INSERT INTO t VALUES(?, 1)", (i,))
        assert await follower.source.clean_up(0) == 46  # and what install had noted
        assert (await follower.source.clean_up(0)) == 0
        erp.clock.seconds += 100
        erp.admin.execute("UPDATE t SET v = 2 WHERE id = 1")
        assert await follower.source.clean_up(50) == 0
        erp.clock.seconds += 100
        assert await follower.source.clean_up(50) == 1


@pytest.mark.parametrize(
    "sql", ["DELETE FROM _cdc_log", "DELETE FROM _cdc_log WHERE seq < 5", "DELETE FROM _cdc_log WHERE seq = 7"]
)
async def test_change_records_removed_by_somebody_are_noticed(erp: SqliteErp, sql: str) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT)")
    async with following(erp, dataset()) as follower:
        old = follower.position
        assert old is not None
        for i in range(8):
            erp.admin.execute("INSERT INTO t VALUES(?, 1)", (i,))
        erp.script(sql)
        facts = await follower.facts()
        valid = facts.tables[0].min_valid
        assert facts.witness is Witness.FOREIGN or valid is None or valid > old.version
        await follower.source.repair([dataset()])
        assert (await follower.source.pulse()).version > old.version
        await follower.start()
        await follower.load()
        assert follower.rows("t") == table(erp)


async def test_a_renamed_table_has_lost_its_tracking(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT)")
    async with following(erp, dataset()) as follower:
        erp.script("ALTER TABLE t RENAME TO old; CREATE TABLE t(id INTEGER PRIMARY KEY, v INT)")
        assert (await follower.facts()).tables[0].min_valid is None
        await follower.source.repair([dataset()])
        await follower.start()
        erp.script("INSERT INTO t VALUES(1, 1); INSERT INTO old VALUES(2, 2)")
        assert ops(await follower.catch_up()) == [("upsert", (1,))]


async def test_install_grows_the_log_for_a_wider_key(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE a(x INTEGER PRIMARY KEY); CREATE TABLE t(a INT, b INT, c INT, d INT, PRIMARY KEY(a, b, c, d))")
    async with following(erp, dataset("a")) as follower:
        await follower.source.install([dataset("a"), Dataset(name="u", table="t", channel="hr")])
        assert len(erp.admin.execute("SELECT k4 FROM _cdc_log LIMIT 1")) == 1


async def test_install_leaves_alone_what_it_would_break(erp: SqliteErp) -> None:
    """An index on a function that only the ERP's program has."""
    erp.admin.connection.create_function("house", 1, lambda x: x, deterministic=True)
    erp.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE UNIQUE INDEX i ON t(house(v)); INSERT INTO t VALUES(1, 'a')"
    )
    async with following(erp, dataset()) as follower:
        erp.script("INSERT OR REPLACE INTO t VALUES(2, 'a')")
        assert ops(await follower.catch_up()) == [("delete", (1,)), ("upsert", (2,))]


def schema_of(erp: SqliteErp) -> list[tuple[Any, ...]]:
    return erp.admin.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")


async def test_uninstall_leaves_the_files_own_schema_as_it_was(erp: SqliteErp) -> None:
    erp.script(
        "CREATE TABLE t(id TEXT PRIMARY KEY,   v  INT UNIQUE); CREATE VIEW w AS SELECT * FROM t; CREATE INDEX i ON t(v DESC)"
    )
    before = schema_of(erp)
    async with following(erp, dataset()) as follower:
        erp.script("INSERT INTO t VALUES('a', 1)")
        await follower.source.clean_up(0)
        assert schema_of(erp) != before
        await follower.source.uninstall()
    assert schema_of(erp) == before


async def test_collations_of_the_erp_alone_are_refused_in_keys_and_carried_elsewhere(erp: SqliteErp) -> None:
    erp.admin.connection.create_collation("house", lambda a, b: (a > b) - (a < b))
    erp.script("CREATE TABLE t(id TEXT COLLATE house PRIMARY KEY, n INT UNIQUE NOT NULL, v TEXT COLLATE house)")
    source = erp.source()
    await source.open()
    found = await source.describe([dataset(), dataset(key=("n",))])
    await source.close()
    assert [d.code for d in found] == ["A2229", ""]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("CREATE VIEW t AS SELECT 1 AS id", "A2222"),
        ("CREATE VIRTUAL TABLE t USING fts5(x)", "A2222"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, x)", "A2225"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, x STRING)", "A2225"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, x DATETIME(12))", "A2225"),
        (f"CREATE TABLE t(id INTEGER PRIMARY KEY, {'x' * 64} INT)", "A2228"),
        (f"CREATE TABLE t(id INTEGER PRIMARY KEY, {', '.join(f'c{i} INT' for i in range(1100))})", "A2228"),
    ],
)
async def test_tables_that_cannot_be_carried_are_refused_by_name(erp: SqliteErp, sql: str, code: str) -> None:
    erp.script(sql)
    source = erp.source()
    await source.open()
    found = (await source.describe([dataset()]))[0]
    await source.close()
    assert (found.schema, found.code) == (None, code)


@pytest.mark.parametrize("condition", ["v > random()", "d < date('now')", "d < date()", "d = CURRENT_DATE", "changes() = 1"])
async def test_a_filter_that_depends_on_more_than_the_row_is_refused(erp: SqliteErp, condition: str) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, d DATE)")
    source = erp.source()
    await source.open()
    found = await source.describe(
        [dataset(filter=condition), dataset(filter="d < date('2024-01-01', '+1 day') AND v IN (1, 2)")]
    )
    await source.close()
    assert [d.code for d in found] == ["A2227", ""]


# -- the file ---------------------------------------------------------------------------------------------------------------


async def opening(path: Path, busy_timeout: float = 0.05) -> Exception | None:
    source = SqliteSource(path, system_runtime(), busy_timeout=busy_timeout)
    try:
        await source.open()
    except (CompanyStopped, Transient) as error:
        return error
    finally:
        await source.close()
    return None


async def test_a_missing_file_is_told_apart_and_not_made(tmp_path: Path) -> None:
    error = await opening(tmp_path / "nothing.db")
    assert isinstance(error, CompanyStopped)
    assert error.code == "A2202"
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # a test waits for nobody


async def test_a_file_that_is_no_database_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "erp.db").write_bytes(b"this is not a database, but long enough to be looked at " * 50)
    error = await opening(tmp_path / "erp.db")
    assert isinstance(error, CompanyStopped)
    assert error.code == "A2203"


async def test_a_database_that_is_not_in_wal_mode_is_refused_with_the_statement_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "erp.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t(a)")
    error = await opening(path)
    assert isinstance(error, CompanyStopped)
    assert error.code == "A2204"
    assert "PRAGMA journal_mode = WAL;" in error.remedy
    finding = doctor.inspect(path, 0.05, [])[0]
    assert (finding.severity, finding.statement) == (Severity.ERROR, "PRAGMA journal_mode = WAL;")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


async def test_a_locked_database_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "erp.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("CREATE TABLE t(a)")
        error = await opening(path)
    assert isinstance(error, Transient)
    assert error.code == "A2201"


async def test_a_writer_that_stays_holds_up_install_for_no_longer_than_the_timeout(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY)")
    source = SqliteSource(erp.path, system_runtime(), busy_timeout=0.05)
    await source.open()
    erp.admin.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="A2201"):
        await source.install([dataset()])
    erp.admin.execute("ROLLBACK")
    assert await source.install([dataset()])
    await source.close()


async def test_structures_of_a_newer_version_are_left_alone(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY)")
    async with following(erp, dataset()):
        pass
    erp.script("UPDATE _cdc_meta SET value = 99 WHERE name = 'layout'")
    error = await opening(erp.path)
    assert isinstance(error, CompanyStopped)
    assert error.code == "A2209"
    assert [f.code for f in doctor.inspect(erp.path, 1, [dataset()]) if f.severity is Severity.ERROR] == ["A2209"]


async def test_a_file_put_in_place_of_the_open_one_is_noticed(erp: SqliteErp) -> None:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY)")
    async with following(erp, dataset()) as follower:
        erp.restore(erp.backup())
        for ask in (follower.source.pulse, follower.facts):
            with pytest.raises(Transient, match="A2210"):
                await ask()


# -- cancelling and closing ---------------------------------------------------------------------------------------------------


async def slow_reader(erp: SqliteErp) -> Follower:
    erp.script("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, w INT); INSERT INTO t VALUES(1, 1, 1)")
    erp.script(
        "WITH RECURSIVE c(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM c WHERE i < 300000) INSERT INTO t SELECT i, i, i FROM c"
    )
    work = " + ".join(f"length(printf('%.2000c', v) || {i})" for i in range(20))
    source = erp.source()
    await source.open()
    await source.install([dataset(filter=f"{work} < 0")])
    follower = Follower(source, [dataset(filter=f"{work} < 0")])
    await follower.start()
    return follower


async def test_a_cancelled_read_ends_its_statement_and_the_source_goes_on(erp: SqliteErp) -> None:
    follower = await slow_reader(erp)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await follower.page(follower.datasets[0], b"")
    assert (await follower.facts()).version > 0
    await follower.source.close()


async def test_closing_ends_a_running_statement(erp: SqliteErp) -> None:
    follower = await slow_reader(erp)
    running = asyncio.ensure_future(follower.page(follower.datasets[0], b""))
    await asyncio.sleep(0)  # it has begun; closing ends it, however far it is
    await follower.source.close()
    with pytest.raises(Transient, match="A2212"):
        await running


async def test_withheld_reasons_are_in_the_order_of_the_rows(erp: SqliteErp) -> None:
    erp.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, d DATE, n INT); INSERT INTO t VALUES(1, 'x', 1), (2, NULL, 'y'), (3, NULL, 1)"
    )
    async with following(erp, dataset()) as follower, follower.source.reader() as reader:
        batch = (await reader.page(dataset(), follower.schemas["t"], 1, b"", 10)).batches[0]
        assert batch.ops == bytes([0, 2, 2])
        assert batch.keys == [[3, 1, 2]]
        assert batch.withheld[0] == Withheld("A2306", "d", "not a canonical date")
        assert (batch.withheld[1].code, batch.withheld[1].column) == ("A2302", "n")
