"""shell: takes a changed configuration into force, whole or not at all, without a restart.

Three doors, one `reload()`: the file changed (file events, and a look every few seconds, since events get lost: on network
drives, after an overflow, when a name in the folder is not UTF-8), SIGHUP, and the control API. Everything is parsed and
checked, every subscriber verifies, then every subscriber commits; whoever objects leaves the old configuration in force.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from cdc.board import StatusBoard
from cdc.config import Changes, Config, Loaded, Text, diff, load
from cdc.errors import AgentError, ConfigError, ProgramStopped
from cdc.logs import logger
from cdc.model import Severity
from cdc.status import ConfigHealth, Problem, config_problems, notice
from transport.runtime import Runtime

LOOK = 5.0  # seconds between two looks at the files without an event
SETTLE = 0.2  # seconds in which a file must not change: an editor may write it in pieces
SETTLE_TRIES = 50
MAX_FILE = 4 * 1024 * 1024  # bytes of one configuration file

Watch = Callable[[Path, asyncio.Event], AsyncIterator[None]]


class Subscriber(Protocol):
    """A part of the program that the configuration concerns."""

    async def verify(self, old: Config, new: Config, changes: Changes) -> Sequence[AgentError]:
        """What speaks against the new configuration; changes nothing."""
        ...

    async def commit(self, old: Config, new: Config, changes: Changes) -> None:
        """Applies it; must not fail for anything `verify` could have seen."""
        ...


class Reloaded(NamedTuple):
    """What a reload came to; `changes` is empty when the file says nothing new."""

    config: Config
    changes: Changes

    def words(self) -> list[str]:
        """For people."""
        return described(self.changes)


class Reloader:
    """The service that keeps the configuration in force; `config` is it."""

    def __init__(
        self,
        path: Path,
        config: Config,
        texts: Sequence[Text],
        board: StatusBoard,
        runtime: Runtime,
        *,
        watch: Watch | None = None,
        look: float = LOOK,
    ) -> None:
        self.path = path
        self.config = config
        self._started = config
        self._seen = digest(texts)
        self._board = board
        self._runtime = runtime
        self._watch = watch or file_events
        self._look = look
        self._subscribers: list[Subscriber] = []
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()
        self._log = logger(__name__)
        self.looked = asyncio.Event()  # set after each look at the files; whoever waits for one clears it
        if board.config.loaded_at is None:
            board.config = ConfigHealth(loaded_at=runtime.clock.now())

    def subscribe(self, subscriber: Subscriber) -> None:
        """Asked and told at each reload, in the order of subscription."""
        self._subscribers.append(subscriber)

    def ask(self) -> None:
        """Reloads soon (SIGHUP)."""
        self._asked.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Watches until `stop`. A refused file is shown in health and in the log, and is no error of the service."""
        changed = asyncio.Event()
        watcher = asyncio.create_task(self._events(stop, changed), name="reload.events")
        try:
            while not stop.is_set():
                await _any(self._look, stop, self._asked, changed)
                if stop.is_set():
                    break
                changed.clear()
                await self._maybe()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def reload(self) -> Reloaded:
        """Reads the files and takes them into force. Raises ConfigError (mistakes, or objections): the old one stays."""
        async with self._lock:
            texts = await self._settled()
            self._seen = digest(texts)
            return await self._take(texts)

    async def _maybe(self) -> None:
        """Reloads if asked to, or if the files say something else than when last looked at."""
        asked = self._asked.is_set()
        self._asked.clear()
        try:
            if asked or digest(await self._read()) != self._seen:
                await self.reload()
        except ConfigError:
            pass  # reload has put it into log and health; nobody waits for an answer here
        finally:
            self.looked.set()

    async def _take(self, texts: Sequence[Text]) -> Reloaded:
        loaded = load(texts)
        problems: Sequence[AgentError] = loaded.problems
        if loaded.config is None or problems:
            raise self._refused(problems)
        new, old = loaded.config, self.config
        changes = diff(old, new)
        if changes:
            objections = [o for s in self._subscribers for o in await s.verify(old, new, changes)]
            if objections:
                raise self._refused(objections)
            await self._commit(old, new, changes)
        self._in_force(new, changes)
        return Reloaded(new, changes)

    async def _commit(self, old: Config, new: Config, changes: Changes) -> None:
        """Every subscriber is told, also after one that fails: half of the program with the old settings would be worse."""
        self.config = new
        failures: list[Exception] = []
        for subscriber in self._subscribers:
            try:
                await subscriber.commit(old, new, changes)
            except Exception as error:  # noqa: BLE001 (the boundary: shown below, and raised again)
                self._log.error("config.commit", error=error, subscriber=type(subscriber).__name__)
                failures.append(error)
        if failures:
            words = "the new configuration is in force, but a part of the program could not take it"
            raise self._refused([_failed(error) for error in failures], words)

    def _in_force(self, new: Config, changes: Changes) -> None:
        self.config = new
        now = self._runtime.clock.now()
        self._board.follow(new)
        self._board.config = ConfigHealth(loaded_at=now, problems=self._pending())
        self._log.info("config.reloaded", changes=described(changes))

    def _pending(self) -> tuple[Problem, ...]:
        """What still waits for a restart of the program, whichever reload brought it."""
        now = self._runtime.clock.now()
        return tuple(
            notice("A2006", "applies after a restart of the agent", where, Severity.WARNING, now)
            for where in diff(self._started, self.config).restart
        )

    def _refused(self, problems: Sequence[AgentError], words: str = "the old configuration stays in force") -> ConfigError:
        now = self._runtime.clock.now()
        head = notice("A2005", words, self.path.name, Severity.ERROR, now)
        shown = (head, *config_problems(problems, now), *self._pending())
        self._board.config = ConfigHealth(loaded_at=self._board.config.loaded_at, refused_at=now, problems=shown)
        for problem in problems:
            self._log.warning("config.refused", error=problem)
        return ConfigError(list(problems))

    async def _settled(self) -> list[Text]:
        """The files once they have stopped changing; half a file could be valid and mean something else."""
        texts = await self._read()
        for _ in range(SETTLE_TRIES):
            await asyncio.sleep(SETTLE)
            again = await self._read()
            if again == texts:
                break
            texts = again
        return texts

    async def _read(self) -> list[Text]:
        executor = self._runtime.executor("config")
        try:
            return await executor.run(lambda: read_files(self.path))
        finally:
            executor.close()

    async def _events(self, stop: asyncio.Event, changed: asyncio.Event) -> None:
        folder = self.path if await self._is_folder() else self.path.parent
        try:
            async for _ in self._watch(folder, stop):
                changed.set()
        except Exception as error:  # noqa: BLE001 (whatever the watcher meets, looking every few seconds goes on)
            self._log.warning("config.watch", error=AgentError("A2007", f"({type(error).__name__})", where=str(folder)))

    async def _is_folder(self) -> bool:
        executor = self._runtime.executor("config")
        try:
            return await executor.run(self.path.is_dir)
        finally:
            executor.close()


def read_files(path: Path) -> list[Text]:
    """The file, or every *.toml of a folder in order of name; what cannot be read says why. Blocking."""
    try:
        paths = sorted(p for p in path.iterdir() if p.suffix == ".toml") if path.is_dir() else [path]
    except OSError as error:
        return [Text(path, None, error.strerror or type(error).__name__)]
    return [_read_one(p) for p in paths] or [Text(path, None, "the folder has no .toml file")]


def check(path: Path) -> list[AgentError]:
    """Every mistake of a configuration, for `cdc check`. Blocking."""
    return list(load(read_files(path)).problems)


def load_files(path: Path) -> tuple[Loaded, list[Text]]:
    """What the files say, and the texts, for the start of the program. Blocking; never raises for what stands in them."""
    texts = read_files(path)
    return load(texts), texts


def described(changes: Changes) -> list[str]:
    """The changes in words."""
    words = [f"{key}: applied" for key in changes.live]
    words += [f"company {name}: started" for name in changes.added]
    words += [f"company {name}: stopped" for name in changes.removed]
    words += [f"company {name}: its services were started anew" for name in changes.restarted]
    words += [f"{key}: applies after a restart of the agent" for key in changes.restart]
    return words or ["nothing has changed"]


def digest(texts: Sequence[Text]) -> bytes:
    """Equal when the files say the same."""
    return hashlib.sha256(msgspec.json.encode([(str(t.path), t.content, t.problem) for t in texts])).digest()


async def file_events(folder: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """One item for each burst of changes in a folder, until `stop`. Raises what the operating system's watcher raises."""
    from watchfiles import awatch

    async for _ in awatch(folder, stop_event=stop, recursive=False, debounce=400, rust_timeout=1_000, yield_on_timeout=False):
        yield None


def _read_one(path: Path) -> Text:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            return Text(path, None, "is larger than a configuration can be")
        return Text(path, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Text(path, None, f"is not UTF-8 (byte {error.start})")
    except OSError as error:
        return Text(path, None, error.strerror or type(error).__name__)


def _failed(error: Exception) -> AgentError:
    if isinstance(error, AgentError):
        return error
    return ProgramStopped("A2005", f"a part of the program could not take it ({type(error).__name__})")


async def _any(seconds: float, *events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
