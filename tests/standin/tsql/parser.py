"""pure: a batch of T-SQL to its syntax tree. Strict: what SQL Server's grammar refuses is an error with its number here too."""

from __future__ import annotations

from collections.abc import Callable

from tests.standin.tsql.ast import Batch, Block, Break, If, Query, Statement, TryCatch, While
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_control import (
    parse_begin_transaction,
    parse_call,
    parse_commit,
    parse_declare,
    parse_execute,
    parse_kill,
    parse_print,
    parse_raiserror,
    parse_return,
    parse_rollback,
    parse_save,
    parse_set,
    parse_throw,
    parse_use,
    parse_waitfor,
)
from tests.standin.tsql.parser_ddl import parse_alter, parse_backup, parse_create, parse_drop, parse_permission, parse_restore
from tests.standin.tsql.parser_dml import parse_dml, parse_truncate, parse_with
from tests.standin.tsql.parser_expressions import parse_condition
from tests.standin.tsql.parser_modules import Parameter, parse_parameter
from tests.standin.tsql.parser_queries import parse_query, parse_statement_query, with_error
from tests.standin.tsql.parser_tables import parse_trigger_switch
from tests.standin.tsql.tokens import words

Statements = tuple[list[Statement], list[int]]


def parse(sql: str) -> Batch:
    """Raises SqlError 102, 156, 319 and others of severity 15; Refused for valid T-SQL that is not emulated."""
    cursor = Cursor(sql, parse_query, _body)
    try:
        statements, lines = _statements(cursor, ())
        if cursor.kind != "end":
            raise cursor.error()
    except RecursionError:
        message = "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries."
        raise cursor.raise_error(191, message) from None
    return Batch(statements, lines)


def _body(cursor: Cursor) -> Statements:
    """Of a procedure or trigger: the rest of the batch."""
    found = _statements(cursor, ())
    if not found[0]:
        raise cursor.error()
    return found


def _statements(cursor: Cursor, ends: tuple[str, ...]) -> Statements:
    """Up to one of the words, or the end of the text."""
    found: list[Statement] = []
    lines: list[int] = []
    terminated = True
    while True:
        while cursor.accept(";"):
            terminated = True
        if cursor.key in ends or cursor.kind == "end":
            return found, lines
        if cursor.key == "WITH" and not terminated:
            raise with_error(cursor)
        lines.append(cursor.tokens.line(cursor.at))
        found.append(_statement(cursor))
        terminated = False


def _statement(cursor: Cursor) -> Statement:
    key = cursor.key
    if key in _STATEMENTS:
        return _STATEMENTS[key](cursor)
    if key in _REFUSED:
        raise cursor.refuse(key)
    if key in ("ENABLE", "DISABLE") and cursor.look(1) == "TRIGGER":
        return parse_trigger_switch(cursor)
    if key == "THROW":
        return parse_throw(cursor)
    if cursor.is_name() and cursor.look(1) == ":" and cursor.look(2) != ":":
        raise cursor.refuse("a label")
    if cursor.is_name() and cursor.at == 0 and key not in ("ENABLE", "DISABLE"):
        return parse_call(cursor)  # the batch's first statement may leave EXEC out
    raise cursor.error()


# -- statements that hold others ---------------------------------------------------------------------------------------------


def _begin(cursor: Cursor) -> Statement:
    word = cursor.look(1)
    if word in ("TRAN", "TRANSACTION"):
        cursor.at += 1
        return parse_begin_transaction(cursor)
    if word in ("DISTRIBUTED", "DIALOG", "CONVERSATION", "ATOMIC"):
        raise cursor.refuse(f"BEGIN {word}")
    if word == "TRY":
        return _try(cursor)
    with cursor.nested():
        cursor.expect("BEGIN")
        statements, lines = _some(cursor, "END")
        cursor.expect("END")
    return Block(statements, lines)


def _some(cursor: Cursor, end: str) -> Statements:
    found = _statements(cursor, (end,))
    if not found[0]:
        raise cursor.error()
    return found


def _try(cursor: Cursor) -> Statement:
    with cursor.nested():
        cursor.expect("BEGIN", "TRY")
        attempt, attempt_lines = _some(cursor, "END")
        cursor.expect("END", "TRY")
        cursor.accept(";")
        if not cursor.peek("BEGIN", "CATCH"):
            raise cursor.error()
        cursor.expect("BEGIN", "CATCH")
        caught, caught_lines = _statements(cursor, ("END",))  # this one may be empty
        cursor.expect("END", "CATCH")
    return TryCatch(attempt, caught, attempt_lines, caught_lines)


def _if(cursor: Cursor) -> Statement:
    with cursor.nested():
        cursor.expect("IF")
        condition = parse_condition(cursor)
        then_line = cursor.tokens.line(cursor.at)
        then = _statement(cursor)
        if cursor.peek(";", "ELSE"):
            cursor.at += 1
        if not cursor.accept("ELSE"):
            return If(condition, then, None, then_line)
        otherwise_line = cursor.tokens.line(cursor.at)
        return If(condition, then, _statement(cursor), then_line, otherwise_line)


def _while(cursor: Cursor) -> Statement:
    with cursor.nested():
        cursor.expect("WHILE")
        condition = parse_condition(cursor)
        line = cursor.tokens.line(cursor.at)
        return While(condition, _statement(cursor), line)


def _break(cursor: Cursor) -> Statement:
    return Break(cursor.expect_any("BREAK", "CONTINUE") == "CONTINUE")


def _select(cursor: Cursor) -> Query:
    return parse_statement_query(cursor)


def _create(cursor: Cursor) -> Statement:
    return parse_create(cursor, first=cursor.at == 0 or all(key == ";" for key in cursor.keys[: cursor.at]))


_STATEMENTS: dict[str, Callable[[Cursor], Statement]] = {
    "SELECT": _select,
    "(": _select,
    "WITH": parse_with,
    "INSERT": parse_dml,
    "UPDATE": parse_dml,
    "DELETE": parse_dml,
    "TRUNCATE": parse_truncate,
    "CREATE": _create,
    "ALTER": parse_alter,
    "DROP": parse_drop,
    "GRANT": parse_permission,
    "DENY": parse_permission,
    "REVOKE": parse_permission,
    "BACKUP": parse_backup,
    "RESTORE": parse_restore,
    "DECLARE": parse_declare,
    "SET": parse_set,
    "BEGIN": _begin,
    "COMMIT": parse_commit,
    "ROLLBACK": parse_rollback,
    "SAVE": parse_save,
    "IF": _if,
    "WHILE": _while,
    "BREAK": _break,
    "CONTINUE": _break,
    "RAISERROR": parse_raiserror,
    "PRINT": parse_print,
    "RETURN": parse_return,
    "USE": parse_use,
    "EXEC": parse_execute,
    "EXECUTE": parse_execute,
    "WAITFOR": parse_waitfor,
    "KILL": parse_kill,
}
_REFUSED = words(
    """
    MERGE BULK DBCC CHECKPOINT RECONFIGURE OPEN FETCH CLOSE DEALLOCATE GOTO REVERT READTEXT WRITETEXT UPDATETEXT SETUSER
    SHUTDOWN LINENO DUMP LOAD
    """
)


def parse_parameters(text: str) -> list[Parameter]:
    """The declarations of sp_executesql: `@a int, @b nvarchar(10) = N'x' OUTPUT`. Raises SqlError."""
    cursor = Cursor(text, parse_query, _body)
    if cursor.kind == "end":
        return []
    found = [parse_parameter(cursor)]
    while cursor.accept(","):
        found.append(parse_parameter(cursor))
    if cursor.kind != "end":
        raise cursor.error()
    return found
