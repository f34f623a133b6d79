"""tools/debian.sh: installs what pip cannot, or says what to install; it never fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.tsqlcheck import ROOT

LIBRARIES = "libodbc.so.2 libodbcinst.so.2 libltdl.so.7 libgssapi_krb5.so.2 libkrb5.so.3 libssl.so.3 libstdc++.so.6"


class Machine:
    """Commands in front of the real ones: `known` is what the system's loader lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.known = folder / "known"
        self.known.write_text("")
        self.command("ldconfig", f'cat "{self.known}"')
        self.command("id", "echo 0")
        self.command("sudo", "exit 1")

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "VENV": str(self.folder / "venv")}
        return subprocess.run(["sh", str(ROOT / "tools" / "debian.sh")], env=environment, capture_output=True, text=True)

    @property
    def stamped(self) -> bool:
        return (self.folder / "venv" / ".installed-debian").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_where_everything_is_there_nothing_is_installed(machine: Machine) -> None:
    machine.known.write_text(LIBRARIES)
    machine.command("apt-get", "echo called >&2; exit 1")
    done = machine.run()
    assert (done.returncode, done.stderr, machine.stamped) == (0, "", True)


def test_what_is_missing_is_installed(machine: Machine) -> None:
    machine.command(
        "apt-get", f'case "$*" in *install*unixodbc*libltdl7*libgssapi-krb5-2*) echo "{LIBRARIES}" > "{machine.known}" ;; esac'
    )
    done = machine.run()
    assert (done.returncode, done.stderr, machine.stamped) == (0, "", True)


@pytest.mark.parametrize("user", ["0", "1000"])
def test_where_it_cannot_be_installed_it_says_what_to_install_and_does_not_fail(machine: Machine, user: str) -> None:
    machine.command("apt-get", "exit 100")
    machine.command("id", f"echo {user}")
    done = machine.run()
    assert (done.returncode, machine.stamped) == (0, False)
    assert "tests of SQL Server will be skipped" in done.stderr
    assert "libodbc.so.2" in done.stderr
    assert "apt-get install --no-install-recommends unixodbc libltdl7 libgssapi-krb5-2" in done.stderr
