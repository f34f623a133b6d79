"""A disk that takes no more: the file size limit of a real process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, resource, sys
from pathlib import Path
from cdc.errors import Transient
from cdc.journal import Journal
from transport.frames import Batch, Detach

journal = Journal(Path(sys.argv[1]), limit=1 << 30, reserve=0, new_id=lambda: b"n" * 16)
journal.open()
with journal.window("hr") as window:
    window.append(Detach("before"))
    window.complete(b"p1")
resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
try:
    with journal.window("hr") as window:
        for _ in range(12):
            window.append(Batch("d", b"s", 0, b"\\0", [[1]], [[os.urandom(1 << 20)]]))
        window.complete(b"p2")
except Transient as error:
    print(error.code)
print(journal.channel("hr").position, len(journal.read("hr", 0, 1 << 20, 99)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with journal.window("hr") as window:
    window.append(Detach("after"))
    window.complete(b"p3")
print(journal.channel("hr").position, len(journal.read("hr", 0, 1 << 20, 99)), journal.integrity())
journal.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no file size limit")
def test_a_file_size_limit_fails_the_window_and_nothing_else(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", SCRIPT, str(tmp_path / "journal.sqlite")]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=root, timeout=60)
    assert done.stdout.splitlines() == ["A2103", "b'p1' 1", "b'p3' 2 []"]
