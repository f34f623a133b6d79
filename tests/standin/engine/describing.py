"""pure: the types of parameters that nobody declared, deduced from what they meet.

https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-describe-undeclared-parameters-transact-sql
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args

from tests.standin.engine import types
from tests.standin.engine.options import find_table
from tests.standin.ports import MAX, Parameter, Refused, SqlError, SqlType
from tests.standin.tsql import ast
from tests.standin.tsql.tokens import tokenize
from tests.standin.tsql.variables import read

if TYPE_CHECKING:
    from tests.standin.engine.model import State

_BIGINT, _INT = SqlType("bigint"), SqlType("int")
_CONTEXT = SqlType("varbinary", 128)
_CHANGES = {
    "sys_change_version": _BIGINT,
    "sys_change_creation_version": _BIGINT,
    "sys_change_operation": SqlType("nchar", 1),
    "sys_change_columns": SqlType("varbinary", 4100),
    "sys_change_context": _CONTEXT,
}
_ORDERED = ("<", ">", "<=", ">=", "LIKE")
_ARITHMETIC = ("+", "-", "*", "/", "%")
_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_COUNTS = {"COUNT": _INT, "LEN": _INT, "DATALENGTH": _INT, "COUNT_BIG": _BIGINT, "CHANGE_TRACKING_CURRENT_VERSION": _BIGINT}

_STATEMENTS = frozenset(get_args(ast.Statement))

Columns = Mapping[str, SqlType]


def describe(state: State, sql: str, given: Sequence[Parameter]) -> list[Parameter]:
    """In the order of the text. Raises SqlError 11503, 11506, 11508, 208, 207, those of the parser, and Refused."""
    checked, texts = read(sql), [text.casefold() for text in tokenize(sql).texts]
    wanted = [mention.name for mention in checked.undeclared(parameter.name for parameter in given)]
    wanted.sort(key=texts.index)
    deducer = _Deducer(state, frozenset(wanted), {p.name.casefold(): p.type for p in given})
    for statement in checked.batch.statements:
        deducer.statement(statement)
    missing = next((name for name in wanted if name not in deducer.found), None)
    if missing is not None:
        raise _undeduced()
    return [Parameter(deducer.written[name], deducer.found[name], None) for name in wanted]


def _undeduced() -> SqlError:
    return SqlError(11506, "The parameter type cannot be deduced because no type would make the query valid.")


def general(other: SqlType) -> SqlType:
    """What a parameter is taken for beside a value of a type, where its own type need not be the same."""
    name = other.name
    if name in ("char", "varchar"):
        return SqlType("varchar", MAX if other.length == MAX else 8000)
    if name in ("nchar", "nvarchar"):
        return SqlType("nvarchar", MAX if other.length == MAX else 4000)
    if name in ("binary", "varbinary", "rowversion"):
        return SqlType("varbinary", MAX if other.length == MAX else 8000)
    if name == "decimal":
        return SqlType("decimal", precision=38, scale=19)
    if name in ("time", "datetime2", "datetimeoffset"):
        return SqlType(name, scale=7)
    if name in ("uniqueidentifier", "text", "ntext", "image"):
        raise Refused(f"the deduction of a parameter compared with {name}")
    return other


@dataclass(slots=True)
class _Deducer:
    """`sources`: the tables in sight, innermost first: their names and columns."""

    state: State
    wanted: frozenset[str]
    known: dict[str, SqlType]
    found: dict[str, SqlType] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    sources: list[tuple[str, Columns]] = field(default_factory=list)
    ctes: dict[str, Columns] = field(default_factory=dict)

    # -- statements ----------------------------------------------------------------------------------------------------------

    def statement(self, statement: Any) -> None:
        match statement:
            case ast.Query():
                self.query(statement)
            case ast.Insert():
                self._insert(statement)
            case ast.Update() | ast.Delete():
                self._change(statement)
            case ast.SetVariable(name, value):
                self.assigned(value, self.known.get(name.casefold()))
            case ast.Declare(variables, _):
                for name, kind, initial in variables:
                    if kind.builtin is not None:
                        self.known[name.casefold()] = kind.builtin
                    self.assigned(initial, kind.builtin)
            case ast.Execute():
                self._execute(statement)
            case _:
                self._others(statement)

    def _others(self, node: Any) -> None:
        """Statements that hold others, and expressions in statements of no interest."""
        for child in _children(node):
            if isinstance(child, list | tuple):
                self._others(child)
            elif type(child) in _STATEMENTS:
                self.statement(child)
            else:
                self.expression(child)

    def _insert(self, statement: ast.Insert) -> None:
        self._context(statement)
        table = self._columns_of(statement.table)
        targets = [_column(table, name) for name in statement.columns] or list(table.values())
        if isinstance(statement.source, ast.Values):
            for row in statement.source.rows:
                for value, kind in zip(row, targets, strict=False):
                    self.assigned(value, kind)
        elif statement.source is not None:
            self.query(statement.source, targets)
        self.expression(statement.top, _BIGINT)

    def _change(self, statement: ast.Update | ast.Delete) -> None:
        self._context(statement)
        depth = len(self.sources)
        self.source(statement.source)
        names = {name for name, _ in self.sources}
        target = statement.table.parts[-1].casefold()
        if target not in names:
            self.sources.append((target, self._columns_of(statement.table)))
        for name, value in statement.assignments if isinstance(statement, ast.Update) else ():
            self.assigned(value, _column(dict(self.sources)[target], name))
        self.expression(statement.where)
        self.expression(statement.top, _BIGINT)
        del self.sources[depth:]

    def _context(self, statement: ast.Insert | ast.Update | ast.Delete) -> None:
        self.assigned(statement.context, _CONTEXT)
        self._with(statement.ctes)

    def _execute(self, statement: ast.Execute) -> None:
        name = statement.procedure
        key = (name.parts[-2].casefold() if len(name.parts) > 1 else "dbo", name.parts[-1].casefold()) if name else ("", "")
        procedure = self.state.catalogue.procedures.get(key)
        for place, (written, value, _) in enumerate(statement.arguments):
            if procedure is None:
                self.expression(value)
                continue
            by_name = {parameter[0].casefold(): parameter[1].builtin for parameter in procedure.statement.parameters}
            kinds = list(by_name.values())
            self.assigned(value, by_name.get(written.casefold(), kinds[place] if place < len(kinds) else None))

    # -- queries -------------------------------------------------------------------------------------------------------------

    def query(self, query: ast.Query, targets: Sequence[SqlType] = ()) -> Columns:
        """Its columns whose types are known; `targets`: the columns that its values are inserted into."""
        self._with(query.ctes)
        body, branches = query.body, []
        while isinstance(body, ast.Compound):
            branches.append(body.right)
            body = body.left
        columns = self._select(body, targets, query.order)
        for branch in reversed(branches):
            if isinstance(branch, ast.Compound):
                self.query(ast.Query(branch), targets)
            else:
                self._select(branch, targets, ())
        self.expression(query.offset, _BIGINT)
        self.expression(query.fetch, _BIGINT)
        return columns

    def _with(self, ctes: Iterable[tuple[str, tuple[str, ...], ast.Query]]) -> None:
        for name, names, query in ctes:
            self.ctes[name.casefold()] = _renamed(self.query(query), names)

    def _select(self, select: ast.Select, targets: Sequence[SqlType], order: Sequence[ast.OrderItem]) -> Columns:
        depth = len(self.sources)
        self.source(select.source)
        columns: dict[str, SqlType] = {}
        for place, item in enumerate(select.items):
            variable = self.known.get(item.assign.casefold()) if item.assign else None
            self.assigned(item.expression, variable or (targets[place] if place < len(targets) else None))
            columns.update(self._item(item))
        for part in (select.where, select.group, select.having, [i.expression for i in order]):
            self.expression(part)
        self.expression(select.top, _BIGINT)
        del self.sources[depth:]
        return columns

    def _item(self, item: ast.SelectItem) -> Columns:
        if isinstance(item.expression, ast.Star):
            wanted = [part.casefold() for part in item.expression.qualifier[-1:]]
            return {n: k for name, columns in self.sources for n, k in columns.items() if not wanted or name in wanted}
        kind = self.type_of(item.expression)
        name = item.alias or (item.expression.parts[-1] if isinstance(item.expression, ast.ColumnRef) else "")
        return {name.casefold(): kind} if kind is not None and name else {}

    def source(self, source: Any) -> None:
        """Brings the tables of FROM in sight."""
        joins = []
        while isinstance(source, ast.Join):
            joins.append(source)
            source = source.left
        self._one_source(source)
        for join in reversed(joins):
            self.source(join.right)
            self.expression(join.on)

    def _one_source(self, source: Any) -> None:
        match source:
            case ast.TableRef(name, alias):
                cte = self.ctes.get(name.parts[0].casefold()) if len(name.parts) == 1 else None
                columns = cte if cte is not None else self._columns_of(name)
                self.sources.append(((alias or name.parts[-1]).casefold(), columns))
            case ast.ChangeTable(name, since, alias):
                self.assigned(since, _BIGINT)
                self.sources.append((alias.casefold(), _CHANGES | dict(self._columns_of(name))))
            case ast.VersionTable(name, keys, values, alias):
                columns = self._columns_of(name)
                for key, value in zip(keys, values, strict=False):
                    self.assigned(value, _column(columns, key))
                self.sources.append((alias.casefold(), _CHANGES | dict(columns)))
            case ast.Derived(query, alias, names):
                if isinstance(query, ast.Query):
                    self.sources.append((alias.casefold(), _renamed(self.query(query), names)))
                else:
                    self.expression(query.rows)
                    self.sources.append((alias.casefold(), {}))
            case ast.Join():
                self.source(source)

    def _columns_of(self, name: ast.Name) -> Columns:
        """Raises SqlError 208."""
        from tests.standin.engine import system

        table = find_table(self.state, name)
        if table is not None:
            return {column.name.casefold(): column.type for column in table.columns}
        view = system.view(".".join(name.parts), self.state)
        if view is None:
            raise SqlError(208, f"Invalid object name '{'.'.join(name.parts)}'.")
        return {column.name.casefold(): column.type for column in view.columns}

    # -- expressions ---------------------------------------------------------------------------------------------------------

    def assigned(self, expression: Any, target: SqlType | None) -> None:
        """A value that becomes the target's type."""
        if self._is_wanted(expression):
            self._deduce(expression, target)
        else:
            self.expression(expression, target)

    def expression(self, node: Any, target: SqlType | None = None) -> None:
        """Deduces the parameters inside; `target`: the type the whole is converted to, if any."""
        match node:
            case ast.Variable():
                if self._is_wanted(node):
                    self._deduce(node, target)
            case ast.Binary():
                self._binary(node, target)
            case ast.Between(operand, low, high):
                self._pair(">=", operand, low, None)
                self._pair("<=", operand, high, None)
            case ast.In(operand, choices):
                self._choices(operand, choices)
            case ast.Convert(type=kind, operand=operand):
                self.assigned(operand, kind.builtin)
            case ast.Exists(query) | ast.Subquery(query):
                self.query(query)
            case _:
                for child in _children(node):
                    self.expression(child)

    def _binary(self, node: ast.Binary, target: SqlType | None) -> None:
        """Iterative along AND and OR: there may be many."""
        stack: list[ast.Expression] = [node]
        while stack:
            at = stack.pop()
            if not isinstance(at, ast.Binary):
                self.expression(at)
            elif at.op in ("AND", "OR"):
                stack += (at.right, at.left)
            else:
                self._pair(at.op, at.left, at.right, target)

    def _choices(self, operand: ast.Expression, choices: Sequence[ast.Expression] | ast.Query) -> None:
        if isinstance(choices, ast.Query):
            self.assigned(operand, next(iter(self.query(choices).values()), None))
            return
        self.assigned(operand, self.type_of(choices[0]))
        for choice in choices:
            self.assigned(choice, self.type_of(operand))

    def _pair(self, op: str, left: ast.Expression, right: ast.Expression, target: SqlType | None) -> None:
        if self._is_wanted(left) and self._is_wanted(right):
            message = "The parameter type cannot be deduced because a single expression contains two untyped parameters, "
            raise SqlError(11503, f"{message}'{_name(left)}' and '{_name(right)}'.")
        for one, other in ((left, right), (right, left)):
            kind = self.type_of(other)
            if not isinstance(one, ast.Variable) or not self._is_wanted(one):
                self.expression(one, kind if op not in _ARITHMETIC else None)
            elif kind is None:
                raise Refused(f"the deduction of {_name(one)} beside an expression of unknown type")
            elif op in ("=", "<>"):
                self._deduce(one, kind)
            elif op in _ORDERED:
                self._deduce(one, general(kind))
            else:
                self._deduce(one, _operand(kind, target))

    def _is_wanted(self, node: Any) -> bool:
        return isinstance(node, ast.Variable) and node.name.casefold() in self.wanted

    def _deduce(self, variable: ast.Variable, kind: SqlType | None) -> None:
        name = variable.name.casefold()
        if kind is None:
            raise _undeduced()
        if name in self.found:
            message = f"The undeclared parameter '{variable.name}' is used more than once in the batch being analyzed."
            raise SqlError(11508, message)
        self.found[name], self.written[name] = kind, variable.name

    def type_of(self, node: Any) -> SqlType | None:
        """Of columns, constants, declared variables, conversions; None where it is not known."""
        match node:
            case ast.ColumnRef(parts):
                return self._column(parts)
            case ast.Variable(name):
                return self.known.get(name.casefold())
            case ast.Convert(type=kind):
                return kind.builtin
            case ast.Call(name):
                return _COUNTS.get(name)
            case ast.Literal(kind, value):
                return _literal(kind, value)
            case ast.Collate(operand, _) | ast.Unary(_, operand):
                return self.type_of(operand)
            case ast.Binary(op, left, right) if op in _ARITHMETIC:
                one, other = self.type_of(left), self.type_of(right)
                return one if one == other else (types.common(one, other) if one and other else None)
        return None

    def _column(self, parts: tuple[str, ...]) -> SqlType | None:
        name = parts[-1].casefold()
        for source, columns in reversed(self.sources):
            if name in columns and (len(parts) == 1 or parts[-2].casefold() == source):
                return columns[name]
        return None


def _operand(other: SqlType, target: SqlType | None) -> SqlType:
    """Of a parameter in an arithmetic expression."""
    if target is not None and other.name in _INTEGERS and target.name in _INTEGERS:
        return max(other, target, key=lambda kind: _INTEGERS.index(kind.name))
    return general(other)


def _literal(kind: str, value: Any) -> SqlType | None:
    if kind in ("string", "nstring"):
        return SqlType("nvarchar" if kind == "nstring" else "varchar", max(1, len(value)))
    return {"int": _INT, "float": SqlType("float"), "money": SqlType("money")}.get(kind)


def _column(columns: Columns, name: str) -> SqlType:
    """Raises SqlError 207."""
    kind = columns.get(name.casefold())
    if kind is None:
        raise SqlError(207, f"Invalid column name '{name}'.")
    return kind


def _renamed(columns: Columns, names: Sequence[str]) -> Columns:
    return dict(zip((name.casefold() for name in names), columns.values(), strict=False)) if names else columns


def _name(node: Any) -> str:
    return str(getattr(node, "name", ""))


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, list | tuple):
        return node
    return [getattr(node, one.name) for one in fields(node)] if is_dataclass(node) else ()
