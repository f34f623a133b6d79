"""shell: one TCP connection: TDS messages in, packets out, encrypted once the handshake is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from tests.standin.wire.packets import DEFAULT, Kind, Message, Packetiser, Reassembler
from tests.standin.wire.tls import Tls

_READ = 256 * 1024  # bytes
_BUFFER = 256 * 1024  # bytes that may wait for the socket before whoever writes has to wait


class Link:
    """Bytes of one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._reassembler = Reassembler()
        self._tls: Tls | None = None
        self.packet_size = DEFAULT
        self.spid = 0
        writer.transport.set_write_buffer_limits(high=_BUFFER)

    def encrypt_with(self, tls: Tls) -> None:
        """From now on everything is encrypted, both ways."""
        self._tls = tls

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Until the client has gone. Raises BrokenPacket, ssl.SSLError, ConnectionError."""
        while data := await self._reader.read(_READ):
            plain = self._tls.decrypt(data) if self._tls else data
            for message in self._reassembler.feed(plain):
                yield message

    def write(self, packets: bytes) -> None:
        """Hands packets to the socket; never waits."""
        if packets and not self._writer.transport.is_closing():
            self._writer.write(self._tls.encrypt(packets) if self._tls else packets)

    async def drained(self) -> None:
        """Waits while too much waits for the socket; lets others run in any case. Raises ConnectionError."""
        await self._writer.drain()
        await asyncio.sleep(0)

    async def emptied(self) -> None:
        """Waits until the socket has taken everything. Raises ConnectionError."""
        self._writer.transport.set_write_buffer_limits(high=0)
        await self._writer.drain()

    def end(self) -> None:
        """Closes after what was written."""
        self._writer.close()

    def abort(self) -> None:
        """Cuts it: what waits is lost."""
        self._writer.transport.abort()

    def answer(self, kind: int = Kind.RESULT) -> Outgoing:
        """A message to the client, which begins."""
        return Outgoing(self, Packetiser(kind, self.packet_size, self.spid))


class Outgoing:
    """A message that is written as its tokens come. Every call takes whole tokens, so it can end after each."""

    def __init__(self, link: Link, packetiser: Packetiser) -> None:
        self._link, self._packetiser = link, packetiser
        self.finished = False

    def put(self, data: bytes) -> None:
        """Tokens; never waits."""
        if data:
            self._link.write(self._packetiser.feed(data))

    async def send(self, data: bytes) -> None:
        """Tokens, at the speed of the client. Raises ConnectionError."""
        self.put(data)
        await self._link.drained()

    def finish(self, data: bytes = b"") -> None:
        """The last tokens."""
        self.finished = True
        self._link.write(self._packetiser.finish(data))

    async def cut(self) -> None:
        """Sends what there is as an unfinished message, then cuts the connection."""
        self._link.write(self._packetiser.flush())
        await self._link.emptied()
        self._link.abort()
