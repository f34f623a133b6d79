"""adapter: the views of objects: tables, columns, types, indexes, constraints, modules.

https://learn.microsoft.com/sql/relational-databases/system-catalog-views/object-catalog-views-transact-sql
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.standin.engine import types
from tests.standin.engine.functions_catalogue import schema_ids
from tests.standin.engine.model import ColumnInfo, ForeignKeyInfo, IndexInfo, State, TableInfo
from tests.standin.engine.system import Row, View, catalogue_of, of_rows, of_sql, visible
from tests.standin.ports import SqlType
from tests.standin.tsql import ast
from tests.standin.tsql.render import render

OBJECT = (
    "name:sysname object_id:int principal_id:int? schema_id:int parent_object_id:int=0 type:char(2) type_desc:nvarchar(60) "
    "create_date:datetime modify_date:datetime is_ms_shipped:bit=0 is_published:bit=0 is_schema_published:bit=0"
)
KINDS = {
    "U": "USER_TABLE", "V": "VIEW", "P": "SQL_STORED_PROCEDURE", "TR": "SQL_TRIGGER", "PK": "PRIMARY_KEY_CONSTRAINT",
    "UQ": "UNIQUE_CONSTRAINT", "F": "FOREIGN_KEY_CONSTRAINT", "C": "CHECK_CONSTRAINT", "D": "DEFAULT_CONSTRAINT",
}  # fmt: skip
GENERATED = {"": (0, "NOT_APPLICABLE"), "ROW START": (1, "AS_ROW_START"), "ROW END": (2, "AS_ROW_END")}
ACTIONS = {
    "NO ACTION": (0, "NO_ACTION"),
    "CASCADE": (1, "CASCADE"),
    "SET NULL": (2, "SET_NULL"),
    "SET DEFAULT": (3, "SET_DEFAULT"),
}


def _object(state: State, table: TableInfo, name: str, number: int, kind: str, parent: int = 0) -> Row:
    return {
        "name": name,
        "object_id": number,
        "schema_id": schema_ids(catalogue_of(state))[table.schema.casefold()],
        "parent_object_id": parent,
        "type": kind.ljust(2),
        "type_desc": KINDS[kind],
        "create_date": table.created,
        "modify_date": table.modified,
    }


def _tables(state: State, kind: str) -> Iterator[tuple[TableInfo, dict[str, Any]]]:
    for table in visible(state):
        if table.kind == kind:
            yield table, dict(_object(state, table, table.name, table.object_id, kind))


def _objects(state: State) -> Iterator[Row]:
    for table in visible(state):
        yield _object(state, table, table.name, table.object_id, table.kind)
        for name, number, kind in _parts(table):
            yield _object(state, table, name, number, kind, table.object_id)
    yield from _procedures(state)


def _parts(table: TableInfo) -> Iterator[tuple[str, int, str]]:
    for index in table.indexes:
        if index.primary or index.constraint:
            yield index.name, index.object_id, "PK" if index.primary else "UQ"
    yield from ((f.name, f.object_id, "F") for f in table.foreign_keys)
    yield from ((c.name, c.object_id, "C") for c in table.checks)
    yield from ((t.name, t.object_id, "TR") for t in table.triggers)
    yield from ((c.default_name, c.default_id, "D") for c in table.columns if c.default is not None)


def _procedures(state: State) -> Iterator[Row]:
    for procedure in catalogue_of(state).procedures.values():
        yield {
            "name": procedure.name,
            "object_id": procedure.object_id,
            "schema_id": schema_ids(catalogue_of(state))[procedure.schema.casefold()],
            "type": "P ",
            "type_desc": KINDS["P"],
            "create_date": "2020-01-01 00:00:00.000",
            "modify_date": "2020-01-01 00:00:00.000",
        }


def _sys_tables(state: State) -> Iterator[Row]:
    for table, row in _tables(state, "U"):
        generated = {c.generated for c in table.columns}
        temporal = (2, "SYSTEM_VERSIONED_TEMPORAL_TABLE") if "ROW START" in generated else (0, "NON_TEMPORAL_TABLE")
        last = max([table.last_column, *(c.column_id for c in table.columns)])
        yield {**row, "max_column_id_used": last, "temporal_type": temporal[0], "temporal_type_desc": temporal[1]}


# -- columns and types -------------------------------------------------------------------------------------------------------

COLUMN = (
    "object_id:int name:sysname? column_id:int system_type_id:tinyint user_type_id:int max_length:smallint precision:tinyint "
    "scale:tinyint collation_name:sysname? is_nullable:bit? is_ansi_padded:bit=1 is_rowguidcol:bit "
    "is_identity:bit is_computed:bit "
    "is_filestream:bit=0 is_replicated:bit=0 is_non_sql_subscribed:bit=0 is_merge_published:bit=0 is_dts_replicated:bit=0 "
    "is_xml_document:bit=0 xml_collection_id:int=0 default_object_id:int rule_object_id:int=0 "
    "is_sparse:bit? is_column_set:bit=0 "
    "generated_always_type:tinyint generated_always_type_desc:nvarchar(60) encryption_type:int? "
    "encryption_type_desc:nvarchar(64)? "
    "encryption_algorithm_name:sysname? column_encryption_key_id:int? is_hidden:bit is_masked:bit=0 graph_type:int?"
)


def _column(state: State, table: TableInfo, column: ColumnInfo) -> Row:
    length, precision, scale = types.facets(column.type)
    generated = GENERATED[column.generated]
    return {
        "object_id": table.object_id,
        "name": column.name,
        "column_id": column.column_id,
        "system_type_id": types.system_type_id(column.type),
        "user_type_id": _user_type(state, column),
        "max_length": length,
        "precision": precision,
        "scale": scale,
        "collation_name": _collation(column.type),
        "is_nullable": column.nullable,
        "is_rowguidcol": column.rowguidcol,
        "is_identity": column.identity is not None,
        "is_computed": column.computed is not None,
        "default_object_id": column.default_id,
        "is_sparse": column.sparse,
        "generated_always_type": generated[0],
        "generated_always_type_desc": generated[1],
        "is_hidden": column.hidden,
    }


def _collation(type_: SqlType) -> str | None:
    return type_.collation if type_.name in types.TEXTS else None


def _user_type(state: State, column: ColumnInfo) -> int:
    if column.user_type is None:
        return types.user_type_id(column.type)
    key = (column.user_type[0].casefold(), column.user_type[1].casefold())
    return 257 + list(catalogue_of(state).types).index(key)


def _columns(state: State) -> Iterator[Row]:
    for table in visible(state):
        for column in table.columns:
            yield _column(state, table, column)


def _computed(state: State) -> Iterator[Row]:
    for table in visible(state):
        for column in table.columns:
            if column.computed is not None:
                row = _column(state, table, column)
                yield {**row, "definition": column.computed_text, "is_persisted": column.persisted}


def _variant(type_: SqlType, value: int) -> str:
    digits, _, _ = types.facets(type_)
    return json.dumps([type_.name, digits, types.precision(type_), types.scale(type_), str(value)])


def _identities(state: State) -> str:
    """Their last value lives in PostgreSQL."""
    selects = [_identity(t, c) for t in visible(state) for c in t.columns if c.identity is not None]
    nothing = ", ".join(
        f"NULL::{base} k{place}" for place, base in enumerate(("int4", "text", "int4", *["text"] * 3, "bool"), 1)
    )
    empty = f"SELECT {nothing} WHERE false"
    return " UNION ALL ".join(selects or [empty])


def _identity(table: TableInfo, column: ColumnInfo) -> str:
    from tests.standin.engine.system import literal

    seed, step = column.identity or (1, 1)
    head, _, tail = _variant(column.type, 0).rpartition('"0"')
    last = (
        f"CASE WHEN pg_sequence_last_value('data.s{table.object_id}') IS NOT NULL THEN "
        f"{literal(head)} || '\"' || pg_sequence_last_value('data.s{table.object_id}') || '\"' || {literal(tail)} END"
    )
    return (
        f"SELECT {table.object_id}::int4 AS k1, {literal(column.name)}::text AS k2, {column.column_id}::int4 AS k3, "
        f"{literal(_variant(column.type, seed))}::text AS k4, {literal(_variant(column.type, step))}::text AS k5, "
        f"({last})::text AS k6, false AS k7"
    )


_SYSTEM_TYPES = [
    "image", "text", "uniqueidentifier", "date", "time", "datetime2", "datetimeoffset", "tinyint", "smallint", "int",
    "smalldatetime", "real", "money", "datetime", "float", "sql_variant", "ntext", "bit", "decimal", "smallmoney", "bigint",
    "hierarchyid", "geometry", "geography", "varbinary", "varchar", "binary", "char", "timestamp", "nvarchar", "nchar", "xml",
]  # fmt: skip
_WIDEST = {"varbinary": 8000, "varchar": 8000, "binary": 8000, "char": 8000, "nvarchar": 8000, "nchar": 8000}


def _types(state: State) -> Iterator[Row]:
    for name in _SYSTEM_TYPES:
        type_ = types.build("decimal", 38, 38) if name == "decimal" else types.build(name)
        yield _type(state, name, type_, 4, types.user_type_id(type_), nullable=name != "timestamp")
    yield _type(state, "numeric", types.build("decimal", 38, 38), 4, 108, nullable=True) | {"system_type_id": 108}
    yield _type(state, "sysname", types.SYSNAME, 4, 256, nullable=False)
    for place, ((schema, name), (base, nullable)) in enumerate(catalogue_of(state).types.items()):
        number = schema_ids(catalogue_of(state))[schema]
        yield _type(state, name, base, number, 257 + place, nullable=nullable) | {"is_user_defined": True}


def _type(state: State, name: str, type_: SqlType, schema: int, user: int, *, nullable: bool) -> dict[str, Any]:
    length, precision, scale = types.facets(type_)
    clr = name in ("hierarchyid", "geometry", "geography")
    return {
        "name": name,
        "system_type_id": types.system_type_id(type_),
        "user_type_id": user,
        "schema_id": schema,
        "max_length": _WIDEST.get(name, length),
        "precision": precision,
        "scale": scale,
        "collation_name": state.database.collation if type_.name in types.TEXTS else None,
        "is_nullable": nullable,
        "is_user_defined": False,
        "is_assembly_type": clr,
    }


# -- indexes and constraints -------------------------------------------------------------------------------------------------


def _heap(table: TableInfo) -> bool:
    return not any(i.clustered for i in table.indexes)


def _indexes(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        if _heap(table):
            yield {"object_id": table.object_id, "index_id": 0, "type": 0, "type_desc": "HEAP"}
        for index in table.indexes:
            yield {
                "object_id": table.object_id,
                "name": index.name,
                "index_id": index.index_id,
                "type": 1 if index.clustered else 2,
                "type_desc": "CLUSTERED" if index.clustered else "NONCLUSTERED",
                "is_unique": index.unique,
                "is_primary_key": index.primary,
                "is_unique_constraint": index.constraint,
                "has_filter": index.where is not None,
                "filter_definition": f"({render(index.where)})" if index.where is not None else None,
            }


def _index_columns(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for index in table.indexes:
            for place, (column_id, descending, included) in enumerate(_members(index), 1):
                yield {
                    "object_id": table.object_id,
                    "index_id": index.index_id,
                    "index_column_id": place,
                    "column_id": column_id,
                    "key_ordinal": 0 if included else place,
                    "is_descending_key": descending,
                    "is_included_column": included,
                }


def _members(index: IndexInfo) -> list[tuple[int, bool, bool]]:
    return [(i, d, False) for i, d in index.columns] + [(i, False, True) for i in index.include]


def _keys(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for index in table.indexes:
            if index.primary or index.constraint:
                kind = "PK" if index.primary else "UQ"
                row = _object(state, table, index.name, index.object_id, kind, table.object_id)
                yield {**row, "unique_index_id": index.index_id}


def _foreign_keys(state: State) -> Iterator[Row]:
    parents = {t.object_id: t for t in catalogue_of(state).tables.values()}
    for table, _ in _tables(state, "U"):
        for key in table.foreign_keys:
            on_delete, on_update = ACTIONS[key.on_delete], ACTIONS[key.on_update]
            yield {
                **_object(state, table, key.name, key.object_id, "F", table.object_id),
                "referenced_object_id": key.referenced,
                "key_index_id": _key_index(parents[key.referenced], key),
                "is_disabled": key.disabled,
                "is_not_trusted": key.disabled,
                "delete_referential_action": on_delete[0],
                "delete_referential_action_desc": on_delete[1],
                "update_referential_action": on_update[0],
                "update_referential_action_desc": on_update[1],
            }


def _key_index(parent: TableInfo, key: ForeignKeyInfo) -> int | None:
    wanted = set(key.referenced_columns)
    return next((i.index_id for i in parent.indexes if i.unique and {c for c, _ in i.columns} == wanted), None)


def _foreign_key_columns(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for key in table.foreign_keys:
            for place, (own, other) in enumerate(zip(key.columns, key.referenced_columns, strict=True), 1):
                yield {
                    "constraint_object_id": key.object_id,
                    "constraint_column_id": place,
                    "parent_object_id": table.object_id,
                    "parent_column_id": own,
                    "referenced_object_id": key.referenced,
                    "referenced_column_id": other,
                }


def definition(expression: ast.Expression) -> str:
    """Of a default as the server shows it: a number in two pairs of parentheses."""
    inner = expression.operand if isinstance(expression, ast.Unary) else expression
    number = isinstance(inner, ast.Literal) and inner.kind in ("int", "decimal", "float")
    return f"(({render(expression)}))" if number else f"({render(expression)})"


def _defaults(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for column in table.columns:
            if column.default is not None:
                row = _object(state, table, column.default_name, column.default_id, "D", table.object_id)
                yield {**row, "parent_column_id": column.column_id, "definition": definition(column.default)}


def _checks(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for check in table.checks:
            row = _object(state, table, check.name, check.object_id, "C", table.object_id)
            yield {**row, "definition": check.text, "is_disabled": check.disabled, "is_not_trusted": check.disabled}


# -- modules -----------------------------------------------------------------------------------------------------------------


def _triggers(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for trigger in table.triggers:
            row = _object(state, table, trigger.name, trigger.object_id, "TR")
            yield {
                **{k: v for k, v in row.items() if k not in ("schema_id", "parent_object_id")},
                "parent_id": table.object_id,
                "is_disabled": trigger.disabled,
                "is_instead_of_trigger": trigger.statement.timing == "INSTEAD OF",
            }


def _modules(state: State) -> Iterator[Row]:
    for table in visible(state):
        if table.kind == "V":
            yield {"object_id": table.object_id, "definition": table.text}
        for trigger in table.triggers:
            yield {"object_id": trigger.object_id, "definition": trigger.statement.text}
    for procedure in catalogue_of(state).procedures.values():
        yield {"object_id": procedure.object_id, "definition": procedure.statement.text}


def _schemas(state: State) -> Iterator[Row]:
    written = {"information_schema": "INFORMATION_SCHEMA", "sys": "sys", **catalogue_of(state).schemas}
    for name, number in schema_ids(catalogue_of(state)).items():
        yield {"name": written[name], "schema_id": number, "principal_id": number if number <= 4 else 1}


def _internal(state: State) -> Iterator[Row]:
    for table, row in _tables(state, "U"):
        if table.tracked:
            name = f"change_tracking_{table.object_id}"
            yield {
                **row,
                "name": name,
                "object_id": table.object_id + 1,
                "schema_id": 4,
                "type": "IT",
                "type_desc": "INTERNAL_TABLE",
                "is_ms_shipped": True,
                "internal_type": 209,
                "internal_type_desc": "CHANGE_TRACKING",
                "parent_id": table.object_id,
                "parent_object_id": table.object_id,
            }


def _partitions(state: State) -> str:
    """One partition for every index and heap, with its number of rows."""
    selects = []
    for table, _ in _tables(state, "U"):
        ids = [0] * _heap(table) + [i.index_id for i in table.indexes]
        for index_id in ids:
            number = table.object_id * 256 + index_id
            selects.append(
                f"SELECT {number}::int8 AS k1, {table.object_id}::int4 AS k2, {index_id}::int4 AS k3, 1::int4 AS k4, "
                f"{number}::int8 AS k5, "
                f"(SELECT count(*) FROM {table.stored})::int8 AS k6, 0::int2 AS k7, 'NONE'::text AS k8"
            )
    empty = "SELECT 0::int8 k1, 0 k2, 0 k3, 0 k4, 0::int8 k5, 0::int8 k6, 0::int2 k7, ''::text k8 WHERE false"
    return " UNION ALL ".join(selects or [empty])


def _allocation_units(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        for index_id in [0] * _heap(table) + [i.index_id for i in table.indexes]:
            number = table.object_id * 256 + index_id
            yield {"allocation_unit_id": number, "type": 1, "type_desc": "IN_ROW_DATA", "container_id": number}


def _periods(state: State) -> Iterator[Row]:
    for table, _ in _tables(state, "U"):
        ends = {c.generated: c.column_id for c in table.columns if c.generated}
        if ends:
            yield {
                "name": "SYSTEM_TIME", "period_type": 1, "period_type_desc": "SYSTEM_TIME_PERIOD", "object_id": table.object_id,
                "start_column_id": ends.get("ROW START"), "end_column_id": ends.get("ROW END"),
            }  # fmt: skip


def _none(state: State) -> Iterator[Row]:
    return iter(())


VIEWS: dict[str, View] = {
    "sys.objects": of_rows(OBJECT, _objects),
    "sys.all_objects": of_rows(OBJECT, _objects),
    "sys.tables": of_rows(
        OBJECT + " lob_data_space_id:int=0 filestream_data_space_id:int? max_column_id_used:int lock_on_bulk_load:bit=0 "
        "uses_ansi_nulls:bit=1 is_replicated:bit=0 has_replication_filter:bit=0 is_merge_published:bit=0 "
        "is_tracked_by_cdc:bit=0 "
        "lock_escalation:tinyint=0 lock_escalation_desc:nvarchar(60)=TABLE is_filetable:bit=0 is_memory_optimized:bit=0 "
        "durability:tinyint=0 durability_desc:nvarchar(60)=SCHEMA_AND_DATA temporal_type:tinyint "
        "temporal_type_desc:nvarchar(60) "
        "history_table_id:int? is_external:bit=0 is_node:bit=0 is_edge:bit=0",
        _sys_tables,
    ),
    "sys.views": of_rows(
        OBJECT + " is_replicated:bit=0 has_opaque_metadata:bit=0 with_check_option:bit=0 is_date_correlation_view:bit=0",
        lambda state: (row for _, row in _tables(state, "V")),
    ),
    "sys.procedures": of_rows(OBJECT + " is_auto_executed:bit=0", _procedures),
    "sys.schemas": of_rows("name:sysname schema_id:int principal_id:int?", _schemas),
    "sys.columns": of_rows(COLUMN, _columns),
    "sys.all_columns": of_rows(COLUMN, _columns),
    "sys.computed_columns": of_rows(
        COLUMN + " definition:nvarchar(max)? uses_database_collation:bit=1 is_persisted:bit", _computed
    ),
    "sys.masked_columns": of_rows(COLUMN + " masking_function:nvarchar(4000)?", _none),
    "sys.identity_columns": of_sql(
        "object_id:int name:sysname? column_id:int seed_value:sql_variant? increment_value:sql_variant? "
        "last_value:sql_variant? "
        "is_not_for_replication:bit?",
        _identities,
    ),
    "sys.types": of_rows(
        "name:sysname system_type_id:tinyint user_type_id:int schema_id:int principal_id:int? max_length:smallint "
        "precision:tinyint scale:tinyint collation_name:sysname? is_nullable:bit? is_user_defined:bit is_assembly_type:bit "
        "default_object_id:int=0 rule_object_id:int=0 is_table_type:bit=0",
        _types,
    ),
    "sys.indexes": of_rows(
        "object_id:int name:sysname? index_id:int type:tinyint type_desc:nvarchar(60)? is_unique:bit=0 data_space_id:int=1 "
        "ignore_dup_key:bit=0 is_primary_key:bit=0 is_unique_constraint:bit=0 fill_factor:tinyint=0 is_padded:bit=0 "
        "is_disabled:bit=0 is_hypothetical:bit=0 allow_row_locks:bit=1 allow_page_locks:bit=1 has_filter:bit=0 "
        "filter_definition:nvarchar(max)?",
        _indexes,
    ),
    "sys.index_columns": of_rows(
        "object_id:int index_id:int index_column_id:int column_id:int key_ordinal:tinyint partition_ordinal:tinyint=0 "
        "is_descending_key:bit? is_included_column:bit?",
        _index_columns,
    ),
    "sys.key_constraints": of_rows(OBJECT + " unique_index_id:int? is_system_named:bit=0 is_enforced:bit=1", _keys),
    "sys.foreign_keys": of_rows(
        OBJECT + " referenced_object_id:int? key_index_id:int? is_disabled:bit is_not_for_replication:bit=0 is_not_trusted:bit "
        "delete_referential_action:tinyint? delete_referential_action_desc:nvarchar(60)? update_referential_action:tinyint? "
        "update_referential_action_desc:nvarchar(60)? is_system_named:bit=0",
        _foreign_keys,
    ),
    "sys.foreign_key_columns": of_rows(
        "constraint_object_id:int constraint_column_id:int parent_object_id:int parent_column_id:int referenced_object_id:int "
        "referenced_column_id:int",
        _foreign_key_columns,
    ),
    "sys.default_constraints": of_rows(
        OBJECT + " parent_column_id:int definition:nvarchar(max)? is_system_named:bit=0", _defaults
    ),
    "sys.check_constraints": of_rows(
        OBJECT
        + " is_disabled:bit is_not_for_replication:bit=0 is_not_trusted:bit parent_column_id:int=0 definition:nvarchar(max)? "
        "uses_database_collation:bit=1 is_system_named:bit=0",
        _checks,
    ),
    "sys.triggers": of_rows(
        "name:sysname object_id:int parent_class:tinyint=1 parent_class_desc:nvarchar(60)=OBJECT_OR_COLUMN parent_id:int "
        "type:char(2) type_desc:nvarchar(60)? create_date:datetime modify_date:datetime is_ms_shipped:bit=0 is_disabled:bit "
        "is_not_for_replication:bit=0 is_instead_of_trigger:bit",
        _triggers,
    ),
    "sys.sql_modules": of_rows(
        "object_id:int definition:nvarchar(max)? uses_ansi_nulls:bit=1 uses_quoted_identifier:bit=1 is_schema_bound:bit=0 "
        "uses_database_collation:bit=0 is_recompiled:bit=0 null_on_null_input:bit=0 execute_as_principal_id:int?",
        _modules,
    ),
    "sys.internal_tables": of_rows(
        OBJECT + " internal_type:tinyint internal_type_desc:nvarchar(60)? parent_id:int parent_minor_id:int=0 "
        "lob_data_space_id:int=0 filestream_data_space_id:int?",
        _internal,
    ),
    "sys.partitions": of_sql(
        "partition_id:bigint object_id:int index_id:int partition_number:int hobt_id:bigint rows:bigint? "
        "data_compression:tinyint "
        "data_compression_desc:nvarchar(60)?",
        _partitions,
    ),
    "sys.allocation_units": of_rows(
        "allocation_unit_id:bigint type:tinyint type_desc:nvarchar(60)? container_id:bigint "
        "data_space_id:int=1 total_pages:bigint=0 "
        "used_pages:bigint=0 data_pages:bigint=0",
        _allocation_units,
    ),
    "sys.periods": of_rows(
        "name:sysname period_type:tinyint? period_type_desc:nvarchar(60)? object_id:int start_column_id:int end_column_id:int",
        _periods,
    ),
    "sys.extended_properties": of_rows(
        "class:tinyint class_desc:nvarchar(60)? major_id:int minor_id:int name:sysname value:sql_variant?", _none
    ),
}
