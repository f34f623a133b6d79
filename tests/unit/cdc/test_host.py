"""The machine: lock, signals, private files, the service manager; with real processes and sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc import host
from cdc.errors import ProgramStopped

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and locks of POSIX")


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    code = """
import sys
from pathlib import Path
from cdc.host import state_lock
with state_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
    with child(code, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_state_folder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(ProgramStopped) as caught, host.state_lock(tmp_path):
        pass
    assert caught.value.code == "A2101"
    assert str(holder.pid) in caught.value.message


def test_a_process_that_was_killed_holds_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with host.state_lock(tmp_path):
        pass


def test_the_state_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    with host.state_lock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_state_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProgramStopped) as caught, host.state_lock(tmp_path / "file" / "state"):
        pass
    assert caught.value.code == "A2102"


def test_a_private_file_is_private_also_where_it_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    path.write_text("old")
    path.chmod(0o644)
    assert host.open_to_others(path)
    host.write_private(path, b"new")
    host.write_private(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not host.open_to_others(path)
    assert [p.name for p in tmp_path.iterdir()] == ["control.json"]


SIGNALLED = """
import asyncio
from cdc import host

async def main():
    reloads = []
    with host.Signals() as signals:
        signals.on_reload(lambda: print("reload", flush=True))
        print(type(asyncio.get_running_loop()).__module__.split(".")[0], flush=True)
        await signals.stop.wait()
        print("stop", flush=True)
        await signals.hurry.wait()
        print("hurry", flush=True)

host.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reload_stop_and_hurry(number: signal.Signals) -> None:
    with child(SIGNALLED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "uvloop\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "reload\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stop\n"
        process.send_signal(number)
        assert process.stdout.readline() == "hurry\n"
    assert process.returncode == 0


async def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    with host.Signals() as signals:
        signals.stop_now()
        await asyncio.wait_for(signals.stop.wait(), 5)
        assert not signals.hurry.is_set()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before


def test_without_uvloop_asyncios_own_loop_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert host.loop_factory() is None

    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert host.run(main()).startswith("asyncio")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield sock


def test_the_service_manager_is_told(manager: socket.socket) -> None:
    assert host.notify("READY=1", "STATUS=fresh")
    assert manager.recv(100) == b"READY=1\nSTATUS=fresh"


def test_nobody_listening_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not host.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not host.notify("READY=1")


async def test_signs_of_life_come_from_the_loop(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    assert host.watchdog_interval() == 0.01
    stop = asyncio.Event()
    task = asyncio.create_task(host.watchdog(stop))
    manager.setblocking(False)
    for _ in range(3):
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), 5) == b"WATCHDOG=1"
    stop.set()
    await task


def test_no_watchdog_is_expected_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert host.watchdog_interval() is None
