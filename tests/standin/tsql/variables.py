"""pure: which variables a batch declares and uses: the server checks them before its first statement runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any

from tests.standin.ports import SqlError
from tests.standin.tsql.ast import (
    Batch,
    BeginTransaction,
    Block,
    CreateProcedure,
    CreateTrigger,
    Declare,
    Execute,
    If,
    Name,
    RollbackTransaction,
    SaveTransaction,
    SelectItem,
    SetVariable,
    Statement,
    TryCatch,
    TypeName,
    Variable,
    While,
)
from tests.standin.tsql.parser import parse

CACHED = 20_000  # characters of the longest text that is kept parsed


@dataclass(frozen=True, slots=True)
class Mention:
    """A variable where it is declared (`type`, or `table`) or used; folded."""

    name: str
    line: int
    type: TypeName | None = None
    table: bool = False
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch and its variables in the order of the text."""

    batch: Batch
    mentions: Sequence[Mention]

    @property
    def declared(self) -> Iterator[Mention]:
        """Scalar variables that it declares."""
        return (mention for mention in self.mentions if mention.declared and not mention.table)

    def undeclared(self, given: Iterable[str]) -> list[Mention]:
        """First uses of scalar variables that nobody declared before."""
        known, found = {name.casefold() for name in given}, []
        for mention in self.mentions:
            if mention.name not in known:
                known.add(mention.name)
                if not mention.declared and not mention.table:
                    found.append(mention)
        return found

    def check(self, given: Iterable[str]) -> None:
        """Raises SqlError 134, 137, 1087."""
        known = {(name.casefold(), False) for name in given}
        for mention in self.mentions:
            key = (mention.name, mention.table)
            if mention.declared:
                if (mention.name, False) in known or (mention.name, True) in known:
                    raise _declared_twice(mention)
                known.add(key)
            elif key not in known:
                raise _undeclared(mention)


def _declared_twice(mention: Mention) -> SqlError:
    message = (
        f"The variable name '{mention.name}' has already been declared. Variable names must be unique within a query batch or "
        "stored procedure."
    )
    return SqlError(134, message, severity=15, line=mention.line)


def _undeclared(mention: Mention) -> SqlError:
    if mention.table:
        return SqlError(1087, f'Must declare the table variable "{mention.name}".', severity=15, state=2, line=mention.line)
    return SqlError(137, f'Must declare the scalar variable "{mention.name}".', severity=15, state=2, line=mention.line)


def read(sql: str) -> Checked:
    """Parses; short texts are kept. Raises SqlError and Refused."""
    return _kept(sql) if len(sql) <= CACHED else _read(sql)


def _read(sql: str) -> Checked:
    batch = parse(sql)
    return Checked(batch, list(mentions(batch.statements, batch.lines)))


_kept = lru_cache(maxsize=2048)(_read)


def mentions(statements: Sequence[Statement], lines: Sequence[int]) -> Iterator[Mention]:
    """Of statements in the order of the text."""
    for statement, line in zip(statements, lines, strict=True):
        yield from _statement(statement, line)


def _statement(statement: Statement, line: int) -> Iterator[Mention]:
    match statement:
        case Block(statements, lines):
            yield from mentions(statements, lines)
        case If(condition, then, otherwise, then_line, otherwise_line):
            yield from _uses(condition, line)
            yield from _statement(then, then_line)
            if otherwise is not None:
                yield from _statement(otherwise, otherwise_line)
        case While(condition, body, body_line):
            yield from _uses(condition, line)
            yield from _statement(body, body_line)
        case TryCatch():
            yield from mentions(statement.attempt, statement.attempt_lines)
            yield from mentions(statement.caught, statement.caught_lines)
        case Declare():
            yield from _declare(statement, line)
        case CreateProcedure() | CreateTrigger():
            _module(statement)
        case _:
            yield from _uses(statement, line)


def _module(statement: CreateProcedure | CreateTrigger) -> None:
    """A scope of its own. Raises SqlError 137."""
    given = [name for name, _, _, _ in statement.parameters] if isinstance(statement, CreateProcedure) else []
    Checked(Batch(statement.body, statement.lines), list(mentions(statement.body, statement.lines))).check(given)


def _declare(statement: Declare, line: int) -> Iterator[Mention]:
    if statement.table is not None:
        yield from _uses(statement.table.columns, line)
        yield Mention(statement.table.name.parts[0].casefold(), line, table=True, declared=True)
    for name, kind, value in statement.variables:
        yield Mention(name.casefold(), line, kind, declared=True)
        yield from _uses(value, line)


def _uses(root: Any, line: int) -> Iterator[Mention]:
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Variable):
            if not node.name.startswith("@@"):
                yield Mention(node.name.casefold(), line)
        elif isinstance(node, Name):
            if len(node.parts) == 1 and node.parts[0].startswith("@"):
                yield Mention(node.parts[0].casefold(), line, table=True)
        elif isinstance(node, list | tuple):
            stack.extend(reversed(node))
        elif is_dataclass(node):
            yield from _named(node, line)
            stack.extend(getattr(node, name) for name in _fields(node.__class__))


def _named(node: Any, line: int) -> Iterator[Mention]:
    """Variables that stand in the tree as texts."""
    match node:
        case SetVariable(name, _) | SelectItem(_, _, name) | Execute(result=name):
            pass
        case BeginTransaction(name) | RollbackTransaction(name) | SaveTransaction(name):
            pass
        case _:
            return
    if name.startswith("@"):
        yield Mention(name.casefold(), line)


@lru_cache(maxsize=256)
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in reversed(fields(kind)))
