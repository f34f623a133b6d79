"""What a hostile, or a broken, other side sends; the same towards the cloud and towards the agent."""

from __future__ import annotations

from zlib import crc32

import msgspec
import zstandard

from transport.codec import KINDS, encode
from transport.frames import (
    MAX_ENVELOPE,
    MAX_RAW,
    MIB,
    PROTOCOL,
    Ack,
    Batch,
    Bye,
    Hello,
    Kind,
    Ready,
    Stream,
    StreamMessage,
    Welcome,
    WindowEnd,
)

JOURNAL = b"j" * 16
pack = msgspec.msgpack.encode


def envelope(
    body: bytes,
    kind: int = Kind.BATCH,
    *,
    version: int = PROTOCOL,
    flags: int = 0,
    raw: int | None = None,
    channel: str = "hr",
    seq: int = 1,
) -> bytes:
    """Any body in an envelope that is itself well."""
    return pack((version, int(kind), flags, channel, JOURNAL, seq, len(body) if raw is None else raw, crc32(body), body))


def sealed(message: StreamMessage, channel: str, seq: int) -> bytes:
    """A message as our own encoder would refuse to make it."""
    return envelope(pack(message), KINDS[type(message)], channel=channel, seq=seq)


def bomb(size: int) -> bytes:
    """Zeros, compressed; their number stands in the header."""
    made = zstandard.ZstdCompressor(level=3).compressobj(size=size)
    return b"".join([*(made.compress(bytes(MIB)) for _ in range(size // MIB)), made.flush()])


def hello(company: str = "acme", oldest: int = PROTOCOL, newest: int = PROTOCOL) -> bytes:
    return encode(Hello(oldest, newest, "cdc/9", company, b"i" * 16, b"s" * 32, 0))


def raw_frames() -> dict[str, tuple[bytes, str]]:
    """Name -> one message and the code it must be answered with, whatever has been said before."""
    good = hello()
    bombs = bomb(256 * MIB)
    nested = b"\x91" * 100_000 + b"\xc0"
    return {
        "nothing": (b"", "T1001"),
        "garbage": (bytes(range(256)) * 40, "T1001"),
        "truncated": (good[:-7], "T1001"),
        "truncated to the first byte": (good[:1], "T1001"),
        "two in one": (good + good, "T1001"),
        "another checksum": (envelope(b"abc")[:-1] + b"x", "T1003"),
        "a newer version": (envelope(b"\xc0", version=PROTOCOL + 6), "T1004"),
        "a newer version in another envelope": (pack({"version": 9}), "T1001"),
        "nested 100,000 deep": (nested, "T1001"),
        "a body nested 100,000 deep": (envelope(nested, Kind.HELLO), "T1001"),
        "a body nested in maps": (envelope(b"\x81\xa1a" * 100_000 + b"\xc0", Kind.PING), "T1001"),
        "a zip bomb": (envelope(bombs, flags=1, raw=256 * MIB), "T1002"),
        "a zip bomb that says it is small": (envelope(bombs, flags=1, raw=1_000), "T1002"),
        "a compressed body that is none": (envelope(b"not zstd", flags=1, raw=100), "T1001"),
        "a length of 8 EiB": (envelope(b"abc", raw=2**63 - 1), "T1002"),
        "an array that says it has 4 billion elements": (b"\xdd\xff\xff\xff\xff", "T1001"),
        "bytes that say they are 4 GiB": (b"\x99\x01\x22\x00\xa2hr\xc4\x00\x01\x03\x01\xc6\xff\xff\xff\xff", "T1001"),
        "an unknown kind": (envelope(b"\xc0", 29), "T1001"),
    }


def as_large_as_may_be() -> dict[str, tuple[bytes, str]]:
    """Not refused for its size."""
    return {"9 MiB of zeros": (envelope(bytes(MAX_RAW - 100)), "T1005")}


def misplaced_to_cloud() -> dict[str, tuple[bytes, str]]:
    """What an agent may say, but not as its first words."""
    return {
        "ready at once": (encode(Ready([Stream("hr", JOURNAL, 1)])), "T1005"),
        "a window's end at once": (encode(WindowEnd(b"p", 0, 1, 0, "x"), channel="hr", journal_id=JOURNAL, seq=1), "T1005"),
        "rows at once": (
            encode(Batch("people", b"s" * 16, 0, b"", [[]], []), channel="hr", journal_id=JOURNAL, seq=1),
            "T1005",
        ),
        "the cloud's own words": (encode(Ack("hr", 1, 1)), "T1005"),
        "only newer versions": (hello(oldest=PROTOCOL + 1, newest=PROTOCOL + 2), "T1004"),
    }


def misplaced_to_agent() -> dict[str, tuple[bytes, str]]:
    """What a cloud may say, but not as its first words."""
    return {
        "welcome at once": (encode(Welcome(PROTOCOL, "x", 1, b"s" * 32, 1, 1, [])), "T1005"),
        "an ack at once": (encode(Ack("hr", 1, 1)), "T1005"),
        "the agent's own words": (hello(), "T1005"),
    }


TOO_LONG = b"\x00" * (MAX_ENVELOPE + 1)
GOODBYE = encode(Bye())
