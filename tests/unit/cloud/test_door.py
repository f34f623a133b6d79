"""The door for agents over real sockets: enrolment by strangers, their number, and a service that starts and ends clean."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from cloud import door
from cloud.app import Service, server_tls
from cloud.config import CloudConfig, Listen
from cloud.door import ENROL_ADDRESSES, ENROL_ATTEMPTS, ENROL_WINDOW, Attempts
from cloud.errors import CloudError
from cloud.store.registry import Registry
from tests.support.store_feeder import ManualClock
from transport.frames import ENROL_PATH, STREAM_PATH
from transport.machine import system_runtime


def body(code: str, key: bytes = b"k" * 32, company: str = "") -> bytes:
    parts = {"code": code, "company": company}
    parts |= {n: base64.b64encode(v).decode() for n, v in (("installation", b"i" * 16), ("public_key", key))}
    return json.dumps(parts).encode()


class World:
    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self.service = service
        self.session = session
        self.url = f"http://127.0.0.1:{service.port}"

    async def code(self, company: str = "acme") -> str:
        def issue(registry: Registry) -> str:
            if registry.company(company) is None:
                registry.add_company(company)
            return registry.new_enrolment_code(company, 3600)

        return await self.service.tenants.registry(issue)

    async def enrol(self, data: Any) -> tuple[int, str]:
        """Status, and the problem's code."""
        async with self.session.post(self.url + ENROL_PATH, data=data) as answer:
            return answer.status, (await answer.json(content_type=None)).get("code", "")


def config(folder: Path, port: int = 0) -> CloudConfig:
    return CloudConfig(version=1, data=folder, listen=Listen(address="127.0.0.1", port=port))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Service(config(tmp_path), system_runtime(), "1") as service, aiohttp.ClientSession() as session:
        yield World(service, session)


# -- enrolment -------------------------------------------------------------------------------------------------------------


async def test_a_guesser_is_stopped_after_ten_wrong_codes_although_they_come_all_at_once(world: World) -> None:
    answers = await asyncio.gather(*(world.enrol(body(f"AAAA-BBBB-{n:04}")) for n in range(40)))
    assert [code for _, code in answers].count("C3209") == ENROL_ATTEMPTS
    assert [status for status, _ in answers].count(429) == 40 - ENROL_ATTEMPTS


async def test_what_is_no_guess_does_not_count(world: World) -> None:
    good = await world.code()
    for _ in range(ENROL_ATTEMPTS + 2):
        assert await world.enrol(b"{") == (400, "C3007")
        assert await world.enrol(body(good, key=b"short")) == (400, "C3212")
        assert await world.enrol(body(good, company="other")) == (403, "C3216")
    assert await world.enrol(body(good)) == (200, "")


async def test_a_code_shown_for_the_wrong_company_stays_valid(world: World) -> None:
    good = await world.code()
    assert await world.enrol(body(good, company="other")) == (403, "C3216")
    assert await world.enrol(body(good, company="acme")) == (200, "")


async def test_a_request_that_comes_in_pieces_is_read_whole(world: World) -> None:
    whole = body(await world.code())

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 20):
            yield whole[at : at + 20]
            await asyncio.sleep(0)

    assert await world.enrol(pieces()) == (200, "")


async def test_a_request_that_is_too_long_is_refused_also_without_a_length(world: World) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    assert (await world.enrol(b"x" * 5000))[0] == 413
    assert (await world.enrol(endless()))[0] == 413


async def test_a_request_that_never_ends_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "ENROL_PATIENCE", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.service.port)
    writer.write(f"POST {ENROL_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert b" 408 " in await reader.readline()
    writer.transport.abort()


async def test_a_body_that_is_no_unicode_is_malformed(world: World) -> None:
    assert await world.enrol(b'{"code": "\xff"}') == (400, "C3007")
    assert (await world.enrol(body("x").replace(b'"x"', b'"\\ud800"')))[0] in (400, 403)


def test_wrong_codes_are_remembered_in_bounded_memory() -> None:
    attempts = Attempts(ManualClock())
    for number in range(ENROL_ADDRESSES + 500):
        attempts.began(f"address {number}")
    assert len(attempts) == ENROL_ADDRESSES
    for _ in range(1000):
        attempts.began("one")
    assert not attempts.allowed("one")


def test_wrong_codes_are_forgotten_after_their_time() -> None:
    clock = ManualClock()
    attempts = Attempts(clock)
    for _ in range(ENROL_ATTEMPTS):
        attempts.began("one")
    assert not attempts.allowed("one")
    clock.seconds += ENROL_WINDOW + 1
    assert attempts.allowed("one")


# -- strangers -------------------------------------------------------------------------------------------------------------


async def test_connections_that_have_not_proved_anything_are_few(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_STRANGERS", 2)
    async with world.session.ws_connect(world.url + STREAM_PATH), world.session.ws_connect(world.url + STREAM_PATH) as second:
        async with world.session.get(world.url + STREAM_PATH) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "C3018")
        await second.close()
    async with asyncio.timeout(10):
        while True:  # until the service has seen that they went
            async with world.session.get(world.url + STREAM_PATH) as answer:
                if answer.status != 503:
                    break


async def test_a_request_that_is_no_websocket_is_refused_and_holds_no_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_STRANGERS", 1)
    for _ in range(3):
        async with world.session.get(world.url + STREAM_PATH) as answer:
            assert answer.status == 400


async def test_metrics_and_readiness_name_no_company(world: World) -> None:
    await world.code("secret-company")
    await world.service.tenants.read("secret-company", lambda store: store.cursor())
    for path in ("/metrics", "/ready", "/live"):
        async with world.session.get(world.url + path) as answer:
            assert answer.status == 200
            assert "secret" not in await answer.text()


# -- start and end ---------------------------------------------------------------------------------------------------------


async def test_a_service_that_cannot_listen_leaves_nothing_open(tmp_path: Path) -> None:
    async with Service(config(tmp_path / "one"), system_runtime(), "1") as first:
        before = {t.name for t in threading.enumerate()}
        with pytest.raises(CloudError) as caught:
            await Service(config(tmp_path / "two", first.port), system_runtime(), "1").__aenter__()
        assert caught.value.code == "C3008"
        assert {t.name for t in threading.enumerate()} == before


async def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    wrong = config(tmp_path)
    msgspec.structs.force_setattr(wrong.listen, "address", "no such host!")
    with pytest.raises(CloudError) as caught:
        await Service(wrong, system_runtime(), "1").__aenter__()
    assert caught.value.code == "C3008"


async def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(CloudError) as caught:
        await Service(config(tmp_path / "data"), system_runtime(), "1").__aenter__()
    assert (caught.value.code, caught.value.where) == ("C3010", str(tmp_path / "data"))


def test_an_encrypted_key_is_refused_instead_of_asked_for_at_the_terminal(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.pem").write_bytes(locked)
    import trustme

    trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with pytest.raises(CloudError) as caught:
        server_tls(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert caught.value.code == "C3009"
