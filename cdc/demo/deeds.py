"""pure: what somebody did in the ERP, in words, and where to look for it in the cloud."""

from __future__ import annotations

from typing import NamedTuple


class Deed(NamedTuple):
    """One committed transaction, and one row of it to look for in the cloud."""

    polish: str
    english: str
    dataset: str
    key: tuple[str | int, ...]  # canonical cells in key order, folded as the column's collation says
    deleted: bool = False
