"""The stand-in as a process: what it prints, that it is logged in to, killed sessions, and that it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.sqlserver import lacking
from tests.unit.standin.clients import connect, eventually
from tests.unit.standin.conftest import ROOT, FakeServer

if reason := lacking():
    pytest.skip(reason, allow_module_level=True)
import pyodbc


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """pytest's own folders are closed to the user that the database server runs as when we are root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def stand_in(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "tests.standin", "--folder", str(folder), "--password", "Pass-word-1"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def children(process: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            found += [child, *children(child)]
    return found


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_the_process_serves_until_it_is_told_to_end_and_leaves_none_behind(open_folder: Path, how: str) -> None:
    with stand_in(open_folder) as (process, said):
        server = FakeServer(said["port"], Path(said["certificate"]))
        assert server.certificate.read_text().startswith("-----BEGIN CERTIFICATE")
        with closing(connect(server, PWD="Pass-word-1")) as opened, closing(connect(server, PWD="Pass-word-1")) as other:
            assert opened.execute("SELECT 1").fetchval() == 1
            spid = other.execute("SELECT @@SPID").fetchval()
            opened.execute(f"KILL {spid}")
            with pytest.raises(pyodbc.Error, match=r"08S01|596"):
                other.execute("SELECT 1")
            started = children(process.pid)
            assert started
            if how == "SIGTERM":
                process.send_signal(signal.SIGTERM)
            else:
                assert process.stdin is not None
                process.stdin.close()
            assert process.wait(15) == 0
        assert eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in started))
