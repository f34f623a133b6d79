"""pure: the one table of the API's operations. `cloud.api` makes the routes from it, `cloud.openapi` the document."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from cloud.documents import (
    CURSOR_PATTERN,
    KEY_PATTERN,
    MAX_KEY_TEXT,
    NAME_PATTERN,
    ChangePage,
    CursorAnswer,
    DatasetDocument,
    DatasetList,
    RowAnswer,
    RowPage,
    WithheldList,
)

PREFIX = "/api/v1"
JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
EVENTS = "text/event-stream"
READ = "read"  # the scope that every operation of this version asks for
MAX_LIMIT = 1_000
MAX_WAIT = 30  # seconds
MAX_FILTER = 40  # datasets named in one request

STATUS = {
    "C3301": 404,
    "C3302": 405,
    "C3303": 401,
    "C3304": 403,
    "C3305": 403,
    "C3306": 400,
    "C3307": 404,
    "C3308": 404,
    "C3309": 410,
    "C3310": 410,
    "C3311": 431,
    "C3312": 500,
    "C3313": 503,
    "C3314": 503,
    "C3315": 429,
    "C3316": 414,
}
"""The HTTP status of each code of the API."""

ANYWHERE = ("C3306", "C3311", "C3312", "C3316")
"""Codes that every operation may answer with."""

GUARDED = ("C3303", "C3304", "C3305", "C3313")
"""Codes of every operation that asks for a token."""

Name = Annotated[
    str,
    msgspec.Meta(pattern=NAME_PATTERN, description="a-z, 0-9 and _, a letter first, 40 at most", examples=["employees"]),
]
KeyText = Annotated[
    str,
    msgspec.Meta(pattern=KEY_PATTERN, max_length=MAX_KEY_TEXT, description="a key from an earlier answer", examples=["kQE"]),
]
CursorText = Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN, description="a cursor from an earlier answer", examples=["0"])]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT, description="at most so many; an answer may hold fewer")]
Wait = Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT, description="seconds to wait for a change when there is none")]
Filter = Annotated[list[Name], msgspec.Meta(max_length=MAX_FILTER, description="these datasets only; may be repeated")]


class NoParameters(msgspec.Struct, frozen=True):
    """Nothing to say."""


class DatasetRequest(msgspec.Struct, frozen=True):
    """One dataset."""

    dataset: Name


class RowsRequest(msgspec.Struct, frozen=True):
    """A page of rows."""

    dataset: Name
    after: KeyText | None = None
    limit: Limit = 100


class RowRequest(msgspec.Struct, frozen=True):
    """One row."""

    dataset: Name
    key: KeyText


class ChangesRequest(msgspec.Struct, frozen=True):
    """A page of changes."""

    after: CursorText
    limit: Limit = 100
    dataset: Filter = []
    wait: Wait = 0


class StreamRequest(msgspec.Struct, frozen=True):
    """A stream of changes."""

    after: CursorText | None = None
    dataset: Filter = []
    last_event_id: Annotated[
        CursorText | None,
        msgspec.Meta(extra={"in": "header"}, description="the last event's `id`; stands above `after`"),
    ] = msgspec.field(default=None, name="Last-Event-ID")


class WithheldRequest(msgspec.Struct, frozen=True):
    """Rows that are withheld."""

    dataset: Name | None = None
    limit: Limit = 100


class Operation(NamedTuple):
    """One operation: enough to route it, to decode its parameters and to document it."""

    name: str
    method: str
    path: str
    summary: str
    request: type[msgspec.Struct]
    response: type[msgspec.Struct] | None  # None: not described by a Struct
    codes: tuple[str, ...] = ()  # besides ANYWHERE and GUARDED
    media: str = JSON
    scope: str = READ  # "": open to everyone
    description: str = ""

    def every_code(self) -> list[str]:
        """All codes it may answer with."""
        return sorted({*ANYWHERE, *(GUARDED if self.scope else ()), *self.codes})

    def in_path(self, parameter: str) -> bool:
        """Whether the parameter is part of the path."""
        return f"{{{parameter}}}" in self.path


OPERATIONS = (
    Operation(
        name="list_datasets",
        method="GET",
        path=f"{PREFIX}/datasets",
        summary="Every dataset with its schema and state",
        request=NoParameters,
        response=DatasetList,
    ),
    Operation(
        name="get_dataset",
        method="GET",
        path=f"{PREFIX}/datasets/{{dataset}}",
        summary="One dataset with its schema and state",
        request=DatasetRequest,
        response=DatasetDocument,
        codes=("C3307",),
    ),
    Operation(
        name="list_rows",
        method="GET",
        path=f"{PREFIX}/datasets/{{dataset}}/rows",
        summary="Rows, page by page, in the order of their keys",
        request=RowsRequest,
        response=RowPage,
        codes=("C3307", "C3314"),
        description="Follow `next` until it is null. To keep a copy without a gap: take a cursor, page through the rows, then "
        "follow the changes after that cursor.",
    ),
    Operation(
        name="get_row",
        method="GET",
        path=f"{PREFIX}/datasets/{{dataset}}/rows/{{key}}",
        summary="One row by its key",
        request=RowRequest,
        response=RowAnswer,
        codes=("C3307", "C3308", "C3314"),
    ),
    Operation(
        name="list_changes",
        method="GET",
        path=f"{PREFIX}/changes",
        summary="Changes after a cursor, at once or as soon as there are some",
        request=ChangesRequest,
        response=ChangePage,
        codes=("C3307", "C3309", "C3310", "C3315"),
        description="An entry says that a row changed and shows it as it is now: several changes of one row show "
        "the same content. A `reset` replaces the entries of a dataset that was read anew.",
    ),
    Operation(
        name="stream_changes",
        method="GET",
        path=f"{PREFIX}/changes/stream",
        summary="Changes as server-sent events",
        request=StreamRequest,
        response=None,
        codes=("C3307", "C3309", "C3310", "C3315"),
        media=EVENTS,
        description="Events `upsert`, `delete` and `reset` carry a ChangeDocument as `data` and its cursor as `id`. Without "
        "`after` and Last-Event-ID it begins with what comes next. Now and then a comment keeps the connection alive, with the "
        "newest cursor as `id`. A client that does not read is cut off; it continues from its last `id`.",
    ),
    Operation(
        name="get_cursor",
        method="GET",
        path=f"{PREFIX}/cursor",
        summary="The newest cursor of the feed",
        request=NoParameters,
        response=CursorAnswer,
    ),
    Operation(
        name="list_withheld",
        method="GET",
        path=f"{PREFIX}/withheld",
        summary="Rows that could not be read, carried or stored, with the reason",
        request=WithheldRequest,
        response=WithheldList,
        codes=("C3307",),
    ),
    Operation(
        name="get_openapi",
        method="GET",
        path=f"{PREFIX}/openapi.json",
        summary="This document",
        request=NoParameters,
        response=None,
        scope="",
    ),
)
