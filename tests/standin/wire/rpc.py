"""pure: remote procedure calls as they arrive ([MS-TDS] 2.2.6.6) and what each of them asks of the engine."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.standin.ports import Parameter, Refused, Request, SqlError, SqlType, Value
from tests.standin.wire.coercion import coerce
from tests.standin.wire.declarations import read_declarations
from tests.standin.wire.decode import read_parameter
from tests.standin.wire.reader import Malformed, Reader, skip_headers
from tests.standin.wire.translating import STATUS, Returned

_BY_NUMBER = 0xFFFF
_NUMBERS = {
    10: "sp_executesql",
    11: "sp_prepare",
    12: "sp_execute",
    13: "sp_prepexec",
    14: "sp_prepexecrpc",
    15: "sp_unprepare",
}
_SEPARATORS = {0x80, 0xFF, 0xFE}
_NOT_EXECUTED = 0xFE
_OUTPUT, _DEFAULT, _ENCRYPTED = 1, 2, 8
_PROCEDURE = re.compile(r"(([\w#@$]+|\[[^\]]+\]|\"[^\"]+\")?\.){0,2}([\w#@$]+|\[[^\]]+\]|\"[^\"]+\")$")
_INT = SqlType("int")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` may be empty."""

    name: str
    type: SqlType
    value: Value
    output: bool = False
    default: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One procedure with its arguments."""

    name: str
    arguments: Sequence[Argument]


@dataclass(frozen=True, slots=True)
class Run:
    """Execute this; `returned`: parameters that go back; `handle`: of the statement, when the client asked for one."""

    request: Request
    returned: Sequence[Returned] = ()
    handle: int | None = None


@dataclass(frozen=True, slots=True)
class Hand:
    """Nothing to execute; the handle goes back, if there is one."""

    handle: int | None = None


@dataclass(frozen=True, slots=True)
class Describe:
    """sp_describe_undeclared_parameters."""

    request: Request


@dataclass(frozen=True, slots=True)
class DatatypeInfo:
    """sp_datatype_info; `data_type`: of ODBC, 0 for all."""

    data_type: int


Plan = Run | Hand | Describe | DatatypeInfo


def read_calls(payload: bytes) -> list[Call]:
    """All calls of a message. Raises Malformed, Refused."""
    reader = skip_headers(payload)
    calls = []
    try:
        while reader.left:
            calls.append(_read_call(reader))
    except (ValueError, ArithmeticError, struct.error) as error:
        raise Malformed(f"a value that is none ({error})") from error
    return calls


def _read_call(reader: Reader) -> Call:
    length = reader.u16()
    if length == _BY_NUMBER:
        number = reader.u16()
        if number not in _NUMBERS:
            raise Refused(f"the procedure with the number {number} (cursors)")
        name = _NUMBERS[number]
    else:
        name = reader.utf16(length)
    reader.u16()  # options: recompile, no metadata: hints
    arguments = []
    while reader.left and reader.peek() not in _SEPARATORS:
        arguments.append(_read_argument(reader))
    if reader.left and reader.u8() == _NOT_EXECUTED:
        raise Refused("a call that is not to be executed")
    return Call(name, arguments)


def _read_argument(reader: Reader) -> Argument:
    name, flags = reader.short_text(), reader.u8()
    if flags & _ENCRYPTED:
        raise Refused("an encrypted parameter")
    kind, value = read_parameter(reader)
    return Argument(name, kind, value, bool(flags & _OUTPUT), bool(flags & _DEFAULT))


@dataclass(slots=True)
class Prepared:
    """The prepared statements of a connection: handle -> text and parameter list; or a procedure's name and None."""

    statements: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    last: int = 0

    def add(self, sql: str, declarations: str | None) -> int:
        """Its handle."""
        self.last += 1
        self.statements[self.last] = (sql, declarations)
        return self.last

    def get(self, handle: Value) -> tuple[str, str | None]:
        """Raises SqlError 8179."""
        if handle not in self.statements:
            raise SqlError(8179, f"Could not find prepared statement with handle {handle}.")
        return self.statements[handle]


def plan(call: Call, prepared: Prepared) -> Plan:
    """What to do. Raises SqlError, Refused."""
    words = re.sub(r"[\[\]\"]", "", call.name).lower().split(".")
    known = _PLANS.get(words[-1]) if set(words[:-1]) <= {"sys", "master", "dbo", ""} else None
    if known is None:
        return _execute_procedure(call)
    return known(call, prepared)


def _text(call: Call, place: int) -> str:
    if place >= len(call.arguments):
        return ""
    value = call.arguments[place].value
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SqlError(214, f"Procedure expects parameter {place + 1} of type 'ntext/nchar/nvarchar'.")
    return value


def _executesql(call: Call, _: Prepared) -> Plan:
    request, returned = _bind(_text(call, 0), _text(call, 1), call.arguments[2:], 2)
    return Run(request, returned)


def _prepexec(call: Call, prepared: Prepared) -> Plan:
    _forget(call, prepared)
    sql, declarations = _text(call, 2), _text(call, 1)
    request, returned = _bind(sql, declarations, call.arguments[3:], 3)
    return Run(request, returned, prepared.add(sql, declarations))


def _prepexecrpc(call: Call, prepared: Prepared) -> Plan:
    _forget(call, prepared)
    name = _text(call, 1)
    run = _execute_procedure(Call(name, call.arguments[2:]), 2)
    return Run(run.request, run.returned, prepared.add(name, None))


def _prepare(call: Call, prepared: Prepared) -> Plan:
    _forget(call, prepared)
    read_declarations(_text(call, 1))
    return Hand(prepared.add(_text(call, 2), _text(call, 1)))


def _forget(call: Call, prepared: Prepared) -> None:
    """A client that prepares anew names the handle that it doesn't need any more."""
    if not call.arguments:
        raise SqlError(201, f"Procedure or function '{call.name}' expects parameter '@handle', which was not supplied.")
    prepared.statements.pop(call.arguments[0].value or 0, None)


def _execute(call: Call, prepared: Prepared) -> Plan:
    sql, declarations = prepared.get(call.arguments[0].value if call.arguments else None)
    if declarations is None:
        return _execute_procedure(Call(sql, call.arguments[1:]), 1)
    return Run(*_bind(sql, declarations, call.arguments[1:], 1))


def _unprepare(call: Call, prepared: Prepared) -> Plan:
    prepared.get(call.arguments[0].value if call.arguments else None)
    _forget(call, prepared)
    return Hand()


def _describe(call: Call, _: Prepared) -> Plan:
    declared = [Parameter(one.name, one.type, None, one.output) for one in read_declarations(_text(call, 1))]
    return Describe(Request(_text(call, 0), declared))


def _datatype_info(call: Call, _: Prepared) -> Plan:
    value = call.arguments[0].value if call.arguments else 0
    return DatatypeInfo(value or 0)


_PLANS = {
    "sp_executesql": _executesql,
    "sp_prepexec": _prepexec,
    "sp_prepexecrpc": _prepexecrpc,
    "sp_prepare": _prepare,
    "sp_execute": _execute,
    "sp_unprepare": _unprepare,
    "sp_describe_undeclared_parameters": _describe,
    "sp_datatype_info": _datatype_info,
    "sp_datatype_info_90": _datatype_info,
    "sp_datatype_info_100": _datatype_info,
}


def _bind(sql: str, declarations: str, arguments: Sequence[Argument], before: int) -> tuple[Request, list[Returned]]:
    """Values to their declarations, by name or by place. Raises SqlError 8178, 8144 for too few and too many."""
    declared = read_declarations(declarations)
    by_name = {argument.name.lower(): place for place, argument in enumerate(arguments) if argument.name}
    if len(arguments) > len(declared):
        raise SqlError(8144, "Procedure or function has too many arguments specified.")
    parameters, returned = [], []
    for place, one in enumerate(declared):
        found = by_name.get(one.name.lower(), place)
        if found >= len(arguments) or arguments[found].default:
            raise SqlError(
                8178,
                f"The parameterized query '({declarations[:60]})' expects the parameter '{one.name}', which was not supplied.",
            )
        argument = arguments[found]
        output = one.output and argument.output
        parameters.append(Parameter(one.name, one.type, coerce(argument.value, argument.type, one.type), output))
        if output:
            returned.append(Returned(found + before, argument.name or one.name, one.name, one.type))
    return Request(sql, parameters), returned


def _execute_procedure(call: Call, before: int = 0) -> Run:
    """A procedure of the database's own: as an EXEC statement, its status in a variable."""
    if not _PROCEDURE.match(call.name):
        raise Refused(f"a call of {call.name[:80]}")
    parameters, returned, words = [Parameter(STATUS, _INT, None, output=True)], [], []
    for place, argument in enumerate(call.arguments):
        variable = f"@__p{place}"
        given = f"{argument.name} = " if argument.name else ""
        words.append(given + ("DEFAULT" if argument.default else variable + (" OUTPUT" if argument.output else "")))
        if not argument.default:
            parameters.append(Parameter(variable, argument.type, argument.value, argument.output))
        if argument.output:
            returned.append(Returned(place + before, argument.name, variable, argument.type))
    return Run(Request(f"EXEC {STATUS} = {call.name} {', '.join(words)}".rstrip(), parameters), returned)
