"""The wire against Microsoft's driver, with a scripted engine in another process."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.support.sqlserver import lacking
from tests.unit.standin.clients import connect, eventually, state
from tests.unit.standin.fake_engine import PLAIN, twelve

if reason := lacking():
    pytest.skip(reason, allow_module_level=True)
import pyodbc


@pytest.fixture
def connection(fake_server: Any) -> Iterator[Any]:
    with closing(connect(fake_server)) as opened:
        yield opened


def offset_text(data: bytes) -> str:
    year, month, day, hour, minute, second, nanos, hours, minutes = struct.unpack("<hHHHHHIhh", data)
    return f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanos // 100:07} {hours:+03}:{minutes:02}"


READ = {
    "char": "ab ",
    "varchar": "Za?ó?? €",
    "uniqueidentifier": "01234567-89AB-CDEF-0123-456789ABCDEF",
    "date": date(2020, 2, 29),
    "smalldatetime": datetime(2079, 6, 6, 23, 59),
    "datetime": datetime(1753, 1, 1, 0, 0, 0, 3000),
    "datetime2": datetime(9999, 12, 31, 23, 59, 59, 999999),
    "variant": "żółw",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_of_every_type_arrives_and_its_null(connection: Any, name: str) -> None:
    connection.add_output_converter(-155, offset_text)
    cursor = connection.execute(f"type {name}")
    value, nothing, after = cursor.fetchone()
    expected = READ.get(name, PLAIN[name][1])
    if name == "time":
        expected = datetime(2020, 1, 1, 23, 59, 59, 999999).time()
    if name == "variant":
        nothing = nothing or None  # pyodbc reads NULL of a sql_variant as empty text, other clients as NULL
    assert (value, nothing, after) == (expected, None, 7)
    assert cursor.fetchone()[2] == 8
    assert cursor.fetchone() is None


@pytest.mark.parametrize("name", ["hierarchyid", "geography"])
def test_a_raw_column_of_a_clr_type_is_refused(connection: Any, name: str) -> None:
    with pytest.raises(pyodbc.Error, match=r"stand-in: .*hierarchyid|geography"):
        connection.execute(f"raw {name}")
    assert connection.execute("select").fetchval() == 1


def test_the_login_says_who_comes(fake_server: Any) -> None:
    with closing(connect(fake_server, Database="shop", APP="the agent", ApplicationIntent="ReadOnly")) as opened:
        cursor = opened.execute("login")
        assert tuple(cursor.fetchone()) == ("sa", "shop", "the agent")
        assert cursor.nextset()
        assert cursor.fetchval() is True


def test_a_wrong_password_and_a_missing_database_are_refused(fake_server: Any) -> None:
    with pytest.raises(pyodbc.InterfaceError, match="18456"):
        connect(fake_server, PWD="wrong")
    with pytest.raises(pyodbc.Error, match="4060"):
        connect(fake_server, Database="missing")


def test_the_certificate_is_verified(fake_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pyodbc.Error, match=r"certificate verify failed|SSL Provider"):
        connect(fake_server, TrustServerCertificate="no", Server=f"localhost,{fake_server.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(fake_server.certificate))
    with closing(connect(fake_server, TrustServerCertificate="no", Server=f"localhost,{fake_server.port}")) as opened:
        assert opened.execute("select").fetchval() == 1


@pytest.mark.parametrize("size", ["512", "4096", "8000", "16383", "32767"])
def test_rows_arrive_whole_in_packets_of_any_size(fake_server: Any, size: str) -> None:
    with closing(connect(fake_server, Packet_Size=size)) as opened:
        rows = opened.execute("rows 1500").fetchall()
        assert len(rows) == 1500
        assert rows[1499][0] == 1499
        assert rows[7][3] == twelve(7)[3]
        assert opened.execute("type nvarcharmax").fetchval() == "ż" * 100_000


def test_several_results_a_notice_and_an_error_come_in_their_order(connection: Any) -> None:
    cursor = connection.execute("many")
    assert cursor.rowcount == 3
    assert cursor.nextset()
    assert cursor.fetchval() == 1
    assert cursor.nextset()
    assert cursor.fetchval() == 2
    with pytest.raises(pyodbc.IntegrityError, match="547"):
        cursor.nextset()


def test_a_statement_without_a_count_is_no_result(connection: Any) -> None:
    cursor = connection.execute("set nocount on")
    assert cursor.description is None
    assert cursor.rowcount == -1


@pytest.mark.parametrize(("number", "kind"), [(2627, "IntegrityError"), (208, "ProgrammingError"), (1205, "Error")])
def test_an_error_has_its_number_and_class(connection: Any, number: int, kind: str) -> None:
    with pytest.raises(getattr(pyodbc, kind), match=str(number)):
        connection.execute(f"error {number}")
    assert connection.execute("select").fetchval() == 1


def test_an_error_of_severity_20_ends_the_connection(connection: Any) -> None:
    with pytest.raises(pyodbc.Error, match="596"):
        connection.execute("kill")
    with pytest.raises(pyodbc.Error, match="08S01"):
        connection.execute("select")


def test_a_value_that_is_not_of_its_type_is_an_error_and_noted(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("refused", 0)
    with pytest.raises(pyodbc.Error, match="internal error"):
        connection.execute("broken").fetchall()
    assert state(fake_server)["refused"] == before + 1


# -- parameters ----------------------------------------------------------------------------------------------------------------


VALUES = [
    7,
    2**40,
    True,
    1.5,
    "Zażółć 😀",
    "x" * 5000,
    b"\0\1\2",
    b"z" * 9000,
    Decimal("-123.450"),
    date(2020, 2, 29),
    datetime(2020, 2, 29, 1, 2, 3, 456000),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_parameter_comes_back_as_it_was_sent(connection: Any, value: Any) -> None:
    assert connection.execute("echo ?", value).fetchval() == value


def test_none_is_described_by_the_engine(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("described", 0)
    rows = connection.execute("names ?, ?", 1, None).fetchall()
    assert [row[0] for row in rows] == ["int 0 0 0", "varbinary 1 0 0"]
    assert rows[1][1] == "None"
    assert state(fake_server)["described"] > before


def test_a_statement_is_prepared_once_and_executed_again(connection: Any) -> None:
    cursor = connection.cursor()
    assert [cursor.execute("echo ?", number).fetchval() for number in range(5)] == list(range(5))


def test_executemany_inserts_one_after_the_other(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("inserted", 0)
    connection.cursor().executemany("insert ?, ?", [(number + 100, b"x") for number in range(20)])
    assert state(fake_server)["inserted"] == before + 20


def test_fast_executemany_sends_many_calls_in_a_message(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("inserted", 0)
    cursor = connection.cursor()
    cursor.fast_executemany = True
    cursor.executemany("insert ?, ?, ?, ?", [(n + 100, b"x" * n, datetime(2020, 1, 1), Decimal("1.25")) for n in range(200)])
    assert state(fake_server)["inserted"] == before + 200


def test_a_row_of_many_that_fails_is_told(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.fast_executemany = True
    with pytest.raises(pyodbc.IntegrityError, match="2627"):
        cursor.executemany("insert ?", [(12,), (13,), (14,)])
    assert connection.execute("select").fetchval() == 1


def test_the_count_of_rows_is_told(connection: Any) -> None:
    assert connection.execute("insert 17").rowcount == 17
    assert connection.execute("insert ?", 5).rowcount == 1


def test_a_procedure_is_executed_with_its_status(connection: Any) -> None:
    cursor = connection.execute("{CALL dbo.[a proc](?)}", 21)
    assert cursor.rowcount == 1


def test_the_types_of_the_server_are_listed(connection: Any) -> None:
    rows = connection.cursor().getTypeInfo().fetchall()
    assert {row.type_name for row in rows} >= {"int", "nvarchar", "datetimeoffset", "uniqueidentifier"}


# -- transactions --------------------------------------------------------------------------------------------------------------


def test_a_connection_without_autocommit_begins_and_ends_transactions(fake_server: Any) -> None:
    before = state(fake_server)
    with closing(connect(fake_server, autocommit=False)) as opened:
        opened.execute("insert 1")
        opened.commit()
        opened.execute("insert 1")
        opened.rollback()
    after = state(fake_server)
    assert after["begin"] - before.get("begin", 0) >= 2
    assert after["commit"] - before.get("commit", 0) == 1
    assert after["rollback"] - before.get("rollback", 0) >= 1


def test_a_closed_connection_closes_its_session(fake_server: Any) -> None:
    before = state(fake_server).get("closed", 0)
    connect(fake_server).close()
    assert eventually(lambda: state(fake_server)["closed"] >= before + 2)


# -- attention -----------------------------------------------------------------------------------------------------------------


def test_a_query_timeout_cancels_the_work(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("cancelled", 0)
    connection.timeout = 1
    begun = time.monotonic()
    with pytest.raises(pyodbc.OperationalError, match="HYT00"):
        connection.execute("wait")
    assert time.monotonic() - begun < 5
    assert state(fake_server)["cancelled"] == before + 1
    assert connection.execute("select").fetchval() == 1


def test_a_cancelled_cursor_returns_at_once_and_is_usable(connection: Any, fake_server: Any) -> None:
    before = state(fake_server)
    cursor = connection.cursor()

    def cancel() -> None:
        eventually(lambda: state(fake_server).get("wait", 0) > before.get("wait", 0))
        cursor.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(pyodbc.Error, match="HY008"):
        cursor.execute("wait")
    thread.join()
    assert state(fake_server)["cancelled"] == before.get("cancelled", 0) + 1
    assert cursor.execute("select").fetchval() == 1


def test_a_result_that_nobody_reads_to_its_end_stops_the_engine(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("portions", 0)
    cursor = connection.execute("rows 1000000")
    assert cursor.fetchone()[0] == 0
    cursor.close()
    assert connection.execute("select").fetchval() == 1
    assert state(fake_server)["portions"] - before < 200


def test_a_delayed_request_can_be_cancelled(connection: Any) -> None:
    connection.timeout = 1
    begun = time.monotonic()
    with pytest.raises(pyodbc.OperationalError, match="HYT00"):
        connection.execute("select /* delay=60 */")
    assert time.monotonic() - begun < 5


# -- faults --------------------------------------------------------------------------------------------------------------------


def test_an_error_can_be_injected(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("insert", 0)
    with pytest.raises(pyodbc.Error, match="1205"):
        connection.execute("insert 1 /* error=1205 */")
    assert state(fake_server).get("insert", 0) == before


def test_a_result_can_be_cut(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("closed", 0)
    cursor = connection.execute("rows 5000 /* cut=700 */")
    with pytest.raises(pyodbc.Error, match="08S01"):
        cursor.fetchall()
    assert eventually(lambda: state(fake_server)["closed"] >= before + 2)


def test_a_connection_can_be_cut_before_a_request_is_executed(connection: Any, fake_server: Any) -> None:
    before = state(fake_server).get("insert", 0)
    with pytest.raises(pyodbc.Error, match="08S01"):
        connection.execute("insert 1 /* kill */")
    assert state(fake_server).get("insert", 0) == before


def test_a_recorded_result_is_sent_again_without_the_engine(connection: Any, fake_server: Any) -> None:
    first = connection.execute("rows 3000 /* replay=rows */").fetchall()
    asked = state(fake_server)["rows"]
    again = connection.execute("rows 1 /* replay=rows */").fetchall()
    assert [tuple(row) for row in again] == [tuple(row) for row in first]
    assert state(fake_server)["rows"] == asked


def test_the_server_lives_when_a_client_vanishes(fake_server: Any) -> None:
    async def vanish() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", fake_server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await writer.drain()
        writer.transport.abort()

    asyncio.run(vanish())
    assert state(fake_server)
