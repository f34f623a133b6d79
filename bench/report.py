"""pure: what was measured, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Measured(NamedTuple):
    """Rows, and what they took."""

    name: str
    rows: int
    wall: float  # seconds
    cpu: float  # seconds, of everything that takes part

    @property
    def rate(self) -> float:
        """Rows a second by the clock on the wall."""
        return self.rows / self.wall

    @property
    def micros(self) -> float:
        """CPU microseconds a row."""
        return self.cpu / self.rows * 1e6


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, readable as it is: the first column to the left, numbers to the right."""
    rows = [list(heads), *(list(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    made = [
        "| " + " | ".join(_aligned(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True))) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
    return "\n".join([made[0], rule, *made[1:]])


def _aligned(cell: str, width: int, place: int) -> str:
    return cell.ljust(width) if place == 0 else cell.rjust(width)


def number(value: float) -> str:
    """For people: 123456.7 -> 123 457."""
    return f"{value:,.0f}".replace(",", " ")


def mib(size: float) -> str:
    """Bytes as MiB."""
    return f"{size / (1 << 20):.0f}"
