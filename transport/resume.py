"""pure: how a channel continues after a welcome, decided from what the journal and the cloud durably have.

Whatever is decided, the cloud's next window follows the position it has: nothing is skipped. Sequence numbers never go back
within a journal id; where they would have to, the journal starts another id.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable
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


def resume(
    journal: Kept | None, cloud: ChannelState | None, position_at_applied: bytes | None = None, check: int | None = None
) -> Decision:
    """Decide how one channel continues. None: the journal (the cloud) knows nothing of the channel.

    A folder restored from a backup counts on from an old number: equal numbers need not be equal frames. What tells them
    apart, each as the journal has it, None where it no longer keeps the frames: `position_at_applied`, the position in its
    frame `cloud.applied`, b"" if that is no WINDOW_END; `check`, the `staged_check` of its frames from there to `cloud.staged`.
    """
    if cloud is None:
        whole = journal is not None and journal.first_seq == 1 and not journal.base_position
        return Continue(1) if whole else Fresh()
    if (
        journal is not None
        and journal.journal_id == cloud.journal_id
        and _same_history(journal, cloud, position_at_applied, check)
    ):
        return Continue(cloud.staged + 1)
    return Adopt(cloud.position) if cloud.position else Fresh()


def staged_check(checksums: Iterable[int]) -> int:
    """Condense the crc32 of consecutive frames, in order; 0 for none. Both sides compute it over what they durably have."""
    check = 0
    for checksum in checksums:
        check = crc32(checksum.to_bytes(4, "big"), check)
    return check


def _same_history(journal: Kept, cloud: ChannelState, position_at_applied: bytes | None, check: int | None) -> bool:
    """Neither ahead of the journal, nor gone back before what it keeps, nor another history under the same numbers."""
    if not journal.first_seq - 1 <= cloud.staged <= journal.last_seq:
        return False
    known = position_at_applied
    if cloud.applied == journal.first_seq - 1:
        known = journal.base_position
    elif cloud.applied == journal.last_seq:
        known = journal.position
    same_position = known is None or known == cloud.position
    return same_position and (not cloud.check or check is None or check == cloud.check)
