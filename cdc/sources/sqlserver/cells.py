"""pure: fetched columns -> canonical column lists, and which rows are withheld for which cell.

What the server wrote in canonical form is taken as it is. Where a cell can need more than that, the column is looked at as a
whole by the C code of str, set and max, and cell by cell only if something is unusual. Reasons never contain the content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from cdc.sources.sqlserver.collations import Comparison, outside
from cdc.sources.sqlserver.statements import KeyTerm
from cdc.sources.sqlserver.types import Carried, Form
from transport.errors import NotCarried
from transport.frames import MAX_KEY, MAX_ROW, Batch, Cell, Column, Op, Type, Withheld
from transport.values import (
    bad_cells,
    canonical_date,
    canonical_datetime,
    canonical_datetimeoffset,
    canonical_decimal,
    canonical_guid,
    canonical_time,
    check_cell,
    key_identities,
    loose_identity,
)

Fetched = Sequence[Sequence[Any]]  # one sequence a selected expression, all of one length; none at all: no row
_Problem = tuple[str, str]  # code, detail
_Held = dict[int, Withheld]
_TRUTH = {0: False, 1: True, None: None}
_MANY = 64  # bytes of a bad key cell that are shown as they are; a longer one is shown as its hash


class KeyColumn(NamedTuple):
    """One key column; `comparison`: of texts."""

    carried: Carried
    loose: bool  # fetched twice: as the change names it, and as the row has it now
    comparison: Comparison | None


class Target(NamedTuple):
    """What the batches of one read are for."""

    dataset: str
    schema_id: bytes
    generation: int
    keys: tuple[KeyColumn, ...]
    values: tuple[Carried, ...]

    @property
    def key_columns(self) -> list[Column]:
        """As they travel."""
        return [k.carried.column for k in self.keys]


def key_column(term: KeyTerm, comparison: Comparison | None) -> KeyColumn:
    """Of a statement's key term."""
    return KeyColumn(term.carried, term.loose, comparison)


# -- one column ----------------------------------------------------------------------------------------------------------------


def _column(c: Carried, fetched: Fetched, held: _Held) -> list[Cell]:
    """The canonical cells; rows that cannot travel are noted in `held`."""
    cells = fetched[0]
    if c.size and _has_too_large(fetched[1]):
        for i, size in enumerate(fetched[1]):
            if size is not None and size > MAX_ROW:
                held.setdefault(
                    i, Withheld("A2308", c.column.name, f"the cell has {size} bytes, a row takes at most {MAX_ROW}")
                )
    if c.form is Form.READY:
        return list(cells)
    if c.form is Form.VARIANT:
        return [_variant(value, kind) for value, kind in zip(cells, fetched[-1], strict=True)]
    if c.form is Form.TRUTH:
        return _each(c.column, cells, _truth, held)
    if c.form is Form.READ:
        return _read(c.column, cells, held)
    return _decimals(c.column, cells) if c.column.type is Type.DECIMAL else _texts(c.column, cells, held)


def _has_too_large(sizes: Sequence[int | None]) -> bool:
    try:
        return max(cast("Sequence[int]", sizes), default=0) > MAX_ROW
    except TypeError:
        return max((size for size in sizes if size is not None), default=0) > MAX_ROW


def _texts(column: Column, cells: Sequence[str | None], held: _Held) -> list[Cell]:
    joined = _joined(cells)
    if "\0" not in joined and (joined.isascii() or _is_unicode(joined)):
        return list(cells)
    return _each(column, cells, _text, held)


def _text(column: Column, cell: Any) -> tuple[Cell, _Problem | None]:
    if "\0" in cell:
        return None, ("A2305", "text with U+0000")
    return (cell, None) if _is_unicode(cell) else (None, ("A2304", "half of a surrogate pair"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decimals(column: Column, cells: Sequence[str | None]) -> list[Cell]:
    """The server writes them in canonical form, except for a zero with a sign that some calculations leave."""
    if "-0" not in _joined(cells):
        return list(cells)
    return [None if cell is None else canonical_decimal(cell, column.precision, column.scale) for cell in cells]


def _joined(cells: Sequence[str | None]) -> str:
    try:
        return "\n".join(cast("Sequence[str]", cells))
    except TypeError:
        return "\n".join([cell for cell in cells if cell is not None])


def _read(column: Column, cells: Sequence[str | None], held: _Held) -> list[Cell]:
    """Texts that a person declared to be of another type."""
    plain = list(cast("Sequence[Cell]", cells))
    return _each(column, cells, _canonical, held) if bad_cells(column, plain) else plain


def _canonical(column: Column, cell: Any) -> tuple[Cell, _Problem | None]:
    made = _CANONICAL[column.type](column, cell)
    if made is None or check_cell(column, made):
        return None, ("A2306", f"not a {column.type.value} of the form declared")
    return made, None


def _truth(column: Column, cell: Any) -> tuple[Cell, _Problem | None]:
    return (_TRUTH[cell], None) if cell in _TRUTH else (None, ("A2306", "neither 0 nor 1"))


_Each = Callable[[Column, Any], tuple[Cell, _Problem | None]]


def _each(column: Column, cells: Sequence[Any], one: _Each, held: _Held) -> list[Cell]:
    result: list[Cell] = []
    for i, cell in enumerate(cells):
        value, problem = (None, None) if cell is None else one(column, cell)
        if problem:
            held.setdefault(i, Withheld(problem[0], column.name, problem[1]))
            value = shown(cell) if column.key else None
        result.append(value)
    return result


def _variant(value: str | None, kind: str | None) -> Cell:
    """A sql_variant as JSON: its base type with its digits or length, the value as text, the collation of a text."""
    if kind is None:
        return None
    base, precision, scale, length, collation = kind.split("|", 4)
    numbers = ""
    if base in ("decimal", "numeric"):
        numbers = f"({precision},{scale})"
    elif base in ("time", "datetime2", "datetimeoffset"):
        numbers = f"({scale})"
    elif base in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        numbers = f"({int(length) // 2 if base[0] == 'n' else length})"
    parts = {"type": base + numbers, "value": value}
    return json.dumps(parts | ({"collation": collation} if collation else {}), ensure_ascii=True, separators=(",", ":"))


_CANONICAL: dict[Type, Callable[[Column, str], str | None]] = {
    Type.DATE: lambda _, cell: canonical_date(cell),
    Type.TIME: lambda c, cell: canonical_time(cell, c.scale),
    Type.DATETIME: lambda c, cell: canonical_datetime(cell, c.scale),
    Type.DATETIMEOFFSET: lambda c, cell: canonical_datetimeoffset(cell, c.scale),
    Type.GUID: lambda _, cell: canonical_guid(cell),
    Type.DECIMAL: lambda c, cell: canonical_decimal(cell.strip(), c.precision, c.scale),
    Type.XML: lambda _, cell: cell,
    Type.JSON: lambda _, cell: cell,
}


# -- keys ----------------------------------------------------------------------------------------------------------------------


def shown(cell: Cell) -> Cell:
    """A key cell that cannot be carried, as something that can: only to tell withheld rows apart."""
    if not isinstance(cell, (str, bytes)):
        return cell
    data = cell.encode("utf-8", "surrogatepass") if isinstance(cell, str) else cell
    plain = len(data) <= _MANY and not (isinstance(cell, str) and ("\0" in cell or not _is_unicode(cell)))
    return cell if plain else hashlib.blake2b(data, digest_size=16).digest()


def _key(key: KeyColumn, cells: Sequence[Any], held: _Held, limit: int) -> list[Cell]:
    """One key column: what cannot travel, or whose identity only the server knows, is noted."""
    result = _column(key.carried, [cells], held)
    if key.comparison is None:
        return result
    column = key.carried.column
    texts = [cell if isinstance(cell, str) else "" for cell in result] if held else cast("list[str]", result)
    for i in outside(key.comparison, texts):
        message = "the key has a character of which only the server knows what its collation holds it equal to"
        held.setdefault(i, Withheld("A2273", column.name, message))
    if max(map(len, texts), default=0) * 4 > limit:
        for i, text in enumerate(texts):
            if len(text.encode()) > limit:
                held.setdefault(i, Withheld("A2309", column.name, "the key is too long"))
                result[i] = shown(text)
    return result


def _keys(to: Target, fetched: Fetched, held: _Held) -> list[list[Cell]]:
    limit = (MAX_KEY - 16) // len(to.keys) - 9
    return [_key(k, cells, held, limit) for k, cells in zip(to.keys, fetched, strict=True)]


def _former(to: Target, named: list[list[Cell]], now: list[list[Cell]]) -> list[int]:
    """Rows whose key the agent tells apart from the one that the change names, though the server holds them equal."""
    if named == now:
        return []
    columns = to.key_columns
    differ = [i for i, (a, b) in enumerate(zip(zip(*named, strict=True), zip(*now, strict=True), strict=True)) if a != b]
    return [i for i in differ if _identity(columns, named, i) != _identity(columns, now, i)]


def _identity(columns: list[Column], keys: list[list[Cell]], i: int) -> bytes:
    cells = [key[i] for key in keys]
    try:
        return key_identities(columns, [[cell] for cell in cells])[0]
    except NotCarried:
        return loose_identity(columns, cells)


# -- batches -------------------------------------------------------------------------------------------------------------------


def undecodable(rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Of rows fetched so that half a surrogate pair does no harm: those that have one."""
    return [row for row in rows if any(isinstance(cell, str) and not _is_unicode(cell) for cell in row)]


def columns_of(rows: Iterable[Sequence[Any]]) -> Fetched:
    """Rows turned into columns."""
    return list(zip(*rows, strict=True))


def changes(to: Target, rows: Sequence[Sequence[Any]]) -> Batch | None:
    """A batch of rows that `statements.changes` selects; None when there is nothing to tell."""
    width = len(to.keys)
    fetched = columns_of(rows)
    if not fetched:
        return None
    if 0 not in fetched[width]:
        return _batch(to, fetched[:width], fetched[width + 1 :], ())
    there = columns_of([row for row in rows if row[width]])
    gone = columns_of([row[:width] for row in rows if not row[width]])
    return _batch(to, there[:width], there[width + 1 :], gone)


def page(to: Target, rows: Sequence[Sequence[Any]]) -> Batch | None:
    """A batch of rows that `statements.page` selects."""
    width = len(to.keys)
    fetched = columns_of(rows)
    loose = [cells for k, cells in zip(to.keys, fetched, strict=False) if k.loose]
    return _batch(to, fetched[:width], [*loose, *fetched[width:]], ()) if fetched else None


def _batch(to: Target, named: Fetched, rest: Fetched, gone: Fetched) -> Batch | None:
    """First the rows that are there, then what is withheld, then the deletes.

    `named`: keys as the changes name them; `rest`: loose keys as they are now, then the values; `gone`: keys of deleted rows.
    """
    held: _Held = {}
    keys, values, former = _there(to, named, rest, held) if named else ([[] for _ in to.keys], [[] for _ in to.values], [])
    deletes = _keys(to, gone, {}) if gone else [[] for _ in to.keys]
    if former:
        deletes = [more + list(cells) for more, cells in zip(deletes, former, strict=True)]
    upserts, withheld = _split(keys, held)
    if held:
        values = [[cell for i, cell in enumerate(column) if i not in held] for column in values]
    ops = bytes([Op.UPSERT]) * len(upserts[0]) + bytes([Op.WITHHELD]) * len(held) + bytes([Op.DELETE]) * len(deletes[0])
    if not ops:
        return None
    together = [a + b + c for a, b, c in zip(upserts, withheld, deletes, strict=True)] if held or deletes[0] else upserts
    return Batch(to.dataset, to.schema_id, to.generation, ops, together, values, [held[i] for i in sorted(held)])


def _there(
    to: Target, named: Fetched, rest: Fetched, held: _Held
) -> tuple[list[list[Cell]], list[list[Cell]], list[list[Cell]]]:
    """Keys as they are now, values, and keys that are no longer."""
    loose = sum(k.loose for k in to.keys)
    at = iter(rest[:loose])
    now = [next(at) if k.loose else cells for k, cells in zip(to.keys, named, strict=True)]
    keys = _keys(to, now, held)
    former: list[list[Cell]] = []
    if loose and any(a is not b and a != b for a, b in zip(named, now, strict=True)):
        before = _keys(to, named, {})
        places = _former(to, before, keys)
        former = [[column[i] for i in places] for column in before] if places else []
    values: list[list[Cell]] = []
    place = loose
    for c in to.values:
        width = len(c.expressions)
        values.append(_column(c, rest[place : place + width], held))
        place += width
    return keys, values, former


def _split(keys: list[list[Cell]], held: _Held) -> tuple[list[list[Cell]], list[list[Cell]]]:
    if not held:
        return keys, [[] for _ in keys]
    bad = sorted(held)
    good = [i for i in range(len(keys[0])) if i not in held]
    return [[key[i] for i in good] for key in keys], [[key[i] for i in bad] for key in keys]


def with_withheld(to: Target, batch: Batch | None, bad: Sequence[tuple[Sequence[Any], Withheld]]) -> Batch | None:
    """The batch with further rows that are withheld, before its deletes."""
    if not bad:
        return batch
    keys = _keys(to, columns_of(key for key, _ in bad), {})
    reasons = [reason for _, reason in bad]
    if batch is None:
        ops = bytes([Op.WITHHELD]) * len(bad)
        return Batch(to.dataset, to.schema_id, to.generation, ops, keys, [[] for _ in to.values], reasons)
    at = len(batch.ops) - batch.ops.count(Op.DELETE)
    return Batch(
        batch.dataset,
        batch.schema_id,
        batch.generation,
        batch.ops[:at] + bytes([Op.WITHHELD]) * len(bad) + batch.ops[at:],
        [old[:at] + new + old[at:] for old, new in zip(batch.keys, keys, strict=True)],
        batch.values,
        batch.withheld + reasons,
    )
