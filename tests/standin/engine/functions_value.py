"""pure: built-in functions on numbers, times, NULL and sql_variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.standin.engine import arithmetic, casting, types
from tests.standin.engine.functions_text import Function, as_text
from tests.standin.engine.scope import Context, Typed
from tests.standin.ports import Refused, SqlError, SqlType

# -- NULL ----------------------------------------------------------------------------------------------------------------------


def isnull(ctx: Context, args: Sequence[Typed]) -> Typed:
    """ISNULL: the type of the first."""
    first, second = args
    target = second.type if first.null else first.type
    nullable = first.nullable and second.nullable
    sides = [casting.implicit(side, target) for side in args]
    return Typed(f"coalesce({sides[0].sql}, {sides[1].sql})", sides[0].type, nullable, max(first.label, second.label))


def coalesce(ctx: Context, args: Sequence[Typed]) -> Typed:
    """COALESCE: the type of all."""
    if all(a.null for a in args):
        raise SqlError(4127, "At least one of the arguments to COALESCE must be an expression that is not the NULL constant.")
    target, sides = arithmetic.unite(args)
    return Typed(f"coalesce({', '.join(sides)})", target, all(a.nullable for a in args), max(a.label for a in args))


# -- numbers -------------------------------------------------------------------------------------------------------------------


def _number(value: Typed, name: str) -> Typed:
    """An argument that must be a number; small integers become int."""
    if value.type.name in types.STRINGS:
        return casting.implicit(value, types.FLOAT)
    if value.type.name not in types.NUMBERS:
        raise SqlError(8116, f"Argument data type {value.type.name} is invalid for argument 1 of {name} function.")
    return casting.implicit(value, types.INT) if value.type.name in {"bit", "tinyint", "smallint"} else value


def _simple(name: str, template: str) -> Function:
    def function(ctx: Context, args: Sequence[Typed]) -> Typed:
        value = _number(args[0], name)
        target = value.type
        if name in {"floor", "ceiling"} and target.name == "decimal":
            target = replace(target, scale=0)
        cast = types.pg_base(target)
        return value.to(f"({template.format(value.sql)})::{cast}", target)

    return function


def _round(ctx: Context, args: Sequence[Typed]) -> Typed:
    value = _number(args[0], "round")
    places = casting.implicit(args[1], types.INT).sql
    cut = "trunc" if len(args) > 2 and args[2].constant not in {0, None} else "round"
    if len(args) > 2 and args[2].constant is None:
        raise Refused("ROUND with an expression as its third argument")
    if value.type.name in {"float", "real"}:
        sql = f"{cut}(standin.float_to_numeric(({value.sql})::float8), {places})::{types.pg_base(value.type)}"
    elif value.type.name in types.INTEGERS:
        sql = f"{cut}(({value.sql})::numeric, {places})::{types.pg_base(value.type)}"
    else:
        limit = value.type.scale if value.type.name == "decimal" else 4
        sql = f"round({cut}({value.sql}, {places}), {limit})"
    return value.to(sql)


# -- times ---------------------------------------------------------------------------------------------------------------------

_PARTS = {
    "year": "year yy yyyy", "quarter": "quarter qq q", "month": "month mm m", "dayofyear": "dayofyear dy y", "day": "day dd d",
    "week": "week wk ww", "weekday": "weekday dw w", "hour": "hour hh", "minute": "minute mi n", "second": "second ss s",
    "millisecond": "millisecond ms", "microsecond": "microsecond mcs", "nanosecond": "nanosecond ns", "tzoffset": "tzoffset tz",
}  # fmt: skip
_BY_WORD = {word: part for part, written in _PARTS.items() for word in written.split()}


def datepart(word: str, function: str) -> str:
    """A part of a date by any of its names. Raises SqlError 155."""
    part = _BY_WORD.get(word.lower())
    if part is None:
        raise SqlError(155, f"'{word}' is not a recognized {function.lower()} option.", severity=15)
    return part


def _moment(value: Typed) -> Typed:
    """A text is a datetime2, as documented for date parts."""
    if value.null:
        return casting.implicit(value, types.DATETIME)
    if value.type.name in types.STRINGS:
        return casting.implicit(value, SqlType("datetime2", scale=7))
    if value.type.name not in types.TIMES:
        raise Refused(f"a date function of {value.type.name}")
    return value


def date_part(part: str, value: Typed) -> Typed:
    """DATEPART, YEAR and its kind."""
    moment = _moment(value)
    if part == "week":
        raise Refused("DATEPART of a week, which depends on DATEFIRST")
    return Typed(f"standin.part('{part}', {moment.sql}, {casting.ticks(moment)})", types.INT)


def date_add(part: str, number: Typed, value: Typed) -> Typed:
    """DATEADD: the type of the date; a text becomes datetime."""
    moment = casting.implicit(value, types.DATETIME) if value.type.name in types.STRINGS else _moment(value)
    if part == "tzoffset":
        raise SqlError(155, "'tzoffset' is not a recognized dateadd option.", severity=15)
    target = moment.type
    zone = f"right({moment.sql}, 6)" if target.name == "datetimeoffset" else "''"
    count = casting.implicit(number, types.BIGINT).sql
    sql = f"standin.dateadd('{part}', {count}, {casting.ticks(moment)}, '{target.name}', {target.scale}, {zone})"
    return moment.to(sql)


def date_diff(part: str, low: Typed, high: Typed, *, big: bool) -> Typed:
    """DATEDIFF and DATEDIFF_BIG."""
    sides = []
    for value in (low, high):
        moment = _moment(value)
        sides.append(f"standin.utc({moment.sql})" if moment.type.name == "datetimeoffset" else casting.ticks(moment))
    function = "datediff" if big else "datediff_int"
    return Typed(f"standin.{function}('{part}', {sides[0]}, {sides[1]})", types.BIGINT if big else types.INT)


def _of(part: str) -> Function:
    return lambda ctx, args: date_part(part, args[0])


# -- sql_variant ---------------------------------------------------------------------------------------------------------------


def _variant_property(ctx: Context, args: Sequence[Typed]) -> Typed:
    value = casting.cast(args[0], types.VARIANT)
    return Typed(f"standin.variant_property({value.sql}, {as_text(ctx, args[1]).sql})", types.VARIANT)


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "ISNULL": (2, 2, isnull),
    "COALESCE": (1, 1000, coalesce),
    "ABS": (1, 1, _simple("abs", "abs({})")),
    "SIGN": (1, 1, _simple("sign", "sign(({})::numeric)")),
    "FLOOR": (1, 1, _simple("floor", "floor({})")),
    "CEILING": (1, 1, _simple("ceiling", "ceil({})")),
    "ROUND": (2, 3, _round),
    "YEAR": (1, 1, _of("year")),
    "MONTH": (1, 1, _of("month")),
    "DAY": (1, 1, _of("day")),
    "SQL_VARIANT_PROPERTY": (2, 2, _variant_property),
}
