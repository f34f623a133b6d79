"""adapter: triggers of a DML statement: the temporary tables `inserted` and `deleted`, and the order of firing.

https://learn.microsoft.com/sql/t-sql/statements/create-trigger-transact-sql
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from tests.standin.engine import types
from tests.standin.engine.model import ColumnInfo, Interpreter, State, TableInfo, TriggerInfo
from tests.standin.ports import Event, Refused


def of_event(state: State, table: TableInfo, verb: str, timing: str) -> list[TriggerInfo]:
    """The enabled triggers that the statement fires; a trigger does not fire itself directly (RECURSIVE_TRIGGERS OFF)."""
    own = state.firing[-1] if state.firing else 0
    return [
        t
        for t in table.triggers
        if not t.disabled and t.object_id != own and t.statement.timing == timing and verb in t.statement.events
    ]


def require_quiet_cascades(state: State, table: TableInfo, verb: str) -> None:
    """Raises Refused where a cascade may reach a table with triggers: PostgreSQL would not fire them."""
    for child in state.catalogue.tables.values():
        for key in child.foreign_keys:
            action = key.on_delete if verb == "DELETE" else key.on_update
            if key.referenced != table.object_id or action == "NO ACTION" or verb == "INSERT":
                continue
            fired = "DELETE" if verb == "DELETE" and action == "CASCADE" else "UPDATE"
            if of_event(state, child, fired, "AFTER"):
                raise Refused(f"a cascade that fires triggers of {child.name}")


def stored(table: TableInfo) -> list[ColumnInfo]:
    """The columns of `inserted` and `deleted` that hold values."""
    return [c for c in table.columns if c.computed is None]


async def row_set(state: State, table: TableInfo) -> TableInfo:
    """An empty temporary table with the table's columns."""
    number = state.database.engine.next_temporary()
    columns = ", ".join(f"{c.stored} {types.pg_base(c.type)}" for c in stored(table))
    await state.connection.execute(f"CREATE TEMP TABLE t{number} ({columns})")
    plain = tuple(replace(c, identity=None, default=None) for c in table.columns)
    return replace(
        table,
        object_id=number,
        kind="U",
        columns=plain,
        indexes=(),
        foreign_keys=(),
        checks=(),
        triggers=(),
        tracked=False,
        temporary=True,
    )


@contextlib.asynccontextmanager
async def row_sets(state: State, table: TableInfo) -> AsyncIterator[tuple[TableInfo, TableInfo]]:
    """`inserted` and `deleted`, dropped at the end unless the transaction is broken (then its rollback does)."""
    inserted, deleted = await row_set(state, table), await row_set(state, table)
    yield inserted, deleted
    await state.connection.execute(f"DROP TABLE IF EXISTS {inserted.stored}, {deleted.stored}")


async def fire(
    state: State, triggers: Sequence[TriggerInfo], sets: tuple[TableInfo, TableInfo], interpreter: Interpreter
) -> AsyncIterator[Event]:
    """Runs the bodies one after the other. Raises what they raise."""
    before = state.firing
    try:
        for trigger in triggers:
            state.firing = (*before, trigger.object_id)
            async for event in interpreter.run_trigger(trigger, *sets):
                yield event
    finally:
        state.firing = before
