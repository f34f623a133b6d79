"""The locks of a store's file outlive everything the service does with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cloud.store.sqlite import SqliteStore
from transport.machine import system_runtime

READ = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM _dataset").fetchone()
db.close()
"""


def test_another_process_that_reads_the_file_leaves_the_write_ahead_log_alone(tmp_path: Path) -> None:
    path = tmp_path / "acme.db"
    store = SqliteStore(path, system_runtime())
    log = path.with_name("acme.db-wal")
    try:
        store.datasets()  # opens the connections that read
        before = log.stat().st_ino
        subprocess.run([sys.executable, "-c", READ, str(path)], check=True)
        assert log.stat().st_ino == before
    finally:
        store.close()
