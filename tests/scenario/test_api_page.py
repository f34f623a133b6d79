"""docs/06-api.md is held against the API: its requests are sent, its tables compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec
from aiohttp import ClientSession

from cloud.api import MAX_ADDRESS, MAX_HEADERS
from cloud.config import Limits
from cloud.routes import EVENTS, MAX_FILTER, MAX_LIMIT, MAX_WAIT, OPERATIONS, STATUS
from tests.support.api_server import api_server
from transport.frames import Type

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "06-api.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


async def test_every_request_on_the_page_succeeds(tmp_path: Path) -> None:
    commands = [shlex.split(line) for line in re.findall(r"^curl .+$", PAGE, flags=re.MULTILINE)]
    assert len(commands) >= len(OPERATIONS)
    async with api_server(tmp_path, lifetime=0.01) as server, ClientSession() as client:
        for words in commands:
            headers = {"Authorization": f"Bearer {server.token}"} if "Authorization: Bearer $TOKEN" in words else {}
            async with client.get(words[-1].replace("$CLOUD", server.url), headers=headers) as response:
                assert response.status == 200, words[-1]
                assert response.content_type == (EVENTS if "-N" in words else "application/json")
                await response.read()


def test_every_operation_is_on_the_page() -> None:
    told = re.findall(r"^\| `(\w+ /\S+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(told) == sorted(f"{operation.method} {operation.path}" for operation in OPERATIONS)


def test_every_code_is_on_the_page_with_its_status() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| ([C\d, ]+) \|", section("Errors"), flags=re.MULTILINE)
    told = {code: status.split(", ") for status, codes in rows for code in codes.split(", ")}
    assert set(told) == set(STATUS)
    assert [code for code, statuses in told.items() if str(STATUS[code]) not in statuses] == []


def test_every_type_of_a_cell_is_on_the_page() -> None:
    first = re.findall(r"^\| (`.+?) \|", section("Cells"), flags=re.MULTILINE)
    assert sorted(name for cell in first for name in re.findall(r"`(\w+)`", cell)) == sorted(Type)


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    text = section("Limits")
    limits = {field.name: field.default for field in msgspec.structs.fields(Limits)}
    for limit in (MAX_LIMIT, MAX_WAIT, MAX_FILTER, MAX_ADDRESS, MAX_HEADERS, limits["followers"]):
        assert re.search(rf"\b{limit}\b", text), limit
