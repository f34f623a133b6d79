"""pure: INSERT, UPDATE, DELETE, TRUNCATE, with OUTPUT and WITH CHANGE_TRACKING_CONTEXT."""

from __future__ import annotations

from tests.standin.tsql.ast import (
    Binary,
    ColumnRef,
    Default,
    Delete,
    Expression,
    Insert,
    Literal,
    Name,
    Query,
    SelectItem,
    Statement,
    Truncate,
    Update,
    Values,
    Variable,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_expressions import parse_expression
from tests.standin.tsql.parser_queries import (
    Ctes,
    parse_ctes,
    parse_from,
    parse_hints,
    parse_item_alias,
    parse_options,
    parse_star,
    parse_statement_query,
    parse_top,
    parse_where,
)

_COMPOUND = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=")


def parse_with(cursor: Cursor) -> Statement:
    """`WITH [CHANGE_TRACKING_CONTEXT(@c)] [, cte ...]` and the statement it belongs to."""
    cursor.expect("WITH")
    if cursor.key == "XMLNAMESPACES":
        raise cursor.refuse("WITH XMLNAMESPACES")
    context: Expression | None = None
    ctes: Ctes = ()
    start = cursor.at
    if cursor.accept("CHANGE_TRACKING_CONTEXT"):
        context = _context(cursor)
        if cursor.accept(","):
            ctes = parse_ctes(cursor)
    else:
        ctes = parse_ctes(cursor)
    if cursor.key in ("INSERT", "UPDATE", "DELETE"):
        return parse_dml(cursor, ctes, context)
    if cursor.key == "MERGE":
        raise cursor.refuse("MERGE")
    if context is not None:
        raise cursor.error(cursor.at if cursor.key != "SELECT" else start)
    return parse_statement_query(cursor, ctes)


def _context(cursor: Cursor) -> Expression:
    """A binary constant or a variable. https://learn.microsoft.com/sql/relational-databases/system-functions/with-change-tracking-context-transact-sql"""
    cursor.expect("(")
    if cursor.kind == "binary":
        found: Expression = Literal("binary", cursor.tokens.values[cursor.at])
        cursor.at += 1
    else:
        found = Variable(cursor.variable())
    cursor.expect(")")
    return found


def parse_dml(cursor: Cursor, ctes: Ctes = (), context: Expression | None = None) -> Statement:
    """INSERT, UPDATE or DELETE."""
    word = cursor.expect_any("INSERT", "UPDATE", "DELETE")
    if word == "INSERT":
        return _insert(cursor, ctes, context)
    return _update(cursor, ctes, context) if word == "UPDATE" else _delete(cursor, ctes, context)


def parse_truncate(cursor: Cursor) -> Statement:
    """TRUNCATE TABLE."""
    cursor.expect("TRUNCATE", "TABLE")
    name = cursor.name()
    if cursor.key == "WITH" and cursor.look(1) == "(":
        raise cursor.refuse("TRUNCATE TABLE WITH (PARTITIONS)")
    return Truncate(name)


def _target(cursor: Cursor) -> tuple[Name, tuple[str, ...]]:
    if cursor.kind == "variable":
        return Name((cursor.variable(),)), ()
    if cursor.key in ("OPENROWSET", "OPENQUERY", "OPENDATASOURCE"):
        raise cursor.refuse(cursor.key)
    return cursor.name(), parse_hints(cursor)


def _insert(cursor: Cursor, ctes: Ctes, context: Expression | None) -> Insert:
    top = parse_top(cursor)
    cursor.accept("INTO")
    table, hints = _target(cursor)
    columns: tuple[str, ...] = ()
    if cursor.key == "(" and cursor.look(1) not in ("SELECT", "("):
        columns = cursor.names()
    output, into = _output(cursor)
    if cursor.key in ("EXEC", "EXECUTE"):
        raise cursor.refuse("INSERT with EXECUTE")
    if cursor.accept("DEFAULT"):
        cursor.expect("VALUES")
        return Insert(table, columns, None, output, context, hints, ctes, into, top)
    source: Values | Query
    if cursor.accept("VALUES"):
        source = Values(_rows(cursor))
        if cursor.key == "OPTION":
            raise cursor.refuse("OPTION of INSERT ... VALUES")
    else:
        source = parse_statement_query(cursor)
        _no_assignment(cursor, source)
    return Insert(table, columns, source, output, context, hints, ctes, into, top)


def _no_assignment(cursor: Cursor, query: Query) -> None:
    body = query.body
    items = getattr(body, "items", ())
    if any(item.assign for item in items) or getattr(body, "into", None) is not None:
        raise cursor.error(cursor.at - 1)


def _rows(cursor: Cursor) -> list[list[Expression]]:
    found = []
    while True:
        cursor.expect("(")
        row = [_value(cursor)]
        while cursor.accept(","):
            row.append(_value(cursor))
        cursor.expect(")")
        found.append(row)
        if not cursor.accept(","):
            return found


def _value(cursor: Cursor) -> Expression:
    return Default() if cursor.accept("DEFAULT") else parse_expression(cursor)


def _update(cursor: Cursor, ctes: Ctes, context: Expression | None) -> Update:
    if cursor.key == "STATISTICS":
        raise cursor.refuse("UPDATE STATISTICS")
    top = parse_top(cursor)
    table, hints = _target(cursor)
    cursor.expect("SET")
    assignments = [_assignment(cursor)]
    while cursor.accept(","):
        assignments.append(_assignment(cursor))
    output, into = _output(cursor)
    source = parse_from(cursor) if cursor.accept("FROM") else None
    where = parse_where(cursor)
    options = parse_options(cursor)
    return Update(table, assignments, source, where, top, output, context, hints, ctes, into, options)


def _assignment(cursor: Cursor) -> tuple[str, Expression]:
    if cursor.kind == "variable":
        raise cursor.refuse("UPDATE that sets a variable")
    parts = cursor.name().parts
    if cursor.key == "(":
        raise cursor.refuse("a method in the SET clause")
    op = cursor.expect_any(*_COMPOUND)
    if op == "=":
        return parts[-1], _value(cursor)
    return parts[-1], Binary(op[0], ColumnRef(parts), parse_expression(cursor))


def _delete(cursor: Cursor, ctes: Ctes, context: Expression | None) -> Delete:
    top = parse_top(cursor)
    cursor.accept("FROM")
    table, hints = _target(cursor)
    output, into = _output(cursor)
    source = parse_from(cursor) if cursor.accept("FROM") else None
    where = parse_where(cursor)
    options = parse_options(cursor)
    return Delete(table, source, where, top, output, context, hints, ctes, into, options)


def _output(cursor: Cursor) -> tuple[list[SelectItem], tuple[Name, tuple[str, ...]] | None]:
    """OUTPUT inserted.a, deleted.* [INTO @t (a, b)]."""
    if not cursor.accept("OUTPUT"):
        return [], None
    items = [_output_item(cursor)]
    while cursor.accept(","):
        items.append(_output_item(cursor))
    into = None
    if cursor.accept("INTO"):
        table = Name((cursor.variable(),)) if cursor.kind == "variable" else cursor.name()
        columns = cursor.names() if cursor.key == "(" and cursor.look(1) not in ("SELECT", "(") else ()
        into = (table, columns)
    if cursor.key == "OUTPUT":
        raise cursor.refuse("a second OUTPUT clause")
    return items, into


def _output_item(cursor: Cursor) -> SelectItem:
    star = parse_star(cursor)
    if star is not None:
        return SelectItem(star)
    return SelectItem(parse_expression(cursor), parse_item_alias(cursor))
