"""The walls of the house: direction of imports, purity, sizes, where SQL and the platform may stand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cdc", "transport", "cloud")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
KINDS = ("pure", "adapter", "shell")
MAX_LINES = 600
MAX_FUNCTION = 80
IMPURE = {"asyncio", "aiohttp", "socket", "sqlite3", "time", "threading", "subprocess", "watchfiles", "os", "ssl"}
SQL_HOMES = ("cdc/sources/", "cdc/journal", "cloud/store/", "cdc/demo/")
SERVICES = {"cdc.capture", "cdc.uplink", "cdc.apply", "cdc.files", "cdc.reload", "cdc.health"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def kind_of(path: Path) -> str:
    doc = ast.get_docstring(tree_of(path)) or ""
    return doc.split(":", 1)[0]


def imports_of(path: Path, *, runtime_only: bool = True) -> Iterator[str]:
    """Full names of what a module imports from the project, and roots of what else it imports."""
    known = {name_of(module) for module in MODULES}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def test_every_module_says_its_kind_first() -> None:
    wrong = [name_of(path) for path in MODULES if path.name != "__init__.py" and kind_of(path) not in KINDS]
    assert wrong == []


def test_transport_imports_neither_side() -> None:
    wrong = [
        (name_of(p), i)
        for p in MODULES
        if name_of(p).startswith("transport")
        for i in imports_of(p)
        if i.split(".")[0] in ("cdc", "cloud")
    ]
    assert wrong == []


def test_agent_and_cloud_never_import_each_other() -> None:
    wrong = [
        (name_of(p), i)
        for p in MODULES
        for i in imports_of(p)
        if (name_of(p).split(".")[0], i.split(".")[0]) in {("cdc", "cloud"), ("cloud", "cdc")}
    ]
    assert wrong == []


def test_the_two_ends_of_the_link_never_meet() -> None:
    for path in MODULES:
        imported = set(imports_of(path))
        assert not {"transport.client", "transport.server"} <= imported, name_of(path)


def test_services_meet_only_in_the_journal_and_the_composition_root() -> None:
    wrong = [(name_of(p), i) for p in MODULES if name_of(p) in SERVICES for i in imports_of(p) if i in SERVICES]
    assert wrong == []


def test_only_the_cli_names_the_demo() -> None:
    wrong = [
        name_of(p)
        for p in MODULES
        if not name_of(p).startswith("cdc.demo")
        and name_of(p) != "cdc.cli"
        and any(i.startswith("cdc.demo") for i in imports_of(p))
    ]
    assert wrong == []


def test_the_comparer_imports_nothing_of_the_product() -> None:
    compare = ROOT / "cdc" / "demo" / "compare.py"
    assert not [i for i in imports_of(compare) if i.split(".")[0] in PACKAGES]


def test_pure_modules_do_no_io() -> None:
    wrong = [
        (name_of(p), i)
        for p in MODULES
        if p.name != "__init__.py" and kind_of(p) == "pure"
        for i in imports_of(p)
        if i.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_pure_modules_import_only_pure_modules() -> None:
    kinds = {name_of(p): kind_of(p) for p in MODULES if p.name != "__init__.py"}
    wrong = [
        (name, i)
        for p in MODULES
        if kinds.get(name := name_of(p)) == "pure"
        for i in imports_of(p)
        if kinds.get(i, "pure") != "pure"
    ]
    assert wrong == []


def test_there_are_no_import_cycles() -> None:
    graph = {name_of(p): {i for i in imports_of(p) if i.split(".")[0] in PACKAGES} for p in MODULES if p.name != "__init__.py"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name in done:
            return
        for imported in sorted(graph.get(name, ())):
            visit(imported, (*path, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_no_module_is_longer_than_600_lines() -> None:
    assert [name_of(p) for p in MODULES if len(p.read_text().splitlines()) > MAX_LINES] == []


def test_no_function_is_longer_than_80_lines() -> None:
    wrong = [
        f"{name_of(p)}.{node.name}"
        for p in MODULES
        for node in ast.walk(tree_of(p))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    ]
    assert wrong == []


SQL = re.compile(
    r"\b(SELECT .+ FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TABLE|VIEW|INDEX|TRIGGER)|PRAGMA \w+)\b"
)


def sql_in(path: Path) -> list[int]:
    """Lines with a statement in a string that is no docstring."""
    tree = tree_of(path)
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, scopes)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text.lineno for text in texts if text.value not in docstrings and SQL.search(str(text.value))]


def test_sql_stands_only_in_sources_journal_and_stores() -> None:
    places = {path: path.relative_to(ROOT).as_posix() for path in MODULES}
    # errors*.py: remedies quote the statement that mends
    strangers = [p for p, place in places.items() if not place.startswith(SQL_HOMES) and not p.name.startswith("errors")]
    wrong = [(places[path], lines) for path in strangers if (lines := sql_in(path))]
    assert wrong == []


def test_the_platform_is_asked_only_in_host() -> None:
    wrong = [name_of(p) for p in MODULES if "sys.platform" in p.read_text() and name_of(p) != "cdc.host"]
    assert wrong == []


CLOCKS = re.compile(
    r"\b(time\.(time|monotonic|sleep)\(|datetime\.now\(|date\.today\(|uuid4\(|os\.urandom\("
    r"|import random\b|from random import (?!Random\b))"
)


def test_time_and_chance_come_only_from_the_runtime() -> None:
    homes = {"transport.machine"}
    wrong = [
        name_of(p)
        for p in MODULES
        if CLOCKS.search(p.read_text()) and name_of(p) not in homes and not name_of(p).startswith("cdc.demo")
    ]
    assert wrong == []


def test_durable_steps_have_names_of_their_own() -> None:
    """Each literal step name stands in one place, so that a crash test can aim at it."""
    pattern = re.compile(r"durable\(\s*\"([a-z_.]+)\"\s*\)")
    seen: dict[str, str] = {}
    for path in MODULES:
        for step in pattern.findall(path.read_text()):
            assert seen.setdefault(step, name_of(path)) == name_of(path), step
    assert seen


@pytest.mark.parametrize("folder", ["cdc", "transport", "cloud", "tests", "systemd", "windows", "docs", "examples", "bench"])
def test_the_tree_has_the_rooms_people_expect(folder: str) -> None:
    assert (ROOT / folder).is_dir()
