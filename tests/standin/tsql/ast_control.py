"""pure: the syntax tree of control flow, variables and transactions; Statement and Batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.standin.tsql.ast_data import (
    AlterDatabase,
    AlterRole,
    AlterTable,
    Backup,
    CreateDatabase,
    CreateIndex,
    CreateLogin,
    CreateProcedure,
    CreateSchema,
    CreateTable,
    CreateTrigger,
    CreateType,
    CreateUser,
    CreateView,
    Delete,
    Drop,
    Insert,
    Permission,
    Restore,
    Truncate,
    Update,
)
from tests.standin.tsql.ast_queries import Expression, Name, Query, TypeName, Variable


@dataclass(frozen=True, slots=True)
class Declare:
    """`DECLARE @a int = 1, @b nvarchar(10)`; `DECLARE @t TABLE (...)` is a CreateTable in `table`."""

    variables: Sequence[tuple[str, TypeName, Expression | None]]
    table: CreateTable | None = None


@dataclass(frozen=True, slots=True)
class SetVariable:
    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class SetOption:
    """`SET NOCOUNT, XACT_ABORT ON`; SET LOCK_TIMEOUT 5000 has the value "5000"; SET IDENTITY_INSERT t ON has `table`."""

    options: tuple[str, ...]
    value: str
    table: Name | None = None


@dataclass(frozen=True, slots=True)
class SetIsolation:
    """READ UNCOMMITTED, READ COMMITTED, REPEATABLE READ, SNAPSHOT, SERIALIZABLE."""

    level: str


@dataclass(frozen=True, slots=True)
class BeginTransaction:
    name: str = ""


@dataclass(frozen=True, slots=True)
class CommitTransaction:
    pass


@dataclass(frozen=True, slots=True)
class RollbackTransaction:
    name: str = ""


@dataclass(frozen=True, slots=True)
class SaveTransaction:
    name: str


@dataclass(frozen=True, slots=True)
class If:
    condition: Expression
    then: Statement
    otherwise: Statement | None
    then_line: int = 1
    otherwise_line: int = 1


@dataclass(frozen=True, slots=True)
class While:
    condition: Expression
    body: Statement
    line: int = 1  # of the body


@dataclass(frozen=True, slots=True)
class Block:
    statements: Sequence[Statement]
    lines: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class TryCatch:
    attempt: Sequence[Statement]
    caught: Sequence[Statement]
    attempt_lines: Sequence[int] = ()
    caught_lines: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Throw:
    """Without arguments: again what was caught."""

    number: Expression | None = None
    message: Expression | None = None
    state: Expression | None = None


@dataclass(frozen=True, slots=True)
class RaiseError:
    message: Expression
    severity: Expression
    state: Expression
    arguments: Sequence[Expression] = ()
    options: tuple[str, ...] = ()  # NOWAIT, SETERROR


@dataclass(frozen=True, slots=True)
class Print:
    value: Expression


@dataclass(frozen=True, slots=True)
class Return:
    value: Expression | None = None


@dataclass(frozen=True, slots=True)
class Use:
    database: str


@dataclass(frozen=True, slots=True)
class Execute:
    """`EXEC [@r =] procedure arguments` and EXEC (N'...'); arguments as (name or "", expression, output)."""

    procedure: Name | None
    arguments: Sequence[tuple[str, Expression, bool]]
    text: Expression | None = None
    result: str = ""  # the variable of `EXEC @r = p`


@dataclass(frozen=True, slots=True)
class Break:
    """BREAK, and CONTINUE with `again`."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class WaitFor:
    """WAITFOR DELAY 'hh:mm:ss.mmm' or a variable."""

    delay: str | Variable


@dataclass(frozen=True, slots=True)
class Kill:
    spid: int


Statement: TypeAlias = (
    Query
    | Insert
    | Update
    | Delete
    | Truncate
    | CreateTable
    | CreateIndex
    | CreateSchema
    | CreateType
    | CreateTrigger
    | CreateView
    | CreateProcedure
    | CreateDatabase
    | CreateLogin
    | CreateUser
    | AlterRole
    | Drop
    | AlterTable
    | AlterDatabase
    | Backup
    | Restore
    | Permission
    | Declare
    | SetVariable
    | SetOption
    | SetIsolation
    | BeginTransaction
    | CommitTransaction
    | RollbackTransaction
    | SaveTransaction
    | If
    | While
    | Block
    | TryCatch
    | Throw
    | RaiseError
    | Print
    | Return
    | Use
    | Execute
    | Break
    | WaitFor
    | Kill
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request holds, with the line of each statement."""

    statements: Sequence[Statement]
    lines: Sequence[int]
