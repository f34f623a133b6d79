"""Whatever is committed, cut and killed: each window shows the ERP as it was, and in the end the copy equals the ERP."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.capture_world import CaptureWorld

tables = st.sampled_from("ab")
keys = st.integers(0, 15)
change = st.one_of(
    st.tuples(st.just("put"), tables, keys, st.text("xyz", max_size=8)), st.tuples(st.just("drop"), tables, keys, st.just(""))
)
action = st.one_of(
    st.tuples(st.just("commit"), st.lists(change, max_size=12)),
    st.tuples(st.just("commit"), st.lists(change, max_size=12)),
    st.tuples(st.just("cycle"), st.none()),
    st.tuples(st.just("cycle"), st.none()),
    st.tuples(st.just("drain"), st.integers(1, 3)),
    st.tuples(st.just("kill"), st.tuples(st.integers(0, 3), st.booleans())),
    st.tuples(st.sampled_from(["truncate", "untrack"]), tables),
    st.tuples(st.sampled_from(["forget", "full", "lose", "later", "restart"]), st.none()),
)


def commit(world: CaptureWorld, changes: list[tuple[str, str, int, str]]) -> None:
    with world.erp.commit() as erp:
        for name, table, key, text in changes:
            erp.put(table, key, text) if name == "put" else erp.drop(table, key)


def kill(world: CaptureWorld, ahead: int, *, after: bool) -> None:
    """End the process at one of the next steps, if the next cycle has as many."""
    world.steps.kill_at, world.steps.after = len(world.steps.names) + ahead, after
    world.cycle()
    world.steps.kill_at = None


def restart(world: CaptureWorld) -> None:
    world.restart()
    world.resume()


def later(world: CaptureWorld) -> None:
    world.clock.seconds += 61


ACTS: dict[str, Callable[[CaptureWorld, Any], object]] = {
    "commit": commit,
    "cycle": lambda world, _: world.cycle(),
    "drain": lambda world, windows: world.drain(windows),
    "kill": lambda world, how: kill(world, how[0], after=how[1]),
    "truncate": lambda world, table: world.erp.truncate(table),
    "untrack": lambda world, table: world.erp.untrack(table),
    "forget": lambda world, _: world.erp.forget(world.erp.version),
    "full": lambda world, _: world.run(world.capture.request_full()),
    "lose": lambda world, _: world.journal.restart("hr", world.copy.position),
    "later": lambda world, _: later(world),
    "restart": lambda world, _: restart(world),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(action, max_size=30), st.sampled_from([3, 1000]), st.sampled_from([150, 400, 10_000]))
def test_capture_converges(actions: list[tuple[str, object]], page_rows: int, window_limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = CaptureWorld(Path(folder) / "journal.sqlite", page_rows=page_rows, window_limit=window_limit)
        try:
            for kind, detail in actions:
                ACTS[kind](world, detail)
            world.clock.seconds += 61
            world.settle()
            assert world.equal()
        finally:
            world.journal.close()
