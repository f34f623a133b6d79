"""pure: functions of the catalogue: names, ids and properties of what is declared, permissions.

With constants and variables they are computed when the statement runs; for rows they look into a bound JSON object.
https://learn.microsoft.com/sql/t-sql/functions/metadata-functions-transact-sql
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.standin.engine import permissions, types
from tests.standin.engine.casting import implicit
from tests.standin.engine.functions_session import argument
from tests.standin.engine.functions_text import Function, as_text
from tests.standin.engine.model import Catalogue, ColumnInfo, State, TableInfo
from tests.standin.engine.scope import Context, Typed
from tests.standin.ports import Refused, SqlType

_NAME = SqlType("nvarchar", 128)


class Declared(NamedTuple):
    """An object with an id; `kind` as in sys.objects.type."""

    schema: str
    name: str
    object_id: int
    kind: str


def schema_ids(catalogue: Catalogue) -> dict[str, int]:
    """Folded name -> schema_id: the fixed ones, then in the order of their creation."""
    ids = {"dbo": 1, "guest": 2, "information_schema": 3, "sys": 4}
    for name in catalogue.schemas:
        ids.setdefault(name, max(ids.values()) + 1)
    return ids


def objects(state: State) -> Iterator[Declared]:
    """Everything in the database that has an object id."""
    for table in state.catalogue.tables.values():
        yield Declared(table.schema, table.name, table.object_id, table.kind)
        yield from _parts(table)
    for procedure in state.catalogue.procedures.values():
        yield Declared(procedure.schema, procedure.name, procedure.object_id, "P")


def _parts(table: TableInfo) -> Iterator[Declared]:
    for trigger in table.triggers:
        yield Declared(table.schema, trigger.name, trigger.object_id, "TR")
    for key in table.foreign_keys:
        yield Declared(table.schema, key.name, key.object_id, "F")
    for check in table.checks:
        yield Declared(table.schema, check.name, check.object_id, "C")
    for index in table.indexes:
        if index.object_id:
            yield Declared(table.schema, index.name, index.object_id, "PK" if index.primary else "UQ")
    for column in table.columns:
        if column.default_id:
            yield Declared(table.schema, column.default_name, column.default_id, "D")


def object_id(state: State, name: str, kind: str = "") -> int | None:
    """OBJECT_ID(name, kind)."""
    parts = permissions.split(name)
    if parts[-1].startswith("#"):
        temporary = state.temporaries.get(parts[-1].casefold())
        return temporary.object_id if temporary else None
    if len(parts) == 3 and parts[0].casefold() not in {"", state.database.name.casefold()}:
        raise Refused("OBJECT_ID of another database")
    schema = (parts[-2] if len(parts) > 1 and parts[-2] else "dbo").casefold()
    if schema in {"sys", "information_schema"}:
        raise Refused(f"OBJECT_ID of a system object: {name}")
    wanted = kind.strip().upper()
    for found in objects(state):
        same = (found.schema.casefold(), found.name.casefold()) == (schema, parts[-1].casefold())
        if same and wanted in {"", found.kind}:
            return found.object_id
    return None


def _written(schema: str, name: str) -> list[str]:
    """The ways to write a name that an expression over rows may produce, folded."""
    bracketed = [f"[{part.replace(']', ']]')}]" for part in (schema, name)]
    forms = [".".join(bracketed), f"{schema}.{name}", f'"{schema}"."{name}"']
    if schema.casefold() == "dbo":
        forms += [bracketed[1], name]
    return [form.lower() for form in forms]


def _rows(ctx: Context, key: object, make: Callable[[State], dict[str, Any]], index: str, type_: SqlType) -> Typed:
    """make(state)[index], an expression of PostgreSQL."""
    typed = ctx.with_collation(type_)
    json_object = ctx.lookup(key, lambda state: json.dumps(make(state)))
    return Typed(f"(({json_object} ->> {index})::{types.pg_base(typed)})", typed)


def _is_fixed(value: Typed) -> bool:
    return value.null or value.constant is not None or value.slot is not None


def _text_key(ctx: Context, value: Typed) -> str:
    return f"lower(rtrim({as_text(ctx, value).sql}, ' '))"


def _number_key(value: Typed) -> str:
    return f"({implicit(value, types.INT).sql})::text"


def _object_id(ctx: Context, args: Sequence[Typed]) -> Typed:
    kind = argument(args[1], "OBJECT_ID") if len(args) > 1 else lambda state: ""
    if _is_fixed(args[0]):
        name = argument(args[0], "OBJECT_ID")

        def read(state: State) -> int | None:
            text = name(state)
            return None if text is None else object_id(state, text, kind(state) or "")

        return ctx.session(("object_id", *(a.sql for a in args)), types.INT, read)

    def ids(state: State) -> dict[str, Any]:
        wanted = str(kind(state) or "").strip().upper()
        return {w: o.object_id for o in objects(state) if wanted in {"", o.kind} for w in _written(o.schema, o.name)}

    return _rows(ctx, ("object_ids", *(a.sql for a in args[1:])), ids, _text_key(ctx, args[0]), types.INT)


def _by_object(name: str, value: Callable[[Declared], str]) -> Function:
    def names(state: State) -> dict[str, Any]:
        found = {str(o.object_id): value(o) for o in objects(state)}
        temporary = (*state.temporaries.values(), *state.table_variables.values())
        return found | {str(t.object_id): t.name if name == "OBJECT_NAME" else "dbo" for t in temporary}

    def function(ctx: Context, args: Sequence[Typed]) -> Typed:
        if len(args) > 1:
            raise Refused(f"{name} of another database")
        return _rows(ctx, name, names, _number_key(args[0]), _NAME)

    return function


def _schema_name(ctx: Context, args: Sequence[Typed]) -> Typed:
    def names(state: State) -> dict[str, Any]:
        written = {"information_schema": "INFORMATION_SCHEMA", "sys": "sys", **state.catalogue.schemas}
        return {str(number): written.get(name, name) for name, number in schema_ids(state.catalogue).items()}

    if not args:
        return ctx.session("schema_name", _NAME, lambda state: "dbo")
    return _rows(ctx, "schema_names", names, _number_key(args[0]), _NAME)


def _schema_id(ctx: Context, args: Sequence[Typed]) -> Typed:
    index = _text_key(ctx, args[0]) if args else "'dbo'"
    return _rows(ctx, "schema_ids", lambda state: schema_ids(state.catalogue), index, types.INT)


def _db_id(ctx: Context, args: Sequence[Typed]) -> Typed:
    if not args:
        return ctx.session("db_id", types.SMALLINT, lambda state: state.database.database_id)

    def ids(state: State) -> dict[str, Any]:
        return {d.name.lower(): d.database_id for d in state.database.engine.databases.values()}

    return _rows(ctx, "db_ids", ids, _text_key(ctx, args[0]), types.SMALLINT)


def _db_name(ctx: Context, args: Sequence[Typed]) -> Typed:
    if not args:
        return ctx.session("db_name", _NAME, lambda state: state.database.name)

    def names(state: State) -> dict[str, Any]:
        return {str(d.database_id): d.name for d in state.database.engine.databases.values()}

    return _rows(ctx, "db_names", names, _number_key(args[0]), _NAME)


_BUILTIN = {str(types.user_type_id(types.build(n))): n for n in (*types.NUMBERS, *types.TEXTS, *types.TIMES, *types.SPATIAL)}
_BUILTIN |= {str(types.user_type_id(types.build(n))): n for n in ("binary", "varbinary", "image", "uniqueidentifier", "xml")}
_BUILTIN |= {"189": "timestamp", "98": "sql_variant", "128": "hierarchyid", "256": "sysname", "108": "numeric"}


def _type_name(ctx: Context, args: Sequence[Typed]) -> Typed:
    def names(state: State) -> dict[str, Any]:
        if state.catalogue.types:
            raise Refused("TYPE_NAME where alias types exist")
        return _BUILTIN

    return _rows(ctx, "type_names", names, _number_key(args[0]), _NAME)


# -- columns -----------------------------------------------------------------------------------------------------------------


def _columns(state: State) -> Iterator[tuple[TableInfo, ColumnInfo]]:
    for table in (*state.catalogue.tables.values(), *state.temporaries.values()):
        for column in table.columns:
            yield table, column


def _col_name(ctx: Context, args: Sequence[Typed]) -> Typed:
    def names(state: State) -> dict[str, Any]:
        return {f"{t.object_id}.{c.column_id}": c.name for t, c in _columns(state)}

    index = f"({_number_key(args[0])} || '.' || {_number_key(args[1])})"
    return _rows(ctx, "col_names", names, index, _NAME)


def _col_length(ctx: Context, args: Sequence[Typed]) -> Typed:
    def lengths(state: State) -> dict[str, Any]:
        return {
            f"{w}.{c.name.lower()}": types.max_length(c.type)
            for t, c in _columns(state)
            for w in _written(t.schema, t.name)
        }  # fmt: skip

    index = f"({_text_key(ctx, args[0])} || '.' || {_text_key(ctx, args[1])})"
    return _rows(ctx, "col_lengths", lengths, index, types.SMALLINT)


_PROPERTIES: dict[str, Callable[[TableInfo, ColumnInfo], int | None]] = {
    "columnid": lambda t, c: c.column_id,
    "allowsnull": lambda t, c: int(c.nullable),
    "iscomputed": lambda t, c: int(c.computed is not None),
    "isidentity": lambda t, c: int(c.identity is not None),
    "isrowguidcol": lambda t, c: int(c.rowguidcol),
    "issparse": lambda t, c: int(c.sparse),
    "ishidden": lambda t, c: int(c.hidden),
    "generatedalwaystype": lambda t, c: {"": 0, "ROW START": 1, "ROW END": 2}[c.generated],
    "precision": lambda t, c: types.precision(c.type) or c.type.length,
    "scale": lambda t, c: types.scale(c.type) if c.type.name in types.NUMBERS | types.TIMES else None,
    "charmaxlen": lambda t, c: c.type.length if c.type.name in types.TEXTS | types.BINARIES else None,
}


def _column_property(ctx: Context, args: Sequence[Typed]) -> Typed:
    name = str(args[2].constant or "")
    read = _PROPERTIES.get(name.lower())
    if read is None:
        raise Refused(f"COLUMNPROPERTY of '{name}'")

    def values(state: State) -> dict[str, Any]:
        return {f"{t.object_id}.{c.name.lower()}": read(t, c) for t, c in _columns(state)}

    index = f"({_number_key(args[0])} || '.' || {_text_key(ctx, args[1])})"
    return _rows(ctx, ("column", name.lower()), values, index, types.INT)


# -- permissions -------------------------------------------------------------------------------------------------------------


def _has_perms(ctx: Context, args: Sequence[Typed]) -> Typed:
    if len(args) > 3:
        raise Refused("HAS_PERMS_BY_NAME of a column")
    kind, permission = (argument(a, "HAS_PERMS_BY_NAME") for a in args[1:])
    key = tuple(a.sql for a in args)
    if _is_fixed(args[0]):
        name = argument(args[0], "HAS_PERMS_BY_NAME")

        def read(state: State) -> int | None:
            found = permissions.has(state, str(permission(state)), str(kind(state) or ""), name(state))
            return None if found is None else int(found)

        return ctx.session(("has_perms", *key), types.INT, read)

    def granted(state: State) -> dict[str, Any]:
        if str(kind(state)).upper() != "OBJECT":
            raise Refused("HAS_PERMS_BY_NAME of rows that are not objects")
        wanted = str(permission(state)).upper()
        tables = state.catalogue.tables.values()
        return {w: int(permissions.may(state, wanted, t)) for t in tables for w in _written(t.schema, t.name)}

    return _rows(ctx, ("has_perms", *key[1:]), granted, _text_key(ctx, args[0]), types.INT)


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "OBJECT_ID": (1, 2, _object_id),
    "OBJECT_NAME": (1, 2, _by_object("OBJECT_NAME", lambda o: o.name)),
    "OBJECT_SCHEMA_NAME": (1, 2, _by_object("OBJECT_SCHEMA_NAME", lambda o: o.schema)),
    "SCHEMA_NAME": (0, 1, _schema_name),
    "SCHEMA_ID": (0, 1, _schema_id),
    "DB_ID": (0, 1, _db_id),
    "DB_NAME": (0, 1, _db_name),
    "TYPE_NAME": (1, 1, _type_name),
    "COL_NAME": (2, 2, _col_name),
    "COL_LENGTH": (2, 2, _col_length),
    "COLUMNPROPERTY": (3, 3, _column_property),
    "HAS_PERMS_BY_NAME": (3, 5, _has_perms),
}
