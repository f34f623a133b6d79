"""pure: the PRELOGIN message: options and the decision about encryption ([MS-TDS] 2.2.6.5)."""

from __future__ import annotations

import struct

_ENTRY = struct.Struct(">BHH")  # token, offset, length
_VERSION, _ENCRYPTION, _INSTANCE, _THREAD, _MARS, _TRACE, _FEDERATED, _END = 0, 1, 2, 3, 4, 5, 6, 0xFF
OFF, ON, UNSUPPORTED, REQUIRED = 0, 1, 2, 3  # values of the encryption option


class BadPrelogin(Exception):
    """The message cannot be read."""


def read_options(payload: bytes) -> dict[int, bytes]:
    """Token -> data."""
    options: dict[int, bytes] = {}
    position = 0
    while True:
        if position >= len(payload):
            raise BadPrelogin("no end of the options")
        if payload[position] == _END:
            return options
        if position + _ENTRY.size > len(payload):
            raise BadPrelogin("an option is cut")
        token, offset, length = _ENTRY.unpack_from(payload, position)
        if offset + length > len(payload):
            raise BadPrelogin("an option lies outside")
        options[token] = payload[offset : offset + length]
        position += _ENTRY.size


def write_options(options: dict[int, bytes]) -> bytes:
    """The reverse of `read_options`."""
    offset = len(options) * _ENTRY.size + 1
    entries, data = b"", b""
    for token, value in options.items():
        entries += _ENTRY.pack(token, offset + len(data), len(value))
        data += value
    return entries + bytes([_END]) + data


def answer(payload: bytes, version: bytes) -> tuple[bytes, bool]:
    """The server's options, and whether the client can encrypt. The whole connection is encrypted. Raises BadPrelogin.

    `version`: major, minor, build (two bytes) of the server.
    """
    asked = read_options(payload).get(_ENCRYPTION, bytes([UNSUPPORTED]))
    wish = (asked[0] if asked else UNSUPPORTED) & 0x3F
    said = ON if wish in (ON, REQUIRED) else REQUIRED
    options = {
        _VERSION: version + b"\0\0",
        _ENCRYPTION: bytes([said]),
        _INSTANCE: b"\0",
        _THREAD: b"",
        _MARS: b"\0",
        _TRACE: b"",
    }
    return write_options(options), wish != UNSUPPORTED
