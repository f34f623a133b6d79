"""shell: the storage of the stand-in without its language: sessions as states, statements as trees and PostgreSQL's SQL."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tests.standin.engine import ddl, locks, storage, tracking
from tests.standin.engine.database import Database, Engine
from tests.standin.engine.model import State, TableInfo
from tests.standin.ports import Login, SqlType
from tests.standin.tsql import ast

_numbers = itertools.count(1)
_spids = itertools.count(1000)

INT = SqlType("int")
TEXT = SqlType("nvarchar", 50)


def type_name(type_: SqlType) -> ast.TypeName:
    return ast.TypeName(ast.Name((type_.name,)), type_)


def column(name: str, type_: SqlType = INT, **more: Any) -> ast.ColumnDef:
    return ast.ColumnDef(name, type_name(type_), **more)


def primary(*names: str) -> ast.Constraint:
    return ast.Constraint("primary key", columns=tuple((name, False) for name in names))


def table(
    name: str, *columns: ast.ColumnDef, key: Sequence[str] = ("id",), constraints: Sequence[ast.Constraint] = ()
) -> ast.CreateTable:
    made = [primary(*key), *constraints] if key else list(constraints)
    return ast.CreateTable(ast.Name((name,)), columns, made)


class Client:
    """One session."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def do(self, *statements: ast.Statement) -> None:
        """Declarations, each in the open transaction or one of its own."""
        for statement in statements:
            if self.state.trancount:
                async with storage.statement(self.state):
                    await ddl.execute(self.state, statement)
            elif ddl.is_outside(statement):
                await ddl.execute(self.state, statement)
            else:
                async with storage.autocommit(self.state):
                    await ddl.execute(self.state, statement)

    async def begin(self) -> None:
        await storage.begin(self.state)
        self.state.trancount = 1

    async def commit(self) -> None:
        self.state.trancount = 0
        await storage.commit(self.state)

    async def rollback(self) -> None:
        self.state.trancount = 0
        await storage.rollback(self.state)

    def table(self, name: str) -> TableInfo:
        return self.state.catalogue.tables["dbo", name]

    async def write(
        self, name: str, sql: str, *arguments: Any, assigned: Sequence[str] = (), context: bytes | None = None
    ) -> None:
        """A write in PostgreSQL's SQL ("INSERT INTO {t} VALUES ($1)"), as the compiler would issue it."""
        async with self._transaction():
            info = self.table(name)
            assert await locks.before(self.state, [], [info])
            self.state.context = context
            columns = [c for c in (info.column(a) for a in assigned) if c is not None]
            await tracking.prepare(self.state, info, columns or None)
            await self.state.connection.execute(sql.format(t=info.stored), *arguments)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        if self.state.trancount:
            yield
        else:
            async with storage.autocommit(self.state):
                yield

    async def fetch(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.state.connection.fetch(sql, *arguments)]

    async def read(self, name: str, **more: Any) -> list[tuple[Any, ...]]:
        """The table, or the row of a key, as SELECT with hints would read it."""
        async with self._transaction():
            read = locks.Read(self.table(name), "t", **more)
            assert await locks.before(self.state, [read], [])
            async with locks.reading(self.state, [read]):
                where = f"WHERE t.c1 = {read.key[0]}" if read.key else ""
                text = f"/*{self.state.catalogue.generation}*/ SELECT * FROM {read.table.stored} AS t {where} ORDER BY 1"
                return await self.fetch(text + locks.clause(self.state, [read]), *read.arguments)

    async def changes(self, name: str, since: int | None = 0) -> list[tuple[Any, ...]]:
        """(version, creation version, operation, columns, context, key ...), by key."""
        relation = tracking.changes(self.table(name), "$1::int8")
        async with self._transaction():
            return await self.fetch(f"SELECT * FROM {relation.sql} x ORDER BY k6", since)

    async def version(self) -> int | None:
        async with self._transaction():
            return (await self.fetch(f"SELECT {tracking.current_version(self.state)}"))[0][0]  # type: ignore[no-any-return]

    async def min_valid(self, name: str) -> int | None:
        number = str(self.table(name).object_id)
        async with self._transaction():
            return (await self.fetch(f"SELECT {tracking.min_valid_version(self.state, number)}"))[0][0]  # type: ignore[no-any-return]


class Storage:
    """A server, and a new database for every test."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clients: list[Client] = []

    async def database(self, collation: str = "") -> Database:
        return await self.engine.create_database(f"storage_{next(_numbers)}", collation)

    async def client(self, database: Database, user: str = "sa", **settings: Any) -> Client:
        state = State(
            await self.engine.server.connect(database.stored),
            database,
            database.catalogue,
            Login(user, "", database.name),
            next(_spids),
        )
        for name, value in settings.items():
            setattr(state, name, value)
        self.engine.sessions[state.spid] = state
        client = Client(state)
        self.clients.append(client)
        return client

    async def leave(self) -> None:
        """All clients go."""
        for client in self.clients:
            await self.engine.leave(client.state)
        self.clients.clear()


def track(name: str, *, columns: bool = False, on: bool = True) -> ast.AlterTable:
    return ast.AlterTable(ast.Name((name,)), [ast.Tracking(on, columns)])


def option(name: str, value: str = "", **more: Any) -> ast.AlterDatabase:
    return ast.AlterDatabase("", name, value, **more)
