"""pure: the implicit conversion of a value to a declared type: of parameters, variables and constants.

What columns and expressions go through is compiled (casting.py); tests hold both against each other.
https://learn.microsoft.com/sql/t-sql/data-types/data-type-conversion-database-engine
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, localcontext

from tests.standin.engine import errors, times, types, values
from tests.standin.ports import MAX, Refused, SqlError, SqlType, Value, Variant

_INTEGER = re.compile(r"[+-]?\d*")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MONEY = re.compile(r"([+-]?)\$?([+-]?)((?:\d[\d,]*)?(?:\.\d*)?)")


def assign(value: Value, source: SqlType, target: SqlType) -> Value:
    """What the target holds afterwards; a too long text or binary is cut, as for variables and parameters.

    Raises SqlError 206, 220, 241, 245, 257, 8114, 8115, 8169 and Refused for a pair that is not emulated.
    """
    if value is None:
        return None
    if isinstance(value, Variant) and target.name != "sql_variant":
        raise errors.no_implicit_conversion("sql_variant", target.name)
    convert = _TARGETS.get(target.name)
    if convert is None:
        raise Refused(f"an implicit conversion to {target.name}")
    return convert(value, source, types.declared(target))


def decimal_in(number: Decimal, target: SqlType, source: str = "numeric") -> Decimal:
    """Rounded half away from zero to the scale. Raises SqlError 8115."""
    with localcontext() as context:
        context.prec = 120
        rounded = number.quantize(Decimal(1).scaleb(-target.scale), ROUND_HALF_UP)
    if abs(rounded) >= Decimal(10) ** (target.precision - target.scale):
        raise errors.overflow(source, "numeric" if target.name == "decimal" else target.name)
    return rounded


def _to_bit(value: Value, source: SqlType, target: SqlType) -> bool:
    if source.name in types.STRINGS:
        word = value.strip().lower()
        if word in {"true", "false"}:
            return bool(word == "true")
        if not _INTEGER.fullmatch(word) or word in {"+", "-"}:
            raise errors.not_a_number(source.name, value, "bit")
        return bool(int(word or 0))
    return any(value) if isinstance(value, bytes) else bool(_number(value, source, target))


def _to_integer(value: Value, source: SqlType, target: SqlType) -> int:
    low, high = types.INTEGERS[target.name]
    if source.name in types.STRINGS:
        word = value.strip()
        if not _INTEGER.fullmatch(word) or word in {"+", "-"}:
            raise (
                errors.not_converted(source.name, "bigint")
                if target.name == "bigint"
                else errors.not_a_number(source.name, value, target.name)
            )
        number = int(word or 0)
        if not low <= number <= high:
            raise errors.text_overflow(source.name, value, target.name)
        return number
    if isinstance(value, bytes):
        size = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}[target.name]
        return int.from_bytes(value[-size:].rjust(size, b"\0"), "big", signed=target.name != "tinyint")
    number = int(Decimal(_number(value, source, target)).to_integral_value(ROUND_DOWN))
    if low <= number <= high:
        return number
    if target.name in {"tinyint", "smallint"} and source.name in types.INTEGERS:
        raise errors.overflow_small(target.name, number)
    raise errors.overflow_expression(target.name)


def _number(value: Value, source: SqlType, target: SqlType) -> int | float | Decimal:
    if not types.is_number(source):
        raise errors.clash(source.name, target.name)
    number: int | float | Decimal = int(value) if isinstance(value, bool) else value
    return number


def _to_decimal(value: Value, source: SqlType, target: SqlType) -> Decimal:
    if target.name in types.MONEYS:
        return _to_money(value, source, target)
    if source.name in types.STRINGS:
        word = value.strip()
        if not _DECIMAL.fullmatch(word):
            raise errors.not_converted(source.name, "numeric")
        return decimal_in(Decimal(word), target, source.name)
    return decimal_in(Decimal(_number(value, source, target)), target, _shown(source))


def _shown(source: SqlType) -> str:
    return "numeric" if source.name == "decimal" else "expression" if source.name in {*types.INTEGERS, "bit"} else source.name


def _to_money(value: Value, source: SqlType, target: SqlType) -> Decimal:
    if source.name in types.STRINGS:
        found = _MONEY.fullmatch(value.strip())
        if not found or (found[1] and found[2]):
            raise SqlError(235, "Cannot convert a char value to money. The char value has incorrect syntax.")
        number = Decimal((found[1] or found[2]) + (found[3].replace(",", "") or "0"))
    else:
        number = Decimal(_number(value, source, target))
    with localcontext() as context:
        context.prec = 120
        number = number.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    bits = 63 if target.name == "money" else 31
    if not -(2**bits) <= int(number.scaleb(4)) < 2**bits:
        raise errors.overflow("numeric" if source.name == "decimal" else source.name, target.name)
    return number


def _to_float(value: Value, source: SqlType, target: SqlType) -> float:
    if source.name in types.STRINGS:
        word = value.strip()
        if word and not _FLOAT.fullmatch(word):
            raise errors.not_converted(source.name, target.name)
        number = float(word or 0)
    else:
        number = float(_number(value, source, target))
    if math.isinf(number) or math.isnan(number):
        raise errors.overflow_expression(target.name)
    if target.name == "float":
        return number
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        raise errors.overflow_expression("real") from None


def _to_text(value: Value, source: SqlType, target: SqlType) -> str:
    text, number = _text_of(value, source)
    room = target.length
    if source.name == "uniqueidentifier" and 0 <= room < 36:
        raise SqlError(8170, "Insufficient result space to convert uniqueidentifier value to char.", state=2)
    if room != MAX and values.stored_length(target, text) > room:
        if number and source.name in types.INTEGERS:
            return "*".ljust(room if target.name in {"char", "nchar"} else 0)
        if number:
            raise errors.overflow("numeric" if source.name == "decimal" else source.name, target.name)
        text = _cut(text, target, room)
    return text.ljust(room - (values.stored_length(target, text) - len(text))) if target.name in {"char", "nchar"} else text


def _cut(text: str, target: SqlType, room: int) -> str:
    """The longest start that fits; half of a surrogate pair stays as a lone one."""
    if text.isascii() or target.name not in types.UNICODE:
        return text[:room] if text.isascii() or not target.collation.upper().endswith("_UTF8") else _cut_bytes(text, room)
    return text.encode("utf-16-le", "surrogatepass")[: 2 * room].decode("utf-16-le", "surrogatepass")


def _cut_bytes(text: str, room: int) -> str:
    return text.encode()[:room].decode(errors="ignore")


def _text_of(value: Value, source: SqlType) -> tuple[str, bool]:
    """The text of a value, and whether it is a number's."""
    if source.name in types.TEXTS | {"xml"}:
        return value, False
    if source.name == "bit":
        return str(int(value)), True
    if source.name in types.INTEGERS:
        return str(value), True
    if source.name == "decimal":
        return format(decimal_in(value, types.declared(source)), "f"), True
    if source.name in types.MONEYS:
        return format(value.quantize(Decimal("0.01"), ROUND_HALF_UP), "f"), True
    if source.name in {"float", "real"}:
        return float_text(value), True
    if source.name == "uniqueidentifier":
        return value.upper(), False
    if source.name in {"date", *types.SCALED}:
        return value, False
    raise Refused(f"an implicit conversion of {source.name} to text")


def float_text(value: float) -> str:
    """Style 0: six digits at most, with a three digit exponent where it needs one."""
    mantissa, mark, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:]:0>3}" if mark else mantissa


def _to_bytes(value: Value, source: SqlType, target: SqlType) -> bytes:
    raw: bytes
    if isinstance(value, bytes):
        raw = value
    elif source.name == "uniqueidentifier":
        raw = values.guid_bytes(value)
    elif source.name in types.INTEGERS or source.name == "bit":
        size = {"bit": 1, "tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}[source.name]
        raw = int(value).to_bytes(size, "big", signed=size > 1)
        if target.length != MAX:
            raw = raw[-target.length :].rjust(target.length if target.name == "binary" else 0, b"\0")
        return raw
    else:
        raise errors.no_implicit_conversion(source.name, target.name)
    if target.length == MAX or target.name in {"image", "timestamp", "rowversion"}:
        return raw
    raw = raw[: target.length]
    return raw.ljust(target.length, b"\0") if target.name == "binary" else raw


def _to_guid(value: Value, source: SqlType, target: SqlType) -> str:
    if source.name == "uniqueidentifier":
        return str(value)
    if isinstance(value, bytes):
        return values.guid_text(value[:16].ljust(16, b"\0"))
    if source.name not in types.STRINGS:
        raise errors.clash(source.name, target.name)
    word = value[1:37] if value.startswith("{") and value[37:38] == "}" else value[:36]
    try:
        values.guid_bytes(word)
    except ValueError:
        raise errors.not_a_guid() from None
    return str(word.lower())


def _to_time(value: Value, source: SqlType, target: SqlType) -> str:
    if source.name in types.STRINGS:
        return times.write(times.read(value, target.name, source.name), target, source.name)
    if source.name not in types.TIMES:
        raise errors.clash(source.name, target.name)
    if {source.name, target.name} == {"date", "time"}:
        raise errors.clash(source.name, target.name)
    if source.name == "datetimeoffset" and target.name != "datetimeoffset":
        return times.write(times.stored(value, source)._replace(offset=None), target, source.name)
    return times.convert(value, source, target)


def _to_variant(value: Value, source: SqlType, target: SqlType) -> Variant:
    if isinstance(value, Variant):
        return value
    if source.length == MAX or source.name in {"text", "ntext", "image", "xml", "timestamp", "hierarchyid", *types.SPATIAL}:
        raise errors.clash(source.name, "sql_variant")
    return Variant(source, value)


def _same(value: Value, source: SqlType, target: SqlType) -> Value:
    if source.name == target.name or (source.name in types.STRINGS and target.name in {"xml", "hierarchyid"}):
        return value
    raise errors.clash(source.name, target.name)


_TARGETS: dict[str, Callable[[Value, SqlType, SqlType], Value]] = {
    "bit": _to_bit,
    **dict.fromkeys(types.INTEGERS, _to_integer),
    **dict.fromkeys(("decimal", *types.MONEYS), _to_decimal),
    **dict.fromkeys(("float", "real"), _to_float),
    **dict.fromkeys(types.STRINGS, _to_text),
    **dict.fromkeys(("text", "ntext"), lambda value, source, target: _text_of(value, source)[0]),
    **dict.fromkeys(types.BINARIES, _to_bytes),
    "uniqueidentifier": _to_guid,
    **dict.fromkeys(types.TIMES, _to_time),
    "sql_variant": _to_variant,
    **dict.fromkeys(("xml", "hierarchyid", *types.SPATIAL), _same),
}
