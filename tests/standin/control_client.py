"""adapter: clients of the stand-in's control channel, one blocking, one for asyncio, with the same methods."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any


class ControlError(Exception):
    """The stand-in could not do it; the message says why."""


def _encode(command: str, arguments: dict[str, Any]) -> bytes:
    return json.dumps({"command": command, **arguments}).encode() + b"\n"


def _decode(line: bytes) -> Any:
    if not line:
        raise ControlError("the stand-in has gone")
    answer = json.loads(line)
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer["result"]


class Control:
    """Blocking. Every command has a connection of its own, so that threads can share it."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.address = (host, port)

    def call(self, command: str, **arguments: Any) -> Any:
        """Any command of tests.standin.control.Commands. Raises ControlError."""
        with socket.create_connection(self.address) as link, link.makefile("rb") as answers:
            link.sendall(_encode(command, arguments))
            return _decode(answers.readline())

    def add(self, match: str, **rule: Any) -> None:
        """A rule: see tests.standin.control.Rule."""
        self.call("add", match=match, **rule)

    def fail(self, match: str, number: int, **rule: Any) -> None:
        """Error `number` in place of the next request that matches."""
        self.call("add", match=match, error={"number": number}, **rule)

    def remove(self, name: str = "") -> None:
        self.call("remove", name=name)

    def wait(self, barrier: str, seconds: float = 30.0) -> bool:
        """Whether a request came to the barrier in time."""
        return bool(self.call("wait", barrier=barrier, timeout=seconds))

    def resume(self, barrier: str) -> None:
        self.call("resume", barrier=barrier)

    def sessions(self) -> list[dict[str, Any]]:
        return list(self.call("sessions"))

    def kill(self, **which: Any) -> list[int]:
        return list(self.call("kill", **which))

    def clock(self, seconds: float) -> str:
        return str(self.call("clock", seconds=seconds))

    def cleanup(self, database: str, version: int | None = None, age: float | None = None) -> int:
        return int(self.call("cleanup", database=database, version=version, age=age))

    def mistell(self, database: str) -> None:
        self.call("mistell", database=database)

    def set(self, option: str, value: Any, database: str = "") -> None:
        self.call("set", option=option, value=value, database=database)

    def log(self, match: str = "") -> dict[str, int]:
        """The distinct SQL texts with their counts."""
        return dict(self.call("log", match=match))

    def dump(self, path: str) -> int:
        return int(self.call("dump", path=path))

    def refused(self, reset: bool = False) -> list[dict[str, Any]]:
        return list(self.call("refused", reset=reset))

    def clear(self) -> None:
        self.call("clear")


class AsyncControl:
    """The same for asyncio: `await control.add(...)`, each on a connection of its own."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host

    async def call(self, command: str, **arguments: Any) -> Any:
        """Any command of tests.standin.control.Commands. Raises ControlError."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**26)
        try:
            writer.write(_encode(command, arguments))
            return _decode(await reader.readline())
        finally:
            writer.close()
            await writer.wait_closed()

    async def add(self, match: str, **rule: Any) -> None:
        """A rule: see tests.standin.control.Rule."""
        await self.call("add", match=match, **rule)

    async def fail(self, match: str, number: int, **rule: Any) -> None:
        """Error `number` in place of the next request that matches."""
        await self.call("add", match=match, error={"number": number}, **rule)

    async def remove(self, name: str = "") -> None:
        await self.call("remove", name=name)

    async def wait(self, barrier: str, seconds: float = 30.0) -> bool:
        """Whether a request came to the barrier in time."""
        return bool(await self.call("wait", barrier=barrier, timeout=seconds))

    async def resume(self, barrier: str) -> None:
        await self.call("resume", barrier=barrier)

    async def sessions(self) -> list[dict[str, Any]]:
        return list(await self.call("sessions"))

    async def kill(self, **which: Any) -> list[int]:
        return list(await self.call("kill", **which))

    async def clock(self, seconds: float) -> str:
        return str(await self.call("clock", seconds=seconds))

    async def cleanup(self, database: str, version: int | None = None, age: float | None = None) -> int:
        return int(await self.call("cleanup", database=database, version=version, age=age))

    async def set(self, option: str, value: Any, database: str = "") -> None:
        await self.call("set", option=option, value=value, database=database)

    async def log(self, match: str = "") -> dict[str, int]:
        """The distinct SQL texts with their counts."""
        return dict(await self.call("log", match=match))

    async def dump(self, path: str) -> int:
        return int(await self.call("dump", path=path))

    async def refused(self, reset: bool = False) -> list[dict[str, Any]]:
        return list(await self.call("refused", reset=reset))

    async def clear(self) -> None:
        await self.call("clear")
