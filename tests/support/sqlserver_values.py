"""Random values of SQL Server's types as T-SQL literals: ordinary ones, edges, and (on request) ones that cannot be carried."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from random import Random

from tests.support.random_values import EDGES, WORDS

TYPE = re.compile(r"(\w+)(?:\((max|\d+)(?:[,;](\d+))?\))?")
WESTERN = ("cafe", "café", "naïve", "Übung", "O'Brien", "100 %", "a;b", "tab\tulator", "x" * 12)  # of code page 1252
WORLD = (*WORDS, *EDGES[:6])
FRACTIONS = frozenset({"time", "datetime2", "datetimeoffset"})
SPOILT_TEXT = ("N'a' + NCHAR(0) + N'b'", "N'a' + NCHAR(55357)")  # U+0000 and half of a surrogate pair


def parsed(declared: str) -> tuple[str, int, int]:
    """Name, length or precision (-1: max), scale; what the server assumes where nothing is said."""
    match = TYPE.fullmatch(declared.strip().lower())
    assert match is not None, declared
    name, first, second = match.groups()
    return name, -1 if first == "max" else int(first or (7 if name in FRACTIONS else 0)), int(second or 0)


def quoted(text: str) -> str:
    """`N'...'`."""
    return "N'" + text.replace("'", "''") + "'"


def binary(data: bytes) -> str:
    return "0x" + data.hex().upper()


def literal(rng: Random, declared: str, *, nullable: bool = False, key: bool = False) -> str:
    """A value of the type, ready to stand in INSERT and UPDATE; texts of keys have something before their trailing blanks."""
    if nullable and rng.random() < 0.15:
        return "NULL"
    name, first, second = parsed(declared)
    if key and name in TEXTS:
        return quoted(_fitted(_code(rng, "ŁłÓó" if name.startswith("n") else ""), first))
    return MAKERS[name](rng, first, second)


def spoilt(rng: Random, declared: str) -> str:
    """A value that cannot be carried, where the type has one; else an ordinary one."""
    name, first, _ = parsed(declared)
    good = name in {"nvarchar", "ntext"} and (first == -1 or first >= 3 or name == "ntext")
    return rng.choice(SPOILT_TEXT) if good else literal(rng, declared)


def can_be_spoilt(declared: str) -> bool:
    name, first, _ = parsed(declared)
    return name == "nvarchar" and (first == -1 or first >= 3)


# -- by type -----------------------------------------------------------------------------------------------------------------


def _code(rng: Random, more: str) -> str:
    return "".join(rng.choices("ABCDEFGHJKabcdefghjk0123456789" + more, k=rng.randint(1, 9)))


def _fitted(text: str, size: int) -> str:
    """Cut to `size` units of UTF-16, as nvarchar counts them; never in the middle of a pair."""
    if size > 0:
        while len(text.encode("utf-16-le", "surrogatepass")) // 2 > size:
            text = text[:-1]
    return text


def _world(rng: Random, size: int, _: int) -> str:
    if rng.random() < 0.15:
        made = rng.choice(EDGES)
    else:
        made = " ".join(rng.choices(WORLD, k=rng.randint(1, 6))) + str(rng.randint(0, 10**6))
    if size == -1 and rng.random() < 0.05:
        made = made * 700
    return quoted(_fitted(made, size))


def _western(rng: Random, size: int, _: int) -> str:
    made = rng.choice(("", " ", *WESTERN)) if rng.random() < 0.2 else f"{rng.choice(WESTERN)} {rng.randint(0, 999_999)}"
    return quoted(made[:size] if size > 0 else made)


def _bytes(rng: Random, size: int, _: int) -> str:
    largest = 3_000 if size < 1 else size
    return binary(rng.randbytes(rng.choice((0, 1, largest, rng.randint(0, largest)))))


def _fixed_bytes(rng: Random, size: int, _: int) -> str:
    return binary(rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size))))


def _whole(low: int, high: int) -> Callable[[Random, int, int], str]:
    def make(rng: Random, *_: int) -> str:
        return str(rng.choice((low, high, 0)) if rng.random() < 0.1 else rng.randint(max(low, -9_999), min(high, 99_999)))

    return make


def _scaled(rng: Random, largest: int, scale: int) -> str:
    units = rng.choice((largest, -largest, 0)) if rng.random() < 0.1 else rng.randint(-min(largest, 10**9), min(largest, 10**9))
    digits = f"{abs(units):0{scale + 1}}"
    return ("-" if units < 0 else "") + (f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits)


def _decimal(rng: Random, precision: int, scale: int) -> str:
    return _scaled(rng, 10 ** (precision or 18) - 1, scale)


def _float(rng: Random, *_: int) -> str:
    edges = ("1.7976931348623157E+308", "-1.7976931348623157E+308", "2.2250738585072014E-308", "0E0", "1E0", "1E-1")
    return rng.choice(edges) if rng.random() < 0.2 else f"{rng.uniform(-1e6, 1e6):.17E}"


def _real(rng: Random, *_: int) -> str:
    edges = ("3.4028235E+38", "-3.4028235E+38", "1.1754944E-38", "0E0", "1E-1", "3.3333334E-1")
    return rng.choice(edges) if rng.random() < 0.2 else f"{rng.uniform(-1e6, 1e6):.9E}"


def _day(rng: Random, first: int = 1, last: int = 9999) -> str:
    year = rng.choice((first, last)) if rng.random() < 0.1 else rng.randint(1995, 2030)
    return f"{year:04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _hour(rng: Random, digits: int) -> str:
    if rng.random() < 0.1:
        return rng.choice(("00:00:00", "23:59:59" + ("." + "9" * digits if digits else "")))
    base = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return f"{base}.{rng.randint(0, 10**digits - 1):0{digits}}" if digits and rng.random() < 0.8 else base


def _time(rng: Random, size: int, _: int) -> str:
    return f"'{_hour(rng, size)}'"


def _datetime(rng: Random, *_: int) -> str:
    hour = _hour(rng, 3)
    if hour.endswith(".999"):
        hour = hour[:-1] + "7"  # .999 of the last day would be the year 10000
    return f"'{_day(rng, 1753)}T{hour}'"


def _smalldatetime(rng: Random, *_: int) -> str:
    return f"'{_day(rng, 1900, 2078)}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.choice((0, 29)):02}'"


def _datetime2(rng: Random, size: int, _: int) -> str:
    return f"'{_day(rng)}T{_hour(rng, size)}'"


def _offset(rng: Random, size: int, _: int) -> str:
    day = f"{rng.choice((1, 9999)):04}-06-15" if rng.random() < 0.1 else _day(rng, 1995, 2030)
    zone = rng.choice(("+00:00", "+01:00", "+02:00", "-14:00", "+14:00", "-03:30", "+05:45"))
    return f"'{day} {_hour(rng, size)} {zone}'"


def _guid(rng: Random, *_: int) -> str:
    made = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return f"'{made.upper() if rng.random() < 0.5 else made}'"


def _xml(rng: Random, *_: int) -> str:
    words = " ".join(rng.choices(("łódź", "śruba", "hamulec", "数据", "&amp;"), k=rng.randint(1, 4)))
    return quoted(f'<osoba id="{rng.randint(1, 99)}"><imię>{words}</imię></osoba>')


def _node(rng: Random, *_: int) -> str:
    path = "/".join(str(rng.randint(1, 9)) for _ in range(rng.randint(0, 4)))
    return f"hierarchyid::Parse('/{path}{'/' if path else ''}')"


def _variant(rng: Random, *_: int) -> str:
    kind = rng.choice(("int", "bigint", "nvarchar(20)", "decimal(12,3)", "datetime2(3)", "uniqueidentifier", "bit", "date"))
    return f"CAST({literal(rng, kind)} AS {kind})"


def _place(rng: Random, *_: int) -> str:
    return f"geography::STGeomFromText('POINT ({rng.randint(-170, 170)} {rng.randint(-80, 80)})', 4326)"


MAKERS: dict[str, Callable[[Random, int, int], str]] = {
    "bit": lambda rng, *_: str(rng.randint(0, 1)),
    "tinyint": _whole(0, 255),
    "smallint": _whole(-(2**15), 2**15 - 1),
    "int": _whole(-(2**31), 2**31 - 1),
    "bigint": _whole(-(2**63), 2**63 - 1),
    "decimal": _decimal,
    "numeric": _decimal,
    "money": lambda rng, *_: _scaled(rng, 2**63 - 1, 4),
    "smallmoney": lambda rng, *_: _scaled(rng, 2**31 - 1, 4),
    "float": _float,
    "real": _real,
    "date": lambda rng, *_: f"'{_day(rng)}'",
    "time": _time,
    "datetime": _datetime,
    "smalldatetime": _smalldatetime,
    "datetime2": _datetime2,
    "datetimeoffset": _offset,
    "char": _western,
    "varchar": _western,
    "text": _western,
    "nchar": _world,
    "nvarchar": _world,
    "ntext": _world,
    "xml": _xml,
    "binary": _fixed_bytes,
    "varbinary": _bytes,
    "image": _bytes,
    "uniqueidentifier": _guid,
    "hierarchyid": _node,
    "sql_variant": _variant,
    "geography": _place,
}
TEXTS = frozenset({"char", "varchar", "nchar", "nvarchar"})
