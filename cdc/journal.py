"""adapter: the agent's durable store of one company: frames not yet applied in the cloud, positions, settings, identity.

Blocking: called through the company's journal executor; a lock makes every method safe from any thread.

A channel's frames are numbered without a gap from 1 within a journal id. Frames after `last_seq` are **open**: they belong to a
window that is not complete, nobody reads them, and opening the journal discards them; their numbers were never seen and are
given again. Whatever a method has returned is durable (`staged` and `applied` excepted: the cloud says them anew at each hello,
and the next window's end makes them durable too).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from cdc.errors import AgentError, Transient
from cdc.journal_file import PAGE, JournalDamaged, JournalFile
from cdc.journal_identity import Identity, IdentityFile
from transport.codec import KINDS, raw_body, schema_id, seal
from transport.errors import LocalProtocolError
from transport.frames import MIB, Kind, Schema, StreamMessage
from transport.runtime import Durable, unwatched

FLUSH = 4 * MIB  # bytes of open frames held in memory before they are written
_SEQ_BITS = 48  # a frame's id is its channel's number and its seq: one index, frames of a channel side by side
_COLUMNS = "number, name, journal_id, first_seq, last_seq, base_position, position, staged, applied, bytes"


class Stored(NamedTuple):
    """One frame as it goes on the wire."""

    seq: int
    envelope: bytes


class JournalChannel(msgspec.Struct, frozen=True):
    """Where one channel of the journal stands."""

    channel: str
    journal_id: bytes
    first_seq: int  # lowest frame kept, or last_seq + 1
    last_seq: int  # last frame of the last complete window
    base_position: bytes  # before first_seq; b"": nothing was ever captured
    position: bytes  # at last_seq
    staged: int
    applied: int
    bytes: int  # of the frames kept


class Journal:
    """One company's journal. Raises Transient A2103 (full), JournalDamaged A2104, ProgramStopped A2101, A2102, A2105."""

    def __init__(
        self, path: Path, *, limit: int, reserve: int, new_id: Callable[[], bytes], durable: Durable = unwatched
    ) -> None:
        """`limit`: bytes of frames at most; `reserve`: of these, what frames may not take (kept for outcomes)."""
        self.limit = limit
        self.reserve = reserve
        self.restarts = 0  # how often any channel was given another journal id since opening; cheap to compare
        self._new_id = new_id
        pages = (limit + limit // 4 + 32 * MIB) // PAGE  # a backstop behind `limit`: SQLite's own overhead fits
        self._file = JournalFile(path, pages=pages, durable=durable)
        self._identity = IdentityFile(path.with_suffix(".identity"), durable)
        self._channels: dict[str, JournalChannel] = {}
        self._numbers: dict[str, int] = {}
        self._writers: dict[str, WindowWriter] = {}

    # -- life ----------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open or create the file, and discard windows that were not complete."""
        self._file.open()
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Idempotent; windows still open are discarded at the next opening."""
        self._writers.clear()
        self._file.close()

    def integrity(self) -> list[str]:
        """Return what the database's own check finds; empty: sound."""
        return self._file.problems()

    def _load(self) -> None:
        with self._commit("journal.open") as db:
            self._read_channels()
            for name in self._channels:
                db.execute("DELETE FROM frame WHERE id > ? AND id < ?", self._open_range(name))

    def _read_channels(self) -> None:
        for number, name, *rest in self._file.connection.execute(f"SELECT {_COLUMNS} FROM channel"):
            self._numbers[name] = number
            self._channels[name] = JournalChannel(name, *rest)

    @contextlib.contextmanager
    def _commit(self, step: str, *, sync: bool = True) -> Iterator[sqlite3.Connection]:
        """Run a transaction; after an error only the file knows whether it was committed, so the channels are read again."""
        try:
            with self._file.transaction(step, sync=sync) as db:
                yield db
        except BaseException:
            with contextlib.suppress(AgentError), self._file.errors():
                self._read_channels()
            raise

    # -- identity and settings -----------------------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        """None: never enrolled."""
        return self._identity.load()

    def save_identity(self, identity: Identity) -> None:
        """Durably, whole or not at all."""
        self._identity.save(identity)

    def remember(self, secret: bytes, epoch: int, installation: bytes = b"") -> None:
        """Keep the secret and epoch of a welcome, durably. Raises Transient A2609 if `installation` is no longer the one."""
        identity = self.identity()
        if identity is None:
            raise LocalProtocolError("T1005", "a welcome without an enrolment")
        self._identity.renew(installation or identity.installation, secret, epoch)

    def get(self, key: str) -> bytes | None:
        """Return a setting of `put`; None: there is none."""
        with self._file.lock, self._file.errors():
            row = self._file.connection.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: str, value: bytes | None) -> None:
        """Durably; None removes it."""
        with self._commit("journal.setting") as db:
            if value is None:
                db.execute("DELETE FROM setting WHERE key = ?", (key,))
            else:
                db.execute("INSERT OR REPLACE INTO setting VALUES(?, ?)", (key, value))

    def settings(self, prefix: str) -> dict[str, bytes]:
        """Return the settings whose keys begin so, by the rest of the key."""
        with self._file.lock, self._file.errors():
            sql = "SELECT substr(key, ?1), value FROM setting WHERE substr(key, 1, ?1 - 1) = ?2"
            return dict(self._file.connection.execute(sql, (len(prefix) + 1, prefix)).fetchall())

    # -- channels ------------------------------------------------------------------------------------------------------

    def channels(self) -> list[JournalChannel]:
        """All of them, as they stand."""
        with self._file.lock:
            return list(self._channels.values())

    def channel(self, name: str) -> JournalChannel | None:
        """None: the journal never had it, or was lost."""
        return self._channels.get(name)

    def window(self, channel: str, journal_id: bytes = b"") -> WindowWriter:
        """Open the channel's next window. A window still open there is abandoned.

        `journal_id`: that of the position the window is read from; raises Transient A2403 if the channel has another by now.
        """
        with self._file.lock:
            if journal_id and (channel not in self._channels or self._channels[channel].journal_id != journal_id):
                raise restarted(channel)
            if (left := self._writers.get(channel)) is not None:
                left.abandon()
            if channel not in self._channels:
                self.restart(channel, b"")
            self._discard(channel)
            return self._writers.setdefault(channel, WindowWriter(self, self._channels[channel], self.seen_schemas(channel)))

    def seen_schemas(self, channel: str) -> set[bytes]:
        """Ids of the schemas that frames of complete windows of this journal id have carried."""
        with self._file.lock, self._file.errors():
            sql = "SELECT schema_id FROM carried WHERE channel = ?"
            return {row[0] for row in self._file.connection.execute(sql, (self._numbers.get(channel),))}

    def read(self, channel: str, after_seq: int, max_bytes: int, max_frames: int) -> list[Stored]:
        """Complete frames after `after_seq`, in order: at least one if there is any, then up to the limits."""
        with self._file.lock, self._file.errors():
            state = self._channels.get(channel)
            if state is None or after_seq >= state.last_seq:
                return []
            if after_seq < state.first_seq - 1:
                raise LocalProtocolError("T1006", f"frames after {after_seq} were applied and are gone", where=channel)
            base = self._base(channel)
            sql = "SELECT id, envelope FROM frame WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
            found: list[Stored] = []
            size = 0
            rows = self._file.connection.execute(sql, (base + after_seq, base + state.last_seq, max(max_frames, 1)))
            for id_, envelope in rows:
                size += len(envelope)
                if found and size > max_bytes:
                    break
                found.append(Stored(id_ - base, envelope))
            rows.close()
            return found

    def position_at(self, channel: str, seq: int) -> bytes | None:
        """Return the position in the frame `seq`; b"": it is kept and ends no window; None: it is not kept."""
        with self._file.lock, self._file.errors():
            state = self._channels.get(channel)
            if state is None or not state.first_seq <= seq <= state.last_seq:
                return None
            sql = "SELECT position FROM span WHERE channel = ? AND last_seq = ?"
            row = self._file.connection.execute(sql, (self._numbers[channel], seq)).fetchone()
        return b"" if row is None else row[0]

    def staged(self, channel: str, seq: int) -> None:
        """Note that the cloud has durably received all frames up to `seq`; never goes back within a journal id."""
        with self._file.lock:
            state = self._acknowledged(channel, seq)
            if seq > state.staged:
                with self._commit("journal.staged", sync=False) as db:
                    db.execute("UPDATE channel SET staged = ? WHERE name = ?", (seq, channel))
                self._channels[channel] = msgspec.structs.replace(state, staged=seq)

    def applied(self, channel: str, seq: int) -> None:
        """Drop the frames of windows up to `seq`, which took effect in the cloud. Never goes back within a journal id."""
        with self._file.lock:
            state = self._acknowledged(channel, seq)
            if seq <= state.applied:
                return
            new = msgspec.structs.replace(state, applied=seq, staged=max(seq, state.staged))
            with self._commit("journal.applied", sync=False) as db:
                number, base = self._numbers[channel], self._base(channel)
                spans = "FROM span WHERE channel = ? AND last_seq <= ?"
                ends = db.execute(f"SELECT last_seq, position, bytes {spans} ORDER BY last_seq", (number, seq)).fetchall()
                if ends:
                    last, position, _ = ends[-1]
                    size = state.bytes - sum(end[2] for end in ends)
                    new = msgspec.structs.replace(new, first_seq=last + 1, base_position=position, bytes=size)
                    db.execute("DELETE FROM frame WHERE id > ? AND id <= ?", (base, base + last))
                    db.execute(f"DELETE {spans}", (number, seq))
                self._save(db, new)
            self._channels[channel] = new

    def restart(self, channel: str, position: bytes) -> JournalChannel:
        """Start a new journal id whose first window follows `position` (b"": from nothing). Frames and an open window go."""
        with self._file.lock:
            state = JournalChannel(channel, self._new_id(), 1, 0, position, position, 0, 0, 0)
            with self._commit("journal.restart") as db:
                number = self._numbers.get(channel) or self._next_number()
                low = number << _SEQ_BITS
                db.execute("DELETE FROM frame WHERE id > ? AND id < ?", (low, low + (1 << _SEQ_BITS)))
                db.execute("DELETE FROM span WHERE channel = ?", (number,))
                db.execute("DELETE FROM carried WHERE channel = ?", (number,))
                db.execute(
                    f"INSERT OR REPLACE INTO channel({_COLUMNS}) VALUES(?,?,?,?,?,?,?,?,?,?)",
                    (number, *msgspec.structs.astuple(state)),
                )
            self._numbers[channel] = number
            self._channels[channel] = state
            self.restarts += 1
            self._writers.pop(channel, None)  # a window being written notices at its next transaction
            return state

    def forget(self, channel: str) -> None:
        """Drop a channel that is no longer declared, with everything of it: its frames would never be sent."""
        with self._file.lock:
            number = self._numbers.get(channel)
            if number is None:
                return
            with self._commit("journal.forget") as db:
                low = number << _SEQ_BITS
                db.execute("DELETE FROM frame WHERE id > ? AND id < ?", (low, low + (1 << _SEQ_BITS)))
                for table in ("span", "carried"):
                    db.execute(f"DELETE FROM {table} WHERE channel = ?", (number,))
                db.execute("DELETE FROM channel WHERE number = ?", (number,))
            del self._numbers[channel], self._channels[channel]
            self.restarts += 1
            self._writers.pop(channel, None)

    # -- space ---------------------------------------------------------------------------------------------------------

    def used(self) -> int:
        """Bytes of all frames, open ones included."""
        with self._file.lock:
            return sum(c.bytes for c in self._channels.values()) + sum(w.size for w in self._writers.values())

    def room(self, channel: str) -> int:
        """Bytes a new window of this channel may use; each other channel keeps half of an equal share for itself."""
        with self._file.lock:
            others = sum(max(0, self._share(channel) - self._kept(name)) for name in self._channels if name != channel)
            return max(0, self.limit - self.reserve - self.used() - others)

    def capacity(self, channel: str) -> int:
        """Bytes `room` gives when everything is applied: what a window of this channel may ever have."""
        with self._file.lock:
            return self.limit - self.reserve - self._share(channel) * (len({*self._channels, channel}) - 1)

    def _share(self, channel: str) -> int:
        return (self.limit - self.reserve) // (2 * len({*self._channels, channel}))

    def _kept(self, channel: str) -> int:
        state, writer = self._channels.get(channel), self._writers.get(channel)
        return (state.bytes if state else 0) + (writer.size if writer else 0)

    # -- the window writer's side --------------------------------------------------------------------------------------

    def _base(self, channel: str) -> int:
        return self._numbers[channel] << _SEQ_BITS

    def _open_range(self, channel: str) -> tuple[int, int]:
        base = self._base(channel)
        return base + self._channels[channel].last_seq, base + (1 << _SEQ_BITS)

    def _next_number(self) -> int:
        return max(self._numbers.values(), default=0) + 1

    def _acknowledged(self, channel: str, seq: int) -> JournalChannel:
        state = self._channels.get(channel)
        if state is None or seq > state.last_seq:
            raise LocalProtocolError("T1006", f"frame {seq} is acknowledged and was never written", where=channel)
        return state

    def _save(self, db: sqlite3.Connection, state: JournalChannel) -> None:
        db.execute(
            "UPDATE channel SET first_seq=?, last_seq=?, base_position=?, position=?, staged=?, applied=?, bytes=?"
            " WHERE name=?",
            (*msgspec.structs.astuple(state)[2:], state.channel),
        )

    def _discard(self, channel: str) -> None:
        """Open frames of a window that is no more; after a full disk they may have to wait for the next window."""
        low, high = self._open_range(channel)
        with self._file.lock, self._file.errors():
            sql = "SELECT 1 FROM frame WHERE id > ? AND id < ? LIMIT 1"
            if self._file.connection.execute(sql, (low, high)).fetchone() is None:
                return
        with self._commit("journal.abandon", sync=False) as db:
            db.execute("DELETE FROM frame WHERE id > ? AND id < ?", (low, high))

    def flush_open(self, writer: WindowWriter, frames: Sequence[Stored]) -> None:
        """Write frames of a window that is not complete; the window's end, which syncs the same log, makes them durable."""
        with self._file.lock:
            self._check(writer)
            with self._commit("journal.frames", sync=False) as db:
                self._insert(db, writer.channel, frames)

    def complete(
        self,
        writer: WindowWriter,
        frames: Sequence[Stored],
        position: bytes,
        settle: Mapping[str, bytes],
        notes: Mapping[str, bytes],
    ) -> JournalChannel:
        """End a window: its last frames, its schemas, its position and settings become durable in one transaction."""
        with self._file.lock:
            self._check(writer)
            state, number = self._channels[writer.channel], self._numbers[writer.channel]  # acks may have come meanwhile
            last = state.last_seq + writer.frames
            new = msgspec.structs.replace(state, last_seq=last, position=position, bytes=state.bytes + writer.size)
            with self._commit("journal.window") as db:
                self._insert(db, writer.channel, frames)
                db.execute("INSERT INTO span VALUES(?, ?, ?, ?)", (number, last, position, writer.size))
                db.executemany("INSERT INTO carried VALUES(?, ?)", [(number, id_) for id_ in writer.new_schemas])
                db.executemany("DELETE FROM setting WHERE key = ? AND value = ?", list(settle.items()))
                db.executemany("INSERT OR REPLACE INTO setting VALUES(?, ?)", list(notes.items()))
                self._save(db, new)
            self._channels[writer.channel] = new
            del self._writers[writer.channel]
            return new

    def abandon(self, writer: WindowWriter) -> None:
        """Discard the window's frames; nothing when it is complete, abandoned or lost."""
        with self._file.lock:
            if self._writers.get(writer.channel) is writer:
                del self._writers[writer.channel]
                with contextlib.suppress(Transient):  # a full disk: the next window, or opening, discards them
                    self._discard(writer.channel)

    def _check(self, writer: WindowWriter) -> None:
        if self._writers.get(writer.channel) is not writer:
            raise restarted(writer.channel)
        if self.used() > self.limit - self.reserve:
            raise Transient("A2103", f"the journal holds its limit of {self.limit} bytes", where=writer.channel)

    def _insert(self, db: sqlite3.Connection, channel: str, frames: Sequence[Stored]) -> None:
        base = self._base(channel)
        db.executemany("INSERT INTO frame VALUES(?, ?)", [(base + seq, envelope) for seq, envelope in frames])


def restarted(channel: str) -> Transient:
    """Make the error for a window that was read from a position which is no longer the channel's."""
    return Transient("A2403", "the channel's position was changed while a window was written", where=channel)


class WindowWriter:
    """A window being written: numbered, sealed, kept out of every read until `complete`.

    Leaving it (`with`) without `complete` abandons it. Raises Transient: A2103 no room, A2403 the channel was restarted.
    """

    def __init__(self, journal: Journal, start: JournalChannel, seen: set[bytes]) -> None:
        self.channel = start.channel
        self.size = 0  # bytes of its frames
        self.frames = 0
        self.new_schemas: list[bytes] = []
        self._journal = journal
        self._start = start
        self._seen = seen
        self._buffer: list[Stored] = []
        self._buffered = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abandon()

    def append(self, message: StreamMessage) -> None:
        """Write the next frame; a schema that this journal id has carried already is left out. Raises NotCarried."""
        if isinstance(message, Schema):
            id_ = schema_id(message)
            if id_ in self._seen:
                return
            self._seen.add(id_)
            self.new_schemas.append(id_)
        self.append_raw(KINDS[type(message)], raw_body(message))

    def append_raw(self, kind: Kind, raw: bytes) -> None:
        """Write the next frame, from a body that is encoded already."""
        seq = self._start.last_seq + self.frames + 1
        envelope = seal(raw, kind, channel=self.channel, journal_id=self._start.journal_id, seq=seq)
        self._buffer.append(Stored(seq, envelope))
        self._buffered += len(envelope)
        self.size += len(envelope)
        self.frames += 1
        if self._buffered >= FLUSH:
            self._journal.flush_open(self, self._buffer)
            self._buffer.clear()
            self._buffered = 0

    def complete(
        self, position: bytes, settle: Mapping[str, bytes] | None = None, notes: Mapping[str, bytes] | None = None
    ) -> JournalChannel:
        """Make the window durable with the position it reaches.

        With it go settings that still have the values in `settle`, and come those in `notes`.
        """
        return self._journal.complete(self, self._buffer, position, settle or {}, notes or {})

    def abandon(self) -> None:
        """Discard it; idempotent, nothing after `complete`."""
        self._journal.abandon(self)


@contextlib.contextmanager
def opened(journal: Journal) -> Iterator[Journal]:
    """Open the journal for the time of the block."""
    journal.open()
    try:
        yield journal
    finally:
        journal.close()


def open_or_renew(journal: Journal) -> list[Path]:
    """Open the journal; a damaged file is set aside first. Returns the files set aside (empty: it was sound)."""
    try:
        journal.open()
        problems = journal.integrity()
    except JournalDamaged:
        problems = ["it cannot be opened"]
    if not problems:
        return []
    journal.close()
    aside = _set_aside(journal._file.path)  # noqa: SLF001
    journal.open()
    return aside


def _set_aside(path: Path) -> list[Path]:
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    moved: list[Path] = []
    for suffix in ("-wal", "-shm", ""):  # the main file last: without it, the others would belong to the new one
        old = path.with_name(path.name + suffix)
        if old.exists():
            moved.append(old.replace(path.with_name(f"{path.name}.damaged-{number}{suffix}")))
    return moved


__all__ = ["Identity", "Journal", "JournalChannel", "JournalDamaged", "Stored", "WindowWriter", "open_or_renew", "opened"]
