"""pure: built-in functions on text and binary: https://learn.microsoft.com/sql/t-sql/functions/string-functions-transact-sql"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.standin.engine import casting, collating, types
from tests.standin.engine.scope import Context, Typed
from tests.standin.ports import MAX, Refused, SqlError, SqlType

Function = Callable[[Context, Sequence[Typed]], Typed]

# How long the text of a value of other types can be.
_LENGTHS = {"bit": 1, "tinyint": 3, "smallint": 6, "int": 12, "bigint": 20, "uniqueidentifier": 36, "decimal": 41}


def as_text(ctx: Context, value: Typed) -> Typed:
    """A value as the text that a string function makes of it."""
    if value.type.name in types.STRINGS and not value.null:
        return value
    if value.null:
        return casting.implicit(value, ctx.with_collation(SqlType("varchar", 1)))
    name = {"ntext": "nvarchar", "xml": "nvarchar"}.get(value.type.name, "varchar")
    length = MAX if value.type.length == MAX else _LENGTHS.get(value.type.name, 50)
    return casting.implicit(value, ctx.with_collation(SqlType(name, length)))


def whole(value: Typed) -> str:
    """A number as int8."""
    return casting.implicit(value, types.BIGINT).sql


def _resized(value: Typed, sql: str, length: int, *, nullable: bool = True) -> Typed:
    """A text of varying length with the same characters."""
    name = {"char": "varchar", "nchar": "nvarchar"}.get(value.type.name, value.type.name)
    limit = 4000 if name == "nvarchar" else 8000
    size = length if length == MAX else min(max(length, 1), limit)
    return replace(value.to(sql, replace(value.type, name=name, length=size)), nullable=nullable)


def _large(value: Typed) -> bool:
    return value.type.length == MAX


def _len(ctx: Context, args: Sequence[Typed]) -> Typed:
    value = args[0]
    large = _large(value)
    if value.type.name in types.BINARIES:
        sql = f"octet_length({value.sql})"
    else:
        sql = f"standin.units(rtrim({as_text(ctx, value).sql}, ' '))"
    return Typed(f"({sql})::int8" if large else sql, types.BIGINT if large else types.INT)


_SIZES = {
    "bit": 1, "tinyint": 1, "smallint": 2, "int": 4, "bigint": 8, "float": 8, "real": 4, "money": 8, "smallmoney": 4, "date": 3,
    "datetime": 8, "smalldatetime": 4, "uniqueidentifier": 16,
}  # fmt: skip


def _datalength(ctx: Context, args: Sequence[Typed]) -> Typed:
    value = args[0]
    name = value.type.name
    result = types.BIGINT if _large(value) and name in {"varchar", "nvarchar", "varbinary"} else types.INT
    if name in types.UNICODE or name == "xml":  # the server's own form of xml is smaller or larger; this says about how large
        sql = f"(2 * standin.units({value.sql}))"
    elif name in types.SPATIAL:
        sql = f"(octet_length(standin.point_binary({value.sql}, true)) + 1)"  # a point's serialization is one byte longer
    elif name in types.TEXTS:
        sql = f"octet_length({casting.text_bytes(value)})"
    elif name in types.BINARIES:
        sql = f"octet_length({value.sql})"
    elif name in _SIZES or name in {"decimal", *types.SCALED}:
        size = _SIZES[name] if name in _SIZES else types.max_length(value.type)
        sql = f"(CASE WHEN {value.sql} IS NULL THEN NULL ELSE {size} END)"
    else:
        raise Refused(f"DATALENGTH of {name}")
    return Typed(f"({sql})::{types.pg_base(result)}", result)


def _constant(value: Typed) -> int | None:
    return value.constant if isinstance(value.constant, int) else None


def _left(ctx: Context, args: Sequence[Typed]) -> Typed:
    return _end("left", as_text(ctx, args[0]), args[1])


def _right(ctx: Context, args: Sequence[Typed]) -> Typed:
    return _end("right", as_text(ctx, args[0]), args[1])


def _end(side: str, value: Typed, count: Typed) -> Typed:
    length = _constant(count)
    limit = value.type.length if length is None or _large(value) else min(length, value.type.length)
    return _resized(value, f'standin."{side}"({value.sql}, {whole(count)})', limit)


def _substring(ctx: Context, args: Sequence[Typed]) -> Typed:
    value, start, count = args
    length = _constant(count)
    if value.type.name in types.BINARIES:
        limit = value.type.length if length is None or _large(value) else min(length, value.type.length)
        sql = f"standin.substring({value.sql}, {whole(start)}, {whole(count)})"
        return value.to(sql, SqlType("varbinary", max(limit, 1) if limit != MAX else MAX))
    text = as_text(ctx, value)
    limit = text.type.length if length is None or _large(text) else min(length, text.type.length)
    return _resized(text, f"standin.substring({text.sql}, {whole(start)}, {whole(count)})", limit)


def _mapped(template: str) -> Function:
    def function(ctx: Context, args: Sequence[Typed]) -> Typed:
        value = as_text(ctx, args[0])
        return _resized(value, template.format(value.sql), value.type.length, nullable=value.nullable)

    return function


def _replace(ctx: Context, args: Sequence[Typed]) -> Typed:
    texts = [as_text(ctx, a) for a in args]
    collation, label = collating.merged(texts, "replace")
    name = "nvarchar" if any(t.type.name in types.UNICODE for t in texts) else "varchar"
    length = MAX if any(_large(t) for t in texts) else 4000 if name == "nvarchar" else 8000
    sql = f"standin.replace({', '.join(t.sql for t in texts)}, '{collating.fold(collation)}')"
    return Typed(sql, SqlType(name, length, collation=collation), label=label)


def _charindex(ctx: Context, args: Sequence[Typed]) -> Typed:
    texts = [as_text(ctx, a) for a in args[:2]]
    collation, _ = collating.merged(texts, "charindex")
    start = whole(args[2]) if len(args) > 2 else "1"
    sql = f"standin.charindex({texts[0].sql}, {texts[1].sql}, {start}, '{collating.fold(collation)}')"
    result = types.BIGINT if _large(texts[1]) else types.INT
    return Typed(f"{sql}::{types.pg_base(result)}", result)


def _replicate(ctx: Context, args: Sequence[Typed]) -> Typed:
    value, count = as_text(ctx, args[0]), _constant(args[1])
    limit = MAX if _large(value) else value.type.length * count if count is not None else 8000
    sql = f"standin.replicate({value.sql}, {whole(args[1])})"
    result = _resized(value, sql, limit)
    return result if limit == MAX else replace(result, sql=f"standin.cut({sql}, {result.type.length})")


def _space(ctx: Context, args: Sequence[Typed]) -> Typed:
    blank = ctx.with_collation(SqlType("varchar", 8000))
    return Typed(f"standin.cut(standin.replicate(' ', {whole(args[0])}), 8000)", blank)


def _concat(ctx: Context, args: Sequence[Typed]) -> Typed:
    if len(args) < 2:
        raise SqlError(189, "The concat function requires 2 to 254 arguments.", severity=15)
    texts = [as_text(ctx, a) for a in args]
    collation, label = collating.merged(texts)
    name = "nvarchar" if any(t.type.name in types.UNICODE for t in texts) else "varchar"
    total = (
        MAX if any(_large(t) for t in texts) else min(sum(t.type.length for t in texts), 4000 if name == "nvarchar" else 8000)
    )
    sql = f"concat({', '.join(t.sql for t in texts)})"
    target = SqlType(name, total, collation=collation)
    return Typed(sql if total == MAX else f"standin.cut({sql}, {total})", target, nullable=False, label=label)


def _quotename(ctx: Context, args: Sequence[Typed]) -> Typed:
    value = as_text(ctx, args[0])
    mark = as_text(ctx, args[1]).sql if len(args) > 1 else "'['"
    return Typed(f"standin.quotename({value.sql}, {mark})", replace(value.type, name="nvarchar", length=258), label=value.label)


def _unicode(ctx: Context, args: Sequence[Typed]) -> Typed:
    return Typed(f"standin.unicode({as_text(ctx, args[0]).sql})", types.INT)


def _nchar(ctx: Context, args: Sequence[Typed]) -> Typed:
    return Typed(f"standin.nchar({whole(args[0])})", ctx.with_collation(SqlType("nchar", 1)))


def _char(ctx: Context, args: Sequence[Typed]) -> Typed:
    target = ctx.with_collation(SqlType("char", 1))
    return Typed(f"standin.\"char\"({whole(args[0])}, '{collating.page(target.collation)}')", target)


def _ascii(ctx: Context, args: Sequence[Typed]) -> Typed:
    value = as_text(ctx, args[0])
    return Typed(f"standin.ascii({value.sql}, '{collating.page(value.type.collation)}')", types.INT)


_HASHES = {
    "md5": ("decode(md5({}), 'hex')", 16),
    "sha2_256": ("sha256({})", 32),
    "sha2_512": ("sha512({})", 64),
}


def _hashbytes(ctx: Context, args: Sequence[Typed]) -> Typed:
    method = str(args[0].constant or "").lower()
    if method not in _HASHES:
        raise Refused(f"HASHBYTES with {method or 'an expression for the method'}")
    value = args[1]
    raw = casting.text_bytes(value) if value.type.name in types.TEXTS else value.sql
    if value.type.name not in types.TEXTS | types.BINARIES:
        raise SqlError(8116, f"Argument data type {value.type.name} is invalid for argument 2 of hashbytes function.")
    template, _ = _HASHES[method]
    return Typed(template.format(raw), SqlType("varbinary", 8000))


def _checksum(ctx: Context, args: Sequence[Typed]) -> Typed:
    parts = [f"({collating.key(a) if collating.needs_key(a.type) else a.sql})::text" for a in args if not a.null]
    return Typed(f"standin.checksum({', '.join(parts)})", types.INT, nullable=False)


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "LEN": (1, 1, _len),
    "DATALENGTH": (1, 1, _datalength),
    "LEFT": (2, 2, _left),
    "RIGHT": (2, 2, _right),
    "SUBSTRING": (3, 3, _substring),
    "UPPER": (1, 1, _mapped("upper({})")),
    "LOWER": (1, 1, _mapped("lower({})")),
    "LTRIM": (1, 1, _mapped("ltrim({}, ' ')")),
    "RTRIM": (1, 1, _mapped("rtrim({}, ' ')")),
    "TRIM": (1, 1, _mapped("btrim({}, ' ')")),
    "REVERSE": (1, 1, _mapped("reverse(standin.plain({}))")),
    "REPLACE": (3, 3, _replace),
    "CHARINDEX": (2, 3, _charindex),
    "REPLICATE": (2, 2, _replicate),
    "SPACE": (1, 1, _space),
    "CONCAT": (1, 254, _concat),
    "QUOTENAME": (1, 2, _quotename),
    "UNICODE": (1, 1, _unicode),
    "NCHAR": (1, 1, _nchar),
    "CHAR": (1, 1, _char),
    "ASCII": (1, 1, _ascii),
    "HASHBYTES": (2, 2, _hashbytes),
    "CHECKSUM": (1, 254, _checksum),
    "BINARY_CHECKSUM": (1, 254, _checksum),
}
