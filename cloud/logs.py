"""shell: the service's log: one line an entry on standard error, as text or JSON; no row contents, no secrets."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloud.config import Log, LogFormat

FIELDS = ("action", "code", "company")  # what entries carry besides their message


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry."""
        entry: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


class TextLines(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry."""
        action = getattr(record, "action", record.name)
        line = f"{_time(record)} {record.levelname:<7} {action} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(settings: Log) -> None:
    """Sends everything to standard error, as the configuration says."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.format is LogFormat.JSON else TextLines())
    logging.basicConfig(level=settings.level.value.upper(), handlers=[handler], force=True)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
