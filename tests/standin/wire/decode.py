"""pure: types and values of parameters as clients send them ([MS-TDS] 2.2.5.4 to 2.2.5.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal

from tests.standin.ports import MAX, Refused, SqlType, Value, Variant
from tests.standin.wire.collations import codec_of, decode_text
from tests.standin.wire.reader import Malformed, Reader
from tests.standin.wire.types import PARTIAL, Token

Decoder = Callable[[bytes], Value]
_NO_LENGTH, _NO_PARTS, _UNKNOWN_LENGTH = 0xFFFF, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE
_1900 = date(1900, 1, 1).toordinal()
_INTEGERS = {1: "tinyint", 2: "smallint", 4: "int", 8: "bigint"}


def read_parameter(reader: Reader) -> tuple[SqlType, Value]:
    """TYPE_INFO and the value that follows. Raises Refused for table values and others, Malformed."""
    token = reader.u8()
    if token in _FIXED:
        kind, width, decode = _FIXED[token]
        return kind, decode(reader.take(width))
    if token == Token.NULL:
        return SqlType("nvarchar", 1), None
    if token in (Token.BIGVARBINARY, Token.BIGVARCHAR, Token.BIGBINARY, Token.BIGCHAR, Token.NVARCHAR, Token.NCHAR):
        return _short_or_partial(reader, token)
    if token in (Token.TEXT, Token.NTEXT, Token.IMAGE):
        return _large(reader, token)
    if token == Token.XML:
        return _xml(reader)
    if token == Token.VARIANT:
        reader.u32()
        return SqlType("sql_variant"), _variant(reader)
    return _by_byte(reader, token)


def _by_byte(reader: Reader, token: int) -> tuple[SqlType, Value]:
    """The types whose values have one byte of length."""
    kind, decode = _describe(reader, token)
    data = reader.take(reader.u8())
    return kind, decode(data) if data else None


def _describe(reader: Reader, token: int) -> tuple[SqlType, Decoder]:
    if token in (Token.DECIMALN, Token.NUMERICN):
        _, precision, scale = reader.take(3)
        return SqlType("decimal", precision=precision, scale=scale), decimal_decoder(scale)
    if token == Token.DATEN:
        return SqlType("date"), _date
    if token in _SCALED:
        name, make = _SCALED[token]
        scale = reader.u8()
        return SqlType(name, scale=scale), make(scale)
    width = reader.u8()
    if (token, width) in _NULLABLE:
        return _NULLABLE[token, width]
    names = {Token.UDT: "a CLR type", Token.TABLE: "a table-valued parameter"}
    raise Refused(f"a parameter that is {names.get(Token(token), '') if token in names else f'of the wire type {token:#x}'}")


def _short_or_partial(reader: Reader, token: int) -> tuple[SqlType, Value]:
    length = reader.u16()
    name, unit, decode = _texts_and_binaries(reader, token)
    if length == PARTIAL:
        data = read_parts(reader)
        return SqlType(name, MAX), None if data is None else decode(data)
    size = reader.u16()
    kind = SqlType(name, length // unit)
    return kind, None if size == _NO_LENGTH else decode(reader.take(size))


def _texts_and_binaries(reader: Reader, token: int) -> tuple[str, int, Decoder]:
    """Name, bytes of a unit of length, decoder; reads the collation."""
    if token == Token.BIGVARBINARY:
        return "varbinary", 1, bytes
    if token == Token.BIGBINARY:
        return "binary", 1, bytes
    collation = reader.take(5)
    if token in (Token.NVARCHAR, Token.NCHAR):
        return ("nvarchar" if token == Token.NVARCHAR else "nchar"), 2, utf16
    page = codec_of(collation)
    return ("varchar" if token == Token.BIGVARCHAR else "char"), 1, lambda data: decode_text(data, page)


def _large(reader: Reader, token: int) -> tuple[SqlType, Value]:
    reader.u32()
    decode: Decoder = bytes
    name = "image"
    if token != Token.IMAGE:
        page = codec_of(reader.take(5))
        name = "ntext" if token == Token.NTEXT else "text"
        decode = utf16 if token == Token.NTEXT else lambda data: decode_text(data, page)
    size = reader.u32()
    return SqlType(name, MAX), None if size == 0xFFFFFFFF else decode(reader.take(size))


def _xml(reader: Reader) -> tuple[SqlType, Value]:
    if reader.u8():
        raise Refused("an xml parameter with a schema collection")
    data = read_parts(reader)
    return SqlType("xml", MAX), None if data is None else utf16(data).removeprefix("\ufeff")


def read_parts(reader: Reader) -> bytes | None:
    """A (max) value: its parts one behind the other."""
    total = reader.u64()
    if total == _NO_PARTS:
        return None
    parts = []
    while size := reader.u32():
        parts.append(reader.take(size))
    data = b"".join(parts)
    if total not in (_UNKNOWN_LENGTH, len(data)):
        raise Malformed("a value's parts don't add up")
    return data


def _variant(reader: Reader) -> Variant | None:
    size = reader.u32()
    if not size:
        return None
    inner = Reader(reader.take(size))
    token, count = inner.u8(), inner.u8()
    properties = Reader(inner.take(count))
    if token in _FIXED:
        kind, _, decode = _FIXED[token]
    elif token in (Token.BIGVARBINARY, Token.BIGVARCHAR, Token.BIGBINARY, Token.BIGCHAR, Token.NVARCHAR, Token.NCHAR):
        name, unit, decode = _texts_and_binaries(properties, token)
        kind = SqlType(name, properties.u16() // unit)
    elif token in (Token.DECIMALN, Token.NUMERICN):
        precision, scale = properties.take(2)
        kind, decode = SqlType("decimal", precision=precision, scale=scale), decimal_decoder(scale)
    elif token == Token.GUID:
        kind, decode = SqlType("uniqueidentifier"), _guid
    else:
        kind, decode = _describe(properties, token)
    return Variant(kind, decode(inner.take(inner.left)))


def utf16(data: bytes) -> str:
    """nvarchar; lone surrogates stay as they are."""
    if len(data) % 2:
        raise Malformed("half a character")
    return data.decode("utf-16-le", "surrogatepass")


def _unpack(layout: str) -> Decoder:
    unpack = struct.Struct(layout).unpack
    return lambda data: unpack(data)[0]


def decimal_decoder(scale: int) -> Decoder:
    """Sign byte and magnitude -> Decimal with `scale` digits."""

    def decode(data: bytes) -> Decimal:
        digits = tuple(int(digit) for digit in str(int.from_bytes(data[1:], "little")))
        return Decimal((0 if data[0] else 1, digits, -scale))

    return decode


def _fixed_point(number: int) -> Decimal:
    return Decimal((int(number < 0), tuple(int(digit) for digit in str(abs(number))), -4))


def _money(data: bytes) -> Decimal:
    high, low = struct.unpack("<iI", data)
    return _fixed_point((high << 32) + low)


def _smallmoney(data: bytes) -> Decimal:
    return _fixed_point(struct.unpack("<i", data)[0])


def _guid(data: bytes) -> str:
    text = (data[3::-1] + data[5:3:-1] + data[7:5:-1] + data[8:]).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _day(days: int) -> str:
    """Of days since 0001-01-01. Raises Malformed outside of the years 1 to 9999."""
    try:
        return date.fromordinal(days + 1).isoformat()
    except (ValueError, OverflowError):
        raise Malformed("a day outside of the calendar") from None


def _clock(ticks: int, scale: int) -> str:
    seconds, fraction = divmod(ticks, 10**scale)
    if seconds >= 86400:
        raise Malformed("a time behind midnight")
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:0{scale}}" if scale else text


def _date(data: bytes) -> str:
    return _day(int.from_bytes(data, "little"))


def _time(scale: int) -> Decoder:
    return lambda data: _clock(int.from_bytes(data, "little"), scale)


def _datetime2(scale: int) -> Decoder:
    return lambda data: f"{_date(data[-3:])} {_clock(int.from_bytes(data[:-3], 'little'), scale)}"


def _datetimeoffset(scale: int) -> Decoder:
    unit = 10**scale

    def decode(data: bytes) -> str:
        minutes = struct.unpack("<h", data[-2:])[0]
        utc = int.from_bytes(data[-5:-2], "little") * 86400 * unit + int.from_bytes(data[:-5], "little")
        days, ticks = divmod(utc + minutes * 60 * unit, 86400 * unit)
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        return f"{_day(days)} {_clock(ticks, scale)} {zone}"

    return decode


def _datetime(data: bytes) -> str:
    days, thirds = struct.unpack("<iI", data)
    return f"{_day(days + _1900 - 1)} {_clock((thirds * 10 + 1) // 3, 3)}"


def _smalldatetime(data: bytes) -> str:
    days, minutes = struct.unpack("<HH", data)
    return f"{_day(days + _1900 - 1)} {_clock(minutes * 60, 0)}"


def _bit(data: bytes) -> bool:
    return data != b"\0"


_FIXED: dict[int, tuple[SqlType, int, Decoder]] = {
    Token.INT1: (SqlType("tinyint"), 1, _unpack("<B")),
    Token.BIT: (SqlType("bit"), 1, _bit),
    Token.INT2: (SqlType("smallint"), 2, _unpack("<h")),
    Token.INT4: (SqlType("int"), 4, _unpack("<i")),
    Token.INT8: (SqlType("bigint"), 8, _unpack("<q")),
    Token.FLT4: (SqlType("real"), 4, _unpack("<f")),
    Token.FLT8: (SqlType("float"), 8, _unpack("<d")),
    Token.MONEY: (SqlType("money"), 8, _money),
    Token.MONEY4: (SqlType("smallmoney"), 4, _smallmoney),
    Token.DATETIME: (SqlType("datetime"), 8, _datetime),
    Token.DATETIM4: (SqlType("smalldatetime"), 4, _smalldatetime),
}
_NULLABLE: dict[tuple[int, int], tuple[SqlType, Decoder]] = {
    **{
        (Token.INTN, width): (SqlType(name), _unpack(f"<{code}"))
        for (width, name), code in zip(_INTEGERS.items(), "Bhiq", strict=True)
    },
    (Token.BITN, 1): (SqlType("bit"), _bit),
    (Token.FLTN, 4): (SqlType("real"), _unpack("<f")),
    (Token.FLTN, 8): (SqlType("float"), _unpack("<d")),
    (Token.MONEYN, 4): (SqlType("smallmoney"), _smallmoney),
    (Token.MONEYN, 8): (SqlType("money"), _money),
    (Token.DATETIMN, 4): (SqlType("smalldatetime"), _smalldatetime),
    (Token.DATETIMN, 8): (SqlType("datetime"), _datetime),
    (Token.GUID, 16): (SqlType("uniqueidentifier"), _guid),
}
_SCALED: dict[int, tuple[str, Callable[[int], Decoder]]] = {
    Token.TIMEN: ("time", _time),
    Token.DATETIME2N: ("datetime2", _datetime2),
    Token.DATETIMEOFFSETN: ("datetimeoffset", _datetimeoffset),
}
