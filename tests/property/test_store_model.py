"""The SQLite store against a model of dicts: random windows, loads, folded keys, withheld rows, restarts, followers."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.store.base import CompanyStore
from cloud.store.sqlite import SqliteStore
from tests.support.store_feeder import Feeder, Given, batch, manual_runtime
from transport.codec import schema_id
from transport.frames import Cell, Column, Fold, LoadBegin, LoadEnd, Op, Schema, StreamMessage, Type
from transport.values import key_identity

NOTES = Schema(
    "notes",
    "hr",
    "up",
    [
        Column("text", Type.TEXT, nullable=True),
        Column("code", Type.TEXT, nullable=False, key=1, fold=Fold.ASCII, pad=True),
        Column("done", Type.BOOL, nullable=True),
        Column("part", Type.INT, nullable=False, key=2),
        Column("weight", Type.FLOAT, nullable=True),
    ],
)
CODES = ["a", "A", "b", "b ", "C", "ć", "Ć", ""]
CELLS: list[Cell] = [None, "", "x", "\x01 y", "ąę", "1", "1.0"]
Content = dict[bytes, dict[str, Cell]]


class Model:
    """What the copy should be."""

    def __init__(self) -> None:
        self.visible: Content | None = None
        self.loading: Content | None = None
        self.marked: set[bytes] = set()  # withheld, of the visible one
        self.marked_in_load: set[bytes] = set()

    def change(self, rows: list[Given]) -> None:
        if self.visible is not None:
            self._write(self.visible, self.marked, rows)
        if self.loading is not None:
            self._write(self.loading, self.marked_in_load, rows)

    def page(self, rows: list[Given]) -> None:
        assert self.loading is not None
        self._write(self.loading, self.marked_in_load, rows)

    def begin(self) -> None:
        self.loading, self.marked_in_load = {}, set()

    def end(self) -> None:
        self.visible, self.marked = self.loading, self.marked_in_load
        self.loading, self.marked_in_load = None, set()

    def _write(self, content: Content, marked: set[bytes], rows: list[Given]) -> None:
        for row in rows:
            if isinstance(row, dict):
                key = key_identity(NOTES.keys(), [row["code"], row["part"]])
                content[key] = row
                marked.discard(key)
            elif row[0] == Op.DELETE:
                key = key_identity(NOTES.keys(), row[1])
                content.pop(key, None)
                marked.discard(key)
            else:
                key = key_identity(NOTES.keys(), row[1])
                marked.add(key)
                if content is self.loading and key not in content and self.visible is not None and key in self.visible:
                    content[key] = self.visible[key]


class Follower:
    """An application that keeps its own copy by the feed."""

    def __init__(self) -> None:
        self.content: Content = {}
        self._after = 0

    def catch_up(self, store: CompanyStore, slice_of: int) -> None:
        while changes := store.changes(self._after, slice_of):
            for change in changes:
                if change.op == "reset":
                    self.content = everything(store)
                elif change.row is None:
                    self.content.pop(change.key, None)
                else:
                    self.content[change.key] = change.row.cells
            self._after = changes[-1].cursor


def everything(store: CompanyStore) -> Content:
    return {row.key: row.cells for row in store.rows("notes", b"", 10_000)}


def some_rows(random: Random) -> list[Given]:
    rows: list[Given] = []
    for _ in range(random.choice([1, 1, 2, 7, 30])):
        key: list[Cell] = [random.choice(CODES), random.randrange(3)]
        kind = random.random()
        if kind < 0.7:
            rows.append(
                {
                    "code": key[0],
                    "part": key[1],
                    "text": random.choice(CELLS),
                    "done": random.choice([None, True, False]),
                    "weight": random.choice([None, 0.5, 2.0]),
                }
            )
        else:
            rows.append((Op.DELETE if kind < 0.9 else Op.WITHHELD, key))
    return rows


def some_messages(random: Random, model: Model, generation: int) -> tuple[list[StreamMessage], int]:
    """Messages of one window, told to the model as well."""
    messages: list[StreamMessage] = []
    for _ in range(random.randrange(4)):
        act = random.random()
        if act < 0.2:
            generation += 1
            model.begin()
            messages.append(LoadBegin("notes", schema_id(NOTES), generation))
        elif act < 0.5 and model.loading is not None:
            rows = some_rows(random)
            model.page(rows)
            messages.append(batch(rows, generation, NOTES))
        elif model.loading is not None or model.visible is not None:
            rows = some_rows(random)
            model.change(rows)
            messages.append(batch(rows, 0, NOTES))
    if model.loading is not None and random.random() < 0.3:
        messages.append(LoadEnd("notes", generation, 0))
        model.end()
    return messages, generation


def compare(store: CompanyStore, model: Model, follower: Follower, slice_of: int) -> None:
    visible = model.visible or {}
    assert everything(store) == visible
    shown = store.datasets()
    if shown:
        assert shown[0].rows == len(visible)
    if model.visible is not None:
        assert {w.key for w in store.withheld("notes", 1000)} == model.marked
        marked = {row.key for row in store.rows("notes", b"", 10_000) if row.withheld}
        assert marked == model.marked & set(visible)
    follower.catch_up(store, slice_of)
    assert follower.content == visible


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_the_copy_is_what_the_windows_say_and_a_follower_has_the_same(
    tmp_path_factory: object, seed: int, tmp_path: Path
) -> None:
    random, model, follower = Random(seed), Model(), Follower()
    path = tmp_path / f"{seed}.db"
    store = SqliteStore(path, manual_runtime())
    try:
        feeder, generation = Feeder(store), 0
        feeder.window(NOTES)
        for _ in range(12):
            messages, generation = some_messages(random, model, generation)
            if store.datasets() and random.random() < 0.3:
                feeder.stage(*messages)
                messages = []
            feeder.window(*messages)
            if random.random() < 0.5:
                if any(d.state == "held" for d in store.datasets()):
                    store.approve("notes")
                compare(store, model, follower, random.choice([1, 3, 100]))
            elif any(d.state == "held" for d in store.datasets()):
                store.approve("notes")
            if random.random() < 0.1:
                store.close()
                store = feeder.store = SqliteStore(path, manual_runtime())
        compare(store, model, follower, 5)
    finally:
        store.close()
