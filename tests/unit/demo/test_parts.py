"""The demo's smaller parts: progress from health, arrivals from events, the screen, certificates, configuration files."""

from __future__ import annotations

import io
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdc.config import Text
from cdc.config import load as load_agent
from cdc.demo import company
from cdc.demo.certificates import make_certificates
from cdc.demo.deeds import Deed
from cdc.demo.installation import agent_toml, cloud_toml, comparer_list, free_ports
from cdc.demo.progress import Progress, caught_up, problems, progress
from cdc.demo.screen import Screen, bar_text
from cdc.demo.watching import Event, EventReader, Watch, key_text, percentile, summary
from cloud.config import parse_config
from cloud.documents import to_text
from transport.frames import Column, Fold, Type
from transport.values import key_identity

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOTALS, CHANNELS = {"a": 10, "b": 100, "c": 5}, {"a": "hr", "b": "time", "c": "hr"}


def channel(name: str, covered: str | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "covered_at": covered, "reloading": [], "loads": [], **more}


def load(dataset: str, rows: int) -> dict[str, Any]:
    return {"dataset": dataset, "rows": rows, "total": 0}


# -- progress --------------------------------------------------------------------------------------------------------------


def test_before_anything_was_read_there_is_no_progress() -> None:
    assert progress({}, TOTALS, CHANNELS) == Progress(0, "", False)
    assert progress({"channels": [channel("hr", None), channel("time", None)]}, TOTALS, CHANNELS) == Progress(0, "", False)


def test_finished_datasets_count_whole_and_loads_as_far_as_they_are() -> None:
    health = {
        "channels": [
            channel("hr", None, reloading=["a"], loads=[load("a", 4)]),
            channel("time", None, reloading=["b"], loads=[load("b", 30)]),
        ]
    }
    assert progress(health, TOTALS, CHANNELS) == Progress(4 + 5 + 30, "a", False)


def test_the_sync_is_done_when_every_channel_is_covered_and_loads_nothing() -> None:
    health = {"channels": [channel("hr", "2026-01-02T03:00:00Z"), channel("time", "2026-01-02T03:00:00Z")]}
    assert progress(health, TOTALS, CHANNELS) == Progress(115, "", True)


def test_a_channel_is_caught_up_only_with_what_was_committed_before() -> None:
    health = {"channels": [channel("hr", "2026-01-02T03:04:06Z"), channel("time", "2026-01-02T03:04:04Z")]}
    assert not caught_up(health, NOW)
    health["channels"][1]["covered_at"] = "2026-01-02T03:04:05.5Z"
    assert caught_up(health, NOW)
    health["channels"][0]["reloading"] = ["a"]
    assert not caught_up(health, NOW)
    assert not caught_up({}, NOW)


def test_problems_are_said_with_their_advice() -> None:
    assert problems({"problems": [{"code": "A2103", "message": "full", "advice": "free space"}]}) == ["A2103 full free space"]


# -- arrivals --------------------------------------------------------------------------------------------------------------


def deed(dataset: str, *key: str | int, deleted: bool = False) -> Deed:
    return Deed("po polsku", "in English", dataset, key, deleted)


def test_a_key_is_written_as_the_api_writes_it() -> None:
    columns = [Column("id", Type.INT, False, key=1), Column("address", Type.TEXT, False, key=2, fold=Fold.ASCII)]
    assert key_text((70_000, "łódź.anna@x")) == to_text(key_identity(columns, (70_000, "ŁÓDŹ.Anna@X".replace("ŁÓDŹ", "łódź"))))


def test_events_are_read_from_the_stream_and_beats_are_none() -> None:
    reader = EventReader()
    lines = [
        ": keep-alive",
        "id: 4",
        "",
        "id: 5",
        "event: upsert",
        'data: {"dataset":"a","op":"upsert","key":"kQE","row":null}',
        "",
    ]
    assert [event for line in lines if (event := reader.line(line))] == [Event("a", "upsert", "kQE")]


def test_an_event_answers_every_deed_that_waits_for_its_row() -> None:
    watch = Watch()
    watch.did(deed("a", 1), 10.0)
    watch.did(deed("a", 2), 10.0)
    watch.did(deed("a", 1), 10.5)
    assert [a.latency for a in watch.seen(Event("a", "upsert", key_text((1,))), 11.0)] == [1.0, 0.5]
    assert watch.seen(Event("a", "upsert", key_text((1,))), 12.0) == []
    assert (watch.waiting, watch.committed) == (1, 3)


def test_a_reset_answers_its_dataset() -> None:
    watch = Watch()
    watch.did(deed("a", 1), 0.0)
    watch.did(deed("b", 1), 0.0)
    assert [a.deed.dataset for a in watch.seen(Event("a", "reset", ""), 1.0)] == ["a"]


def test_the_summary_names_percentiles() -> None:
    watch = Watch()
    assert summary(watch) == "0 transactions committed, 0 seen arriving"
    for n in range(10):
        watch.did(deed("a", n), 0.0)
        watch.seen(Event("a", "upsert", key_text((n,))), n / 10)
    assert "p50 0.50 s, p95 0.90 s, longest 0.90 s" in summary(watch)
    assert percentile([], 0.5) == 0.0


# -- the screen ------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_bar_redraws_its_line() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.bar(1, 2, "employees")
    screen.bar(2, 2, "employees")
    screen.say("done")
    assert out.getvalue().count("\r") == 2
    assert out.getvalue().endswith("\ndone\n")


def test_elsewhere_the_bar_writes_a_line_now_and_then() -> None:
    out = io.StringIO()
    screen = Screen(out)
    for n in range(101):
        screen.bar(n, 100, "x")
    assert 9 <= out.getvalue().count("\n") <= 11
    assert "\r" not in out.getvalue()


def test_the_bar_grows() -> None:
    assert (bar_text(0).count("#"), bar_text(0.5).count("#"), bar_text(1).count(".")) == (0, 16, 0)


# -- files -----------------------------------------------------------------------------------------------------------------


def test_the_certificate_is_one_that_a_strict_client_accepts(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, datetime.now(UTC))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=files.authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ends = [(ssl.MemoryBIO(), ssl.MemoryBIO())]
    incoming, outgoing = ends[0]
    sides = [
        client.wrap_bio(incoming, outgoing, server_hostname="localhost"),
        server.wrap_bio(outgoing, incoming, server_side=True),
    ]
    done = [False, False]
    for _ in range(10):
        for n, side in enumerate(sides):
            try:
                side.do_handshake()
                done[n] = True
            except ssl.SSLWantReadError:
                continue
    assert done == [True, True]
    assert files.key.stat().st_mode & 0o077 == 0


def test_the_agents_file_is_one_that_the_agent_accepts(tmp_path: Path) -> None:
    text = agent_toml("https://localhost:1", 8470, tmp_path / "erp.db", company.datasets())
    loaded = load_agent([Text(tmp_path / "agent.toml", text)])
    assert loaded.problems == ()
    (only,) = loaded.required().companies
    assert only.datasets == company.datasets()
    assert {c.name for c in only.channels} == {"hr", "time"}


def test_the_clouds_file_is_one_that_the_cloud_accepts() -> None:
    assert parse_config(cloud_toml(8443), where="cloud.toml").listen.port == 8443


def test_the_comparer_gets_every_dataset() -> None:
    assert [entry["dataset"] for entry in comparer_list(company.datasets())] == [d.name for d in company.datasets()]


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(3))) == 3
