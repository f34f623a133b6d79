"""adapter: T-SQL in a process of the stand-in's engine, without the wire: for tests of what it compiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.standin.engine.database import Engine
from tests.standin.ports import Columns, Done, Failed, Info, Login, Parameter, Request, ResultColumn, Rows, Session, SqlError


@dataclass(slots=True)
class Answer:
    """What a batch brought: the last result, counts, errors."""

    columns: Sequence[ResultColumn] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    results: list[list[tuple[Any, ...]]] = field(default_factory=list)
    counts: list[int | None] = field(default_factory=list)
    errors: list[SqlError] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Sql:
    """A session that takes texts."""

    session: Session

    async def __call__(self, text: str, *parameters: Parameter) -> Answer:
        """Runs a batch; raises its first error."""
        answer = await self.tried(text, *parameters)
        if answer.errors:
            raise answer.errors[0]
        return answer

    async def tried(self, text: str, *parameters: Parameter) -> Answer:
        """Runs a batch; errors are in the answer."""
        answer = Answer()
        async for event in self.session.run(Request(text, parameters)):
            if isinstance(event, Columns):
                answer.columns, answer.rows = event.columns, []
                answer.results.append(answer.rows)
            elif isinstance(event, Rows):
                answer.rows += [tuple(row) for row in event.rows]
            elif isinstance(event, Done):
                answer.counts.append(event.count)
            elif isinstance(event, Failed):
                answer.errors.append(event.error)
            elif isinstance(event, Info):
                answer.messages.append(event.message)
        return answer

    async def one(self, expression: str, *parameters: Parameter) -> Any:
        """SELECT expression: its value."""
        return (await self(f"SELECT {expression}", *parameters)).rows[0][0]

    async def error(self, text: str, *parameters: Parameter) -> tuple[int, str]:
        """The number and text of the error that a batch fails with."""
        answer = await self.tried(text, *parameters)
        return (answer.errors[0].number, answer.errors[0].message) if answer.errors else (0, "")


async def opened(engine: Engine, database: str, user: str = "sa", password: str = "Stand-in-1") -> Sql:
    """A session of a database."""
    return Sql(await engine.login(Login(user, password, database)))
