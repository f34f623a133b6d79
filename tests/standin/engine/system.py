"""adapter: the catalogue views sys.* and INFORMATION_SCHEMA.*, with exactly the columns people use.

A column that is not here is error 207, as for any other table: it would be guessed otherwise. The rows are computed from
the catalogue in this process and written into the query as arrays; what is transactional is read from PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.standin.engine import permissions, types
from tests.standin.engine.casting import quote
from tests.standin.engine.model import Catalogue, State, TableInfo
from tests.standin.engine.tracking import Relation
from tests.standin.ports import ResultColumn, SqlType

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """A view: its columns, `rows` or the SQL of a SELECT whose columns are named k1, k2 ...; missing values are `defaults`."""

    columns: Sequence[ResultColumn]
    defaults: Row
    rows: Callable[[State], Iterable[Row]] | None = None
    sql: Callable[[State], str] | None = None


def columns(text: str) -> tuple[list[ResultColumn], dict[str, Any]]:
    """`name:nvarchar(128) size:int? flag:bit=0`: ? may be NULL (and is unless a row says otherwise), = a default."""
    made, defaults = [], {}
    for word in text.split():
        name, _, rest = word.partition(":")
        kind, _, default = rest.partition("=")
        nullable = kind.endswith("?")
        type_ = types.declared(types.parse(kind.rstrip("?")))
        made.append(ResultColumn(name, type_, nullable))
        if default:
            defaults[name] = _default(type_, default)
        elif nullable:
            defaults[name] = None
    return made, defaults


def _default(type_: SqlType, text: str) -> Any:
    if type_.name == "bit":
        return text == "1"
    return int(text) if type_.name in types.INTEGERS else text


def of_rows(text: str, rows: Callable[[State], Iterable[Row]]) -> View:
    """A view from rows computed here."""
    made, defaults = columns(text)
    return View(made, defaults, rows)


def of_sql(text: str, sql: Callable[[State], str]) -> View:
    """A view from a SELECT of PostgreSQL."""
    made, defaults = columns(text)
    return View(made, defaults, sql=sql)


def view(name: str, state: State) -> Relation | None:
    """The view by its qualified name in any case, such as "sys.tables"; None: there is no such view here."""
    from tests.standin.engine import system_information, system_objects, system_server

    folded = name.casefold()
    for module in (system_objects, system_server, system_information):
        found = module.VIEWS.get(folded)
        if found is not None:
            return _relation(found, state)
    return None


def _relation(found: View, state: State) -> Relation:
    collated = [_collated(column, state) for column in found.columns]
    if found.sql is not None:
        return Relation(collated, f"({found.sql(state)})")
    assert found.rows is not None
    return Relation(collated, _arrays(collated, [{**found.defaults, **row} for row in found.rows(state)]))


def _collated(column: ResultColumn, state: State) -> ResultColumn:
    if column.type.name not in types.TEXTS:
        return column
    return replace(column, type=replace(column.type, collation=state.database.collation))


def _arrays(made: Sequence[ResultColumn], rows: Sequence[Row]) -> str:
    """A SELECT over arrays; a column that is the same in all rows is a constant."""
    shown, arrays, named = [], [f"ARRAY[{','.join(['1'] * len(rows))}]::int4[]"], ["n"]
    for place, column in enumerate(made, 1):
        values = [row[column.name] for row in rows]
        base = types.pg_base(column.type)
        if not values or all(value == values[0] and type(value) is type(values[0]) for value in values[1:]):
            shown.append(f"{literal(values[0] if values else None)}::{base} AS k{place}")
            continue
        shown.append(f"a.k{place}")
        arrays.append(f"{quote('{' + ','.join(map(_element, values)) + '}')}::{base}[]")
        named.append(f"k{place}")
    return f"(SELECT {', '.join(shown)} FROM unnest({', '.join(arrays)}) AS a ({', '.join(named)}))"


def literal(value: Any) -> str:
    """In PostgreSQL, to be cast."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return "'\\x" + value.hex() + "'"
    return quote(_text(value))


def _text(value: Any) -> str:
    return ("t" if value else "f") if isinstance(value, bool) else str(value)


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = "\\x" + value.hex() if isinstance(value, bytes) else _text(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -- what the views share ----------------------------------------------------------------------------------------------------


def catalogue_of(state: State) -> Catalogue:
    """What the views show: metadata is not versioned, so a snapshot transaction sees what others have committed meanwhile."""
    return permissions.granted(state)


def visible(state: State) -> list[TableInfo]:
    """Tables and views on which the user has any permission.

    https://learn.microsoft.com/sql/relational-databases/security/metadata-visibility-configuration
    """
    found = list(catalogue_of(state).tables.values())
    if permissions.is_owner(state):
        return found
    return [t for t in found if any(permissions.may(state, permission, t) for permission in permissions.OBJECT)]
