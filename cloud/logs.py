"""shell: the service's log: one line an entry on standard error, as text or JSON; no row contents, no secrets."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from cloud.config import Log, LogFormat

FIELDS = ("action", "code", "company")  # what entries carry besides their message


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry."""
        entry: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        entry["message"] = _plain(record.getMessage())
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info).encode("utf-8", "backslashreplace").decode()
        return msgspec.json.encode(entry).decode()


class TextLines(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry."""
        action = getattr(record, "action", record.name)
        line = f"{_time(record)} {record.levelname:<7} {action} {_plain(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(settings: Log) -> None:
    """Sends everything to standard error, as the configuration says."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.format is LogFormat.JSON else TextLines())
    logging.basicConfig(level=settings.level.value.upper(), handlers=[handler], force=True)


class NotHttp(logging.Filter):
    """What could not be read as a request is noted without what was sent, which may hold a token, and without alarm."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the entry; whether it is still to be written."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.msg, record.args, record.exc_info = "not a request: %s", (type(error).__name__,), None
        record.action = "http.not_a_request"
        return logging.getLogger(record.name).isEnabledFor(logging.INFO)


def http_log() -> logging.Logger:
    """For the HTTP server."""
    log = logging.getLogger("cloud.http")
    if not log.filters:
        log.addFilter(NotHttp())
    return log


# Control characters, line ends of every kind, marks that turn the direction of writing, halves of surrogate pairs.
_UNPRINTED = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def _plain(text: str) -> str:
    """One line, whatever a stranger sent: nothing in it can pass for another entry, or move a terminal's cursor."""
    return _UNPRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
