"""adapter: blocking as SQL Server blocks.

How the compiler uses it, once per statement, after name resolution and before PostgreSQL sees the statement:

    if not await locks.before(state, reads, writes): compile again, for the catalogue changed while it waited
    sql += locks.clause(state, reads)      # a query whose rows are to be locked
    async with locks.reading(state, reads): run the query and fetch its rows

https://learn.microsoft.com/sql/relational-databases/sql-server-transaction-locking-and-row-versioning-guide
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tests.standin.engine import keys
from tests.standin.engine.model import State, TableInfo
from tests.standin.ports import Refused, SqlError

NOLOCK = frozenset({"NOLOCK", "READUNCOMMITTED"})
HOLDING = frozenset({"HOLDLOCK", "SERIALIZABLE", "REPEATABLEREAD"})
RANGES = frozenset({"HOLDLOCK", "SERIALIZABLE"})
UPDATING = frozenset({"UPDLOCK", "XLOCK"})
VERSIONS = frozenset({"SNAPSHOT"})
PLAIN = frozenset({
    "READCOMMITTED", "READCOMMITTEDLOCK", "ROWLOCK", "PAGLOCK", "TABLOCK", "TABLOCKX", "NOWAIT", "READPAST", "INDEX",
    "FORCESEEK", "FORCESCAN", "NOEXPAND", "KEEPIDENTITY",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Read:
    """A table in FROM. `key`: SQL expressions of PostgreSQL for its full primary key, with `arguments` for their $1, $2.

    `alias`: of the table in the compiled query, for the locking clause.
    """

    table: TableInfo
    alias: str = ""
    hints: tuple[str, ...] = ()
    key: tuple[str, ...] | None = None
    arguments: tuple[object, ...] = ()

    @property
    def words(self) -> frozenset[str]:
        """The hints' first words: INDEX (ix) is INDEX."""
        return frozenset(hint.split("(")[0].strip().upper() for hint in self.hints)


async def before(state: State, reads: Sequence[Read], writes: Sequence[TableInfo]) -> bool:
    """Waits as SQL Server would for others' uncommitted work on these tables, and takes the locks that hints ask for.

    False: the catalogue changed meanwhile. Raises SqlError 1222, 1205, 3951, 3952, 3961, 3906.
    """
    reads = [read for read in reads if not read.table.temporary]
    writes = [table for table in writes if not table.temporary]
    _admitted(state, reads, writes)
    if not await _settled(state, reads, writes):
        return False
    await _settings(state)
    for read in reads:
        await _lock(state, read)
    state.database.locks.write(state.spid, [table.object_id for table in writes])
    return True


def _admitted(state: State, reads: Sequence[Read], writes: Sequence[TableInfo]) -> None:
    for read in reads:
        unknown = read.words - NOLOCK - HOLDING - UPDATING - VERSIONS - PLAIN
        if unknown:
            raise Refused(f"the table hint {', '.join(sorted(unknown))}")
    options = state.database.options
    if state.isolation == "SNAPSHOT" and (reads or writes):
        if state.connection.is_in_transaction() and not state.snapshot:
            raise _not_in_snapshot(state)
        if not options.snapshot:
            raise _snapshot_not_allowed(state)
    if writes and (options.read_only or options.secondary):
        raise SqlError(3906, f'Failed to update database "{state.database.name}" because the database is read-only.', state=1)


def _not_in_snapshot(state: State) -> SqlError:
    return SqlError(
        3951,
        f"Transaction failed in database '{state.database.name}' because the statement was run under snapshot "
        "isolation but the "
        "transaction did not start in snapshot isolation. You cannot change the isolation level of the transaction to snapshot "
        "after the transaction has started unless the transaction was originally started under snapshot isolation level.",
    )


def _snapshot_not_allowed(state: State) -> SqlError:
    return SqlError(
        3952,
        f"Snapshot isolation transaction failed accessing database '{state.database.name}' because snapshot isolation is not "
        "allowed in this database. Use ALTER DATABASE to allow snapshot isolation.",
    )


async def _settled(state: State, reads: Sequence[Read], writes: Sequence[TableInfo]) -> bool:
    """No uncommitted DDL of others on the tables, and the catalogue that was compiled with still holds."""
    tables = [read.table for read in reads] + list(writes)
    ids = [table.object_id for table in tables]
    locks = state.database.locks
    if locks.alterers(state.spid, ids):
        await locks.wait(state, ids, rows=False)
    now = state.database.catalogue
    if state.snapshot:
        _unchanged(state, tables)
        return True
    if state.catalogue.generation >= now.generation:
        return True
    state.catalogue = now
    current = {table.object_id: table.shape for table in now.tables.values()}
    return all(current.get(table.object_id) == table.shape for table in tables)


def _unchanged(state: State, tables: Sequence[TableInfo]) -> None:
    """Raises SqlError 3961 when DDL was committed on a table since the transaction began."""
    current = {table.object_id: table.shape for table in state.database.catalogue.tables.values()}
    own = state.database.locks.altered.get(state.spid, set())
    for table in tables:
        if table.object_id not in own and current.get(table.object_id) != table.shape:
            raise SqlError(
                3961,
                f"Snapshot isolation transaction failed in database '{state.database.name}' because the object accessed by the "
                "statement has been modified by a DDL statement in another concurrent transaction since the start of this "
                "transaction.  It is disallowed because the metadata is not versioned. A concurrent update to metadata can "
                "lead to inconsistency if mixed with snapshot isolation.",
            )


async def _settings(state: State) -> None:
    """LOCK_TIMEOUT, and who of a deadlock notices it first and is its victim: the session with the lower priority."""
    wanted = (state.lock_timeout, state.deadlock_priority)
    if state.settings == wanted:
        return
    timeout = 0 if state.lock_timeout < 0 else max(state.lock_timeout, 1)
    patience = (
        200 + 100 * state.deadlock_priority if state.deadlock_priority > 0 else 200 + 19 * max(state.deadlock_priority, -10)
    )
    await state.connection.execute(
        "SELECT set_config('lock_timeout', $1, false), set_config('deadlock_timeout', $2, false)",
        f"{timeout}ms",
        f"{patience}ms",
    )
    state.settings = wanted  # a rollback takes them back, and storage.py this with them


# -- locks of one table ------------------------------------------------------------------------------------------------------


def _versioned(state: State, read: Read) -> bool:
    """Reads committed versions and waits for nobody."""
    if state.snapshot:
        return True
    by_option = state.database.options.read_committed_snapshot and "READCOMMITTEDLOCK" not in read.words
    return by_option and state.isolation == "READ COMMITTED" and not read.words & HOLDING


async def _lock(state: State, read: Read) -> None:
    words = read.words
    if words & {"TABLOCKX"} or ({"TABLOCK", "XLOCK"} <= words):
        await state.connection.execute(f"LOCK TABLE {read.table.stored} IN EXCLUSIVE MODE")
        state.database.locks.write(state.spid, [read.table.object_id])
        return
    holding = bool(words & HOLDING) or (state.isolation in ("REPEATABLE READ", "SERIALIZABLE") and not words & NOLOCK)
    ranges = bool(words & RANGES) or (state.isolation == "SERIALIZABLE" and not words & NOLOCK)
    if words & UPDATING or (holding and not state.snapshot):
        await _hold(state, read, ranges=ranges)
        return
    if words & NOLOCK or state.isolation == "READ UNCOMMITTED" or _versioned(state, read):
        return
    await _wait_for_writers(state, read)


async def _hold(state: State, read: Read, *, ranges: bool) -> None:
    """To the end of the transaction: the row of a full key and its gap, or for a range the whole table."""
    exclusive = bool(read.words & UPDATING)
    if read.key is not None and keys.lockable(read.table):
        if ranges:
            await state.connection.execute(
                f"SELECT standin.hold_key({read.table.object_id}, {_text(read)}, '{'X' if exclusive else 'S'}')",
                *read.arguments,
            )
        await state.connection.execute(_row(read, _strength(read)), *read.arguments)
    elif ranges:
        mode = "SHARE ROW EXCLUSIVE" if exclusive else "SHARE"
        await state.connection.execute(f"LOCK TABLE {read.table.stored} IN {mode} MODE")
    elif not exclusive:
        await state.connection.execute(f"LOCK TABLE {read.table.stored} IN SHARE MODE")
    if "XLOCK" in read.words:
        state.database.locks.write(state.spid, [read.table.object_id])


def _strength(read: Read) -> str:
    if "XLOCK" in read.words:
        return "FOR UPDATE"
    return "FOR NO KEY UPDATE" if "UPDLOCK" in read.words else "FOR SHARE"


def _text(read: Read) -> str:
    assert read.key is not None
    return keys.key_text(read.table.key, read.key)


def _row(read: Read, strength: str) -> str:
    assert read.key is not None
    stored = [c.stored for c in read.table.key]
    more = _manner(read)
    return f"SELECT FROM {read.table.stored} WHERE {keys.equal(read.table.key, stored, read.key)} {strength}{more}"


def _manner(read: Read) -> str:
    return " NOWAIT" if "NOWAIT" in read.words else " SKIP LOCKED" if "READPAST" in read.words else ""


async def _wait_for_writers(state: State, read: Read) -> None:
    """READ COMMITTED: until nobody has uncommitted changes of what is read: of the row of a full key, or of the table."""
    locks = state.database.locks
    if not locks.writers(state.spid, [read.table.object_id]) or "READPAST" in read.words:
        return
    if "NOWAIT" in read.words:
        raise SqlError(1222, "Lock request time out period exceeded.", state=45)
    if read.key is None or not keys.lockable(read.table):
        await locks.wait(state, [read.table.object_id], rows=True)
        return
    async with _released(state):
        await state.connection.execute(f"SELECT standin.hold_key({read.table.object_id}, {_text(read)}, 'S')", *read.arguments)
        await state.connection.execute(_row(read, "FOR SHARE"), *read.arguments)


@contextlib.asynccontextmanager
async def _released(state: State) -> AsyncIterator[None]:
    """The locks taken inside are released at its end, the snapshot stays."""
    if not state.connection.is_in_transaction():
        await state.connection.execute("BEGIN")
        try:
            yield
        finally:
            await state.connection.execute("ROLLBACK")
        return
    await state.connection.execute("SAVEPOINT reading")
    try:
        yield
    finally:
        await state.connection.execute("ROLLBACK TO SAVEPOINT reading; RELEASE SAVEPOINT reading")


def clause(state: State, reads: Sequence[Read]) -> str:
    """` FOR NO KEY UPDATE OF a` and the like, or "". Only for a query without grouping; see `before` for the others."""
    clauses = []
    for read in reads:
        if read.words & UPDATING and not read.table.temporary and not read.words & {"TABLOCKX"}:
            clauses.append(f" {_strength(read)} OF {read.alias}{_manner(read)}")
        elif "READPAST" in read.words and not read.table.temporary:
            clauses.append(f" FOR KEY SHARE OF {read.alias} SKIP LOCKED")
    return "".join(clauses)


def needs_clause(reads: Sequence[Read]) -> bool:
    """Whether `clause` must be appended for the locks to hold: a grouped query with these reads is refused."""
    return any(
        (read.words & UPDATING and read.key is None and not read.words & (RANGES | {"TABLOCKX"})) or "READPAST" in read.words
        for read in reads
        if not read.table.temporary
    )


@contextlib.asynccontextmanager
async def reading(state: State, reads: Sequence[Read]) -> AsyncIterator[None]:
    """Around a query's execution: in PostgreSQL a reader keeps its tables from being altered until its transaction ends.

    In SQL Server it does not, so what the query took is released. Not for queries that lock rows.
    """
    locking = any(read.words & (UPDATING | {"READPAST"}) for read in reads)
    if locking or not state.connection.is_in_transaction():
        yield
        return
    async with _released(state):
        yield
