"""adapter: INFORMATION_SCHEMA.

https://learn.microsoft.com/sql/relational-databases/system-information-schema-views/system-information-schema-views-transact-sql
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.standin.engine import types
from tests.standin.engine.model import ColumnInfo, State, TableInfo
from tests.standin.engine.system import Row, View, catalogue_of, of_rows, visible
from tests.standin.engine.system_objects import definition
from tests.standin.ports import MAX, SqlType

_TIME_PRECISION = {"date": 0, "smalldatetime": 0, "datetime": 3}
_RADIX = {"float": 2, "real": 2}


def _tables(state: State) -> Iterator[Row]:
    for table in visible(state):
        yield {
            "TABLE_CATALOG": state.database.name,
            "TABLE_SCHEMA": table.schema,
            "TABLE_NAME": table.name,
            "TABLE_TYPE": "VIEW" if table.kind == "V" else "BASE TABLE",
        }


def _columns(state: State) -> Iterator[Row]:
    for table in visible(state):
        for place, column in enumerate(table.columns, 1):
            yield _column(state, table, column, place)


def _column(state: State, table: TableInfo, column: ColumnInfo, place: int) -> Row:
    type_ = column.type
    characters, octets = _lengths(type_)
    number = type_.name in types.NUMBERS - {"bit"}
    return {
        "TABLE_CATALOG": state.database.name,
        "TABLE_SCHEMA": table.schema,
        "TABLE_NAME": table.name,
        "COLUMN_NAME": column.name,
        "ORDINAL_POSITION": place,
        "COLUMN_DEFAULT": definition(column.default) if column.default is not None else None,
        "IS_NULLABLE": "YES" if column.nullable else "NO",
        "DATA_TYPE": types.type_name(type_),
        "CHARACTER_MAXIMUM_LENGTH": characters,
        "CHARACTER_OCTET_LENGTH": octets,
        "NUMERIC_PRECISION": types.precision(type_) if number else None,
        "NUMERIC_PRECISION_RADIX": _RADIX.get(type_.name, 10) if number else None,
        "NUMERIC_SCALE": types.scale(type_) if number and type_.name not in _RADIX else None,
        "DATETIME_PRECISION": _TIME_PRECISION.get(type_.name, type_.scale) if type_.name in types.TIMES else None,
        "CHARACTER_SET_NAME": _character_set(type_),
        "COLLATION_NAME": type_.collation if type_.name in types.TEXTS else None,
        "DOMAIN_CATALOG": state.database.name if column.user_type else None,
        "DOMAIN_SCHEMA": column.user_type[0] if column.user_type else None,
        "DOMAIN_NAME": column.user_type[1] if column.user_type else None,
    }


def _character_set(type_: SqlType) -> str | None:
    if type_.name not in types.TEXTS:
        return None
    return "UNICODE" if type_.name in types.UNICODE else "iso_1"


def _lengths(type_: SqlType) -> tuple[int | None, int | None]:
    if type_.name in ("text", "image"):
        return 2147483647, 2147483647
    if type_.name == "ntext":
        return 1073741823, 2147483646
    if type_.name in ("xml", "sql_variant"):
        return (-1, -1) if type_.name == "xml" else (0, 0)
    if type_.name in types.STRINGS or type_.name in ("binary", "varbinary"):
        return type_.length, MAX if type_.length == MAX else types.max_length(type_)
    return None, None


def _named(state: State, table: TableInfo, constraint: str) -> dict[str, str]:
    return {
        "CONSTRAINT_CATALOG": state.database.name,
        "CONSTRAINT_SCHEMA": table.schema,
        "CONSTRAINT_NAME": constraint,
        "TABLE_CATALOG": state.database.name,
        "TABLE_SCHEMA": table.schema,
        "TABLE_NAME": table.name,
    }


def _constraints(state: State) -> Iterator[Row]:
    for table in visible(state):
        for index in table.indexes:
            if index.primary or index.constraint:
                kind = "PRIMARY KEY" if index.primary else "UNIQUE"
                yield {**_named(state, table, index.name), "CONSTRAINT_TYPE": kind}
        for foreign in table.foreign_keys:
            yield {**_named(state, table, foreign.name), "CONSTRAINT_TYPE": "FOREIGN KEY"}
        for check in table.checks:
            yield {**_named(state, table, check.name), "CONSTRAINT_TYPE": "CHECK"}


def _key_usage(state: State) -> Iterator[Row]:
    for table in visible(state):
        names = {c.column_id: c.name for c in table.columns}
        keys = [(i.name, [c for c, _ in i.columns]) for i in table.indexes if i.primary or i.constraint]
        keys += [(f.name, list(f.columns)) for f in table.foreign_keys]
        for constraint, ids in keys:
            for place, column_id in enumerate(ids, 1):
                row = _named(state, table, constraint)
                yield {**row, "COLUMN_NAME": names[column_id], "ORDINAL_POSITION": place}


def _column_usage(state: State) -> Iterator[Row]:
    """The columns that constraints stand on: of a foreign key its own ones."""
    for row in _key_usage(state):
        yield {key: value for key, value in row.items() if key != "ORDINAL_POSITION"}


def _schemata(state: State) -> Iterator[Row]:
    for name in [*catalogue_of(state).schemas.values(), "INFORMATION_SCHEMA", "sys"]:
        yield {"CATALOG_NAME": state.database.name, "SCHEMA_NAME": name, "SCHEMA_OWNER": "dbo" if name != "guest" else "guest"}


def _views(state: State) -> Iterator[Row]:
    for table in visible(state):
        if table.kind == "V":
            yield {
                "TABLE_CATALOG": state.database.name, "TABLE_SCHEMA": table.schema, "TABLE_NAME": table.name,
                "VIEW_DEFINITION": table.text,
            }  # fmt: skip


_TABLE = "TABLE_CATALOG:nvarchar(128)? TABLE_SCHEMA:nvarchar(128)? TABLE_NAME:nvarchar(128)"
_CONSTRAINT = "CONSTRAINT_CATALOG:nvarchar(128)? CONSTRAINT_SCHEMA:nvarchar(128)? CONSTRAINT_NAME:nvarchar(128)"

VIEWS: dict[str, View] = {
    "information_schema.tables": of_rows(f"{_TABLE} TABLE_TYPE:varchar(10)?", _tables),
    "information_schema.views": of_rows(
        f"{_TABLE} VIEW_DEFINITION:nvarchar(4000)? CHECK_OPTION:varchar(7)=NONE IS_UPDATABLE:varchar(2)=NO", _views
    ),
    "information_schema.columns": of_rows(
        f"{_TABLE} COLUMN_NAME:nvarchar(128)? ORDINAL_POSITION:int? COLUMN_DEFAULT:nvarchar(4000)? IS_NULLABLE:varchar(3)? "
        "DATA_TYPE:nvarchar(128)? CHARACTER_MAXIMUM_LENGTH:int? CHARACTER_OCTET_LENGTH:int? NUMERIC_PRECISION:tinyint? "
        "NUMERIC_PRECISION_RADIX:smallint? NUMERIC_SCALE:int? DATETIME_PRECISION:smallint? CHARACTER_SET_CATALOG:sysname? "
        "CHARACTER_SET_SCHEMA:sysname? CHARACTER_SET_NAME:sysname? COLLATION_CATALOG:sysname? COLLATION_SCHEMA:sysname? "
        "COLLATION_NAME:sysname? DOMAIN_CATALOG:sysname? DOMAIN_SCHEMA:sysname? DOMAIN_NAME:sysname?",
        _columns,
    ),
    "information_schema.table_constraints": of_rows(
        f"{_CONSTRAINT} {_TABLE} CONSTRAINT_TYPE:varchar(11)? IS_DEFERRABLE:varchar(2)=NO INITIALLY_DEFERRED:varchar(2)=NO",
        _constraints,
    ),
    "information_schema.key_column_usage": of_rows(
        f"{_CONSTRAINT} {_TABLE} COLUMN_NAME:nvarchar(128)? ORDINAL_POSITION:int", _key_usage
    ),
    "information_schema.constraint_column_usage": of_rows(f"{_TABLE} COLUMN_NAME:nvarchar(128)? {_CONSTRAINT}", _column_usage),
    "information_schema.schemata": of_rows(
        "CATALOG_NAME:sysname? SCHEMA_NAME:nvarchar(128) SCHEMA_OWNER:nvarchar(128)? DEFAULT_CHARACTER_SET_CATALOG:varchar(6)? "
        "DEFAULT_CHARACTER_SET_SCHEMA:varchar(3)? DEFAULT_CHARACTER_SET_NAME:sysname=iso_1",
        _schemata,
    ),
}
