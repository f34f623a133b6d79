"""What an operator can get wrong at the cloud's command line, and how the service ends: statuses, messages, no traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cloud import cli

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """version = 1
data = "data"
[listen]
address = "127.0.0.1"
port = {port}
{more}
"""


class World:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.write()

    def write(self, port: int = 0, more: str = "") -> None:
        (self.folder / "cloud.toml").write_text(CONFIG.format(port=port, more=more))

    def call(self, *words: str) -> tuple[int, str]:
        status = cli.main(["--config", str(self.folder / "cloud.toml"), *words])
        return status, self._capsys.readouterr().err

    def start(self) -> subprocess.Popen[str]:
        """The service as a process of its own, listening."""
        command = [sys.executable, "-W", "error", "-m", "cloud", "--config", str(self.folder / "cloud.toml"), "run"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if "listening" in line:
                return process
        raise AssertionError("it did not start")


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, capsys)


def test_a_configuration_that_is_missing(world: World) -> None:
    (world.folder / "cloud.toml").unlink()
    status, said = world.call("company", "list")
    assert (status, "C3001" in said) == (3, True)


@pytest.mark.parametrize("verb", [["run"], ["company", "list"], ["company", "add", "acme"]])
def test_a_data_folder_that_is_a_file(world: World, verb: list[str]) -> None:
    (world.folder / "data").write_text("")
    status, said = world.call(*verb)
    assert (status, "C3010" in said, "    " in said) == (1, True, True)


def test_a_port_in_use(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        world.write(port=taken.getsockname()[1])
        status, said = world.call("run")
    assert (status, "C3008" in said) == (1, True)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_is_missing_or_is_none(world: World, content: str | None) -> None:
    if content is not None:
        (world.folder / "cert.pem").write_text(content)
        (world.folder / "key.pem").write_text(content)
    world.write(more='[tls]\ncertificate = "cert.pem"\nkey = "key.pem"')
    status, said = world.call("run")
    assert (status, "C3009" in said) == (1, True)


@pytest.mark.parametrize(
    ("verb", "code"),
    [
        (["company", "code", "nobody"], "C3201"),
        (["company", "suspend", "nobody"], "C3201"),
        (["company", "revoke-agent", "nobody"], "C3201"),
        (["company", "add", "Not Allowed"], "C3203"),
        (["token", "add", "nobody", "shop"], "C3201"),
        (["token", "revoke", "nobody", "shop"], "C3201"),
        (["load", "accept", "nobody", "people"], "C3109"),
    ],
)
def test_a_name_that_is_not_known(world: World, verb: list[str], code: str) -> None:
    status, said = world.call(*verb)
    assert (status, code in said, "    " in said) == (1, True, True)


def test_a_registry_that_is_no_database(world: World) -> None:
    (world.folder / "data").mkdir()
    (world.folder / "data" / "cloud.db").write_bytes(b"not a database, and long enough to be looked at" * 100)
    status, said = world.call("company", "list")
    assert (status, "C3102" in said) == (1, True)


def test_an_interrupted_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_company_list", interrupted)
    assert world.call("company", "list") == (130, "")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_service_in_order(world: World, number: str) -> None:
    process = world.start()
    process.send_signal(signal.Signals[number])
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "Warning" not in said


async def test_a_loop_without_signal_handlers_gets_them_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Windows."""
    kept: dict[int, object] = {}

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: kept.update({number: handler}))
    stop, hurry = asyncio.Event(), asyncio.Event()
    cli._on_signals(stop, hurry)
    handler = kept[signal.SIGTERM]
    assert callable(handler)
    handler(signal.SIGTERM, None)
    await asyncio.wait_for(stop.wait(), 10)
    assert not hurry.is_set()
    handler(signal.SIGTERM, None)
    await asyncio.wait_for(hurry.wait(), 10)
