"""shell: HTTP on loopback: /live, /ready, /health, /metrics for everyone on this machine, /control/v1 for who has the token.

Only this machine may ask, and only under a name of this machine: a web page that a person has open could otherwise reach the
agent through a name that resolves to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from aiohttp import web

from cdc.board import StatusBoard
from cdc.config import is_loopback, split_listen
from cdc.control import (
    CONTROL_FILE,
    PREFIX,
    Done,
    Door,
    ErrorBody,
    LoadRequest,
    RestoredRequest,
    SyncRequest,
    TakeoverRequest,
)
from cdc.errors import REGISTRY, AgentError, ConfigError, Transient
from cdc.host import write_private
from cdc.logs import logger
from cdc.metrics import CONTENT_TYPE, exposition
from transport.errors import CodedError
from transport.runtime import Runtime

MAX_BODY = 64 * 1024
CLOSE_WAIT = 5.0  # seconds for open requests to end
STATUSES = {"A2005": 422, "A2003": 422, "A2004": 422, "A2511": 401, "A2512": 403, "A2513": 404, "A2514": 400, "A2517": 409}
B = TypeVar("B", bound=msgspec.Struct)
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Actions(Protocol):
    """What can be ordered; the composition root does it. Each raises AgentError: A2513 unknown, A2517 not possible now."""

    async def sync(self, request: SyncRequest) -> Done:
        """Starts a run, or notes that the next one is full."""
        ...

    async def reload(self) -> Done:
        """Reads the configuration again; raises AgentError A2005, or ConfigError with every mistake."""
        ...

    async def restored(self, request: RestoredRequest) -> Done:
        """Notes what the restored database is."""
        ...

    async def takeover(self, request: TakeoverRequest) -> Done:
        """Makes this installation the one."""
        ...

    async def load(self, request: LoadRequest) -> Done:
        """Decides about a held load."""
        ...


class HealthServer:
    """The service. `listening` is set once it answers; `door` then says where."""

    def __init__(self, listen: str, state: Path, board: StatusBoard, actions: Actions, runtime: Runtime) -> None:
        self._host, port = split_listen(listen)
        self._port = int(port)
        self._state = state
        self._board = board
        self._actions = actions
        self._runtime = runtime
        self._token = (runtime.new_id() + runtime.new_id()).hex()
        self._log = logger(__name__)
        self.listening = asyncio.Event()
        self.door = Door(url="", token="")

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop`. Raises Transient A2516 when the address is taken."""
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=CLOSE_WAIT)
        await runner.setup()
        try:
            await self._listen(runner)
            await stop.wait()
        finally:
            self.listening.clear()
            await runner.cleanup()
            await self._keep_door(None)

    async def _listen(self, runner: web.AppRunner) -> None:
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            raise Transient("A2516", error.strerror or "cannot listen", where=f"{self._host}:{self._port}") from error
        port = runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.door = Door(url=f"http://{host}:{port}", token=self._token, pid=os.getpid())
        await self._keep_door(self.door)
        self._log.info("health.listening", url=self.door.url)
        self.listening.set()

    async def _keep_door(self, door: Door | None) -> None:
        """Writes the file that the CLI reads, or removes it: then nobody looks for an agent that is not there."""
        path = self._state / CONTROL_FILE
        executor = self._runtime.executor("control")
        try:
            if door is None:
                await executor.run(lambda: path.unlink(missing_ok=True))
            else:
                await executor.run(lambda: write_private(path, msgspec.json.encode(door), self._runtime.durable))
        finally:
            executor.close()

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[_guard, _errors], client_max_size=MAX_BODY)
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get(f"{PREFIX}/status", self._ordered(self._health))
        app.router.add_post(f"{PREFIX}/reload", self._ordered(self._reload))
        actions = self._actions
        self._order(app, "sync", SyncRequest, actions.sync)
        self._order(app, "restored", RestoredRequest, actions.restored)
        self._order(app, "takeover", TakeoverRequest, actions.takeover)
        self._order(app, "load", LoadRequest, actions.load)
        return app

    # -- for everyone on this machine ----------------------------------------------------------------------------------------

    async def _live(self, _request: web.Request) -> web.Response:
        """The loop turns: that is all it says."""
        return _json({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        health = self._board.health(self._runtime.clock.now())
        companies = {c.name: c.ready for c in health.companies}
        return _json({"ready": health.ready, "companies": companies}, status=200 if health.ready else 503)

    async def _health(self, _request: web.Request) -> web.Response:
        return _json(self._board.health(self._runtime.clock.now()))

    async def _metrics(self, _request: web.Request) -> web.Response:
        health = self._board.health(self._runtime.clock.now())
        return web.Response(body=exposition(health), headers={"Content-Type": CONTENT_TYPE})

    # -- for who has the token -------------------------------------------------------------------------------------------------

    def _order(self, app: web.Application, verb: str, kind: type[B], act: Callable[[B], Awaitable[Done]]) -> None:
        async def handle(request: web.Request) -> web.Response:
            order = _decoded(await request.read(), kind)
            self._log.info("control.order", verb=verb, **_named(order))
            return _json(await act(order))

        app.router.add_post(f"{PREFIX}/{verb}", self._ordered(handle))

    async def _reload(self, _request: web.Request) -> web.Response:
        self._log.info("control.order", verb="reload")
        return _json(await self._actions.reload())

    def _ordered(self, handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            shown = request.headers.get("Authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(shown, f"Bearer {self._token}".encode()):
                raise AgentError("A2511", "the token is missing or wrong")
            return await handler(request)

        return checked


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """This machine only: by the peer's address, the Host header, and the page that asks."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    origin = request.headers.get("Origin")
    local = peer is not None and is_loopback(str(peer[0])) and is_loopback(_host_of(request.headers.get("Host", "")))
    if not local or origin is not None:
        error = AgentError("A2512", "only this machine may ask, by a loopback address, and no web page")
        return _problem(error)
    return await handler(request)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConfigError as error:
        return _problem(error, problems=[str(p) for p in error.problems], status=422)
    except CodedError as error:
        return _problem(error)
    except web.HTTPException as error:
        return _json({"title": error.reason, "status": error.status}, status=error.status, problem=True)
    except Exception as error:  # noqa: BLE001 (the boundary of a request)
        logger(__name__).error("health.defect", error=error, path=request.path)
        return _problem(AgentError("A2501", f"an unexpected error ({type(error).__name__})"))


def _host_of(header: str) -> str:
    """The name in a Host header, without port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _decoded(body: bytes, kind: type[B]) -> B:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = str(error) if isinstance(error, msgspec.ValidationError) else "is not JSON"
        raise AgentError("A2514", detail) from error


def _named(order: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(order)


def _problem(error: CodedError, *, problems: list[str] | None = None, status: int = 0) -> web.Response:
    status = status or STATUSES.get(error.code, 500)
    entry = REGISTRY.get(error.code)
    body = ErrorBody(
        code=error.code,
        title=entry.title if entry else "",
        detail=error.message,
        where=error.where,
        advice=error.remedy,
        status=status,
        problems=problems or [],
    )
    return _json(body, status=status, problem=True)


def _json(value: object, *, status: int = 200, problem: bool = False) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/problem+json" if problem else "application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
