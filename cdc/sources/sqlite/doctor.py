"""adapter: what `cdc doctor` finds wrong with an ERP file, and how to mend it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from cdc.errors import AgentError, DatasetPaused
from cdc.model import Dataset, Finding, Severity
from cdc.sources.sqlite.catalogue import is_installed, log_state, registry
from cdc.sources.sqlite.connection import connect, translate
from cdc.sources.sqlite.facts import tracked_as
from cdc.sources.sqlite.installing import Installer
from cdc.sources.sqlite.tracking import LOG

MANY_RECORDS = 5_000_000  # in the change log: clean-up does not run, or the retention is very long
_STATEMENTS = {"A2204": "PRAGMA journal_mode = WAL;"}
_INSTALL = "cdc install"


def inspect(path: Path, busy_timeout: float, datasets: Sequence[Dataset]) -> list[Finding]:
    """Everything that can be named; raises nothing of it."""
    where = str(path)
    try:
        connection = connect(path, busy_timeout=busy_timeout, query_only=True)
    except AgentError as error:
        return [_finding(error)]
    try:
        return list(_inspect(connection, where, datasets))
    except AgentError as error:
        return [_finding(error)]
    except sqlite3.Error as error:
        return [_finding(translate(error, where))]
    finally:
        connection.close()


def _finding(error: AgentError) -> Finding:
    return Finding(error.code, Severity.ERROR, error.where, error.message, error.remedy, _STATEMENTS.get(error.code, ""))


def _inspect(connection: sqlite3.Connection, where: str, datasets: Sequence[Dataset]) -> Iterator[Finding]:
    yield Finding("A2204", Severity.OK, where, "the file is an SQLite database in WAL mode")
    own = Installer(connection, where)
    own.check_layout()
    installed = is_installed(connection)
    if not installed:
        yield Finding(
            "A2205", Severity.ERROR, where, "the product's own tables are not there yet", f"Run `{_INSTALL}`.", _INSTALL
        )
    else:
        yield from _log(connection, where)
    yield from _encoding(connection, where)
    for dataset in datasets:
        yield _dataset(connection, own, dataset, installed=installed)


def _log(connection: sqlite3.Connection, where: str) -> Iterator[Finding]:
    if not log_state(connection).whole:
        message = "change records were removed by somebody; what they told is lost"
        yield Finding("A2214", Severity.ERROR, where, message, "The datasets are read anew by themselves once the agent runs.")
    first, last = connection.execute(f"SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM {LOG}").fetchone()
    if last - first > MANY_RECORDS:
        message = f"the change log has {last - first} records"
        yield Finding(
            "A2234", Severity.WARNING, where, message, "Let the agent run, so that it cleans up, or shorten the retention."
        )


def _encoding(connection: sqlite3.Connection, where: str) -> Iterator[Finding]:
    encoding = connection.execute("PRAGMA encoding").fetchone()[0]
    if encoding != "UTF-8":
        message = f"texts are kept as {encoding}; damaged ones in it cannot be recognised"
        yield Finding("A2235", Severity.WARNING, where, message, "Make the database anew with PRAGMA encoding = 'UTF-8'.")


def _dataset(connection: sqlite3.Connection, own: Installer, dataset: Dataset, *, installed: bool) -> Finding:
    made = own.plans.attempt(dataset)
    if isinstance(made, DatasetPaused):
        return _finding(made)
    where = f"dataset {dataset.name}, table {dataset.table}"
    found = tracked_as(own.plans, registry(connection), dataset) if installed else None
    if found is None:
        return Finding("A2232", Severity.ERROR, where, "its changes are not tracked yet", f"Run `{_INSTALL}`.", _INSTALL)
    if not own.catalogue.intact(*found):
        message = "the table was rebuilt, or what tracking depends on was changed: changes since then are not recorded"
        return Finding("A2231", Severity.ERROR, where, message, "The agent mends it and reads the dataset anew by itself.")
    return Finding("A2232", Severity.OK, where, f"tracked since version {found[0].begin_version}")
