"""A driver in place of pyodbc's own, under the real aioodbc: statements are scripted, blocked, cancelled or lost at will."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pyodbc

Answer = list[tuple[Any, ...]]


def odbc_error(state: str, number: int, *, server: bool = True, text: str = "x") -> pyodbc.Error:
    origin = "[Microsoft][ODBC Driver 18 for SQL Server]" + ("[SQL Server]" if server else "")
    return pyodbc.Error(state, f"[{state}] {origin}{text} ({number}) (SQLExecDirectW)")


LOST = ("08S01", 104)


class Blocked:
    """A statement that runs until it is released or cancelled.

    `deaf`: a cancellation does not reach it, and its order does not come back; `mute`: it ends without an error;
    `meets`: what is raised when it has failed.
    """

    def __init__(self, *, deaf: bool = False, mute: bool = False, meets: Exception | None = None) -> None:
        self.deaf = deaf
        self.meets = meets
        self.ordered = threading.Event()
        self.failed = threading.Event()
        self.mute = mute
        self.reached = threading.Event()
        self.ended = threading.Event()
        self.cancelled = False

    def run(self) -> Answer:
        self.reached.set()
        if self.meets is not None:
            assert self.failed.wait(20)
            raise self.meets
        assert self.ended.wait(20)
        if self.cancelled and self.mute:
            return []
        if self.cancelled:
            raise odbc_error("HY008", 0, server=False, text="Operation canceled")
        return [(1,)]

    def cancel(self) -> None:
        self.ordered.set()
        if self.deaf:
            assert self.ended.wait(20)
        else:
            self.cancelled = True
            self.ended.set()


class FakeDriver:
    """What happens: `answers[text]` is rows, an exception, a `Blocked`, or a function of the parameters."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"SELECT @@TRANCOUNT": [(0,)]}
        self.logins: list[Exception | Blocked] = []  # what the next logins meet
        self.connections: list[FakeConnection] = []
        self.log: list[str] = []
        self.threads: set[str] = set()

    def connect(self, text: str, **options: Any) -> FakeConnection:
        self.threads.add(threading.current_thread().name)
        if self.logins:
            meets = self.logins.pop(0)
            if isinstance(meets, Blocked):
                meets.run()
            else:
                raise meets
        made = FakeConnection(self, text, options)
        self.connections.append(made)
        return made


class FakeConnection:
    def __init__(self, driver: FakeDriver, text: str, options: dict[str, Any]) -> None:
        self.driver = driver
        self.text = text
        self.options = options
        self.timeout = 0
        self.autocommit = options["autocommit"]
        self.statements: list[FakeCursor] = []
        self.statements_left: list[FakeCursor] = []  # not closed when the session was
        self.closed = False

    def cursor(self) -> FakeCursor:
        self.statements.append(FakeCursor(self))
        return self.statements[-1]

    def close(self) -> None:
        self.driver.threads.add(threading.current_thread().name)
        self.statements_left = [statement for statement in self.statements if not statement.closed]
        self.closed = True


class FakeCursor:
    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self._results: list[Answer | Exception | None] = []
        self._blocked: Blocked | None = None
        self.sizes: Any = None
        self.closed = False

    @property
    def description(self) -> Sequence[Any] | None:
        first = self._results[0] if self._results else None
        return None if first is None or isinstance(first, Exception) else [("c",)]

    def setinputsizes(self, sizes: Any) -> None:
        self.sizes = sizes

    def execute(self, sql: str, *parameters: Any) -> None:
        driver = self._connection.driver
        driver.threads.add(threading.current_thread().name)
        driver.log.append(sql)
        answer = driver.answers.get(sql)
        if callable(answer):
            answer = answer(*parameters)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Blocked):
            self._blocked = answer
            try:
                answer = answer.run()
            finally:
                self._blocked = None
        several = isinstance(answer, tuple)
        self._results = list(answer) if several else [answer]  # type: ignore[arg-type]

    def fetchall(self) -> Answer:
        rows = self._results[0]
        assert isinstance(rows, list)
        self._results[0] = []
        return rows

    def fetchmany(self, size: int) -> Answer:
        rows = self._results[0]
        assert isinstance(rows, list)
        self._results[0] = rows[size:]
        return rows[:size]

    def nextset(self) -> bool:
        self._results = self._results[1:]
        if self._results and isinstance(self._results[0], Exception):
            raise self._results.pop(0)  # type: ignore[misc]
        return bool(self._results)

    def cancel(self) -> None:
        self._connection.driver.log.append("cancel")
        if self._blocked is not None:
            self._blocked.cancel()

    def close(self) -> None:
        self._connection.driver.threads.add(threading.current_thread().name)
        assert not self._connection.closed, "a statement is freed before its session"
        self.closed = True
