"""pure: TDS packets: bytes into messages and back ([MS-TDS] 2.2.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag

HEADER = struct.Struct(">BBHHBB")  # type, status, length with the header, spid, packet number, window
SMALLEST, DEFAULT, LARGEST = 512, 4096, 32767  # bytes of a packet
LARGEST_ENCRYPTED = 16383  # what SQL Server agrees to when the connection is encrypted; more and the driver hangs
MESSAGE_LIMIT = 256 * 1024 * 1024  # bytes; a client that sends more is broken


class Kind(IntEnum):
    """What a message is."""

    BATCH = 1
    RPC = 3
    RESULT = 4
    ATTENTION = 6
    BULK = 7
    FEDERATED = 8
    TRANSACTION = 14
    LOGIN = 16
    SSPI = 17
    PRELOGIN = 18


class Status(IntFlag):
    """Bits of a packet's header."""

    END = 1
    IGNORE = 2
    RESET = 8
    RESET_KEEPING_TRANSACTION = 16


class BrokenPacket(Exception):
    """The bytes are no TDS: the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one or several packets carried; `status`: bits of the first packet, and IGNORE of the last."""

    kind: int
    status: int
    payload: bytes


class Reassembler:
    """Bytes as they come, in whatever portions -> whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._status = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises BrokenPacket."""
        self._bytes += data
        while (packet := self._next_packet()) is not None:
            kind, status, payload = packet
            if not self._parts:
                self._status = status
            self._parts.append(payload)
            self._size += len(payload)
            if self._size > MESSAGE_LIMIT:
                raise BrokenPacket("a message without end")
            if status & Status.END:
                yield self._complete(kind, self._status | (status & Status.IGNORE))

    def _next_packet(self) -> tuple[int, int, bytes] | None:
        if len(self._bytes) < HEADER.size:
            return None
        kind, status, length = HEADER.unpack_from(self._bytes)[:3]
        if not HEADER.size <= length <= LARGEST:
            raise BrokenPacket(f"a packet of {length} bytes")
        if len(self._bytes) < length:
            return None
        payload = bytes(self._bytes[HEADER.size : length])
        del self._bytes[:length]
        return kind, status, payload

    def _complete(self, kind: int, status: int) -> Message:
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size = [], 0
        return Message(kind, status, payload)


class Packetiser:
    """A message's bytes, in portions -> packets of at most `size` bytes."""

    def __init__(self, kind: int, size: int, spid: int = 0) -> None:
        self._kind, self._room, self._spid = kind, size - HEADER.size, spid & 0xFFFF
        self._rest = b""
        self._number = 0

    def feed(self, data: bytes) -> bytes:
        """Full packets; what fills none is kept, at least a byte for the last packet."""
        data = self._rest + data if self._rest else data
        full = max(len(data) - 1, 0) // self._room * self._room
        self._rest = data[full:]
        if not full:
            return b""
        view = memoryview(data)
        parts: list[bytes | memoryview] = []
        for start in range(0, full, self._room):
            parts += (self._header(self._room, 0), view[start : start + self._room])
        return b"".join(parts)

    def flush(self) -> bytes:
        """What is kept, in a packet that doesn't end the message; nothing when nothing is kept."""
        data, self._rest = self._rest, b""
        return self._header(len(data), 0) + data if data else b""

    def finish(self, data: bytes = b"") -> bytes:
        """Everything, with the packet that ends the message."""
        return self.feed(data) + self._header(len(self._rest), Status.END) + self._rest

    def _header(self, payload: int, status: int) -> bytes:
        self._number += 1
        return HEADER.pack(self._kind, status, payload + HEADER.size, self._spid, self._number & 0xFF, 0)


def packets(kind: int, payload: bytes, size: int = DEFAULT, spid: int = 0) -> bytes:
    """A whole message."""
    return Packetiser(kind, size, spid).finish(payload)


def packet_size(asked: int) -> int:
    """What is agreed when a client asks for packets of `asked` bytes; 0 asks for the default. All is encrypted here."""
    return min(max(asked, SMALLEST), LARGEST_ENCRYPTED) if asked else DEFAULT
