"""pure: the values the agent's parts hand each other: datasets as declared, positions, findings."""

from __future__ import annotations

import enum

import msgspec

from transport.frames import Column, Schema


class Direction(enum.StrEnum):
    """Which way a dataset travels."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"
    ONCE = "once"  # ERP to cloud at the first full sync, the cloud's own afterwards


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A declared set of rows: one table, its columns, key, direction, filter, channel."""

    name: str
    table: str
    channel: str
    direction: Direction = Direction.UP
    key: tuple[str, ...] = ()  # empty: the table's primary key
    columns: tuple[str, ...] = ()  # empty: all
    exclude: tuple[str, ...] = ()
    types: dict[str, str] = {}  # column -> declared type to read it as, e.g. {"created": "DATETIME(3)"}
    filter: str = ""  # SQL condition on the row's own columns


class TableMark(msgspec.Struct, array_like=True, frozen=True):
    """How a dataset's table stood at a position, so that a baseline is never taken blindly."""

    dataset: str
    object_id: str  # what the source calls the table itself; another table of the same name has another
    begin_version: int  # when its tracking began
    fingerprint: bytes  # hash of everything declared and found that decides what travels
    generation: int  # of the last load begun for this dataset


class LoadMark(msgspec.Struct, array_like=True, frozen=True):
    """A load under way: the key after which the next page begins (b"": the first page)."""

    dataset: str
    generation: int
    after: bytes  # MessagePack array of the raw key cells in the source's own form
    rows: int  # sent so far
    reason: str  # a code
    done: bool = False  # the last page is read; ends with the next window


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where a channel stands in a source; travels as opaque bytes (`encode`, `decode`)."""

    version: int
    incarnation: bytes
    nonce: bytes  # of the window that reached `version`; stands in the ERP's witness log
    tables: list[TableMark] = []
    loads: list[LoadMark] = []

    def encode(self) -> bytes:
        """The bytes kept by journal and cloud."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(data: bytes) -> Position:
        """Raises msgspec.DecodeError on foreign bytes."""
        return msgspec.msgpack.decode(data, type=Position)


class TableState(msgspec.Struct, frozen=True):
    """How a table stands now, read in the window's own transaction."""

    dataset: str
    object_id: str
    begin_version: int
    min_valid: int | None  # None: tracking or the permission to ask is lost


class Witness(enum.StrEnum):
    """What the ERP's witness log says of a position's nonce."""

    FOUND = "found"
    FOREIGN = "foreign"  # it should be there and is not: the ERP's history is another one
    UNPROVEN = "unproven"  # older than the log reaches


class Note(msgspec.Struct, frozen=True):
    """Something about a source that keeps nobody from working, and that health shows: a code, and what it means here."""

    code: str
    message: str


class Facts(msgspec.Struct, frozen=True):
    """Everything that decides whether a window may be read, from the window's own transaction."""

    version: int
    incarnation: bytes
    witness: Witness
    tables: list[TableState]
    notes: tuple[Note, ...] = ()  # such as a degraded mode
    retention: float | None = None  # seconds for which the ERP keeps changes, where the source knows it


class Description(msgspec.Struct, frozen=True):
    """A dataset as found in the database: its schema, or why it cannot be carried."""

    dataset: str
    schema: Schema | None
    fingerprint: bytes = b""
    code: str = ""
    problem: str = ""


class Severity(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True):
    """One thing `cdc doctor` found: a code, what it means here, how to mend it, and the exact statement if there is one."""

    code: str
    severity: Severity
    where: str
    message: str
    remedy: str = ""
    statement: str = ""


__all__ = [
    "Column",
    "Dataset",
    "Description",
    "Direction",
    "Facts",
    "Finding",
    "LoadMark",
    "Note",
    "Position",
    "Schema",
    "Severity",
    "TableMark",
    "TableState",
    "Witness",
]
