"""Health and control over real sockets: who may ask, who may give orders, and what they are told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cdc.board import StatusBoard
from cdc.control import (
    CONTROL_FILE,
    Client,
    Done,
    LoadRequest,
    Refusal,
    RestoredRequest,
    SyncRequest,
    TakeoverRequest,
    read_door,
)
from cdc.errors import AgentError, ConfigError, ProgramStopped, Transient
from cdc.health import HealthServer
from cdc.status import Captured, Limits, Phase, problem_of
from transport.machine import system_runtime

PLANTED = "hunter2-Kowalska"


class Orders:
    """Notes what was ordered; `error` is raised instead."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.error: Exception | None = None

    async def _take(self, order: Any) -> Done:
        if self.error is not None:
            raise self.error
        self.taken.append(order)
        return Done(message="done")

    async def sync(self, request: SyncRequest) -> Done:
        return await self._take(request)

    async def reload(self) -> Done:
        return await self._take("reload")

    async def restored(self, request: RestoredRequest) -> Done:
        return await self._take(request)

    async def takeover(self, request: TakeoverRequest) -> Done:
        return await self._take(request)

    async def load(self, request: LoadRequest) -> Done:
        return await self._take(request)


class Running:
    def __init__(self, state: Path, listen: str = "127.0.0.1:0") -> None:
        self.state = state
        self.runtime = system_runtime()
        self.board = StatusBoard("1.0", self.runtime.clock.now())
        self.board.configured("acme", Limits(), ["main"])
        self.orders = Orders()
        self.stop = asyncio.Event()
        self.server = HealthServer(listen, state, self.board, self.orders, self.runtime)

    def fresh(self) -> None:
        now = self.runtime.clock.now()
        self.board.captured("acme", "main", Captured(phase=Phase.CURRENT, checked_at=now), now)

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.get(self.server.door.url + path, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.server.door.url + path, data=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    @property
    def allowed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.server.door.token}"}

    async def order(self, call: Callable[[Client], Any]) -> Any:
        """As the CLI does: blocking, with what stands in the state folder."""
        return await asyncio.to_thread(lambda: call(Client(self.state)))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    made = Running(tmp_path)
    task = asyncio.create_task(made.server.run(made.stop))
    await asyncio.wait_for(made.server.listening.wait(), 10)
    yield made
    made.stop.set()
    await task


# -- health ----------------------------------------------------------------------------------------------------------------


async def test_live_says_only_that_the_loop_turns(running: Running) -> None:
    assert await running.get("/live") == (200, {"live": True})


async def test_ready_is_about_freshness(running: Running) -> None:
    assert await running.get("/ready") == (503, {"ready": False, "companies": {"acme": False}})
    running.fresh()
    assert await running.get("/ready") == (200, {"ready": True, "companies": {"acme": True}})


async def test_health_answers_whatever_the_state(running: Running) -> None:
    status, health = await running.get("/health")
    assert (status, health["status"], health["ready"]) == (200, "degraded", False)
    running.board.stopped("acme", problem_of(ProgramStopped("A2102", "gone"), running.runtime.clock.now()))
    status, health = await running.get("/health")
    assert (status, health["status"]) == (200, "stopped")
    (problem,) = health["companies"][0]["problems"]
    assert problem["code"] == "A2102"
    assert problem["advice"].startswith("Create it")
    assert problem["since"].endswith("Z")


async def test_metrics_are_prometheus_text(running: Running) -> None:
    running.fresh()
    status, text = await running.get("/metrics")
    assert status == 200
    assert 'cdc_channel_fresh{channel="main",company="acme"} 1.0' in text


async def test_a_planted_value_reaches_neither_health_nor_metrics(running: Running) -> None:
    running.board.captured(
        "acme",
        "main",
        Captured(phase=Phase.PAUSED, problems=(problem_of(ValueError(PLANTED), running.runtime.clock.now()),)),
        running.runtime.clock.now(),
    )
    for path in ("/health", "/metrics", "/ready"):
        assert PLANTED not in str(await running.get(path))


# -- who may ask -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["erp.example", "127.0.0.1.evil.example", "10.0.0.1:8470", "", "[2001:db8::1]:80"])
@pytest.mark.parametrize("path", ["/health", "/control/v1/status", "/nothing"])
async def test_a_foreign_host_header_is_refused(running: Running, host: str, path: str) -> None:
    status, body = await running.get(path, Host=host, **running.allowed)
    assert (status, body["code"]) == (403, "A2512")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8470"])
async def test_names_of_this_machine_are_served(running: Running, host: str) -> None:
    assert (await running.get("/live", Host=host))[0] == 200


async def test_a_page_in_a_browser_is_refused(running: Running) -> None:
    status, body = await running.get("/health", Origin="http://127.0.0.1:8470")
    assert (status, body["code"]) == (403, "A2512")


def own_address() -> str | None:
    """An address of this machine that is not loopback; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(sock.getsockname()[0])


async def test_another_machine_is_refused_even_if_the_address_is_opened_to_it(tmp_path: Path) -> None:
    """The configuration forbids such an address; were it there nevertheless, the peer's address decides."""
    outside = own_address()
    if outside is None:
        pytest.skip("this machine has only loopback")
    made = Running(tmp_path, "0.0.0.0:0")
    task = asyncio.create_task(made.server.run(made.stop))
    await asyncio.wait_for(made.server.listening.wait(), 10)
    port = made.server.door.url.rpartition(":")[2]
    url = f"http://{outside}:{port}/health"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": "127.0.0.1"}) as answer:
        assert answer.status == 403
    made.stop.set()
    await task


# -- who may give orders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["", "Bearer ", "Bearer wrong", "Basic x", "bearer \xff"])
async def test_a_wrong_token_is_refused(running: Running, shown: str) -> None:
    for path in ("sync", "reload", "restored", "takeover", "load"):
        status, body = await running.post(f"/control/v1/{path}", b'{"company":"acme"}', Authorization=shown)
        assert (status, body["code"]) == (401, "A2511")
    assert (await running.get("/control/v1/status"))[0] == 401
    assert running.orders.taken == []


async def test_the_control_file_is_private_and_goes_with_the_agent(tmp_path: Path) -> None:
    made = Running(tmp_path)
    task = asyncio.create_task(made.server.run(made.stop))
    await asyncio.wait_for(made.server.listening.wait(), 10)
    assert (tmp_path / CONTROL_FILE).stat().st_mode & 0o777 == 0o600
    assert read_door(tmp_path) == made.server.door
    made.stop.set()
    await task
    with pytest.raises(AgentError) as caught:
        read_door(tmp_path)
    assert caught.value.code == "A2515"


async def test_each_start_has_a_token_of_its_own(running: Running, tmp_path: Path) -> None:
    other = Running(tmp_path)
    assert other.server._token != running.server._token
    assert len(running.server._token) == 64


def test_a_control_file_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / CONTROL_FILE
    path.write_text('{"url":"http://127.0.0.1:1","token":"x"}')
    path.chmod(0o644)
    with pytest.raises(AgentError) as caught:
        read_door(tmp_path)
    assert caught.value.code == "A2511"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"url": 3}'])
def test_a_damaged_control_file_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / CONTROL_FILE
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(AgentError) as caught:
        read_door(tmp_path)
    assert caught.value.code == "A2515"


async def test_every_order_of_the_client_arrives(running: Running) -> None:
    orders = [
        SyncRequest(company="acme", channel="main", full=True, when="next"),
        RestoredRequest(company="acme", choice="real"),
        TakeoverRequest(company="acme"),
        LoadRequest(company="acme", dataset="employee", accept=True),
    ]
    await running.order(lambda c: c.sync(orders[0]))
    await running.order(lambda c: c.restored(orders[1]))
    await running.order(lambda c: c.takeover(orders[2]))
    await running.order(lambda c: c.load(orders[3]))
    assert (await running.order(lambda c: c.reload())).message == "done"
    assert running.orders.taken == [*orders, "reload"]


async def test_the_client_reads_health_back(running: Running) -> None:
    running.fresh()
    health = await running.order(lambda c: c.status())
    assert health.companies[0].channels[0].fresh


async def test_a_refused_order_comes_with_code_place_and_advice(running: Running) -> None:
    running.orders.error = AgentError("A2513", "no such company", where="acmee")
    with pytest.raises(Refusal) as caught:
        await running.order(lambda c: c.takeover(TakeoverRequest(company="acmee")))
    assert str(caught.value) == "A2513 acmee: no such company"
    assert caught.value.body.status == 404
    assert caught.value.remedy.startswith("Check the spelling")


async def test_a_refused_configuration_comes_with_every_mistake(running: Running) -> None:
    running.orders.error = ConfigError([ProgramStopped("A2003", f"mistake {i}", where="agent.toml") for i in range(5)])
    with pytest.raises(Refusal) as caught:
        await running.order(lambda c: c.reload())
    assert caught.value.body.status == 422
    assert caught.value.body.problems == [f"A2003 agent.toml: mistake {i}" for i in range(5)]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"company": 3}', b'{"company":"a","extra":1}', b"[" * 60_000, b'{"company":"\xff"}'],
)
async def test_a_body_that_is_not_understood_is_refused(running: Running, body: bytes) -> None:
    status, answer = await running.post("/control/v1/takeover", body, **running.allowed)
    assert (status, answer["code"]) == (400, "A2514")
    assert running.orders.taken == []


async def test_a_body_that_is_too_large_is_refused(running: Running) -> None:
    assert (await running.post("/control/v1/takeover", b" " * 100_000, **running.allowed))[0] == 413


async def test_a_defect_behind_an_order_is_an_answer_without_its_words(running: Running) -> None:
    running.orders.error = ValueError(PLANTED)
    status, answer = await running.post("/control/v1/takeover", b'{"company":"acme"}', **running.allowed)
    assert (status, answer["code"]) == (500, "A2501")
    assert PLANTED not in str(answer)


async def test_unknown_paths_and_methods_are_told_apart(running: Running) -> None:
    assert (await running.get("/nothing"))[0] == 404
    assert (await running.get("/control/v1/sync", **running.allowed))[0] == 405


async def test_an_agent_that_does_not_run_is_said_so(tmp_path: Path) -> None:
    made = Running(tmp_path)
    task = asyncio.create_task(made.server.run(made.stop))
    await asyncio.wait_for(made.server.listening.wait(), 10)
    client = Client(tmp_path)
    made.stop.set()
    await task
    with pytest.raises(AgentError) as caught:
        await asyncio.to_thread(client.reload)
    assert caught.value.code == "A2515"


async def test_an_address_in_use_is_a_passing_error_with_a_name(running: Running, tmp_path: Path) -> None:
    listen = running.server.door.url.removeprefix("http://")
    other = Running(tmp_path / "other", listen)
    with pytest.raises(Transient) as caught:
        await other.server.run(other.stop)
    assert caught.value.code == "A2516"
