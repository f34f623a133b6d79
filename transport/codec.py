"""pure: bytes <-> messages: envelope, compression, checksum; every limit is enforced before memory is taken for it.

`encode` = `seal(raw_body(message), ...)`, apart so that batching can look at the raw size before it compresses. Receiving is
`decode_frame` (cheap: bounds, version, checksum; nothing is decompressed) and, where the content is wanted, `decode_body`.
A peer's bytes raise RemoteProtocolError and nothing else; what we cannot send raises NotCarried.

All functions may be called from several threads at once: msgspec's coders keep no state between calls, zstd's contexts are
borrowed for one.
"""

from __future__ import annotations

import hashlib
import re
from binascii import crc32
from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, NoReturn, TypeVar, cast

import msgspec
import zstandard

from transport.errors import NotCarried, RemoteProtocolError
from transport.frames import (
    FIRST_STREAM_KIND,
    LAST_STREAM_KIND,
    MAX_BATCH_ROWS,
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_ENVELOPE,
    MAX_KEY,
    MAX_RAW,
    MAX_SMALL,
    OLDEST_PROTOCOL,
    PROTOCOL,
    Ack,
    Batch,
    Bye,
    Cell,
    Challenge,
    Detach,
    Flag,
    Frame,
    Hello,
    Kind,
    LoadBegin,
    LoadEnd,
    Message,
    Op,
    Ping,
    Pong,
    Proof,
    Ready,
    Refuse,
    Schema,
    Welcome,
    WindowEnd,
    Withheld,
)

N = TypeVar("N", int, float)

TYPES: dict[int, type[msgspec.Struct]] = {
    Kind.HELLO: Hello,
    Kind.CHALLENGE: Challenge,
    Kind.PROOF: Proof,
    Kind.WELCOME: Welcome,
    Kind.READY: Ready,
    Kind.REFUSE: Refuse,
    Kind.BYE: Bye,
    Kind.PING: Ping,
    Kind.PONG: Pong,
    Kind.ACK: Ack,
    Kind.SCHEMA: Schema,
    Kind.LOAD_BEGIN: LoadBegin,
    Kind.BATCH: Batch,
    Kind.LOAD_END: LoadEnd,
    Kind.WINDOW_END: WindowEnd,
    Kind.DETACH: Detach,
}
KINDS: dict[type[Any], Kind] = {type_: Kind(kind) for kind, type_ in TYPES.items()}

COMPRESS_FROM = 200  # bytes of body below which zstd's own header eats the gain
LEVEL = 1

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    version: _Count
    kind: _Count
    flags: _Count
    channel: Annotated[str, msgspec.Meta(max_length=255)]
    journal_id: Annotated[bytes, msgspec.Meta(max_length=64)]
    seq: _Count
    raw_length: _Count
    crc: _Count
    body: bytes


class _Version(msgspec.Struct, array_like=True, frozen=True, gc=False):
    version: _Count


_Columns = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_COLUMNS)]


class _RawBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A Batch whose columns are still bytes: what they would take is known before it is taken."""

    dataset: str
    schema_id: bytes
    generation: _Count
    ops: Annotated[bytes, msgspec.Meta(max_length=MAX_BATCH_ROWS)]
    keys: _Columns
    values: _Columns
    withheld: Annotated[list[Withheld], msgspec.Meta(max_length=MAX_BATCH_ROWS)] = []


# Contexts of zstd are costly to make and must not be shared: each call borrows one (pop and append are atomic).
_compressors: list[zstandard.ZstdCompressor] = []
_decompressors: list[zstandard.ZstdDecompressor] = []


def _compressed(raw: bytes) -> bytes:
    try:
        context = _compressors.pop()
    except IndexError:
        context = zstandard.ZstdCompressor(level=LEVEL)
    try:
        return context.compress(raw)
    finally:
        _compressors.append(context)


def _decompressed(body: bytes) -> bytes:
    try:
        context = _decompressors.pop()
    except IndexError:
        context = zstandard.ZstdDecompressor()
    try:
        return context.decompress(body, allow_extra_data=False)
    finally:
        _decompressors.append(context)


_pack = msgspec.msgpack.Encoder().encode
_envelope = msgspec.msgpack.Decoder(_Envelope).decode
_version = msgspec.msgpack.Decoder(_Version).decode
_raw_batch = msgspec.msgpack.Decoder(_RawBatch).decode
_bodies: dict[int, Callable[[bytes], Any]] = {
    kind: msgspec.msgpack.Decoder(type_).decode for kind, type_ in TYPES.items() if type_ is not Batch
}
# msgspec has no union of str and bytes: a column is tried as one, then as the other, then cell by cell.
_Rows = msgspec.Meta(max_length=MAX_BATCH_ROWS)
_text_column = msgspec.msgpack.Decoder(Annotated[list[bool | int | float | str | None], _Rows]).decode
_bytes_column = msgspec.msgpack.Decoder(Annotated[list[bool | int | float | bytes | None], _Rows]).decode
_raw_column = msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], _Rows]).decode
_text_cell = msgspec.msgpack.Decoder(bool | int | float | str | None).decode
_bytes_cell = msgspec.msgpack.Decoder(bytes).decode
# How integers over 63 bits, and floats (of 64 and 32 bits) that are not finite, begin.
_big = re.compile(rb"\xcf[\x80-\xff]").search
_infinite = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search
_infinite_short = re.compile(rb"\xca[\x7f\xff][\x80-\xff]").search

_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)  # ValueError: text that is not UTF-8


# -- sending ---------------------------------------------------------------------------------------------------------------


def encode(message: Message, *, channel: str = "", journal_id: bytes = b"", seq: int = 0) -> bytes:
    """Encode the message as an envelope, ready for the link. Raises NotCarried (T1009)."""
    return seal(raw_body(message), KINDS[type(message)], channel=channel, journal_id=journal_id, seq=seq)


def raw_body(message: Message) -> bytes:
    """Encode the body alone, uncompressed. Raises NotCarried (T1009); for a batch: some row or the whole is over a limit."""
    if type(message) is Batch:
        problem = _shape_problem(message, len(message.keys) + len(message.values)) or _key_problem(message.keys)
        if problem:
            raise NotCarried("T1009", problem, where=message.dataset)
    try:
        return _pack(message)
    except UnicodeEncodeError:
        raise NotCarried("T1009", "text with half of a surrogate pair is not Unicode text") from None
    except (OverflowError, TypeError) as error:
        raise NotCarried("T1009", f"a value cannot be encoded: {type(error).__name__}") from None


def seal(raw: bytes, kind: Kind, *, channel: str = "", journal_id: bytes = b"", seq: int = 0) -> bytes:
    """Put a body from `raw_body` into its envelope. Raises NotCarried (T1009) when it is over the limit of its kind."""
    size = len(raw)
    if size > limit_of(kind):
        raise NotCarried("T1009", f"a {kind.name} of {size} bytes is over the limit of {limit_of(kind)}", where=channel)
    flags, body = 0, raw
    if size > COMPRESS_FROM:
        small = _compressed(raw)
        if len(small) < size:
            flags, body = 1, small  # Flag.ZSTD, as a plain int: encoding an IntFlag is slow
    return _pack((PROTOCOL, int(kind), flags, channel, journal_id, seq, size, crc32(body), body))


def limit_of(kind: int) -> int:
    """Bytes a body of this kind may have when decompressed."""
    return MAX_RAW if kind == Kind.BATCH or kind not in TYPES else MAX_SMALL


def schema_id(schema: Schema) -> bytes:
    """16 bytes that name the schema: the hash of its canonical bytes."""
    return hashlib.blake2b(_pack(schema), digest_size=16, person=b"erp-cdc schema").digest()


def proof_text(nonce: bytes, company: str, installation: bytes) -> bytes:
    """Build what the agent signs and the cloud verifies (Ed25519): for this purpose, company and installation alone."""
    return b"erp-cdc proof 1\0" + _pack((nonce, company, installation))


# -- receiving -------------------------------------------------------------------------------------------------------------


def decode_frame(data: bytes) -> Frame:
    """Take the envelope off. Raises RemoteProtocolError: T1001 unreadable, T1002 too large, T1003 checksum, T1004 version."""
    if len(data) > MAX_ENVELOPE:
        raise RemoteProtocolError("T1002", f"a frame of {len(data)} bytes is over the limit of {MAX_ENVELOPE}")
    try:
        e = _envelope(data)
    except _UNREADABLE as error:
        _refuse_envelope(data, error)
    if not OLDEST_PROTOCOL <= e.version <= PROTOCOL:
        raise _other_version(e.version)
    if e.raw_length > limit_of(e.kind):
        raise RemoteProtocolError("T1002", f"a body of {e.raw_length} bytes is over the limit of {limit_of(e.kind)}")
    if crc32(e.body) != e.crc:
        raise RemoteProtocolError("T1003", "the checksum of a frame differs", where=e.channel)
    _check_length(e.body, e.flags, e.raw_length)
    return Frame(e.kind, e.flags, e.channel, e.journal_id, e.seq, e.raw_length, e.crc, e.body, len(data))


def decode_body(frame: Frame) -> Message | None:
    """Decode the message inside. None: of a kind unknown here that says it may be skipped. Raises RemoteProtocolError."""
    if frame.kind not in TYPES:
        if frame.flags & Flag.OPTIONAL:
            return None
        raise RemoteProtocolError("T1001", f"a message of the unknown kind {frame.kind}", where=frame.channel)
    raw = _decompress(frame) if frame.flags & Flag.ZSTD else frame.body
    try:
        if frame.kind == Kind.BATCH:
            return _decode_batch(raw)
        message: Message = _bodies[frame.kind](raw)
    except _UNREADABLE as error:
        raise _unreadable(Kind(frame.kind).name, error, frame.channel) from None
    if isinstance(message, Schema) and len(message.columns) > MAX_COLUMNS:
        raise RemoteProtocolError("T1009", f"a schema of {len(message.columns)} columns", where=frame.channel)
    return message


def decode(data: bytes) -> Message | None:
    """Decode an envelope and its body at once; as `decode_frame` and `decode_body`."""
    return decode_body(decode_frame(data))


def is_stream(kind: int) -> bool:
    """Whether frames of the kind are numbered, stored and acknowledged."""
    return FIRST_STREAM_KIND <= kind <= LAST_STREAM_KIND


def _refuse_envelope(data: bytes, error: Exception) -> NoReturn:
    """Raise T1004 or T1001: a newer version may have another envelope, of which only the first field is sure."""
    try:
        version = _version(data).version
    except _UNREADABLE:
        version = PROTOCOL
    if version > PROTOCOL:
        raise _other_version(version) from None
    raise _unreadable("envelope", error) from None


def _other_version(version: int) -> RemoteProtocolError:
    spoken = f"{OLDEST_PROTOCOL} to {PROTOCOL}" if OLDEST_PROTOCOL != PROTOCOL else f"{PROTOCOL}"
    side = "this side" if version > PROTOCOL else "the other side"
    return RemoteProtocolError(
        "T1004", f"the other side speaks version {version} of the protocol, this side speaks {spoken}; upgrade {side}"
    )


def _unreadable(what: str, error: Exception, where: str = "") -> RemoteProtocolError:
    """Say what kind of damage, never the content: only msgspec's own words name types and places."""
    if isinstance(error, RecursionError):
        detail = "nested too deeply"
    elif isinstance(error, UnicodeError):
        detail = "text that is not UTF-8"
    else:
        detail = str(error)
    return RemoteProtocolError("T1001", f"{what}: {detail}", where=where)


def _check_length(body: bytes, flags: int, raw_length: int) -> None:
    """`raw_length` must be true before a byte is decompressed: zstd believes its own header (16 KB gave 512 MiB)."""
    if not flags & Flag.ZSTD:
        if len(body) != raw_length:
            raise RemoteProtocolError("T1001", f"a body of {len(body)} bytes says that it has {raw_length}")
        return
    try:
        size = zstandard.frame_content_size(body)
    except zstandard.ZstdError:
        raise RemoteProtocolError("T1001", "a compressed body is not a zstd frame") from None
    if size != raw_length:
        raise RemoteProtocolError("T1002", f"a compressed body of {size} bytes says that it has {raw_length}")


def _decompress(frame: Frame) -> bytes:
    _check_length(frame.body, frame.flags, frame.raw_length)  # again: a Frame may come from elsewhere than decode_frame
    try:
        return _decompressed(frame.body)
    except zstandard.ZstdError:
        raise RemoteProtocolError("T1001", "a compressed body does not decompress", where=frame.channel) from None


# -- batches ---------------------------------------------------------------------------------------------------------------


def _decode_batch(raw: bytes) -> Batch:
    b = _raw_batch(raw)
    columns = len(b.keys) + len(b.values)
    if columns > MAX_COLUMNS or len(b.ops) * columns > MAX_CELLS:
        raise RemoteProtocolError("T1009", f"a batch of {len(b.ops)} rows and {columns} columns", where=b.dataset)
    keys, values = [_column(c) for c in b.keys], [_column(c) for c in b.values]
    batch = Batch(b.dataset, b.schema_id, b.generation, b.ops, keys, values, b.withheld)
    if problem := _shape_problem(batch, columns):
        raise RemoteProtocolError("T1001", f"batch: {problem}", where=b.dataset)
    if problem := _key_problem(keys):
        raise RemoteProtocolError("T1009", f"batch: {problem}", where=b.dataset)
    return batch


def _column(raw: msgspec.Raw) -> list[Cell]:
    cells = _cells(raw)
    if problem := _number_problem(bytes(raw), cells):
        raise RemoteProtocolError("T1009", f"batch: {problem}")
    return cells


def _cells(raw: msgspec.Raw) -> list[Cell]:
    try:
        return cast("list[Cell]", _text_column(raw))
    except msgspec.ValidationError:
        pass
    try:
        return cast("list[Cell]", _bytes_column(raw))
    except msgspec.ValidationError:
        return [_cell(r) for r in _raw_column(raw)]


def _cell(raw: msgspec.Raw) -> Cell:
    try:
        return cast("Cell", _text_cell(raw))
    except msgspec.ValidationError:
        return _bytes_cell(raw)


def _shape_problem(batch: Batch, columns: int) -> str:
    """Say what does not fit together or is over a limit; "" when all is well."""
    rows = len(batch.ops)
    upserts, withheld = batch.ops.count(Op.UPSERT), batch.ops.count(Op.WITHHELD)
    if rows > MAX_BATCH_ROWS or columns > MAX_COLUMNS or rows * columns > MAX_CELLS:
        return f"{rows} rows and {columns} columns are over the limits"
    if batch.ops.translate(None, b"\0\1\2"):
        return "an operation that does not exist"
    if any(len(column) != rows for column in batch.keys):
        return "a key column is not as long as the operations"
    if any(len(column) != upserts for column in batch.values):
        return "a value column is not as long as the upserts"
    return "" if len(batch.withheld) == withheld else "withheld rows and their reasons differ in number"


def _key_problem(keys: list[list[Cell]]) -> str:
    """Cheap bounds per column first; rows are only looked at when those could be over the limit."""
    if sum(map(_longest, keys)) + 3 <= MAX_KEY:
        return ""
    try:
        over = any(len(_pack(key)) > MAX_KEY for key in zip(*keys, strict=True))
    except (UnicodeEncodeError, OverflowError, TypeError):
        return ""  # `raw_body` says what is wrong with it
    return f"a key is longer than {MAX_KEY} bytes" if over else ""


def _longest(column: list[Cell]) -> int:
    """Upper bound of a key cell's encoded bytes."""
    kinds = set(map(type, column))
    if not kinds & {str, bytes}:
        return 9
    if kinds == {str}:
        return 4 * max(map(len, cast("list[str]", column))) + 5
    return 5 + max(4 * len(cell) if isinstance(cell, (str, bytes)) else 4 for cell in column)


def _number_problem(raw: bytes, column: list[Cell]) -> str:
    """Say what is no canonical number. The bytes tell at once that nearly every column has none."""
    if b"\xcf" in raw and _big(raw) and max(_of(int, column), default=0) >= 2**63:
        return "an integer is over 63 bits"
    suspect = (b"\xcb" in raw and _infinite(raw)) or (b"\xca" in raw and _infinite_short(raw))
    return "a float is not finite" if suspect and not all(map(isfinite, _of(float, column))) else ""


def _of(kind: type[N], column: list[Cell]) -> list[N]:
    kinds = set(map(type, column))
    if kinds == {kind}:
        return cast("list[N]", column)
    return [cell for cell in column if type(cell) is kind] if kind in kinds else []
