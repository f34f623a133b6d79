"""A database that a DBA has prepared for the agent, with a login that may do exactly what the page for administrators says."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from cdc.model import Dataset, Finding, Severity
from cdc.source_settings import Secret, SqlServerSource
from cdc.sources.sqlserver.doctor import inspect
from tests.support.sqlserver import PREFIX, Server
from transport.machine import system_runtime

VARIABLE = "CDC_TEST_SQLSERVER_AGENT"  # where the product finds the password of the agent's login
TABLES = (
    "CREATE SCHEMA [HR]",
    "CREATE TABLE [HR].[Employee] ([Id] int NOT NULL PRIMARY KEY, [Name] nvarchar(50) NULL)",
    "CREATE TABLE [HR].[Sick Leave] ([Employee] int NOT NULL, [Day] date NOT NULL, PRIMARY KEY ([Employee], [Day]))",
)
DATASETS = (
    Dataset(name="employee", table="HR.Employee", channel="main"),
    Dataset(name="sick_leave", table="HR.Sick Leave", channel="main"),
)


class Prepared:
    """The database as its owner, and as the agent."""

    def __init__(self, server: Server, database: str, user: str) -> None:
        self.server = server
        self.database = database
        self.user = user

    def execute(self, *statements: str) -> None:
        """As the owner."""
        with self.server.connected(self.database) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """As the owner."""
        with self.server.connected(self.database) as connection:
            return [tuple(row) for row in connection.execute(sql).fetchall()]

    def settings(self, **changes: Any) -> SqlServerSource:
        """As the agent's login."""
        database = changes.pop("database", self.database)
        return self.server.settings(database, **{"user": self.user, "password": Secret(env=VARIABLE), **changes})

    async def findings(
        self, datasets: Sequence[Dataset] = DATASETS, *, pause: float = 60.0, everything: bool = False, **changes: Any
    ) -> list[Finding]:
        """What the doctor finds wrong, as the agent's login; `everything`: also what is the server's own."""
        found = await inspect(self.settings(**changes), system_runtime(), datasets, pause=pause)
        hidden = set() if everything else self._of_server()
        return [finding for finding in found if finding.severity is not Severity.OK and finding.code not in hidden]

    def _of_server(self) -> set[str]:
        """A real server of the tests may have a certificate of its own making, and a build with defects."""
        trusting = self.server.options.get("TrustServerCertificate", "no").lower() in {"yes", "true"}
        return {"A2327", *(["A2324"] if trusting else [])}


@contextlib.contextmanager
def agents_login(server: Server) -> Iterator[str]:
    """A login that may do nothing yet, for the time of a test; its password is in the environment (`VARIABLE`)."""
    name, password = PREFIX + secrets.token_hex(6), "Aa1-" + secrets.token_hex(12)
    with server.connected() as connection:
        connection.execute(f"CREATE LOGIN [{name}] WITH PASSWORD = N'{password}', CHECK_POLICY = OFF")
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = password
    try:
        yield name
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
        with server.connected() as connection:
            connection.execute(f"DROP LOGIN [{name}]")


@contextlib.contextmanager
def prepared(server: Server, database: str) -> Iterator[Prepared]:
    """Tables, a user with no rights: what an ERP is before anything of ours."""
    with agents_login(server) as user:
        made = Prepared(server, database, user)
        made.execute(*TABLES, f"CREATE USER [{user}] FOR LOGIN [{user}]")
        try:
            yield made
        finally:
            made.execute(f"DROP USER [{user}]")
