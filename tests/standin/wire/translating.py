"""pure: what the engine reports -> the tokens of an answer, one statement after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.standin.ports import (
    Columns,
    Database,
    Done,
    Event,
    Failed,
    Info,
    Output,
    Rows,
    SqlError,
    SqlType,
    Transaction,
    Value,
)
from tests.standin.wire import tokens
from tests.standin.wire.encode import row_encoder

STATUS = "@__status"  # the variable that takes a procedure's return status


@dataclass(frozen=True, slots=True)
class Ending:
    """A statement that ended; whether more follows is not known yet."""

    command: str
    count: int | None
    failed: bool


@dataclass(frozen=True, slots=True)
class Returned:
    """A parameter that goes back to the client: its place in the call, its name there, and the variable that holds it."""

    ordinal: int
    name: str
    variable: str
    type: SqlType


@dataclass(slots=True)
class Translator:
    """One batch (`in_procedure` False: DONE) or one call (DONEINPROC)."""

    server: str
    in_procedure: bool = False
    outputs: dict[str, Output] = field(default_factory=dict)
    status: int = 0
    failure: SqlError | None = None  # of the statement that ended last
    ending: Ending | None = None
    _encode: Callable[[Sequence[Sequence[Value]]], bytes] | None = None

    def translate(self, event: Event) -> bytes:
        """Raises Refused and encode.BadValue for values that cannot be sent."""
        match event:
            case Rows(rows):
                return self._rows(rows)
            case Columns(columns):
                if self._encode is not None:
                    raise RuntimeError("a result begins within another")
                self._encode = row_encoder(tuple(columns))
                return self._before() + tokens.column_metadata(tuple(columns))
            case Done(command, count):
                before = self._before()
                self._end(Ending(command, count, failed=False))
                return before
            case Failed(error):
                before = self._before()
                self._end(Ending("", None, failed=True))
                self.failure = error
                return before + tokens.error(error, self.server)
            case Output():
                self._keep(event)
                return b""
            case _:
                return self._before() + self._notice(event)

    def last(self, *, more: bool = False) -> bytes:
        """The end of the last statement; of a batch it says that nothing follows."""
        if self.in_procedure:
            return self._before()
        ending = self.ending or Ending("", None, failed=False)
        self.ending = None
        return self._done(tokens.DONE, ending, tokens.MORE if more else tokens.FINAL)

    def give(self, place: Returned, value: Value) -> None:
        """What a parameter of the wire's own takes back: a handle."""
        self.outputs[place.variable] = Output(place.variable, place.type, value)

    def _rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        if self._encode is None:
            raise RuntimeError("rows without columns")
        return self._encode(rows)

    def _end(self, ending: Ending) -> None:
        self.ending, self._encode, self.failure = ending, None, None

    def _before(self) -> bytes:
        """The end of the statement before, now that something follows."""
        if self.ending is None:
            return b""
        ending, self.ending = self.ending, None
        return self._done(tokens.DONEINPROC if self.in_procedure else tokens.DONE, ending, tokens.MORE)

    def _done(self, token: int, ending: Ending, status: int) -> bytes:
        return tokens.done(token, status | (tokens.FAILED if ending.failed else 0), ending.command, ending.count)

    def _keep(self, output: Output) -> None:
        if output.name in ("", STATUS):
            self.status = output.value if isinstance(output.value, int) else 0
        else:
            self.outputs[output.name.lower()] = output

    def _notice(self, event: Event) -> bytes:
        match event:
            case Info():
                return tokens.info(event, self.server)
            case Transaction(change, descriptor):
                return tokens.transaction_change(change, descriptor)
            case Database(old, new):
                return tokens.database_change(old, new, self.server)
        raise TypeError(type(event).__name__)


def end_of_call(translator: Translator, returned: Sequence[Returned], *, more: bool) -> bytes:
    """RETURNSTATUS, RETURNVALUEs, DONEPROC. A parameter that was given no value comes back as NULL."""
    failure = translator.failure
    parts = [translator.last(), tokens.return_status(failure.number if failure else translator.status)]
    for place in returned:
        output = translator.outputs.get(place.variable.lower())
        kind, value = (output.type, output.value) if output else (place.type, None)
        parts.append(tokens.return_value(place.ordinal, place.name, kind, value))
    status = (tokens.MORE if more else tokens.FINAL) | (tokens.FAILED if failure else 0)
    parts.append(tokens.done(tokens.DONEPROC, status))
    return b"".join(parts)
