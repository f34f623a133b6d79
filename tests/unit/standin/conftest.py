"""Fixtures for the wire's tests: a server with a scripted engine in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class FakeServer:
    """Where it listens, and its certificate."""

    port: int
    certificate: Path


@pytest.fixture(scope="module")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    certificate = tmp_path_factory.mktemp("wire") / "certificate.pem"
    command = [sys.executable, "-m", "tests.unit.standin.fake_engine", str(certificate)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield FakeServer(int(process.stdout.readline()), certificate)
        process.stdin.close()
        assert process.wait(10) == 0
