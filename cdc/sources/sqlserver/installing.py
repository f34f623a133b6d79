"""adapter: our structures in an ERP database: made, upgraded, removed; and what a person allows beyond them.

Everything of ours is in a schema of its own. Each layout has a script, which brings the one before it up to date.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc.errors import AgentError, CompanyStopped, DatasetPaused
from cdc.model import Dataset, Position
from cdc.sources.sqlserver import statements
from cdc.sources.sqlserver.catalogue import Catalogue
from cdc.sources.sqlserver.connection import Connection
from cdc.sources.sqlserver.facts import Seen, missing, tracked
from cdc.sources.sqlserver.parameters import bigint, binary, integer, varbinary
from cdc.sources.sqlserver.plans import Plan, paused
from cdc.sources.sqlserver.quoting import SCHEMA, qualified
from cdc.sources.sqlserver.statements import batches, static

LAYOUT = 1  # the newest `layout_<n>.sql`
SNAPSHOT_ON, SNAPSHOT_STARTING = 1, 3  # sys.databases.snapshot_isolation_state
_UNIT = {"MINUTES": 60, "HOURS": 3_600, "DAYS": 86_400}


async def layout(connection: Connection, where: str) -> int:
    """Of the structures that are there; 0: none. Raises CompanyStopped A2209 if a newer version of the product made them."""
    (row,) = await connection.execute(static("installed"))
    if row[1] is None:
        return 0
    rows = await connection.execute(static("layout"))
    found = int(rows[0][0]) if rows and rows[0][0] is not None else 0
    if found > LAYOUT:
        message = f"its structures have layout {found}, this version knows up to {LAYOUT}"
        raise CompanyStopped("A2209", message, where=where)
    return found


async def install(connection: Connection, where: str) -> list[str]:
    """Creates what is missing and upgrades what is old, each layout in a transaction of its own. In words what was done."""
    done: list[str] = []
    there = await layout(connection, where)
    for number in range(there + 1, LAYOUT + 1):
        await connection.execute("BEGIN TRANSACTION;")
        for batch in batches(f"layout_{number}"):
            await connection.execute(batch)
        await connection.execute("COMMIT TRANSACTION;")
        what = "upgraded the tables" if there else "created the tables"
        done.append(f"{what} of the schema {SCHEMA} (layout {number})")
    return done


async def uninstall(connection: Connection) -> list[str]:
    """Removes all tables of our schema, then the schema. In words what was done."""
    (row,) = await connection.execute(static("installed"))
    if row[0] is None:
        return []
    done: list[str] = []
    await connection.execute("BEGIN TRANSACTION;")
    for (table,) in await connection.execute(static("own_tables")):
        await connection.execute(statements.drop_table(str(table)))
        done.append(f"removed table {SCHEMA}.{table}")
    await connection.execute(static("drop_schema"))
    await connection.execute("COMMIT TRANSACTION;")
    return [*done, f"removed the schema {SCHEMA}"]


async def witness(connection: Connection, position: Position, keep_from: int, seen: Seen, where: str) -> bool:
    """Appends a line to the log. False: the database is no longer the one that was read."""
    parameters = (
        binary(position.incarnation, 16),
        bigint(position.version),
        binary(position.nonce, 16),
        bigint(min(keep_from, position.version)),
        bigint(seen.seq),
        binary(seen.nonce, 16),
    )
    try:
        rows = await connection.execute(static("witness"), parameters)
    except AgentError as error:
        raise missing(error, where) from error
    return bool(rows[0][0])


async def clean_witness(connection: Connection, retention: float) -> None:
    """Removes lines of other incarnations that are older than `retention` seconds."""
    await connection.execute(static("clean_witness"), (integer(round(retention)),))


async def new_incarnation(connection: Connection, incarnation: bytes) -> None:
    """Marks this history as another one."""
    await connection.execute(static("new_incarnation"), (varbinary(incarnation, 64),))


# -- what is tracked -----------------------------------------------------------------------------------------------------------


async def untracked(connection: Connection, catalogue: Catalogue, datasets: Sequence[Dataset]) -> list[DatasetPaused]:
    """What keeps each dataset from being captured, if anything does."""
    found = await tracked(connection)
    result: list[DatasetPaused] = []
    for dataset, plan in zip(datasets, await catalogue.describe(connection, datasets), strict=True):
        if isinstance(plan, DatasetPaused):
            result.append(plan)
            continue
        line = found.get(plan.table.object_id)
        if line is None:
            statement = statements.enable_table(plan.table.parts)
            result.append(paused("A2330", f"change tracking is off for the table; {statement}", dataset))
        elif line.min_valid is None:
            statement = f"GRANT VIEW CHANGE TRACKING ON OBJECT::{qualified(plan.table.parts)} TO the agent's user"
            result.append(paused("A2254", f"the permission to see its changes is missing; {statement}", dataset))
    return result


# -- what a person allows ------------------------------------------------------------------------------------------------------


async def allow_snapshot(connection: Connection) -> list[str]:
    """Snapshot isolation for the database."""
    (row,) = await connection.execute(static("database"))
    if row[0] in (SNAPSHOT_ON, SNAPSHOT_STARTING):
        return []
    await connection.execute(statements.ALLOW_SNAPSHOT)
    return ["allowed snapshot isolation"]


async def enable_tracking(
    connection: Connection, catalogue: Catalogue, datasets: Sequence[Dataset], wanted: float
) -> list[str]:
    """Change tracking for the database, kept for `wanted` seconds at least, and for the datasets' tables."""
    done = await _enable_database(connection, wanted)
    there = await tracked(connection)
    plans = await catalogue.describe(connection, datasets)
    for parts, object_id in dict.fromkeys((p.table.parts, p.table.object_id) for p in plans if isinstance(p, Plan)):
        if object_id not in there:
            await connection.execute(statements.enable_table(parts))
            done.append(f"turned on change tracking for the table {'.'.join(parts)}")
    return done + [f"not tracked: {plan}" for plan in plans if isinstance(plan, DatasetPaused)]


async def retention(connection: Connection) -> float | None:
    """Seconds for which the database keeps changes; None: it does not track them."""
    rows = await connection.execute(static("tracking_of_database"))
    return float(rows[0][0] * _UNIT.get(str(rows[0][1]).upper(), 86_400)) if rows else None


async def _enable_database(connection: Connection, wanted: float) -> list[str]:
    kept = await retention(connection)
    words = f"kept for {statements.retention(wanted).lower()}"
    if kept is None:
        await connection.execute(statements.enable_database(wanted))
        return [f"turned on change tracking for the database, {words}"]
    if kept >= wanted:
        return []
    await connection.execute(statements.change_retention(wanted))
    return [f"changes are {words}"]


def layouts() -> list[str]:
    """The batches that make all of our structures, as a script for a DBA has them."""
    return [batch for number in range(1, LAYOUT + 1) for batch in batches(f"layout_{number}")]
