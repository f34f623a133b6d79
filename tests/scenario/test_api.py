"""The API over real sockets, with stores in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer

from cloud.api import RUNNER, Api, ApiSettings
from cloud.documents import from_text, to_text
from cloud.problems import problem_middleware
from cloud.store.base import WithheldRow
from tests.support.copies import EMPLOYEES, MemoryStore, MemoryTenants, Token, employee
from transport.values import row_hash


class World(NamedTuple):
    client: ClientSession
    store: MemoryStore
    tenants: MemoryTenants
    server: TestServer
    api: Api

    async def followed(self, count: int) -> None:
        """Waits until so many long-polls and streams are there."""
        async with asyncio.timeout(10):
            while self.api.following("acme") != count:  # noqa: ASYNC110 (the condition is another task's progress)
                await asyncio.sleep(0.001)

    async def get(self, path: str, *, token: str = "acme-token", status: int = 200, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        async with self.client.get(f"/api/v1{path}", headers=headers, **options) as response:
            body = await response.json(content_type=None)
            assert response.status == status, body
            expected = "application/json" if status < 400 else "application/problem+json"
            assert response.content_type == expected
            return body

    async def code(self, path: str, status: int, **options: Any) -> str:
        body = await self.get(path, status=status, **options)
        assert body["status"] == status
        assert body["title"]
        assert body["remedy"]
        return str(body["code"])


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[World]:
    store = MemoryStore([employee(n) for n in range(1, 251)])
    tokens = {
        "acme-token": Token("acme"),
        "other-token": Token("other"),
        "write-token": Token("acme", frozenset({"write"})),
        "late-token": Token("late", suspended=True),
    }
    tenants = MemoryTenants({"acme": store, "other": MemoryStore()}, tokens)
    api = Api(tenants, ApiSettings(**settings))
    app = web.Application(middlewares=[problem_middleware])
    app.add_routes(api.routes())
    app.on_shutdown.append(api.stop)
    server = TestServer(app)
    async with AsyncExitStack() as stack:
        await server.start_server(**RUNNER)  # type: ignore[arg-type]
        stack.push_async_callback(server.close)
        client = await stack.enter_async_context(ClientSession(server.make_url("/")))
        yield World(client, store, tenants, server, api)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving() as found:
        yield found


# -- who may ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["", "Basic YTpi", "Bearer", "Bearer  two", "Bearer unknown", "Bearer " + "x" * 600, "Bearer a b"]
)
async def test_without_a_valid_token_nothing_is_told(world: World, header: str) -> None:
    async with world.client.get("/api/v1/datasets", headers={"Authorization": header}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert (await response.json(content_type=None))["code"] == "C3303"


async def test_a_token_of_another_scope_is_refused(world: World) -> None:
    assert await world.code("/datasets", 403, token="write-token") == "C3304"


async def test_a_suspended_company_is_refused(world: World) -> None:
    assert await world.code("/datasets", 403, token="late-token") == "C3305"


async def test_the_company_comes_from_the_token(world: World) -> None:
    assert (await world.get("/datasets/employees/rows", token="other-token"))["rows"] == []


# -- what there is ------------------------------------------------------------------------------------------------------------


async def test_datasets_are_listed_with_their_schema(world: World) -> None:
    (dataset,) = (await world.get("/datasets"))["datasets"]
    assert dataset == await world.get("/datasets/employees")
    assert (dataset["name"], dataset["channel"], dataset["state"], dataset["rows"]) == ("employees", "hr", "live", 250)
    assert dataset["columns"][2] == {
        "name": "salary", "type": "decimal", "nullable": True, "key": 0, "precision": 19, "scale": 2, "length": 0,
    }  # fmt: skip


async def test_cells_keep_every_digit(world: World) -> None:
    world.store.put(employee(2**62, salary="12.30", rate=1.5, active=True, photo=b"\x00\xff", name="Zażółć"))
    row = (await world.get(f"/datasets/employees/rows/{to_text(employee(2**62).key)}"))["row"]
    assert row["values"] == {
        "id": "4611686018427387904", "name": "Zażółć", "salary": "12.30", "rate": 1.5, "active": True, "photo": "AP8=",
    }  # fmt: skip


async def test_pages_cover_every_row_once_in_key_order(world: World) -> None:
    keys: list[bytes] = []
    query = "?limit=100"
    while True:
        page = await world.get(f"/datasets/employees/rows{query}")
        keys += [from_text(row["key"]) for row in page["rows"]]
        if page["next"] is None:
            break
        query = f"?limit=100&after={page['next']}"
    assert keys == sorted(world.store.data)


async def test_a_page_of_wide_rows_ends_at_its_byte_budget(world: World) -> None:
    for n in range(1, 21):
        world.store.put(employee(n, photo=bytes(1 << 20)))
    page = await world.get("/datasets/employees/rows?limit=20")
    assert 0 < len(page["rows"]) < 20
    assert page["next"] == page["rows"][-1]["key"]


async def test_a_row_has_the_hash_of_its_canonical_form(world: World) -> None:
    page = await world.get("/datasets/employees/rows?limit=1")
    cells = list(employee(1).cells.values())
    assert page["rows"][0]["hash"] == to_text(row_hash(EMPLOYEES.columns, cells))


async def test_pages_and_rows_say_what_state_of_the_erp_they_show(world: World) -> None:
    page = await world.get("/datasets/employees/rows?limit=1")
    row = await world.get(f"/datasets/employees/rows/{page['rows'][0]['key']}")
    assert page["as_of"] == row["as_of"]
    assert len(from_text(page["as_of"])) > 30


async def test_withheld_rows_are_listed_with_their_reason(world: World) -> None:
    world.store.refused.append(
        WithheldRow("employees", employee(1).key, "A2301", "name", "U+0000", "2025-01-31T10:00:00Z", "erp")
    )
    (row,) = (await world.get("/withheld?dataset=employees&limit=5"))["withheld"]
    assert (row["code"], row["column"], row["side"]) == ("A2301", "name", "erp")


# -- bad input ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/datasets/nothing", 404, "C3307"),
        ("/datasets/nothing/rows", 404, "C3307"),
        ("/datasets/nothing/rows/kQE", 404, "C3307"),
        ("/datasets/employees/rows/kf8", 404, "C3308"),
        ("/datasets/employees/rows/kQF", 400, "C3306"),
        ("/datasets/employees/rows/k", 400, "C3306"),
        ("/datasets/employees/rows/kQE=", 400, "C3306"),
        ("/datasets/employees/rows/k%00QE", 400, "C3306"),
        ("/datasets/Employees", 400, "C3306"),
        ("/datasets/employees%0A", 400, "C3306"),
        ("/datasets/employees/rows?limit=0", 400, "C3306"),
        ("/datasets/employees/rows?limit=1001", 400, "C3306"),
        ("/datasets/employees/rows?limit=1e3", 400, "C3306"),
        ("/datasets/employees/rows?limit=1&limit=2", 400, "C3306"),
        ("/datasets/employees/rows?after=", 400, "C3306"),
        ("/datasets/employees/rows?lmit=1", 400, "C3306"),
        ("/withheld?dataset=nothing", 404, "C3307"),
        ("/changes", 400, "C3306"),
        ("/changes?after=-1", 400, "C3306"),
        ("/changes?after=0&wait=31", 400, "C3306"),
        ("/changes?after=0&dataset=nothing", 404, "C3307"),
        ("/changes?after=9999999999999999999", 410, "C3310"),
        ("/changes/stream?after=x", 400, "C3306"),
        ("/nowhere", 404, "C3301"),
        ("/datasets/", 404, "C3301"),
        ("", 404, "C3301"),
        ("/datasets/employees/rows?after=" + "A" * 8100, 414, "C3316"),
    ],
)
async def test_a_bad_request_is_answered_with_its_code(world: World, path: str, status: int, code: str) -> None:
    from yarl import URL

    async with world.client.get(
        URL(f"http://{world.server.host}:{world.server.port}/api/v1{path}", encoded=True),
        headers={"Authorization": "Bearer acme-token"},
    ) as response:
        body = await response.json(content_type=None)
        assert (response.status, response.content_type, body["code"]) == (status, "application/problem+json", code), body


async def test_all_mistakes_of_a_request_are_told_at_once(world: World) -> None:
    body = await world.get("/changes?after=x&limit=0&wait=99&dataset=A&foo=1", status=400)
    assert [error["parameter"] for error in body["errors"]] == ["after", "limit", "dataset", "wait", "foo"]


async def test_an_unknown_path_outside_the_api_is_a_problem_too(world: World) -> None:
    async with world.client.get("/index.html", headers={"Accept": "text/html"}) as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")


async def test_another_method_is_refused_with_what_is_allowed(world: World) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        async with world.client.request(method, "/api/v1/datasets/employees") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
            assert response.content_type == "application/problem+json"


async def test_too_large_headers_are_refused_with_a_problem(world: World) -> None:
    assert await world.code("/datasets", 431, headers={"X-Long": "x" * 17_000}) == "C3311"


async def test_a_defect_is_an_answer_without_details(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.datasets = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    body = await world.get("/datasets", status=500, headers={"Accept": "text/html"})
    assert body["code"] == "C3312"
    assert "ZeroDivisionError" in caplog.text
    assert "division" not in json.dumps(body)


async def test_a_store_that_fails_asks_to_come_back(world: World) -> None:
    world.store.failing = True
    assert await world.code("/datasets", 503) == "C3313"


async def test_a_dataset_that_is_being_loaded_is_not_shown_as_empty(world: World) -> None:
    world.store.state = "loading"
    assert await world.code("/datasets/employees/rows", 503) == "C3314"
    assert await world.code(f"/datasets/employees/rows/{to_text(employee(1).key)}", 503) == "C3314"


# -- changes ------------------------------------------------------------------------------------------------------------------


async def test_changes_are_followed_from_a_cursor(world: World) -> None:
    start = (await world.get("/cursor"))["cursor"]
    world.store.put(employee(1, name="new"))
    world.store.remove(employee(2).key)
    world.store.reset()
    page = await world.get(f"/changes?after={start}")
    assert [(c["op"], c["row"] and c["row"]["values"]["name"]) for c in page["changes"]] == [
        ("upsert", "new"), ("delete", None), ("reset", None),
    ]  # fmt: skip
    assert (page["cursor"], page["more"]) == ("3", False)
    assert (await world.get(f"/changes?after={page['cursor']}"))["changes"] == []


async def test_a_limit_leaves_the_rest_for_the_next_page(world: World) -> None:
    for n in range(5):
        world.store.put(employee(n))
    first = await world.get("/changes?after=0&limit=3")
    second = await world.get(f"/changes?after={first['cursor']}&limit=3")
    assert (len(first["changes"]), first["more"], len(second["changes"]), second["more"]) == (3, True, 2, False)


async def test_a_cursor_older_than_the_feed_is_gone(world: World) -> None:
    for n in range(5):
        world.store.put(employee(n))
    world.store.oldest = 3
    assert await world.code("/changes?after=2", 410) == "C3309"
    assert await world.code("/changes/stream?after=2", 410) == "C3309"


async def test_a_filtered_reader_moves_on_with_the_feed(world: World) -> None:
    world.store.put(employee(1))
    world.store.feed[0] = world.store.feed[0].__class__(1, "others", "reset", b"", None)
    page = await world.get("/changes?after=0&dataset=employees")
    assert (page["changes"], page["cursor"]) == ([], "1")


async def test_a_long_poll_returns_as_soon_as_something_changes(world: World) -> None:
    waiting = asyncio.create_task(world.get("/changes?after=0&wait=30"))
    await world.followed(1)
    world.store.put(employee(1))
    world.tenants.moved()
    assert [c["cursor"] for c in (await waiting)["changes"]] == ["1"]


async def test_a_long_poll_ends_with_an_empty_page(world: World) -> None:
    assert (await world.get("/changes?after=0&wait=1"))["changes"] == []


async def test_a_long_poll_is_answered_when_the_service_stops() -> None:
    async with serving() as world:
        waiting = asyncio.create_task(world.get("/changes?after=0&wait=30"))
        await world.followed(1)
        await world.api.stop()
        assert (await waiting)["changes"] == []


async def test_a_long_poll_whose_token_is_revoked_meanwhile_shows_nothing(world: World) -> None:
    waiting = asyncio.create_task(world.code("/changes?after=0&wait=30", 401))
    await world.followed(1)
    del world.tenants.tokens["acme-token"]
    world.store.put(employee(1))
    world.tenants.moved()
    assert await waiting == "C3303"


async def test_too_many_followers_are_refused() -> None:
    async with serving(followers=1) as world:
        waiting = asyncio.create_task(world.get("/changes?after=0&wait=30"))
        await world.followed(1)
        assert await world.code("/changes?after=0&wait=30", 429) == "C3315"
        world.store.put(employee(1))
        world.tenants.moved()
        await waiting


# -- stream -------------------------------------------------------------------------------------------------------------------


class Event(NamedTuple):
    id: str
    name: str
    data: str


NextEvent = Callable[[], Coroutine[Any, Any, Event | None]]


@asynccontextmanager
async def stream(
    world: World, query: str = "", **headers: str
) -> AsyncIterator[tuple[ClientResponse, Callable[[], Coroutine[Any, Any, Event | None]]]]:
    headers = {"Authorization": "Bearer acme-token", **headers}
    async with world.client.get(f"/api/v1/changes/stream{query}", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"

        async def event() -> Event | None:
            lines: dict[str, str] = {}
            async for line in response.content:
                if line == b"\n":
                    return Event(lines.get("id", ""), lines.get("event", ""), lines.get("data", ""))
                name, _, value = line.decode().rstrip("\n").partition(": ")
                lines[name] = value
            return None

        yield response, event


async def test_a_stream_begins_where_it_is_told_and_goes_on(world: World) -> None:
    world.store.put(employee(1))
    world.store.put(employee(2))
    async with stream(world, "?after=1") as (_, event):
        assert await event() == Event("2", "", "")
        second = await event()
        assert second is not None
        assert (second.id, second.name, json.loads(second.data)["row"]["values"]["id"]) == ("2", "upsert", "2")
        world.store.remove(employee(2).key)
        world.tenants.moved()
        third = await event()
        assert third is not None
        assert (third.id, third.name) == ("3", "delete")


async def test_last_event_id_stands_above_after(world: World) -> None:
    for n in range(3):
        world.store.put(employee(n))
    async with stream(world, "?after=0", **{"Last-Event-ID": "2"}) as (_, event):
        await event()
        found = await event()
        assert found is not None
        assert found.id == "3"


async def test_a_stream_without_a_cursor_begins_with_what_comes_next(world: World) -> None:
    world.store.put(employee(1))
    async with stream(world) as (_, event):
        assert await event() == Event("1", "", "")
        world.store.put(employee(2))
        world.tenants.moved()
        found = await event()
        assert found is not None
        assert found.id == "2"


async def test_a_silent_stream_is_kept_alive() -> None:
    async with serving(keep_alive=0.01) as world, stream(world) as (_, event):
        assert [await event() for _ in range(3)] == [Event("0", "", "")] * 3


async def test_streams_end_cleanly_when_the_service_stops() -> None:
    async with serving() as world, stream(world) as (response, event):
        assert await event() is not None
        closing = asyncio.create_task(world.server.close())
        assert await event() is None
        assert response.content.exception() is None
        await closing


async def test_a_stream_ends_when_its_token_is_revoked() -> None:
    async with serving(keep_alive=0.01) as world, stream(world) as (_, event):
        assert await event() is not None
        del world.tenants.tokens["acme-token"]
        while await event() is not None:
            pass


async def test_a_stream_of_changes_that_is_cleaned_up_before_it_has_read_them_ends() -> None:
    async with serving(keep_alive=0.01) as world, stream(world) as (_, event):
        assert await event() is not None
        for n in range(5):
            world.store.put(employee(n))
        world.store.oldest = 3
        world.tenants.moved()
        while await event() is not None:
            pass
        assert await world.code("/changes/stream?after=0", 410) == "C3309"


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with serving(send_timeout=0.05) as world, stream(world, "?after=0") as (response, _):
        await world.followed(1)
        for n in range(40):
            world.store.put(employee(n, photo=bytes(1 << 20)))
        world.tenants.moved()
        await world.followed(0)
        with pytest.raises(Exception, match=r"payload|reset|closed"):
            await response.read()
