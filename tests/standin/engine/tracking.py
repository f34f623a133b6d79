"""adapter: change tracking: versions in the order of commits, net changes, contexts, column masks, clean-up.

https://learn.microsoft.com/sql/relational-databases/system-functions/changetable-transact-sql
What the documentation leaves open is decided in tests/standin/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.standin.engine import keys, types
from tests.standin.engine.model import ColumnInfo, State, TableInfo
from tests.standin.ports import ResultColumn, SqlError, SqlType

BIGINT = SqlType("bigint")
OPERATION = SqlType("nchar", 1, collation="Latin1_General_BIN")
COLUMNS = SqlType("varbinary", 4100)
CONTEXT = SqlType("varbinary", 128)
NET_OPERATION = (
    "CASE WHEN (array_agg(s.op ORDER BY s.seq DESC))[1] = 'D' THEN 'D' "
    "WHEN (array_agg(s.op ORDER BY s.seq DESC))[count(*)] = 'I' THEN 'I' ELSE 'U' END"
)
XID = "pg_current_xact_id()::text::bigint"


@dataclass(frozen=True, slots=True)
class Relation:
    """What may stand in FROM: `sql` is a parenthesised SELECT whose columns are named k1, k2 ..., in the order of `columns`."""

    columns: Sequence[ResultColumn]
    sql: str


async def before_commit(state: State) -> int | None:
    """Gives the open transaction its version, when it changed a tracked table."""
    if not state.database.options.tracking.on:
        return None
    version: int | None = await state.connection.fetchval("SELECT standin.before_commit($1)", state.database.engine.now())
    return version


async def prepare(state: State, table: TableInfo, assigned: Sequence[ColumnInfo] | None) -> None:
    """To be awaited before each INSERT, UPDATE, DELETE on a tracked table; `assigned`: the columns of an UPDATE's SET.

    Carries `state.context` to the triggers that note the changes.
    """
    if table.tracked:
        await state.connection.execute(
            "SELECT standin.prepare($1, $2, $3)", table.object_id, state.context, _assigned(table, assigned)
        )


def _assigned(table: TableInfo, assigned: Sequence[ColumnInfo] | None) -> str:
    """Column ids in the order of SET, then the rowversion's; "all": any column, also of the key."""
    if not assigned:
        return "all"
    stamped = [c.column_id for c in table.columns if c.type.name in {"timestamp", "rowversion"}]
    ids = list(dict.fromkeys([c.column_id for c in assigned] + stamped))
    key = {c.column_id for c in table.key}
    if key & set(ids) or set(ids) >= {c.column_id for c in _rest(table)}:
        return "all"
    return ",".join(map(str, ids))


def _rest(table: TableInfo) -> list[ColumnInfo]:
    """Columns outside the key that hold values."""
    key = {c.column_id for c in table.key}
    return [c for c in table.columns if c.column_id not in key and c.computed is None]


# -- what queries ask --------------------------------------------------------------------------------------------------------


def require_tracked(table: TableInfo, name: str) -> None:
    """Raises SqlError 22105, 22107."""
    if table.kind != "U" or table.temporary:
        raise SqlError(
            22107,
            f"Object '{name}' is of a data type that is not supported by the CHANGETABLE function. "
            "The object must be a user-defined table.",
        )
    if not table.tracked:
        raise SqlError(22105, f"Change tracking is not enabled on table '{table.name}'.")


def changes(table: TableInfo, since: str) -> Relation:
    """CHANGETABLE(CHANGES table, since): SYS_CHANGE_VERSION, _CREATION_VERSION, _OPERATION, _COLUMNS, _CONTEXT, then the key.

    `since`: an expression of PostgreSQL of type int8 ($1::int8); NULL: all that is tracked.
    """
    require_tracked(table, table.name)
    columns = [
        ResultColumn("SYS_CHANGE_VERSION", BIGINT),
        ResultColumn("SYS_CHANGE_CREATION_VERSION", BIGINT),
        ResultColumn("SYS_CHANGE_OPERATION", OPERATION),
        ResultColumn("SYS_CHANGE_COLUMNS", COLUMNS),
        ResultColumn("SYS_CHANGE_CONTEXT", CONTEXT),
        *(ResultColumn(c.name, c.type, nullable=False) for c in table.key),
    ]
    values = [
        "max(c.commit_ts)",
        "max(c.commit_ts) FILTER (WHERE s.op = 'I')",
        NET_OPERATION,
        "CASE WHEN bool_and(s.columns IS NOT NULL) THEN standin.mask(standin.joined(s.columns ORDER BY s.seq)) END"
        if table.columns_updated
        else "NULL::bytea",
        "(array_agg(s.context ORDER BY s.seq DESC))[1]",
        *(f"(array_agg(s.k{c.column_id} ORDER BY s.seq DESC))[1]" for c in table.key),
    ]
    return Relation(
        columns,
        f"(SELECT {_named(values)} FROM track.t{table.object_id} s JOIN standin.commits c USING (xdes_id) "
        f"WHERE c.commit_ts > coalesce({since}, -1) GROUP BY {', '.join(keys.folded(table.key, 's.', 'k'))})",
    )


def version_of(table: TableInfo, values: Sequence[str]) -> Relation:
    """CHANGETABLE(VERSION table, (k), (values)): the key's columns, SYS_CHANGE_VERSION, SYS_CHANGE_CONTEXT.

    `values`: expressions of PostgreSQL in the key's order, already of the columns' stored types; they may refer to tables
    before it in FROM (LATERAL). No row where the table has none; NULLs for a row unchanged or changed but not committed.
    """
    require_tracked(table, table.name)
    names = [f"v{place}" for place in range(len(values))]
    asked = ", ".join(f"({value}) AS {name}" for value, name in zip(values, names, strict=True))
    stored = [f"t.{c.stored}" for c in table.key]
    side = [f"s.k{c.column_id}" for c in table.key]
    last = (
        f"SELECT c.commit_ts, s.context FROM track.t{table.object_id} s LEFT JOIN standin.commits c USING (xdes_id) "
        f"WHERE {keys.equal(table.key, side, stored)} ORDER BY s.seq DESC LIMIT 1"
    )
    shown = [*stored, "l.commit_ts", "CASE WHEN l.commit_ts IS NOT NULL THEN l.context END"]
    return Relation(
        [
            *(ResultColumn(c.name, c.type, nullable=False) for c in table.key),
            ResultColumn("SYS_CHANGE_VERSION", BIGINT),
            ResultColumn("SYS_CHANGE_CONTEXT", CONTEXT),
        ],
        f"(SELECT {_named(shown)} FROM (SELECT {asked}) q JOIN {table.stored} t "
        f"ON {keys.equal(table.key, stored, [f'q.{name}' for name in names])} LEFT JOIN LATERAL ({last}) l ON true)",
    )


def _named(values: Sequence[str]) -> str:
    return ", ".join(f"{value} AS k{place}" for place, value in enumerate(values, 1))


def primary_only(state: State) -> None:
    """Raises SqlError 22117 on a secondary replica."""
    if state.database.options.secondary:
        raise SqlError(
            22117,
            "For databases that are members of a secondary availability replica, change tracking is not supported. "
            "Run change tracking queries on the databases in the primary availability replica.",
        )


def current_version(state: State) -> str:
    """CHANGE_TRACKING_CURRENT_VERSION() as an expression of PostgreSQL (int8). Raises SqlError 22117."""
    primary_only(state)
    if not state.database.options.tracking.on:
        return "NULL::int8"
    if state.database.engine.emulated.versions == "live":
        return f"{state.database.newest}::int8"
    return "standin.current_version()"


def min_valid_version(state: State, object_id: str) -> str:
    """CHANGE_TRACKING_MIN_VALID_VERSION(object_id) as an expression of PostgreSQL (int8), from one of type int4.

    NULL without VIEW CHANGE TRACKING on the table, as the documentation says. Raises SqlError 22117.
    """
    from tests.standin.engine import permissions

    primary_only(state)
    tables = (t for t in state.catalogue.tables.values() if t.tracked)
    seen = [str(t.object_id) for t in tables if permissions.may(state, "VIEW CHANGE TRACKING", t)]
    listed = ", ".join(seen) or "NULL"
    return f"(SELECT min_valid_version FROM standin.tracked WHERE object_id = ({object_id})::int4 AND object_id IN ({listed}))"


def column_in_mask(column_id: str, mask: str) -> str:
    """CHANGE_TRACKING_IS_COLUMN_IN_MASK(column_id, mask) as an expression of PostgreSQL (boolean)."""
    return f"standin.column_in_mask({column_id}, {mask})"


# -- what ALTER TABLE does ---------------------------------------------------------------------------------------------------


async def enable(state: State, table: TableInfo) -> None:
    """Side table, triggers, and versions that begin now; `table` says already that it is tracked."""
    number = table.object_id
    stored = ", ".join(f"k{c.column_id} {types.pg_type(c.type)}" for c in table.key)
    await state.connection.execute(
        f"CREATE TABLE track.t{number} (seq bigint GENERATED ALWAYS AS IDENTITY, xdes_id bigint NOT NULL, op text NOT NULL, "
        f"columns int[], context bytea, {stored});"
        f"CREATE INDEX ON track.t{number} (xdes_id);"
        f"CREATE INDEX ON track.t{number} ({', '.join(f'({k})' for k in keys.folded(table.key, stored='k'))}, seq);"
        f"INSERT INTO standin.tracked SELECT {number}, v, v FROM standin.current_version() AS v"
    )
    await renew(state, table)


async def disable(state: State, table: TableInfo) -> None:
    """Forgets everything about the table."""
    number = table.object_id
    await state.connection.execute(
        f"DROP TABLE track.t{number}; DELETE FROM standin.tracked WHERE object_id = {number};"
        + "".join(f"DROP FUNCTION track.{event}{number}() CASCADE;" for event in "iud")
    )


async def truncated(state: State, table: TableInfo) -> None:
    """TRUNCATE: as if tracking had just been enabled. No version is drawn."""
    await state.connection.execute(
        f"TRUNCATE track.t{table.object_id}; UPDATE standin.tracked SET begin_version = v, min_valid_version = v "
        f"FROM standin.current_version() AS v WHERE object_id = {table.object_id}"
    )


async def renew(state: State, table: TableInfo) -> None:
    """The triggers for the table's columns as they are now."""
    number, into = table.object_id, _into(table)
    rows = ", ".join(f"r.{c.stored}" for c in table.key)
    bodies = {
        "i": f"BEGIN {into} SELECT {XID}, 'I', NULL, standin.context({number}), {rows} FROM inserted r; {NOTED}",
        "d": f"BEGIN {into} SELECT {XID}, 'D', NULL, standin.context({number}), {rows} FROM deleted r; {NOTED}",
        "u": _updated(table),
    }
    tables = {
        "i": ("INSERT", "NEW TABLE AS inserted"),
        "d": ("DELETE", "OLD TABLE AS deleted"),
        "u": ("UPDATE", "OLD TABLE AS deleted NEW TABLE AS inserted"),
    }
    await state.connection.execute(
        "".join(
            f"CREATE OR REPLACE FUNCTION track.{event}{number}() RETURNS trigger LANGUAGE plpgsql AS $_$ {body} $_$;"
            f"CREATE OR REPLACE TRIGGER track_{event} AFTER {tables[event][0]} ON {table.stored} REFERENCING "
            f"{tables[event][1]} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION track.{event}{number}();"
            for event, body in bodies.items()
        )
    )


NOTED = "IF FOUND THEN PERFORM set_config('standin.noted', '1', true); END IF; RETURN NULL; END"


def _into(table: TableInfo) -> str:
    columns = ", ".join(f"k{c.column_id}" for c in table.key)
    return f"INSERT INTO track.t{table.object_id} (xdes_id, op, columns, context, {columns})"


def _updated(table: TableInfo) -> str:
    """Of UPDATE: all deletes of keys that are gone, then all inserts of new ones; a key in both is an update."""
    into, context = _into(table), f"standin.context({table.object_id})"
    new = ", ".join(f"n.{c.stored}" for c in table.key)
    old = ", ".join(f"o.{c.stored}" for c in table.key)
    same = keys.equal(table.key, [f"n.{c.stored}" for c in table.key], [f"o.{c.stored}" for c in table.key])
    mask = "string_to_array(assigned, ',')::int[]" if table.columns_updated else "NULL::int[]"
    return (
        f"DECLARE assigned text := standin.assigned({table.object_id}); BEGIN "
        f"IF assigned ~ '^[0-9]' THEN {into} SELECT {XID}, 'U', {mask}, {context}, {new} FROM inserted n; ELSE "
        f"{into} SELECT {XID}, op, columns, {context}, {', '.join(f'k{c.column_id}' for c in table.key)} FROM ("
        f"SELECT 1 AS part, 'D' AS op, NULL::int[] AS columns, {_as_keys(table, old)} FROM deleted o "
        f"WHERE NOT EXISTS (SELECT FROM inserted n WHERE {same}) "
        f"UNION ALL SELECT 2, 'I', NULL::int[], {new} FROM inserted n WHERE NOT EXISTS (SELECT FROM deleted o WHERE {same}) "
        f"UNION ALL SELECT 3, 'U', {_difference(table)}, {new} FROM inserted n JOIN deleted o ON {same}) x ORDER BY part; "
        f"END IF; {NOTED}"
    )


def _as_keys(table: TableInfo, old: str) -> str:
    pairs = zip(table.key, old.split(", "), strict=True)
    return ", ".join(f"{value} AS k{column.column_id}" for column, value in pairs)


def _difference(table: TableInfo) -> str:
    """The mask of a cascade: what differs; all when every column outside the key does."""
    rest = _rest(table)
    if not table.columns_updated or not rest:
        return "NULL::int[]"
    differs = [f"CASE WHEN n.{c.stored} IS DISTINCT FROM o.{c.stored} THEN {c.column_id} END" for c in rest]
    found = f"array_remove(ARRAY[{', '.join(differs)}]::int[], NULL)"
    return f"CASE WHEN assigned IS NULL AND cardinality({found}) < {len(rest)} THEN {found} END"
