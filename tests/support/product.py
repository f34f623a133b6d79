"""The whole product as real processes: cloud and agent with real TLS, a real ERP file, and faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trustme

from cdc.model import Dataset

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds a test waits for something that should take one


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Waited(AssertionError):
    """What was waited for did not come."""


def eventually(what: str, check: Any, patience: float = PATIENCE, every: float = 0.05) -> Any:
    """The first true result of `check`; polls a condition of another process, it does not guess a time."""
    end = time.monotonic() + patience
    last: Any = None
    while time.monotonic() < end:
        try:
            if last := check():
                return last
        except (OSError, urllib.error.URLError, json.JSONDecodeError) as error:
            last = error
        time.sleep(every)
    raise Waited(f"{what} did not happen within {patience:.0f} s; last: {last!r}")


class Program:
    """One of the two programs as a child process; its output goes to a file that a failing test shows."""

    def __init__(self, module: str, config: Path, log: Path) -> None:
        self._module = module
        self._config = config
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", self._module, "--config", str(self._config), *words]

    def call(self, *words: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command of the CLI, to its end."""
        done = subprocess.run(self.command(*words), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> None:
        assert self._process is None or self._process.poll() is not None, "still running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(*(words or ("run",))),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self, timeout: float = PATIENCE) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM and the orderly end."""
        if not self.running or self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def datasets_toml(datasets: Iterable[Dataset]) -> str:
    lines: list[str] = []
    for d in datasets:
        lines += ["", "[[company.dataset]]", f'name = "{d.name}"', f"table = '{d.table}'", f'channel = "{d.channel}"']
        for key, values in (("key", d.key), ("columns", d.columns), ("exclude", d.exclude)):
            if values:
                lines.append(f"{key} = {json.dumps(list(values))}")
        if d.types:
            lines.append("types = { " + ", ".join(f'"{c}" = "{t}"' for c, t in d.types.items()) + " }")
        if d.filter:
            lines.append(f"filter = {json.dumps(d.filter)}")
    return "\n".join(lines) + "\n"


class Product:
    """A cloud and an agent for one company, in a folder."""

    def __init__(
        self,
        folder: Path,
        erp: Path,
        datasets: Sequence[Dataset],
        *,
        company: str = "acme",
        source: str = "",
        **settings: str,
    ) -> None:
        """`source`: the TOML table of another source than the SQLite file `erp`."""
        self.folder = folder
        self.source = source or f'{{ kind = "sqlite", path = "{erp}" }}'
        self.erp = erp
        self.company = company
        self.datasets = list(datasets)
        self.settings = {"poll": '"200ms"', **settings}
        self.cloud_port = free_port()
        self.agent_url_port = self.cloud_port  # a proxy's port, when one stands between
        self.health_port = free_port()
        self.data = folder / "cloud-data"
        self.state = folder / "state"
        self.cloud = Program("cloud", folder / "cloud.toml", folder / "cloud.log")
        self.agent = Program("cdc", folder / "agent.toml", folder / "agent.log")
        self._certificates()
        self.write_cloud_config()
        self.write_agent_config()

    # -- set-up ----------------------------------------------------------------------------------------------------------

    def _certificates(self) -> None:
        ca = trustme.CA()
        server = ca.issue_cert("localhost", "127.0.0.1")
        ca.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        server.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        for index, blob in enumerate(server.cert_chain_pems):
            blob.write_to_path(str(self.folder / "cert.pem"), append=index > 0)

    def write_cloud_config(self, extra: str = "") -> None:
        (self.folder / "cloud.toml").write_text(
            f"""version = 1
data = "{self.data.name}"
[listen]
address = "127.0.0.1"
port = {self.cloud_port}
[tls]
certificate = "cert.pem"
key = "key.pem"
{extra}""",
            encoding="utf-8",
        )

    def agent_config(self) -> str:
        channels = dict.fromkeys(d.channel for d in self.datasets)
        settings = "\n".join(f"{key} = {value}" for key, value in self.settings.items())
        declared = "".join(f'\n[[company.channel]]\nname = "{name}"\n' for name in channels)
        return f"""version = 1
[agent]
state = "{self.state.name}"
listen = "127.0.0.1:{self.health_port}"
[cloud]
url = "https://localhost:{self.agent_url_port}"
ca = "ca.pem"
[[company]]
name = "{self.company}"
source = {self.source}
{settings}
{declared}{datasets_toml(self.datasets)}"""

    def write_agent_config(self) -> None:
        """As an editor does: a new file in the old one's place."""
        new = self.folder / "agent.toml.new"
        new.write_text(self.agent_config(), encoding="utf-8")
        new.replace(self.folder / "agent.toml")

    def set_up(self) -> None:
        """Company, code, structures in the ERP, enrolment; the cloud runs afterwards, the agent does not."""
        code = self.enrolment_code()
        self.start_cloud()
        self.agent.call("install")
        self.agent.call("enrol", self.company, code)

    def enrolment_code(self) -> str:
        out = self.cloud.call("company", "add", self.company).stdout
        return next(line.split(":", 1)[1].strip() for line in out.splitlines() if line.startswith("enrolment code:"))

    def token(self) -> str:
        out = self.cloud.call("token", "add", self.company, "tests").stdout
        return next(line.split(":", 1)[1].strip() for line in out.splitlines() if line.startswith("token:"))

    def start_cloud(self) -> None:
        self.cloud.start()
        eventually("the cloud listens", lambda: self.cloud_get("/live") is not None)

    def start_agent(self) -> None:
        self.agent.start()
        eventually("the agent answers", lambda: self.health())

    # -- looking ---------------------------------------------------------------------------------------------------------

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def cloud_get(self, path: str, token: str = "") -> Any:
        request = urllib.request.Request(f"https://localhost:{self.cloud_port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, context=self._context(), timeout=35) as response:
            return json.load(response)

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health", timeout=10) as response:
            return dict(json.load(response))

    def company_health(self) -> dict[str, Any]:
        return next(c for c in self.health()["companies"] if c["name"] == self.company)

    def problems(self) -> set[str]:
        """Codes health shows now, of the company and of the program."""
        health = self.health()
        return {p["code"] for p in (*health["problems"], *self.company_health()["problems"], *health["config"]["problems"])}

    def caught_up(self, since: float) -> bool:
        """Whether the cloud has everything committed in the ERP before `since` (wall seconds), visibly and completely."""
        company = self.company_health()
        return bool(company["channels"]) and all(
            c["covered_at"] is not None and _seconds(c["covered_at"]) > since and not c["reloading"] and not c["loads"]
            for c in company["channels"]
        )

    def wait_until_caught_up(self, patience: float = PATIENCE) -> None:
        since = time.time()
        try:
            eventually("the cloud is caught up", lambda: self.caught_up(since), patience)
        except Waited as error:
            with contextlib.suppress(Exception):
                error.add_note(json.dumps(self.company_health(), indent=1)[:6000])
            error.add_note("agent: " + self.agent.log()[-4000:])
            error.add_note("cloud: " + self.cloud.log()[-4000:])
            raise

    # -- comparing -------------------------------------------------------------------------------------------------------

    @property
    def copy(self) -> Path:
        return next(iter(self.data.rglob(f"{self.company}.db")))

    def close(self) -> None:
        for program in (self.agent, self.cloud):
            program.kill()


def _seconds(text: str) -> float:
    return msgspec.convert(text, type=__import__("datetime").datetime).timestamp()


@contextlib.contextmanager
def product(folder: Path, erp: Path, datasets: Sequence[Dataset], **settings: str) -> Iterator[Product]:
    """Set up and, at the end, killed."""
    made = Product(folder, erp, datasets, **settings)
    try:
        made.set_up()
        yield made
    finally:
        made.close()


async def in_thread(call: Any) -> Any:
    """For tests whose proxy runs on the loop."""
    return await asyncio.to_thread(call)
