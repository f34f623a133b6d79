"""The API of the whole service, over real stores and its own registry: companies, tokens, every kind of cell, the end."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession

from tests.support.api_server import EVERYTHING, PEOPLE_COUNT, ROWS, ApiServer, api_server
from tests.support.store_feeder import batch, person


class World(NamedTuple):
    client: ClientSession
    server: ApiServer

    async def get(self, path: str, *, token: str = "", status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {token or self.server.token}"}
        async with self.client.get(f"{self.server.url}/api/v1{path}", headers=headers) as response:
            body = await response.json(content_type=None)
            assert response.status == status, body
            return body


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[World]:
    async with api_server(folder, **settings) as server, ClientSession() as client:
        yield World(client, server)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as found:
        yield found


# -- companies and tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/datasets/people", 404, "C3307"),
        ("/datasets/people/rows", 404, "C3307"),
        (f"/datasets/people/rows/{ROWS[0][1]}", 404, "C3307"),
        ("/withheld?dataset=people", 404, "C3307"),
        ("/changes?after=1", 410, "C3310"),
        ("/changes/stream?after=1", 410, "C3310"),
        ("/changes?after=0&dataset=people", 404, "C3307"),
    ],
)
async def test_a_token_shows_nothing_of_another_company(world: World, path: str, status: int, code: str) -> None:
    assert (await world.get(path, token=world.server.other_token, status=status))["code"] == code


async def test_lists_of_another_company_are_empty(world: World) -> None:
    token = world.server.other_token
    assert await world.get("/datasets", token=token) == {"datasets": []}
    assert await world.get("/withheld", token=token) == {"withheld": []}
    assert await world.get("/cursor", token=token) == {"cursor": "0"}
    assert (await world.get("/changes?after=0", token=token))["changes"] == []


async def test_a_revoked_token_is_refused_at_once(world: World) -> None:
    await world.get("/datasets")
    await world.server.registry("revoke_token", "acme", "tests")
    assert (await world.get("/datasets", status=401))["code"] == "C3303"
    await world.get("/datasets", token=world.server.other_token)


async def test_a_suspended_company_is_shut_out_until_it_is_resumed(world: World) -> None:
    await world.server.registry("suspend", "acme")
    assert (await world.get("/datasets", status=403))["code"] == "C3305"
    await world.server.registry("suspend", "acme", suspended=False)
    await world.get("/datasets")


@pytest.mark.parametrize(("change", "arguments"), [("revoke_token", ("acme", "tests")), ("suspend", ("acme",))])
async def test_a_stream_ends_when_its_token_no_longer_holds(tmp_path: Path, change: str, arguments: tuple[str, ...]) -> None:
    async with serving(tmp_path, keep_alive=0.01) as world:
        headers = {"Authorization": f"Bearer {world.server.token}"}
        async with world.client.get(f"{world.server.url}/api/v1/changes/stream", headers=headers) as response:
            assert await response.content.readline()
            await world.server.registry(change, *arguments)
            async with asyncio.timeout(10):
                await response.content.read()
            assert response.content.exception() is None


# -- what is shown ------------------------------------------------------------------------------------------------------------


async def test_every_row_of_a_composite_or_text_key_is_found_by_the_key_it_is_shown_with(world: World) -> None:
    for dataset in ("kinds", "codes"):
        for row in (await world.get(f"/datasets/{dataset}/rows"))["rows"]:
            assert (await world.get(f"/datasets/{dataset}/rows/{row['key']}"))["row"] == row


async def test_every_kind_of_cell_is_shown_without_loss(world: World) -> None:
    dataset, key = ROWS[2]
    values = (await world.get(f"/datasets/{dataset}/rows/{key}"))["row"]["values"]
    assert base64.b64decode(values.pop("c_bytes")) == EVERYTHING["c_bytes"]
    as_text = {"id": str(-(2**63)), "c_int": str(2**63 - 1)}
    assert values == {name: cell for name, cell in (EVERYTHING | as_text).items() if name != "c_bytes"}


async def test_a_withheld_row_shows_its_last_version_and_why(world: World) -> None:
    _, key = ROWS[1]
    assert (await world.get(f"/datasets/people/rows/{key}"))["row"]["withheld"] == "A2901"
    found = (await world.get("/withheld?dataset=people"))["withheld"]
    assert {(row["code"], row["column"], row["side"]) for row in found} == {("A2901", "photo", "erp")}
    assert key in {row["key"] for row in found}


async def test_the_rows_and_the_changes_after_an_earlier_cursor_are_a_copy_without_a_gap(world: World) -> None:
    cursor = (await world.get("/cursor"))["cursor"]
    first = await world.get("/datasets/people/rows?limit=100")
    await world.server.feed(batch([person(1, "between"), person(1000, "new")]))
    copy, page = {row["key"]: row for row in first["rows"]}, first
    while page["next"]:
        page = await world.get(f"/datasets/people/rows?limit=100&after={page['next']}")
        copy |= {row["key"]: row for row in page["rows"]}
    for change in (await world.get(f"/changes?after={cursor}&dataset=people"))["changes"]:
        copy[change["key"]] = change["row"]
    whole = (await world.get("/datasets/people/rows?limit=1000"))["rows"]
    assert copy == {row["key"]: row for row in whole}
    assert len(copy) == PEOPLE_COUNT  # one was deleted, one is new


async def test_a_dataset_whose_first_load_goes_on_says_so(world: World) -> None:
    assert (await world.get("/datasets/coming"))["state"] == "loading"
    assert (await world.get("/datasets/coming/rows", status=503))["code"] == "C3314"


# -- the end and the edge -----------------------------------------------------------------------------------------------------


async def test_streams_and_long_polls_end_in_order_when_the_service_stops(tmp_path: Path) -> None:
    async with ClientSession() as client:
        async with api_server(tmp_path) as server:
            world = World(client, server)
            cursor = (await world.get("/cursor"))["cursor"]
            polling = asyncio.create_task(world.get(f"/changes?after={cursor}&wait=30"))
            headers = {"Authorization": f"Bearer {server.token}"}
            stream = await client.get(f"{server.url}/api/v1/changes/stream", headers=headers)
            async with asyncio.timeout(10):
                while server.service._api.following("acme") != 2:  # noqa: ASYNC110 (the condition is another task's progress)
                    await asyncio.sleep(0.001)
        await stream.content.read()
        assert stream.content.exception() is None
        assert (await polling)["cursor"] == cursor


async def test_a_client_that_leaves_its_stream_is_no_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Authorization": f"Bearer {world.server.token}"}
    response = await world.client.get(f"{world.server.url}/api/v1/changes/stream", headers=headers)
    assert await response.content.readline()
    response.close()
    async with asyncio.timeout(10):
        while world.server.service._api.following("acme"):
            await world.server.feed(batch([person(1, "again")]))
    await world.get("/cursor")  # what the handler has left is over by then
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_is_not_http_is_noted_without_what_was_sent(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.service.port)
    writer.write(b"GET /api/v1/datasets HTTP/1.1\r\nAuthorization: Bearer secret\x00\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.0 400")
    writer.close()
    await writer.wait_closed()
    (entry,) = [record for record in caplog.records if record.name == "cloud.http"]
    assert entry.levelno == logging.INFO
    assert "secret" not in caplog.text
