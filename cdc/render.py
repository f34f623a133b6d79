"""pure: health as one readable screen, for `cdc status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from cdc.status import ChannelHealth, CompanyHealth, Health, LoadHealth, Problem, ServiceState, Status
from transport.settings import format_size

MARKS = {Status.OK: "OK", Status.DEGRADED: "DEGRADED", Status.STOPPED: "STOPPED", Status.OFF: "off"}
WIDTHS = (16, 10, 8, 10, 12, 10)


def render_status(health: Health) -> str:
    """Everything a person wants to see first, and for each problem what to do."""
    return "\n".join(_lines(health)) + "\n"


def _lines(health: Health) -> Iterator[str]:
    up = span((health.now - health.started_at).total_seconds())
    yield f"agent {health.version}: {MARKS[health.status]}, up {up}, as of {utc(health.now)}"
    yield from _problems(health.problems, "  ")
    for company in health.companies:
        yield ""
        yield from _company(company, health.now)


def _company(company: CompanyHealth, now: datetime) -> Iterator[str]:
    link, journal = company.link, company.journal
    since = f" for {span((now - link.since).total_seconds())}" if link.since else ""
    waiting = f"{journal.frames} frames, {format_bytes(journal.bytes)} of {format_size(journal.limit)}"
    yield f"{company.name}: {MARKS[company.status]}   link {link.state}{since}   journal {waiting}"
    if company.channels:
        yield "  " + _row("channel", "state", "lag", "withheld", "in journal", "retention")
    for channel in company.channels:
        yield "  " + _channel(channel)
        yield from (f"    {_load(load)}" for load in channel.loads)
    for service in company.services:
        if service.state in (ServiceState.WAITING, ServiceState.PAUSED):
            again = f", again in {span((service.next_try - now).total_seconds())}" if service.next_try else ""
            yield f"  {service.name}: {service.state}, {service.failures} failures in a row{again}"
    yield from _problems(company.problems, "  ")


def _channel(channel: ChannelHealth) -> str:
    lag = "never" if channel.lag is None else span(channel.lag)
    left = "" if channel.retention_hours_left is None else f"{channel.retention_hours_left:.0f} h"
    return _row(
        channel.name,
        channel.state,
        lag if channel.fresh else f"{lag} !",
        str(channel.withheld_rows),
        format_bytes(channel.journal_bytes),
        left,
    )


def _load(load: LoadHealth) -> str:
    share = f" of {load.total} ({100 * load.rows // load.total} %)" if load.total else ""
    rate = f", {load.rate:.0f} rows/s" if load.rate else ""
    rest = f", {span(load.remaining)} left" if load.remaining is not None else ""
    return f"reading {load.dataset}: {load.rows}{share} rows{rate}{rest}"


def _problems(problems: Iterable[Problem], indent: str) -> Iterator[str]:
    for problem in problems:
        where = f"{problem.where}: " if problem.where else ""
        since = f" (since {utc(problem.since)})" if problem.since else ""
        yield f"{indent}{problem.code} {where}{problem.message}{since}"
        if problem.advice:
            yield f"{indent}      {problem.advice}"


def _row(*cells: str) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def utc(moment: datetime) -> str:
    """As people read it: seconds, and Z for UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    left = max(0, int(seconds))
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    for (unit, size), (smaller, small) in ((("d", 86_400), ("h", 3_600)), (("h", 3_600), ("min", 60)), (("min", 60), ("s", 1))):
        if left >= size:
            return f"{left // size} {unit} {left % size // small} {smaller}"
    return f"{left} s"


def format_bytes(size: int) -> str:
    """About how much."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""
