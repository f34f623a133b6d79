"""shell: `make mutants`: every patch in tests/mutants breaks one rule, and the tests that it names must notice.

A patch begins with lines of its own: `rule:` what it breaks, `tests:` the tests that must fail (pytest ids, one a line). It is
applied to a copy of the working tree. It survives when one of its tests passes, and it is stale when it does not apply or its
tests do not run.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "mutants"
FAILED = 1  # pytest's exit status: tests ran, some failed


class Mutant(NamedTuple):
    """One patch."""

    path: Path
    rule: str
    tests: tuple[str, ...]


class Stale(Exception):
    """The patch, or what it names, no longer fits the code."""


def mutants(folder: Path = FOLDER) -> list[Mutant]:
    """All of them, in order of their names. Raises Stale for one that lacks its header."""
    return [_read(path) for path in sorted(folder.glob("*.patch"))]


def _read(path: Path) -> Mutant:
    header = path.read_text(encoding="utf-8").split("\ndiff ", 1)[0].split("\n--- ", 1)[0]
    rules = re.findall(r"^rule:\s*(.+)$", header, re.MULTILINE)
    tests = tuple(re.findall(r"^tests:\s*(\S+)$", header, re.MULTILINE))
    if len(rules) != 1 or not tests:
        raise Stale(f"{path.name}: needs one line `rule:` and at least one `tests:`")
    return Mutant(path, rules[0], tests)


def copy_tree(target: Path) -> None:
    """The working tree as it is now, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)


def apply(mutant: Mutant, tree: Path, *, reverse: bool = False) -> None:
    """Raises Stale when it does not fit."""
    command = ["git", "apply", "--unsafe-paths", *(["--reverse"] if reverse else []), str(mutant.path)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Stale(f"{mutant.path.name}: does not apply: {done.stderr.strip()}")


def run(tests: Sequence[str], tree: Path) -> tuple[int, str]:
    """Pytest's exit status and its last lines."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    return done.returncode, "\n".join(done.stdout.splitlines()[-15:])


def survivors(chosen: Sequence[Mutant], tree: Path) -> Iterator[str]:
    """A line for each mutant that nobody noticed, and for each that is stale."""
    for mutant in chosen:
        try:
            apply(mutant, tree)
        except Stale as problem:
            yield str(problem)
            continue
        try:
            yield from _unnoticed(mutant, tree)
        finally:
            apply(mutant, tree, reverse=True)


def _unnoticed(mutant: Mutant, tree: Path) -> Iterator[str]:
    print(f"{mutant.path.stem}: {mutant.rule}", flush=True)
    for test in mutant.tests:
        status, said = run([test], tree)
        if status == 0:
            yield f"{mutant.path.name}: survives {test}"
        elif status != FAILED:
            yield f"{mutant.path.name}: {test} does not run:\n{said}"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 1 when a mutant survives."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="beginnings of the patches' names; none: all")
    chosen = [m for m in mutants() if not (names := parser.parse_args(argv).names) or m.path.stem.startswith(tuple(names))]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / ROOT.name
        copy_tree(tree)
        (tree / ".venv").symlink_to(ROOT / ".venv")
        status, said = run(sorted({test for mutant in chosen for test in mutant.tests}), tree)
        if status:
            print(f"the tests do not pass without a mutant:\n{said}")
            return 1
        found = list(survivors(chosen, tree))
    print(*found, f"{len(chosen)} mutants, {len(found)} not noticed", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
