"""pure: what the engine reports -> the tokens of an answer, one statement after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from tests.standin.ports import (
    Columns,
    Database,
    Done,
    Event,
    Failed,
    Info,
    Output,
    ResultColumn,
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


@lru_cache(maxsize=1024)
def in_collation(columns: tuple[ResultColumn, ...], collation: str) -> tuple[ResultColumn, ...]:
    """The columns, their text in the database's collation where it has none of its own."""
    return tuple(replace(column, type=_with(column.type, collation)) for column in columns) if collation else columns


def _with(kind: SqlType, collation: str) -> SqlType:
    return replace(kind, collation=collation) if kind.name in _COLLATED and not kind.collation else kind


_COLLATED = {"char", "varchar", "text", "nchar", "nvarchar", "ntext", "sql_variant"}


@dataclass(slots=True)
class Translator:
    """One batch (`in_procedure` False: DONE) or one call (DONEINPROC)."""

    server: str
    in_procedure: bool = False
    collation: str = ""  # of the database; "": the server's
    outputs: dict[str, Output] = field(default_factory=dict)
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
                exact = in_collation(tuple(columns), self.collation)
                self._encode = row_encoder(exact)
                return self._before() + tokens.column_metadata(exact)
            case Done(command, count):
                before = self._before()
                self._end(Ending(command, count, failed=False))
                return before
            case Failed(error):
                before = self._before()
                self._end(Ending("", None, failed=True))
                self.failure = error
                return before + tokens.error(error, self.server)
            case Output(name):
                self.outputs[name.lower()] = event
                return b""
            case _:
                return self._before() + self._notice(event)

    @property
    def status(self) -> int:
        """What RETURNSTATUS says: the number of the error, else of the procedure, else of the batch."""
        if self.failure is not None:
            return self.failure.number
        output = self.outputs.get(STATUS) or self.outputs.get("")
        return output.value if output is not None and isinstance(output.value, int) else 0

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
    parts = [translator.last(), tokens.return_status(translator.status)]
    for place in returned:
        output = translator.outputs.get(place.variable.lower())
        kind, value = (output.type, output.value) if output else (place.type, None)
        parts.append(tokens.return_value(place.ordinal, place.name, _with(kind, translator.collation), value))
    status = (tokens.MORE if more else tokens.FINAL) | (tokens.FAILED if translator.failure else 0)
    parts.append(tokens.done(tokens.DONEPROC, status))
    return b"".join(parts)
