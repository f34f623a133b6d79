"""adapter: INSERT, UPDATE, DELETE and SELECT INTO executed: identity, OUTPUT, triggers, change tracking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.standin.engine import casting, permissions, queries, selecting, tracking, triggers_run, values, writing
from tests.standin.engine.model import Interpreter, State, TableInfo
from tests.standin.engine.scope import Compiled, Context, Typed
from tests.standin.engine.sources import find_table
from tests.standin.ports import Columns, Done, Event, Refused, ResultColumn, Rows, SqlError
from tests.standin.tsql import ast

Statement = ast.Insert | ast.Update | ast.Delete


@dataclass(frozen=True, slots=True)
class _Plan:
    """A compiled statement: its rows are (count, last identity), or those of OUTPUT with both appended."""

    compiled: Compiled
    write: writing.Write
    output: Sequence[ResultColumn]


async def execute(state: State, statement: Statement, interpreter: Interpreter) -> AsyncIterator[Event]:
    """Runs a statement inside the open transaction: OUTPUT's rows, then Done. Raises SqlError."""
    verb = type(statement).__name__.upper()
    table = _table_of(state, statement)
    permissions.require(state, verb, table)
    instead = triggers_run.of_event(state, table, verb, "INSTEAD OF")
    after = triggers_run.of_event(state, table, verb, "AFTER")
    _check_output(statement, table, [*instead, *after])
    with queries.translated(state, verb, table):
        if instead or after:
            events = _with_triggers(state, statement, table, interpreter)
        elif table.kind == "V":
            raise Refused(f"{verb} of a view without an INSTEAD OF trigger")
        else:
            events = _plain(state, statement, table)
        async for event in events:
            yield event


def _table_of(state: State, statement: Statement) -> TableInfo:
    if isinstance(statement, ast.Insert):
        return find_table(state, statement.table)
    names = {name.casefold() for name, _, _ in statement.ctes}
    if statement.source is None and len(statement.table.parts) == 1 and statement.table.parts[0].casefold() in names:
        raise Refused("UPDATE or DELETE through a common table expression")
    return writing.locate(state, statement)[0]


def _check_output(statement: Statement, table: TableInfo, fired: Sequence[object]) -> None:
    if statement.output and statement.output_into is None and fired:
        raise SqlError(
            334,
            f"The target table '{table.name}' of the DML statement cannot have any enabled triggers if the statement contains "
            "an OUTPUT clause without INTO clause.",
        )


# -- compiling ---------------------------------------------------------------------------------------------------------------


def _compile(state: State, statement: Statement, table: TableInfo, sets: tuple[TableInfo, TableInfo] | None) -> _Plan:
    ctx = selecting.context(state)
    ctx.cacheable = sets is None
    write = _write(ctx, statement, table)
    parts = [*write.ctes, f"w AS ({write.sql} RETURNING {_returning(write)})"]
    if sets is not None:
        parts += _into_sets(write, sets)
    output: list[ResultColumn] = []
    listed = ""
    if statement.output:
        items = writing.outputs(ctx, table, write.verb, statement.output)
        if statement.output_into is not None:
            parts.append(_output_into(ctx, statement.output_into, items))
        else:
            output = [ResultColumn(n, ctx.with_collation(t.type), t.nullable, t.identity) for n, t in items]
            listed = ", ".join(f"{_sql(t)} AS k{i}" for i, (_, t) in enumerate(items, 1))
    select = listed or f"count(*), {_last_identity(write)}"
    sql = f"WITH {', '.join(parts)} SELECT {select} FROM w"
    if listed and writing.identity_of(table) is not None and write.verb == "INSERT":
        sql = f"WITH {', '.join(parts)} SELECT {listed}, {_last_identity(write)} OVER () FROM w"
    return _Plan(queries.finish(ctx, sql, output), write, output)


def _write(ctx: Context, statement: Statement, table: TableInfo) -> writing.Write:
    if isinstance(statement, ast.Insert):
        return writing.insert(ctx, statement, table)
    leaf = writing.locate(ctx.state, statement)[1]
    if isinstance(statement, ast.Update):
        return writing.update(ctx, statement, table, leaf)
    return writing.delete(ctx, statement, table, leaf)


def _sql(typed: Typed) -> str:
    return casting.null(typed.type) if typed.null else typed.sql


def _returning(write: writing.Write) -> str:
    columns = writing.kept(write.table)
    old = [f"OLD.{c.stored} AS o{c.column_id}" for c in columns] if write.verb != "INSERT" else []
    new = [f"NEW.{c.stored} AS n{c.column_id}" for c in columns] if write.verb != "DELETE" else []
    return ", ".join([*old, *new])


def _last_identity(write: writing.Write) -> str:
    identity = writing.identity_of(write.table)
    if identity is None or write.verb != "INSERT":
        return "NULL::int8"
    step = (identity.identity or (1, 1))[1]
    return f"{'max' if step > 0 else 'min'}(w.n{identity.column_id})"


def _into_sets(write: writing.Write, sets: tuple[TableInfo, TableInfo]) -> list[str]:
    """The rows into `inserted` and `deleted`."""
    columns = writing.kept(write.table)
    into = ", ".join(c.stored for c in columns)
    parts = []
    for letter, target, absent in (("n", sets[0], "DELETE"), ("o", sets[1], "INSERT")):
        if write.verb != absent:
            made = ", ".join(f"w.{letter}{c.column_id}" for c in columns)
            parts.append(f"x{letter} AS (INSERT INTO {target.stored} ({into}) SELECT {made} FROM w)")
    return parts


def _output_into(ctx: Context, into: tuple[ast.Name, tuple[str, ...]], items: Sequence[tuple[str, Typed]]) -> str:
    """OUTPUT ... INTO."""
    target = find_table(ctx.state, into[0])
    if target.triggers or target.foreign_keys or target.tracked or target.kind == "V":
        raise Refused("OUTPUT INTO a table with triggers, foreign keys or change tracking")
    return f"z AS ({_insert_into(ctx, target, into[1], items, 'w')})"


def _insert_into(ctx: Context, target: TableInfo, names: Sequence[str], items: Sequence[tuple[str, Typed]], source: str) -> str:
    plain = [c for c in writing.kept(target) if c.identity is None and c.type.name not in {"timestamp", "rowversion"}]
    columns = plain if not names else [c for n in names for c in [target.column(n)] if c is not None]
    if len(columns) != len(items):
        raise SqlError(213, "Column name or number of supplied values does not match table definition.")
    where = writing.full_name(ctx.state, target)
    made = [casting.store(t, ctx.with_collation(c.type), where, c.name).sql for c, (_, t) in zip(columns, items, strict=True)]
    return f"INSERT INTO {target.stored} ({', '.join(c.stored for c in columns)}) SELECT {', '.join(made)} FROM {source}"


# -- executing ---------------------------------------------------------------------------------------------------------------

_plans: dict[int, tuple[Compiled, _Plan]] = {}


def _planned(state: State, statement: Statement, table: TableInfo) -> _Plan:
    """Compiled, or as it was compiled before."""
    made: list[_Plan] = []

    def make() -> tuple[Compiled, bool]:
        plan = _compile(state, statement, table, None)
        made.append(plan)
        return plan.compiled, True

    compiled = queries.cached(state, statement, make, (state.identity_insert, table.object_id))
    if made:
        if len(_plans) > 2000:
            _plans.clear()
        _plans[id(compiled)] = (compiled, made[0])
    known = _plans.get(id(compiled))
    return known[1] if known and known[0] is compiled else _compile(state, statement, table, None)


async def _plain(state: State, statement: Statement, table: TableInfo) -> AsyncIterator[Event]:
    """Without triggers."""
    triggers_run.require_quiet_cascades(state, table, type(statement).__name__.upper())
    plans: list[_Plan] = []

    def compile_now() -> Compiled:
        plans.append(_planned(state, statement, _table_of(state, statement)))
        return plans[-1].compiled

    compiled, _ = await queries.prepared(state, compile_now, [table])
    plan = plans[-1]
    await tracking.prepare(state, plan.write.table, plan.write.assigned)
    rows = await state.connection.fetch(compiled.sql, *compiled.bind(state))
    if plan.output:
        yield Columns(plan.output)
        width = len(plan.output)
        yield Rows(values.rows_decoder([c.type for c in plan.output])([tuple(row)[:width] for row in rows]))
        identity = rows[0][width] if rows and len(rows[0]) > width else None
        count = len(rows)
    else:
        count, identity = rows[0]
    await _identified(state, plan.write, identity)
    yield _done(state, plan.write.verb, count)


async def _identified(state: State, write: writing.Write, identity: Any) -> None:
    """SCOPE_IDENTITY, @@IDENTITY, and the seed after an explicit value."""
    if write.verb != "INSERT" or identity is None:
        return
    state.identity = state.last_identity = int(identity)
    if write.explicit_identity:
        schema, _, name = write.table.stored.rpartition(".")
        sequence = f"{schema}.s{name[1:]}"
        await state.connection.execute("SELECT standin.raise_identity($1::text::regclass, $2)", sequence, int(identity))


def _done(state: State, verb: str, count: int) -> Done:
    state.rowcount = count
    return Done(verb.lower(), None if state.nocount else count)


async def _with_triggers(
    state: State, statement: Statement, table: TableInfo, interpreter: Interpreter
) -> AsyncIterator[Event]:
    verb = type(statement).__name__.upper()
    instead = triggers_run.of_event(state, table, verb, "INSTEAD OF")
    after = triggers_run.of_event(state, table, verb, "AFTER")
    async with triggers_run.row_sets(state, table) as sets:
        if instead:
            count = await _fill(state, statement, table, sets)
            fired = instead
        else:
            count = await _write_and_note(state, statement, table, sets)
            fired = after
        async for event in triggers_run.fire(state, fired, sets, interpreter):
            yield event
    yield _done(state, verb, count)


async def _write_and_note(state: State, statement: Statement, table: TableInfo, sets: tuple[TableInfo, TableInfo]) -> int:
    """The statement, its rows noted for AFTER triggers."""
    triggers_run.require_quiet_cascades(state, table, type(statement).__name__.upper())
    plans: list[_Plan] = []

    def compile_now() -> Compiled:
        plans.append(_compile(state, statement, table, sets))
        return plans[-1].compiled

    compiled, _ = await queries.prepared(state, compile_now, [table])
    write = plans[-1].write
    await tracking.prepare(state, write.table, write.assigned)
    count, identity = await state.connection.fetchrow(compiled.sql, *compiled.bind(state)) or (0, None)
    await _identified(state, write, identity)
    return int(count)


async def _fill(state: State, statement: Statement, table: TableInfo, sets: tuple[TableInfo, TableInfo]) -> int:
    """The rows that the statement would write, for an INSTEAD OF trigger."""
    if statement.output:
        raise Refused("OUTPUT with an INSTEAD OF trigger")
    writes: list[writing.Write] = []

    def compile_now() -> Compiled:
        ctx = selecting.context(state)
        write = _write(ctx, statement, table)
        writes.append(write)
        parts = [*write.ctes, f"w AS ({write.rows})", *_into_given(write, sets)]
        return queries.finish(ctx, f"WITH {', '.join(parts)} SELECT count(*) FROM w", [])

    if table.kind == "V" and not isinstance(statement, ast.Insert):
        raise Refused("UPDATE or DELETE of a view")
    compiled, _ = await queries.prepared(state, compile_now, [])
    return int(await state.connection.fetchval(compiled.sql, *compiled.bind(state)))


def _into_given(write: writing.Write, sets: tuple[TableInfo, TableInfo]) -> list[str]:
    """As _into_sets, of the columns that `rows` has; an identity is 0 in `inserted`."""
    parts = []
    for letter, target, absent in (("n", sets[0], "DELETE"), ("o", sets[1], "INSERT")):
        if write.verb == absent:
            continue
        cells = {
            c.stored: "0" if letter == "n" and write.verb == "INSERT" and c.identity and not write.explicit_identity
            else f"w.{letter}{c.column_id}"
            for c in writing.kept(write.table)
            if c.type.name not in {"timestamp", "rowversion"} or letter == "o"
        }  # fmt: skip
        into = f"{target.stored} ({', '.join(cells)})"
        parts.append(f"x{letter} AS (INSERT INTO {into} SELECT {', '.join(cells.values())} FROM w)")
    return parts


# -- SELECT INTO -------------------------------------------------------------------------------------------------------------


async def select_into(state: State, query: ast.Query, target: ast.Name) -> AsyncIterator[Event]:
    """Creates the table and fills it: Done. Raises SqlError 2714, 1038."""
    from tests.standin.engine import ddl

    with queries.translated(state, "INSERT"):
        compiled, _ = await queries.prepared(state, lambda: queries.compile_query(query, state), ())
        table = await ddl.of_columns(state, target, compiled.columns)
        into = ", ".join(c.stored for c in table.columns)
        text = f"INSERT INTO {table.stored} ({into}) {compiled.sql}"
        status = await state.connection.execute(text, *compiled.bind(state))
        count = int(status.split()[-1])
        identity = writing.identity_of(table)
        if identity is not None:
            last = await state.connection.fetchval(f"SELECT max({identity.stored}) FROM {table.stored}")
            await _identified(state, writing.Write("INSERT", table, "", "", explicit_identity=True), last)
    yield _done(state, "SELECT", count)
