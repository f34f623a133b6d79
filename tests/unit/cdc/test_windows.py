"""What a window contains besides rows."""

from __future__ import annotations

from cdc.model import Description, Facts, LoadMark, Position, TableMark, TableState, Witness
from cdc.validity import Problem, Reason, Verdict
from cdc.windows import Plan, offenders, plan, without
from transport.frames import Column, Schema, Type

FACTS = Facts(9, b"i", Witness.FOUND, [TableState("a", "1", 2, 0), TableState("b", "1", 2, 0)])
MARKS = [TableMark("a", "1", 2, b"fp", 5), TableMark("b", "1", 2, b"fp", 5)]


def described(name: str) -> Description:
    return Description(name, Schema(name, "hr", "up", [Column("id", Type.INT, nullable=False, key=1)]), b"fp")


def planned(verdict: Verdict, *loads: LoadMark, floor: int = 0, once: tuple[str, ...] = ()) -> tuple[Plan, Position]:
    position = Position(8, b"i", b"n", MARKS, list(loads))
    return plan(position, verdict, FACTS, [described("a"), described("b")], floor=floor, once=once), position


def test_what_is_kept_says_nothing_of_itself() -> None:
    made, position = planned(Verdict(keep=["a", "b"]))
    assert not made.differs(position)
    assert (made.reading, made.stale()) == (["a", "b"], [])


def test_a_load_begins_with_a_greater_generation_and_its_copy_is_stale_until_it_ends() -> None:
    made, position = planned(Verdict(keep=["b"], load={"a": Reason.HISTORY}))
    assert made.differs(position)
    assert [(b.dataset, b.generation, b.reason) for b in made.begins] == [("a", 6, "history")]
    assert made.loads["a"] == LoadMark("a", 6, b"", 0, "history")
    assert (made.reading, made.stale()) == (["b"], ["a"])


def test_generations_grow_though_a_position_was_lost() -> None:
    verdict = Verdict(load={"a": Reason.NEW})
    assert plan(None, verdict, FACTS, [described("a")], floor=1000).begins[0].generation == 1001


def test_a_load_that_was_asked_for_leaves_the_copy_current() -> None:
    made, _ = planned(Verdict(keep=["b"], load={"a": Reason.ASKED}))
    assert (made.reading, made.stale()) == (["a", "b"], [])


def test_a_load_asked_for_in_the_middle_of_one_that_mends_a_stale_copy_mends_it_too() -> None:
    made, _ = planned(Verdict(keep=["b"], load={"a": Reason.ASKED}), LoadMark("a", 5, b"k", 7, "window"))
    assert made.stale() == ["a"]
    assert made.loads["a"].after == b""


def test_a_paused_dataset_loses_its_baseline_and_its_load_but_not_its_generation() -> None:
    made, position = planned(Verdict(keep=["b"], paused={"a": Problem("A2411", "")}), LoadMark("a", 5, b"k", 7, "window"))
    assert made.differs(position)
    assert (made.tables["a"].fingerprint, made.tables["a"].generation) == (b"", 5)
    assert (made.loads, made.stale(), made.reading) == ({}, ["a"], ["b"])


def test_a_dataset_sent_once_is_read_only_while_it_is_loaded() -> None:
    assert planned(Verdict(keep=["a", "b"]), once=("a",))[0].reading == ["b"]
    loading = LoadMark("a", 5, b"k", 7, "new")
    assert planned(Verdict(keep=["a", "b"]), loading, once=("a",))[0].reading == ["a", "b"]


def test_a_dataset_that_failed_while_it_was_read_has_no_baseline_afterwards() -> None:
    made, _ = planned(Verdict(keep=["b"], load={"a": Reason.NEW}))
    left = without(made, ["a"])
    assert (left.loads, left.stale()) == ({}, ["a"])


def test_offenders_are_those_over_an_equal_share_or_the_largest() -> None:
    assert offenders({"a": 10, "b": 60, "c": 50}, 100) == ["b", "c"]
    assert offenders({"a": 10, "b": 11}, 100) == ["b"]
