"""The two programs beside each other: enrolment while the agent runs, and the cloud's end in the middle of a large window."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model import Dataset
from tests.support.product import Product, eventually

DATASETS = [Dataset(name="leave", table="leave", channel="hr")]
ROWS = 100_000


def made(folder: Path) -> Product:
    erp = folder / "erp.db"
    with closing(sqlite3.connect(erp)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE leave(id INTEGER PRIMARY KEY, employee INTEGER, kind TEXT)")
    return Product(folder, erp, DATASETS)


def rows(product: Product) -> int:
    with closing(sqlite3.connect(product.copy)) as db:
        return int(db.execute("SELECT count(*) FROM leave").fetchone()[0])


def test_an_agent_that_runs_goes_on_by_itself_once_its_company_is_enrolled(tmp_path: Path) -> None:
    product = made(tmp_path)
    try:
        code = product.enrolment_code()
        product.start_cloud()
        product.agent.call("install")
        product.start_agent()
        eventually("the company waits for its enrolment", lambda: "A2601" in product.problems())
        product.agent.call("enrol", product.company, code)
        product.wait_until_caught_up()
        again = product.cloud.call("company", "code", product.company).stdout.split(":", 1)[1].strip()
        before = product.company_health()["link"]["since"]
        product.agent.call("enrol", product.company, again)  # beside the live connection of the old identity
        eventually("the new identity connects", lambda: product.company_health()["link"]["since"] != before)
        product.wait_until_caught_up()
        assert product.company_health()["status"] == "ok"
        assert (product.agent.stop(), product.cloud.stop()) == (0, 0)
        for program in (product.agent, product.cloud):
            assert "Traceback" not in program.log()
            assert "ResourceWarning" not in program.log()
    finally:
        product.close()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("times", [1, 2])
def test_a_cloud_that_is_ended_in_the_middle_of_a_window_loses_nothing(tmp_path: Path, times: int) -> None:
    product = made(tmp_path)
    try:
        product.set_up()
        product.start_agent()
        product.wait_until_caught_up()
        with closing(sqlite3.connect(product.erp)) as db, db:
            db.executemany("INSERT INTO leave VALUES (?, ?, 'annual')", ((n, n % 300) for n in range(ROWS)))
        eventually("frames arrive", lambda: product.company_health()["journal"]["bytes"] > 0, every=0.005)
        for _ in range(times):
            os.kill(product.cloud.pid, signal.SIGTERM)
        assert product.cloud.wait(30) == 0
        assert rows(product) in (0, ROWS)  # whole or not at all
        assert "Traceback" not in product.cloud.log()
        product.start_cloud()
        product.wait_until_caught_up()
        assert rows(product) == ROWS
        assert "Traceback" not in product.agent.log()
    finally:
        product.close()
