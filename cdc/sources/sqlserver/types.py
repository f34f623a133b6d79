"""pure: a column as SQL Server describes it -> the `Column` that travels, and the expressions that the server reads it by.

Values whose form depends on a driver are made text by the server, in the canonical form of `transport.values`. Styles:
https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import NamedTuple

from transport.frames import MAX_ROW, Column, Fold, Type

MAX = -1  # max_length of varchar(max), nvarchar(max), varbinary(max), xml


class Form(enum.StrEnum):
    """What the agent does with a cell as it was fetched."""

    READY = "ready"  # canonical as the server wrote it
    CHECKED = "checked"  # canonical, but for what only some texts and numbers have
    READ = "read"  # a text that a person declared to be of another type
    TRUTH = "truth"  # an integer that a person declared to be a truth value
    VARIANT = "variant"  # type and value of a sql_variant


class Found(NamedTuple):
    """One line of sys.columns, its type resolved: alias types to what they stand for, "" for a type of somebody's assembly."""

    name: str
    type: str
    max_length: int  # bytes
    precision: int
    scale: int
    collation: str = ""
    nullable: bool = True
    computed: bool = False
    hidden: bool = False
    column_set: bool = False
    masked: bool = False
    encrypted: bool = False
    definition: str = ""  # of a computed column
    column_id: int = 0


class Carried(NamedTuple):
    """A column as it travels. In the expressions `{c}` stands for the column."""

    column: Column
    form: Form
    value: str
    size: str = ""  # bytes of the cell, for columns that can hold very large ones; `value` is NULL then for those over MAX_ROW
    variant: str = ""  # what a sql_variant holds: its type, precision, scale, length and collation

    @property
    def expressions(self) -> tuple[str, ...]:
        """In the order of selection."""
        return tuple(e for e in (self.value, self.size, self.variant) if e)


class TypeProblem(Exception):
    """A column that cannot be carried: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Rule(NamedTuple):
    type: Type
    value: str  # `{n}`: the declared length, `{s}`: the scale
    form: Form = Form.READY
    sized: bool = False  # can hold very large cells


_OFFSET = "REPLACE(REPLACE(CONVERT(varchar(34), {c}, 121), ' +', '+'), ' -', '-')"
_SHAPE = (
    """CASE WHEN {c} IS NOT NULL THEN CONCAT('{"srid":', {c}.STSrid, ',"wkb":"', """
    """CONVERT(varchar(max), {c}.AsBinaryZM(), 2), '"}') END"""
)
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), _Rule(Type.INT, "{c}")),
    "bit": _Rule(Type.BOOL, "{c}"),
    **dict.fromkeys(("decimal", "numeric"), _Rule(Type.DECIMAL, "CONVERT(varchar(41), {c})", Form.CHECKED)),
    **dict.fromkeys(("money", "smallmoney"), _Rule(Type.DECIMAL, "CONVERT(varchar(21), {c}, 2)", Form.CHECKED)),
    **dict.fromkeys(("float", "real"), _Rule(Type.FLOAT, "{c}")),
    **dict.fromkeys(("char", "varchar", "nchar", "nvarchar"), _Rule(Type.TEXT, "{c}", Form.CHECKED)),
    "text": _Rule(Type.TEXT, "CONVERT(varchar(max), {c})", Form.CHECKED, sized=True),
    "ntext": _Rule(Type.TEXT, "CONVERT(nvarchar(max), {c})", Form.CHECKED, sized=True),
    **dict.fromkeys(("binary", "varbinary", "timestamp"), _Rule(Type.BYTES, "{c}")),
    "image": _Rule(Type.BYTES, "CONVERT(varbinary(max), {c})", sized=True),
    "date": _Rule(Type.DATE, "CONVERT(char(10), {c}, 23)"),
    "time": _Rule(Type.TIME, "CONVERT(varchar(16), {c}, 121)"),
    "smalldatetime": _Rule(Type.DATETIME, "CONVERT(char(19), {c}, 120)"),
    "datetime": _Rule(Type.DATETIME, "CONVERT(char(23), {c}, 121)"),
    "datetime2": _Rule(Type.DATETIME, "CONVERT(varchar(27), {c}, 121)"),
    "datetimeoffset": _Rule(Type.DATETIMEOFFSET, _OFFSET),
    "uniqueidentifier": _Rule(Type.GUID, "LOWER(CONVERT(char(36), {c}))"),
    "xml": _Rule(Type.XML, "CONVERT(nvarchar(max), {c})", Form.CHECKED, sized=True),
    "hierarchyid": _Rule(Type.TEXT, "{c}.ToString()"),
    "sql_variant": _Rule(Type.JSON, "", Form.VARIANT),
    **dict.fromkeys(("geography", "geometry"), _Rule(Type.JSON, _SHAPE, sized=True)),
}
_AS_TEXT: Mapping[str, str] = {  # read as TEXT on a person's word, where that is another expression
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "CONVERT(varchar(20), {c})"),
    "bit": "CONVERT(varchar(1), {c})",
    **dict.fromkeys(("float", "real"), "CONVERT(varchar(30), {c}, 3)"),
}
_BASE = "CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({c}, 'BaseType'))"
_VARIANT_VALUES: Mapping[str, str] = {  # by base type; all others: CONVERT(nvarchar(4000), ...)
    "float": "CONVERT(varchar(30), CONVERT(float, {c}), 3)",
    "real": "CONVERT(varchar(30), CONVERT(real, {c}), 3)",
    "money": "CONVERT(varchar(21), CONVERT(money, {c}), 2)",
    "smallmoney": "CONVERT(varchar(21), CONVERT(smallmoney, {c}), 2)",
    "date": "CONVERT(varchar(10), CONVERT(date, {c}), 23)",
    "time": "CONVERT(varchar(16), CONVERT(time(7), {c}), 121)",
    "smalldatetime": "CONVERT(varchar(19), CONVERT(smalldatetime, {c}), 120)",
    "datetime": "CONVERT(varchar(23), CONVERT(datetime, {c}), 121)",
    "datetime2": "CONVERT(varchar(27), CONVERT(datetime2(7), {c}), 121)",
    "datetimeoffset": "CONVERT(varchar(34), CONVERT(datetimeoffset(7), {c}), 121)",
    "uniqueidentifier": "LOWER(CONVERT(varchar(36), CONVERT(uniqueidentifier, {c})))",
    "binary": "CONVERT(varchar(max), CONVERT(varbinary(8000), {c}), 2)",
    "varbinary": "CONVERT(varchar(max), CONVERT(varbinary(8000), {c}), 2)",
    "varchar": "CONVERT(varchar(8000), {c})",
    "char": "CONVERT(varchar(8000), {c})",
}


def variant_value() -> str:
    """The value of a sql_variant as text, by what it holds."""
    cases = " ".join(f"WHEN N'{base}' THEN CONVERT(nvarchar(max), {e})" for base, e in _VARIANT_VALUES.items())
    return f"CASE {_BASE} {cases} ELSE CONVERT(nvarchar(max), CONVERT(nvarchar(4000), {{c}})) END"


def variant_type() -> str:
    """What a sql_variant holds: `base type|precision|scale|bytes|collation`."""
    parts = ", N'|', ".join(
        f"CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({{c}}, '{p}'))"
        for p in ("BaseType", "Precision", "Scale", "MaxLength", "Collation")
    )
    return f"CASE WHEN {{c}} IS NOT NULL THEN CONCAT({parts}) END"


# -- what is declared --------------------------------------------------------------------------------------------------------


def declared(found: Found) -> str:
    """The type as a person would declare it: `nvarchar(50)`, `decimal(10,2)`, `rowversion`."""
    if found.type in ("decimal", "numeric"):
        return f"{found.type}({found.precision},{found.scale})"
    if found.type in ("time", "datetime2", "datetimeoffset"):
        return f"{found.type}({found.scale})"
    if found.type in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        return f"{found.type}({'max' if found.max_length == MAX else length(found)})"
    return "rowversion" if found.type == "timestamp" else found.type


def length(found: Found) -> int:
    """Characters of a text, bytes of a binary; 0: no limit."""
    if found.max_length == MAX or found.type in ("text", "ntext", "image", "xml", "hierarchyid"):
        return 0
    return found.max_length // 2 if found.type in ("nchar", "nvarchar") else found.max_length


def row_bytes(found: Found) -> int:
    """The most that a cell takes in memory, about; 0 for those that are sized when they are read."""
    return 64 + (2 * found.max_length if 0 < found.max_length <= 8000 else 0)


def is_large(found: Found) -> bool:
    """Whether a cell can be larger than a page of the server."""
    rule = _RULES.get(found.type)
    return found.max_length == MAX or (rule is not None and rule.sized)


# -- a column ------------------------------------------------------------------------------------------------------------------


def carried(found: Found, override: str = "", *, key: int = 0, fold: Fold = Fold.NONE, pad: bool = False) -> Carried:
    """How the column is carried; `override`: the type to read it as, "" for its own. Raises TypeProblem."""
    rule = _rule(found)
    if key:
        _check_key(found, override)
    if override:
        rule, numbers = _overridden(found, rule, override)
    else:
        numbers = _numbers(found, rule.type)
    text = rule.type is Type.TEXT and found.type != "hierarchyid"
    column = Column(
        name=found.name,
        type=rule.type,
        nullable=found.nullable and not key,
        key=key,
        precision=numbers[0],
        scale=numbers[1],
        length=length(found) if rule.type in (Type.TEXT, Type.BYTES) and not override else 0,
        source_type=declared(found),
        fold=fold if text else Fold.NONE,
        pad=pad and text,
    )
    if rule.form is Form.VARIANT:
        return Carried(column, rule.form, variant_value(), variant=variant_type())
    if rule.sized or found.max_length == MAX:
        value = f"CASE WHEN DATALENGTH({{c}}) <= {MAX_ROW} THEN {rule.value} END"
        return Carried(column, rule.form, value, size="DATALENGTH({c})")
    return Carried(column, rule.form, rule.value)


def _rule(found: Found) -> _Rule:
    leave_out = f'leave it out: exclude = ["{found.name}"]'
    if found.column_set:
        raise TypeProblem("A2270", f"it is a column set, which only repeats other columns; {leave_out}")
    if found.encrypted:
        raise TypeProblem("A2271", f"it is encrypted by its clients (Always Encrypted), so only they can read it; {leave_out}")
    rule = _RULES.get(found.type)
    if rule is None:
        what = f"the type {found.type} is" if found.type else "types of assemblies are"
        raise TypeProblem("A2270", f"{what} not carried; {leave_out}")
    return rule


def _check_key(found: Found, override: str) -> None:
    if found.type in ("datetimeoffset", "sql_variant"):
        why = "the server holds texts of it equal that differ"
        raise TypeProblem("A2272", f"a key of the type {found.type} is not carried: {why}")
    if override and (_words(override)[0] not in _TEXT_WORDS or found.type == "xml"):
        raise TypeProblem(
            "A2225", f'a key column is read as it is, or as "TEXT"; remove it from types or mend it: {found.name}'
        )


def _numbers(found: Found, type_: Type) -> tuple[int, int]:
    """Precision and scale as they travel."""
    if type_ is Type.DECIMAL:
        return {"money": (19, 4), "smallmoney": (10, 4)}.get(found.type, (found.precision, found.scale))
    if type_ is Type.DATETIME:
        return 0, {"smalldatetime": 0, "datetime": 3}.get(found.type, found.scale)
    return 0, found.scale if type_ in (Type.TIME, Type.DATETIMEOFFSET) else 0


# -- what a person declared instead ------------------------------------------------------------------------------------------

_OVERRIDE = re.compile(
    r"\s*([A-Za-z][A-Za-z0-9 ]*?)\s*(?:\(\s*([0-9]{1,4}|max)\s*(?:,\s*([0-9]{1,4})\s*)?\))?\s*", re.IGNORECASE
)
_TEXT_WORDS = frozenset({"TEXT", "VARCHAR", "NVARCHAR", "CHAR", "NCHAR", "NTEXT"})
_BOOL_WORDS = frozenset({"BIT", "BOOL", "BOOLEAN"})
_READ: Mapping[str, Type] = {
    "DATE": Type.DATE,
    "TIME": Type.TIME,
    "DATETIME": Type.DATETIME,
    "DATETIME2": Type.DATETIME,
    "SMALLDATETIME": Type.DATETIME,
    "DATETIMEOFFSET": Type.DATETIMEOFFSET,
    "GUID": Type.GUID,
    "UUID": Type.GUID,
    "UNIQUEIDENTIFIER": Type.GUID,
    "DECIMAL": Type.DECIMAL,
    "NUMERIC": Type.DECIMAL,
    "XML": Type.XML,
    "JSON": Type.JSON,
}


def _words(override: str) -> tuple[str, tuple[int, ...]]:
    match = _OVERRIDE.fullmatch(override)
    if not match:
        raise TypeProblem("A2225", f'the type "{override}" is not readable')
    numbers = tuple(int(n) for n in match.groups()[1:] if n and n.isdigit())
    return " ".join(match[1].upper().split()), numbers


def _overridden(found: Found, rule: _Rule, override: str) -> tuple[_Rule, tuple[int, int]]:
    word, numbers = _words(override)
    is_text = rule.type is Type.TEXT and found.type != "hierarchyid"
    if word in _TEXT_WORDS and rule.type not in (Type.BYTES, Type.JSON):
        form = rule.form if is_text else Form.CHECKED
        return _Rule(Type.TEXT, _AS_TEXT.get(found.type, rule.value), form, rule.sized), (0, 0)
    if word in _BOOL_WORDS and rule.type in (Type.INT, Type.BOOL):
        return _Rule(Type.BOOL, rule.value, Form.READY if rule.type is Type.BOOL else Form.TRUTH), (0, 0)
    if word in _READ and is_text:
        return _Rule(_READ[word], rule.value, Form.READ, rule.sized), _read_numbers(found, word, numbers)
    known = word in _READ or word in _TEXT_WORDS or word in _BOOL_WORDS
    why = f"a column of type {declared(found)} cannot be read so" if known else "the type is not known"
    raise TypeProblem("A2225", f'types says "{override}": {why}; remove it, or say "TEXT"')


def _read_numbers(found: Found, word: str, numbers: tuple[int, ...]) -> tuple[int, int]:
    if _READ[word] is Type.DECIMAL:
        precision, scale = (*numbers, 0, 0)[:2]
        if not 0 < precision <= 1000 or scale > precision:
            message = f'the digits of "{word}" are not known; say them: types = {{ {found.name} = "DECIMAL(15,2)" }}'
            raise TypeProblem("A2225", message)
        return precision, scale
    if _READ[word] in (Type.TIME, Type.DATETIME, Type.DATETIMEOFFSET):
        if numbers and numbers[0] > 9:
            raise TypeProblem("A2225", f"{word} with {numbers[0]} digits of a second; at most 9 can be carried")
        return 0, numbers[0] if numbers else 0
    return 0, 0
