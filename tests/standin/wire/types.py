"""pure: how a type is written in front of its values: TYPE_INFO ([MS-TDS] 2.2.5.4 to 2.2.5.6)."""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import cache

from tests.standin.ports import MAX, Refused, SqlType
from tests.standin.wire.collations import collation_bytes


class Token(IntEnum):
    """Data types as they are called in the protocol."""

    NULL = 0x1F
    INT1 = 0x30
    BIT = 0x32
    INT2 = 0x34
    INT4 = 0x38
    DATETIM4 = 0x3A
    FLT4 = 0x3B
    MONEY = 0x3C
    DATETIME = 0x3D
    FLT8 = 0x3E
    MONEY4 = 0x7A
    INT8 = 0x7F
    GUID = 0x24
    INTN = 0x26
    DATEN = 0x28
    TIMEN = 0x29
    DATETIME2N = 0x2A
    DATETIMEOFFSETN = 0x2B
    BITN = 0x68
    DECIMALN = 0x6A
    NUMERICN = 0x6C
    FLTN = 0x6D
    MONEYN = 0x6E
    DATETIMN = 0x6F
    BIGVARBINARY = 0xA5
    BIGVARCHAR = 0xA7
    BIGBINARY = 0xAD
    BIGCHAR = 0xAF
    NVARCHAR = 0xE7
    NCHAR = 0xEF
    IMAGE = 0x22
    TEXT = 0x23
    NTEXT = 0x63
    VARIANT = 0x62
    UDT = 0xF0
    XML = 0xF1
    TABLE = 0xF3


PARTIAL = 0xFFFF  # the length that says (max)
ROWVERSION_USER_TYPE = 80
VARIANT_LIMIT = 8009  # bytes
_INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
_OTHERS = {  # types of one fixed width
    "bit": (Token.BITN, 1),
    "money": (Token.MONEYN, 8),
    "smallmoney": (Token.MONEYN, 4),
    "float": (Token.FLTN, 8),
    "real": (Token.FLTN, 4),
    "datetime": (Token.DATETIMN, 8),
    "smalldatetime": (Token.DATETIMN, 4),
    "uniqueidentifier": (Token.GUID, 16),
}
FIXED = {**{name: (Token.INTN, width) for name, width in _INTEGERS.items()}, **_OTHERS}
SCALED = {"time": Token.TIMEN, "datetime2": Token.DATETIME2N, "datetimeoffset": Token.DATETIMEOFFSETN}
_TEXTS = {  # token, bytes of a unit of length
    "char": (Token.BIGCHAR, 1),
    "varchar": (Token.BIGVARCHAR, 1),
    "nchar": (Token.NCHAR, 2),
    "nvarchar": (Token.NVARCHAR, 2),
}
_BINARIES = {"binary": Token.BIGBINARY, "varbinary": Token.BIGVARBINARY}
LEGACY = {"text": (Token.TEXT, 0x7FFFFFFF), "ntext": (Token.NTEXT, 0x7FFFFFFE), "image": (Token.IMAGE, 0x7FFFFFFF)}
ROWVERSIONS = ("rowversion", "timestamp")
DECIMALS = ("decimal", "numeric")


def decimal_width(precision: int) -> int:
    """Bytes of a decimal, with its sign."""
    return 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17


def time_width(scale: int) -> int:
    """Bytes of a time."""
    return 3 if scale <= 2 else 4 if scale <= 4 else 5


@cache
def type_info(kind: SqlType) -> bytes:
    """TYPE_INFO of columns and return values; always the nullable form. Raises Refused."""
    name = kind.name
    if name in FIXED:
        return bytes(FIXED[name])
    if name in DECIMALS:
        return bytes([Token.DECIMALN, decimal_width(kind.precision), kind.precision, kind.scale])
    if name == "date":
        return bytes([Token.DATEN])
    if name in SCALED:
        return bytes([SCALED[name], kind.scale])
    if name in _TEXTS:
        token, unit = _TEXTS[name]
        return struct.pack("<BH", token, _length(kind, unit)) + collation_bytes(kind.collation)
    return _binary_or_large(kind)


def _binary_or_large(kind: SqlType) -> bytes:
    name = kind.name
    if name in _BINARIES:
        return struct.pack("<BH", _BINARIES[name], _length(kind, 1))
    if name in ROWVERSIONS:
        return struct.pack("<BH", Token.BIGBINARY, 8)
    if name in LEGACY:
        token, limit = LEGACY[name]
        return struct.pack("<BI", token, limit) + (b"" if name == "image" else collation_bytes(kind.collation))
    if name == "xml":
        return bytes([Token.XML, 0])
    if name == "sql_variant":
        return struct.pack("<BI", Token.VARIANT, VARIANT_LIMIT)
    raise Refused(f"values of the type {name or '(none)'} on the wire")


def _length(kind: SqlType, unit: int) -> int:
    if kind.length == MAX:
        return PARTIAL
    length = max(kind.length, 1) * unit
    if length > 8000:
        raise Refused(f"{kind.name}({kind.length})")
    return length
