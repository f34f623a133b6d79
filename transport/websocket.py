"""shell: what a WebSocket delivers, as bytes of a link; the same at both ends."""

from __future__ import annotations

import aiohttp

from transport.errors import RemoteProtocolError
from transport.frames import MAX_ENVELOPE


def payload(message: aiohttp.WSMessage) -> bytes | None:
    """The bytes of a message; None: the other side has ended the link. Raises RemoteProtocolError, ConnectionError."""
    if message.type is aiohttp.WSMsgType.BINARY:
        return bytes(message.data)
    if message.type is aiohttp.WSMsgType.TEXT:
        raise RemoteProtocolError("T1001", "a message of text, where every message is binary")
    if message.type is not aiohttp.WSMsgType.ERROR:
        return None
    error = message.data
    if not isinstance(error, aiohttp.WebSocketError):
        raise ConnectionError(str(error))
    if error.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        raise RemoteProtocolError("T1002", f"a message over the limit of {MAX_ENVELOPE} bytes")
    raise RemoteProtocolError("T1001", f"not a WebSocket message: {error}")
