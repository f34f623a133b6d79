"""pure: what the facts about a server, a database and its tables mean for the agent, each with the statement that mends it.

States and numbers: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-databases-transact-sql
and https://learn.microsoft.com/sql/relational-databases/track-changes/enable-and-disable-change-tracking-sql-server
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from string import ascii_letters
from typing import NamedTuple

from cdc.errors import REGISTRY
from cdc.model import Dataset, Finding, Severity
from cdc.source_settings import SnapshotUse, SqlServerSource
from cdc.sources.sqlserver.builds import AZURE, NAMES, OLDEST, Build, defects, is_supported, parse
from cdc.sources.sqlserver.collations import Comparison, comparison
from cdc.sources.sqlserver.quoting import SCHEMA, BadName, name, qualified, table_name
from cdc.sources.sqlserver.statements import enable_table
from transport.settings import format_duration

DAY = 86_400.0
OUTAGE = 2 * DAY  # seconds: shorter than that, and a weekend without the agent costs a full read
UNIT_SECONDS = {1: 60.0, 2: 3_600.0, 3: DAY}  # sys.change_tracking_databases.retention_period_units
CLEAN_UP_EVERY = 30  # minutes, by the server's own clock
SNAPSHOT_ON, TO_OFF, TO_ON = 1, 2, 3  # sys.databases.snapshot_isolation_state
FORCED = 2  # sys.databases.delayed_durability
LOWEST_LEVEL = 110  # compatibility level: below it the server lacks functions that its own release has


class ServerFacts(NamedTuple):
    """What runs there."""

    version: str  # ProductVersion
    edition: int  # EngineEdition


class DatabaseFacts(NamedTuple):
    """The database, and what of ours is in it."""

    name: str
    compatibility: int
    snapshot: int
    committed_snapshot: bool
    durability: int
    updateability: str
    user: str
    schema: bool
    installed: bool
    history: bool  # of clean-ups


class Rights(NamedTuple):
    """Permissions of the agent's user on our schema; None: it is not there."""

    select: bool | None
    insert: bool | None
    update: bool | None
    delete: bool | None
    history: bool | None


class TrackingFacts(NamedTuple):
    """How the database tracks changes."""

    period: int
    units: int
    clean_up: bool

    @property
    def seconds(self) -> float:
        """For how long changes are kept."""
        return self.period * UNIT_SECONDS.get(self.units, DAY)


class TableFacts(NamedTuple):
    """One dataset's table."""

    kind: str  # sys.objects.type
    schema: str
    table: str
    has_key: bool
    may_read: bool
    may_ask: bool
    tracked: bool

    @property
    def quoted(self) -> str:
        """`[schema].[table]`."""
        return qualified((self.schema, self.table))


class CleanUps(NamedTuple):
    """What the server noted about its clean-ups of change records."""

    minutes: int | None  # since the last one began; None: there was none
    failures: int  # in a day


def found(code: str, severity: Severity, where: str, message: str, statement: str = "", remedy: str = "") -> Finding:
    """A finding; the remedy is the registry's, unless a better one is known here."""
    words = "" if severity is Severity.OK else remedy or REGISTRY[code].remedy
    return Finding(code, severity, where, message, words, statement)


# -- the connection --------------------------------------------------------------------------------------------------------


def judge_settings(settings: SqlServerSource, where: str, *, exposed: bool) -> Iterator[Finding]:
    """`exposed`: everybody on this machine may read the password's file."""
    if not settings.encrypt:
        yield found(
            "A2323", Severity.WARNING, where, "encrypt is false: rows and changes travel readable for everybody on the way"
        )
    elif settings.trust_server_certificate:
        message = "trust_server_certificate is true: the connection is encrypted, but nobody knows to whom"
        yield found("A2324", Severity.WARNING, where, message)
    else:
        yield found("A2245", Severity.OK, where, "the connection is encrypted and the server's certificate verified")
    if exposed and settings.password is not None:
        path = settings.password.file
        yield found("A2325", Severity.WARNING, where, f"every user of this machine may read {path}", f"chmod 640 {path}")


# -- the server ------------------------------------------------------------------------------------------------------------


def judge_server(facts: ServerFacts, where: str) -> Iterator[Finding]:
    """Release, support and known defects."""
    build = parse(facts.version)
    if facts.edition in AZURE:
        message = f"this is {AZURE[facts.edition]}: the agent is tested with SQL Server only"
        yield found("A2326", Severity.WARNING, where, message)
    elif build is None:
        yield found("A2326", Severity.WARNING, where, f"the server says that its version is {facts.version[:40]!r}")
    elif not is_supported(build):
        message = f"{build.release} ({build}) is older than the oldest that is supported, SQL Server {NAMES[OLDEST]}"
        yield found("A2326", Severity.ERROR, where, message)
    else:
        yield from _supported(build, where)


def _supported(build: Build, where: str) -> Iterator[Finding]:
    yield found("A2326", Severity.OK, where, f"{build.release} ({build})")
    for defect in defects(build):
        doubt = "" if defect.certain else "; no list of fixes up to this build names it"
        message = f"{defect.kb}: {defect.what}; mended in {defect.update}{doubt}"
        yield found("A2327", Severity.WARNING, where, message, remedy=f"{REGISTRY['A2327'].remedy} {defect.link}")


# -- the database ----------------------------------------------------------------------------------------------------------


def judge_database(facts: DatabaseFacts, use: SnapshotUse, where: str) -> Iterator[Finding]:
    """Whether it can be written, shows snapshots, keeps its promises and speaks a language we know."""
    if facts.updateability != "READ_WRITE":
        message = (
            f"Updateability is {facts.updateability or 'not known'}: a secondary replica, a standby or a read-only database"
        )
        yield found("A2253", Severity.ERROR, where, message)
    yield _snapshot(facts, use, where)
    if facts.durability == FORCED:
        message = "DELAYED_DURABILITY is FORCED: a crash of the server can take back changes that are in the copy already"
        statement = f"ALTER DATABASE {name(facts.name)} SET DELAYED_DURABILITY = DISABLED;"
        yield found("A2334", Severity.WARNING, where, message, statement)
    if facts.compatibility < LOWEST_LEVEL:
        message = f"its compatibility level is {facts.compatibility}; the agent is tested from {LOWEST_LEVEL} on"
        yield found("A2335", Severity.WARNING, where, message)


def _snapshot(facts: DatabaseFacts, use: SnapshotUse, where: str) -> Finding:
    if facts.snapshot == SNAPSHOT_ON:
        return found("A2252", Severity.OK, where, "snapshot isolation is allowed")
    if facts.snapshot == TO_ON:
        message = "snapshot isolation is being allowed: the server waits for transactions that were open before"
        return found("A2333", Severity.WARNING, where, message)
    message = "snapshot isolation is being switched off" if facts.snapshot == TO_OFF else "snapshot isolation is not allowed"
    if facts.committed_snapshot:
        message += "; READ_COMMITTED_SNAPSHOT, which is on, is another thing: it shows each statement another moment"
    severity = Severity.ERROR
    if use is SnapshotUse.AUTO:
        severity = Severity.WARNING
        message += (
            '; with snapshot = "auto" the agent runs degraded: no change is lost, rows of one window can be of two moments'
        )
    statement = f"ALTER DATABASE {name(facts.name)} SET ALLOW_SNAPSHOT_ISOLATION ON;"
    return found("A2252", severity, where, message, statement)


# -- change tracking -------------------------------------------------------------------------------------------------------


def judge_tracking(
    facts: TrackingFacts | None, database: str, where: str, *, retention: float, pause: float
) -> Iterator[Finding]:
    """`retention`: what to ask for; `pause`: the longest time the schedule leaves between two looks; both in seconds."""
    wanted = period(max(retention, pause))
    if facts is None:
        statement = (
            f"ALTER DATABASE {name(database)} SET CHANGE_TRACKING = ON (CHANGE_RETENTION = {wanted}, AUTO_CLEANUP = ON);"
        )
        yield found("A2329", Severity.ERROR, where, "change tracking is off for the database", statement)
        return
    yield _retention(facts, database, where, wanted, pause)
    if not facts.clean_up:
        message = "clean-up of change records is off: they grow without end, and asking for changes becomes slower"
        statement = f"ALTER DATABASE {name(database)} SET CHANGE_TRACKING (AUTO_CLEANUP = ON);"
        yield found("A2332", Severity.WARNING, where, message, statement)


def _retention(facts: TrackingFacts, database: str, where: str, wanted: str, pause: float) -> Finding:
    kept = period(facts.seconds).lower()
    statement = f"ALTER DATABASE {name(database)} SET CHANGE_TRACKING (CHANGE_RETENTION = {wanted});"
    if facts.seconds <= pause:
        message = f"changes are kept for {kept}, and the schedule can leave {format_duration(pause)} between two looks"
        return found("A2331", Severity.ERROR, where, message, statement)
    if facts.seconds < OUTAGE:
        message = f"changes are kept for {kept} only: an outage that is longer costs a full read"
        return found("A2331", Severity.WARNING, where, message, statement)
    return found("A2329", Severity.OK, where, f"change tracking is on, changes are kept for {kept}")


def period(seconds: float) -> str:
    """As T-SQL writes a retention: whole days, hours or minutes, never less than asked for."""
    minutes = max(1, math.ceil(seconds / 60))
    for size, unit in ((1440, "DAYS"), (60, "HOURS")):
        if minutes % size == 0:
            return f"{minutes // size} {unit}"
    return f"{minutes} MINUTES"


def judge_clean_ups(facts: CleanUps, where: str) -> Iterator[Finding]:
    """Whether the server forgets what it may forget."""
    if facts.minutes is not None and facts.minutes > DAY / 60:
        message = f"the last clean-up of change records began {facts.minutes // 60} hours ago, not {CLEAN_UP_EVERY} minutes"
        remedy = "Look for its errors (22122, 22123) in the server's log; only a restart or a failover starts a dead clean-up."
        yield found("A2336", Severity.WARNING, where, message, remedy=remedy)
    elif facts.failures:
        message = f"clean-up of change records failed {facts.failures} times in a day, mostly for a lock (errors 22122, 22123)"
        statement = "SELECT * FROM [dbo].[MSchange_tracking_history] ORDER BY [start_time] DESC;"
        yield found("A2336", Severity.WARNING, where, message, statement)


# -- our own structures ----------------------------------------------------------------------------------------------------


def judge_own(facts: DatabaseFacts, rights: Rights, where: str) -> Iterator[Finding]:
    """Whether they are there, and the agent may use them."""
    if not facts.installed:
        message = f"the product's own tables in the schema {SCHEMA} are not there, or the agent's user may not see them"
        yield found("A2205", Severity.ERROR, where, message, "cdc install")
        return
    needed = {"SELECT": rights.select, "INSERT": rights.insert, "UPDATE": rights.update, "DELETE": rights.delete}
    missing = [right for right, there in needed.items() if not there]
    if missing:
        statement = f"GRANT {', '.join(missing)} ON SCHEMA::{name(SCHEMA)} TO {name(facts.user)};"
        message = f"the agent's user lacks {' and '.join(missing)} on the schema {SCHEMA}"
        yield found("A2254", Severity.ERROR, where, message, statement)
    else:
        yield found("A2205", Severity.OK, where, f"the product's own tables are there, in the schema {SCHEMA}")


# -- tables ----------------------------------------------------------------------------------------------------------------


def place(dataset: Dataset) -> str:
    """How findings name a dataset."""
    return f"dataset {dataset.name}, table {dataset.table}"


def judge_table(dataset: Dataset, facts: TableFacts | None, user: str) -> Iterator[Finding]:
    """What keeps the dataset from being captured, as far as permissions and tracking go."""
    where = place(dataset)
    if facts is None:
        message = "there is no such table, or the agent's user has no permission for it and so cannot see it"
        yield found("A2221", Severity.ERROR, where, message, _grants(dataset, user))
        return
    if facts.kind.strip() != "U":
        yield found("A2222", Severity.ERROR, where, "it is a view or something else: only tables can be tracked")
        return
    yield from _permissions(facts, where, user)
    if not facts.has_key:
        message = "the table has no primary key, which change tracking needs"
        yield found("A2223", Severity.ERROR, where, message)
    elif not facts.tracked:
        statement = enable_table((facts.schema, facts.table))
        yield found("A2330", Severity.ERROR, where, "changes of the table are not tracked", statement)


def judge_keys(dataset: Dataset, keys: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """`keys`: the primary key's columns that are text, each with its collation."""
    for column, collation in keys:
        if withheld := _not_repeated(comparison(collation)):
            message = f"the key column {column} has the collation {collation}: rows whose key has {withheld} are withheld"
            yield found("A2273", Severity.WARNING, place(dataset), message)


def _not_repeated(how: Comparison) -> str:
    """What the server may hold equal to something else, in words; "" when everything usual is sure."""
    if how.repertoire is None or "é" in how.repertoire:
        return ""
    letters = [letter for letter in ascii_letters if letter not in how.repertoire]
    if len(letters) == len(ascii_letters):
        return "letters"
    parts = ["accents", *(["one of the letters " + ", ".join(letters)] if letters else [])]
    return " or ".join([*parts, *(["one of the pairs " + ", ".join(how.pairs)] if how.pairs else [])])


def _permissions(facts: TableFacts, where: str, user: str) -> Iterator[Finding]:
    missing = [right for right, has in (("SELECT", facts.may_read), ("VIEW CHANGE TRACKING", facts.may_ask)) if not has]
    if missing:
        statement = f"GRANT {', '.join(missing)} ON OBJECT::{facts.quoted} TO {name(user)};"
        yield found("A2254", Severity.ERROR, where, f"the agent's user lacks {' and '.join(missing)} on the table", statement)


def _grants(dataset: Dataset, user: str) -> str:
    """For a table that may be there after all."""
    try:
        return f"GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::{qualified(table_name(dataset.table))} TO {name(user)};"
    except BadName:
        return ""
