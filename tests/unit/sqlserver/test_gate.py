"""The gate: Microsoft's parser, exemptions, and that an error in any worker fails the run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import sql_gate, tsqlcheck
from tests.support.tsql_exemptions import EXEMPTIONS, Exemption
from tests.support.tsqlcheck import ROOT, Finding, Report, Text, batches, check, examine, missing, with_names_for_marks

parser_needed = pytest.mark.skipif(bool(missing()), reason=missing() or "there")

GOOD = (
    "SELECT CT.k, T.v FROM CHANGETABLE(CHANGES dbo.T, @from) AS CT LEFT OUTER JOIN dbo.T AS T ON T.k = CT.k",
    ";WITH CHANGE_TRACKING_CONTEXT (@mark) UPDATE dbo.T SET v = @v WHERE k = @k",
    "DECLARE @x int = 1; WITH CHANGE_TRACKING_CONTEXT (0x01) DELETE dbo.T WHERE k = @x",
    "IF @x = 1 BEGIN WITH CHANGE_TRACKING_CONTEXT (0x01) DELETE dbo.T WHERE k = 1 END",
    "SELECT @exists = COUNT(*) FROM dbo.T WITH (UPDLOCK, HOLDLOCK, ROWLOCK) WHERE k = @k",
)
BAD = (
    "SELECT * FROM CHANGETABLE(CHANGES dbo.T, @from - 1) AS CT",
    "SELECT * FROM CHANGETABLE(CHANGES dbo.T, @from)",
    "SELECT v FROM dbo.T LIMIT 5",
    "SELECT v FROM dbo.T WHERE k = ?",
    "DECLARE @x int = 1 WITH CHANGE_TRACKING_CONTEXT (0x01) DELETE dbo.T WHERE k = @x",
)


@parser_needed
def test_what_is_right_passes_and_what_is_wrong_is_found() -> None:
    report = check([Text(sql, sql) for sql in (*GOOD, *BAD)])
    assert {finding.name for finding in report.findings} == set(BAD)
    assert report.batches == len(GOOD) + len(BAD)


@parser_needed
def test_a_finding_shows_its_line() -> None:
    finding = check([Text("poll.sql", "SELECT 1;\nSELECT FROM dbo.T;")]).findings[0]
    assert (finding.line, finding.name) == (2, "poll.sql")
    assert "SELECT FROM dbo.T;" in str(finding)


class FakeParser:
    """Takes exception to one word."""

    def __init__(self, word: str) -> None:
        self.word = word

    def errors(self, sql: str) -> list[tuple[int, int, int, str]]:
        return [(1, 1, 46010, "wrong")] if self.word in sql else []


EXEMPTION = Exemption(re.compile(r", FORCESEEK\)"), ")", "the hint is newer than the grammar", "link")


def examined(sql: str, word: str) -> Report:
    return examine([Text("x", sql)], FakeParser(word), [EXEMPTION])  # type: ignore[arg-type]


def test_an_exemption_lets_what_it_names_pass_and_is_noted() -> None:
    report = examined("CHANGETABLE(CHANGES t, @v, FORCESEEK)", "FORCESEEK")
    assert (report.findings, report.used) == ([], [EXEMPTION.reason])


def test_an_exemption_excuses_nothing_else_in_the_batch() -> None:
    report = examined("CHANGETABLE(CHANGES t, @v, FORCESEEK) LIMIT", "LIMIT")
    assert len(report.findings) == 1
    assert report.used == []


def test_an_exemption_that_the_parser_did_not_need_is_not_used() -> None:
    assert examined("CHANGETABLE(CHANGES t, @v, FORCESEEK)", "nothing").used == []


def test_every_exemption_has_a_reason_of_its_own_and_a_link() -> None:
    assert len({exemption.reason for exemption in EXEMPTIONS}) == len(EXEMPTIONS)
    assert all(exemption.link.startswith("https://") for exemption in EXEMPTIONS)


def test_an_exemption_that_nothing_needs_fails_a_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsqlcheck, "EXEMPTIONS", (EXEMPTION,))
    monkeypatch.setattr(sql_gate, "check", lambda texts: Report(1, [], []))
    assert EXEMPTION.reason in sql_gate.problems(["SELECT 1"], whole=True)[0][0]
    assert sql_gate.problems(["SELECT 1"], whole=False)[0] == []


def test_the_texts_of_all_workers_are_checked_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["SELECT 1", "SELECT 2"]))
    (tmp_path / "b.json").write_text(json.dumps(["SELECT 2", "SELECT 3"]))
    assert sql_gate.texts_in(tmp_path) == ["SELECT 1", "SELECT 2", "SELECT 3"]


def test_without_the_parser_the_run_says_that_nothing_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsqlcheck, "missing", lambda: "not installed here: pythonnet")
    assert sql_gate.problems(["SELECT"], whole=False) == ([], "T-SQL was not checked: not installed here: pythonnet")


def test_batches_are_separated_by_lines_with_go() -> None:
    assert [text.sql.strip() for text in batches("f", "SELECT 1\nGO\nSELECT 'GO'\n go ;\n\nGO\n")] == [
        "SELECT 1",
        "SELECT 'GO'",
    ]


def test_question_marks_become_parameters_but_not_in_texts_names_and_comments() -> None:
    sql = "SELECT ?, '?', [?], \"?\" -- ?\n/* ? */ WHERE a = ? AND b = 'it''s ?'"
    assert with_names_for_marks(sql) == "SELECT @P1, '?', [?], \"?\" -- ?\n/* ? */ WHERE a = @P2 AND b = 'it''s ?'"


def test_a_finding_without_its_line_is_still_shown() -> None:
    assert "error 1: m" in str(Finding("x", 9, 1, 1, "m", "SELECT 1"))


RUN = """
import json
from pathlib import Path
import pytest
from tests.support.sqlserver import GATE

@pytest.mark.parametrize("n", range(4))
def test_something(n, request):
    (request.config.stash[GATE] / f"{n}.json").write_text(json.dumps(%s if n == 2 else ["SELECT 1"]))
"""


@parser_needed
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("texts", "status"), [(["SELECT FROM dbo.T"], 1), (["SELECT 2"], 0)])
def test_a_wrong_text_in_one_worker_fails_the_whole_run(tmp_path: Path, workers: int, texts: list[str], status: int) -> None:
    (tmp_path / "test_run.py").write_text(RUN % json.dumps(texts))
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_configure, pytest_configure_node, pytest_sessionfinish, pytest_unconfigure\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(tmp_path), "-n", str(workers), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("errors of syntax" if status else "passed Microsoft's parser") in done.stdout
    assert "4 passed" in done.stdout
