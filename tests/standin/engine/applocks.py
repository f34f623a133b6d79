"""adapter: application locks: sp_getapplock and sp_releaseapplock. They are held by sessions or transactions.

https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from weakref import WeakKeyDictionary

MODES = ("Shared", "Exclusive")  # the others are refused
SESSION, TRANSACTION = "Session", "Transaction"


@dataclass(slots=True)
class Held:
    """Session `spid` holds `resource` so many times."""

    spid: int
    resource: str
    mode: str
    owner: str
    count: int = 1


class AppLocks:
    """Of one database."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self._moved = asyncio.Event()

    async def get(self, spid: int, resource: str, mode: str, owner: str, wait: float) -> int:
        """0: granted at once, 1: after waiting, -1: not within `wait` seconds (below 0: waits without end)."""
        deadline = asyncio.get_running_loop().time() + wait
        waited = False
        while self._conflicts(spid, resource, mode):
            left = None if wait < 0 else deadline - asyncio.get_running_loop().time()
            if left is not None and left <= 0:
                return -1
            waited = True
            try:
                await asyncio.wait_for(self._moved.wait(), left)
            except TimeoutError:
                return -1
        self._note(spid, resource, mode, owner)
        return 1 if waited else 0

    def _conflicts(self, spid: int, resource: str, mode: str) -> bool:
        others = [held for held in self.held if held.resource == resource and held.spid != spid]
        return any("Exclusive" in (mode, held.mode) for held in others)

    def _note(self, spid: int, resource: str, mode: str, owner: str) -> None:
        for held in self.held:
            if (held.spid, held.resource, held.mode, held.owner) == (spid, resource, mode, owner):
                held.count += 1
                return
        self.held.append(Held(spid, resource, mode, owner))

    def release(self, spid: int, resource: str, owner: str) -> bool:
        """Gives back one hold; False if there is none."""
        mine = [held for held in self.held if (held.spid, held.resource, held.owner) == (spid, resource, owner)]
        if not mine:
            return False
        mine[-1].count -= 1
        if not mine[-1].count:
            self.held.remove(mine[-1])
            self._wake()
        return True

    def ended(self, spid: int, owner: str = "") -> None:
        """The session's transaction, or the session itself (owner ""), has ended."""
        kept = [held for held in self.held if held.spid != spid or (owner and held.owner != owner)]
        if len(kept) < len(self.held):
            self.held = kept
            self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


_databases: WeakKeyDictionary[object, AppLocks] = WeakKeyDictionary()


def of(database: object) -> AppLocks:
    """The locks of a database."""
    return _databases.setdefault(database, AppLocks())
