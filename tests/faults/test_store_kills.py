"""The cloud's databases after a kill at any durable step, or between them: nothing half done, nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.errors import RegistryError
from cloud.store.base import Staged
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from tests.support.store_feeder import JOURNAL, PEOPLE, Feeder, batch, cells_of, manual_runtime, person
from transport.codec import decode, schema_id
from transport.frames import Column, Detach, LoadBegin, LoadEnd, Op, Schema, StreamMessage, Type, WindowEnd

WIDER = Schema("people", "hr", "up", [*PEOPLE.columns, Column("town", Type.TEXT, nullable=True)])


ENDS = (6, 8, 10, 16, 18, 22, 24, 26)  # seqs of the window ends of `history`
HELD_FOR_ONE_WINDOW = 24


class Killed(BaseException):
    """The process is gone."""


class Steps:
    """Counts durable steps; kills at one of them, just before it or just after."""

    def __init__(self, kill_at: int = -1, after: bool = False) -> None:
        self.names: list[str] = []
        self._kill_at = kill_at
        self._after = after

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        mine = len(self.names)
        self.names.append(step)
        if mine == self._kill_at and not self._after:
            raise Killed
        yield
        if mine == self._kill_at:
            raise Killed


def as_left_by_a_kill(path: Path, folder: Path) -> Path:
    """What the file system has at this moment, while the connection that wrote it still holds its transaction."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, folder / source.name)
    return folder / path.name


# -- the store ---------------------------------------------------------------------------------------------------------------


def history(frames: Callable[..., list[Staged]], end: Callable[..., WindowEnd]) -> list[list[Staged]]:
    """What an agent sends, cut as it is staged or applied: loads, changes, a new schema, withheld rows, a load that is held."""
    wide = [person(i, "wide") | {"town": "Hel"} for i in range(1, 31)]
    pieces: list[list[StreamMessage]] = [
        [PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), batch([person(i) for i in range(1, 16)], 1)],
        [batch([person(i) for i in range(16, 31)], 1)],
        [batch([person(1, "early")]), end()],
        [LoadEnd("people", 1, 30), end(["people"])],
        [batch([person(2, "x"), (Op.DELETE, [3]), (Op.WITHHELD, [4])]), end()],
        [WIDER, LoadBegin("people", schema_id(WIDER), 2)],
        [batch(wide, 2, WIDER)],
        [LoadEnd("people", 2, 30), batch([(Op.DELETE, [5])], 0, WIDER), end()],
        [batch([person(6, "y") | {"town": None}], 0, WIDER), end()],
        [LoadBegin("people", schema_id(WIDER), 3), batch(wide[:5], 3, WIDER), LoadEnd("people", 3, 5), end()],
        [batch([person(7, "z") | {"town": None}], 0, WIDER), end()],
        [Detach("people"), end()],
    ]
    return [frames(*piece) for piece in pieces]


def run(path: Path, steps: Steps, die_in_frame: int = -1) -> None:
    """Open the store, send what it does not have yet, and let a person approve what is held."""
    store: SqliteStore | None = None
    seen = 0

    def decoded(envelope: bytes) -> StreamMessage:
        nonlocal seen
        seen += 1
        if seen - 1 == die_in_frame:
            raise Killed
        return decode(envelope)  # type: ignore[return-value]

    try:
        store = SqliteStore(path, manual_runtime(durable=steps))
        feeder = Feeder(store)
        for piece in history(feeder.frames, feeder.end):
            staged = store.channels()[0].staged
            left = [frame for frame in piece if frame.seq > staged]
            if left and isinstance(decode(piece[-1].envelope), WindowEnd):
                store.apply("hr", JOURNAL, left, decoded, lambda _: None)
            elif left:
                store.stage("hr", JOURNAL, left)
            if store.channels()[0].applied == HELD_FOR_ONE_WINDOW:
                store.approve("people")
    except Killed:
        as_left_by_a_kill(path, path.parent / "left")
        raise
    finally:
        if store is not None:
            store.close()


def picture(path: Path) -> list[Any]:
    store = SqliteStore(path, manual_runtime())
    try:
        return [
            store.channels(),
            store.datasets(),
            cells_of(store),
            store.withheld(None, 100),
            store.cursor(),
            store.changes(0, 1000),
        ]
    finally:
        store.close()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[Any]]:
    path = tmp_path_factory.mktemp("whole") / "acme.db"
    steps = Steps()
    run(path, steps)
    return steps.names, picture(path)


STEPS = 16


def test_the_history_has_all_the_steps_of_the_matrix(uninterrupted: tuple[list[str], list[Any]]) -> None:
    names, (channels, datasets, cells, *_) = uninterrupted
    assert len(names) == STEPS
    assert set(names) == {"store.migrate", "store.adopt", "store.stage", "store.apply", "store.approve", "store.clean_up"}
    assert (datasets[0].state, datasets[0].rows, channels[0].applied) == ("detached", 6, ENDS[-1])
    assert len(cells) == 6


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_kill_at_any_durable_step_of_the_store_costs_nothing(
    tmp_path: Path, uninterrupted: tuple[list[str], list[Any]], step: int, after: bool
) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "acme.db", Steps(step, after))
    left = tmp_path / "left" / "acme.db"
    run(left, Steps())
    assert picture(left) == uninterrupted[1]


@pytest.mark.parametrize("frame", range(0, 22, 3))
def test_a_kill_inside_a_window_leaves_nothing_of_it(
    tmp_path: Path, uninterrupted: tuple[list[str], list[Any]], frame: int
) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "acme.db", Steps(), frame)
    left = tmp_path / "left" / "acme.db"
    (channel,) = picture(left)[0]
    assert channel.applied in {0, *ENDS}
    run(left, Steps())
    assert picture(left) == uninterrupted[1]


# -- the registry ------------------------------------------------------------------------------------------------------------


class Agent:
    """An installation: what it has on its own disk survives the cloud."""

    def __init__(self) -> None:
        self.secret = b""
        self.epoch = 0
        self.enrolled = False

    def connect(self, registry: Registry, code: str, times: int = 1) -> None:
        if not self.enrolled:
            registry.enrol(code, b"A" * 16, b"k" * 32)
            self.enrolled = True
        for _ in range(times):
            grant = registry.hello("acme", b"A" * 16, self.secret, self.epoch)
            assert grant.epoch > self.epoch
            self.secret, self.epoch = grant.next_secret, grant.epoch
            registry.confirm("acme", grant.next_secret)


def open_registry(path: Path, steps: Steps) -> Registry:
    return Registry(path, manual_runtime(durable=steps))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(7))
def test_a_kill_at_any_durable_step_of_the_registry_locks_no_agent_out(tmp_path: Path, step: int, after: bool) -> None:
    path = tmp_path / "cloud.db"
    registry = open_registry(path, Steps())
    registry.add_company("acme")
    code = registry.new_enrolment_code("acme", 3600)
    registry.close()
    agent, steps = Agent(), Steps(step, after)
    registry = open_registry(path, steps)
    with pytest.raises(Killed):
        agent.connect(registry, code, times=3)
    left = as_left_by_a_kill(path, tmp_path / "left")
    registry.close()
    registry = open_registry(left, Steps())
    agent.connect(registry, code)
    agent.connect(registry, code)
    with pytest.raises(RegistryError, match="C3206"):
        registry.hello("acme", b"A" * 16, b"an old one", 0)
    registry.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_token_that_was_shown_is_durable_and_a_revocation_too(tmp_path: Path, after: bool) -> None:
    path = tmp_path / "cloud.db"
    registry = open_registry(path, Steps())
    registry.add_company("acme")
    token = registry.add_token("acme", "shop")
    registry.close()
    registry = open_registry(path, Steps(0, after))
    with pytest.raises(Killed):
        registry.revoke_token("acme", "shop")
    left = as_left_by_a_kill(path, tmp_path / "left")
    registry.close()
    registry = open_registry(left, Steps())
    assert (registry.token(token) is None) is after
    registry.close()
