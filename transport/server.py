"""shell: the cloud's end of one connection: an aiohttp WebSocket as a link."""

from __future__ import annotations

from aiohttp import web

from transport.frames import MAX_ENVELOPE
from transport.websocket import payload


class ServerLink:
    """A WebSocket of a request as a `transport.runtime.Link`."""

    def __init__(self, request: web.Request, ws: web.WebSocketResponse) -> None:
        self._request = request
        self._ws = ws

    async def send(self, data: bytes) -> None:
        """See `Link`."""
        await self._ws.send_bytes(data)

    async def receive(self) -> bytes | None:
        """See `Link`."""
        return payload(await self._ws.receive())

    def abort(self) -> None:
        """Cuts the transport: `close` would wait behind a send that is blocked on a dead link."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def wait_closed(self) -> None:
        """See `Link`; the rest of the connection belongs to its request."""
        self.abort()


async def accept(request: web.Request) -> tuple[ServerLink, web.WebSocketResponse]:
    """Answers the upgrade. A message over the protocol's limit is refused from its header, before it is read."""
    ws = web.WebSocketResponse(max_msg_size=MAX_ENVELOPE, compress=False, autoping=True)
    await ws.prepare(request)
    return ServerLink(request, ws), ws
