"""pure: the port to one kind of ERP database. Every adapter passes the contract suite in `tests/contract/`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from cdc.model import Dataset, Description, Facts, Finding, Position, Schema
from transport.frames import Batch


class Pulse(NamedTuple):
    """What an idle poll compares; equal to the last one means: nothing was committed and no structure changed."""

    version: int
    structure: int


class Page(NamedTuple):
    """One page of a load, in key order of the source."""

    batches: list[Batch]
    after: bytes  # where the next page begins
    rows: int
    done: bool  # nothing follows


class Reader(Protocol):
    """One short read transaction: everything read through it is one state of the ERP."""

    async def facts(self, position: Position | None, datasets: Sequence[Dataset]) -> Facts:
        """Version, incarnation, the witness's verdict on `position`, and the state of each dataset's table."""
        ...

    async def changed(self, since: int, datasets: Sequence[Dataset]) -> dict[str, int]:
        """Datasets with changes after version `since`, with an upper bound of how many rows."""
        ...

    def changes(self, dataset: Dataset, schema: Schema, since: int) -> AsyncIterator[Batch]:
        """The net changes of a dataset after `since`: generation 0, each key once, at most ROWS_PER_READ rows a batch.

        A key that is there now is an upsert, one that is not (or no longer matches the filter) a delete; a row that cannot be
        read or carried is withheld.
        """
        ...

    async def page(self, dataset: Dataset, schema: Schema, generation: int, after: bytes, rows: int) -> Page:
        """The next `rows` rows at most after that key (b"": from the first)."""
        ...


ROWS_PER_READ = 2_000  # rows in memory at a time, before the byte limit splits them further


class Source(Protocol):
    """One ERP database. Raises the types of `cdc.errors`, which say who must act."""

    async def open(self) -> None:
        """Connects and checks that this is a database the product can serve."""
        ...

    async def close(self) -> None:
        """Idempotent; ends a running statement first."""
        ...

    async def pulse(self) -> Pulse:
        """Cheap: reads no table of the ERP."""
        ...

    async def describe(self, datasets: Sequence[Dataset]) -> list[Description]:
        """Each dataset with schema and fingerprint, or the reason why it cannot be carried; never raises for one of them."""
        ...

    def reader(self) -> AbstractAsyncContextManager[Reader]:
        """Opens the read transaction; blocks no writer of the ERP."""
        ...

    async def witness(self, position: Position, keep_from: int) -> None:
        """Appends (incarnation, version, nonce) to the ERP's own log, durably; entries below version `keep_from` may go."""
        ...

    async def install(self, datasets: Sequence[Dataset]) -> list[str]:
        """Creates or upgrades the product's structures in the ERP database; idempotent. Returns what was done, in words."""
        ...

    async def uninstall(self) -> list[str]:
        """Removes all of them. Returns what was done, in words."""
        ...

    async def repair(self, datasets: Sequence[Dataset]) -> list[str]:
        """Tracks again what was installed and lost its tracking (a rebuilt table); such a table gets a new begin version."""
        ...

    async def clean_up(self, retention: float) -> int:
        """Removes change records older than `retention` seconds; min valid versions follow. Returns how many."""
        ...

    async def new_incarnation(self) -> bytes:
        """A person said that this history is the real one: marks it as another incarnation. Returns its id."""
        ...

    async def inspect(self, datasets: Sequence[Dataset]) -> list[Finding]:
        """Everything a new installation gets wrong, for `cdc doctor`; raises nothing for what it can name."""
        ...


class Installable(Source, Protocol):
    """What `cdc install` can do beyond `Source.install`, where it is asked to: never by itself."""

    async def script(
        self, datasets: Sequence[Dataset], *, tracking: bool = False, retention: float = 0.0, snapshot: bool = False
    ) -> str:
        """Everything `install` (and `enable`, as asked) would do, as a script for a DBA. Connects to nothing.

        Raises AgentError A2320 where there is no such thing.
        """
        ...

    async def enable(self, datasets: Sequence[Dataset], *, tracking: bool, retention: float, snapshot: bool) -> list[str]:
        """Turns on change tracking (database and tables, kept for `retention` seconds) and snapshot isolation, as asked.

        Idempotent; needs an open source. Returns what was done, in words. Raises AgentError A2320 where there is no such thing.
        """
        ...
