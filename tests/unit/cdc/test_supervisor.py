"""Services that fail in each way, and the shutdown ladder, on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from cdc.board import StatusBoard
from cdc.errors import CompanyStopped, ConfigError, DatasetPaused, ProgramStopped, Transient
from cdc.logs import JsonLines
from cdc.restart import ExitStatus
from cdc.status import Limits, ServiceState, Status
from cdc.supervisor import PROGRAM, Service, Supervisor, places
from tests.support.virtual import VirtualClock, run_virtually, virtual_runtime
from transport.runtime import Runtime


class Stage:
    """A supervisor on a virtual clock, its board, and what its services did and when."""

    def __init__(self, clock: VirtualClock, grace: float) -> None:
        self.clock = clock
        self.runtime: Runtime = virtual_runtime(self.clock, 5)
        self.board = StatusBoard("1.0", self.clock.now())
        for name in ("acme", "beta"):
            self.board.configured(name, Limits(), ["main"])
        self.supervisor = Supervisor(self.runtime, self.board, grace=grace)
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.trace: list[tuple[str, float]] = []

    def note(self, what: str) -> None:
        self.trace.append((what, round(self.clock.seconds, 3)))

    def times(self, what: str) -> list[float]:
        return [at for name, at in self.trace if name == what]

    def steady(self, name: str) -> Service:
        async def run(stop: asyncio.Event) -> None:
            self.note(f"{name} began")
            await stop.wait()
            self.note(f"{name} ended")

        return Service(name, run)

    def failing(self, name: str, *errors: BaseException) -> Service:
        """Raises one error after the other, then runs steadily."""
        left = list(errors)

        async def run(stop: asyncio.Event) -> None:
            self.note(f"{name} began")
            if left:
                raise left.pop(0)
            await stop.wait()

        return Service(name, run)

    def service(self, company: str, name: str):
        services = self.board.companies[company].services if company else self.board.services
        return services[name]


def play(scenario: Callable[[Stage], Awaitable[None]], grace: float = 20.0) -> tuple[Stage, ExitStatus]:
    """Runs the scenario beside the supervisor, then stops it."""
    clock = VirtualClock()

    async def main() -> tuple[Stage, ExitStatus]:
        stage = Stage(clock, grace)
        running = asyncio.create_task(stage.supervisor.run(stage.stop, stage.hurry))
        await scenario(stage)
        stage.stop.set()
        return stage, await running

    return run_virtually(clock, main())


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    found: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JsonLines().format(record)))

    handler = Keep()
    root = logging.getLogger("cdc")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(handler)
    root.setLevel(before)


def test_services_run_until_they_are_asked_to_stop_and_end_in_order() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start(PROGRAM, [stage.steady("health")])
        stage.supervisor.start("acme", [stage.steady("capture"), stage.steady("uplink")])
        await asyncio.sleep(3)

    stage, status = play(scenario)
    assert status is ExitStatus.OK
    assert [what for what, _ in stage.trace] == [
        "health began",
        "capture began",
        "uplink began",
        "capture ended",
        "uplink ended",
        "health ended",
    ]
    assert stage.clock.seconds == 3.0


def test_a_passing_error_restarts_the_service_after_a_wait_and_leaves_the_others_alone() -> None:
    async def scenario(stage: Stage) -> None:
        services = [stage.failing("uplink", *[Transient("A2103", "x")] * 3), stage.steady("capture")]
        stage.supervisor.start("acme", services)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert stage.service("acme", "uplink").state is ServiceState.WAITING
        assert stage.service("acme", "uplink").next_try is not None
        await asyncio.sleep(30)

    stage, _ = play(scenario)
    began = stage.times("uplink began")
    assert len(began) == 4
    assert all(later > earlier for earlier, later in itertools.pairwise(began))
    assert len(stage.times("capture began")) == 1
    assert stage.service("acme", "uplink").total == 3


def test_failures_in_a_row_wait_longer_and_no_wait_is_over_a_minute() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.failing("uplink", *[ConnectionError()] * 60)])
        await asyncio.sleep(3600)

    stage, _ = play(scenario)
    began = stage.times("uplink began")
    waits = [b - a for a, b in itertools.pairwise(began)]
    assert len(began) == 61
    assert max(waits[:3]) <= 2.0
    assert max(waits) <= 60.0
    assert max(waits) > 20.0


def test_an_unknown_error_is_logged_with_its_place_and_the_service_starts_anew(lines: list[dict[str, object]]) -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.failing("capture", ValueError("row with hunter2"))])
        await asyncio.sleep(5)

    stage, _ = play(scenario)
    assert len(stage.times("capture began")) == 2
    (line,) = [x for x in lines if x["action"] == "service.restart"]
    assert (line["level"], line["company"], line["service"], line["error_type"]) == ("error", "acme", "capture", "ValueError")
    assert any("test_supervisor.py" in str(frame) for frame in line["stack"])  # type: ignore[attr-defined]
    assert "hunter2" not in json.dumps(lines)


def test_a_paused_service_waits_for_a_person_and_the_others_go_on() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.failing("capture", DatasetPaused("A2004", "permission")), stage.steady("uplink")])
        await asyncio.sleep(100_000)
        assert stage.times("capture began") == [0.0]
        assert stage.service("acme", "capture").state is ServiceState.PAUSED
        assert stage.supervisor.wake("acme")
        await asyncio.sleep(1)
        assert stage.times("capture began") == [0.0, 100_000.0]

    play(scenario)


def test_a_wake_that_comes_while_the_attempt_still_runs_is_not_lost() -> None:
    async def scenario(stage: Stage) -> None:
        tries: list[float] = []

        async def run(stop: asyncio.Event) -> None:
            tries.append(stage.clock.seconds)
            await asyncio.sleep(10)
            raise DatasetPaused("A2004", "permission")

        stage.supervisor.start("acme", [Service("capture", run)])
        await asyncio.sleep(5)
        stage.supervisor.wake("acme")
        await asyncio.sleep(100)
        assert tries == [0.0, 10.0]

    play(scenario)


def test_a_stopped_company_ends_all_its_services_and_no_other_companys() -> None:
    async def scenario(stage: Stage) -> None:
        stopped = CompanyStopped("A2004", "the database was restored")
        stage.supervisor.start("acme", [stage.steady("uplink"), stage.failing("capture", stopped)])
        stage.supervisor.start("beta", [stage.steady("other")])
        await asyncio.sleep(10)
        health = {c.name: c for c in stage.board.health(stage.clock.now()).companies}
        assert health["acme"].status is Status.STOPPED
        assert [p.message for p in health["acme"].problems][:1] == ["the database was restored"]
        assert health["beta"].status is not Status.STOPPED
        assert len(stage.times("uplink ended")) == 1
        assert not stage.times("other ended")

    play(scenario)


def test_a_stopped_company_goes_on_when_a_person_has_acted() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.steady("uplink"), stage.failing("capture", CompanyStopped("A2004", "restored"))])
        await asyncio.sleep(10)
        stage.supervisor.wake("acme")
        await asyncio.sleep(10)
        assert stage.board.companies["acme"].stopped is None
        assert len(stage.times("uplink began")) == 2
        assert len(stage.times("capture began")) == 2

    play(scenario)


def test_a_company_without_its_erp_file_is_tried_again_once_a_minute_and_says_since_when() -> None:
    async def scenario(stage: Stage) -> None:
        gone = [CompanyStopped("A2202", "there is no such file")] * 3
        stage.supervisor.start("acme", [stage.steady("uplink"), stage.failing("capture", *gone)])
        await asyncio.sleep(150)
        stopped = stage.board.companies["acme"].stopped
        assert stopped is not None
        assert (stage.clock.now() - stopped.since).total_seconds() > 140
        await asyncio.sleep(100)
        assert stage.board.companies["acme"].stopped is None

    stage, _ = play(scenario)
    assert stage.times("capture began") == pytest.approx([0.0, 60.0, 120.0, 180.0], abs=1)


def test_what_only_a_person_can_mend_is_not_tried_again_because_of_something_else() -> None:
    async def scenario(stage: Stage) -> None:
        errors = CompanyStopped("A2401", "restored"), CompanyStopped("A2202", "there is no such file")
        stage.supervisor.start("acme", [stage.failing(f"capture.{n}", error) for n, error in enumerate(errors)])
        await asyncio.sleep(3600)

    stage, _ = play(scenario)
    assert stage.times("capture.0 began") == [0.0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError([ProgramStopped("A2003", "x")]), ExitStatus.CONFIG),
        (ProgramStopped("A2102", "x"), ExitStatus.STATE),
        (ProgramStopped("A2503", "x"), ExitStatus.STOPPED),
    ],
)
def test_an_error_of_the_program_ends_it_in_order_with_a_status(error: ProgramStopped, status: ExitStatus) -> None:
    clock = VirtualClock()

    async def main() -> tuple[Stage, ExitStatus]:
        stage = Stage(clock, 20.0)
        stage.supervisor.start("acme", [stage.steady("uplink"), stage.failing("capture", error)])
        return stage, await stage.supervisor.run(stage.stop)

    stage, found = run_virtually(clock, main())
    assert found is status
    assert stage.times("uplink ended") == [0.0]


def test_a_group_of_errors_is_decided_by_the_gravest() -> None:
    async def scenario(stage: Stage) -> None:
        group = ExceptionGroup("both", [ConnectionError(), CompanyStopped("A2004", "restored")])
        stage.supervisor.start("acme", [stage.failing("capture", group)])
        await asyncio.sleep(1)
        stopped = stage.board.companies["acme"].stopped
        assert stopped is not None
        assert stopped.code == "A2004"

    play(scenario)


def test_a_service_that_ends_by_itself_is_started_anew_unless_it_is_done() -> None:
    async def scenario(stage: Stage) -> None:
        async def short(stop: asyncio.Event) -> None:
            stage.note("short")

        async def once(stop: asyncio.Event) -> None:
            stage.note("once")

        stage.supervisor.start("acme", [Service("short", short), Service("once", once, once=True)])
        await asyncio.sleep(60)
        assert stage.service("acme", "once").state is ServiceState.ENDED

    stage, _ = play(scenario)
    assert len(stage.times("once")) == 1
    assert len(stage.times("short")) > 3


def test_a_service_that_is_cancelled_from_within_is_started_anew() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.failing("uplink", asyncio.CancelledError())])
        await asyncio.sleep(60)

    stage, _ = play(scenario)
    assert len(stage.times("uplink began")) == 2


def test_services_can_be_replaced_and_ended_while_the_program_runs() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.steady("one")])
        await asyncio.sleep(1)
        await stage.supervisor.replace("acme", [stage.steady("two")])
        await asyncio.sleep(1)
        await stage.supervisor.end("acme")
        await stage.supervisor.end("acme")
        assert stage.supervisor.companies() == []
        assert not stage.supervisor.wake("acme")

    stage, _ = play(scenario)
    assert [what for what, _ in stage.trace] == ["one began", "one ended", "two began", "two ended"]


def test_a_company_cannot_be_started_twice() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.steady("one")])
        with pytest.raises(ValueError, match="already"):
            stage.supervisor.start("acme", [stage.steady("one")])

    play(scenario)


def test_a_stop_before_the_services_have_begun_is_not_lost() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [stage.steady("one")])

    stage, status = play(scenario)
    assert status is ExitStatus.OK
    assert not stage.times("one began") or stage.times("one ended")


# -- the ladder ------------------------------------------------------------------------------------------------------------


def late(stage: Stage, name: str, seconds: float) -> Service:
    async def finishing_the_batch(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(seconds)
        stage.note(f"{name} finished")

    return Service(name, finishing_the_batch)


def test_a_service_may_finish_its_batch_within_the_grace() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [late(stage, "capture", 15)])
        await asyncio.sleep(1)

    stage, _ = play(scenario)
    assert stage.times("capture finished") == [16.0]
    assert stage.clock.seconds == 16.0


def test_who_still_runs_after_the_grace_is_named_with_its_place_and_cut_off(lines: list[dict[str, object]]) -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [late(stage, "capture", 1_000), late(stage, "uplink", 2)])
        await asyncio.sleep(1)

    stage, status = play(scenario)
    assert status is ExitStatus.OK
    assert stage.clock.seconds == 21.0
    assert not stage.times("capture finished")
    (line,) = [x for x in lines if x["action"] == "shutdown.late"]
    assert line["code"] == "A2503"
    assert line["where"] == "acme/capture"
    assert any("finishing_the_batch" in str(place) for place in line["stack"])  # type: ignore[attr-defined]


def test_a_second_signal_shortens_the_grace() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [late(stage, "capture", 1_000)])
        await asyncio.sleep(1)
        asyncio.get_running_loop().call_later(3, stage.hurry.set)

    stage, _ = play(scenario)
    assert stage.clock.seconds == 4.0


def test_a_service_that_ignores_even_cancellation_does_not_hold_the_shutdown_for_ever(lines: list[dict[str, object]]) -> None:
    async def scenario(stage: Stage) -> None:
        async def stubborn(stop: asyncio.Event) -> None:
            for _ in range(5):
                try:
                    await asyncio.sleep(1_000)
                except asyncio.CancelledError:
                    stage.note("ignored")

        stage.supervisor.start("acme", [Service("stubborn", stubborn)])
        await asyncio.sleep(1)

    stage, _ = play(scenario)
    assert stage.times("ignored")[0] == 21.0
    assert [x["service"] for x in lines if x["action"] == "shutdown.stuck"] == ["acme/stubborn"]
    assert [x for x in lines if x["action"] == "shutdown.end"]


def test_companies_shut_down_side_by_side() -> None:
    async def scenario(stage: Stage) -> None:
        stage.supervisor.start("acme", [late(stage, "one", 10)])
        stage.supervisor.start("beta", [late(stage, "two", 10)])
        await asyncio.sleep(1)

    stage, _ = play(scenario)
    assert stage.clock.seconds == 11.0


def test_a_defect_of_the_board_stops_the_company_and_is_seen(lines: list[dict[str, object]]) -> None:
    async def scenario(stage: Stage) -> None:
        def broken(company: str, report: object) -> None:
            raise RuntimeError("board")

        stage.board.service = broken  # type: ignore[assignment]
        stage.supervisor.start("acme", [stage.steady("uplink")])
        await asyncio.sleep(1)
        stopped = stage.board.companies["acme"].stopped
        assert stopped is not None
        assert stopped.code == "A2501"

    play(scenario)
    assert [x for x in lines if x["action"] == "company.stopped"]


async def test_the_places_of_a_task_go_down_to_where_it_waits() -> None:
    async def innermost() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await innermost()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    found = list(places(task))
    task.cancel()
    assert "outer" in found[0]
    assert any("innermost" in place for place in found)
