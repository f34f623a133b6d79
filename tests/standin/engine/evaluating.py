"""adapter: values of expressions, conditions and variables for the statements that are not compiled themselves."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.standin.engine import conversion, storage
from tests.standin.ports import Columns, Refused, ResultColumn, Rows, SqlError, SqlType, Value
from tests.standin.tsql import ast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.standin.engine.model import State
    from tests.standin.engine.transactions import Transactions

_TEXT = SqlType("nvarchar", 4000)
_CONTEXT = SqlType("varbinary", 128)
_YES, _NO = ast.Literal("int", 1), ast.Literal("int", 0)


class Evaluating:
    """What the interpreter asks the compiler for."""

    def __init__(self, state: State, transactions: Transactions) -> None:
        self.state = state
        self.transactions = transactions

    async def value(self, expression: ast.Expression) -> tuple[SqlType, Value]:
        """A scalar expression now. Raises SqlError, asyncpg.PostgresError."""
        simple = self._at_hand(expression)
        if simple is not None:
            return simple
        from tests.standin.engine.expressions import evaluate

        state = self.state
        if state.trancount and self.transactions.undone:
            return await self._alone(expression)
        if state.trancount and not _reads(expression):  # does not begin the transaction's snapshot, and is undone alone
            async with storage.statement(state):
                return await evaluate(state, expression)
        if not state.trancount and not _reads(expression):
            return await evaluate(state, expression)
        async with self.transactions.statement(writes=False):
            return await evaluate(state, expression)

    async def _alone(self, expression: ast.Expression) -> tuple[SqlType, Value]:
        """In a trigger after ROLLBACK: expressions go on, data is out of reach."""
        from tests.standin.engine.expressions import evaluate

        if _reads(expression):
            raise Refused("a query in a trigger after ROLLBACK")
        async with storage.statement(self.state):
            return await evaluate(self.state, expression)

    def _at_hand(self, expression: ast.Expression) -> tuple[SqlType, Value] | None:
        """Variables and plain constants need no compiler."""
        if isinstance(expression, ast.Variable):
            return self.state.variables.get(expression.name.casefold())
        if not isinstance(expression, ast.Literal):
            return None
        value: Any = expression.value
        if expression.kind == "int":
            return SqlType("int"), value
        if expression.kind in ("string", "nstring"):
            name, longest = ("nvarchar", 4000) if expression.kind == "nstring" else ("varchar", 8000)
            units = len(value) + sum(character > "\uffff" for character in value)
            return SqlType(name, max(1, units) if units <= longest else -1), value
        return None

    async def holds(self, condition: ast.Expression) -> bool:
        """Whether a condition is true; unknown is not."""
        _, value = await self.value(ast.Case(None, ((condition, _YES),), _NO))
        return bool(value == 1)

    async def convert(self, expression: ast.Expression, target: SqlType) -> Value:
        """A value as the type."""
        if isinstance(expression, ast.Literal) and expression.kind == "null":
            return None
        kind, value = await self.value(expression)
        return conversion.assign(value, kind, target)

    async def text(self, expression: ast.Expression) -> str | None:
        """As PRINT and messages show it."""
        found: str | None = await self.convert(expression, _TEXT)
        return found

    async def context(self, expression: ast.Expression | None) -> bytes | None:
        """WITH CHANGE_TRACKING_CONTEXT."""
        if expression is None:
            return None
        found: bytes | None = None
        if isinstance(expression, ast.Literal):
            found = bytes(expression.value) if isinstance(expression.value, bytes) else None
        else:
            found = await self.convert(expression, _CONTEXT)
        return found if found is None else found[:128]

    async def name(self, written: str) -> str:
        """Of a transaction: a name, or what a variable holds."""
        return (await self.text(ast.Variable(written)) or "") if written.startswith("@") else written

    async def assign(self, name: str, expression: ast.Expression) -> None:
        """SET @name = expression."""
        kind = self.variable(name)
        self.state.variables[name.casefold()] = (kind, await self.convert(expression, kind))

    def variable(self, name: str) -> SqlType:
        """The type of a declared variable. Raises SqlError 137."""
        known = self.state.variables.get(name.casefold())
        if known is None:
            raise SqlError(137, f'Must declare the scalar variable "{name}".', severity=15, state=2)
        return known[0]

    def resolve(self, name: ast.TypeName) -> SqlType:
        """A type, an alias type included. Raises SqlError 2715."""
        if name.builtin is not None:
            return name.builtin
        parts = name.name.parts
        schema = parts[0].casefold() if len(parts) > 1 else "dbo"
        found = self.state.catalogue.types.get((schema, parts[-1].casefold()))
        if found is None:
            shown = ".".join(parts)
            raise SqlError(2715, f"Column, parameter, or variable #1: Cannot find data type {shown}.", state=6)
        return found[0]

    # -- SELECT @a = ... -----------------------------------------------------------------------------------------------------

    async def select_into_variables(self, query: ast.Query) -> None:
        """The last row's values. Without FROM one after the other, so that a later one sees the ones before."""
        body = query.body
        if not isinstance(body, ast.Select):
            raise TypeError(type(body).__name__)
        if body.source is None and body.where is None and body.top is None:
            for item in body.items:
                await self.assign(item.assign, item.expression)
            self.state.rowcount = 1
            return
        names = {item.assign.casefold() for item in body.items}
        if any(_mentions(item.expression, names) for item in body.items):
            raise Refused("SELECT that assigns to a variable from row to row")
        plain = replace(body, items=[ast.SelectItem(item.expression, f"v{n}") for n, item in enumerate(body.items)])
        columns, last, count = await self._rows(replace(query, body=plain))
        if last is not None:
            for item, column, value in zip(body.items, columns, last, strict=True):
                kind = self.variable(item.assign)
                converted = conversion.assign(value, column.type, kind)
                self.state.variables[item.assign.casefold()] = (kind, converted)
        self.state.rowcount = count

    async def _rows(self, query: ast.Query) -> tuple[Sequence[ResultColumn], Sequence[Value] | None, int]:
        from tests.standin.engine.queries import run_query

        columns: Sequence[ResultColumn] = ()
        last, count = None, 0
        async with self.transactions.statement(writes=False):
            events: Any = run_query(self.state, query)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Columns):
                        columns = event.columns
                    elif isinstance(event, Rows) and event.rows:
                        last, count = event.rows[-1], count + len(event.rows)
        return columns, last, count


def _reads(expression: Any) -> bool:
    """Whether it holds a query."""
    return any(isinstance(node, ast.Query) for node in _walk(expression))


def _mentions(expression: Any, names: set[str]) -> bool:
    return any(isinstance(node, ast.Variable) and node.name.casefold() in names for node in _walk(expression))


def _walk(root: Any) -> Any:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, list | tuple):
            stack.extend(node)
        elif is_dataclass(node):
            yield node
            stack.extend(getattr(node, field.name) for field in fields(node))
