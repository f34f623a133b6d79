"""Entries of the service's log: one line each, whatever was sent."""

from __future__ import annotations

import logging

import msgspec
import pytest

from cloud.logs import JsonLines, TextLines


def entry(message: str, *words: object) -> logging.LogRecord:
    return logging.LogRecord("cloud", logging.INFO, __file__, 1, message, words, None)


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
@pytest.mark.parametrize("sent", ["a\nINFO forged", "\x1b[2J", "\u2028", "\u202e", "\r", "\x9b2J", "\ud800"])
def test_what_a_stranger_sent_stays_within_its_line(formatter: logging.Formatter, sent: str) -> None:
    line = formatter.format(entry("connection ended: %s", sent))
    assert line.isprintable()
    line.encode()


def test_what_people_write_stays_as_it_is() -> None:
    assert "Zażółć gęślą jaźń 🚲" in TextLines().format(entry("Zażółć gęślą jaźń 🚲"))
    assert msgspec.json.decode(JsonLines().format(entry("Zażółć")))["message"] == "Zażółć"


def test_an_error_with_half_a_surrogate_pair_is_logged() -> None:
    error = OSError("\udcff")
    record = logging.LogRecord("cloud", logging.ERROR, __file__, 1, "failed", (), (OSError, error, None))
    assert "udcff" in JsonLines().format(record)
