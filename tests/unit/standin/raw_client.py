"""shell: a TDS client of a few lines, for what no driver sends."""

from __future__ import annotations

import socket
import ssl
import struct

from tests.standin.wire.login import hide
from tests.standin.wire.packets import Kind, Message, Reassembler, packets
from tests.standin.wire.prelogin import write_options

HEADERS = struct.pack("<IIHQI", 22, 18, 2, 0, 1)


def login_message(user: str = "sa", password: str = "right;}{ł", database: str = "", features: bytes = b"") -> bytes:
    """LOGIN7; `features`: what an extension holds, without its end."""
    texts = ["here", user, "", "raw", "there", "", "raw", "", database]
    raw = [text.encode("utf-16-le") for text in texts]
    raw[2] = hide(password)
    offset = 94
    spans, data = b"", b""
    for place, one in enumerate(raw):
        if place == 5 and features:
            spans += struct.pack("<HH", offset, 4)
            data += struct.pack("<I", 94 + sum(map(len, raw)) + 4)
            offset += 4
            continue
        spans += struct.pack("<HH", offset, len(one) // 2)
        data += one
        offset += len(one)
    tail = bytes(6) + struct.pack("<HHHHHHI", offset, 0, offset, 0, offset, 0, 0)
    if features:
        data += features + b"\xff"
    fixed = struct.pack("<IIIIIBBBBiI", 0x74000004, 8000, 7, 1, 0, 0, 0, 0x20, 0x10 if features else 0, 0, 0x409)
    length = 4 + len(fixed) + len(spans) + len(tail) + len(data)
    return struct.pack("<I", length) + fixed + spans + tail + data


class RawClient:
    """Logged in when it is made, unless it is told not to."""

    def __init__(self, port: int, login: bytes | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._reassembler = Reassembler()
        self._waiting: list[Message] = []
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._secured = False
        self.greeting = self._shake_hands()
        self.welcome = self.ask(Kind.LOGIN, login or login_message())

    def _shake_hands(self) -> bytes:
        self.send_bytes(packets(Kind.PRELOGIN, write_options({0: bytes(6), 1: b"\1"})))
        greeting = self.receive()
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_bytes(packets(Kind.PRELOGIN, self._outgoing.read()))
                self._incoming.write(self.receive())
                continue
            break
        if rest := self._outgoing.read():
            self.send_bytes(packets(Kind.PRELOGIN, rest))
        self._secured = True
        return greeting

    def send_bytes(self, data: bytes) -> None:
        if self._secured:
            self._tls.write(data)
            data = self._outgoing.read()
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """The payload of the next message; nothing when the server has gone."""
        while not self._waiting:
            data = self._socket.recv(65536)
            if not data:
                return b""
            if self._secured:
                self._incoming.write(data)
                data = b""
                try:
                    while part := self._tls.read(65536):
                        data += part
                except ssl.SSLWantReadError:
                    pass
            self._waiting += self._reassembler.feed(data)
        return self._waiting.pop(0).payload

    def ask(self, kind: int, payload: bytes, *, status: int = 0) -> bytes:
        """Sends a message, its first packet with more bits; the answer."""
        message = bytearray(packets(kind, payload))
        message[1] |= status
        self.send_bytes(bytes(message))
        return self.receive()

    def batch(self, sql: str, *, status: int = 0) -> bytes:
        return self.ask(Kind.BATCH, HEADERS + sql.encode("utf-16-le"), status=status)

    def close(self) -> None:
        self._socket.close()
