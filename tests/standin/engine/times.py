"""pure: dates and times as SQL Server keeps them: from text, to text, rounded to a type.

https://learn.microsoft.com/sql/t-sql/data-types/datetime-transact-sql and its siblings. Only ISO 8601 and ODBC shaped texts
are read; others a server may understand by language are refused.
"""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

from tests.standin.ports import Refused, SqlError, SqlType

SECOND = 10_000_000  # in ticks of 100 ns
DAY = 86_400 * SECOND
_1900 = date(1900, 1, 1).toordinal()
_1753 = date(1753, 1, 1).toordinal()
_LAST_SMALL = date(2079, 6, 6).toordinal()

_TEXT = re.compile(
    r"\s*(?:(\d{4})-(\d{2})-(\d{2})|(\d{4})(\d{2})(\d{2}))?(?:(?:\s+|T|^)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?)?"
    r"\s*(Z|[+-]\d{2}:\d{2})?\s*",
    re.IGNORECASE,
)
_BY_LANGUAGE = re.compile(r"[a-z]{3,}|[./]|\d[ap]m|-\d{1,2}-\d{4}", re.IGNORECASE)


class Moment(NamedTuple):
    """A day (proleptic ordinal), the ticks of 100 ns since its midnight, both local; the offset in minutes or None."""

    day: int
    ticks: int
    offset: int | None = None


def _failed(target: str) -> SqlError:
    if target == "smalldatetime":
        return SqlError(295, "Conversion failed when converting character string to smalldatetime data type.")
    return SqlError(241, "Conversion failed when converting date and/or time from character string.")


def _out_of_range(source: str, target: str) -> SqlError:
    if target in {"datetime", "smalldatetime"}:
        return SqlError(
            242, f"The conversion of a {source} data type to a {target} data type resulted in an out-of-range value.", state=3
        )
    return _failed(target)


def read(text: str, target: str, source: str = "varchar") -> Moment:
    """A moment from a text that is to become a `target`. Raises SqlError 241, 242, 295, Refused."""
    found = _TEXT.fullmatch(text)
    if not found or not (text.strip() == "" or any(found.groups())):
        if _BY_LANGUAGE.search(text):
            raise Refused("dates written by language or with other separators")
        raise _failed(target)
    y1, m1, d1, y2, m2, d2, hour, minute, second, fraction, zone = found.groups()
    if zone and target != "datetimeoffset":
        raise Refused(f"a time zone in a text that becomes {target}")
    if target in {"datetime", "smalldatetime"} and fraction and len(fraction) > 3:
        raise _failed(target)
    day = _day(y1 or y2, m1 or m2, d1 or d2, source, target)
    clock = (int(hour or 0), int(minute or 0), int(second or 0))
    if clock > (23, 59, 59) or clock[1] > 59 or clock[2] > 59:
        raise _out_of_range(source, target)
    ticks = ((clock[0] * 60 + clock[1]) * 60 + clock[2]) * SECOND + int((fraction or "").ljust(7, "0"))
    return Moment(day, ticks, _offset(zone))


def _day(year: str | None, month: str | None, day: str | None, source: str, target: str) -> int:
    if year is None or month is None or day is None:
        return _1900
    try:
        return date(int(year), int(month), int(day)).toordinal()
    except ValueError:
        raise _out_of_range(source, target) from None


def _offset(zone: str | None) -> int | None:
    if zone is None or zone in "Zz":
        return None if zone is None else 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def stored(text: str, type_: SqlType) -> Moment:
    """A moment from the text of a value of that type; a datetime's milliseconds become its exact 1/300 s."""
    moment = read(text, "datetimeoffset")
    if type_.name != "datetime":
        return moment
    return Moment(moment.day, (_units(moment.ticks) * 100_000 * 2 + 3) // 6, None)


def _units(ticks: int) -> int:
    return (ticks * 3 + 50_000) // 100_000


def write(moment: Moment, type_: SqlType, source: str = "varchar") -> str:
    """The value's text in that type, rounded as the server rounds. Raises SqlError 242, Refused."""
    if type_.name == "date":
        return date.fromordinal(moment.day).isoformat()
    day, ticks = _rounded(moment, type_)
    _check_range(day, type_.name, source)
    seconds, rest = divmod(ticks, SECOND)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if type_.name == "datetime":
        clock += f".{rest // 10_000:03}"
    elif type_.name != "smalldatetime" and type_.scale:
        clock += f".{rest:07}"[: 1 + type_.scale]
    if type_.name == "time":
        return clock
    whole = f"{date.fromordinal(day).isoformat()} {clock}"
    return whole if type_.name != "datetimeoffset" else f"{whole} {_zone(moment.offset or 0)}"


def _rounded(moment: Moment, type_: SqlType) -> tuple[int, int]:
    ticks = moment.ticks
    if type_.name in {"datetime", "smalldatetime"}:
        units = _units(ticks)
        ticks = (units * 10 + 1) // 3 * 10_000 if type_.name == "datetime" else (units + 9_000) // 18_000 * 60 * SECOND
    else:
        unit = 10 ** (7 - type_.scale)
        ticks = (ticks + unit // 2) // unit * unit
    more, ticks = divmod(ticks, DAY)
    if more and (type_.name == "time" or moment.day == date.max.toordinal()):
        raise Refused(f"a {type_.name} that rounds beyond its range")
    return moment.day + more, ticks


def _check_range(day: int, name: str, source: str) -> None:
    low, high = {"datetime": (_1753, date.max.toordinal()), "smalldatetime": (_1900, _LAST_SMALL)}.get(name, (1, day))
    if not low <= day <= high:
        raise _out_of_range(source, name)


def _zone(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def convert(text: str, source: SqlType, target: SqlType) -> str:
    """Between two types of date and time; a time of day becomes that time on 1900-01-01."""
    return write(stored(text, source), target, source.name)
