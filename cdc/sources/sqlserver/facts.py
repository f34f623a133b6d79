"""adapter: what decides whether a window may be read, asked in the window's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cdc.errors import AgentError, CompanyStopped
from cdc.model import Dataset, Position, TableState, Witness
from cdc.sources.sqlserver.connection import Connection
from cdc.sources.sqlserver.failures import failure_of
from cdc.sources.sqlserver.parameters import binary, integer
from cdc.sources.sqlserver.statements import static

INVALID_OBJECT = 208  # error number
NOT_INSTALLED = "the product's own tables in the schema erp_cdc are not there"


class Seen(NamedTuple):
    """The last line of the witness log when it was last read; what is written must come behind it."""

    seq: int | None = None
    nonce: bytes | None = None


class Own(NamedTuple):
    """What our structures say."""

    incarnation: bytes
    found: bool  # the position's nonce is in the log
    oldest: int | None  # version of the oldest line of the position's incarnation
    seen: Seen


class Tracked(NamedTuple):
    """A table of change tracking; `begin_version` is None where it is not tracked."""

    object_id: int
    schema: str
    table: str
    modified: str
    begin_version: int | None
    min_valid: int | None

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """As `catalogue.Named.identity`."""
        return self.object_id, self.schema, self.table, self.modified

    def state(self, dataset: str) -> TableState:
        """As the port says it."""
        valid = self.min_valid if self.begin_version is not None else None
        return TableState(dataset, str(self.object_id), self.begin_version or 0, valid)


async def own(connection: Connection, position: Position | None, where: str) -> Own:
    """Raises CompanyStopped A2205 where our structures are missing or damaged."""
    known = (position.incarnation, position.nonce) if position else (None, None)
    try:
        rows = await connection.execute(static("own"), tuple(binary(_sixteen(id_), 16) for id_ in known))
    except AgentError as error:
        raise missing(error, where) from error
    incarnation, found, oldest, last, last_nonce = rows[0]
    if incarnation is None:
        raise CompanyStopped("A2205", "the incarnation is missing among the product's own tables", where=where)
    seen = Seen(None if last is None else int(last), None if last_nonce is None else bytes(last_nonce))
    return Own(bytes(incarnation), bool(found), None if oldest is None else int(oldest), seen)


def _sixteen(id_: bytes | None) -> bytes | None:
    """Ids have 16 bytes; of what a foreign position holds, the beginning is enough to find nothing."""
    return None if id_ is None else id_[:16].ljust(16, b"\0")


def missing(error: AgentError, where: str) -> AgentError:
    """A table that is not there is, in a statement on our structures, one of ours."""
    failure = failure_of(error)
    if failure is None or failure.number != INVALID_OBJECT:
        return error
    return CompanyStopped("A2205", NOT_INSTALLED, where=where)


def verdict(found: Own, version: int, position: Position | None) -> Witness:
    """What the log says of a position."""
    if position is None:
        return Witness.FOUND
    if position.incarnation != found.incarnation or position.version > version:
        return Witness.FOREIGN
    if found.found:
        return Witness.FOUND
    return Witness.UNPROVEN if found.oldest is not None and position.version < found.oldest else Witness.FOREIGN


async def tracked(connection: Connection) -> dict[int, Tracked]:
    """Every tracked table of the database that the agent's user may see."""
    rows = await connection.execute(static("tracked"))
    return {line.object_id: line for line in map(_tracked, rows)}


async def tracked_one(connection: Connection, object_id: int) -> Tracked | None:
    """One table, tracked or not; None: it is gone, or the agent's user may not see it."""
    rows = await connection.execute(static("tracked_table"), (integer(object_id),))
    return _tracked(rows[0]) if rows else None


def _tracked(row: Sequence[Any]) -> Tracked:
    begin, valid = (None if cell is None else int(cell) for cell in row[4:6])
    return Tracked(int(row[0]), str(row[1]), str(row[2]), str(row[3]), begin, valid)


def untracked(dataset: Dataset) -> TableState:
    """A dataset whose table is not tracked, or not to be seen."""
    return TableState(dataset.name, "", 0, None)
