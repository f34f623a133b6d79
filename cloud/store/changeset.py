"""pure: a batch as the parts a store writes: identities, and rows of one operation by columns, in an order that is right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, groupby
from typing import NamedTuple

from transport.errors import NotCarried, RemoteProtocolError
from transport.frames import Batch, Cell, Op, Schema, Withheld
from transport.values import key_identities, loose_identity

_IS = {op: bytes(int(byte == op) for byte in range(256)) for op in Op}  # a table for bytes.translate: 1 where it is that op


class Part(NamedTuple):
    """Rows of one operation."""

    op: int
    keys: list[bytes]
    cells: Sequence[Sequence[Cell]] = ()  # of UPSERT: one list a column, key columns first
    reasons: Sequence[Withheld] = ()  # of WITHHELD


class ChangeSet(NamedTuple):
    """A batch made ready."""

    ops: bytes
    keys: list[bytes]  # identities of all rows, in order
    parts: list[Part]


def change_set(schema: Schema, batch: Batch) -> ChangeSet:
    """Make a batch ready. Raises RemoteProtocolError T1005 when it does not have the schema's shape."""
    _check(schema, batch)
    try:
        return _ready(schema, batch)
    except NotCarried:  # a key that cannot be an identity: that row alone is withheld
        return _ready(schema, _without_bad_keys(schema, batch))


def _ready(schema: Schema, batch: Batch) -> ChangeSet:
    ops, count = batch.ops, len(batch.ops)
    if ops.count(Op.UPSERT) == count:
        keys = key_identities(schema.keys(), batch.keys)
        return ChangeSet(ops, keys, [Part(Op.UPSERT, keys, [*batch.keys, *batch.values])])
    keys = _identities(schema, batch)
    if len(set(keys)) == count:
        return ChangeSet(ops, keys, _by_operation(batch, keys))
    return ChangeSet(ops, keys, _in_order(batch, keys))


def _check(schema: Schema, batch: Batch) -> None:
    if len(batch.keys) != len(schema.keys()) or len(batch.values) != len(schema.columns) - len(batch.keys):
        raise RemoteProtocolError("T1005", "a batch has other columns than its schema", where=batch.dataset)
    upserts, deletes, withheld = (batch.ops.count(op) for op in (Op.UPSERT, Op.DELETE, Op.WITHHELD))
    rows = len(batch.ops)
    if (
        upserts + deletes + withheld != rows
        or any(len(column) != rows for column in batch.keys)
        or any(len(column) != upserts for column in batch.values)
        or len(batch.withheld) != withheld
    ):
        raise RemoteProtocolError(
            "T1005", "the columns of a batch have not the lengths its operations say", where=batch.dataset
        )


def _identities(schema: Schema, batch: Batch) -> list[bytes]:
    """Name all rows; a withheld one may have any key, and so may a delete: that of a row that was withheld."""
    columns = schema.keys()
    if Op.WITHHELD not in batch.ops:
        try:
            return key_identities(columns, batch.keys)
        except NotCarried:
            if Op.DELETE not in batch.ops:
                raise
    upserts = batch.ops.translate(_IS[Op.UPSERT])
    named = iter(key_identities(columns, [list(compress(column, upserts)) for column in batch.keys]))
    rows = zip(upserts, zip(*batch.keys, strict=True), strict=True)
    return [next(named) if upsert else loose_identity(columns, cells) for upsert, cells in rows]


def _by_operation(batch: Batch, keys: list[bytes]) -> list[Part]:
    """Order the parts by operation: each key is there once, so that any order is right."""
    deletes, upserts, withheld = (batch.ops.translate(_IS[op]) for op in (Op.DELETE, Op.UPSERT, Op.WITHHELD))
    parts = []
    if 1 in deletes:
        parts.append(Part(Op.DELETE, list(compress(keys, deletes))))
    if 1 in upserts:
        cells = [*(list(compress(column, upserts)) for column in batch.keys), *batch.values]
        parts.append(Part(Op.UPSERT, list(compress(keys, upserts)), cells))
    if 1 in withheld:
        parts.append(Part(Op.WITHHELD, list(compress(keys, withheld)), reasons=batch.withheld))
    return parts


def _in_order(batch: Batch, keys: list[bytes]) -> list[Part]:
    """Keep the order of rows: a key is there more than once."""
    parts, at, value, reason = [], 0, 0, 0
    for op, run in groupby(batch.ops):
        end = at + sum(1 for _ in run)
        count, names = end - at, keys[at:end]
        if op == Op.UPSERT:
            cells = [*(column[at:end] for column in batch.keys), *(column[value : value + count] for column in batch.values)]
            parts.append(Part(op, names, cells))
            value += count
        elif op == Op.WITHHELD:
            parts.append(Part(op, names, reasons=batch.withheld[reason : reason + count]))
            reason += count
        else:
            parts.append(Part(op, names))
        at = end
    return parts


def _without_bad_keys(schema: Schema, batch: Batch) -> Batch:
    """Turn rows whose key cannot be an identity into withheld ones."""
    columns, ops = schema.keys(), bytearray(batch.ops)
    given, reasons, kept = iter(batch.withheld), [], []
    for i, cells in enumerate(zip(*batch.keys, strict=True)):
        problem = _key_problem(schema, cells) if ops[i] == Op.UPSERT else ""
        if batch.ops[i] == Op.UPSERT:
            kept.append(not problem)
        if problem:
            ops[i] = Op.WITHHELD
            reasons.append(Withheld("T1009", columns[0].name if len(columns) == 1 else "", problem))
        elif ops[i] == Op.WITHHELD:
            reasons.append(next(given))
    values = [list(compress(column, kept)) for column in batch.values]
    return Batch(batch.dataset, batch.schema_id, batch.generation, bytes(ops), batch.keys, values, reasons)


def _key_problem(schema: Schema, cells: Sequence[Cell]) -> str:
    try:
        key_identities(schema.keys(), [[cell] for cell in cells])
    except NotCarried as error:
        return error.message
    return ""
