"""shell: the companies of this process: their stores, who reads and writes them, and which agent is connected to each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from cloud.store.base import CompanyStore
from cloud.store.registry import Registry, TokenInfo
from transport.runtime import Executor, Runtime

T = TypeVar("T")

STOPPING_RETRY = 2.0  # seconds an agent waits when the service is stopping: long enough for a restart


class Connection(Protocol):
    """An agent's connection, as the next one needs it."""

    async def fence(self, code: str, message: str, retry_after: float | None) -> None:
        """Ends it, with words and seconds to wait (None: until a person acts); returns when it writes nothing more."""
        ...


class Tenant:
    """One company: its store, opened at first use, with one writer and one reader at a time."""

    def __init__(self, company: str, store: CompanyStore, writer: Executor, reader: Executor) -> None:
        self.company = company
        self.store = store
        self.writer = writer
        self.reader = reader
        self.entering = asyncio.Lock()  # one agent at a time becomes the connected one
        self.connection: Connection | None = None
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Something took effect: whoever follows the feed looks again."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def write(self, call: Callable[[CompanyStore], T]) -> T:
        """`call` on the store, in order with the other writes."""
        return await self.writer.run(lambda: call(self.store))

    async def read(self, call: Callable[[CompanyStore], T]) -> T:
        """`call` on the store; never waits for a write."""
        return await self.reader.run(lambda: call(self.store))

    async def wait(self, cursor: int, timeout: float) -> None:  # noqa: ASYNC109  # a long-poll ends without an error
        """Returns when the feed has something after `cursor`, or after `timeout` seconds."""
        moved = self._moved
        if await self.read(lambda store: store.cursor()) > cursor:
            return
        try:
            async with asyncio.timeout(timeout):
                await moved.wait()
        except TimeoutError:
            return


class Tenants:
    """All companies known to the registry; a company's store is opened when somebody first asks for it."""

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        control: Executor,
        runtime: Runtime,
        open_store: Callable[[Path], CompanyStore],
    ) -> None:
        self._folder = folder
        self._registry = registry
        self._control = control
        self._runtime = runtime
        self._open_store = open_store
        self._opening: dict[str, asyncio.Task[Tenant]] = {}

    async def registry(self, call: Callable[[Registry], T]) -> T:
        """`call` on the registry, in order."""
        return await self._control.run(lambda: call(self._registry))

    async def tenant(self, company: str) -> Tenant:
        """The company, which the registry must know; concurrent callers share one opening."""
        task = self._opening.get(company)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._open(company), name=f"tenant.open.{company}")
            self._opening[company] = task
        return await asyncio.shield(task)

    async def _open(self, company: str) -> Tenant:
        writer = self._runtime.executor(f"store.{company}")
        reader = self._runtime.executor(f"read.{company}")
        store = await writer.run(lambda: self._opened_store(company))
        return Tenant(company, store, writer, reader)

    def _opened_store(self, company: str) -> CompanyStore:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._open_store(self._folder / f"{company}.db")

    async def authenticate(self, token: str) -> TokenInfo | None:
        """Who calls with this API token; None: nobody."""
        return await self.registry(lambda registry: registry.token(token))

    async def read(self, company: str, call: Callable[[CompanyStore], T]) -> T:
        """See `Tenant.read`."""
        return await (await self.tenant(company)).read(call)

    async def wait(self, company: str, cursor: int, timeout: float) -> None:  # noqa: ASYNC109
        """See `Tenant.wait`."""
        await (await self.tenant(company)).wait(cursor, timeout)

    def opened(self) -> list[Tenant]:
        """The companies in use now."""
        return [
            task.result() for task in self._opening.values() if task.done() and not task.cancelled() and not task.exception()
        ]

    def connected(self) -> int:
        """How many agents are connected."""
        return sum(1 for tenant in self.opened() if tenant.connection is not None)

    async def release(self) -> None:
        """Ends the agents' connections; they come back when the service does."""
        connections = [tenant.connection for tenant in self.opened() if tenant.connection is not None]
        await asyncio.gather(*(c.fence("C3017", "the service is stopping", STOPPING_RETRY) for c in connections))

    async def close(self) -> None:
        """Ends the agents' connections, then closes every store."""
        await self.release()
        for tenant in self.opened():
            await tenant.reader.run(lambda: None)
            await tenant.write(lambda store: store.close())
            tenant.reader.close()
            tenant.writer.close()
        await self._control.run(self._registry.close)
        self._control.close()
