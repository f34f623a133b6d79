"""pure: what the engine's parts share: tables as declared, a database's catalogue, the state of a session.

How it is stored. Every SQL Server database is a PostgreSQL database. A table is `data.t<object_id>`, its columns
`c<column_id>`, so that names need no folding and a rename moves nothing; the catalogue lives in this process, immutable
and replaced whole at commit.

- bit: boolean. tinyint (checked), smallint: int2; int: int4; bigint: int8. float: float8; real: float4.
- decimal(p,s): numeric(p,s); money: numeric(19,4); smallmoney: numeric(10,4).
- char to nvarchar(max), text, ntext, xml: text, with U+0000 kept as U+F0000 and a lone surrogate U+D8xx as U+FD8xx;
  other characters of U+F0000 to U+FFFFF are refused. Compared by `standin.fold_ci` (lower, trailing blanks cut) or
  `standin.fold_cs` (blanks cut).
- binary, varbinary, image, rowversion: bytea. uniqueidentifier: bytea, its 16 bytes in SQL Server's order of
  comparison.
- date, time, smalldatetime, datetime, datetime2, datetimeoffset: text as between wire and engine: the texts sort like
  the times.
- hierarchyid: text, its path. geography, geometry: JSON text [srid, WKB in hex].
- sql_variant: JSON text [type, length, precision, scale, text of the value].
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.standin.ports import Event, Login, SqlError, SqlType, Value

if TYPE_CHECKING:
    import asyncpg

    from tests.standin.engine.database import Database
    from tests.standin.tsql.ast import CreateProcedure, CreateTrigger, Expression, Query

COLLATION = "SQL_Latin1_General_CP1_CI_AS"  # of databases that name none


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column of a table; `computed` columns have an expression and no value of their own (compiled into every read)."""

    column_id: int
    name: str
    type: SqlType  # text types carry their collation
    nullable: bool = True
    identity: tuple[int, int] | None = None
    default: Expression | None = None
    default_name: str = ""
    computed: Expression | None = None
    computed_text: str = ""
    persisted: bool = False
    user_type: tuple[str, str] | None = None  # schema and name of the alias type
    hidden: bool = False
    generated: str = ""  # ROW START, ROW END
    sparse: bool = False
    rowguidcol: bool = False
    default_id: int = 0  # object_id of the default constraint

    @property
    def stored(self) -> str:
        """Its name in PostgreSQL."""
        return f"c{self.column_id}"


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A primary key, a unique constraint or an index; `columns`: (column_id, descending)."""

    index_id: int
    name: str
    columns: Sequence[tuple[int, bool]]
    unique: bool = False
    primary: bool = False
    constraint: bool = False
    clustered: bool = False
    include: tuple[int, ...] = ()
    where: Expression | None = None
    object_id: int = 0  # of a constraint


@dataclass(frozen=True, slots=True)
class ForeignKeyInfo:
    object_id: int
    name: str
    columns: tuple[int, ...]
    referenced: int  # object_id
    referenced_columns: tuple[int, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class CheckInfo:
    object_id: int
    name: str
    expression: Expression
    text: str
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class TriggerInfo:
    object_id: int
    name: str
    statement: CreateTrigger
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table (kind U), a view (V, with its query)."""

    object_id: int
    schema: str
    name: str
    kind: str
    columns: Sequence[ColumnInfo]
    indexes: Sequence[IndexInfo] = ()
    foreign_keys: Sequence[ForeignKeyInfo] = ()
    checks: Sequence[CheckInfo] = ()
    triggers: Sequence[TriggerInfo] = ()
    tracked: bool = False
    columns_updated: bool = False  # TRACK_COLUMNS_UPDATED
    query: Query | None = None
    created: str = ""  # datetime texts, UTC
    modified: str = ""
    temporary: bool = False
    text: str = ""  # of a view
    last_column: int = 0  # the highest column_id a dropped column had
    shape: int = 0  # grows with every DDL and TRUNCATE: error 3961 of snapshots that began before

    @property
    def stored(self) -> str:
        """Its qualified name in PostgreSQL."""
        return f"pg_temp.t{self.object_id}" if self.temporary else f"data.t{self.object_id}"

    def column(self, name: str) -> ColumnInfo | None:
        """By name, in any case."""
        return next((c for c in self.columns if c.name.casefold() == name.casefold()), None)

    @property
    def key(self) -> Sequence[ColumnInfo]:
        """The primary key's columns in its order; empty without one."""
        primary = next((i for i in self.indexes if i.primary), None)
        by_id = {c.column_id: c for c in self.columns}
        return [by_id[column_id] for column_id, _ in primary.columns] if primary else []


@dataclass(frozen=True, slots=True)
class ProcedureInfo:
    object_id: int
    schema: str
    name: str
    statement: CreateProcedure


@dataclass(frozen=True, slots=True)
class PrincipalInfo:
    """A user of the database; `login` "" for one without."""

    principal_id: int
    name: str
    login: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything declared in one database at one moment. Keys of mappings are case-folded (schema, name)."""

    schemas: Mapping[str, str] = field(default_factory=dict)  # folded -> as written
    tables: Mapping[tuple[str, str], TableInfo] = field(default_factory=dict)
    procedures: Mapping[tuple[str, str], ProcedureInfo] = field(default_factory=dict)
    types: Mapping[tuple[str, str], tuple[SqlType, bool]] = field(default_factory=dict)  # alias types: base, nullable
    principals: Mapping[str, PrincipalInfo] = field(default_factory=dict)
    permissions: frozenset[tuple[str, str, str, str]] = (
        frozenset()
    )  # GRANT|DENY, permission, securable such as OBJECT:123, principal
    next_id: int = 1000
    generation: int = 0  # grows with every change


@dataclass(frozen=True, slots=True)
class Declared:
    """What a rollback restores of a session."""

    catalogue: Catalogue
    temporaries: Mapping[str, TableInfo]


@dataclass(slots=True)
class State:
    """One session: what its statements read and change."""

    connection: asyncpg.Connection[asyncpg.Record]
    database: Database
    catalogue: Catalogue  # of the open transaction, or the committed one
    login: Login
    spid: int
    variables: dict[str, tuple[SqlType, Value]] = field(default_factory=dict)  # by folded name with the @
    table_variables: dict[str, TableInfo] = field(default_factory=dict)
    isolation: str = "READ COMMITTED"
    trancount: int = 0
    doomed: bool = False  # XACT_STATE() = -1
    snapshot: bool = False  # the open transaction began as SNAPSHOT
    descriptor: int = 0
    nocount: bool = False
    xact_abort: bool = False
    lock_timeout: int = -1  # ms
    deadlock_priority: int = 0
    identity_insert: int = 0  # object_id
    rowcount: int = 0
    error: int = 0
    identity: int | None = None  # SCOPE_IDENTITY()
    context: bytes | None = None  # of the statement that runs: WITH CHANGE_TRACKING_CONTEXT
    temporaries: dict[str, TableInfo] = field(default_factory=dict)  # by folded name with the #; temporary is set
    savepoints: list[tuple[str, Declared]] = field(default_factory=list)  # of the open transaction (storage.py)
    begun: Declared | None = None  # what was declared when the transaction began (storage.py)
    settings: tuple[int, int] | None = None  # lock_timeout and deadlock_priority as PostgreSQL knows them (locks.py)
    caught: SqlError | None = None  # in CATCH: what ERROR_NUMBER(), _MESSAGE, _SEVERITY, _STATE, _LINE tell; None elsewhere
    caught_procedure: str | None = None  # ERROR_PROCEDURE()
    firing: tuple[int, ...] = ()  # object ids of the triggers whose bodies run, outermost first (triggers_run.py)
    last_identity: int | None = None  # @@IDENTITY: of the session, where `identity` is the scope's; DML sets both


class Interpreter(Protocol):
    """What DML hands the rows to that fire a trigger (implemented by `interpreter.Runner`)."""

    def run_trigger(self, trigger: TriggerInfo, inserted: TableInfo, deleted: TableInfo) -> AsyncIterator[Event]:
        """Runs the body once for the statement, after (AFTER) or in place of (INSTEAD OF) its writes.

        `inserted` and `deleted` are temporary tables with the table's columns; while the body runs `State.table_variables`
        holds them under the names "inserted" and "deleted". Raises SqlError: the body's error, or 3609 after a ROLLBACK.
        """
        ...
