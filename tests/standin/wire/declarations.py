"""pure: the parameter list of sp_executesql and its kind: `@P1 int, @P2 nvarchar(max) OUTPUT`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.standin.ports import MAX, Refused, SqlError, SqlType

_ONE = re.compile(
    r"\s*(?P<name>@[\w@#$]+)\s+(AS\s+)?(?P<type>\[?\w+\]?(\s+(varying|precision))?)"
    r"\s*(\(\s*(?P<first>\d+|max)\s*(,\s*(?P<second>\d+)\s*)?\))?"
    r"(\s+(?P<null>NULL))?(\s+(?P<output>OUTPUT|OUT))?\s*(?P<end>,|$)",
    re.IGNORECASE,
)
_SYNONYMS = {
    "integer": "int",
    "dec": "decimal",
    "numeric": "decimal",
    "double precision": "float",
    "character": "char",
    "char varying": "varchar",
    "character varying": "varchar",
    "binary varying": "varbinary",
    "rowversion": "timestamp",
}
_PLAIN = {
    *("bit", "tinyint", "smallint", "int", "bigint", "money", "smallmoney", "real", "date", "datetime", "smalldatetime"),
    *("uniqueidentifier", "sql_variant", "timestamp", "hierarchyid", "geography", "geometry"),
}
_LARGE = {"text", "ntext", "image", "xml"}
_SIZED = {"char", "varchar", "nchar", "nvarchar", "binary", "varbinary"}
_SCALED = {"time", "datetime2", "datetimeoffset"}


@dataclass(frozen=True, slots=True)
class Declaration:
    """One parameter; `name` with its @."""

    name: str
    type: SqlType
    output: bool = False


def read_declarations(text: str) -> list[Declaration]:
    """In their order. Raises Refused for types and clauses that are not known, SqlError 102 for what is no list."""
    found: list[Declaration] = []
    position, open_end = 0, bool(text.strip())
    while open_end:
        match = _ONE.match(text, position)
        if match is None:
            raise _unreadable(text[position:])
        first, second = match["first"], match["second"]
        found.append(Declaration(match["name"], sql_type(match["type"], first, second), bool(match["output"])))
        position, open_end = match.end(), match["end"] == ","
    return found


def _unreadable(rest: str) -> SqlError:
    if re.search(r"\bREADONLY\b|\.", rest, re.IGNORECASE):
        return Refused(f"a parameter of a type of its own: {rest[:80]}")
    return SqlError(102, f"Incorrect syntax near '{rest.strip()[:30]}'.", severity=15)


def sql_type(name: str, first: str | None = None, second: str | None = None) -> SqlType:
    """A type by its name and what stands in its brackets. Raises Refused."""
    plain = re.sub(r"\s+", " ", name.strip("[]").lower())
    plain = _SYNONYMS.get(plain, plain)
    if plain == "sysname":
        return SqlType("nvarchar", 128)
    if plain in _LARGE:
        return SqlType(plain, MAX)
    if plain in _SIZED:
        return SqlType(plain, MAX if (first or "").lower() == "max" else int(first or 1))
    if plain in _SCALED:
        return SqlType(plain, scale=int(first or 7))
    if plain == "decimal":
        return SqlType(plain, precision=int(first or 18), scale=int(second or 0))
    if plain == "float":
        return SqlType("real" if int(first or 53) <= 24 else "float")
    if plain in _PLAIN and first is None:
        return SqlType(plain)
    raise Refused(f"a parameter of the type {name}")


def declared(kind: SqlType) -> str:
    """How the type is written."""
    if kind.name in _SIZED:
        return f"{kind.name}({'max' if kind.length == MAX else kind.length})"
    if kind.name in _SCALED:
        return f"{kind.name}({kind.scale})"
    if kind.name in ("decimal", "numeric"):
        return f"{kind.name}({kind.precision},{kind.scale})"
    return kind.name
