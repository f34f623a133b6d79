"""pure: the ports to the machine (clock, randomness, threads, durable steps, links), passed in by the composition root."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Clock(Protocol):
    """Wall time for people and records, monotonic time for intervals."""

    def now(self) -> datetime:
        """The time in UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        ...


class Executor(Protocol):
    """Runs blocking calls, one after the other, off the event loop (or inline, in a simulation)."""

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`; a cancelled wait lets a call that has begun finish."""
        ...

    def close(self) -> None:
        """Lets a running call finish and ends the thread."""
        ...


class Link(Protocol):
    """One connection that carries whole messages in both directions."""

    async def send(self, data: bytes) -> None:
        """Hands one message over; raises ConnectionError once the link is gone."""
        ...

    async def receive(self) -> bytes | None:
        """The next message; None when the other side has ended the link."""
        ...

    def abort(self) -> None:
        """Ends the link at once and frees every blocked send and receive."""
        ...

    async def wait_closed(self) -> None:
        """Aborts it if need be; returns when nothing of it is left."""
        ...


class Durable(Protocol):
    """Marks one durable step (commit, fsync, replace) by name, so that tests can list them and kill between them."""

    def __call__(self, step: str) -> contextlib.AbstractContextManager[None]:
        """A context around the step itself."""
        ...


def unwatched(step: str) -> contextlib.AbstractContextManager[None]:
    """The `Durable` of production: nobody watches."""
    return contextlib.nullcontext()


class Runtime(msgspec.Struct, frozen=True):
    """Everything a part of the program may ask of the machine."""

    clock: Clock
    random: Random
    executor: Callable[[str], Executor]
    durable: Durable = unwatched

    def new_id(self) -> bytes:
        """16 random bytes."""
        return self.random.randbytes(16)
