"""adapter: what SQL Server says of the ERP's tables, kept for each table as long as the server does not say it was modified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from cdc.errors import AgentError, DatasetPaused
from cdc.model import Dataset
from cdc.sources.sqlserver import statements
from cdc.sources.sqlserver.connection import Connection
from cdc.sources.sqlserver.failures import Kind, failure_of
from cdc.sources.sqlserver.plans import Database, Plan, make, paused
from cdc.sources.sqlserver.quoting import SCHEMA, BadName, table_name
from cdc.sources.sqlserver.structure import KeyPart, Table
from cdc.sources.sqlserver.types import Found

T = TypeVar("T")
_MISSING = "there is no such table, or the agent's user may not see it"


class Named(NamedTuple):
    """What a dataset's table name stands for now; `object_id` 0: nothing that the agent's user may see."""

    object_id: int
    kind: str = ""
    own: bool = False  # the server's or the product's
    schema: str = ""
    table: str = ""
    modified: str = ""

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """Another one: the table is another, or is not as it was."""
        return self.object_id, self.schema, self.table, self.modified


class Catalogue:
    """Tables as described, and the plans made of them, by dataset. Shared by a source's sessions."""

    def __init__(self) -> None:
        self.database = Database(unmask=False)
        self._tables: dict[int, Table] = {}
        self._plans: dict[str, tuple[Dataset, Database, Plan | DatasetPaused]] = {}

    def known(self, dataset: Dataset) -> Plan | None:
        """The plan last made for the dataset, if it could be made."""
        kept = self._plans.get(dataset.name)
        return kept[2] if kept is not None and kept[0] == dataset and isinstance(kept[2], Plan) else None

    async def describe(self, connection: Connection, datasets: Sequence[Dataset]) -> list[Plan | DatasetPaused]:
        """The plan of each dataset, or why there is none."""
        named = await self._names(connection, datasets)
        await self._read(connection, [n for n in named.values() if n.kind == "U" and not n.own])
        result: list[Plan | DatasetPaused] = []
        for dataset in datasets:
            made = await self._plan(connection, dataset, named.get(dataset.name))
            self._plans[dataset.name] = (dataset, self.database, made)
            result.append(made)
        return result

    async def _plan(self, connection: Connection, dataset: Dataset, named: Named | None) -> Plan | DatasetPaused:
        if problem := _unusable(dataset, named):
            return problem
        table = self._tables.get(named.object_id) if named else None
        if table is None:
            return paused("A2221", _MISSING, dataset)
        kept = self._plans.get(dataset.name)
        if kept is not None and kept[:2] == (dataset, self.database) and isinstance(kept[2], Plan) and kept[2].table is table:
            return kept[2]
        try:
            plan = make(dataset, table, self.database)
            if dataset.filter:
                await self._compile(connection, plan)
        except DatasetPaused as problem:
            return problem
        return plan

    async def _compile(self, connection: Connection, plan: Plan) -> None:
        """The server's word on a filter. Raises DatasetPaused."""
        try:
            await connection.execute(statements.condition(plan.table.parts, plan.dataset.filter), table=True)
        except AgentError as error:
            failure = failure_of(error)
            if (
                isinstance(error, DatasetPaused)
                or failure is None
                or failure.kind not in (Kind.CHANGED, Kind.REFUSED, Kind.VALUE)
            ):
                raise
            raise paused("A2227", f"the filter is refused by the server: {failure.text}", plan.dataset) from error

    # -- tables --------------------------------------------------------------------------------------------------------------

    async def _names(self, connection: Connection, datasets: Sequence[Dataset]) -> dict[str, Named]:
        """By dataset; those whose name is none are left out."""
        wanted: list[tuple[str, tuple[str, ...]]] = []
        for dataset in datasets:
            try:
                wanted.append((dataset.name, table_name(dataset.table)))
            except BadName:
                continue
        found = {name: Named(0) for name, _ in wanted}
        for part in portions(wanted):
            for row in await connection.execute(statements.tables([parts for _, parts in part])):
                own = bool(row[3]) or str(row[4]).lower() == SCHEMA
                found[part[row[0]][0]] = Named(int(row[1]), str(row[2]).strip(), own, str(row[4]), str(row[5]), str(row[6]))
        return found

    async def _read(self, connection: Connection, named: Iterable[Named]) -> None:
        """Describes the tables that are not known as they are now."""
        new = {n.object_id: n for n in named if not self._is_known(n)}
        for part in portions(sorted(new)):
            columns = by_first(await connection.execute(statements.columns(part)))
            keys = by_first(await connection.execute(statements.keys(part)))
            for object_id in part:
                self._tables[object_id] = _table(new[object_id], columns.get(object_id, []), keys.get(object_id, []))

    def _is_known(self, named: Named) -> bool:
        table = self._tables.get(named.object_id)
        return table is not None and (table.object_id, table.schema, table.name, table.modified) == named.identity


def _unusable(dataset: Dataset, named: Named | None) -> DatasetPaused | None:
    if named is None:
        try:
            table_name(dataset.table)
        except BadName as problem:
            return paused("A2221", str(problem), dataset)
    if named is None or not named.object_id:
        return paused("A2221", _MISSING, dataset)
    if named.kind != "U" or named.own:
        what = "the server's own or the product's" if named.own else "a view or something else"
        return paused("A2222", f"it is {what}; only ordinary tables can be tracked", dataset)
    return None


def _table(named: Named, columns: Sequence[Sequence[Any]], keys: Sequence[Sequence[Any]]) -> Table:
    found = tuple(_found(row) for row in columns)
    names = {c.column_id: c.name for c in found}
    primary = tuple(KeyPart(names[row[1]], bool(row[2])) for row in keys if row[1] in names)
    return Table(named.object_id, named.schema, named.table, named.modified, found, primary)


def _found(row: Sequence[Any]) -> Found:
    return Found(
        name=str(row[2]),
        type=str(row[3]),
        max_length=int(row[4]),
        precision=int(row[5]),
        scale=int(row[6]),
        collation=str(row[7] or ""),
        nullable=bool(row[8]),
        computed=bool(row[9]),
        hidden=bool(row[11]),
        column_set=bool(row[13]),
        masked=bool(row[14]),
        encrypted=row[15] is not None,
        definition=str(row[16] or ""),
        column_id=int(row[1]),
    )


def portions(items: Sequence[T], size: int = statements.IN_ONE) -> Iterator[Sequence[T]]:
    """Parts of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def by_first(rows: Iterable[Sequence[Any]]) -> Mapping[int, list[Sequence[Any]]]:
    """Rows, which are ordered by it, by their first cell."""
    return {int(first): list(group) for first, group in groupby(rows, key=itemgetter(0))}
