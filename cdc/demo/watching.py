"""pure: which deeds have arrived in the cloud, after how long; reads the cloud's stream of server-sent events."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from cdc.demo.deeds import Deed


class Arrival(NamedTuple):
    """A deed that an application has seen."""

    deed: Deed
    latency: float  # seconds from the commit in the ERP to the event


class Event(NamedTuple):
    """One entry of the cloud's feed."""

    dataset: str
    op: str
    key: str


def key_text(key: tuple[str | int, ...]) -> str:
    """Write a key as the API does: base64url, without padding, of its MessagePack array."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).rstrip(b"=").decode("ascii")


class EventReader:
    """Lines of a `text/event-stream` -> events; entries without data (beats) are none."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def line(self, line: str) -> Event | None:
        """Take one line without its end; an empty one completes an event."""
        if line:
            if line.startswith("data:"):
                self._data.append(line[5:].lstrip(" "))
            return None
        data, self._data = "\n".join(self._data), []
        if not data:
            return None
        document = json.loads(data)
        return Event(document["dataset"], document["op"], document.get("key", ""))


class Watch:
    """Deeds on their way; an event for a row answers every deed that waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[tuple[Deed, float]]] = {}
        self.latencies: list[float] = []
        self.committed = 0

    @property
    def waiting(self) -> int:
        """How many are on their way."""
        return sum(map(len, self._waiting.values()))

    def did(self, deed: Deed, at: float) -> None:
        """Note a deed as committed; `at`: monotonic seconds."""
        self.committed += 1
        self._waiting.setdefault((deed.dataset, key_text(deed.key)), []).append((deed, at))

    def seen(self, event: Event, at: float) -> list[Arrival]:
        """Tell which deeds an event answers; a reset answers all of its dataset."""
        arrivals = [
            Arrival(deed, at - committed) for key in list(self._keys(event)) for deed, committed in self._waiting.pop(key)
        ]
        self.latencies.extend(a.latency for a in arrivals)
        return arrivals

    def _keys(self, event: Event) -> Iterator[tuple[str, str]]:
        if event.op == "reset":
            yield from (key for key in self._waiting if key[0] == event.dataset)
        elif (event.dataset, event.key) in self._waiting:
            yield event.dataset, event.key


def percentile(values: list[float], share: float) -> float:
    """Find the value that `share` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def summary(watch: Watch) -> str:
    """Say in one line how many arrived, and how fast."""
    values = watch.latencies
    text = f"{watch.committed} transactions committed, {len(values)} seen arriving"
    if values:
        shares = ", ".join(f"p{round(share * 100)} {percentile(values, share):.2f} s" for share in (0.5, 0.95))
        text += f"; latency from commit to application: {shares}, longest {max(values):.2f} s"
    return text
