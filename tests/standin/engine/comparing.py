"""pure: comparisons of typed expressions as conditions of PostgreSQL.

https://learn.microsoft.com/sql/t-sql/language-elements/comparison-operators-transact-sql
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.standin.engine import arithmetic, casting, collating, types
from tests.standin.engine.scope import Typed
from tests.standin.ports import MAX, Refused, SqlError, SqlType

_NAMES = {
    "=": "equal to",
    "<>": "not equal to",
    "<": "less than",
    "<=": "less than or equal to",
    ">": "greater than",
    ">=": "greater than or equal to",
}
_EXACT = frozenset({*types.INTEGERS, *types.MONEYS, "decimal"})


def pair(op: str, a: Typed, b: Typed) -> tuple[str, str]:
    """What PostgreSQL compares in the place of both. Raises SqlError 206, 402, 468, Refused."""
    if a.null or b.null:
        known = b if a.null else a
        return tuple(collating.key(casting.implicit(s, known.type), known.type.collation) for s in (a, b))  # type: ignore[return-value]
    for side in (a, b):
        if side.type.name in {"text", "ntext", "image", "xml", *types.SPATIAL}:
            raise SqlError(
                402, f"The data types {a.type.name} and {b.type.name} are incompatible in the {_NAMES[op]} operator."
            )
    if {a.type.name, b.type.name} <= _EXACT:
        return a.sql, b.sql
    target, (left, right) = arithmetic.unite([a, b], f"{_NAMES[op]}")
    return tuple(collating.key(Typed(sql, target), target.collation) for sql in (left, right))  # type: ignore[return-value]


def compare(op: str, a: Typed, b: Typed) -> str:
    """A condition."""
    left, right = pair(op, a, b)
    return f"({left} {op} {right})"


def among(operand: Typed, choices: Sequence[Typed], *, negated: bool) -> str:
    """IN (a, b, ...): an OR of equalities."""
    pairs = [pair("=", operand, choice) for choice in choices]
    lefts: dict[str, list[str]] = {}
    for left, right in pairs:
        lefts.setdefault(left, []).append(right)
    found = " OR ".join(f"{left} IN ({', '.join(rights)})" for left, rights in lefts.items())
    return f"(NOT ({found}))" if negated else f"({found})"


def among_rows(operand: Typed, query: str, column: Typed, *, negated: bool) -> str:
    """IN (SELECT ...); the query's column is k1."""
    left, right = pair("=", operand, column.to("s.k1"))
    return f"({left} {'NOT IN' if negated else 'IN'} (SELECT {right} FROM ({query}) AS s))"


def like(value: Typed, pattern: Typed) -> str:
    """LIKE with % _ [...]; trailing blanks count only in Unicode."""
    sides = [
        s if s.type.name in types.TEXTS or s.null else casting.implicit(s, SqlType("varchar", MAX)) for s in (value, pattern)
    ]
    if any(s.null for s in sides):
        return "(NULL::boolean)"
    collation, _ = collating.merged(sides, "like")
    fold = collating.fold(collation)
    if any(s.type.name not in types.TEXTS for s in sides):
        raise Refused(f"LIKE of {value.type.name}")
    tail = str(not any(s.type.name in types.UNICODE for s in sides)).lower()
    return f"(standin.cased({sides[0].sql}, '{fold}') ~ standin.like_pattern({sides[1].sql}, '{fold}', {tail}))"
