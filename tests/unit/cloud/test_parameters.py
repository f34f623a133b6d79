from __future__ import annotations

import re

import msgspec
import pytest

from cloud.documents import KEY_PATTERN, from_text, to_text
from cloud.errors import REGISTRY, ApiError
from cloud.openapi import openapi_document
from cloud.parameters import decode_request, parameters
from cloud.queries import QUERIES
from cloud.routes import OPERATIONS, STATUS, ChangesRequest, Operation, StreamRequest

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def decode(name: str, query: list[tuple[str, str]], path: dict[str, str] | None = None, **headers: str) -> msgspec.Struct:
    return decode_request(BY_NAME[name], path or {}, query, headers)


def test_a_request_becomes_its_struct() -> None:
    query = [("after", "7"), ("dataset", "a"), ("dataset", "b"), ("wait", "30")]
    assert decode("list_changes", query) == ChangesRequest("7", 100, ["a", "b"], 30)


def test_a_header_is_a_parameter_too() -> None:
    assert decode("stream_changes", [], **{"Last-Event-ID": "12"}) == StreamRequest(None, [], "12")


def test_every_mistake_is_told_with_its_parameter() -> None:
    with pytest.raises(ApiError) as caught:
        decode("list_rows", [("limit", "0"), ("after", "!"), ("foo", "1"), ("foo", "2")], {"dataset": "A"})
    assert caught.value.code == "C3306"
    assert [name for name, _ in caught.value.errors] == ["dataset", "after", "limit", "foo"]


@pytest.mark.parametrize("limit", ["", " 1", "1 ", "+1", "1.0", "1e2", "0x1", "\u0661", "1_0", "9" * 30, "1\n", "true"])
def test_what_is_not_plainly_a_number_is_refused(limit: str) -> None:
    with pytest.raises(ApiError):
        decode("list_withheld", [("limit", limit)])


def test_a_flood_of_unknown_parameters_gets_a_short_answer() -> None:
    with pytest.raises(ApiError) as caught:
        decode("get_cursor", [(f"{n}" * 100, "") for n in range(500)])
    assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize("data", [b"\x91\x01", b"\x91\xa3abc", bytes(range(17)), b"\xff" * 4096])
def test_the_pattern_of_keys_takes_every_key_and_no_other_text_of_it(data: bytes) -> None:
    text = to_text(data)
    assert re.search(KEY_PATTERN, text)
    assert from_text(text) == data
    if len(text) % 4:
        assert not re.search(KEY_PATTERN, text[:-1] + ("B" if text[-1] != "B" else "F"))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_document_has_what_the_table_has(operation: Operation) -> None:
    shown = openapi_document(version="1")["paths"][operation.path][operation.method.lower()]
    assert shown["operationId"] == operation.name
    assert {(p["name"], p["in"], p["required"]) for p in shown["parameters"]} == {
        (p.name, p.place, p.required) for p in parameters(operation)
    }
    assert set(shown["responses"]) == {"200"} | {str(STATUS[code]) for code in operation.every_code()}
    assert bool(shown["security"]) == bool(operation.scope)


def test_every_code_of_the_api_is_explained_and_can_be_answered() -> None:
    assert set(STATUS) == {code for code in REGISTRY if code.startswith("C33")}
    told = {code for operation in OPERATIONS for code in operation.every_code()}
    assert set(STATUS) - told == {"C3301", "C3302"}  # of addresses and methods that no operation has


def test_every_operation_has_a_query_or_a_handler_of_its_own() -> None:
    assert {operation.name for operation in OPERATIONS} - set(QUERIES) == {"stream_changes", "get_openapi"}
