"""pure: what an error of the driver or the server means, and who must act.

Texts of errors are repeated only where they hold nothing but names: those of 2627, 8152, 2628, 245 and their kind quote values.
Numbers: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cdc.errors import AgentError, CompanyStopped, DatasetPaused, Transient


class Kind(enum.StrEnum):
    """What happened, as far as it decides who acts."""

    SETUP = "setup"  # ODBC itself: the driver cannot be loaded
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    LOGIN = "login"
    DATABASE = "database"  # missing, offline, starting, not for this login
    LOST = "lost"
    TIMEOUT = "timeout"
    LOCKED = "locked"
    SNAPSHOT = "snapshot"  # the snapshot cannot be kept: read again
    SNAPSHOT_OFF = "snapshot_off"
    ROLE = "role"  # a secondary, or a database that cannot be written
    RESOURCES = "resources"
    PERMISSION = "permission"
    CHANGED = "changed"  # a table or column is not there, or not as it was
    DAMAGED = "damaged"
    CONSTRAINT = "constraint"
    VALUE = "value"  # a value does not fit or cannot be converted
    ENDED = "ended"  # cancelled by us
    REFUSED = "refused"  # anything else: most likely a defect of ours


NUMBERS: Mapping[Kind, frozenset[int]] = {
    Kind.LOCKED: frozenset({1204, 1205, 1222}),
    Kind.SNAPSHOT: frozenset({3958, 3960, 3961, 3966, 3967, 41301, 41302, 41305, 41325, 41839}),
    Kind.SNAPSHOT_OFF: frozenset({3952}),
    Kind.ROLE: frozenset({976, 978, 979, 981, 982, 983, 988, 3906, 3908, 22117}),
    Kind.DATABASE: frozenset({911, 921, 922, 924, 926, 927, 942, 945, 4060, 4064, 17142, 17187, 18401, 18461, 40613}),
    Kind.LOGIN: frozenset({18450, 18451, 18452, 18456, 18458, 18470, 18486, 18487, 18488}),
    Kind.RESOURCES: frozenset(
        {
            701,
            802,
            1101,
            1105,
            8628,
            8645,
            8651,
            9002,
            10928,
            10929,
            17189,
            17803,
            40197,
            40501,
            40549,
            40550,
            49918,
            49919,
            49920,
        }
    ),
    Kind.LOST: frozenset({-2, 64, 233, 596, 6005, 8179, 10053, 10054, 10060, 17830}),
    Kind.PERMISSION: frozenset({229, 230, 262, 297, 300, 371, 378, 916, 1088, 3701, 15151, 15247}),  # 3701: or it is not there
    Kind.CHANGED: frozenset({207, 208, 213, 2801, 4104, 4902, 4998, 22105}),
    Kind.DAMAGED: frozenset({605, 823, 824, 825}),
    Kind.CONSTRAINT: frozenset({515, 547, 2601, 2627}),
    Kind.VALUE: frozenset(
        {220, 232, 235, 241, 242, 244, 245, 248, 281, 295, 296, 2628, 6522, 8114, 8115, 8134, 8152, 8169, 9420}
    ),
}
KIND_OF = {number: kind for kind, numbers in NUMBERS.items() for number in numbers}
FATAL = frozenset({Kind.SETUP, Kind.UNREACHABLE, Kind.CERTIFICATE, Kind.LOGIN, Kind.LOST})  # nothing more over this connection
SYNTAX = frozenset({102, 105, 137, 156, 170, 319, 336})
NAMES_ONLY = frozenset(
    {207, 208, 229, 230, 262, 297, 300, 911, 916, 3701, 3952, 3961, 4060, 4902, 4998, 15247, 22105, 22117} | SYNTAX
)
LONGEST = 300  # characters of a server's own text

_STATES: Mapping[str, Kind] = {"HY008": Kind.ENDED, "28000": Kind.LOGIN, "HYT01": Kind.LOST, "24000": Kind.ENDED}
_STATE = re.compile(r"[0-9A-Z]{5}")
_NUMBER = re.compile(r"\((-?\d+)\)(?= \(SQL\w+\)|\s*; \[|\s*$)")
_CLOSED = re.compile(r"connection has been closed|closed (connection|cursor)")
_CERTIFICATE = re.compile(r"certificate|SSL|TLS|encryption", re.IGNORECASE)


class Failure(NamedTuple):
    """An error as it may be shown. `number`: of the server; of the driver where it is the driver's own error."""

    kind: Kind
    number: int
    state: str
    text: str

    @property
    def fatal(self) -> bool:
        """Whether the connection is of no more use."""
        return self.kind in FATAL


class ServerFailure(Exception):
    """The cause of the errors raised by a connection; the driver's own exception may quote values, this one does not."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def failure_of(error: BaseException) -> Failure | None:
    """What the server said behind one of our errors; None: it did not come from a server."""
    cause = error if isinstance(error, ServerFailure) else error.__cause__
    return cause.failure if isinstance(cause, ServerFailure) else None


def understand(arguments: Sequence[Any]) -> Failure:
    """From the arguments of a `pyodbc.Error`: SQLSTATE and message."""
    first, second = (*map(str, arguments), "", "")[:2]
    if _STATE.fullmatch(second):  # pyodbc's own errors have them the other way round
        first, second = second, first
    state, message = (first, second) if second else ("", first)
    numbers = [int(found) for found in _NUMBER.findall(message)]
    number = next((n for n in numbers if n in KIND_OF), numbers[0] if numbers else 0)
    server = "[SQL Server]" in message
    kind = KIND_OF.get(number, Kind.REFUSED) if server else Kind.REFUSED
    if kind is Kind.REFUSED:
        kind = _by_state(state, message)
    return Failure(kind, number, state, _shown(number, state, message, server=server))


def _by_state(state: str, message: str) -> Kind:
    if state in _STATES:
        return _STATES[state]
    if state == "HYT00":
        return Kind.UNREACHABLE if "login" in message.lower() else Kind.TIMEOUT
    if state.startswith("IM") or "Can't open lib" in message:
        return Kind.SETUP
    if state.startswith("08"):
        if _CERTIFICATE.search(message):
            return Kind.CERTIFICATE
        return Kind.UNREACHABLE if state == "08001" else Kind.LOST
    if _CLOSED.search(message):
        return Kind.LOST
    return Kind.REFUSED


def _shown(number: int, state: str, message: str, *, server: bool) -> str:
    """The driver's own texts speak of network and certificates, so they are shown; the server's only where they are safe."""
    if server and number not in NAMES_ONLY:
        return f"error {number}" + (f", SQLSTATE {state}" if state else "")
    text = next(iter(_texts(message)), "")
    return f"error {number}: {text[:LONGEST]}" if server else (text[:LONGEST] or f"SQLSTATE {state}")


def _texts(message: str) -> Iterator[str]:
    """The messages alone, without states, origins, numbers and names of functions."""
    for record in re.split(r"; (?=\[\w{5}\])", message):
        text = re.sub(r"^(\[[^\]]*\]\s*)+", "", record)
        yield re.sub(r"\s*\((-?\d+)\)( \(SQL\w+\))?\s*$", "", text).strip()


_TRANSIENT: Mapping[Kind, tuple[str, str]] = {
    Kind.UNREACHABLE: ("A2244", "the server cannot be reached"),
    Kind.LOST: ("A2248", "the connection was lost"),
    Kind.TIMEOUT: ("A2249", "the statement took too long"),
    Kind.LOCKED: ("A2250", "a lock was not to be had"),
    Kind.SNAPSHOT: ("A2251", "the snapshot could not be kept"),
    Kind.ROLE: ("A2253", "the database cannot be used in its present role"),
    Kind.RESOURCES: ("A2256", "the server lacks resources"),
    Kind.CHANGED: ("A2211", "a table is not as it was"),
    Kind.ENDED: ("A2212", "the statement was ended"),
    Kind.CONSTRAINT: ("A2259", "a constraint of the database refused the row"),
    Kind.VALUE: ("A2260", "a value does not fit, or cannot be converted"),
    Kind.REFUSED: ("A2257", "the server refused the statement"),
}
_STOPPING: Mapping[Kind, tuple[str, str]] = {
    Kind.SETUP: ("A2240", "the ODBC driver cannot be used"),
    Kind.CERTIFICATE: ("A2245", "no trusted encrypted connection could be made"),
    Kind.LOGIN: ("A2246", "the login was refused"),
    Kind.DATABASE: ("A2247", "the database cannot be opened"),
    Kind.SNAPSHOT_OFF: ("A2252", "snapshot isolation is not allowed in the database"),
    Kind.DAMAGED: ("A2258", "the server finds the database damaged"),
}


def as_error(failure: Failure, where: str, *, table: bool = False) -> AgentError:
    """The error to raise. `table`: only one table of a dataset is concerned."""
    if failure.kind is Kind.PERMISSION:
        kind = DatasetPaused if table else CompanyStopped
        return kind("A2254", f"a permission is missing: {failure.text}", where=where)
    if failure.kind in _TRANSIENT:
        code, message = _TRANSIENT[failure.kind]
        return Transient(code, f"{message}: {failure.text}", where=where)
    code, message = _STOPPING[failure.kind]
    return CompanyStopped(code, f"{message}: {failure.text}", where=where)
