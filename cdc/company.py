"""shell: one company put together: journal, a source for each channel, capture, uplink, housekeeping; and what can be ordered.

Services of a company share its journal, which is opened by the first of them and closed by the last, so that a company whose
services were replaced or stopped leaves nothing open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

from cdc.board import StatusBoard
from cdc.capture import ACCEPTED, Capture, CaptureSettings, full_request, next_full
from cdc.config import Channel, CloudSettings, Company
from cdc.errors import AgentError, CompanyStopped, ProgramStopped
from cdc.journal import Journal, open_or_renew
from cdc.logs import logger
from cdc.sources.base import Source
from cdc.status import Captured, Phase
from cdc.supervisor import Service, first_of
from cdc.uplink import AckReport, LinkReport, Uplink, UplinkSettings
from cdc.windows import Declared
from transport.client import connect, tls_context
from transport.frames import MIB
from transport.runtime import Executor, Link, Runtime
from transport.tasks import to_the_end

DETACHED = "detached"  # journal setting: a person said that this database is only a copy
CLOSING = 10.0  # seconds for the journal to close; it is closed already, but for a service that was cut off
CLEAN_UP = 3600.0  # seconds between two clean-ups of change records
JOURNAL_RESERVE = 0.05  # share of the journal that frames may not take
OpenSource = Callable[[Company, Runtime], Source]
Dial = Callable[[CloudSettings], Awaitable[Link]]


async def dial(cloud: CloudSettings) -> Link:
    """A WebSocket over TLS to the cloud."""
    return await connect(cloud.url, tls_context(cloud.ca))


class CompanyParts:
    """Everything of one company that runs, for as long as its configuration stays the same."""

    def __init__(
        self,
        company: Company,
        cloud: CloudSettings,
        folder: Path,
        runtime: Runtime,
        board: StatusBoard,
        *,
        open_source: OpenSource,
        dial: Dial = dial,
        software: str,
    ) -> None:
        self.company = company
        self._runtime = runtime
        self._board = board
        self._open_source = open_source
        self._log = logger(__name__, company=company.name)
        self._executor: Executor = runtime.executor(f"journal.{company.name}")
        self._users = 0
        self._opening = asyncio.Lock()
        self._folder = folder / company.name
        limit = company.journal_limit
        self.journal = Journal(
            self._folder / "journal.db",
            limit=limit,
            reserve=min(int(limit * JOURNAL_RESERVE), 16 * MIB),
            new_id=runtime.new_id,
            durable=runtime.durable,
        )
        self.uplink = Uplink(
            UplinkSettings(company=company.name, software=software, weights={c.name: c.weight for c in company.channels}),
            self.journal,
            self._executor,
            lambda: dial(cloud),
            runtime,
            self,
        )
        self.captures: dict[str, Capture] = {}

    def services(self) -> list[Service]:
        """Named, for the supervisor."""
        captures = [Service(f"capture.{c.name}", lambda stop, c=c: self._capture(c, stop)) for c in self.company.channels]  # type: ignore[misc]
        return [Service("uplink", self._uplink), *captures, Service("housekeeping", self._housekeeping)]

    # -- services --------------------------------------------------------------------------------------------------------

    async def _uplink(self, stop: asyncio.Event) -> None:
        async with self._journal_open():
            await self._executor.run(self._check_attached)
            try:
                await self.uplink.run(stop)
            except ProgramStopped as error:  # this company's own files: the others go on
                raise CompanyStopped(error.code, error.message, where=error.where) from error

    async def _capture(self, channel: Channel, stop: asyncio.Event) -> None:
        """One channel, on connections of its own: a fault of one leaves the others alone."""
        async with self._journal_open(), self._source() as source:
            await self._executor.run(self._check_attached)
            capture = Capture(
                channel.name,
                lambda: self._declared(channel.name),
                source,
                self.journal,
                self._executor,
                self._runtime,
                CaptureSettings(
                    poll=self.company.poll,
                    window_limit=self.company.window_limit,
                    page_rows=self.company.page_rows,
                ),
                report=lambda news: self._captured(channel.name, news),
            )
            self.captures[channel.name] = capture
            try:
                await capture.run(stop)
            finally:
                if self.captures.get(channel.name) is capture:
                    del self.captures[channel.name]

    async def _housekeeping(self, stop: asyncio.Event) -> None:
        """Change records older than the retention go; what no channel has captured yet is noticed as lost history."""
        async with self._source() as source:
            while not stop.is_set():
                removed = await source.clean_up(self.company.retention)
                self._log.info("housekeeping.done", removed=removed)
                await first_of(stop, timeout=CLEAN_UP)

    def _declared(self, channel: str) -> Declared:
        return Declared(tuple(d for d in self.company.datasets if d.channel == channel), self.company.broken)

    @contextlib.asynccontextmanager
    async def _source(self) -> AsyncIterator[Source]:
        source = self._open_source(self.company, self._runtime)
        try:
            await source.open()
            yield source
        finally:
            await source.close()

    @contextlib.asynccontextmanager
    async def _journal_open(self) -> AsyncIterator[None]:
        """Counts whoever uses it. Neither step is left half done by a cancellation: the file would stay open for ever."""
        taken = asyncio.ensure_future(self._take_journal())
        try:
            await to_the_end(taken)
            yield
        finally:
            if not taken.cancelled() and taken.exception() is None:
                await to_the_end(self._give_journal_back())

    async def _take_journal(self) -> None:
        async with self._opening:
            if self._users == 0:
                await self._executor.run(self._open)
            self._users += 1

    async def _give_journal_back(self) -> None:
        async with self._opening:
            self._users -= 1
            if self._users == 0:
                await self._executor.run(self.journal.close)

    async def close(self) -> None:
        """Ends the journal's thread; the company's services have ended."""
        closing = asyncio.ensure_future(self._executor.run(self.journal.close))
        await asyncio.wait([closing], timeout=CLOSING)
        if closing.done():
            closing.result()
            self._executor.close()
        else:  # a disk that hangs: the thread is left behind, the other companies go on
            self._log.error("journal.stuck", "the journal was not closed in time")

    def _open(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside = open_or_renew(self.journal)
        except ProgramStopped as error:  # of this company only: the others have folders of their own
            raise CompanyStopped(error.code, error.message, where=error.where) from error
        except OSError as error:
            raise CompanyStopped("A2102", error.strerror or type(error).__name__, where=str(self._folder)) from error
        if aside:
            self._log.error("journal.renewed", "it was damaged; set aside", files=[path.name for path in aside])

    def _check_attached(self) -> None:
        """Raises CompanyStopped A2608 while this installation is told to leave a copy alone; a new enrolment ends that."""
        detached, identity = self.journal.get(DETACHED), self.journal.identity()
        if detached is not None and identity is not None and detached == identity.installation:
            raise CompanyStopped("A2608", "a person said that this database is only a copy", where=self.company.name)

    def _detach(self) -> None:
        identity = self.journal.identity()
        if identity is None:
            raise AgentError("A2601", "the company is not enrolled: there is nothing to leave alone", where=self.company.name)
        self.journal.put(DETACHED, identity.installation)

    # -- news ------------------------------------------------------------------------------------------------------------

    def _captured(self, channel: str, news: Captured) -> None:
        self._board.captured(self.company.name, channel, news, self._runtime.clock.now())
        self.uplink.wake()

    def link(self, report: LinkReport) -> None:
        """See `cdc.uplink.Reports`."""
        self._board.linked(self.company.name, report, self._runtime.clock.now())
        if report.state == "open":
            self._nudge(Phase.WAITING, Phase.STARTING)

    def ack(self, report: AckReport) -> None:
        """See `cdc.uplink.Reports`."""
        self._board.acked(self.company.name, report, self._runtime.clock.now())
        self._nudge(Phase.WAITING)

    def _nudge(self, *phases: Phase) -> None:
        """Captures that wait for what has just come look at once."""
        for capture in self.captures.values():
            if capture.phase in phases:
                capture.wake.set()

    # -- orders ----------------------------------------------------------------------------------------------------------

    async def sync(self, channel: str, *, full: bool, later: bool = False) -> list[str]:
        """Looks now; `full`: the next window reads everything anew, which is durable. `later`: nobody is woken for it.

        Returns the channels. A channel that does not run looks when it starts. Raises AgentError A2513.
        """
        names = [c.name for c in self.company.channels if channel in ("", c.name)]
        if not names:
            raise AgentError("A2513", "no such channel", where=f"{self.company.name}/{channel}")
        if full:
            async with self._journal_open():
                await self._executor.run(lambda: self._ask_full(names))
        if not later:
            for name in names:
                if (capture := self.captures.get(name)) is not None:
                    capture.wake.set()
        return names

    def _ask_full(self, channels: Iterable[str]) -> None:
        for name in channels:
            self.journal.put(next_full(name), full_request(self._runtime.new_id()))

    async def restored(self, choice: str) -> str:
        """What a person says the database is after its history changed; the company's services are to be woken afterwards."""
        async with self._journal_open():
            if choice == "copy":
                await self._executor.run(self._detach)
                return "this database is a copy: the agent leaves it alone from now on"
            async with self._source() as source:
                incarnation = await source.new_incarnation()
            await self._executor.run(lambda: self._accept(incarnation))
        return "this is the real database: its new history is read in full"

    def _accept(self, incarnation: bytes) -> None:
        self.journal.put(ACCEPTED, incarnation)
        self.journal.put(DETACHED, None)
