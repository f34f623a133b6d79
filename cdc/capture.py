"""shell: one channel's capture: what changed in the ERP since the channel's position -> a window in the journal.

A cycle opens one read transaction, decides by its facts what may be read (`cdc.validity`), and writes one window: the changes
of every dataset up to the transaction's version, and a page of each full read under way, from the same state. So a generation
whose last page is read stands exactly at the window's position and is swapped in with it; full and differential sync are one
path, and the position never waits for a load. It holds the marks of loads: a crash costs at most the page being read.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable, Iterator

import msgspec

from cdc.errors import REGISTRY, Transient
from cdc.intake import NoRoom, Outgrown
from cdc.journal import Journal, JournalChannel
from cdc.logs import logger
from cdc.model import Dataset, Description
from cdc.sources.base import Pulse, Source
from cdc.status import Captured, LoadProgress, Phase, Problem
from cdc.validity import Problem as Why
from cdc.validity import Reason, moved
from cdc.window_cycle import (
    Batchers,
    CaptureSettings,
    NeedsRepair,
    Order,
    Tools,
    Window,
    WindowCycle,
    begun_loads,
    decoded,
)
from cdc.windows import Declared, offenders
from transport.runtime import Executor, Runtime

ACCEPTED = "accepted_incarnation"  # journal setting: the incarnation a person declared to be the real ERP's


def next_full(channel: str) -> str:
    """Name the journal's setting that has the channel's datasets read anew by the next window (see `full_request`)."""
    return f"next_full:{channel}"


def full_request(identity: bytes, datasets: Iterable[str] = ()) -> bytes:
    """Return the setting's value: read these datasets anew, all if none is named. Each request has an id of its own."""
    return msgspec.msgpack.encode((identity, list(datasets)))


class Did(enum.StrEnum):
    """What a cycle did."""

    IDLE = "idle"  # nothing was committed and nothing was due
    CHECKED = "checked"  # looked; there was nothing to say
    WINDOW = "window"
    LOADED = "loaded"  # a window with pages; more follow
    FULL = "full"  # the journal has no room
    WAITING = "waiting"  # the journal does not have the channel: the cloud says where it stands


class _Seen(msgspec.Struct, frozen=True):
    """What an idle poll compares."""

    pulse: Pulse
    declared: Declared
    restarts: int


class _Memory(msgspec.Struct):
    """What a capture remembers between cycles; nothing of it has to survive a crash."""

    need: int  # bytes of room without which a window is not begun
    look: bool = True  # the next cycle looks, idle or not
    seen: _Seen | None = None
    described: tuple[int, Declared, list[Description]] | None = None  # by structure and declaration
    checked: float = float("-inf")  # monotonic, of the last full check
    repaired: float = float("-inf")
    written: float = float("-inf")  # monotonic, of the last window
    owed: bool = False  # the version moved, a window without rows waits for its time
    ailing: dict[str, Why] = {}  # datasets that could not be read; tried again at the next full check
    batchers: Batchers = {}


class Capture:
    """The service of one channel. Raises AgentError types, for which the supervisor decides what follows.

    A window without rows (others committed, nothing in scope changed) still moves the position, so that it never ages and the
    copy is known to be fresh; but each costs a durable write on the ERP, in the journal and in the cloud, so on an ERP that is
    busy elsewhere there is one in `empty` seconds.
    """

    def __init__(
        self,
        channel: str,
        declared: Callable[[], Declared],
        source: Source,
        journal: Journal,
        executor: Executor,
        runtime: Runtime,
        settings: CaptureSettings,
        report: Callable[[Captured], None] = lambda _: None,
        wake: asyncio.Event | None = None,
    ) -> None:
        """`executor`: the journal's; `wake`: set by whoever wants the next cycle now."""
        self.channel = channel
        self.wake = wake or asyncio.Event()
        self._declared = declared
        self._tools = Tools(channel, source, journal, executor, runtime, settings)
        self._report = report
        self._memory = _Memory(settings.min_room)
        self._said = Captured(phase=Phase.STARTING)
        self._log = logger(__name__, channel=channel)

    @property
    def phase(self) -> Phase:
        """What it does with the channel, as last reported."""
        return self._said.phase

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Capture until `stop` is set; ends after the window under way."""
        clock, poll = self._tools.runtime.clock, self._tools.settings.poll
        self._memory.look = True  # after a failure as after a start, everything is looked at
        self._report(self._said)
        while not stop.is_set():
            began = clock.monotonic()
            did = await self.cycle()
            if did is Did.LOADED:
                await asyncio.sleep(0)
            else:
                await self._rest(stop, max(0.0, poll - (clock.monotonic() - began)))

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, self.wake)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self.wake.is_set():
            self.wake.clear()
            self._memory.look = True

    async def request_full(self, datasets: Iterable[str] = ()) -> None:
        """Have these datasets (none named: all) read anew by the next cycle; durable."""
        value = full_request(self._tools.runtime.new_id(), datasets)
        await self._tools.executor.run(lambda: self._tools.journal.put(next_full(self.channel), value))
        self._memory.look = True
        self.wake.set()

    async def cycle(self) -> Did:
        """Look once, and write at most one window."""
        tools, memory = self._tools, self._memory
        journal = tools.journal
        state = journal.channel(self.channel)
        if state is None:
            self._say(Phase.WAITING, retention_left=None)
            return Did.WAITING
        at = tools.runtime.clock.now()
        pulse = await tools.source.pulse()  # before the read transaction: what comes between is seen by the next cycle
        seen = _Seen(pulse, self._declared(), journal.restarts)
        if not self._due(seen):
            self._say(self._said.phase, checked_at=at)
            return Did.IDLE
        room, capacity = await tools.executor.run(lambda: (journal.room(self.channel), journal.capacity(self.channel)))
        limit = min(tools.settings.window_limit, capacity)
        if room < min(memory.need, limit):
            return self._full(f"{room} bytes are free for the channel, {min(memory.need, limit)} are needed")
        return await self._guarded(seen, state, room, limit)

    def _due(self, seen: _Seen) -> bool:
        memory = self._memory
        return memory.look or seen != memory.seen or self._check_due() or (memory.owed and self._empty_due())

    def _check_due(self) -> bool:
        return self._tools.runtime.clock.monotonic() - self._memory.checked >= self._tools.settings.check

    def _empty_due(self) -> bool:
        return self._tools.runtime.clock.monotonic() - self._memory.written >= self._tools.settings.empty

    # -- one window ----------------------------------------------------------------------------------------------------

    async def _guarded(self, seen: _Seen, state: JournalChannel, room: int, limit: int) -> Did:
        """Write a window; a journal without room is no failure, everything else makes the next cycle look again."""
        memory = self._memory
        full_check = memory.look or self._check_due()
        try:
            window = await self._attempts(seen, state, room, limit, full_check=full_check)
        except NoRoom as error:
            memory.need = 2 * error.size
            return self._full(f"a window of over {error.size} bytes does not fit yet")
        except Transient as error:
            memory.look = True
            if error.code == "A2403":  # the conversation with the cloud gave the channel another position meanwhile
                return Did.CHECKED
            if error.code != "A2103":
                raise
            return self._full(error.message)
        return self._done(seen, window, full_check=full_check)

    async def _attempts(self, seen: _Seen, state: JournalChannel, room: int, limit: int, *, full_check: bool) -> Window:
        """Write a window, as often as it takes: without what outgrew it, after a repair."""
        memory, journal = self._memory, self._tools.journal
        if full_check:
            memory.ailing, memory.described, memory.look = {}, None, False
        values = await self._tools.executor.run(lambda: (journal.get(next_full(self.channel)), journal.get(ACCEPTED)))
        begun = await self._tools.executor.run(lambda: begun_loads(journal))
        asked, settle = self._asked(values[0], seen.declared)
        position = decoded(state.position)
        asked |= moved(position, self.channel, begun)
        while True:
            order = Order(
                declared=seen.declared,
                descriptions=await self._descriptions(seen, state),
                position=position,
                journal_id=state.journal_id,
                limit=limit,
                room=room,
                asked=asked,
                settle=settle,
                accepted=values[1] or b"",
                floor=max((load.generation for load in begun.values()), default=0),
                may_repair=self._tools.runtime.clock.monotonic() - memory.repaired >= self._tools.settings.check,
                empty_due=self._empty_due(),
                all_positions=full_check,
            )
            try:
                return await WindowCycle(self._tools, order, memory.batchers).take()
            except Outgrown as error:
                names = offenders(error.sizes, limit)
                self._log.info("capture.outgrown", "the changes outgrow a window and are read by pages", datasets=names)
                asked |= dict.fromkeys(names, Reason.WINDOW)
            except NeedsRepair as signal:
                await self._repair(signal.datasets)

    async def _descriptions(self, seen: _Seen, state: JournalChannel) -> list[Description]:
        """Describe the datasets as found in the database; what is broken or ailing with its problem instead."""
        key = (seen.pulse.structure, seen.declared)
        memory = self._memory
        if memory.described is None or memory.described[:2] != key:
            memory.described = (*key, await self._tools.source.describe(seen.declared.of_the_erp()))
        found = [self._ailing(description) for description in memory.described[2]]
        position = decoded(state.position)
        marked = {mark.dataset for mark in position.tables} if position else set()
        broken = [name for name in seen.declared.broken if name in marked]
        return found + [Description(name, None, code="A2003", problem="its declaration has mistakes") for name in broken]

    def _ailing(self, description: Description) -> Description:
        why = self._memory.ailing.get(description.dataset)
        return description if why is None else Description(description.dataset, None, code=why.code, problem=why.message)

    def _asked(self, value: bytes | None, declared: Declared) -> tuple[dict[str, Reason], dict[str, bytes]]:
        """Return what was asked to be read anew, and the setting that is settled by it."""
        if value is None:
            return {}, {}
        try:
            names = msgspec.msgpack.decode(value, type=tuple[bytes, list[str]])[1]
        except msgspec.DecodeError:
            names = []
        return dict.fromkeys(names or [d.name for d in declared.datasets], Reason.ASKED), {next_full(self.channel): value}

    async def _repair(self, datasets: list[Dataset]) -> None:
        self._memory.repaired = self._tools.runtime.clock.monotonic()
        self._memory.described = None
        for words in await self._tools.source.repair(datasets):
            self._log.warning("capture.repaired", words)

    def _done(self, seen: _Seen, window: Window, *, full_check: bool) -> Did:
        memory, now = self._memory, self._tools.runtime.clock.monotonic()
        memory.need = self._tools.settings.min_room
        memory.seen = None if window.plan.loads else seen
        memory.owed = window.owed
        memory.ailing |= window.ailing
        if full_check:
            memory.checked = now
        if window.written:
            memory.written = now
        self._say_window(window)
        if not window.written:
            return Did.CHECKED
        return Did.LOADED if window.plan.loads else Did.WINDOW

    # -- what is said --------------------------------------------------------------------------------------------------

    def _full(self, message: str) -> Did:
        self._memory.look = True
        others = tuple(p for p in self._said.problems if p.code != "A2103")
        problem = self._problem(Why("A2103", message), self.channel)
        self._say(Phase.WAITING, problems=(*others, problem), retention_left=None)
        return Did.FULL

    def _say_window(self, window: Window) -> None:
        loads = window.plan.loads
        phase = Phase.LOADING if loads else Phase.PAUSED if window.paused and not window.plan.reading else Phase.CURRENT
        began = {(load.dataset, load.reason): load.since for load in self._said.loads}
        self._say(
            phase,
            checked_at=window.read_at,
            last_window=window.read_at if window.rows else self._said.last_window,
            rows=self._said.rows + (window.rows if window.written else 0),
            reloading=tuple(window.plan.stale()),
            loads=tuple(
                LoadProgress(
                    dataset=name, reason=load.reason, rows=load.rows, since=began.get((name, load.reason), window.read_at)
                )
                for name, load in loads.items()
            ),
            problems=tuple(self._problem(why, name) for name, why in _reasons(window, self.channel)),
            retention_left=window.retention,
        )

    def _problem(self, why: Why, where: str) -> Problem:
        """Make a problem for people; one that was there before keeps its beginning."""
        for old in self._said.problems:
            if (old.code, old.where) == (why.code, where):
                return msgspec.structs.replace(old, message=why.message)
        self._log.warning("capture.problem", why.message, code=why.code, where=where)
        since, advice = self._tools.runtime.clock.now(), REGISTRY[why.code].remedy
        return Problem(code=why.code, message=why.message, where=where, since=since, advice=advice)

    def _say(self, phase: Phase, **changed: object) -> None:
        if state := self._tools.journal.channel(self.channel):
            frames = state.last_seq - state.first_seq + 1
            changed |= {"last_seq": state.last_seq, "applied": state.applied, "frames": frames, "bytes": state.bytes}
        self._said = msgspec.structs.replace(self._said, phase=phase, **changed)
        self._report(self._said)


def _reasons(window: Window, channel: str) -> Iterator[tuple[str, Why]]:
    """What a person should know, and of what."""
    yield from window.paused.items()
    yield from ((channel, Why(note.code, note.message)) for note in window.notes)


__all__ = ["ACCEPTED", "Capture", "CaptureSettings", "Declared", "Did", "full_request", "next_full"]
