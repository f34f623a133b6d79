"""pure: who may do what in a database."""

from __future__ import annotations

from tests.standin.engine.model import State, TableInfo


def require(state: State, permission: str, table: TableInfo) -> None:
    """Raises SqlError 229 when the session's user lacks SELECT, INSERT, UPDATE, DELETE or VIEW CHANGE TRACKING on the table."""
    raise NotImplementedError


def has(state: State, permission: str, securable: str, name: str | None) -> bool | None:
    """HAS_PERMS_BY_NAME(name, securable, permission); None where SQL Server answers NULL."""
    raise NotImplementedError
