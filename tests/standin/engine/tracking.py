"""adapter: change tracking: versions in the order of commits, net changes, contexts, column masks, clean-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.standin.engine.model import ColumnInfo, State, TableInfo
from tests.standin.ports import ResultColumn


@dataclass(frozen=True, slots=True)
class Relation:
    """What may stand in FROM: `sql` is a parenthesised SELECT whose columns are named k1, k2 ..., in the order of `columns`."""

    columns: Sequence[ResultColumn]
    sql: str


async def before_commit(state: State) -> int | None:
    """Gives the open transaction its version, when it changed a tracked table."""
    raise NotImplementedError


async def prepare(state: State, table: TableInfo, assigned: Sequence[ColumnInfo] | None) -> None:
    """To be awaited before each INSERT, UPDATE, DELETE on a tracked table; `assigned`: the columns of an UPDATE's SET.

    Carries `state.context` to the triggers that note the changes.
    """
    raise NotImplementedError


def changes(table: TableInfo, since: str) -> Relation:
    """CHANGETABLE(CHANGES table, since): SYS_CHANGE_VERSION, _CREATION_VERSION, _OPERATION, _COLUMNS, _CONTEXT, then the key.

    `since`: an expression of PostgreSQL of type int8 ($1::int8); NULL: all that is tracked.
    """
    raise NotImplementedError


def version_of(table: TableInfo, values: Sequence[str]) -> Relation:
    """CHANGETABLE(VERSION table, (k), (values)): the key's columns, SYS_CHANGE_VERSION, SYS_CHANGE_CONTEXT.

    `values`: expressions of PostgreSQL in the key's order, already of the columns' stored types; they may refer to tables
    before it in FROM (LATERAL).
    """
    raise NotImplementedError


def current_version(state: State) -> str:
    """CHANGE_TRACKING_CURRENT_VERSION() as an expression of PostgreSQL (int8)."""
    raise NotImplementedError


def min_valid_version(state: State, object_id: str) -> str:
    """CHANGE_TRACKING_MIN_VALID_VERSION(object_id) as an expression of PostgreSQL (int8), from one of type int4."""
    raise NotImplementedError


def column_in_mask(column_id: str, mask: str) -> str:
    """CHANGE_TRACKING_IS_COLUMN_IN_MASK(column_id, mask) as an expression of PostgreSQL (boolean)."""
    return f"standin.column_in_mask({column_id}, {mask})"
