"""A journal and an identity as version 1 wrote them must load for ever."""

from __future__ import annotations

import shutil
from pathlib import Path

from cdc.journal import Identity, Journal, JournalChannel
from transport.codec import decode
from transport.frames import Detach

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def test_version_1_loads(tmp_path: Path) -> None:
    for name in ("journal-1.db", "journal-1.identity"):
        shutil.copy(GOLDEN / name, tmp_path / name)
    journal = Journal(tmp_path / "journal-1.db", limit=1 << 24, reserve=0, new_id=lambda: b"new")
    journal.open()
    id_ = (1).to_bytes(16, "big")
    (state,) = journal.channels()
    assert state == JournalChannel("hr", id_, 3, 4, b"p0", b"p2", 3, 2, state.bytes)
    stored = journal.read("hr", 2, 1 << 20, 9)
    assert [(s.seq, decode(s.envelope)) for s in stored] == [(3, Detach("d1")), (4, Detach("d2"))]
    assert sum(len(s.envelope) for s in stored) == state.bytes
    assert len(journal.seen_schemas("hr")) == 1
    assert journal.get("next_full:hr") == b"1"
    assert journal.identity() == Identity(b"i" * 16, b"s" * 16, 7, b"k" * 32, "https://cloud.example", "acme")
    journal.close()
