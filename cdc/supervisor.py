"""shell: runs each company's named services, starts them anew as `cdc.restart` decides, and ends them by a ladder.

A service is anything with a name and `async def run(stop)`: it runs until `stop` is set, then finishes its batch and returns.
What it raises decides what follows. The services of one company share a group; no group ever disturbs another. The program's
own services (health, reload) form the group "", which ends last, so that health is told about a shutdown to its end.

The ladder: the stop event, a grace period, a report of who still runs and where, cancellation, and after a last wait giving up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from cdc.errors import AgentError, Transient
from cdc.logs import Log, logger
from cdc.restart import STEADY, Exit, ExitStatus, Pause, Restart, Stop, failures_after, gravest, next_step
from cdc.status import Problem, ServiceReport, ServiceState, problem_of
from transport.errors import CodedError
from transport.runtime import Runtime

PROGRAM = ""  # the group of the program's own services
LAST_WAIT = 10.0  # seconds for cancelled services to clean up


class Service(NamedTuple):
    """A named part of the program; `once`: it may end by itself, and has then done its work."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]
    once: bool = False


class Board(Protocol):
    """Where the supervisor's news go."""

    def service(self, company: str, report: ServiceReport) -> None:
        """A service changed its state."""
        ...

    def stopped(self, company: str, problem: Problem | None) -> None:
        """The whole company stopped for that reason, or goes on again (None)."""
        ...


class Supervisor:
    """All groups of services, for the life of the program."""

    def __init__(self, runtime: Runtime, board: Board, *, grace: float = 20.0) -> None:
        self.grace = grace  # seconds; may be changed while running
        self.runtime = runtime
        self.board = board
        self.hurry = asyncio.Event()
        self._groups: dict[str, _Group] = {}
        self._exit = asyncio.Event()
        self._status = ExitStatus.OK
        self._closing = False

    def start(self, company: str, services: Sequence[Service]) -> None:
        """Starts a company's services; the company must not have any."""
        if company in self._groups:
            raise ValueError("this company has services already: replace them")
        if not self._closing:
            self._groups[company] = _Group(self, company, services)

    async def end(self, company: str) -> None:
        """Ends a company's services by the ladder; nothing to do if it has none."""
        group = self._groups.pop(company, None)
        if group is not None:
            await group.end()

    async def replace(self, company: str, services: Sequence[Service]) -> None:
        """Ends what runs for the company, then starts these."""
        await self.end(company)
        self.start(company, services)

    def wake(self, company: str) -> bool:
        """A person acted: whoever waits for that, or for the next attempt, goes on at once. False: no such company."""
        group = self._groups.get(company)
        if group is not None:
            group.wake()
        return group is not None

    def companies(self) -> list[str]:
        """Those that have services."""
        return [name for name in self._groups if name != PROGRAM]

    def exit(self, status: ExitStatus) -> None:
        """Ends the program with that status; the first one counts."""
        self._status = self._status or status
        self._exit.set()

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> ExitStatus:
        """Until `stop` is set or an error ends the program; then shuts everything down. `hurry` ends the grace period."""
        if hurry is not None:
            self.hurry = hurry
        try:
            await first_of(stop, self._exit)
            return self._status
        finally:
            await self._shut_down()

    async def _shut_down(self) -> None:
        self._closing = True
        log = logger(__name__)
        log.info("shutdown.begin", companies=len(self.companies()))
        await asyncio.gather(*(self.end(company) for company in self.companies()))
        await self.end(PROGRAM)
        log.info("shutdown.end", status=int(self._status))


class _Group:
    """One company's services, through rounds: a round ends when the company stops, the next begins when a person has acted."""

    def __init__(self, supervisor: Supervisor, company: str, services: Sequence[Service]) -> None:
        self._supervisor = supervisor
        self._company = company
        self._services = services
        self._log = logger(__name__, company=company)
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._woken = asyncio.Event()
        self._again: float | None = None  # seconds after which a stopped company is tried again; None: a person must act
        self._reason: Problem | None = None  # of the last stop
        self._began = 0.0  # monotonic, of the round
        self.wakes = 0
        self._task = asyncio.create_task(self._rounds(), name=f"{company or 'agent'}")

    def wake(self) -> None:
        self.wakes += 1
        self._woken.set()

    async def end(self) -> None:
        self._ended.set()
        self._stop.set()
        await asyncio.shield(self._task)

    async def _rounds(self) -> None:
        while not self._ended.is_set():
            self._stop.clear()
            self._woken.clear()
            self._began = self._supervisor.runtime.clock.monotonic()
            self._supervisor.board.stopped(self._company, None)
            await self._round()
            if not self._ended.is_set():
                await first_of(self._woken, self._ended, timeout=self._again)

    async def _round(self) -> None:
        name = self._company or "agent"
        keepers = [_Keeper(self, service) for service in self._services]
        tasks = [asyncio.create_task(k.keep(), name=f"{name}/{k.service.name}") for k in keepers]
        try:
            await self._watch(tasks)
        finally:
            # Also when the program is torn down around us: nobody is left behind running.
            self._stop.set()
            await wind_down(tasks, self._supervisor.grace, self._supervisor.hurry, self._log)

    async def _watch(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Until the group stops. A keeper that fails itself is a defect of the program, and never goes unseen."""
        stop = asyncio.ensure_future(self._stop.wait())
        running: set[asyncio.Future[Any]] = set(tasks)
        try:
            while not stop.done():
                done, _ = await asyncio.wait({stop, *running}, return_when=asyncio.FIRST_COMPLETED)
                running -= done
                for task in done - {stop}:
                    if not task.cancelled() and (error := task.exception()) is not None:
                        self.stop(error)
        finally:
            await _drop(stop)

    def stop(self, error: BaseException, after: float | None = None) -> None:
        """Nothing of this company may go on, for `after` seconds or until a person acts; of several, the longest counts."""
        if not self._stop.is_set() or after is None:
            self._again = after
        clock, old = self._supervisor.runtime.clock, self._reason
        problem = problem_of(error, clock.now())
        if old is not None and old.code == problem.code and clock.monotonic() - self._began < STEADY:
            problem = msgspec.structs.replace(problem, since=old.since)  # it was tried again, and is as it was
        self._reason = problem
        self._supervisor.board.stopped(self._company, problem)
        self._log.error("company.stopped", "nothing of this company goes on", error=error, again=after)
        self._stop.set()

    async def pause(self, seconds: float | None, wakes: int) -> None:
        """Until the time is over, a person acts (or did, since `wakes` was read), or the group stops."""
        if wakes != self.wakes:
            return
        self._woken.clear()
        await first_of(self._woken, self._stop, timeout=seconds)

    @property
    def supervisor(self) -> Supervisor:
        return self._supervisor

    @property
    def company(self) -> str:
        return self._company

    @property
    def stop_event(self) -> asyncio.Event:
        return self._stop


class _Keeper:
    """Keeps one service running for one round."""

    def __init__(self, group: _Group, service: Service) -> None:
        self.service = service
        self._group = group
        self._clock = group.supervisor.runtime.clock
        self._log = logger(__name__, company=group.company, service=service.name)
        self._failures = 0
        self._total = 0
        self._wakes = 0

    async def keep(self) -> None:
        stop = self._group.stop_event
        while not stop.is_set():
            self._report(ServiceState.RUNNING)
            self._wakes = self._group.wakes
            began = self._clock.monotonic()
            error = await self._attempt(stop)
            if error is None and (self.service.once or stop.is_set()):
                break
            self._failures = failures_after(self._failures, self._clock.monotonic() - began, error)
            self._total += 1
            await self._after(error or Transient("A2502", "the service ended by itself", where=self.service.name))
        self._report(ServiceState.ENDED)

    async def _attempt(self, stop: asyncio.Event) -> Exception | None:
        try:
            await self.service.run(stop)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return Transient("A2502", "the service was cancelled from within", where=self.service.name)
        except Exception as error:  # noqa: BLE001 (the boundary: what any service raises is decided by restart.py)
            return error
        return None

    async def _after(self, error: Exception) -> None:
        supervisor = self._group.supervisor
        now = self._clock.now()
        decisive = gravest(error)
        problem = problem_of(decisive, now)
        match next_step(self._failures, error, now, supervisor.runtime.random):
            case Restart(after, at):
                self._say("service.restart", error, after=round(after, 3), failures=self._failures)
                self._report(ServiceState.WAITING, problem, at)
                await self._group.pause(after, self._wakes)
            case Pause():
                self._say("service.paused", error)
                self._report(ServiceState.PAUSED, problem)
                await self._group.pause(None, self._wakes)
            case Stop(after):
                self._report(ServiceState.ENDED, problem)
                self._group.stop(decisive, after)
            case Exit(status):
                self._say("program.stopped", error, status=int(status))
                self._report(ServiceState.ENDED, problem)
                supervisor.exit(status)
                await self._group.pause(None, self._wakes)

    def _say(self, action: str, error: Exception, **fields: object) -> None:
        if isinstance(gravest(error), CodedError | OSError):
            self._log.warning(action, error=error, message="", **fields)
        else:
            self._log.error(action, error=error, message="", **fields)

    def _report(self, state: ServiceState, problem: Problem | None = None, next_try: datetime | None = None) -> None:
        report = ServiceReport(
            name=self.service.name,
            state=state,
            since=self._clock.now(),
            failures=self._failures,
            total=self._total,
            problem=problem,
            next_try=next_try,
        )
        self._group.supervisor.board.service(self._group.company, report)


async def wind_down(tasks: Sequence[asyncio.Task[None]], grace: float, hurry: asyncio.Event, log: Log) -> None:
    """The ladder's steps after the stop event: grace (none once `hurry` is set), report, cancel, a last wait."""
    await _all_done(tasks, grace, hurry)
    late = [task for task in tasks if not task.done()]
    for task in late:
        error = AgentError("A2503", "did not end within its time and is cut off", where=task.get_name())
        log.warning("shutdown.late", service=task.get_name(), error=error, stack=list(places(task)))
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=LAST_WAIT)
    for task in late:
        if not task.done():
            log.error("shutdown.stuck", service=task.get_name(), stack=list(places(task)))
    for task in tasks:
        if task.done() and not task.cancelled() and (failed := task.exception()) is not None:
            log.error("service.defect", service=task.get_name(), error=failed)


async def _all_done(tasks: Iterable[asyncio.Task[None]], grace: float, hurry: asyncio.Event) -> None:
    running = {task for task in tasks if not task.done()}
    if not running:
        return
    everyone = asyncio.ensure_future(asyncio.wait(running))
    hurried = asyncio.ensure_future(hurry.wait())
    try:
        await asyncio.wait({everyone, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _drop(everyone, hurried)


async def first_of(*events: asyncio.Event, timeout: float | None = None) -> None:  # noqa: ASYNC109
    """Until one of the events is set, or the time is over."""
    if any(event.is_set() for event in events):
        return
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _drop(*waits)


async def _drop(*futures: asyncio.Future[Any]) -> None:
    for future in futures:
        future.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*futures, return_exceptions=True)


def places(task: asyncio.Task[None]) -> Iterator[str]:
    """Where a suspended task stands, outermost first: `Task.get_stack` shows only the first of them."""
    waits: object = task.get_coro()
    while waits is not None:
        frame = next((f for n in ("cr_frame", "gi_frame", "ag_frame") if (f := getattr(waits, n, None)) is not None), None)
        if frame is not None:
            code = frame.f_code
            yield f"{'/'.join(code.co_filename.replace(chr(92), '/').split('/')[-2:])}:{frame.f_lineno} {code.co_qualname}"
        waits = next((w for n in ("cr_await", "gi_yieldfrom", "ag_await") if (w := getattr(waits, n, None)) is not None), None)
