"""pure: the canonical form of each kind of value, key identity and row hash: equal values are equal bytes on every engine.

Canonical cells, by `Type` (None is NULL everywhere but in a key; types are exact, so True is no int):

- INT              int from -2^63 to 2^63-1.
- DECIMAL          str: exactly `scale` digits after the point (no point at scale 0), no exponent, no plus sign, no leading
                   zero but the one before the point, never minus zero, at most `precision` digits when that is not 0.
- FLOAT            float, finite (NaN and the infinities exist on some engines only and are refused). -0.0 may travel; in
                   identity and hash it is 0.0, since SQLite keeps no sign of zero.
- BOOL             bool.
- TEXT, XML, JSON  str without U+0000 and without lone surrogates; otherwise as it is: not trimmed, not normalised, not parsed.
                   `length` is told, not checked: SQLite does not keep to it.
- BYTES            bytes.
- DATE             `YYYY-MM-DD`, 0001-01-01 to 9999-12-31.
- TIME             `HH:MM:SS`, then `.` and exactly `scale` digits unless scale is 0.
- DATETIME         date, one blank, time.
- DATETIMEOFFSET   datetime, then at once the offset `+HH:MM` or `-HH:MM`, at most 14:00; zero is `+00:00`.
- GUID             lower-case `8-4-4-4-12` hexadecimal digits, without braces.

Texts of keys are compared folded (`fold_text`). Reasons name what is wrong, never the content.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from math import isfinite
from typing import cast

import msgspec

from transport.errors import NotCarried
from transport.frames import MAX_KEY, Cell, Column, Fold, Type

_pack = msgspec.msgpack.Encoder().encode

_TEXTS = frozenset({Type.TEXT, Type.XML, Type.JSON})
_PYTHON: dict[Type, type] = {Type.INT: int, Type.FLOAT: float, Type.BOOL: bool, Type.BYTES: bytes}  # all others: str
_JOIN_LIMIT = 4 << 20  # characters joined to be looked at together; beyond it cells are so long that one by one costs nothing


# -- checks ----------------------------------------------------------------------------------------------------------------


def check_cell(column: Column, cell: Cell) -> str:
    """Say why the cell is not canonical for its column, without its content; "" when it is."""
    if cell is None:
        return (
            "" if column.nullable and not column.key else ("NULL in a key" if column.key else "NULL in a column without NULLs")
        )
    kind = _PYTHON.get(column.type, str)
    if type(cell) is not kind:
        return f"{type(cell).__name__} instead of {column.type.value}"
    return _CHECKS[column.type](column, cell)


def bad_cells(column: Column, cells: Sequence[Cell]) -> list[tuple[int, str]]:
    """`check_cell` of a whole column: index and reason of each cell that is not canonical. Fast when there is none."""
    kinds = set(map(type, cells))
    present: Sequence[Cell] = cells
    if type(None) in kinds and column.nullable and not column.key:
        kinds.discard(type(None))
        present = [cell for cell in cells if cell is not None]
    if not present or (kinds == {_PYTHON.get(column.type, str)} and _ALL_GOOD[column.type](column, present)):
        return []
    return [(i, reason) for i, cell in enumerate(cells) if (reason := check_cell(column, cell))]


def _check_int(_: Column, cell: int) -> str:
    return "" if -(2**63) <= cell < 2**63 else "an integer over 63 bits"


def _check_float(_: Column, cell: float) -> str:
    return "" if isfinite(cell) else "a float that is not finite"


def _check_nothing(_: Column, __: object) -> str:
    return ""


def _check_text(_: Column, cell: str) -> str:
    if "\0" in cell:
        return "text with U+0000"
    return "" if _is_unicode(cell) else "text with half of a surrogate pair"


def _check_decimal(column: Column, cell: str) -> str:
    return "" if _decimal_pattern(column.precision, column.scale).fullmatch(cell) else "not a canonical decimal"


def _check_guid(_: Column, cell: str) -> str:
    return "" if _GUID.fullmatch(cell) else "not a canonical guid"


def _check_date(_: Column, cell: str) -> str:
    return "" if _DATE.fullmatch(cell) and _is_date(cell) else "not a canonical date"


def _check_time(column: Column, cell: str) -> str:
    return "" if _time_pattern(column.scale).fullmatch(cell) else "not a canonical time"


def _check_datetime(column: Column, cell: str) -> str:
    return "" if _is_datetime(cell, column.scale) else "not a canonical datetime"


def _check_datetimeoffset(column: Column, cell: str) -> str:
    good = len(cell) > 6 and _is_datetime(cell[:-6], column.scale) and _OFFSET.fullmatch(cell[-6:])
    return "" if good else "not a canonical datetime with offset"


def _is_datetime(text: str, scale: int) -> bool:
    return bool(
        text[10:11] == " " and _DATE.fullmatch(text[:10]) and _is_date(text[:10]) and _time_pattern(scale).fullmatch(text[11:])
    )


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_OFFSET = re.compile(r"\+(0[0-9]|1[0-3]):[0-5][0-9]|-(?!00:00)(0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00")


@lru_cache(256)
def _time_pattern(scale: int) -> re.Pattern[str]:
    return re.compile(r"([01][0-9]|2[0-3])(:[0-5][0-9]){2}" + (rf"\.[0-9]{{{scale}}}" if scale else ""))


@lru_cache(1024)
def _decimal_pattern(precision: int, scale: int) -> re.Pattern[str]:
    whole = (
        "0" if 0 < precision <= scale else rf"(0|[1-9][0-9]{{0,{precision - scale - 1}}})" if precision else "(0|[1-9][0-9]*)"
    )
    return re.compile(rf"(?!-[0.]*\Z)-?{whole}" + (rf"\.[0-9]{{{scale}}}" if scale else ""))


# -- whole columns at once: joined to one string and looked at by the C code of str and bytes ---------------------------------

_ZEROS = bytes(48 if 48 <= b <= 57 else 1 if b == 48 else b for b in range(256))  # every digit becomes 0
_HEX = bytes(48 if chr(b) in "0123456789abcdef" else b for b in range(256))
_DIGITS = bytes((b - 48) % 256 for b in range(256))
_LATE = re.compile(rb"[\x1d-\x1f]")  # days after the 28th


def _good_ints(_: Column, cells: Sequence[Cell]) -> bool:
    try:
        array("q", cast("Sequence[int]", cells))
    except OverflowError:
        return False
    return True


def _good_floats(_: Column, cells: Sequence[Cell]) -> bool:
    return all(map(isfinite, cast("Sequence[float]", cells)))


def _good_always(_: Column, __: Sequence[Cell]) -> bool:
    return True


def _good_texts(_: Column, cells: Sequence[Cell]) -> bool:
    texts = cast("Sequence[str]", cells)
    if sum(map(len, texts)) > _JOIN_LIMIT:
        return all("\0" not in text and _is_unicode(text) for text in texts)
    try:
        return b"\0" not in "".join(texts).encode()
    except UnicodeEncodeError:
        return False


def _good_decimals(column: Column, cells: Sequence[Cell]) -> bool:
    """Count what each cell must have once, and look for what none may have."""
    joined, scale = _joined(cells, "\n"), column.scale
    if joined is None or joined.count(b"\n") != len(cells) + 1:
        return False
    shape, minus = joined.translate(_ZEROS), joined.count(b"-")
    end = b"." if scale else b"\n"  # of the whole part
    whole = max(column.precision - scale, 1) if column.precision else len(joined)
    return (
        not shape.translate(None, b"-.0\n" if scale else b"-0\n")
        and (not scale or shape.count(b".") == len(cells) == shape.count(b"." + b"0" * scale + b"\n"))
        and b"\n" + end not in shape
        and (not minus or shape.count(b"\n-0") == minus)
        and b"0" * (whole + 1) + end not in shape
        and _good_zeros(column, joined)
    )


def _good_zeros(column: Column, joined: bytes) -> bool:
    if 0 < column.precision <= column.scale and re.search(rb"\n-?[^0\n-]", joined):
        return False  # no digit fits before the point
    return (b"\n0" not in joined and b"-0" not in joined) or not _BAD_ZERO.search(joined)


_BAD_ZERO = re.compile(rb"\n(-?0[0-9]|-0(\.0*)?\n)")


def _good_guids(_: Column, cells: Sequence[Cell]) -> bool:
    joined = _joined(cells, "\n")
    return joined is not None and joined.translate(_HEX) == b"\n" + b"00000000-0000-0000-0000-000000000000\n" * len(cells)


def _good_dates(_: Column, cells: Sequence[Cell]) -> bool:
    table = _table(cells, "0000-00-00")
    return table is not None and _dates_in(table, 11)


def _good_times(column: Column, cells: Sequence[Cell]) -> bool:
    shape = "00:00:00" + _fraction(column)
    table = _table(cells, shape)
    return table is not None and _times_in(table, 0, len(shape) + 1)


def _good_datetimes(column: Column, cells: Sequence[Cell]) -> bool:
    shape = "0000-00-00 00:00:00" + _fraction(column)
    table = _table(cells, shape)
    return table is not None and _dates_in(table, len(shape) + 1) and _times_in(table, 11, len(shape) + 1)


def _good_by_distinct_offset(column: Column, cells: Sequence[Cell]) -> bool:
    """Offsets are few: each distinct one is looked at, the rest is a datetime."""
    texts = cast("Sequence[str]", cells)
    offsets = {text[-6:] for text in texts}
    return all(map(_OFFSET.fullmatch, offsets)) and _good_datetimes(column, [text[:-6] for text in texts])


def _fraction(column: Column) -> str:
    return "." + "0" * column.scale if column.scale else ""


def _joined(cells: Sequence[Cell], separator: str) -> bytes | None:
    r"""Join the texts, each begun by the end of `separator` and ended by its start; None when they are not ASCII."""
    joined = separator.join(["", *cast("Sequence[str]", cells), ""])
    return joined.encode() if joined.isascii() else None


def _table(cells: Sequence[Cell], shape: str) -> bytes | None:
    """Lay the texts out as a table of equal lines (each ended by a newline), if each has that shape of digits."""
    joined = _joined(cells, "\n")
    if joined is None or joined.translate(_ZEROS) != b"\n" + (shape + "\n").encode() * len(cells):
        return None
    return joined[1:]


def _number(table: bytes, at: int, width: int) -> bytes:
    """One byte a line: the number of two digits at that place (0 to 99). A sum of long integers adds all lines at once."""
    tens = int.from_bytes(table[at::width].translate(_DIGITS), "big")
    ones = table[at + 1 :: width].translate(_DIGITS)
    return (tens * 10 + int.from_bytes(ones, "big")).to_bytes(len(ones), "big")


def _within(numbers: bytes, lowest: int, highest: int) -> bool:
    return not numbers.translate(None, bytes(range(lowest, highest + 1)))


def _dates_in(table: bytes, width: int) -> bool:
    months, days = _number(table, 5, width), _number(table, 8, width)
    if not (_within(months, 1, 12) and _within(days, 1, 31)):
        return False
    suspect = [match.start() for match in _LATE.finditer(days)]
    if b"\0" in _number(table, 0, width):  # years before 100, of which 0000 does not exist
        suspect = list(range(len(days)))
    dates = {table[i * width : i * width + 10] for i in suspect}
    return all(_is_date(day.decode()) for day in dates)


def _times_in(table: bytes, at: int, width: int) -> bool:
    return (
        _within(_number(table, at, width), 0, 23)
        and _within(_number(table, at + 3, width), 0, 59)
        and _within(_number(table, at + 6, width), 0, 59)
    )


_Check = Callable[[Column, Cell], str]
_CHECKS: dict[Type, _Check] = {
    Type.INT: cast("_Check", _check_int),
    Type.DECIMAL: cast("_Check", _check_decimal),
    Type.FLOAT: cast("_Check", _check_float),
    Type.BOOL: _check_nothing,
    Type.BYTES: _check_nothing,
    Type.DATE: cast("_Check", _check_date),
    Type.TIME: cast("_Check", _check_time),
    Type.DATETIME: cast("_Check", _check_datetime),
    Type.DATETIMEOFFSET: cast("_Check", _check_datetimeoffset),
    Type.GUID: cast("_Check", _check_guid),
    **dict.fromkeys(_TEXTS, cast("_Check", _check_text)),
}
_ALL_GOOD: dict[Type, Callable[[Column, Sequence[Cell]], bool]] = {
    Type.INT: _good_ints,
    Type.DECIMAL: _good_decimals,
    Type.FLOAT: _good_floats,
    Type.BOOL: _good_always,
    Type.BYTES: _good_always,
    Type.DATE: _good_dates,
    Type.TIME: _good_times,
    Type.DATETIME: _good_datetimes,
    Type.DATETIMEOFFSET: _good_by_distinct_offset,
    Type.GUID: _good_guids,
    **dict.fromkeys(_TEXTS, _good_texts),
}


# -- helpers for adapters: from what a driver gives to the canonical text ------------------------------------------------------

_PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_ANY_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]*))?)?")
_ANY_OFFSET = re.compile(r"(.*[0-9]) ?(Z|z|[+-][0-9]{2}:?[0-9]{2})", re.DOTALL)
_ANY_GUID = re.compile(r"\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?")


def canonical_decimal(value: str | float | Decimal, precision: int, scale: int) -> str | None:
    """Write a number with exactly `scale` digits; None if that would change it, or it is none.

    Over `precision` digits (0: any) is None too. A float counts as the shortest decimal that reads back as the same float.
    """
    text = value if type(value) is str else repr(value) if type(value) is float else str(value)
    if _decimal_pattern(precision, scale).fullmatch(text):
        return text
    if len(text) > 4096 or not _PLAIN_NUMBER.fullmatch(text):
        return None
    sign, digits, exponent = Decimal(text).as_tuple()
    number, places = int("".join(map(str, digits))), cast("int", exponent) + scale
    if places > 2 * 4096:
        return None
    number, rest = divmod(number, 10**-places) if places < 0 else (number * 10**places, 0)
    if rest or (precision and number >= 10**precision):
        return None
    plain = str(number).rjust(scale + 1, "0")
    minus = "-" if sign and number else ""
    return f"{minus}{plain[:-scale]}.{plain[-scale:]}" if scale else minus + plain


def canonical_guid(text: str) -> str | None:
    """Write a guid in lower case with hyphens and without braces; None if it is none."""
    found = _ANY_GUID.fullmatch(text.lower()) if text.isascii() else None
    return "-".join(found.groups()) if found else None


def canonical_date(text: str) -> str | None:
    """Accept `YYYY-MM-DD`, also with a time of midnight; None for anything else."""
    day, rest = text[:10], text[10:]
    good = (
        _DATE.fullmatch(day) and _is_date(day) and (not rest or (rest[0] in " T" and canonical_time(rest[1:], 0) == "00:00:00"))
    )
    return day if good else None


def canonical_time(text: str, scale: int) -> str | None:
    """Accept `HH:MM[:SS[.digits]]`, write exactly `scale` digits; None if others than 0 would be lost, or it is no time."""
    if _time_pattern(scale).fullmatch(text):
        return text
    found = _ANY_TIME.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds, digits = found.groups("")
    if digits[scale:].strip("0"):
        return None
    result = f"{hours}:{minutes}:{seconds or '00'}" + ("." + digits[:scale].ljust(scale, "0") if scale else "")
    return result if _time_pattern(scale).fullmatch(result) else None


def canonical_datetime(text: str, scale: int) -> str | None:
    """Accept a date, then (after a blank or `T`) a time as `canonical_time`; a date alone is its midnight; else None."""
    day, rest = text[:10], text[10:] or " 00:00"
    if not (_DATE.fullmatch(day) and _is_date(day) and rest[0] in " T"):
        return None
    time = canonical_time(rest[1:], scale)
    return None if time is None else f"{day} {time}"


def canonical_datetimeoffset(text: str, scale: int) -> str | None:
    """Accept a datetime as `canonical_datetime` with `Z`, `+HH:MM` or `+HHMM`, a blank before it or not; else None."""
    found = _ANY_OFFSET.fullmatch(text)
    time = canonical_datetime(found[1], scale) if found and len(found[1]) > 10 else None
    if found is None or time is None:
        return None
    digits = "+0000" if found[2] in "Zz" else found[2].replace(":", "")
    offset = f"{digits[:3]}:{digits[3:]}".replace("-00:00", "+00:00")
    return time + offset if _OFFSET.fullmatch(offset) else None


# -- identity and hash -------------------------------------------------------------------------------------------------------

_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def fold_text(text: str, fold: Fold, pad: bool) -> str:
    """Write texts that the column's collation holds equal as one.

    Folding never makes two characters of one, or one of two: holding keys apart that the ERP holds equal costs a stale row
    until its next change, holding keys equal that the ERP holds apart would lose a row.
    """
    if pad:
        text = text.rstrip(" ")
    if fold is Fold.NONE:
        return text
    if text.isascii():
        return text.lower()
    if fold is Fold.ASCII:
        return text.translate(_ASCII_LOWER)
    folded = text.casefold()
    return folded if len(folded) == len(text) else "".join(map(_fold_character, text))


def _fold_character(character: str) -> str:
    return next((f for f in (character.casefold(), character.lower()) if len(f) == 1), character)


def key_identity(columns: Sequence[Column], cells: Sequence[Cell]) -> bytes:
    """Name a row by its key: the MessagePack array of its canonical cells, folded. `columns`: the key's, in key order.

    Raises NotCarried for NULL, text that is not Unicode, what is no text in a folded column, and keys over MAX_KEY bytes.
    """
    return key_identities(columns, [[cell] for cell in cells])[0]


def key_identities(columns: Sequence[Column], keys: Sequence[Sequence[Cell]]) -> list[bytes]:
    """`key_identity` of many rows; `keys` has one list a key column, as in a batch. Raises NotCarried."""
    if any(None in key for key in keys):
        raise NotCarried("T1009", "NULL in a key")
    try:
        identities = list(map(_pack, zip(*map(_folded, columns, keys), strict=True)))
    except UnicodeEncodeError:
        raise NotCarried("T1009", "a key with half of a surrogate pair is not Unicode text") from None
    except OverflowError:
        raise NotCarried("T1009", "a key with an integer over 63 bits") from None
    if identities and max(map(len, identities)) > MAX_KEY:
        raise NotCarried("T1009", f"a key is longer than {MAX_KEY} bytes")
    return identities


def loose_identity(columns: Sequence[Column], cells: Sequence[Cell]) -> bytes:
    """Name a withheld row, whose key may be anything: as `key_identity` where that works; never raises."""
    try:
        return key_identity(columns, cells)
    except NotCarried:
        safe = [
            cell.encode("utf-8", "surrogatepass") if isinstance(cell, str) and not _is_unicode(cell) else cell for cell in cells
        ]
        safe = [str(cell) if type(cell) is int and not -(2**63) <= cell < 2**63 else cell for cell in safe]
        packed = _pack(safe)
        return packed if len(packed) <= MAX_KEY else _pack([hashlib.blake2b(packed, digest_size=16).digest()])


def _folded(column: Column, cells: Sequence[Cell]) -> Sequence[Cell]:
    if column.type is Type.TEXT and (column.pad or column.fold is not Fold.NONE):
        if not set(map(type, cells)) <= {str}:
            raise NotCarried("T1009", "a key with a cell of another kind than its column")
        return list(map(fold_text, cast("Sequence[str]", cells), repeat(column.fold), repeat(column.pad)))
    return _without_minus_zero(cells) if column.type is Type.FLOAT else cells


def _without_minus_zero(cells: Iterable[Cell]) -> list[Cell]:
    return [0.0 if type(cell) is float and cell == 0.0 else cell for cell in cells]


def row_hash(columns: Sequence[Column], cells: Sequence[Cell]) -> bytes:
    """16 bytes that are equal for equal rows: over the canonical cells in the order of `columns`, raw (not folded)."""
    if len(columns) != len(cells):
        raise ValueError(f"{len(cells)} cells for {len(columns)} columns")
    plain = _without_minus_zero(cells) if 0.0 in cells else cells
    return hashlib.blake2b(_pack(tuple(plain)), digest_size=16, person=b"erp-cdc row").digest()
