"""The measurements run; what they measure is no test's business."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_speed_section_prints_every_stage() -> None:
    command = [sys.executable, "-m", "bench", "--rows", "3000", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    stages = ["read", "encode", "compress", "journal", "send", "decode", "write", "bare loop", "full", "differential"]
    assert [stage for stage in stages if stage not in done.stdout] == []
