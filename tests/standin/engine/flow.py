"""pure: how control leaves a statement, and what an error does to its transaction, scope and batch.

https://learn.microsoft.com/sql/t-sql/statements/set-xact-abort-transact-sql,
https://learn.microsoft.com/sql/t-sql/language-elements/try-catch-transact-sql
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.standin.ports import Refused, SqlError, Value
from tests.standin.tsql.ast import RaiseError, Statement


class Signal(Exception):
    """Control leaves the statements that run."""


class BatchEnded(Signal):
    """Nothing more of the request runs."""


class ScopeEnded(Signal):
    """The batch, procedure or dynamic SQL ends; its caller goes on."""


class Returned(Signal):
    """RETURN."""

    def __init__(self, value: Value) -> None:
        super().__init__()
        self.value = value


class LoopEnded(Signal):
    """BREAK, or CONTINUE (`again`)."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.again = again


class Caught(Signal):
    """An error on its way to the CATCH of the TRY number `target`."""

    def __init__(self, error: SqlError, procedure: str | None, target: int) -> None:
        super().__init__()
        self.error = error
        self.procedure = procedure
        self.target = target


class TriggerFailed(Signal):
    """An error that nobody caught in a trigger: its statement fails with it."""

    def __init__(self, error: SqlError) -> None:
        super().__init__()
        self.error = error


class Disconnected(Signal):
    """An error of severity 20 and up."""

    def __init__(self, error: SqlError) -> None:
        super().__init__()
        self.error = error


# Found when a statement is compiled, which is at its first execution: ends the scope; TRY of the same scope does not see them.
COMPILE = frozenset(
    (
        *(109, 110, 120, 121, 156, 164, 174, 189, 195, 206, 207, 208, 209, 213, 257, 264, 306, 334, 402, 468, 1033),
        *(2715, 4104, 4121, 4145, 4403, 4405, 8116, 8117, 8120, 8133, 8155, 8156, 8158, 8159, 8601, 10700),
    )
)
# These end the batch and the transaction, whatever XACT_ABORT says: conversions, deadlock victims, failed snapshots.
ABORTING = frozenset(
    (
        *(235, 236, 241, 242, 244, 245, 248, 293, 295, 517, 8114, 8169, 9803, 217, 1205, 3609, 3616),
        *(3930, 3951, 3952, 3958, 3960, 3961, 3966),
    )
)


@dataclass(frozen=True, slots=True)
class Effect:
    """`compile`: only an outer scope can catch it. `dooms`: the transaction is lost. `batch`: nothing more runs."""

    compile: bool
    dooms: bool
    batch: bool
    catchable: bool = True


def effect(error: SqlError, statement: Statement, *, xact_abort: bool, from_trigger: bool, thrown: bool) -> Effect:
    """Of an error that a statement raised. `thrown`: by THROW, which ends the batch and dooms only with XACT_ABORT ON."""
    if isinstance(error, Refused):
        return Effect(False, False, True, catchable=False)
    if isinstance(statement, RaiseError):
        return Effect(False, False, False)
    dooms = xact_abort or from_trigger or (error.number in ABORTING and not thrown)
    found_early = error.number in COMPILE and not from_trigger and not thrown
    return Effect(found_early, dooms, dooms or thrown)
