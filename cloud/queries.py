"""pure: the questions applications ask, put to the store port. Blocking: called in the company's reading thread.

A page ends at its limit or at its byte budget, whichever comes first, so that wide rows cannot fill the memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from cloud.documents import (
    ChangeDocument,
    ChangePage,
    CursorAnswer,
    DatasetDocument,
    DatasetList,
    RowAnswer,
    RowDocument,
    RowPage,
    SchemaMoved,
    WithheldList,
    as_of,
    change_document,
    dataset_document,
    from_text,
    row_document,
    withheld_document,
)
from cloud.errors import ApiError
from cloud.routes import ChangesRequest, DatasetRequest, NoParameters, RowRequest, RowsRequest, WithheldRequest
from cloud.store.base import Change, CompanyStore, DatasetState, Row

PAGE_BYTES = 4 << 20  # JSON of one answer aims at no more
FIRST_READ = 16  # rows read before their size is known

ATTEMPTS = 5  # a schema is replaced once in months; twice within one request does not happen

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
D = TypeVar("D", bound=msgspec.Struct)


def list_datasets(store: CompanyStore, _: NoParameters) -> DatasetList:
    """Show all of them."""
    return DatasetList([dataset_document(state) for state in store.datasets()])


def get_dataset(store: CompanyStore, wanted: DatasetRequest) -> DatasetDocument:
    """Show one. Raises ApiError."""
    return dataset_document(_dataset(store, wanted.dataset))


def list_rows(store: CompanyStore, wanted: RowsRequest) -> RowPage:
    """Show a page of rows. Raises ApiError."""
    token, state = _visible(store, wanted.dataset)
    after = _key("after", wanted.after) if wanted.after else b""

    def read(last: Row | None, count: int) -> Sequence[Row]:
        return store.rows(wanted.dataset, last.key if last else after, count)

    rows: list[RowDocument] = []
    full = _fill(rows, read, lambda row: row_document(state.schema, row), wanted.limit)
    return RowPage(dataset=state.name, state=state.state, as_of=token, rows=rows, next=rows[-1].key if full else None)


def get_row(store: CompanyStore, wanted: RowRequest) -> RowAnswer:
    """Show one row. Raises ApiError."""
    token, state = _visible(store, wanted.dataset)
    row = store.row(wanted.dataset, _key("key", wanted.key))
    if row is None:
        raise ApiError("C3308", "there is no row with this key", where=wanted.dataset)
    return RowAnswer(dataset=state.name, as_of=token, row=row_document(state.schema, row))


def list_changes(store: CompanyStore, wanted: ChangesRequest) -> ChangePage:
    """Show a page of changes. Raises ApiError."""
    newest = store.cursor()  # read first: a filtered page without entries may then move on to it
    after = int(wanted.after)
    if after > newest:
        raise ApiError("C3310", f"the newest cursor is {newest}")
    schemas = {state.name: state.schema for state in store.datasets()}
    for name in wanted.dataset:
        if name not in schemas:
            raise ApiError("C3307", f"there is no dataset {name!r}")

    def read(last: Change | None, count: int) -> Sequence[Change]:
        found = store.changes(last.cursor if last else after, count, wanted.dataset or None)
        if found is None:
            raise ApiError("C3309", "the feed no longer reaches back to this cursor")
        return found

    changes: list[ChangeDocument] = []
    full = _fill(changes, read, lambda change: change_document(change, schemas.get(change.dataset)), wanted.limit)
    last = int(changes[-1].cursor) if changes else after
    return ChangePage(changes=changes, cursor=str(last if full else max(last, newest)), more=full)


def get_cursor(store: CompanyStore, _: NoParameters) -> CursorAnswer:
    """Show the newest cursor."""
    return CursorAnswer(str(store.cursor()))


def list_withheld(store: CompanyStore, wanted: WithheldRequest) -> WithheldList:
    """Show what is withheld. Raises ApiError."""
    if wanted.dataset is not None:
        _dataset(store, wanted.dataset)
    return WithheldList([withheld_document(row) for row in store.withheld(wanted.dataset, wanted.limit)])


QUERIES: Mapping[str, Callable[[CompanyStore, Any], msgspec.Struct]] = {
    query.__name__: query for query in (list_datasets, get_dataset, list_rows, get_row, list_changes, get_cursor, list_withheld)
}
"""By the operation's name in `cloud.routes.OPERATIONS`. Called through `ask`."""


def ask(query: Callable[[CompanyStore, S], D], store: CompanyStore, wanted: S) -> D:
    """Put the question again when a window has replaced a schema meanwhile. Raises ApiError, StoreError."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(SchemaMoved):
            return query(store, wanted)
    raise ApiError("C3313", "the dataset is being replaced")


def _dataset(store: CompanyStore, name: str) -> DatasetState:
    for state in store.datasets():
        if state.name == name:
            return state
    raise ApiError("C3307", f"there is no dataset {name!r}")


def _visible(store: CompanyStore, name: str) -> tuple[str, DatasetState]:
    """Return the `as_of` token and the dataset, read in this order, before any row."""
    channels = store.channels()
    state = _dataset(store, name)
    if state.state == "loading":
        raise ApiError("C3314", f"the first load of dataset {name!r} has not ended", where=name)
    return as_of(channels, state.channel), state


def _key(parameter: str, text: str) -> bytes:
    try:
        return from_text(text)
    except ValueError as error:
        raise ApiError("C3306", f"{parameter} {error}", errors=[(parameter, str(error))]) from None


def _fill(
    into: list[Any], read: Callable[[T | None, int], Sequence[T]], document: Callable[[T], msgspec.Struct], limit: int
) -> bool:
    """Append documents until the limit, the byte budget or the end; True when it was not the end.

    The size of what was read decides how much is read next.
    """
    size = 0
    last: T | None = None
    while len(into) < limit:
        count = min(limit - len(into), _fitting(len(into), size))
        found = read(last, count)
        for item in found:
            into.append(document(item))
            size += len(msgspec.json.encode(into[-1]))
            if size >= PAGE_BYTES:
                return True
        if len(found) < count:
            return False
        last = found[-1]
    return True


def _fitting(rows: int, size: int) -> int:
    """How many more the budget has room for, as far as known."""
    return max(1, (PAGE_BYTES - size) * rows // max(size, 1)) if rows else FIRST_READ
