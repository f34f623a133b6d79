"""adapter: our structures in an ERP file: made, upgraded, repaired, cleaned, removed. Each step is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cdc.errors import CompanyStopped, DatasetPaused, Transient
from cdc.model import Dataset, Position
from cdc.sources.sqlite.catalogue import (
    Catalogue,
    Tracked,
    find_tracked,
    is_installed,
    log_state,
    log_width,
    meta,
    own_triggers,
    registry,
    set_meta,
    version,
)
from cdc.sources.sqlite.facts import last_witness, lost, tracked_as
from cdc.sources.sqlite.plans import Plans
from cdc.sources.sqlite.quoting import is_own, name
from cdc.sources.sqlite.structure import Key, TableInfo
from cdc.sources.sqlite.tracking import ANCHOR, CLOCK, LAYOUT, LOG, STRUCTURES, TABLES, WITNESS, seal, triggers, widen

CLEAN_UP_ROWS = 20_000  # records removed in one transaction: the ERP's writers wait no longer than that takes


class Wanted(NamedTuple):
    """A table to be tracked by a key, and the first dataset that wants it."""

    dataset: Dataset
    table: TableInfo
    key: Key


class Installer:
    """The write connection's view of our structures. Methods need a write transaction unless they say otherwise."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._connection = connection
        self._where = where
        self.catalogue = Catalogue(connection)
        self.plans = Plans(connection, self.catalogue)

    # -- install, uninstall, repair ------------------------------------------------------------------------------------------

    def check_layout(self) -> None:
        """Raises CompanyStopped if a newer version of the product made what is there. Needs no transaction."""
        if not is_installed(self._connection):
            return
        layout = meta(self._connection, "layout")
        if not isinstance(layout, int) or layout > LAYOUT:
            message = f"its structures have layout {layout!r}, this version knows up to {LAYOUT}"
            raise CompanyStopped("A2209", message, where=self._where)

    def install(self, datasets: Sequence[Dataset], new_id: Callable[[], bytes]) -> list[str]:
        """Tracks exactly what the datasets need. Returns what was done, in words; nothing if all was there."""
        self.check_layout()
        done: list[str] = []
        if not is_installed(self._connection):
            done.append(self._create(new_id()))
        self.catalogue.refresh()
        wanted, problems = self._wanted(datasets)
        done += [text for line in self._unwanted(wanted, datasets) for text in self._untrack(line)]
        return [*done, *self._anchor(), *self._track_all(wanted), *problems]

    def look(self, datasets: Iterable[Dataset]) -> None:
        """Reads beforehand what `install` will ask for, while nobody waits for it. Needs no transaction."""
        self.catalogue.refresh()
        lines = registry(self._connection) if is_installed(self._connection) else {}
        for dataset in datasets:
            found = tracked_as(self.plans, lines, dataset)
            if found is not None:
                self.catalogue.intact(*found)

    def repair(self, datasets: Sequence[Dataset]) -> list[str]:
        """Tracks again what has lost its tracking, and nothing else."""
        self.check_layout()
        broken = lost(self._connection, self.catalogue, self.plans, datasets)
        done = self._anchor()
        self.catalogue.refresh()
        wanted, problems = self._wanted(broken)
        return [*done, *self._track_all(wanted), *problems]

    def uninstall(self) -> list[str]:
        """Removes everything whose name begins as ours do."""
        done: list[str] = []
        for kind in ("trigger", "table"):
            rows = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = ?", (kind,)).fetchall()
            for (found,) in rows:
                if is_own(found):
                    self._connection.execute(f"DROP {kind.upper()} {name(found)}")
                    done.append(f"removed {kind} {found}")
        return done

    def _create(self, incarnation: bytes) -> str:
        for statement in STRUCTURES:
            self._connection.execute(statement)
        set_meta(self._connection, "layout", LAYOUT)
        set_meta(self._connection, "incarnation", incarnation)
        set_meta(self._connection, "next_table", 1)
        self._connection.execute(f"INSERT INTO {LOG}(seq, tbl) VALUES(1, {ANCHOR})")
        set_meta(self._connection, "floor", 1)
        return f"created the change log and {len(STRUCTURES) - 2} small tables beside it, all named _cdc_..."

    def _wanted(self, datasets: Iterable[Dataset]) -> tuple[dict[tuple[str, str], Wanted], list[str]]:
        wanted: dict[tuple[str, str], Wanted] = {}
        problems: list[str] = []
        for dataset in datasets:
            try:
                table, key = self.plans.key(dataset)
            except DatasetPaused as problem:
                problems.append(f"not tracked: {problem}")
                continue
            wanted.setdefault((table.name, key.encode()), Wanted(dataset, table, key))
        return wanted, problems

    def _unwanted(self, wanted: dict[tuple[str, str], Wanted], datasets: Iterable[Dataset]) -> list[Tracked]:
        """A table that a dataset names stays tracked while the dataset cannot be understood."""
        named = {dataset.table.lower() for dataset in datasets}
        understood = {table.lower() for table, _ in wanted}
        return [
            line
            for line in registry(self._connection).values()
            if (line.name, line.key) not in wanted and (line.name.lower() in understood or line.name.lower() not in named)
        ]

    def _track_all(self, wanted: dict[tuple[str, str], Wanted]) -> list[str]:
        return [text for one in wanted.values() if (text := self._track(one))]

    def _track(self, wanted: Wanted) -> str:
        line = find_tracked(registry(self._connection), wanted.table.name, wanted.key)
        if line is not None and self.catalogue.intact(line, wanted.key):
            return ""
        untested = self._problem_of_writes(
            wanted.table
        )  # the ERP has functions or collations of its own: not to be tested here
        self._connection.execute("SAVEPOINT _cdc_track")
        try:
            self._add(wanted, line)
            problem = "" if untested else self._problem_of_writes(wanted.table)
        except (ValueError, sqlite3.OperationalError) as error:
            problem = str(error)
        if problem:
            self._connection.execute("ROLLBACK TO _cdc_track")
        self._connection.execute("RELEASE _cdc_track")
        self.catalogue.refresh()
        table = wanted.table.name
        if problem:
            return f"not tracked: {DatasetPaused('A2233', problem, where=f'dataset {wanted.dataset.name}, table {table}')}"
        again = "again " if line is not None else ""
        return f"tracking {again}table {table} by {', '.join(wanted.key.names)}"

    def _add(self, wanted: Wanted, old: Tracked | None) -> None:
        """Another number for the table: what the log has of the old one says nothing of the new."""
        if old is not None:
            self._untrack(old)
        for statement in widen(log_width(self._connection), len(wanted.key.columns)):
            self._connection.execute(statement)
        tbl = int(meta(self._connection, "next_table") or 0)
        set_meta(self._connection, "next_table", tbl + 1)
        for trigger in (*triggers(tbl, wanted.table, wanted.key), seal(tbl)):
            self._connection.execute(trigger.sql)
        begin = self.raise_version()
        self._connection.execute(
            f"INSERT INTO {TABLES}(tbl, name, key, begin_version, min_valid, layout) VALUES(?, ?, ?, ?, ?, ?)",
            (tbl, wanted.table.name, wanted.key.encode(), begin, begin, LAYOUT),
        )

    def _untrack(self, line: Tracked) -> list[str]:
        """Its triggers may have moved to another table with ALTER TABLE RENAME; their names are ours all the same."""
        for trigger in own_triggers(self._connection):
            if trigger.startswith(f"_cdc_{line.tbl}_"):
                self._connection.execute(f"DROP TRIGGER {name(trigger)}")
        self._connection.execute(f"DELETE FROM {TABLES} WHERE tbl = ?", (line.tbl,))
        return [f"no longer tracking table {line.name}"]

    def _problem_of_writes(self, table: TableInfo) -> str:
        """Why SQLite would refuse to write to the table, found without writing: it compiles the triggers, too."""
        column = next(c.name for c in table.columns if not c.generated)
        into = name(table.name)
        for statement in (
            f"INSERT INTO {into} DEFAULT VALUES",
            f"UPDATE {into} SET {name(column)} = {name(column)}",
            f"DELETE FROM {into}",
        ):
            try:
                self._connection.execute(f"EXPLAIN {statement}").close()
            except sqlite3.OperationalError as error:
                return f"writing to the table would fail: {error}"
        return ""

    # -- versions ------------------------------------------------------------------------------------------------------------

    def raise_version(self) -> int:
        """A version above every one that ever was, also where records were removed by somebody."""
        floor = meta(self._connection, "floor")
        highest = (f"SELECT max(begin_version) FROM {TABLES}", f"SELECT max(version) FROM {WITNESS}")
        known = [self._connection.execute(sql).fetchone()[0] or 0 for sql in highest]
        now = 1 + max(version(self._connection), floor if isinstance(floor, int) else 0, *known)
        self._connection.execute(f"INSERT INTO {LOG}(seq, tbl) VALUES(?, {ANCHOR})", (now,))
        return now

    def _anchor(self) -> list[str]:
        """Somebody removed change records: nothing before now can be told any more."""
        if log_state(self._connection).whole:
            return []
        now = self.raise_version()
        self._connection.execute(f"DELETE FROM {LOG} WHERE seq < ?", (now,))
        self._connection.execute(f"UPDATE {TABLES} SET min_valid = ?", (now,))
        set_meta(self._connection, "floor", now)
        return ["began a new change log: records of the old one had been removed"]

    def new_incarnation(self, incarnation: bytes) -> None:
        """See `cdc.sources.base.Source.new_incarnation`."""
        self._anchor()
        set_meta(self._connection, "incarnation", incarnation)
        self.raise_version()

    # -- witness and clean-up ------------------------------------------------------------------------------------------------

    def witness(self, position: Position, keep_from: int, seen: tuple[int, bytes] | None, at: str) -> None:
        """Appends a line, unless the database is no longer the one that was read. Raises Transient then."""
        if not self._is_same_history(position, seen):
            raise Transient("A2213", "the database was restored between reading and the witness's line", where=self._where)
        self._connection.execute(
            f"INSERT INTO {WITNESS}(incarnation, version, nonce, at) VALUES(?, ?, ?, ?)",
            (position.incarnation, position.version, position.nonce, at),
        )
        self._connection.execute(f"DELETE FROM {WITNESS} WHERE version < ?", (min(keep_from, position.version),))

    def _is_same_history(self, position: Position, seen: tuple[int, bytes] | None) -> bool:
        if meta(self._connection, "incarnation") != position.incarnation or version(self._connection) < position.version:
            return False
        if seen is None:
            return True
        last = last_witness(self._connection)
        return last is not None and (last == seen or last[0] > seen[0])

    def note_time(self, now: str, cutoff: str) -> int:
        """Notes how far the log is now. Returns the version below which records are older than `cutoff`; 0: none is known."""
        self._connection.execute(f"INSERT OR REPLACE INTO {CLOCK}(at, version) VALUES(?, ?)", (now, version(self._connection)))
        row = self._connection.execute(f"SELECT max(version) FROM {CLOCK} WHERE at <= ?", (cutoff,)).fetchone()
        limit = int(row[0] or 0)
        self._connection.execute(f"DELETE FROM {CLOCK} WHERE version < ?", (limit,))
        return limit if log_state(self._connection).whole else 0

    def clean_up(self, limit: int) -> tuple[int, bool]:
        """Removes one portion of the records up to version `limit`; returns how many, and whether there are more.

        Valid from `limit` on is said before the first record goes. The last record removed stays as the log's beginning.
        """
        floor = meta(self._connection, "floor")
        if not isinstance(floor, int) or floor >= limit or not log_state(self._connection).whole:
            return 0, False
        upto = min(floor + CLEAN_UP_ROWS, limit)
        self._connection.execute(f"UPDATE {TABLES} SET min_valid = max(min_valid, ?)", (limit,))
        gone = self._connection.execute(f"DELETE FROM {LOG} WHERE seq <= ?", (upto,)).rowcount
        self._connection.execute(f"INSERT INTO {LOG}(seq, tbl) VALUES(?, {ANCHOR})", (upto,))
        set_meta(self._connection, "floor", upto)
        return max(0, gone - 1), upto < limit
