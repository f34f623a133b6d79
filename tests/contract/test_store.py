"""Every adapter of `CompanyStore` keeps these; a new one joins `STORES`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud.errors import StoreError
from cloud.store.base import CompanyStore, Staged
from cloud.store.sqlite import SqliteStore
from tests.support.store_feeder import (
    ALL_KINDS,
    PEOPLE,
    Feeder,
    Given,
    ManualClock,
    batch,
    cells_of,
    identity,
    manual_runtime,
    names_of,
    person,
)
from transport.codec import schema_id
from transport.errors import RemoteProtocolError
from transport.frames import (
    Batch,
    Cell,
    ChannelState,
    Column,
    Detach,
    LoadBegin,
    LoadEnd,
    Op,
    Schema,
    StreamMessage,
    Type,
    WindowEnd,
)
from transport.runtime import Runtime
from transport.values import loose_identity

Open = Callable[[Path, Runtime], CompanyStore]
STORES: dict[str, Open] = {"sqlite": lambda folder, runtime: SqliteStore(folder / "acme.db", runtime)}


class World:
    """A store that can be closed and opened again."""

    def __init__(self, folder: Path, open_store: Open) -> None:
        self.clock = ManualClock()
        self._folder = folder
        self._open = open_store
        self.store = open_store(folder, manual_runtime(self.clock))

    def reopen(self) -> CompanyStore:
        self.store.close()
        self.store = self._open(self._folder, manual_runtime(self.clock))
        return self.store


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(tmp_path, request.param)
    yield world
    world.store.close()


@pytest.fixture
def store(world: World) -> CompanyStore:
    return world.store


@pytest.fixture
def hr(store: CompanyStore) -> Feeder:
    return Feeder(store)


@pytest.fixture
def loaded(hr: Feeder) -> Feeder:
    """People 1 to 20 are visible."""
    hr.load([person(i) for i in range(1, 21)])
    return hr


def state_of(store: CompanyStore, dataset: str = "people") -> str:
    return next(d.state for d in store.datasets() if d.name == dataset)


def refused(feeder: Feeder, *messages: StreamMessage) -> str:
    """The code with which a window of these is refused; it must have left nothing."""
    before = (feeder.store.channels(), feeder.store.datasets(), feeder.store.cursor())
    with pytest.raises(RemoteProtocolError) as caught:
        feeder.window(*messages)
    assert (feeder.store.channels(), feeder.store.datasets(), feeder.store.cursor()) == before
    return caught.value.code


def wider(*extra: Column) -> Schema:
    return Schema("people", "hr", "up", [*PEOPLE.columns, *extra])


WIDER = wider(Column("town", Type.TEXT, nullable=True))


def wide_person(number: int, town: str) -> dict[str, Cell]:
    return person(number) | {"town": town}


# -- channels and staging ----------------------------------------------------------------------------------------------------


def test_a_new_store_has_nothing(store: CompanyStore) -> None:
    assert (store.channels(), store.datasets(), store.cursor(), store.changes(0, 10)) == ([], [], 0, [])


def test_a_channel_is_adopted_at_the_seq_it_continues_with(store: CompanyStore) -> None:
    assert store.adopt("hr", b"j1", 5) == ChannelState("hr", b"j1", 4, 4, b"")
    assert store.channels() == [ChannelState("hr", b"j1", 4, 4, b"")]


def test_adopting_the_same_journal_changes_nothing(hr: Feeder) -> None:
    hr.stage(PEOPLE)
    assert hr.store.adopt("hr", hr.journal, 77).staged == 1


def test_another_journal_discards_staged_frames_and_keeps_the_position(loaded: Feeder) -> None:
    loaded.stage(batch([person(99)]))
    state = loaded.store.adopt("hr", b"another", 1)
    assert state == ChannelState("hr", b"another", 0, 0, b"position 1")
    Feeder(loaded.store, journal=b"another").window()
    assert 99 not in names_of(loaded.store)


def test_staged_frames_are_there_after_a_restart_and_take_effect_with_their_end(world: World, hr: Feeder) -> None:
    assert hr.stage(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1)) == 2
    assert hr.stage(batch([person(1)], 1), LoadEnd("people", 1, 1)) == 4
    hr.store = world.reopen()
    assert hr.store.channels()[0].staged == 4
    assert hr.store.datasets() == []
    assert hr.window().seq == 5
    assert names_of(hr.store) == {1: "P1"}


def test_a_window_moves_staged_applied_and_position_together(loaded: Feeder) -> None:
    assert loaded.store.channels() == [ChannelState("hr", loaded.journal, 5, 5, b"position 1")]


def test_a_gap_in_the_sequence_is_refused(hr: Feeder) -> None:
    hr.frames(PEOPLE)  # lost
    with pytest.raises(RemoteProtocolError, match="T1006"):
        hr.stage(PEOPLE)


def test_a_frame_staged_twice_counts_once(hr: Feeder) -> None:
    frames = hr.frames(PEOPLE)
    assert hr.store.stage("hr", hr.journal, frames) == 1
    assert hr.store.stage("hr", hr.journal, frames) == 1


def test_a_frame_staged_twice_with_different_content_is_refused(hr: Feeder) -> None:
    (frame,) = hr.frames(PEOPLE)
    hr.store.stage("hr", hr.journal, [frame])
    with pytest.raises(RemoteProtocolError, match="T1006"):
        hr.store.stage("hr", hr.journal, [Staged(frame.seq, frame.crc ^ 1, b"other")])


def test_frames_of_a_journal_that_was_not_adopted_are_refused(hr: Feeder) -> None:
    with pytest.raises(RemoteProtocolError, match="T1006"):
        hr.store.stage("hr", b"foreign", hr.frames(PEOPLE))
    with pytest.raises(RemoteProtocolError, match="T1006"):
        hr.store.apply("shop", hr.journal, [], lambda _: PEOPLE, lambda _: None)


def test_frames_without_the_end_of_their_window_are_refused(hr: Feeder) -> None:
    with pytest.raises(RemoteProtocolError, match="T1005"):
        hr.apply(hr.frames(PEOPLE))
    assert hr.store.channels()[0].applied == 0


def test_several_windows_that_were_staged_take_effect_at_once(loaded: Feeder) -> None:
    loaded.stage(batch([person(1, "one")]), loaded.end(), batch([person(2, "two")]))
    loaded.window()
    assert names_of(loaded.store)[1] == "one"
    assert names_of(loaded.store)[2] == "two"


def test_a_frame_that_cannot_be_decoded_leaves_everything_as_it_was(loaded: Feeder) -> None:
    def broken(_: bytes) -> StreamMessage:
        raise RemoteProtocolError("T1003", "the checksum of a frame differs")

    with pytest.raises(RemoteProtocolError, match="T1003"):
        loaded.store.apply("hr", loaded.journal, loaded.frames(loaded.end()), broken, lambda _: None)
    assert loaded.store.channels()[0].position == b"position 1"


def test_an_optional_frame_of_an_unknown_kind_is_skipped(loaded: Feeder) -> None:
    frames = loaded.frames(PEOPLE, loaded.end())
    messages: list[StreamMessage | None] = [None, loaded.end()]
    loaded.store.apply("hr", loaded.journal, frames, lambda _: messages.pop(0), lambda _: None)  # type: ignore[arg-type,return-value]
    assert loaded.store.channels()[0].applied == 7


# -- loads -------------------------------------------------------------------------------------------------------------------


def test_a_load_becomes_visible_at_its_end_and_not_before(hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), batch([person(1)], 1))
    assert (state_of(hr.store), names_of(hr.store)) == ("loading", {})
    hr.window(batch([person(2)], 1), LoadEnd("people", 1, 2))
    assert (state_of(hr.store), names_of(hr.store)) == ("live", {1: "P1", 2: "P2"})


def test_an_empty_load_is_a_live_dataset_without_rows(hr: Feeder) -> None:
    hr.load([])
    (dataset,) = hr.store.datasets()
    assert (dataset.state, dataset.rows, dataset.generation) == ("live", 0, 1)


def test_every_kind_of_cell_comes_back_in_its_canonical_form(hr: Feeder) -> None:
    row: dict[str, Cell] = {
        "id": -(2**63),
        "code": "Zażółć ",
        "n": "",
        "c_int": 2**63 - 1,
        "c_decimal": "-12345678901234567890.10",
        "c_float": 1.0,
        "c_bool": True,
        "c_text": "123",
        "c_bytes": b"\0\xff",
        "c_date": "0001-01-01",
        "c_time": "23:59:59.99",
        "c_datetime": "9999-12-31 00:00:00.00",
        "c_datetimeoffset": "2026-01-01 10:00:00.00+02:00",
        "c_guid": "00000000-0000-0000-0000-00000000000a",
        "c_xml": "<a/>",
        "c_json": "{}",
    }
    empty: dict[str, Cell] = {c.name: None for c in ALL_KINDS.columns} | {
        "id": 1,
        "code": "b",
        "c_bytes": b"",
        "c_bool": False,
        "c_text": "",
    }
    hr.load([row, empty], schema=ALL_KINDS)
    stored = cells_of(hr.store, "kinds")
    assert stored == {identity(-(2**63), "ZAŻÓŁĆ", schema=ALL_KINDS): row, identity(1, "B", schema=ALL_KINDS): empty}
    assert [type(v) for v in stored[identity(1, "b", schema=ALL_KINDS)].values()] == [type(v) for v in empty.values()]
    assert list(stored[identity(1, "b", schema=ALL_KINDS)]) == [c.name for c in ALL_KINDS.columns]


def test_a_second_load_replaces_what_is_visible(loaded: Feeder) -> None:
    loaded.load([person(i, "new") for i in range(3, 21)], 2)
    assert names_of(loaded.store) == dict.fromkeys(range(3, 21), "new")
    assert loaded.store.datasets()[0].generation == 2


def test_changes_go_to_what_is_visible_and_to_what_is_being_loaded(loaded: Feeder) -> None:
    loaded.window(LoadBegin("people", schema_id(PEOPLE), 2), batch([person(i) for i in range(1, 19)], 2))
    loaded.window(batch([person(1, "changed"), (Op.DELETE, [2]), person(99)]))
    expected = {i: f"P{i}" for i in range(3, 21)} | {1: "changed", 99: "P99"}
    assert names_of(loaded.store) == expected
    loaded.window(batch([person(19), person(20)], 2), LoadEnd("people", 2, 20))
    assert names_of(loaded.store) == expected
    assert loaded.store.datasets()[0].rows == 20


def test_a_page_overwrites_a_change_that_came_before_it(hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1))
    hr.window(batch([person(1, "early")]))
    hr.window(batch([person(1, "later"), person(2)], 1), LoadEnd("people", 1, 2))
    assert names_of(hr.store) == {1: "later", 2: "P2"}
    assert hr.store.datasets()[0].rows == 2


def test_changes_after_the_end_of_a_load_in_its_window_are_in_it(loaded: Feeder) -> None:
    loaded.window(
        LoadBegin("people", schema_id(PEOPLE), 2),
        batch([person(i) for i in range(1, 21)], 2),
        LoadEnd("people", 2, 20),
        batch([person(1, "last"), (Op.DELETE, [2])]),
    )
    assert names_of(loaded.store) == {i: f"P{i}" for i in range(3, 21)} | {1: "last"}


def test_a_load_that_begins_anew_drops_the_unfinished_one(loaded: Feeder) -> None:
    loaded.window(LoadBegin("people", schema_id(PEOPLE), 2), batch([person(99)], 2))
    loaded.load([person(i) for i in range(1, 21)], 3)
    assert 99 not in names_of(loaded.store)


def test_a_load_goes_on_under_another_journal(world: World, hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), batch([person(1)], 1))
    again = Feeder(world.reopen(), journal=b"another")
    again.window(PEOPLE, batch([person(2)], 1), LoadEnd("people", 1, 2))
    assert names_of(again.store) == {1: "P1", 2: "P2"}


def test_a_new_schema_comes_with_its_load(loaded: Feeder) -> None:
    loaded.window(WIDER, LoadBegin("people", schema_id(WIDER), 2))
    assert state_of(loaded.store) == "reloading"
    loaded.window(batch([wide_person(1, "Łódź")], 0, WIDER))
    assert names_of(loaded.store)[1] == "P1"  # the visible one has no such column: it waits for the swap
    loaded.window(batch([wide_person(i, "Gdynia") for i in range(2, 21)], 2, WIDER), LoadEnd("people", 2, 20))
    (dataset,) = loaded.store.datasets()
    assert (dataset.schema, dataset.state, dataset.rows) == (WIDER, "live", 20)
    assert cells_of(loaded.store)[identity(1)]["town"] == "Łódź"


def test_reloading_is_what_the_last_window_says(loaded: Feeder) -> None:
    loaded.window(reloading=["people"])
    assert state_of(loaded.store) == "reloading"
    loaded.window()
    assert state_of(loaded.store) == "live"


def test_a_window_is_known_by_when_it_was_read_and_applied(world: World, loaded: Feeder) -> None:
    world.clock.seconds = 5
    loaded.window()
    (dataset,) = loaded.store.datasets()
    assert (dataset.read_at, dataset.applied_at) == ("2026-03-01T00:00:02Z", "2026-03-01T00:00:05.000Z")


# -- what a healthy agent never sends ------------------------------------------------------------------------------------------


def test_rows_before_any_load_are_refused(hr: Feeder) -> None:
    assert refused(hr, PEOPLE, batch([person(1)])) == "T1005"
    assert refused(hr, PEOPLE, batch([person(1)], 1)) == "T1005"


def test_an_unknown_schema_is_refused(hr: Feeder, loaded: Feeder) -> None:
    assert refused(loaded, batch([wide_person(1, "x")], 0, WIDER)) == "T1005"
    assert refused(loaded, LoadBegin("people", b"nothing", 2)) == "T1005"


def test_a_schema_of_another_dataset_is_refused(loaded: Feeder) -> None:
    assert refused(loaded, ALL_KINDS, LoadBegin("people", schema_id(ALL_KINDS), 2)) == "T1005"


def test_a_schema_is_not_known_from_a_window_that_was_refused(loaded: Feeder) -> None:
    refused(loaded, WIDER, batch([wide_person(1, "x")], 0, WIDER))
    assert refused(loaded, LoadBegin("people", schema_id(WIDER), 2)) == "T1005"


def test_pages_of_a_generation_that_is_not_being_loaded_are_refused(loaded: Feeder) -> None:
    assert refused(loaded, batch([person(1)], 1)) == "T1005"
    assert refused(loaded, LoadBegin("people", schema_id(PEOPLE), 2), batch([person(1)], 3)) == "T1005"


def test_the_end_of_a_load_that_never_began_is_refused(loaded: Feeder) -> None:
    assert refused(loaded, LoadEnd("people", 2, 0)) == "T1005"
    assert refused(loaded, LoadEnd("unknown", 1, 0)) == "T1005"


def test_changes_with_the_old_schema_during_a_load_with_a_new_one_are_refused(loaded: Feeder) -> None:
    assert refused(loaded, WIDER, LoadBegin("people", schema_id(WIDER), 2), batch([person(1)])) == "T1005"


@pytest.mark.parametrize(
    "broken",
    [
        Batch("people", schema_id(PEOPLE), 0, b"\0", [[1], [2]], [["x"]] * 6),
        Batch("people", schema_id(PEOPLE), 0, b"\0", [[1]], [["x"]] * 5),
        Batch("people", schema_id(PEOPLE), 0, b"\0", [[1]], [["x", "y"]] * 6),
        Batch("people", schema_id(PEOPLE), 0, b"\7", [[1]], [[]] * 6),
        Batch("people", schema_id(PEOPLE), 0, b"\2", [[1]], [[]] * 6, []),
    ],
)
def test_a_batch_of_another_shape_than_its_schema_is_refused(loaded: Feeder, broken: Batch) -> None:
    frames = loaded.frames(PEOPLE, PEOPLE)
    messages: list[StreamMessage] = [broken, loaded.end()]
    with pytest.raises(RemoteProtocolError, match="T1005"):
        loaded.store.apply("hr", loaded.journal, frames, lambda _: messages.pop(0), lambda _: None)


@pytest.mark.parametrize("name", ["Upper", "1st", "with space", "a" * 41, "sqlite_x", "d_people_g1", ""])
def test_a_dataset_name_that_the_copy_cannot_have_is_refused_by_name(hr: Feeder, name: str) -> None:
    with pytest.raises(StoreError, match="C3107"):
        hr.window(Schema(name, "hr", "up", PEOPLE.columns))


@pytest.mark.parametrize("name", ["", "a\0b", "ż" * 32])
def test_a_column_name_that_the_copy_cannot_have_is_refused_by_name(hr: Feeder, name: str) -> None:
    with pytest.raises(StoreError, match="C3108"):
        hr.window(wider(Column(name, Type.TEXT, nullable=True)))


def test_a_column_that_is_there_twice_or_no_key_at_all_is_refused_by_name(hr: Feeder) -> None:
    with pytest.raises(StoreError, match="C3108"):
        hr.window(wider(Column("name", Type.TEXT, nullable=True)))
    with pytest.raises(StoreError, match="C3108"):
        hr.window(Schema("people", "hr", "up", PEOPLE.columns[1:]))


def test_columns_that_differ_by_case_or_look_like_ours_work(hr: Feeder) -> None:
    names = ["Name", "NAME", "_key", "_withheld", "_KEY", 'quo"te', "select", "name_2", "spać"]
    schema = wider(*(Column(name, Type.TEXT, nullable=True) for name in names))
    row = person(1, "small") | {name: f"value of {name}" for name in names}
    hr.load([row], schema=schema)
    hr.window(batch([row | {"NAME": "changed"}], 0, schema))
    assert cells_of(hr.store) == {identity(1): row | {"NAME": "changed"}}


# -- changes -----------------------------------------------------------------------------------------------------------------


def test_a_change_inserts_updates_and_deletes(loaded: Feeder) -> None:
    applied = loaded.window(batch([person(1, "x"), (Op.DELETE, [2]), person(50), (Op.DELETE, [777])]))
    assert applied.rows == 4
    assert names_of(loaded.store) == {i: f"P{i}" for i in range(3, 21)} | {1: "x", 50: "P50"}
    assert loaded.store.datasets()[0].rows == 20


def test_a_key_twice_in_a_batch_ends_as_its_last_row_says(loaded: Feeder) -> None:
    loaded.window(
        batch(
            [
                person(1, "a"),
                (Op.DELETE, [1]),
                (Op.DELETE, [2]),
                person(2, "b"),
                person(30, "c"),
                person(30, "d"),
                (Op.WITHHELD, [3]),
            ]
        )
    )
    names = names_of(loaded.store)
    assert (1 in names, names[2], names[30], loaded.store.datasets()[0].rows) == (False, "b", "d", 20)


def test_a_new_key_twice_in_a_batch_of_upserts_is_one_row(loaded: Feeder) -> None:
    loaded.window(batch([person(30, "c"), person(30, "d")]))
    loaded.window(batch([person(31, "c"), person(1), person(31, "d")]))
    assert (names_of(loaded.store)[30], names_of(loaded.store)[31], loaded.store.datasets()[0].rows) == ("d", "d", 22)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 300, 2_500])
def test_rows_are_counted_exactly_whatever_is_new_among_them(hr: Feeder, size: int) -> None:
    hr.load([person(i) for i in range(0, size, 2)])
    for _ in range(3):  # once as guessed, then as learned
        hr.window(batch([person(i) for i in range(size)]))
        assert hr.store.datasets()[0].rows == size == len(cells_of(hr.store))
        hr.window(batch([(Op.DELETE, [i]) for i in range(1, size, 3)]))
        assert hr.store.datasets()[0].rows == len(cells_of(hr.store))


def test_unique_values_may_swap_inside_a_window(loaded: Feeder) -> None:
    loaded.window(batch([person(1, "P2"), person(2, "P1")]))
    assert (names_of(loaded.store)[1], names_of(loaded.store)[2]) == ("P2", "P1")


def test_rows_page_in_the_order_of_their_identities(loaded: Feeder) -> None:
    loaded.window(batch([person(300), person(70_000), person(-1)]))
    keys = [row.key for row in loaded.store.rows("people", b"", 100)]
    assert keys == sorted(keys)
    assert [r.key for r in loaded.store.rows("people", keys[4], 3)] == keys[5:8]
    assert loaded.store.rows("people", keys[-1], 3) == []


def test_a_row_is_found_by_its_identity(loaded: Feeder) -> None:
    row = loaded.store.row("people", identity(7))
    assert row is not None
    assert row.cells == person(7)
    assert loaded.store.row("people", identity(777)) is None


def test_an_unknown_dataset_has_no_rows(store: CompanyStore) -> None:
    assert (store.row("nothing", b""), store.rows("nothing", b"", 5), store.withheld("nothing", 5)) == (None, [], [])


def test_progress_is_reported_every_few_thousand_rows(loaded: Feeder) -> None:
    loaded.window(*(batch([person(i) for i in range(at, at + 1000)]) for at in range(0, 12_000, 1000)))
    assert loaded.progress == [5000, 10_000]


# -- withheld rows -----------------------------------------------------------------------------------------------------------


def test_a_withheld_row_keeps_its_last_version_marked(loaded: Feeder) -> None:
    applied = loaded.window(batch([(Op.WITHHELD, [3])]))
    row = loaded.store.row("people", identity(3))
    assert row is not None
    assert (row.withheld, row.cells) == ("A2901", person(3))
    assert applied.withheld == loaded.store.datasets()[0].withheld == 1
    (listed,) = loaded.store.withheld("people", 10)
    assert (listed.dataset, listed.key, listed.code, listed.column, listed.detail, listed.side) == (
        "people",
        identity(3),
        "A2901",
        "photo",
        "too large",
        "erp",
    )


def test_a_withheld_row_without_a_version_is_listed_alone(loaded: Feeder) -> None:
    loaded.window(batch([(Op.WITHHELD, [99])]))
    assert loaded.store.row("people", identity(99)) is None
    assert [w.key for w in loaded.store.withheld(None, 10)] == [identity(99)]
    assert loaded.store.datasets()[0].rows == 20


@pytest.mark.parametrize("key", [None, "\0"])
def test_a_withheld_row_may_have_a_key_that_no_row_can_have(loaded: Feeder, key: str | None) -> None:
    schema = Schema("tags", "hr", "up", [Column("tag", Type.TEXT, nullable=True, key=1)])
    loaded.load([{"tag": "a"}, (Op.WITHHELD, [key])], 1, schema)
    assert [w.key for w in loaded.store.withheld("tags", 10)] == [loose_identity(schema.keys(), [key])]


@pytest.mark.parametrize("cure", [person(3, "again"), (Op.DELETE, [3])])
def test_the_next_change_of_a_row_ends_its_being_withheld(loaded: Feeder, cure: Given) -> None:
    loaded.window(batch([(Op.WITHHELD, [3]), (Op.WITHHELD, [4])]))
    assert loaded.window(batch([cure])).withheld == 1
    row = loaded.store.row("people", identity(3))
    assert row is None or row.withheld == ""
    assert [w.key for w in loaded.store.withheld("people", 10)] == [identity(4)]


def test_a_row_withheld_again_keeps_the_time_of_the_first(world: World, loaded: Feeder) -> None:
    loaded.window(batch([(Op.WITHHELD, [3])]))
    (first,) = loaded.store.withheld("people", 10)
    world.clock.seconds = 60
    loaded.window(batch([(Op.WITHHELD, [3])]))
    assert [w.since for w in loaded.store.withheld("people", 10)] == [first.since]


def test_a_row_withheld_in_a_load_keeps_the_version_that_was_visible(loaded: Feeder) -> None:
    loaded.window(
        LoadBegin("people", schema_id(PEOPLE), 2),
        batch([*(person(i, "new") for i in range(2, 21)), (Op.WITHHELD, [1])], 2),
        LoadEnd("people", 2, 20),
    )
    row = loaded.store.row("people", identity(1))
    assert row is not None
    assert (row.cells["name"], row.withheld, loaded.store.datasets()[0].rows) == ("P1", "A2901", 20)


def test_a_load_without_withheld_rows_ends_them(loaded: Feeder) -> None:
    loaded.window(batch([(Op.WITHHELD, [3])]))
    assert loaded.load([person(i) for i in range(1, 21)], 2).withheld == 0
    assert loaded.store.withheld(None, 10) == []


def test_what_a_first_load_withholds_is_shown_before_it_ends(hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), batch([(Op.WITHHELD, [1])], 1))
    assert [w.key for w in hr.store.withheld(None, 10)] == [identity(1)]


def test_withheld_rows_are_counted_by_channel(store: CompanyStore, loaded: Feeder) -> None:
    shop = Feeder(store, "shop")
    shop.load([{"id": 1}, (Op.WITHHELD, [2])], 1, Schema("orders", "shop", "up", [Column("id", Type.INT, False, key=1)]))
    assert shop.window().withheld == 1
    assert loaded.window().withheld == 0


def test_the_list_of_withheld_rows_is_limited(loaded: Feeder) -> None:
    loaded.window(batch([(Op.WITHHELD, [i]) for i in range(1, 9)]))
    assert len(loaded.store.withheld(None, 5)) == 5


# -- a load that would remove much -------------------------------------------------------------------------------------------


@pytest.fixture
def held(loaded: Feeder) -> Feeder:
    """A load with 13 of the 20 rows waits."""
    loaded.load([person(i, "new") for i in range(1, 14)], 2)
    return loaded


def test_a_load_that_would_remove_over_30_percent_waits_for_a_person(held: Feeder) -> None:
    assert state_of(held.store) == "held"
    assert names_of(held.store) == {i: f"P{i}" for i in range(1, 21)}
    assert held.window().held == ["people"]


def test_a_load_that_removes_30_percent_does_not_wait(loaded: Feeder) -> None:
    assert loaded.load([person(i) for i in range(1, 15)], 2).held == []
    assert len(names_of(loaded.store)) == 14


def test_only_rows_that_go_count_not_those_that_come(loaded: Feeder) -> None:
    assert loaded.load([person(i) for i in range(14, 100)], 2).held == ["people"]


def test_a_small_dataset_never_waits(hr: Feeder) -> None:
    hr.load([person(i) for i in range(10)])
    assert hr.load([], 2).held == []
    assert names_of(hr.store) == {}


def test_changes_flow_into_a_held_load_and_into_what_is_visible(held: Feeder) -> None:
    held.window(batch([person(1, "changed"), person(50)]))
    assert names_of(held.store)[1] == "changed"
    assert held.store.approve("people")
    assert names_of(held.store) == dict.fromkeys(range(2, 14), "new") | {1: "changed", 50: "P50"}
    assert (state_of(held.store), held.window().held) == ("live", [])


def test_a_rejected_load_leaves_what_is_visible_marked_as_stale(held: Feeder) -> None:
    assert held.store.reject("people")
    assert names_of(held.store) == {i: f"P{i}" for i in range(1, 21)}
    assert state_of(held.store) == "reloading"
    held.window(batch([person(1, "changed")]))
    assert names_of(held.store)[1] == "changed"
    held.load([person(i) for i in range(1, 20)], 3)
    assert state_of(held.store) == "live"


def test_changes_with_the_schema_of_a_rejected_load_stop_nothing(loaded: Feeder) -> None:
    loaded.load([wide_person(1, "x")], 2, WIDER)
    assert loaded.store.reject("people")
    loaded.window(batch([wide_person(1, "y")], 0, WIDER))
    assert state_of(loaded.store) == "reloading"
    assert "town" not in cells_of(loaded.store)[identity(1)]


def test_a_decision_is_durable_and_taken_once(world: World, held: Feeder) -> None:
    store = world.reopen()
    assert store.approve("people")
    assert not store.approve("people")
    assert not store.reject("people")
    assert not store.approve("unknown")
    assert len(names_of(world.reopen())) == 13


def test_a_held_load_is_dropped_by_the_next_one(held: Feeder) -> None:
    held.load([person(i, "third") for i in range(1, 21)], 3)
    assert (state_of(held.store), names_of(held.store)[1]) == ("live", "third")


def test_what_is_visible_is_stale_while_the_successor_of_a_held_load_runs(held: Feeder) -> None:
    """The agent, for which that load had ended, takes what is visible for current."""
    held.window(LoadBegin("people", schema_id(PEOPLE), 3, "asked"), batch([person(1)], 3))
    assert state_of(held.store) == "reloading"
    held.window(batch([person(i, "third") for i in range(2, 21)], 3), LoadEnd("people", 3, 20))
    assert (state_of(held.store), names_of(held.store)[2]) == ("live", "third")


def test_keys_of_another_form_are_compared_by_number(loaded: Feeder) -> None:
    columns = [Column("id", Type.TEXT, False, key=1)]
    texts = Schema("people", "hr", "up", columns)
    assert loaded.load([{"id": str(i)} for i in range(20)], 2, texts).held == []


# -- between channels --------------------------------------------------------------------------------------------------------


MOVED = Schema("people", "shop", "up", PEOPLE.columns)
TAGS = Schema("tags", "shop", "up", PEOPLE.columns)


def test_a_dataset_that_moves_belongs_to_its_old_channel_until_the_swap(store: CompanyStore, loaded: Feeder) -> None:
    shop = Feeder(store, "shop")
    shop.window(MOVED, LoadBegin("people", schema_id(MOVED), 2), batch([person(i, "moved") for i in range(1, 20)], 2, MOVED))
    loaded.window(batch([person(1, "from hr")]))
    shop.window(batch([person(2, "from shop"), person(20)], 0, MOVED))
    assert (names_of(store)[1], names_of(store)[2], store.datasets()[0].channel) == ("from hr", "P2", "hr")
    shop.window(LoadEnd("people", 2, 20))
    assert (names_of(store)[1], names_of(store)[2], store.datasets()[0].channel) == ("moved", "from shop", "shop")


def test_frames_that_the_old_channel_still_sends_change_nothing(store: CompanyStore, loaded: Feeder) -> None:
    loaded.window(LoadBegin("people", schema_id(PEOPLE), 2), batch([person(1)], 2))
    shop = Feeder(store, "shop")
    shop.load([person(i, "moved") for i in range(1, 21)], 3, MOVED)
    loaded.window(batch([person(1, "late")]), batch([person(2, "late")], 2), LoadEnd("people", 2, 2))
    loaded.window(Detach("people"))
    assert set(names_of(store).values()) == {"moved"}
    assert state_of(store) == "live"


@pytest.mark.parametrize("visible", [True, False])
def test_a_load_that_the_old_channel_began_before_changes_nothing(
    store: CompanyStore, loaded: Feeder, *, visible: bool
) -> None:
    """Its frames waited for longer than those of the new channel."""
    shop = Feeder(store, "shop")
    rows = [person(i, "moved") for i in range(1, 21)]
    shop.window(MOVED, LoadBegin("people", schema_id(MOVED), 3), batch(rows, 3, MOVED))
    if visible:
        shop.window(LoadEnd("people", 3, 20))
    loaded.window(LoadBegin("people", schema_id(PEOPLE), 2), batch([person(1, "late")], 2))
    loaded.window(batch([person(2, "late")]), batch([person(3, "late")], 2), LoadEnd("people", 2, 2))
    loaded.window(Detach("people"))
    if not visible:
        shop.window(LoadEnd("people", 3, 20))
    assert set(names_of(store).values()) == {"moved"}
    assert (state_of(store), store.datasets()[0].channel) == ("live", "shop")


def test_a_load_of_any_number_follows_a_farewell(store: CompanyStore, loaded: Feeder) -> None:
    loaded.window(Detach("people"))
    Feeder(store, "shop").load([person(i, "moved") for i in range(1, 21)], 1, MOVED)
    assert (state_of(store), set(names_of(store).values())) == ("live", {"moved"})


def test_after_its_farewell_the_old_channel_may_not_send_more(store: CompanyStore, loaded: Feeder) -> None:
    Feeder(store, "shop").load([person(i) for i in range(1, 21)], 2, MOVED)
    loaded.window(Detach("people"))
    assert refused(loaded, batch([person(1)])) == "T1005"


def test_a_dataset_can_come_back(store: CompanyStore, loaded: Feeder) -> None:
    Feeder(store, "shop").load([person(i, "moved") for i in range(1, 21)], 2, MOVED)
    loaded.load([person(i, "back") for i in range(1, 21)], 3)
    loaded.window(batch([person(1, "mine")]))
    assert (names_of(store)[1], names_of(store)[2], store.datasets()[0].channel) == ("mine", "back", "hr")


def test_a_detached_dataset_stays_as_it_is(world: World, loaded: Feeder) -> None:
    loaded.window(Detach("people"))
    world.clock.seconds = 60
    loaded.window()
    (dataset,) = loaded.store.datasets()
    assert (dataset.state, dataset.rows, dataset.read_at) == ("detached", 20, "2026-03-01T00:00:01Z")
    assert len(names_of(loaded.store)) == 20
    assert refused(loaded, batch([person(1)])) == "T1005"


def test_a_detached_dataset_that_returns_is_stale_until_its_load_ends(loaded: Feeder) -> None:
    loaded.window(Detach("people"))
    loaded.window(LoadBegin("people", schema_id(PEOPLE), 2), batch([person(i, "new") for i in range(2, 21)], 2))
    loaded.window(batch([person(1, "new")]))
    assert (state_of(loaded.store), names_of(loaded.store)[1]) == ("reloading", "P1")
    loaded.window(LoadEnd("people", 2, 19))
    assert (state_of(loaded.store), names_of(loaded.store)[1]) == ("live", "new")


def test_detaching_ends_a_load_and_leaves_nothing_where_nothing_was_visible(hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), batch([person(1)], 1))
    hr.window(Detach("people"))
    assert hr.store.datasets() == []
    hr.window(Detach("people"), Detach("never seen"))
    hr.load([person(2)], 2)
    assert names_of(hr.store) == {2: "P2"}


def test_a_channel_that_the_agent_no_longer_has_leaves_its_datasets_detached(world: World, loaded: Feeder) -> None:
    shop = Feeder(loaded.store, "shop")
    assert loaded.store.release({"hr", "shop"}) == []
    shop.load([person(1)], 1, TAGS)
    shop.stage(batch([person(2)], 0, TAGS))
    assert loaded.store.release({"hr"}) == ["tags"]
    assert (state_of(loaded.store), state_of(loaded.store, "tags")) == ("live", "detached")
    store = world.reopen()
    assert [c.channel for c in store.channels()] == ["hr"]
    assert store.release({"hr"}) == []


def test_a_channel_that_comes_back_begins_from_nothing(loaded: Feeder) -> None:
    assert loaded.store.release(set()) == ["people"]
    again = Feeder(loaded.store, "hr")
    assert [(c.applied, c.position) for c in loaded.store.channels()] == [(0, b"")]
    assert refused(again, batch([person(1)])) == "T1005"
    again.load([person(1, "new")], 2)
    assert (state_of(loaded.store), loaded.store.channels()[0].applied) == ("held", again.seq)
    assert loaded.store.approve("people")
    assert names_of(loaded.store) == {1: "new"}


def test_a_load_of_a_channel_that_is_gone_ends(hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1), batch([person(1)], 1))
    assert hr.store.release(set()) == ["people"]
    assert (hr.store.datasets(), hr.store.channels()) == ([], [])


# -- the feed ----------------------------------------------------------------------------------------------------------------


def feed_of(store: CompanyStore, after: int = 0, limit: int = 1000, **only: object) -> list[tuple[object, ...]]:
    changes = store.changes(after, limit, **only)  # type: ignore[arg-type]
    assert changes is not None
    return [(c.cursor, c.op, c.key, c.row and c.row.cells["name"]) for c in changes]


def test_a_load_makes_one_reset_of_the_feed(loaded: Feeder) -> None:
    assert feed_of(loaded.store) == [(1, "reset", b"", None)]
    assert loaded.store.cursor() == 1


def test_changes_stand_in_the_feed_in_order_with_the_row_as_it_is_now(loaded: Feeder) -> None:
    loaded.window(batch([person(1, "a"), (Op.DELETE, [2]), person(3, "b")]))
    assert loaded.window(batch([person(1, "c"), (Op.DELETE, [3])])).cursor == 6
    assert feed_of(loaded.store, 1) == [
        (2, "upsert", identity(1), "c"),
        (3, "delete", identity(2), None),
        (4, "upsert", identity(3), None),
        (5, "upsert", identity(1), "c"),
        (6, "delete", identity(3), None),
    ]


def test_the_feed_can_be_read_in_slices_of_any_size(loaded: Feeder) -> None:
    for i in range(5):
        loaded.window(batch([person(n, f"v{i}") for n in range(1, 8)]), batch([(Op.DELETE, [n]) for n in (1, 2)]))
    whole = feed_of(loaded.store)
    assert [entry[0] for entry in whole] == list(range(1, 47))
    for size in (1, 2, 5, 8, 45):
        slices, after = [], 0
        while part := feed_of(loaded.store, after, size):
            assert len(part) <= size
            slices += part
            after = int(str(part[-1][0]))
        assert slices == whole


def test_the_feed_can_be_read_for_some_datasets(store: CompanyStore, loaded: Feeder) -> None:
    loaded.load([{c.name: None for c in ALL_KINDS.columns} | {"id": 1, "code": "a"}], 1, ALL_KINDS)
    loaded.window(batch([person(1, "x")]))
    assert [e[:2] for e in feed_of(store, datasets=["people"])] == [(1, "reset"), (3, "upsert")]
    assert [e[:2] for e in feed_of(store, datasets=["kinds"])] == [(2, "reset")]
    assert feed_of(store, datasets=[]) == []


def test_a_change_that_only_a_load_sees_is_not_in_the_feed(hr: Feeder) -> None:
    hr.window(PEOPLE, LoadBegin("people", schema_id(PEOPLE), 1))
    hr.window(batch([person(1)]))
    assert hr.store.cursor() == 0


def test_a_row_that_becomes_withheld_is_an_entry(loaded: Feeder) -> None:
    loaded.window(batch([(Op.WITHHELD, [3])]))
    changes = loaded.store.changes(1, 10)
    assert changes is not None
    assert [(c.op, c.row and c.row.withheld) for c in changes] == [("upsert", "A2901")]


def test_an_approved_load_is_a_reset_and_a_rejected_one_nothing(held: Feeder) -> None:
    before = held.store.cursor()
    held.store.reject("people")
    assert held.store.cursor() == before
    held.load([person(1)], 3)
    held.store.approve("people")
    assert [e[1] for e in feed_of(held.store, before)] == ["reset"]


def test_a_cursor_older_than_the_feed_reaches_is_told(world: World, loaded: Feeder) -> None:
    loaded.window(batch([person(1), person(2)]))
    world.clock.seconds = 60
    loaded.window(batch([person(3), person(4)]))
    assert loaded.store.clean_up("2026-03-01T00:00:30Z") == 3
    assert loaded.store.changes(2, 10) is None
    assert [e[0] for e in feed_of(loaded.store, 3)] == [4, 5]
    assert loaded.store.clean_up("2026-03-01T00:00:30Z") == 0


def test_a_feed_that_was_cleaned_up_wholly_goes_on_from_its_cursor(world: World, loaded: Feeder) -> None:
    assert loaded.store.clean_up("2027-01-01T00:00:00Z") == 1
    assert (loaded.store.changes(0, 10), loaded.store.changes(1, 10)) == (None, [])
    loaded.window(batch([person(1)]))
    assert [e[0] for e in feed_of(world.reopen(), 1)] == [2]


def test_a_cursor_ahead_of_the_feed_is_told(loaded: Feeder) -> None:
    assert loaded.store.changes(2, 10) is None


def test_the_feed_is_kept_for_30_days_by_itself(world: World, loaded: Feeder) -> None:
    world.clock.seconds = 29 * 86_400
    loaded.window(batch([person(1)]))
    assert loaded.store.changes(0, 10) is not None
    world.clock.seconds = 31 * 86_400
    loaded.window(batch([person(2)]))
    assert loaded.store.changes(0, 10) is None
    assert [e[0] for e in feed_of(loaded.store, 1)] == [2, 3]


def test_a_follower_of_the_feed_has_what_the_copy_has(loaded: Feeder) -> None:
    copy, after = dict[bytes, object](), 0
    for step in range(6):
        loaded.window(batch([person(n, f"{step}") for n in range(step, step + 5)]), batch([(Op.DELETE, [step + 1])]))
        if step == 3:
            loaded.load([person(i) for i in range(1, 21)], 2)
        while changes := loaded.store.changes(after, 4):
            for change in changes:
                if change.op == "reset":
                    copy = dict(cells_of(loaded.store))
                elif change.row is None:
                    copy.pop(change.key, None)
                else:
                    copy[change.key] = change.row.cells
            after = changes[-1].cursor
    assert copy == cells_of(loaded.store)


# -- life --------------------------------------------------------------------------------------------------------------------


def test_closing_twice_is_fine_and_using_a_closed_store_is_told(world: World) -> None:
    world.store.close()
    world.store.close()
    with pytest.raises(StoreError, match="C3106"):
        world.store.channels()
    with pytest.raises(StoreError, match="C3106"):
        world.store.adopt("hr", b"j", 1)


def test_everything_is_there_after_a_restart(world: World, held: Feeder) -> None:
    held.window(batch([(Op.WITHHELD, [3]), person(4, "x")]), reloading=["people"])
    store = world.store

    def picture(store: CompanyStore) -> tuple[object, ...]:
        return store.channels(), store.datasets(), cells_of(store), store.withheld(None, 10), store.changes(0, 100)

    before = picture(store)
    assert picture(world.reopen()) == before


def test_reading_waits_for_no_apply_and_sees_nothing_of_it(loaded: Feeder) -> None:
    reached, go_on = threading.Event(), threading.Event()
    frames = loaded.frames(batch([person(1, "unseen")]), loaded.end())
    messages: list[StreamMessage] = [batch([person(1, "unseen")]), loaded.end()]

    def decode(_: bytes) -> StreamMessage:
        if len(messages) == 1:
            reached.set()
            assert go_on.wait(30)
        return messages.pop(0)

    apply = threading.Thread(target=lambda: loaded.store.apply("hr", loaded.journal, frames, decode, lambda _: None))
    apply.start()
    try:
        assert reached.wait(30)
        assert names_of(loaded.store)[1] == "P1"
        assert (loaded.store.cursor(), len(loaded.store.datasets())) == (1, 1)
    finally:
        go_on.set()
        apply.join()
    assert names_of(loaded.store)[1] == "unseen"


def test_many_threads_may_read_at_once(loaded: Feeder) -> None:
    problems: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert len(names_of(loaded.store)) == 20
                assert loaded.store.changes(0, 10)
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for i in range(10):
        loaded.window(batch([person(1, f"{i}")]))
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_position_is_kept_byte_by_byte(hr: Feeder) -> None:
    position = bytes(range(256))
    hr.apply(hr.frames(WindowEnd(position, 0, 1, 0, "2026-03-01T00:00:00Z")))
    assert hr.store.channels()[0].position == position
