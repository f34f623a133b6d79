"""pure: how a channel continues after a welcome, decided from what the journal and the cloud durably have.

Whatever is decided, the cloud's next window follows the position it has: nothing is skipped. Sequence numbers never go back
within a journal id; where they would have to, the journal starts another id.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from transport.frames import ChannelState


class Kept(Protocol):
    """What the journal has of the channel."""

    @property
    def journal_id(self) -> bytes:
        """Under which the frames are numbered."""
        ...

    @property
    def first_seq(self) -> int:
        """The lowest frame kept, or last_seq + 1."""
        ...

    @property
    def last_seq(self) -> int:
        """The last frame of the last complete window."""
        ...

    @property
    def base_position(self) -> bytes:
        """Before `first_seq`; b"": nothing was ever captured before it."""
        ...

    @property
    def position(self) -> bytes:
        """At `last_seq`."""
        ...


class Continue(msgspec.Struct, frozen=True):
    """The journal's frames go on from `next_seq` under its id."""

    next_seq: int


class Adopt(msgspec.Struct, frozen=True):
    """The journal's frames are discarded; a new id begins at seq 1, captured from the cloud's position."""

    position: bytes


class Fresh(msgspec.Struct, frozen=True):
    """The journal's frames are discarded; a new id begins at seq 1, captured from nothing: a full load."""


Decision: TypeAlias = Continue | Adopt | Fresh


def resume(journal: Kept | None, cloud: ChannelState | None, position_at_applied: bytes | None = None) -> Decision:
    """Decide how one channel continues. None: the journal (the cloud) knows nothing of the channel.

    `position_at_applied`: the position in the journal's own WINDOW_END numbered `cloud.applied`, if it is still kept. A folder
    restored from a backup counts on from an old number: only positions show that equal numbers are not equal frames.
    """
    if cloud is None:
        return Continue(1) if journal is not None and _whole(journal) and not journal.base_position else Fresh()
    if journal is not None and journal.journal_id == cloud.journal_id:
        if _same_history(journal, cloud, position_at_applied):
            return Continue(cloud.staged + 1)
    elif journal is not None and _whole(journal) and journal.base_position == cloud.position:
        return Continue(1)  # adopted before, and the link ended before the cloud heard of the new id
    return Adopt(cloud.position) if cloud.position else Fresh()


def _whole(journal: Kept) -> bool:
    """Nothing was trimmed: every frame since the id began is there, schemas included."""
    return journal.first_seq == 1


def _same_history(journal: Kept, cloud: ChannelState, position_at_applied: bytes | None) -> bool:
    """Neither ahead of the journal, nor gone back before what it keeps, nor another history under the same numbers."""
    if not journal.first_seq - 1 <= cloud.staged <= journal.last_seq:
        return False
    known = position_at_applied
    if cloud.applied == journal.first_seq - 1:
        known = journal.base_position
    elif cloud.applied == journal.last_seq:
        known = journal.position
    return known is None or known == cloud.position
