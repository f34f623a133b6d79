"""pure: keys as they compare: what PostgreSQL indexes, joins and locks in place of a column."""

from __future__ import annotations

from collections.abc import Sequence

from tests.standin.engine import types
from tests.standin.engine.model import ColumnInfo, TableInfo
from tests.standin.ports import SqlType


def fold(type_: SqlType, expression: str) -> str:
    """`expression` (of the type's stored form) so that equal means equal under its collation."""
    if type_.name == "datetimeoffset":
        return f"standin.utc({expression})"
    if type_.name == "hierarchyid":
        return f"standin.hierarchy_key({expression})"
    if type_.name not in types.TEXTS:
        return expression
    return f"standin.{'fold_ci' if '_CI_' in type_.collation.upper() + '_' else 'fold_cs'}({expression})"


def folded(columns: Sequence[ColumnInfo], prefix: str = "", stored: str = "c") -> list[str]:
    """The columns folded; `prefix` such as "t.", `stored`: the letter before the column's id."""
    return [fold(c.type, f"{prefix}{stored}{c.column_id}") for c in columns]


def key_text(columns: Sequence[ColumnInfo], expressions: Sequence[str]) -> str:
    """One text for a whole key, equal for equal keys: what is hashed for key locks."""
    parts = [
        f"coalesce(({fold(c.type, f'({e})::{types.pg_type(c.type)}')})::text, '')"
        for c, e in zip(columns, expressions, strict=True)
    ]
    return " || E'\\x1f' || ".join(parts)


def equal(columns: Sequence[ColumnInfo], left: Sequence[str], right: Sequence[str]) -> str:
    """`left` = `right` under the columns' collations."""
    pairs = zip(columns, left, right, strict=True)
    return " AND ".join(f"{fold(c.type, a)} = {fold(c.type, b)}" for c, a, b in pairs)


def lockable(table: TableInfo) -> bool:
    """Whether its primary key can be locked by value."""
    return bool(table.key) and not table.temporary and all(c.computed is None for c in table.key)
