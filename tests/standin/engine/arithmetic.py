"""pure: + - * / % & | ^ on typed expressions, and what types results have.

https://learn.microsoft.com/sql/t-sql/language-elements/arithmetic-operators-transact-sql
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tests.standin.engine import casting, collating, types
from tests.standin.engine.scope import Typed
from tests.standin.ports import MAX, Refused, SqlError, SqlType

_WORDS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo", "&": "'&'", "|": "'|'", "^": "'^'"}
_BITWISE = {"&": "&", "|": "|", "^": "#"}
_WHOLE = frozenset({*types.INTEGERS, "bit"})


def unified(sides: Sequence[Typed], operation: str = "") -> SqlType:
    """The type all of them become (CASE, COALESCE, UNION, IN), with its collation; int where all are NULL."""
    known = [s for s in sides if not s.null]
    if not known:
        return types.INT
    result = known[0].type
    for side in known[1:]:
        result = types.common(_exact(side, result), result) if side.type != result else result
    if result.name in types.TEXTS:
        return replace(result, collation=collating.merged(known, operation)[0])
    return result


def unite(sides: Sequence[Typed], operation: str = "") -> tuple[SqlType, list[str]]:
    """The common type and each side converted to it."""
    target = unified(sides, operation)
    return target, [casting.implicit(s, target).sql for s in sides]


def _exact(side: Typed, other: SqlType) -> SqlType:
    """A whole constant beside a decimal counts only its digits."""
    if other.name == "decimal" and side.type.name in _WHOLE and isinstance(side.constant, int):
        return SqlType("decimal", precision=max(1, len(str(abs(side.constant)))))
    return side.type


def negate(value: Typed) -> Typed:
    """-value."""
    if value.null:
        return value
    name = value.type.name
    if name in types.STRINGS or name not in types.NUMBERS - {"bit"}:
        raise SqlError(8117, f"Operand data type {name} is invalid for minus operator.")
    if isinstance(value.constant, (int, Decimal, float)):
        return replace(value, sql=f"(-{value.sql})", constant=-value.constant)
    if name == "tinyint":
        return value.to(f"(-({value.sql}))", types.SMALLINT)
    return value.to(f"(-({value.sql}))")


def invert(value: Typed) -> Typed:
    """~value."""
    if value.type.name == "bit":
        return value.to(f"(NOT {value.sql})")
    if value.type.name == "tinyint":
        return value.to(f"((~({value.sql})) & 255::int2)")
    if value.type.name not in types.INTEGERS:
        raise SqlError(8117, f"Operand data type {value.type.name} is invalid for '~' operator.")
    return value.to(f"(~({value.sql}))")


def combine(op: str, a: Typed, b: Typed) -> Typed:
    """a op b. Raises SqlError 206, 402, 8117, Refused."""
    if a.null and b.null:
        return a
    if a.null or b.null:
        known = b if a.null else a
        typed = replace(known, sql=casting.null(known.type), nullable=True, null=False)
        a, b = (typed, b) if a.null else (a, typed)
    if op in _BITWISE:
        return _bitwise(op, a, b)
    names = {a.type.name, b.type.name}
    if names <= types.TEXTS and op == "+":
        return concatenate(a, b)
    if names <= {"binary", "varbinary"} and op == "+":
        length = types.added(a.type, b.type, "varbinary")
        return a.to(f"({a.sql} || {b.sql})", SqlType("varbinary", length))
    return _numbers(op, a, b)


def concatenate(a: Typed, b: Typed) -> Typed:
    """Two texts; what goes beyond 8000 bytes is cut, as documented, unless one is (max)."""
    if {a.type.name, b.type.name} & {"text", "ntext"}:
        raise SqlError(402, f"The data types {a.type.name} and {b.type.name} are incompatible in the add operator.")
    collation, label = collating.merged([a, b])
    unicode_ = bool({a.type.name, b.type.name} & types.UNICODE)
    name = "nvarchar" if unicode_ else "varchar"
    target = SqlType(name, types.added(a.type, b.type, name), collation=collation)
    sides = [casting.implicit(s, SqlType(name, MAX, collation=s.type.collation)).sql for s in (a, b)]
    sql = f"({sides[0]} || {sides[1]})"
    if target.length != MAX and a.type.length + b.type.length > target.length:
        sql = f"standin.cut({sql}, {target.length})"
    return Typed(sql, target, a.nullable or b.nullable, label)


def _bitwise(op: str, a: Typed, b: Typed) -> Typed:
    if not {a.type.name, b.type.name} <= _WHOLE:
        raise Refused(f"{a.type.name} {op} {b.type.name}")
    target, (left, right) = unite([a, b])
    if target.name == "bit":
        sql = {"&": f"({left} AND {right})", "|": f"({left} OR {right})", "^": f"({left} <> {right})"}[op]
        return Typed(sql, target)
    return Typed(f"({left} {_BITWISE[op]} {right})", target)


def _numbers(op: str, a: Typed, b: Typed) -> Typed:
    for side, other in ((a, b), (b, a)):
        if side.type.name in types.STRINGS and other.type.name in types.NUMBERS:
            converted = casting.implicit(side, other.type)
            a, b = (converted, b) if side is a else (a, converted)
    for side in (a, b):
        if side.type.name not in types.NUMBERS:
            if side.type.name in types.TIMES:
                raise Refused(f"arithmetic with {side.type.name}; DATEADD is emulated")
            raise SqlError(8117, f"Operand data type {side.type.name} is invalid for {_WORDS[op]} operator.")
    if a.type.name == b.type.name == "bit":
        raise SqlError(8117, f"Operand data type bit is invalid for {_WORDS[op]} operator.")
    names = {a.type.name, b.type.name}
    if names & {"float", "real"}:
        return _floats(op, a, b)
    if names <= _WHOLE:
        return _integers(op, a, b)
    return _decimals(op, a, b) if "decimal" in names else _money(op, a, b)


def _floats(op: str, a: Typed, b: Typed) -> Typed:
    if op == "%":
        raise SqlError(402, f"The data types {a.type.name} and {b.type.name} are incompatible in the modulo operator.")
    target, (left, right) = unite([a, b])
    return Typed(f"({left} {op} {right})", target)


def _integers(op: str, a: Typed, b: Typed) -> Typed:
    target, (left, right) = unite([a, b])
    sql = f"({left} {op} {right})"
    if target.name == "tinyint":
        sql = f"standin.to_int({sql}::numeric, 'tinyint', false)::int2"
    return Typed(sql, target)


def _decimals(op: str, a: Typed, b: Typed) -> Typed:
    left, right = (types.as_decimal(_exact(s, SqlType("decimal"))) for s in (a, b))
    target = types.decimal_result(op, left, right)
    x, y = (casting.implicit(s, t).sql for s, t in ((a, left), (b, right)))
    shape = f"{target.precision}, {target.scale}"
    if op == "/":
        return Typed(f"standin.divide({x}, {y}, {shape})", target)
    sql = f"({x} {op} {y})"
    return Typed(f"standin.to_decimal({sql}, {shape}, 'numeric')" if target.precision == 38 else sql, target)


def _money(op: str, a: Typed, b: Typed) -> Typed:
    if op in "/%":
        raise Refused("dividing money")
    target, (left, right) = unite([a, b])
    return Typed(f"standin.to_money({left} {op} {right}, '{target.name}', 'expression')", target)
