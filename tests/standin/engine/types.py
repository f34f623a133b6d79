"""pure: the types of SQL Server: what PostgreSQL stores them as, how the catalogue views show them, how they combine.

https://learn.microsoft.com/sql/t-sql/data-types/data-types-transact-sql
https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-types-transact-sql
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tests.standin.ports import MAX, Refused, SqlType

BIT = SqlType("bit")
TINYINT = SqlType("tinyint")
SMALLINT = SqlType("smallint")
INT = SqlType("int")
BIGINT = SqlType("bigint")
FLOAT = SqlType("float")
REAL = SqlType("real")
MONEY = SqlType("money")
SMALLMONEY = SqlType("smallmoney")
DATE = SqlType("date")
DATETIME = SqlType("datetime")
SMALLDATETIME = SqlType("smalldatetime")
GUID = SqlType("uniqueidentifier")
VARIANT = SqlType("sql_variant")
SYSNAME = SqlType("nvarchar", 128)
ROWVERSION = SqlType("timestamp")

INTEGERS = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
MONEYS = {"money": (19, 4), "smallmoney": (10, 4)}
UNICODE = frozenset({"nchar", "nvarchar", "ntext"})
STRINGS = frozenset({"char", "varchar", "nchar", "nvarchar"})
TEXTS = STRINGS | {"text", "ntext"}
BINARIES = frozenset({"binary", "varbinary", "image", "timestamp", "rowversion"})
SCALED = frozenset({"time", "datetime2", "datetimeoffset"})  # with fractional digits, 7 unless said
TIMES = SCALED | {"date", "datetime", "smalldatetime"}
NUMBERS = frozenset({*INTEGERS, *MONEYS, "bit", "decimal", "float", "real"})
SPATIAL = frozenset({"geography", "geometry"})

_POSTGRES = {
    "bit": "boolean",
    "tinyint": "int2",
    "smallint": "int2",
    "int": "int4",
    "bigint": "int8",
    "float": "float8",
    "real": "float4",
    "money": "numeric(19,4)",
    "smallmoney": "numeric(10,4)",
    "uniqueidentifier": "bytea",
    **dict.fromkeys(BINARIES, "bytea"),
    **dict.fromkeys(TEXTS | TIMES | SPATIAL | {"xml", "hierarchyid", "sql_variant"}, "text"),
}

# Highest first: https://learn.microsoft.com/sql/t-sql/data-types/data-type-precedence-transact-sql
_PRECEDENCE = [
    "hierarchyid", "geography", "geometry", "sql_variant", "xml", "datetimeoffset", "datetime2", "datetime", "smalldatetime",
    "date", "time", "float", "real", "decimal", "money", "smallmoney", "bigint", "int", "smallint", "tinyint", "bit", "ntext",
    "text", "image", "timestamp", "uniqueidentifier", "nvarchar", "nchar", "varchar", "char", "varbinary", "binary",
]  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(_PRECEDENCE)} | {"rowversion": _PRECEDENCE.index("timestamp")}

_SYSTEM_TYPE_ID = {
    "image": 34, "text": 35, "uniqueidentifier": 36, "date": 40, "time": 41, "datetime2": 42, "datetimeoffset": 43,
    "tinyint": 48, "smallint": 52, "int": 56, "smalldatetime": 58, "real": 59, "money": 60, "datetime": 61, "float": 62,
    "sql_variant": 98,
    "ntext": 99, "bit": 104, "decimal": 106, "smallmoney": 122, "bigint": 127, "varbinary": 165, "varchar": 167, "binary": 173,
    "char": 175, "timestamp": 189, "rowversion": 189, "nvarchar": 231, "nchar": 239, "hierarchyid": 240, "geometry": 240,
    "geography": 240, "xml": 241,
}  # fmt: skip
_USER_TYPE_ID = {"hierarchyid": 128, "geometry": 129, "geography": 130}
_ALIASES = {"numeric": "decimal", "dec": "decimal", "integer": "int", "rowversion": "timestamp", "sysname": "nvarchar"}

# max_length, precision, scale of the types that have only one form
_FIXED = {
    "bit": (1, 1, 0), "tinyint": (1, 3, 0), "smallint": (2, 5, 0), "int": (4, 10, 0), "bigint": (8, 19, 0), "real": (4, 24, 0),
    "float": (8, 53, 0), "money": (8, 19, 4), "smallmoney": (4, 10, 4), "uniqueidentifier": (16, 0, 0), "date": (3, 10, 0),
    "smalldatetime": (4, 16, 0), "datetime": (8, 23, 3), "timestamp": (8, 0, 0), "rowversion": (8, 0, 0), "text": (16, 0, 0),
    "ntext": (16, 0, 0), "image": (16, 0, 0), "xml": (-1, 0, 0), "sql_variant": (8016, 0, 0), "hierarchyid": (892, 0, 0),
    "geography": (-1, 0, 0), "geometry": (-1, 0, 0),
}  # fmt: skip


def pg_type(type_: SqlType) -> str:
    """The type of its column in PostgreSQL."""
    if type_.name == "decimal":
        return f"numeric({type_.precision or 18},{type_.scale})"
    return _known(_POSTGRES, type_)


def pg_base(type_: SqlType) -> str:
    """The same without precision: what a parameter or an expression of it is cast to."""
    return "numeric" if type_.name == "decimal" or type_.name in MONEYS else _known(_POSTGRES, type_)


def _known(table: dict[str, str], type_: SqlType) -> str:
    try:
        return table[type_.name]
    except KeyError:
        raise Refused(f"the type {type_.name}") from None


def declared(type_: SqlType) -> SqlType:
    """The type of a column or variable whose length or precision may be unsaid: char and its kind 1, decimal 18,0."""
    return _completed(type_, 1)


def cast_target(type_: SqlType) -> SqlType:
    """The type that CAST and CONVERT name: an unsaid length is 30."""
    return _completed(type_, 30)


def _completed(type_: SqlType, length: int) -> SqlType:
    if type_.name in STRINGS | {"binary", "varbinary"} and not type_.length:
        return replace(type_, length=length)
    if type_.name == "decimal" and not type_.precision:
        return replace(type_, precision=18)
    return type_


# -- how the catalogue views show a type --------------------------------------------------------------------------------------


def system_type_id(type_: SqlType) -> int:
    """Of sys.types."""
    return _SYSTEM_TYPE_ID[type_.name]


def user_type_id(type_: SqlType) -> int:
    """Of sys.types, for a type of the system."""
    return _USER_TYPE_ID.get(type_.name, _SYSTEM_TYPE_ID[type_.name])


def type_name(type_: SqlType) -> str:
    """Its name in sys.types and INFORMATION_SCHEMA."""
    return "timestamp" if type_.name == "rowversion" else type_.name


def max_length(type_: SqlType) -> int:
    """Bytes, as sys.columns.max_length: -1 for (max) and xml."""
    return facets(type_)[0]


def precision(type_: SqlType) -> int:
    """As sys.columns.precision."""
    return facets(type_)[1]


def scale(type_: SqlType) -> int:
    """As sys.columns.scale."""
    return facets(type_)[2]


def facets(type_: SqlType) -> tuple[int, int, int]:
    """max_length, precision, scale of sys.columns."""
    if type_.name in _FIXED:
        return _FIXED[type_.name]
    if type_.name == "decimal":
        digits = type_.precision or 18
        return (5 if digits <= 9 else 9 if digits <= 19 else 13 if digits <= 28 else 17), digits, type_.scale
    if type_.name in SCALED:
        return _time_facets(type_)
    length = type_.length or 1
    return (length if length == MAX or type_.name not in UNICODE else 2 * length), 0, 0


def _time_facets(type_: SqlType) -> tuple[int, int, int]:
    size = 3 if type_.scale <= 2 else 4 if type_.scale <= 4 else 5
    more, digits = {"time": (0, 8), "datetime2": (3, 19), "datetimeoffset": (5, 26)}[type_.name]
    return size + more, digits + (1 + type_.scale if type_.scale else 0), type_.scale


def render(type_: SqlType) -> str:
    """As it is written: `nvarchar(50)`, `decimal(18,2)`, `datetime2(7)`."""
    name = type_name(type_)
    if name == "decimal":
        return f"decimal({type_.precision or 18},{type_.scale})"
    if name in SCALED:
        return f"{name}({type_.scale})"
    if name in STRINGS or name in {"binary", "varbinary"}:
        return f"{name}({'max' if type_.length == MAX else type_.length or 1})"
    return name


_WRITTEN = re.compile(r"\s*\[?([a-z0-9_]+)]?\s*(?:\(\s*(max|\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*", re.IGNORECASE)


def parse(text: str) -> SqlType:
    """The reverse of `render`; aliases are resolved, unsaid lengths stay 0. Raises Refused."""
    found = _WRITTEN.fullmatch(text)
    if not found:
        raise Refused(f"the type {text}")
    name = found[1].lower()
    return build(name, *(None if g is None else MAX if g.lower() == "max" else int(g) for g in found.groups()[1:]))


def build(name: str, first: int | None = None, second: int | None = None) -> SqlType:
    """A built-in type by its name and the numbers in its parentheses. Raises Refused for a name that is none."""
    folded = name.lower()
    if folded == "sysname":
        return SYSNAME
    folded = _ALIASES.get(folded, folded)
    if folded not in _RANK:
        raise Refused(f"the type {name}")
    if folded == "float":
        return REAL if first is not None and first <= 24 else FLOAT
    if folded == "decimal":
        return SqlType("decimal", precision=18 if first is None else first, scale=second or 0)
    if folded in SCALED:
        return SqlType(folded, scale=7 if first is None else first)
    if folded in {"text", "ntext", "image", "xml"}:
        return SqlType(folded, MAX)
    return SqlType(folded, 0 if first is None else first)


# -- how types combine --------------------------------------------------------------------------------------------------------


def rank(type_: SqlType) -> int:
    """Its place in the order of precedence, highest first."""
    return _RANK[type_.name]


def is_number(type_: SqlType) -> bool:
    return type_.name in NUMBERS


def as_decimal(type_: SqlType) -> SqlType:
    """The decimal that an exact number becomes when it meets one."""
    if type_.name == "decimal":
        return type_
    digits, places = MONEYS.get(type_.name) or ({"bit": 1, "tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}[type_.name], 0)
    return SqlType("decimal", precision=digits, scale=places)


def _sum(a: SqlType, b: SqlType, carry: int) -> tuple[int, int]:
    integral, places = max(a.precision - a.scale, b.precision - b.scale), max(a.scale, b.scale)
    digits = integral + places + carry
    return min(digits, 38), places if digits <= 38 else min(places, 38 - integral)


def _product(digits: int, places: int) -> tuple[int, int]:
    if digits <= 38:
        return digits, places
    integral = digits - places
    return 38, min(places, 38 - integral) if integral <= 32 else min(places, 6)


def _quotient(a: SqlType, b: SqlType) -> tuple[int, int]:
    places = max(6, a.scale + b.precision + 1)
    return _product(a.precision - a.scale + b.scale + places, places)


def _modulo(a: SqlType, b: SqlType) -> tuple[int, int]:
    places = max(a.scale, b.scale)
    return min(a.precision - a.scale, b.precision - b.scale) + places, places


_ARITHMETIC: dict[str, Callable[[SqlType, SqlType], tuple[int, int]]] = {
    "+": lambda a, b: _sum(a, b, 1),
    "-": lambda a, b: _sum(a, b, 1),
    "*": lambda a, b: _product(a.precision + b.precision + 1, a.scale + b.scale),
    "/": _quotient,
    "%": _modulo,
    "union": lambda a, b: _sum(a, b, 0),
}


def decimal_result(op: str, a: SqlType, b: SqlType) -> SqlType:
    """Of + - * / % and "union" on two decimals.

    https://learn.microsoft.com/sql/t-sql/data-types/precision-scale-and-length-transact-sql
    """
    digits, places = _ARITHMETIC[op](a, b)
    return SqlType("decimal", precision=digits, scale=places)


def longer(a: int, b: int) -> int:
    """The greater of two lengths, one of which may be MAX."""
    return MAX if MAX in (a, b) else max(a, b)


def added(a: SqlType, b: SqlType, name: str) -> int:
    """The length of two strings or binaries put together: 8000 bytes at most unless one is (max)."""
    if MAX in (a.length, b.length):
        return MAX
    return min(a.length + b.length, 4000 if name in UNICODE else 8000)


def common(a: SqlType, b: SqlType) -> SqlType:
    """The type of CASE, COALESCE, UNION and of a comparison of both. The collation is the caller's affair.

    Raises Refused where the two cannot meet.
    """
    high, low = (a, b) if rank(a) <= rank(b) else (b, a)
    if high.name == "decimal":
        return decimal_result("union", high, as_decimal(low)) if low.name in NUMBERS else high
    if high.name in SCALED:
        return replace(high, scale=max(high.scale, _time_scale(low)))
    if high.name in STRINGS and low.name in STRINGS:
        return _common_string(high, low)
    if high.name in {"binary", "varbinary"} and low.name in {"binary", "varbinary"}:
        return SqlType("binary" if high.name == low.name == "binary" else "varbinary", longer(a.length, b.length))
    if high.name in {"binary", "varbinary"}:
        raise Refused(f"{high.name} beside {low.name}")
    return high


def _time_scale(low: SqlType) -> int:
    return low.scale if low.name in SCALED else 3 if low.name == "datetime" else 0


def _common_string(high: SqlType, low: SqlType) -> SqlType:
    unicode_ = "n" if {high.name, low.name} & UNICODE else ""
    fixed = high.name.endswith("char") and "var" not in high.name + low.name
    return replace(high, name=f"{unicode_}{'char' if fixed else 'varchar'}", length=longer(high.length, low.length))
