"""pure: may a channel go on from its position? The rules that end in keeping, re-reading, pausing, detaching or stopping.

Reasons are in the notes on change tracking: history that is gone (a version below `min_valid`, another object, tracking that
began anew) is never bridged by guessing; only tables in scope count; a NULL `min_valid` is never compared.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from cdc.model import Description, Facts, LoadMark, Position, TableMark, TableState, Witness


class Reason(enum.StrEnum):
    """Why a dataset is read as a whole; travels in LoadMark and LoadBegin."""

    NEW = "new"  # nothing is known of it
    DECLARED = "declared"  # columns, types, filter or structure are not those of the baseline
    TABLE = "table"  # another table of the same name
    TRACKING = "tracking"  # its tracking began anew: truncated, or off and on
    HISTORY = "history"  # changes after the position are no longer kept
    PAUSED = "paused"  # it was not captured for a while
    UNPROVEN = "unproven"  # the witness log does not reach back to the position
    INCARNATION = "incarnation"  # a person said that another history is the real one
    WINDOW = "window"  # its changes outgrew a window
    MOVED = "moved"  # another channel has read it as a whole since
    ASKED = "asked"  # by a person or a schedule; what is visible stays current meanwhile


class Problem(NamedTuple):
    """What a person should know and mend: an error code and a text that names no contents."""

    code: str
    message: str


class Verdict(msgspec.Struct, frozen=True):
    """What follows for every dataset; each is in exactly one of `keep`, `load`, `paused`, or it is in `detached`."""

    keep: list[str] = []  # goes on; a load under way too
    load: dict[str, Reason] = {}  # a full read begins
    paused: dict[str, Problem] = {}  # not read until a person acts
    detached: list[str] = []  # in the position, no longer declared
    stop: Problem | None = None  # the company stops; nothing may be read


def judge(
    position: Position | None,
    facts: Facts,
    descriptions: Sequence[Description],
    *,
    asked: Mapping[str, Reason] | None = None,
    accepted: bytes = b"",
    once: Collection[str] = (),
) -> Verdict:
    """Decide for each described dataset.

    `asked`: datasets to read anew for a reason from outside, unless there is a graver one; `accepted`: the incarnation a person
    declared to be the real one; `once`: datasets that belong to the cloud after their first load.
    """
    if position is not None and (stop := _stop(position, facts, accepted)):
        return Verdict(stop=stop)
    verdict = Verdict(keep=[], load={}, paused={}, detached=_detached(position, descriptions))
    states = {state.dataset: state for state in facts.tables}
    marks = {mark.dataset: mark for mark in position.tables} if position else {}
    loads = {mark.dataset: mark for mark in position.loads} if position else {}
    everything = _everything(position, facts)
    for found in descriptions:
        name = found.dataset
        state, mark = states.get(name), marks.get(name)
        if problem := _problem(found, state):
            verdict.paused[name] = problem
        elif name in once and settled(mark, loads.get(name)):
            verdict.keep.append(name)
        elif reason := everything or _lost(position, found, state, mark) or (asked or {}).get(name):
            verdict.load[name] = reason
        else:
            verdict.keep.append(name)
    return verdict


class BegunLoad(NamedTuple):
    """The last load of a dataset that was begun."""

    channel: str
    generation: int


def moved(position: Position | None, channel: str, begun: Mapping[str, BegunLoad]) -> dict[str, Reason]:
    """Find datasets that came back to a channel which never captured that they had left it.

    Its baseline is no longer the copy's: the other channel's load takes, or took, the place of it.
    """
    marks = {mark.dataset: mark.generation for mark in position.tables} if position else {}
    elsewhere = {name: load.generation for name, load in begun.items() if load.channel != channel}
    return {name: Reason.MOVED for name, generation in marks.items() if elsewhere.get(name, 0) > generation}


def settled(mark: TableMark | None, load: LoadMark | None) -> bool:
    """Whether a dataset has been read as a whole and nothing is under way."""
    return mark is not None and load is None and bool(mark.fingerprint)


def lapsed(mark: TableMark) -> TableMark:
    """Return the mark of a dataset that is not captured now: no baseline, but its generations still grow."""
    return TableMark(mark.dataset, "", 0, b"", mark.generation)


def _stop(position: Position, facts: Facts, accepted: bytes) -> Problem | None:
    if facts.incarnation != position.incarnation:
        if facts.incarnation == accepted:
            return None
        return Problem("A2402", "the database has another incarnation than the channel's position")
    if facts.witness == Witness.FOREIGN:
        return Problem("A2401", f"the mark of version {position.version} is not in the database's own log")
    if facts.version < position.version:
        return Problem("A2401", f"the database is at version {facts.version}, the position at {position.version}")
    return None


def _everything(position: Position | None, facts: Facts) -> Reason | None:
    """Why every dataset has to be read as a whole."""
    if position is None:
        return Reason.NEW
    if facts.incarnation != position.incarnation:
        return Reason.INCARNATION
    return Reason.UNPROVEN if facts.witness == Witness.UNPROVEN else None


def _detached(position: Position | None, descriptions: Sequence[Description]) -> list[str]:
    declared = {found.dataset for found in descriptions}
    return [mark.dataset for mark in position.tables if mark.dataset not in declared] if position else []


def _problem(found: Description, state: TableState | None) -> Problem | None:
    if found.schema is None:
        return Problem(found.code or "A2412", found.problem or "the dataset was not found in the database")
    if state is None or state.min_valid is None:
        return Problem("A2411", "its changes are not tracked, or the permission to ask is missing")
    return None


def _lost(position: Position | None, found: Description, state: TableState | None, mark: TableMark | None) -> Reason | None:
    """Why the dataset's baseline cannot be used; None: it can."""
    if mark is None or state is None or state.min_valid is None or position is None:
        return Reason.NEW
    if not mark.fingerprint:
        return Reason.PAUSED
    if state.object_id != mark.object_id:
        return Reason.TABLE
    if state.begin_version != mark.begin_version:
        return Reason.TRACKING
    if found.fingerprint != mark.fingerprint:
        return Reason.DECLARED
    return Reason.HISTORY if position.version < state.min_valid else None
