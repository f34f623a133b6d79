"""shell: the service as one aiohttp application: the agents' door, the applications' API, health."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from aiohttp import web

from cloud.api import RUNNER, Api, ApiSettings
from cloud.config import CloudConfig
from cloud.door import AgentDoor
from cloud.errors import CloudError
from cloud.ingest import IngestSettings
from cloud.logs import http_log
from cloud.problems import problem_middleware
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from cloud.tenants import Tenants
from transport.frames import MIB
from transport.runtime import Runtime
from transport.tasks import cancel_all, to_the_end

log = logging.getLogger("cloud")

CLEAN_UP = 3600.0  # seconds
DAY = 86_400.0  # seconds
REGISTRY_FILE = "cloud.db"
COMPANIES_FOLDER = "companies"


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with the service's own certificate chain. Raises CloudError C3009."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # otherwise an encrypted key is asked for at a terminal
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or getattr(error, "reason", "") or type(error).__name__
        raise CloudError("C3009", reason, where=f"{certificate}, {key}") from error
    return context


def make_data_folder(folder: Path) -> None:
    """Creates it if need be. Raises CloudError C3010."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CloudError("C3010", error.strerror or type(error).__name__, where=str(folder)) from error


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
        self._ends = contextlib.AsyncExitStack()
        self.port = 0

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await to_the_end(self._ends.aclose())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await to_the_end(self._ends.aclose())

    async def _start(self) -> None:
        """What is opened is noted in `_ends`, in whose opposite order it is closed."""
        config, limits, ends = self._config, self._config.limits, self._ends
        tls = server_tls(config.tls.certificate, config.tls.key) if config.tls else None
        make_data_folder(config.data)
        control = self._runtime.executor("registry")
        ends.callback(control.close)
        registry = await control.run(lambda: Registry(config.data / REGISTRY_FILE, self._runtime))
        self.tenants = Tenants(
            config.data / COMPANIES_FOLDER,
            registry,
            control,
            self._runtime,
            lambda path: SqliteStore(path, self._runtime, retention_days=limits.feed_retention / DAY),
        )
        ends.push_async_callback(self.tenants.close)
        self._api = Api(self.tenants, ApiSettings(self._version, config.public_url or None, limits.followers))
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            logger=http_log(),
            shutdown_timeout=limits.shutdown_grace,
            max_line_size=RUNNER["max_line_size"],
            max_field_size=RUNNER["max_field_size"],
        )
        ends.push_async_callback(runner.cleanup)
        await runner.setup()
        await self._listen(runner, tls)
        cleaner = asyncio.create_task(self._clean_up(), name="store.clean_up")
        ends.push_async_callback(cancel_all, [cleaner])

    def _app(self) -> web.Application:
        limits = self._config.limits
        settings = IngestSettings(f"cdc-cloud/{self._version}", limits.credit_bytes, limits.credit_frames)
        app = web.Application(middlewares=[problem_middleware], client_max_size=MIB)
        app.add_routes(AgentDoor(self.tenants, settings, self._runtime).routes())
        app.add_routes(self._api.routes())
        app.add_routes([web.get("/live", self._live), web.get("/ready", self._ready), web.get("/metrics", self._metrics)])
        app.on_shutdown.append(self._shutdown)
        return app

    async def _listen(self, runner: web.AppRunner, tls: ssl.SSLContext | None) -> None:
        listen = self._config.listen
        site = web.TCPSite(runner, listen.address, listen.port, ssl_context=tls)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:  # a host name that is none
            reason = (error.strerror if isinstance(error, OSError) else "") or "cannot listen"
            raise CloudError("C3008", reason, where=f"{listen.address}:{listen.port}") from error
        self.port = runner.addresses[0][1]
        log.info("listening on port %d", self.port, extra={"action": "service.listening"})

    async def _shutdown(self, _: web.Application) -> None:
        log.info("stopping", extra={"action": "service.stopping"})
        await self._api.stop()
        await self.tenants.release(self._config.limits.shutdown_grace, self._hurry)

    async def _clean_up(self) -> None:
        """Feeds older than their retention go, of the companies in use, once an hour."""
        while True:
            await asyncio.sleep(CLEAN_UP)
            before = utc_text(self._runtime.clock.now() - timedelta(seconds=self._config.limits.feed_retention))
            for company in [tenant.company for tenant in self.tenants.opened()]:
                await self._clean(company, before)

    async def _clean(self, company: str, before: str) -> None:
        try:
            async with self.tenants.using(company) as tenant:
                await tenant.write(lambda store: store.clean_up(before))
        except CloudError as error:
            log.warning("clean-up failed: %s", error, extra={"action": "store.clean_up_failed", "code": error.code})
        except Exception:
            log.exception("clean-up failed", extra={"action": "store.clean_up_failed", "code": "C3312"})

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        await self.tenants.registry(lambda registry: registry.company(""))
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


def utc_text(moment: datetime) -> str:
    """ISO 8601 with Z, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["COMPANIES_FOLDER", "REGISTRY_FILE", "Service", "make_data_folder", "server_tls"]
