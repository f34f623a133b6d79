"""The patches in tests/mutants fit the code, so that `make mutants` can be run at any time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.mutants import ROOT, Mutant, Stale, mutants

ALL = mutants()


@pytest.mark.parametrize("mutant", ALL, ids=[m.path.stem for m in ALL])
def test_a_mutant_applies_to_the_code(mutant: Mutant) -> None:
    subprocess.run(["git", "apply", "--check", str(mutant.path)], cwd=ROOT, check=True)


@pytest.mark.parametrize("mutant", ALL, ids=[m.path.stem for m in ALL])
def test_a_mutant_names_tests_that_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()


def test_a_patch_without_its_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text("--- a/x\n+++ b/x\n")
    with pytest.raises(Stale, match="rule"):
        mutants(tmp_path)
