"""shell: the agent as one program: configuration, companies, health and control, until it is told to stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cdc import host, logs
from cdc.board import StatusBoard
from cdc.company import CompanyParts, Dial, OpenSource, dial
from cdc.config import HEARTBEAT_POLLS, Changes, Company, Config, Loaded, Text
from cdc.control import Done, LoadRequest, RestoredRequest, SyncRequest, TakeoverRequest
from cdc.errors import AgentError
from cdc.health import HealthServer
from cdc.logs import logger
from cdc.reload import Reloader
from cdc.restart import ExitStatus
from cdc.source_settings import SourceSettings
from cdc.source_settings import SqliteSource as SqliteSettings
from cdc.sources.base import Installable
from cdc.sources.sqlite.source import SqliteSource
from cdc.supervisor import PROGRAM, Service, Supervisor
from transport.runtime import Runtime


class Sources:
    """Opens the ERP databases; what is known of a login outlives the source of a service that failed and begins again."""

    def __init__(self) -> None:
        self._logins: dict[SourceSettings, Any] = {}

    def __call__(self, company: Company, runtime: Runtime) -> Installable:
        """The adapter for the company's kind of database."""
        if isinstance(company.source, SqliteSettings):
            return SqliteSource(company.source.path, runtime, busy_timeout=company.source.busy_timeout)
        from cdc.sources.sqlserver.logins import Logins
        from cdc.sources.sqlserver.source import SqlServerSource  # nothing else of the product needs what it imports

        pause, logins = HEARTBEAT_POLLS * company.poll, self._logins.setdefault(company.source, Logins())
        return SqlServerSource(company.source, runtime, retention=company.retention, pause=pause, logins=logins)


def open_source(company: Company, runtime: Runtime) -> Installable:
    """A single source: for a command, which ends after it."""
    return Sources()(company, runtime)


class Daemon:
    """Keeps the companies of the configuration in force running, and carries out orders."""

    def __init__(
        self,
        path: Path,
        loaded: Loaded,
        texts: Sequence[Text],
        runtime: Runtime,
        version: str,
        *,
        open_source: OpenSource | None = None,
        dial: Dial = dial,
    ) -> None:
        config = loaded.required()
        self._runtime = runtime
        self._software = f"cdc/{version}"
        self._open_source = open_source or Sources()
        self._dial = dial
        self._log = logger(__name__)
        self._parts: dict[str, CompanyParts] = {}
        self.board = StatusBoard(version, runtime.clock.now())
        self.board.loaded(loaded, runtime.clock.now())
        self.reloader = Reloader(path, config, texts, self.board, runtime)
        self.reloader.subscribe(self)
        self.supervisor = Supervisor(runtime, self.board, grace=config.agent.grace)
        self.health = HealthServer(config.agent.listen, config.agent.state, self.board, self, runtime)

    async def run(self, signals: host.Signals) -> ExitStatus:
        """Until a signal, or an error that ends the program."""
        config = self.reloader.config
        signals.on_reload(self.reloader.ask)
        self.supervisor.start(
            PROGRAM,
            [
                Service("health", self.health.run),
                Service("reload", self.reloader.run),
                Service("watchdog", host.watchdog),
            ],
        )
        for company in config.companies:
            if company.active:
                self._start(company, config)
        self._log.info("agent.started", companies=len(self._parts))
        host.notify("READY=1")
        try:
            return await self.supervisor.run(signals.stop, signals.hurry)
        finally:
            host.notify("STOPPING=1")
            for name in list(self._parts):
                await self._parts.pop(name).close()

    # -- configuration ---------------------------------------------------------------------------------------------------

    async def verify(self, old: Config, new: Config, changes: Changes) -> Sequence[AgentError]:
        """See `cdc.reload.Subscriber`: what can be wrong is seen when the file is read."""
        return []

    async def commit(self, old: Config, new: Config, changes: Changes) -> None:
        """Starts, stops and replaces the companies that the change concerns."""
        logs.configure(new.agent.log.format, new.agent.log.level)
        self.supervisor.grace = new.agent.grace
        for name in (*changes.removed, *changes.restarted):
            await self.supervisor.end(name)
            parts = self._parts.pop(name, None)
            if parts is not None:
                await parts.close()
        for name in (*changes.restarted, *changes.added):
            company = new.company(name)
            if company is not None:
                self._start(company, new)

    def _start(self, company: Company, config: Config) -> None:
        parts = CompanyParts(
            company,
            config.cloud,
            config.agent.state,
            self._runtime,
            self.board,
            open_source=self._open_source,
            dial=self._dial,
            software=self._software,
        )
        self._parts[company.name] = parts
        self.supervisor.start(company.name, parts.services())

    # -- orders ----------------------------------------------------------------------------------------------------------

    def _company(self, name: str) -> CompanyParts:
        parts = self._parts.get(name)
        if parts is None:
            raise AgentError("A2513", "no such company is running", where=name)
        return parts

    async def sync(self, request: SyncRequest) -> Done:
        """See `cdc.health.Actions`."""
        parts = self._company(request.company)
        later = request.when == "next"
        if later and not request.full:
            raise AgentError("A2514", "only a full read can be noted for the next run", where=request.company)
        channels = await parts.sync(request.channel, full=request.full, later=later)
        if later:
            return Done(message="the next run reads everything anew", details=channels)
        self.supervisor.wake(request.company)
        return Done(message="full sync asked for" if request.full else "looking now", details=channels)

    async def reload(self) -> Done:
        """See `cdc.health.Actions`."""
        reloaded = await self.reloader.reload()
        return Done(message="the configuration is in force", details=reloaded.words())

    async def restored(self, request: RestoredRequest) -> Done:
        """See `cdc.health.Actions`."""
        parts = self._company(request.company)
        message = await parts.restored(request.choice)
        if request.choice == "copy":  # also of a company that runs
            await self.supervisor.replace(request.company, parts.services())
        else:
            self.supervisor.wake(request.company)
        return Done(message=message)

    async def takeover(self, request: TakeoverRequest) -> Done:
        """See `cdc.health.Actions`."""
        self._company(request.company).uplink.take_over()
        self.supervisor.wake(request.company)
        return Done(message="this installation presents itself as the one")

    async def load(self, request: LoadRequest) -> Done:
        """See `cdc.health.Actions`."""
        raise AgentError(
            "A2517",
            "the operator of the cloud decides this: cdc-cloud load accept|reject COMPANY DATASET",
            where=f"{request.company}/{request.dataset}",
        )
