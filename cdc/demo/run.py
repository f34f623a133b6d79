"""shell: the demo: a generated ERP, cloud and agent as real processes over TLS, people at work, and the comparison."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import aiohttp

from cdc.demo import company
from cdc.demo.deeds import Deed
from cdc.demo.installation import DemoFailed, Installation, Paths
from cdc.demo.progress import caught_up, problems, progress
from cdc.demo.screen import Screen
from cdc.demo.watching import EventReader, Watch, summary
from cdc.demo.work import Worker
from cdc.host import Signals
from transport.machine import system_runtime
from transport.runtime import Executor, Runtime

WORK_SECONDS = 20.0  # with `once`
SYNC_PATIENCE = 180.0  # seconds for the full sync
CATCH_UP_PATIENCE = 60.0
ARRIVAL_PATIENCE = 5.0  # for the last deeds to be seen
PAUSES = (0.05, 0.15, 0.3, 0.6)  # seconds between deeds
REDRAW = 0.2  # seconds
COMPARE = Path(__file__).with_name("compare.py")


class Options(NamedTuple):
    """What the command line says."""

    once: bool = False  # stop after a while; the exit status says whether both sides are equal
    folder: Path | None = None  # kept; None: a temporary folder
    seed: int = 2026
    employees: int = 300
    years: int = 3
    seconds: float = WORK_SECONDS  # of work, with `once`


async def demo(options: Options) -> int:
    """Run it to its end. Returns 0 only if both sides are equal."""
    screen = Screen(sys.stdout)
    try:
        with _folder(options) as folder, Signals() as signals:
            return await _Demo(options, Paths.within(folder), screen, signals, system_runtime()).run()
    except DemoFailed as problem:
        screen.say(f"The demo cannot go on: {problem}")
        return 1


@contextlib.contextmanager
def _folder(options: Options) -> Iterator[Path]:
    """A folder that is kept if it was named, and removed otherwise."""
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        if any(options.folder.iterdir()):
            raise DemoFailed(f"{options.folder} is not empty; name a new folder, or empty it")
        yield options.folder.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="cdc-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    """One run of the demo."""

    def __init__(self, options: Options, paths: Paths, screen: Screen, signals: Signals, runtime: Runtime) -> None:
        self._options = options
        self._paths = paths
        self._screen = screen
        self._signals = signals
        self._runtime = runtime
        self._datasets = company.datasets()
        self._watch = Watch()
        self._following = asyncio.Event()
        self._synced = False

    async def run(self) -> int:
        """All of it. Raises DemoFailed."""
        erp = self._runtime.executor("erp")
        try:
            totals = await self._make_company(erp)
            installation = Installation(self._paths, self._datasets, self._runtime.clock.now())
            try:
                await self._start(installation)
                await self._full_sync(installation, totals)
                if self._synced:
                    await self._people_at_work(installation, erp)
                    await self._catch_up(installation)
            finally:
                await installation.close()
        finally:
            erp.close()
        if self._signals.hurry.is_set() or not self._synced:
            self._screen.say("Stopped before there was something to compare")
            return 1
        return await self._compare()

    # -- phases ----------------------------------------------------------------------------------------------------------

    async def _make_company(self, erp: Executor) -> dict[str, int]:
        """Rows by dataset."""
        options, path, began = self._options, self._paths.erp, self._runtime.clock.monotonic()
        made = await erp.run(lambda: company.create(path, options.seed, options.employees, options.years))
        took = self._runtime.clock.monotonic() - began
        self._screen.say(
            f"ERP: a company with {made.employees} employees over {options.years} years, "
            f"{made.total:,} rows in {len(made.rows)} tables ({took:.1f} s)"
        )
        return await erp.run(lambda: _count(path))

    async def _start(self, installation: Installation) -> None:
        await installation.set_up()
        where = f"; files are in {self._paths.folder}" if self._options.folder else ""
        self._screen.say(f"Cloud and agent run as processes of their own, connected by TLS{where}")

    async def _full_sync(self, installation: Installation, totals: dict[str, int]) -> None:
        clock, whole = self._runtime.clock, sum(totals.values())
        channels = {d.name: d.channel for d in self._datasets}
        began = clock.monotonic()
        told: set[str] = set()
        while not self._signals.stop.is_set():
            health = await installation.health()
            state, took = progress(health, totals, channels), clock.monotonic() - began
            for problem in [p for p in problems(health) if p not in told]:
                told.add(problem)
                self._screen.say(f"The agent's health: {problem}")
            rate = f"{state.rows / took:,.0f} rows/s" if took else ""
            self._screen.bar(state.rows, whole, f"{rate}  {state.now}")
            if state.done:
                self._synced = True
                self._screen.say(f"Full sync: {whole:,} rows in {took:.1f} s")
                return
            if took > SYNC_PATIENCE:
                raise DemoFailed("the full sync takes too long: " + ("; ".join(problems(health)) or "health knows no reason"))
            await self._pause(REDRAW)

    async def _people_at_work(self, installation: Installation, erp: Executor) -> None:
        self._screen.say("People work in the ERP; what they do arrives in the cloud" + self._how_it_ends())
        clock = self._runtime.clock
        rng = Random(self._options.seed)  # noqa: S311 (pauses)
        worker = await erp.run(lambda: Worker(self._paths.erp, self._options.seed))
        following = asyncio.create_task(self._follow(installation), name="demo.follow")
        try:
            await self._await_stream(following)
            end = clock.monotonic() + self._options.seconds if self._options.once else float("inf")
            while clock.monotonic() < end and not self._signals.stop.is_set():
                deed, at = await erp.run(lambda: self._act(worker))
                self._watch.did(deed, at)
                await self._pause(rng.choice(PAUSES))
                if following.done():
                    following.result()
            await self._await_arrivals()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await erp.run(worker.close)
        self._screen.say(summary(self._watch))

    def _how_it_ends(self) -> str:
        return f" (for {self._options.seconds:.0f} s):" if self._options.once else " (Ctrl-C ends it with a comparison):"

    def _act(self, worker: Worker) -> tuple[Deed, float]:
        """In the ERP's thread: the time is taken right after the commit."""
        try:
            return worker.step(), self._runtime.clock.monotonic()
        except sqlite3.OperationalError as problem:
            raise DemoFailed(f"the ERP database: {problem}") from problem

    async def _follow(self, installation: Installation) -> None:
        reader = EventReader()
        try:
            async with installation.follow() as response:
                if response.status != 200:
                    raise DemoFailed(f"the cloud's API answers {response.status}: {await response.text()}")
                async for line in response.content:
                    self._following.set()
                    event = reader.line(line.decode().rstrip("\r\n"))
                    if event is not None:
                        for arrival in self._watch.seen(event, self._runtime.clock.monotonic()):
                            deed = arrival.deed
                            self._screen.say(f"  {arrival.latency:5.2f} s  {deed.dataset:<20} {deed.polish}  ({deed.english})")
        except aiohttp.ClientError as problem:
            raise DemoFailed(f"the cloud's stream of changes broke: {problem}") from problem
        raise DemoFailed("the cloud ended its stream of changes")

    async def _await_stream(self, following: asyncio.Task[None]) -> None:
        """Until the stream is open, so that no latency includes its opening."""
        opened = asyncio.create_task(self._following.wait())
        await asyncio.wait([opened, following], return_when=asyncio.FIRST_COMPLETED, timeout=CATCH_UP_PATIENCE)
        opened.cancel()
        if following.done():
            following.result()

    async def _await_arrivals(self) -> None:
        """A row inserted and deleted again between two polls is never seen: so not for ever."""
        end = self._runtime.clock.monotonic() + ARRIVAL_PATIENCE
        while self._watch.waiting and self._runtime.clock.monotonic() < end and not self._signals.hurry.is_set():  # noqa: ASYNC110
            await asyncio.sleep(REDRAW)

    async def _catch_up(self, installation: Installation) -> None:
        clock = self._runtime.clock
        since, end = clock.now(), clock.monotonic() + CATCH_UP_PATIENCE
        while not caught_up(health := await installation.health(), since):
            if self._signals.hurry.is_set():
                return
            if clock.monotonic() > end:
                reasons = "; ".join(problems(health)) or "health knows no reason"
                raise DemoFailed(f"the cloud has not caught up after {CATCH_UP_PATIENCE:.0f} s: {reasons}")
            await asyncio.sleep(REDRAW)

    async def _compare(self) -> int:
        """In a process of its own, of the standard library alone."""
        self._screen.say("Both stopped. ERP and copy, compared row by row and value by value:\n")
        paths = self._paths
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(COMPARE), str(paths.erp), str(paths.copy), "--datasets", str(paths.declared)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        self._screen.say(out.decode(errors="replace").rstrip())
        return process.returncode or 0

    async def _pause(self, seconds: float) -> None:
        """Ends early when the demo shall stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signals.stop.wait()


def _count(path: Path) -> dict[str, int]:
    """Rows by dataset, as declared."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {
            d.name: int(database.execute(f'SELECT count(*) FROM "{d.table}" WHERE {d.filter or 1}').fetchone()[0])
            for d in company.datasets()
        }
