"""pure: aggregate and window functions: https://learn.microsoft.com/sql/t-sql/functions/aggregate-functions-transact-sql"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.standin.engine import casting, collating, types
from tests.standin.engine.functions_text import as_text
from tests.standin.engine.scope import Context, Typed
from tests.standin.ports import MAX, Refused, SqlError, SqlType

RANKING = {"ROW_NUMBER": "row_number", "RANK": "rank", "DENSE_RANK": "dense_rank"}


def _invalid(value: Typed, name: str) -> SqlError:
    return SqlError(8117, f"Operand data type {value.type.name} is invalid for {name.lower()} operator.")


def count_rows(*, big: bool) -> Typed:
    """COUNT(*) and COUNT_BIG(*)."""
    return _counted("count(*)", big=big)


def _counted(sql: str, *, big: bool) -> Typed:
    return Typed(sql if big else f"({sql})::int4", types.BIGINT if big else types.INT, nullable=False)


def _count(ctx: Context, args: Sequence[Typed], distinct: bool, *, big: bool = False) -> Typed:
    value = args[0]
    what = f"DISTINCT {collating.key(value)}" if distinct else value.sql
    return _counted(f"count({what})", big=big)


def _sum(ctx: Context, args: Sequence[Typed], distinct: bool) -> Typed:
    value = args[0]
    name = value.type.name
    if name not in types.NUMBERS - {"bit"}:
        raise _invalid(value, "sum")
    target = {
        "tinyint": types.INT,
        "smallint": types.INT,
        "real": types.FLOAT,
        "smallmoney": types.MONEY,
        "decimal": replace(value.type, precision=38),
    }.get(name, value.type)
    sql = f"sum({'DISTINCT ' if distinct else ''}{_widened(value)})"
    if target.name == "decimal":
        return Typed(f"standin.to_decimal({sql}, 38, {target.scale}, 'numeric')", target)
    if target.name == "money":
        return Typed(f"standin.to_money({sql}, 'money', 'expression')", target)
    if target.name == "float":
        return Typed(sql, target)
    return Typed(f"standin.to_int({sql}, '{target.name}', false)::{types.pg_base(target)}", target)


def _widened(value: Typed) -> str:
    if value.type.name in types.INTEGERS:
        return f"({value.sql})::numeric"
    return f"({value.sql})::float8" if value.type.name == "real" else value.sql


def _avg(ctx: Context, args: Sequence[Typed], distinct: bool) -> Typed:
    total = _sum(ctx, args, distinct)
    value = args[0]
    number = f"count({'DISTINCT ' if distinct else ''}{value.sql})"
    if total.type.name == "float":
        return Typed(f"({total.sql} / NULLIF({number}, 0))", total.type)
    if total.type.name in types.INTEGERS:
        return Typed(f"({total.sql} / NULLIF({number}, 0))::{types.pg_base(total.type)}", total.type)
    if total.type.name == "money":
        raise Refused("AVG of money")
    target = replace(total.type, scale=max(total.type.scale, 6))
    return Typed(f"standin.divide({total.sql}, NULLIF({number}, 0)::numeric, 38, {target.scale})", target)


def _extreme(name: str, order: str) -> Callable[[Context, Sequence[Typed], bool], Typed]:
    def function(ctx: Context, args: Sequence[Typed], distinct: bool) -> Typed:
        value = args[0]
        if value.type.name in {"bit", "xml", "text", "ntext", "image", *types.SPATIAL}:
            raise _invalid(value, name)
        if not collating.needs_key(value.type):
            return replace(value.to(f"{name}({value.sql})"), nullable=True)
        key = collating.key(value)
        sql = f"(array_agg({value.sql} ORDER BY {key} {order}) FILTER (WHERE {value.sql} IS NOT NULL))[1]"
        return replace(value.to(sql), nullable=True)

    return function


def _string_agg(ctx: Context, args: Sequence[Typed], distinct: bool) -> Typed:
    value, between = as_text(ctx, args[0]), as_text(ctx, args[1])
    unicode_ = value.type.name in types.UNICODE
    length = MAX if value.type.length == MAX else 4000 if unicode_ else 8000
    target = SqlType("nvarchar" if unicode_ else "varchar", length, collation=value.type.collation)
    return Typed(f"string_agg({value.sql}, {between.sql})", target, label=value.label)


def _checksum_agg(ctx: Context, args: Sequence[Typed], distinct: bool) -> Typed:
    value = casting.implicit(args[0], types.INT)
    return Typed(f"bit_xor({'DISTINCT ' if distinct else ''}{value.sql})", types.INT)


AGGREGATES: dict[str, tuple[int, Callable[[Context, Sequence[Typed], bool], Typed]]] = {
    "COUNT": (1, _count),
    "COUNT_BIG": (1, lambda ctx, args, distinct: _count(ctx, args, distinct, big=True)),
    "SUM": (1, _sum),
    "AVG": (1, _avg),
    "MIN": (1, _extreme("min", "ASC")),
    "MAX": (1, _extreme("max", "DESC")),
    "STRING_AGG": (2, _string_agg),
    "CHECKSUM_AGG": (1, _checksum_agg),
}


def aggregate(ctx: Context, name: str, args: Sequence[Typed], *, distinct: bool) -> Typed:
    """An aggregate of typed arguments. Raises SqlError 174, 8117, Refused."""
    arity, function = AGGREGATES[name]
    if len(args) != arity:
        raise SqlError(174, f"The {name.lower()} function requires {arity} argument(s).", severity=15)
    if any(a.null for a in args[:1]):
        raise SqlError(8117, f"Operand data type NULL is invalid for {name.lower()} operator.")
    return function(ctx, args, distinct)
