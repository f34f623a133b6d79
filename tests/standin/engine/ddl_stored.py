"""adapter: tables, indexes and constraints as PostgreSQL stores them.

Names carry ids (see engine/errors.py): the unique index of index 3 is `u<table>_3`, a plain one `i<table>_3`, the exact
twin of a unique index over texts `r<table>_3` (what foreign keys refer to), a foreign key `f<id>`, a check `c<id>`, the
sequence of an identity `data.s<table>`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.standin.engine import keys, types
from tests.standin.engine.model import ColumnInfo, ForeignKeyInfo, IndexInfo, State, TableInfo

ACTIONS = {"NO ACTION": "NO ACTION", "CASCADE": "CASCADE", "SET NULL": "SET NULL", "SET DEFAULT": "SET DEFAULT"}


def sequence(table: TableInfo) -> str:
    """Of the table's identity column."""
    return f"{'pg_temp' if table.temporary else 'data'}.s{table.object_id}"


def kept(table: TableInfo) -> list[ColumnInfo]:
    """The columns that PostgreSQL stores: all but computed ones."""
    return [c for c in table.columns if c.computed is None]


def rowversion(table: TableInfo) -> ColumnInfo | None:
    """The column that changes with every write."""
    return next((c for c in table.columns if c.type.name in {"timestamp", "rowversion"}), None)


def column(table: TableInfo, info: ColumnInfo) -> str:
    """Its definition."""
    default = f" DEFAULT nextval('{sequence(table)}')" if info.identity else ""
    return f"{info.stored} {types.pg_type(info.type)}{'' if info.nullable else ' NOT NULL'}{default}"


def create(table: TableInfo) -> str:
    """The table with its identity, without indexes and constraints."""
    made = []
    identity = next((c for c in table.columns if c.identity), None)
    temporary = "TEMP " if table.temporary else ""
    plain = table.stored.rpartition(".")[2] if table.temporary else table.stored
    if identity is not None:
        made.append(create_sequence(table, identity))
    made.append(f"CREATE {temporary}TABLE {plain} ({', '.join(column(table, c) for c in kept(table))})")
    if identity is not None:
        made.append(f"ALTER SEQUENCE {sequence(table)} OWNED BY {table.stored}.{identity.stored}")
    if rowversion(table) is not None:
        made.append(stamp_rows(table))
    return ";".join(made)


def create_sequence(table: TableInfo, info: ColumnInfo) -> str:
    """Of an identity column."""
    seed, step = info.identity or (1, 1)
    bounds = f"MINVALUE {min(seed, 1)}" if step > 0 else f"MINVALUE {-(2**63)} MAXVALUE {max(seed, -1)}"
    temporary = "TEMP " if table.temporary else ""
    name = f"s{table.object_id}" if table.temporary else sequence(table)
    return f"CREATE {temporary}SEQUENCE {name} AS bigint INCREMENT {step} {bounds} START {seed} CACHE 1"


def stamp_rows(table: TableInfo) -> str:
    """The trigger that writes the rowversion."""
    info = rowversion(table)
    assert info is not None
    number = table.object_id
    where = "pg_temp" if table.temporary else "data"
    return (
        f"CREATE OR REPLACE FUNCTION {where}.v{number}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$_$ BEGIN NEW.{info.stored} := standin.next_rowversion(); RETURN NEW; END $_$;"
        f"CREATE OR REPLACE TRIGGER rowversion BEFORE INSERT OR UPDATE ON {table.stored} FOR EACH ROW "
        f"EXECUTE FUNCTION {where}.v{number}()"
    )


def lock_keys(table: TableInfo) -> str:
    """The trigger that locks a key before it is inserted; or nothing, where keys cannot be locked."""
    if not keys.lockable(table):
        return ""
    number, key = table.object_id, table.key
    text = keys.key_text(key, [f"NEW.{c.stored}" for c in key])
    return (
        f"CREATE OR REPLACE FUNCTION data.k{number}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$_$ BEGIN PERFORM standin.lock_key({number}, {text}); RETURN NEW; END $_$;"
        f"CREATE OR REPLACE TRIGGER keys BEFORE INSERT OR UPDATE OF {', '.join(c.stored for c in key)} ON {table.stored} "
        f"FOR EACH ROW EXECUTE FUNCTION data.k{number}();"
    )


def unlock_keys(table: TableInfo) -> str:
    """Without that trigger."""
    return f"DROP TRIGGER IF EXISTS keys ON {table.stored};"


def index(table: TableInfo, info: IndexInfo, where: str = "") -> str:
    """An index; of a computed or incomparable column there is none (then a unique one is the caller's to refuse)."""
    by_id = {c.column_id: c for c in table.columns}
    columns = [by_id[column_id] for column_id, _ in info.columns]
    if any(c.computed is not None for c in columns):
        return ""
    terms = ", ".join(f"({text})" for text in keys.folded(columns))
    name = f"{'u' if info.unique else 'i'}{table.object_id}_{info.index_id}"
    unique = "UNIQUE " if info.unique else ""
    nulls = " NULLS NOT DISTINCT" if info.unique else ""
    return f"CREATE {unique}INDEX {name} ON {table.stored} ({terms}){nulls}{f' WHERE {where}' if where else ''};"


def drop_index(table: TableInfo, info: IndexInfo) -> str:
    """With its exact twin."""
    where = "pg_temp" if table.temporary else "data"
    name = f"{'u' if info.unique else 'i'}{table.object_id}_{info.index_id}"
    return f"DROP INDEX IF EXISTS {where}.{name}; DROP INDEX IF EXISTS {where}.r{table.object_id}_{info.index_id};"


def foreign_key(table: TableInfo, info: ForeignKeyInfo, parent: TableInfo, parent_index: IndexInfo) -> str:
    """A foreign key; texts are compared exactly (tests/standin/README.md).

    It refers to a unique index over the plain columns: the twin `r..` is made where the index has expressions.
    """
    twin = f"r{parent.object_id}_{parent_index.index_id}"
    columns = ", ".join(f"c{c}" for c in info.columns)
    target = ", ".join(f"c{c}" for c in info.referenced_columns)
    return (
        f"CREATE UNIQUE INDEX IF NOT EXISTS {twin} ON {parent.stored} ({target});"
        f"ALTER TABLE {table.stored} ADD CONSTRAINT f{info.object_id} FOREIGN KEY ({columns}) "
        f"REFERENCES {parent.stored} ({target}) ON DELETE {ACTIONS[info.on_delete]} ON UPDATE {ACTIONS[info.on_update]};"
    )


async def switch_foreign_key(state: State, table: TableInfo, info: ForeignKeyInfo, *, enable: bool) -> None:
    """NOCHECK takes the constraint away, CHECK brings it back without looking at the rows that exist."""
    if not enable:
        await run(state, drop_constraint(table, f"f{info.object_id}"))
        return
    parent = next(t for t in state.catalogue.tables.values() if t.object_id == info.referenced)
    index = next(i for i in parent.indexes if i.unique and {c for c, _ in i.columns} == set(info.referenced_columns))
    await run(state, foreign_key(table, info, parent, index).rstrip(";") + " NOT VALID")


def drop_constraint(table: TableInfo, name: str) -> str:
    """By its stored name."""
    return f"ALTER TABLE {table.stored} DROP CONSTRAINT IF EXISTS {name};"


async def run(state: State, *texts: str) -> None:
    """Executes what is not empty."""
    text = ";".join(t for t in texts if t)
    if text:
        await state.connection.execute(text)


def names(columns: Sequence[ColumnInfo]) -> str:
    """Their stored names."""
    return ", ".join(c.stored for c in columns)
