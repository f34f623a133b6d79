"""pure: the LOGIN7 message ([MS-TDS] 2.2.6.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.standin.ports import Login

_FIXED = struct.Struct("<IIIIIIBBBBiI")  # length, version, packet size, program, pid, connection, flags 1 2 type 3, zone, lcid
_SPAN = struct.Struct("<HH")
_INTEGRATED = 0x80  # of option flags 2
_READ_ONLY = 0x20  # of type flags
_EXTENSION = 0x10  # of option flags 3
_HOST, _USER, _PASSWORD, _APPLICATION, _EXTENSIONS, _DATABASE = 0, 1, 2, 3, 5, 8  # places in the list of spans
_END_OF_FEATURES = 0xFF
UTF8 = 0x0A  # feature: the client reads UTF-8 columns


class BadLogin(Exception):
    """The message cannot be read."""


@dataclass(frozen=True, slots=True)
class ClientLogin:
    """What the client said, with what only the wire needs."""

    login: Login
    version: int
    packet_size: int  # bytes; 0: the default
    integrated: bool  # asks for Windows authentication
    features: dict[int, bytes] = field(default_factory=dict)


def read_login(payload: bytes) -> ClientLogin:
    """Raises BadLogin."""
    if len(payload) < _FIXED.size + 9 * _SPAN.size:
        raise BadLogin("a login that is too short")
    head = _FIXED.unpack_from(payload)
    version, size, flags2, kind, flags3 = head[1], head[2], head[7], head[8], head[9]
    login = Login(
        user=_text(payload, _USER),
        password=reveal(_span(payload, _PASSWORD)),
        database=_text(payload, _DATABASE),
        application=_text(payload, _APPLICATION),
        host=_text(payload, _HOST),
        read_only=bool(kind & _READ_ONLY),
    )
    features = _features(payload) if flags3 & _EXTENSION else {}
    return ClientLogin(login, version, size, bool(flags2 & _INTEGRATED), features)


def hide(password: str) -> bytes:
    """The obfuscation of passwords: nibbles swapped, then XOR 0xA5."""
    return bytes((((b << 4) & 0xF0) | (b >> 4)) ^ 0xA5 for b in password.encode("utf-16-le"))


def reveal(data: bytes) -> str:
    """The reverse of `hide`."""
    plain = bytes((((b ^ 0xA5) << 4) & 0xF0) | ((b ^ 0xA5) >> 4) for b in data)
    return plain.decode("utf-16-le", "replace")


def _text(payload: bytes, place: int) -> str:
    return _span(payload, place).decode("utf-16-le", "replace")


def _span(payload: bytes, place: int, unit: int = 2) -> bytes:
    offset, length = _SPAN.unpack_from(payload, _FIXED.size + place * _SPAN.size)
    if offset + length * unit > len(payload):
        raise BadLogin("a field lies outside")
    return payload[offset : offset + length * unit]


def _features(payload: bytes) -> dict[int, bytes]:
    pointer = _span(payload, _EXTENSIONS, unit=1)
    if len(pointer) < 4:
        raise BadLogin("the extension is cut")
    position = int.from_bytes(pointer[:4], "little")
    features: dict[int, bytes] = {}
    while position < len(payload) and payload[position] != _END_OF_FEATURES:
        length = int.from_bytes(payload[position + 1 : position + 5], "little")
        features[payload[position]] = payload[position + 5 : position + 5 + length]
        position += 5 + length
    return features
