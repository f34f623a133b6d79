"""Each rule of validity alone."""

from __future__ import annotations

import msgspec
import pytest

from cdc.model import Description, Facts, LoadMark, Position, TableMark, TableState, Witness
from cdc.validity import BegunLoad, Reason, Verdict, judge, lapsed, moved
from transport.frames import Column, Schema, Type

SCHEMA = Schema("a", "hr", "up", [Column("id", Type.INT, nullable=False, key=1)])
HERE = b"incarnation"


def mark(name: str = "a", **changed: object) -> TableMark:
    return msgspec.structs.replace(TableMark(name, "oid", 5, b"fp", 7), **changed)


def position(*marks: TableMark, loads: tuple[LoadMark, ...] = (), version: int = 100) -> Position:
    return Position(version, HERE, b"nonce", list(marks or (mark(),)), list(loads))


def state(name: str = "a", **changed: object) -> TableState:
    return msgspec.structs.replace(TableState(name, "oid", 5, 50), **changed)


def facts(*states: TableState, witness: Witness = Witness.FOUND, version: int = 110, incarnation: bytes = HERE) -> Facts:
    return Facts(version, incarnation, witness, list(states or (state(),)))


def found(name: str = "a", fingerprint: bytes = b"fp") -> Description:
    return Description(name, msgspec.structs.replace(SCHEMA, dataset=name), fingerprint)


def test_an_unchanged_table_is_kept() -> None:
    assert judge(position(), facts(), [found()]) == Verdict(keep=["a"])


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (state(min_valid=100), None),  # the position itself is still valid
        (state(min_valid=101), Reason.HISTORY),
        (state(object_id="other"), Reason.TABLE),
        (state(begin_version=6), Reason.TRACKING),
        (state(begin_version=100, min_valid=100), Reason.TRACKING),  # truncated exactly at the position
    ],
)
def test_lost_history_is_read_again_and_nothing_else(now: TableState, reason: Reason | None) -> None:
    verdict = judge(position(mark(), mark("b")), facts(now, state("b")), [found(), found("b")])
    assert verdict.load == ({"a": reason} if reason else {})
    assert "b" in verdict.keep


def test_a_changed_declaration_is_read_again() -> None:
    assert judge(position(), facts(), [found(fingerprint=b"other")]).load == {"a": Reason.DECLARED}


def test_a_new_dataset_is_read() -> None:
    verdict = judge(position(), facts(state(), state("b")), [found(), found("b")])
    assert (verdict.keep, verdict.load) == (["a"], {"b": Reason.NEW})


def test_without_a_position_everything_is_read() -> None:
    assert judge(None, facts(state(), state("b")), [found(), found("b")]).load == {"a": Reason.NEW, "b": Reason.NEW}


def test_lost_tracking_or_permission_pauses_that_table_and_is_not_compared() -> None:
    verdict = judge(position(mark(), mark("b")), facts(state(min_valid=None), state("b")), [found(), found("b")])
    assert verdict.paused["a"].code == "A2411"
    assert verdict.keep == ["b"]


def test_a_table_that_is_not_in_the_facts_is_paused() -> None:
    assert "a" in judge(position(), facts(state("b")), [found()]).paused


def test_a_dataset_that_cannot_be_described_is_paused_with_its_own_code() -> None:
    verdict = judge(position(), facts(), [Description("a", None, code="A2301", problem="no such table")])
    assert verdict.paused["a"] == ("A2301", "no such table")


def test_a_dataset_that_was_paused_is_read_again() -> None:
    assert judge(position(lapsed(mark())), facts(), [found()]).load == {"a": Reason.PAUSED}
    assert lapsed(mark()).generation == mark().generation


def test_a_dataset_no_longer_declared_is_detached() -> None:
    verdict = judge(position(mark(), mark("b")), facts(state("b")), [found("b")])
    assert (verdict.keep, verdict.detached) == (["b"], ["a"])


@pytest.mark.parametrize("version", [100, 110, 100_000])
def test_a_foreign_history_stops_the_company_however_far_its_versions_are(version: int) -> None:
    verdict = judge(position(), facts(witness=Witness.FOREIGN, version=version), [found()])
    assert verdict.stop is not None
    assert verdict.stop.code == "A2401"
    assert not verdict.keep
    assert not verdict.load


def test_versions_that_went_back_stop_the_company() -> None:
    verdict = judge(position(), facts(version=99), [found()])
    assert verdict.stop is not None
    assert verdict.stop.code == "A2401"


def test_another_incarnation_stops_the_company_until_a_person_accepts_it() -> None:
    other = facts(incarnation=b"other", witness=Witness.FOREIGN, version=3)
    verdict = judge(position(), other, [found()])
    assert verdict.stop is not None
    assert verdict.stop.code == "A2402"
    assert judge(position(), other, [found()], accepted=b"other").load == {"a": Reason.INCARNATION}


def test_a_position_older_than_the_witness_log_has_every_dataset_read_again() -> None:
    verdict = judge(position(mark(), mark("b")), facts(state(), state("b"), witness=Witness.UNPROVEN), [found(), found("b")])
    assert verdict.load == {"a": Reason.UNPROVEN, "b": Reason.UNPROVEN}


def test_what_is_asked_for_is_read_again() -> None:
    verdict = judge(position(mark(), mark("b")), facts(state(), state("b")), [found(), found("b")], asked={"b": Reason.ASKED})
    assert (verdict.keep, verdict.load) == (["a"], {"b": Reason.ASKED})


def test_a_dataset_sent_once_is_left_alone_afterwards_but_finishes_its_load() -> None:
    changed = facts(state(min_valid=105))
    assert judge(position(), changed, [found()], once=["a"], asked={"a": Reason.ASKED}).keep == ["a"]
    loading = position(loads=(LoadMark("a", 7, b"", 0, "new"),))
    assert judge(loading, changed, [found()], once=["a"]).load == {"a": Reason.HISTORY}


def test_a_baseline_is_given_up_once_another_channel_has_read_the_dataset() -> None:
    here = position(*(mark(name) for name in "abc"))
    begun = {"a": BegunLoad("hr", 9), "b": BegunLoad("shop", 9), "c": BegunLoad("shop", 6), "other": BegunLoad("shop", 9)}
    assert moved(here, "hr", begun) == {"b": Reason.MOVED}
    assert moved(None, "hr", begun) == {}
