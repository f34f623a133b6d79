"""shell: one window from one read transaction of the ERP: facts, verdict, changes, pages, witness, journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec

from cdc.batching import Batcher
from cdc.errors import CompanyStopped, DatasetPaused
from cdc.intake import Intake
from cdc.journal import Journal, WindowWriter
from cdc.model import Dataset, Description, Facts, LoadMark, Note, Position
from cdc.sources.base import ROWS_PER_READ, Page, Reader, Source
from cdc.validity import BegunLoad, Problem, Reason, Verdict, judge
from cdc.windows import Declared, Plan, plan, without
from transport.frames import BATCH_TARGET, MAX_ROW, MIB, Detach, LoadEnd, Schema, StreamMessage, WindowEnd
from transport.runtime import Executor, Runtime

Batchers: TypeAlias = dict[str, tuple[Schema, Batcher]]

BEGUN = "load:"  # and a dataset's name: the journal's setting that has its last load
FIRST_PAGE = 500  # rows, before anything is known of their size
PORTION = 2 * MIB  # encoded bytes read at once


def begun_loads(journal: Journal) -> dict[str, BegunLoad]:
    """Return the last load of each dataset, whichever channel began it."""
    return {name: msgspec.msgpack.decode(value, type=BegunLoad) for name, value in journal.settings(BEGUN).items()}


class CaptureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel is captured. Times in seconds."""

    poll: float = 1.0
    check: float = 60.0  # validity, witness and structure are looked at this often, though nothing moves
    empty: float = 10.0  # at most one window without rows in this time, see `cdc.capture.Capture`
    window_limit: int = 256 * MIB  # bytes of one window's changes; larger ones are re-read by pages
    page_rows: int = 20_000
    page_bytes: int = 8 * MIB  # encoded, before compression; bounds memory
    min_room: int = 4 * MIB  # bytes of the journal that must be free before a window is begun
    batch_target: int = BATCH_TARGET
    max_row: int = MAX_ROW


class Tools(msgspec.Struct, frozen=True):
    """What a channel's capture works with. `executor` is the journal's."""

    channel: str
    source: Source
    journal: Journal
    executor: Executor
    runtime: Runtime
    settings: CaptureSettings


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one window is to be."""

    declared: Declared
    descriptions: list[Description]
    position: Position | None
    journal_id: bytes  # that the position belongs to
    limit: int  # bytes its changes may take
    room: int  # bytes free for it in the journal now
    asked: Mapping[str, Reason]
    settle: Mapping[str, bytes]  # settings of the journal that it settles
    accepted: bytes  # incarnation a person declared to be the real one
    floor: int  # generation of the last load that any channel began
    may_repair: bool  # tables that are not tracked: raise NeedsRepair
    empty_due: bool  # a version that moved is worth a window without rows
    all_positions: bool  # look at every channel's position for what the witness log may forget


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    written: bool
    read_at: datetime
    plan: Plan
    paused: dict[str, Problem]
    ailing: dict[str, Problem]  # of these, the ones that failed while they were read
    rows: int = 0
    withheld: int = 0
    owed: bool = False  # the version moved, and the position did not follow yet
    notes: tuple[Note, ...] = ()  # of the source
    retention: float | None = None  # seconds, see `Facts`


class NeedsRepair(Exception):
    """The tables of these datasets are to be tracked again before anything is read."""

    def __init__(self, datasets: list[Dataset]) -> None:
        super().__init__()
        self.datasets = datasets


class WindowCycle:
    """One attempt. Raises Outgrown, NoRoom, NeedsRepair, CompanyStopped, Transient; nothing is left behind then."""

    def __init__(self, tools: Tools, order: Order, batchers: Batchers) -> None:
        """`batchers`: kept from window to window, for what they know of row sizes."""
        self._tools = tools
        self._order = order
        self._batchers = batchers
        self._datasets = {dataset.name: dataset for dataset in order.declared.of_the_erp()}
        self._ailing: dict[str, Problem] = {}
        self._pages = 0
        self._plan = Plan({}, {}, [], [], [], {})

    async def take(self) -> Window:
        """Read and write the window."""
        tools, order = self._tools, self._order
        run = tools.executor.run
        writer = await run(lambda: tools.journal.window(tools.channel, order.journal_id))
        intake = Intake(writer, tools.executor, limit=order.limit, room=order.room)
        try:
            return await self._take(writer, intake)
        finally:
            await intake.drop()
            await run(writer.abandon)

    async def _take(self, writer: WindowWriter, intake: Intake) -> Window:
        tools, order, position = self._tools, self._order, self._order.position
        read_at = tools.runtime.clock.now()
        async with tools.source.reader() as reader:
            facts = await reader.facts(position, list(self._datasets.values()))
            verdict = self._verdict(facts)
            self._plan = self._planned(verdict, facts)
            differs = self._plan.differs(position)
            moved = position is None or facts.version != position.version
            if differs or self._plan.loads:
                await self._announce(intake)
            if moved:
                await self._changes(reader, intake)
            await self._load_pages(reader, intake)
        worth = differs or self._ailing or self._pages or intake.rows or (moved and order.empty_due)
        if worth:
            await self._complete(writer, intake, facts, read_at)
        return Window(
            written=bool(worth),
            read_at=read_at,
            plan=self._plan,
            paused=verdict.paused | self._ailing,
            ailing=self._ailing,
            rows=intake.rows,
            withheld=intake.withheld,
            owed=moved and not worth,
            notes=facts.notes,
            retention=facts.retention,
        )

    # -- before the rows -----------------------------------------------------------------------------------------------

    def _verdict(self, facts: Facts) -> Verdict:
        order = self._order
        once = order.declared.once()
        verdict = judge(order.position, facts, order.descriptions, asked=order.asked, accepted=order.accepted, once=once)
        if verdict.stop:
            raise CompanyStopped(verdict.stop.code, verdict.stop.message, where=self._tools.channel)
        untracked = [self._datasets[name] for name, problem in verdict.paused.items() if problem.code == "A2411"]
        if untracked and order.may_repair:
            raise NeedsRepair(untracked)
        return verdict

    def _planned(self, verdict: Verdict, facts: Facts) -> Plan:
        order = self._order
        floor = self._floor() if verdict.load else 0
        return plan(order.position, verdict, facts, order.descriptions, floor=floor, once=order.declared.once())

    def _floor(self) -> int:
        """Return what no generation has reached yet, in any channel that the datasets may come from; clocks may go back."""
        now = int(self._tools.runtime.clock.now().timestamp() * 1000)
        positions = [decoded(data) for c in self._tools.journal.channels() for data in (c.base_position, c.position)]
        marks = [mark.generation for position in positions if position is not None for mark in position.tables]
        return max(now, self._order.floor, *marks)

    async def _announce(self, intake: Intake) -> None:
        messages: list[StreamMessage] = [Detach(name) for name in self._plan.detached]
        for begin in self._plan.begins:
            messages += [self._plan.schemas[begin.dataset], begin]
        if messages:
            await intake.say(*messages)

    # -- the rows ------------------------------------------------------------------------------------------------------

    async def _changes(self, reader: Reader, intake: Intake) -> None:
        """Read what changed since the position, small datasets first: what outgrows the window is then among the last."""
        position = self._order.position
        reading = [self._datasets[name] for name in self._plan.reading]
        if position is None or not reading:
            return
        changed = await reader.changed(position.version, reading)
        for name in sorted(changed, key=changed.__getitem__):
            schema = self._plan.schemas[name]
            try:
                await intake.changes(
                    schema, self._batcher(schema), reader.changes(self._datasets[name], schema, position.version)
                )
            except DatasetPaused as error:
                await self._give_up(name, error, intake)

    async def _load_pages(self, reader: Reader, intake: Intake) -> None:
        """Read pages of the loads under way, until the window has its share of rows and bytes.

        Pages are small, so that one is encoded and written while the next one is read, and few rows are in memory.
        """
        rows, size = self._tools.settings.page_rows, float(self._tools.settings.page_bytes)
        for name in list(self._plan.loads):
            batcher = self._batcher(self._plan.schemas[name])
            while name in self._plan.loads and rows > 0 and size > 0 and (intake.left > 0 or not intake.rows):
                fitting = int(min(size, PORTION) / batcher.row_bytes) if batcher.row_bytes else FIRST_PAGE
                try:
                    page = await self._load_page(reader, intake, name, max(1, min(rows, fitting, ROWS_PER_READ)))
                except DatasetPaused as error:
                    await self._give_up(name, error, intake)
                    break
                rows -= max(page.rows, 1)
                size -= page.rows * batcher.row_bytes

    async def _load_page(self, reader: Reader, intake: Intake, name: str, rows: int) -> Page:
        load, schema = self._plan.loads[name], self._plan.schemas[name]
        if load.done:
            page = Page([], load.after, 0, done=True)
        else:
            page = await reader.page(self._datasets[name], schema, load.generation, load.after, rows)
        await intake.page(schema, self._batcher(schema), page.batches)
        self._pages += 1
        total = load.rows + page.rows
        if page.done:
            await intake.say(LoadEnd(name, load.generation, total))
            del self._plan.loads[name]
        else:
            self._plan.loads[name] = LoadMark(name, load.generation, page.after, total, load.reason)
        return page

    def _batcher(self, schema: Schema) -> Batcher:
        settings = self._tools.settings
        found = self._batchers.get(schema.dataset)
        if found is None or found[0] != schema:
            made = Batcher(schema, target=settings.batch_target, max_row=settings.max_row)
            found = self._batchers[schema.dataset] = (schema, made)
        return found[1]

    async def _give_up(self, name: str, error: DatasetPaused, intake: Intake) -> None:
        """Leave a dataset that cannot be read out of this window and without a baseline; the others go on."""
        await intake.settle()
        self._ailing[name] = Problem(error.code, error.message)
        self._plan = without(self._plan, [name])

    # -- after the rows ------------------------------------------------------------------------------------------------

    async def _complete(self, writer: WindowWriter, intake: Intake, facts: Facts, read_at: datetime) -> None:
        """Leave the mark in the ERP, then end the window: a position in the journal is always witnessed."""
        tools, order, old = self._tools, self._order, self._order.position
        same = old is not None and (old.version, old.incarnation) == (facts.version, facts.incarnation)
        nonce = old.nonce if old is not None and same else tools.runtime.new_id()
        tables, loads = list(self._plan.tables.values()), list(self._plan.loads.values())
        position = Position(facts.version, facts.incarnation, nonce, tables, loads)
        if not same:
            await tools.source.witness(position, self._keep_from(facts) if order.all_positions else 0)
        encoded = position.encode()
        start = old.version if old is not None and old.incarnation == facts.incarnation else facts.version
        end = WindowEnd(encoded, start, facts.version, intake.rows, _written(read_at), self._plan.stale())
        await intake.say(end)
        begun = {begin.dataset: BegunLoad(tools.channel, begin.generation) for begin in self._plan.begins}
        notes = {BEGUN + name: msgspec.msgpack.encode(load) for name, load in begun.items()}
        await tools.executor.run(lambda: writer.complete(encoded, order.settle, notes))

    def _keep_from(self, facts: Facts) -> int:
        """Return the lowest version whose mark may be asked for again: any channel's, in the journal or in the cloud."""
        kept = [state.min_valid for state in facts.tables if state.min_valid is not None]
        for channel in self._tools.journal.channels():
            kept += [version for data in (channel.base_position, channel.position) if (version := _version(data)) is not None]
        return min(kept, default=0)


def decoded(data: bytes) -> Position | None:
    """Return the position; None where there is none, or one that this program does not know: nothing is built on it."""
    try:
        return Position.decode(data) if data else None
    except msgspec.DecodeError:
        return None


def _version(data: bytes) -> int | None:
    position = decoded(data)
    return None if position is None else position.version


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
