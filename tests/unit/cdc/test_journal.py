"""The journal over a real SQLite file."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from cdc.errors import ProgramStopped, Transient
from cdc.journal import Identity, Journal, JournalDamaged, open_or_renew
from transport.codec import decode, decode_frame
from transport.errors import LocalProtocolError
from transport.frames import Batch, Column, Detach, Schema, Type

MIB = 1024 * 1024


def make(path: Path, limit: int = 64 * MIB, reserve: int = MIB) -> Journal:
    numbers = count(1)
    return Journal(path, limit=limit, reserve=reserve, new_id=lambda: next(numbers).to_bytes(16, "big"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = make(path)
    made.open()
    yield made
    made.close()


def noise(size: int) -> bytes:
    return os.urandom(size)


def batch(data: bytes) -> Batch:
    return Batch("d", b"s", 0, b"\0", [[1]], [[data]])


def put(journal: Journal, channel: str, *names: str, position: bytes = b"p") -> None:
    with journal.window(channel) as window:
        for name in names:
            window.append(Detach(name))
        window.complete(position)


def fill(journal: Journal, channel: str) -> None:
    with journal.window(channel) as window:
        for _ in range(8):
            window.append(batch(noise(MIB)))
        window.complete(b"p")


def names(journal: Journal, channel: str, after: int = 0) -> list[str]:
    found = [decode(s.envelope) for s in journal.read(channel, after, 10 * MIB, 1000)]
    return [m.dataset for m in found if isinstance(m, Detach)]


def test_a_complete_window_is_read_in_order_with_its_numbers(journal: Journal) -> None:
    put(journal, "hr", "a", "b")
    put(journal, "hr", "c")
    stored = journal.read("hr", 0, MIB, 100)
    assert [s.seq for s in stored] == [1, 2, 3]
    frame = decode_frame(stored[2].envelope)
    state = journal.channel("hr")
    assert state is not None
    assert (frame.channel, frame.journal_id, frame.seq) == ("hr", state.journal_id, 3)
    assert names(journal, "hr") == ["a", "b", "c"]


def test_open_frames_are_invisible_and_their_numbers_are_given_again(journal: Journal) -> None:
    put(journal, "hr", "a")
    window = journal.window("hr")
    for _ in range(6):
        window.append(batch(noise(MIB)))
    assert journal.used() > 6 * MIB
    assert names(journal, "hr") == ["a"]
    window.abandon()
    assert journal.used() < MIB
    put(journal, "hr", "b")
    assert [s.seq for s in journal.read("hr", 0, MIB, 9)] == [1, 2]
    assert names(journal, "hr") == ["a", "b"]


def test_leaving_a_window_without_completing_it_abandons_it(journal: Journal) -> None:
    with journal.window("hr") as window:
        window.append(Detach("a"))
    assert names(journal, "hr") == []
    assert journal.used() == 0


def test_open_frames_are_discarded_when_the_journal_is_opened(path: Path) -> None:
    first = make(path)
    first.open()
    put(first, "hr", "a")
    window = first.window("hr")
    for _ in range(6):
        window.append(batch(noise(MIB)))
    first.close()
    second = make(path)
    second.open()
    assert names(second, "hr") == ["a"]
    second.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM frame").fetchone() == (1,)
    db.close()


def test_what_is_applied_is_trimmed_and_the_base_position_moves_to_its_window(journal: Journal) -> None:
    put(journal, "hr", "a", "b", position=b"p1")
    put(journal, "hr", "c", position=b"p2")
    journal.staged("hr", 3)
    journal.applied("hr", 2)
    state = journal.channel("hr")
    assert state is not None
    assert (state.first_seq, state.last_seq, state.staged, state.applied) == (3, 3, 3, 2)
    assert (state.base_position, state.position) == (b"p1", b"p2")
    assert names(journal, "hr", 2) == ["c"]
    journal.applied("hr", 3)
    state = journal.channel("hr")
    assert state is not None
    assert (state.first_seq, state.base_position, state.bytes, journal.used()) == (4, b"p2", 0, 0)


def test_everything_survives_reopening(path: Path) -> None:
    first = make(path)
    first.open()
    put(first, "hr", "a", position=b"p1")
    put(first, "hr", "b", position=b"p2")
    first.applied("hr", 1)
    first.put("next_full:hr", b"1")
    before = first.channels()
    first.close()
    second = make(path)
    second.open()
    assert second.channels() == before
    assert names(second, "hr", 1) == ["b"]
    assert second.get("next_full:hr") == b"1"
    second.close()


def test_counters_never_go_back(journal: Journal) -> None:
    put(journal, "hr", "a", "b", "c")
    journal.staged("hr", 3)
    journal.staged("hr", 1)
    journal.applied("hr", 3)
    journal.applied("hr", 1)
    journal.staged("hr", 2)
    state = journal.channel("hr")
    assert state is not None
    assert (state.staged, state.applied) == (3, 3)


def test_an_acknowledgement_of_what_was_never_written_is_refused(journal: Journal) -> None:
    put(journal, "hr", "a")
    with pytest.raises(LocalProtocolError):
        journal.applied("hr", 2)
    with pytest.raises(LocalProtocolError):
        journal.staged("shop", 1)


def test_reading_from_before_the_first_frame_kept_is_refused(journal: Journal) -> None:
    put(journal, "hr", "a", "b")
    put(journal, "hr", "c")
    journal.applied("hr", 2)
    with pytest.raises(LocalProtocolError):
        journal.read("hr", 1, MIB, 1)


def test_a_read_keeps_to_its_limits_but_gives_at_least_one(journal: Journal) -> None:
    with journal.window("hr") as window:
        for _ in range(5):
            window.append(batch(noise(1000)))
        window.complete(b"p")
    assert len(journal.read("hr", 0, 10, 10)) == 1
    assert len(journal.read("hr", 0, 2500, 10)) == 2
    assert len(journal.read("hr", 0, MIB, 3)) == 3


def test_a_restart_gives_a_new_id_and_adopts_the_position(journal: Journal) -> None:
    put(journal, "hr", "a", position=b"p1")
    old = journal.channel("hr")
    assert old is not None
    new = journal.restart("hr", b"cloud")
    assert new.journal_id != old.journal_id
    assert (new.first_seq, new.last_seq, new.base_position, new.position) == (1, 0, b"cloud", b"cloud")
    assert journal.read("hr", 0, MIB, 9) == []
    put(journal, "hr", "b", position=b"p2")
    assert names(journal, "hr") == ["b"]


def test_a_window_under_way_does_not_survive_a_restart(journal: Journal) -> None:
    window = journal.window("hr")
    window.append(Detach("a"))
    journal.restart("hr", b"cloud")
    with pytest.raises(Transient) as caught:
        window.complete(b"p")
    assert caught.value.code == "A2403"
    window.abandon()
    state = journal.channel("hr")
    assert state is not None
    assert state.position == b"cloud"


def test_a_schema_is_written_once_for_each_journal_id(journal: Journal) -> None:
    schema = Schema("d", "hr", "up", [Column("id", Type.INT, nullable=False, key=1)])
    for _ in range(2):
        with journal.window("hr") as window:
            window.append(schema)
            window.append(schema)
            window.append(Detach("a"))
            window.complete(b"p")
    assert len(journal.read("hr", 0, MIB, 9)) == 3
    assert len(journal.seen_schemas("hr")) == 1
    journal.restart("hr", b"")
    with journal.window("hr") as window:
        window.append(schema)
        window.complete(b"p")
    assert len(journal.read("hr", 0, MIB, 9)) == 1


def test_a_schema_of_an_abandoned_window_is_written_again(journal: Journal) -> None:
    schema = Schema("d", "hr", "up", [Column("id", Type.INT, nullable=False, key=1)])
    with journal.window("hr") as window:
        window.append(schema)
    with journal.window("hr") as window:
        window.append(schema)
        window.complete(b"p")
    assert len(journal.read("hr", 0, MIB, 9)) == 1


def test_settings_are_removed_with_the_window_that_settles_them(journal: Journal) -> None:
    journal.put("next_full:hr", b"1")
    journal.put("other", b"new")
    with journal.window("hr") as window:
        window.complete(b"p", settle={"next_full:hr": b"1", "other": b"old"})
    assert journal.get("next_full:hr") is None
    assert journal.get("other") == b"new"


def test_settings_come_with_the_window_that_notes_them(journal: Journal) -> None:
    journal.put("load:a", b"old")
    with journal.window("hr") as window:
        window.append(Detach("x"))
        window.complete(b"p", notes={"load:a": b"1", "load:b": b"2", "loaf:c": b"3"})
    assert journal.settings("load:") == {"a": b"1", "b": b"2"}
    with journal.window("hr") as window:
        window.append(Detach("x"))
    assert journal.settings("load:") == {"a": b"1", "b": b"2"}


def test_a_channel_that_is_forgotten_leaves_nothing_and_its_room(path: Path, journal: Journal) -> None:
    put(journal, "hr", "a")
    before = journal.room("hr")
    put(journal, "shop", "b", "c")
    open_window = journal.window("shop")
    open_window.append(Detach("d"))
    journal.forget("shop")
    journal.forget("never there")
    assert (journal.channel("shop"), journal.room("hr")) == (None, before)
    with pytest.raises(Transient, match="A2403"):
        open_window.complete(b"p")
    journal.close()
    again = make(path)
    again.open()
    assert [c.channel for c in again.channels()] == ["hr"]
    assert len(again.read("hr", 0, MIB, 10)) == 1
    put(again, "shop", "e")
    assert [s.seq for s in again.read("shop", 0, MIB, 10)] == [1]
    again.close()


def test_a_full_journal_refuses_and_takes_again_when_there_is_room(path: Path) -> None:
    journal = make(path, limit=4 * MIB, reserve=MIB)
    journal.open()
    put(journal, "hr", "a")
    with pytest.raises(Transient) as caught:
        fill(journal, "hr")
    assert caught.value.code == "A2103"
    assert names(journal, "hr") == ["a"]
    put(journal, "hr", "b")
    assert names(journal, "hr") == ["a", "b"]
    journal.close()


def test_the_page_limit_is_a_backstop_that_pauses_and_recovers(path: Path) -> None:
    journal = make(path)
    journal.open()
    put(journal, "hr", "a")
    journal._file.connection.execute("PRAGMA max_page_count=100")
    with pytest.raises(Transient) as caught:
        fill(journal, "hr")
    assert caught.value.code == "A2103"
    put(journal, "hr", "b")
    assert names(journal, "hr") == ["a", "b"]
    journal.close()


def test_a_channel_with_a_backlog_leaves_room_for_the_others(path: Path) -> None:
    journal = make(path, limit=9 * MIB, reserve=MIB)
    journal.open()
    put(journal, "hr", "a")
    put(journal, "photos", "a")
    while journal.room("photos") > MIB:
        with journal.window("photos") as window:
            window.append(batch(noise(MIB)))
            window.complete(b"p")
    assert journal.room("photos") < MIB
    assert journal.room("hr") > 2 * MIB
    journal.close()


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ProgramStopped) as caught:
        make(path).open()
    assert caught.value.code == "A2105"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramStopped) as caught:
        make(tmp_path / "no" / "journal.sqlite").open()
    assert caught.value.code == "A2102"


def test_a_damaged_file_is_set_aside_and_the_identity_survives(path: Path) -> None:
    journal = make(path)
    journal.open()
    put(journal, "hr", "a")
    journal.save_identity(Identity(b"i", b"s", 3, b"k", "https://cloud", "acme"))
    journal.close()
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(JournalDamaged) as caught:
        make(path).open()
    assert caught.value.code == "A2104"
    again = make(path)
    aside = open_or_renew(again)
    assert [p.name for p in aside] == ["journal.sqlite.damaged-1"]
    assert again.channels() == []
    assert again.identity() is not None
    again.close()


def test_damage_inside_the_file_is_found_at_opening(path: Path) -> None:
    journal = make(path)
    journal.open()
    put(journal, "hr", *(f"d{n:030}" for n in range(3000)))
    journal.close()
    data = bytearray(path.read_bytes())
    for page in range(5, len(data) // 16384):
        data[page * 16384 : page * 16384 + 200] = noise(200)
    path.write_bytes(data)
    again = make(path)
    assert open_or_renew(again)
    assert again.integrity() == []
    again.close()


def test_the_identity_is_kept_with_the_newest_secret_and_the_highest_epoch(path: Path, journal: Journal) -> None:
    assert journal.identity() is None
    journal.save_identity(Identity(b"i", b"s1", 5, b"k", "https://cloud", "acme"))
    journal.remember(b"s2", 4)
    identity = journal.identity()
    assert identity is not None
    assert (identity.secret, identity.epoch) == (b"s2", 5)
    assert "s2" not in repr(identity)
    if os.name == "posix":
        assert stat.S_IMODE(path.with_suffix(".identity").stat().st_mode) == 0o600
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_identity_is_named(path: Path, journal: Journal) -> None:
    path.with_suffix(".identity").write_bytes(msgspec.msgpack.encode([1, 2]))
    with pytest.raises(ProgramStopped) as caught:
        journal.identity()
    assert caught.value.code == "A2405"
