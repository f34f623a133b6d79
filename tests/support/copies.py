"""A copy in memory and companies over it, for tests of the API that need states a real store reaches only with effort."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from cloud.errors import StoreError
from cloud.store.base import Change, CompanyStore, DatasetState, Row, WithheldRow
from transport.frames import Cell, ChannelState, Column, Schema, Type
from transport.values import key_identity

T = TypeVar("T")

EMPLOYEES = Schema(
    dataset="employees",
    channel="hr",
    direction="up",
    columns=[
        Column("id", Type.INT, nullable=False, key=1),
        Column("name", Type.TEXT, nullable=True),
        Column("salary", Type.DECIMAL, nullable=True, precision=19, scale=2),
        Column("rate", Type.FLOAT, nullable=True),
        Column("active", Type.BOOL, nullable=True),
        Column("photo", Type.BYTES, nullable=True),
    ],
)


def employee(number: int, **cells: Cell) -> Row:
    """One row of EMPLOYEES."""
    values: dict[str, Cell] = {c.name: None for c in EMPLOYEES.columns} | {"id": number, "name": f"E{number}"} | cells
    return Row(key=key_identity(EMPLOYEES.keys(), [number]), cells=values)


class MemoryStore:
    """The applications' side of `cloud.store.base.CompanyStore`."""

    def __init__(self, rows: Iterable[Row] = (), *, state: str = "live") -> None:
        self.state = state
        self.data = {row.key: row for row in rows}
        self.feed: list[Change] = []
        self.oldest = 0  # cursors below it have been cleaned up
        self.refused: list[WithheldRow] = []
        self.failing = False

    def put(self, row: Row) -> None:
        self.data[row.key] = row
        self._add("upsert", row.key)

    def remove(self, key: bytes) -> None:
        del self.data[key]
        self._add("delete", key)

    def reset(self) -> None:
        self._add("reset", b"")

    def _add(self, op: str, key: bytes) -> None:
        self.feed.append(Change(cursor=self.cursor() + 1, dataset="employees", op=op, key=key, row=None))

    def channels(self) -> list[ChannelState]:
        return [ChannelState("hr", b"j" * 16, 7, 7, b"position")]

    def datasets(self) -> list[DatasetState]:
        if self.failing:
            raise StoreError("C3109", "disk")
        return [
            DatasetState(
                name="employees",
                channel="hr",
                state=self.state,
                schema=EMPLOYEES,
                rows=len(self.data),
                withheld=len(self.refused),
                applied_at="2025-01-31T10:00:00Z",
                read_at="2025-01-31T10:00:00Z",
                generation=1,
            )
        ]

    def row(self, dataset: str, key: bytes) -> Row | None:
        return self.data.get(key)

    def rows(self, dataset: str, after: bytes, limit: int) -> list[Row]:
        return [self.data[key] for key in sorted(self.data) if key > after][:limit]

    def cursor(self) -> int:
        return self.feed[-1].cursor if self.feed else 0

    def changes(self, after: int, limit: int, datasets: Iterable[str] | None = None) -> list[Change] | None:
        if after < self.oldest:
            return None
        wanted = None if datasets is None else set(datasets)
        found = [c for c in self.feed if c.cursor > after and (wanted is None or c.dataset in wanted)]
        return [
            Change(c.cursor, c.dataset, c.op, c.key, self.data.get(c.key) if c.op == "upsert" else None) for c in found[:limit]
        ]

    def withheld(self, dataset: str | None, limit: int) -> list[WithheldRow]:
        return self.refused[:limit]


class Token(NamedTuple):
    company: str
    scopes: frozenset[str] = frozenset({"read"})
    suspended: bool = False


class MemoryTenants:
    """Companies whose stores are in memory; tokens by their plain text."""

    def __init__(self, stores: dict[str, MemoryStore], tokens: dict[str, Token]) -> None:
        self.stores = stores
        self.tokens = tokens
        self._moved = asyncio.Event()

    def moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def authenticate(self, token: str) -> Token | None:
        return self.tokens.get(token)

    async def read(self, company: str, call: Callable[[CompanyStore], T]) -> T:
        return call(self.stores[company])  # type: ignore[arg-type]

    async def wait(self, company: str, cursor: int, timeout: float) -> None:  # noqa: ASYNC109
        moved = self._moved
        if self.stores[company].cursor() > cursor:
            return
        try:
            async with asyncio.timeout(timeout):
                await moved.wait()
        except TimeoutError:
            return
