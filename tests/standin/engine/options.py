"""pure: SET of options: what a session keeps, and which values are not emulated.

https://learn.microsoft.com/sql/t-sql/statements/set-statements-transact-sql
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.standin.engine.model import State, TableInfo
from tests.standin.ports import Refused, SqlError
from tests.standin.tsql.ast import Name, SetOption

# What the stand-in always does; the other value changes results and is refused.
_FIXED = {
    "ANSI_NULLS": "ON",
    "ANSI_PADDING": "ON",
    "ANSI_WARNINGS": "ON",
    "QUOTED_IDENTIFIER": "ON",
    "CONCAT_NULL_YIELDS_NULL": "ON",
    "NUMERIC_ROUNDABORT": "OFF",
    "IMPLICIT_TRANSACTIONS": "OFF",
    "ANSI_NULL_DFLT_ON": "ON",
    "ANSI_NULL_DFLT_OFF": "OFF",
    "ANSI_DEFAULTS": "OFF",
    "ARITHIGNORE": "OFF",
    "FMTONLY": "OFF",
}
_NO_MATTER = ("CURSOR_CLOSE_ON_COMMIT", "ARITHABORT")  # no cursors; ANSI_WARNINGS ON implies ARITHABORT
_VALUES = {
    "TEXTSIZE": ("2147483647", "-1", "0"),
    "LANGUAGE": ("us_english", "english"),
    "DATEFORMAT": ("ymd", "mdy"),
    "DATEFIRST": ("7",),
}
_PRIORITIES = {"LOW": -5, "NORMAL": 0, "HIGH": 5}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is given back at the end of a procedure, of dynamic SQL and of a parameterised request."""

    nocount: bool
    xact_abort: bool
    lock_timeout: int
    deadlock_priority: int
    isolation: str
    identity_insert: int

    @classmethod
    def of(cls, state: State) -> Settings:
        return cls(
            state.nocount,
            state.xact_abort,
            state.lock_timeout,
            state.deadlock_priority,
            state.isolation,
            state.identity_insert,
        )

    def restore(self, state: State) -> None:
        for name in self.__slots__:
            setattr(state, name, getattr(self, name))


DEFAULTS = Settings(False, False, -1, 0, "READ COMMITTED", 0)


def set_option(state: State, statement: SetOption) -> None:
    """Raises SqlError 1088, 8106, 8107 and Refused."""
    if statement.table is not None:
        _identity_insert(state, statement.table, statement.value == "ON")
        return
    for option in statement.options:
        _set(state, option, statement.value)


def _set(state: State, option: str, value: str) -> None:
    if option == "NOCOUNT":
        state.nocount = value == "ON"
    elif option == "XACT_ABORT":
        state.xact_abort = value == "ON"
    elif option == "LOCK_TIMEOUT":
        state.lock_timeout = int(value)
    elif option == "DEADLOCK_PRIORITY":
        state.deadlock_priority = _PRIORITIES[value] if value in _PRIORITIES else int(value)
    elif option not in _NO_MATTER and value.lower() not in _allowed(option):
        raise Refused(f"SET {option} {value}")


def _allowed(option: str) -> tuple[str, ...]:
    return (_FIXED[option].lower(),) if option in _FIXED else _VALUES[option]


def _identity_insert(state: State, name: Name, on: bool) -> None:
    table = find_table(state, name)
    if table is None:
        message = f'Cannot find the object "{".".join(name.parts)}" because it does not exist or you do not have permissions.'
        raise SqlError(1088, message)
    if not any(column.identity for column in table.columns):
        message = f"Table '{table.schema}.{table.name}' does not have the identity property. Cannot perform SET operation."
        raise SqlError(8106, message)
    if not on:
        if state.identity_insert == table.object_id:
            state.identity_insert = 0
        return
    if state.identity_insert not in (0, table.object_id):
        other = next((t for t in state.catalogue.tables.values() if t.object_id == state.identity_insert), None)
        shown = f"{state.database.name}.{other.schema}.{other.name}" if other else "#"
        message = (
            f"IDENTITY_INSERT is already ON for table '{shown}'. Cannot perform SET operation for table '{name.parts[-1]}'."
        )
        raise SqlError(8107, message)
    state.identity_insert = table.object_id


def find_table(state: State, name: Name) -> TableInfo | None:
    """A table, view, temporary table or table variable of the session's database, by a name of up to three parts."""
    last = name.parts[-1].casefold()
    if last.startswith("#"):
        return state.temporaries.get(last)
    if len(name.parts) == 1 and last in state.table_variables:
        return state.table_variables[last]
    if len(name.parts) > 2 and name.parts[-3].casefold() not in ("", state.database.name.casefold()):
        raise Refused("a name with the database in front")
    schema = name.parts[-2].casefold() if len(name.parts) > 1 and name.parts[-2] else "dbo"
    return state.catalogue.tables.get((schema, last))
