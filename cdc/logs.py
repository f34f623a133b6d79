"""shell: the log, as JSON lines or readable text, with stable action names and never a row's contents or a secret.

`logger(__name__, company="acme")` gives a Log; `log.info("capture.window", rows=12)` writes one line. The action is the
stable name that people filter by; the rest are fields. Plain `logging` calls with `extra={"action": ...}` look the same.

What a foreign exception says of itself may quote a value (UnicodeEncodeError, int("...")), so of such an exception only the
type and the stack's places are written; our own errors (`CodedError`) and those of the operating system are written whole.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from cdc.config import LogFormat
from transport.errors import CodedError

ROOTS = ("cdc", "transport")
SECRET = re.compile(r"(^|_)(password|passwd|secret|token|authorization|private_key)s?$", re.IGNORECASE)
LONGEST = 2_000  # characters of one field
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TELLING = (CodedError, OSError, TypeError, AttributeError, NameError, ImportError)  # messages that quote no value
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Log:
    """A logger with fields that every one of its lines carries."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: dict[str, object]) -> None:
        self._logger = logger
        self._fields = fields

    def bind(self, **fields: object) -> Log:
        """The same with more fields."""
        return Log(self._logger, {**self._fields, **fields})

    def debug(self, action: str, message: str = "", **fields: object) -> None:
        """For whoever looks for a defect."""
        self._write(logging.DEBUG, action, message, None, fields)

    def info(self, action: str, message: str = "", **fields: object) -> None:
        """What the program does."""
        self._write(logging.INFO, action, message, None, fields)

    def warning(self, action: str, message: str = "", *, error: BaseException | None = None, **fields: object) -> None:
        """Something that is tried again, or that a person should know."""
        self._write(logging.WARNING, action, message, error, fields)

    def error(self, action: str, message: str = "", *, error: BaseException | None = None, **fields: object) -> None:
        """Something that does not go on by itself."""
        self._write(logging.ERROR, action, message, error, fields)

    def _write(self, level: int, action: str, message: str, error: BaseException | None, fields: dict[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        extra = {"action": action, "fields": {**self._fields, **fields}, "error": error}
        self._logger.log(level, "%s", message, extra=extra)


def logger(name: str, **fields: object) -> Log:
    """A Log under the standard logger of that name."""
    return Log(logging.getLogger(name), fields)


def configure(form: LogFormat, level: str, stream: IO[str] | None = None) -> logging.Handler:
    """Sends the product's log lines (and warnings of libraries) to `stream` (stderr); a second call replaces the first."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else TextLines())
    handler.set_name("cdc")
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == "cdc"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ROOTS:
        logging.getLogger(name).setLevel(_LEVELS[level])
    return handler


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, action, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        head = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        line = {**head, **fields_of(record)}
        return msgspec.json.encode({k: v for k, v in line.items() if v not in ("", None)}).decode()


class TextLines(logging.Formatter):
    """For people: time, level, action, message, fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end; a stack follows on lines of its own."""
        fields = fields_of(record)
        stack = fields.pop("stack", None)
        action = fields.pop("action", "") or record.name
        message = fields.pop("message", "")
        rest = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items() if value not in ("", None))
        said_first = (_time(record), f"{record.levelname:<7}", _one_line(action), _one_line(message), rest)
        line = " ".join(part for part in said_first if part)
        return line if not isinstance(stack, list) else "\n".join([line, *(f"    {_one_line(frame)}" for frame in stack)])


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Everything a record says, made safe: no secret by name, no text of a foreign exception, no raw bytes."""
    extra = {k: v for k, v in vars(record).items() if k not in _STANDARD and k not in ("action", "fields", "error")}
    own = getattr(record, "fields", None)
    found: dict[str, Any] = {"action": getattr(record, "action", ""), "message": _message(record)}
    for name, value in {**extra, **(own if isinstance(own, dict) else {})}.items():
        found[name] = "***" if SECRET.search(name) else _plain(value)
    error = getattr(record, "error", None) or (record.exc_info[1] if record.exc_info else None)
    if isinstance(error, BaseException):
        found.update(described(error))
    return found


def described(error: BaseException) -> dict[str, Any]:
    """The fields of an error: its code and words if they are ours, its type, and the places of the stack for a defect."""
    fields: dict[str, Any] = {"error": said(error), "error_type": type(error).__name__}
    if isinstance(error, CodedError):
        fields |= {"code": error.code, "where": error.where}
    else:
        fields["stack"] = list(stack_of(error))
    return fields


def said(error: BaseException) -> str:
    """What may be written of an error's own words; of a foreign exception only the type, for its words may quote a value."""
    if isinstance(error, _TELLING) and not isinstance(error, UnicodeError):
        return f"{error}"[:LONGEST] or type(error).__name__
    return type(error).__name__


def stack_of(error: BaseException) -> Iterator[str]:
    """The places an exception went through, innermost last, with its causes; places only, no values."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from stack_of(cause)
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"{_short(frame.filename)}:{frame.lineno} {frame.name}"
    yield said(error)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from stack_of(inner)


def _message(record: logging.LogRecord) -> str:
    arguments = record.args if isinstance(record.args, tuple) else ()
    if any(isinstance(a, BaseException) for a in arguments):
        arguments = tuple(said(a) if isinstance(a, BaseException) else a for a in arguments)
        return str(record.msg) % arguments
    return record.getMessage()


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value[:LONGEST].encode("utf-8", "backslashreplace").decode()
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case BaseException():
            return said(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case dict():
            return {str(k): _plain(v) for k, v in list(value.items())[:50]}
        case list() | tuple() | set() | frozenset():
            return [_plain(v) for v in list(value)[:50]]
        case _:
            return str(value)[:LONGEST]


def _one_line(value: object) -> str:
    """Nothing that could begin a line of its own or steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if isinstance(value, str) and (not text.isprintable() or any(c in text for c in ' "=')):
        return msgspec.json.encode(text).decode()
    return text


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _short(path: str) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-2:])
