"""pure: the server's errors with their texts, and PostgreSQL's translated into them.

The numbers and texts: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.standin.engine import types
from tests.standin.engine.values import guid_original
from tests.standin.ports import Refused, SqlError

if TYPE_CHECKING:
    import asyncpg

    from tests.standin.engine.model import ColumnInfo, State, TableInfo

RAISED = "MS000"  # SQLSTATE of standin.fail: DETAIL is "number,severity,state"


# -- names ---------------------------------------------------------------------------------------------------------------------


def invalid_object(name: str) -> SqlError:
    return SqlError(208, f"Invalid object name '{name}'.")


def invalid_column(name: str) -> SqlError:
    return SqlError(207, f"Invalid column name '{name}'.")


def ambiguous_column(name: str) -> SqlError:
    return SqlError(209, f"Ambiguous column name '{name}'.")


def unbound_identifier(name: str) -> SqlError:
    return SqlError(4104, f'The multi-part identifier "{name}" could not be bound.')


def undeclared_variable(name: str) -> SqlError:
    return SqlError(137, f'Must declare the scalar variable "{name}".', severity=15, state=2)


def undeclared_table_variable(name: str) -> SqlError:
    return SqlError(1087, f'Must declare the table variable "{name}".', severity=15, state=2)


def unknown_function(name: str) -> SqlError:
    return SqlError(195, f"'{name}' is not a recognized built-in function name.", severity=15, state=10)


def unknown_type(name: str) -> SqlError:
    return SqlError(243, f"Type {name} is not a defined system type.")


def denied(permission: str, table: str, database: str, schema: str) -> SqlError:
    return SqlError(
        229,
        f"The {permission} permission was denied on the object '{table}', database '{database}', schema '{schema}'.",
        severity=14,
        state=5,
    )


# -- values --------------------------------------------------------------------------------------------------------------------


def overflow_expression(target: str) -> SqlError:
    return SqlError(8115, f"Arithmetic overflow error converting expression to data type {target}.", state=2)


def overflow(source: str, target: str) -> SqlError:
    return SqlError(8115, f"Arithmetic overflow error converting {source} to data type {target}.", state=8)


def overflow_small(target: str, value: int) -> SqlError:
    return SqlError(220, f"Arithmetic overflow error for data type {target}, value = {value}.", state=2)


def not_converted(source: str, target: str) -> SqlError:
    return SqlError(8114, f"Error converting data type {source} to {target}.", state=5)


def not_a_number(source: str, value: str, target: str) -> SqlError:
    return SqlError(245, f"Conversion failed when converting the {source} value '{value}' to data type {target}.")


def text_overflow(source: str, value: str, target: str) -> SqlError:
    """Of a text whose number its target cannot hold."""
    if target == "int":
        return SqlError(248, f"The conversion of the {source} value '{value}' overflowed an int column.")
    if target == "bigint":
        return not_converted(source, target)
    size = {"tinyint": "INT1", "smallint": "INT2"}[target]
    return SqlError(
        244, f"The conversion of the {source} value '{value}' overflowed an {size} column. Use a larger integer column."
    )


def not_a_guid() -> SqlError:
    return SqlError(8169, "Conversion failed when converting from a character string to uniqueidentifier.", state=2)


def truncated(table: str, column: str, value: str) -> SqlError:
    return SqlError(
        2628, f"String or binary data would be truncated in table '{table}', column '{column}'. Truncated value: '{value}'."
    )


def no_implicit_conversion(source: str, target: str) -> SqlError:
    return SqlError(
        257,
        f"Implicit conversion from data type {source} to {target} is not allowed. Use the CONVERT function to run this query.",
        state=3,
    )


def clash(left: str, right: str) -> SqlError:
    return SqlError(206, f"Operand type clash: {left} is incompatible with {right}", state=2)


def no_explicit_conversion(source: str, target: str) -> SqlError:
    return SqlError(529, f"Explicit conversion from data type {source} to {target} is not allowed.", state=2)


def division_by_zero() -> SqlError:
    return SqlError(8134, "Divide by zero error encountered.")


def collation_conflict(left: str, right: str, operation: str) -> SqlError:
    return SqlError(
        468, f'Cannot resolve the collation conflict between "{left}" and "{right}" in the {operation} operation.', state=9
    )


# -- rows ----------------------------------------------------------------------------------------------------------------------


def null_in_column(column: str, table: str, statement: str) -> SqlError:
    return SqlError(
        515,
        f"Cannot insert the value NULL into column '{column}', table '{table}'; column does not allow nulls. "
        f"{statement} fails.",
        state=2,
    )


def duplicate_key(table: TableInfo, index_name: str, *, constraint: str, value: str) -> SqlError:
    """`constraint`: PRIMARY KEY, UNIQUE KEY, or "" for an index."""
    what = f"{table.schema}.{table.name}"
    if constraint:
        return SqlError(
            2627,
            f"Violation of {constraint} constraint '{index_name}'. Cannot insert duplicate key in object '{what}'. "
            f"The duplicate key value is ({value}).",
            severity=14,
        )
    return SqlError(
        2601,
        f"Cannot insert duplicate key row in object '{what}' with unique index '{index_name}'. "
        f"The duplicate key value is ({value}).",
        severity=14,
    )


def conflict(statement: str, kind: str, constraint: str, database: str, table: str, column: str = "") -> SqlError:
    """547. `kind`: FOREIGN KEY, REFERENCE, CHECK; `column` where the constraint has one."""
    at = f", column '{column}'" if column else ""
    return SqlError(
        547,
        f'The {statement} statement conflicted with the {kind} constraint "{constraint}". '
        f"The conflict occurred in database \"{database}\", table \"{table}\"{at}.",
        state=0,
    )  # fmt: skip


# -- PostgreSQL ----------------------------------------------------------------------------------------------------------------

_VICTIM = (
    "Transaction (Process ID {spid}) was deadlocked on lock resources with another process and has been chosen as the "
    "deadlock victim. Rerun the transaction."
)
_FIXED = {
    "22012": (8134, "Divide by zero error encountered.", 16, 1),
    "40P01": (
        1205,
        _VICTIM,
        13,
        51,
    ),
    "55P03": (1222, "Lock request time out period exceeded.", 16, 51),
}
_PG_INTEGERS = {"integer": "int", "smallint": "smallint", "bigint": "bigint"}
_KEY = re.compile(r"Key \(.*?\)=\((.*)\) ", re.DOTALL)


def translate(
    error: asyncpg.PostgresError, state: State, statement: str = "INSERT", target: TableInfo | None = None
) -> SqlError:
    """The server's error for PostgreSQL's; `statement`: INSERT, UPDATE, DELETE, MERGE or SELECT, `target`: what it writes."""
    code = error.sqlstate or ""
    if code == RAISED:
        return _raised(error)
    if code in _FIXED:
        number, text, severity, at = _FIXED[code]
        return SqlError(number, text.format(spid=state.spid), severity=severity, state=at)
    if code == "40001":
        return _snapshot_conflict(state, target)
    if code == "22003":
        return _overflowed(error)
    if code.startswith("23"):
        return _violated(error, state, statement)
    if code == "21000":
        return SqlError(
            512,
            "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when "
            "the subquery is used as an expression.",
        )
    if code == "57014":
        return SqlError(3617, "The request was cancelled.", severity=11)
    return Refused(f"PostgreSQL said {code}: {error}")


def _raised(error: asyncpg.PostgresError) -> SqlError:
    number, severity, at = (int(part) for part in str(getattr(error, "detail", "50000,16,1")).split(","))
    message = str(getattr(error, "message", error))
    return Refused(message) if number == Refused("").number else SqlError(number, message, severity=severity, state=at)


def _snapshot_conflict(state: State, table: TableInfo | None) -> SqlError:
    name = f"{table.schema}.{table.name}" if table else "the table"
    database = str(getattr(state.database, "name", ""))
    return SqlError(
        3960,
        "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access table "
        f"'{name}' directly or indirectly in database '{database}' to update, delete, or insert the row that has been modified "
        "or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete "
        "statement.",
        state=2,
    )


def _overflowed(error: asyncpg.PostgresError) -> SqlError:
    message = str(error)
    for name, target in _PG_INTEGERS.items():
        if message.startswith(f"{name} out of range"):
            return overflow_expression(target)
    if message.startswith("numeric field overflow"):
        return overflow("numeric", "numeric")
    return overflow_expression("float")


def _table(state: State, stored: str) -> TableInfo | None:
    found = (t for t in state.catalogue.tables.values() if t.stored.rpartition(".")[2] == stored)
    return next(found, next((t for t in state.table_variables.values() if t.stored.rpartition(".")[2] == stored), None))


def _violated(error: asyncpg.PostgresError, state: State, statement: str) -> SqlError:
    table = _table(state, str(getattr(error, "table_name", "") or ""))
    if table is None:
        return Refused(f"PostgreSQL said {error.sqlstate}: {error}")
    if error.sqlstate == "23502":
        stored = getattr(error, "column_name", "")
        column = next((c.name for c in table.columns if c.stored == stored), str(stored))
        return null_in_column(column, _qualified(state, table), statement)
    constraint = str(getattr(error, "constraint_name", "") or "")
    if error.sqlstate == "23505":
        return _duplicate(error, table, constraint)
    if error.sqlstate == "23503":
        return _reference(error, state, table, constraint, statement)
    return _check(state, table, constraint, statement)


def _qualified(state: State, table: TableInfo) -> str:
    database = "tempdb" if table.temporary else getattr(state.database, "name", "")
    return f"{database}.{table.schema}.{table.name}"


def _number(constraint: str) -> int:
    """The id at the end of a stored constraint's name."""
    found = re.search(r"(\d+)$", constraint)
    return int(found[1]) if found else -1


def _duplicate(error: asyncpg.PostgresError, table: TableInfo, constraint: str) -> SqlError:
    index = next((i for i in table.indexes if i.index_id == _number(constraint)), None)
    if index is None:
        return Refused(f"a unique constraint nobody declared: {constraint}")
    by_id = {c.column_id: c for c in table.columns}
    found = _KEY.search(str(getattr(error, "detail", "") or ""))
    value = _key_value(found[1] if found else "", [by_id[column_id] for column_id, _ in index.columns])
    kind = "PRIMARY KEY" if index.primary else "UNIQUE KEY" if index.constraint else ""
    return duplicate_key(table, index.name, constraint=kind, value=value)


def _key_value(detail: str, columns: list[ColumnInfo]) -> str:
    """PostgreSQL's text of a key as the server writes it."""
    parts = detail.split(", ")
    if len(parts) != len(columns):
        return detail
    return ", ".join(_shown(part, column) for part, column in zip(parts, columns, strict=True))


def _shown(part: str, column: ColumnInfo) -> str:
    if part == "null":
        return "<NULL>"
    if column.type.name == "bit":
        return "1" if part == "t" else "0"
    if part.startswith("\\x") and types.pg_base(column.type) == "bytea":
        raw = bytes.fromhex(part[2:])
        return guid_original(raw) if column.type.name == "uniqueidentifier" else "0x" + raw.hex()
    return part


def _reference(error: asyncpg.PostgresError, state: State, table: TableInfo, constraint: str, statement: str) -> SqlError:
    key = next((k for t in state.catalogue.tables.values() for k in t.foreign_keys if k.object_id == _number(constraint)), None)
    if key is None:
        return Refused(f"a foreign key nobody declared: {constraint}")
    owner = next(t for t in state.catalogue.tables.values() if key in t.foreign_keys)
    parent = next(t for t in state.catalogue.tables.values() if t.object_id == key.referenced)
    database = str(getattr(state.database, "name", ""))
    if "is still referenced" in str(getattr(error, "detail", "")):
        kind = "SAME TABLE REFERENCE" if owner is parent else "REFERENCE"
        return conflict(statement, kind, key.name, database, f"{owner.schema}.{owner.name}", _only(owner, key.columns))
    kind = "FOREIGN KEY SAME TABLE" if owner is parent else "FOREIGN KEY"
    return conflict(
        statement, kind, key.name, database, f"{parent.schema}.{parent.name}", _only(parent, key.referenced_columns)
    )


def _only(table: TableInfo, column_ids: tuple[int, ...]) -> str:
    if len(column_ids) != 1:
        return ""
    return next((c.name for c in table.columns if c.column_id == column_ids[0]), "")


def _check(state: State, table: TableInfo, constraint: str, statement: str) -> SqlError:
    check = next((c for c in table.checks if c.object_id == _number(constraint)), None)
    if check is None:
        return Refused(f"a check nobody declared: {constraint}")
    database = str(getattr(state.database, "name", ""))
    return conflict(statement, "CHECK", check.name, database, f"{table.schema}.{table.name}")
