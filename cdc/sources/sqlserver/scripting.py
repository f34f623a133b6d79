"""pure: the script for a DBA: everything that the agent needs in the database, to be read, run, and run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cdc.errors import AgentError
from cdc.model import Dataset
from cdc.source_settings import Login, SqlServerSource
from cdc.sources.sqlserver import statements
from cdc.sources.sqlserver.quoting import SCHEMA, BadName, literal, name, qualified, table_name

ASKED = "-- Not asked for, so it only stands here: `cdc install --script {option}` puts it into force."
OWNER = "sa"  # is everybody's owner; it cannot be granted anything


class Wanted(NamedTuple):
    """What is to be turned on; `retention` in seconds."""

    tracking: bool
    retention: float
    snapshot: bool


def script(settings: SqlServerSource, datasets: Sequence[Dataset], layouts: Sequence[str], wanted: Wanted) -> str:
    """`layouts`: the batches that make our own structures. Raises AgentError A2221 for what is no name of a table."""
    tables = list(dict.fromkeys(_quoted(dataset) for dataset in datasets))
    parts = [
        *_head(settings),
        f"-- 1. The agent's own tables, in the schema {SCHEMA}. Nothing of the ERP's is changed.",
        *layouts,
        *_rights(settings, tables),
        "-- 3. Change tracking, for the database and the tables of the datasets."
        + _asked(wanted.tracking, "--enable-tracking"),
        *_commented(_tracking(settings.database, tables, wanted.retention), asked=wanted.tracking),
        "-- 4. Snapshot isolation: all tables are read as of one moment. The server waits for open transactions to end."
        + _asked(wanted.snapshot, "--enable-snapshot"),
        *_commented([_snapshot(settings.database)], asked=wanted.snapshot),
    ]
    return "\nGO\n".join(parts) + "\nGO\n"


def _head(settings: SqlServerSource) -> Iterator[str]:
    yield (
        f"-- Prepares the database {_plain(settings.database)} for the agent of erp-cdc. To be run by a member of db_owner.\n"
        "-- It may be run again: what is there already stays as it is.\n"
        f"USE {name(settings.database)};"
    )
    yield "SET ANSI_NULLS ON;\nSET QUOTED_IDENTIFIER ON;"


def _rights(settings: SqlServerSource, tables: Sequence[str]) -> Iterator[str]:
    if settings.login is Login.INTEGRATED:
        user, known = name("DOMAIN\\account"), False
        yield "-- 2. Rights of the agent's user: put the account that the agent runs as in the place of [DOMAIN\\account]."
    else:
        user, known = name(settings.user), settings.user.lower() != OWNER
        yield (
            "-- 2. Rights of the agent's user."
            if known
            else f"-- 2. Rights: {OWNER} has them all. Better give the agent a login."
        )
    principal = literal(settings.user if known else "DOMAIN\\account")
    missing = f"NOT EXISTS (SELECT 1 FROM [sys].[database_principals] WHERE [name] = {principal})"
    yield from _commented(
        [
            f"IF {missing}\nCREATE USER {user} FOR LOGIN {user};",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::{name(SCHEMA)} TO {user};",
            *(f"GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::{table} TO {user};" for table in tables),
        ],
        asked=known,
    )


def _tracking(database: str, tables: Sequence[str], retention: float) -> Iterator[str]:
    enable = statements.enable_database(retention).replace(" CURRENT ", f" {name(database)} ", 1)
    yield (
        "IF NOT EXISTS (SELECT 1 FROM [sys].[change_tracking_databases] WHERE [database_id] = DB_ID())\n"  # run in the database
        f"{enable}"
    )
    for table in tables:
        there = f"SELECT 1 FROM [sys].[change_tracking_tables] WHERE [object_id] = OBJECT_ID({literal(table)})"
        yield f"IF NOT EXISTS ({there})\nALTER TABLE {table} ENABLE CHANGE_TRACKING;"


def _snapshot(database: str) -> str:
    state = "SELECT [snapshot_isolation_state] FROM [sys].[databases] WHERE [database_id] = DB_ID()"
    return f"IF ({state}) NOT IN (1, 3)\nALTER DATABASE {name(database)} SET ALLOW_SNAPSHOT_ISOLATION ON;"


def _asked(asked: bool, option: str) -> str:
    return "" if asked else "\n" + ASKED.format(option=option)


def _commented(texts: Iterator[str] | Sequence[str], *, asked: bool) -> list[str]:
    return [text if asked else "\n".join(f"-- {line}" for line in text.splitlines()) for text in texts]


def _plain(text: str) -> str:
    """For a comment, which ends with its line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _quoted(dataset: Dataset) -> str:
    try:
        return qualified(table_name(dataset.table))
    except BadName as problem:
        raise AgentError("A2221", str(problem), where=f"dataset {dataset.name}, table {dataset.table}") from None
