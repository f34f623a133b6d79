"""pure: the texts of RAISERROR, and times as WAITFOR writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.standin.ports import Refused, SqlError, SqlType, Value

LONGEST = 2047  # characters of a message
_PLACE = re.compile(r"%([-+0 #]*)(\*|\d+)?(?:\.(\*|\d+))?(I64|[hl])?([a-zA-Z%])?")
_TIME = re.compile(r"\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.:](\d{1,3}))?)?\s*")
_NUMBERS = ("tinyint", "smallint", "int", "bigint")
_TEXTS = ("char", "varchar", "nchar", "nvarchar")


def format_message(text: str, arguments: Sequence[tuple[SqlType, Value]]) -> str:
    """Puts the arguments in the places (%s, %d, %i, %u, %o, %x, %X). Raises SqlError 2786, 2787.

    https://learn.microsoft.com/sql/t-sql/language-elements/raiserror-transact-sql
    """
    left = list(arguments)
    taken = 0

    def place(found: re.Match[str]) -> str:
        nonlocal taken
        flags, width, precision, _, kind = found.groups()
        if kind == "%" and found.group() == "%%":
            return "%"
        if kind not in ("s", "d", "i", "u", "o", "x", "X"):
            raise SqlError(2787, f"Invalid format specification: '{found.group()}'.")
        if width == "*" or precision == "*":
            raise Refused("RAISERROR with a width given as *")
        taken += 1
        if not left:
            return "(null)"
        return _shown(taken, kind, flags, width, precision, left.pop(0))

    shown = _PLACE.sub(place, text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


def _shown(number: int, kind: str, flags: str, width: str | None, precision: str | None, value: tuple[SqlType, Value]) -> str:
    wanted = _TEXTS if kind == "s" else _NUMBERS
    if value[1] is None:
        return "(null)"
    if value[0].name not in wanted:
        message = (
            f"The data type of substitution parameter {number} does not match the expected type of the format specification."
        )
        raise SqlError(2786, message)
    python = "d" if kind in ("i", "u") else kind
    if python != "d" and python != "s" and value[1] < 0:
        raise Refused("RAISERROR of a negative number in hexadecimal or octal")
    pattern = f"%{flags}{width or ''}{'.' + precision if precision else ''}{python}"
    return str(pattern % value[1])


def seconds(text: str) -> float:
    """Of `hh:mm[:ss[.mmm]]`. Raises SqlError 148."""
    found = _TIME.fullmatch(text)
    parts = [int(part or 0) for part in found.groups()[:3]] if found else [99, 0, 0]
    if found is None or parts[0] > 23 or parts[1] > 59 or parts[2] > 59:
        raise SqlError(148, f"Incorrect time syntax in time string '{text}' used with WAITFOR.", severity=15)
    fraction = int((found[4] or "0").ljust(3, "0")) / 1000
    return parts[0] * 3600 + parts[1] * 60 + parts[2] + fraction
