"""pure: scalar expressions and conditions; T-SQL keeps the two apart.

Precedence: https://learn.microsoft.com/sql/t-sql/language-elements/operator-precedence-transact-sql
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import cast

from tests.standin.tsql.ast import (
    Between,
    Binary,
    Call,
    Case,
    Collate,
    ColumnRef,
    Convert,
    Exists,
    Expression,
    In,
    IsNull,
    Literal,
    Method,
    OrderItem,
    Query,
    Star,
    StaticCall,
    Subquery,
    Unary,
    Variable,
    Window,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_types import parse_type
from tests.standin.tsql.tokens import words

_COMPARE = {"=": "=", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "!<": ">=", "!>": "<="}
_FACTORS = frozenset("*/%")
_TERMS = frozenset("+-&|^")
_LITERALS = frozenset(("int", "decimal", "money", "float", "string", "nstring", "binary"))
_NILADIC = frozenset(("CURRENT_TIMESTAMP", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "USER"))
_RESERVED_CALLS = frozenset(("COALESCE", "NULLIF", "LEFT", "RIGHT"))
_CASTS = frozenset(("CAST", "TRY_CAST"))
_CONVERTS = frozenset(("CONVERT", "TRY_CONVERT"))
_AGGREGATES = frozenset(
    ("COUNT", "COUNT_BIG", "SUM", "MIN", "MAX", "AVG", "CHECKSUM_AGG", "STRING_AGG", "STDEV", "STDEVP", "VAR", "VARP")
)
_REFUSED_WORDS = {
    "IDENTITYCOL": "IDENTITYCOL",
    "ROWGUIDCOL": "ROWGUIDCOL",
    "CURRENT_DATE": "CURRENT_DATE",
    "OPENROWSET": "OPENROWSET",
    "{": "an ODBC escape sequence",
}
_REFUSED_CALLS = frozenset(("PARSE", "TRY_PARSE", "JSON_OBJECT", "JSON_ARRAY", "NEXT"))
# Members of CLR types; their names are case-sensitive. https://learn.microsoft.com/sql/t-sql/spatial-geography
METHODS = words(
    """
    ToString Parse GetLevel GetAncestor GetDescendant GetReparentedValue IsDescendantOf AsBinaryZM AsTextZM STAsBinary STAsText
    STEquals STIsEmpty STIsValid MakeValid STGeometryType STNumPoints STDistance STBuffer STIntersects STContains STWithin
    value query exist nodes modify
    """
)
PROPERTIES = frozenset(("STSrid", "STX", "STY", "HasZ", "HasM"))
_CONDITIONS = (IsNull, Between, In, Exists)
_LOGICAL = frozenset(("=", "<>", "<", "<=", ">", ">=", "AND", "OR", "LIKE"))


def is_condition(node: Expression) -> bool:
    """Whether it is true, false or unknown, rather than a value."""
    if isinstance(node, Binary):
        return node.op in _LOGICAL
    return isinstance(node, _CONDITIONS) or (isinstance(node, Unary) and node.op == "NOT")


def parse_expression(cursor: Cursor) -> Expression:
    """A value."""
    return _terms(cursor, None)


def parse_condition(cursor: Cursor) -> Expression:
    """What WHERE takes. Raises SqlError 4145 for a value."""
    start = cursor.at
    node = _any(cursor)
    if not is_condition(node):
        near = cursor.tokens.texts[cursor.at] or cursor.tokens.texts[max(cursor.at - 1, start)]
        message = f"An expression of non-boolean type specified in a context where a condition is expected, near '{near}'."
        raise cursor.raise_error(4145, message, start)
    return node


def expression_list(cursor: Cursor) -> list[Expression]:
    """One or more, with commas."""
    found = [parse_expression(cursor)]
    while cursor.accept(","):
        found.append(parse_expression(cursor))
    return found


def order_items(cursor: Cursor) -> list[OrderItem]:
    """What follows ORDER BY."""
    found = []
    while True:
        value = parse_expression(cursor)
        descending = cursor.accept_any("ASC", "DESC") == "DESC"
        found.append(OrderItem(value, descending))
        if not cursor.accept(","):
            return found


# -- conditions --------------------------------------------------------------------------------------------------------------


def _any(cursor: Cursor) -> Expression:
    """A condition, or a value where no condition follows (the caller checks)."""
    node = _conjunction(cursor)
    while cursor.key == "OR":
        _need_condition(cursor, node)
        cursor.at += 1
        right = _conjunction(cursor)
        _need_condition(cursor, right)
        node = Binary("OR", node, right)
    return node


def _conjunction(cursor: Cursor) -> Expression:
    node = _negation(cursor)
    while cursor.key == "AND":
        _need_condition(cursor, node)
        cursor.at += 1
        right = _negation(cursor)
        _need_condition(cursor, right)
        node = Binary("AND", node, right)
    return node


def _need_condition(cursor: Cursor, node: Expression) -> None:
    if not is_condition(node):
        near = cursor.tokens.texts[cursor.at] or "end of text"
        message = f"An expression of non-boolean type specified in a context where a condition is expected, near '{near}'."
        raise cursor.raise_error(4145, message)


def _negation(cursor: Cursor) -> Expression:
    count = 0
    while cursor.accept("NOT"):
        count += 1
        if count > 40:
            raise cursor.refuse("more than 40 times NOT")
    node = _predicate(cursor)
    if count:
        _need_condition(cursor, node)
    for _ in range(count):
        node = Unary("NOT", node)
    return node


def _predicate(cursor: Cursor) -> Expression:
    if cursor.key == "EXISTS":
        cursor.at += 1
        return Exists(_query_in_parentheses(cursor))
    if cursor.key in ("CONTAINS", "FREETEXT") or (cursor.key == "UPDATE" and cursor.look(1) == "("):
        raise cursor.refuse(f"the condition {cursor.key}")
    if cursor.key == "(" and cursor.look(1) != "SELECT":
        with cursor.nested():
            cursor.at += 1
            inner = _any(cursor)
            _refuse_compound(cursor, inner)
            cursor.expect(")")
        if is_condition(inner):
            return inner
        return _comparison(cursor, _terms(cursor, inner))
    return _comparison(cursor, _terms(cursor, None))


def _refuse_compound(cursor: Cursor, inner: Expression) -> None:
    if isinstance(inner, Subquery) and cursor.key in ("UNION", "EXCEPT", "INTERSECT"):
        raise cursor.refuse("a parenthesised query as the first of a scalar UNION")


def _comparison(cursor: Cursor, left: Expression) -> Expression:
    op = _COMPARE.get(cursor.key)
    if op is not None:
        cursor.at += 1
        if cursor.key in ("ANY", "ALL", "SOME"):
            raise cursor.refuse(f"a comparison with {cursor.key}")
        return Binary(op, left, _terms(cursor, None))
    if cursor.accept("IS"):
        negated = cursor.accept("NOT")
        if cursor.peek("DISTINCT", "FROM"):
            raise cursor.refuse("IS DISTINCT FROM")
        cursor.expect("NULL")
        return IsNull(left, negated)
    negated = cursor.key == "NOT" and cursor.look(1) in ("BETWEEN", "IN", "LIKE") and cursor.accept("NOT")
    if cursor.accept("BETWEEN"):
        low = _terms(cursor, None)
        cursor.expect("AND")
        return Between(left, low, _terms(cursor, None), negated)
    if cursor.accept("IN"):
        return _in(cursor, left, negated)
    return _like(cursor, left, negated) if cursor.accept("LIKE") else left


def _in(cursor: Cursor, left: Expression, negated: bool) -> Expression:
    if cursor.key == "(" and cursor.look(1) == "SELECT":
        return In(left, _query_in_parentheses(cursor), negated)
    cursor.expect("(")
    choices = expression_list(cursor)
    cursor.expect(")")
    return In(left, choices, negated)


def _like(cursor: Cursor, left: Expression, negated: bool) -> Expression:
    pattern = _terms(cursor, None)
    if cursor.key == "ESCAPE":
        raise cursor.refuse("LIKE with ESCAPE")
    found = Binary("LIKE", left, pattern)
    return Unary("NOT", found) if negated else found


# -- values ------------------------------------------------------------------------------------------------------------------


def _terms(cursor: Cursor, left: Expression | None) -> Expression:
    """`left`: what was read already, in parentheses."""
    node = _factors(cursor, left)
    while cursor.key in _TERMS:
        op = cursor.key
        cursor.at += 1
        node = Binary(op, node, _factors(cursor, None))
    return node


def _factors(cursor: Cursor, left: Expression | None) -> Expression:
    node = _postfix(cursor, left) if left is not None else _unary(cursor)
    while cursor.key in _FACTORS:
        op = cursor.key
        cursor.at += 1
        node = Binary(op, node, _unary(cursor))
    return node


def _unary(cursor: Cursor) -> Expression:
    ops = []
    while cursor.key in ("-", "+", "~"):
        ops.append(cursor.key)
        cursor.at += 1
        if len(ops) > 40:
            raise cursor.refuse("more than 40 signs")
    node = _postfix(cursor, _primary(cursor))
    for op in reversed(ops):
        node = Unary(op, node)
    return node


def _postfix(cursor: Cursor, node: Expression) -> Expression:
    """COLLATE, `.Method()`, `.Property`."""
    while True:
        if cursor.accept("COLLATE"):
            node = Collate(node, cursor.identifier())
        elif cursor.key == "." and not isinstance(node, (Literal, ColumnRef)) and cursor.is_name(1):
            cursor.at += 1
            name = cursor.identifier()
            node = Method(node, name, _arguments(cursor) if cursor.key == "(" else None)
        elif cursor.key == "AT" and cursor.peek("AT", "TIME", "ZONE"):
            raise cursor.refuse("AT TIME ZONE")
        else:
            return node


def _primary(cursor: Cursor) -> Expression:
    kind = cursor.kind
    if kind in _LITERALS:
        cursor.at += 1
        value = cast("int | Decimal | float | str | bytes", cursor.tokens.values[cursor.at - 1])
        return Literal(kind, value)
    if kind == "variable":
        return _variable(cursor)
    if cursor.is_name():
        return _named(cursor)
    if kind == "pseudo":
        raise cursor.refuse(cursor.tokens.texts[cursor.at])
    return _keyword(cursor)


def _variable(cursor: Cursor) -> Expression:
    text = cursor.tokens.texts[cursor.at]
    cursor.at += 1
    return Variable(text.upper() if text.startswith("@@") else text)


def _keyword(cursor: Cursor) -> Expression:
    key = cursor.key
    if key == "NULL":
        cursor.at += 1
        return Literal("null", None)
    if key == "(":
        return _parentheses(cursor)
    if key == "CASE":
        return _case(cursor)
    if key in _CONVERTS:
        return _convert(cursor)
    if key in _RESERVED_CALLS:
        cursor.at += 1
        return Call(key, _arguments(cursor))
    if key in _NILADIC:
        cursor.at += 1
        return Call(key, ())
    if key in _REFUSED_WORDS:
        raise cursor.refuse(_REFUSED_WORDS[key])
    raise cursor.error()


def _parentheses(cursor: Cursor) -> Expression:
    if cursor.look(1) == "SELECT":
        return Subquery(_query_in_parentheses(cursor))
    with cursor.nested():
        cursor.expect("(")
        node = parse_expression(cursor)
        _refuse_compound(cursor, node)
        cursor.expect(")")
    return node


def _query_in_parentheses(cursor: Cursor) -> Query:
    with cursor.nested():
        cursor.expect("(")
        query = cursor.parse_query(cursor)
        cursor.expect(")")
    return query


def _case(cursor: Cursor) -> Expression:
    cursor.expect("CASE")
    with cursor.nested():
        operand = None if cursor.key == "WHEN" else parse_expression(cursor)
        whens = []
        while cursor.accept("WHEN"):
            condition = parse_condition(cursor) if operand is None else parse_expression(cursor)
            cursor.expect("THEN")
            whens.append((condition, parse_expression(cursor)))
        if not whens:
            raise cursor.error()
        otherwise = parse_expression(cursor) if cursor.accept("ELSE") else None
        cursor.expect("END")
    return Case(operand, whens, otherwise)


def _cast(cursor: Cursor) -> Expression:
    attempt = cursor.key == "TRY_CAST"
    cursor.at += 1
    with cursor.nested():
        cursor.expect("(")
        operand = parse_expression(cursor)
        cursor.expect("AS")
        target = parse_type(cursor, 30)
        cursor.expect(")")
    return Convert(target, operand, None, attempt)


def _convert(cursor: Cursor) -> Expression:
    attempt = cursor.key == "TRY_CONVERT"
    cursor.at += 1
    with cursor.nested():
        cursor.expect("(")
        target = parse_type(cursor, 30)
        cursor.expect(",")
        operand = parse_expression(cursor)
        style = parse_expression(cursor) if cursor.accept(",") else None
        cursor.expect(")")
    return Convert(target, operand, style, attempt)


def _named(cursor: Cursor) -> Expression:
    """A column, a function, a method of a column or of a type."""
    key = cursor.key
    if cursor.look(1) == "(" and key:
        return _call(cursor)
    if cursor.look(1) == "::":
        type_name = cursor.identifier()
        cursor.at += 1
        name = cursor.identifier()
        if cursor.key != "(":
            raise cursor.refuse(f"the static property {type_name}::{name}")
        return StaticCall(type_name.lower(), name, _arguments(cursor))
    parts = _column_parts(cursor)
    if cursor.key == "(":
        if len(parts) == 1:
            raise cursor.refuse("a function whose name is quoted")
        if parts[-1] not in METHODS:
            raise cursor.refuse(f"the function {'.'.join(parts)}")
        return Method(ColumnRef(parts[:-1]), parts[-1], _arguments(cursor))
    if len(parts) > 1 and parts[-1] in PROPERTIES:
        return Method(ColumnRef(parts[:-1]), parts[-1], None)
    return ColumnRef(parts)


def _column_parts(cursor: Cursor) -> tuple[str, ...]:
    parts = [cursor.identifier()]
    while cursor.key == "." and len(parts) < 5:
        if cursor.look(1) == "*":
            raise cursor.error(cursor.at + 1)
        cursor.at += 1
        parts.append(cursor.identifier())
    return tuple(parts)


def _call(cursor: Cursor) -> Expression:
    name = cursor.key
    if name in _CASTS:
        return _cast(cursor)
    if name in _REFUSED_CALLS:
        raise cursor.refuse(f"the function {name}")
    cursor.at += 1
    if name == "IIF":
        return _iif(cursor)
    distinct = False
    with cursor.nested():
        cursor.expect("(")
        if name in _AGGREGATES:
            distinct = cursor.accept_any("DISTINCT", "ALL") == "DISTINCT"
        arguments = _call_arguments(cursor, name)
    call = Call(name, arguments, distinct)
    if cursor.peek("WITHIN", "GROUP"):
        raise cursor.refuse("WITHIN GROUP")
    return _window(cursor, call) if cursor.key == "OVER" else call


def _call_arguments(cursor: Cursor, name: str) -> Sequence[Expression]:
    """Up to the closing parenthesis, which it takes."""
    if cursor.accept(")"):
        return ()
    if cursor.key == "*" and name in ("COUNT", "COUNT_BIG", "CHECKSUM", "BINARY_CHECKSUM"):
        cursor.at += 1
        cursor.expect(")")
        return (Star(),)
    if name == "TRIM" and cursor.key in ("LEADING", "TRAILING", "BOTH"):
        raise cursor.refuse(f"TRIM with {cursor.key}")
    found = expression_list(cursor)
    if name == "TRIM" and cursor.key == "FROM":
        raise cursor.refuse("TRIM with FROM")
    cursor.expect(")")
    return found


def _iif(cursor: Cursor) -> Expression:
    with cursor.nested():
        cursor.expect("(")
        condition = parse_condition(cursor)
        cursor.expect(",")
        first = parse_expression(cursor)
        cursor.expect(",")
        second = parse_expression(cursor)
        cursor.expect(")")
    return Call("IIF", (condition, first, second))


def _arguments(cursor: Cursor) -> Sequence[Expression]:
    with cursor.nested():
        cursor.expect("(")
        if cursor.accept(")"):
            return ()
        found = expression_list(cursor)
        cursor.expect(")")
    return found


def _window(cursor: Cursor, call: Call) -> Expression:
    cursor.expect("OVER")
    if cursor.key != "(":
        raise cursor.refuse("a named window")
    with cursor.nested():
        cursor.expect("(")
        partition = expression_list(cursor) if cursor.accept("PARTITION", "BY") else []
        order = order_items(cursor) if cursor.accept("ORDER", "BY") else []
        if cursor.key in ("ROWS", "RANGE"):
            raise cursor.refuse("the frame of a window")
        cursor.expect(")")
    return Window(call, partition, order)
