"""pure: a parameter's value from the type it travelled as to the type that the statement declares for it.

Only what loses nothing or what SQL Server does silently for parameters (cutting text to its length); else refused.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

from tests.standin.ports import MAX, Refused, SqlError, SqlType, Value, Variant

_INTEGERS = {
    "tinyint": (0, 2**8 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
_TEXTS = {"char", "varchar", "nchar", "nvarchar", "text", "ntext", "xml"}
_BINARIES = {"binary", "varbinary", "image", "timestamp", "rowversion"}
_EXACT = {"decimal", "numeric", "money", "smallmoney"}
_FLOATS = {"float", "real"}
_SCALED = {"time", "datetime2", "datetimeoffset"}
_WIDE = Context(prec=80)


def coerce(value: Value, sent: SqlType, wanted: SqlType) -> Value:
    """The value as `wanted` holds it. Raises Refused for conversions that are not emulated, SqlError 8114."""
    if value is None:
        return None
    if wanted.name == "sql_variant":
        return value if isinstance(value, Variant) else Variant(sent, value)
    if wanted.name in _TEXTS and sent.name in _TEXTS:
        return _cut_text(value, wanted)
    if wanted.name in _BINARIES and sent.name in _BINARIES:
        return _cut_bytes(value, wanted)
    if sent.name in _INTEGERS or sent.name in _EXACT:
        return _number(value, sent, wanted)
    if sent.name in _FLOATS and wanted.name in _FLOATS:
        return value
    if sent.name == wanted.name:
        return rescaled(value, sent.name, wanted.scale) if sent.name in _SCALED else value
    raise Refused(f"a parameter sent as {sent.name} and declared as {wanted.name}")


def _cut_text(value: str, wanted: SqlType) -> str:
    if wanted.length in (MAX, 0):
        return value
    if wanted.name in ("nchar", "nvarchar"):
        cut = value.encode("utf-16-le", "surrogatepass")[: wanted.length * 2].decode("utf-16-le", "surrogatepass")
    else:
        cut = value[: wanted.length]
    return cut.ljust(wanted.length) if wanted.name in ("char", "nchar") else cut


def _cut_bytes(value: bytes, wanted: SqlType) -> bytes:
    if wanted.length in (MAX, 0):
        return value
    cut = value[: wanted.length]
    return cut.ljust(wanted.length, b"\0") if wanted.name == "binary" else cut


def rescaled(text: str, name: str, scale: int) -> str:
    """A time, datetime2 or datetimeoffset with `scale` digits, rounded; a time that is rounded to midnight begins the day."""
    moment, _, zone = text.rpartition(" ") if name == "datetimeoffset" else (text, "", "")
    day, _, clock = moment.rpartition(" ")
    whole, _, digits = clock.partition(".")
    ticks = int(digits or 0)
    ticks = ticks * 10 ** (scale - len(digits)) if len(digits) <= scale else _rounded(ticks, len(digits) - scale)
    hours, minutes, seconds = (int(part) for part in whole.split(":"))
    carried, fraction = divmod(ticks, 10**scale)
    days, seconds = divmod(hours * 3600 + minutes * 60 + seconds + carried, 86400)
    if days and day:
        day = _next_day(day)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{fraction:0{scale}}" if scale else "")
    return " ".join(part for part in (day, clock, zone) if part)


def _rounded(ticks: int, digits: int) -> int:
    unit: int = 10**digits
    return (ticks + unit // 2) // unit


def _next_day(day: str) -> str:
    if day == "9999-12-31":
        raise SqlError(517, "Adding a value to a 'datetime2' column caused an overflow.")
    return (date.fromisoformat(day) + timedelta(1)).isoformat()


def _number(value: int | Decimal, sent: SqlType, wanted: SqlType) -> Value:
    if wanted.name in _INTEGERS and isinstance(value, int):
        low, high = _INTEGERS[wanted.name]
        if not low <= value <= high:
            raise SqlError(8114, f"Error converting data type {sent.name} to {wanted.name}.")
        return value
    if wanted.name in _EXACT:
        return _exact(Decimal(value), sent, wanted)
    if wanted.name in _FLOATS:
        return float(value)
    if wanted.name == "bit" and isinstance(value, int):
        return value != 0
    raise Refused(f"a parameter sent as {sent.name} and declared as {wanted.name}")


def _exact(value: Decimal, sent: SqlType, wanted: SqlType) -> Decimal:
    scale = wanted.scale if wanted.name in ("decimal", "numeric") else 4
    rounded = value.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP, context=_WIDE)
    if wanted.precision and abs(rounded) >= Decimal(10) ** (wanted.precision - scale):
        raise SqlError(8114, f"Error converting data type {sent.name} to {wanted.name}.")
    return rounded
