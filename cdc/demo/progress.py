"""pure: the agent's health -> how far the first full sync is, and whether the cloud has caught up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple


class Progress(NamedTuple):
    """The full sync so far."""

    rows: int
    now: str  # the dataset being read
    done: bool


def progress(company: Mapping[str, Any], totals: Mapping[str, int], channels: Mapping[str, str]) -> Progress:
    """Read a company's health. `totals`: rows by dataset; `channels`: channel by dataset."""
    rows, now, done = 0, "", True
    by_name = {c["name"]: c for c in company.get("channels", ())}
    for name in dict.fromkeys(channels.values()):
        channel = by_name.get(name)
        mine = [dataset for dataset, of in channels.items() if of == name]
        if channel is None or (channel["covered_at"] is None and not channel["reloading"] and not channel["loads"]):
            done = False  # nothing has begun
            continue
        loads = {load["dataset"]: load["rows"] for load in channel["loads"]}
        unfinished = {*channel["reloading"], *loads}
        rows += sum(loads.get(d, 0) if d in unfinished else totals[d] for d in mine)
        now = now or next(iter(loads), "")
        done = done and not unfinished and channel["covered_at"] is not None
    return Progress(min(rows, sum(totals.values())), now, done)


def caught_up(company: Mapping[str, Any], since: datetime) -> bool:
    """Whether everything committed before `since` is in the cloud, completely."""
    channels = company.get("channels", ())
    return bool(channels) and all(
        c["covered_at"] is not None
        and datetime.fromisoformat(c["covered_at"]) > since
        and not c["reloading"]
        and not c["loads"]
        for c in channels
    )


def problems(company: Mapping[str, Any]) -> list[str]:
    """What health complains of, with its advice."""
    return [f"{p['code']} {p['message']} {p.get('advice', '')}".strip() for p in company.get("problems", ())]
