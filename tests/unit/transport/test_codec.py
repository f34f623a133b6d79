"""The codec: round trips, golden bytes, and refusals that name their code."""

from __future__ import annotations

import subprocess
import sys
import threading
from binascii import crc32
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from tests.support.messages import BATCH, JOURNAL, MESSAGES, SCHEMA
from transport import codec
from transport.errors import NotCarried, RemoteProtocolError
from transport.frames import (
    MAX_BATCH_ROWS,
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_ENVELOPE,
    MAX_KEY,
    MAX_RAW,
    MAX_SMALL,
    PROTOCOL,
    Batch,
    Bye,
    Flag,
    Kind,
    Message,
    Withheld,
)

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "wire" / "v1"


def place(name: str) -> dict[str, Any]:
    """Where the golden envelope of that name stands on the wire."""
    kind = codec.KINDS[type(MESSAGES[name])]
    return {"channel": "hr", "journal_id": JOURNAL, "seq": int(kind)} if codec.is_stream(kind) else {}


def envelope(body: bytes, *, kind: int = Kind.BATCH, flags: int = 0, version: int = PROTOCOL, **other: Any) -> bytes:
    """An envelope as a peer could write it, good or bad."""
    raw_length, crc = other.get("raw_length", len(body)), other.get("crc", crc32(body))
    return msgspec.msgpack.encode([version, kind, flags, "hr", JOURNAL, 1, raw_length, crc, body, *other.get("more", [])])


def refusal(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_body(codec.decode_frame(data))
    return caught.value


def batch(**changes: Any) -> bytes:
    """The body of a small batch with some fields replaced."""
    fields: dict[str, Any] = {
        "dataset": "d",
        "schema_id": b"s",
        "generation": 0,
        "ops": b"\0\0",
        "keys": [[1, 2]],
        "values": [["a", "b"]],
        "withheld": [],
    }
    return msgspec.msgpack.encode(list({**fields, **changes}.values()))


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_comes_back_as_it_was_sent(name: str) -> None:
    assert codec.decode(codec.encode(MESSAGES[name], **place(name))) == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_the_golden_bytes_of_version_1_are_still_written(name: str) -> None:
    data = codec.encode(MESSAGES[name], **place(name))
    if codec.decode_frame(data).flags & Flag.ZSTD:  # the compressor may choose other bytes in another release
        data = codec._pack([*msgspec.msgpack.decode(data)[:2], 0, *msgspec.msgpack.decode(data)[3:6], *uncompressed(name)])
    assert data == (GOLDEN / f"{name}.bin").read_bytes()


def uncompressed(name: str) -> list[Any]:
    raw = codec.raw_body(MESSAGES[name])
    return [len(raw), crc32(raw), raw]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.bin")), ids=lambda path: path.stem)
def test_the_golden_bytes_of_version_1_decode_for_ever(path: Path) -> None:
    expected = MESSAGES["batch"] if path.stem == "batch_zstd" else MESSAGES[path.stem]
    frame = codec.decode_frame(path.read_bytes())
    assert codec.decode_body(frame) == expected
    assert frame.size == path.stat().st_size


def test_every_kind_has_golden_bytes_and_one_of_them_is_compressed() -> None:
    kinds = {codec.decode_frame(path.read_bytes()).kind for path in GOLDEN.glob("*.bin")}
    assert kinds == set(Kind)
    assert codec.decode_frame((GOLDEN / "batch_zstd.bin").read_bytes()).flags & Flag.ZSTD


def test_a_frame_says_where_it_belongs() -> None:
    frame = codec.decode_frame(codec.encode(BATCH, channel="hr", journal_id=JOURNAL, seq=99))
    assert (frame.kind, frame.channel, frame.journal_id, frame.seq) == (Kind.BATCH, "hr", JOURNAL, 99)


def test_a_large_body_is_compressed_and_a_small_one_is_not() -> None:
    large = Batch("d", b"s", 0, bytes(500), [list(range(500))], [["same text"] * 500])
    assert codec.decode_frame(codec.encode(large)).flags == Flag.ZSTD
    assert codec.decode_frame(codec.encode(BATCH)).flags == 0
    assert codec.decode(codec.encode(large)) == large


def test_a_body_that_does_not_shrink_stays_as_it_is() -> None:
    noise = b"".join(crc32(bytes([i % 256, i // 256])).to_bytes(4, "big") for i in range(1000))
    assert codec.decode_frame(codec.encode(Batch("d", b"s", 0, b"\0", [[1]], [[noise]]))).flags == 0


def test_sealing_a_raw_body_is_encoding() -> None:
    sealed = codec.seal(codec.raw_body(BATCH), Kind.BATCH, channel="hr", journal_id=JOURNAL, seq=4)
    assert sealed == codec.encode(BATCH, channel="hr", journal_id=JOURNAL, seq=4)


def test_the_id_of_a_schema_is_its_content() -> None:
    assert codec.schema_id(SCHEMA).hex() == "bf5c92d7fdccbbcad5ce8c106c0c32f2"
    other = msgspec.structs.replace(SCHEMA, direction="up")
    assert codec.schema_id(other) != codec.schema_id(SCHEMA) == codec.schema_id(msgspec.structs.replace(SCHEMA))


def test_what_is_signed_names_purpose_company_and_installation() -> None:
    texts = {codec.proof_text(b"n", "a", b"i"), codec.proof_text(b"n", "ai", b""), codec.proof_text(b"na", "", b"i")}
    assert len(texts) == 3
    assert all(text.startswith(b"erp-cdc proof 1\0") for text in texts)


def test_several_threads_encode_and_decode_at_once() -> None:
    large = Batch("d", b"s", 0, bytes(2000), [list(range(2000))], [["same text"] * 2000])
    data, right = codec.encode(large), []

    def work() -> None:
        right.extend(codec.encode(large) == data and codec.decode(data) == large for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 120


# -- what cannot be sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Batch("d", b"s", 0, b"\0", [[1]], [["\ud800"]]),
        Batch("d", b"s", 0, b"\0", [["\ud800" * MAX_KEY]], [["a"]]),
        Batch("d", b"s", 0, b"\0", [[2**64]], [["a"]]),
        Batch("d", b"s", 0, b"\0", [["k" * MAX_KEY]], [["a"]]),
        Batch("d", b"s", 0, b"\0\0", [["k", b"k" * MAX_KEY]], [["a", "b"]]),
        Batch("d", b"s", 0, b"\0", [[1]], [["x" * MAX_RAW]]),
        Batch("d", b"s", 0, bytes(MAX_BATCH_ROWS + 1), [[1] * (MAX_BATCH_ROWS + 1)], []),
        Batch("d", b"s", 0, bytes(1000), [[1] * 1000], [[1] * 1000] * (MAX_CELLS // 1000)),
        Batch("d", b"s", 0, b"\0", [[1]], [[1]] * MAX_COLUMNS),
        Bye("T1001", "x" * MAX_SMALL),
    ],
    ids=[
        "surrogate",
        "key surrogate",
        "65 bits",
        "long key",
        "long key of bytes",
        "long row",
        "rows",
        "cells",
        "columns",
        "bye",
    ],
)
def test_what_is_outside_the_limits_is_not_carried(message: Message) -> None:
    with pytest.raises(NotCarried) as caught:
        codec.encode(message)
    assert caught.value.code == "T1009"


def test_a_key_of_the_greatest_length_is_carried() -> None:
    longest = Batch("d", b"s", 0, b"\0", [["k" * (MAX_KEY - 4)]], [["a"]])
    assert codec.decode(codec.encode(longest)) == longest


# -- what is refused -------------------------------------------------------------------------------------------------------

DEEP = b"\x91" * 100_000 + b"\xc0"
BOMB = zstandard.ZstdCompressor().compress(bytes(512 << 20))
LIES = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))


@pytest.mark.parametrize("cut", [0, 1, 2, 20, 40, -1])
def test_a_truncated_frame_is_unreadable(cut: int) -> None:
    assert refusal(codec.encode(BATCH)[:cut]).code == "T1001"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 502 Bad Gateway", "T1001"),
        (b"\xc1", "T1001"),
        (msgspec.msgpack.encode({"a": 1}), "T1001"),
        (msgspec.msgpack.encode([PROTOCOL, 34, 0]), "T1001"),
        (msgspec.msgpack.encode([PROTOCOL, 34, 0, "hr", JOURNAL, -1, 0, 0, b""]), "T1001"),
        (msgspec.msgpack.encode([PROTOCOL, 34, 0, "h" * 300, JOURNAL, 1, 0, 0, b""]), "T1001"),
        (codec.encode(BATCH) + b"\0", "T1001"),
        (DEEP, "T1001"),
        (bytes(MAX_ENVELOPE + 1), "T1002"),
        (envelope(b"a", raw_length=MAX_RAW + 1), "T1002"),
        (envelope(b"a", raw_length=2), "T1001"),
        (envelope(b"a", crc=1), "T1003"),
        (envelope(BOMB, flags=1, raw_length=1000), "T1002"),
        (envelope(BOMB, flags=1, raw_length=512 << 20), "T1002"),
        (envelope(LIES, flags=1, raw_length=1000), "T1002"),
        (envelope(b"not zstd", flags=1, raw_length=1000), "T1001"),
        (envelope(zstandard.compress(batch()) + b"more", flags=1, raw_length=len(batch())), "T1001"),
        (envelope(zstandard.compress(batch())[:-3], flags=1, raw_length=len(batch())), "T1001"),
        (envelope(bytes(MAX_SMALL + 1), kind=Kind.HELLO), "T1002"),
        (envelope(batch(), kind=60), "T1001"),
        (envelope(DEEP), "T1001"),
        (envelope(DEEP, kind=Kind.HELLO), "T1001"),
        (envelope(batch(values=[[[[1]], "b"]])), "T1001"),
        (envelope(batch(dataset=5)), "T1001"),
        (envelope(batch(dataset=b"d")), "T1001"),
        (envelope(batch(generation=-1)), "T1001"),
        (envelope(batch(ops=b"\0\3")), "T1001"),
        (envelope(batch(ops=b"\0")), "T1001"),
        (envelope(batch(keys=[[1]])), "T1001"),
        (envelope(batch(values=[["a"]])), "T1001"),
        (envelope(batch(withheld=[Withheld("T1009")])), "T1001"),
        (envelope(batch(keys=[5])), "T1001"),
        (envelope(batch(values=[[{"a": 1}, "b"]])), "T1001"),
        (envelope(batch(values=[[msgspec.msgpack.Ext(5, b"x"), "b"]])), "T1001"),
        (envelope(batch(values=[["a", "b"]]).replace(b"\xa1a", b"\xa1\xff")), "T1001"),
        (envelope(batch(keys=[["k" * MAX_KEY, "l"]])), "T1009"),
        (envelope(batch(keys=[[1, 2]] * (MAX_COLUMNS + 1))), "T1001"),
        (envelope(batch(keys=[[1, 2]] * MAX_COLUMNS)), "T1009"),
        (envelope(batch(ops=bytes(MAX_BATCH_ROWS + 1))), "T1001"),
        (envelope(batch(ops=bytes(60_000), keys=[[1]] * 10)), "T1009"),
        (envelope(batch(values=[[2**63, 1]])), "T1009"),
        (envelope(batch(values=[[float("nan"), 1.5]])), "T1009"),
        (envelope(batch(values=[[None, float("-inf")]])), "T1009"),
        (envelope(batch(values=[["a", "b"]]).replace(b"\xa1a", b"\xca\x7f\xc0\0\0")), "T1009"),
        (
            envelope(msgspec.msgpack.encode(["d", "hr", "up", [["c", "int", True]] * (MAX_COLUMNS + 1)]), kind=Kind.SCHEMA),
            "T1009",
        ),
        (envelope(msgspec.msgpack.encode(["d", "hr", "up", [["c", "colour", True]]]), kind=Kind.SCHEMA), "T1001"),
    ],
)
def test_what_a_peer_should_not_send_is_refused_with_a_code(data: bytes, code: str) -> None:
    assert refusal(data).code == code


@pytest.mark.parametrize(
    "data",
    [envelope(b"", version=PROTOCOL + 1), msgspec.msgpack.encode([PROTOCOL + 1, {"another": "shape"}])],
    ids=["same shape", "other shape"],
)
def test_a_newer_version_is_refused_by_the_numbers_of_both(data: bytes) -> None:
    error = refusal(data)
    assert error.code == "T1004"
    assert f"version {PROTOCOL + 1}" in error.message
    assert f"speaks {PROTOCOL}" in error.message


def test_an_unknown_kind_that_says_so_is_skipped() -> None:
    frame = codec.decode_frame(envelope(b"anything", kind=60, flags=Flag.OPTIONAL))
    assert codec.decode_body(frame) is None


def test_unknown_fields_at_the_end_are_skipped() -> None:
    raw = msgspec.msgpack.encode([*msgspec.msgpack.decode(batch()), "new field"])
    assert isinstance(codec.decode(envelope(raw, more=["new in the envelope"])), Batch)


def test_a_column_may_mix_kinds_of_cells() -> None:
    cells = [None, True, 1, -(2**63), 2**63 - 1, 0.5, "a", b"b", "\u03cf\u0100", b"\xcf\xff\xcb\x7f\xff"]
    mixed = Batch("d", b"s", 0, bytes(len(cells)), [list(range(len(cells)))], [cells])
    assert codec.decode(codec.encode(mixed)) == mixed


def test_refusals_do_not_repeat_the_content() -> None:
    assert "secret" not in str(refusal(envelope(batch(dataset=["secret"]))))
    assert "secret" not in str(refusal(envelope(batch(values=[[{"secret": 1}, "b"]]))))


HOSTILE = """
import sys
import msgspec, zstandard
from binascii import crc32
from transport import codec
from transport.errors import RemoteProtocolError
from transport.frames import MAX_RAW, MAX_ENVELOPE

def envelope(body, flags=0, raw_length=None, version=1, kind=34):
    size = len(body) if raw_length is None else raw_length
    return msgspec.msgpack.encode([version, kind, flags, "hr", b"j", 1, size, crc32(body), body])

bomb = zstandard.ZstdCompressor(level=3).compressobj(size=512 << 20)
COLUMN = b"\\x96\\xa1d\\xa1s\\0\\xc4\\1\\0\\x91\\x91\\1"  # a batch of one row up to its values
COUNT = (MAX_RAW - 100).to_bytes(4, "big")
bombs = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(512)) + bomb.flush()
name = sys.argv[1]
body = msgspec.msgpack.encode(["d", b"s", 0, bytes(10), [list(range(10))], [["x" * 100_000] * 10] * 5])
frames = {
    "truncated": envelope(body)[:-10],
    "oversized": bytes(MAX_ENVELOPE + 1),
    "newer": envelope(body, version=2),
    "nested": envelope(b"\\x91" * 100_000 + b"\\xc0"),
    "nested in a column": envelope(COLUMN + b"\\x91\\x91" + b"\\x91" * 100_000 + b"\\xc0"),
    "bomb": envelope(bombs, 1, 512 << 20),
    "bomb that lies": envelope(bombs, 1, 1000),
    "empty lists": envelope(COLUMN + b"\\x91\\xdd" + COUNT + b"\\x90" * (MAX_RAW - 100)),
    "many columns": envelope(COLUMN + b"\\xdd" + COUNT + b"\\x90" * (MAX_RAW - 100)),
    "columns of a control message": envelope(b"\\x98\\1\\1\\0\\0\\0\\0\\0" + b"\\xdc\\xff\\xff" + b"\\x90" * 65535, kind=4),
}
data = frames.pop(name)
del frames, bombs, body
open("/proc/self/clear_refs", "w").write("5")  # the high-water mark begins at what is used now
before = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
try:
    codec.decode_body(codec.decode_frame(data))
    print("accepted")
except RemoteProtocolError as error:
    after = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
    print(error.code, after - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
@pytest.mark.parametrize(
    "name",
    [
        "truncated",
        "oversized",
        "newer",
        "nested",
        "nested in a column",
        "bomb",
        "bomb that lies",
        "empty lists",
        "many columns",
        "columns of a control message",
    ],
)
def test_refusing_takes_at_most_twice_the_limit_of_memory(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, name], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    code, kilobytes = done.stdout.split()
    assert code in {"T1001", "T1002", "T1004", "T1009"}
    assert int(kilobytes) * 1024 <= 2 * MAX_RAW
