"""pure: collations: which wins where texts meet, and what PostgreSQL compares in their place.

https://learn.microsoft.com/sql/t-sql/statements/collation-precedence-transact-sql
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.standin.engine import errors, types
from tests.standin.engine.scope import DEFAULT, EXPLICIT, NONE, Typed
from tests.standin.ports import MAX, Refused, SqlError, SqlType
from tests.standin.wire.collations import code_page

_PAGES = {
    "cp1250": "WIN1250",
    "cp1251": "WIN1251",
    "cp1252": "WIN1252",
    "cp1253": "WIN1253",
    "cp1254": "WIN1254",
    "utf-8": "UTF8",
}
_INCOMPARABLE = {"text", "ntext", "image", "xml", *types.SPATIAL}


def merged(sides: Sequence[Typed], operation: str = "") -> tuple[str, int]:
    """The collation of texts put together and its label; with an operation that compares, a conflict is error 468."""
    texts = [s for s in sides if s.type.name in types.TEXTS and not s.null]
    if not texts:
        return "", DEFAULT
    top = max(s.label for s in texts)
    names = {s.type.collation.casefold(): s.type.collation for s in texts if s.label == top}
    first = next(s.type.collation for s in texts if s.label == top)
    if len(names) == 1 and top != NONE:
        return first, top
    if top == DEFAULT:
        return first, top
    if operation or top == EXPLICIT:
        left, right = _conflicting(texts, top)
        raise errors.collation_conflict(left, right, operation or "add")
    return first, NONE


def _conflicting(texts: Sequence[Typed], top: int) -> tuple[str, str]:
    names = [s.type.collation for s in texts if s.label == top] or [""]
    other = next((n for n in names if n.casefold() != names[0].casefold()), names[0])
    return names[0], other


def fold(collation: str) -> str:
    """'ci' or 'cs'. Raises Refused for what is not emulated."""
    name = collation.upper()
    if "_AI" in name:
        raise Refused(f"the accent-insensitive collation {collation}")
    return "ci" if "_CI" in name else "cs"


def page(collation: str) -> str:
    """PostgreSQL's name of its code page."""
    codec = code_page(collation)
    if codec not in _PAGES:
        raise Refused(f"the code page of {collation}")
    return _PAGES[codec]


def key(value: Typed, collation: str = "") -> str:
    """What an expression is compared, grouped and sorted by. Raises Refused, SqlError 306."""
    name = value.type.name
    if name in types.STRINGS:
        return f"standin.fold_{fold(collation or value.type.collation)}({value.sql})"
    if name == "datetimeoffset":
        return f"standin.utc({value.sql})"
    if name == "hierarchyid":
        return f"standin.hierarchy_key({value.sql})"
    if name in _INCOMPARABLE:
        raise incomparable()
    if name == "sql_variant":
        raise Refused("comparing, grouping or sorting sql_variant")
    return value.sql


def incomparable() -> SqlError:
    """Of text, ntext, image, xml."""
    return SqlError(
        306,
        "The text, ntext, and image data types cannot be compared or sorted, except when using IS NULL or LIKE operator.",
        state=2,
    )


def needs_key(type_: SqlType) -> bool:
    """Whether equality is not PostgreSQL's."""
    return type_.name in {*types.STRINGS, "datetimeoffset", "hierarchyid", "sql_variant"} | _INCOMPARABLE


def collated(value: Typed, collation: str) -> Typed:
    """`e COLLATE c`. Raises SqlError 447."""
    if value.type.name not in types.TEXTS:
        raise SqlError(447, f"Expression type {value.type.name} is invalid for COLLATE clause.", state=0)
    page(collation)
    return replace(value, type=replace(value.type, collation=collation), label=EXPLICIT)


def unlimited(type_: SqlType) -> SqlType:
    """Its (max) form."""
    return replace(type_, length=MAX)
