"""Agent and cloud with all their real parts in one process, on a virtual clock: the same seed gives the same trace.

Either side may end at any durable step, lose what it had not synced, or be put back to an earlier copy of its files.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from unittest import mock

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc.board import StatusBoard
from cdc.company import CompanyParts
from cdc.config import Channel, CloudSettings, Company
from cdc.journal_identity import Identity, IdentityFile
from cdc.model import Dataset, Position
from cdc.source_settings import SqliteSource as SourceSettings
from cdc.sources.sqlite.source import SqliteSource
from cdc.status import Problem, ServiceReport
from cdc.supervisor import Supervisor
from cdc.uplink import AckReport, LinkReport
from cloud.errors import CloudError
from cloud.ingest import AgentConnection, IngestSettings
from cloud.store.base import Applied, Decode, Progress, Staged
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from cloud.tenants import Tenants
from tests.support.sim_erp import BAD, DATASETS, KEYS, QUERIES, Rows, SimErp, connect
from tests.support.virtual import MemoryLink, VirtualClock
from transport.client import Unreachable
from transport.errors import TransportError
from transport.frames import KIB, ChannelState
from transport.runtime import Link, Runtime, unwatched

T = TypeVar("T")
COMPANY = "acme"
CLOUD = CloudSettings(url="https://cloud.test")
UNSYNCED = ("journal.staged", "journal.frames", "journal.abandon")  # commits that a power cut may lose
FAMILIES = {"journal": "agent", "sqlite": "erp", "store": "store", "registry": "registry"}  # first word of a step -> files
MISFORTUNES = ("A2501", "A2502", "A2104", "A2405", "A2605")  # codes that say that a part is broken


class Killed(BaseException):
    """The process ends here."""


class SimExecutor:
    """As a thread of its own: calls take their turns, take (virtual) time, and end although their caller was cancelled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turn = asyncio.Lock()

    async def run(self, call: Callable[[], T]) -> T:
        task = asyncio.ensure_future(self._in_turn(call))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
            raise

    async def _in_turn(self, call: Callable[[], T]) -> T:
        async with self._turn:
            await asyncio.sleep(self._world.work_time())
            return call()

    def close(self) -> None:
        pass


class Side:
    """One program: its randomness, and whether it is alive."""

    def __init__(self, world: World, name: str, seed: int) -> None:
        self.world = world
        self.name = name
        self.random = Random(seed)
        self.alive = False
        self.links: list[FaultyLink] = []
        self.runtime = Runtime(
            clock=world.clock,
            random=self.random,
            executor=lambda _: SimExecutor(world),
            durable=lambda step: world.step(self, step),
        )

    def die(self) -> None:
        """At once: nothing durable happens after this, no message leaves."""
        self.alive = False
        for link in self.links:
            link.cut()
        self.links.clear()
        self.world.died(self)

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        """In order."""
        raise NotImplementedError

    async def reap(self) -> None:
        """What is left of a dead process."""
        raise NotImplementedError


class FaultyLink(MemoryLink):
    """Slow at random; stands still while the world says so."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @classmethod
    def between(cls, world: World) -> tuple[FaultyLink, FaultyLink]:
        one, other = cls(world), cls(world)
        one._peer, other._peer = other, one
        return one, other

    async def send(self, data: bytes) -> None:
        world = self._world
        self._latency = world.latency()
        await super().send(data)


class Store(SqliteStore):
    """Says what it applied."""

    def __init__(self, world: World, path: Path, runtime: Runtime) -> None:
        super().__init__(path, runtime)
        self._world = world

    def adopt(self, channel: str, journal_id: bytes, next_seq: int) -> ChannelState:
        state = super().adopt(channel, journal_id, next_seq)
        self._world.note("adopt", channel, journal_id.hex()[:8], next_seq)
        return state

    def release(self, channels: Collection[str]) -> list[str]:
        detached = super().release(channels)
        self._world.keeps(channels)
        return detached

    def apply(self, channel: str, journal_id: bytes, tail: Sequence[Staged], decode: Decode, progress: Progress) -> Applied:
        applied = super().apply(channel, journal_id, tail, decode, progress)
        self._world.note("apply", channel, applied.seq, applied.rows)
        self._world.check_copy(self, channel)
        return applied


class Cloud(Side):
    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world, "cloud", seed)
        self.folder = world.folder / "cloud"
        self.tenants: Tenants | None = None
        self._registry: Registry | None = None
        self._stores: list[Store] = []
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def copy(self) -> Path:
        return self.folder / "companies" / f"{COMPANY}.db"

    def registry(self) -> Registry:
        self.folder.mkdir(exist_ok=True)
        return Registry(self.folder / "cloud.db", self.runtime)

    async def start(self) -> None:
        self.alive = True
        self._registry = self.registry()
        self.tenants = Tenants(
            self.folder / "companies", self._registry, SimExecutor(self.world), self.runtime, lambda path: self._opened(path)
        )
        self.world.note("start", "cloud")

    def _opened(self, path: Path) -> Store:
        store = Store(self.world, path, self.runtime)
        self._stores.append(store)
        for state in store.channels():
            self.world.check_copy(store, state.channel)
        return store

    async def open(self) -> None:
        """Opens the company's copy, which otherwise waits for the first agent."""
        assert self.tenants is not None
        await self.tenants.tenant(COMPANY)

    def accept(self, link: FaultyLink) -> None:
        self.links.append(link)
        task = asyncio.create_task(self._serve(link), name="cloud.connection")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, link: FaultyLink) -> None:
        assert self.tenants is not None
        try:
            await AgentConnection(self.tenants, self.world.ingest, self.runtime).run(link)
        except (TransportError, CloudError) as error:
            self.world.note("cloud.ended", error.code)
        except (ConnectionError, TimeoutError) as error:
            self.world.note("cloud.lost", type(error).__name__)
        except Killed:
            return
        except Exception as error:
            self.world.broken.append(error)
            raise

    async def stop(self) -> None:
        if self.tenants is not None:
            await self.tenants.close()
        self.alive = False
        await self.reap()

    async def reap(self) -> None:
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for store in self._stores:
            store.close()
        self._stores.clear()
        if self._registry is not None:
            self._registry.close()
        self.tenants = self._registry = None


class Parts(CompanyParts):
    """Says what the uplink says."""

    world: World

    def link(self, report: LinkReport) -> None:
        self.world.linked(report)
        super().link(report)

    def ack(self, report: AckReport) -> None:
        self.world.acked(report, self.journal.channel(report.channel))
        super().ack(report)


class Board(StatusBoard):
    """Collects what should never be said."""

    def __init__(self, world: World) -> None:
        super().__init__("sim", world.clock.now())
        self._world = world

    def service(self, company: str, report: ServiceReport) -> None:
        super().service(company, report)
        if report.problem is not None and report.problem.code in MISFORTUNES and self._world.agent.alive:
            self._world.broken.append(AssertionError(f"{report.name}: {report.problem.code} {report.problem.message}"))

    def stopped(self, company: str, problem: Problem | None) -> None:
        super().stopped(company, problem)
        self._world.stopped = problem.code if problem else ""
        if problem is not None:
            self._world.note("stopped", problem.code)
            if self._world.agent.alive and problem.code not in self._world.expected:
                self._world.broken.append(AssertionError(f"stopped: {problem.code} {problem.message}"))


class Agent(Side):
    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world, "agent", seed)
        self.folder = world.folder / "state"
        self.sources: list[SqliteSource] = []
        self.supervisor: Supervisor | None = None
        self.parts: Parts | None = None
        self.board: Board | None = None

    @property
    def journal(self) -> Path:
        return self.folder / COMPANY / "journal.db"

    async def start(self) -> None:
        self.alive = True
        world = self.world
        self.board = Board(world)
        self.supervisor = Supervisor(self.runtime, self.board)
        self.parts = Parts(
            world.company,
            CLOUD,
            self.folder,
            self.runtime,
            self.board,
            open_source=self._source,
            dial=world.dial,
            software="sim",
        )
        self.parts.world = world
        world.note("start", "agent")
        self.supervisor.start(COMPANY, self.parts.services())

    def _source(self, company: Company, runtime: Runtime) -> SqliteSource:
        source = SqliteSource(company.source.path, runtime)
        self.sources.append(source)
        return source

    async def stop(self) -> None:
        assert self.supervisor is not None
        await self.supervisor.end(COMPANY)
        self.alive = False
        await self.reap()

    async def reap(self) -> None:
        if self.supervisor is not None:
            self.supervisor.hurry.set()
            await self.supervisor.end(COMPANY)
        for source in self.sources:
            await source.close()
        self.sources.clear()
        if self.parts is not None:
            self.parts.journal.close()

    async def replace(self, company: Company) -> None:
        """As a reload of the configuration does."""
        self.world.company = company
        if self.alive:
            await self.stop()
        await self.world.up(self)

    # -- a person at the agent -------------------------------------------------------------------------------------------

    async def full(self) -> None:
        assert self.parts is not None
        await self.parts.sync("", full=True)

    def take_over(self) -> None:
        assert self.parts is not None
        assert self.supervisor is not None
        self.parts.uplink.take_over()
        self.supervisor.wake(COMPANY)

    async def restored(self, choice: str) -> None:
        assert self.parts is not None
        assert self.supervisor is not None
        await self.parts.restored(choice)
        self.supervisor.wake(COMPANY)


class World:
    """Both sides, the ERP, the link between them, and what must always be true."""

    def __init__(self, folder: Path, seed: int = 1, *, datasets: Sequence[Dataset] = DATASETS, **settings: Any) -> None:
        self.folder = folder
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.trace: list[tuple[Any, ...]] = []
        self.steps: list[str] = []
        self.set_up_steps = 0
        self.broken: list[BaseException] = []
        self.kill: tuple[int, bool] | None = None  # number of a durable step; whether the process ends after it, or before
        self.together = False  # whether both sides end at a kill
        self.power: dict[str, bool] = {}  # name of a side -> what it had not synced is lost when it dies
        self.watch_power = False
        self.down_for: Callable[[], float] = lambda: 1.0  # seconds until a dead side is started again
        self.revive = True
        self.jitter = 0.0  # seconds; upper bound of the link's random latency
        self.slow = 0.0  # seconds; upper bound of the time a blocking call takes
        self.stalled_until = 0.0
        self.refuse = 0.0  # share of connections that do not come about
        self.stopped = ""  # code the company stopped for
        self.expected = {"A2606"}  # codes it may stop for
        self.ingest = IngestSettings("sim", credit_bytes=64 * KIB, credit_frames=6)
        self.company = company_of(folder / "erp.db", datasets, **settings)
        self.erp = SimErp(folder / "erp.db", self.random.getrandbits(32))
        self.agent = Agent(self, self.random.getrandbits(32))
        self.cloud = Cloud(self, self.random.getrandbits(32))
        self._links = Random(self.random.getrandbits(32))
        self._positions: dict[str, Position] = {}
        self._acked: dict[bytes, int] = {}
        self._epoch = 0
        self._snapshots: dict[str, Path] = {}
        self._reviving: dict[str, asyncio.Task[None]] = {}
        self.applied = 0  # windows

    # -- set-up ----------------------------------------------------------------------------------------------------------

    async def set_up(self) -> None:
        """Install, company, enrolment."""
        self.agent.alive = self.cloud.alive = True
        source = SqliteSource(self.erp.path, self.agent.runtime)
        await source.open()
        try:
            await source.install(self.company.datasets)
        finally:
            await source.close()
        self.erp.note()
        self.enrol()
        self.agent.alive = self.cloud.alive = False
        self.set_up_steps = len(self.steps)

    def enrol(self) -> None:
        """A new code, used at once; no connection is needed."""
        key = Ed25519PrivateKey.from_private_bytes(self.random.randbytes(32))
        installation = self.random.randbytes(16)
        self.cloud.folder.mkdir(exist_ok=True)
        runtime = msgspec.structs.replace(self.cloud.runtime, durable=unwatched)
        registry = Registry(self.cloud.folder / "cloud.db", runtime)
        try:
            if registry.company(COMPANY) is None:
                registry.add_company(COMPANY)
            code = registry.new_enrolment_code(COMPANY, 1_000)
            registry.enrol(code, installation, key.public_key().public_bytes_raw())
        finally:
            registry.close()
        self.agent.journal.parent.mkdir(parents=True, exist_ok=True)
        identity = Identity(installation, b"", 0, key.private_bytes_raw(), CLOUD.url, COMPANY)
        IdentityFile(self.agent.journal.with_suffix(".identity"), unwatched).save(identity)

    async def start(self) -> None:
        await self.cloud.start()
        await self.agent.start()

    async def close(self) -> None:
        """However it stands."""
        self.revive = False
        await asyncio.gather(*self._reviving.values(), return_exceptions=True)
        for side in (self.agent, self.cloud):
            side.alive = False
            await side.reap()
        self.erp.close()

    # -- the link --------------------------------------------------------------------------------------------------------

    async def dial(self, _: CloudSettings) -> Link:
        await asyncio.sleep(0.01)
        if not self.cloud.alive or not self.agent.alive or self._links.random() < self.refuse:
            raise Unreachable("T1010", "nobody answers", where=CLOUD.url)
        ours, theirs = FaultyLink.between(self)
        self.agent.links.append(ours)
        self.cloud.accept(theirs)
        return ours

    def latency(self) -> float:
        stall = max(0.0, self.stalled_until - self.clock.seconds)
        return 0.001 + stall + (self._links.uniform(0.0, self.jitter) if self.jitter else 0.0)

    def work_time(self) -> float:
        return self._links.uniform(0.0, self.slow) if self.slow else 0.0

    def cut(self) -> None:
        for link in self.agent.links:
            link.cut()
        self.agent.links.clear()
        self.cloud.links.clear()

    # -- durable steps, death and revival --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def step(self, side: Side, name: str) -> Iterator[None]:
        if not side.alive:
            raise Killed
        number = len(self.steps)
        self.steps.append(name)
        if self.kill == (number, False):
            self._kill(side, "before", name)
        yield
        if name in ("sqlite.repair", "sqlite.incarnation"):
            self.erp.note()
        elif name == "sqlite.witness":
            self.erp.witnessed()
        self._keep(name)
        if self.kill == (number, True):
            self._kill(side, "after", name)

    def _kill(self, side: Side, when: str, name: str) -> None:
        self.kill = None
        self.note("kill", side.name, when, name)
        for other in (self.agent, self.cloud) if self.together else (side,):
            if other.alive:
                other.die()
        raise Killed

    def died(self, side: Side) -> None:
        if self.revive:
            task = asyncio.get_running_loop().create_task(self._revive(side), name=f"revive.{side.name}")
            self._reviving[side.name] = task

    async def _revive(self, side: Side) -> None:
        await side.reap()
        if self.power.get(side.name):
            self._back_to_synced(side)
        await asyncio.sleep(self.down_for())
        del self._reviving[side.name]
        if self.revive:
            await side.start()

    async def up(self, side: Side) -> None:
        """Starts it, unless it was killed meanwhile and is started by itself."""
        if not side.alive and side.name not in self._reviving:
            await side.start()

    async def crash(self, side: Side, change: Callable[[], object] = lambda: None) -> None:
        """Ends it between two steps; `change` is what happens to its files meanwhile."""
        self.note("crash", side.name)
        revive, self.revive = self.revive, False
        side.die()
        self.revive = revive
        await side.reap()
        change()

    # -- files -----------------------------------------------------------------------------------------------------------

    def files(self, family: str) -> list[Path]:
        """The files that one kind of durable step makes durable."""
        if family == "agent":
            bases = [self.agent.journal, self.agent.journal.with_suffix(".identity")]
        else:
            bases = [{"erp": self.erp.path, "store": self.cloud.copy, "registry": self.cloud.folder / "cloud.db"}[family]]
        found = [base.with_name(base.name + suffix) for base in bases for suffix in ("", "-wal")]
        return [path for path in found if path.exists()]

    def save(self, family: str, name: str) -> Path:
        """A copy of these files as they are."""
        place = self.folder / "saved" / f"{family}-{name}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for path in self.files(family):
            shutil.copyfile(path, place / path.name)
        return place

    def put_back(self, family: str, place: Path) -> None:
        """The files of an earlier copy, in the place of those that are there. Nobody may have them open."""
        for path in self.files(family):
            path.unlink()
            path.with_name(path.name.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
        home = {"agent": self.agent.journal.parent, "erp": self.folder, "store": self.cloud.copy.parent}.get(family)
        for path in place.iterdir():
            shutil.copyfile(path, (home or self.cloud.folder) / path.name)

    def put_back_erp(self, place: Path) -> None:
        """The same for the ERP's file, on which the people's connection is opened anew."""
        self.erp.close()
        self.put_back("erp", place)
        self.erp.connect()
        self.erp.went_back()

    def _keep(self, name: str) -> None:
        """What a power cut after this step would leave."""
        if self.watch_power and name not in UNSYNCED:
            family = FAMILIES[name.partition(".")[0]]
            self._snapshots[family] = self.save(family, "synced")

    def _back_to_synced(self, side: Side) -> None:
        self.note("power", side.name)
        for family in ("agent", "erp") if side is self.agent else ("store", "registry"):
            place = self._snapshots.get(family)
            if place is not None and family == "erp":
                self.put_back_erp(place)
            elif place is not None:
                self.put_back(family, place)

    # -- what happens ----------------------------------------------------------------------------------------------------

    def note(self, *event: Any) -> None:
        self.trace.append((round(self.clock.seconds, 6), *event))

    def linked(self, report: LinkReport) -> None:
        self.note("link", report.state, report.code)
        if report.state == "open":
            assert report.epoch > self._epoch, "epochs grow"
            self._epoch = report.epoch

    def acked(self, report: AckReport, channel: Any) -> None:
        self.note("ack", report.channel, report.staged, report.applied)
        self._bounded()
        if channel is not None:
            assert report.applied >= self._acked.get(channel.journal_id, 0), "an ack went back"
            self._acked[channel.journal_id] = report.applied

    def _bounded(self) -> None:
        journal = self.agent.parts.journal if self.agent.parts else None
        assert journal is None or journal.used() <= journal.limit, "the journal outgrew its limit"

    # -- what must be true -----------------------------------------------------------------------------------------------

    def check_copy(self, store: SqliteStore, channel: str) -> None:
        """At an applied window's end each dataset that is not said to be stale is what the ERP was at that position."""
        try:
            self._check_copy(store, channel)
        except AssertionError as error:
            self.broken.append(error)
            raise

    def _check_copy(self, store: SqliteStore, channel: str) -> None:
        self.applied += 1
        state = next(s for s in store.channels() if s.channel == channel)
        if not state.position:
            return
        position = Position.decode(state.position)
        before = self._positions.get(channel)
        if before is not None and before.incarnation == position.incarnation:
            assert position.version >= before.version, f"{channel} went back from {before.version} to {position.version}"
        self._positions[channel] = position
        for dataset in store.datasets():
            if dataset.channel == channel and dataset.state == "live":
                self._check_dataset(dataset.name, position)

    def _check_dataset(self, name: str, position: Position) -> None:
        was, here = self.erp.at(name, position), Copy(self.cloud.copy, name)
        assert any(here.equals(rows) for rows in was), f"{name} at {position.version}: {here.difference(was[-1])}"

    def keeps(self, channels: Collection[str]) -> None:
        """The copy has no position in other channels any more: a journal that knows of them begins anew."""
        self._positions = {channel: position for channel, position in self._positions.items() if channel in channels}

    def went_back(self, *, copy: bool = False) -> None:
        """Files were put back: so are acks, epochs where neither side knows better, and, with the copy's file, positions."""
        self._acked.clear()
        if copy:
            self._positions.clear()
        identity = IdentityFile(self.agent.journal.with_suffix(".identity"), self.agent.runtime.durable).load()
        with contextlib.closing(sqlite3.connect(self.cloud.folder / "cloud.db")) as db:
            granted = db.execute("SELECT max(epoch) FROM company").fetchone()[0]
        self._epoch = min(self._epoch, max(identity.epoch if identity else 0, granted or 0))

    # -- the end ---------------------------------------------------------------------------------------------------------

    def positions(self) -> dict[str, Position]:
        if not self.cloud._stores:  # nobody has asked for the copy yet
            return {}
        with contextlib.closing(sqlite3.connect(self.cloud.copy)) as db:
            found = db.execute("SELECT name, position FROM _channel WHERE position <> x''").fetchall()
        return {name: Position.decode(position) for name, position in found}

    def states(self) -> dict[str, str]:
        stores = self.cloud._stores
        return {d.name: d.state for d in stores[-1].datasets()} if stores else {}

    def current(self) -> bool:
        """Whether the copy says of itself that it has everything."""
        channels = {d.channel for d in self.company.datasets}
        states, positions = self.states(), self.positions()
        names = {d.name for d in self.company.datasets}
        return (
            channels <= positions.keys()
            and all(self.erp.knows(positions[c]) and not positions[c].loads for c in channels)
            and names <= states.keys()
            and all(states[name] == "live" for name in names)
            and all(self.erp.settled(name) for name in names)
        )

    async def converge(self, seconds: float = 300.0, *, person: bool = True) -> float:
        """Virtual seconds until the copy is current; it is equal then. `person`: somebody does what health asks for."""
        began = self.clock.seconds
        while not self._whole():
            self.fail_if_broken()
            if self.clock.seconds - began > seconds:
                raise AssertionError(f"not current after {seconds:.0f} s: {self.standing()}")
            await asyncio.sleep(1.0)
            if person:
                await self.act()
        self.fail_if_broken()
        self.assert_equal()
        return self.clock.seconds - began

    def _whole(self) -> bool:
        return not self._reviving and self.agent.alive and self.cloud.alive and self.current()

    async def act(self) -> None:
        """What a person does who reads health: takes over, says that the database is the real one, accepts held loads."""
        if self.stopped == "A2606" and self.agent.alive:
            self.note("takeover")
            self.agent.take_over()
        elif self.stopped in ("A2401", "A2402") and self.agent.alive:
            self.note("restored real")
            with contextlib.suppress(Killed):
                await self.agent.restored("real")
        for name, state in self.states().items():
            if state == "held" and self.cloud.alive:
                assert self.cloud.tenants is not None
                tenant = await self.cloud.tenants.tenant(COMPANY)
                self.note("approve", name)
                with contextlib.suppress(Killed):
                    await tenant.write(lambda store, name=name: store.approve(name))  # type: ignore[misc]

    def fail_if_broken(self) -> None:
        if self.broken:
            raise self.broken[0]

    def assert_equal(self, names: Iterable[str] | None = None) -> None:
        for name in names or [d.name for d in self.company.datasets]:
            erp, copy = self.erp.rows(name), Copy(self.cloud.copy, name)
            assert copy.equals(erp), (name, copy.difference(erp))

    def standing(self) -> dict[str, Any]:
        board = self.agent.board
        company = board.health(self.clock.now()).companies if board else ()
        return {
            "erp": self.erp.version,
            "cloud": {name: p.version for name, p in self.positions().items()},
            "states": self.states(),
            "stopped": self.stopped,
            "services": [(s.name, s.state.value, s.problem.code if s.problem else "") for c in company for s in c.services],
            "problems": [(p.code, p.where, p.message) for c in company for p in c.problems],
        }


def company_of(erp: Path, datasets: Sequence[Dataset], **settings: Any) -> Company:
    values: dict[str, Any] = {
        "poll": 1.0,
        "journal_limit": 512 * KIB,
        "window_limit": 64 * KIB,
        "page_rows": 25,
        "retention": 7 * 86_400.0,
        **settings,
    }
    return Company(
        name=COMPANY,
        source=SourceSettings(path=erp),
        active=True,
        channels=tuple(Channel(name=name) for name in dict.fromkeys(d.channel for d in datasets)),
        datasets=tuple(datasets),
        **values,
    )


class Copy:
    """A dataset as a person sees it who opens the copy."""

    def __init__(self, copy: Path, dataset: str) -> None:
        self._keys = KEYS[dataset]
        columns = QUERIES[dataset].split(" FROM ")[0]
        with contextlib.closing(connect(copy)) as db:
            rows = db.execute(f'{columns} FROM "{dataset}"').fetchall()
            withheld = db.execute(
                "SELECT key FROM _withheld JOIN _generation USING (dataset, number) WHERE dataset = ? AND visible", (dataset,)
            ).fetchall()
        assert len(set(rows)) == len(rows)
        self.rows = frozenset(rows)
        self.withheld = {tuple(msgspec.msgpack.decode(key)) for (key,) in withheld}

    def equals(self, erp: Rows) -> bool:
        """Exactly the rows that cannot be carried are withheld, all others are the same."""
        bad = {row[: self._keys] for row in erp if BAD in row}
        return bad == self.withheld and self._carried(erp) == self._carried(self.rows)

    def _carried(self, rows: Rows) -> Rows:
        return frozenset(row for row in rows if row[: self._keys] not in self.withheld)

    def difference(self, erp: Rows) -> str:
        missing, extra = self._carried(erp) - self._carried(self.rows), self._carried(self.rows) - self._carried(erp)
        return f"missing {some(missing)}, extra {some(extra)}, withheld {sorted(self.withheld)}"


def some(rows: Rows) -> str:
    return f"{len(rows)} {sorted(repr(row)[:80] for row in rows)[:3]}"


@contextlib.contextmanager
def small_buffers(clean_up: float = 3600.0) -> Iterator[None]:
    """Windows are written, and old records removed, in portions as if they were large and old."""
    with mock.patch("cdc.journal.FLUSH", 2 * KIB), mock.patch("cdc.company.CLEAN_UP", clean_up):
        yield


async def lived(world: World, life: Callable[[World], Awaitable[Any]]) -> Any:
    """`life` in a world that is set up, and taken down afterwards, whatever happened."""
    try:
        await world.set_up()
        return await life(world)
    finally:
        await world.close()
