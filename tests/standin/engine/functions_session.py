"""pure: what a session knows about itself, its server and the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.standin.engine import permissions, tracking, types
from tests.standin.engine.casting import implicit
from tests.standin.engine.functions_text import Function
from tests.standin.engine.model import State
from tests.standin.engine.scope import Context, Slot, Typed
from tests.standin.ports import Refused, SqlType, Variant

_NAME = SqlType("nvarchar", 128)
_IDENTITY = SqlType("decimal", precision=38)
_OPTIONS = 5432  # ANSI_WARNINGS, ANSI_PADDING, ANSI_NULLS, QUOTED_IDENTIFIER, ANSI_NULL_DFLT_ON, CONCAT_NULL_YIELDS_NULL


def argument(value: Typed, function: str) -> Slot:
    """How an argument is read that must not come from a row."""
    if value.null:
        return lambda state: None
    if value.constant is not None:
        return lambda state: value.constant
    if value.slot is not None:
        return value.slot
    raise Refused(f"{function} of an expression that is neither a constant nor a variable")


# -- @@ ----------------------------------------------------------------------------------------------------------------------


def _version(state: State) -> str:
    emulated = state.database.engine.emulated
    major = emulated.product_version.split(".")[0]
    year = {"13": "2016", "14": "2017", "15": "2019", "16": "2022", "17": "2025"}.get(major, "2022")
    return (
        f"Microsoft SQL Server {year} (RTM) - {emulated.product_version} (X64) \n\tJan  1 2024 00:00:00 \n"
        f"\tStand-in \n\t{emulated.edition} on Linux <X64>"
    )


def _microsoft_version(state: State) -> int:
    major, minor, build = (int(part) for part in state.database.engine.emulated.product_version.split(".")[:3])
    return (major << 24) | (minor << 16) | build


def _options(state: State) -> int:
    return _OPTIONS | (512 if state.nocount else 0) | (16384 if state.xact_abort else 0)


_GLOBALS: dict[str, tuple[SqlType, Callable[[State], Any]]] = {
    "@@VERSION": (SqlType("nvarchar", 300), _version),
    "@@TRANCOUNT": (types.INT, lambda state: state.trancount),
    "@@ROWCOUNT": (types.INT, lambda state: state.rowcount),
    "@@ERROR": (types.INT, lambda state: state.error),
    "@@SPID": (types.SMALLINT, lambda state: state.spid),
    "@@SERVERNAME": (_NAME, lambda state: state.database.engine.emulated.server_name),
    "@@IDENTITY": (_IDENTITY, lambda state: state.last_identity),
    "@@OPTIONS": (types.INT, _options),
    "@@LOCK_TIMEOUT": (types.INT, lambda state: state.lock_timeout),
    "@@MAX_PRECISION": (types.TINYINT, lambda state: 38),
    "@@MICROSOFTVERSION": (types.INT, _microsoft_version),
    "@@LANGUAGE": (_NAME, lambda state: "us_english"),
    "@@DATEFIRST": (types.TINYINT, lambda state: 7),
}


def global_variable(ctx: Context, name: str) -> Typed:
    """@@NAME. Raises Refused."""
    if name == "@@DBTS":
        ctx.cacheable = False
        return Typed("int8send((SELECT last_value FROM standin.dbts))", SqlType("varbinary", 8))
    if name not in _GLOBALS:
        raise Refused(name)
    type_, slot = _GLOBALS[name]
    return ctx.session(name, type_, slot)


def _own(key: str, type_: SqlType, slot: Callable[[State], Any]) -> Function:
    return lambda ctx, args: ctx.session(key, type_, slot)


# -- time --------------------------------------------------------------------------------------------------------------------


def _now(type_: SqlType, shape: Callable[[datetime], str]) -> Function:
    key = (type_.name, "now")

    def function(ctx: Context, args: Sequence[Typed]) -> Typed:
        found = ctx.session(key, type_, lambda state: shape(state.database.engine.now()))
        return replace(found, nullable=False)

    return function


def _as_datetime(now: datetime) -> str:
    """On the grid of 1/300 s, cut."""
    units = now.microsecond * 3 // 10_000
    return f"{now:%Y-%m-%d %H:%M:%S}.{(units * 10 + 1) // 3:03}"


_DATETIME = _now(types.DATETIME, _as_datetime)
_DATETIME2 = _now(SqlType("datetime2", scale=7), lambda now: f"{now:%Y-%m-%d %H:%M:%S.%f}0")
_OFFSET = _now(SqlType("datetimeoffset", scale=7), lambda now: f"{now:%Y-%m-%d %H:%M:%S.%f}0 +00:00")


# -- transactions, change tracking -------------------------------------------------------------------------------------------


def _xact_state(state: State) -> int:
    return -1 if state.doomed else int(state.trancount > 0)


def _current_version(ctx: Context, args: Sequence[Typed]) -> Typed:
    ctx.cacheable = False
    return Typed(tracking.current_version(ctx.state), types.BIGINT)


def _min_valid_version(ctx: Context, args: Sequence[Typed]) -> Typed:
    ctx.cacheable = False
    return Typed(tracking.min_valid_version(ctx.state, implicit(args[0], types.INT).sql), types.BIGINT)


def _in_mask(ctx: Context, args: Sequence[Typed]) -> Typed:
    column, mask = implicit(args[0], types.INT), args[1]
    return Typed(tracking.column_in_mask(column.sql, implicit(mask, SqlType("varbinary", 4100)).sql), types.BIT)


def _new_id(ctx: Context, args: Sequence[Typed]) -> Typed:
    return Typed("standin.guid_stored(uuid_send(gen_random_uuid()))", types.GUID, nullable=False)


# -- the error that was caught -----------------------------------------------------------------------------------------------


def _caught(attribute: str, type_: SqlType) -> Function:
    def read(state: State) -> Any:
        return None if state.caught is None else getattr(state.caught, attribute)

    return _own(f"error {attribute}", type_, read)


# -- who ---------------------------------------------------------------------------------------------------------------------

_SERVER_ROLES = permissions.SERVER_ROLES


def _server_role(ctx: Context, args: Sequence[Typed]) -> Typed:
    role = argument(args[0], "IS_SRVROLEMEMBER")
    if len(args) > 1:
        raise Refused("IS_SRVROLEMEMBER of another login")

    def member(state: State) -> int | None:
        name = str(role(state)).lower()
        if name not in _SERVER_ROLES:
            return None
        roles = permissions.login_of(state).roles
        return int(name == "public" or name in roles or "sysadmin" in roles)

    return ctx.session(("srvrole", args[0].sql), types.INT, member)


def _member(ctx: Context, args: Sequence[Typed]) -> Typed:
    role = argument(args[0], "IS_MEMBER")
    if len(args) > 1:
        raise Refused("IS_ROLEMEMBER of another principal")

    def member(state: State) -> int | None:
        name = str(role(state)).lower()
        if name not in permissions.ROLES and name != "public":
            return None
        own = permissions.is_owner(state) and name == "db_owner"
        return int(own or name == "public" or name in permissions.user_of(state).roles)

    return ctx.session(("role", args[0].sql), types.INT, member)


def _user(state: State) -> str:
    return permissions.user_of(state).name


def _login(state: State) -> str:
    return permissions.login_of(state).name


def _user_name(ctx: Context, args: Sequence[Typed]) -> Typed:
    if not args:
        return ctx.session("user", _NAME, _user)
    number = argument(args[0], "USER_NAME")

    def name(state: State) -> str | None:
        wanted = number(state)
        return next((p.name for p in state.catalogue.principals.values() if p.principal_id == wanted), None)

    return ctx.session(("user", args[0].sql), _NAME, name)


# -- SERVERPROPERTY, DATABASEPROPERTYEX --------------------------------------------------------------------------------------


def _text(value: str | None) -> Variant | None:
    return None if value is None else Variant(SqlType("nvarchar", 128, collation="SQL_Latin1_General_CP1_CI_AS"), value)


def _number(value: int) -> Variant:
    return Variant(types.INT, value)


_SERVER: dict[str, Callable[[State], Variant | None]] = {
    "productversion": lambda state: _text(state.database.engine.emulated.product_version),
    "productmajorversion": lambda state: _text(state.database.engine.emulated.product_version.split(".")[0]),
    "productminorversion": lambda state: _text(state.database.engine.emulated.product_version.split(".")[1]),
    "productbuild": lambda state: _text(state.database.engine.emulated.product_version.split(".")[2]),
    "productlevel": lambda state: _text("RTM"),
    "productupdatelevel": lambda state: None,
    "productupdatereference": lambda state: None,
    "edition": lambda state: _text(state.database.engine.emulated.edition),
    "engineedition": lambda state: _number(state.database.engine.emulated.engine_edition),
    "servername": lambda state: _text(state.database.engine.emulated.server_name),
    "machinename": lambda state: _text(state.database.engine.emulated.server_name),
    "instancename": lambda state: None,
    "collation": lambda state: _text("SQL_Latin1_General_CP1_CI_AS"),
    "isclustered": lambda state: _number(0),
    "ishadrenabled": lambda state: _number(0),
    "issingleuser": lambda state: _number(0),
    "isintegratedsecurityonly": lambda state: _number(0),
}

_DATABASE: dict[str, Callable[[Any], Variant | None]] = {
    "updateability": lambda d: _text("READ_ONLY" if d.options.read_only or d.options.secondary else "READ_WRITE"),
    "status": lambda d: _text("ONLINE"),
    "collation": lambda d: _text(d.collation),
    "recovery": lambda d: _text(d.options.recovery),
    "useraccess": lambda d: _text("SINGLE_USER" if d.options.single_user else "MULTI_USER"),
}


def _server_property(ctx: Context, args: Sequence[Typed]) -> Typed:
    name = argument(args[0], "SERVERPROPERTY")

    def read(state: State) -> Variant | None:
        key = str(name(state)).lower()
        if key not in _SERVER:
            raise Refused(f"SERVERPROPERTY('{name(state)}')")
        return _SERVER[key](state)

    return ctx.session(("server", args[0].sql), types.VARIANT, read)


def _database_property(ctx: Context, args: Sequence[Typed]) -> Typed:
    database, name = (argument(a, "DATABASEPROPERTYEX") for a in args)

    def read(state: State) -> Variant | None:
        key = str(name(state)).lower()
        if key not in _DATABASE:
            raise Refused(f"DATABASEPROPERTYEX of '{name(state)}'")
        found = state.database.engine.database(str(database(state)))
        return None if found is None else _DATABASE[key](found)

    return ctx.session(("database", args[0].sql, args[1].sql), types.VARIANT, read)


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "XACT_STATE": (0, 0, _own("xact_state", types.SMALLINT, _xact_state)),
    "SCOPE_IDENTITY": (0, 0, _own("scope_identity", _IDENTITY, lambda state: state.identity)),
    "NEWID": (0, 0, _new_id),
    "GETDATE": (0, 0, _DATETIME),
    "GETUTCDATE": (0, 0, _DATETIME),
    "CURRENT_TIMESTAMP": (0, 0, _DATETIME),
    "SYSDATETIME": (0, 0, _DATETIME2),
    "SYSUTCDATETIME": (0, 0, _DATETIME2),
    "SYSDATETIMEOFFSET": (0, 0, _OFFSET),
    "ERROR_NUMBER": (0, 0, _caught("number", types.INT)),
    "ERROR_MESSAGE": (0, 0, _caught("message", SqlType("nvarchar", 4000))),
    "ERROR_SEVERITY": (0, 0, _caught("severity", types.INT)),
    "ERROR_STATE": (0, 0, _caught("state", types.INT)),
    "ERROR_LINE": (0, 0, _caught("line", types.INT)),
    "ERROR_PROCEDURE": (0, 0, _own("error procedure", _NAME, lambda state: state.caught_procedure)),
    "CHANGE_TRACKING_CURRENT_VERSION": (0, 0, _current_version),
    "CHANGE_TRACKING_MIN_VALID_VERSION": (1, 1, _min_valid_version),
    "CHANGE_TRACKING_IS_COLUMN_IN_MASK": (2, 2, _in_mask),
    "IS_SRVROLEMEMBER": (1, 2, _server_role),
    "IS_MEMBER": (1, 1, _member),
    "IS_ROLEMEMBER": (1, 2, _member),
    "SUSER_SNAME": (0, 0, _own("login", _NAME, _login)),
    "SUSER_NAME": (0, 0, _own("login", _NAME, _login)),
    "SYSTEM_USER": (0, 0, _own("login", _NAME, _login)),
    "ORIGINAL_LOGIN": (0, 0, _own("login", _NAME, _login)),
    "USER_NAME": (0, 1, _user_name),
    "CURRENT_USER": (0, 0, _own("user", _NAME, _user)),
    "SESSION_USER": (0, 0, _own("user", _NAME, _user)),
    "USER": (0, 0, _own("user", _NAME, _user)),
    "HOST_NAME": (0, 0, _own("host", _NAME, lambda state: state.login.host)),
    "APP_NAME": (0, 0, _own("application", _NAME, lambda state: state.login.application)),
    "SERVERPROPERTY": (1, 1, _server_property),
    "DATABASEPROPERTYEX": (2, 2, _database_property),
}
