"""Agent and cloud of one company in this process, on a virtual clock and links in memory; every other part is the real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc.board import StatusBoard
from cdc.company import CompanyParts
from cdc.config import Channel, CloudSettings, Company
from cdc.daemon import open_source
from cdc.journal_identity import Identity, IdentityFile
from cdc.model import Dataset
from cdc.source_settings import SqliteSource
from cloud.ingest import AgentConnection, IngestSettings
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from cloud.tenants import Tenants
from tests.support.virtual import MemoryLink
from transport.frames import MIB
from transport.runtime import Link, Runtime

COMPANY = "acme"


def company(erp: Path, datasets: Sequence[Dataset], **changed: Any) -> Company:
    channels = dict.fromkeys(d.channel for d in datasets)
    settings: dict[str, Any] = {
        "poll": 1.0,
        "journal_limit": 64 * MIB,
        "window_limit": 16 * MIB,
        "page_rows": 1000,
        "retention": 86_400.0,
        **changed,
    }
    return Company(
        name=COMPANY,
        source=SqliteSource(path=erp),
        active=True,
        channels=tuple(Channel(name=name) for name in channels),
        datasets=tuple(datasets),
        **settings,
    )


class CloudSide:
    """The service without its sockets."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.folder = folder
        self._runtime = runtime
        folder.mkdir(parents=True, exist_ok=True)
        self.registry = Registry(folder / "cloud.db", runtime)
        self.tenants = Tenants(
            folder / "companies",
            self.registry,
            runtime.executor("registry"),
            runtime,
            lambda path: SqliteStore(path, runtime),
        )
        self._serving: set[asyncio.Task[None]] = set()
        self.links: list[MemoryLink] = []

    @property
    def copy(self) -> Path:
        return self.folder / "companies" / f"{COMPANY}.db"

    def enrol(self, state: Path) -> None:
        """As `cdc enrol` does, without the network."""
        self.registry.add_company(COMPANY)
        code = self.registry.new_enrolment_code(COMPANY, 3600)
        key = Ed25519PrivateKey.from_private_bytes(self._runtime.random.randbytes(32))
        installation = self._runtime.new_id()
        self.registry.enrol(code, installation, key.public_key().public_bytes_raw())
        (state / COMPANY).mkdir(parents=True, exist_ok=True)
        IdentityFile(state / COMPANY / "journal.identity", self._runtime.durable).save(
            Identity(installation, b"", 0, key.private_bytes_raw(), "https://memory", COMPANY)
        )

    async def dial(self, _: CloudSettings) -> Link:
        agent_end, cloud_end = MemoryLink.pair()
        self.links.append(agent_end)
        task = asyncio.create_task(self._serve(cloud_end), name="cloud.connection")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return agent_end

    async def _serve(self, link: MemoryLink) -> None:
        with contextlib.suppress(Exception):  # a connection's fault is its agent's business
            await AgentConnection(self.tenants, IngestSettings("test"), self._runtime).run(link)

    async def close(self) -> None:
        await self.tenants.close()


class AgentSide:
    """The company's services, without supervisor: what they raise ends the test."""

    def __init__(self, made: Company, state: Path, runtime: Runtime, cloud: CloudSide) -> None:
        self._runtime = runtime
        self.board = StatusBoard("test", runtime.clock.now())
        self.parts = CompanyParts(
            made,
            CloudSettings(url="https://memory"),
            state,
            runtime,
            self.board,
            open_source=open_source,
            dial=cloud.dial,
            software="test",
        )
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(_as_coroutine(service.run, self._stop), name=service.name) for service in self.parts.services()
        ]

    async def until(self, condition: Callable[[], bool], patience: float = 600.0) -> None:
        """Looks every tenth of a virtual second."""
        end = self._runtime.clock.monotonic() + patience
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            assert self._runtime.clock.monotonic() < end, "it did not come"
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def _as_coroutine(run: Callable[[asyncio.Event], Any], stop: asyncio.Event) -> None:
    await run(stop)


async def install(made: Company, runtime: Runtime) -> None:
    source = open_source(made, runtime)
    await source.open()
    try:
        await source.install(made.datasets)
    finally:
        await source.close()


@contextlib.asynccontextmanager
async def both_sides(folder: Path, made: Company, runtime: Runtime) -> AsyncIterator[tuple[AgentSide, CloudSide]]:
    """Installed, enrolled, started; stopped in order at the end."""
    await install(made, runtime)
    cloud = CloudSide(folder / "cloud", runtime)
    cloud.enrol(folder / "state")
    agent = AgentSide(made, folder / "state", runtime, cloud)
    agent.start()
    try:
        yield agent, cloud
    finally:
        await agent.stop()
        await cloud.close()


Main = Coroutine[Any, Any, Any]
