"""What a person can get wrong at the agent's command line: what to do, the documented exit status, and no traceback."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cdc import cli
from cdc.host import state_lock

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """version = 1
[agent]
state = "state"
listen = "127.0.0.1:{port}"
[cloud]
url = "https://127.0.0.1:9"
{ca}
[[company]]
name = "acme"
source = {{ kind = "sqlite", path = "erp.db" }}
[[company.channel]]
name = "hr"
[[company.dataset]]
name = "leave"
table = "leave"
channel = "hr"
"""


class World:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.write()
        with closing(sqlite3.connect(folder / "erp.db")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE leave(id INTEGER PRIMARY KEY)")

    def write(self, ca: str = "", port: int = 1) -> None:
        (self.folder / "agent.toml").write_text(CONFIG.format(ca=ca, port=port))

    def call(self, *words: str) -> tuple[int, str]:
        status, _, said = self.both(*words)
        return status, said

    def both(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        status = int(cli.main(["--config", str(self.folder / "agent.toml"), *words]))
        captured = self._capsys.readouterr()
        return status, captured.out, captured.err


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    return World(tmp_path, capsys)


def test_a_configuration_that_is_missing(world: World) -> None:
    (world.folder / "agent.toml").unlink()
    status, said = world.call("status")
    assert (status, "A2001" in said) == (3, True)


@pytest.mark.parametrize("verb", [["status"], ["reload"], ["sync", "acme"], ["restored", "acme", "real"], ["takeover", "acme"]])
def test_an_order_without_a_running_agent(world: World, verb: list[str]) -> None:
    status, said = world.call(*verb)
    assert (status, "A2515" in said) == (1, True)
    assert "    " in said  # the remedy


@pytest.mark.parametrize(
    "verb", [["enrol", "other", "CODE"], ["install", "other"], ["uninstall", "other"], ["doctor", "other"]]
)
def test_a_company_that_is_not_in_the_configuration(world: World, verb: list[str]) -> None:
    status, said = world.call(*verb)
    assert (status, "A2513" in said) == (1, True)


def test_an_erp_file_that_is_missing(world: World) -> None:
    (world.folder / "erp.db").unlink()
    status, said = world.call("install")
    assert (status, "A2202" in said) == (1, True)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_authorities_that_is_missing_or_is_none(world: World, content: str | None) -> None:
    world.write(ca='ca = "ca.pem"')
    if content is not None:
        (world.folder / "ca.pem").write_text(content)
    status, said = world.call("enrol", "acme", "CODE")
    assert (status, "T1011" in said, "ca.pem" in said) == (1, True, True)
    status, _ = world.call("doctor")
    assert status == 1


def test_a_cloud_that_does_not_answer(world: World) -> None:
    status, said = world.call("enrol", "acme", "CODE")
    assert (status, "T1010" in said) == (1, True)


def test_a_state_folder_that_is_a_file_is_found_before_the_code_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = []
    monkeypatch.setattr(cli, "enrol", lambda *words: used.append(words))
    (world.folder / "state").write_text("")
    status, said = world.call("enrol", "acme", "CODE")
    assert (status, "A2102" in said, used) == (4, True, [])
    status, _ = world.call("doctor")
    assert status == 1
    status, said = world.call("run")
    assert (status, "A2102" in said) == (4, True)


def test_a_state_folder_in_use(world: World) -> None:
    with state_lock(world.folder / "state"):
        status, said = world.call("run")
    assert (status, "A2101" in said) == (4, True)


def test_a_command_line_that_is_wrong(world: World) -> None:
    with pytest.raises(SystemExit) as caught:
        world.call("fly")
    assert caught.value.code == 2


def test_an_interrupted_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_check", interrupted)
    assert world.call("check") == (130, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_reader_that_has_enough_gets_no_traceback(world: World) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-W", "error", "-m", "cdc", "--config", str(world.folder / "agent.toml"), "doctor"]
        done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr
    assert done.returncode in (1, 0)


# -- install and uninstall -------------------------------------------------------------------------------------------------


def tables(world: World) -> set[str]:
    with closing(sqlite3.connect(world.folder / "erp.db")) as db:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def another_company(world: World, name: str, erp: str) -> None:
    more = f'[[company]]\nname = "{name}"\nsource = {{ kind = "sqlite", path = "{erp}" }}\n'
    path = world.folder / "agent.toml"
    path.write_text(path.read_text() + more)


def test_install_says_what_it_did_and_the_second_time_that_there_was_nothing_to_do(world: World) -> None:
    status, out, _ = world.both("install", "acme")
    assert (status, "acme: tracking table leave by id" in out) == (0, True)
    assert world.both("install", "acme") == (0, "acme: nothing to do, everything is there\n", "")


def test_what_goes_wrong_with_one_company_keeps_install_from_no_other(world: World) -> None:
    another_company(world, "zeta", "erp.db")
    another_company(world, "beta", "missing.db")
    status, out, said = world.both("install")
    assert (status, "A2202" in said) == (1, True)
    assert "zeta: " in out


@pytest.mark.parametrize("words", [["--script"], ["--enable-tracking"], ["--enable-snapshot"]])
def test_what_only_a_server_has_is_refused_for_a_file(world: World, words: list[str]) -> None:
    status, said = world.call("install", *words)
    assert (status, "A2320" in said) == (1, True)
    assert tables(world) == {"leave"}


@pytest.mark.parametrize(
    "words", [["--retention", "7d"], ["--enable-tracking", "--retention", "soon"], ["--enable-tracking", "--retention", "5m"]]
)
def test_a_retention_that_is_wrong_or_for_nothing_is_a_wrong_command_line(world: World, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        world.call("install", *words)
    assert caught.value.code == 2


def test_uninstall_removes_what_install_made(world: World) -> None:
    world.call("install")
    status, out, _ = world.both("uninstall", "acme", "--yes")
    assert (status, "acme: removed table _cdc_log" in out, tables(world)) == (0, True, {"leave"})
    assert world.both("uninstall", "acme", "--yes")[:2] == (0, "acme: nothing to do, there is nothing of ours\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [(Terminal("acme\n"), 0, False), (Terminal("yes\n"), 1, True), (Terminal(""), 1, True), (io.StringIO("acme\n"), 1, True)],
)
def test_uninstall_asks_for_the_companys_name(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: io.StringIO, status: int, left: bool
) -> None:
    world.call("install")
    monkeypatch.setattr(sys, "stdin", answer)
    done, _, said = world.both("uninstall", "acme")
    assert (done, "A2322" in said, "_cdc_log" in tables(world)) == (status, left, left)
