"""adapter: who has uncommitted work on which table, and waiting for it: what PostgreSQL's readers never do.

SQL Server's readers wait for uncommitted writers unless they read versions, and everybody waits for uncommitted DDL.
PostgreSQL knows only waits between writers, so these waits are kept here; a cycle through both is found by asking
PostgreSQL who blocks whom.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.standin.ports import SqlError

if TYPE_CHECKING:
    from tests.standin.engine.database import Database
    from tests.standin.engine.model import State

LOOK = 0.1  # seconds between looks for a deadlock


def timed_out() -> SqlError:
    """LOCK_TIMEOUT has passed."""
    return SqlError(1222, "Lock request time out period exceeded.", state=51)


def victim(spid: int) -> SqlError:
    """Chosen to end a deadlock."""
    return SqlError(
        1205,
        f"Transaction (Process ID {spid}) was deadlocked on lock resources with another process and has been chosen as the "
        "deadlock victim. Rerun the transaction.",
        severity=13,
        state=51,
    )


class Locks:
    """Of one database; object ids by session. A session's entries last until its transaction ends (`release`)."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.written: dict[int, set[int]] = {}  # spid: tables
        self.altered: dict[int, set[int]] = {}
        self._waiting: dict[int, set[int]] = {}  # spid: who it waits for
        self._victims: set[int] = set()  # chosen, and not yet rolled back
        self._moved = asyncio.Event()

    def write(self, spid: int, tables: Iterable[int]) -> None:
        """The session's transaction changes rows of these tables."""
        self.written.setdefault(spid, set()).update(tables)

    def alter(self, spid: int, tables: Iterable[int]) -> None:
        """The session's transaction changes these tables themselves."""
        self.altered.setdefault(spid, set()).update(tables)

    def release(self, spid: int) -> None:
        """The session's transaction has ended."""
        self.written.pop(spid, None)
        self.altered.pop(spid, None)
        self._victims.discard(spid)
        self._moved.set()
        self._moved = asyncio.Event()

    def writers(self, spid: int, tables: Iterable[int]) -> set[int]:
        """Other sessions with uncommitted changes in these tables."""
        return _others(self.written, spid, set(tables))

    def alterers(self, spid: int, tables: Iterable[int]) -> set[int]:
        """Other sessions that have altered these tables and not committed."""
        return _others(self.altered, spid, set(tables))

    async def wait(self, state: State, tables: Iterable[int], *, rows: bool) -> bool:
        """Until no other session has uncommitted DDL (`rows`: or changed rows) on the tables; True if it had to wait.

        Raises SqlError 1222, 1205.
        """
        wanted, waited, passed = set(tables), False, 0.0
        while blockers := self._blockers(state.spid, wanted, rows):
            if 0 <= state.lock_timeout <= passed * 1000:
                raise timed_out()
            waited = True
            self._waiting[state.spid] = blockers
            try:
                passed += await self._pause(state, passed)
                await self._break_deadlock(state.spid)
            finally:
                self._waiting.pop(state.spid, None)
        return waited

    def _blockers(self, spid: int, tables: set[int], rows: bool) -> set[int]:
        found = self.alterers(spid, tables)
        return found | self.writers(spid, tables) if rows else found

    async def _pause(self, state: State, passed: float) -> float:
        left = LOOK if state.lock_timeout < 0 else min(LOOK, max(0.001, state.lock_timeout / 1000 - passed))
        begin = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), left)
        return asyncio.get_running_loop().time() - begin

    async def _break_deadlock(self, spid: int) -> None:
        blocked = await self._blocked_in_postgres()
        # From here on nothing is awaited: of a cycle only one session can be chosen.
        edges = {waiter: set(blockers) for waiter, blockers in self._waiting.items() if waiter not in self._victims}
        for waiter, blockers in blocked.items():
            edges.setdefault(waiter, set()).update(blockers)
        if spid in self._waiting and _reaches(edges, spid, spid):
            self._victims.add(spid)
            raise victim(spid)

    async def _blocked_in_postgres(self) -> dict[int, set[int]]:
        spids = {s.connection.get_server_pid(): s.spid for s in self.database.sessions() if not s.connection.is_closed()}
        async with self.database.maintenance() as connection:
            rows = await connection.fetch("SELECT pid, pg_blocking_pids(pid) AS by FROM pg_locks WHERE NOT granted")
        return {spids[row["pid"]]: {spids[pid] for pid in row["by"] if pid in spids} for row in rows if row["pid"] in spids}


def _others(entries: dict[int, set[int]], spid: int, tables: set[int]) -> set[int]:
    return {other for other, theirs in entries.items() if other != spid and theirs & tables}


def _reaches(edges: dict[int, set[int]], start: int, goal: int) -> bool:
    seen: set[int] = set()
    ahead = list(edges.get(start, ()))
    while ahead:
        spid = ahead.pop()
        if spid == goal:
            return True
        if spid not in seen:
            seen.add(spid)
            ahead.extend(edges.get(spid, ()))
    return False
