"""Health as a pure function of what was said and the time: fresh means what the cloud has applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.board import StatusBoard
from cdc.config import Text, load
from cdc.errors import CompanyStopped, Transient
from cdc.metrics import exposition
from cdc.render import render_status, span
from cdc.status import (
    MARKS,
    Captured,
    Coverage,
    Health,
    Limits,
    LoadProgress,
    Phase,
    ServiceReport,
    ServiceState,
    Status,
    lag,
    load_health,
    problem_of,
)
from transport.errors import Refused

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Ack(NamedTuple):
    channel: str = "main"
    applied: int = 0
    withheld: int = 0
    held: tuple[str, ...] = ()


class Link(NamedTuple):
    state: str
    code: str = ""
    message: str = ""


def board(**companies: tuple[str, ...]) -> StatusBoard:
    made = StatusBoard("1.0", T0)
    for name, channels in (companies or {"acme": ("main",)}).items():
        made.configured(name, Limits(fresh=60.0, poll=1.0, journal=1000), channels)
    return made


def captured(seconds: float, seq: int, **more: object) -> Captured:
    return Captured(phase=Phase.CURRENT, checked_at=at(seconds), last_seq=seq, **more)  # type: ignore[arg-type]


def fresh_board() -> StatusBoard:
    made = board()
    made.linked("acme", Link("open"), T0)
    made.captured("acme", "main", captured(0, 5), T0)
    made.acked("acme", Ack(applied=5), at(1))
    return made


def channel(made: StatusBoard, seconds: float):
    return made.health(at(seconds)).companies[0].channels[0]


# -- lag -------------------------------------------------------------------------------------------------------------------


def test_a_window_counts_only_once_the_cloud_has_applied_it() -> None:
    made = board()
    made.captured("acme", "main", captured(0, 5), T0)
    assert channel(made, 0).lag is None
    assert not channel(made, 0).fresh
    made.acked("acme", Ack(applied=4), at(1))
    assert channel(made, 1).lag is None
    made.acked("acme", Ack(applied=5), at(2))
    assert channel(made, 2).lag == 2.0
    assert channel(made, 2).fresh


def test_a_quiet_channel_that_is_checked_is_fresh() -> None:
    made = fresh_board()
    for second in range(1, 5_000, 100):
        made.captured("acme", "main", captured(second, 5), at(second))
    assert channel(made, 4_902).lag == 1.0
    assert made.health(at(4_902)).status is Status.OK


def test_a_channel_that_is_no_longer_checked_grows_old() -> None:
    made = fresh_board()
    assert channel(made, 61).fresh
    assert not channel(made, 62).fresh
    health = made.health(at(100))
    assert (health.status, health.ready) == (Status.DEGRADED, False)
    assert [p.code for p in health.companies[0].problems] == ["A2504"]


def test_captured_but_not_applied_changes_make_the_copy_as_old_as_the_last_check_before_them() -> None:
    made = fresh_board()
    made.captured("acme", "main", captured(10, 5), at(10))
    for second in range(11, 200):
        made.captured("acme", "main", captured(second, second), at(second))
    assert channel(made, 200).lag == 190.0
    made.acked("acme", Ack(applied=150), at(200))
    assert channel(made, 200).lag == 50.0


def test_a_scheduled_channel_is_measured_from_the_last_run_that_was_due() -> None:
    assert lag(at(0), None, at(50)) == 50.0
    assert lag(at(0), at(-10), at(50_000)) == 0.0
    assert lag(at(0), at(100), at(150)) == 150.0
    assert lag(None, None, at(0)) is None


def test_a_wall_clock_that_is_set_back_gives_no_negative_lag() -> None:
    assert lag(at(100), None, at(0)) == 0.0


def test_a_journal_that_began_anew_does_not_inherit_acknowledgements() -> None:
    coverage = Coverage()
    coverage.captured(1_000, at(0))
    coverage.applied(1_000)
    coverage.captured(1_100, at(5))
    coverage.captured(3, at(10))
    assert coverage.covered_at == at(0)
    coverage.applied(3)
    assert coverage.covered_at == at(10)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=60))
def test_coverage_never_claims_more_than_is_applied(steps: list[tuple[bool, int]]) -> None:
    coverage = Coverage()
    truth: list[tuple[int, datetime]] = []
    seq = applied = 0
    for i, (capture, amount) in enumerate(steps):
        if capture:
            seq += amount - 1
            truth.append((seq, at(i)))
            coverage.captured(seq, at(i))
        else:
            applied = min(seq, applied + amount)
            coverage.applied(applied)
        expected = max((moment for last, moment in truth if last <= applied), default=None)
        assert coverage.covered_at == expected


def test_a_long_outage_does_not_grow_the_memory_and_never_understates_the_lag() -> None:
    coverage = Coverage()
    for i in range(20_000):
        coverage.captured(i, at(i))
    assert len(coverage._marks) <= MARKS + 1
    coverage.applied(10_000)
    assert coverage.covered_at is not None
    assert coverage.covered_at <= at(10_000)
    coverage.applied(19_999)
    assert coverage.covered_at == at(19_999)


# -- states ----------------------------------------------------------------------------------------------------------------


def test_ready_means_every_active_company_is_fresh() -> None:
    made = board(acme=("main",), beta=("main",))
    made.configured("idle", Limits(), ["main"], active=False)
    for name in ("acme", "beta"):
        made.captured(name, "main", captured(0, 0), T0)
        assert made.health(at(1)).ready is (name == "beta")
    assert [c.status for c in made.health(at(1)).companies] == [Status.OK, Status.OK, Status.OFF]


def test_an_agent_without_companies_is_not_ready() -> None:
    assert not StatusBoard("1.0", T0).health(T0).ready


def test_a_load_that_leaves_the_visible_copy_incomplete_is_not_fresh() -> None:
    made = fresh_board()
    made.captured("acme", "main", captured(2, 5, reloading=("employee",)), at(2))
    assert not channel(made, 2).fresh


def test_a_load_that_is_captured_whole_is_not_fresh_until_it_is_applied_whole() -> None:
    made = fresh_board()
    made.captured("acme", "main", captured(2, 6, applied=6, reloading=("employee",)), at(2))
    made.captured("acme", "main", captured(3, 9, applied=6), at(3))
    assert (channel(made, 3).fresh, channel(made, 3).reloading) == (False, ("employee",))
    made.captured("acme", "main", captured(4, 9, applied=9), at(4))
    assert (channel(made, 4).fresh, channel(made, 4).reloading) == (True, ())


def test_a_stopped_company_is_not_ready_however_fresh_its_copy_is() -> None:
    made = fresh_board()
    made.stopped("acme", problem_of(CompanyStopped("A2004", "restored"), at(2)))
    health = made.health(at(2))
    assert (health.status, health.ready, health.companies[0].status) == (Status.STOPPED, False, Status.STOPPED)
    made.stopped("acme", None)
    assert made.health(at(2)).ready


def test_a_short_loss_of_the_link_is_shown_and_degrades_nothing() -> None:
    made = fresh_board()
    made.linked("acme", Link("closed", "T1013", "the link ended"), at(2))
    made.linked("acme", Link("connecting"), at(3))
    health = made.health(at(4))
    assert [(p.code, p.since) for p in health.companies[0].problems] == [("T1013", at(2))]
    assert (health.status, health.ready) == (Status.OK, True)
    made.linked("acme", Link("closed", "T1013", "the link ended"), at(5))
    assert made.health(at(6)).companies[0].problems[0].since == at(2)
    made.linked("acme", Link("open"), at(7))
    assert made.health(at(8)).companies[0].problems == ()


def test_a_refused_link_needs_a_person() -> None:
    made = fresh_board()
    made.linked("acme", Link("refused", "C3001", "revoked"), at(2))
    assert made.health(at(3)).status is Status.DEGRADED


def test_withheld_rows_and_held_loads_are_shown_and_stop_nothing() -> None:
    made = fresh_board()
    made.acked("acme", Ack(applied=5, withheld=3, held=("employee",)), at(2))
    health = made.health(at(3))
    assert [(p.code, p.where) for p in health.companies[0].problems] == [("A2505", "main/employee"), ("A2506", "main")]
    assert health.ready
    assert health.companies[0].channels[0].withheld_rows == 3


def test_a_problem_that_goes_on_keeps_its_beginning() -> None:
    made = board()

    def report(state: ServiceState, failures: int, second: float, code: str = "") -> None:
        problem = problem_of(Transient(code, "x"), at(second)) if code else None
        made.service("acme", ServiceReport(name="uplink", state=state, since=at(second), failures=failures, problem=problem))

    report(ServiceState.WAITING, 1, 10, "A2103")
    report(ServiceState.RUNNING, 1, 11)
    report(ServiceState.WAITING, 2, 12, "A2103")
    assert made.health(at(20)).companies[0].problems[0].since == at(10)
    report(ServiceState.RUNNING, 2, 21)
    assert made.health(at(22)).companies[0].problems == ()
    report(ServiceState.WAITING, 1, 900, "A2103")
    assert made.health(at(901)).companies[0].problems[0].since == at(900)


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (Transient("A2103", "x"), "warning"),
        (ConnectionError(), "warning"),
        (Refused("C3001", "x", retry_after=3.0), "warning"),
        (Refused("C3001", "x", retry_after=None), "error"),
        (CompanyStopped("A2004", "x"), "error"),
        (ValueError("x"), "error"),
    ],
)
def test_what_passes_by_itself_is_a_warning(error: BaseException, severity: str) -> None:
    assert problem_of(error, T0).severity == severity


def test_the_words_of_a_foreign_error_do_not_reach_health() -> None:
    assert "hunter2" not in repr(problem_of(ValueError("hunter2"), T0))


def test_progress_of_a_load_has_rate_and_remaining_time() -> None:
    shown = load_health(LoadProgress(dataset="employee", rows=500, total=2_000, since=at(0)), at(10))
    assert (shown.rate, shown.remaining) == (50.0, 30.0)
    unknown = load_health(LoadProgress(dataset="employee", rows=500, since=at(0)), at(0))
    assert (unknown.rate, unknown.remaining) == (None, None)


def test_what_is_known_of_a_channel_outlives_a_new_configuration() -> None:
    made = fresh_board()
    made.configured("acme", Limits(fresh=60.0), ["main", "binary"])
    assert [c.lag for c in made.health(at(5)).companies[0].channels] == [5.0, None]


def test_companies_with_mistakes_are_shown_as_stopped_with_their_mistakes() -> None:
    text = """
version = 1
[cloud]
url = "https://cloud.example"
[[company]]
name = "good"
source = { kind = "sqlite", path = "erp.db" }
[[company]]
name = "bad"
source = { kind = "sqlite" }
"""
    made = StatusBoard("1.0", T0)
    made.loaded(load([Text(Path("/x/agent.toml"), text)]), T0)
    companies = {c.name: c for c in made.health(T0).companies}
    assert companies["bad"].status is Status.STOPPED
    assert [p.where for p in companies["bad"].problems] == ["agent.toml: company[bad].source.path"]
    assert companies["good"].problems == ()


# -- retention -------------------------------------------------------------------------------------------------------------


def test_the_retention_runs_from_the_last_look() -> None:
    made = fresh_board()
    made.captured("acme", "main", captured(0, 5, retention_left=10 * 3_600.0), T0)
    assert channel(made, 3_600).retention_hours_left == 9.0
    made.captured("acme", "main", Captured(phase=Phase.STARTING), at(3_600))  # the service began anew and knows nothing
    assert channel(made, 2 * 3_600).retention_hours_left == 8.0
    made.captured("acme", "main", captured(3 * 3_600, 5, retention_left=10 * 3_600.0), at(3 * 3_600))
    assert channel(made, 3 * 3_600).retention_hours_left == 10.0
    assert channel(made, 99 * 3_600).retention_hours_left == 0.0


@pytest.mark.parametrize(("hours", "said"), [(4.9, False), (5.1, True), (20, True)])
def test_changes_that_are_forgotten_soon_are_a_problem_from_half_of_the_retention_on(hours: float, said: bool) -> None:
    made = fresh_board()
    made.captured("acme", "main", captured(0, 5, retention_left=10 * 3_600.0), T0)
    codes = [p.code for p in made.health(at(hours * 3_600)).companies[0].problems]
    assert ("A2338" in codes) is said


# -- how it is shown -------------------------------------------------------------------------------------------------------


def full_board() -> StatusBoard:
    made = fresh_board()
    loads = (LoadProgress(dataset="employee", rows=500, total=2_000, since=at(0), reason="A2501"),)
    made.captured("acme", "main", captured(3, 9, loads=loads, frames=4, bytes=2048, retention_left=7_200.0), at(3))
    made.linked("acme", Link("closed", "T1013", "the link ended"), at(4))
    problem = problem_of(Transient("A2103", "no room"), at(4))
    waiting = ServiceReport(
        name="capture", state=ServiceState.WAITING, since=at(4), failures=2, total=7, problem=problem, next_try=at(9)
    )
    made.service("acme", waiting)
    return made


def test_health_is_json_and_reads_back() -> None:
    health = full_board().health(at(5))
    assert msgspec.json.decode(msgspec.json.encode(health), type=Health) == health


def test_the_screen_says_what_is_wrong_and_what_to_do() -> None:
    screen = render_status(full_board().health(at(5)))
    assert "acme: OK   link closed for 1.0 s   journal 4 frames, 2.0 KiB of 1000 B" in screen
    assert "reading employee: 500 of 2000 (25 %) rows, 100 rows/s, 15 s left" in screen
    assert "capture: waiting, 2 failures in a row, again in 4.0 s" in screen
    assert "A2103 no room" in screen
    assert "Free disk space" in screen
    assert max(len(line) for line in screen.splitlines()) < 160


def test_metrics_have_every_channel_and_company() -> None:
    text = exposition(full_board().health(at(5))).decode()
    assert 'cdc_channel_lag_seconds{channel="main",company="acme"} 5.0' in text
    assert 'cdc_channel_fresh{channel="main",company="acme"} 1.0' in text
    assert 'cdc_link_up{company="acme"} 0.0' in text
    assert 'cdc_service_failures_total{company="acme",service="capture"} 7.0' in text
    assert 'cdc_problems{code="A2103",company="acme"} 1.0' in text
    assert 'cdc_channel_retention_left_seconds{channel="main",company="acme"} 7200.0' in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (7_300, "2 h 1 min"), (90_000, "1 d 1 h"), (-5, "0.0 s")],
)
def test_spans_read_well(seconds: float, text: str) -> None:
    assert span(seconds) == text
