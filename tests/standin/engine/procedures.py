"""adapter: EXECUTE: procedures, dynamic SQL, sp_executesql, sp_rename, application locks.

https://learn.microsoft.com/sql/t-sql/language-elements/execute-transact-sql
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.standin.engine import applocks, conversion, flow
from tests.standin.engine.scopes import Scope
from tests.standin.ports import Refused, SqlError, SqlType, Value
from tests.standin.tsql import ast
from tests.standin.tsql.parser import parse_parameters
from tests.standin.tsql.variables import Mention, mentions, read

if TYPE_CHECKING:
    from tests.standin.engine.interpreter import Runner
    from tests.standin.engine.model import ProcedureInfo

Parameter = tuple[str, ast.TypeName, ast.Expression | None, bool]
Arguments = Sequence[tuple[str, ast.Expression, bool]]

_INT = SqlType("int")
_NVARCHAR = SqlType("nvarchar", -1)


async def execute(runner: Runner, statement: ast.Execute) -> None:
    """EXEC of text, of a system procedure or of one of the database."""
    if statement.procedure is None:
        text = await runner.convert(statement.text or ast.Literal("null", None), _NVARCHAR)
        await _run_text(runner, text or "", (), ())
        return
    name = statement.procedure.parts[-1].casefold()
    system = _SYSTEM.get(name) if _is_system(statement.procedure) else None
    if system is not None:
        status = await system(runner, statement.arguments)
    else:
        status = await _run_procedure(runner, _find(runner, statement.procedure), statement.arguments)
    if statement.result:
        kind = runner.variable(statement.result)
        runner.state.variables[statement.result.casefold()] = (kind, conversion.assign(status, _INT, kind))


def _is_system(name: ast.Name) -> bool:
    qualifier = name.parts[-2].casefold() if len(name.parts) > 1 else ""
    return qualifier in ("", "sys", "dbo") and name.parts[-1].casefold().startswith(("sp_", "xp_"))


def _find(runner: Runner, name: ast.Name) -> ProcedureInfo:
    """Raises SqlError 2812, 229."""
    from tests.standin.engine.permissions import covers

    state, parts = runner.state, name.parts
    if len(parts) > 2 and parts[-3].casefold() not in ("", state.database.name.casefold()):
        raise Refused("a procedure of another database")
    if parts[-1].casefold().startswith(("sp_", "xp_")) and _is_system(name):
        raise Refused(f"the system procedure {parts[-1]}")
    schema = parts[-2].casefold() if len(parts) > 1 and parts[-2] else "dbo"
    found = state.catalogue.procedures.get((schema, parts[-1].casefold()))
    if found is None:
        raise SqlError(2812, f"Could not find stored procedure '{'.'.join(parts)}'.", state=62)
    if not covers(state, "EXECUTE", (f"OBJECT:{found.object_id}", f"SCHEMA:{schema}", "DATABASE:")):
        message = (
            f"The EXECUTE permission was denied on the object '{found.name}', database '{state.database.name}', "
            f"schema '{found.schema}'."
        )
        raise SqlError(229, message, severity=14, state=5)
    return found


# -- procedures of the database ----------------------------------------------------------------------------------------------


async def _run_procedure(runner: Runner, procedure: ProcedureInfo, arguments: Arguments) -> int:
    """Its return status."""
    statement = procedure.statement
    given = _bound(procedure.name, statement.parameters, arguments)
    values = await _values(runner, statement.parameters, given)
    found = list(mentions(statement.body, statement.lines))
    outer, runner.procedure = runner.procedure, procedure.name
    try:
        return await _run_scope(runner, statement.parameters, values, given, (statement.body, statement.lines), found)
    finally:
        runner.procedure = outer


def _bound(name: str, parameters: Sequence[Parameter], arguments: Arguments) -> dict[str, tuple[ast.Expression, bool]]:
    """Arguments by folded name of their parameter. Raises SqlError 8143, 8144, 8145."""
    names = [parameter[0].casefold() for parameter in parameters]
    found: dict[str, tuple[ast.Expression, bool]] = {}
    for place, (written, expression, output) in enumerate(arguments):
        key = written.casefold()
        if not key:
            if place >= len(names):
                raise SqlError(8144, f"Procedure or function {name} has too many arguments specified.", state=2)
            key = names[place]
        if key not in names:
            raise SqlError(8145, f"{written} is not a parameter for procedure {name}.")
        if key in found:
            raise SqlError(8143, f"Parameter '{written}' was supplied multiple times.")
        found[key] = (expression, output)
    _complete(name, parameters, found)
    return found


def _complete(name: str, parameters: Sequence[Parameter], given: dict[str, tuple[ast.Expression, bool]]) -> None:
    """Raises SqlError 201, 8162."""
    for written, _, default, output in parameters:
        expression, wanted = given.get(written.casefold(), (ast.Default(), False))
        if isinstance(expression, ast.Default) and default is None:
            message = f"Procedure or function '{name}' expects parameter '{written}', which was not supplied."
            raise SqlError(201, message, state=4)
        if wanted and not output:
            message = (
                f'The formal parameter "{written}" was not declared as an OUTPUT parameter, but the actual parameter passed in '
                "requested output."
            )
            raise SqlError(8162, message, state=2)


async def _values(
    runner: Runner, parameters: Sequence[Parameter], given: dict[str, tuple[ast.Expression, bool]]
) -> dict[str, tuple[SqlType, Value]]:
    found = {}
    for written, type_name, default, _ in parameters:
        expression, _ = given.get(written.casefold(), (ast.Default(), False))
        if isinstance(expression, ast.Default):
            expression = default if default is not None else ast.Literal("null", None)
        kind = runner.resolve(type_name)
        found[written.casefold()] = (kind, await runner.convert(expression, kind))
    return found


async def _run_scope(
    runner: Runner,
    parameters: Sequence[Parameter],
    values: dict[str, tuple[SqlType, Value]],
    given: dict[str, tuple[ast.Expression, bool]],
    body: tuple[Sequence[ast.Statement], Sequence[int]],
    found: Sequence[Mention],
) -> int:
    """Runs the body with its parameters; then OUTPUT arguments take their values."""
    status = 0
    async with Scope(runner):
        runner.state.variables = dict(values)
        runner.declare([mention for mention in found if mention.declared])
        try:
            await runner.statements(*body)
        except flow.Returned as returned:
            status = returned.value
        except flow.ScopeEnded:
            status = -6
        after = runner.state.variables
    for written, _, _, output in parameters:
        expression, wanted = given.get(written.casefold(), (None, False))
        if output and wanted and isinstance(expression, ast.Variable):
            source, value = after[written.casefold()]
            kind = runner.variable(expression.name)
            runner.state.variables[expression.name.casefold()] = (kind, conversion.assign(value, source, kind))
    return status


# -- dynamic SQL -------------------------------------------------------------------------------------------------------------


async def _run_text(runner: Runner, text: str, parameters: Sequence[Parameter], arguments: Arguments) -> int:
    """Raises SqlError of the parser, and 134, 137, 1087."""
    checked = read(text)
    checked.check([parameter[0] for parameter in parameters])
    given = _bound("sp_executesql", parameters, arguments)
    values = await _values(runner, parameters, given)
    batch = checked.batch
    return await _run_scope(runner, parameters, values, given, (batch.statements, batch.lines), checked.mentions)


async def _sp_executesql(runner: Runner, arguments: Arguments) -> int:
    found = {"@stmt": "@stmt", "@statement": "@stmt", "@params": "@params", "@parameters": "@params"}
    head: dict[str, str | None] = {}
    rest = list(arguments)
    for key in ("@stmt", "@params"):
        if not rest or (rest[0][0] and found.get(rest[0][0].casefold()) != key):
            break
        head[key] = await runner.convert(rest.pop(0)[1], _NVARCHAR)
    if "@stmt" not in head:
        message = "Procedure or function 'sp_executesql' expects parameter '@statement', which was not supplied."
        raise SqlError(201, message, state=10)
    return await _run_text(runner, head["@stmt"] or "", parse_parameters(head.get("@params") or ""), rest)


# -- system procedures -------------------------------------------------------------------------------------------------------


async def _named(runner: Runner, name: str, arguments: Arguments, parameters: dict[str, SqlType]) -> dict[str, Value]:
    """Arguments of a system procedure, converted; those left out are missing."""
    typed: list[Parameter] = [
        (f"@{parameter}", ast.TypeName(ast.Name((kind.name,)), kind), ast.Literal("null", None), False)
        for parameter, kind in parameters.items()
    ]
    given = _bound(name, typed, arguments)
    return {
        key.removeprefix("@"): await runner.convert(expression, parameters[key.removeprefix("@")])
        for key, (expression, _) in given.items()
        if not isinstance(expression, ast.Default)
    }


async def _sp_rename(runner: Runner, arguments: Arguments) -> int:
    from tests.standin.engine import ddl
    from tests.standin.ports import Info

    kinds = {"objname": SqlType("nvarchar", 1035), "newname": SqlType("nvarchar", 128), "objtype": SqlType("varchar", 13)}
    given = await _named(runner, "sp_rename", arguments, kinds)
    async with runner.transactions.statement(writes=True):
        await ddl.rename(runner.state, given["objname"], given["newname"], (given.get("objtype") or "").upper())
    caution = "Caution: Changing any part of an object name could break scripts and stored procedures."
    await runner.emit(Info(15477, caution))
    return 0


_APPLOCK = {
    "resource": SqlType("nvarchar", 255),
    "lockmode": SqlType("nvarchar", 32),
    "lockowner": SqlType("nvarchar", 32),
    "locktimeout": _INT,
    "dbprincipal": SqlType("nvarchar", 128),
}


async def _sp_getapplock(runner: Runner, arguments: Arguments) -> int:
    given = await _named(runner, "sp_getapplock", arguments, _APPLOCK)
    state = runner.state
    owner = _owner(runner, given)
    mode = (given.get("lockmode") or "").capitalize()
    if mode not in applocks.MODES:
        raise Refused(f"sp_getapplock with the mode {given.get('lockmode')}")
    timeout = given.get("locktimeout")
    wait = state.lock_timeout if timeout is None else timeout
    locks = applocks.of(state.database)
    return await locks.get(state.spid, given["resource"], mode, owner, wait / 1000 if wait >= 0 else -1)


async def _sp_releaseapplock(runner: Runner, arguments: Arguments) -> int:
    given = await _named(runner, "sp_releaseapplock", arguments, {k: v for k, v in _APPLOCK.items() if "mode" not in k})
    owner = _owner(runner, given)
    if applocks.of(runner.state.database).release(runner.state.spid, given["resource"], owner):
        return 0
    message = (
        f"Cannot release the application lock (Database Principal: 'public', Resource: '{given['resource']}') because it is "
        "not currently held."
    )
    raise SqlError(1223, message)


def _owner(runner: Runner, given: dict[str, Value]) -> str:
    owner = (given.get("lockowner") or applocks.TRANSACTION).capitalize()
    if owner not in (applocks.SESSION, applocks.TRANSACTION) or (given.get("dbprincipal") or "public").casefold() != "public":
        raise Refused("an application lock of another owner or principal")
    if owner == applocks.TRANSACTION and not runner.state.trancount:
        raise SqlError(1230, "You attempted to acquire a transactional application lock without an active transaction.")
    if not given.get("resource"):
        message = "Procedure or function 'sp_getapplock' expects parameter '@Resource', which was not supplied."
        raise SqlError(201, message, state=4)
    return owner


_SYSTEM = {
    "sp_executesql": _sp_executesql,
    "sp_rename": _sp_rename,
    "sp_getapplock": _sp_getapplock,
    "sp_releaseapplock": _sp_releaseapplock,
}
