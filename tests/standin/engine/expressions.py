"""pure: expressions of the syntax tree to typed PostgreSQL. T-SQL keeps values and conditions apart, and so does this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.standin.engine import (
    aggregates,
    arithmetic,
    casting,
    collating,
    comparing,
    errors,
    functions_catalogue,
    functions_session,
    functions_text,
    functions_value,
    types,
    values,
)
from tests.standin.engine.model import State
from tests.standin.engine.scope import Context, Scope, Typed, canonical
from tests.standin.ports import MAX, Refused, SqlError, SqlType, Value
from tests.standin.tsql import ast

FUNCTIONS = functions_text.FUNCTIONS | functions_value.FUNCTIONS | functions_session.FUNCTIONS | functions_catalogue.FUNCTIONS
_COMPARE = frozenset({"=", "<>", "<", "<=", ">", ">="})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "&", "|", "^"})


def value(ctx: Context, scope: Scope, node: ast.Expression) -> Typed:
    """A value. Raises SqlError (207, 209, 4104, 8120 ...), Refused."""
    if scope.groups is not None and not isinstance(node, (ast.Literal, ast.Variable)):
        found = _of_group(scope, node)
        if found is not None:
            return found
    compiler = _VALUES.get(type(node))
    if compiler is None:
        raise Refused(f"{type(node).__name__} as a value")
    return compiler(ctx, scope, node)


def _of_group(scope: Scope, node: ast.Expression) -> Typed | None:
    """The group's value of an expression of GROUP BY. Raises SqlError 8120 for a column that is none."""
    if scope.groups:
        found = scope.groups.get(canonical(node, scope))
        if found is not None:
            return found
    if isinstance(node, ast.ColumnRef) and scope.here(node.parts):
        raise SqlError(
            8120,
            f"Column '{'.'.join(node.parts)}' is invalid in the select list because it is not contained in either an aggregate "
            "function or the GROUP BY clause.",
        )
    return None


# -- leaves ------------------------------------------------------------------------------------------------------------------


def _literal(ctx: Context, scope: Scope, node: ast.Literal) -> Typed:
    return _LITERALS[node.kind](ctx, node.value)


def _int(ctx: Context, number: Any) -> Typed:
    low, high = types.INTEGERS["int"]
    if low <= number <= high:
        return Typed(str(number), types.INT, nullable=False, constant=number)
    return _decimal(ctx, Decimal(number))


def _decimal(ctx: Context, number: Decimal) -> Typed:
    _, digits, exponent = number.as_tuple()
    places = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), places, 1)
    if precision > 38:
        raise SqlError(
            1007, f"The number '{number}' is out of the range for numeric representation (maximum precision 38).", severity=15
        )
    sql = f"{number:f}::numeric" if number >= 0 else f"({number:f})::numeric"
    return Typed(sql, SqlType("decimal", precision=precision, scale=places), nullable=False, constant=number)


def _string(ctx: Context, text: str, name: str) -> Typed:
    length = len(text) if name == "varchar" else values.utf16_length(text)
    limit = 8000 if name == "varchar" else 4000
    type_ = ctx.with_collation(SqlType(name, MAX if length > limit else max(length, 1)))
    sql = f"{casting.quote(values.storable_text(text))}::text"
    if name == "varchar" and not text.isascii():
        sql = f"standin.to_page({sql}, '{collating.page(type_.collation)}')"
    return Typed(sql, type_, nullable=False, constant=text)


def _binary(ctx: Context, raw: bytes) -> Typed:
    type_ = SqlType("varbinary", MAX if len(raw) > 8000 else max(len(raw), 1))
    return Typed(f"'\\x{raw.hex()}'::bytea", type_, nullable=False, constant=raw)


_LITERALS: dict[str, Callable[[Context, Any], Typed]] = {
    "int": _int,
    "decimal": _decimal,
    "money": lambda ctx, number: Typed(f"({number:f})::numeric", types.MONEY, nullable=False, constant=number),
    "float": lambda ctx, number: Typed(f"'{number!r}'::float8", types.FLOAT, nullable=False, constant=number),
    "string": lambda ctx, text: _string(ctx, text, "varchar"),
    "nstring": lambda ctx, text: _string(ctx, text, "nvarchar"),
    "binary": _binary,
    "null": lambda ctx, _: Typed("NULL", types.INT, null=True),
}


def _variable(ctx: Context, scope: Scope, node: ast.Variable) -> Typed:
    if node.name.startswith("@@"):
        return functions_session.global_variable(ctx, node.name.upper())
    return ctx.variable(node.name)


def _column(ctx: Context, scope: Scope, node: ast.ColumnRef) -> Typed:
    return scope.resolve(node.parts)


# -- operators ---------------------------------------------------------------------------------------------------------------


def _unary(ctx: Context, scope: Scope, node: ast.Unary) -> Typed:
    operand = value(ctx, scope, node.operand)
    if node.op == "-":
        return arithmetic.negate(operand)
    if node.op == "~":
        return arithmetic.invert(operand)
    if node.op == "+":
        return operand
    raise Refused(f"{node.op} as a value")


def _binary_operator(ctx: Context, scope: Scope, node: ast.Binary) -> Typed:
    """Long chains lean to the left: they are walked, not recursed into."""
    chain: list[tuple[str, ast.Expression]] = []
    left: ast.Expression = node
    while isinstance(left, ast.Binary) and left.op in _ARITHMETIC and (left is node or not scope.groups):
        chain.append((left.op, left.right))
        left = left.left
    if not chain:
        raise Refused(f"{node.op} as a value")
    result = value(ctx, scope, left)
    for op, right in reversed(chain):
        result = arithmetic.combine(op, result, value(ctx, scope, right))
    return result


def _case(ctx: Context, scope: Scope, node: ast.Case) -> Typed:
    conditions = []
    for when, _ in node.whens:
        if node.operand is None:
            conditions.append(condition(ctx, scope, when))
        else:
            conditions.append(comparing.compare("=", value(ctx, scope, node.operand), value(ctx, scope, when)))
    results = [value(ctx, scope, then) for _, then in node.whens]
    if node.otherwise is not None:
        results.append(value(ctx, scope, node.otherwise))
    if all(r.null for r in results):
        raise SqlError(
            8133,
            "At least one of the result expressions in a CASE specification must be an expression other than the NULL "
            "constant.",
        )
    target, sides = arithmetic.unite(results)
    whens = " ".join(f"WHEN {c} THEN {s}" for c, s in zip(conditions, sides, strict=False))
    otherwise = f" ELSE {sides[-1]}" if node.otherwise is not None else ""
    nullable = node.otherwise is None or any(r.nullable for r in results)
    label = collating.merged(results)[1]
    return Typed(f"(CASE {whens}{otherwise} END)", target, nullable, label)


def _convert(ctx: Context, scope: Scope, node: ast.Convert) -> Typed:
    operand = value(ctx, scope, node.operand)
    target = resolve_type(ctx, node.type)
    if operand.type.name not in types.TEXTS:
        target = ctx.with_collation(target)
    return casting.cast(operand, target, _style(ctx, scope, node.style), attempt=node.attempt)


def _style(ctx: Context, scope: Scope, node: ast.Expression | None) -> int | None:
    if node is None:
        return None
    style = value(ctx, scope, node)
    if not isinstance(style.constant, int):
        raise Refused("a style of CONVERT that is not a constant")
    return style.constant


def resolve_type(ctx: Context, name: ast.TypeName) -> SqlType:
    """A built-in or alias type. Raises SqlError 243."""
    if name.builtin is not None:
        return name.builtin
    parts = name.name.parts
    key = (parts[-2].casefold() if len(parts) > 1 else "dbo", parts[-1].casefold())
    found = ctx.state.catalogue.types.get(key)
    if found is None:
        raise errors.unknown_type(".".join(parts))
    return found[0]


def _collate(ctx: Context, scope: Scope, node: ast.Collate) -> Typed:
    collation = ctx.collation if node.collation.lower() == "database_default" else node.collation
    return collating.collated(value(ctx, scope, node.operand), collation)


def _subquery(ctx: Context, scope: Scope, node: ast.Subquery) -> Typed:
    sql, columns = ctx.query(node.query, scope)
    if len(columns) != 1:
        raise SqlError(
            116, "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS."
        )
    return replace(columns[0].to(f"({sql})"), nullable=True)


# -- functions ---------------------------------------------------------------------------------------------------------------


def _call(ctx: Context, scope: Scope, node: ast.Call) -> Typed:
    name = node.name.upper()
    if name in aggregates.AGGREGATES:
        return _aggregate(ctx, scope, node)
    special = _SPECIAL.get(name)
    if special is not None:
        return special(ctx, scope, node)
    if name not in FUNCTIONS:
        raise Refused(f"the function {name}")
    low, high, function = FUNCTIONS[name]
    args = [value(ctx, scope, argument) for argument in node.arguments]
    if not low <= len(args) <= high:
        needs = f"{low}" if low == high else f"{low} to {high}"
        raise SqlError(174 if low == high else 189, f"The {name.lower()} function requires {needs} argument(s).", severity=15)
    return function(ctx, args)


def _aggregate(ctx: Context, scope: Scope, node: ast.Call) -> Typed:
    if scope.groups is None:
        raise SqlError(147, "An aggregate may not appear here.", severity=15)
    if isinstance(node.arguments[0], ast.Star):
        return aggregates.count_rows(big=node.name.upper() == "COUNT_BIG")
    inner = Scope(scope.relations, scope.outer)
    args = [value(ctx, inner, argument) for argument in node.arguments]
    return aggregates.aggregate(ctx, node.name.upper(), args, distinct=node.distinct)


def _iif(ctx: Context, scope: Scope, node: ast.Call) -> Typed:
    test, first, second = node.arguments
    return _case(ctx, scope, ast.Case(None, [(test, first)], second))


def _nullif(ctx: Context, scope: Scope, node: ast.Call) -> Typed:
    first, second = (value(ctx, scope, argument) for argument in node.arguments)
    return replace(
        first.to(f"(CASE WHEN {comparing.compare('=', first, second)} THEN NULL ELSE {first.sql} END)"), nullable=True
    )


def _date_function(ctx: Context, scope: Scope, node: ast.Call) -> Typed:
    word, *rest = node.arguments
    name = node.name.upper()
    if not isinstance(word, ast.ColumnRef) or len(word.parts) != 1:
        raise SqlError(1023, f"Invalid parameter 1 specified for {name.lower()}.", severity=15)
    part = functions_value.datepart(word.parts[0], name)
    args = [value(ctx, scope, argument) for argument in rest]
    wanted = 1 if name == "DATEPART" else 2
    if len(args) != wanted:
        raise SqlError(174, f"The {name.lower()} function requires {wanted + 1} argument(s).", severity=15)
    if name == "DATEPART":
        return functions_value.date_part(part, args[0])
    if name == "DATEADD":
        return functions_value.date_add(part, args[0], args[1])
    return functions_value.date_diff(part, args[0], args[1], big=name == "DATEDIFF_BIG")


def _checksum(ctx: Context, scope: Scope, node: ast.Call) -> Typed:
    """With * : of all columns in sight that can be compared."""
    args = [value(ctx, scope, a) for a in node.arguments if not isinstance(a, ast.Star)]
    if len(args) < len(node.arguments):
        seen = [c.value for r in scope.relations for c in r.columns if not c.hidden]
        args = [v for v in seen if v.type.name not in {"text", "ntext", "image", "xml", "sql_variant", *types.SPATIAL}]
    return FUNCTIONS[node.name.upper()][2](ctx, args)


_SPECIAL: dict[str, Callable[[Context, Scope, ast.Call], Typed]] = {
    "IIF": _iif,
    "NULLIF": _nullif,
    "CHECKSUM": _checksum,
    "BINARY_CHECKSUM": _checksum,
    **dict.fromkeys(("DATEPART", "DATEADD", "DATEDIFF", "DATEDIFF_BIG"), _date_function),
}


def order_key(item: Typed, *, descending: bool) -> str:
    """An item of ORDER BY: NULL is the lowest value."""
    key = collating.key(item)
    direction = " DESC" if descending else ""
    nulls = "" if not item.nullable else " NULLS LAST" if descending else " NULLS FIRST"
    return f"{key}{direction}{nulls}"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts)


def _window(ctx: Context, scope: Scope, node: ast.Window) -> Typed:
    name = node.call.name.upper()
    partition = ", ".join(collating.key(value(ctx, scope, p)) for p in node.partition)
    order = [
        order_key(value(ctx, scope, o.expression), descending=o.descending)
        for o in node.order
        if not isinstance(o.expression, ast.Subquery)
    ]
    parts = [f"PARTITION BY {partition}"] if partition else []
    over = f"OVER ({' '.join([*parts, f'ORDER BY {_listed(order)}'] if order else parts)})"
    if name in aggregates.RANKING:
        if not node.order:
            raise SqlError(4112, f"The function '{name}' must have an OVER clause with ORDER BY.", severity=15)
        return Typed(f"{aggregates.RANKING[name]}() {over}", types.BIGINT, nullable=False)
    if name not in {"COUNT", "COUNT_BIG"} or node.call.distinct:
        raise Refused(f"{name} with OVER")
    argument = node.call.arguments[0]
    what = "*" if isinstance(argument, ast.Star) else value(ctx, scope, argument).sql
    big = name == "COUNT_BIG"
    return Typed(f"(count({what}) {over})::{'int8' if big else 'int4'}", types.BIGINT if big else types.INT, nullable=False)


# -- members of hierarchyid, geography, geometry -----------------------------------------------------------------------------

_NVARCHAR = SqlType("nvarchar", 4000)
_NVARCHAR_MAX = SqlType("nvarchar", MAX)
_VARBINARY_MAX = SqlType("varbinary", MAX)
_POINTS: dict[str, tuple[str, SqlType, bool]] = {  # with parentheses or not
    "AsBinaryZM": ("standin.point_binary({}, true)", _VARBINARY_MAX, True),
    "STAsBinary": ("standin.point_binary({}, false)", _VARBINARY_MAX, True),
    "AsTextZM": ("standin.point_text({}, true)", _NVARCHAR_MAX, True),
    "ToString": ("standin.point_text({}, true)", _NVARCHAR_MAX, True),
    "STAsText": ("standin.point_text({}, false)", _NVARCHAR_MAX, True),
    "STSrid": ("(({})::jsonb ->> 0)::int4", types.INT, False),
}
_HIERARCHY: dict[str, tuple[str, SqlType, bool]] = {
    "ToString": ("{}", _NVARCHAR, True),
    "GetLevel": ("(regexp_count({}, '/') - 1)::int2", types.SMALLINT, True),
}


def _method(ctx: Context, scope: Scope, node: ast.Method) -> Typed:
    operand = value(ctx, scope, node.operand)
    members = _POINTS if operand.type.name in types.SPATIAL else _HIERARCHY if operand.type.name == "hierarchyid" else {}
    found = members.get(node.name)
    if found is None or found[2] != (node.arguments is not None) or node.arguments:
        raise Refused(f"{node.name} of {operand.type.name}")
    template, type_, _ = found
    return Typed(template.format(operand.sql), ctx.with_collation(type_))


def _static(ctx: Context, scope: Scope, node: ast.StaticCall) -> Typed:
    args = [value(ctx, scope, a) for a in node.arguments]
    kind = SqlType(node.type_name.lower())
    if node.type_name.lower() == "hierarchyid":
        if node.name == "Parse":
            return casting.cast(args[0], kind)
        if node.name == "GetRoot":
            return Typed("'/'::text", kind, nullable=False)
    if node.type_name.lower() in types.SPATIAL and len(args) == 2:
        srid = casting.implicit(args[1], types.INT).sql
        if node.name in {"STGeomFromWKB", "STPointFromWKB"}:
            return Typed(f"standin.point({casting.implicit(args[0], _VARBINARY_MAX).sql}, {srid})", kind)
        if node.name in {"STGeomFromText", "STPointFromText"}:
            return Typed(f"standin.point_from_text({functions_text.as_text(ctx, args[0]).sql}, {srid})", kind)
    if (node.type_name.lower(), node.name) in {("geography", "Point"), ("geometry", "Point")} and len(args) == 3:
        first, second = (casting.implicit(a, types.FLOAT).sql for a in args[:2])
        x, y = (second, first) if node.type_name.lower() == "geography" else (first, second)
        text = f"('POINT (' || ({x})::text || ' ' || ({y})::text || ')')"
        return Typed(f"standin.point_from_text({text}, {casting.implicit(args[2], types.INT).sql})", kind)
    raise Refused(f"{node.type_name}::{node.name}")


_VALUES: dict[type, Callable[[Context, Scope, Any], Typed]] = {
    ast.Literal: _literal,
    ast.Variable: _variable,
    ast.ColumnRef: _column,
    ast.Unary: _unary,
    ast.Binary: _binary_operator,
    ast.Case: _case,
    ast.Convert: _convert,
    ast.Collate: _collate,
    ast.Subquery: _subquery,
    ast.Call: _call,
    ast.Window: _window,
    ast.Method: _method,
    ast.StaticCall: _static,
}


# -- conditions --------------------------------------------------------------------------------------------------------------


def condition(ctx: Context, scope: Scope, node: ast.Expression) -> str:
    """A condition of PostgreSQL: true, false or unknown."""
    if isinstance(node, ast.Binary):
        return _binary_condition(ctx, scope, node)
    if isinstance(node, ast.Unary) and node.op == "NOT":
        return f"(NOT {condition(ctx, scope, node.operand)})"
    if isinstance(node, ast.IsNull):
        return f"({value(ctx, scope, node.operand).sql} IS {'NOT ' if node.negated else ''}NULL)"
    if isinstance(node, ast.Between):
        return _between(ctx, scope, node)
    if isinstance(node, ast.In):
        return _in(ctx, scope, node)
    if isinstance(node, ast.Exists):
        return f"(EXISTS ({ctx.query(node.query, scope)[0]}))"
    raise SqlError(4145, "An expression of non-boolean type specified in a context where a condition is expected.", severity=15)


def conjuncts(node: ast.Expression | None, op: str = "AND") -> Sequence[ast.Expression]:
    """The parts of a chain of AND (or OR), from the left."""
    parts: list[ast.Expression] = []
    waiting = [] if node is None else [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Binary) and part.op == op:
            waiting += [part.right, part.left]
        else:
            parts.append(part)
    return parts


def _binary_condition(ctx: Context, scope: Scope, node: ast.Binary) -> str:
    if node.op in {"AND", "OR"}:
        parts = [condition(ctx, scope, part) for part in conjuncts(node, node.op)]
        return f"({f' {node.op} '.join(parts)})"
    left, right = value(ctx, scope, node.left), value(ctx, scope, node.right)
    if node.op == "LIKE":
        return comparing.like(left, right)
    if node.op in _COMPARE:
        return comparing.compare(node.op, left, right)
    raise Refused(f"{node.op} as a condition")


def _between(ctx: Context, scope: Scope, node: ast.Between) -> str:
    operand, low, high = (value(ctx, scope, part) for part in (node.operand, node.low, node.high))
    found = f"({comparing.compare('>=', operand, low)} AND {comparing.compare('<=', operand, high)})"
    return f"(NOT {found})" if node.negated else found


def _in(ctx: Context, scope: Scope, node: ast.In) -> str:
    operand = value(ctx, scope, node.operand)
    if isinstance(node.choices, ast.Query):
        sql, columns = ctx.query(node.choices, scope)
        if len(columns) != 1:
            raise SqlError(
                116, "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS."
            )
        return comparing.among_rows(operand, sql, columns[0], negated=node.negated)
    return comparing.among(operand, [value(ctx, scope, c) for c in node.choices], negated=node.negated)


def compile_expression(node: ast.Expression, scope: Scope, context: Context) -> Typed:
    """A value over a scope of the caller's."""
    return value(context, scope, node)


def compile_condition(node: ast.Expression, scope: Scope, context: Context) -> str:
    """A condition over a scope of the caller's."""
    return condition(context, scope, node)


async def evaluate(state: State, node: ast.Expression) -> tuple[SqlType, Value]:
    """A scalar expression now, outside of a query. Raises SqlError."""
    from tests.standin.engine import queries  # it builds on this module

    return await queries.evaluate(state, node)
