"""Every error code is registered, used, and told to people."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cdc.errors import REGISTRY as AGENT
from cloud.errors import REGISTRY as CLOUD
from tools.errors_doc import PACKAGES, PAGE, document
from transport.errors import REGISTRY as WIRE

ROOT = Path(__file__).resolve().parent.parent
HOMES = {path for package in ("cdc", "transport", "cloud") for path in (ROOT / package).glob("errors*.py")}
REGISTERED = {**WIRE, **AGENT, **CLOUD}
CODE = re.compile(r"\b(?:T1|A2|C3)\d{3}\b")

AWAITED: set[str] = set()
"""Registered, and not raised yet: a certificate that cannot be read. Empty this when it is."""


def texts(path: Path) -> Iterator[str]:
    """Every string of a module but its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@cache
def used() -> dict[str, str]:
    """Codes in the source outside the registries, each with a module that has it."""
    modules = [p for package in ("cdc", "transport", "cloud") for p in (ROOT / package).rglob("*.py") if p not in HOMES]
    return {code: str(p.relative_to(ROOT)) for p in modules for text in texts(p) for code in CODE.findall(text)}


def test_every_code_in_the_source_is_registered() -> None:
    assert {code: where for code, where in used().items() if code not in REGISTERED} == {}


def test_every_registered_code_is_used() -> None:
    assert sorted(set(REGISTERED) - set(used()) - AWAITED) == []


def test_awaited_codes_are_still_awaited() -> None:
    assert sorted(AWAITED & set(used())) == []


@pytest.mark.parametrize(("letter", "registry"), [("T1", WIRE), ("A2", AGENT), ("C3", CLOUD)])
def test_a_registry_has_only_codes_of_its_package(letter: str, registry: dict[str, object]) -> None:
    assert [code for code in registry if not re.fullmatch(rf"{letter}\d{{3}}", code)] == []


def test_no_code_is_registered_twice() -> None:
    """A second entry would silently replace the first one."""
    keys = [
        key.value
        for path in HOMES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]
    assert sorted({key for key in keys if keys.count(key) > 1}) == []


def test_every_entry_is_whole() -> None:
    """A title without a full stop, a cause and a remedy in sentences."""
    wrong = [
        code
        for code, entry in REGISTERED.items()
        if not entry.title or entry.title.endswith(".") or not entry.cause.endswith(".") or not entry.remedy.endswith(".")
    ]
    assert wrong == []


def test_every_code_has_a_group_of_the_page() -> None:
    groups = {prefix for package in PACKAGES for prefix in package.groups}
    assert sorted({code[:3] for code in REGISTERED} - groups) == []
    assert sorted(groups - {code[:3] for code in REGISTERED}) == []


def test_the_committed_page_is_what_the_registries_say() -> None:
    """Otherwise: `make errors-doc`."""
    assert PAGE.read_text(encoding="utf-8") == document()
