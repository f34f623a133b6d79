"""The demo from its command line: both sides equal at the end, and not for a comparer that would say so anyway."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cdc.demo.run import COMPARE, Options, demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "kept"


async def test_the_demo_ends_with_equal_sides(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = await demo(Options(once=True, folder=kept, seed=5, employees=40, years=1, seconds=3))
    shown = capsys.readouterr().out
    assert status == 0, shown
    assert "Full sync:" in shown
    assert "latency from commit to application" in shown
    last = shown.strip().splitlines()[-1].split()
    assert (last[0], last[-1]) == ("total", "yes")
    assert last[1] == last[2]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        ("UPDATE {table} SET minutes = minutes + 1 WHERE entry_id = 77", "key (77) column minutes: value"),
        ("DELETE FROM {table} WHERE entry_id = 77", "key (77): missing"),
        ("INSERT INTO {table} SELECT x'00', 1 + max(entry_id), {rest} FROM {table}", ": extra"),
    ],
)
def test_one_wrong_one_missing_and_one_extra_row_are_each_found(kept: Path, tmp_path: Path, spoil: str, named: str) -> None:
    if not (kept / "datasets.json").exists():
        pytest.skip("needs what the first test of this module made")
    copy = tmp_path / "copy.db"
    copy.write_bytes((kept / "cloud-data" / "companies" / "acme.db").read_bytes())
    with closing(sqlite3.connect(copy)) as database:
        sql = "SELECT sql FROM sqlite_master WHERE type = 'view' AND name = 'work_time'"
        table = database.execute(sql).fetchone()[0].rsplit('FROM "', 1)[1].rstrip('"')
        columns = [name for _, name, *_ in database.execute(f'PRAGMA table_info("{table}")')][2:]
        database.execute(spoil.format(table=f'"{table}"', rest=", ".join(f'"{c}"' for c in columns)))
        database.commit()
    words = [sys.executable, str(COMPARE), str(kept / "erp.db"), str(copy), "--datasets", str(kept / "datasets.json")]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert "work_time" in done.stdout.splitlines()[-1]
    assert named in done.stdout.splitlines()[-1]


def test_ctrl_c_ends_the_demo_with_a_comparison(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cdc", "demo", "--employees", "30", "--years", "1"]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    lines = []
    with process, process.stdout:
        for line in process.stdout:
            lines.append(line)
            if " s  " in line and line.startswith("  "):
                process.send_signal(signal.SIGINT)
                break
        lines += process.stdout.readlines()
    assert process.returncode == 0, "".join(lines)
    assert (lines[-1].split()[0], lines[-1].split()[-1]) == ("total", "yes")
    assert list(tmp_path.iterdir()) == []  # the folder was a temporary one


async def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert await demo(Options(once=True, folder=tmp_path)) == 1
    assert "is not empty" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["mine.txt"]  # noqa: PTH208
