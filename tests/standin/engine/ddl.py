"""adapter: statements that declare: tables, indexes, schemas, types, modules, principals, permissions, databases."""

from __future__ import annotations

from tests.standin.engine.model import State
from tests.standin.tsql import ast


async def execute(state: State, statement: ast.Statement) -> None:
    """Every DDL, security and database statement of `ast`, inside the open transaction (storage.begin).

    CREATE, ALTER, DROP DATABASE, BACKUP and RESTORE run outside of one. Raises SqlError and Refused.
    """
    raise NotImplementedError


async def rename(state: State, name: str, new: str, kind: str) -> None:
    """sp_rename @objname, @newname, @objtype ("", "OBJECT", "COLUMN", "INDEX")."""
    raise NotImplementedError
