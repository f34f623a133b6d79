"""pure: every message that travels, the protocol's version and its limits.

An envelope is the MessagePack array `[version, kind, flags, channel, journal id, seq, raw length, crc32, body]`; the body is
decoded by its kind. New fields go to the end, with defaults; numbers of kinds and fields are never used again.
Kinds from 32 to 63 are **stream frames**: numbered per (channel, journal id), stored and acknowledged. The others are control
frames: seq 0, channel "", never stored.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

PROTOCOL = 1
OLDEST_PROTOCOL = 1

STREAM_PATH = "/agent/v1/stream"  # of the WebSocket
ENROL_PATH = "/agent/v1/enrol"

KIB = 1024
MIB = 1024 * KIB
MAX_ROW = 8 * MIB  # encoded bytes of one row; larger ones are withheld
MAX_RAW = 9 * MIB  # decompressed body
MAX_ENVELOPE = MAX_RAW + 64 * KIB  # bytes of one message on the link
BATCH_TARGET = 256 * KIB  # encoded bytes a batch aims at before compression
MAX_BATCH_ROWS = 65_536
MAX_COLUMNS = 1_024
MAX_KEY = 4 * KIB  # encoded key
MAX_CELLS = 512 * KIB  # rows times columns of one batch; a batch of BATCH_TARGET bytes cannot reach it
MAX_SMALL = 1 * MIB  # decompressed body of every kind but BATCH

Cell: TypeAlias = bool | int | float | str | bytes | None
"""One canonical value, see `transport.values`."""

Frozen = {"array_like": True, "frozen": True, "gc": False}


class Kind(enum.IntEnum):
    """What the body of an envelope is."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    WELCOME = 4
    READY = 5
    REFUSE = 6
    BYE = 7
    PING = 8
    PONG = 9
    ACK = 10
    SCHEMA = 32
    LOAD_BEGIN = 33
    BATCH = 34
    LOAD_END = 35
    WINDOW_END = 36
    DETACH = 37


FIRST_STREAM_KIND = 32
LAST_STREAM_KIND = 63


class Flag(enum.IntFlag):
    """Bits of an envelope's flags."""

    ZSTD = 1  # the body is one zstd frame with its content size in the header
    OPTIONAL = 2  # a receiver that does not know the kind skips it


# -- control ---------------------------------------------------------------------------------------------------------------


class ChannelState(msgspec.Struct, array_like=True, frozen=True):
    """What the cloud durably has of one channel."""

    channel: str
    journal_id: bytes
    staged: int  # last seq of the contiguous prefix that is durable
    applied: int  # last seq that took effect; the end of a window
    position: bytes  # opaque; the position of the last window applied; b"" before the first
    check: int = 0  # `transport.resume.staged_check` of the frames applied + 1 to staged; 0: not told, or none


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """Agent: who I am and what I can speak. `secret` is the installation's, changed at each welcome."""

    oldest: int
    newest: int
    software: str
    company: str
    installation: bytes
    secret: bytes
    epoch: int  # highest epoch this installation was ever granted
    takeover: bool = False  # a person said that this installation is the one


class Challenge(msgspec.Struct, array_like=True, frozen=True):
    """Cloud: sign this."""

    nonce: bytes


class Proof(msgspec.Struct, array_like=True, frozen=True):
    """Agent: Ed25519 signature over `proof_text(nonce, company, installation)`."""

    signature: bytes


class Welcome(msgspec.Struct, array_like=True, frozen=True):
    """Cloud: you are the one; here is what I have and how much you may send unacknowledged."""

    protocol: int
    software: str
    epoch: int
    next_secret: bytes  # to be stored durably before Ready
    credit_bytes: int  # per channel, encoded bytes not yet staged
    credit_frames: int
    channels: list[ChannelState]


class Stream(msgspec.Struct, array_like=True, frozen=True):
    """How the agent continues one channel: a journal id unknown to the cloud discards what it had staged."""

    channel: str
    journal_id: bytes
    next_seq: int


class Ready(msgspec.Struct, array_like=True, frozen=True):
    """Agent: the new secret is stored; this is how each channel continues."""

    streams: list[Stream]


class Refuse(msgspec.Struct, array_like=True, frozen=True):
    """Cloud (or agent): no. `retry_after` in seconds; None: retrying is useless until a person acts."""

    code: str
    message: str
    retry_after: float | None = None


class Bye(msgspec.Struct, array_like=True, frozen=True):
    """Either side: an orderly end, with the reason."""

    code: str = ""
    message: str = ""


class Ping(msgspec.Struct, array_like=True, frozen=True):
    """Either side: say that you are there."""

    token: int


class Pong(msgspec.Struct, array_like=True, frozen=True):
    """The answer to the ping of that token."""

    token: int


class Ack(msgspec.Struct, array_like=True, frozen=True):
    """Cloud: cumulative state of one channel. The same numbers with a greater `progress`: a long apply goes on."""

    channel: str
    staged: int
    applied: int
    progress: int = 0  # rows applied so far in the running window
    withheld: int = 0  # rows of the channel now marked withheld in the copy
    held: list[str] = []  # datasets whose finished load waits for a person


# -- stream ----------------------------------------------------------------------------------------------------------------


class Type(enum.StrEnum):
    """The closed list of what a cell can be; canonical forms in `transport.values`."""

    INT = "int"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOL = "bool"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    DATETIMEOFFSET = "datetimeoffset"
    GUID = "guid"
    XML = "xml"
    JSON = "json"


class Fold(enum.StrEnum):
    """Which letters the column's collation holds equal."""

    NONE = ""
    ASCII = "ascii"  # SQLite NOCASE
    UNICODE = "unicode"


class Column(msgspec.Struct, array_like=True, frozen=True):
    """One column of a dataset as it travels."""

    name: str
    type: Type
    nullable: bool
    key: int = 0  # 1-based place in the key; 0: not in the key
    precision: int = 0  # decimal: digits in all
    scale: int = 0  # decimal: digits after the point; time, datetime, datetimeoffset: digits of the second's fraction
    length: int = 0  # text: characters, bytes: bytes; 0: no limit
    source_type: str = ""
    fold: Fold = Fold.NONE
    pad: bool = False  # trailing blanks do not count when keys are compared
    writable: bool = False  # the agent's file opens it to the cloud


class Schema(msgspec.Struct, array_like=True, frozen=True):
    """A dataset as declared in the agent's file and found in the ERP; numbered in the stream before its first use."""

    dataset: str
    channel: str
    direction: str  # up, down, both, once
    columns: list[Column]

    def keys(self) -> list[Column]:
        """The key columns in key order."""
        return sorted((c for c in self.columns if c.key), key=lambda c: c.key)

    def values(self) -> list[Column]:
        """The other columns in declared order."""
        return [c for c in self.columns if not c.key]


class LoadBegin(msgspec.Struct, array_like=True, frozen=True):
    """A full read of the dataset begins: an empty generation that is not yet visible."""

    dataset: str
    schema_id: bytes
    generation: int  # grows within the dataset, whichever channel reads it
    reason: str = ""  # a code: why it is read


class Op(enum.IntEnum):
    """What a row of a batch is."""

    UPSERT = 0
    DELETE = 1
    WITHHELD = 2


class Withheld(msgspec.Struct, array_like=True, frozen=True):
    """Why a row did not come: an error code, the column if one is to blame, and a detail without row contents."""

    code: str
    column: str = ""
    detail: str = ""


class Batch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Rows of one dataset, by columns.

    `ops` has one byte a row; `keys` one list a key column, each as long as `ops`; `values` one list a non-key column, with
    the rows of op UPSERT only, in order; `withheld` the rows of op WITHHELD, in order. Keys are raw (not folded).
    Generation 0: a change, for what is visible and for any generation being loaded. Otherwise a page of that generation.
    """

    dataset: str
    schema_id: bytes
    generation: int
    ops: bytes
    keys: list[list[Cell]]
    values: list[list[Cell]]
    withheld: list[Withheld] = []


class LoadEnd(msgspec.Struct, array_like=True, frozen=True):
    """The generation is complete at the end of this window: it takes the visible one's place in the window's transaction."""

    dataset: str
    generation: int
    rows: int


class WindowEnd(msgspec.Struct, array_like=True, frozen=True):
    """Ends a window: everything since the previous end takes effect together with the position, or not at all."""

    position: bytes  # opaque to the cloud
    from_version: int
    to_version: int
    rows: int
    read_at: str  # UTC, ISO 8601 with Z: when the source was read
    reloading: list[str] = []  # datasets whose visible copy is incomplete or stale until their load ends


class Detach(msgspec.Struct, array_like=True, frozen=True):
    """The dataset left this channel (removed from the agent's file): its copy stays as it is and is shown as detached."""

    dataset: str


Control: TypeAlias = Hello | Challenge | Proof | Welcome | Ready | Refuse | Bye | Ping | Pong | Ack
StreamMessage: TypeAlias = Schema | LoadBegin | Batch | LoadEnd | WindowEnd | Detach
Message: TypeAlias = Control | StreamMessage


class Frame(msgspec.Struct, frozen=True):
    """A decoded envelope with its body still encoded."""

    kind: int
    flags: int
    channel: str
    journal_id: bytes
    seq: int
    raw_length: int
    crc: int
    body: bytes
    size: int  # bytes of the whole envelope on the wire


# -- enrolment: one HTTPS request before the first conversation -------------------------------------------------------------


class EnrolRequest(msgspec.Struct):
    """What the agent shows to become the company's agent; bytes travel as base64 in JSON."""

    code: str
    installation: bytes
    public_key: bytes
    company: str = ""  # which the code must be of; "": any


class EnrolReply(msgspec.Struct):
    """The cloud's answer."""

    company: str
