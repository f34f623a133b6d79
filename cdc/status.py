"""pure: what the agent knows of itself (values from its services) -> health, as a function of those values and the time.

Health means *fresh*: how old is the ERP's state that the cloud has applied? A window that is captured but not applied does not
count, and a quiet ERP that was looked at a moment ago is fresh although nothing came. `cdc.board` holds the values.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from cdc.errors import REGISTRY, AgentError, Transient
from cdc.model import Severity
from transport.errors import CodedError, Refused, RemoteProtocolError

MARKS = 512  # kept of captured windows that are not yet applied; more are thinned out, which can only overstate a lag


# -- what services say -----------------------------------------------------------------------------------------------------


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person may have to know: which code, where, since when, and what to do."""

    code: str
    message: str
    where: str = ""
    since: datetime | None = None
    severity: Severity = Severity.WARNING
    advice: str = ""


class ServiceState(enum.StrEnum):
    """What the supervisor does with a service."""

    RUNNING = "running"
    WAITING = "waiting"  # failed; tried again at `next_try`
    PAUSED = "paused"  # failed; a person must act
    ENDED = "ended"


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor about one service."""

    name: str
    state: ServiceState
    since: datetime
    failures: int = 0  # in a row
    total: int = 0  # since the program started
    problem: Problem | None = None
    next_try: datetime | None = None


class Phase(enum.StrEnum):
    """What capture does with a channel."""

    STARTING = "starting"
    LOADING = "loading"
    CURRENT = "current"
    WAITING = "waiting"  # for room in the journal, or for the cloud to say where it stands
    PAUSED = "paused"  # a person must act


class LoadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A full read of a dataset under way."""

    dataset: str
    reason: str = ""
    rows: int = 0
    total: int = 0  # 0: not known
    since: datetime | None = None


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """Capture about one channel, after every poll."""

    phase: Phase
    checked_at: datetime | None = None  # up to this moment everything of the ERP is in the journal
    last_seq: int = 0  # of the journal, then
    applied: int = 0  # as the journal knows it
    last_window: datetime | None = None  # when the last window with rows was read
    rows: int = 0  # since the program started
    frames: int = 0  # in the journal
    bytes: int = 0  # in the journal
    reloading: tuple[str, ...] = ()  # datasets whose visible copy is incomplete or stale
    loads: tuple[LoadProgress, ...] = ()
    problems: tuple[Problem, ...] = ()
    retention_left: float | None = None  # seconds until the ERP forgets changes that are not captured yet; None: as before


class LinkNews(Protocol):
    """The uplink about its connection: state connecting, open, closed or refused."""

    @property
    def state(self) -> str:
        """See above."""
        ...

    @property
    def code(self) -> str:
        """Why it is closed or refused."""
        ...

    @property
    def message(self) -> str:
        """The same in words."""
        ...


class AckNews(Protocol):
    """The uplink about what the cloud acknowledged."""

    @property
    def channel(self) -> str:
        """Which."""
        ...

    @property
    def applied(self) -> int:
        """Last seq that took effect."""
        ...

    @property
    def withheld(self) -> int:
        """Rows marked withheld in the copy."""
        ...

    @property
    def held(self) -> Sequence[str]:
        """Datasets whose finished load waits for a person."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says that health needs."""

    fresh: float = 120.0  # seconds
    poll: float = 1.0  # seconds
    journal: int = 0  # bytes


# -- what health says ------------------------------------------------------------------------------------------------------


class Status(enum.StrEnum):
    """The whole agent, or one company, in one word."""

    OK = "ok"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    OFF = "off"  # active = false


class LoadHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A full read, for people."""

    dataset: str
    reason: str
    rows: int
    total: int
    since: datetime | None
    rate: float | None  # rows a second
    remaining: float | None  # seconds


class ChannelHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One channel."""

    name: str
    state: str
    fresh: bool
    lag: float | None  # seconds; None: the cloud has nothing yet
    covered_at: datetime | None  # the cloud has the ERP as it was then
    last_success: datetime | None  # the last time everything captured had been applied
    last_window: datetime | None
    withheld_rows: int
    held_loads: tuple[str, ...]
    reloading: tuple[str, ...]
    loads: tuple[LoadHealth, ...]
    journal_frames: int
    journal_bytes: int
    retention_hours_left: float | None
    rows_captured: int


class LinkHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the cloud."""

    state: str = "off"
    since: datetime | None = None
    last_ack: datetime | None = None


class JournalHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The journal of a company."""

    bytes: int = 0
    frames: int = 0
    limit: int = 0


class CompanyHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One company."""

    name: str
    status: Status
    ready: bool
    link: LinkHealth
    journal: JournalHealth
    channels: tuple[ChannelHealth, ...]
    services: tuple[ServiceReport, ...]
    problems: tuple[Problem, ...]


class ConfigHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Which configuration is in force, and what is wrong with the file as it is now."""

    loaded_at: datetime | None = None
    refused_at: datetime | None = None
    problems: tuple[Problem, ...] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as `/health` shows it."""

    status: Status
    ready: bool
    version: str
    now: datetime
    started_at: datetime
    config: ConfigHealth
    companies: tuple[CompanyHealth, ...]
    services: tuple[ServiceReport, ...]
    problems: tuple[Problem, ...]


# -- decisions -------------------------------------------------------------------------------------------------------------


class Coverage:
    """Up to when the cloud has a channel: the moment of the last check whose windows are all applied.

    `reloading`: datasets that were incomplete or stale at that moment, so they still are in the cloud.
    """

    def __init__(self) -> None:
        self.covered_at: datetime | None = None
        self.reloading: tuple[str, ...] = ()
        self._marks: list[tuple[int, datetime, tuple[str, ...]]] = []  # last seq, checked at (both growing), reloading
        self._applied = 0

    def captured(self, last_seq: int, at: datetime, applied: int = 0, reloading: tuple[str, ...] = ()) -> None:
        """Everything up to `at` is in the journal, the last of it with `last_seq`."""
        if self._marks and last_seq < self._marks[-1][0]:
            self._marks.clear()  # the journal began anew, with numbers of its own
            self._applied = applied
        if self._marks and self._marks[-1][0] == last_seq:
            self._marks.pop()
        self._marks.append((last_seq, at, reloading))
        if len(self._marks) > MARKS:
            del self._marks[1:-1:2]
        self.applied(max(applied, self._applied))

    def applied(self, seq: int) -> None:
        """The cloud has applied everything up to `seq`."""
        self._applied = seq
        reached = [mark for mark in self._marks if mark[0] <= seq]
        if reached:
            _, at, self.reloading = reached[-1]
            self.covered_at = at if self.covered_at is None else max(self.covered_at, at)
            self._marks = self._marks[len(reached) :]


def lag(covered_at: datetime | None, due: datetime | None, now: datetime) -> float | None:
    """Seconds that the copy is behind, counted from the last run that was due (None: continuous, always due)."""
    if covered_at is None:
        return None
    if due is not None and covered_at >= due:
        return 0.0
    return max(0.0, (now - covered_at).total_seconds())


def problem_of(error: BaseException, now: datetime) -> Problem:
    """An error as health shows it; of a foreign one only the type, for its words may quote a value."""
    if not isinstance(error, CodedError):
        return Problem(
            code="A2501",
            message=f"an unexpected error ({type(error).__name__})",
            since=now,
            severity=Severity.WARNING if isinstance(error, OSError) else Severity.ERROR,
            advice=REGISTRY["A2501"].remedy,
        )
    passing = isinstance(error, Transient | RemoteProtocolError) or (
        isinstance(error, Refused) and error.retry_after is not None
    )
    return Problem(
        code=error.code,
        message=error.message,
        where=error.where,
        since=now,
        severity=Severity.WARNING if passing else Severity.ERROR,
        advice=error.remedy,
    )


def load_health(load: LoadProgress, now: datetime) -> LoadHealth:
    """With rate and remaining time."""
    seconds = (now - load.since).total_seconds() if load.since else 0.0
    rate = load.rows / seconds if seconds > 0 and load.rows else None
    remaining = max(0, load.total - load.rows) / rate if rate and load.total else None
    return LoadHealth(
        dataset=load.dataset,
        reason=load.reason,
        rows=load.rows,
        total=load.total,
        since=load.since,
        rate=rate,
        remaining=remaining,
    )


def config_problems(errors: Iterable[AgentError], now: datetime) -> tuple[Problem, ...]:
    """Mistakes of a file, as health shows them."""
    return tuple(problem_of(error, now) for error in errors)


def notice(code: str, message: str, where: str, severity: Severity, since: datetime | None = None) -> Problem:
    """A problem that no error stands for; advice from the registry, if the code is one of ours."""
    entry = REGISTRY.get(code)
    return Problem(
        code=code, message=message, where=where, since=since, severity=severity, advice=entry.remedy if entry else ""
    )
