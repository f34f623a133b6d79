"""shell: the companies of this process: their stores, who reads and writes them, and which agent is connected to each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from cloud.errors import CloudError, StoreError
from cloud.store.base import CompanyStore
from cloud.store.registry import Registry, TokenInfo
from transport.runtime import Executor, Runtime
from transport.tasks import cancel_all

log = logging.getLogger("cloud.tenants")

T = TypeVar("T")

STOPPING_RETRY = 2.0  # seconds an agent waits when the service is stopping: long enough for a restart
KEEP_OPEN = 256  # stores; one that nobody uses is closed before another is opened beyond them (about ten files each)


class Connection(Protocol):
    """An agent's connection, as the next one needs it."""

    async def fence(self, code: str, message: str, retry_after: float | None) -> None:
        """Ends it, with words and seconds to wait (None: until a person acts); returns when it writes nothing more."""
        ...

    def interrupt(self) -> None:
        """What it writes now is given up, whole, instead of finished."""
        ...


class Tenant:
    """One company: its store, opened at first use, with one writer and one reader at a time."""

    def __init__(self, company: str, store: CompanyStore, writer: Executor, reader: Executor) -> None:
        self.company = company
        self.store = store
        self.writer = writer
        self.reader = reader
        self.users = 0  # who must find the store open; see `Tenants.hold`
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
    """All companies known to the registry.

    A company's store is opened when somebody first asks for it, and closed when nobody uses it and `keep_open` others are open:
    of thousands of companies most sleep.
    """

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        control: Executor,
        runtime: Runtime,
        open_store: Callable[[Path], CompanyStore],
        *,
        keep_open: int = KEEP_OPEN,
    ) -> None:
        self.stopping = False  # no agent is let in any more
        self._folder = folder
        self._registry = registry
        self._control = control
        self._runtime = runtime
        self._open_store = open_store
        self._keep_open = keep_open
        self._open: dict[str, asyncio.Task[Tenant]] = {}
        self._idle: OrderedDict[str, Tenant] = OrderedDict()  # open and not held, the least recently used first
        self._closing: dict[str, asyncio.Task[None]] = {}

    async def registry(self, call: Callable[[Registry], T]) -> T:
        """`call` on the registry, in order."""
        return await self._control.run(lambda: call(self._registry))

    # -- stores ----------------------------------------------------------------------------------------------------------

    async def hold(self, company: str) -> Tenant:
        """The company, which the registry must know; its store stays open until `let_go`. Callers share one opening."""
        while True:
            task = self._open.get(company)
            if task is None:
                task = asyncio.create_task(self._opened_tenant(company), name=f"tenant.open.{company}")
                self._open[company] = task
            tenant = await asyncio.shield(task)
            if self._open.get(company) is task:  # otherwise it was closed again before we came to it
                self._idle.pop(company, None)
                tenant.users += 1
                return tenant

    def let_go(self, tenant: Tenant) -> None:
        """The store may be closed."""
        tenant.users -= 1
        if not tenant.users and tenant.company in self._open:
            self._idle[tenant.company] = tenant
            self._make_room()

    async def tenant(self, company: str) -> Tenant:
        """The company, without holding it: for whoever looks once."""
        async with self.using(company) as tenant:
            return tenant

    @contextlib.asynccontextmanager
    async def using(self, company: str) -> AsyncIterator[Tenant]:
        """The company, its store open for the time of the block."""
        tenant = await self.hold(company)
        try:
            yield tenant
        finally:
            self.let_go(tenant)

    async def _opened_tenant(self, company: str) -> Tenant:
        writer, reader = self._runtime.executor(f"store.{company}"), self._runtime.executor(f"read.{company}")
        try:
            if (closing := self._closing.get(company)) is not None:
                await asyncio.wait([closing])
            store = await writer.run(lambda: self._opened_store(company))
        except BaseException:
            self._open.pop(company, None)  # the next caller tries again
            writer.close()
            reader.close()
            raise
        tenant = self._idle[company] = Tenant(company, store, writer, reader)
        self._make_room(besides=company)
        return tenant

    def _opened_store(self, company: str) -> CompanyStore:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError("C3101", error.strerror or type(error).__name__, where=str(self._folder)) from error
        return self._open_store(self._folder / f"{company}.db")

    def _make_room(self, besides: str = "") -> None:
        excess = len(self._open) - self._keep_open
        if excess <= 0:
            return
        for company in [name for name in self._idle if name != besides][:excess]:
            tenant = self._idle.pop(company)
            del self._open[company]
            self._closing[company] = asyncio.create_task(self._close(tenant), name=f"tenant.close.{company}")

    async def _close(self, tenant: Tenant) -> None:
        try:
            await tenant.reader.run(lambda: None)  # nobody holds it, and nothing is left under way
            await tenant.write(lambda store: store.close())
        except CloudError as error:
            log.warning("store not closed: %s", error, extra={"action": "store.not_closed", "code": error.code})
        finally:
            tenant.reader.close()
            tenant.writer.close()
            self._closing.pop(tenant.company, None)

    # -- what the API asks -----------------------------------------------------------------------------------------------

    async def authenticate(self, token: str) -> TokenInfo | None:
        """Who calls with this API token; None: nobody."""
        return await self.registry(lambda registry: registry.token(token))

    async def read(self, company: str, call: Callable[[CompanyStore], T]) -> T:
        """See `Tenant.read`."""
        async with self.using(company) as tenant:
            return await tenant.read(call)

    async def wait(self, company: str, cursor: int, timeout: float) -> None:  # noqa: ASYNC109
        """See `Tenant.wait`."""
        async with self.using(company) as tenant:
            await tenant.wait(cursor, timeout)

    def opened(self) -> list[Tenant]:
        """The companies whose store is open now."""
        return [task.result() for task in self._open.values() if task.done() and not task.cancelled() and not task.exception()]

    def connected(self) -> int:
        """How many agents are connected."""
        return sum(1 for tenant in self.opened() if tenant.connection is not None)

    # -- the end ---------------------------------------------------------------------------------------------------------

    async def release(self, grace: float | None = None, hurry: asyncio.Event | None = None) -> None:
        """Ends the agents' connections; they come back when the service does.

        A window being applied is finished, unless it takes longer than `grace` seconds (None: all the time it needs) or
        `hurry` is set: then nothing of it is applied, and it comes again after the restart.
        """
        self.stopping = True
        connections = [tenant.connection for tenant in self.opened() if tenant.connection is not None]
        impatience = asyncio.create_task(_interrupting(connections, grace, hurry or asyncio.Event()), name="tenants.grace")
        try:
            await asyncio.gather(*(c.fence("C3017", "the service is stopping", STOPPING_RETRY) for c in connections))
        finally:
            await cancel_all([impatience])

    async def close(self) -> None:
        """Ends the agents' connections, then closes every store and the registry."""
        await self.release()
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        left = self.opened()
        self._open.clear()
        self._idle.clear()
        await asyncio.gather(*self._closing.values(), *(self._close(tenant) for tenant in left))
        await self._control.run(self._registry.close)
        self._control.close()


async def _interrupting(connections: Sequence[Connection], grace: float | None, hurry: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await hurry.wait()
    for connection in connections:
        connection.interrupt()
