"""pure: cells as SQLite stores them -> canonical column lists, and which rows are withheld for which cell.

Every column is first looked at as a whole by the C code of list, set, str and sum (5 to 100 ns a cell); only a column with
something unusual in it is looked at cell by cell. Reasons never contain the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple, cast

from cdc.sources.sqlite.types import EXACT_DIGITS
from transport.frames import MAX_KEY, Batch, Cell, Column, Op, Type, Withheld
from transport.values import (
    bad_cells,
    canonical_date,
    canonical_datetime,
    canonical_datetimeoffset,
    canonical_decimal,
    canonical_guid,
    canonical_time,
    check_cell,
)


class BadText(bytes):
    """A TEXT cell whose bytes are not UTF-8; a BLOB cell is plain `bytes`."""

    __slots__ = ()


class LongKey(bytes):
    """The beginning of a key cell that is longer than a key may be, and its length."""

    __slots__ = ()


class TooBig(NamedTuple):
    """Stands for a cell that was not fetched, or makes its row too large."""


TOO_BIG = TooBig()

Stored = Cell | TooBig
Columns = Sequence[Sequence[Stored]]  # one sequence a column, all of one length; no column at all: no row
_Problem = tuple[str, str]  # code, detail
_NULL = type(None)
_BOOLS = {0: False, 1: True, None: None}
_TEXTS = frozenset({Type.TEXT, Type.XML, Type.JSON})
_CLASS = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB", _NULL: "NULL"}
_REMEMBERED = 16_384  # numbers by precision and scale
BEGINNING = 64  # bytes of a key cell that is too long to be fetched
_MANY = 64  # bytes of a bad key cell that are shown as they are; a longer one is shown as its hash


class Converted(NamedTuple):
    """Columns in canonical form, as long as the rows were, and the rows that cannot travel (their cells mean nothing)."""

    columns: list[list[Cell]]
    withheld: dict[int, Withheld]


def convert(columns: Sequence[Column], cells: Columns) -> Converted:
    """Whole columns at once; `cells` has one sequence a column. The first bad cell of a row, in column order, is its reason."""
    result: list[list[Cell]] = []
    withheld: dict[int, Withheld] = {}
    limit = _key_limit(columns)
    for column, stored in zip(columns, cells, strict=True):
        good = _WHOLE[column.type](column, stored)
        if good is None or (column.key and _too_long(column, good, limit)):
            good = _one_by_one(column, stored, limit, withheld)
        result.append(good)
    return Converted(result, withheld)


def _key_limit(columns: Sequence[Column]) -> int:
    """Encoded bytes that one cell of a key may have, so that no key is over MAX_KEY."""
    return (MAX_KEY - 16) // max(1, sum(1 for column in columns if column.key)) - 9


def _one_by_one(column: Column, stored: Sequence[Stored], limit: int, withheld: dict[int, Withheld]) -> list[Cell]:
    result: list[Cell] = []
    for i, cell in enumerate(stored):
        value, problem = _one(column, cell, limit)
        if problem:
            withheld.setdefault(i, Withheld(problem[0], column.name, problem[1]))
        result.append(value)
    return result


def _one(column: Column, cell: Stored, limit: int) -> tuple[Cell, _Problem | None]:
    """Convert one cell; a bad one of a key becomes something short that still tells rows apart."""
    problem = _class_problem(column, cell)
    if problem is None:
        if cell is None:
            return None, None
        plain = cast("Cell", cell)
        value = _ONE[column.type](column, plain)
        problem = _unfit(column, plain) if value is None else _key_problem(column, plain, value, limit)
        if problem is None:
            return value, None
    return (shown(cell) if column.key else None), problem


def _class_problem(column: Column, cell: Stored) -> _Problem | None:
    if cell is None:
        if column.key:
            return "A2301", "NULL in a key"
        return None if column.nullable else ("A2302", "NULL in a column without NULLs")
    if isinstance(cell, TooBig):
        return "A2308", "the cell makes its row larger than can travel"
    if isinstance(cell, LongKey):
        return "A2309", "the key is too long"
    if isinstance(cell, BadText):
        return ("A2304", "half of a surrogate pair") if _is_surrogate(cell) else ("A2303", "text that is not UTF-8")
    if type(cell) not in _STORED[column.type]:
        return "A2302", f"{_CLASS[type(cell)]} in a column read as {column.type.value}"
    return None


def _is_surrogate(text: bytes) -> bool:
    try:
        text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _unfit(column: Column, cell: Cell) -> _Problem:
    if column.type in _TEXTS:
        return "A2305", "text with U+0000"
    if column.type is Type.DECIMAL:
        return "A2307", f"not a number of {column.precision} digits with {column.scale} after the point"
    if column.type is Type.FLOAT:
        return "A2310", "a number that is not finite"
    if column.type is Type.BOOL:
        return "A2306", "neither 0 nor 1"
    return "A2306", check_cell(column, cell) or f"not a canonical {column.type.value}"


def _key_problem(column: Column, cell: Cell, value: Cell, limit: int) -> _Problem | None:
    """Two keys that the ERP holds apart must not become one: what a key column has as text must be canonical already."""
    if not column.key:
        return None
    if type(cell) is str and value != cell:
        return (
            "A2306",
            f'a key that is not a canonical {column.type.value}; read it as it is: types = {{ {column.name} = "TEXT" }}',
        )
    return ("A2309", "the key is too long") if _too_long(column, [value], limit) else None


def _too_long(column: Column, cells: Sequence[Cell], limit: int) -> bool:
    if column.type is Type.BYTES:
        return max(map(len, cast("Sequence[bytes]", cells)), default=0) > limit
    if column.type not in _TEXTS:
        return False
    texts = cast("Sequence[str]", cells)
    return max(map(len, texts), default=0) * 4 > limit and max(len(text.encode()) for text in texts) > limit


def long_key(beginning: bytes, length: int) -> LongKey:
    """What is left of a key cell of that many bytes; two of them are held equal by their beginning and their length."""
    return LongKey(beginning[:BEGINNING] + length.to_bytes(8, "big"))


def shown(cell: Stored) -> Cell:
    """A key cell that cannot be carried, as something that can: only to tell withheld rows apart.

    The same cell gives the same, whichever way it was fetched.
    """
    if isinstance(cell, TooBig):
        return None
    if not isinstance(cell, (str, bytes)):
        return cell
    data = cell.encode() if isinstance(cell, str) else bytes(cell)
    if len(data) > MAX_KEY:
        data = bytes(long_key(data, len(data)))
    whole = len(data) <= _MANY and not isinstance(cell, (BadText, LongKey))
    return cell if whole else hashlib.blake2b(data, digest_size=16).digest()


# -- a whole column: its canonical list, or None when something in it needs a closer look ------------------------------------


def _ints(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    numbers = cast("Sequence[int]", cells)
    try:
        if type(sum(numbers)) is int:  # a float, a text or a NULL among them makes it another type or an error
            return list(numbers)
    except TypeError:
        pass
    return _of({int}, column, cells)


def _of(kinds: set[type], column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    allowed = kinds | {_NULL} if column.nullable else kinds
    return list(cast("Sequence[Cell]", cells)) if set(map(type, cells)) <= allowed else None


def _floats(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    result = _of({float}, column, cells)
    if result is None:
        return None
    try:
        if isfinite(sum(cast("list[float]", result))):  # an infinity among them would make it one
            return result
    except TypeError:
        pass
    return result if all(isfinite(cast("float", cell)) for cell in result if cell is not None) else None


def _bools(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    try:
        result: list[Cell] = list(map(_BOOLS.__getitem__, cast("Sequence[int]", cells)))
    except KeyError:
        return None
    return result if column.nullable or None not in result else None


def _texts(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    texts = cast("Sequence[str]", cells)
    try:
        joined = "".join(texts)
    except TypeError:
        if not column.nullable:
            return None
        try:
            joined = "".join([text for text in texts if text is not None])
        except TypeError:
            return None
    return None if "\0" in joined else list(texts)


def _bytes(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    return _of({bytes}, column, cells)


def _checked(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    """Texts with a canonical form."""
    plain = list(cast("Sequence[Cell]", cells))
    return None if bad_cells(column, plain) else plain


def _days(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    """Texts with a canonical form of which there are few: those seen before are remembered, within bounds."""
    plain = list(cast("Sequence[Cell]", cells))
    memo = _good(column.type, column.scale)
    good = memo[0]
    if not good.issuperset(plain):
        new = set(plain).difference(good)
        if bad_cells(column, list(new)):
            return None
        if len(good) + len(new) > _REMEMBERED:
            memo[0] = good = {None}
        good.update(new)
    return plain if column.nullable or None not in plain else None


@lru_cache(64)
def _good(type_: Type, scale: int) -> list[set[Cell]]:
    """One for all columns of that form; as `_memo`."""
    return [{None}]


def _decimals(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    """Numbers of an ERP repeat (hours, rates, prices): texts of numbers seen before are remembered, within bounds."""
    try:
        result = list(map(_memo(column.precision, column.scale)[0].__getitem__, cells))
    except KeyError:
        return _new_decimals(column, cells)
    return result if column.nullable or None not in result else None


def _new_decimals(column: Column, cells: Sequence[Stored]) -> list[Cell] | None:
    distinct = set(cells)
    if None in distinct and not column.nullable:
        return None
    memo = _memo(column.precision, column.scale)
    texts = memo[0]
    new = list(distinct.difference(texts))
    kinds = set(map(type, new))
    if kinds == {str} and len(new) == len(distinct - {None}):
        return _checked(column, cells)
    if not kinds <= {int, float} or column.precision > EXACT_DIGITS:
        return None
    numbers = cast("list[float]", new)
    written = _written(column, numbers)
    if written is None:
        return None
    if len(texts) + len(new) > _REMEMBERED:
        memo[0] = texts = {None: None, **{cell: texts[cell] for cell in distinct if cell in texts}}
    texts.update(zip(numbers, written, strict=True))
    return list(map(texts.__getitem__, cells))


@lru_cache(64)
def _memo(precision: int, scale: int) -> list[dict[Stored, Cell]]:
    """One for all columns of that many digits; replaced, never emptied, so that other threads may go on with theirs."""
    return [_first_texts(scale)]


def _first_texts(scale: int) -> dict[Stored, Cell]:
    """NULL, and zero of either sign, which is written without one."""
    return {None: None, 0: "0." + "0" * scale if scale else "0"}


def _written(column: Column, numbers: list[float]) -> list[str] | None:
    """Numbers with exactly `scale` digits, all at once; None if one of them has no such form."""
    if not numbers:
        return []
    bound = _bound(column.precision - column.scale)
    if not -bound < min(numbers) <= max(numbers) < bound:
        return None
    texts = (f"%.{column.scale}f," * len(numbers) % tuple(numbers)).split(",")
    texts.pop()
    back = list(map(float, texts))
    if back == numbers:
        return texts
    for i, (number, same) in enumerate(zip(numbers, back, strict=True)):
        if number != same:
            exact = _one_decimal(column, number)
            if exact is None:
                return None
            texts[i] = cast("str", exact)
    return texts


@lru_cache(64)
def _bound(digits: int) -> int:
    return int(10**digits)


_Whole = Callable[[Column, Sequence[Stored]], list[Cell] | None]
_WHOLE: dict[Type, _Whole] = {
    Type.INT: _ints,
    Type.DECIMAL: _decimals,
    Type.FLOAT: _floats,
    Type.BOOL: _bools,
    Type.BYTES: _bytes,
    **dict.fromkeys(_TEXTS, _texts),
    **dict.fromkeys((Type.DATE, Type.TIME), _days),
    **dict.fromkeys((Type.DATETIME, Type.DATETIMEOFFSET, Type.GUID), _checked),
}


# -- one cell: its canonical form, or None when it has none ------------------------------------------------------------


def _one_text(_: Column, cell: Cell) -> Cell:
    return None if "\0" in cast("str", cell) else cell


def _one_json(column: Column, cell: Cell) -> Cell:
    """Write numbers as text again: a column declared JSON has NUMERIC affinity, which makes a number of the text `12`."""
    if type(cell) is int:
        return str(cell)
    if type(cell) is float:
        return repr(cell) if isfinite(cell) else None
    return _one_text(column, cell)


def _one_decimal(column: Column, cell: Cell) -> Cell:
    """Write a number; a REAL counts as the 15 digits that SQLite shows of it, so that 0.1 + 0.2 is 0.3."""
    number = cast("str | int | float", cell)
    found = canonical_decimal(number, column.precision, column.scale)
    if found is None and type(number) is float and column.precision <= EXACT_DIGITS:
        found = canonical_decimal(f"{number:.{EXACT_DIGITS}g}", column.precision, column.scale)
    return found


def _one_float(_: Column, cell: Cell) -> Cell:
    number = float(cast("float", cell))
    return number if isfinite(number) and number == cell else None


def _one_bool(_: Column, cell: Cell) -> Cell:
    return _BOOLS.get(cast("int", cell))


_One = Callable[[Column, Cell], Cell]
_ONE: dict[Type, _One] = {
    Type.INT: lambda _, cell: cell,
    Type.DECIMAL: _one_decimal,
    Type.FLOAT: _one_float,
    Type.BOOL: _one_bool,
    Type.TEXT: _one_text,
    Type.XML: _one_text,
    Type.JSON: _one_json,
    Type.BYTES: lambda _, cell: cell,
    Type.DATE: lambda _, cell: canonical_date(cast("str", cell)),
    Type.TIME: lambda c, cell: canonical_time(cast("str", cell), c.scale),
    Type.DATETIME: lambda c, cell: canonical_datetime(cast("str", cell), c.scale),
    Type.DATETIMEOFFSET: lambda c, cell: canonical_datetimeoffset(cast("str", cell), c.scale),
    Type.GUID: lambda _, cell: canonical_guid(cast("str", cell)),
}
_STORED: dict[Type, frozenset[type]] = {
    Type.INT: frozenset({int}),
    Type.DECIMAL: frozenset({int, float, str}),
    Type.FLOAT: frozenset({float, int}),
    Type.BOOL: frozenset({int, float}),  # 1.0 is 1 to SQLite, too
    Type.BYTES: frozenset({bytes}),
    Type.JSON: frozenset({str, int, float}),
    **dict.fromkeys(
        (Type.TEXT, Type.XML, Type.DATE, Type.TIME, Type.DATETIME, Type.DATETIMEOFFSET, Type.GUID), frozenset({str})
    ),
}


# -- batches -----------------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """What the batches of one read are for; `keys` and `values` are the columns in the order they are selected."""

    dataset: str
    schema_id: bytes
    generation: int
    keys: Sequence[Column]
    values: Sequence[Column]


def columns_of(rows: Sequence[tuple[Stored, ...]]) -> Columns:
    """Rows turned into columns."""
    return list(zip(*rows, strict=True))


def batch(target: Target, there: Columns, gone: Columns = ()) -> Batch | None:
    """Rows that are there (key columns, then value columns) and keys that are gone; None when nothing of it can be told.

    First come the upserts, then what is withheld, then the deletes; a key that cannot travel is as it was when it was withheld.
    """
    width = len(target.keys)
    found = convert((*target.keys, *target.values), there) if there else _NOTHING
    deletes = convert(target.keys, gone).columns if gone else []
    held = sorted(found.withheld)
    upserts = _without(found.columns, found.withheld) if held else found.columns
    ops = b"".join(
        bytes([op]) * count
        for op, count in ((Op.UPSERT, _rows(upserts)), (Op.WITHHELD, len(held)), (Op.DELETE, _rows(deletes)))
    )
    if not ops:
        return None
    keys = upserts[:width] or [[] for _ in target.keys]
    if held:
        keys = [key + [column[i] for i in held] for key, column in zip(keys, found.columns, strict=False)]
    if deletes:
        keys = [key + more for key, more in zip(keys, deletes, strict=True)]
    values = upserts[width:] or [[] for _ in target.values]
    reasons = [found.withheld[i] for i in held]
    return Batch(target.dataset, target.schema_id, target.generation, ops, keys, values, reasons)


_NOTHING = Converted([], {})


def _rows(columns: list[list[Cell]]) -> int:
    return len(columns[0]) if columns else 0


def _without(columns: list[list[Cell]], rows: dict[int, Withheld]) -> list[list[Cell]]:
    keep = [i for i in range(len(columns[0])) if i not in rows]
    return [[column[i] for i in keep] for column in columns]
