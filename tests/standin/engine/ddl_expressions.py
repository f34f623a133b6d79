"""adapter: expressions of declarations (checks, filters, computed columns, defaults) compiled over a table's own columns."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.standin.engine import casting, types
from tests.standin.engine.model import ColumnInfo, State, TableInfo
from tests.standin.engine.scope import IMPLICIT, Context, Relation, Scope, Typed, Visible
from tests.standin.ports import ResultColumn, SqlType
from tests.standin.tsql import ast


def scope_of(context: Context, table: TableInfo) -> Scope:
    """The table's stored columns in sight, unqualified in PostgreSQL."""
    visible = [
        Visible(c.name, Typed(c.stored, context.with_collation(c.type), c.nullable, IMPLICIT), c.hidden)
        for c in table.columns
        if c.computed is None
    ]
    name = table.name.casefold()
    return Scope([Relation(((name,), (table.schema.casefold(), name)), visible, table=table)])


def value_of(state: State, table: TableInfo, expression: ast.Expression) -> Typed:
    """Compiled, with every argument written as a literal."""
    from tests.standin.engine import expressions

    context = Context(state)
    typed = expressions.value(context, scope_of(context, table), expression)
    return typed.to(inlined(typed.sql, context.arguments.bind(state)), typed.type)


def condition(state: State, table: TableInfo, expression: ast.Expression) -> str:
    """A search condition as a boolean of PostgreSQL."""
    from tests.standin.engine import expressions

    context = Context(state)
    text = expressions.condition(context, scope_of(context, table), expression)
    return inlined(text, context.arguments.bind(state))


def type_of(state: State, table: TableInfo, expression: ast.Expression) -> tuple[SqlType, bool]:
    """The type of a computed column, and whether it can be NULL."""
    typed = value_of(state, table, expression)
    return typed.type, typed.nullable


def stored_value(state: State, table: TableInfo, column: ColumnInfo, expression: ast.Expression) -> str:
    """An expression as the column stores it. Raises SqlError 2628 and those of conversions, partly when it is executed."""
    typed = value_of(state, table, expression)
    return casting.store(typed, column.type, f"{state.database.name}.{table.schema}.{table.name}", column.name).sql


def view_columns(state: State, query: ast.Query) -> list[ResultColumn]:
    """What a view shows."""
    from tests.standin.engine.queries import compile_query

    return list(compile_query(query, Context(state)).columns)


def inlined(sql: str, arguments: list[Any]) -> str:
    """$1, $2 ... replaced by literals, outside of quoted text."""
    for place in range(len(arguments), 0, -1):
        sql = sql.replace(f"${place}::", f"{literal(arguments[place - 1])}::")
    return sql


def literal(value: Any) -> str:
    """A value bound by asyncpg as text of PostgreSQL, to be cast by who uses it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "'t'" if value else "'f'"
    if isinstance(value, (int, float, Decimal)):
        return casting.quote(str(value))
    if isinstance(value, bytes):
        return "'\\x" + value.hex() + "'"
    return casting.quote(value if isinstance(value, str) else json.dumps(value))


def stored_type(column: ColumnInfo) -> str:
    """Its type in PostgreSQL."""
    return types.pg_type(column.type)
