"""shell: faults, barriers, clock and logs of the stand-in, set from outside over a loopback socket with JSON lines.

A request is one line `{"command": name, ...arguments}`, its answer one line `{"result": ...}` or `{"error": text}`.
The commands are the methods `do_*` of `Commands`. Client: control_client.py.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.standin.ports import Login, Request, SqlError, Verdict

if TYPE_CHECKING:
    from tests.standin.engine.database import Engine


@dataclass(slots=True)
class Rule:
    """What happens at the `nth` match (counted from 1) and the matches after it, `times` in all (0: for ever).

    `match`: a regular expression searched in the SQL text (of a login: in the user's name). Exactly what is set happens.
    """

    match: str
    name: str = ""
    nth: int = 1
    times: int = 1
    database: str = ""
    login: bool = False
    error: dict[str, Any] | None = None  # number, and maybe message, severity, state
    delay: float = 0.0  # seconds
    barrier: str = ""
    cut_after_rows: int | None = None
    kill: bool = False
    replay: str = ""
    seen: int = 0
    done: int = 0

    def applies(self, text: str, database: str) -> bool:
        """Counts a match; True when it is one at which something happens."""
        if self.database and self.database.casefold() != database.casefold():
            return False
        if not re.search(self.match, text, re.IGNORECASE | re.DOTALL):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times and self.done >= self.times):
            return False
        self.done += 1
        return True

    def fault(self) -> SqlError | None:
        """The error to be answered."""
        if self.error is None:
            return None
        number = int(self.error["number"])
        message = str(self.error.get("message", MESSAGES.get(number, f"Injected error {number}.")))
        severity = int(self.error.get("severity", SEVERITIES.get(number, 16)))
        return SqlError(number, message, severity=severity, state=int(self.error.get("state", 1)))


SEVERITIES = {1205: 13, 18456: 14, 4060: 11, 596: 21, 233: 20, 976: 14, 983: 14}
MESSAGES = {
    1205: "Transaction was deadlocked on lock resources with another process and has been chosen as the deadlock victim. "
    "Rerun the transaction.",
    1222: "Lock request time out period exceeded.",
    3960: "Snapshot isolation transaction aborted due to update conflict.",
    3961: "Snapshot isolation transaction failed because the object accessed by the statement has been modified by a DDL "
    "statement in another concurrent transaction since the start of this transaction.",
    18456: "Login failed.",
    22117: "Change tracking is not available on a secondary replica.",
}


@dataclass(slots=True)
class Barrier:
    """Where a request waits: `waiting` requests are there now, `reached` says whether one ever was."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    resumed: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0


class Control:
    """See ports.Controller."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rules: list[Rule] = []
        self.barriers: dict[str, Barrier] = {}
        self.log: Counter[str] = Counter()
        self.refusals: list[dict[str, Any]] = []
        self.cutters: dict[int, Callable[[], None]] = {}  # the wire's: ends the connection of a session at once
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    # -- what the wire and the engine tell -----------------------------------------------------------------------------------

    async def received(self, spid: int, request: Request) -> Verdict:
        """Logs the request, waits at a barrier if one matches, and returns what is to happen."""
        self.log[request.sql] += 1
        state = self.engine.sessions.get(spid)
        verdict = Verdict()
        for rule in [rule for rule in self.rules if not rule.login]:
            if rule.applies(request.sql, state.database.name if state else ""):
                verdict.notes.append(rule.name or rule.match)
                await self._apply(rule, verdict)
        return verdict

    async def _apply(self, rule: Rule, verdict: Verdict) -> None:
        if rule.barrier:
            await self._wait(rule.barrier)
        verdict.error = rule.fault() or verdict.error
        verdict.delay += rule.delay
        verdict.kill = verdict.kill or rule.kill
        verdict.replay = rule.replay or verdict.replay
        if rule.cut_after_rows is not None:
            verdict.cut_after_rows = rule.cut_after_rows

    async def _wait(self, name: str) -> None:
        barrier = self.barrier(name)
        barrier.waiting += 1
        barrier.reached.set()
        try:
            await barrier.resumed.wait()
        finally:
            barrier.waiting -= 1

    def barrier(self, name: str) -> Barrier:
        """By name; made when it is asked for."""
        return self.barriers.setdefault(name, Barrier())

    async def login(self, login: Login) -> None:
        """Raises the error of a login rule that matches, after its delay and barrier."""
        for rule in [rule for rule in self.rules if rule.login]:
            if rule.applies(login.user, login.database):
                verdict = Verdict()
                await self._apply(rule, verdict)
                await asyncio.sleep(verdict.delay)
                if verdict.error is not None:
                    raise verdict.error

    def refused(self, spid: int, sql: str, error: SqlError) -> None:
        """Notes that something was asked that is not emulated."""
        self.refusals.append({"spid": spid, "sql": sql, "number": error.number, "message": error.message})

    def cut(self, spid: int) -> None:
        """Ends the connection of a killed session, if the wire has said how (`cutters`)."""
        cutter = self.cutters.pop(spid, None)
        if cutter is not None:
            cutter()

    # -- the channel ---------------------------------------------------------------------------------------------------------

    async def serve(self, port: int = 0) -> int:
        """Listens on the loopback interface; the port."""
        self._server = await asyncio.start_server(self._client, "127.0.0.1", port, limit=2**24)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Frees everyone who waits at a barrier and stops listening. Idempotent."""
        for barrier in self.barriers.values():
            barrier.resumed.set()
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the server ends
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            arguments = json.loads(line)
            command = getattr(Commands(self), "do_" + arguments.pop("command"))
            return {"result": await command(**arguments)}
        except Exception as error:  # noqa: BLE001 (the boundary of a request: the client gets it)
            return {"error": f"{type(error).__name__}: {error}"}


class Commands:
    """What the channel understands: `do_<command>` with the arguments of the line."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.engine = control.engine

    async def do_add(self, **rule: Any) -> int:
        """Adds a rule; the number of rules."""
        made = Rule(**rule)
        re.compile(made.match)
        if made.barrier:
            self.control.barriers[made.barrier] = Barrier()
        self.control.rules.append(made)
        return len(self.control.rules)

    async def do_remove(self, name: str = "") -> int:
        """Removes the rules of a name, or all; frees who waits at their barriers. The number removed."""
        gone = [rule for rule in self.control.rules if not name or rule.name == name]
        self.control.rules = [rule for rule in self.control.rules if rule not in gone]
        for rule in gone:
            if rule.barrier:
                self.control.barrier(rule.barrier).resumed.set()
        return len(gone)

    async def do_rules(self) -> list[dict[str, Any]]:
        """The rules with their counts."""
        return [asdict(rule) for rule in self.control.rules]

    async def do_wait(self, barrier: str, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 (an argument of the channel)
        """Waits until a request stands at the barrier; False when none came in time."""
        try:
            await asyncio.wait_for(self.control.barrier(barrier).reached.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def do_resume(self, barrier: str) -> None:
        """Lets who waits at the barrier go on, and everyone after."""
        self.control.barrier(barrier).resumed.set()

    async def do_sessions(self) -> list[dict[str, Any]]:
        """The sessions."""
        return [
            {
                "spid": state.spid,
                "user": state.login.user,
                "database": state.database.name,
                "application": state.login.application,
                "transaction": bool(state.trancount),
            }
            for state in self.engine.sessions.values()
        ]

    async def do_kill(self, spid: int | None = None, database: str = "", application: str = "") -> list[int]:
        """Kills a session, or all of a database or application; who was killed."""
        victims = [
            state.spid
            for state in self.engine.sessions.values()
            if (spid is None or state.spid == spid)
            and (not database or state.database.name.casefold() == database.casefold())
            and (not application or state.login.application == application)
        ]
        return [victim for victim in victims if await self._killed(victim)]

    async def _killed(self, spid: int) -> bool:
        """False: it ended by itself meanwhile."""
        try:
            await self.engine.kill(spid)
        except SqlError:
            return False
        return True

    async def do_clock(self, seconds: float) -> str:
        """Moves the server's clock by so many seconds; automatic clean-up runs. The new time."""
        from tests.standin.engine import cleanup

        await cleanup.move_clock(self.engine, seconds)
        return self.engine.now().isoformat()

    async def do_cleanup(self, database: str, version: int | None = None, age: float | None = None) -> int:
        """Cleans change tracking up to a version, older than an age in seconds, or else all; the new oldest valid version."""
        from tests.standin.engine import cleanup

        return await cleanup.force(self.engine, database, version, age)

    async def do_mistell(self, database: str) -> None:
        """The changes so far are told as deletes, whatever they were."""
        from tests.standin.engine import cleanup

        await cleanup.mistell(self.engine, database)

    async def do_set(self, option: str, value: Any, database: str = "") -> None:
        """Options: versions (snapshot|live), product_version, edition, engine_edition, server_name; per database: secondary."""
        target = self.engine.emulated if not database else self._database(database).options
        if not hasattr(target, option):
            raise KeyError(option)
        setattr(target, option, value)

    def _database(self, name: str) -> Any:
        database = self.engine.database(name)
        if database is None:
            raise KeyError(name)
        return database

    async def do_log(self, match: str = "") -> list[tuple[str, int]]:
        """The distinct texts received, with how often each was."""
        return [(sql, count) for sql, count in self.control.log.items() if re.search(match, sql, re.IGNORECASE | re.DOTALL)]

    async def do_dump(self, path: str) -> int:
        """Writes the distinct texts to a file, a JSON string a line; how many."""
        texts = list(self.control.log)
        await asyncio.to_thread(_write, path, texts)
        return len(texts)

    async def do_clear(self) -> None:
        """Forgets the log and the refusals, and removes all rules."""
        await self.do_remove()
        self.control.log.clear()
        self.control.refusals.clear()

    async def do_refused(self, reset: bool = False) -> list[dict[str, Any]]:
        """What was asked that is not emulated."""
        found = list(self.control.refusals)
        if reset:
            self.control.refusals.clear()
        return found


def _write(path: str, texts: list[str]) -> None:
    with Path(path).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
