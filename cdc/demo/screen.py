"""adapter: what the demo shows: a progress bar that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TextIO

BAR = 32  # characters
STEP = 0.1  # of the whole: how often a plain line is written


class Screen:
    """Writes to one stream, a terminal or not."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._drawn = False
        self._next = 0.0

    def say(self, text: str = "") -> None:
        """Write whole lines, below a bar that is finished."""
        self.end_bar()
        self._write(f"{text}\n")

    def bar(self, done: int, total: int, what: str) -> None:
        """Show how far it is; `what` stands behind the numbers."""
        share = min(1.0, done / total) if total else 1.0
        line = f"{bar_text(share)} {share:4.0%}  {done:>9,} of {total:,} rows  {what}"
        if self._terminal:
            self._write(f"\r{line[:118]:<118}")
            self._drawn = True
        elif share >= self._next:
            self._write(f"{line}\n")
            self._next = share + STEP

    def end_bar(self) -> None:
        """Go on below the bar."""
        if self._drawn:
            self._write("\n")
            self._drawn = False

    def _write(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()


def bar_text(share: float) -> str:
    """Draw `[####....]`."""
    full = round(BAR * share)
    return f"[{'#' * full}{'.' * (BAR - full)}]"
