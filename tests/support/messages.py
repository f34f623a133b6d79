"""pure: one message of every kind, the same for ever: what the golden bytes are made from."""

from __future__ import annotations

from transport.frames import (
    Ack,
    Batch,
    Bye,
    Challenge,
    ChannelState,
    Column,
    Detach,
    Fold,
    Hello,
    LoadBegin,
    LoadEnd,
    Message,
    Ping,
    Pong,
    Proof,
    Ready,
    Refuse,
    Schema,
    Stream,
    Type,
    Welcome,
    WindowEnd,
    Withheld,
)

JOURNAL = bytes(range(16))
SCHEMA = Schema(
    "employee",
    "hr",
    "both",
    [
        Column("id", Type.INT, False, key=1, source_type="INTEGER"),
        Column("code", Type.TEXT, False, key=2, length=10, source_type="nvarchar(10)", fold=Fold.UNICODE, pad=True),
        Column("salary", Type.DECIMAL, True, precision=19, scale=4, source_type="money"),
        Column("photo", Type.BYTES, True, source_type="varbinary(max)", writable=True),
    ],
)
BATCH = Batch(
    "employee",
    b"schema-of-rows-1",
    0,
    b"\0\1\2\0",
    [[1, 2, 3, -(2**63)], ["Ąę", "b ", "c", ""]],
    [["1234.5600", None], [b"\0\xff", None], [True, False], [0.5, -1e300]],
    [Withheld("T1009", "photo", "41943040 bytes")],
)
MESSAGES: dict[str, Message] = {
    "hello": Hello(1, 1, "erp-cdc 0.1.0", "acme", b"i" * 16, b"s" * 32, 7, takeover=True),
    "challenge": Challenge(b"n" * 32),
    "proof": Proof(b"g" * 64),
    "welcome": Welcome(1, "erp-cdc 0.1.0", 8, b"t" * 32, 8388608, 512, [ChannelState("hr", JOURNAL, 12, 10, b"position", 77)]),
    "ready": Ready([Stream("hr", JOURNAL, 13), Stream("shop", b"k" * 16, 1)]),
    "refuse": Refuse("C3204", "this installation's key is not the one enrolled", 30.0),
    "bye": Bye("T1008", "the other side is silent"),
    "ping": Ping(3),
    "pong": Pong(3),
    "ack": Ack("hr", 20, 18, progress=1500, withheld=2, held=["absence"]),
    "schema": SCHEMA,
    "load_begin": LoadBegin("employee", b"schema-of-rows-1", 2, "A2301"),
    "batch": BATCH,
    "load_end": LoadEnd("employee", 2, 300),
    "window_end": WindowEnd(b"opaque position", 41, 42, 4, "2026-01-02T03:04:05Z", ["absence"]),
    "detach": Detach("old_dataset"),
}
