"""pure: what the wire and the engine of the stand-in hand each other.

The wire speaks TDS with a client and knows no SQL; the engine executes T-SQL on its storage and knows no TDS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

MAX = -1  # length of varchar(max), nvarchar(max), varbinary(max)


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type of SQL Server; `name` is lower case as in sys.types.

    Alias types are resolved: sysname is nvarchar(128), numeric is decimal.
    `length`: characters of char, varchar, nchar, nvarchar, bytes of binary, varbinary; MAX for (max), text, ntext, image, xml.
    """

    name: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    collation: str = ""  # of text; "" : the database's


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result; `name` is "" where the expression has none."""

    name: str
    type: SqlType
    nullable: bool = True
    identity: bool = False


# A value between wire and engine, NULL is None:
#   bit bool; tinyint..bigint int; decimal, numeric, money, smallmoney decimal.Decimal; float, real float;
#   char..nvarchar(max), text, ntext, xml, hierarchyid (its path) str (U+0000 and lone surrogates as they are);
#   binary.., image, rowversion bytes; uniqueidentifier str (lower case, hyphens);
#   date "2020-01-31", time "01:02:03.1234567" (declared digits), smalldatetime "2020-01-31 01:02:00", datetime with 3 digits,
#   datetime2 with its scale's, datetimeoffset "2020-01-31 01:02:03.1234567 +02:00": str; sql_variant a Variant.
Value: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Variant:
    """What a sql_variant holds."""

    type: SqlType
    value: Value


@dataclass(frozen=True, slots=True)
class Parameter:
    """`@name` with its declared type and value."""

    name: str  # with the @
    type: SqlType
    value: Value
    output: bool = False


class SqlError(Exception):
    """An error of the server: severity 11 and up; 20 and up ends the connection."""

    def __init__(self, number: int, message: str, *, severity: int = 16, state: int = 1, line: int = 1) -> None:
        super().__init__(f"{number}: {message}")
        self.number = number
        self.message = message
        self.severity = severity
        self.state = state
        self.line = line


class Refused(SqlError):
    """The stand-in does not emulate this: error 50000 to the client, and the test that caused it fails."""

    def __init__(self, what: str) -> None:
        super().__init__(50000, f"stand-in: {what}")


@dataclass(frozen=True, slots=True)
class Columns:
    """A result begins."""

    columns: Sequence[ResultColumn]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of the result that began last."""

    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True, slots=True)
class Done:
    """A statement ended. `command`: select, insert, update, delete, or "" for what has no count."""

    command: str = ""
    count: int | None = None  # None: no count, or SET NOCOUNT ON


@dataclass(frozen=True, slots=True)
class Failed:
    """A statement ended with an error; the batch goes on or not, as the engine decides."""

    error: SqlError


@dataclass(frozen=True, slots=True)
class Info:
    """PRINT and warnings: severity below 11."""

    number: int
    message: str
    severity: int = 0
    state: int = 1


@dataclass(frozen=True, slots=True)
class Transaction:
    """`change`: begun, committed or rolled back; `descriptor`: 8 bytes, of the transaction it is about."""

    change: str
    descriptor: int


@dataclass(frozen=True, slots=True)
class Database:
    """The session's database changed (USE, or after login)."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Output:
    """The value of an output parameter, or of the batch's return status (name "")."""

    name: str
    type: SqlType
    value: Value


Event: TypeAlias = Columns | Rows | Done | Failed | Info | Transaction | Database | Output


@dataclass(frozen=True, slots=True)
class Login:
    """What a client said when it connected."""

    user: str
    password: str
    database: str  # "": the login's default
    application: str = ""
    host: str = ""
    read_only: bool = False  # ApplicationIntent=ReadOnly


@dataclass(frozen=True, slots=True)
class Request:
    """A batch, or sp_executesql and its kind: `parameters` are declared before its first statement."""

    sql: str
    parameters: Sequence[Parameter] = ()


class Session(Protocol):
    """One connection. At most one request runs at a time."""

    @property
    def database(self) -> str: ...

    @property
    def spid(self) -> int: ...

    @property
    def descriptor(self) -> int:
        """Of the transaction that is open; 0: none."""
        ...

    def run(self, request: Request) -> AsyncIterator[Event]:
        """Executes it. Errors of SQL are events; a raised SqlError of severity 20 and up ends the connection.

        Cancelled (attention, a lost client): the running statement is undone; the transaction stays as SQL Server leaves it.
        """
        ...

    def transaction(self, order: str, *, isolation: int = 0, name: str = "") -> AsyncIterator[Event]:
        """A transaction manager request: begin, commit, rollback, save. `isolation`: TDS byte, 0 keeps the session's."""
        ...

    async def describe(self, request: Request) -> list[Parameter]:
        """The parameters that the text uses and nobody declared, typed by what they meet (values None). Raises SqlError."""
        ...

    async def reset(self) -> None:
        """RESETCONNECTION: rolls back, default settings; the isolation level stays, as documented."""
        ...

    async def close(self) -> None:
        """Rolls back. Idempotent."""
        ...


class Engine(Protocol):
    """Everything behind the wire."""

    async def login(self, login: Login) -> Session:
        """Raises SqlError 18456 (refused), 4060 (no such database), 976 and others by rule."""
        ...


@dataclass(slots=True)
class Verdict:
    """What the fault rules say about a request that was just received; the wire carries it out."""

    error: SqlError | None = None  # instead of executing
    delay: float = 0.0  # seconds before executing
    cut_after_rows: int | None = None  # the connection is cut after so many rows
    kill: bool = False  # the connection is cut before executing
    replay: str = ""  # answer with the encoded rows recorded under this name; recorded the first time
    notes: list[str] = field(default_factory=list)


class Controller(Protocol):
    """The rules, the log and the barriers, set from outside over the control channel."""

    async def received(self, spid: int, request: Request) -> Verdict:
        """Logs the request, waits at a barrier if one matches, and returns what is to happen."""
        ...

    def refused(self, spid: int, sql: str, error: SqlError) -> None:
        """Notes that something was asked that is not emulated."""
        ...
