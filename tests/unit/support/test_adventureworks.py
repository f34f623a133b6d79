"""The support around AdventureWorks does what tests rely on."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.adventureworks import DATA, create, datasets, ddl, tables
from tests.support.comparing import compare
from tests.support.ideal import ideal_copy
from tests.support.random_writer import CHANGES, RandomWriter, run

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the folder of CDC_TEST_DATA is not there")
NOWHERE = Path("nowhere")


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


@needs_data
def test_the_real_rows_are_loaded_whole(tmp_path: Path) -> None:
    summary = create(tmp_path / "aw.db")
    shape = json.loads((DATA / "schema.json").read_text(encoding="utf-8"))
    assert summary.real
    assert summary.rows == {name.replace(".", "_"): table["rows"] for name, table in shape.items()}
    assert read(tmp_path / "aw.db", "PRAGMA foreign_key_check") == []
    assert read(tmp_path / "aw.db", "PRAGMA journal_mode") == [("wal",)]


@needs_data
def test_the_shape_is_that_of_the_real_tables() -> None:
    shape = json.loads((DATA / "schema.json").read_text(encoding="utf-8"))
    for table in tables():
        real = shape[table.name.replace("_", ".", 1)]
        assert [(c.name, c.nullable) for c in table.columns] == [(c["name"], c["nullable"]) for c in real["columns"]]
        assert list(table.key) == real["primary_key"]
        assert set(table.references) == {f["columns"][0] for f in real["foreign_keys"]}


def test_without_the_folder_a_database_of_the_same_shape_is_made(tmp_path: Path) -> None:
    summary = create(tmp_path / "aw.db", seed=4, data=NOWHERE, scale=0.05)
    assert not summary.real
    assert len(summary.rows) == 24
    assert all(summary.rows.values())
    assert read(tmp_path / "aw.db", "PRAGMA foreign_key_check") == []
    kinds = read(tmp_path / "aw.db", 'SELECT typeof("LargePhoto") FROM Production_ProductPhoto')
    assert ("blob",) in kinds


def test_every_table_is_declared_as_a_dataset() -> None:
    declared = datasets()
    assert len({d.name for d in declared}) == len(declared) == 24
    assert {"employee_department_history", "product_photo", "shift"} <= {d.name for d in declared}
    assert {d.channel for d in declared} == {"hr", "shop", "binary"}


def test_types_are_declared_so_that_nothing_is_lost() -> None:
    text = "\n".join(statement for table in tables() for statement in ddl(table))
    for declared in ("TEXT_DECIMAL(19,4)", "DATETIME(3)", "TIME(7)", " GUID", " BLOB", " XML", " BIT", "DECIMAL(8,2)", "DATE "):
        assert declared in text


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "aw.db"
    create(path, seed=1, data=NOWHERE, scale=0.03)
    return path


def test_a_random_writer_does_everything_it_can_and_keeps_every_reference(small: Path) -> None:
    done: Counter[str] = Counter()
    with RandomWriter(small, 7) as writer:
        for _ in range(600):
            result = writer.step()
            done.update(operation.rsplit(" ", 1)[0] for operation in result.operations if result.committed)
            done["rolled back"] += not result.committed
    assert set(CHANGES) <= set(done)
    assert done["rolled back"] > 20
    assert read(small, "PRAGMA foreign_key_check") == []
    assert read(small, "PRAGMA integrity_check") == [("ok",)]


def test_the_same_seed_makes_the_same_changes(tmp_path: Path) -> None:
    dumps = []
    for name in "ab":
        path = tmp_path / name
        create(path, seed=1, data=NOWHERE, scale=0.02)
        run(path, 5, 150)
        with closing(sqlite3.connect(path)) as database:
            dumps.append(list(database.iterdump()))
    assert dumps[0] == dumps[1]


def test_writers_in_several_threads_take_turns(small: Path) -> None:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda seed=seed: counts.append(run(small, seed, 40))) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 3
    assert all(counts)
    assert read(small, "PRAGMA foreign_key_check") == []


def test_spoiled_cells_can_be_asked_for(small: Path) -> None:
    with RandomWriter(small, 3, spoil=0.5) as writer:
        writer.run(200)
    spoiled = 0
    for table in tables():
        for column in table.columns:
            if column.declared.startswith(("DATE", "GUID", "BIT", "TEXT_DECIMAL")):
                wrong = f"\"{column.name}\" = 'abc' OR typeof(\"{column.name}\") = 'blob'"
                spoiled += int(str(read(small, f'SELECT count(*) FROM "{table.name}" WHERE {wrong}')[0][0]))
    assert spoiled > 5


@needs_data
def test_the_comparer_reads_every_real_value(tmp_path: Path) -> None:
    erp, copy = tmp_path / "aw.db", tmp_path / "copy.db"
    create(erp)
    ideal_copy(erp, copy, datasets())
    result = compare(erp, copy, datasets(), tmp_path)
    assert result.equal, result.differences
