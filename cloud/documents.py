"""pure: what the API answers: its JSON documents, made from the values of the store port.

Form of a cell: null, true/false and float as themselves; int (64 bit) and decimal as text, since many JSON readers have only
doubles; bytes as base64; everything else as its canonical text. Keys, hashes and `as_of` are base64url without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec

from cloud.store.base import Change, DatasetState, Row, WithheldRow
from transport.frames import Cell, ChannelState, Column, Schema, Type
from transport.values import row_hash

KEY_PATTERN = "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{4}|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]|[A-Za-z0-9_-][AQgw])$"
CURSOR_PATTERN = "^(0|[1-9][0-9]{0,18})$"
NAME_PATTERN = "^[a-z][a-z0-9_]{0,39}$"
MAX_KEY_TEXT = 5_462  # characters: base64 of the longest key the wire carries

Key = Annotated[str, msgspec.Meta(description="A row's identity, base64url. Opaque: take it from an answer.", examples=["kQE"])]
Cursor = Annotated[
    str,
    msgspec.Meta(
        description="A place in the feed of changes: a whole number of 64 bits, as text.",
        pattern=CURSOR_PATTERN,
        examples=["4711"],
    ),
]
Time = Annotated[
    str, msgspec.Meta(description='UTC with Z; "" before the first window.', examples=["2025-01-31T10:00:00.000Z"])
]
AsOf = Annotated[
    str,
    msgspec.Meta(description="The state of the ERP that this answer shows; a change based on it names it. Opaque."),
]
Value: TypeAlias = bool | float | str | None
Values = Annotated[
    dict[str, Value],
    msgspec.Meta(description="Cells by column: int, decimal as text, bytes as base64.", examples=[{"id": "1", "name": "Anna"}]),
]
Code = Annotated[str, msgspec.Meta(description="Why a newer version is withheld; this is the last that could be stored.")]


class ColumnDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a dataset."""

    name: str
    type: Type
    nullable: bool
    key: Annotated[int, msgspec.Meta(ge=0, description="Place in the key, from 1; 0: not in the key.")]
    precision: Annotated[int, msgspec.Meta(ge=0, description="Decimal: digits in all; 0: no limit.")]
    scale: Annotated[int, msgspec.Meta(ge=0, description="Decimal: digits after the point. Times: digits of the fraction.")]
    length: Annotated[int, msgspec.Meta(ge=0, description="Text: characters, bytes: bytes; 0: no limit.")]


class DatasetDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset of the copy with its schema."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, examples=["employees"])]
    channel: str
    direction: str
    state: Annotated[
        str,
        msgspec.Meta(
            description="loading: nothing can be seen yet. live. reloading: visible, but incomplete or stale until its re-read "
            "ends. held: a re-read waits for a person, the earlier copy is shown. detached: no longer synchronised.",
            examples=["live"],
        ),
    ]
    rows: Annotated[int, msgspec.Meta(ge=0)]
    withheld: Annotated[int, msgspec.Meta(ge=0, description="Rows whose newest version could not be read, carried or stored.")]
    applied_at: Time
    read_at: Time
    columns: list[ColumnDocument]


class DatasetList(msgspec.Struct, frozen=True):
    """Every dataset, by name."""

    datasets: list[DatasetDocument]


class RowDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a dataset."""

    key: Key
    values: Values
    hash: Annotated[str, msgspec.Meta(description="Of the whole row in its canonical form; equal rows have equal hashes.")]
    withheld: Code = ""


class RowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One row and the state it belongs to."""

    dataset: str
    as_of: AsOf
    row: RowDocument


class RowPage(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in the order of their keys."""

    dataset: str
    state: str
    as_of: AsOf
    rows: list[RowDocument]
    next: Annotated[Key | None, msgspec.Meta(description="`after` of the next page; null: this was the last.")]


class ChangeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the feed."""

    cursor: Cursor
    dataset: str
    op: Annotated[
        str,
        msgspec.Meta(description="upsert, delete, or reset (no key): read the dataset anew.", examples=["upsert"]),
    ]
    key: Key
    row: Annotated[
        RowDocument | None,
        msgspec.Meta(description="The row as it is now; null for delete and reset, and when it has gone since."),
    ]


class ChangePage(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in the order in which they took effect."""

    changes: list[ChangeDocument]
    cursor: Annotated[Cursor, msgspec.Meta(description="`after` of the next request, also when there were no changes.")]
    more: Annotated[bool, msgspec.Meta(description="Whether there may be more at once.")]


class CursorAnswer(msgspec.Struct, frozen=True):
    """The newest cursor of the feed."""

    cursor: Cursor


class WithheldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A row that could not be read, carried or stored."""

    dataset: str
    key: Key
    code: str
    column: str
    detail: str
    since: Time
    side: Annotated[str, msgspec.Meta(description="erp: withheld by the agent; cloud: by the store.")]


class WithheldList(msgspec.Struct, frozen=True):
    """What is withheld now."""

    withheld: list[WithheldDocument]


class ParameterError(msgspec.Struct, frozen=True):
    """What is wrong with one parameter."""

    parameter: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error document (RFC 9457)."""

    code: str
    title: str
    status: int
    detail: str
    remedy: str
    errors: list[ParameterError] = []


# -- text forms ------------------------------------------------------------------------------------------------------------


def to_text(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_text(text: str) -> bytes:
    """Reverse `to_text`; each bytes have one text only. Raises ValueError."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        data = b""
    if to_text(data) != text:
        raise ValueError("is not base64url without padding")
    return data


def as_of(channels: Sequence[ChannelState], channel: str) -> str:
    """Name what a channel of the copy shows: journal, last seq applied, digest of its position; "" before the first window.

    The position itself stays with the agent and the store: it grows with the number of tables. Taken **before** the rows are
    read: rows may then be newer than the token says, which costs a needless conflict at worst, never a lost update.
    """
    for state in channels:
        if state.channel == channel and state.applied:
            digest = hashlib.blake2b(state.position, digest_size=16).digest()
            return to_text(msgspec.msgpack.encode((1, channel, state.journal_id, state.applied, digest)))
    return ""


# -- documents from the store's values -------------------------------------------------------------------------------------


def dataset_document(state: DatasetState) -> DatasetDocument:
    """Describe one dataset."""
    return DatasetDocument(
        name=state.name,
        channel=state.channel,
        direction=state.schema.direction,
        state=state.state,
        rows=state.rows,
        withheld=state.withheld,
        applied_at=state.applied_at,
        read_at=state.read_at,
        columns=[_column(column) for column in state.schema.columns],
    )


class SchemaMoved(Exception):
    """A window has replaced the dataset's schema between reading it and reading its rows: read both again."""


def row_document(schema: Schema | None, row: Row) -> RowDocument:
    """Show one row. Raises SchemaMoved when it is not of this schema: it would be shown, and hashed, with cells missing."""
    if schema is None or len(row.cells) != len(schema.columns):
        raise SchemaMoved
    try:
        cells = [row.cells[column.name] for column in schema.columns]
    except KeyError:
        raise SchemaMoved from None
    values = {column.name: _value(cell) for column, cell in zip(schema.columns, cells, strict=True)}
    return RowDocument(
        key=to_text(row.key), values=values, hash=to_text(row_hash(schema.columns, cells)), withheld=row.withheld
    )


def change_document(change: Change, schema: Schema | None) -> ChangeDocument:
    """Show one entry of the feed."""
    row = row_document(schema, change.row) if change.row is not None else None
    return ChangeDocument(cursor=str(change.cursor), dataset=change.dataset, op=change.op, key=to_text(change.key), row=row)


def withheld_document(row: WithheldRow) -> WithheldDocument:
    """Show why a row is withheld."""
    return WithheldDocument(
        dataset=row.dataset,
        key=to_text(row.key),
        code=row.code,
        column=row.column,
        detail=row.detail,
        since=row.since,
        side=row.side,
    )


def _column(column: Column) -> ColumnDocument:
    return ColumnDocument(
        name=column.name,
        type=column.type,
        nullable=column.nullable,
        key=column.key,
        precision=column.precision,
        scale=column.scale,
        length=column.length,
    )


def _value(cell: Cell) -> Value:
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode("ascii")
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell
