"""pure: encoded answers kept in memory, so that a benchmark of the client does not measure the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.standin.ports import Columns, Done, Event, Failed, Info, Output, Refused, Rows
from tests.standin.wire.translating import Ending, Translator

Key = tuple[str, bool]  # the name, and whether it is answered within a call
_PLAIN = (Columns, Rows, Done, Info, Failed)  # one that failed is not kept
_PORTION = 1024 * 1024  # bytes


@dataclass(slots=True)
class Recording:
    """The tokens of one request, in portions."""

    portions: list[bytes] = field(default_factory=list)
    ending: Ending | None = None
    _open: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """Whole tokens."""
        self._open += data
        if len(self._open) >= _PORTION:
            self.close()

    def close(self) -> None:
        """Ends the open portion."""
        if self._open:
            self.portions.append(bytes(self._open))
            self._open = bytearray()

    @staticmethod
    def check(event: Event) -> None:
        """Raises Refused for what means nothing when it is sent again."""
        ended_well = isinstance(event, Output) and not event.name and event.value == 0  # as every replayed request does
        if not isinstance(event, _PLAIN) and not ended_well:
            raise Refused(f"the replay of a request that reports {type(event).__name__}")


class Tape:
    """What was recorded, for all connections."""

    def __init__(self) -> None:
        self._recordings: dict[Key, Recording] = {}

    def find(self, key: Key) -> Recording | None:
        """What is kept under this name."""
        return self._recordings.get(key)

    def keep(self, key: Key, recording: Recording, translator: Translator) -> None:
        """Unless the request failed."""
        if translator.failure is None:
            recording.close()
            recording.ending = translator.ending
            self._recordings[key] = recording
