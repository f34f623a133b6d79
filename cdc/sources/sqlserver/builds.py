"""pure: what a server's build number says: which release it is, whether it is supported, and its known defects.

Build numbers: https://learn.microsoft.com/troubleshoot/sql/releases/download-and-install-latest-updates and its pages
sqlserver-2016/build-versions and sqlserver-2017/build-versions. Security updates (GDR) without a cumulative update have lower
numbers than the first cumulative update of their release, so a comparison of numbers is enough.

KB3083381 (duplicate keys in sys.syscommittab) is not here: its fixes are older than every supported release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

OLDEST = 13  # SQL Server 2016
NAMES = {9: "2005", 10: "2008", 11: "2012", 12: "2014", 13: "2016", 14: "2017", 15: "2019", 16: "2022", 17: "2025"}
AZURE = {5: "Azure SQL Database", 6: "Azure Synapse Analytics", 8: "Azure SQL Managed Instance", 9: "Azure SQL Edge"}


class Build(NamedTuple):
    """A ProductVersion; compares as the numbers do."""

    major: int
    minor: int = 0
    number: int = 0
    revision: int = 0

    @property
    def release(self) -> str:
        """As people call it."""
        known = NAMES.get(self.major)
        return f"SQL Server {known}" if known else f"SQL Server {self.major}.{self.minor}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.number}.{self.revision}"


class Defect(NamedTuple):
    """Something that Microsoft mended in a later build of the same release."""

    kb: str
    what: str
    update: str  # that mends it
    certain: bool = True  # False: no update's list of fixes names it for this build

    @property
    def link(self) -> str:
        """Microsoft's article."""
        return f"https://support.microsoft.com/help/{self.kb.removeprefix('KB')}"


class _Range(NamedTuple):
    first: Build
    below: Build
    update: str
    certain: bool = True


def parse(product_version: str) -> Build | None:
    """Of "13.0.4502.0"; None: it is something else."""
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\.(\d{1,6})(?:\.(\d{1,6}))?", product_version.strip(), re.ASCII)
    return Build(*(int(part or 0) for part in match.groups())) if match else None


def is_supported(build: Build) -> bool:
    """SQL Server 2016 and later."""
    return build.major >= OLDEST


def defects(build: Build) -> Iterator[Defect]:
    """Those of change tracking that this build has."""
    for kb, what, ranges in _DEFECTS:
        for affected in ranges:
            if affected.first <= build < affected.below:
                yield Defect(kb, what, affected.update, affected.certain)


_2016, _SP2, _SP3 = Build(13), Build(13, 0, 5026, 0), Build(13, 0, 6300, 2)
_2017 = Build(14)

_DEFECTS: tuple[tuple[str, str, tuple[_Range, ...]], ...] = (
    (
        "KB4135113",
        "an update of a unique or clustered column outside the primary key may be recorded as a delete",
        (
            _Range(_2016, Build(13, 0, 4502, 0), "SQL Server 2016 SP3 (or SP1 CU9)"),
            # SP2 has the fixes up to SP1 CU8, and the lists of its first updates do not name this one
            _Range(_SP2, _SP3, "SQL Server 2016 SP3", certain=False),
            _Range(_2017, Build(14, 0, 3029, 16), "SQL Server 2017 CU8"),
        ),
    ),
    (
        "KB4054842",
        "clean-up of change records stops for all tables when one of them is locked, so that they grow",
        (
            _Range(_2016, _SP2, "SQL Server 2016 SP2"),
            _Range(_2017, Build(14, 0, 3008, 27), "SQL Server 2017 CU2"),
        ),
    ),
)
