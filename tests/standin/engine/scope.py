"""pure: what compilation carries: typed expressions, bound arguments, the tables in sight."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.standin.engine import errors, types, values
from tests.standin.engine.locks import Read
from tests.standin.engine.model import COLLATION, State, TableInfo
from tests.standin.ports import Refused, ResultColumn, SqlType
from tests.standin.tsql import ast

# How strongly a text holds its collation: https://learn.microsoft.com/sql/t-sql/statements/collation-precedence-transact-sql
DEFAULT, IMPLICIT, NONE, EXPLICIT = range(4)


Slot = Callable[[State], Any]


@dataclass(frozen=True, slots=True)
class Typed:
    """An expression of PostgreSQL in the stored form of its type; a text's type carries its collation."""

    sql: str
    type: SqlType
    nullable: bool = True
    label: int = DEFAULT
    null: bool = False  # the literal NULL: takes the type of what it meets
    constant: Any = None  # of a literal: its value
    identity: bool = False
    slot: Slot | None = None  # of a constant, a variable, a value of the session: reads it (as the port has it)

    def to(self, sql: str, type_: SqlType | None = None) -> Typed:
        """The same with other SQL and type."""
        return replace(self, sql=sql, type=type_ or self.type, null=False, constant=None, identity=False, slot=None)


_PLACEHOLDER = re.compile(r"'(?:[^']|'')*'|\$(\d+)")


@dataclass(slots=True)
class Arguments:
    """The values of $1, $2 ..., computed from the state when the statement is executed."""

    slots: list[Slot] = field(default_factory=list)
    names: dict[object, int] = field(default_factory=dict)

    def add(self, key: object, slot: Slot, pg_type: str) -> str:
        """A placeholder; equal keys share one."""
        if key not in self.names:
            self.slots.append(slot)
            self.names[key] = len(self.slots)
        return f"${self.names[key]}::{pg_type}"

    def used_in(self, sql: str) -> tuple[str, Arguments]:
        """The statement with only the arguments it mentions, numbered anew: PostgreSQL takes no others."""
        mentioned = sorted({int(found[1]) for found in _PLACEHOLDER.finditer(sql) if found[1]})
        if len(mentioned) == len(self.slots):
            return sql, self
        numbers = {number: place for place, number in enumerate(mentioned, 1)}
        text = _PLACEHOLDER.sub(lambda found: f"${numbers[int(found[1])]}" if found[1] else found[0], sql)
        return text, Arguments([self.slots[number - 1] for number in mentioned])

    def bind(self, state: State) -> list[Any]:
        """The values now."""
        return [slot(state) for slot in self.slots]


@dataclass(slots=True)
class Visible:
    """A column in sight; a computed one is compiled when it is asked for."""

    name: str
    known: Typed | None = None
    hidden: bool = False
    make: Callable[[], Typed] | None = None

    @property
    def value(self) -> Typed:
        """What it is."""
        if self.known is None:
            if self.make is None:
                raise Refused(f"the column {self.name}")
            self.known = self.make()
        return self.known


@dataclass(slots=True)
class Relation:
    """What stands in FROM under one name. `names`: the qualifiers that mean it, folded: an alias, or a table's parts."""

    names: tuple[tuple[str, ...], ...]
    columns: Sequence[Visible]
    alias: str = ""  # in PostgreSQL
    table: TableInfo | None = None
    hints: tuple[str, ...] = ()
    optional: bool = False  # on the outer side of a join: its rows may be all NULL
    index: dict[str, Visible] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column in self.columns:
            self.index.setdefault(column.name.casefold(), column)

    def find(self, name: str) -> Typed | None:
        """Its column by name."""
        found = self.index.get(name.casefold())
        if found is None:
            return None
        return replace(found.value, nullable=True) if self.optional else found.value

    def is_called(self, qualifier: Sequence[str]) -> bool:
        """Whether the qualifier means it."""
        return tuple(q.casefold() for q in qualifier) in self.names


@dataclass(slots=True)
class Scope:
    """The relations of one query block; names not found are looked up in the block around it."""

    relations: list[Relation] = field(default_factory=list)
    outer: Scope | None = None
    groups: dict[object, Typed] | None = None  # of a grouped block: canonical expression -> its value for the group
    inside_aggregate: bool = False

    def resolve(self, parts: Sequence[str]) -> Typed:
        """A column reference. Raises SqlError 207, 209, 4104."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.here(parts)
            if found is not None:
                return found[1]
            scope = scope.outer
        if len(parts) > 1:
            raise self._unbound(parts)
        raise errors.invalid_column(parts[-1])

    def _unbound(self, parts: Sequence[str]) -> Exception:
        scope: Scope | None = self
        while scope is not None:
            if any(r.is_called(parts[:-1]) for r in scope.relations):
                return errors.invalid_column(parts[-1])
            scope = scope.outer
        return errors.unbound_identifier(".".join(parts))

    def here(self, parts: Sequence[str]) -> tuple[Relation, Typed] | None:
        """In this block only."""
        found = []
        for relation in self.relations:
            if len(parts) > 1 and not relation.is_called(parts[:-1]):
                continue
            value = relation.find(parts[-1])
            if value is not None:
                found.append((relation, value))
        if len(found) > 1:
            raise errors.ambiguous_column(parts[-1])
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A table that the statement reads; `key`: expressions for its full primary key, of these arguments."""

    table: TableInfo
    alias: str
    hints: tuple[str, ...]
    key: tuple[str, ...] | None = None
    arguments: Arguments | None = None

    def bind(self, state: State) -> Read:
        """As the locks are asked."""
        values = tuple(self.arguments.bind(state)) if self.arguments else ()
        return Read(self.table, self.alias, self.hints, self.key, values)


@dataclass(slots=True)
class Context:
    """One compilation."""

    state: State
    arguments: Arguments = field(default_factory=Arguments)
    reads: list[ReadPlan] = field(default_factory=list)
    requires: list[tuple[str, TableInfo]] = field(default_factory=list)
    ctes: dict[str, tuple[str, Sequence[Visible]]] = field(default_factory=dict)  # folded name -> PostgreSQL's, columns
    counter: int = 0
    options: set[str] = field(default_factory=set)
    depth: int = 0  # of views
    cacheable: bool = True  # False: what it says may change without the catalogue
    subquery: Callable[[Context, ast.Query, Scope], tuple[str, Sequence[Typed]]] | None = None  # queries.subquery

    def query(self, query: ast.Query, scope: Scope) -> tuple[str, Sequence[Typed]]:
        """A query inside an expression: a SELECT whose columns are k1, k2 ..., and their types."""
        if self.subquery is None:
            raise Refused("a subquery here")
        return self.subquery(self, query, scope)

    @property
    def collation(self) -> str:
        """The database's."""
        return str(getattr(self.state.database, "collation", "") or COLLATION)

    def fresh(self, prefix: str) -> str:
        """A name nobody used."""
        self.counter += 1
        return f"{prefix}{self.counter}"

    def variable(self, name: str) -> Typed:
        """@name as a bound value. Raises SqlError 137."""
        key = name.casefold()
        if key not in self.state.variables:
            raise errors.undeclared_variable(name)
        type_ = self.with_collation(self.state.variables[key][0])

        def slot(state: State) -> Any:
            declared, value = state.variables[key]
            return values.to_storage(declared, value)

        sql = self.arguments.add(("variable", key), slot, types.pg_base(type_))
        return Typed(sql, type_, slot=lambda state: state.variables[key][1])

    def session(self, key: object, type_: SqlType, slot: Slot) -> Typed:
        """A value of the session, read when the statement runs (in the port's form)."""
        typed = self.with_collation(type_)

        def stored(state: State) -> Any:
            return values.to_storage(typed, slot(state))

        return Typed(self.arguments.add(("session", key), stored, types.pg_base(typed)), typed, slot=slot)

    def lookup(self, key: object, make: Callable[[State], str]) -> str:
        """A bound JSON object; for `->>` on it."""
        return self.arguments.add(("lookup", key), make, "jsonb")

    def with_collation(self, type_: SqlType) -> SqlType:
        """The type with the database's collation where a text has none."""
        return replace(type_, collation=self.collation) if type_.name in types.TEXTS and not type_.collation else type_


@dataclass(frozen=True, slots=True)
class Compiled:
    """One statement of PostgreSQL."""

    sql: str
    arguments: Arguments
    columns: Sequence[ResultColumn]
    reads: Sequence[ReadPlan] = ()
    locked: Sequence[ReadPlan] = ()  # those that a locking clause may name
    requires: Sequence[tuple[str, TableInfo]] = ()
    assigns: Sequence[str] = ()  # the variables of SELECT @v = ...

    def bind(self, state: State) -> list[Any]:
        """Its arguments now."""
        return self.arguments.bind(state)


def canonical(node: object, scope: Scope) -> object:
    """An expression as a value to compare by: names folded and resolved, so that `c` and `T.C` are one."""
    if isinstance(node, ast.ColumnRef):
        return ("column", scope.resolve(node.parts).sql)
    if isinstance(node, ast.Variable):
        return ("variable", node.name.casefold())
    if isinstance(node, (ast.Query, ast.Subquery, ast.Exists)):
        return ("query", id(node))
    fields: Mapping[str, Any] | None = getattr(type(node), "__dataclass_fields__", None)
    if fields is not None:
        return (type(node).__name__, *(canonical(getattr(node, name), scope) for name in fields))
    if isinstance(node, (list, tuple)):
        return tuple(canonical(part, scope) for part in node)
    return (type(node).__name__, node)
