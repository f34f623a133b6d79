"""adapter: what `cdc doctor` looks at in a SQL Server database; what it means stands in `preflight`.

It changes nothing and needs no more rights than the agent has: what those do not let it see, it says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from cdc.errors import AgentError
from cdc.model import Dataset, Description, Finding, Severity
from cdc.secret import is_exposed
from cdc.source_settings import Login, SqlServerSource
from cdc.sources.sqlserver import driver
from cdc.sources.sqlserver.connection import Connection, Row, odbc, where
from cdc.sources.sqlserver.parameters import nvarchar
from cdc.sources.sqlserver.preflight import (
    CleanUps,
    DatabaseFacts,
    Rights,
    ServerFacts,
    TableFacts,
    TrackingFacts,
    found,
    judge_clean_ups,
    judge_database,
    judge_keys,
    judge_own,
    judge_server,
    judge_settings,
    judge_table,
    judge_tracking,
    place,
)
from cdc.sources.sqlserver.quoting import BadName, name, qualified, table_name
from cdc.sources.sqlserver.statements import static
from transport.runtime import Runtime

LONGEST_NAME = 517  # characters of [schema].[table] with every bracket doubled
RETENTION = 3 * 86_400.0  # seconds to ask for, where nobody says otherwise
Describe = Callable[[Sequence[Dataset]], Awaitable[list[Description]]]


async def inspect(
    settings: SqlServerSource,
    runtime: Runtime,
    datasets: Sequence[Dataset],
    *,
    retention: float = RETENTION,
    pause: float = 0.0,
    describe: Describe | None = None,
) -> list[Finding]:
    """Everything that can be named; raises nothing of it.

    `retention`: seconds that changes should be kept; `pause`: the longest time that the schedule leaves between two looks;
    `describe`: tells which datasets cannot be carried, asked once the database is in order.
    """
    doctor = _Doctor(settings, runtime, retention, pause)
    findings: list[Finding] = []
    try:
        async for finding in doctor.look(datasets):
            findings.append(finding)  # noqa: PERF401  # what was found before an error is kept
        if describe is not None and not any(finding.severity is Severity.ERROR for finding in findings):
            findings += [_indescribable(d, datasets) for d in await describe(datasets) if d.schema is None]
    except AgentError as error:
        findings.append(_of_error(error, settings))
    return findings


def _of_error(error: AgentError, settings: SqlServerSource) -> Finding:
    statement = ""
    if error.code == "A2247" and settings.login is Login.SQL:  # the login is good, but nobody in that database
        statement = f"USE {name(settings.database)};\nCREATE USER {name(settings.user)} FOR LOGIN {name(settings.user)};"
    return Finding(error.code, Severity.ERROR, error.where, error.message, error.remedy, statement)


def _indescribable(description: Description, datasets: Sequence[Dataset]) -> Finding:
    where = next((place(d) for d in datasets if d.name == description.dataset), f"dataset {description.dataset}")
    return found(description.code, Severity.ERROR, where, description.problem)


class _Doctor:
    """Asks in the order in which things can be wrong."""

    def __init__(self, settings: SqlServerSource, runtime: Runtime, retention: float, pause: float) -> None:
        self._settings = settings
        self._runtime = runtime
        self._retention = retention
        self._pause = pause
        self._where = where(settings)

    async def look(self, datasets: Sequence[Dataset]) -> AsyncIterator[Finding]:
        """Raises AgentError where nothing further can be seen."""
        yield await self._driver()
        connection = await Connection.open(self._settings, self._runtime, "sqlserver-doctor")
        try:
            exposed = self._settings.password is not None and is_exposed(self._settings.password)
            for finding in judge_settings(self._settings, self._where, exposed=exposed):
                yield finding
            async for finding in self._inside(connection, datasets):
                yield finding
        finally:
            await connection.close()

    async def _driver(self) -> Finding:
        loaded = odbc()
        executor = self._runtime.executor("sqlserver-drivers")
        try:
            registered: list[str] = await executor.run(loaded.pyodbc.drivers)
        finally:
            executor.close()
        chosen = driver.choose(self._settings.driver, registered, self._where)
        return found("A2241", Severity.OK, self._where, f"the driver is {chosen}")

    async def _inside(self, connection: Connection, datasets: Sequence[Dataset]) -> AsyncIterator[Finding]:
        (server,) = await connection.execute(static("doctor_server"))
        for finding in judge_server(ServerFacts(str(server[0] or ""), int(server[1] or 0)), self._where):
            yield finding
        database = _database(*await connection.execute(static("doctor_database")))
        for finding in judge_database(database, self._settings.snapshot, self._where):
            yield finding
        for finding in await self._tracking(connection, database):
            yield finding
        for dataset in datasets:
            for finding in await self._table(connection, dataset, database.user):
                yield finding

    async def _tracking(self, connection: Connection, database: DatabaseFacts) -> list[Finding]:
        rows = await connection.execute(static("doctor_tracking"))
        facts = TrackingFacts(int(rows[0][0]), int(rows[0][1]), bool(rows[0][2])) if rows else None
        findings = [*judge_tracking(facts, database.name, self._where, retention=self._retention, pause=self._pause)]
        rights = Rights(
            *(None if cell is None else bool(cell) for cell in (await connection.execute(static("doctor_rights")))[0])
        )
        if facts is not None and facts.clean_up and database.history and rights.history:
            findings += judge_clean_ups(_clean_ups(*await connection.execute(static("doctor_history"))), self._where)
        return [*findings, *judge_own(database, rights, self._where)]

    async def _table(self, connection: Connection, dataset: Dataset, user: str) -> list[Finding]:
        try:
            wanted = qualified(table_name(dataset.table))
        except BadName as problem:
            return [found("A2221", Severity.ERROR, place(dataset), str(problem))]
        parameters = (nvarchar(wanted, LONGEST_NAME),)
        rows = await connection.execute(static("doctor_table"), parameters, table=True)
        findings = list(judge_table(dataset, _table(rows[0]) if rows else None, user))
        keys = await connection.execute(static("doctor_keys"), parameters, table=True)
        findings += judge_keys(dataset, [(str(row[0]), str(row[1])) for row in keys])
        return findings or [found("A2330", Severity.OK, place(dataset), f"tracked since version {rows[0][6]}")]


def _database(row: Row) -> DatabaseFacts:
    return DatabaseFacts(
        name=str(row[0]),
        compatibility=int(row[1]),
        snapshot=int(row[2]),
        committed_snapshot=bool(row[3]),
        durability=int(row[4] or 0),
        updateability=str(row[5] or ""),
        user=str(row[6]),
        schema=row[7] is not None,
        installed=row[8] is not None,
        history=row[9] is not None,
    )


def _table(row: Row) -> TableFacts:
    return TableFacts(
        kind=str(row[0]),
        schema=str(row[1]),
        table=str(row[2]),
        has_key=bool(row[3]),
        may_read=bool(row[4]),
        may_ask=bool(row[5]),
        tracked=row[6] is not None,
    )


def _clean_ups(row: Row) -> CleanUps:
    return CleanUps(None if row[0] is None else int(row[0]), int(row[1] or 0))
