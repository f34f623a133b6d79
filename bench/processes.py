"""adapter: programs as child processes, and what the system says they used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parents[1]
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
T = TypeVar("T")


class NotInTime(Exception):
    """What was waited for did not come."""


def until(what: str, check: Callable[[], T | None], patience: float, every: float = 0.05) -> T:
    """The first result of `check` that is true. Raises NotInTime."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(every)
    raise NotInTime(f"{what} did not happen within {patience:.0f} s")


class Used(NamedTuple):
    """What a process has used so far."""

    cpu: float  # seconds, user and system
    peak: int  # bytes resident at most


class Program:
    """One of the two programs, with its configuration file."""

    def __init__(self, module: str, config: Path) -> None:
        self._module = module
        self._config = config
        self._log = config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, *words: str) -> str:
        """A command of the program's CLI, to its end; what it printed."""
        done = subprocess.run(
            self._command(*words), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{self._module} {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Runs until `stop`."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("run"), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
            )

    def stop(self) -> None:
        """In order; killed if that takes too long. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def used(self) -> Used:
        """Raises RuntimeError, with the end of the log, when the program is no longer there."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self._module} has ended\n{self._log.read_text(errors='replace')[-3000:]}")
        return used(self._process.pid)

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", self._module, "--config", str(self._config), *words]


def environment() -> dict[str, str]:
    """Of the programs: compiled modules are kept, so that a start is a start and not a compilation."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "cdc-bench-pycache")}


def used(pid: int) -> Used:
    """From /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return Used((int(fields[11]) + int(fields[12])) * TICK, peak)


def load() -> float:
    """Processes that wanted to run during the last minute."""
    return os.getloadavg()[0]
