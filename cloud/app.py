"""shell: the service as one aiohttp application: the agents' door, the applications' API, health."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import msgspec
from aiohttp import web

from cloud.api import RUNNER, Api, ApiSettings
from cloud.config import CloudConfig
from cloud.errors import CloudError
from cloud.ingest import AgentConnection, IngestSettings
from cloud.problems import problem, problem_middleware
from cloud.store.base import CompanyStore
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from cloud.tenants import Tenants
from transport.errors import CodedError, TransportError
from transport.frames import ENROL_PATH, MIB, STREAM_PATH, EnrolReply, EnrolRequest
from transport.runtime import Clock, Runtime
from transport.server import accept

log = logging.getLogger("cloud")

ENROL_ATTEMPTS = 10  # wrong codes an address may show within ENROL_WINDOW
ENROL_WINDOW = 300.0  # seconds
ENROL_ADDRESSES = 10_000  # remembered at most
MAX_ENROL_BODY = 4096  # bytes
CLEAN_UP = 3600.0  # seconds
DAY = 86_400.0  # seconds
REGISTRY_FILE = "cloud.db"
COMPANIES_FOLDER = "companies"


class Attempts:
    """Counts wrong enrolment codes by address, in bounded memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def allowed(self, address: str) -> bool:
        """Whether this address may try again now."""
        since = self._clock.monotonic() - ENROL_WINDOW
        return sum(1 for at in self._failures.get(address, ()) if at > since) < ENROL_ATTEMPTS

    def failed(self, address: str) -> None:
        """One more wrong code."""
        times = self._failures.pop(address, [])
        self._failures[address] = [*times[-ENROL_ATTEMPTS:], self._clock.monotonic()]
        if len(self._failures) > ENROL_ADDRESSES:
            self._failures.popitem(last=False)


class AgentDoor:
    """What agents call: the stream and the enrolment."""

    def __init__(self, tenants: Tenants, settings: IngestSettings, runtime: Runtime) -> None:
        self._tenants = tenants
        self._settings = settings
        self._runtime = runtime
        self._attempts = Attempts(runtime.clock)

    def routes(self) -> list[web.RouteDef]:
        """The two routes."""
        return [web.get(STREAM_PATH, self.stream), web.post(ENROL_PATH, self.enrol)]

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        """One agent's connection, until it ends."""
        link, ws = await accept(request)
        try:
            await AgentConnection(self._tenants, self._settings, self._runtime).run(link)
        except (TransportError, CloudError) as error:
            log.info("connection ended: %s", error, extra={"action": "agent.ended", "code": error.code})
        except (ConnectionError, TimeoutError) as error:
            log.info("connection lost: %s", type(error).__name__, extra={"action": "agent.lost"})
        return ws

    async def enrol(self, request: web.Request) -> web.Response:
        """Exchanges a one-time code for the right to be the company's agent."""
        address = request.remote or ""
        if not self._attempts.allowed(address):
            return problem("C3006", 429, "too many wrong codes from this address; wait five minutes")
        if (request.content_length or 0) > MAX_ENROL_BODY:
            return problem("C3007", 413, "an enrolment request is small")
        try:
            wanted = msgspec.json.decode(await request.content.read(MAX_ENROL_BODY), type=EnrolRequest)
        except msgspec.DecodeError as error:
            return problem("C3007", 400, str(error))
        try:
            enrolled = await self._tenants.registry(
                lambda registry: registry.enrol(wanted.code, wanted.installation, wanted.public_key)
            )
        except CodedError as error:
            self._attempts.failed(address)
            return problem(error.code, 403, error.message)
        log.info("agent enrolled", extra={"action": "agent.enrolled", "company": enrolled.company})
        return web.json_response(body=msgspec.json.encode(EnrolReply(company=enrolled.company)))


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with the service's own certificate chain. Raises CloudError C3009."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise CloudError("C3009", error.strerror or type(error).__name__, where=f"{certificate}, {key}") from error
    return context


class Service:
    """The whole service. `async with Service(...) as service`: listening on `service.port`; leaving ends it in order.

    In order: the door closes, streams and long-polls are answered, agents are told to come back, stores are closed.
    """

    def __init__(self, config: CloudConfig, runtime: Runtime, version: str, *, hurry: asyncio.Event | None = None) -> None:
        """`hurry`: set when somebody asks a second time: no grace any more."""
        self._hurry = hurry or asyncio.Event()
        self._config = config
        self._runtime = runtime
        self._version = version
        self.port = 0

    async def __aenter__(self) -> Self:
        config, limits = self._config, self._config.limits
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        control = self._runtime.executor("registry")
        registry = await control.run(lambda: Registry(config.data / REGISTRY_FILE, self._runtime))
        self.tenants = Tenants(
            config.data / COMPANIES_FOLDER,
            registry,
            control,
            self._runtime,
            lambda path: SqliteStore(path, self._runtime, retention_days=limits.feed_retention / DAY),
        )
        self._api = Api(self.tenants, ApiSettings(self._version, config.public_url or None, limits.followers))
        settings = IngestSettings(f"cdc-cloud/{self._version}", limits.credit_bytes, limits.credit_frames)
        app = web.Application(middlewares=[problem_middleware], client_max_size=MIB)
        app.add_routes(AgentDoor(self.tenants, settings, self._runtime).routes())
        app.add_routes(self._api.routes())
        app.add_routes([web.get("/live", self._live), web.get("/ready", self._ready), web.get("/metrics", self._metrics)])
        app.on_shutdown.append(self._shutdown)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=limits.shutdown_grace,
            max_line_size=RUNNER["max_line_size"],
            max_field_size=RUNNER["max_field_size"],
        )
        await self._runner.setup()
        await self._listen()
        self._cleaner = asyncio.create_task(self._clean_up(), name="store.clean_up")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cleaner.cancel()
        await asyncio.gather(self._cleaner, return_exceptions=True)
        await self._runner.cleanup()
        await self.tenants.close()

    async def _listen(self) -> None:
        config = self._config
        tls = server_tls(config.tls.certificate, config.tls.key) if config.tls else None
        site = web.TCPSite(self._runner, config.listen.address, config.listen.port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            where = f"{config.listen.address}:{config.listen.port}"
            raise CloudError("C3008", error.strerror or "cannot listen", where=where) from error
        self.port = self._runner.addresses[0][1]
        log.info("listening on port %d", self.port, extra={"action": "service.listening"})

    async def _shutdown(self, _: web.Application) -> None:
        await self._api.stop()
        await self.tenants.release()

    async def _clean_up(self) -> None:
        """Feeds older than their retention go, of the companies in use, once an hour."""
        while True:
            await asyncio.sleep(CLEAN_UP)
            before = utc_text(self._runtime.clock.now() - timedelta(seconds=self._config.limits.feed_retention))
            for tenant in self.tenants.opened():
                try:
                    await tenant.write(_cleaning(before))
                except CloudError as error:
                    log.warning("clean-up failed: %s", error, extra={"action": "store.clean_up_failed", "code": error.code})

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        await self.tenants.registry(lambda registry: registry.companies())
        return web.json_response({"status": "ok", "agents": self.tenants.connected()})

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(text=render_metrics(self.tenants), content_type="text/plain", charset="utf-8")


def render_metrics(tenants: Tenants) -> str:
    """What Prometheus reads; no company is named."""
    return (
        "# HELP cdc_cloud_companies_open Companies whose store is open.\n"
        "# TYPE cdc_cloud_companies_open gauge\n"
        f"cdc_cloud_companies_open {len(tenants.opened())}\n"
        "# HELP cdc_cloud_agents_connected Agents connected now.\n"
        "# TYPE cdc_cloud_agents_connected gauge\n"
        f"cdc_cloud_agents_connected {tenants.connected()}\n"
    )


def _cleaning(before: str) -> Callable[[CompanyStore], int]:
    return lambda store: store.clean_up(before)


def utc_text(moment: datetime) -> str:
    """ISO 8601 with Z, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["COMPANIES_FOLDER", "REGISTRY_FILE", "AgentDoor", "Attempts", "Service", "server_tls"]
