"""pure: SELECT: the list, FROM, set operators, common table expressions, ORDER BY, OPTION."""

from __future__ import annotations

from collections.abc import Sequence

from tests.standin.ports import SqlError
from tests.standin.tsql.ast import (
    Binary,
    ChangeTable,
    ColumnRef,
    Compound,
    Derived,
    Expression,
    Join,
    Literal,
    Name,
    OrderItem,
    Query,
    Select,
    SelectItem,
    Source,
    Star,
    TableRef,
    Values,
    Variable,
    VersionTable,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_expressions import expression_list, order_items, parse_condition, parse_expression
from tests.standin.tsql.tokens import words

Ctes = Sequence[tuple[str, tuple[str, ...], Query]]

HINTS = words(
    """
    NOLOCK READCOMMITTED READCOMMITTEDLOCK UPDLOCK HOLDLOCK SERIALIZABLE ROWLOCK PAGLOCK TABLOCK TABLOCKX XLOCK READPAST NOWAIT
    FORCESEEK
    """
)
_REFUSED_HINTS = words(
    """
    READUNCOMMITTED REPEATABLEREAD SNAPSHOT FORCESCAN SPATIAL_WINDOW_MAX_CELLS KEEPIDENTITY KEEPDEFAULTS IGNORE_CONSTRAINTS
    IGNORE_TRIGGERS NOEXPAND
    """
)
_SET_OPERATORS = ("UNION", "EXCEPT")
_OTHER_OPTIONS = words(
    """
    HASH ORDER CONCAT MERGE LOOP FAST FORCE IGNORE_NONCLUSTERED_COLUMNSTORE_INDEX KEEP KEEPFIXED MAX_GRANT_PERCENT
    MIN_GRANT_PERCENT MAXRECURSION NO_PERFORMANCE_SPOOL OPTIMIZE PARAMETERIZATION QUERYTRACEON ROBUST EXPAND USE TABLE LABEL FOR
    """
)
_ORDER_BY = (
    "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, "
    "unless TOP, OFFSET or FOR XML is also specified."
)
_ROWSETS = frozenset(("OPENROWSET", "OPENQUERY", "OPENXML", "OPENDATASOURCE", "CONTAINSTABLE", "FREETEXTTABLE"))


def parse_statement_query(cursor: Cursor, ctes: Ctes = ()) -> Query:
    """A query as a statement, or the source of INSERT: it may assign, order without TOP, and have OPTION."""
    return _query(cursor, ctes, inner=False)


def parse_query(cursor: Cursor) -> Query:
    """A query inside another: subquery, derived table, common table expression, view. Raises SqlError 1033."""
    start = cursor.at
    query = _query(cursor, (), inner=True)
    limited = query.offset is not None or (isinstance(query.body, Select) and query.body.top is not None)
    if query.order and not limited:
        raise cursor.raise_error(1033, _ORDER_BY, start)
    return query


def parse_ctes(cursor: Cursor) -> list[tuple[str, tuple[str, ...], Query]]:
    """After WITH: `a (c, d) AS (SELECT ...), ...`."""
    found = []
    while True:
        name = cursor.identifier()
        columns = cursor.names() if cursor.key == "(" else ()
        cursor.expect("AS")
        with cursor.nested():
            cursor.expect("(")
            found.append((name, columns, parse_query(cursor)))
            cursor.expect(")")
        if not cursor.accept(","):
            return found


def _query(cursor: Cursor, ctes: Ctes, *, inner: bool) -> Query:
    body = _compound(cursor, inner)
    order: list[OrderItem] = order_items(cursor) if cursor.accept("ORDER", "BY") else []
    offset, fetch = _paging(cursor, bool(order))
    if cursor.key == "FOR":
        raise cursor.refuse("FOR XML, FOR JSON or FOR BROWSE")
    if cursor.key == "COMPUTE":
        raise cursor.refuse("COMPUTE")
    options = () if inner else parse_options(cursor)
    return Query(body, ctes, order, offset, fetch, options)


def _compound(cursor: Cursor, inner: bool) -> Select | Compound:
    """UNION and EXCEPT from left to right, INTERSECT first."""
    left = _intersection(cursor, inner)
    while cursor.key in _SET_OPERATORS:
        op = cursor.expect_any(*_SET_OPERATORS)
        if op == "UNION" and cursor.accept("ALL"):
            op = "UNION ALL"
        left = Compound(op, left, _intersection(cursor, inner))
    return left


def _intersection(cursor: Cursor, inner: bool) -> Select | Compound:
    left = _branch(cursor, inner)
    while cursor.accept("INTERSECT"):
        left = Compound("INTERSECT", left, _branch(cursor, inner))
    return left


def _branch(cursor: Cursor, inner: bool) -> Select | Compound:
    if cursor.key != "(":
        return _select(cursor, inner)
    with cursor.nested():
        cursor.expect("(")
        body = _compound(cursor, inner)
        cursor.expect(")")
    return body


def _select(cursor: Cursor, inner: bool) -> Select:
    cursor.expect("SELECT")
    distinct = cursor.accept_any("DISTINCT", "ALL") == "DISTINCT"
    top = parse_top(cursor)
    items = _items(cursor, assign=not inner)
    into = _into(cursor, inner)
    source = parse_from(cursor) if cursor.accept("FROM") else None
    where = parse_where(cursor)
    group = _group(cursor)
    having = parse_condition(cursor) if cursor.accept("HAVING") else None
    if cursor.key == "WINDOW" and cursor.is_name(1):
        raise cursor.refuse("the WINDOW clause")
    return Select(items, source, where, group, having, distinct, top, into)


def parse_where(cursor: Cursor) -> Expression | None:
    """WHERE, if it is here."""
    if not cursor.accept("WHERE"):
        return None
    if cursor.peek("CURRENT", "OF"):
        raise cursor.refuse("WHERE CURRENT OF")
    return parse_condition(cursor)


def parse_top(cursor: Cursor) -> Expression | None:
    """TOP n or TOP (expression), if it is here."""
    if not cursor.accept("TOP"):
        return None
    if cursor.accept("("):
        with cursor.nested():
            found = parse_expression(cursor)
        cursor.expect(")")
    elif cursor.kind in ("int", "float", "decimal"):
        found = Literal(cursor.kind, cursor.tokens.values[cursor.at])
        cursor.at += 1
    else:
        raise cursor.error()
    if cursor.key == "PERCENT" or cursor.peek("WITH", "TIES"):
        raise cursor.refuse("TOP with PERCENT or WITH TIES")
    return found


def _into(cursor: Cursor, inner: bool) -> Name | None:
    if cursor.key != "INTO":
        return None
    if inner:
        raise cursor.error()
    cursor.at += 1
    return cursor.name()


def _group(cursor: Cursor) -> list[Expression]:
    if not cursor.accept("GROUP", "BY"):
        return []
    if cursor.key in ("ALL", "(") or (cursor.key in ("ROLLUP", "CUBE", "GROUPING") and cursor.look(1) in ("(", "SETS")):
        raise cursor.refuse("GROUP BY with ALL, ROLLUP, CUBE, GROUPING SETS or parentheses")
    found = expression_list(cursor)
    if cursor.key == "WITH" and cursor.look(1) in ("ROLLUP", "CUBE"):
        raise cursor.refuse("GROUP BY with ROLLUP or CUBE")
    return found


def _paging(cursor: Cursor, ordered: bool) -> tuple[Expression | None, Expression | None]:
    """OFFSET n ROWS [FETCH NEXT m ROWS ONLY]; needs ORDER BY."""
    if not ordered or cursor.key != "OFFSET":
        return None, None
    cursor.at += 1
    offset = parse_expression(cursor)
    cursor.expect_any("ROW", "ROWS")
    if not cursor.accept("FETCH"):
        return offset, None
    cursor.expect_any("NEXT", "FIRST")
    fetch = parse_expression(cursor)
    cursor.expect_any("ROW", "ROWS")
    cursor.expect("ONLY")
    return offset, fetch


def parse_options(cursor: Cursor) -> tuple[str, ...]:
    """OPTION (...), if it is here."""
    if not cursor.accept("OPTION"):
        return ()
    cursor.expect("(")
    found = []
    while True:
        if cursor.accept("RECOMPILE"):
            found.append("RECOMPILE")
        elif cursor.accept("MAXDOP"):
            found.append(f"MAXDOP {cursor.integer()}")
        elif cursor.key in _OTHER_OPTIONS:
            raise cursor.refuse(f"OPTION ({cursor.key})")
        else:
            raise cursor.error()
        if not cursor.accept(","):
            cursor.expect(")")
            return tuple(found)


# -- the select list ---------------------------------------------------------------------------------------------------------


def _items(cursor: Cursor, *, assign: bool) -> list[SelectItem]:
    found = [_item(cursor, assign)]
    while cursor.accept(","):
        found.append(_item(cursor, assign))
    if len({bool(i.assign) for i in found}) > 1:
        message = "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations."
        raise cursor.raise_error(141, message)
    return found


def _item(cursor: Cursor, assign: bool) -> SelectItem:
    star = parse_star(cursor)
    if star is not None:
        return SelectItem(star)
    if cursor.kind == "variable" and assign and cursor.look(1) in ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="):
        return _assignment(cursor)
    named = cursor.is_name() or cursor.kind in ("string", "nstring")
    if named and cursor.look(1) == "=":
        alias = str(cursor.tokens.values[cursor.at])
        cursor.at += 2
        return SelectItem(parse_expression(cursor), alias)
    return SelectItem(parse_expression(cursor), parse_item_alias(cursor))


def _assignment(cursor: Cursor) -> SelectItem:
    name = cursor.variable()
    op = cursor.key
    cursor.at += 1
    value = parse_expression(cursor)
    return SelectItem(value if op == "=" else Binary(op[0], Variable(name), value), "", name)


def parse_item_alias(cursor: Cursor) -> str:
    """`[AS] alias`, also as a string; "" without."""
    if cursor.accept("AS"):
        return cursor.string() if cursor.kind in ("string", "nstring") else cursor.identifier()
    if cursor.is_name():
        return cursor.identifier()
    return cursor.string() if cursor.kind in ("string", "nstring") else ""


def parse_star(cursor: Cursor) -> Star | None:
    """`*`, `t.*`, `s.t.*`."""
    if cursor.accept("*"):
        return Star()
    ahead = 0
    while cursor.is_name(ahead) and cursor.look(ahead + 1) == ".":
        ahead += 2
    if not ahead or cursor.look(ahead) != "*":
        return None
    parts = []
    while cursor.key != "*":
        parts.append(cursor.identifier())
        cursor.at += 1
    cursor.at += 1
    return Star(tuple(parts))


# -- FROM --------------------------------------------------------------------------------------------------------------------


def parse_from(cursor: Cursor) -> Source:
    """What follows FROM; a comma is a CROSS join of what stands on both sides."""
    source = _joined(cursor)
    while cursor.accept(","):
        source = Join("CROSS", source, _joined(cursor), None)
    return source


def _joined(cursor: Cursor) -> Source:
    source = _table(cursor)
    while True:
        kind = _join_kind(cursor)
        if not kind:
            return source
        if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
            source = Join(kind, source, _table(cursor), None)
            continue
        with cursor.nested():  # a JOIN b JOIN c ON .. ON .. : the inner join belongs to the right side
            right = _joined_right(cursor)
        cursor.expect("ON")
        source = Join(kind, source, right, parse_condition(cursor))


def _joined_right(cursor: Cursor) -> Source:
    right = _table(cursor)
    while cursor.key != "ON":
        kind = _join_kind(cursor)
        if not kind:
            raise cursor.error()
        if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
            right = Join(kind, right, _table(cursor), None)
            continue
        with cursor.nested():
            inner = _joined_right(cursor)
        cursor.expect("ON")
        right = Join(kind, right, inner, parse_condition(cursor))
    return right


def _join_kind(cursor: Cursor) -> str:
    """Steps over the words of a join; "" without one."""
    if cursor.accept("CROSS"):
        return "CROSS" if cursor.expect_any("JOIN", "APPLY") == "JOIN" else "CROSS APPLY"
    if cursor.accept("OUTER", "APPLY"):
        return "OUTER APPLY"
    kind = cursor.accept_any("INNER", "LEFT", "RIGHT", "FULL")
    if kind in ("LEFT", "RIGHT", "FULL"):
        cursor.accept("OUTER")
    if kind and cursor.key in ("LOOP", "HASH", "MERGE", "REMOTE"):
        raise cursor.refuse("a join hint")
    if kind:
        cursor.expect("JOIN")
        return kind
    return "INNER" if cursor.accept("JOIN") else ""


def _table(cursor: Cursor) -> Source:
    if cursor.key == "(":
        source = _parenthesised(cursor)
    elif cursor.key == "CHANGETABLE":
        source = _changetable(cursor)
    elif cursor.kind == "variable":
        source = TableRef(Name((cursor.variable(),)), parse_table_alias(cursor))
    elif cursor.key in _ROWSETS:
        raise cursor.refuse(cursor.key)
    else:
        source = _named_table(cursor)
    if cursor.key in ("PIVOT", "UNPIVOT", "TABLESAMPLE"):
        raise cursor.refuse(cursor.key)
    return source


def _named_table(cursor: Cursor) -> TableRef:
    name = cursor.name()
    if cursor.key == "(":
        raise cursor.refuse(f"the table function {'.'.join(name.parts)}, or a hint without WITH")
    if cursor.peek("FOR", "SYSTEM_TIME"):
        raise cursor.refuse("FOR SYSTEM_TIME")
    if cursor.key == "WITH" and cursor.look(1) == "(":
        hints = parse_hints(cursor)
        alias = parse_table_alias(cursor)  # not in the grammar, but the message is then about the alias
        if alias:
            raise cursor.error(cursor.at - 1)
        return TableRef(name, "", hints)
    alias = parse_table_alias(cursor)
    return TableRef(name, alias, parse_hints(cursor))


def parse_table_alias(cursor: Cursor) -> str:
    """`[AS] alias`; "" without."""
    if cursor.accept("AS"):
        return cursor.identifier()
    if not cursor.is_name() or cursor.key == "WINDOW":
        return ""
    return cursor.identifier()


def parse_hints(cursor: Cursor) -> tuple[str, ...]:
    """WITH (hint [,] hint): upper case; INDEX with its name, as INDEX(name). Raises SqlError 319 for another WITH."""
    if cursor.key != "WITH":
        return ()
    if cursor.peek("WITH", "CHECK", "OPTION"):
        raise cursor.refuse("WITH CHECK OPTION")
    if cursor.look(1) != "(":
        raise with_error(cursor)
    cursor.expect("WITH", "(")
    found = []
    while True:
        found.append(_hint(cursor))
        if not cursor.accept(",") and cursor.accept(")"):
            return tuple(found)


def with_error(cursor: Cursor) -> SqlError:
    """319: a statement that begins with WITH follows one without semicolon."""
    message = (
        "Incorrect syntax near the keyword 'with'. If this statement is a common table expression, an xmlnamespaces clause "
        "or a change tracking context clause, the previous statement must be terminated with a semicolon."
    )
    return cursor.raise_error(319, message)


def _hint(cursor: Cursor) -> str:
    key = cursor.key
    if key == "INDEX":
        cursor.at += 1
        if cursor.accept("="):
            return f"INDEX({_index(cursor)})"
        cursor.expect("(")
        name = _index(cursor)
        if cursor.key == ",":
            raise cursor.refuse("several indexes in a hint")
        cursor.expect(")")
        return f"INDEX({name})"
    if key in _REFUSED_HINTS:
        raise cursor.refuse(f"the hint {key}")
    if key not in HINTS:
        shown = cursor.tokens.texts[cursor.at]
        if cursor.kind != "name":
            raise cursor.error()
        raise cursor.raise_error(321, f'"{shown}" is not a recognized table hints option.')
    cursor.at += 1
    if key == "FORCESEEK" and cursor.key == "(":
        raise cursor.refuse("FORCESEEK with an index")
    return key


def _index(cursor: Cursor) -> str:
    return str(cursor.integer()) if cursor.kind == "int" else cursor.identifier()


def _parenthesised(cursor: Cursor) -> Source:
    """A derived table, or a join in parentheses."""
    ahead = 1
    while cursor.look(ahead) == "(":
        ahead += 1
    with cursor.nested():
        if cursor.look(ahead) not in ("SELECT", "VALUES"):
            cursor.expect("(")
            source = _joined(cursor)
            cursor.expect(")")
            return source
        cursor.expect("(")
        query: Query | Values = Values(parse_rows(cursor)) if cursor.accept("VALUES") else parse_query(cursor)
        cursor.expect(")")
    cursor.accept("AS")
    alias = cursor.identifier()
    columns = cursor.names() if cursor.key == "(" else ()
    return Derived(query, alias, columns)


def parse_rows(cursor: Cursor) -> list[list[Expression]]:
    """`(1, 2), (3, 4)` of a table value constructor."""
    found = []
    while True:
        cursor.expect("(")
        found.append(expression_list(cursor))
        cursor.expect(")")
        if not cursor.accept(","):
            return found


# -- CHANGETABLE -------------------------------------------------------------------------------------------------------------
# https://learn.microsoft.com/sql/relational-databases/system-functions/changetable-transact-sql


def _changetable(cursor: Cursor) -> Source:
    cursor.expect("CHANGETABLE", "(")
    if cursor.expect_any("CHANGES", "VERSION") == "VERSION":
        return _version(cursor)
    table = cursor.name()
    cursor.expect(",")
    since = _scalar(cursor)
    forceseek = False
    if cursor.accept(","):
        cursor.expect("FORCESEEK")
        forceseek = True
    cursor.expect(")")
    alias, columns = _changetable_alias(cursor)
    return ChangeTable(table, since, alias, columns, forceseek)


def _scalar(cursor: Cursor) -> Expression:
    """A literal, with a sign, or a variable: the grammar takes no expression."""
    negative = cursor.accept("-")
    if cursor.kind == "variable" and not negative:
        return Variable(cursor.variable())
    if cursor.accept("NULL"):
        return Literal("null", None)
    kind, value = cursor.kind, cursor.tokens.values[cursor.at]
    if kind not in ("int", "decimal") or isinstance(value, (float, str, bytes)) or value is None:
        raise cursor.error()
    cursor.at += 1
    return Literal(kind, -value if negative else value)


def _version(cursor: Cursor) -> Source:
    table = cursor.name()
    cursor.expect(",")
    keys = cursor.names()
    cursor.expect(",", "(")
    values = expression_list(cursor)
    cursor.expect(")")
    if cursor.accept(","):
        cursor.expect("FORCESEEK")
    cursor.expect(")")
    for value in values:
        if not isinstance(value, (Literal, Variable, ColumnRef)):
            raise cursor.refuse("CHANGETABLE(VERSION) with an expression as value of a key")
    alias, columns = _changetable_alias(cursor)
    if columns:
        raise cursor.refuse("CHANGETABLE(VERSION) with column aliases")
    return VersionTable(table, keys, values, alias)


def _changetable_alias(cursor: Cursor) -> tuple[str, tuple[str, ...]]:
    cursor.accept("AS")
    alias = cursor.identifier()
    return alias, cursor.names() if cursor.key == "(" else ()
