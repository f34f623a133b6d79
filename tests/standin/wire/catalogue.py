"""pure: the results of the two system procedures that drivers call about types; facts of SQL Server 2019."""

from __future__ import annotations

from collections.abc import Sequence

from tests.standin.ports import MAX, Columns, Done, Event, Parameter, ResultColumn, Rows, SqlType
from tests.standin.wire.declarations import declared
from tests.standin.wire.types import PARTIAL, ROWVERSIONS, type_info

_SYSNAME, _INT, _SMALLINT, _TINYINT, _BIT = (
    SqlType("nvarchar", 128),
    SqlType("int"),
    SqlType("smallint"),
    SqlType("tinyint"),
    SqlType("bit"),
)

# sp_datatype_info: name and type, nullable
_INFO_COLUMNS = [
    ResultColumn("TYPE_NAME", _SYSNAME, nullable=False),
    ResultColumn("DATA_TYPE", _SMALLINT, nullable=False),
    ResultColumn("PRECISION", _INT),
    ResultColumn("LITERAL_PREFIX", SqlType("varchar", 32)),
    ResultColumn("LITERAL_SUFFIX", SqlType("varchar", 32)),
    ResultColumn("CREATE_PARAMS", SqlType("varchar", 32)),
    ResultColumn("NULLABLE", _SMALLINT, nullable=False),
    ResultColumn("CASE_SENSITIVE", _SMALLINT, nullable=False),
    ResultColumn("SEARCHABLE", _SMALLINT, nullable=False),
    ResultColumn("UNSIGNED_ATTRIBUTE", _SMALLINT),
    ResultColumn("MONEY", _SMALLINT, nullable=False),
    ResultColumn("AUTO_INCREMENT", _SMALLINT),
    ResultColumn("LOCAL_TYPE_NAME", _SYSNAME),
    ResultColumn("MINIMUM_SCALE", _SMALLINT),
    ResultColumn("MAXIMUM_SCALE", _SMALLINT),
    ResultColumn("SQL_DATA_TYPE", _SMALLINT, nullable=False),
    ResultColumn("SQL_DATETIME_SUB", _SMALLINT),
    ResultColumn("NUM_PREC_RADIX", _INT),
    ResultColumn("INTERVAL_PRECISION", _SMALLINT),
    ResultColumn("USERTYPE", _SMALLINT),
]
_TEXT, _WIDE, _HEX = ("'", "'"), ("N'", "'"), ("0x", None)
_NONE = (None, None)
_LENGTH, _SIZE = "length", "max length"

# name, ODBC type, precision, literal, create parameters, searchable, unsigned, money, scales, user type
_TYPES: list[
    tuple[str, int, int, tuple[str | None, str | None], str | None, int, int | None, int, tuple[int | None, int | None], int]
] = [
    ("datetimeoffset", -155, 34, _TEXT, "scale", 3, None, 0, (0, 7), 0),
    ("time", -154, 16, _TEXT, "scale", 3, None, 0, (0, 7), 0),
    ("xml", -152, 0, _WIDE, None, 0, None, 0, _NONE, 0),
    ("sql_variant", -150, 8000, _NONE, None, 2, None, 0, (0, 0), 39),
    ("uniqueidentifier", -11, 36, _TEXT, None, 2, None, 0, _NONE, 37),
    ("ntext", -10, 1073741823, _WIDE, None, 1, None, 0, _NONE, 0),
    ("nvarchar", -9, 4000, _WIDE, _SIZE, 3, None, 0, _NONE, 0),
    ("sysname", -9, 128, _WIDE, None, 3, None, 0, _NONE, 18),
    ("nchar", -8, 4000, _WIDE, _LENGTH, 3, None, 0, _NONE, 0),
    ("bit", -7, 1, _NONE, None, 2, None, 0, (0, 0), 16),
    ("tinyint", -6, 3, _NONE, None, 2, 1, 0, (0, 0), 5),
    ("bigint", -5, 19, _NONE, None, 2, 0, 0, (0, 0), 0),
    ("image", -4, 2147483647, _HEX, None, 0, None, 0, _NONE, 20),
    ("varbinary", -3, 8000, _HEX, _SIZE, 2, None, 0, _NONE, 4),
    ("binary", -2, 8000, _HEX, _LENGTH, 2, None, 0, _NONE, 3),
    ("timestamp", -2, 8, _HEX, None, 2, None, 0, _NONE, 80),
    ("text", -1, 2147483647, _TEXT, None, 1, None, 0, _NONE, 19),
    ("char", 1, 8000, _TEXT, _LENGTH, 3, None, 0, _NONE, 1),
    ("numeric", 2, 38, _NONE, "precision,scale", 2, 0, 0, (0, 38), 10),
    ("decimal", 3, 38, _NONE, "precision,scale", 2, 0, 0, (0, 38), 24),
    ("money", 3, 19, ("$", None), None, 2, 0, 1, (4, 4), 11),
    ("smallmoney", 3, 10, ("$", None), None, 2, 0, 1, (4, 4), 21),
    ("int", 4, 10, _NONE, None, 2, 0, 0, (0, 0), 7),
    ("smallint", 5, 5, _NONE, None, 2, 0, 0, (0, 0), 6),
    ("float", 6, 53, _NONE, None, 2, 0, 0, _NONE, 8),
    ("real", 7, 24, _NONE, None, 2, 0, 0, _NONE, 23),
    ("varchar", 12, 8000, _TEXT, _SIZE, 3, None, 0, _NONE, 2),
    ("date", 91, 10, _TEXT, None, 3, None, 0, (0, 0), 0),
    ("datetime2", 93, 27, _TEXT, "scale", 3, None, 0, (0, 7), 0),
    ("datetime", 93, 23, _TEXT, None, 3, None, 0, (3, 3), 12),
    ("smalldatetime", 93, 16, _TEXT, None, 3, None, 0, (0, 0), 22),
]
_DATETIME_SUB = {91: 1, 93: 3}
_RADIX = {-6: 10, -5: 10, 2: 10, 3: 10, 4: 10, 5: 10, 6: 2, 7: 2}


def datatype_events(data_type: int) -> list[Event]:
    """sp_datatype_info for one ODBC type, or for all when it is 0."""
    rows = [_info_row(*one) for one in _TYPES if data_type in (0, one[1])]
    return [Columns(_INFO_COLUMNS), Rows(rows), Done("select", len(rows))]


def _info_row(
    name: str,
    odbc: int,
    precision: int,
    literal: tuple[str | None, str | None],
    parameters: str | None,
    searchable: int,
    unsigned: int | None,
    money: int,
    scales: tuple[int | None, int | None],
    user_type: int,
) -> list[object]:
    increment = None if unsigned is None else 0
    verbose = 9 if odbc in _DATETIME_SUB else odbc
    head = [name, odbc, precision, *literal, parameters, 1, 0, searchable, unsigned, money, increment, name, *scales]
    return [*head, verbose, _DATETIME_SUB.get(odbc), _RADIX.get(odbc), None, user_type]


# sp_describe_undeclared_parameters
_NAME_COLUMN = SqlType("nvarchar", 4000)
_DESCRIBED_COLUMNS = [
    ResultColumn("parameter_ordinal", _INT, nullable=False),
    ResultColumn("name", _SYSNAME, nullable=False),
    ResultColumn("suggested_system_type_id", _INT, nullable=False),
    ResultColumn("suggested_system_type_name", SqlType("nvarchar", 256)),
    ResultColumn("suggested_max_length", _SMALLINT, nullable=False),
    ResultColumn("suggested_precision", _TINYINT, nullable=False),
    ResultColumn("suggested_scale", _TINYINT, nullable=False),
    ResultColumn("suggested_user_type_id", _INT),
    ResultColumn("suggested_user_type_database", _SYSNAME),
    ResultColumn("suggested_user_type_schema", _SYSNAME),
    ResultColumn("suggested_user_type_name", _SYSNAME),
    ResultColumn("suggested_assembly_qualified_type_name", _NAME_COLUMN),
    ResultColumn("suggested_xml_collection_id", _INT),
    ResultColumn("suggested_xml_collection_database", _SYSNAME),
    ResultColumn("suggested_xml_collection_schema", _SYSNAME),
    ResultColumn("suggested_xml_collection_name", _SYSNAME),
    ResultColumn("suggested_is_xml_document", _BIT, nullable=False),
    ResultColumn("suggested_is_case_sensitive", _BIT, nullable=False),
    ResultColumn("suggested_is_fixed_length_clr_type", _BIT, nullable=False),
    ResultColumn("suggested_is_input", _BIT, nullable=False),
    ResultColumn("suggested_is_output", _BIT, nullable=False),
    ResultColumn("formal_parameter_name", _SYSNAME),
    ResultColumn("suggested_tds_type_id", _INT, nullable=False),
    ResultColumn("suggested_tds_length", _INT, nullable=False),
]
# name: id in sys.types, bytes, precision, scale
_FACTS = {
    "image": (34, 16, 0, 0),
    "text": (35, 16, 0, 0),
    "uniqueidentifier": (36, 16, 0, 0),
    "date": (40, 3, 10, 0),
    "tinyint": (48, 1, 3, 0),
    "smallint": (52, 2, 5, 0),
    "int": (56, 4, 10, 0),
    "smalldatetime": (58, 4, 16, 0),
    "real": (59, 4, 24, 0),
    "money": (60, 8, 19, 4),
    "datetime": (61, 8, 23, 3),
    "float": (62, 8, 53, 0),
    "sql_variant": (98, 8016, 0, 0),
    "ntext": (99, 16, 0, 0),
    "bit": (104, 1, 1, 0),
    "smallmoney": (122, 4, 10, 4),
    "bigint": (127, 8, 19, 0),
    "timestamp": (189, 8, 0, 0),
    "rowversion": (189, 8, 0, 0),
    "xml": (241, -1, 0, 0),
}
_SIZED = {
    "varbinary": (165, 1),
    "varchar": (167, 1),
    "binary": (173, 1),
    "char": (175, 1),
    "nvarchar": (231, 2),
    "nchar": (239, 2),
}
_SCALED = {"time": (41, 8, 3), "datetime2": (42, 19, 6), "datetimeoffset": (43, 26, 8)}


def described_events(parameters: Sequence[Parameter]) -> list[Event]:
    """sp_describe_undeclared_parameters. Raises Refused for types that no client can send."""
    rows = [_described_row(place, parameter) for place, parameter in enumerate(parameters, 1)]
    return [Columns(_DESCRIBED_COLUMNS), Rows(rows), Done("select", len(rows))]


def _described_row(ordinal: int, parameter: Parameter) -> list[object]:
    kind = parameter.type
    number, length, precision, scale = _facts(kind)
    info = type_info(kind)
    name = "timestamp" if kind.name in ROWVERSIONS else declared(kind)
    output = parameter.output
    head = [ordinal, parameter.name, number, name, length, precision, scale, None, None, None, None, None]
    xml = [None, None, None, None, False]
    return [*head, *xml, False, False, True, output, None, info[0], PARTIAL if length == MAX else length]


def _facts(kind: SqlType) -> tuple[int, int, int, int]:
    """Id, bytes, precision, scale."""
    if kind.name in _SIZED:
        number, unit = _SIZED[kind.name]
        return number, MAX if kind.length == MAX else kind.length * unit, 0, 0
    if kind.name in _SCALED:
        number, precision, least = _SCALED[kind.name]
        extra = 0 if kind.scale <= 2 else 1 if kind.scale <= 4 else 2
        return number, least + extra, precision + (kind.scale + 1 if kind.scale else 0), kind.scale
    if kind.name in ("decimal", "numeric"):
        width = 5 if kind.precision <= 9 else 9 if kind.precision <= 19 else 13 if kind.precision <= 28 else 17
        return 106, width, kind.precision, kind.scale
    return _FACTS[kind.name]
