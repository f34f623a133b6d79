"""pure: what happens after a service has failed, decided by the error's type; the only place that knows backoff.

The type of an error says who must act (`cdc.errors`); the supervisor only carries out what is decided here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeAlias

from cdc.errors import CompanyStopped, ConfigError, DatasetPaused, ProgramStopped, Transient
from transport.errors import CodedError, Refused

FIRST = 0.5  # seconds: ceiling of the first wait
CEILING = 60.0  # seconds: no wait is longer, unless the other side asks for it
FLOOR = 0.05  # seconds: full jitter may draw nearly nothing; a tight loop is not an answer
LONGEST_ASKED = 3600.0  # seconds: of a wait the other side may ask for
STEADY = 60.0  # seconds: a service that ran this long has left its earlier failures behind
BACK_SOMETIMES = (  # what somebody mends in or beside the ERP database; looking again harms nothing, as a refused login would
    "A2202", "A2203", "A2204", "A2205", "A2206", "A2208",  # a file
    "A2241", "A2245", "A2247", "A2252", "A2254", "A2321", "A2329",  # a server, the way to it, the password's place
)  # fmt: skip
HOPELESS = ("T1011", "T1012", "A2603", "A2604")  # a wrong certificate, another server: time alone seldom mends it


class Random(Protocol):
    """What is needed of `random.Random`."""

    def uniform(self, a: float, b: float) -> float:
        """A number from a to b."""
        ...


class ExitStatus(enum.IntEnum):
    """Exit statuses of the programs; the unit files name the same numbers."""

    OK = 0
    FAILED = 1  # what was asked for was done, and the answer is no
    USAGE = 2  # argparse's own
    CONFIG = 3  # restarting is useless until the file is mended
    STATE = 4  # the state folder is in use or cannot be written
    STOPPED = 5  # the program cannot go on until a person acts


class Restart(NamedTuple):
    """Run the service again after so many seconds, that is at `at`."""

    after: float
    at: datetime


class Pause(NamedTuple):
    """This service waits until a person acts; the company's others go on."""


class Stop(NamedTuple):
    """Every service of this company stops; the other companies go on.

    `after` seconds it is tried again, for its cause may be gone (a share that is mounted again); None: a person must say so.
    """

    after: float | None = None


class Exit(NamedTuple):
    """The program ends with this status."""

    status: ExitStatus


Step: TypeAlias = Restart | Pause | Stop | Exit


def next_step(failures: int, error: BaseException, now: datetime, random: Random) -> Step:
    """Decides what follows the `failures`th failure in a row (1: the first). Of a group of errors the gravest decides."""
    decisive = gravest(error)
    match decisive:
        case ProgramStopped():
            return Exit(exit_status(decisive))
        case CompanyStopped(code=code):
            return Stop(CEILING if code in BACK_SOMETIMES else None)
        case DatasetPaused():
            return Pause()
        case Refused(retry_after=None):
            return Pause()
        case Refused(retry_after=asked):
            return _restart(min(asked or 0.0, LONGEST_ASKED) + backoff(failures, random), now)
        case CodedError(code=code) if code in HOPELESS:
            return _restart(CEILING + backoff(failures, random), now)
        case _:
            return _restart(backoff(failures, random), now)


def backoff(failures: int, random: Random) -> float:
    """Seconds to wait: full jitter (uniform up to a ceiling that doubles), so that many agents never retry in step."""
    ceiling = min(CEILING, FIRST * 2.0 ** min(max(failures, 1) - 1, 16))
    return max(FLOOR, random.uniform(0.0, ceiling))


def failures_after(failures: int, ran_for: float, error: BaseException | None = None) -> int:
    """The count of failures in a row, once a service that ran for `ran_for` seconds has failed again."""
    progressed = error is not None and any(isinstance(e, Transient) and e.progressed for e in leaves(error))
    return 1 if progressed or ran_for >= STEADY else failures + 1


def exit_status(error: ProgramStopped) -> ExitStatus:
    """The status the program ends with."""
    if isinstance(error, ConfigError) or error.code.startswith("A20"):
        return ExitStatus.CONFIG
    return ExitStatus.STATE if error.code.startswith("A21") else ExitStatus.STOPPED


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, however deep; a single error alone."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def gravest(error: BaseException) -> BaseException:
    """The error of a group that decides."""
    return max(leaves(error), key=_gravity)


def _restart(after: float, now: datetime) -> Restart:
    return Restart(after, now + timedelta(seconds=after))


def _gravity(error: BaseException) -> int:
    match error:
        case ProgramStopped():
            return 4
        case CompanyStopped():
            return 3
        case DatasetPaused() | Refused(retry_after=None):
            return 2
        case Refused():
            return 1
        case _:
            return 0
