"""What holds for every test: a skipped test is counted in the last line, and fails the run where CI=true."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = len(reporter.stats.get("skipped", []))
    if skipped and os.environ.get("CI") == "true" and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{skipped} tests were skipped: here everything they need must be installed", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
