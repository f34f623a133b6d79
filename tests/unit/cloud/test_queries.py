from __future__ import annotations

import msgspec
import pytest

from cloud import queries
from cloud.documents import as_of, from_text, to_text
from cloud.errors import ApiError
from cloud.queries import ask, list_changes, list_rows
from cloud.routes import ChangesRequest, RowsRequest
from cloud.store.base import DatasetState, Row
from tests.support.copies import EMPLOYEES, MemoryStore, employee
from transport.frames import ChannelState, Column, Type

WIDER = msgspec.structs.replace(EMPLOYEES, columns=[*EMPLOYEES.columns, Column("phone", Type.TEXT, nullable=True)])


class Replacing(MemoryStore):
    """Tells the old schema for some readings, while its rows are already of the new one."""

    def __init__(self, stale: int) -> None:
        row = employee(1)
        super().__init__([Row(row.key, row.cells | {"phone": "123"})])
        self.stale = stale

    def datasets(self) -> list[DatasetState]:
        self.stale -= 1
        schema = EMPLOYEES if self.stale >= 0 else WIDER
        return [msgspec.structs.replace(state, schema=schema) for state in super().datasets()]


@pytest.mark.parametrize("query", [(list_rows, RowsRequest("employees")), (list_changes, ChangesRequest("0"))])
def test_rows_of_a_schema_that_was_replaced_meanwhile_are_read_again(query: tuple) -> None:
    store = Replacing(stale=2)
    store.put(next(iter(store.data.values())))
    page = ask(query[0], store, query[1])
    row = page.rows[0] if query[0] is list_rows else page.changes[0].row
    assert row.values["phone"] == "123"


def test_a_schema_that_never_settles_asks_to_come_back() -> None:
    with pytest.raises(ApiError) as caught:
        ask(list_rows, Replacing(stale=1_000), RowsRequest("employees"))
    assert caught.value.code == "C3313"


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 99, 100, 101])
def test_a_page_is_full_or_the_last(rows: int) -> None:
    page = list_rows(MemoryStore([employee(n) for n in range(rows)]), RowsRequest("employees"))
    assert len(page.rows) == min(rows, 100)
    assert (page.next is None) == (rows < 100)


def test_pages_within_a_byte_budget_reach_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "PAGE_BYTES", 3_000)
    store = MemoryStore([employee(n, name="x" * (37 * n % 900)) for n in range(60)])
    seen: list[str] = []
    after: str | None = None
    while True:
        page = list_rows(store, RowsRequest("employees", after, 1_000))
        assert page.rows
        seen += [row.key for row in page.rows]
        if page.next is None:
            break
        after = page.next
    assert seen == [to_text(key) for key in sorted(store.data)]


def test_a_filtered_page_that_is_full_does_not_skip_what_follows() -> None:
    store = MemoryStore()
    for n in range(20):
        store.put(employee(n))
    page = list_changes(store, ChangesRequest("0", 5, ["employees"]))
    assert (page.cursor, page.more) == ("5", True)


def test_the_token_of_a_state_changes_with_each_part_of_it() -> None:
    first = ChannelState("hr", b"j" * 16, 7, 7, b"p")
    others = [
        msgspec.structs.replace(first, applied=8),
        msgspec.structs.replace(first, journal_id=b"k" * 16),
        msgspec.structs.replace(first, position=b"q"),
    ]
    assert len({as_of([state], "hr") for state in (first, *others)}) == 4
    assert as_of([msgspec.structs.replace(first, staged=9)], "hr") == as_of([first], "hr")
    assert as_of([first], "shop") == as_of([msgspec.structs.replace(first, applied=0)], "hr") == ""


@pytest.mark.parametrize("text", ["A", "AB", "AAB", "AA==", "A+A", "AA\n"])
def test_bytes_have_one_text_only(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_text(text)
