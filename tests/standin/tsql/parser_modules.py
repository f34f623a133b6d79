"""pure: views, procedures and triggers: their text is the batch's."""

from __future__ import annotations

from tests.standin.tsql.ast import (
    CreateProcedure,
    CreateTrigger,
    CreateView,
    Expression,
    Query,
    Statement,
    TypeName,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_expressions import parse_expression
from tests.standin.tsql.parser_queries import parse_ctes, parse_query
from tests.standin.tsql.parser_types import parse_type

Parameter = tuple[str, TypeName, Expression | None, bool]


def parse_view(cursor: Cursor) -> Statement:
    """After CREATE VIEW."""
    name = cursor.name(2)
    if cursor.key in ("(", "WITH"):
        raise cursor.refuse("a view with a column list or options")
    cursor.expect("AS")
    ctes = parse_ctes(cursor) if cursor.accept("WITH") else ()
    query = parse_query(cursor)
    if cursor.peek("WITH", "CHECK"):
        raise cursor.refuse("WITH CHECK OPTION")
    if ctes:
        query = Query(query.body, ctes, query.order, query.offset, query.fetch, query.options)
    return CreateView(name, query, cursor.tokens.sql)


def parse_trigger(cursor: Cursor) -> Statement:
    """After CREATE TRIGGER."""
    name = cursor.name(2)
    cursor.expect("ON")
    if cursor.key in ("DATABASE", "ALL"):
        raise cursor.refuse("a DDL trigger")
    table = cursor.name(2)
    if cursor.key == "WITH":
        raise cursor.refuse("a trigger with options")
    if cursor.accept("INSTEAD"):
        cursor.expect("OF")
        timing = "INSTEAD OF"
    else:
        cursor.expect_any("AFTER", "FOR")
        timing = "AFTER"
    events = [cursor.expect_any("INSERT", "UPDATE", "DELETE")]
    while cursor.accept(","):
        events.append(cursor.expect_any("INSERT", "UPDATE", "DELETE"))
    if cursor.key in ("WITH", "NOT"):
        raise cursor.refuse("a trigger WITH APPEND or NOT FOR REPLICATION")
    cursor.expect("AS")
    body, lines = cursor.parse_body(cursor)
    return CreateTrigger(name, table, timing, tuple(events), body, cursor.tokens.sql, lines)


def parse_procedure(cursor: Cursor) -> Statement:
    """After CREATE PROCEDURE."""
    name = cursor.name(2)
    if cursor.key == ";":
        raise cursor.refuse("a numbered procedure")
    parameters: list[Parameter] = []
    parenthesised = cursor.accept("(")
    if cursor.kind == "variable":
        parameters.append(parse_parameter(cursor))
        while cursor.accept(","):
            parameters.append(parse_parameter(cursor))
    if parenthesised:
        cursor.expect(")")
    if cursor.key in ("WITH", "FOR"):
        raise cursor.refuse("a procedure with options")
    cursor.expect("AS")
    body, lines = cursor.parse_body(cursor)
    return CreateProcedure(name, parameters, body, cursor.tokens.sql, lines)


def parse_parameter(cursor: Cursor) -> Parameter:
    """`@a AS int = 1 OUTPUT`: name, type, default, output."""
    name = cursor.variable()
    cursor.accept("AS")
    kind = parse_type(cursor)
    if cursor.key in ("VARYING", "NULL", "NOT"):
        raise cursor.refuse(f"a parameter with {cursor.key}")
    default = parse_expression(cursor) if cursor.accept("=") else None
    output = bool(cursor.accept_any("OUT", "OUTPUT"))
    if cursor.key == "READONLY":
        raise cursor.refuse("a table-valued parameter")
    return name, kind, default, output
