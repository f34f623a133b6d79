"""pure: who may do what: fixed roles, GRANT and DENY on databases, schemas and objects.

https://learn.microsoft.com/sql/relational-databases/security/permissions-database-engine
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.standin.engine.database import LoginInfo, user_in
from tests.standin.engine.model import Catalogue, PrincipalInfo, State, TableInfo
from tests.standin.ports import SqlError

DATA = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
OBJECT = DATA | {"EXECUTE", "REFERENCES", "ALTER", "CONTROL", "VIEW CHANGE TRACKING", "VIEW DEFINITION", "TAKE OWNERSHIP"}
DATABASE = OBJECT | {
    "CONNECT", "CREATE TABLE", "CREATE SCHEMA", "CREATE VIEW", "CREATE PROCEDURE", "CREATE TYPE", "ALTER ANY SCHEMA",
    "ALTER ANY USER", "ALTER ANY ROLE", "VIEW DATABASE STATE", "VIEW DATABASE PERFORMANCE STATE", "BACKUP DATABASE",
    "ALTER ANY DATABASE DDL TRIGGER", "SHOWPLAN", "UNMASK",
}  # fmt: skip
SERVER = frozenset(
    {
        "CONTROL SERVER", "VIEW SERVER STATE", "VIEW ANY DATABASE", "VIEW ANY DEFINITION", "ALTER ANY DATABASE",
        "CREATE ANY DATABASE", "ALTER ANY LOGIN", "CONNECT SQL", "ALTER TRACE",
        "VIEW SERVER PERFORMANCE STATE", "ALTER SERVER STATE",
    }
)  # fmt: skip
ROLES = {
    "db_owner": DATABASE,
    "db_datareader": frozenset({"SELECT"}),
    "db_datawriter": frozenset({"INSERT", "UPDATE", "DELETE"}),
    "db_ddladmin": frozenset(
        {
            "ALTER",
            "CREATE TABLE",
            "CREATE SCHEMA",
            "CREATE VIEW",
            "CREATE PROCEDURE",
            "CREATE TYPE",
            "ALTER ANY SCHEMA",
            "REFERENCES",
        }
    ),
    "db_securityadmin": frozenset({"ALTER ANY ROLE", "CREATE SCHEMA", "VIEW DEFINITION"}),
    "db_accessadmin": frozenset({"ALTER ANY USER", "CREATE SCHEMA"}),
    "db_backupoperator": frozenset({"BACKUP DATABASE"}),
    "db_denydatareader": frozenset[str](),
    "db_denydatawriter": frozenset[str](),
}
DENYING = {"db_denydatareader": frozenset({"SELECT"}), "db_denydatawriter": frozenset({"INSERT", "UPDATE", "DELETE"})}
SERVER_ROLES = frozenset({"sysadmin", "serveradmin", "securityadmin", "processadmin", "dbcreator", "bulkadmin", "public"})


def login_of(state: State) -> LoginInfo:
    """The session's login."""
    return state.database.engine.logins[state.login.user.casefold()]


def granted(state: State) -> Catalogue:
    """Users and permissions as they are now: a snapshot does not keep them."""
    own = state.spid in state.database.locks.altered
    return state.database.catalogue if state.snapshot and not own else state.catalogue


def user_of(state: State) -> PrincipalInfo:
    """The session's user in its database."""
    now = granted(state)
    return user_in(state.database, login_of(state), now) or now.principals["guest"]


def is_owner(state: State) -> bool:
    """dbo: permissions are not asked, DENY included."""
    return user_of(state).principal_id == 1


def covers(state: State, permission: str, securables: Sequence[str]) -> bool:
    """Whether the user has the permission through any of the securables ("OBJECT:5", "SCHEMA:dbo", "DATABASE:")."""
    if is_owner(state):
        return True
    user = user_of(state)
    names = {user.name.casefold(), "public", *user.roles}
    if _listed(state, "DENY", {permission, "CONTROL"}, securables, names) or any(
        permission in DENYING.get(role, ()) for role in user.roles
    ):
        return False
    if any(permission in ROLES.get(role, ()) for role in user.roles):
        return True
    return _listed(state, "GRANT", {permission, "CONTROL"}, securables, names)


def _listed(state: State, action: str, permissions: Iterable[str], securables: Sequence[str], names: set[str]) -> bool:
    wanted = {(action, p, s, n) for p in permissions for s in securables for n in names}
    return not wanted.isdisjoint(granted(state).permissions)


def may(state: State, permission: str, table: TableInfo) -> bool:
    """Whether the session's user has the permission on the table or view."""
    if table.temporary:
        return True
    return covers(state, permission, (f"OBJECT:{table.object_id}", f"SCHEMA:{table.schema.casefold()}", "DATABASE:"))


def require(state: State, permission: str, table: TableInfo) -> None:
    """Raises SqlError 229 when the session's user lacks SELECT, INSERT, UPDATE, DELETE or VIEW CHANGE TRACKING on the table.

    VIEW CHANGE TRACKING also raises 22117 on a secondary replica.
    """
    if permission == "VIEW CHANGE TRACKING" and state.database.options.secondary:
        from tests.standin.engine.tracking import primary_only

        primary_only(state)
    if not may(state, permission, table):
        raise SqlError(
            229,
            f"The {permission} permission was denied on the object '{table.name}', database '{state.database.name}', "
            f"schema '{table.schema}'.",
            severity=14,
            state=5,
        )


def require_schema(state: State, permission: str, schema: str) -> None:
    """For CREATE TABLE and its kind: the permission in the database and ALTER on the schema. Raises SqlError 262, 2760."""
    require_database(state, permission)
    if not covers(state, "ALTER", (f"SCHEMA:{schema.casefold()}", "DATABASE:")):
        raise SqlError(
            2760, f'The specified schema name "{schema}" either does not exist or you do not have permission to use it.'
        )


def require_database(state: State, permission: str) -> None:
    """Raises SqlError 262."""
    if not covers(state, permission, ("DATABASE:",)):
        raise SqlError(262, f"{permission} permission denied in database '{state.database.name}'.", severity=14)


def on_server(state: State, permission: str) -> bool:
    """Whether the session's login has the permission on the server."""
    login = login_of(state)
    if "sysadmin" in login.roles or ("GRANT", "CONTROL SERVER") in login.permissions:
        return True
    if ("DENY", permission) in login.permissions:
        return False
    if permission in {"CONNECT SQL", "VIEW ANY DATABASE"} or ("GRANT", permission) in login.permissions:
        return True
    return "dbcreator" in login.roles and permission in {"CREATE ANY DATABASE", "ALTER ANY DATABASE"}


def alter_database(state: State, name: str) -> bool:
    """Whether the session may ALTER, DROP, BACKUP or RESTORE the database."""
    if on_server(state, "ALTER ANY DATABASE"):
        return True
    target = state.database.engine.database(name)
    if target is None:
        return False
    user = user_in(target, login_of(state))
    if user is None:
        return False
    granted = ("GRANT", "ALTER", "DATABASE:", user.name.casefold()) in target.catalogue.permissions
    return user.principal_id == 1 or "db_owner" in user.roles or granted


def has(state: State, permission: str, securable: str, name: str | None) -> bool | None:
    """HAS_PERMS_BY_NAME(name, securable, permission); None where SQL Server answers NULL: an unknown name or class.

    https://learn.microsoft.com/sql/t-sql/functions/has-perms-by-name-transact-sql
    """
    permission, securable = permission.upper().strip(), securable.upper().strip()
    if securable in ("", "SERVER"):
        return on_server(state, permission) if permission in SERVER and not name else None
    if securable == "DATABASE":
        return _has_on_database(state, permission, name)
    if securable == "SCHEMA":
        known = (name or "").strip("[]").casefold()
        if known not in state.catalogue.schemas or permission not in OBJECT:
            return None
        return covers(state, permission, (f"SCHEMA:{known}", "DATABASE:"))
    if securable != "OBJECT" or permission not in OBJECT:
        return None
    table = find(state, name or "")
    return None if table is None else may(state, permission, table)


def _has_on_database(state: State, permission: str, name: str | None) -> bool | None:
    if permission not in DATABASE:
        return None
    if name and state.database.engine.database(name.strip("[]")) is not state.database:
        return None
    return covers(state, permission, ("DATABASE:",))


def find(state: State, name: str) -> TableInfo | None:
    """A table or view by a name as in OBJECT_ID: `[dbo].[t]`, `t`."""
    parts = split(name)
    if not 1 <= len(parts) <= 3 or (len(parts) == 3 and parts[0].casefold() not in ("", state.database.name.casefold())):
        return None
    schema = parts[-2] if len(parts) > 1 and parts[-2] else "dbo"
    return state.catalogue.tables.get((schema.casefold(), parts[-1].casefold()))


def split(name: str) -> list[str]:
    """`[a.b].c` as its parts: brackets and double quotes around, doubled inside."""
    parts, at, text = [""], 0, name.strip()
    while at < len(text):
        close = {"[": "]", '"': '"'}.get(text[at]) if not parts[-1] else None
        if close:
            at, part = _quoted(text, at + 1, close)
            parts[-1] = part
        elif text[at] == ".":
            parts.append("")
            at += 1
        else:
            parts[-1] += text[at]
            at += 1
    return parts


def _quoted(text: str, at: int, close: str) -> tuple[int, str]:
    found = ""
    while at < len(text):
        if text[at] == close:
            if text[at + 1 : at + 2] != close:
                return at + 1, found
            at += 1
        found += text[at]
        at += 1
    return at, found
