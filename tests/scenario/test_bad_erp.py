"""What an ERP file may be instead of a sound database, and what its rows may hold: told apart, shown, over once mended."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cdc.control import Client, SyncRequest
from cdc.model import Dataset
from tests.support.comparing import assert_equal
from tests.support.product import Product, eventually, product
from tests.support.trouble import equal

PEOPLE = [Dataset(name="people", table="person", channel="hr")]


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


# -- the file --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("erp")
    execute(
        folder / "erp.db",
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "INSERT INTO person VALUES (1, 'Zofia Wójcik')",
    )
    with product(folder, folder / "erp.db", PEOPLE) as made:
        made.start_agent()
        made.wait_until_caught_up()
        yield made


def files(erp: Path) -> list[Path]:
    return [erp.with_name(erp.name + suffix) for suffix in ("-wal", "-shm", "")]


class Away:
    """The ERP's files in a place where the agent does not find them."""

    def __init__(self, made: Product) -> None:
        self._made = made
        self._place = made.folder / "away"

    def __enter__(self) -> Path:
        with closing(sqlite3.connect(self._made.erp)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._place.mkdir()
        for file in files(self._made.erp):
            if file.exists():
                shutil.move(file, self._place)
        return self._made.erp

    def __exit__(self, *_: object) -> None:
        for file in files(self._made.erp):
            file.unlink(missing_ok=True)
        for file in self._place.iterdir():
            shutil.move(file, self._made.erp.parent)
        self._place.rmdir()


def shown(made: Product, code: str) -> str:
    def look() -> str:
        return next((p["message"] for p in made.company_health()["problems"] if p["code"] == code), "")

    return str(eventually(f"{code} in health", look))


def doctor(made: Product) -> tuple[int, str]:
    done = made.agent.call("doctor", "acme", check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def goes_on(made: Product, name: str) -> None:
    """Whoever mended it says so; then a row on its way, and no complaint is left."""
    Client(made.state).sync(SyncRequest("acme"))
    execute(made.erp, f"INSERT INTO person(name) VALUES ('{name}')")
    equal(made)
    eventually("health is clean", lambda: not made.problems())


def replaced_by_text(erp: Path) -> None:
    erp.write_text("This is no database. " * 400)


def replaced_by_another_mode(erp: Path) -> None:
    execute(erp, "PRAGMA journal_mode = DELETE", "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)")


def replaced_by_a_folder(erp: Path) -> None:
    erp.mkdir()


def replaced_by_nothing(_: Path) -> None:
    pass


def replaced_by_an_empty_one(erp: Path) -> None:
    execute(erp, "PRAGMA journal_mode = WAL", "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)")


@pytest.mark.parametrize(
    ("replaced", "code"),
    [
        (replaced_by_nothing, "A2202"),
        (replaced_by_a_folder, "A2202"),
        (replaced_by_text, "A2203"),
        (replaced_by_another_mode, "A2204"),
        (replaced_by_an_empty_one, "A2205"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_apart_by_code_in_health_and_by_the_doctor(
    made: Product, replaced: Any, code: str
) -> None:
    with Away(made) as erp:
        replaced(erp)
        assert shown(made, code)
        status, findings = doctor(made)
        assert (status, f"ERROR   {code}" in findings) == (1, True), findings
        assert made.agent.running
        if erp.is_dir():
            erp.rmdir()
    goes_on(made, code)
    assert doctor(made)[0] == 0


def test_a_damaged_file_is_said(made: Product) -> None:
    with Away(made) as erp:
        broken = (made.folder / "away" / erp.name).read_bytes()
        erp.write_bytes(broken[:100] + bytes(400) + b"\xff" * 500 + broken[1000:])
        shown(made, "A2206")
        assert "A2206" in doctor(made)[1]
    goes_on(made, "A2206")


def test_a_file_held_alone_by_another_program_is_said_and_over_by_itself(made: Product) -> None:
    """Only possible while the agent is not connected: in WAL mode each connection keeps others from having the file alone."""
    made.agent.stop()
    with closing(sqlite3.connect(made.erp, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("INSERT INTO person(name) VALUES ('behind the lock')")
        made.start_agent()
        assert shown(made, "A2201")
        status, findings = doctor(made)
        assert (status, "ERROR   A2201" in findings) == (1, True), findings
    equal(made)
    eventually("health is clean", lambda: not made.problems())


def test_a_long_write_transaction_is_said_and_over_by_itself(made: Product) -> None:
    """It blocks no reading; only the mark that each window leaves in the ERP has to wait."""
    execute(made.erp, "INSERT INTO person(name) VALUES ('before')")
    with closing(sqlite3.connect(made.erp, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO person(name) VALUES ('long')")
        assert shown(made, "A2201")
        db.execute("COMMIT")
    equal(made)
    eventually("health is clean", lambda: not made.problems())


# -- rows ------------------------------------------------------------------------------------------------------------------

ODDITIES = [
    Dataset(name="oddities", table="oddity", channel="hr"),
    Dataset(name="codes", table="code", channel="hr"),
]
COLUMNS = (
    "id INTEGER PRIMARY KEY, note TEXT, amount DECIMAL(9,2), exact TEXT_DECIMAL(19,4), day DATE, n INT, flag BIT, data BLOB"
)
BAD = {
    1: ("note", "CAST(x'610062' AS TEXT)", "A2305"),
    2: ("note", "CAST(x'eda080' AS TEXT)", "A2304"),
    3: ("note", "CAST(x'61ff62' AS TEXT)", "A2303"),
    4: ("n", "'many'", "A2302"),
    5: ("note", "x'00'", "A2302"),
    6: ("data", "zeroblob(40 * 1024 * 1024)", "A2308"),
    7: ("day", "'1.2.2026'", "A2306"),
    8: ("day", "'2026-02-30'", "A2306"),
    9: ("amount", "12345678.9", "A2307"),
    10: ("amount", "0.001", "A2307"),
    11: ("exact", "'1.00001'", "A2307"),
    12: ("exact", "'9e99'", "A2307"),
    13: ("flag", "2", "A2306"),
    14: ("data", "'text'", "A2302"),
}
BAD_KEYS = {"NULL": "A2301", "x'00'": "A2302", "CAST(x'ff' AS TEXT)": "A2303", "CAST(x'6100' AS TEXT)": "A2305"}
GOOD = 500


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Half of the bad rows are there before the first full read."""
    folder = tmp_path_factory.mktemp("odd")
    execute(
        folder / "erp.db",
        "PRAGMA journal_mode = WAL",
        f"CREATE TABLE oddity({COLUMNS})",
        "CREATE TABLE code(code TEXT COLLATE NOCASE PRIMARY KEY, name TEXT)",
        f"WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < {99 + GOOD}) "
        "INSERT INTO oddity(id, note) SELECT i, 'well ' || i FROM n",
        "INSERT INTO code VALUES ('pl', 'Polska'), ('de', 'Niemcy')",
        *(bad_row(n) for n in BAD if n % 2),
        "INSERT INTO code VALUES (NULL, 'nowhere'), (x'00', 'blob')",
    )
    with product(folder, folder / "erp.db", ODDITIES) as made:
        made.start_agent()
        made.wait_until_caught_up()
        yield made


def bad_row(n: int) -> str:
    column, value, _ = BAD[n]
    return f"INSERT INTO oddity(id, {column}) VALUES ({n}, {value})"


def withheld(made: Product, token: str, dataset: str) -> list[tuple[str, str]]:
    """(code, column) of each row that the cloud lists."""
    listed = made.cloud_get(f"/api/v1/withheld?dataset={dataset}&limit=100", token)["withheld"]
    return sorted((row["code"], row["column"]) for row in listed)


def counted(made: Product) -> int:
    return int(made.company_health()["channels"][0]["withheld_rows"])


def test_each_bad_row_is_withheld_with_its_reason_and_comes_by_itself_once_mended(odd: Product) -> None:
    token = odd.token()
    expected = sorted((code, column) for n, (column, _, code) in BAD.items() if n % 2)
    assert withheld(odd, token, "oddities") == expected
    assert withheld(odd, token, "codes") == [("A2301", "code"), ("A2302", "code")]

    execute(odd.erp, *(bad_row(n) for n in BAD if not n % 2))
    execute(odd.erp, "INSERT INTO code VALUES (CAST(x'ff' AS TEXT), 'half'), (CAST(x'6100' AS TEXT), 'nul')")
    execute(odd.erp, "INSERT INTO oddity(id, note) VALUES (700, 'comes with them')")
    equal(odd)
    assert withheld(odd, token, "oddities") == sorted((code, column) for column, _, code in BAD.values())
    assert withheld(odd, token, "codes") == sorted((code, "code") for code in BAD_KEYS.values())
    eventually("health counts them", lambda: counted(odd) == len(BAD) + len(BAD_KEYS))
    assert "A2506" in odd.problems()
    assert in_the_copy(odd) == GOOD + 1

    execute(odd.erp, *(f"UPDATE oddity SET {column} = NULL WHERE id = {n}" for n, (column, _, _) in BAD.items()))
    execute(odd.erp, "DELETE FROM code WHERE code IS NULL", "UPDATE code SET code = name WHERE name IN ('blob', 'half', 'nul')")
    equal(odd)
    assert (withheld(odd, token, "oddities"), withheld(odd, token, "codes")) == ([], [])
    eventually("health counts none", lambda: counted(odd) == 0 and "A2506" not in odd.problems())
    assert in_the_copy(odd) == GOOD + 1 + len(BAD)


def test_the_last_good_version_of_a_row_stays_and_says_that_it_is_old(odd: Product) -> None:
    execute(odd.erp, "UPDATE oddity SET note = CAST(x'ff' AS TEXT) WHERE id = 100")
    equal(odd)
    rows = odd.cloud_get("/api/v1/datasets/oddities/rows?limit=1000", odd.token())["rows"]
    (row,) = [row for row in rows if row["values"]["id"] in (100, "100")]
    assert (row["values"]["note"], row["withheld"]) == ("well 100", "A2303")
    execute(odd.erp, "UPDATE oddity SET note = 'well again' WHERE id = 100")
    equal(odd)
    rows = odd.cloud_get("/api/v1/datasets/oddities/rows?limit=1000", odd.token())["rows"]
    assert [row["withheld"] for row in rows if row["values"]["note"] == "well again"] == [""]


def test_bad_rows_are_told_again_by_a_full_read(odd: Product) -> None:
    token = odd.token()
    execute(odd.erp, "INSERT INTO code VALUES (NULL, 'again')", "UPDATE oddity SET n = 'many' WHERE id = 101")
    equal(odd)
    before = withheld(odd, token, "codes"), withheld(odd, token, "oddities")
    assert ("A2301", "code") in before[0]
    assert ("A2302", "n") in before[1]
    odd.agent.call("sync", "acme", "--full")
    equal(odd)
    assert (withheld(odd, token, "codes"), withheld(odd, token, "oddities")) == before
    execute(odd.erp, "DELETE FROM code WHERE name = 'again'", "UPDATE oddity SET n = 1 WHERE id = 101")
    equal(odd)


def in_the_copy(made: Product) -> int:
    assert_equal(made.erp, made.copy, made.datasets, made.folder)
    with closing(sqlite3.connect(f"file:{made.copy}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM oddities").fetchone()[0])
