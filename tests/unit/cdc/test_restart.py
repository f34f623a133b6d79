"""What follows a failure, by the error's type; backoff."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc import restart
from cdc.errors import AgentError, CompanyStopped, ConfigError, DatasetPaused, ProgramStopped, Transient
from cdc.restart import Exit, ExitStatus, Pause, Restart, Stop, backoff, failures_after, next_step
from transport.errors import LocalProtocolError, Refused, RemoteProtocolError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def step(error: BaseException, failures: int = 1):
    return next_step(failures, error, NOW, Random(7))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Transient("A2103", "full"), Restart),
        (ConnectionResetError(), Restart),
        (TimeoutError(), Restart),
        (RemoteProtocolError("T1001", "odd"), Restart),
        (LocalProtocolError("T1005", "ours"), Restart),
        (Refused("C3001", "busy", retry_after=5.0), Restart),
        (Refused("C3002", "revoked", retry_after=None), Pause),
        (DatasetPaused("A2001", "permission"), Pause),
        (CompanyStopped("A2001", "restored"), Stop),
        (ZeroDivisionError(), Restart),
        (AgentError("A2501", "odd"), Restart),
    ],
)
def test_the_type_of_the_error_says_what_follows(error: BaseException, kind: type) -> None:
    assert isinstance(step(error), kind)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError([AgentError("A2003", "x")]), ExitStatus.CONFIG),
        (ProgramStopped("A2001", "x"), ExitStatus.CONFIG),
        (ProgramStopped("A2101", "x"), ExitStatus.STATE),
        (ProgramStopped("A2503", "x"), ExitStatus.STOPPED),
    ],
)
def test_a_program_that_stops_says_why_in_its_exit_status(error: BaseException, status: ExitStatus) -> None:
    assert step(error) == Exit(status)


def test_the_gravest_error_of_a_group_decides() -> None:
    inner = ExceptionGroup("in", [Transient("A2103", "x"), CompanyStopped("A2001", "y")])
    assert isinstance(step(ExceptionGroup("out", [ConnectionError(), inner])), Stop)


def test_a_wait_the_other_side_asks_for_is_kept_and_bounded() -> None:
    found = step(Refused("C3001", "busy", retry_after=30.0))
    assert isinstance(found, Restart)
    assert found.after >= 30.0
    found = step(Refused("C3001", "busy", retry_after=1e9))
    assert isinstance(found, Restart)
    assert found.after <= restart.LONGEST_ASKED + restart.CEILING


def test_what_time_seldom_mends_is_not_tried_in_a_storm() -> None:
    found = step(Transient("A2603", "certificate"))
    assert isinstance(found, Restart)
    assert found.after >= restart.CEILING


def test_a_restart_says_when() -> None:
    found = step(Transient("A2103", "x"), failures=5)
    assert isinstance(found, Restart)
    assert (found.at - NOW).total_seconds() == pytest.approx(found.after, abs=1e-5)


@given(st.integers(-5, 10_000), st.integers(0, 2**32))
def test_a_wait_is_never_nothing_and_never_over_the_ceiling(failures: int, seed: int) -> None:
    assert restart.FLOOR <= backoff(failures, Random(seed)) <= restart.CEILING


def test_the_ceiling_doubles_and_the_jitter_is_full() -> None:
    random = Random(1)
    for failures in range(1, 9):
        waits = [backoff(failures, random) for _ in range(300)]
        ceiling = min(restart.CEILING, restart.FIRST * 2 ** (failures - 1))
        assert max(waits) <= ceiling
        assert max(waits) > 0.9 * ceiling
        assert min(waits) < 0.2 * ceiling


def test_a_service_that_ran_steadily_has_left_its_failures_behind() -> None:
    assert failures_after(9, restart.STEADY) == 1
    assert failures_after(9, restart.STEADY - 1) == 10


def test_a_service_that_achieved_something_has_left_its_failures_behind() -> None:
    lost = Transient("A2602", "lost", progressed=True)
    assert failures_after(9, 1.0, lost) == 1
    assert failures_after(9, 1.0, ExceptionGroup("both", [ValueError("x"), lost])) == 1
    assert failures_after(9, 1.0, Transient("A2602", "lost")) == 10


def test_a_company_whose_file_may_be_back_is_tried_again_and_another_is_not() -> None:
    assert step(CompanyStopped("A2202", "x")) == Stop(60.0)
    assert step(CompanyStopped("A2401", "x")) == Stop(None)


@pytest.mark.parametrize(
    ("code", "again"),
    [("A2247", 60.0), ("A2252", 60.0), ("A2254", 60.0), ("A2321", 60.0), ("A2329", 60.0), ("A2246", None), ("A2258", None)],
)
def test_a_server_that_somebody_mends_is_looked_at_again_but_a_refused_login_is_not(code: str, again: float | None) -> None:
    """Each attempt would bring the account nearer to being locked."""
    assert step(CompanyStopped(code, "x")) == Stop(again)
