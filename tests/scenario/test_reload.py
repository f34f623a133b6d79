"""The configuration is edited while the agent runs: taken whole or not at all, and shown either way."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from cdc.board import StatusBoard
from cdc.config import Changes, Config
from cdc.errors import AgentError, ConfigError
from cdc.reload import Reloader, load_files
from tests.support.virtual import VirtualClock, run_virtually, virtual_runtime
from transport.machine import system_runtime
from transport.runtime import Runtime

HEAD = 'version = 1\n[cloud]\nurl = "https://cloud.example"\n'


def company(name: str, poll: str = "1s") -> str:
    return f'[[company]]\nname = "{name}"\nsource = {{ kind = "sqlite", path = "erp.db" }}\npoll = "{poll}"\n'


class Part:
    """A subscriber that may object, or fail; notes what it was told."""

    def __init__(self) -> None:
        self.objection: AgentError | None = None
        self.failure: Exception | None = None
        self.committed: list[Changes] = []
        self.told = asyncio.Event()

    async def verify(self, old: Config, new: Config, changes: Changes) -> Sequence[AgentError]:
        return [self.objection] if self.objection else []

    async def commit(self, old: Config, new: Config, changes: Changes) -> None:
        if self.failure:
            raise self.failure
        self.committed.append(changes)
        self.told.set()


class Stage:
    """A configuration file with a reloader on it; `look` far away, so that only events can bring news."""

    def __init__(self, path: Path, runtime: Runtime, *, look: float = 600.0, watch=None) -> None:
        self.path = path
        if not path.exists():
            path.write_text(HEAD + company("acme"))
        loaded, texts = load_files(path)
        self.board = StatusBoard("1.0", runtime.clock.now())
        self.board.loaded(loaded, runtime.clock.now())
        self.reloader = Reloader(path, loaded.required(), texts, self.board, runtime, look=look, watch=watch)
        self.part = Part()
        self.reloader.subscribe(self.part)
        self.stop = asyncio.Event()

    @property
    def companies(self) -> list[str]:
        return [c.name for c in self.reloader.config.companies]

    @property
    def problems(self) -> list[str]:
        return [p.code for p in self.board.config.problems]

    async def looked(self) -> None:
        await asyncio.wait_for(self.reloader.looked.wait(), 20)
        self.reloader.looked.clear()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await self.looked()

    def replace(self, text: str) -> None:
        """As editors save: a new file, renamed over the old one."""
        fresh = self.path.with_name(".agent.toml.swp")
        fresh.write_text(text)
        fresh.replace(self.path)


@contextlib.asynccontextmanager
async def watching(stage: Stage) -> AsyncIterator[Stage]:
    """The service runs, and the operating system's watcher is in place: it reports files until one is seen."""
    task = asyncio.create_task(stage.reloader.run(stage.stop))
    try:
        for i in range(200):
            (stage.path.parent / "probe").write_text(str(i))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stage.reloader.looked.wait(), 0.1)
                break
        stage.reloader.looked.clear()
        yield stage
    finally:
        stage.stop.set()
        await asyncio.wait_for(task, 10)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with watching(Stage(tmp_path / "agent.toml", system_runtime())) as made:
        yield made


# -- editing the file ------------------------------------------------------------------------------------------------------


async def test_an_edited_file_is_taken_into_force(stage: Stage) -> None:
    stage.path.write_text(HEAD + company("acme") + company("beta"))
    await asyncio.wait_for(stage.part.told.wait(), 20)
    assert stage.part.committed == [Changes(added=("beta",))]
    assert stage.companies == ["acme", "beta"]


async def test_a_file_that_is_replaced_by_rename_is_taken_into_force(stage: Stage) -> None:
    stage.replace(HEAD + company("beta"))
    await asyncio.wait_for(stage.part.told.wait(), 20)
    assert stage.part.committed == [Changes(added=("beta",), removed=("acme",))]
    stage.part.told.clear()
    stage.replace(HEAD + company("beta", "2s"))
    await asyncio.wait_for(stage.part.told.wait(), 20)
    assert stage.part.committed[1:] == [Changes(restarted=("beta",))]


async def test_a_bad_file_leaves_the_old_one_in_force_and_is_shown_until_it_is_mended(stage: Stage) -> None:
    before = stage.reloader.config
    stage.path.write_text(HEAD + company("acme", "soon") + company("Beta") + "colour = 1\n")
    await stage.until(lambda: bool(stage.problems))
    assert stage.problems == ["A2005", "A2003", "A2003", "A2003"]
    assert stage.board.config.refused_at is not None
    assert stage.reloader.config is before
    assert stage.part.committed == []
    health = stage.board.health(stage.board.started_at)
    assert health.status == "degraded"
    assert [p.where for p in health.problems][1] == "agent.toml: company[acme].poll"
    stage.replace(HEAD + company("acme", "2s"))
    await asyncio.wait_for(stage.part.told.wait(), 20)
    await stage.until(lambda: not stage.problems)
    assert stage.reloader.config.companies[0].poll == 2.0
    assert stage.board.config.refused_at is None


async def test_a_bad_file_that_is_undone_clears_health(stage: Stage) -> None:
    good = stage.path.read_text()
    stage.path.write_text("[[[")
    await stage.until(lambda: stage.problems == ["A2005", "A2002"])
    stage.path.write_text(good)
    await stage.until(lambda: not stage.problems)
    assert stage.part.committed == []


async def test_a_file_that_is_gone_is_a_bad_file(stage: Stage) -> None:
    good = stage.path.read_text()
    stage.path.unlink()
    await stage.until(lambda: stage.problems == ["A2005", "A2001"])
    assert stage.companies == ["acme"]
    stage.path.write_text(good)
    await stage.until(lambda: not stage.problems)


async def test_touching_the_file_or_others_beside_it_changes_nothing(stage: Stage) -> None:
    stage.path.touch()
    (stage.path.parent / "notes.txt").write_text("x")
    await stage.looked()
    assert stage.part.committed == []


async def test_a_name_that_is_not_utf8_in_the_folder_does_not_end_the_watching(tmp_path: Path) -> None:
    async with watching(Stage(tmp_path / "agent.toml", system_runtime(), look=0.5)) as stage:
        os.close(os.open(os.fsencode(tmp_path) + b"/odd\xff\xfe", os.O_CREAT | os.O_WRONLY))
        await stage.looked()
        stage.replace(HEAD + company("beta"))
        await asyncio.wait_for(stage.part.told.wait(), 20)
        assert stage.companies == ["beta"]


async def test_a_folder_is_watched_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "00.toml").write_text(HEAD)
    (folder / "acme.toml").write_text("version = 1\n" + company("acme"))
    async with watching(Stage(folder, system_runtime(), look=0.5)) as stage:
        (folder / "beta.toml").write_text("version = 1\n" + company("beta"))
        await asyncio.wait_for(stage.part.told.wait(), 20)
        assert stage.companies == ["acme", "beta"]


# -- the other doors, and who objects --------------------------------------------------------------------------------------


async def test_a_signal_reloads_without_any_event(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "agent.toml", system_runtime(), watch=_nothing)
    async with watching_only_asked(stage):
        stage.path.write_text(HEAD + company("beta"))
        stage.reloader.ask()
        await asyncio.wait_for(stage.part.told.wait(), 20)
        assert stage.companies == ["beta"]


async def _nothing(folder: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """A watcher that never sees anything."""
    await stop.wait()
    return
    yield


@contextlib.asynccontextmanager
async def watching_only_asked(stage: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(stage.reloader.run(stage.stop))
    try:
        yield
    finally:
        stage.stop.set()
        await task


async def test_an_order_gets_the_answer(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "agent.toml", system_runtime())
    assert (await stage.reloader.reload()).words() == ["nothing has changed"]
    stage.path.write_text(HEAD + company("acme", "2s") + company("beta"))
    assert (await stage.reloader.reload()).words() == [
        "company beta: started",
        "company acme: its services were started anew",
    ]
    stage.path.write_text("version = 2")
    with pytest.raises(ConfigError) as caught:
        await stage.reloader.reload()
    assert [p.code for p in caught.value.problems] == ["A2003", "A2003"]


async def test_whoever_objects_keeps_everyone_at_the_old_configuration(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "agent.toml", system_runtime())
    objecting = Part()
    objecting.objection = AgentError("A2517", "a load is under way", where="beta")
    stage.reloader.subscribe(objecting)
    stage.path.write_text(HEAD + company("beta"))
    with pytest.raises(ConfigError, match="a load is under way"):
        await stage.reloader.reload()
    assert stage.companies == ["acme"]
    assert stage.part.committed == []
    assert stage.problems == ["A2005", "A2517"]


async def test_a_part_that_fails_to_take_it_is_shown_and_the_others_are_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "agent.toml", system_runtime())
    other = Part()
    stage.reloader.subscribe(other)
    stage.part.failure = ValueError("hunter2")
    stage.path.write_text(HEAD + company("beta"))
    with pytest.raises(ConfigError) as caught:
        await stage.reloader.reload()
    assert "hunter2" not in str(caught.value)
    assert other.committed == [Changes(added=("beta",), removed=("acme",))]
    assert stage.companies == ["beta"]
    assert "is in force" in stage.board.config.problems[0].message


async def test_what_needs_a_restart_is_shown_until_it_is_undone(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "agent.toml", system_runtime())
    good = stage.path.read_text()
    stage.path.write_text(good + '[agent]\nlisten = "127.0.0.1:9999"\n')
    assert (await stage.reloader.reload()).words() == ["agent.listen: applies after a restart of the agent"]
    assert stage.problems == ["A2006"]
    stage.path.write_text(good + '[agent]\nlisten = "127.0.0.1:9999"\nfresh = "9m"\n')
    await stage.reloader.reload()
    assert stage.problems == ["A2006"]
    assert stage.board.companies["acme"].limits.fresh == 540.0
    stage.path.write_text(good)
    await stage.reloader.reload()
    assert stage.problems == []


def test_a_file_that_is_still_being_written_is_not_taken_half(tmp_path: Path) -> None:
    """Its first half is a right configuration by itself: it would stop a company."""
    clock = VirtualClock()

    async def main() -> None:
        stage = Stage(tmp_path / "agent.toml", virtual_runtime(clock, 1), look=1.0, watch=_nothing)
        halves = [HEAD, company("acme"), company("beta")]

        async def write() -> None:
            await asyncio.sleep(0.9)
            for i in range(1, 4):
                stage.path.write_text("".join(halves[:i]))
                await asyncio.sleep(0.15)

        writing = asyncio.create_task(write())
        task = asyncio.create_task(stage.reloader.run(stage.stop))
        await stage.part.told.wait()
        assert stage.part.committed == [Changes(added=("beta",))]
        stage.stop.set()
        await task
        await writing

    run_virtually(clock, main())


def test_without_any_watcher_the_files_are_looked_at_every_few_seconds(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def broken(folder: Path, stop: asyncio.Event) -> AsyncIterator[None]:
        raise OSError("no inotify")
        yield

    async def main() -> float:
        stage = Stage(tmp_path / "agent.toml", virtual_runtime(clock, 1), look=5.0, watch=broken)
        task = asyncio.create_task(stage.reloader.run(stage.stop))
        await asyncio.sleep(7)
        stage.path.write_text(HEAD + company("beta"))
        await stage.part.told.wait()
        found = clock.seconds
        stage.stop.set()
        await task
        return found

    assert 10.0 <= run_virtually(clock, main()) < 11.0
