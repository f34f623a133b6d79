"""shell: the API for applications: authenticates, decodes, asks the company's store, answers; long-polls and event streams.

`Api.routes()` goes into an aiohttp application together with `on_shutdown.append(api.stop)`; its runner should be started with
`RUNNER`, so that addresses and headers over the limits are answered with a problem document, not by the parser.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from aiohttp import web

from cloud.documents import ChangePage
from cloud.errors import ApiError, StoreError
from cloud.openapi import openapi_document
from cloud.parameters import decode_request
from cloud.problems import answered, problem
from cloud.queries import QUERIES, ask, list_changes
from cloud.routes import EVENTS, JSON, MAX_LIMIT, OPERATIONS, ChangesRequest, Operation, StreamRequest
from cloud.store.base import CompanyStore

log = logging.getLogger("cloud.api")

T = TypeVar("T")

MAX_ADDRESS = 8_000  # bytes of path and query
MAX_HEADERS = 16_000  # bytes of all header names and values
RUNNER = {"max_line_size": 32_768, "max_field_size": 32_768}
"""For `web.AppRunner`: above our own limits, so that it is we who answer."""

STREAM_PAGE = 200  # changes read at a time for a stream
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_TOKEN = re.compile(r"bearer ([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE | re.ASCII)


class Access(Protocol):
    """What a token gives."""

    @property
    def company(self) -> str:
        """The company it was issued for."""
        ...

    @property
    def scopes(self) -> Collection[str]:
        """What it may do."""
        ...

    @property
    def suspended(self) -> bool:
        """Whether the company's access is switched off."""
        ...


class Tenants(Protocol):
    """The companies, as the API needs them."""

    async def authenticate(self, token: str) -> Access | None:
        """Who calls with this token; None: nobody."""
        ...

    async def read(self, company: str, call: Callable[[CompanyStore], T]) -> T:
        """`call` on the company's store, in its reading thread."""
        ...

    async def wait(self, company: str, cursor: int, timeout: float) -> None:  # noqa: ASYNC109 (its end is no error)
        """Return when the feed has something after `cursor`, or after `timeout` seconds."""
        ...


class ApiSettings(NamedTuple):
    """What the configuration says of the API."""

    version: str = "1"
    url: str | None = None
    followers: int = 200  # waiting requests and streams of one company
    keep_alive: float = 15.0  # seconds of silence before a stream's comment; the token is checked again as often
    send_timeout: float = 30.0  # seconds a client may take to read what is waiting for it
    lifetime: float = 3600.0  # seconds after which a stream ends; its client comes back, perhaps to another server


class Call(NamedTuple):
    """One request that may be answered."""

    request: web.Request
    operation: Operation
    company: str
    token: str
    wanted: Any  # the operation's request Struct


class Api:
    """The operations of `cloud.routes` over the companies' stores."""

    def __init__(self, tenants: Tenants, settings: ApiSettings | None = None) -> None:
        self._tenants = tenants
        self._settings = settings or ApiSettings()
        self._stopping = asyncio.Event()
        self._following: Counter[str] = Counter()
        self._document = msgspec.json.encode(openapi_document(version=self._settings.version, url=self._settings.url))
        self._special: dict[str, Callable[[Call], Awaitable[web.StreamResponse]]] = {
            "list_changes": self._list_changes,
            "stream_changes": self._stream_changes,
            "get_openapi": self._get_openapi,
        }

    def routes(self) -> list[web.RouteDef]:
        """Every operation, and an answer for whatever else lies under /api."""
        return [
            *(_route(o, self._handler(o)) for o in OPERATIONS),
            web.route("*", "/api{tail:(/.*)?}", _elsewhere, expect_handler=_expected),
        ]

    async def stop(self, _: web.Application | None = None) -> None:
        """End long-polls and streams, each with an orderly answer."""
        self._stopping.set()

    def following(self, company: str) -> int:
        """How many long-polls and streams of the company are waiting or sending."""
        return self._following[company]

    # -- one request -----------------------------------------------------------------------------------------------------

    def _handler(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        answer = self._special.get(operation.name, self._query)

        async def handle(request: web.Request) -> web.StreamResponse:
            _check_size(request)
            token, company = await self._authorise(operation, request) if operation.scope else ("", "")
            wanted = decode_request(operation, request.match_info, list(request.query.items()), request.headers)
            return await answer(Call(request, operation, company, token, wanted))

        async def boundary(request: web.Request) -> web.StreamResponse:
            return await answered(handle, request)

        return boundary

    async def _authorise(self, operation: Operation, request: web.Request) -> tuple[str, str]:
        match = _TOKEN.fullmatch(request.headers.get("Authorization", ""))
        if match is None:
            raise ApiError("C3303", "there is no bearer token in the Authorization header")
        return match[1], await self._allowed(match[1], operation)

    async def _allowed(self, token: str, operation: Operation) -> str:
        """Return the company. Raises ApiError."""
        access = await self._tenants.authenticate(token)
        if access is None:
            raise ApiError("C3303", "the token was never issued, or was revoked")
        if access.suspended:
            raise ApiError("C3305", "the company's access is suspended")
        if operation.scope not in access.scopes:
            raise ApiError("C3304", f"the token has no scope {operation.scope!r}")
        return access.company

    async def _query(self, call: Call) -> web.StreamResponse:
        query = QUERIES[call.operation.name]
        return _answer(
            await self._tenants.read(call.company, lambda store: msgspec.json.encode(ask(query, store, call.wanted)))
        )

    async def _get_openapi(self, _: Call) -> web.StreamResponse:
        return _answer(self._document)

    # -- changes ---------------------------------------------------------------------------------------------------------

    async def _list_changes(self, call: Call) -> web.StreamResponse:
        wanted: ChangesRequest = call.wanted
        page = await self._page(call.company, wanted)
        if not page.changes and wanted.wait:
            with self._follower(call.company):
                page = await self._awaited(call.company, wanted, page)
            await self._allowed(call.token, call.operation)  # it may have been revoked meanwhile
        return _answer(msgspec.json.encode(page))

    async def _awaited(self, company: str, wanted: ChangesRequest, page: ChangePage) -> ChangePage:
        """Return the first page with changes, or the last empty one when the time is over or the service stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wanted.wait):
                while not page.changes and not self._stopping.is_set():
                    await self._wait(company, page.cursor, wanted.wait)
                    page = await self._page(company, msgspec.structs.replace(wanted, after=page.cursor))
        return page

    async def _page(self, company: str, wanted: ChangesRequest) -> ChangePage:
        return await self._tenants.read(company, lambda store: ask(list_changes, store, wanted))

    async def _wait(self, company: str, cursor: str, seconds: float) -> None:
        """Until there may be something after the cursor, the time is over, or the service stops."""
        waits = [
            asyncio.create_task(self._tenants.wait(company, int(cursor), seconds), name="api.wait"),
            asyncio.create_task(self._stopping.wait(), name="api.stopping"),
        ]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for task in done:
            task.result()

    @contextlib.contextmanager
    def _follower(self, company: str) -> Iterator[None]:
        if self._following[company] >= self._settings.followers:
            raise ApiError("C3315", f"{self._settings.followers} requests and streams are waiting already")
        self._following[company] += 1
        try:
            yield
        finally:
            self._following[company] -= 1

    async def _stream_changes(self, call: Call) -> web.StreamResponse:
        wanted: StreamRequest = call.wanted
        with self._follower(call.company):
            after = wanted.last_event_id or wanted.after or await self._newest(call.company)
            request = ChangesRequest(after=after, limit=min(STREAM_PAGE, MAX_LIMIT), dataset=wanted.dataset)
            page = await self._page(call.company, request)  # what is wrong with the cursor is said before the stream begins
            response = web.StreamResponse(headers={"Content-Type": EVENTS, "X-Accel-Buffering": "no", **HEADERS})
            await response.prepare(call.request)
            try:
                await self._follow(call, request, page, response)
            except (ApiError, StoreError) as error:
                log.info("stream ended: %s", error, extra={"action": "api.stream_ended", "code": error.code})
            except ConnectionError:
                log.debug("stream left by its client", extra={"action": "api.stream_left", "company": call.company})
            except TimeoutError:
                log.info("stream cut: its client does not read", extra={"action": "api.stream_slow", "company": call.company})
                _cut(call.request)
            except Exception:
                _cut(call.request)  # the answer has begun: an error document would become part of it
                raise
            return response

    async def _follow(self, call: Call, wanted: ChangesRequest, page: ChangePage, response: web.StreamResponse) -> None:
        """Until the service stops, the stream's lifetime is over, the token no longer holds, or the cursor is lost."""
        loop = asyncio.get_running_loop()
        checked = loop.time()
        end = checked + self._settings.lifetime
        await self._send(response, _beat(page.cursor))
        while True:
            await self._send(response, _events(page))
            if self._stopping.is_set() or loop.time() >= end:
                return
            if not page.more:
                await self._wait(call.company, page.cursor, min(self._settings.keep_alive, end - loop.time()))
            if loop.time() - checked >= self._settings.keep_alive:
                await self._allowed(call.token, call.operation)
                await self._send(response, _beat(page.cursor))
                checked = loop.time()
            page = await self._page(call.company, msgspec.structs.replace(wanted, after=page.cursor))

    async def _send(self, response: web.StreamResponse, data: bytes) -> None:
        """Wait while the client's buffers are full, so that one page at most waits in memory. Raises TimeoutError."""
        if data:
            async with asyncio.timeout(self._settings.send_timeout):
                await response.write(data)

    async def _newest(self, company: str) -> str:
        return str(await self._tenants.read(company, lambda store: store.cursor()))


def api_routes(tenants: Tenants, settings: ApiSettings | None = None) -> list[web.RouteDef]:
    """Routes of an API that nobody stops: its streams end with the server's connections."""
    return Api(tenants, settings).routes()


def _route(operation: Operation, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.RouteDef:
    options = {"allow_head": False} if operation.method == "GET" else {}
    return web.RouteDef(operation.method, operation.path, handler, {"expect_handler": _expected, **options})


def _answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=JSON, headers=HEADERS)


def _events(page: ChangePage) -> bytes:
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (change.cursor.encode(), change.op.encode(), msgspec.json.encode(change))
        for change in page.changes
    )


def _beat(cursor: str) -> bytes:
    """Make a comment, and an id without an event: a filtered stream that has nothing to say still moves its reader on."""
    return b": keep-alive\nid: %b\n\n" % cursor.encode()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _check_size(request: web.Request) -> None:
    if len(request.raw_path) > MAX_ADDRESS:
        raise ApiError("C3316", f"path and query may have {MAX_ADDRESS} bytes")
    if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEADERS:
        raise ApiError("C3311", f"all headers together may have {MAX_HEADERS} bytes")


async def _expected(request: web.Request) -> None:
    """`Expect: 100-continue` is answered; anything else that is expected is ignored (RFC 9110, 10.1.1, allows both)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


_PATTERNS = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", o.path)), o.method) for o in OPERATIONS]


async def _elsewhere(request: web.Request) -> web.StreamResponse:
    """Answers what no operation does: another method of a path that exists, or a path that does not."""
    path = request.rel_url.raw_path
    allowed = sorted({method for pattern, method in _PATTERNS if pattern.fullmatch(path)})
    if allowed and request.method not in allowed:
        return problem("C3302", 405, f"allowed here: {', '.join(allowed)}", headers={"Allow": ", ".join(allowed)})
    return problem("C3301", 404, "nothing is served at this path")
