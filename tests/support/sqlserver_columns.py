"""Columns of every type as SQL Server describes them, and what reads them, for tests of the pure builders."""

from __future__ import annotations

from cdc.model import Dataset
from cdc.sources.sqlserver.plans import Database, Plan, make
from cdc.sources.sqlserver.structure import KeyPart, Table
from cdc.sources.sqlserver.types import Found

LATIN = "SQL_Latin1_General_CP1_CI_AS"
EVERY = [
    Found("c_tinyint", "tinyint", 1, 3, 0),
    Found("c_smallint", "smallint", 2, 5, 0),
    Found("c_int", "int", 4, 10, 0),
    Found("c_bigint", "bigint", 8, 19, 0),
    Found("c_bit", "bit", 1, 1, 0),
    Found("c_decimal", "decimal", 17, 38, 10),
    Found("c_numeric", "numeric", 5, 9, 2),
    Found("c_money", "money", 8, 19, 4),
    Found("c_smallmoney", "smallmoney", 4, 10, 4),
    Found("c_float", "float", 8, 53, 0),
    Found("c_real", "real", 4, 24, 0),
    Found("c_char", "char", 10, 0, 0, LATIN),
    Found("c_varchar", "varchar", 50, 0, 0, "Polish_CI_AS"),
    Found("c_varchar_max", "varchar", -1, 0, 0, LATIN),
    Found("c_nchar", "nchar", 20, 0, 0, LATIN),
    Found("c_nvarchar", "nvarchar", 100, 0, 0, LATIN),
    Found("c_nvarchar_max", "nvarchar", -1, 0, 0, LATIN),
    Found("c_text", "text", 16, 0, 0, LATIN),
    Found("c_ntext", "ntext", 16, 0, 0, LATIN),
    Found("c_binary", "binary", 8, 0, 0),
    Found("c_varbinary", "varbinary", 50, 0, 0),
    Found("c_varbinary_max", "varbinary", -1, 0, 0),
    Found("c_image", "image", 16, 0, 0),
    Found("c_rowversion", "timestamp", 8, 0, 0, nullable=False),
    Found("c_guid", "uniqueidentifier", 16, 0, 0),
    Found("c_date", "date", 3, 10, 0),
    Found("c_time", "time", 5, 16, 7),
    Found("c_smalldatetime", "smalldatetime", 4, 16, 0),
    Found("c_datetime", "datetime", 8, 23, 3),
    Found("c_datetime2", "datetime2", 8, 27, 7),
    Found("c_datetimeoffset", "datetimeoffset", 10, 34, 7),
    Found("c_xml", "xml", -1, 0, 0),
    Found("c_hierarchyid", "hierarchyid", 892, 0, 0),
    Found("c_variant", "sql_variant", 8016, 0, 0),
    Found("c_geography", "geography", -1, 0, 0),
    Found("c_geometry", "geometry", -1, 0, 0),
]
ID = Found("id", "int", 4, 10, 0, nullable=False)
STAFF = Dataset(name="staff", table="dbo.staff", channel="hr")


def table(*columns: Found, key: tuple[str, ...] = ("id",), descending: tuple[str, ...] = ()) -> Table:
    """The columns are numbered in their order."""
    numbered = tuple(c._replace(column_id=i + 1) for i, c in enumerate(columns))
    return Table(7, "dbo", "staff", "2026-01-31 12:00:00.000", numbered, tuple(KeyPart(n, n in descending) for n in key))


def plan(made: Table, dataset: Dataset = STAFF, *, unmask: bool = False) -> Plan:
    return make(dataset, made, Database(unmask=unmask))
