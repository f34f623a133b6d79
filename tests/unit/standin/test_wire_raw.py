"""The wire as no driver uses it: what must be refused while the connection lives, and what ends it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.standin.ports import SqlType
from tests.standin.wire import tokens
from tests.standin.wire.packets import Kind, Status, packets
from tests.standin.wire.prelogin import read_options
from tests.unit.standin.raw_client import HEADERS, RawClient, login_message

END = tokens.done(tokens.DONE, tokens.FINAL)
ATTENTION = tokens.done(tokens.DONE, tokens.ATTENTION)


@pytest.fixture
def client(fake_server: Any) -> Iterator[RawClient]:
    with closing(RawClient(fake_server.port)) as opened:
        yield opened


def text(words: str) -> bytes:
    return words.encode("utf-16-le")


def call(name: str, arguments: bytes = b"") -> bytes:
    return struct.pack("<H", len(name)) + text(name) + b"\0\0" + arguments


def wide(value: str, *, name: bytes = b"\0") -> bytes:
    """An nvarchar(4000) argument."""
    return (
        name + b"\0\xe7" + struct.pack("<H", 8000) + b"\x09\x04\xd0\x00\x34" + struct.pack("<H", len(value) * 2) + text(value)
    )


def number(value: int) -> bytes:
    return b"\0\0\x26\4\4" + struct.pack("<i", value)


def test_the_greeting_is_version_and_encryption(client: RawClient) -> None:
    options = read_options(client.greeting)
    assert options[0] == bytes([15, 0, 0x11, 0x4E, 0, 0])
    assert options[1] == b"\1"


def test_the_welcome_agrees_on_the_packet_size_and_names_no_feature_that_nobody_asked_for(client: RawClient) -> None:
    assert tokens.packet_size_change(8000, 4096) in client.welcome
    assert tokens.login_acknowledgement(bytes([15, 0, 0x11, 0x4E])) in client.welcome
    assert client.welcome.endswith(END)
    assert bytes([tokens.FEATUREEXTACK, 0x0A]) not in client.welcome


def test_utf8_is_acknowledged_when_asked_and_other_features_are_not(fake_server: Any) -> None:
    asked = struct.pack("<BI", 0x0A, 1) + b"\1" + struct.pack("<BI", 0x09, 1) + b"\1"
    with closing(RawClient(fake_server.port, login_message(features=asked))) as client:
        assert tokens.feature_acknowledgement([(0x0A, b"\1")]) in client.welcome


def test_a_refused_login_is_an_error_and_then_nothing(fake_server: Any) -> None:
    with closing(RawClient(fake_server.port, login_message(password="wrong"))) as client:
        assert struct.pack("<i", 18456) in client.welcome
        assert client.receive() == b""


def test_a_reset_is_acknowledged_before_the_answer(client: RawClient) -> None:
    answer = client.batch("select", status=Status.RESET)
    assert answer.startswith(tokens.reset_acknowledgement())
    assert answer.endswith(tokens.done(tokens.DONE, tokens.FINAL, "select", 1))


def test_a_reset_forgets_prepared_statements(client: RawClient) -> None:
    prepare = b"\xff\xff\x0b\0\0\0" + b"\0\1\x26\4\0" + wide("") + wide("select") + number(1)
    answer = client.ask(Kind.RPC, HEADERS + prepare)
    assert tokens.return_value(0, "", SqlType("int"), 1) in answer
    execute = HEADERS + b"\xff\xff\x0c\0\0\0" + number(1)
    assert struct.pack("<i", 8179) not in client.ask(Kind.RPC, execute)
    assert struct.pack("<i", 8179) in client.ask(Kind.RPC, execute, status=Status.RESET)


def test_several_calls_are_answered_one_after_the_other(client: RawClient) -> None:
    one = call("sp_executesql", wide("echo") + wide("@a int") + number(5))
    answer = client.ask(Kind.RPC, HEADERS + one + b"\x80" + one)
    assert answer.count(tokens.done(tokens.DONEPROC, tokens.MORE)) == 1
    assert answer.endswith(tokens.return_status(0) + tokens.done(tokens.DONEPROC, tokens.FINAL))


def test_arguments_are_found_by_name(client: RawClient) -> None:
    named = b"\2" + text("@b") + number(7)[1:] + b"\2" + text("@a") + number(5)[1:]
    answer = client.ask(Kind.RPC, HEADERS + call("sp_executesql", wide("echo") + wide("@a int, @b int") + named))
    assert b"\xd1" + b"\4\5\0\0\0" + b"\4\7\0\0\0" in answer


def test_a_missing_argument_is_error_8178(client: RawClient) -> None:
    answer = client.ask(Kind.RPC, HEADERS + call("sp_executesql", wide("echo") + wide("@a int")))
    assert struct.pack("<i", 8178) in answer


def test_output_parameters_and_the_status_of_a_procedure_come_back(client: RawClient) -> None:
    answer = client.ask(Kind.RPC, HEADERS + call("dbo.twice", b"\2" + text("@n") + b"\1\x26\4\4" + struct.pack("<i", 21)))
    assert tokens.return_status(42) + tokens.return_value(0, "@n", SqlType("int"), 42) in answer
    assert answer.endswith(tokens.done(tokens.DONEPROC, tokens.FINAL))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.RPC, HEADERS + call("p", b"\0\0\xf3\0\0\0")),  # a table value
        (Kind.RPC, HEADERS + call("p", b"\0\0\xf0\0\0\0")),  # a CLR type
        (Kind.RPC, HEADERS + b"\xff\xff\x02\0\0\0"),  # sp_cursoropen
        (Kind.RPC, HEADERS + call("p; drop table t")),
        (Kind.RPC, b"\x16\0\0\0"),  # cut
        (Kind.BULK, b"\x81\0\0"),
        (Kind.TRANSACTION, HEADERS + b"\0\0"),  # distributed
        (Kind.BATCH, b"\xff\xff\xff\x7f"),
    ],
)
def test_what_is_not_emulated_is_an_error_and_the_connection_lives(client: RawClient, kind: Kind, payload: bytes) -> None:
    answer = client.ask(kind, payload)
    assert answer[0] == tokens.ERROR
    assert client.batch("select").endswith(tokens.done(tokens.DONE, tokens.FINAL, "select", 1))


def test_a_message_that_its_sender_withdrew_is_not_executed(client: RawClient) -> None:
    assert client.batch("select", status=Status.IGNORE) == tokens.done(tokens.DONE, tokens.FAILED)


def test_attention_without_a_request_is_acknowledged(client: RawClient) -> None:
    assert client.ask(Kind.ATTENTION, b"") == ATTENTION


def test_attention_ends_the_answer_of_the_running_request(client: RawClient) -> None:
    whole = struct.pack(">BBHHBB", Kind.ATTENTION, 1, 8, 0, 1, 0)
    client.send_bytes(bytes([Kind.BATCH, 1]) + struct.pack(">H", 8 + 22 + 8) + b"\0\0\1\0" + HEADERS + text("wait") + whole)
    assert client.receive().endswith(ATTENTION)
    assert client.batch("select").endswith(tokens.done(tokens.DONE, tokens.FINAL, "select", 1))


def test_transactions_are_told_with_their_descriptor(client: RawClient) -> None:
    begun = client.ask(Kind.TRANSACTION, HEADERS + struct.pack("<HBB", 5, 0, 0))
    descriptor = int.from_bytes(begun[5:13], "little")
    assert begun == tokens.transaction_change("begun", descriptor) + END
    again = client.ask(Kind.TRANSACTION, HEADERS + struct.pack("<HBBBB", 7, 0, 1, 0, 0))
    assert again.startswith(tokens.transaction_change("committed", descriptor))
    assert tokens.transaction_change("begun", descriptor + 1) in again
    ended = client.ask(Kind.TRANSACTION, HEADERS + struct.pack("<HBB", 8, 0, 0))
    assert ended == tokens.transaction_change("rolled back", descriptor + 1) + END


def test_a_request_that_lost_its_transaction_ends_the_calls_behind_it(client: RawClient) -> None:
    client.ask(Kind.TRANSACTION, HEADERS + struct.pack("<HBB", 5, 0, 0))
    lost = call("sp_executesql", wide("lost"))
    then = call("sp_executesql", wide("select"))
    answer = client.ask(Kind.RPC, HEADERS + lost + b"\x80" + then)
    assert answer.endswith(tokens.done(tokens.DONEPROC, tokens.FAILED))


def test_a_transaction_that_ended_with_a_cancelled_request_is_told(client: RawClient, fake_server: Any) -> None:
    begun = client.ask(Kind.TRANSACTION, HEADERS + struct.pack("<HBB", 5, 0, 0))
    descriptor = int.from_bytes(begun[5:13], "little")
    client.send_bytes(packets(Kind.BATCH, HEADERS + text("abort")))
    with closing(RawClient(fake_server.port)) as other:
        while text("abort") not in other.batch("state"):
            continue
    client.send_bytes(packets(Kind.ATTENTION, b""))
    assert client.receive().startswith(tokens.transaction_change("rolled back", descriptor))


def test_an_injected_deadlock_rolls_back(client: RawClient) -> None:
    begun = client.ask(Kind.TRANSACTION, HEADERS + struct.pack("<HBB", 5, 0, 0))
    descriptor = int.from_bytes(begun[5:13], "little")
    answer = client.batch("select /* error=1205 */")
    assert answer.startswith(tokens.transaction_change("rolled back", descriptor))
    assert answer.endswith(tokens.done(tokens.DONE, tokens.FAILED))


def test_a_client_that_begins_with_something_else_is_sent_away(fake_server: Any) -> None:
    with closing(RawClient(fake_server.port, HEADERS)) as client:
        assert client.welcome == b""


def test_a_batch_in_many_packets_is_put_together(client: RawClient) -> None:
    answer = client.batch("select " + "-" * 20_000)
    assert answer.endswith(tokens.done(tokens.DONE, tokens.FINAL, "select", 1))
