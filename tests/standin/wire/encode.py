"""pure: rows as the wire carries them; one function is generated for each shape of a result.

Values come in the forms that `ports.Value` lists. A value that is not of its column's type is an error, never a guess.
"""

from __future__ import annotations

import struct
from codecs import utf_16_le_encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Context, Decimal, Inexact
from functools import lru_cache

from tests.standin.ports import MAX, ResultColumn, SqlType, Value, Variant
from tests.standin.wire.collations import code_page, collation_bytes, encode_text
from tests.standin.wire.types import (
    DECIMALS,
    LEGACY,
    ROWVERSIONS,
    SCALED,
    Token,
    decimal_width,
    time_width,
    type_info,
)

ROW = b"\xd1"
_NO_VALUE = b"\0"
_NO_BYTES = b"\xff\xff"
_NO_PARTS = b"\xff" * 8
_POINTER = b"\x10" + b"standin pointer!" + b"standin!"  # a text pointer and its timestamp: nobody reads them
_EXACT = Context(prec=80, traps=[Inexact])
_1900 = date(1900, 1, 1).toordinal()
Encoder = Callable[[Value], bytes]


class BadValue(Exception):
    """The engine handed a value that its type cannot hold."""


@lru_cache(maxsize=1024)
def row_encoder(columns: tuple[ResultColumn, ...]) -> Callable[[Sequence[Sequence[Value]]], bytes]:
    """Rows -> ROW tokens. Raises Refused for a type that cannot be sent."""
    names = "".join(f"v{place}, " for place in range(len(columns)))
    scope: dict[str, object] = {"join": b"".join, "ROW": ROW, "utf16": utf_16_le_encode, "lengths": _LENGTHS, "long": _too_long}
    body = []
    for place, column in enumerate(columns):
        scope[f"e{place}"], scope[f"n{place}"] = value_encoder(column.type), null_of(column.type)
        body.append(f"  if v{place} is None: add(n{place})")
        body.append(f"  else: {_statement(column.type, place, scope)}")
    source = [
        "def encode(rows):",
        " out = []",
        " add = out.append",
        f" for {names}in rows:",
        "  add(ROW)",
        *body,
        " return join(out)",
    ]
    exec("\n".join(source), scope)
    return scope["encode"]  # type: ignore[return-value]


def _statement(kind: SqlType, place: int, scope: dict[str, object]) -> str:
    """What adds a value; the types that are most have no call of a Python function."""
    if kind.name in _PACKED:
        layout = struct.Struct(_PACKED[kind.name])
        scope[f"p{place}"] = layout.pack
        return f"add(p{place}({layout.size - 1}, v{place}))"
    if kind.name == "bit":
        return f"add(b'\\1\\1' if v{place} else b'\\1\\0')"
    if kind.name in ("nchar", "nvarchar") and kind.length != MAX:
        limit = max(kind.length, 1) * 2
        encoded = f"d = utf16(v{place}, 'surrogatepass')[0]; size = len(d)"
        return f"{encoded}; add(lengths[size] if size <= {limit} else long(size, {limit})); add(d)"
    return f"add(e{place}(v{place}))"


_PACKED = {"tinyint": "<BB", "smallint": "<Bh", "int": "<Bi", "bigint": "<Bq", "float": "<Bd", "real": "<Bf"}


def null_of(kind: SqlType) -> bytes:
    """NULL of that type."""
    if kind.name == "xml" or (kind.length == MAX and kind.name in ("varchar", "nvarchar", "varbinary")):
        return _NO_PARTS
    if kind.name == "sql_variant":
        return b"\0\0\0\0"
    if kind.name in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary", *ROWVERSIONS):
        return _NO_BYTES
    return _NO_VALUE


def encode_value(kind: SqlType, value: Value) -> bytes:
    """A single value, as in a row. Raises BadValue, Refused."""
    return null_of(kind) if value is None else value_encoder(kind)(value)


@lru_cache(maxsize=4096)
def value_encoder(kind: SqlType) -> Encoder:
    """Encodes values that are not NULL. Raises Refused for a type that cannot be sent."""
    type_info(kind)  # refuses what has no form on the wire
    plain, frame = _plain(kind), _framing(kind)
    return frame(plain)


def _framing(kind: SqlType) -> Callable[[Encoder], Encoder]:
    """What stands before and after a value's bytes."""
    name = kind.name
    if name in LEGACY:
        return lambda plain: lambda value: _with_pointer(plain(value))
    if name == "xml" or (kind.length == MAX and name in ("varchar", "nvarchar", "varbinary")):
        return lambda plain: lambda value: _in_parts(plain(value))
    if name in ("char", "varchar", "binary", "varbinary"):
        return lambda plain: _with_length(plain, max(kind.length, 1))
    if name in ("nchar", "nvarchar"):
        return lambda plain: _with_length(plain, max(kind.length, 1) * 2)
    if name in ROWVERSIONS:
        return lambda plain: _with_length(plain, 8)
    if name == "sql_variant":
        return lambda plain: plain
    return _with_byte


def _too_long(size: int, limit: int) -> bytes:
    raise BadValue(f"{size} bytes where {limit} are declared")


def _with_byte(plain: Encoder) -> Encoder:
    def encode(value: Value) -> bytes:
        data = plain(value)
        return _BYTES[len(data)] + data

    return encode


def _with_length(plain: Encoder, limit: int) -> Encoder:
    def encode(value: Value) -> bytes:
        data = plain(value)
        if len(data) > limit:
            _too_long(len(data), limit)
        return _LENGTHS[len(data)] + data

    return encode


def _in_parts(data: bytes) -> bytes:
    if not data:
        return bytes(12)
    size = len(data)
    return struct.pack("<QI", size, size) + data + b"\0\0\0\0"


def _with_pointer(data: bytes) -> bytes:
    return _POINTER + struct.pack("<I", len(data)) + data


_BYTES = [bytes([length]) for length in range(32)]
_LENGTHS = [struct.pack("<H", length) for length in range(8001)]


def _plain(kind: SqlType) -> Encoder:
    """The bytes of a value alone."""
    name = kind.name
    if name in DECIMALS:
        return _decimal(kind)
    if name in ("char", "varchar", "text"):
        return _text(code_page(kind.collation))
    if name in ("nchar", "nvarchar", "ntext"):
        return _utf16
    if name == "sql_variant":
        return _variant(kind.collation)
    if name in SCALED:
        return _SCALED_ENCODERS[name](kind.scale)
    return _PLAIN[name]


def _utf16(value: str) -> bytes:
    return utf_16_le_encode(value, "surrogatepass")[0]


def _text(page: str) -> Encoder:
    def encode(value: str) -> bytes:
        return value.encode() if value.isascii() else encode_text(value, page)

    return encode


def _binary(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise BadValue(f"a {type(value).__name__} instead of bytes")
    return value


def _scaled(value: Decimal, scale: int) -> int:
    """The number without its point. Raises BadValue when digits would be lost."""
    whole, _, digits = str(value).partition(".")
    if scale and len(digits) == scale and digits.isdecimal():
        return int(whole + digits)
    shifted = _EXACT.scaleb(value, scale)
    number = int(shifted)
    if number != shifted:
        raise BadValue(f"more than {scale} digits after the point")
    return number


def _decimal(kind: SqlType) -> Encoder:
    width, scale, limit = decimal_width(kind.precision) - 1, kind.scale, 10**kind.precision

    def encode(value: Decimal) -> bytes:
        number = _scaled(value, scale)
        if not -limit < number < limit:
            raise BadValue(f"a number too large for decimal({kind.precision},{scale})")
        if number < 0:
            return b"\0" + (-number).to_bytes(width, "little")
        return b"\1" + number.to_bytes(width, "little")

    return encode


def _money(value: Decimal) -> bytes:
    number = _scaled(value, 4)
    return struct.pack("<iI", number >> 32, number & 0xFFFFFFFF)


def _smallmoney(value: Decimal) -> bytes:
    return struct.pack("<i", _scaled(value, 4))


def _guid(value: str) -> bytes:
    data = bytes.fromhex(value.replace("-", ""))
    if len(data) != 16:
        raise BadValue("a uniqueidentifier that has not 16 bytes")
    return _GUID_ORDER.translate(data.ljust(256))


_GUID_ORDER = bytes([3, 2, 1, 0, 5, 4, 7, 6, *range(8, 16)])


@lru_cache(maxsize=8192)
def _ordinal(text: str) -> int:
    """Days since 0001-01-01."""
    return date.fromisoformat(text).toordinal() - 1


@lru_cache(maxsize=8192)
def _date(text: str) -> bytes:
    return _ordinal(text).to_bytes(3, "little")


@lru_cache(maxsize=8192)
def _seconds(text: str) -> int:
    """Of HH:MM:SS."""
    hours, minutes, seconds = int(text[:2]), int(text[3:5]), int(text[6:8])
    if len(text) != 8 or text[2] != ":" or text[5] != ":" or hours > 23 or minutes > 59 or seconds > 59:
        raise BadValue("a time that is none")
    return hours * 3600 + minutes * 60 + seconds


def _ticks(text: str, scale: int) -> int:
    """Of HH:MM:SS[.digits], in units of 10**-scale seconds."""
    if not scale:
        return _seconds(text)
    if len(text) != 9 + scale or text[8] != ".":
        raise BadValue(f"a time without its {scale} digits")
    return _seconds(text[:8]) * _POWERS[scale] + int(text[9:])


_POWERS: list[int] = [10**scale for scale in range(8)]


def _time(scale: int) -> Encoder:
    width = time_width(scale)
    return lambda value: _ticks(value, scale).to_bytes(width, "little")


def _datetime2(scale: int) -> Encoder:
    width, unit, size = time_width(scale), _POWERS[scale], 20 + scale

    def encode(value: str) -> bytes:
        if len(value) != size or value[19] != ".":
            raise BadValue(f"a datetime2 without its {scale} digits")
        return (_seconds(value[11:19]) * unit + int(value[20:])).to_bytes(width, "little") + _date(value[:10])

    return encode if scale else lambda value: _seconds(value[11:]).to_bytes(width, "little") + _date(value[:10])


def _datetimeoffset(scale: int) -> Encoder:
    width, unit = time_width(scale), _POWERS[scale]

    def encode(value: str) -> bytes:
        local, _, zone = value.rpartition(" ")
        minutes = (int(zone[1:3]) * 60 + int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
        utc = _ordinal(local[:10]) * 86400 * unit + _ticks(local[11:], scale) - minutes * 60 * unit
        days, ticks = divmod(utc, 86400 * unit)
        return ticks.to_bytes(width, "little") + days.to_bytes(3, "little") + struct.pack("<h", minutes)

    return encode


def _datetime(value: str) -> bytes:
    thirds = (_ticks(value[11:], 3) * 3 + 5) // 10  # 1/300 s
    return struct.pack("<iI", _ordinal(value[:10]) + 1 - _1900, thirds)


def _smalldatetime(value: str) -> bytes:
    return struct.pack("<HH", _ordinal(value[:10]) + 1 - _1900, _seconds(value[11:]) // 60)


def _variant(collation: str) -> Encoder:
    """Length, base type, its properties, the value."""

    def encode(value: Variant) -> bytes:
        kind = value.type if value.type.collation or not collation else replace(value.type, collation=collation)
        head = _variant_head(kind)
        data = _plain(kind)(value.value)
        return struct.pack("<I", len(head) + len(data)) + head + data

    return encode


def _variant_head(kind: SqlType) -> bytes:
    info = type_info(kind)
    if kind.length == MAX or kind.name in ("xml", "sql_variant", *LEGACY, *ROWVERSIONS):
        raise BadValue(f"a {kind.name} in a sql_variant")
    if kind.name in _VARIANT_TOKENS:
        return bytes([_VARIANT_TOKENS[kind.name], 0])
    if kind.name in DECIMALS:
        return bytes([Token.NUMERICN, 2, kind.precision, kind.scale])
    if kind.name in SCALED:
        return bytes([info[0], 1, kind.scale])
    if kind.name in ("binary", "varbinary"):
        return bytes([info[0], 2]) + info[1:3]
    return bytes([info[0], 7]) + collation_bytes(kind.collation) + info[1:3]


_VARIANT_TOKENS = {
    "bit": Token.BIT,
    "tinyint": Token.INT1,
    "smallint": Token.INT2,
    "int": Token.INT4,
    "bigint": Token.INT8,
    "real": Token.FLT4,
    "float": Token.FLT8,
    "money": Token.MONEY,
    "smallmoney": Token.MONEY4,
    "datetime": Token.DATETIME,
    "smalldatetime": Token.DATETIM4,
    "date": Token.DATEN,
    "uniqueidentifier": Token.GUID,
}
_SCALED_ENCODERS: dict[str, Callable[[int], Encoder]] = {
    "time": _time,
    "datetime2": _datetime2,
    "datetimeoffset": _datetimeoffset,
}
_PLAIN: dict[str, Encoder] = {
    "bit": lambda value: b"\1" if value else b"\0",
    "tinyint": struct.Struct("<B").pack,
    "smallint": struct.Struct("<h").pack,
    "int": struct.Struct("<i").pack,
    "bigint": struct.Struct("<q").pack,
    "real": struct.Struct("<f").pack,
    "float": struct.Struct("<d").pack,
    "money": _money,
    "smallmoney": _smallmoney,
    "date": _date,
    "datetime": _datetime,
    "smalldatetime": _smalldatetime,
    "uniqueidentifier": _guid,
    "binary": _binary,
    "varbinary": _binary,
    "rowversion": _binary,
    "timestamp": _binary,
    "image": _binary,
    "xml": _utf16,
}
