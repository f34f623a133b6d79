"""pure: the syntax tree, one class per shape. Names are kept as written (the catalogue folds them)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from tests.standin.ports import SqlType

# -- names and expressions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """`[a].[b].c`: one to four parts, unquoted."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """`kind`: int, decimal, money, float, string, nstring, binary, null. A decimal keeps its digits."""

    kind: str
    value: int | Decimal | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class Variable:
    """`@name`; `@@TRANCOUNT` and its kind keep both signs, upper case."""

    name: str


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """`c`, `t.c`, `s.t.c`, and `CT.SYS_CHANGE_VERSION`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """`op`: - + ~ NOT."""

    op: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """`op`, upper case: + - * / % & | ^ = <> < <= > >= AND OR LIKE. (!= becomes <>.)"""

    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class IsNull:
    operand: Expression
    negated: bool


@dataclass(frozen=True, slots=True)
class Between:
    operand: Expression
    low: Expression
    high: Expression
    negated: bool


@dataclass(frozen=True, slots=True)
class In:
    """`choices`: expressions, or one Query."""

    operand: Expression
    choices: Sequence[Expression] | Query
    negated: bool


@dataclass(frozen=True, slots=True)
class Exists:
    query: Query


@dataclass(frozen=True, slots=True)
class Subquery:
    """A scalar one."""

    query: Query


@dataclass(frozen=True, slots=True)
class Case:
    """`operand` None: searched."""

    operand: Expression | None
    whens: Sequence[tuple[Expression, Expression]]
    otherwise: Expression | None


@dataclass(frozen=True, slots=True)
class Call:
    """`COUNT(*)` has the one argument Star(). `name` upper case; CHANGE_TRACKING_CONTEXT and the like included."""

    name: str
    arguments: Sequence[Expression]
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """`ROW_NUMBER() OVER (PARTITION BY ... ORDER BY ...)`."""

    call: Call
    partition: Sequence[Expression]
    order: Sequence[OrderItem]


@dataclass(frozen=True, slots=True)
class Method:
    """`c.ToString()`, `c.AsBinaryZM()`; `c.STSrid` (a property has arguments None)."""

    operand: Expression
    name: str
    arguments: Sequence[Expression] | None


@dataclass(frozen=True, slots=True)
class StaticCall:
    """`hierarchyid::Parse('/1/')`."""

    type_name: str
    name: str
    arguments: Sequence[Expression]


@dataclass(frozen=True, slots=True)
class Convert:
    """CAST (style None) and CONVERT; `attempt`: TRY_CAST, TRY_CONVERT."""

    type: TypeName
    operand: Expression
    style: Expression | None = None
    attempt: bool = False


@dataclass(frozen=True, slots=True)
class Collate:
    operand: Expression
    collation: str


@dataclass(frozen=True, slots=True)
class Star:
    """`*` or `t.*`."""

    qualifier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Default:
    """`DEFAULT` as a value of INSERT or UPDATE (and of EXEC)."""


Expression: TypeAlias = (
    Literal
    | Variable
    | ColumnRef
    | Unary
    | Binary
    | IsNull
    | Between
    | In
    | Exists
    | Subquery
    | Case
    | Call
    | Window
    | Method
    | StaticCall
    | Convert
    | Collate
    | Star
    | Default
)


@dataclass(frozen=True, slots=True)
class TypeName:
    """`nvarchar(50)`, `[dbo].[Flag]`: `builtin` is None where the name is not a built-in one (an alias type)."""

    name: Name
    builtin: SqlType | None


# -- queries -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table, view or sys view. `hints`: upper case words of WITH (...)."""

    name: Name
    alias: str = ""
    hints: tuple[str, ...] = ()


# A table variable, or `inserted` and `deleted` in a trigger, is a TableRef with one part: ("@t",), ("inserted",).


@dataclass(frozen=True, slots=True)
class ChangeTable:
    """`CHANGETABLE(CHANGES t, v [, FORCESEEK]) AS a`: `since`: a Literal or a Variable, as the real grammar demands."""

    table: Name
    since: Expression
    alias: str
    columns: tuple[str, ...] = ()
    forceseek: bool = False


@dataclass(frozen=True, slots=True)
class VersionTable:
    """`CHANGETABLE(VERSION t, (k1, k2), (v1, v2)) AS a`."""

    table: Name
    keys: tuple[str, ...]
    values: Sequence[Expression]
    alias: str


@dataclass(frozen=True, slots=True)
class Derived:
    """`(SELECT ...) AS a (c, d)` and `(VALUES (..), (..)) AS a (c, d)`."""

    query: Query | Values
    alias: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """`kind`: INNER, LEFT, RIGHT, FULL, CROSS, CROSS APPLY, OUTER APPLY."""

    kind: str
    left: Source
    right: Source
    on: Expression | None


Source: TypeAlias = TableRef | ChangeTable | VersionTable | Derived | Join


@dataclass(frozen=True, slots=True)
class SelectItem:
    """`assign`: the variable of `SELECT @v = ...`."""

    expression: Expression
    alias: str = ""
    assign: str = ""


@dataclass(frozen=True, slots=True)
class OrderItem:
    expression: Expression
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Select:
    items: Sequence[SelectItem]
    source: Source | None = None  # a comma in FROM is a CROSS join
    where: Expression | None = None
    group: Sequence[Expression] = ()
    having: Expression | None = None
    distinct: bool = False
    top: Expression | None = None
    into: Name | None = None


@dataclass(frozen=True, slots=True)
class Values:
    rows: Sequence[Sequence[Expression]]


@dataclass(frozen=True, slots=True)
class Compound:
    """`op`: UNION ALL, UNION, EXCEPT, INTERSECT."""

    op: str
    left: Select | Compound
    right: Select | Compound


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query: `ctes` are (name, columns, query)."""

    body: Select | Compound
    ctes: Sequence[tuple[str, tuple[str, ...], Query]] = ()
    order: Sequence[OrderItem] = ()
    offset: Expression | None = None
    fetch: Expression | None = None
    options: tuple[str, ...] = ()  # OPTION (RECOMPILE), upper case


# -- statements --------------------------------------------------------------------------------------------------------------


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
