"""A TCP proxy that misbehaves on purpose: cuts, resets, stalls (half-open), delays; between a real client and a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Self


class FaultyProxy:
    """Forwards to `target` on loopback. `async with FaultyProxy(port) as proxy: proxy.port ...`."""

    def __init__(self, target: int, *, delay: float = 0.0) -> None:
        self._target = target
        self.delay = delay  # seconds added to each piece, each way
        self.refuse = False  # new connections are reset at once
        self._stalled = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.bytes_up = 0
        self.cut_after: int | None = None  # bytes upwards until the connections are reset

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Resets every connection (RST, not FIN)."""
        for writer in list(self._connections):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._connections.clear()

    def stall(self) -> None:
        """Half-open: nothing passes any more, nothing is closed."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._connections |= {writer, up_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer, upwards=True)),
            asyncio.create_task(self._pump(up_reader, writer, upwards=False)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._tasks.difference_update(pumps)
            for each in (writer, up_writer):
                self._connections.discard(each)
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        while data := await reader.read(64 * 1024):
            await self._flowing.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            if upwards:
                self.bytes_up += len(data)
                if self.cut_after is not None and self.bytes_up >= self.cut_after:
                    self.cut_after = None
                    self.cut()
                    return
            writer.write(data)
            await writer.drain()
