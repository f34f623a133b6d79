"""pure: an expression or query back to T-SQL: definitions in the catalogue (computed columns, defaults, checks, filters)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, cast

from tests.standin.ports import MAX, SqlType
from tests.standin.tsql.ast import (
    Between,
    Binary,
    Call,
    Case,
    ChangeTable,
    Collate,
    ColumnRef,
    Compound,
    Convert,
    Default,
    Derived,
    Exists,
    Expression,
    In,
    IsNull,
    Join,
    Literal,
    Method,
    Name,
    OrderItem,
    Query,
    Select,
    SelectItem,
    Star,
    StaticCall,
    Subquery,
    TableRef,
    TypeName,
    Unary,
    Values,
    Variable,
    VersionTable,
    Window,
)


def render(expression: Expression) -> str:
    """Parses to the same tree; names in brackets, operands in parentheses where they have to be."""
    return _RENDER[type(expression)](expression)


def quote(name: str) -> str:
    """`[a]]b]`."""
    return "[" + name.replace("]", "]]") + "]"


def render_name(name: Name) -> str:
    """`[dbo].[t]`; a variable as it is."""
    return _dotted(name.parts)


def _dotted(parts: Sequence[str]) -> str:
    return ".".join(part if part.startswith("@") and len(parts) == 1 else quote(part) if part else "" for part in parts)


def render_type(name: TypeName) -> str:
    """`nvarchar(50)`."""
    return _dotted(name.name.parts) if name.builtin is None else render_builtin(name.builtin)


def render_builtin(kind: SqlType) -> str:
    """A type's text, its length included."""
    if kind.name in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        return f"{kind.name}({'max' if kind.length == MAX else kind.length})"
    if kind.name == "decimal":
        return f"decimal({kind.precision},{kind.scale})"
    return f"{kind.name}({kind.scale})" if kind.name in ("time", "datetime2", "datetimeoffset") else kind.name


def _list(expressions: Sequence[Expression]) -> str:
    return ",".join(map(render, expressions))


def _operand(expression: Expression) -> str:
    text = render(expression)
    return f"({text})" if isinstance(expression, (Binary, Unary, Between, In, IsNull)) else text


# -- literals ----------------------------------------------------------------------------------------------------------------


def _literal(node: Literal) -> str:
    value = node.value
    if node.kind == "null":
        return "NULL"
    if node.kind in ("string", "nstring"):
        text = str(value).replace("'", "''")
        return f"N'{text}'" if node.kind == "nstring" else f"'{text}'"
    if node.kind == "binary":
        return f"0x{cast('bytes', value).hex().upper()}"
    if node.kind == "float":
        text = repr(value)
        return text if "e" in text else text + "e0"
    if node.kind == "money":
        return f"${cast('Decimal', value):f}"
    return _exact(value) if node.kind == "decimal" else str(value)


def _exact(value: Any) -> str:
    """A decimal keeps its point: 1. is not the integer 1."""
    text = f"{value:f}"
    small = "." not in text and abs(int(text)) <= 2147483647
    return text + "." if small else text


# -- operators ---------------------------------------------------------------------------------------------------------------


def _unary(node: Unary) -> str:
    return f"NOT ({render(node.operand)})" if node.op == "NOT" else f"{node.op}{_operand(node.operand)}"


def _binary(node: Binary) -> str:
    """Iterative along the left side: chains of AND and + may be long."""
    tail: list[str] = []
    at: Expression = node
    while isinstance(at, Binary):
        tail.append(f" {at.op} {_operand(at.right)}")
        chained = isinstance(at.left, Binary) and (at.left.op == at.op or (at.op in "+-" and at.left.op in "+-"))
        if not chained:
            tail.append(_operand(at.left))
            break
        at = at.left
    return "".join(reversed(tail))


def _is_null(node: IsNull) -> str:
    return f"{_operand(node.operand)} IS {'NOT ' if node.negated else ''}NULL"


def _between(node: Between) -> str:
    word = "NOT BETWEEN" if node.negated else "BETWEEN"
    return f"{_operand(node.operand)} {word} {_operand(node.low)} AND {_operand(node.high)}"


def _in(node: In) -> str:
    choices = render_query(node.choices) if isinstance(node.choices, Query) else _list(node.choices)
    return f"{_operand(node.operand)} {'NOT ' if node.negated else ''}IN ({choices})"


def _case(node: Case) -> str:
    head = f"CASE {_operand(node.operand)}" if node.operand is not None else "CASE"
    whens = "".join(f" WHEN {render(when)} THEN {render(then)}" for when, then in node.whens)
    otherwise = f" ELSE {render(node.otherwise)}" if node.otherwise is not None else ""
    return f"{head}{whens}{otherwise} END"


# -- calls -------------------------------------------------------------------------------------------------------------------

_NILADIC = frozenset(("CURRENT_TIMESTAMP", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "USER"))


def _call(node: Call) -> str:
    if node.name in _NILADIC:
        return node.name
    return f"{node.name.lower()}({'DISTINCT ' if node.distinct else ''}{_list(node.arguments)})"


def _window(node: Window) -> str:
    parts = [f"PARTITION BY {_list(node.partition)}"] if node.partition else []
    if node.order:
        parts.append(f"ORDER BY {_order(node.order)}")
    return f"{_call(node.call)} OVER ({' '.join(parts)})"


def _method(node: Method) -> str:
    arguments = "" if node.arguments is None else f"({_list(node.arguments)})"
    return f"{_operand(node.operand)}.{node.name}{arguments}"


def _static(node: StaticCall) -> str:
    return f"{node.type_name}::{node.name}({_list(node.arguments)})"


def _convert(node: Convert) -> str:
    style = f",{render(node.style)}" if node.style is not None else ""
    return f"{'TRY_' if node.attempt else ''}CONVERT({render_type(node.type)},{render(node.operand)}{style})"


_RENDER: dict[type, Callable[[Any], str]] = {
    Literal: _literal,
    Variable: lambda node: str(node.name),
    ColumnRef: lambda node: _dotted(node.parts),
    Unary: _unary,
    Binary: _binary,
    IsNull: _is_null,
    Between: _between,
    In: _in,
    Exists: lambda node: f"EXISTS ({render_query(node.query)})",
    Subquery: lambda node: f"({render_query(node.query)})",
    Case: _case,
    Call: _call,
    Window: _window,
    Method: _method,
    StaticCall: _static,
    Convert: _convert,
    Collate: lambda node: f"{_operand(node.operand)} COLLATE {node.collation}",
    Star: lambda node: "".join(quote(part) + "." for part in node.qualifier) + "*",
    Default: lambda _: "DEFAULT",
}


# -- queries -----------------------------------------------------------------------------------------------------------------


def render_query(query: Query) -> str:
    """Views, and queries within expressions."""
    parts = []
    if query.ctes:
        parts.append("WITH " + ", ".join(f"{quote(n)}{_columns(c)} AS ({render_query(q)})" for n, c, q in query.ctes))
    parts.append(_body(query.body))
    if query.order:
        parts.append(f"ORDER BY {_order(query.order)}")
    if query.offset is not None:
        parts.append(f"OFFSET {render(query.offset)} ROWS")
    if query.fetch is not None:
        parts.append(f"FETCH NEXT {render(query.fetch)} ROWS ONLY")
    if query.options:
        parts.append(f"OPTION ({', '.join(query.options)})")
    return " ".join(parts)


def _columns(names: Sequence[str]) -> str:
    return f" ({', '.join(map(quote, names))})" if names else ""


def _order(items: Sequence[OrderItem]) -> str:
    return ", ".join(render(item.expression) + (" DESC" if item.descending else "") for item in items)


def _body(body: Select | Compound) -> str:
    """Iterative along the left side: a UNION ALL may have thousands of branches."""
    tail: list[str] = []
    while isinstance(body, Compound):
        right = _body(body.right)
        tail.append(f" {body.op} " + (f"({right})" if isinstance(body.right, Compound) else right))
        if body.op == "INTERSECT" and isinstance(body.left, Compound) and body.left.op != "INTERSECT":
            tail.append(f"({_body(body.left)})")
            break
        body = body.left
    else:
        tail.append(_select(body))
    return "".join(reversed(tail))


def _select(node: Select) -> str:
    parts = ["SELECT"]
    if node.distinct:
        parts.append("DISTINCT")
    if node.top is not None:
        parts.append(f"TOP ({render(node.top)})")
    parts.append(", ".join(map(_item, node.items)))
    if node.into is not None:
        parts.append(f"INTO {render_name(node.into)}")
    if node.source is not None:
        parts.append(f"FROM {_source(node.source)}")
    if node.where is not None:
        parts.append(f"WHERE {render(node.where)}")
    if node.group:
        parts.append(f"GROUP BY {_list(node.group)}")
    if node.having is not None:
        parts.append(f"HAVING {render(node.having)}")
    return " ".join(parts)


def _item(item: SelectItem) -> str:
    if item.assign:
        return f"{item.assign} = {render(item.expression)}"
    return render(item.expression) + (f" AS {quote(item.alias)}" if item.alias else "")


def _source(source: Any) -> str:
    return _SOURCES[type(source)](source)


def _table(node: TableRef) -> str:
    alias = f" AS {quote(node.alias)}" if node.alias else ""
    hints = f" WITH ({', '.join(map(_hint, node.hints))})" if node.hints else ""
    return render_name(node.name) + alias + hints


def _hint(hint: str) -> str:
    name = hint.removeprefix("INDEX(").removesuffix(")")
    return hint if name == hint or name.isdigit() else f"INDEX({quote(name)})"


def _changes(node: ChangeTable) -> str:
    seek = ", FORCESEEK" if node.forceseek else ""
    changes = f"CHANGETABLE(CHANGES {render_name(node.table)}, {render(node.since)}{seek})"
    return f"{changes} AS {quote(node.alias)}{_columns(node.columns)}"


def _version(node: VersionTable) -> str:
    keys = ", ".join(map(quote, node.keys))
    return f"CHANGETABLE(VERSION {render_name(node.table)}, ({keys}), ({_list(node.values)})) AS {quote(node.alias)}"


def _derived(node: Derived) -> str:
    if isinstance(node.query, Values):
        inner = "VALUES " + ", ".join(f"({_list(row)})" for row in node.query.rows)
    else:
        inner = render_query(node.query)
    return f"({inner}) AS {quote(node.alias)}{_columns(node.columns)}"


def _join(node: Join) -> str:
    """Iterative along the left side."""
    tail: list[str] = []
    at: Any = node
    while isinstance(at, Join):
        right = f"({_source(at.right)})" if isinstance(at.right, Join) else _source(at.right)
        word = at.kind if at.kind.endswith("APPLY") else f"{at.kind} JOIN"
        tail.append(f" {word} {right}" + (f" ON {render(at.on)}" if at.on is not None else ""))
        at = at.left
    return _source(at) + "".join(reversed(tail))


_SOURCES: dict[type, Callable[[Any], str]] = {
    TableRef: _table,
    ChangeTable: _changes,
    VersionTable: _version,
    Derived: _derived,
    Join: _join,
}
