"""pure: the syntax tree of statements on data and declarations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.standin.tsql.ast_queries import Expression, Name, Query, SelectItem, Source, TypeName, Values

if TYPE_CHECKING:
    from tests.standin.tsql.ast_control import Statement


@dataclass(frozen=True, slots=True)
class Insert:
    """`context`: expression of WITH CHANGE_TRACKING_CONTEXT; `source` None: DEFAULT VALUES; `output`: OUTPUT inserted.x."""

    table: Name
    columns: tuple[str, ...]
    source: Values | Query | None
    output: Sequence[SelectItem] = ()
    context: Expression | None = None
    hints: tuple[str, ...] = ()
    ctes: Sequence[tuple[str, tuple[str, ...], Query]] = ()
    output_into: tuple[Name, tuple[str, ...]] | None = None  # OUTPUT ... INTO table (columns)
    top: Expression | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """`source`: the FROM clause; then `table` may be its alias."""

    table: Name
    assignments: Sequence[tuple[str, Expression]]
    source: Source | None
    where: Expression | None
    top: Expression | None = None
    output: Sequence[SelectItem] = ()
    context: Expression | None = None
    hints: tuple[str, ...] = ()
    ctes: Sequence[tuple[str, tuple[str, ...], Query]] = ()
    output_into: tuple[Name, tuple[str, ...]] | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    table: Name
    source: Source | None
    where: Expression | None
    top: Expression | None = None
    output: Sequence[SelectItem] = ()
    context: Expression | None = None
    hints: tuple[str, ...] = ()
    ctes: Sequence[tuple[str, tuple[str, ...], Query]] = ()
    output_into: tuple[Name, tuple[str, ...]] | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Truncate:
    table: Name


@dataclass(frozen=True, slots=True)
class ColumnDef:
    """`computed` excludes `type`. `generated`: GENERATED ALWAYS AS ROW START|END."""

    name: str
    type: TypeName | None
    nullable: bool | None = None  # None: not said
    identity: tuple[int, int] | None = None
    default: Expression | None = None
    default_name: str = ""
    computed: Expression | None = None
    persisted: bool = False
    collation: str = ""
    sparse: bool = False
    rowguidcol: bool = False
    hidden: bool = False
    generated: str = ""
    constraints: Sequence[Constraint] = ()  # PRIMARY KEY, UNIQUE, CHECK, REFERENCES written with the column
    masked: str = ""  # MASKED WITH (FUNCTION = '...')
    with_values: bool = False  # ALTER TABLE ADD c ... DEFAULT x WITH VALUES


@dataclass(frozen=True, slots=True)
class Constraint:
    """`kind`: primary key, unique, check, foreign key, default. `columns`: (name, descending).

    default (ALTER TABLE ADD CONSTRAINT x DEFAULT e FOR c): the expression in `check`, the column in `columns`.
    """

    kind: str
    name: str = ""
    columns: Sequence[tuple[str, bool]] = ()
    clustered: bool | None = None
    check: Expression | None = None
    references: Name | None = None
    referenced: tuple[str, ...] = ()
    on_delete: str = ""  # NO ACTION, CASCADE, SET NULL, SET DEFAULT
    on_update: str = ""


@dataclass(frozen=True, slots=True)
class CreateTable:
    name: Name
    columns: Sequence[ColumnDef]
    constraints: Sequence[Constraint]
    period: tuple[str, str] | None = None  # PERIOD FOR SYSTEM_TIME (a, b)
    versioning: bool = False  # WITH (SYSTEM_VERSIONING = ON)
    history: Name | None = None  # HISTORY_TABLE


@dataclass(frozen=True, slots=True)
class CreateIndex:
    name: str
    table: Name
    columns: Sequence[tuple[str, bool]]
    unique: bool = False
    include: tuple[str, ...] = ()
    where: Expression | None = None
    clustered: bool = False


@dataclass(frozen=True, slots=True)
class CreateSchema:
    name: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class CreateType:
    """An alias type: CREATE TYPE dbo.Flag FROM bit NOT NULL."""

    name: Name
    base: TypeName
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class CreateTrigger:
    """AFTER or INSTEAD OF; the body is executed per statement with `inserted` and `deleted`."""

    name: Name
    table: Name
    timing: str  # AFTER, INSTEAD OF
    events: tuple[str, ...]  # INSERT, UPDATE, DELETE
    body: Sequence[Statement]
    text: str
    lines: Sequence[int] = ()  # of the body's statements


@dataclass(frozen=True, slots=True)
class CreateView:
    name: Name
    query: Query
    text: str


@dataclass(frozen=True, slots=True)
class CreateProcedure:
    """Parameters as (name with @, type, default or None, output)."""

    name: Name
    parameters: Sequence[tuple[str, TypeName, Expression | None, bool]]
    body: Sequence[Statement]
    text: str
    lines: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """`kind`: table, index, schema, type, trigger, view, procedure, database, user, login. `on`: the index's table."""

    kind: str
    names: Sequence[Name]
    if_exists: bool = False
    on: Name | None = None


@dataclass(frozen=True, slots=True)
class AlterTable:
    """One action of ALTER TABLE; the parser keeps them in order.

    `actions` holds ColumnDef (ADD), Constraint (ADD), AlterColumn, DropColumn, DropConstraint, Tracking, TriggerSwitch.
    """

    table: Name
    actions: Sequence[ColumnDef | Constraint | AlterColumn | DropColumn | DropConstraint | Tracking | TriggerSwitch | Check]


@dataclass(frozen=True, slots=True)
class AlterColumn:
    name: str
    type: TypeName
    nullable: bool | None
    collation: str = ""


@dataclass(frozen=True, slots=True)
class DropColumn:
    name: str
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropConstraint:
    name: str
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class Tracking:
    """ENABLE or DISABLE CHANGE_TRACKING of a table."""

    enable: bool
    columns_updated: bool = False


@dataclass(frozen=True, slots=True)
class TriggerSwitch:
    enable: bool
    name: str  # "": ALL


@dataclass(frozen=True, slots=True)
class Check:
    """`{CHECK | NOCHECK} CONSTRAINT name|ALL`."""

    enable: bool
    name: str


@dataclass(frozen=True, slots=True)
class AlterDatabase:
    """`name` "" : CURRENT. `option`, upper case: CHANGE_TRACKING, ALLOW_SNAPSHOT_ISOLATION, READ_COMMITTED_SNAPSHOT, RECOVERY,
    READ_ONLY, READ_WRITE, SINGLE_USER, MULTI_USER, DELAYED_DURABILITY, COMPATIBILITY_LEVEL.

    `settings`: for CHANGE_TRACKING e.g. (("CHANGE_RETENTION", "2 DAYS"), ("AUTO_CLEANUP", "ON")).
    """

    name: str
    option: str
    value: str = ""  # ON, OFF, a number
    settings: tuple[tuple[str, str], ...] = ()
    with_rollback: bool = False


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    name: str
    collation: str = ""


@dataclass(frozen=True, slots=True)
class Backup:
    """`BACKUP DATABASE x TO DISK = 'f' WITH ...`."""

    database: str
    file: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restore:
    database: str
    file: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateLogin:
    name: str
    password: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CreateUser:
    name: str
    login: str  # "": WITHOUT LOGIN
    schema: str = ""  # DEFAULT_SCHEMA


@dataclass(frozen=True, slots=True)
class AlterRole:
    """`ALTER ROLE r ADD|DROP MEMBER m`; `server`: ALTER SERVER ROLE."""

    role: str
    add: bool
    member: str
    server: bool = False


@dataclass(frozen=True, slots=True)
class Permission:
    """GRANT, DENY, REVOKE. `securable`: ("OBJECT", "dbo.t"), ("SCHEMA", "dbo"), ("DATABASE", ""), ("SERVER", "")."""

    action: str
    permissions: tuple[str, ...]
    securable: str
    on: Name | None
    principals: tuple[str, ...]
