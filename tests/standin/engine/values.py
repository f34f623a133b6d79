"""pure: values between the ports and PostgreSQL: the forms that the head of engine/model.py describes."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from tests.standin.engine import types
from tests.standin.ports import MAX, Refused, SqlType, Value, Variant

# Bytes of a uniqueidentifier (first three groups little-endian), the most significant of SQL Server's comparison first.
# https://learn.microsoft.com/dotnet/framework/data/adonet/sql/comparing-guid-and-uniqueidentifier-values
_GUID_ORDER = (10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3)
_GUID_PLACES = tuple(_GUID_ORDER.index(i) for i in range(16))
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_SHIFT = 0xF0000
_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff\U000f0000-\U000fffff]")
_SHIFTED = re.compile("[\U000f0000-\U000fffff]")

_POINT = struct.Struct("<iBBdd")  # SRID, version 1, properties "valid, single point", latitude or y, longitude or x
_POINT_Z = 0x01
_POINT_M = 0x02
_WKB = struct.Struct("<BI")


def storable_text(value: str) -> str:
    """U+0000 and lone surrogates moved to plane 15. Raises Refused for a character that lives there."""
    return _UNSTORABLE.sub(_shifted, value) if _UNSTORABLE.search(value) else value


def _shifted(found: re.Match[str]) -> str:
    if ord(found[0]) >= _SHIFT:
        raise Refused("characters of U+F0000 to U+FFFFF")
    return chr(_SHIFT + ord(found[0]))


def original_text(value: str) -> str:
    """The reverse of `storable_text`."""
    return value if value.isascii() else _SHIFTED.sub(lambda found: chr(ord(found[0]) - _SHIFT), value)


def guid_bytes(value: str) -> bytes:
    """Its 16 bytes as SQL Server keeps them (CONVERT(binary(16), g)). Raises ValueError."""
    if not _GUID.fullmatch(value):
        raise ValueError(value)
    plain = bytes.fromhex(value.replace("-", ""))
    return plain[3::-1] + plain[5:3:-1] + plain[7:5:-1] + plain[8:]


def guid_text(native: bytes) -> str:
    """The reverse of `guid_bytes`: lower case, hyphens."""
    plain = (native[3::-1] + native[5:3:-1] + native[7:5:-1] + native[8:]).hex()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"


def guid_stored(value: str) -> bytes:
    """Its bytes in the order of comparison."""
    native = guid_bytes(value)
    return bytes(native[i] for i in _GUID_ORDER)


def guid_original(stored: bytes) -> str:
    """The reverse of `guid_stored`."""
    return guid_text(bytes(stored[i] for i in _GUID_PLACES))


# -- sql_variant: [type, length, precision, scale, text of the value] and, of text, the collation ------------------------------


def variant_stored(variant: Variant) -> str:
    """The JSON text of it; the value's text is that of its PostgreSQL form, bytes in hex."""
    type_ = variant.type
    raw = to_storage(type_, variant.value)
    text = raw.hex() if isinstance(raw, bytes) else str(int(raw)) if isinstance(raw, bool) else _plain(raw)
    parts: list[Any] = [types.type_name(type_), type_.length, type_.precision, type_.scale, text]
    return json.dumps([*parts, type_.collation] if type_.name in types.TEXTS else parts, ensure_ascii=False)


def _plain(raw: Any) -> str:
    return repr(raw) if isinstance(raw, float) else str(raw) if not hasattr(raw, "as_tuple") else format(raw, "f")


def variant_original(stored: str) -> Variant:
    """The reverse of `variant_stored`."""
    name, length, precision, scale, text, *collation = json.loads(stored)
    type_ = SqlType(name, length, precision, scale, collation[0] if collation else "")
    return Variant(type_, from_storage(type_, _read(type_, text)))


def _read(type_: SqlType, text: str) -> Any:
    if type_.name == "bit":
        return text == "1"
    if type_.name in types.INTEGERS:
        return int(text)
    if type_.name in {"float", "real"}:
        return float(text)
    if type_.name == "decimal" or type_.name in types.MONEYS:
        return Decimal(text)
    return bytes.fromhex(text) if types.pg_base(type_) == "bytea" else text


# -- geography and geometry: points only; the value is what a client gets, MS-SSCLRT's serialization ------------------------


def spatial_original(stored: str, *, geography: bool) -> bytes:
    """The bytes a client gets for a point. Raises Refused for other shapes."""
    srid, wkb = json.loads(stored)
    kind, ordinates = _point(bytes.fromhex(wkb))
    x, y, *more = ordinates
    flags = 0x0C | (_POINT_Z if kind in {1001, 3001} else 0) | (_POINT_M if kind in {2001, 3001} else 0)
    return _POINT.pack(srid, 1, flags, *((y, x) if geography else (x, y))) + struct.pack(f"<{len(more)}d", *more)


def spatial_stored(value: bytes, *, geography: bool) -> str:
    """The reverse of `spatial_original`."""
    srid, version, flags, first, second = _POINT.unpack_from(value)
    if version != 1 or flags & ~(_POINT_Z | _POINT_M) != 0x0C:
        raise Refused("spatial values other than points")
    more = value[_POINT.size :]
    kind = {0: 1, _POINT_Z: 1001, _POINT_M: 2001, _POINT_Z | _POINT_M: 3001}[flags & 3]
    ordinates = struct.pack("<2d", *((second, first) if geography else (first, second)))
    return json.dumps([srid, (_WKB.pack(1, kind) + ordinates + more).hex()])


def _point(wkb: bytes) -> tuple[int, Sequence[float]]:
    order, kind = _WKB.unpack_from(wkb)
    if order != 1 or kind not in {1, 1001, 2001, 3001}:
        raise Refused("spatial values other than points")
    rest = wkb[_WKB.size :]
    return kind, struct.unpack(f"<{len(rest) // 8}d", rest)


# -- by type ----------------------------------------------------------------------------------------------------------------


def encoder(type_: SqlType) -> Callable[[Any], Any] | None:
    """From a port's value (not None) to what asyncpg is given; None: as it is."""
    if type_.name in types.TEXTS or type_.name == "xml":
        return storable_text
    if type_.name == "uniqueidentifier":
        return guid_stored
    if type_.name == "sql_variant":
        return variant_stored
    if type_.name in types.SPATIAL:
        return lambda value: spatial_stored(value, geography=type_.name == "geography")
    return None


def decoder(type_: SqlType) -> Callable[[Any], Value] | None:
    """From what asyncpg gave (not None) to a port's value; None: as it is."""
    if type_.name in types.TEXTS or type_.name == "xml":
        return original_text
    if type_.name == "uniqueidentifier":
        return guid_original
    if type_.name == "sql_variant":
        return variant_original
    if type_.name in types.SPATIAL:
        return lambda stored: spatial_original(stored, geography=type_.name == "geography")
    return None


def to_storage(type_: SqlType, value: Value) -> Any:
    """One value for PostgreSQL."""
    encode = encoder(type_)
    return value if value is None or encode is None else encode(value)


def from_storage(type_: SqlType, raw: Any) -> Value:
    """One value from PostgreSQL."""
    decode = decoder(type_)
    return raw if raw is None or decode is None else decode(raw)


def rows_decoder(column_types: Sequence[SqlType]) -> Callable[[Sequence[Any]], list[Sequence[Value]]]:
    """For many rows of one result."""
    decoders = [(i, decode) for i, type_ in enumerate(column_types) if (decode := decoder(type_))]

    def decoded(row: Sequence[Any]) -> Sequence[Value]:
        values = list(row)
        for i, decode in decoders:
            if values[i] is not None:
                values[i] = decode(values[i])
        return values

    return lambda rows: [decoded(row) for row in rows] if decoders else [tuple(row) for row in rows]


def assign(value: Value, source: SqlType, target: SqlType) -> Value:
    """The implicit conversion to a declared type (conversion.assign)."""
    from tests.standin.engine import conversion  # it builds on this module

    return conversion.assign(value, source, target)


def utf16_length(value: str) -> int:
    """Its length in UTF-16 code units, as nvarchar counts."""
    return len(value) if value.isascii() else len(value.encode("utf-16-le", "surrogatepass")) // 2


def fits(type_: SqlType, value: Value) -> bool:
    """Whether a text or binary value keeps the declared length."""
    if type_.length == MAX:
        return True
    length = len(value) if isinstance(value, bytes) else stored_length(type_, value)
    return length <= (type_.length or 1)


def stored_length(type_: SqlType, value: str) -> int:
    """What counts against the declared length: UTF-16 units, or bytes."""
    if type_.name in types.UNICODE:
        return utf16_length(value)
    return len(value.encode("utf-8", "surrogatepass")) if type_.collation.upper().endswith("_UTF8") else len(value)
