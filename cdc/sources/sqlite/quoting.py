"""pure: the one place where names and literals become SQL text for SQLite."""

from __future__ import annotations

from collections.abc import Iterable

OWN = "_cdc_"  # every name of ours in an ERP file begins so


def name(identifier: str) -> str:
    """An identifier, quoted. Raises ValueError for U+0000, which no statement can carry."""
    if "\0" in identifier:
        raise ValueError("an identifier with U+0000")
    return '"' + identifier.replace('"', '""') + '"'


def names(identifiers: Iterable[str]) -> str:
    """Identifiers, quoted, with commas between."""
    return ", ".join(map(name, identifiers))


def is_own(identifier: str) -> bool:
    """Whether a structure of that name is ours."""
    return identifier.lower().startswith(OWN)
