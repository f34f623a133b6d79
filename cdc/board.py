"""pure: the board on which the services note what they are doing, and from which health is read.

The methods that note something take the time as an argument; nothing here waits or does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from cdc.config import Config, Loaded
from cdc.model import Severity
from cdc.status import (
    AckNews,
    Captured,
    ChannelHealth,
    CompanyHealth,
    ConfigHealth,
    Coverage,
    Health,
    JournalHealth,
    Limits,
    LinkHealth,
    LinkNews,
    Phase,
    Problem,
    ServiceReport,
    ServiceState,
    Status,
    config_problems,
    lag,
    load_health,
    notice,
)


class ChannelEntry:
    """What the board holds of one channel."""

    def __init__(self) -> None:
        self.captured: Captured | None = None
        self.coverage = Coverage()
        self.last_success: datetime | None = None
        self.withheld = 0
        self.held: tuple[str, ...] = ()
        self.due: datetime | None = None  # of the last scheduled run; None: continuous
        self.retention: tuple[float, datetime] | None = None  # seconds, and since when they run

    def retention_left(self, now: datetime) -> float | None:
        """Seconds until the ERP forgets what is not captured yet."""
        return None if self.retention is None else max(0.0, self.retention[0] - (now - self.retention[1]).total_seconds())

    def health(self, name: str, limits: Limits, now: datetime) -> ChannelHealth:
        """The channel as it stands now."""
        said = self.captured or Captured(phase=Phase.STARTING)
        behind = lag(self.coverage.covered_at, self.due, now)
        in_time = behind is not None and behind <= limits.fresh + limits.poll
        reloading = tuple(sorted({*said.reloading, *self.coverage.reloading}))  # captured whole is not yet applied whole
        left = self.retention_left(now)
        return ChannelHealth(
            name=name,
            state=said.phase.value,
            fresh=in_time and not reloading and said.phase is not Phase.PAUSED,
            lag=behind,
            covered_at=self.coverage.covered_at,
            last_success=self.last_success,
            last_window=said.last_window,
            withheld_rows=self.withheld,
            held_loads=self.held,
            reloading=reloading,
            loads=tuple(load_health(load, now) for load in said.loads),
            journal_frames=said.frames,
            journal_bytes=said.bytes,
            retention_hours_left=None if left is None else round(left / 3600, 2),
            rows_captured=said.rows,
        )

    def problems(self, name: str, health: ChannelHealth) -> Iterable[Problem]:
        """What of this channel a person should know."""
        if self.captured is not None:
            yield from self.captured.problems
        if health.lag is not None and not health.fresh and not health.loads:
            yield notice("A2504", f"the copy is {health.lag:.0f} s behind", name, Severity.ERROR, health.covered_at)
        for dataset in health.held_loads:
            yield notice("A2505", "a finished load waits for a person", f"{name}/{dataset}", Severity.WARNING)
        if health.withheld_rows:
            yield notice("A2506", f"{health.withheld_rows} rows are withheld", name, Severity.WARNING)
        if self.retention is not None and (left := health.retention_hours_left) is not None and left < self.retention[0] / 7200:
            yield notice("A2338", f"what changes in the ERP is forgotten in {left:.1f} hours", name, Severity.ERROR)


class CompanyEntry:
    """What the board holds of one company."""

    def __init__(self, limits: Limits, channels: Iterable[str], active: bool) -> None:
        self.limits = limits
        self.active = active
        self.channels = {name: ChannelEntry() for name in channels}
        self.services: dict[str, ServiceReport] = {}
        self.link = LinkHealth()
        self.link_problem: Problem | None = None
        self.stopped: Problem | None = None
        self.excluded: tuple[Problem, ...] = ()  # mistakes in the file that keep it, or a dataset of it, out

    def health(self, name: str, now: datetime) -> CompanyHealth:
        """The company as it stands now."""
        channels = {n: entry.health(n, self.limits, now) for n, entry in self.channels.items()}
        problems = [p for p in (self.stopped, self.link_problem) if p is not None]
        problems += [s.problem for s in self.services.values() if s.problem is not None and s.state is not ServiceState.RUNNING]
        problems += [p for n, entry in self.channels.items() for p in entry.problems(n, channels[n])]
        problems += self.excluded
        status = self._status(channels.values(), problems)
        return CompanyHealth(
            name=name,
            status=status,
            ready=status in (Status.OK, Status.DEGRADED) and bool(channels) and all(c.fresh for c in channels.values()),
            link=self.link,
            journal=JournalHealth(
                bytes=sum(c.journal_bytes for c in channels.values()),
                frames=sum(c.journal_frames for c in channels.values()),
                limit=self.limits.journal,
            ),
            channels=tuple(channels.values()),
            services=tuple(self.services.values()),
            problems=_once(problems),
        )

    def _status(self, channels: Iterable[ChannelHealth], problems: Iterable[Problem]) -> Status:
        if not self.active:
            return Status.OFF
        if self.stopped is not None or not self.channels:
            return Status.STOPPED
        bad = not all(c.fresh for c in channels) or any(p.severity is Severity.ERROR for p in problems)
        return Status.DEGRADED if bad else Status.OK


class StatusBoard:
    """Holds what the services last said; the services write, health reads. The clock gives the `since`s."""

    def __init__(self, version: str, now: datetime) -> None:
        self.version = version
        self.started_at = now
        self.companies: dict[str, CompanyEntry] = {}
        self.services: dict[str, ServiceReport] = {}
        self.config = ConfigHealth()

    def configured(self, company: str, limits: Limits, channels: Iterable[str], *, active: bool = True) -> None:
        """The company exists with these channels; what is known of channels that stay is kept."""
        old = self.companies.get(company)
        entry = CompanyEntry(limits, channels, active)
        if old is not None:
            entry.channels |= {n: c for n, c in old.channels.items() if n in entry.channels}
            entry.link, entry.link_problem, entry.stopped = old.link, old.link_problem, old.stopped
            entry.services = old.services
        self.companies[company] = entry

    def loaded(self, loaded: Loaded, now: datetime) -> None:
        """The configuration the program starts with, and everything that is wrong with it."""
        if loaded.config is not None:
            self.follow(loaded.config)
        for company, errors in loaded.companies.items():
            self.excluded(company, config_problems(errors, now))
        others = [e for e in loaded.problems if not any(e in errors for errors in loaded.companies.values())]
        self.config = ConfigHealth(loaded_at=now, problems=config_problems(others, now))

    def follow(self, config: Config) -> None:
        """The configuration in force: companies come and go, limits change, what is known of channels that stay is kept."""
        for company in config.companies:
            limits = Limits(fresh=config.agent.fresh, poll=company.poll, journal=company.journal_limit)
            self.configured(company.name, limits, [c.name for c in company.channels], active=company.active)
        for name in [n for n in self.companies if config.company(n) is None]:
            self.removed(name)

    def excluded(self, company: str, problems: Sequence[Problem]) -> None:
        """Mistakes in the file keep this company, or some of its datasets, out."""
        self._company(company).excluded = tuple(problems)

    def removed(self, company: str) -> None:
        """The company is no longer in the configuration."""
        self.companies.pop(company, None)

    def captured(self, company: str, channel: str, news: Captured, now: datetime) -> None:
        """Capture has looked at a channel."""
        entry = self._channel(company, channel)
        entry.captured = news
        if news.retention_left is not None:
            entry.retention = (news.retention_left, now)
        if news.checked_at is not None:
            entry.coverage.captured(news.last_seq, news.checked_at, news.applied, news.reloading)
        self._succeeded(entry, now)

    def linked(self, company: str, news: LinkNews, now: datetime) -> None:
        """The link changed its state; the reason of a lost one is kept until the next is open."""
        entry = self._company(company)
        if news.state != entry.link.state:
            entry.link = LinkHealth(state=news.state, since=now, last_ack=entry.link.last_ack)
        if news.state == "open":
            entry.link_problem = None
        elif news.code:
            severity = Severity.ERROR if news.state == "refused" else Severity.WARNING
            problem = notice(news.code, news.message, "link", severity, now)
            same = entry.link_problem is not None and entry.link_problem.code == problem.code
            entry.link_problem = entry.link_problem if same else problem

    def acked(self, company: str, news: AckNews, now: datetime) -> None:
        """The cloud has acknowledged."""
        entry = self._company(company)
        entry.link = msgspec.structs.replace(entry.link, last_ack=now)
        channel = self._channel(company, news.channel)
        channel.coverage.applied(news.applied)
        channel.withheld, channel.held = news.withheld, tuple(news.held)
        self._succeeded(channel, now)

    def service(self, company: str, report: ServiceReport) -> None:
        """The supervisor about a service; of a problem that goes on, the beginning is kept."""
        services = self._company(company).services if company else self.services
        old = services.get(report.name)
        last = old.problem if old else None
        if report.problem is None and report.failures and report.state is ServiceState.RUNNING:
            report = msgspec.structs.replace(report, problem=last)
        elif report.problem and last and report.failures > 1 and last.code == report.problem.code:
            report = msgspec.structs.replace(report, problem=msgspec.structs.replace(report.problem, since=last.since))
        services[report.name] = report

    def stopped(self, company: str, problem: Problem | None) -> None:
        """The company stopped as a whole; or (None) its services are about to start, and what the last ones said is history."""
        if company:
            self._company(company).stopped = problem
        if problem is None:
            (self._company(company).services if company else self.services).clear()

    def health(self, now: datetime) -> Health:
        """Everything, as it stands now."""
        companies = tuple(entry.health(name, now) for name, entry in self.companies.items())
        own = [s.problem for s in self.services.values() if s.problem is not None and s.state is not ServiceState.RUNNING]
        problems = _once([*self.config.problems, *own])
        active = [c for c in companies if c.status is not Status.OFF]
        return Health(
            status=_overall(active, problems),
            ready=bool(active) and all(c.ready for c in active),
            version=self.version,
            now=now,
            started_at=self.started_at,
            config=self.config,
            companies=companies,
            services=tuple(self.services.values()),
            problems=problems,
        )

    def _company(self, company: str) -> CompanyEntry:
        return self.companies.setdefault(company, CompanyEntry(Limits(), (), active=True))

    def _channel(self, company: str, channel: str) -> ChannelEntry:
        return self._company(company).channels.setdefault(channel, ChannelEntry())

    def _succeeded(self, entry: ChannelEntry, now: datetime) -> None:
        covered, captured = entry.coverage.covered_at, entry.captured
        if captured is not None and covered is not None and captured.checked_at is not None and covered >= captured.checked_at:
            entry.last_success = now


def _overall(active: Sequence[CompanyHealth], problems: Sequence[Problem]) -> Status:
    if active and all(c.status is Status.STOPPED for c in active):
        return Status.STOPPED
    bad = any(c.status is not Status.OK for c in active) or any(p.severity is Severity.ERROR for p in problems)
    return Status.DEGRADED if bad else Status.OK


def _once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each (code, where) once: the first says it."""
    found: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        found.setdefault((problem.code, problem.where), problem)
    return tuple(found.values())
