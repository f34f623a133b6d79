"""What holds for every test run.

- A skipped test is counted in the last line, and fails the run where CI=true.
- On a foreign server (CDC_TEST_SQLSERVER) with databases of other tests nothing is run.
- T-SQL that a stand-in of SQL Server received is checked by Microsoft's parser when all tests have run; an error fails the run.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support import sql_gate
from tests.support.sqlserver import database, sql_server, sql_server_process, unfit

__all__ = ["database", "sql_server", "sql_server_process"]  # fixtures


def pytest_configure(config: pytest.Config) -> None:
    sql_gate.configure(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # of xdist
    sql_gate.configure_worker(node)


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    workers = session.config.getoption("numprocesses", None) or 0
    if reason := unfit(workers):
        pytest.exit(reason, returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_unconfigure(config: pytest.Config) -> None:
    sql_gate.unconfigure(config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    if not sql_gate.finish(session, reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    skipped = len(reporter.stats.get("skipped", []))
    if skipped and os.environ.get("CI") == "true" and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{skipped} tests were skipped: here everything they need must be installed", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
