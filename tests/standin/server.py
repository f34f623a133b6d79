"""shell: listens for TDS clients and serves each with the engine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from tests.standin.ports import Controller, Engine
from tests.standin.wire.connection import Connection, Face
from tests.standin.wire.link import Link
from tests.standin.wire.replay import Tape

Opened = Callable[[int, Callable[[], None]], None]


_PATIENCE = 5.0  # seconds for the sessions to close when the server stops


class Server:
    """The stand-in's TDS end.

    `opened` is told the session's number and what cuts its connection.
    """

    def __init__(
        self,
        engine: Engine,
        controller: Controller,
        context: ssl.SSLContext,
        face: Face | None = None,
        opened: Opened | None = None,
    ) -> None:
        self._engine, self._controller, self._context, self._face = engine, controller, context, face or Face()
        self._opened = opened
        self._tape = Tape()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._client, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Cuts every connection, closes their sessions. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=_PATIENCE)

    def sessions(self) -> list[int]:
        """Numbers of the sessions that are logged in."""
        return sorted(one.session.spid for one in self._connections if one.session is not None)

    def kill(self, spid: int) -> bool:
        """Cuts a session's connection; False when there is none."""
        found = [one for one in self._connections if one.session is not None and one.session.spid == spid]
        for connection in found:
            connection.abort()
        return bool(found)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(Link(reader, writer), self._engine, self._controller, self._context, self._face, self._tape)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections.add(connection)
        try:
            await connection.serve(self._tell)
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)

    def _tell(self, connection: Connection) -> None:
        if self._opened is not None and connection.session is not None:
            self._opened(connection.session.spid, connection.abort)
