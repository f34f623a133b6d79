"""pure: the one place where names and literals become T-SQL text."""

from __future__ import annotations

import re
from collections.abc import Iterable

SCHEMA = "erp_cdc"  # of everything of ours in an ERP database
LONGEST = 128  # characters of an identifier


class BadName(ValueError):
    """A text that cannot be the name of a table, in words that say why; without the text."""


def name(identifier: str) -> str:
    """An identifier in brackets. Raises BadName for what no identifier can be."""
    if not identifier or len(identifier) > LONGEST or "\0" in identifier:
        raise BadName("a name has 1 to 128 characters, none of them U+0000")
    return "[" + identifier.replace("]", "]]") + "]"


def names(identifiers: Iterable[str]) -> str:
    """Identifiers in brackets, with commas between."""
    return ", ".join(map(name, identifiers))


def qualified(parts: Iterable[str]) -> str:
    """`[schema].[table]`."""
    return ".".join(map(name, parts))


def literal(text: str) -> str:
    """A text as an nvarchar literal. Raises BadName for U+0000, at which tools cut a statement."""
    if "\0" in text:
        raise BadName("a text with U+0000")
    return "N'" + text.replace("'", "''") + "'"


def collation(text: str) -> str:
    """The name of a collation, which stands unquoted. Raises BadName if it is none."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,127}", text, re.ASCII):
        raise BadName("not the name of a collation")
    return text


_PART = re.compile(r'\s*(?:\[((?:[^\]]|\]\])+)\]|"((?:[^"]|"")+)"|([^\[\]".]+))\s*')


def table_name(text: str) -> tuple[str, ...]:
    """`dbo.Order Details`, `[my.schema]."T"` or `T` -> its one or two parts. Raises BadName."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        bracketed, quoted, plain = match.groups()
        part = bracketed.replace("]]", "]") if bracketed else quoted.replace('""', '"') if quoted else plain.strip()
        name(part)
        parts.append(part)
        at = match.end() + 1
        if text[match.end() : at] != ".":
            break
    if not parts or at <= len(text):
        raise BadName("not a name of the form table or schema.table; brackets may stand around each part")
    if len(parts) > 2:
        raise BadName("a table is named by itself or with its schema, in the company's own database")
    return tuple(parts)
