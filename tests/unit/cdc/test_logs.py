"""The log: stable actions, fields, and never a row's contents or a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cdc.config import LogFormat
from cdc.errors import Transient
from cdc.logs import configure, logger

PLANTED = "hunter2-Kowalska"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    for name in ("cdc", "transport"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def written(form: LogFormat, write, level: str = "debug") -> str:
    stream = io.StringIO()
    configure(form, level, stream)
    write(logger("cdc.capture", company="acme").bind(channel="hr"))
    return stream.getvalue()


def test_a_line_of_json_has_action_and_fields() -> None:
    (line,) = [json.loads(x) for x in written(LogFormat.JSON, lambda out: out.info("capture.window", rows=3)).splitlines()]
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "cdc.capture",
        "action": "capture.window",
        "company": "acme",
        "channel": "hr",
        "rows": 3,
    }


def test_a_line_of_text_reads_well() -> None:
    text = written(LogFormat.TEXT, lambda out: out.warning("capture.full", "the journal is full", path="a b", rows=3))
    assert text.split(" ", 1)[1] == 'WARNING capture.full the journal is full company=acme channel=hr path="a b" rows=3\n'


def test_plain_logging_calls_look_the_same() -> None:
    def write(_log) -> None:
        logging.getLogger("cdc.other").info("%d rows", 3, extra={"action": "other.done", "company": "acme"})

    (line,) = [json.loads(x) for x in written(LogFormat.JSON, write).splitlines()]
    assert (line["action"], line["message"], line["company"]) == ("other.done", "3 rows", "acme")


def test_times_are_utc_whatever_the_zone_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    (line,) = [json.loads(x) for x in written(LogFormat.JSON, lambda out: out.info("x.y", due=moment)).splitlines()]
    assert line["due"] == "2026-03-01T07:00:00Z"
    assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_our_own_errors_are_written_whole() -> None:
    error = Transient("A2103", "no room", where="acme")
    (line,) = [json.loads(x) for x in written(LogFormat.JSON, lambda out: out.warning("a.b", error=error)).splitlines()]
    assert (line["code"], line["error"], line["where"]) == ("A2103", "A2103 acme: no room", "acme")
    assert "stack" not in line


def raising() -> Exception:
    """An error that quotes a row in its words, its cause and its group."""
    try:
        try:
            int(PLANTED)
        except ValueError as inner:
            raise KeyError(PLANTED) from inner
    except KeyError as error:
        return ExceptionGroup(
            PLANTED, [error, UnicodeEncodeError("utf-8", PLANTED, 0, 3, PLANTED), OSError(28, "No space left")]
        )


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_planted_value_reaches_no_line(form: LogFormat) -> None:
    def write(log) -> None:
        error = raising()
        log.error("a.b", error=error)
        log.info("a.c", password=PLANTED, api_token=PLANTED, row=PLANTED.encode(), cause=error)
        std = logging.getLogger("cdc.x")
        try:
            raise error
        except ExceptionGroup as caught:
            std.exception("it failed: %s", caught)
            std.exception("it failed", extra={"action": "a.d"})

    text = written(form, write)
    assert text.count("a.") >= 3
    assert PLANTED not in text
    assert "No space left" in text
    assert "test_logs.py" in text
    assert "KeyError" in text


@pytest.mark.parametrize("form", list(LogFormat))
def test_odd_values_make_no_second_line_and_no_exception(form: LogFormat) -> None:
    odd = {"a": "line\nbreak\x1b[31m", "b": "\ud800", "c": {1: [b"x", {2}]}, "d": object, "e": float("nan"), "f": "x" * 10_000}
    text = written(form, lambda out: out.info("a.b", "words\nand\x1b[31m more", **odd))
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert len(text) < 4_000


def test_the_level_is_that_of_the_product_and_libraries_only_warn() -> None:
    def write(log) -> None:
        log.debug("a.debug")
        log.info("a.info")
        logging.getLogger("aiohttp").info("chatter")
        logging.getLogger("aiohttp").warning("heard")

    text = written(LogFormat.TEXT, write, "info")
    assert "a.debug" not in text
    assert "a.info" in text
    assert "chatter" not in text
    assert "heard" in text


def test_a_second_configuration_replaces_the_first() -> None:
    first = io.StringIO()
    configure(LogFormat.TEXT, "info", first)
    assert written(LogFormat.JSON, lambda out: out.info("a.b")).count("\n") == 1
    assert first.getvalue() == ""
