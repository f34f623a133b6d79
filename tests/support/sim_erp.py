"""An ERP file that people work in at random, and every state it was in, by version."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from cdc.model import Dataset, Position

Rows: TypeAlias = frozenset[tuple[Any, ...]]
States: TypeAlias = dict[str, list[tuple[int, Rows]]]  # by dataset: what was there, by the version it was committed with

PERSON = "person(id INTEGER PRIMARY KEY, name TEXT NOT NULL, level INTEGER, code TEXT UNIQUE)"
LINE = "line(doc INT NOT NULL, pos INT NOT NULL, amount TEXT_DECIMAL(19,4), note TEXT, PRIMARY KEY(doc, pos)) WITHOUT ROWID"
PHOTO = "photo(id TEXT PRIMARY KEY NOT NULL, kind INTEGER NOT NULL, body BLOB)"
TABLES = {"person": PERSON, "line": LINE, "photo": PHOTO}
DATASETS = (
    Dataset(name="people", table="person", channel="hr"),
    Dataset(name="lines", table="line", channel="hr"),
    Dataset(name="photos", table="photo", channel="binary", filter="kind < 3"),
)
QUERIES = {
    "people": "SELECT id, name, level, code FROM person",
    "lines": "SELECT doc, pos, amount, note FROM line",
    "photos": "SELECT id, kind, body FROM photo WHERE kind < 3",
}
KEYS = {"people": 1, "lines": 2, "photos": 1}  # leading columns
BAD = "bad \udcff"  # as Python shows a text that is not UTF-8
WORDS = ("Łukasz", "Zofia", "Żaneta", "Jan", "", "o'Hara", "日本", "x" * 60)


def connect(path: Path) -> sqlite3.Connection:
    """Text that is not UTF-8 can be read, too."""
    db = sqlite3.connect(path, isolation_level=None, timeout=1)
    db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return db


class SimErp:
    """One writer's connection. `states` has each dataset's rows by the version they were committed with.

    While a table's triggers are gone its writes move no version: then several states belong to one. A file that is put back to
    an earlier copy begins another history; the nonces in our log tell of which one a position is.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = Random(seed)
        self.histories: list[States] = [{name: [] for name in QUERIES}]
        self._history_of: dict[bytes, States] = {}
        self.connect()
        self.db.execute("PRAGMA journal_mode = WAL")
        for table in TABLES.values():
            self.db.execute(f"CREATE TABLE {table}")

    def connect(self) -> None:
        self.db = connect(self.path)
        self.db.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        self.db.close()

    # -- what was --------------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        return int(self.db.execute("SELECT max(seq) FROM _cdc_log").fetchone()[0] or 0)

    def rows(self, dataset: str) -> Rows:
        return frozenset(self.db.execute(QUERIES[dataset]))

    def note(self) -> None:
        """To be called after every commit, and when our own structures raised the version."""
        version = self.version
        for dataset, states in self.histories[-1].items():
            now = self.rows(dataset)
            if not states or states[-1] != (version, now):
                states.append((version, now))

    def witnessed(self) -> None:
        """A window has left its mark: it is of the history of now."""
        nonce = self.db.execute("SELECT nonce FROM _cdc_witness ORDER BY seq DESC LIMIT 1").fetchone()[0]
        self._history_of[nonce] = self.histories[-1]

    def knows(self, position: Position) -> bool:
        """Whether the file itself has the mark of a position, and nothing came after it."""
        found = self.db.execute("SELECT 1 FROM _cdc_witness WHERE nonce = ?", (position.nonce,)).fetchone()
        return found is not None and position.version == self.version

    def settled(self, dataset: str) -> bool:
        """Whether its rows now are those of its version: nothing was written without triggers, or it was seen since."""
        states = self.histories[-1][dataset]
        return [rows for v, rows in states if v == states[-1][0]] == [states[-1][1]] and self.version >= states[-1][0]

    def at(self, dataset: str, position: Position) -> list[Rows]:
        """What the dataset may have been there: one state, unless it was written to without triggers."""
        states = self._history_of[position.nonce][dataset]
        last = max((v for v, _ in states if v <= position.version), default=-1)
        return [rows for v, rows in states if v == last]

    def went_back(self) -> None:
        """The file was put back to an earlier copy of it."""
        version = self.version
        self.histories.append({d: [s for s in states if s[0] < version] for d, states in self.histories[-1].items()})
        self.note()

    # -- what people do --------------------------------------------------------------------------------------------------

    def commit(self, work: Callable[[sqlite3.Connection], object]) -> int:
        """One transaction; returns the version afterwards."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            work(self.db)
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
        self.note()
        return self.version

    def work(self, most: int = 6) -> int:
        """A random transaction."""
        count = self.random.randint(1, most)
        return self.commit(lambda _: [self.random.choice(self._acts)(self) for _ in range(count)])

    def bulk(self, rows: int) -> int:
        """A large one."""
        doc = self.random.randint(1, 30)
        kind = self.random.choice(("line", "photo"))
        if kind == "line":
            return self.commit(lambda _: [self._line(doc, pos) for pos in range(rows)])
        return self.commit(lambda _: [self._photo(f"bulk {pos}", 2_000) for pos in range(rows)])

    def rebuild(self, table: str, *, saved: bool) -> None:
        """SQLite's own recipe for changing a table. `saved`: its triggers are made again from their text."""
        triggers = self.db.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (table,)).fetchall()

        def work(db: sqlite3.Connection) -> None:
            db.execute(f"CREATE TABLE new_{TABLES[table]}")
            db.execute(f"INSERT INTO new_{table} SELECT * FROM {table}")
            db.execute(f"DROP TABLE {table}")
            db.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
            for (sql,) in triggers if saved else ():
                db.execute(sql)

        self.commit(work)

    def empty(self, table: str) -> None:
        """Drops the table and creates it anew, in one transaction."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(f"DROP TABLE {table}")
            db.execute(f"CREATE TABLE {TABLES[table]}")

        self.commit(work)

    # -- one statement ---------------------------------------------------------------------------------------------------

    def _insert_person(self) -> None:
        r = self.random
        code = f"c{r.randint(0, 25)}" if r.random() < 0.7 else None
        self.db.execute(
            "INSERT OR REPLACE INTO person VALUES (?, ?, ?, ?)", (r.randint(1, 60), r.choice(WORDS), r.randint(0, 9), code)
        )

    def _bad_person(self) -> None:
        """A row that cannot be carried."""
        sql = "INSERT OR REPLACE INTO person(id, name) VALUES (?, CAST(x'62616420ff' AS TEXT))"
        self.db.execute(sql, (self.random.randint(1, 60),))

    def _update_people(self) -> None:
        self.db.execute(
            "UPDATE person SET level = ?, name = ? WHERE id % 7 = ?",
            (self.random.randint(0, 9), self.random.choice(WORDS), self.random.randint(0, 6)),
        )

    def _move_person(self) -> None:
        self.db.execute(
            "UPDATE OR REPLACE person SET id = ? WHERE id = ?", (self.random.randint(1, 60), self.random.randint(1, 60))
        )

    def _delete_people(self) -> None:
        self.db.execute("DELETE FROM person WHERE id % 11 = ?", (self.random.randint(0, 10),))

    def _line(self, doc: int, pos: int) -> None:
        amount = f"{self.random.randint(-99999, 99999)}.{self.random.randint(0, 9999):04d}"
        self.db.execute("INSERT OR REPLACE INTO line VALUES (?, ?, ?, ?)", (doc, pos, amount, self.random.choice(WORDS)))

    def _some_lines(self) -> None:
        doc = self.random.randint(1, 10)
        for pos in range(self.random.randint(1, 4)):
            self._line(doc, pos)

    def _delete_lines(self) -> None:
        self.db.execute("DELETE FROM line WHERE doc = ?", (self.random.randint(1, 30),))

    def _photo(self, key: str, size: int) -> None:
        row = (key, self.random.randint(0, 4), self.random.randbytes(self.random.randint(0, size)))
        self.db.execute("INSERT OR REPLACE INTO photo VALUES (?, ?, ?)", row)

    def _some_photo(self) -> None:
        self._photo(f"photo {self.random.randint(0, 12)}", 600)

    def _move_photos(self) -> None:
        """Into the dataset's scope and out of it."""
        self.db.execute("UPDATE photo SET kind = (kind + 1) % 5 WHERE length(id) % 3 = ?", (self.random.randint(0, 2),))

    def _delete_photos(self) -> None:
        self.db.execute("DELETE FROM photo WHERE kind = ?", (self.random.randint(0, 4),))

    _acts = (
        _bad_person,
        _insert_person,
        _insert_person,
        _insert_person,
        _update_people,
        _move_person,
        _delete_people,
        _some_lines,
        _some_lines,
        _delete_lines,
        _some_photo,
        _some_photo,
        _move_photos,
        _delete_photos,
    )
