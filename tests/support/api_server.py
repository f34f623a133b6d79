"""The real service over real stores on a real socket: two companies, tokens, and data of every kind in one of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cloud import app
from cloud.api import ApiSettings
from cloud.app import Service
from cloud.config import CloudConfig, Limits, Listen
from cloud.documents import to_text
from cloud.store.registry import Registry
from tests.support.store_feeder import ALL_KINDS, Feeder, batch, identity, person
from transport.codec import schema_id
from transport.frames import Cell, Column, LoadBegin, Op, Schema, StreamMessage, Type, Withheld
from transport.machine import system_runtime
from transport.tasks import cancel_all

PEOPLE_COUNT = 230
CODES = Schema(
    "codes", "hr", "up", [Column("code", Type.TEXT, nullable=False, key=1), Column("meaning", Type.TEXT, nullable=True)]
)
COMING = Schema("coming", "hr", "up", [Column("id", Type.INT, nullable=False, key=1)])
"""Its first load never ends."""

CODE_KEYS = ("", "a/b", "ł", "x" * 200, "'; DROP TABLE codes --")
EVERYTHING: dict[str, Cell] = {
    "id": -(2**63),
    "code": "Zażółć ",
    "n": "\u2028 </script> \U0001f6b2",
    "c_int": 2**63 - 1,
    "c_decimal": "-12345678901234567890.10",
    "c_float": -0.1,
    "c_bool": True,
    "c_text": "",
    "c_bytes": bytes(range(256)),
    "c_date": "0001-01-01",
    "c_time": "23:59:59.99",
    "c_datetime": "9999-12-31 00:00:00.00",
    "c_datetimeoffset": "2026-01-01 10:00:00.00+02:00",
    "c_guid": "00000000-0000-0000-0000-00000000000a",
    "c_xml": "<a/>",
    "c_json": "{}",
}
NOTHING: dict[str, Cell] = dict.fromkeys((c.name for c in ALL_KINDS.columns), None) | {"id": 1, "code": "b"}

ROWS = (
    ("people", to_text(identity(1))),
    ("people", to_text(identity(3))),  # withheld, with its last good version
    ("kinds", to_text(identity(-(2**63), "Zażółć", schema=ALL_KINDS))),
    ("kinds", to_text(identity(1, "b", schema=ALL_KINDS))),
    *(("codes", to_text(identity(code, schema=CODES))) for code in CODE_KEYS),
)
"""Rows that are there: dataset and key."""


class ApiServer:
    """A running service with the companies `acme` and `other`; the feeder plays the agent of `acme`."""

    def __init__(self, service: Service, token: str, other: str) -> None:
        self.service = service
        self.tenants = service.tenants
        self.token = token
        self.other_token = other
        self._feeder: Feeder
        self.url = f"http://127.0.0.1:{service.port}"

    async def feed(self, *messages: StreamMessage) -> None:
        """One window, as ingest applies it."""
        async with self.tenants.using("acme") as tenant:
            await tenant.write(lambda _: self._feeder.window(*messages))
            tenant.moved()

    async def seed(self) -> None:
        """Datasets of every kind of key and cell, withheld rows, and a feed with every kind of entry."""
        async with self.tenants.using("acme") as tenant:
            self._feeder = await tenant.write(Feeder)
            await tenant.write(lambda _: _live(self._feeder))
            tenant.moved()

    async def keep_changing(self) -> None:
        """Until cancelled: rows that nobody looks for come, change and go, several times a second."""
        for number in count(2_000):
            await self.feed(batch([person(number), person(number - 1, "again"), (Op.DELETE, [number - 5])]))
            await asyncio.sleep(0.2)

    async def registry(self, change: str, *arguments: Any, **named: Any) -> Any:
        """What the command line does while the service runs."""
        return await self.tenants.registry(lambda registry: getattr(registry, change)(*arguments, **named))


def _live(feeder: Feeder) -> None:
    feeder.load([person(n, photo=bytes([n]) * n, pay="1.50", rate=n / 7) for n in range(PEOPLE_COUNT)])
    feeder.load([EVERYTHING, NOTHING], 1, ALL_KINDS)
    feeder.load([{"code": code, "meaning": None} for code in CODE_KEYS], 1, CODES)
    feeder.window(batch([person(1, "Zażółć"), person(900), (Op.DELETE, [2]), (Op.DELETE, [900])]))
    feeder.window(batch([(Op.WITHHELD, [3]), (Op.WITHHELD, [901])], reason=Withheld("A2901", "photo", "too large")))
    feeder.load([{"code": code, "meaning": "read anew"} for code in CODE_KEYS], 2, CODES)
    feeder.window(COMING, LoadBegin("coming", schema_id(COMING), 1), batch([{"id": 1}], 1, COMING))


@asynccontextmanager
async def api_server(folder: Path, *, followers: int = 200, **settings: Any) -> AsyncIterator[ApiServer]:
    """Serves until left, with data; `settings` are those of `ApiSettings` that no file says."""
    config = CloudConfig(version=1, data=folder, listen=Listen(address="127.0.0.1", port=0), limits=Limits(followers=followers))
    async with AsyncExitStack() as stack:
        with patch.object(app, "ApiSettings", partial(ApiSettings, **settings)):
            service = await stack.enter_async_context(Service(config, system_runtime(), "1"))
        tokens = [await service.tenants.registry(partial(_new_company, company)) for company in ("acme", "other")]
        server = ApiServer(service, *tokens)
        await server.seed()
        yield server


def _new_company(company: str, registry: Registry) -> str:
    registry.add_company(company)
    return registry.add_token(company, "tests")


@contextmanager
def api_in_a_thread(folder: Path, **settings: Any) -> Iterator[ApiServer]:
    """The same on an event loop of its own, for clients that block; its data keeps changing."""
    started: Future[ApiServer] = Future()
    stop: Future[None] = Future()

    async def serve() -> None:
        try:
            async with api_server(folder, **settings) as server:
                changing = asyncio.create_task(server.keep_changing())
                started.set_result(server)
                await asyncio.wrap_future(stop)
                await cancel_all([changing])
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=asyncio.run, args=[serve()], name="api")
    thread.start()
    try:
        yield started.result()
    finally:
        stop.set_result(None)
        thread.join()


__all__ = ["ROWS", "ApiServer", "api_in_a_thread", "api_server"]
