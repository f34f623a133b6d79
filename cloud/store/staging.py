"""adapter: where each channel stands, and the frames that wait for the end of their window."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from cloud.store.base import Staged
from transport.errors import RemoteProtocolError
from transport.frames import ChannelState, WindowEnd
from transport.resume import staged_check

_STATE = "name, journal_id, staged, applied, position"


def states(db: sqlite3.Connection) -> list[ChannelState]:
    """List all channels, by name, with the check of what is staged beyond the last window applied."""
    found = db.execute(f"SELECT {_STATE} FROM _channel ORDER BY name").fetchall()
    return [msgspec.structs.replace(ChannelState(*row), check=staged_check(_checksums(db, row[0]))) for row in found]


def _checksums(db: sqlite3.Connection, channel: str) -> Iterator[int]:
    rows = db.execute("SELECT crc FROM _staging WHERE channel = ? ORDER BY seq", (channel,))
    return (row[0] for row in rows)


def names(db: sqlite3.Connection) -> list[str]:
    """List all channels by name."""
    return [name for (name,) in db.execute("SELECT name FROM _channel ORDER BY name")]


def forget(db: sqlite3.Connection, channel: str) -> None:
    """Remove a channel, and what of it is staged."""
    db.execute("DELETE FROM _staging WHERE channel = ?", (channel,))
    db.execute("DELETE FROM _channel WHERE name = ?", (channel,))


def state(db: sqlite3.Connection, channel: str) -> ChannelState | None:
    """Return one channel."""
    row = db.execute(f"SELECT {_STATE} FROM _channel WHERE name = ?", (channel,)).fetchone()
    return ChannelState(*row) if row else None


def current(db: sqlite3.Connection, channel: str, journal_id: bytes) -> ChannelState:
    """Return the channel, whose journal must be this one. Raises RemoteProtocolError T1006."""
    found = state(db, channel)
    if found is None or found.journal_id != journal_id:
        raise RemoteProtocolError("T1006", "frames of a journal that was not announced", where=channel)
    return found


def adopt(db: sqlite3.Connection, channel: str, journal_id: bytes, next_seq: int) -> ChannelState:
    """Continue with this journal; another one than before discards what is staged. The position stays."""
    found = state(db, channel)
    if found is not None and found.journal_id == journal_id:
        return found
    db.execute("DELETE FROM _staging WHERE channel = ?", (channel,))
    db.execute(
        "INSERT INTO _channel(name, journal_id, staged, applied) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
        "SET journal_id = excluded.journal_id, staged = excluded.staged, applied = excluded.applied",
        (channel, journal_id, next_seq - 1, next_seq - 1),
    )
    return ChannelState(channel, journal_id, next_seq - 1, next_seq - 1, found.position if found else b"")


def stage(db: sqlite3.Connection, known: ChannelState, frames: Sequence[Staged]) -> int:
    """Keep frames that follow the staged prefix; those already in it are checked only. Returns the last seq."""
    new = _following(db, known, frames)
    db.executemany(
        "INSERT INTO _staging(channel, seq, crc, envelope) VALUES (?, ?, ?, ?)", ((known.channel, *frame) for frame in new)
    )
    staged = new[-1].seq if new else known.staged
    db.execute("UPDATE _channel SET staged = ? WHERE name = ?", (staged, known.channel))
    return staged


def envelopes(db: sqlite3.Connection, known: ChannelState, tail: Sequence[Staged]) -> Iterator[tuple[int, bytes]]:
    """Yield (seq, envelope) of everything staged, then of `tail`; one at a time, so that a window of any size fits."""
    seq, new = known.applied, _following(db, known, tail)
    while seq < known.staged:
        # a statement a frame: none is open while tables are dropped
        found = db.execute(
            "SELECT seq, envelope FROM _staging WHERE channel = ? AND seq = ?", (known.channel, seq + 1)
        ).fetchone()
        if found is None:
            raise RemoteProtocolError("T1006", f"frame {seq + 1} is not staged", where=known.channel)
        seq = found[0]
        yield found
    for frame in new:
        yield frame.seq, frame.envelope


def finish(db: sqlite3.Connection, channel: str, seq: int, end: WindowEnd, now: str) -> None:
    """Note that everything up to `seq` took effect, and the position with it."""
    db.execute("DELETE FROM _staging WHERE channel = ? AND seq <= ?", (channel, seq))
    db.execute(
        "UPDATE _channel SET staged = ?, applied = ?, position = ?, applied_at = ?, read_at = ? WHERE name = ?",
        (seq, seq, end.position, now, end.read_at, channel),
    )


def _following(db: sqlite3.Connection, known: ChannelState, frames: Sequence[Staged]) -> list[Staged]:
    """Leave out frames that are staged already. Raises RemoteProtocolError T1006 for a gap or another content."""
    new, last = [], known.staged
    for frame in frames:
        if frame.seq <= known.staged:
            _check_same(db, known, frame)
        elif frame.seq != last + 1:
            raise RemoteProtocolError("T1006", f"frame {frame.seq} does not follow {last}", where=known.channel)
        else:
            new.append(frame)
            last = frame.seq
    return new


def _check_same(db: sqlite3.Connection, known: ChannelState, frame: Staged) -> None:
    found = db.execute("SELECT crc FROM _staging WHERE channel = ? AND seq = ?", (known.channel, frame.seq)).fetchone()
    if found is not None and found[0] != frame.crc:
        raise RemoteProtocolError("T1006", f"frame {frame.seq} came twice with different content", where=known.channel)
