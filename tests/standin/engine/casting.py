"""pure: conversions compiled: CAST, CONVERT with style, TRY_CONVERT, what is implicit, and what storing into a column does.

https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.standin.engine import collating, errors, types
from tests.standin.engine.scope import Typed
from tests.standin.ports import MAX, Refused, SqlError, SqlType

_SIZES = {"bit": 1, "tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
_EXACT = frozenset({*_SIZES, "decimal", *types.MONEYS})
_FLOATS = frozenset({"float", "real"})
_NO_EXPLICIT = 529
_UNTYPED = {"text", "ntext", "image", "xml", "timestamp", "rowversion", "hierarchyid", *types.SPATIAL}
# Conversions that exist, but only explicitly.
_EXPLICIT_ONLY = [
    (types.TEXTS, types.BINARIES),
    (frozenset({"sql_variant"}), frozenset(types.NUMBERS | types.TEXTS | types.BINARIES | types.TIMES | {"uniqueidentifier"})),
    (frozenset({"xml", "hierarchyid"}), types.TEXTS),
    (types.NUMBERS - _SIZES.keys() - {"decimal"}, frozenset({"timestamp", "rowversion"})),
]


def quote(text: str) -> str:
    """A string literal of PostgreSQL."""
    return "'" + text.replace("'", "''") + "'"


def null(type_: SqlType) -> str:
    """NULL of that type."""
    return f"NULL::{types.pg_base(type_)}"


def cast(value: Typed, target: SqlType, style: int | None = None, *, attempt: bool = False) -> Typed:
    """An explicit conversion. Raises SqlError 529, Refused for what is not emulated."""
    target = _with_collation(value, types.cast_target(target))
    if value.null:
        return replace(value, sql=null(target), type=target, null=False)
    if attempt and value.type != target:
        inner = value.to(f"($1)::{types.pg_base(value.type)}")
        code = _converted(inner, target, style)
        sql = f"standin.attempt({quote(code)}, ({value.sql})::text)::{types.pg_base(target)}"
        return replace(value, sql=sql, type=target, nullable=True, constant=None, identity=False, slot=None)
    return replace(value, sql=_converted(value, target, style), type=target, constant=None, identity=False, slot=None)


def implicit(value: Typed, target: SqlType) -> Typed:
    """What happens where types meet or a value is assigned. Raises SqlError 206, 257."""
    if value.null:
        return replace(value, sql=null(target), type=_with_collation(value, target), null=False)
    source = value.type
    for froms, tos in _EXPLICIT_ONLY:
        if source.name in froms and target.name in tos:
            raise errors.no_implicit_conversion(source.name, target.name)
    if source.name in types.TIMES and target.name in types.BINARIES:
        raise errors.no_implicit_conversion(source.name, target.name)
    try:
        return cast(value, target)
    except SqlError as error:
        if error.number == _NO_EXPLICIT:
            raise errors.clash(source.name, target.name) from None
        raise


def store(value: Typed, target: SqlType, table: str, column: str) -> Typed:
    """Assigned to a column: as implicit, but what does not fit is error 2628 instead of cut."""
    limited = target.name in types.STRINGS or target.name in {"binary", "varbinary"}
    fits = value.null or target.length == MAX or (0 <= value.type.length <= target.length and value.type.name == target.name)
    if not limited or fits or (value.type.name not in types.TEXTS and value.type.name not in types.BINARIES):
        return implicit(value, target)
    wide = implicit(value, replace(target, name=_varying(target.name), length=MAX))
    where = f"{target.length}, {quote(table)}, {quote(column)}"
    if target.name in types.STRINGS:
        _whole_characters(target)
        sql = f"standin.store_text({wide.sql}, {where})"
    else:
        sql = f"standin.store_binary({wide.sql}, {where})"
    return value.to(_padded(sql, target), target)


def _varying(name: str) -> str:
    return {"char": "varchar", "nchar": "nvarchar", "binary": "varbinary"}.get(name, name)


def _with_collation(value: Typed, target: SqlType) -> SqlType:
    if target.name in types.TEXTS and not target.collation:
        return replace(target, collation=value.type.collation)
    return target


def _converted(value: Typed, target: SqlType, style: int | None) -> str:
    source = value.type
    if source.name == "sql_variant" and target.name != "sql_variant":
        return _from_variant(value, target, style)
    for names, convert in _TARGETS:
        if target.name in names:
            return convert(value, target, style)
    raise Refused(f"a conversion to {target.name}")


def _no(value: Typed, target: SqlType) -> SqlError:
    return errors.no_explicit_conversion(value.type.name, types.type_name(target))


# -- to numbers --------------------------------------------------------------------------------------------------------------


def _numeric(value: Typed) -> str:
    """An exact number as PostgreSQL's numeric."""
    return f"({value.sql})::int4::numeric" if value.type.name == "bit" else f"({value.sql})::numeric"


def _shown(source: SqlType) -> str:
    return "numeric" if source.name == "decimal" else "expression" if source.name in _SIZES else source.name


def _to_bit(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name == "bit":
        return value.sql
    if name in types.STRINGS:
        return f"standin.text_to_bit({value.sql}, '{name}')"
    if name in types.NUMBERS:
        return f"(({value.sql}) <> 0)"
    if name in {"binary", "varbinary"}:
        return f"(encode({value.sql}, 'hex') ~ '[^0]')"
    raise _no(value, target)


def _to_integer(value: Typed, target: SqlType, style: int | None) -> str:
    name, pg = value.type.name, types.pg_base(target)
    if name == target.name:
        return value.sql
    if name == "bit":
        return f"({value.sql})::int4::{pg}"
    if name in types.INTEGERS:
        if types.rank(target) <= types.rank(value.type):
            return f"({value.sql})::{pg}"
        return f"standin.to_int(({value.sql})::numeric, '{target.name}', true)::{pg}"
    if name in types.STRINGS:
        return f"standin.text_to_int({value.sql}, '{target.name}', '{name}')::{pg}"
    if name in _FLOATS:
        return f"standin.float_to_int(({value.sql})::float8, '{target.name}')::{pg}"
    if name in _EXACT:
        return f"standin.to_int({value.sql}, '{target.name}', false)::{pg}"
    if name in types.BINARIES - {"image"}:
        return f"standin.binary_to_int({value.sql}, {_SIZES[target.name]})::{pg}"
    raise _no(value, target)


def _to_decimal(value: Typed, target: SqlType, style: int | None) -> str:
    name, shape = value.type.name, f"{target.precision}, {target.scale}"
    if name == "decimal" and value.type.scale == target.scale and value.type.precision <= target.precision:
        return value.sql
    if name in types.STRINGS:
        return f"standin.text_to_decimal({value.sql}, {shape}, '{name}')"
    if name in _FLOATS:
        return f"standin.to_decimal(standin.float_to_numeric(({value.sql})::float8), {shape}, '{name}')"
    if name in _EXACT:
        return f"standin.to_decimal({_numeric(value)}, {shape}, '{_shown(value.type)}')"
    raise _no(value, target)


def _to_money(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name == target.name:
        return value.sql
    if name in types.STRINGS:
        return f"standin.text_to_money({value.sql}, '{target.name}', '{name}')"
    if name in _FLOATS:
        return f"standin.to_money(standin.float_to_numeric(({value.sql})::float8), '{target.name}', '{name}')"
    if name in _EXACT:
        return f"standin.to_money({_numeric(value)}, '{target.name}', '{_shown(value.type)}')"
    raise _no(value, target)


def _to_float(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name == target.name:
        return value.sql
    if name in types.STRINGS:
        sql = f"standin.text_to_float({value.sql}, '{target.name}', '{name}')"
    elif name in types.NUMBERS:
        sql = f"({_numeric(value) if name in _EXACT else value.sql})::float8"
    else:
        raise _no(value, target)
    return f"standin.to_real({sql})" if target.name == "real" else sql


# -- to text -----------------------------------------------------------------------------------------------------------------


def _whole_characters(target: SqlType) -> None:
    if target.name not in types.UNICODE and target.collation.upper().endswith("_UTF8"):
        raise Refused("char(n) and varchar(n) of a UTF-8 collation, which count bytes")


def _padded(sql: str, target: SqlType) -> str:
    if target.name in {"char", "nchar"}:
        return f"standin.pad({sql}, {target.length})"
    return f"standin.fit_binary({sql}, {target.length}, true)" if target.name == "binary" else sql


def _to_text(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name in types.TEXTS:
        return _text_to_text(value, target)
    if name in types.NUMBERS:
        return _padded(_number_to_text(value, target, style), target)
    if name in {"xml", "hierarchyid"}:
        sql = value.sql
        if name == "xml" and target.name not in types.UNICODE:
            raise Refused("xml as varchar")
    elif name in types.BINARIES - {"image"}:
        sql = _binary_to_text(value, target, style)
    elif name == "uniqueidentifier":
        if 0 <= target.length < 36:
            raise SqlError(8170, "Insufficient result space to convert uniqueidentifier value to char.", state=2)
        sql = f"standin.guid_text({value.sql})"
    elif name in types.TIMES:
        sql = f"standin.time_text({value.sql}, '{name}', {style or 0})"
    else:
        raise _no(value, target)
    return _padded(_cut(sql, target), target)


def _cut(sql: str, target: SqlType) -> str:
    if target.length == MAX:
        return sql
    _whole_characters(target)
    return f"standin.cut({sql}, {target.length})"


def _text_to_text(value: Typed, target: SqlType) -> str:
    sql, source = value.sql, value.type
    narrows = source.name in types.UNICODE and target.name not in types.UNICODE
    other_page = source.name not in types.UNICODE and source.collation and target.collation and target.name not in types.UNICODE
    if narrows or (other_page and collating.page(source.collation) != collating.page(target.collation)):
        sql = f"standin.to_page({sql}, '{collating.page(target.collation)}')"
    if target.length != MAX and (source.length == MAX or source.length > target.length or source.length == 0):
        sql = _cut(sql, target)
    exact = source.length == target.length and source.name in {"char", "nchar"}
    return sql if exact else _padded(sql, target)


def _number_to_text(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name == "bit":
        return f"({value.sql})::int4::text"
    if name in types.MONEYS:
        text = f"standin.money_text({value.sql}, {style or 0})"
    elif name in _FLOATS:
        text = f"standin.float_text(({value.sql})::float8, {style or 0})"
    elif name == "decimal":
        text = f"round({value.sql}, {value.type.scale})::text"
    else:
        text = f"({value.sql})::text"
    return (
        f"standin.number_text({text}, {target.length}, '{_shown(value.type) if name == 'decimal' else name}', '{target.name}')"
    )


def _binary_to_text(value: Typed, target: SqlType, style: int | None) -> str:
    if style in {1, 2}:
        digits = f"upper(encode({value.sql}, 'hex'))"
        return f"('0x' || {digits})" if style == 1 else digits
    if style not in {None, 0}:
        raise Refused(f"style {style} of binary")
    if target.name in types.UNICODE:
        return f"standin.from_utf16({value.sql})"
    return f"standin.from_page({value.sql}, '{collating.page(target.collation)}')"


# -- to binary, uniqueidentifier -----------------------------------------------------------------------------------------------


def _to_binary(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    length = 8 if target.name in {"timestamp", "rowversion"} else target.length
    fixed = str(target.name in {"binary", "timestamp", "rowversion"}).lower()
    if name in _SIZES:
        return f"standin.fit_number({_int_bytes(value)}, {length}, {fixed})"
    if name in types.TEXTS:
        raw = text_bytes(value, style)
    elif name == "uniqueidentifier":
        raw = f"standin.guid_native({value.sql})"
    elif name in types.BINARIES:
        if target.name == "varbinary" and (length == MAX or 0 < value.type.length <= length):
            return value.sql
        raw = value.sql
    else:
        raise Refused(f"{name} as {target.name}")
    return f"standin.fit_binary({raw}, {length}, {fixed})"


def _int_bytes(value: Typed) -> str:
    if value.type.name in {"bit", "tinyint"}:
        return f"set_byte('\\x00'::bytea, 0, ({value.sql})::int4)"
    return f"int{_SIZES[value.type.name]}send({value.sql})"


def text_bytes(value: Typed, style: int | None = None) -> str:
    """The bytes of a text as SQL Server keeps it, or those that its hex digits say (styles 1 and 2)."""
    if style in {1, 2}:
        return f"standin.hex_to_binary({value.sql}, {style}, '{value.type.name}')"
    if style not in {None, 0}:
        raise Refused(f"style {style} of binary")
    if value.type.name in types.UNICODE:
        return f"standin.utf16({value.sql})"
    return f"standin.page_bytes({value.sql}, '{collating.page(value.type.collation)}')"


def _to_guid(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name == "uniqueidentifier":
        return value.sql
    if name in types.STRINGS:
        return f"standin.text_to_guid({value.sql})"
    if name in {"binary", "varbinary"}:
        return f"standin.guid_stored(standin.fit_binary({value.sql}, 16, true))"
    raise _no(value, target)


# -- to dates and times --------------------------------------------------------------------------------------------------------


def ticks(value: Typed) -> str:
    """The local ticks of a date or time."""
    name = value.type.name
    if name == "datetime":
        return f"standin.datetime_ticks({value.sql})"
    return f"standin.ticks({f'left({value.sql}, -7)' if name == 'datetimeoffset' else value.sql})"


def _to_time(value: Typed, target: SqlType, style: int | None) -> str:
    name = value.type.name
    if name in types.STRINGS:
        if style not in {None, 0, 20, 21, 23, 25, 112, 120, 121, 126, 127}:
            raise Refused(f"a date from text in style {style}")
        return f"standin.text_to_time({value.sql}, '{target.name}', {target.scale}, '{name}')"
    if name not in types.TIMES:
        if name in types.NUMBERS and target.name in {"datetime", "smalldatetime"}:
            raise Refused(f"{name} as {target.name}")
        raise _no(value, target)
    if {name, target.name} == {"date", "time"}:
        raise _no(value, target)
    same = name == target.name and value.type.scale == target.scale
    if same or (name == "date" and target.name == "date"):
        return value.sql
    zone = f", right({value.sql}, 6)" if name == target.name == "datetimeoffset" else ""
    return f"standin.time_value({ticks(value)}, '{target.name}', {target.scale}, '{name}'{zone})"


# -- to sql_variant and the rest ---------------------------------------------------------------------------------------------


def _to_variant(value: Typed, target: SqlType, style: int | None) -> str:
    source = value.type
    if source.name == "sql_variant":
        return value.sql
    if source.name in _UNTYPED or source.length == MAX:
        raise errors.clash(source.name, "sql_variant")
    text = f"({value.sql})::text"
    if source.name == "bit":
        text = f"({value.sql})::int4::text"
    elif types.pg_base(source) == "bytea":
        text = f"encode({value.sql}, 'hex')"
    collation = source.collation if source.name in types.TEXTS else ""
    shape = f"{source.length}, {source.precision}, {source.scale}"
    return f"standin.variant('{source.name}', {shape}, {text}, {quote(collation)})"


def _from_variant(value: Typed, target: SqlType, style: int | None) -> str:
    if target.name in types.STRINGS:
        if target.name not in types.UNICODE:
            text = f"standin.to_page(standin.variant_text({value.sql}, {style or 0}), '{collating.page(target.collation)}')"
        else:
            text = f"standin.variant_text({value.sql}, {style or 0})"
        return _padded(_cut(text, target), target)
    raw = f"standin.variant_as({value.sql}, '{target.name}')::{types.pg_base(target)}"
    plain = value.to(raw, target)
    if target.name == "decimal":
        return f"standin.to_decimal({raw}, {target.precision}, {target.scale}, 'numeric')"
    if target.name in types.SCALED:
        zone = f", right({raw}, 6)" if target.name == "datetimeoffset" else ""
        return f"standin.time_value({ticks(plain)}, '{target.name}', {target.scale}, 'sql_variant'{zone})"
    if target.name in {"binary", "varbinary"}:
        return f"standin.fit_binary({raw}, {target.length}, {str(target.name == 'binary').lower()})"
    return raw


def _to_xml(value: Typed, target: SqlType, style: int | None) -> str:
    if value.type.name in types.UNICODE or value.type.name == "xml" or value.constant is not None:
        return value.sql
    raise Refused(f"{value.type.name} as xml")


def _to_hierarchy(value: Typed, target: SqlType, style: int | None) -> str:
    if value.type.name == "hierarchyid":
        return value.sql
    if value.type.name in types.STRINGS:
        return f"standin.hierarchy({value.sql})"
    raise Refused(f"{value.type.name} as hierarchyid")


def _to_spatial(value: Typed, target: SqlType, style: int | None) -> str:
    if value.type.name == target.name:
        return value.sql
    if value.type.name in types.STRINGS:
        return f"standin.point_from_text({value.sql}, {4326 if target.name == 'geography' else 0})"
    raise Refused(f"{value.type.name} as {target.name}")


_Convert = Callable[[Typed, SqlType, int | None], str]
_TARGETS: list[tuple[frozenset[str], _Convert]] = [
    (frozenset({"bit"}), _to_bit),
    (frozenset(types.INTEGERS), _to_integer),
    (frozenset({"decimal"}), _to_decimal),
    (frozenset(types.MONEYS), _to_money),
    (_FLOATS, _to_float),
    (frozenset(types.TEXTS), _to_text),
    (types.BINARIES, _to_binary),
    (frozenset({"uniqueidentifier"}), _to_guid),
    (frozenset(types.TIMES), _to_time),
    (frozenset({"sql_variant"}), _to_variant),
    (frozenset({"xml"}), _to_xml),
    (frozenset({"hierarchyid"}), _to_hierarchy),
    (types.SPATIAL, _to_spatial),
]
