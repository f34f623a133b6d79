"""The comparer as its own process, for tests that hold an ERP database against its copy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from cdc.model import Dataset

SCRIPT = Path(__file__).resolve().parents[2] / "cdc" / "demo" / "compare.py"


class Comparison(NamedTuple):
    """What the comparer said."""

    exit_code: int
    report: dict[
        str, Any
    ]  # {"equal", "datasets": [{"dataset", "erp_rows", "cloud_rows", "withheld", "differing", "differences"}]}
    errors: str

    @property
    def equal(self) -> bool:
        return self.exit_code == 0

    @property
    def differences(self) -> list[tuple[str, str, str, str]]:
        """(dataset, kind, key, column) of each difference that was kept."""
        found = []
        for verdict in self.report.get("datasets", []):
            found.extend((verdict["dataset"], d["kind"], d["key"], d["column"]) for d in verdict["differences"])
        return found

    def rows(self, dataset: str) -> tuple[int, int, int]:
        """Rows in the ERP, in the cloud, withheld."""
        verdict = next(v for v in self.report["datasets"] if v["dataset"] == dataset)
        return verdict["erp_rows"], verdict["cloud_rows"], verdict["withheld"]


def declarations(datasets: Iterable[Dataset]) -> list[dict[str, Any]]:
    """The comparer's list of datasets."""
    names = ("table", "columns", "exclude", "key", "types", "filter")
    return [{"dataset": d.name, **{name: getattr(d, name) for name in names}} for d in datasets]


def command(erp: Path, copy: Path, datasets: Iterable[Dataset], folder: Path, *options: str) -> list[str]:
    """Writes the list of datasets into `folder`."""
    listed = folder / "datasets.json"
    listed.write_text(json.dumps(declarations(datasets)), encoding="utf-8")
    return [sys.executable, str(SCRIPT), str(erp), str(copy), "--datasets", str(listed), *options]


def compare(erp: Path, copy: Path, datasets: Iterable[Dataset], folder: Path) -> Comparison:
    """Holds both databases against each other, value by value, in a process of its own."""
    words = command(erp, copy, datasets, folder, "--json")
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120)
    return Comparison(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def assert_equal(erp: Path, copy: Path, datasets: Iterable[Dataset], folder: Path) -> Comparison:
    """As `compare`; a difference fails the test and is named."""
    result = compare(erp, copy, datasets, folder)
    assert result.equal, (result.exit_code, result.differences[:20], result.errors)
    return result
