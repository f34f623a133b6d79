"""adapter: transactions of a session on PostgreSQL, and what its commit makes visible.

The session (engine/session.py) decides when a transaction begins and ends; only this module says BEGIN, COMMIT, ROLLBACK
and SAVEPOINT to PostgreSQL. Every statement outside a transaction runs in `autocommit`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tests.standin.engine import locks, tracking
from tests.standin.engine.model import Declared, State


async def begin(state: State) -> None:
    """BEGIN at the session's isolation level; the catalogue is the committed one from here on."""
    snapshot = state.isolation == "SNAPSHOT"
    await state.connection.execute(f"BEGIN ISOLATION LEVEL {'REPEATABLE READ' if snapshot else 'READ COMMITTED'}")
    state.snapshot = snapshot
    state.savepoints.clear()
    state.catalogue = state.database.catalogue
    state.begun = declared(state)


def declared(state: State) -> Declared:
    """What is declared now, to be restored by a rollback."""
    return Declared(state.catalogue, dict(state.temporaries))


def _restore(state: State, then: Declared) -> None:
    state.catalogue = then.catalogue
    state.temporaries = dict(then.temporaries)
    state.settings = None


async def commit(state: State) -> None:
    """COMMIT: gives the transaction its change tracking version and publishes its catalogue.

    Raises asyncpg.PostgresError when PostgreSQL refuses; the transaction is rolled back then.
    """
    declares = state.catalogue.generation > state.database.catalogue.generation
    async with state.database.publishing if declares else contextlib.nullcontext():
        try:
            version = await tracking.before_commit(state)
            await state.connection.execute("COMMIT")
        except BaseException:
            await rollback(state)
            raise
        if version is not None:
            state.database.committed(version)
        if declares:
            state.database.publish(state.catalogue)
        _ended(state)


async def rollback(state: State) -> None:
    """ROLLBACK of the whole transaction. Without one it does nothing."""
    if state.connection.is_in_transaction():
        await state.connection.execute("ROLLBACK")
    if state.begun is not None:
        _restore(state, state.begun)
    _ended(state)


def _ended(state: State) -> None:
    state.snapshot = False
    state.savepoints.clear()
    state.begun = None
    state.catalogue = state.database.catalogue
    state.database.locks.release(state.spid)


async def save(state: State, name: str) -> None:
    """SAVEPOINT; the same name may be set again."""
    await state.connection.execute(f"SAVEPOINT s{len(state.savepoints)}")
    state.savepoints.append((name.casefold(), declared(state)))


def has_savepoint(state: State, name: str) -> bool:
    """Whether `name` was set in the open transaction."""
    return any(known == name.casefold() for known, _ in state.savepoints)


async def rollback_to(state: State, name: str) -> None:
    """Undoes what was done since the newest savepoint of the name, which stays. Raises KeyError."""
    for place in reversed(range(len(state.savepoints))):
        known, then = state.savepoints[place]
        if known == name.casefold():
            await state.connection.execute(f"ROLLBACK TO SAVEPOINT s{place}")
            del state.savepoints[place + 1 :]
            _restore(state, then)
            return
    raise KeyError(name)


@contextlib.asynccontextmanager
async def autocommit(state: State) -> AsyncIterator[None]:
    """One statement in a transaction of its own, ended whatever happens."""
    await begin(state)
    try:
        yield
    except BaseException:
        await rollback(state)
        raise
    await commit(state)


@contextlib.asynccontextmanager
async def statement(state: State) -> AsyncIterator[None]:
    """One statement inside the open transaction: an error undoes this statement and nothing else.

    After an error of a kind that ends the transaction (a deadlock) the caller rolls back itself.
    """
    if not state.snapshot and state.catalogue.generation < state.database.catalogue.generation:
        state.catalogue = state.database.catalogue
    then = declared(state)
    await state.connection.execute("SAVEPOINT statement")
    try:
        yield
    except BaseException:
        await state.connection.execute("ROLLBACK TO SAVEPOINT statement; RELEASE SAVEPOINT statement")
        _restore(state, then)
        raise
    await state.connection.execute("RELEASE SAVEPOINT statement")


__all__ = ["autocommit", "begin", "commit", "has_savepoint", "locks", "rollback", "rollback_to", "save", "statement"]
