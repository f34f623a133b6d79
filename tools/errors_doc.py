"""Makes docs/errors.md from the registries of error codes (`make errors-doc`); a test holds the committed page against it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cdc.errors import REGISTRY as AGENT
from cloud.errors import REGISTRY as CLOUD
from transport.errors import REGISTRY as WIRE
from transport.errors import Entry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"

INTRODUCTION = """\
# Errors

<!-- made by `make errors-doc` from transport/errors.py, cdc/errors*.py and cloud/errors.py: mend those, not this page -->

Every error has a code. Log lines, `cdc status`, `/health`, the API's problem documents and the goodbyes on the wire carry it; a
code keeps its meaning for ever and is never given again. Messages name things (a file and key, a company, a dataset, a column),
never the contents of rows and never secrets.
"""


class Package(NamedTuple):
    """One registry and what its codes begin with."""

    letter: str
    title: str
    registry: Mapping[str, Entry]
    groups: Mapping[str, str]  # first three characters of a code -> heading


PACKAGES = (
    Package("T", "The wire: `transport`", WIRE, {"T10": "Frames, conversation, connection"}),
    Package(
        "A",
        "The agent: `cdc`",
        AGENT,
        {
            "A20": "Configuration",
            "A21": "State folder and journal",
            "A22": "ERP database, tables and datasets",
            "A23": "Why a row is withheld before it is sent; what a SQL Server lacks",
            "A24": "Capture",
            "A25": "Services, health and control",
            "A26": "The link to the cloud",
        },
    ),
    Package(
        "C",
        "The cloud: `cdc-cloud`",
        CLOUD,
        {
            "C30": "Configuration, service, the agents' door",
            "C31": "Stores, and why a row is withheld by one",
            "C32": "Companies, agents, tokens",
            "C33": "The API for applications",
        },
    ),
)


def document() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *_contents(), *(line for package in PACKAGES for line in _package(package))])


def _contents() -> Iterator[str]:
    yield "| codes | about |"
    yield "|---|---|"
    for package in PACKAGES:
        for prefix, heading in package.groups.items():
            yield f"| [{prefix}xx](#{_anchor(prefix, heading)}) | {heading} |"
    yield ""


def _package(package: Package) -> Iterator[str]:
    yield f"## {package.title}"
    yield ""
    for prefix, heading in package.groups.items():
        yield f"### {prefix}xx: {heading}"
        yield ""
        for code, entry in sorted(package.registry.items()):
            if code.startswith(prefix):
                yield from _entry(code, entry)


def _entry(code: str, entry: Entry) -> Iterator[str]:
    yield f"#### {code}: {entry.title}"
    yield ""
    yield entry.cause
    yield ""
    yield f"*What to do:* {entry.remedy}"
    yield ""


def _anchor(prefix: str, heading: str) -> str:
    """Return the anchor of a group's heading, as GitHub makes it."""
    kept = "".join(c for c in f"{prefix}xx: {heading}".lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def main() -> int:
    """Write the page."""
    text = document()
    changed = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {'written' if changed else 'nothing has changed'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
