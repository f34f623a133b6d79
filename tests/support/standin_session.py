"""shell: sessions of the stand-in without the wire: T-SQL in, events out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from tests.standin.engine.database import SA_PASSWORD, Engine
from tests.standin.engine.session import EngineSession
from tests.standin.ports import (
    Columns,
    Database,
    Done,
    Event,
    Failed,
    Info,
    Login,
    Output,
    Parameter,
    Refused,
    Request,
    Rows,
    Session,
    SqlType,
    Transaction,
)

_numbers = itertools.count(1)

INT = SqlType("int")
TEXT = SqlType("nvarchar", 50)


class Talk:
    """A session, and its answers in short."""

    def __init__(self, session: Session) -> None:
        assert isinstance(session, EngineSession)
        self.session = session
        self.state = session.state

    async def events(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Event]:
        """Everything that a request reports. What is not emulated fails the test."""
        found = []
        stream: Any = self.session.run(Request(sql, parameters))
        async with aclosing(stream) as events:
            async for event in events:
                assert not isinstance(event, Failed) or not isinstance(event.error, Refused), event.error
                found.append(event)
        return found

    async def told(self, sql: str, *parameters: Parameter) -> list[Any]:
        """Short: rows as lists, counts, numbers of errors, messages, changes of transactions."""
        return [said for event in await self.events(sql, parameters) if (said := short(event)) is not None]

    async def rows(self, sql: str, *parameters: Parameter) -> list[tuple[Any, ...]]:
        """The rows of every result, one after the other. An error fails the test."""
        events = await self.events(sql, parameters)
        assert not [event.error for event in events if isinstance(event, Failed)]
        return [tuple(row) for event in events if isinstance(event, Rows) for row in event.rows]

    async def one(self, sql: str, *parameters: Parameter) -> Any:
        """The one value."""
        ((value,),) = await self.rows(sql, *parameters)
        return value

    async def ok(self, *batches: str) -> None:
        """Batches without an error."""
        for batch in batches:
            await self.rows(batch)

    async def failed(self, sql: str, *parameters: Parameter) -> list[int]:
        """Numbers of the errors."""
        return [event.error.number for event in await self.events(sql, parameters) if isinstance(event, Failed)]

    async def order(self, order: str, *, isolation: int = 0, name: str = "") -> list[Any]:
        """A transaction manager request."""
        stream: Any = self.session.transaction(order, isolation=isolation, name=name)
        async with aclosing(stream) as events:
            return [said async for event in events if (said := short(event)) is not None]


def short(event: Event) -> Any:
    """An event in short; the end of a statement without a count is nothing."""
    match event:
        case Rows(rows):
            return [tuple(row) for row in rows]
        case Done(_, None) | Columns():
            return None
        case Done(command, count):
            return f"{command} {count}"
        case Failed(error):
            return error.number
        case Info(_, message):
            return message
        case Transaction(change, _):
            return change
        case Output(name, _, value):
            return (name, value)
        case Database(old, new):
            return (old, new)


class Sessions:
    """A server; every test has a database of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.talks: list[Talk] = []

    async def database(self, *options: str, collation: str = "") -> str:
        """A new database, by its name; `options`: of ALTER DATABASE CURRENT SET."""
        name = f"session_{next(_numbers)}"
        await self.engine.create_database(name, collation)
        talk = await self.talk(name)
        for option in options:
            await talk.ok(f"ALTER DATABASE CURRENT SET {option}")
        return name

    async def talk(self, database: str = "", user: str = "sa", password: str = SA_PASSWORD) -> Talk:
        """A new session; "": in a new database."""
        name = database or await self.database()
        talk = Talk(await self.engine.login(Login(user, password, name)))
        self.talks.append(talk)
        return talk

    async def close(self) -> None:
        for talk in self.talks:
            await talk.session.close()
        self.talks.clear()
        await self.engine.stop()
