"""pure: the port to the database that holds one company's copy. Blocking: called through the company's own executor.

Rules of every adapter: data and position commit in one transaction; a window takes effect whole or not at all; durable means
fsync'd; only this folder contains SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from transport.frames import Cell, ChannelState, Schema, StreamMessage


class Staged(NamedTuple):
    """One stream frame as received: stored as it is until its window ends."""

    seq: int
    crc: int
    envelope: bytes


Decode = Callable[[bytes], StreamMessage | None]  # None: an optional frame of a kind unknown here
Progress = Callable[[int], None]  # rows applied so far; called from the store's thread


class Applied(NamedTuple):
    """What a window did."""

    seq: int
    rows: int
    cursor: int  # the change feed's newest cursor afterwards
    withheld: int  # rows of the channel now marked withheld
    held: list[str]  # datasets of the channel whose finished load waits for a person


class DatasetState(msgspec.Struct, frozen=True):
    """A dataset of the copy as applications see it."""

    name: str
    channel: str
    state: str  # loading (nothing visible yet), live, reloading (visible, but incomplete or stale), held, detached
    schema: Schema
    rows: int
    withheld: int
    applied_at: str  # UTC, Z: when the last window of its channel took effect; "" before the first
    read_at: str  # UTC, Z: when that window was read from the ERP
    generation: int


class Row(msgspec.Struct, frozen=True):
    """One row of the copy."""

    key: bytes  # its identity: canonical MessagePack array
    cells: dict[str, Cell]
    withheld: str = ""  # code: this is the last version that could be stored


class WithheldRow(msgspec.Struct, frozen=True):
    """A row that could not be read, carried or stored."""

    dataset: str
    key: bytes
    code: str
    column: str
    detail: str
    since: str  # UTC, Z
    side: str  # erp: withheld by the agent; cloud: by the store


class Change(msgspec.Struct, frozen=True):
    """One entry of the change feed. `reset`: read the dataset anew (key b"")."""

    cursor: int
    dataset: str
    op: str  # upsert, delete, reset
    key: bytes
    row: Row | None  # the row as it is now; None for deletes, and for rows that have gone since


class CompanyStore(Protocol):
    """The copy of one company. Raises `cloud.errors.StoreError`."""

    def close(self) -> None:
        """Idempotent."""
        ...

    # -- the agent's side ------------------------------------------------------------------------------------------------

    def channels(self) -> list[ChannelState]:
        """What is durably here, by channel."""
        ...

    def adopt(self, channel: str, journal_id: bytes, next_seq: int) -> ChannelState:
        """The agent continues with this journal id. The same id: nothing changes.

        Another: staged frames are discarded and staged = applied = next_seq - 1 for the new id; the position stays.
        """
        ...

    def release(self, channels: Collection[str]) -> list[str]:
        """The agent has these channels. Others are forgotten, their datasets detached; returns those that are so now.

        Should such a channel come back, it begins from nothing.
        """
        ...

    def stage(self, channel: str, journal_id: bytes, frames: Sequence[Staged]) -> int:
        """Stores frames that follow the staged prefix, durably. Returns the new staged seq."""
        ...

    def apply(self, channel: str, journal_id: bytes, tail: Sequence[Staged], decode: Decode, progress: Progress) -> Applied:
        """Applies what is staged plus `tail`, whose last frame is a WINDOW_END, with the position, in one transaction.

        A row the database refuses is withheld (bisected within the transaction), not an error.
        """
        ...

    # -- applications ----------------------------------------------------------------------------------------------------

    def datasets(self) -> list[DatasetState]:
        """All datasets ever received, by name."""
        ...

    def row(self, dataset: str, key: bytes) -> Row | None:
        """By identity."""
        ...

    def rows(self, dataset: str, after: bytes, limit: int) -> list[Row]:
        """In the order of their identities' bytes, those greater than `after`."""
        ...

    def cursor(self) -> int:
        """The change feed's newest cursor."""
        ...

    def changes(self, after: int, limit: int, datasets: Iterable[str] | None = None) -> list[Change] | None:
        """Feed entries with a cursor greater than `after`, in order; None: `after` is older than the feed reaches (410)."""
        ...

    def withheld(self, dataset: str | None, limit: int) -> list[WithheldRow]:
        """What is withheld now."""
        ...

    def approve(self, dataset: str) -> bool:
        """A person accepts a load that was held because it would remove over 30 % of the dataset. False: none is held."""
        ...

    def reject(self, dataset: str) -> bool:
        """A person discards a held load; the visible generation stays. False: none is held."""
        ...

    def clean_up(self, before: str) -> int:
        """Removes feed entries older than that time (UTC, Z). Returns how many."""
        ...
