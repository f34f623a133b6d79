"""pure: variables, SET, transactions, EXECUTE, errors: the statements that hold no other ones."""

from __future__ import annotations

from typing import cast

from tests.standin.ports import SqlError
from tests.standin.tsql.ast import (
    BeginTransaction,
    Binary,
    CommitTransaction,
    Declare,
    Default,
    Execute,
    Expression,
    Kill,
    Literal,
    Name,
    Print,
    RaiseError,
    Return,
    RollbackTransaction,
    SaveTransaction,
    SetIsolation,
    SetOption,
    SetVariable,
    Statement,
    Throw,
    TypeName,
    Unary,
    Use,
    Variable,
    WaitFor,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_expressions import parse_expression
from tests.standin.tsql.parser_tables import table_body
from tests.standin.tsql.parser_types import parse_type
from tests.standin.tsql.tokens import RESERVED, words

_LITERALS = ("int", "decimal", "money", "float", "string", "nstring", "binary")


def parse_declare(cursor: Cursor) -> Statement:
    """DECLARE @a int = 1, ...; DECLARE @t TABLE (...)."""
    cursor.expect("DECLARE")
    if cursor.kind != "variable" and cursor.is_name():
        raise cursor.refuse("a cursor")
    found: list[tuple[str, TypeName, Expression | None]] = []
    while True:
        name = cursor.variable()
        cursor.accept("AS")
        if cursor.accept("TABLE"):
            if found:
                raise cursor.error(cursor.at - 1)
            table = table_body(cursor, Name((name,)))
            if cursor.key == ",":
                raise cursor.refuse("a table variable declared together with others")
            return Declare((), table)
        kind = parse_type(cursor)
        found.append((name, kind, parse_expression(cursor) if cursor.accept("=") else None))
        if not cursor.accept(","):
            return Declare(found)


# -- SET ---------------------------------------------------------------------------------------------------------------------

_SWITCHES = words(
    """
    NOCOUNT XACT_ABORT ANSI_NULLS ANSI_PADDING ANSI_WARNINGS ANSI_DEFAULTS ANSI_NULL_DFLT_ON ANSI_NULL_DFLT_OFF ARITHABORT
    ARITHIGNORE QUOTED_IDENTIFIER CONCAT_NULL_YIELDS_NULL NUMERIC_ROUNDABORT IMPLICIT_TRANSACTIONS CURSOR_CLOSE_ON_COMMIT
    FMTONLY
    """
)
_NUMBERS = ("LOCK_TIMEOUT", "TEXTSIZE", "DATEFIRST")
_REFUSED_SET = words(
    """
    ROWCOUNT CONTEXT_INFO FIPS_FLAGGER FORCEPLAN NOEXEC OFFSETS PARSEONLY QUERY_GOVERNOR_COST_LIMIT REMOTE_PROC_TRANSACTIONS
    SHOWPLAN_ALL SHOWPLAN_TEXT SHOWPLAN_XML STATISTICS RESULT_SET_CACHING ERRLVL
    """
)
_LEVELS = (("READ", "UNCOMMITTED"), ("READ", "COMMITTED"), ("REPEATABLE", "READ"), ("SNAPSHOT",), ("SERIALIZABLE",))
_COMPOUND = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=")


def parse_set(cursor: Cursor) -> Statement:
    """SET of a variable, an option or the isolation level. Raises SqlError 195 for an unknown option."""
    cursor.expect("SET")
    if cursor.kind == "variable":
        return _set_variable(cursor)
    if cursor.accept("TRANSACTION"):
        cursor.expect("ISOLATION", "LEVEL")
        for level in _LEVELS:
            if cursor.accept(*level):
                return SetIsolation(" ".join(level))
        raise cursor.error()
    if cursor.accept("IDENTITY_INSERT"):
        table = cursor.name(3)
        return SetOption(("IDENTITY_INSERT",), cursor.expect_any("ON", "OFF"), table)
    return _set_option(cursor)


def _set_variable(cursor: Cursor) -> Statement:
    name = cursor.variable()
    if cursor.key == ".":
        raise cursor.refuse("SET of a property or method")
    op = cursor.expect_any(*_COMPOUND)
    if op == "=" and cursor.key == "CURSOR":
        raise cursor.refuse("a cursor")
    value = parse_expression(cursor)
    return SetVariable(name, value if op == "=" else Binary(op[0], Variable(name), value))


def _set_option(cursor: Cursor) -> Statement:
    option = cursor.key
    if option in _REFUSED_SET:
        raise cursor.refuse(f"SET {option}")
    if option in _NUMBERS:
        cursor.at += 1
        return SetOption((option,), str(cursor.integer()))
    if option == "DEADLOCK_PRIORITY":
        cursor.at += 1
        word = cursor.accept_any("LOW", "NORMAL", "HIGH")
        return SetOption((option,), word or str(cursor.integer()))
    if option in ("LANGUAGE", "DATEFORMAT"):
        cursor.at += 1
        return SetOption((option,), cursor.string() if cursor.kind in ("string", "nstring") else cursor.identifier())
    options = []
    while True:
        if cursor.key not in _SWITCHES:
            raise _unknown_option(cursor)
        options.append(cursor.key)
        cursor.at += 1
        if not cursor.accept(","):
            return SetOption(tuple(options), cursor.expect_any("ON", "OFF"))


def _unknown_option(cursor: Cursor) -> Exception:
    if cursor.kind == "name" and cursor.key not in RESERVED:
        return cursor.raise_error(195, f"'{cursor.tokens.texts[cursor.at]}' is not a recognized SET option.")
    return cursor.error()


# -- transactions ------------------------------------------------------------------------------------------------------------


def parse_begin_transaction(cursor: Cursor) -> Statement:
    """At TRAN or TRANSACTION."""
    cursor.expect_any("TRAN", "TRANSACTION")
    name = _transaction_name(cursor)
    if cursor.peek("WITH", "MARK"):
        raise cursor.refuse("BEGIN TRANSACTION WITH MARK")
    return BeginTransaction(name)


def _transaction_name(cursor: Cursor) -> str:
    """A name, or a variable with its sign; "" without."""
    if cursor.kind == "variable":
        return cursor.variable()
    if not cursor.is_name():
        return ""
    at = cursor.at
    name = cursor.identifier()
    if len(name) > 32:
        message = f"The identifier that starts with '{name[:32]}' is too long. Maximum length is 32."
        raise cursor.raise_error(103, message, at)
    return name


def parse_commit(cursor: Cursor) -> Statement:
    """COMMIT [TRAN [name] | WORK]; the server ignores the name."""
    cursor.expect("COMMIT")
    if cursor.accept_any("TRAN", "TRANSACTION"):
        _transaction_name(cursor)
    else:
        cursor.accept("WORK")
    if cursor.key == "WITH" and cursor.look(1) == "(":
        raise cursor.refuse("COMMIT WITH (DELAYED_DURABILITY)")
    return CommitTransaction()


def parse_rollback(cursor: Cursor) -> Statement:
    """ROLLBACK [TRAN [name] | WORK]."""
    cursor.expect("ROLLBACK")
    if cursor.accept_any("TRAN", "TRANSACTION"):
        return RollbackTransaction(_transaction_name(cursor))
    cursor.accept("WORK")
    return RollbackTransaction()


def parse_save(cursor: Cursor) -> Statement:
    """SAVE TRAN name."""
    cursor.expect("SAVE")
    cursor.expect_any("TRAN", "TRANSACTION")
    name = _transaction_name(cursor)
    if not name:
        raise cursor.error()
    return SaveTransaction(name)


# -- EXECUTE -----------------------------------------------------------------------------------------------------------------


def parse_execute(cursor: Cursor) -> Statement:
    """EXEC procedure, EXEC (text)."""
    cursor.expect_any("EXEC", "EXECUTE")
    if cursor.key == "AS":
        raise cursor.refuse("EXECUTE AS")
    if cursor.accept("("):
        text = _text(cursor)
        cursor.expect(")")
        if cursor.key in ("AS", "AT"):
            raise cursor.refuse(f"EXECUTE (text) {cursor.key}")
        return Execute(None, (), text)
    result = ""
    if cursor.kind == "variable" and cursor.look(1) == "=":
        result = cursor.variable()
        cursor.at += 1
    if cursor.kind == "variable":
        raise cursor.refuse("EXECUTE of a procedure named by a variable")
    return parse_call(cursor, result)


def parse_call(cursor: Cursor, result: str = "") -> Statement:
    """A procedure's name and its arguments."""
    name = cursor.name()
    if cursor.key == ";" and cursor.tokens.kinds[min(cursor.at + 1, len(cursor.keys) - 1)] == "int":
        raise cursor.refuse("a numbered procedure")
    arguments: list[tuple[str, Expression, bool]] = []
    if _starts_argument(cursor):
        arguments.append(_argument(cursor))
        while cursor.accept(","):
            arguments.append(_argument(cursor))
            if arguments[-2][0] and not arguments[-1][0]:
                raise _unnamed(cursor, len(arguments))
    if cursor.key == "WITH" and cursor.look(1) in ("RECOMPILE", "RESULT"):
        raise cursor.refuse(f"EXECUTE WITH {cursor.look(1)}")
    return Execute(name, arguments, None, result)


def _unnamed(cursor: Cursor, place: int) -> SqlError:
    message = (
        f"Must pass parameter number {place} and subsequent parameters as '@name = value'. After the form '@name = value' has "
        "been used, all subsequent parameters must be passed in the form '@name = value'."
    )
    return cursor.raise_error(119, message, cursor.at - 1)


def _text(cursor: Cursor) -> Expression:
    """Strings and variables joined by +: nothing else may stand in EXEC (...)."""
    found: Expression | None = None
    while True:
        if cursor.kind in ("string", "nstring"):
            part: Expression = Literal(cursor.kind, cursor.string())
        else:
            part = Variable(cursor.variable())
        found = part if found is None else Binary("+", found, part)
        if not cursor.accept("+"):
            return found


def _starts_argument(cursor: Cursor) -> bool:
    return cursor.kind in ("variable", *_LITERALS) or cursor.key in ("-", "+", "NULL", "DEFAULT") or cursor.is_name()


def _argument(cursor: Cursor) -> tuple[str, Expression, bool]:
    name = ""
    if cursor.kind == "variable" and cursor.look(1) == "=":
        name = cursor.variable()
        cursor.at += 1
    value = _argument_value(cursor)
    output = bool(cursor.accept_any("OUT", "OUTPUT"))
    if output and not isinstance(value, Variable):
        message = "Cannot use the OUTPUT option when passing a constant to a stored procedure."
        raise cursor.raise_error(179, message, cursor.at - 1)
    return name, value, output


def _argument_value(cursor: Cursor) -> Expression:
    """A constant, a variable, DEFAULT, or a bare word, which is a string."""
    sign = cursor.accept_any("-", "+")
    kind = cursor.kind
    if kind in _LITERALS:
        if sign and kind not in ("int", "decimal", "money", "float"):
            raise cursor.error()
        cursor.at += 1
        literal = Literal(kind, cast("int | str", cursor.tokens.values[cursor.at - 1]))
        return Unary("-", literal) if sign == "-" else literal
    if sign:
        raise cursor.error()
    if kind == "variable":
        cursor.at += 1
        text = cursor.tokens.texts[cursor.at - 1]
        return Variable(text.upper() if text.startswith("@@") else text)
    if cursor.accept("NULL"):
        return Literal("null", None)
    if cursor.accept("DEFAULT"):
        return Default()
    return Literal("nstring", cursor.identifier())


# -- errors and the rest -----------------------------------------------------------------------------------------------------


def parse_print(cursor: Cursor) -> Statement:
    """PRINT value."""
    cursor.expect("PRINT")
    return Print(parse_expression(cursor))


def parse_raiserror(cursor: Cursor) -> Statement:
    """RAISERROR (message, severity, state [, arguments]) [WITH NOWAIT]."""
    cursor.expect("RAISERROR")
    if cursor.key != "(":
        raise cursor.error()
    cursor.at += 1
    message = _operand(cursor)
    cursor.expect(",")
    severity = _whole(cursor)
    cursor.expect(",")
    state = _whole(cursor)
    arguments = []
    while cursor.accept(","):
        arguments.append(_operand(cursor))
    cursor.expect(")")
    options = []
    if cursor.accept("WITH"):
        while True:
            if cursor.key == "LOG":
                raise cursor.refuse("RAISERROR WITH LOG")
            options.append(cursor.expect_any("NOWAIT", "SETERROR"))
            if not cursor.accept(","):
                break
    return RaiseError(message, severity, state, arguments, tuple(options))


def _whole(cursor: Cursor) -> Expression:
    """A whole number or a variable."""
    if cursor.kind not in ("int", "variable") and cursor.key != "-":
        raise cursor.error()
    return _operand(cursor)


def _operand(cursor: Cursor) -> Expression:
    """A constant or a variable."""
    if cursor.is_name() or cursor.key == "DEFAULT":
        raise cursor.error()
    return _argument_value(cursor)


def parse_throw(cursor: Cursor) -> Statement:
    """THROW [number, message, state]."""
    cursor.expect("THROW")
    if cursor.kind not in ("int", "variable"):
        return Throw()
    number = _operand(cursor)
    cursor.expect(",")
    message = _operand(cursor)
    cursor.expect(",")
    return Throw(number, message, _operand(cursor))


_VALUE_WORDS = ("(", "-", "+", "~", "NULL", "CASE", "COALESCE", "NULLIF", "CONVERT", "TRY_CONVERT", "LEFT", "RIGHT")


def parse_return(cursor: Cursor) -> Statement:
    """RETURN [value]."""
    cursor.expect("RETURN")
    begins = cursor.kind in ("variable", *_LITERALS) or cursor.key in _VALUE_WORDS
    if begins or (cursor.is_name() and cursor.look(1) == "("):
        return Return(parse_expression(cursor))
    return Return()


def parse_waitfor(cursor: Cursor) -> Statement:
    """WAITFOR DELAY."""
    cursor.expect("WAITFOR")
    if cursor.key in ("TIME", "("):
        raise cursor.refuse("WAITFOR TIME or a service broker's")
    cursor.expect("DELAY")
    if cursor.kind == "variable":
        return WaitFor(Variable(cursor.variable()))
    return WaitFor(cursor.string())


def parse_kill(cursor: Cursor) -> Statement:
    """KILL spid."""
    cursor.expect("KILL")
    if cursor.kind != "int":
        raise cursor.refuse("KILL of something else than a session's number")
    spid = cursor.integer()
    if cursor.peek("WITH", "STATUSONLY"):
        raise cursor.refuse("KILL WITH STATUSONLY")
    return Kill(spid)


def parse_use(cursor: Cursor) -> Statement:
    """USE database."""
    cursor.expect("USE")
    return Use(cursor.identifier())
