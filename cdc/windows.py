"""pure: what a channel's next window contains besides rows: baselines, loads that begin, detached datasets, what is stale."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from cdc.model import Dataset, Description, Direction, Facts, LoadMark, Position, TableMark, TableState
from cdc.validity import Reason, Verdict, lapsed, settled
from transport.codec import schema_id
from transport.frames import LoadBegin, Schema


class Declared(msgspec.Struct, frozen=True):
    """A channel's datasets as the configuration has them now."""

    datasets: tuple[Dataset, ...]
    broken: tuple[str, ...] = ()  # left out because of mistakes in the file: paused, not detached

    def of_the_erp(self) -> list[Dataset]:
        """Those that travel up at all."""
        return [dataset for dataset in self.datasets if dataset.direction != Direction.DOWN]

    def once(self) -> list[str]:
        """Names of those that belong to the cloud after their first load."""
        return [dataset.name for dataset in self.datasets if dataset.direction == Direction.ONCE]


class Plan(msgspec.Struct, frozen=True):
    """The window, before its rows are read."""

    tables: dict[str, TableMark]  # baselines at the window's end
    loads: dict[str, LoadMark]  # under way
    begins: list[LoadBegin]
    detached: list[str]
    reading: list[str]  # datasets whose changes belong to it
    schemas: dict[str, Schema]  # of everything that may be read

    def differs(self, position: Position | None) -> bool:
        """Whether the window says something even if no row has changed."""
        if position is None or self.begins or self.detached:
            return True
        return list(self.tables.values()) != position.tables or list(self.loads) != [load.dataset for load in position.loads]

    def stale(self) -> list[str]:
        """Datasets whose visible copy is incomplete or behind the window's position."""
        loading = {name for name, load in self.loads.items() if load.reason != Reason.ASKED}
        return sorted(loading | {name for name, mark in self.tables.items() if not mark.fingerprint})


def plan(
    position: Position | None,
    verdict: Verdict,
    facts: Facts,
    descriptions: Sequence[Description],
    *,
    floor: int,
    once: Collection[str] = (),
) -> Plan:
    """Turn a verdict into a window. `floor`: generations begin above it, so that they grow though a position was lost."""
    found = {description.dataset: description for description in descriptions}
    states = {state.dataset: state for state in facts.tables}
    marks = {mark.dataset: mark for mark in position.tables} if position else {}
    loads = {load.dataset: load for load in position.loads} if position else {}
    schemas = {name: d.schema for name, d in found.items() if d.schema is not None and name not in verdict.paused}
    made = Plan({}, {}, [], verdict.detached, [], schemas)
    for name, description in found.items():
        mark, load = marks.get(name), loads.get(name)
        if name in verdict.paused:
            if mark is not None:
                made.tables[name] = lapsed(mark)
        elif name in verdict.load:
            _begin(made, description, states[name], mark, _gravest(verdict.load[name], load), floor)
        elif mark is not None:
            made.tables[name] = mark
            if load is not None:
                made.loads[name] = load
            if not (name in once and settled(mark, load)):
                made.reading.append(name)
    return made


def without(planned: Plan, names: Iterable[str]) -> Plan:
    """Take out datasets that turned out to be unreadable while the window was read."""
    gone = set(names)
    tables = {name: lapsed(mark) if name in gone else mark for name, mark in planned.tables.items()}
    loads = {name: load for name, load in planned.loads.items() if name not in gone}
    return msgspec.structs.replace(planned, tables=tables, loads=loads)


def offenders(sizes: Mapping[str, int], limit: int) -> list[str]:
    """Which datasets' changes made a window outgrow its limit: those over an equal share, at least the largest."""
    share = limit / max(1, len(sizes))
    return [name for name, size in sizes.items() if size > share] or [max(sizes, key=sizes.__getitem__)]


def _gravest(reason: Reason, load: LoadMark | None) -> str:
    """Return the reason of a load that is asked for: that of the one it replaces, if that was to mend a stale copy."""
    return load.reason if reason == Reason.ASKED and load is not None else reason


def _begin(made: Plan, found: Description, state: TableState, mark: TableMark | None, reason: str, floor: int) -> None:
    if found.schema is None:
        return
    name, generation = found.dataset, max(mark.generation if mark else 0, floor) + 1
    made.tables[name] = TableMark(name, state.object_id, state.begin_version, found.fingerprint, generation)
    made.loads[name] = LoadMark(name, generation, b"", 0, reason)
    made.begins.append(LoadBegin(name, schema_id(found.schema), generation, reason))
    if reason == Reason.ASKED:
        made.reading.append(name)  # what is visible stays current meanwhile
