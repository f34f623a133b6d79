"""adapter: logins, users, role members, permissions."""

from __future__ import annotations

from dataclasses import replace

from tests.standin.engine import ddl_catalogue as catalogue
from tests.standin.engine import permissions
from tests.standin.engine.model import PrincipalInfo, State
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql import ast

_LOGIN_OPTIONS = {"CHECK_POLICY", "CHECK_EXPIRATION", "DEFAULT_LANGUAGE"}  # without effect here


def _no_permission() -> SqlError:
    return SqlError(15247, "User does not have permission to perform this action.")


async def create_login(state: State, statement: ast.CreateLogin) -> None:
    """At once and for good: a rollback does not undo it here. Raises SqlError 15025, 15247."""
    if not permissions.on_server(state, "ALTER ANY LOGIN"):
        raise _no_permission()
    database = "master"
    for option, value in statement.options:
        if option.upper() == "DEFAULT_DATABASE":
            database = value.strip("[]")
        elif option.upper() not in _LOGIN_OPTIONS:
            raise Refused(f"CREATE LOGIN ... {option}")
    state.database.engine.create_login(statement.name, statement.password, database)


async def create_user(state: State, statement: ast.CreateUser) -> None:
    """Raises SqlError 15023, 15007, 15247."""
    if not permissions.covers(state, "ALTER ANY USER", ("DATABASE:",)):
        raise _no_permission()
    folded = statement.name.casefold()
    if folded in state.catalogue.principals:
        raise SqlError(15023, f"User, group, or role '{statement.name}' already exists in the current database.")
    if statement.login and statement.login.casefold() not in state.database.engine.logins:
        raise SqlError(15007, f"'{statement.login}' is not a valid login or you do not have permission.")
    if statement.schema and statement.schema.casefold() != "dbo":
        raise Refused("a default schema other than dbo")
    number = max(p.principal_id for p in state.catalogue.principals.values()) + 1
    user = PrincipalInfo(number, statement.name, statement.login)
    catalogue.change(state, replace(state.catalogue, principals={**state.catalogue.principals, folded: user}))


async def alter_role(state: State, statement: ast.AlterRole) -> None:
    """Raises SqlError 15151, 15247."""
    if statement.server:
        _alter_server_role(state, statement)
        return
    role = statement.role.casefold()
    if role not in permissions.ROLES:
        raise SqlError(
            15151, f"Cannot alter the role '{statement.role}', because it does not exist or you do not have permission."
        )
    if not permissions.covers(state, "ALTER ANY ROLE", ("DATABASE:",)):
        raise _no_permission()
    member = statement.member.casefold()
    user = state.catalogue.principals.get(member)
    if user is None:
        raise SqlError(
            15151, f"Cannot add the principal '{statement.member}', because it does not exist or you do not have permission."
        )
    roles = user.roles | {role} if statement.add else user.roles - {role}
    principals = {**state.catalogue.principals, member: replace(user, roles=frozenset(roles))}
    catalogue.change(state, replace(state.catalogue, principals=principals))


def _alter_server_role(state: State, statement: ast.AlterRole) -> None:
    login = state.database.engine.logins.get(statement.member.casefold())
    role = statement.role.casefold()
    if login is None or role not in permissions.SERVER_ROLES:
        raise SqlError(
            15151, f"Cannot alter the server role '{statement.role}', because it does not exist or you do not have permission."
        )
    if not permissions.on_server(state, "CONTROL SERVER"):
        raise _no_permission()
    (login.roles.add if statement.add else login.roles.discard)(role)


def drop(state: State, kind: str, name: str, *, if_exists: bool) -> None:
    """DROP USER, DROP LOGIN. Raises SqlError 15151, 15434, 15247."""
    if kind == "login":
        if not permissions.on_server(state, "ALTER ANY LOGIN"):
            raise _no_permission()
        state.database.engine.drop_login(name)
        return
    folded = name.casefold()
    user = state.catalogue.principals.get(folded)
    if user is None or user.principal_id <= 4 or not permissions.covers(state, "ALTER ANY USER", ("DATABASE:",)):
        if user is None and if_exists:
            return
        raise SqlError(15151, f"Cannot drop the user '{name}', because it does not exist or you do not have permission.")
    kept = frozenset(p for p in state.catalogue.permissions if p[3] != folded)
    principals = {k: v for k, v in state.catalogue.principals.items() if k != folded}
    catalogue.change(state, replace(state.catalogue, principals=principals, permissions=kept))


async def permission(state: State, statement: ast.Permission) -> None:
    """GRANT, DENY, REVOKE. Raises SqlError 15151, 4624."""
    names = [name.upper() for name in statement.permissions]
    if statement.securable == "SERVER" or (
        not statement.on and set(names) <= permissions.SERVER and statement.securable != "DATABASE"
    ):
        _on_server(state, statement, names)
        return
    _known(names, permissions.OBJECT if statement.securable in ("OBJECT", "SCHEMA") else permissions.DATABASE)
    securable = _securable(state, statement)
    if not permissions.covers(state, "CONTROL", (securable, "DATABASE:")):
        raise SqlError(4613, "Grantor does not have GRANT permission.")
    changed = set(state.catalogue.permissions)
    for principal in statement.principals:
        folded = principal.casefold()
        if folded != "public" and folded not in state.catalogue.principals and folded not in permissions.ROLES:
            raise SqlError(
                15151, f"Cannot find the user '{principal}', because it does not exist or you do not have permission."
            )
        for name in names:
            for action in ("GRANT", "DENY"):
                changed.discard((action, name, securable, folded))
            if statement.action.upper() != "REVOKE":
                changed.add((statement.action.upper(), name, securable, folded))
    catalogue.change(state, replace(state.catalogue, permissions=frozenset(changed)))


def _known(names: list[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            raise Refused(f"the permission {name}")


def _securable(state: State, statement: ast.Permission) -> str:
    if statement.securable == "SCHEMA":
        name = statement.on.parts[-1] if statement.on else ""
        if name.casefold() not in state.catalogue.schemas:
            raise SqlError(15151, f"Cannot find the schema '{name}', because it does not exist or you do not have permission.")
        return f"SCHEMA:{name.casefold()}"
    if statement.securable == "DATABASE" or statement.on is None:
        return "DATABASE:"
    table = catalogue.find(state, statement.on)
    if table is not None:
        return f"OBJECT:{table.object_id}"
    procedure = state.catalogue.procedures.get(catalogue.key_of(state, statement.on))
    if procedure is None:
        raise SqlError(
            15151,
            f"Cannot find the object '{statement.on.parts[-1]}', because it does not exist or you do not have permission.",
        )
    return f"OBJECT:{procedure.object_id}"


def _on_server(state: State, statement: ast.Permission, names: list[str]) -> None:
    if not permissions.on_server(state, "CONTROL SERVER"):
        raise SqlError(4613, "Grantor does not have GRANT permission.")
    _known(names, permissions.SERVER)
    for principal in statement.principals:
        login = state.database.engine.logins.get(principal.casefold())
        if login is None:
            raise SqlError(
                15151, f"Cannot find the login '{principal}', because it does not exist or you do not have permission."
            )
        for name in names:
            login.permissions -= {("GRANT", name), ("DENY", name)}
            if statement.action.upper() != "REVOKE":
                login.permissions.add((statement.action.upper(), name))
