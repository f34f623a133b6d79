"""pure: the syntax tree of names, expressions and queries."""

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
