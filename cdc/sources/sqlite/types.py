"""pure: the type a column is declared with -> the `Column` that travels."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from transport.frames import Column, Fold, Type

EXACT_DIGITS = 15  # of a number that SQLite keeps as REAL


class Affinity(enum.StrEnum):
    """How SQLite stores what is put into a column (https://www.sqlite.org/datatype3.html, 3.1)."""

    INTEGER = "integer"
    TEXT = "text"
    BLOB = "blob"
    REAL = "real"
    NUMERIC = "numeric"


class Declared(NamedTuple):
    """A declared type: its words in upper case, and the numbers in its brackets."""

    words: str
    arguments: tuple[int, ...]


class TypeProblem(Exception):
    """A type that cannot be carried: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


_AFFINITIES = (
    (("INT",), Affinity.INTEGER),
    (("CHAR", "CLOB", "TEXT"), Affinity.TEXT),
    (("BLOB",), Affinity.BLOB),
    (("REAL", "FLOA", "DOUB"), Affinity.REAL),
)
_DECLARED = re.compile(r"([^()]*)(?:\(([^()]*)\)([^()]*))?")
_TYPES: dict[str, Type] = {
    word: type_
    for type_, words in {
        Type.INT: "INT,INTEGER,TINYINT,SMALLINT,MEDIUMINT,BIGINT,UNSIGNED BIG INT,INT2,INT4,INT8",
        Type.BOOL: "BOOL,BOOLEAN,BIT",
        Type.FLOAT: "REAL,FLOAT,DOUBLE,DOUBLE PRECISION",
        Type.DECIMAL: "DECIMAL,NUMERIC,DEC,NUMBER,MONEY,SMALLMONEY,TEXT_DECIMAL",
        Type.DATE: "DATE",
        Type.TIME: "TIME",
        Type.DATETIME: "DATETIME,DATETIME2,SMALLDATETIME,TIMESTAMP",
        Type.DATETIMEOFFSET: "DATETIMEOFFSET",
        Type.GUID: "GUID,UUID,UNIQUEIDENTIFIER",
        Type.XML: "XML",
        Type.JSON: "JSON",
        Type.TEXT: "CHAR,VARCHAR,NCHAR,NVARCHAR,VARCHAR2,NVARCHAR2,CHARACTER,CHARACTER VARYING,VARYING CHARACTER,"
        "NATIVE CHARACTER,TEXT,TINYTEXT,MEDIUMTEXT,LONGTEXT,NTEXT,CLOB,NCLOB,SYSNAME,HIERARCHYID",
        Type.BYTES: "BLOB,BINARY,VARBINARY,IMAGE,TINYBLOB,MEDIUMBLOB,LONGBLOB,ROWVERSION",
    }.items()
    for word in words.split(",")
}
_MONEY = {"MONEY": (19, 4), "SMALLMONEY": (10, 4)}
_TIMES = frozenset({Type.TIME, Type.DATETIME, Type.DATETIMEOFFSET})
_MAX_FRACTION = 9


def affinity(declared: str) -> Affinity:
    """The affinity SQLite gives a column of that declared type."""
    words = declared.upper()
    if not words.strip():
        return Affinity.BLOB
    return next((a for parts, a in _AFFINITIES if any(part in words for part in parts)), Affinity.NUMERIC)


def parse(declared: str) -> Declared:
    """`nvarchar(50)` -> NVARCHAR, (50,). Raises TypeProblem if it is not of that form."""
    match = _DECLARED.fullmatch(declared)
    if not match:
        raise TypeProblem("A2225", f'the type "{declared}" is not readable')
    words = " ".join(f"{match[1]} {match[3] or ''}".upper().split())
    parts = [part.strip() for part in match[2].split(",")] if match[2] is not None else []
    if not all(part.isascii() and (part.isdigit() or part.upper() == "MAX") for part in parts):
        raise TypeProblem("A2225", f'the type "{declared}" is not readable')
    return Declared(words, tuple(int(part) for part in parts if part.isdigit()))


def column(
    name: str, declared: str, override: str, *, nullable: bool, key: int = 0, fold: Fold = Fold.NONE, pad: bool = False
) -> Column:
    """The column as it travels; `override` is the type to read it as, "" for the declared one. Raises TypeProblem."""
    words, arguments = parse(override or declared)
    type_ = _TYPES.get(words)
    if type_ is None:
        what = f'the type "{override or declared}" is not known' if words else "it is declared without a type"
        raise TypeProblem("A2225", f'{what}; say how to read it: types = {{ {name} = "TEXT" }}')
    precision, scale = 0, 0
    if type_ is Type.DECIMAL:
        precision, scale = _digits(name, declared, words, arguments)
    elif type_ in _TIMES:
        scale = _fraction(words, arguments)
    text = type_ is Type.TEXT
    return Column(
        name=name,
        type=type_,
        nullable=nullable and not key,
        key=key,
        precision=precision,
        scale=scale,
        source_type=declared,
        fold=fold if text else Fold.NONE,
        pad=pad and text,
    )


def _digits(name: str, declared: str, words: str, arguments: tuple[int, ...]) -> tuple[int, int]:
    precision, scale = _MONEY.get(words, (0, 0)) if not arguments else (*arguments, 0)[:2]
    if not 0 < precision <= 1000 or scale > precision:
        raise TypeProblem("A2225", f'the digits of "{words}" are not known; say them: types = {{ {name} = "DECIMAL(15,2)" }}')
    if precision > EXACT_DIGITS and affinity(declared) not in (Affinity.TEXT, Affinity.BLOB):
        raise TypeProblem(
            "A2226",
            f"{precision} digits, but SQLite keeps {EXACT_DIGITS} of a column declared {declared}; declare it "
            f'TEXT_DECIMAL({precision},{scale}), or if fewer are enough: types = {{ {name} = "DECIMAL(15,{min(scale, 15)})" }}',
        )
    return precision, scale


def _fraction(words: str, arguments: tuple[int, ...]) -> int:
    digits = arguments[0] if arguments else 0
    if digits > _MAX_FRACTION:
        raise TypeProblem("A2225", f"{words} with {digits} digits of a second; at most {_MAX_FRACTION} can be carried")
    return digits
