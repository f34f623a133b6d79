"""pure: type names. https://learn.microsoft.com/sql/t-sql/data-types/data-types-transact-sql"""

from __future__ import annotations

from tests.standin.ports import MAX, SqlError, SqlType
from tests.standin.tsql.ast import Name, TypeName
from tests.standin.tsql.cursor import Cursor

_PLAIN = {
    "bit": "bit",
    "tinyint": "tinyint",
    "smallint": "smallint",
    "int": "int",
    "integer": "int",
    "bigint": "bigint",
    "money": "money",
    "smallmoney": "smallmoney",
    "real": "real",
    "date": "date",
    "smalldatetime": "smalldatetime",
    "datetime": "datetime",
    "uniqueidentifier": "uniqueidentifier",
    "rowversion": "rowversion",
    "timestamp": "rowversion",
    "hierarchyid": "hierarchyid",
    "geography": "geography",
    "geometry": "geometry",
    "sql_variant": "sql_variant",
}
_LARGE = ("text", "ntext", "image", "xml")
_CHARACTERS = {
    "char": "char",
    "character": "char",
    "varchar": "varchar",
    "charvarying": "varchar",
    "charactervarying": "varchar",
    "nchar": "nchar",
    "nationalchar": "nchar",
    "nationalcharacter": "nchar",
    "nvarchar": "nvarchar",
    "nationalcharvarying": "nvarchar",
    "nationalcharactervarying": "nvarchar",
    "binary": "binary",
    "varbinary": "varbinary",
    "binaryvarying": "varbinary",
}
_DECIMAL = ("decimal", "dec", "numeric")
_FRACTION = ("time", "datetime2", "datetimeoffset")
_LIMITS = {"nchar": 4000, "nvarchar": 4000}


def parse_type(cursor: Cursor, default_length: int = 1) -> TypeName:
    """A type; `default_length` of varchar and its kind: 1 in a declaration, 30 in CAST and CONVERT."""
    if cursor.key in ("CURSOR", "TABLE"):
        raise cursor.refuse(f"the type {cursor.key.lower()} here")
    start = cursor.at
    name = _type_name(cursor)
    schema, base = ("", name.parts[0]) if len(name.parts) == 1 else (name.parts[0].casefold(), name.parts[1])
    builtin = _builtin(cursor, base.casefold(), default_length, start) if schema in ("", "sys") else None
    if builtin is None and cursor.key == "(":
        raise cursor.raise_error(
            2716, f"Column, parameter, or variable: Cannot specify a column width on data type {base}.", start
        )
    return TypeName(name if builtin is None else Name((base.lower(),)), builtin)


def _type_name(cursor: Cursor) -> Name:
    """One or two parts; NATIONAL CHARACTER VARYING and DOUBLE PRECISION as one word."""
    if cursor.accept("DOUBLE"):
        cursor.expect("PRECISION")
        return Name(("float",))
    if cursor.accept("NATIONAL"):
        word = cursor.expect_any("CHAR", "CHARACTER", "TEXT")
        if word == "TEXT":
            return Name(("ntext",))
        return Name((("nvarchar" if cursor.accept("VARYING") else "nchar"),))
    name = cursor.name(2)
    if cursor.accept("VARYING"):
        return Name(((name.parts[-1] + "varying").lower(),))
    return name


def _builtin(cursor: Cursor, name: str, default_length: int, start: int) -> SqlType | None:
    if name in _PLAIN:
        if cursor.key == "(":
            message = f"Column, parameter, or variable: Cannot specify a column width on data type {name}."
            raise cursor.raise_error(2716, message, start)
        return SqlType(_PLAIN[name])
    if name in _LARGE:
        if cursor.key == "(":
            raise cursor.refuse("a typed xml") if name == "xml" else cursor.error()
        return SqlType(name, MAX)
    if name == "sysname":
        return SqlType("nvarchar", 128)
    if name in _CHARACTERS:
        return _sized(cursor, _CHARACTERS[name], default_length, start)
    if name in _DECIMAL:
        return _decimal(cursor, start)
    if name in _FRACTION:
        return SqlType(name, scale=_scale(cursor, start))
    return _float(cursor, start) if name == "float" else None


def _sized(cursor: Cursor, name: str, default_length: int, start: int) -> SqlType:
    if not cursor.accept("("):
        return SqlType(name, default_length)
    if cursor.accept("MAX"):
        if not name.startswith(("var", "nvar")):
            raise cursor.error()
        length = MAX
    else:
        length = _digits(cursor)
        limit = _LIMITS.get(name, 8000)
        if length == 0:
            raise cursor.raise_error(
                1001, f"Line {cursor.tokens.line(start)}: Length or precision specification 0 is invalid.", start
            )
        if length > limit:
            raise _too_large(cursor, length, name, limit, start)
    cursor.expect(")")
    return SqlType(name, length)


def _too_large(cursor: Cursor, size: int, name: str, limit: int, start: int) -> SqlError:
    message = f"The size ({size}) given to the type '{name}' exceeds the maximum allowed for any data type ({limit})."
    return cursor.raise_error(131, message, start)


def _digits(cursor: Cursor) -> int:
    if cursor.kind != "int":
        raise cursor.error()
    return cursor.integer()


def _decimal(cursor: Cursor, start: int) -> SqlType:
    precision, scale = 18, 0
    if cursor.accept("("):
        precision = _digits(cursor)
        if cursor.accept(","):
            scale = _digits(cursor)
        cursor.expect(")")
    if not 1 <= precision <= 38:
        raise cursor.raise_error(2750, f"Column or parameter: Specified column precision {precision} is not in 1 to 38.", start)
    if scale > precision:
        raise cursor.raise_error(183, f"The scale ({scale}) must be within the range 0 to {precision}.", start)
    return SqlType("decimal", precision=precision, scale=scale)


def _scale(cursor: Cursor, start: int) -> int:
    if not cursor.accept("("):
        return 7
    scale = _digits(cursor)
    cursor.expect(")")
    if scale > 7:
        raise cursor.raise_error(1002, f"Line {cursor.tokens.line(start)}: Specified scale {scale} is invalid.", start)
    return scale


def _float(cursor: Cursor, start: int) -> SqlType:
    if not cursor.accept("("):
        return SqlType("float")
    bits = _digits(cursor)
    cursor.expect(")")
    if not 1 <= bits <= 53:
        raise cursor.raise_error(2750, f"Column or parameter: Specified column precision {bits} is not in 1 to 53.", start)
    return SqlType("real" if bits <= 24 else "float")
