"""How a channel continues: one row of the table in docs/04 each."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from transport.frames import ChannelState
from transport.resume import Adopt, Continue, Decision, Fresh, resume, staged_check


class Journal(NamedTuple):
    """What a journal says of a channel."""

    journal_id: bytes
    first_seq: int
    last_seq: int
    base_position: bytes
    position: bytes


WHOLE = Journal(b"a", 1, 9, b"", b"p9")
EMPTY = Journal(b"a", 1, 0, b"", b"")
ADOPTED = Journal(b"b", 1, 3, b"p9", b"p12")
TRIMMED = Journal(b"a", 5, 9, b"p4", b"p9")


def cloud(staged: int, applied: int, position: bytes, journal_id: bytes = b"a") -> ChannelState:
    return ChannelState("hr", journal_id, staged, applied, position)


@pytest.mark.parametrize(
    ("journal", "state", "known", "expected"),
    [
        (EMPTY, None, None, Continue(1)),
        (WHOLE, None, None, Continue(1)),
        (None, None, None, Fresh()),
        (TRIMMED, None, None, Fresh()),
        (ADOPTED, None, None, Fresh()),
        (TRIMMED, cloud(4, 4, b"p4"), None, Continue(5)),
        (TRIMMED, cloud(9, 9, b"p9"), None, Continue(10)),
        (TRIMMED, cloud(7, 6, b"p6"), b"p6", Continue(8)),
        (TRIMMED, cloud(7, 6, b"p6"), None, Continue(8)),
        (TRIMMED, cloud(6, 2, b"p2"), None, Continue(7)),
        (WHOLE, cloud(0, 0, b""), None, Continue(1)),
        (TRIMMED, cloud(12, 10, b"p10"), None, Adopt(b"p10")),
        (TRIMMED, cloud(3, 2, b"p2"), None, Adopt(b"p2")),
        (TRIMMED, cloud(3, 0, b""), None, Fresh()),
        (TRIMMED, cloud(7, 6, b"other"), b"p6", Adopt(b"other")),
        (TRIMMED, cloud(4, 4, b"other"), None, Adopt(b"other")),
        (TRIMMED, cloud(9, 9, b"other"), None, Adopt(b"other")),
        (None, cloud(4, 4, b"p4"), None, Adopt(b"p4")),
        (None, cloud(4, 0, b""), None, Fresh()),
        (WHOLE, cloud(4, 4, b"p4", b"x"), None, Adopt(b"p4")),
        (EMPTY, cloud(4, 0, b"", b"x"), None, Fresh()),
        (ADOPTED, cloud(20, 18, b"p9", b"x"), None, Adopt(b"p9")),
        (ADOPTED, cloud(20, 18, b"p8", b"x"), None, Adopt(b"p8")),
        (TRIMMED, cloud(20, 18, b"p4", b"x"), None, Adopt(b"p4")),
    ],
    ids=[
        "both new",
        "an empty cloud takes a whole journal",
        "both empty",
        "the cloud lost everything",
        "the cloud lost everything after an adoption",
        "all applied is trimmed",
        "all is applied",
        "in the middle of a window",
        "in the middle, position not at hand",
        "the cloud restored with frames staged",
        "nothing staged yet",
        "the journal was restored",
        "the cloud was restored too far back",
        "the cloud was restored to its beginning",
        "restored and counted on",
        "restored and counted on, at the trimmed end",
        "restored and counted on, at the newest end",
        "journal lost",
        "journal lost before the first window",
        "another history",
        "another id, nothing applied",
        "adopted, and the link ended before READY",
        "adopted, and the cloud went back",
        "another id with trimmed frames",
    ],
)
def test_a_channel_continues(
    journal: Journal | None, state: ChannelState | None, known: bytes | None, expected: Decision
) -> None:
    assert resume(journal, state, known) == expected


def test_staged_frames_of_another_history_are_not_continued() -> None:
    state = ChannelState("hr", b"a", 7, 6, b"p6", staged_check([11, 22]))
    assert resume(TRIMMED, state, b"p6", staged_check([11, 22])) == Continue(8)
    assert resume(TRIMMED, state, b"p6", staged_check([22, 11])) == Adopt(b"p6")
    assert resume(TRIMMED, state, b"p6", None) == Continue(8)
    assert staged_check([]) == 0
