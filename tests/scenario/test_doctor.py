"""`cdc doctor` names what a new installation gets wrong, and says so with its exit status."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cdc.model import Dataset
from tests.support.product import Product


def made(folder: Path) -> Product:
    with closing(sqlite3.connect(folder / "erp.db")) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)")
    return Product(folder, folder / "erp.db", [Dataset(name="people", table="person", channel="main")])


def test_a_new_installation_is_told_everything_it_lacks(tmp_path: Path) -> None:
    done = made(tmp_path).agent.call("doctor", check=False)
    assert done.returncode == 1
    for code in ("A2205", "A2601", "A2602"):  # not installed, not enrolled, no cloud
        assert f"ERROR   {code}" in done.stdout


def test_a_complete_installation_passes(tmp_path: Path) -> None:
    product = made(tmp_path)
    try:
        product.set_up()
        done = product.agent.call("doctor", check=False)
    finally:
        product.close()
    assert "ERROR" not in done.stdout
    assert done.returncode == 0


def test_a_certificate_of_a_strange_authority_is_named(tmp_path: Path) -> None:
    product = made(tmp_path)
    try:
        product.set_up()
        (tmp_path / "agent.toml").write_text(product.agent_config().replace('ca = "ca.pem"\n', ""), encoding="utf-8")
        done = product.agent.call("doctor", check=False)
    finally:
        product.close()
    assert "ERROR   A2603" in done.stdout
