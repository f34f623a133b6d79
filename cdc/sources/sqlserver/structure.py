"""pure: a table of the ERP as SQL Server describes it, and the key its rows are told apart by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cdc.sources.sqlserver.types import Found


class KeyPart(NamedTuple):
    """A column of the primary key's index."""

    name: str
    descending: bool


class Table(NamedTuple):
    """A user table. `modified` changes with its structure, its indexes and its name."""

    object_id: int
    schema: str
    name: str
    modified: str
    columns: tuple[Found, ...]
    primary: tuple[KeyPart, ...]  # in index order; empty without a primary key

    @property
    def parts(self) -> tuple[str, str]:
        """Schema and name."""
        return self.schema, self.name

    def column(self, wanted: str) -> Found | None:
        """By name: as written, or else the one that differs only in case."""
        exact = next((c for c in self.columns if c.name == wanted), None)
        if exact is not None:
            return exact
        folded = [c for c in self.columns if c.name.casefold() == wanted.casefold()]
        return folded[0] if len(folded) == 1 else None


class NoKey(Exception):
    """Why a table has no usable key."""


def key_of(table: Table, wanted: Sequence[str]) -> tuple[str, ...]:
    """The primary key's columns, in the order wanted or in its own. Raises NoKey.

    Change tracking tells of a deleted row only its primary key, so no other key can be used.
    """
    own = tuple(part.name for part in table.primary)
    if not own:
        raise NoKey("the table has no PRIMARY KEY, and change tracking knows rows by nothing else")
    if not wanted:
        return own
    named: list[str] = []
    for name in wanted:
        found = table.column(name)
        if found is None:
            raise NoKey(f"the key names the column {name}, which the table does not have")
        named.append(found.name)
    if len(named) != len(own) or set(named) != set(own):
        listed = ", ".join(f'"{name}"' for name in own)
        raise NoKey(f"change tracking knows rows by the PRIMARY KEY alone; remove key, or say key = [{listed}]")
    return tuple(named)
