"""pure: CREATE TABLE, columns and constraints, ALTER TABLE, CREATE INDEX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.standin.tsql.ast import (
    AlterColumn,
    AlterTable,
    Check,
    ColumnDef,
    Constraint,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropConstraint,
    Expression,
    Name,
    Statement,
    Tracking,
    TriggerSwitch,
    TypeName,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_expressions import parse_condition, parse_expression
from tests.standin.tsql.parser_types import parse_type

Action = ColumnDef | Constraint | AlterColumn | DropColumn | DropConstraint | Tracking | TriggerSwitch | Check

_TABLE_CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN")


def parse_create_table(cursor: Cursor) -> Statement:
    """After CREATE TABLE."""
    return table_body(cursor, cursor.name())


def table_body(cursor: Cursor, name: Name) -> CreateTable:
    """`(columns, constraints) [WITH (SYSTEM_VERSIONING = ON)]`."""
    if cursor.peek("AS", "FILETABLE") or cursor.peek("AS", "NODE") or cursor.peek("AS", "EDGE"):
        raise cursor.refuse("CREATE TABLE AS")
    columns: list[ColumnDef] = []
    constraints: list[Constraint] = []
    period: tuple[str, str] | None = None
    with cursor.nested():
        cursor.expect("(")
        while True:
            if cursor.peek("PERIOD", "FOR"):
                period = _period(cursor)
            elif cursor.key in _TABLE_CONSTRAINTS:
                constraints.append(_table_constraint(cursor))
            elif cursor.key == "INDEX":
                raise cursor.refuse("INDEX within CREATE TABLE")
            else:
                columns.append(_column(cursor))
            if not cursor.accept(",") or cursor.key == ")":  # a comma may stand before the closing parenthesis
                break
        cursor.expect(")")
    _no_file_group(cursor)
    versioning, history = _versioning(cursor)
    _no_file_group(cursor)
    return CreateTable(name, columns, constraints, period, versioning, history)


def _no_file_group(cursor: Cursor) -> None:
    if cursor.key in ("ON", "TEXTIMAGE_ON", "FILESTREAM_ON"):
        raise cursor.refuse("a file group")


def _period(cursor: Cursor) -> tuple[str, str]:
    cursor.expect("PERIOD", "FOR", "SYSTEM_TIME")
    names = cursor.names()
    if len(names) != 2:
        raise cursor.error(cursor.at - 1)
    return names[0], names[1]


def _versioning(cursor: Cursor) -> tuple[bool, Name | None]:
    if not cursor.accept("WITH"):
        return False, None
    cursor.expect("(")
    if cursor.key != "SYSTEM_VERSIONING":
        raise cursor.refuse(f"the table option {cursor.tokens.texts[cursor.at]}")
    cursor.expect("SYSTEM_VERSIONING", "=")
    on = cursor.on_off()
    history = None
    if on and cursor.accept("("):
        if cursor.key != "HISTORY_TABLE":
            raise cursor.refuse("an option of SYSTEM_VERSIONING")
        cursor.expect("HISTORY_TABLE", "=")
        history = cursor.name()
        cursor.expect(")")
    cursor.expect(")")
    return on, history


# -- columns -----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Column:
    """A column while its options are read."""

    name: str
    type: TypeName
    nullable: bool | None = None
    identity: tuple[int, int] | None = None
    default: Expression | None = None
    default_name: str = ""
    collation: str = ""
    generated: str = ""
    masked: str = ""
    flags: set[str] = field(default_factory=set)
    constraints: list[Constraint] = field(default_factory=list)


def _column(cursor: Cursor) -> ColumnDef:
    name = cursor.identifier()
    if cursor.accept("AS"):
        return _computed(cursor, name)
    column = _Column(name, parse_type(cursor))
    while _option(cursor, column):
        pass
    return ColumnDef(
        name,
        column.type,
        column.nullable,
        column.identity,
        column.default,
        column.default_name,
        collation=column.collation,
        sparse="SPARSE" in column.flags,
        rowguidcol="ROWGUIDCOL" in column.flags,
        hidden="HIDDEN" in column.flags,
        generated=column.generated,
        constraints=column.constraints,
        masked=column.masked,
        with_values="WITH VALUES" in column.flags,
    )


def _computed(cursor: Cursor, name: str) -> ColumnDef:
    expression = parse_expression(cursor)
    persisted = cursor.accept("PERSISTED")
    nullable = False if persisted and cursor.accept("NOT", "NULL") else None
    constraints = []
    while True:
        constraint_name = cursor.identifier() if cursor.accept("CONSTRAINT") else ""
        found = _column_constraint(cursor, name, constraint_name)
        if found is None:
            if constraint_name:
                raise cursor.error()
            break
        constraints.append(found)
    return ColumnDef(name, None, nullable, computed=expression, persisted=persisted, constraints=constraints)


def _option(cursor: Cursor, column: _Column) -> bool:
    """Reads one option of a column; False when none is here."""
    if cursor.accept("NULL"):
        column.nullable = True
    elif cursor.accept("NOT", "NULL"):
        column.nullable = False
    elif cursor.accept("IDENTITY"):
        column.identity = _identity(cursor)
    elif cursor.accept("COLLATE"):
        column.collation = cursor.identifier()
    elif cursor.key in ("SPARSE", "ROWGUIDCOL", "HIDDEN"):
        column.flags.add(cursor.key)
        cursor.at += 1
    else:
        return _rare_option(cursor, column) or _constraint_option(cursor, column)
    return True


def _rare_option(cursor: Cursor, column: _Column) -> bool:
    if cursor.accept("GENERATED"):
        cursor.expect("ALWAYS", "AS", "ROW")
        column.generated = f"ROW {cursor.expect_any('START', 'END')}"
        return True
    if cursor.accept("MASKED"):
        cursor.expect("WITH", "(", "FUNCTION", "=")
        column.masked = cursor.string()
        cursor.expect(")")
        return True
    if cursor.key in ("FILESTREAM", "ENCRYPTED", "INDEX") or cursor.peek("NOT", "FOR"):
        raise cursor.refuse(f"the column option {cursor.key}")
    return False


def _identity(cursor: Cursor) -> tuple[int, int]:
    seed, step = 1, 1
    if cursor.accept("("):
        seed = cursor.integer()
        cursor.expect(",")
        step = cursor.integer()
        cursor.expect(")")
    return seed, step


def _constraint_option(cursor: Cursor, column: _Column) -> bool:
    name = cursor.identifier() if cursor.accept("CONSTRAINT") else ""
    if cursor.accept("DEFAULT"):
        column.default = parse_expression(cursor)
        column.default_name = name
        if cursor.accept("WITH", "VALUES"):
            column.flags.add("WITH VALUES")
        return True
    found = _column_constraint(cursor, column.name, name)
    if found is not None:
        column.constraints.append(found)
    elif name:
        raise cursor.error()
    return found is not None


def _column_constraint(cursor: Cursor, column: str, name: str) -> Constraint | None:
    if cursor.key in ("PRIMARY", "UNIQUE"):
        kind, clustered = _key_words(cursor)
        _no_index_options(cursor)
        return Constraint(kind, name, ((column, False),), clustered)
    if cursor.accept("CHECK"):
        return Constraint("check", name, check=_check(cursor))
    if cursor.accept("FOREIGN", "KEY") or cursor.key == "REFERENCES":
        return _references(cursor, name, ((column, False),))
    return None


# -- constraints -------------------------------------------------------------------------------------------------------------


def _table_constraint(cursor: Cursor) -> Constraint:
    name = cursor.identifier() if cursor.accept("CONSTRAINT") else ""
    if cursor.key in ("PRIMARY", "UNIQUE"):
        kind, clustered = _key_words(cursor)
        columns = key_columns(cursor)
        _no_index_options(cursor)
        return Constraint(kind, name, columns, clustered)
    if cursor.accept("CHECK"):
        return Constraint("check", name, check=_check(cursor))
    cursor.expect("FOREIGN", "KEY")
    return _references(cursor, name, tuple((column, False) for column in cursor.names()))


def _key_words(cursor: Cursor) -> tuple[str, bool | None]:
    if cursor.accept("PRIMARY"):
        cursor.expect("KEY")
        kind = "primary key"
    else:
        cursor.expect("UNIQUE")
        kind = "unique"
    word = cursor.accept_any("CLUSTERED", "NONCLUSTERED")
    return kind, word == "CLUSTERED" if word else None


def _no_index_options(cursor: Cursor) -> None:
    if (cursor.key == "WITH" and cursor.look(1) != "VALUES") or cursor.key == "ON":
        raise cursor.refuse("an index option or file group of a constraint")


def key_columns(cursor: Cursor) -> tuple[tuple[str, bool], ...]:
    """`(a, b DESC)`."""
    cursor.expect("(")
    found = []
    while True:
        name = cursor.identifier()
        found.append((name, cursor.accept_any("ASC", "DESC") == "DESC"))
        if not cursor.accept(","):
            break
    cursor.expect(")")
    return tuple(found)


def _check(cursor: Cursor) -> Expression:
    if cursor.key == "NOT":
        raise cursor.refuse("CHECK NOT FOR REPLICATION")
    with cursor.nested():
        cursor.expect("(")
        found = parse_condition(cursor)
        cursor.expect(")")
    return found


def _references(cursor: Cursor, name: str, columns: tuple[tuple[str, bool], ...]) -> Constraint:
    cursor.expect("REFERENCES")
    table = cursor.name()
    referenced = cursor.names() if cursor.key == "(" else ()
    actions = {"DELETE": "", "UPDATE": ""}
    while cursor.accept("ON"):
        event = cursor.expect_any("DELETE", "UPDATE")
        if actions[event]:
            raise cursor.error()
        actions[event] = _action(cursor)
    if cursor.peek("NOT", "FOR"):
        raise cursor.refuse("FOREIGN KEY NOT FOR REPLICATION")
    return Constraint(
        "foreign key",
        name,
        columns,
        references=table,
        referenced=referenced,
        on_delete=actions["DELETE"],
        on_update=actions["UPDATE"],
    )


def _action(cursor: Cursor) -> str:
    if cursor.accept("NO"):
        cursor.expect("ACTION")
        return "NO ACTION"
    if cursor.accept("SET"):
        return f"SET {cursor.expect_any('NULL', 'DEFAULT')}"
    return cursor.expect_any("CASCADE")


# -- ALTER TABLE -------------------------------------------------------------------------------------------------------------


def parse_alter_table(cursor: Cursor) -> Statement:
    """After ALTER TABLE."""
    table = cursor.name()
    if cursor.accept("WITH"):
        if cursor.expect_any("CHECK", "NOCHECK") == "NOCHECK":
            raise cursor.refuse("WITH NOCHECK")
        if cursor.key not in ("ADD", "CHECK"):
            raise cursor.error()
    word = cursor.key
    if word in ("SET", "SWITCH", "REBUILD", "SPLIT", "MERGE"):
        raise cursor.refuse(f"ALTER TABLE {word}")
    if word not in _ACTIONS:
        raise cursor.error()
    cursor.at += 1
    return AlterTable(table, _ACTIONS[word](cursor))


def _add(cursor: Cursor) -> list[Action]:
    found: list[Action] = []
    while True:
        if cursor.peek("PERIOD", "FOR") or cursor.key == "INDEX":
            raise cursor.refuse(f"ALTER TABLE ADD {cursor.key}")
        if cursor.key == "DEFAULT" or (cursor.key == "CONSTRAINT" and cursor.look(2) == "DEFAULT"):
            found.append(_add_default(cursor))
        elif cursor.key in _TABLE_CONSTRAINTS:
            found.append(_table_constraint(cursor))
        else:
            found.append(_column(cursor))
        if not cursor.accept(","):
            return found


def _add_default(cursor: Cursor) -> Constraint:
    name = cursor.identifier() if cursor.accept("CONSTRAINT") else ""
    cursor.expect("DEFAULT")
    value = parse_expression(cursor)
    cursor.expect("FOR")
    column = cursor.identifier()
    if cursor.peek("WITH", "VALUES"):
        raise cursor.refuse("ADD DEFAULT ... WITH VALUES")
    return Constraint("default", name, ((column, False),), check=value)


def _alter(cursor: Cursor) -> list[Action]:
    cursor.expect("COLUMN")
    name = cursor.identifier()
    if cursor.key in ("ADD", "DROP"):
        raise cursor.refuse(f"ALTER COLUMN {cursor.key}")
    kind = parse_type(cursor)
    collation = cursor.identifier() if cursor.accept("COLLATE") else ""
    nullable: bool | None = None
    if cursor.accept("NULL"):
        nullable = True
    elif cursor.accept("NOT", "NULL"):
        nullable = False
    if cursor.key in ("SPARSE", "MASKED") or (cursor.key == "WITH" and cursor.look(1) == "("):
        raise cursor.refuse(f"ALTER COLUMN with {cursor.key}")
    return [AlterColumn(name, kind, nullable, collation)]


def _drop(cursor: Cursor) -> list[Action]:
    found: list[Action] = []
    kind = "CONSTRAINT"
    while True:
        word = cursor.accept_any("COLUMN", "CONSTRAINT")
        if cursor.key == "PERIOD":
            raise cursor.refuse("DROP PERIOD")
        kind = word or kind
        if_exists = bool(word) and cursor.accept("IF", "EXISTS")
        name = cursor.identifier()
        found.append(DropColumn(name, if_exists) if kind == "COLUMN" else DropConstraint(name, if_exists))
        if not cursor.accept(","):
            return found


def _switch(cursor: Cursor, enable: bool) -> list[Action]:
    if cursor.expect_any("TRIGGER", "CHANGE_TRACKING") == "TRIGGER":
        return [TriggerSwitch(enable, name) for name in _all_or_names(cursor)]
    columns = False
    if enable and cursor.key == "WITH" and cursor.look(1) == "(":
        cursor.expect("WITH", "(", "TRACK_COLUMNS_UPDATED", "=")
        columns = cursor.on_off()
        cursor.expect(")")
    return [Tracking(enable, columns)]


def _all_or_names(cursor: Cursor) -> list[str]:
    """ "" for ALL."""
    if cursor.accept("ALL"):
        return [""]
    found = [cursor.identifier()]
    while cursor.accept(","):
        found.append(cursor.identifier())
    return found


def _checking(cursor: Cursor, enable: bool) -> list[Action]:
    cursor.expect("CONSTRAINT")
    return [Check(enable, name) for name in _all_or_names(cursor)]


_ACTIONS: dict[str, Callable[[Cursor], list[Action]]] = {
    "ADD": _add,
    "ALTER": _alter,
    "DROP": _drop,
    "ENABLE": lambda cursor: _switch(cursor, True),
    "DISABLE": lambda cursor: _switch(cursor, False),
    "CHECK": lambda cursor: _checking(cursor, True),
    "NOCHECK": lambda cursor: _checking(cursor, False),
}


def parse_trigger_switch(cursor: Cursor) -> Statement:
    """`{ENABLE | DISABLE} TRIGGER a ON t`."""
    enable = cursor.expect_any("ENABLE", "DISABLE") == "ENABLE"
    cursor.expect("TRIGGER")
    names = [""] if cursor.accept("ALL") else [cursor.name(2).parts[-1]]
    while names[0] and cursor.accept(","):
        names.append(cursor.name(2).parts[-1])
    cursor.expect("ON")
    if cursor.key in ("DATABASE", "ALL"):
        raise cursor.refuse("a DDL trigger")
    return AlterTable(cursor.name(), [TriggerSwitch(enable, name) for name in names])


# -- indexes -----------------------------------------------------------------------------------------------------------------


def parse_create_index(cursor: Cursor) -> Statement:
    """After CREATE, at [UNIQUE] [CLUSTERED | NONCLUSTERED] INDEX."""
    unique = cursor.accept("UNIQUE")
    clustered = cursor.accept_any("CLUSTERED", "NONCLUSTERED") == "CLUSTERED"
    if cursor.key == "COLUMNSTORE":
        raise cursor.refuse("a columnstore index")
    cursor.expect("INDEX")
    name = cursor.identifier()
    cursor.expect("ON")
    table = cursor.name()
    columns = key_columns(cursor)
    include = cursor.names() if cursor.accept("INCLUDE") else ()
    where = parse_condition(cursor) if cursor.accept("WHERE") else None
    if (cursor.key == "WITH" and cursor.look(1) == "(") or cursor.key == "ON":
        raise cursor.refuse("an option or file group of an index")
    return CreateIndex(name, table, columns, unique, include, where, clustered)
