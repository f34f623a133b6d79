"""pure: the tokens of an answer ([MS-TDS] 2.2.7)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from tests.standin.ports import Info, ResultColumn, SqlError, SqlType, Value
from tests.standin.wire.encode import encode_value
from tests.standin.wire.types import LEGACY, ROWVERSION_USER_TYPE, ROWVERSIONS, type_info

COLMETADATA, RETURNSTATUS, RETURNVALUE = 0x81, 0x79, 0xAC
ERROR, INFO, LOGINACK, FEATUREEXTACK, ENVCHANGE = 0xAA, 0xAB, 0xAD, 0xAE, 0xE3
DONE, DONEPROC, DONEINPROC = 0xFD, 0xFE, 0xFF
# bits of DONE
FINAL, MORE, FAILED, COUNT, ATTENTION = 0, 1, 2, 0x10, 0x20
COMMANDS = {"select": 0xC1, "insert": 0xC3, "delete": 0xC4, "update": 0xC5, "merge": 0x117}
# kinds of ENVCHANGE
_DATABASE, _LANGUAGE, _PACKET_SIZE, _COLLATION = 1, 2, 4, 7
_TRANSACTIONS = {"begun": 8, "committed": 9, "rolled back": 10}
_RESET = 18
_NULLABLE, _IDENTITY, _CASE_SENSITIVE = 1, 0x10, 2
_MESSAGE_LIMIT = 4000  # characters of an error's text
TDS_74 = 0x74000004


def short_text(text: str) -> bytes:
    """B_VARCHAR."""
    data = text[:255].encode("utf-16-le", "surrogatepass")
    return bytes([len(data) // 2]) + data


def _long_text(text: str) -> bytes:
    """US_VARCHAR."""
    data = text.encode("utf-16-le", "surrogatepass")
    return struct.pack("<H", len(data) // 2) + data


@lru_cache(maxsize=1024)
def column_metadata(columns: tuple[ResultColumn, ...]) -> bytes:
    """COLMETADATA. Raises Refused for a type that cannot be sent."""
    parts = [struct.pack("<BH", COLMETADATA, len(columns))]
    for column in columns:
        parts.append(_column_type(column.type, column.nullable, identity=column.identity))
        if column.type.name in LEGACY:
            parts.append(b"\0")  # the name of its table has no parts
        parts.append(short_text(column.name))
    return b"".join(parts)


def _column_type(kind: SqlType, nullable: bool = True, *, identity: bool = False) -> bytes:
    user_type = ROWVERSION_USER_TYPE if kind.name in ROWVERSIONS else 0
    sensitive = any(mark in kind.collation.upper() for mark in ("_CS", "_BIN"))
    flags = (_NULLABLE if nullable else 0) | (_IDENTITY if identity else 0) | (_CASE_SENSITIVE if sensitive else 0)
    return struct.pack("<IH", user_type, flags) + type_info(kind)


def done(token: int, status: int, command: str = "", count: int | None = None) -> bytes:
    """DONE, DONEINPROC or DONEPROC."""
    if count is not None:
        status |= COUNT
    return struct.pack("<BHHQ", token, status, COMMANDS.get(command, 0), count or 0)


def message(number: int, state: int, severity: int, text: str, server: str, line: int = 1, procedure: str = "") -> bytes:
    """ERROR or INFO, by the severity."""
    body = (
        struct.pack("<iBB", number, state & 0xFF, severity)
        + _long_text(text[:_MESSAGE_LIMIT])
        + short_text(server)
        + short_text(procedure)
        + struct.pack("<I", line)
    )
    return struct.pack("<BH", ERROR if severity > 10 else INFO, len(body)) + body


def error(failure: SqlError, server: str) -> bytes:
    """ERROR."""
    severity = max(failure.severity, 11)
    return message(failure.number, failure.state, severity, failure.message, server, failure.line)


def info(notice: Info, server: str) -> bytes:
    """INFO."""
    return message(notice.number, notice.state, min(notice.severity, 10), notice.message, server)


def return_status(value: int) -> bytes:
    """RETURNSTATUS."""
    return struct.pack("<Bi", RETURNSTATUS, value)


def return_value(ordinal: int, name: str, kind: SqlType, value: Value) -> bytes:
    """RETURNVALUE: an output parameter. Raises Refused, encode.BadValue."""
    head = struct.pack("<BH", RETURNVALUE, ordinal) + short_text(name) + b"\1"
    return head + _column_type(kind) + encode_value(kind, value)


def _change(kind: int, new: bytes, old: bytes) -> bytes:
    return struct.pack("<BHB", ENVCHANGE, len(new) + len(old) + 1, kind) + new + old


def transaction_change(change: str, descriptor: int) -> bytes:
    """ENVCHANGE: begun, committed, rolled back."""
    named = b"\x08" + descriptor.to_bytes(8, "little")
    return _change(_TRANSACTIONS[change], *((named, b"\0") if change == "begun" else (b"\0", named)))


def database_change(old: str, new: str, server: str) -> bytes:
    """ENVCHANGE and the notice that goes with it."""
    notice = Info(5701, f"Changed database context to '{new}'.", state=2)
    return _change(_DATABASE, short_text(new), short_text(old)) + info(notice, server)


def language_change(server: str) -> bytes:
    """ENVCHANGE and the notice: us_english, as after every login."""
    notice = Info(5703, "Changed language setting to us_english.")
    return _change(_LANGUAGE, short_text("us_english"), b"\0") + info(notice, server)


def collation_change(collation: bytes) -> bytes:
    """ENVCHANGE: the collation of the database."""
    return _change(_COLLATION, bytes([len(collation)]) + collation, b"\0")


def packet_size_change(new: int, old: int) -> bytes:
    """ENVCHANGE: what the login agreed on."""
    return _change(_PACKET_SIZE, short_text(str(new)), short_text(str(old)))


def reset_acknowledgement() -> bytes:
    """ENVCHANGE: the connection was reset as asked."""
    return _change(_RESET, b"\0", b"\0")


def login_acknowledgement(version: bytes) -> bytes:
    """LOGINACK of TDS 7.4; `version`: major, minor, build (two bytes) of the server."""
    body = struct.pack(">BI", 1, TDS_74) + short_text("Microsoft SQL Server") + version
    return struct.pack("<BH", LOGINACK, len(body)) + body


def feature_acknowledgement(features: Sequence[tuple[int, bytes]]) -> bytes:
    """FEATUREEXTACK."""
    body = b"".join(struct.pack("<BI", feature, len(data)) + data for feature, data in features)
    return bytes([FEATUREEXTACK]) + body + b"\xff"
