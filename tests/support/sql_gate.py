"""The end of a test run: every distinct T-SQL text that a stand-in received goes through Microsoft's parser, once.

With xdist each worker leaves its texts in a folder of the controlling process, which checks all of them and fails the run.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.sqlserver import GATE
from tests.support.tsqlcheck import Report, Text, Unavailable, check, unused

SHOWN = 20  # findings


def configure(config: pytest.Config) -> None:
    """The folder: the controller's, also for its workers."""
    given = getattr(config, "workerinput", {}).get("sql_gate")
    config.stash[GATE] = Path(given or tempfile.mkdtemp(prefix="sql-gate-"))


def configure_worker(node: Any) -> None:
    node.workerinput["sql_gate"] = str(node.config.stash[GATE])


def unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and GATE in config.stash:
        shutil.rmtree(config.stash[GATE], ignore_errors=True)


def texts_in(folder: Path) -> list[str]:
    """The distinct texts, from all workers."""
    return sorted({text for file in folder.glob("*.json") for text in json.loads(file.read_text(encoding="utf-8"))})


def problems(texts: list[str], *, whole: bool) -> tuple[list[str], str]:
    """What is wrong, and what to say if nothing is. `whole`: an exemption that nothing needed is wrong, too."""
    try:
        report = check([Text(f"received text {n}", sql) for n, sql in enumerate(texts, 1)])
    except Unavailable as error:
        return [], f"T-SQL was not checked: {error}"
    wrong = [str(finding) for finding in report.findings]
    if whole:
        wrong += [f"nothing needs this exemption of tests/support/tsql_exemptions.py: {reason}" for reason in unused(report)]
    return wrong, _summary(report)


def _summary(report: Report) -> str:
    return f"{report.batches} distinct T-SQL texts passed Microsoft's parser"


def is_whole(config: pytest.Config) -> bool:
    """Whether all tests of the small size at least were asked for: no folder, file, expression or stepwise option."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return False
    chosen = ("keyword", "lf", "failedfirst", "stepwise", "deselect", "collectonly", "maxfail")
    return not any(getattr(config.option, name, None) for name in chosen) and config.option.markexpr in ("", "not full")


def finish(session: pytest.Session, reporter: Any) -> bool:
    """Checks what was received; False fails the run."""
    texts = texts_in(session.config.stash[GATE])
    if not texts:
        return True
    reporter.ensure_newline()
    whole = is_whole(session.config) and session.exitstatus == pytest.ExitCode.OK
    wrong, summary = problems(texts, whole=whole)
    for line in wrong[:SHOWN]:
        reporter.write_line(line, red=True)
    if wrong:
        reporter.write_line(f"{len(wrong)} errors of syntax in the T-SQL that was sent in this run", red=True)
    else:
        reporter.write_line(summary)
    return not wrong
