"""pure: parameters of statements with the type they are sent as.

Left alone, the driver sends a text as nvarchar of its own length: one plan for each length on the server, and a scan instead of
a seek where the column is varchar. So each parameter says its type and a size that does not depend on the value.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

MAX = 0  # the size of varchar(max), nvarchar(max) and varbinary(max)


class Parameter(NamedTuple):
    """A value and its ODBC type; `size`: characters, bytes or digits."""

    value: Any
    type: int  # ODBC's number, https://learn.microsoft.com/sql/odbc/reference/appendixes/sql-data-types
    size: int
    digits: int = 0


Parameters: TypeAlias = tuple[Parameter, ...]


def bit(value: bool | None) -> Parameter:
    """Sent as bit."""
    return Parameter(value, -7, 1)


def integer(value: int | None) -> Parameter:
    """Sent as int."""
    return Parameter(value, 4, 10)


def bigint(value: int | None) -> Parameter:
    """Sent as bigint."""
    return Parameter(value, -5, 19)


def char(value: str | None, length: int) -> Parameter:
    """Sent as char of that length, in the code page of the database's collation; what that lacks becomes `?`."""
    return Parameter(value, 1, length)


def varchar(value: str | None, length: int) -> Parameter:
    """Sent as varchar of that length, in the code page of the database's collation; what that lacks becomes `?`."""
    return Parameter(value, 12, length)


def nchar(value: str | None, length: int) -> Parameter:
    """Sent as nchar of that length."""
    return Parameter(value, -8, length)


def nvarchar(value: str | None, length: int) -> Parameter:
    """Sent as nvarchar of that length."""
    return Parameter(value, -9, length)


def binary(value: bytes | None, length: int) -> Parameter:
    """Sent as binary of that length."""
    return Parameter(value, -2, length)


def varbinary(value: bytes | None, length: int) -> Parameter:
    """Sent as varbinary of that length."""
    return Parameter(value, -3, length)


def guid(value: str | None) -> Parameter:
    """Sent as uniqueidentifier, from its text."""
    return Parameter(value, -11, 36)


def decimal(value: Any, precision: int, scale: int) -> Parameter:
    """Sent as decimal of that precision and scale, from a Decimal."""
    return Parameter(value, 3, precision, scale)


def sizes(parameters: Parameters) -> list[tuple[int, int, int]]:
    """What the driver is told before it executes."""
    return [(parameter.type, parameter.size, parameter.digits) for parameter in parameters]


def values(parameters: Parameters) -> list[Any]:
    """The values alone."""
    return [parameter.value for parameter in parameters]
