"""adapter: queries executed on PostgreSQL and streamed; compiled statements are kept."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg

from tests.standin.engine import casting, errors, locks, permissions, selecting, values
from tests.standin.engine.expressions import value
from tests.standin.engine.model import State, TableInfo
from tests.standin.engine.scope import Compiled, Context, Scope
from tests.standin.ports import Columns, Done, Event, Refused, ResultColumn, Rows, SqlType, Value
from tests.standin.tsql import ast

CHUNK = 1000  # rows a time
_KEPT = 500  # compiled statements
_Key = tuple[Any, ...]
_cache: OrderedDict[_Key, tuple[object, Compiled]] = OrderedDict()


def cached(state: State, node: object, make: Callable[[], tuple[Compiled, bool]], extra: object = None) -> Compiled:
    """A statement compiled once per syntax tree, catalogue and types of what is declared; `make` says if it may be kept."""
    declared = tuple((name, kind) for name, (kind, _) in state.variables.items())
    tables = tuple((name, t.object_id) for name, t in (*state.temporaries.items(), *state.table_variables.items()))
    key = (id(node), id(state.database), id(state.catalogue), state.catalogue.generation, declared, tables, extra)
    found = _cache.get(key)
    if found is not None:
        _cache.move_to_end(key)
        return found[1]
    compiled, keep = make()
    if keep:
        _cache[key] = (node, compiled)  # the node stays alive, so that its id stays its own
        if len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return compiled


def compile_query(query: ast.Query, state: State | Context) -> Compiled:
    """A query as one statement of PostgreSQL. Raises SqlError, Refused."""
    if isinstance(state, Context):
        return _compiled(query, selecting.context(state.state))[0]
    return cached(state, query, lambda: _compiled(query, selecting.context(state)))


def _compiled(query: ast.Query, ctx: Context) -> tuple[Compiled, bool]:
    block = selecting.compile_query(ctx, query, None, top=True)
    columns = [
        ResultColumn(name, ctx.with_collation(c.type), c.nullable, c.identity)
        for name, c in zip(block.names, block.columns, strict=True)
    ]
    return finish(ctx, block.sql, columns, block.locked, block.assigns), ctx.cacheable


def finish(
    ctx: Context, sql: str, columns: Sequence[ResultColumn], locked: Sequence[Any] = (), assigns: Sequence[str] = ()
) -> Compiled:
    """The statement with the arguments that it mentions; its text changes with the catalogue, as plans are kept by text."""
    text, arguments = ctx.arguments.used_in(sql)
    marked = f"/*{ctx.state.catalogue.generation}*/ {text}"
    return Compiled(
        marked, arguments, columns, reads=list(ctx.reads), locked=locked, requires=list(ctx.requires), assigns=assigns
    )


async def prepared(
    state: State, compile_now: Callable[[], Compiled], writes: Sequence[TableInfo]
) -> tuple[Compiled, list[locks.Read]]:
    """A compiled statement whose permissions are checked and whose locks are held. Raises SqlError."""
    for _ in range(10):
        compiled = compile_now()
        for permission, table in compiled.requires:
            permissions.require(state, permission, table)
        reads = [plan.bind(state) for plan in compiled.reads]
        if await locks.before(state, reads, writes):
            return compiled, reads
    raise Refused("a statement on a catalogue that changes all the time")


async def run_query(state: State, query: ast.Query) -> AsyncIterator[Event]:
    """Streams a query inside the open transaction: Columns, Rows ..., Done. Raises SqlError."""
    target = into(query)
    if target is not None:
        from tests.standin.engine import dml

        async for event in dml.select_into(state, query, target):
            yield event
        return
    with translated(state, "SELECT"):
        compiled, reads = await prepared(state, lambda: compile_query(query, state), ())
        sql = compiled.sql + _clause(state, compiled)
        yield Columns(compiled.columns)
        count = 0
        async with locks.reading(state, reads):
            async for rows in fetched(state, sql, compiled.bind(state), [c.type for c in compiled.columns]):
                count += len(rows)
                yield Rows(rows)
    state.rowcount = count
    yield Done("select", None if state.nocount else count)


def into(query: ast.Query) -> ast.Name | None:
    """The target of SELECT ... INTO."""
    body: ast.Select | ast.Compound = query.body
    while isinstance(body, ast.Compound):
        body = body.left
    return body.into


def _clause(state: State, compiled: Compiled) -> str:
    """The locking clause. Raises Refused where rows are to be locked that it cannot name."""
    nameable = [plan.bind(state) for plan in compiled.locked]
    named = {read.alias for read in nameable}
    if locks.needs_clause([plan.bind(state) for plan in compiled.reads if plan.alias not in named and plan.alias]):
        raise Refused(
            "row locks (UPDLOCK, XLOCK, READPAST) in a grouped query, a subquery or an outer join without the full key"
        )
    return locks.clause(state, nameable)


async def fetched(
    state: State, sql: str, arguments: Sequence[Any], column_types: Sequence[SqlType]
) -> AsyncIterator[list[Sequence[Value]]]:
    """Rows in chunks, through a portal of the open transaction."""
    decode = values.rows_decoder(column_types)
    cursor = await state.connection.cursor(sql, *arguments)
    while True:
        records = await cursor.fetch(CHUNK)
        if records:
            yield decode(records)
        if len(records) < CHUNK:
            break
    await cursor._close_portal(None)  # type: ignore[attr-defined]  # an open one keeps the tables from being altered in this transaction


@contextlib.contextmanager
def translated(state: State, statement: str, target: TableInfo | None = None) -> Any:
    """PostgreSQL's errors become the server's."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise errors.translate(error, state, statement, target) from error


async def evaluate(state: State, node: ast.Expression) -> tuple[SqlType, Value]:
    """A scalar expression now. Raises SqlError."""

    def make() -> tuple[Compiled, bool]:
        ctx = selecting.context(state)
        typed = value(ctx, Scope(), node)
        sql = casting.null(typed.type) if typed.null else typed.sql
        return finish(ctx, f"SELECT {sql}", [ResultColumn("", ctx.with_collation(typed.type))]), ctx.cacheable

    with translated(state, "SELECT"):
        compiled, reads = await prepared(state, lambda: cached(state, node, make), ())
        async with locks.reading(state, reads) if reads else contextlib.nullcontext():
            raw = await state.connection.fetchval(compiled.sql, *compiled.bind(state))
    type_ = compiled.columns[0].type
    return type_, values.from_storage(type_, raw)
