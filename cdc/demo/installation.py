"""shell: one installation of agent and cloud in a folder: configuration files, real processes, their health."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from cdc.demo.certificates import make_certificates
from cdc.model import Dataset

COMPANY = "acme"
APPLICATION = "demo"
POLL = "500ms"
START_PATIENCE = 30.0  # seconds until a program answers
STOP_PATIENCE = 30.0  # seconds for an orderly end
TAIL = 20  # lines of a log that are shown


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


class Paths(NamedTuple):
    """Where everything stands."""

    folder: Path
    erp: Path
    agent_config: Path
    cloud_config: Path
    copy: Path
    declared: Path  # the comparer's list of datasets

    @staticmethod
    def within(folder: Path) -> Paths:
        """All names in the demo's folder."""
        copy = folder / "cloud-data" / "companies" / f"{COMPANY}.db"
        return Paths(folder, folder / "erp.db", folder / "agent.toml", folder / "cloud.toml", copy, folder / "datasets.json")


class Program:
    """Agent or cloud: commands that end, and one process that runs, with its output in a file."""

    def __init__(self, module: str, config: Path) -> None:
        self._module = module
        self._config = config
        self._log = config.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", self._module, "--config", str(self._config), *words]

    async def call(self, *words: str) -> str:
        """Run a command to its end; return its output. Raises DemoFailed."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command(*words), stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        if process.returncode:
            reason = err.decode(errors="replace").strip()
            raise DemoFailed(f"{self._module} {' '.join(words[:2])} ended with {process.returncode}:\n{reason}")
        return out.decode()

    async def start(self) -> None:
        """Start `run`, out of the terminal's reach: Ctrl-C is for the demo, which ends its children in order."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command("run"), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def check(self) -> None:
        """Raise DemoFailed if it has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
            raise DemoFailed(f"{self._module} ended with {self._process.returncode}:\n" + "\n".join(lines))

    async def stop(self) -> int:
        """Ask for an orderly end and wait for it; kill what does not end in time. Returns the exit status."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_PATIENCE):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        return await self._process.wait()


class Installation:
    """Cloud and agent for one company."""

    def __init__(self, paths: Paths, datasets: Iterable[Dataset], now: datetime) -> None:
        self.paths = paths
        self.datasets = list(datasets)
        self.cloud = Program("cloud", paths.cloud_config)
        self.agent = Program("cdc", paths.agent_config)
        self._health_port, cloud_port = free_ports(2)
        self._url = f"https://localhost:{cloud_port}"
        self.token = ""
        certificates = make_certificates(paths.folder, now)
        self._tls = ssl.create_default_context(cafile=certificates.authority)
        paths.cloud_config.write_text(cloud_toml(cloud_port), encoding="utf-8")
        paths.agent_config.write_text(agent_toml(self._url, self._health_port, paths.erp, self.datasets), encoding="utf-8")
        paths.declared.write_text(json.dumps(comparer_list(self.datasets), indent=1), encoding="utf-8")
        self._session: aiohttp.ClientSession | None = None

    async def set_up(self) -> None:
        """Start the cloud, add the company, install tracking in the ERP, enrol the agent and start it."""
        code = _after("enrolment code:", await self.cloud.call("company", "add", COMPANY))
        self.token = _after("token:", await self.cloud.call("token", "add", COMPANY, APPLICATION))
        await self.cloud.start()
        await self._answers("the cloud", self.cloud, lambda: self._get(f"{self._url}/live"))
        await self.agent.call("install")
        await self.agent.call("enrol", COMPANY, code)
        await self.agent.start()
        await self._answers("the agent", self.agent, self.health)

    async def close(self) -> None:
        """End both, agent first. Idempotent."""
        try:
            await self.agent.stop()
        finally:
            await self.cloud.stop()
            if self._session is not None:
                await self._session.close()

    async def health(self) -> dict[str, Any]:
        """The company's part of the agent's health. Raises DemoFailed if agent or cloud has ended."""
        self.agent.check()
        self.cloud.check()
        document = json.loads(await self._get(f"http://127.0.0.1:{self._health_port}/health"))
        return next((dict(c) for c in document["companies"] if c["name"] == COMPANY), {})

    def follow(self) -> aiohttp.client._RequestContextManager:
        """The stream of changes, as an application sees it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._client().get(f"{self._url}/api/v1/changes/stream", headers=headers, timeout=timeout)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20)
        return self._session

    async def _get(self, url: str) -> str:
        async with self._client().get(url, timeout=aiohttp.ClientTimeout(total=10)) as response:
            return await response.text()

    async def _answers(self, what: str, program: Program, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(START_PATIENCE):
                while True:
                    program.check()
                    try:
                        await ask()
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.05)
                    else:
                        return
        except TimeoutError:
            raise DemoFailed(f"{what} does not answer after {START_PATIENCE:.0f} s") from None


def _after(label: str, output: str) -> str:
    for line in output.splitlines():
        if line.startswith(label):
            return line.removeprefix(label).strip()
    raise DemoFailed(f'a line with "{label}" was expected')


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


# -- configuration files ---------------------------------------------------------------------------------------------------


def cloud_toml(port: int) -> str:
    """The cloud's file."""
    return f"""version = 1
data = "cloud-data"

[listen]
address = "127.0.0.1"
port = {port}

[tls]
certificate = "server.pem"
key = "server.key"
"""


def agent_toml(url: str, health_port: int, erp: Path, datasets: Iterable[Dataset]) -> str:
    """The agent's file; JSON texts and lists are TOML too."""
    declared = list(datasets)
    lines = ["version = 1", "", "[agent]", 'state = "agent-state"', f'listen = "127.0.0.1:{health_port}"', ""]
    lines += ["[cloud]", f"url = {json.dumps(url)}", 'ca = "ca.pem"', ""]
    lines += ["[[company]]", f'name = "{COMPANY}"', f'source = {{ kind = "sqlite", path = {json.dumps(erp.name)} }}']
    lines += [f'poll = "{POLL}"']
    for channel in dict.fromkeys(d.channel for d in declared):
        lines += ["", "[[company.channel]]", f'name = "{channel}"']
    for dataset in declared:
        lines += ["", "[[company.dataset]]", f'name = "{dataset.name}"', f'table = "{dataset.table}"']
        lines += [f'channel = "{dataset.channel}"']
        if dataset.exclude:
            lines.append(f"exclude = {json.dumps(dataset.exclude)}")
        if dataset.filter:
            lines.append(f"filter = {json.dumps(dataset.filter)}")
    return "\n".join([*lines, ""])


def comparer_list(datasets: Iterable[Dataset]) -> list[dict[str, Any]]:
    """The datasets as the comparer reads them."""
    names = ("table", "columns", "exclude", "key", "types", "filter")
    return [{"dataset": d.name, **{name: getattr(d, name) for name in names}} for d in datasets]
