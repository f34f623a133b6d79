"""adapter: columns and constraints as declared, turned into the catalogue's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.standin.engine import ddl_catalogue as catalogue
from tests.standin.engine import ddl_expressions as expressions
from tests.standin.engine import types
from tests.standin.engine.database import COLLATIONS
from tests.standin.engine.model import CheckInfo, ColumnInfo, ForeignKeyInfo, IndexInfo, State, TableInfo
from tests.standin.ports import MAX, Refused, SqlError, SqlType
from tests.standin.tsql import ast
from tests.standin.tsql.render import render

ROWVERSIONS = frozenset({"timestamp", "rowversion"})


def column(state: State, table: TableInfo, column_id: int, made: ast.ColumnDef) -> ColumnInfo:
    """A column of a table whose columns so far are known (a computed one refers to them). Raises SqlError 2705, 2749."""
    if table.column(made.name) is not None:
        raise SqlError(
            2705,
            "Column names in each table must be unique. "
            f"Column name '{made.name}' in table '{table.name}' is specified more than once.",
            state=3,
        )
    if made.computed is not None:
        return _computed(state, table, column_id, made)
    assert made.type is not None
    base, alias, alias_nullable = catalogue.resolve_type(state, made.type)
    nullable = _nullable(made, alias_nullable, base)
    _identity(made, base)
    default_id = catalogue.next_id(state) if made.default is not None else 0
    return ColumnInfo(
        column_id,
        made.name,
        collated(state, types.declared(base), made.collation),
        nullable,
        made.identity,
        made.default,
        made.default_name or (_automatic("DF", table.name, made.name, default_id) if default_id else ""),
        user_type=alias,
        hidden=made.hidden,
        generated=made.generated,
        sparse=made.sparse,
        rowguidcol=made.rowguidcol,
        default_id=default_id,
    )


def _computed(state: State, table: TableInfo, column_id: int, made: ast.ColumnDef) -> ColumnInfo:
    assert made.computed is not None
    type_, nullable = expressions.type_of(state, table, made.computed)
    return ColumnInfo(
        column_id,
        made.name,
        type_,
        nullable and made.nullable is not False,
        computed=made.computed,
        computed_text=f"({render(made.computed)})",
        persisted=made.persisted,
    )


def _nullable(made: ast.ColumnDef, alias: bool | None, base: SqlType) -> bool:
    if made.identity is not None or made.generated or any(c.kind == "primary key" for c in made.constraints):
        if made.nullable and not made.generated:
            raise SqlError(8147 if made.identity else 8111, f"Could not create column '{made.name}': it is declared as NULL.")
        return False
    if made.nullable is not None:
        return made.nullable
    return alias if alias is not None else base.name not in ROWVERSIONS


def _identity(made: ast.ColumnDef, base: SqlType) -> None:
    whole = base.name in types.INTEGERS or (base.name == "decimal" and base.scale == 0)
    if made.identity is not None and not whole:
        raise SqlError(
            2749,
            f"Identity column '{made.name}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a "
            "scale of 0, unencrypted, and constrained to be nonnullable.",
            state=2,
        )


def collated(state: State, type_: SqlType, collation: str) -> SqlType:
    """A text type with its collation. Raises SqlError 448, 452, Refused."""
    if type_.name not in types.TEXTS:
        if collation:
            raise SqlError(452, "COLLATE clause cannot be used on expressions containing a COLLATE clause.")
        return type_
    if collation.casefold() == "database_default":
        collation = ""
    if collation and not COLLATIONS.fullmatch(collation):
        if "_AI" in collation.upper():
            raise Refused(f"the collation {collation}: accents are never ignored here")
        raise SqlError(448, f"Invalid collation '{collation}'.")
    return replace(type_, collation=collation or type_.collation or state.database.collation)


def _automatic(kind: str, table: str, column_name: str, number: int) -> str:
    middle = f"{table[:9]}__{column_name[:5]}" if column_name else table[:9]
    return f"{kind}__{middle}__{number * 2654435761 % 2**32:08X}"


# -- constraints -------------------------------------------------------------------------------------------------------------


def inline(made: ast.ColumnDef) -> list[ast.Constraint]:
    """The constraints written with a column, naming it."""
    return [c if c.columns or c.kind == "check" else replace(c, columns=((made.name, False),)) for c in made.constraints]


def column_ids(table: TableInfo, names: Sequence[str]) -> tuple[int, ...]:
    """Raises SqlError 1911."""
    found = []
    for name in names:
        info = table.column(name)
        if info is None:
            raise SqlError(1911, f"Column name '{name}' does not exist in the target table or view.")
        found.append(info.column_id)
    return tuple(found)


def key(state: State, table: TableInfo, made: ast.Constraint) -> IndexInfo:
    """A primary key or unique constraint. Raises SqlError 1779, 8111, 1919, 2714."""
    primary = made.kind == "primary key"
    if primary and any(i.primary for i in table.indexes):
        raise SqlError(1779, f"Table '{table.name}' already has a primary key defined on it.", state=0)
    ids = column_ids(table, [name for name, _ in made.columns])
    comparable(table, ids, "index")
    number = catalogue.next_id(state)
    clustered = made.clustered if made.clustered is not None else primary
    name = made.name or _automatic("PK" if primary else "UQ", table.name, "", number)
    return IndexInfo(
        1 if clustered and not any(i.index_id == 1 for i in table.indexes) else next_index(table),
        name,
        tuple(zip(ids, (descending for _, descending in made.columns), strict=True)),
        unique=True,
        primary=primary,
        constraint=not primary,
        clustered=clustered,
        object_id=number,
    )


def next_index(table: TableInfo) -> int:
    """An index id that is free; 1 is the clustered one's."""
    return max([1, *(i.index_id for i in table.indexes)]) + 1


def comparable(table: TableInfo, ids: Sequence[int], purpose: str) -> None:
    """Raises SqlError 1919 for a column that cannot be a key of an index."""
    for info in table.columns:
        large = info.type.length == MAX or info.type.name in {"xml", "geography", "geometry", "text", "ntext", "image"}
        if info.column_id in ids and large and info.computed is None:
            raise SqlError(
                1919,
                f"Column '{info.name}' in table '{table.schema}.{table.name}' is of a type that is invalid for use as a key "
                f"column in an {purpose}.",
            )


def with_key(table: TableInfo, index: IndexInfo) -> TableInfo:
    """The table with it; a primary key's columns are NOT NULL."""
    ids = {column_id for column_id, _ in index.columns} if index.primary else set()
    columns = tuple(replace(c, nullable=False) if c.column_id in ids else c for c in table.columns)
    return replace(table, columns=columns, indexes=tuple(sorted((*table.indexes, index), key=lambda i: i.index_id)))


def check(state: State, table: TableInfo, made: ast.Constraint) -> CheckInfo:
    """A check constraint."""
    assert made.check is not None
    number = catalogue.next_id(state)
    name = made.name or _automatic("CK", table.name, made.columns[0][0] if made.columns else "", number)
    return CheckInfo(number, name, made.check, f"({render(made.check)})")


def foreign_key(state: State, table: TableInfo, made: ast.Constraint) -> tuple[ForeignKeyInfo, TableInfo, IndexInfo]:
    """A foreign key, the table it refers to, and that table's key. Raises SqlError 1767, 1776, 1769, 8139."""
    assert made.references is not None
    parent = catalogue.find(state, made.references)
    is_self = catalogue.key_of(state, made.references) == (table.schema.casefold(), table.name.casefold())
    parent = table if is_self else parent
    number = catalogue.next_id(state)
    name = made.name or _automatic("FK", table.name, made.columns[0][0], number)
    if parent is None or parent.kind != "U":
        raise SqlError(1767, f"Foreign key '{name}' references invalid table '{'.'.join(made.references.parts)}'.", state=0)
    ids = column_ids(table, [column_name for column_name, _ in made.columns])
    target = column_ids(parent, made.referenced) if made.referenced else tuple(c.column_id for c in parent.key)
    if len(ids) != len(target):
        raise SqlError(8139, "Number of referencing columns in foreign key differs from number of referenced columns.", state=0)
    index = _referenced(parent, target, name)
    info = ForeignKeyInfo(
        number, name, ids, parent.object_id, target, made.on_delete or "NO ACTION", made.on_update or "NO ACTION"
    )
    return info, parent, index


def _referenced(parent: TableInfo, target: tuple[int, ...], name: str) -> IndexInfo:
    for index in parent.indexes:
        if index.unique and index.where is None and {column_id for column_id, _ in index.columns} == set(target):
            return index
    raise SqlError(
        1776,
        f"There are no primary or candidate keys in the referenced table '{parent.schema}.{parent.name}' that match the "
        f"referencing column list in the foreign key '{name}'.",
        state=0,
    )
