"""The comparer finds every difference, names it, and lets nothing pass for equal."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cdc.demo import company
from cdc.model import Dataset
from tests.support.comparing import SCRIPT, Comparison, command, compare
from tests.support.ideal import ideal_copy

MIXED = Dataset(name="mixed", table="Mixed", channel="main")
SCHEMA = """CREATE TABLE Mixed (
  id INT, name NVARCHAR(20) COLLATE NOCASE, amount DECIMAL(9,2), exact TEXT_DECIMAL(19,4), flag BIT, score REAL,
  day DATE, hour TIME(3), at DATETIME(3), sent DATETIMEOFFSET(0), uid GUID, data BLOB, note TEXT, PRIMARY KEY (id, name))"""
NOTHING = (None,) * 11
GUID = "-".join(("a" * 8, "b" * 4, "b" * 4, "b" * 4, "c" * 12))
ROWS = [
    (1, "Ada", 1.5, "1.5", 1, 0.1, "2024-02-29", "08:00", "2024-01-01", "2024-01-01T10:00:00Z", GUID.upper(), b"\0", "ą"),
    (2, "Ewa", 7, "-0.0", 0, 2.0, None, "08:00:00.5", "2024-01-01T08:00:00.25", "2024-01-01 10:00 +02:00", None, None, None),
    (300, "Ola", *NOTHING),
]
DAYS = ("2024-01-01 00:00:00.000", "2024-01-01 10:00:00+00:00", "2024-01-01 08:00:00.250", "2024-01-01 10:00:00+02:00")
CLOUD = [
    (1, "Ada", "1.50", "1.5000", 1, 0.1, "2024-02-29", "08:00:00.000", DAYS[0], DAYS[1], GUID, b"\0", "ą"),
    (2, "Ewa", "7.00", "0.0000", 0, 2.0, None, "08:00:00.500", DAYS[2], DAYS[3], None, None, None),
    (300, "Ola", *NOTHING),
]
COLUMNS = ["id", "name", "amount", "exact", "flag", "score", "day", "hour", "at", "sent", "uid", "data", "note"]


class Pair:
    """An ERP and a copy that are equal until a test changes one of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.erp, self.copy = folder / "erp.db", folder / "copy.db"
        marks = f"VALUES ({', '.join('?' * len(COLUMNS))})"
        with closing(sqlite3.connect(self.erp)) as erp:
            erp.execute(SCHEMA)
            erp.executemany(f"INSERT INTO Mixed {marks}", ROWS)
            erp.commit()
        with closing(sqlite3.connect(self.copy)) as copy:
            copy.execute(f"CREATE TABLE d_mixed_g1 ({', '.join(COLUMNS)})")
            copy.execute("CREATE VIEW mixed AS SELECT * FROM d_mixed_g1")
            copy.execute("CREATE TABLE _withheld (dataset, key BLOB, code, column_name, detail, since, side)")
            copy.executemany(f"INSERT INTO d_mixed_g1 {marks}", CLOUD)
            copy.commit()

    def change(self, path: Path, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.execute(sql, values)
            database.commit()

    def withhold(self, *key: object, code: str = "A2501", number: int | None = None) -> None:
        named = "dataset, key, code, side" + (", number" if number else "")
        values = ("mixed", msgspec.msgpack.encode(key), code, "erp", *([number] if number else []))
        self.change(self.copy, f"INSERT INTO _withheld ({named}) VALUES ({', '.join('?' * len(values))})", *values)

    def compare(self) -> Comparison:
        return compare(self.erp, self.copy, [MIXED], self.folder)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compare")
    erp, copy = folder / "erp.db", folder / "copy.db"
    company.create(erp, 3, employees=25, years=1)
    ideal_copy(erp, copy, company.datasets())
    return erp, copy


def test_the_comparer_needs_nothing_but_the_standard_library() -> None:
    roots = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    assert roots <= sys.stdlib_module_names


def test_every_type_is_read_into_its_canonical_form(pair: Pair) -> None:
    result = pair.compare()
    assert result.differences == []
    assert result.exit_code == 0


def test_the_whole_demo_company_is_equal_to_its_ideal_copy(demo: tuple[Path, Path], tmp_path: Path) -> None:
    result = compare(*demo, company.datasets(), tmp_path)
    assert result.equal, result.differences
    assert result.rows("civil_contracts")[0] < 40  # drafts are filtered


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", "1.51"),
        ("amount", 1.5),
        ("exact", "1.50000"),
        ("flag", 0),
        ("flag", "1"),
        ("score", 0.10000000000000002),
        ("day", "2024-02-28"),
        ("hour", "08:00:00"),
        ("at", "2024-01-01 00:00:00.001"),
        ("sent", "2024-01-01 10:00:00+01:00"),
        ("uid", GUID.upper()),
        ("data", b""),
        ("note", "ą "),
        ("note", None),
    ],
)
def test_one_wrong_value_is_found_and_named(pair: Pair, column: str, value: object) -> None:
    pair.change(pair.copy, f"UPDATE d_mixed_g1 SET {column} = ? WHERE id = 1", value)
    result = pair.compare()
    assert (result.exit_code, result.differences) == (1, [("mixed", "value", "1, Ada", column)])


def test_what_arithmetic_left_in_a_number_counts_as_the_digits_that_sqlite_shows(pair: Pair) -> None:
    pair.change(pair.erp, "UPDATE Mixed SET amount = 0.1 + 0.2 WHERE id = 1")
    pair.change(pair.copy, "UPDATE d_mixed_g1 SET amount = '0.30' WHERE id = 1")
    assert pair.compare().exit_code == 0
    pair.change(pair.erp, "UPDATE Mixed SET amount = 0.3001 WHERE id = 1")
    assert pair.compare().exit_code == 1


def test_one_missing_row_is_found_and_named(pair: Pair) -> None:
    pair.change(pair.copy, "DELETE FROM d_mixed_g1 WHERE id = 2")
    result = pair.compare()
    assert (result.exit_code, result.differences) == (1, [("mixed", "missing", "2, Ewa", "")])


@pytest.mark.parametrize("number", [0, 5, 999])
def test_one_extra_row_is_found_and_named(pair: Pair, number: int) -> None:
    pair.change(pair.copy, "INSERT INTO d_mixed_g1 (id, name) VALUES (?, 'Iga')", number)
    result = pair.compare()
    assert (result.exit_code, result.differences) == (1, [("mixed", "extra", f"{number}, Iga", "")])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE work_time SET minutes = minutes + 1 WHERE entry_id = 4242", ("work_time", "value", "4242", "minutes")),
        ("DELETE FROM work_time WHERE entry_id = 4242", ("work_time", "missing", "4242", "")),
        ("INSERT INTO work_time (entry_id) VALUES (90000000)", ("work_time", "extra", "90000000", "")),
    ],
)
def test_one_row_among_many_is_found(
    demo: tuple[Path, Path], tmp_path: Path, change: str, expected: tuple[str, str, str, str]
) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(demo[1].read_bytes())
    with closing(sqlite3.connect(copy)) as database:
        database.execute(change)
        database.commit()
    result = compare(demo[0], copy, company.datasets(), tmp_path)
    assert (result.exit_code, result.differences) == (1, [expected])


def test_a_key_that_differs_in_case_only_is_a_difference(pair: Pair) -> None:
    pair.change(pair.copy, "UPDATE d_mixed_g1 SET name = 'ADA' WHERE id = 1")
    assert {kind for _, kind, _, _ in pair.compare().differences} == {"missing", "extra"}


def test_a_withheld_row_is_counted_apart_and_not_compared(pair: Pair) -> None:
    pair.change(pair.erp, "UPDATE Mixed SET amount = 'much', name = 'ADA' WHERE id = 1")
    pair.withhold(1, "ada")
    result = pair.compare()
    assert (result.exit_code, result.rows("mixed")) == (0, (3, 3, 1))


@pytest.mark.parametrize("number", [127, 128, 255, 256, 70_000, 2**40, -1, -32, -33, -129, -40_000, -(2**40)])
def test_a_withheld_row_is_recognised_by_any_number(pair: Pair, number: int) -> None:
    pair.change(pair.erp, "INSERT INTO Mixed (id, name, amount) VALUES (?, 'źdźbło', 'much')", number)
    pair.withhold(number, "źdźbło")
    assert pair.compare().rows("mixed") == (4, 3, 1)


def test_a_row_that_cannot_be_carried_must_be_listed(pair: Pair) -> None:
    pair.change(pair.erp, "UPDATE Mixed SET amount = 'much' WHERE id = 1")
    assert pair.compare().differences == [("mixed", "value", "1, Ada", "amount")]


def test_a_withheld_row_without_a_reason_is_a_difference(pair: Pair) -> None:
    pair.withhold(1, "ada", code="")
    assert [kind for _, kind, _, _ in pair.compare().differences] == ["withheld"]


def test_a_withheld_row_that_the_erp_does_not_have_is_a_difference(pair: Pair) -> None:
    pair.withhold(7, "nobody")
    assert [kind for _, kind, _, _ in pair.compare().differences] == ["withheld"]


def test_what_is_withheld_of_a_generation_that_is_not_visible_excuses_nothing(pair: Pair) -> None:
    pair.change(pair.erp, "UPDATE Mixed SET amount = 'much' WHERE id = 1")
    pair.change(pair.copy, "CREATE TABLE _generation (dataset, number, visible)")
    pair.change(pair.copy, "INSERT INTO _generation VALUES ('mixed', 1, 1), ('mixed', 2, 0)")
    pair.change(pair.copy, "ALTER TABLE _withheld ADD COLUMN number")
    pair.withhold(1, "ada", number=2)
    assert pair.compare().exit_code == 1
    pair.change(pair.copy, "UPDATE _withheld SET number = 1")
    assert pair.compare().exit_code == 0


def test_a_row_with_null_in_its_key_must_be_listed(pair: Pair) -> None:
    pair.change(pair.erp, "INSERT INTO Mixed (id, name) VALUES (NULL, 'Iza')")
    assert pair.compare().exit_code == 1
    pair.withhold(None, "iza")
    result = pair.compare()
    assert (result.exit_code, result.rows("mixed")) == (0, (4, 3, 1))


def test_a_key_whose_text_is_not_canonical_must_be_listed(tmp_path: Path) -> None:
    erp, copy = tmp_path / "erp.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(erp)) as database:
        database.execute("CREATE TABLE Times (at DATETIME(3) PRIMARY KEY)")
        database.execute("INSERT INTO Times VALUES ('2024-01-01 00:00:00.000'), ('2024-01-02T00:00')")
        database.commit()
    times = [Dataset(name="times", table="Times", channel="main")]
    with closing(sqlite3.connect(copy)) as database:
        database.execute("CREATE TABLE _withheld (dataset, key, code)")
        database.execute("CREATE TABLE times AS SELECT '2024-01-01 00:00:00.000' AS at")
        database.commit()
        assert compare(erp, copy, times, tmp_path).exit_code == 1
        database.execute("INSERT INTO _withheld VALUES ('times', ?, 'A2306')", (msgspec.msgpack.encode(["2024-01-02T00:00"]),))
        database.commit()
    result = compare(erp, copy, times, tmp_path)
    assert (result.exit_code, result.rows("times")) == (0, (2, 1, 1))


def test_text_that_is_not_utf_8_is_a_difference_unless_listed(pair: Pair) -> None:
    pair.change(pair.erp, "UPDATE Mixed SET note = CAST(x'ff41' AS TEXT) WHERE id = 2")
    assert pair.compare().differences == [("mixed", "value", "2, Ewa", "note")]
    pair.withhold(2, "ewa")
    assert pair.compare().exit_code == 0


def test_a_dataset_that_the_copy_lacks_is_a_difference(pair: Pair) -> None:
    pair.change(pair.copy, "DROP VIEW mixed")
    result = pair.compare()
    assert (result.exit_code, result.differences) == (1, [("mixed", "structure", "", "")])


@pytest.mark.parametrize("spoil", [lambda p: p.copy.unlink(), lambda p: p.copy.write_bytes(b"no database" * 400)])
def test_what_cannot_be_read_is_no_verdict(pair: Pair, spoil: Callable[[Pair], object]) -> None:
    spoil(pair)
    result = pair.compare()
    assert result.exit_code == 2
    assert "copy.db" in result.errors


def test_the_table_is_aligned_and_names_what_differs(pair: Pair) -> None:
    pair.change(pair.copy, "UPDATE d_mixed_g1 SET note = 'b' WHERE id = 1")
    words = command(pair.erp, pair.copy, [MIXED], pair.folder)
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False, timeout=60)
    table, _, explained = done.stdout.partition("\n\n")
    assert {len(line) for line in table.splitlines()} == {len(table.splitlines()[0])}
    assert table.splitlines()[2].split() == ["mixed", "3", "3", "0", "NO"]
    assert explained == "mixed: key (1, Ada) column note: value: the values differ\n"
