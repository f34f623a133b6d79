"""Packets, prelogin, login, types and values, declarations, tokens: without sockets."""

from __future__ import annotations

import struct
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standin.ports import (
    MAX,
    Columns,
    Database,
    Done,
    Failed,
    Info,
    Output,
    Parameter,
    Refused,
    ResultColumn,
    Rows,
    SqlError,
    SqlType,
    Value,
    Variant,
)
from tests.standin.wire import tokens
from tests.standin.wire.catalogue import datatype_events, described_events
from tests.standin.wire.coercion import coerce
from tests.standin.wire.collations import code_page, codec_of, collation_bytes, decode_text, encode_text
from tests.standin.wire.declarations import declared, read_declarations
from tests.standin.wire.decode import read_parameter
from tests.standin.wire.encode import BadValue, encode_value, row_encoder
from tests.standin.wire.login import hide, read_login, reveal
from tests.standin.wire.packets import BrokenPacket, Kind, Packetiser, Reassembler, packet_size, packets
from tests.standin.wire.prelogin import BadPrelogin, answer, read_options, write_options
from tests.standin.wire.reader import Malformed, Reader
from tests.standin.wire.replay import Recording
from tests.standin.wire.rpc import Prepared, Run, plan, read_calls
from tests.standin.wire.transactions import read_orders
from tests.standin.wire.translating import Translator
from tests.standin.wire.types import type_info
from tests.unit.standin.raw_client import HEADERS, login_message

# -- packets


@given(st.binary(max_size=3000), st.integers(512, 700), st.integers(1, 400))
@settings(max_examples=50, deadline=None)
def test_a_message_survives_any_packet_size_and_any_portions(payload: bytes, size: int, portion: int) -> None:
    sent = packets(Kind.BATCH, payload, size)
    reassembler = Reassembler()
    got = [m for start in range(0, len(sent), portion) for m in reassembler.feed(sent[start : start + portion])]
    assert [(one.kind, one.payload) for one in got] == [(Kind.BATCH, payload)]


@given(st.lists(st.binary(max_size=1500), max_size=6), st.integers(512, 700))
@settings(max_examples=50, deadline=None)
def test_a_message_written_in_portions_is_the_same_message(portions: list[bytes], size: int) -> None:
    packetiser = Packetiser(Kind.RESULT, size, 51)
    sent = b"".join(packetiser.feed(one) for one in portions) + packetiser.finish()
    (message,) = Reassembler().feed(sent)
    assert message.payload == b"".join(portions)


def test_packets_have_their_size_and_number() -> None:
    sent = packets(Kind.RESULT, bytes(1000), 512, spid=51)
    assert sent[:8] == struct.pack(">BBHHBB", 4, 0, 512, 51, 1, 0)
    assert sent[512:520] == struct.pack(">BBHHBB", 4, 0, 512, 51, 2, 0) if len(sent) > 1024 else True
    assert sent[504 * 2 - 504 + 8 :][:1] == b"\4"


@pytest.mark.parametrize(("asked", "agreed"), [(0, 4096), (1, 512), (512, 512), (8000, 8000), (16383, 16383), (32767, 16383)])
def test_the_size_of_packets_is_what_the_client_asks_within_bounds(asked: int, agreed: int) -> None:
    assert packet_size(asked) == agreed


@pytest.mark.parametrize("length", [0, 7, 40000])
def test_a_packet_of_an_impossible_length_ends_the_connection(length: int) -> None:
    with pytest.raises(BrokenPacket):
        list(Reassembler().feed(struct.pack(">BBHHBB", 1, 1, length, 0, 1, 0)))


# -- prelogin and login


@pytest.mark.parametrize(("wish", "said", "able"), [(0, 3, True), (1, 1, True), (2, 3, False), (3, 1, True)])
def test_everything_is_encrypted(wish: int, said: int, able: bool) -> None:
    options, can = answer(write_options({0: bytes(6), 1: bytes([wish])}), bytes(4))
    assert (read_options(options)[1], can) == (bytes([said]), able)


@given(st.binary(max_size=60))
def test_a_prelogin_of_any_bytes_is_read_or_refused(payload: bytes) -> None:
    try:
        read_options(payload)
    except BadPrelogin:
        return


@given(st.text(max_size=40))
def test_a_password_is_revealed(password: str) -> None:
    assert reveal(hide(password)) == password


def test_a_login_is_read() -> None:
    said = read_login(login_message("who", "zażółć", "shop", features=struct.pack("<BI", 10, 1) + b"\1"))
    assert (said.login.user, said.login.password, said.login.database) == ("who", "zażółć", "shop")
    assert (said.login.application, said.login.host, said.login.read_only) == ("raw", "here", True)
    assert (said.packet_size, said.integrated, said.features) == (8000, False, {10: b"\1"})


# -- values


def roundtrip(kind: SqlType, value: Value) -> Value:
    reader = Reader(type_info(kind) + encode_value(kind, value))
    read, got = read_parameter(reader)
    assert not reader.left
    assert read.name == kind.name
    return got


def clock(ticks: int, scale: int) -> str:
    whole = f"{ticks // 10**scale // 3600:02}:{ticks // 10**scale // 60 % 60:02}:{ticks // 10**scale % 60:02}"
    return f"{whole}.{ticks % 10**scale:0{scale}}" if scale else whole


DATES = st.dates(date(1, 1, 1), date(9999, 12, 31))
INTEGERS = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}


@pytest.mark.parametrize("name", INTEGERS)
@given(data=st.data())
def test_integers_survive(name: str, data: st.DataObject) -> None:
    value = data.draw(st.integers(*INTEGERS[name]))
    assert roundtrip(SqlType(name), value) == value


@given(st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p), st.integers(-(10**p) + 1, 10**p - 1))))
def test_decimals_survive_with_all_their_digits(case: tuple[int, int, int]) -> None:
    precision, scale, number = case
    value = Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))
    got = roundtrip(SqlType("decimal", precision=precision, scale=scale), value)
    assert (got, got.as_tuple().exponent) == (value, -scale)


@pytest.mark.parametrize("text", ["0E-10", "1E+3", "-0.5", "12", "1.50"])
def test_a_decimal_in_any_notation_is_sent(text: str) -> None:
    assert roundtrip(SqlType("decimal", precision=20, scale=10), Decimal(text)) == Decimal(text)


@pytest.mark.parametrize(("name", "bits"), [("money", 63), ("smallmoney", 31)])
@given(data=st.data())
def test_money_survives(name: str, bits: int, data: st.DataObject) -> None:
    value = Decimal(data.draw(st.integers(-(2**bits), 2**bits - 1))).scaleb(-4)
    assert roundtrip(SqlType(name), value) == value


@given(st.floats(allow_nan=False))
def test_floats_survive(value: float) -> None:
    assert roundtrip(SqlType("float"), value) == value


@given(st.text(st.characters(), max_size=50))
def test_wide_text_survives_with_lone_surrogates(text: str) -> None:
    for kind in (SqlType("nvarchar", 100), SqlType("nvarchar", MAX), SqlType("xml", MAX)):
        if not text.startswith("\ufeff"):
            assert roundtrip(kind, text) == text


def test_a_lone_surrogate_and_a_nul_survive() -> None:
    assert roundtrip(SqlType("nvarchar", 10), "a\0\ud800b") == "a\0\ud800b"


@given(st.binary(max_size=80))
def test_bytes_survive(value: bytes) -> None:
    for kind in (SqlType("varbinary", 80), SqlType("varbinary", MAX), SqlType("binary", 80)):
        assert roundtrip(kind, value) == value


@given(st.uuids())
def test_guids_survive(value: object) -> None:
    assert roundtrip(SqlType("uniqueidentifier"), str(value)) == str(value)


@given(
    DATES, st.integers(0, 7).flatmap(lambda s: st.tuples(st.just(s), st.integers(0, 86400 * 10**s - 1))), st.integers(-840, 840)
)
def test_times_survive_at_every_scale(day: date, moment: tuple[int, int], zone: int) -> None:
    scale, ticks = moment
    time = clock(ticks, scale)
    assert roundtrip(SqlType("date"), str(day)) == str(day)
    assert roundtrip(SqlType("time", scale=scale), time) == time
    assert roundtrip(SqlType("datetime2", scale=scale), f"{day} {time}") == f"{day} {time}"
    if date(1, 1, 3) < day < date(9999, 12, 29):
        text = f"{day} {time} {'-' if zone < 0 else '+'}{abs(zone) // 60:02}:{abs(zone) % 60:02}"
        assert roundtrip(SqlType("datetimeoffset", scale=scale), text) == text


@given(st.integers(0, 86400 * 300 - 1), st.dates(date(1753, 1, 1), date(9999, 12, 31)))
def test_a_datetime_survives_in_steps_of_a_third_of_ten_milliseconds(thirds: int, day: date) -> None:
    milliseconds = (thirds * 10 + 1) // 3
    text = f"{day} {clock(milliseconds, 3)}"
    assert roundtrip(SqlType("datetime"), text) == text


@given(st.integers(0, 65535), st.integers(0, 1439))
def test_a_smalldatetime_survives(days: int, minutes: int) -> None:
    text = f"{date(1900, 1, 1) + timedelta(days)} {minutes // 60:02}:{minutes % 60:02}:00"
    assert roundtrip(SqlType("smalldatetime"), text) == text


VARIANTS = [
    Variant(SqlType("bit"), True),
    Variant(SqlType("bigint"), 5),
    Variant(SqlType("decimal", precision=10, scale=2), Decimal("1.50")),
    Variant(SqlType("money"), Decimal("1.5000")),
    Variant(SqlType("nvarchar", 5), "żółw"),
    Variant(SqlType("varchar", 5), "abc"),
    Variant(SqlType("varbinary", 5), b"ab"),
    Variant(SqlType("uniqueidentifier"), "01234567-89ab-cdef-0123-456789abcdef"),
    Variant(SqlType("date"), "2020-02-29"),
    Variant(SqlType("datetime2", scale=3), "2020-02-29 01:02:03.004"),
    Variant(SqlType("datetime"), "2020-02-29 01:02:03.003"),
]


@pytest.mark.parametrize("value", VARIANTS, ids=lambda value: value.type.name)
def test_a_variant_survives_with_its_type(value: Variant) -> None:
    assert roundtrip(SqlType("sql_variant"), value) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SqlType("decimal", precision=4, scale=2), Decimal(100)),
        (SqlType("decimal", precision=4, scale=2), Decimal("1.234")),
        (SqlType("nvarchar", 2), "abc"),
        (SqlType("varchar", 2), "abc"),
        (SqlType("varbinary", 2), "ab"),
        (SqlType("time", scale=3), "01:02:03"),
        (SqlType("datetime2", scale=0), "2020-01-01 25:00:00"),
        (SqlType("sql_variant"), Variant(SqlType("xml", MAX), "<a/>")),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_no_guess(kind: SqlType, value: Value) -> None:
    with pytest.raises(BadValue):
        encode_value(kind, value)
    with pytest.raises(BadValue):
        row_encoder((ResultColumn("c", kind),))([(value,)])


@pytest.mark.parametrize("name", ["hierarchyid", "geography", "geometry", "cursor", ""])
def test_a_type_without_a_form_on_the_wire_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        row_encoder((ResultColumn("c", SqlType(name)),))


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_a_parameter_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    try:
        read_parameter(Reader(data))
    except (SqlError, UnicodeDecodeError, struct.error, ValueError):
        return


# -- collations


@pytest.mark.parametrize(
    ("name", "raw", "page"),
    [
        ("", "0904d00034", "cp1252"),
        ("SQL_Latin1_General_CP1_CI_AS", "0904d00034", "cp1252"),
        ("Latin1_General_CI_AS", "0904d00000", "cp1252"),
        ("Latin1_General_CS_AS", "0904c00000", "cp1252"),
        ("Latin1_General_BIN2", "0904000200", "cp1252"),
        ("Latin1_General_100_CI_AS_SC_UTF8", "0904d02400", "utf-8"),
        ("Latin1_General_100_BIN2_UTF8", "0904002600", "utf-8"),
        ("Polish_CI_AS", "1504d00000", "cp1250"),
        ("Polish_100_CI_AS", "1504d02000", "cp1250"),
        ("polish_ci_as", "1504d00000", "cp1250"),
    ],
)
def test_a_collation_has_its_bytes_and_code_page(name: str, raw: str, page: str) -> None:
    assert (collation_bytes(name).hex(), code_page(name), codec_of(bytes.fromhex(raw))) == (raw, page, page)


@pytest.mark.parametrize("name", ["Klingon_CI_AS", "Latin1_General", "x"])
def test_an_unknown_collation_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        collation_bytes(name)


@pytest.mark.parametrize("page", ["cp1250", "cp1252", "utf-8"])
def test_every_byte_of_a_code_page_has_its_character(page: str) -> None:
    data = bytes(range(256 if page != "utf-8" else 128))
    assert encode_text(decode_text(data, page), page) == data


def test_what_a_code_page_lacks_is_a_question_mark_for_each_utf16_unit() -> None:
    assert encode_text("aż😀\ud800", "cp1252") == b"a????"
    assert encode_text("ż\ud800", "utf-8") == b"\xc5\xbc\xef\xbf\xbd"


# -- declarations, coercion, calls


def test_declarations_are_read() -> None:
    text = "@P1 int,@P2 nvarchar(max) OUTPUT, @p3 decimal(10, 2), @p4 datetime2"
    text += ", @p5 varchar, @p6 sysname,@p7 float(24),@p8 numeric(5)"
    kinds = [
        SqlType("int"),
        SqlType("nvarchar", MAX),
        SqlType("decimal", precision=10, scale=2),
        SqlType("datetime2", scale=7),
        SqlType("varchar", 1),
        SqlType("nvarchar", 128),
        SqlType("real"),
        SqlType("decimal", precision=5),
    ]
    found = read_declarations(text)
    assert [one.type for one in found] == kinds
    assert [one.name for one in found if one.output] == ["@P2"]
    assert [declared(one.type) for one in found[:4]] == ["int", "nvarchar(max)", "decimal(10,2)", "datetime2(7)"]
    assert read_declarations("  ") == []


@pytest.mark.parametrize("text", ["@t dbo.Rows READONLY", "@a cursor", "@a int(3)"])
def test_declarations_of_other_types_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_declarations(text)


@pytest.mark.parametrize("text", ["a int", "@a", "@a int @b int", "@a int,"])
def test_what_is_no_list_of_declarations_is_a_syntax_error(text: str) -> None:
    with pytest.raises(SqlError, match="102"):
        read_declarations(text)


@pytest.mark.parametrize(
    ("value", "sent", "wanted", "got"),
    [
        ("abcd", SqlType("nvarchar", 4000), SqlType("nvarchar", 2), "ab"),
        ("ab", SqlType("varchar", 10), SqlType("nchar", 4), "ab  "),
        (b"ab", SqlType("varbinary", 10), SqlType("binary", 3), b"ab\0"),
        (5, SqlType("int"), SqlType("bigint"), 5),
        (5, SqlType("int"), SqlType("decimal", precision=5, scale=2), Decimal("5.00")),
        (Decimal("1.255"), SqlType("decimal", precision=9, scale=3), SqlType("decimal", precision=5, scale=2), Decimal("1.26")),
        (None, SqlType("int"), SqlType("date"), None),
        (5, SqlType("int"), SqlType("sql_variant"), Variant(SqlType("int"), 5)),
    ],
)
def test_a_parameter_takes_its_declared_type(value: Value, sent: SqlType, wanted: SqlType, got: Value) -> None:
    assert coerce(value, sent, wanted) == got


@pytest.mark.parametrize(
    ("name", "text", "scale", "got"),
    [
        ("time", "01:02:03.4560000", 3, "01:02:03.456"),
        ("time", "01:02:03", 7, "01:02:03.0000000"),
        ("time", "23:59:59.6", 0, "00:00:00"),
        ("datetime2", "2020-02-29 23:59:59.9999999", 3, "2020-03-01 00:00:00.000"),
        ("datetime2", "2020-02-29 01:02:03.0005", 3, "2020-02-29 01:02:03.001"),
        ("datetimeoffset", "2020-02-29 01:02:03.1234567 +02:00", 0, "2020-02-29 01:02:03 +02:00"),
    ],
)
def test_a_time_takes_the_digits_of_its_declaration(name: str, text: str, scale: int, got: str) -> None:
    assert coerce(text, SqlType(name, scale=7), SqlType(name, scale=scale)) == got


def test_a_parameter_that_does_not_fit_its_type_is_error_8114_or_refused() -> None:
    with pytest.raises(SqlError, match="8114"):
        coerce(300, SqlType("int"), SqlType("tinyint"))
    with pytest.raises(Refused):
        coerce("2020-01-01", SqlType("nvarchar", 20), SqlType("date"))


def test_a_procedure_becomes_an_exec_statement() -> None:
    payload = HEADERS + b"\1\0" + "p".encode("utf-16-le") + b"\0\0" + b"\2" + "@a".encode("utf-16-le") + b"\1\x26\4\0"
    (call,) = read_calls(payload)
    run = plan(call, Prepared())
    assert isinstance(run, Run)
    assert run.request.sql == "EXEC @__status = p @a = @__p0 OUTPUT"
    assert run.request.parameters[1] == Parameter("@__p0", SqlType("int"), None, output=True)


def test_a_commit_may_begin_the_next_transaction() -> None:
    orders = read_orders(HEADERS + struct.pack("<HBBBB", 7, 0, 1, 5, 0))
    assert [(one.order, one.isolation) for one in orders] == [("commit", 0), ("begin", 5)]
    saved = read_orders(HEADERS + struct.pack("<HB", 9, 4) + "sp".encode("utf-16-le"))
    assert [(one.order, one.name, one.text) for one in saved] == [("save", "sp", "SAVE TRANSACTION sp")]


# -- what an answer looks like

INT = ResultColumn("n", SqlType("int"))


def test_only_the_last_statement_says_that_nothing_follows() -> None:
    translator = Translator("S")
    parts = [translator.translate(Done("insert", 3)), translator.translate(Done("update", 1)), translator.last()]
    more, final = tokens.MORE, tokens.FINAL
    assert parts == [b"", tokens.done(tokens.DONE, more, "insert", 3), tokens.done(tokens.DONE, final, "update", 1)]


def test_an_error_in_the_middle_of_rows_ends_the_result() -> None:
    translator = Translator("S")
    translator.translate(Columns([INT]))
    assert translator.translate(Rows([(1,), (None,)])) == b"\xd1\4\1\0\0\0\xd1\0"
    assert translator.translate(Failed(SqlError(1205, "x", severity=13)))[0] == tokens.ERROR
    assert translator.last() == tokens.done(tokens.DONE, tokens.FAILED)


def test_a_second_result_within_the_first_is_a_mistake_of_the_engine() -> None:
    translator = Translator("S")
    translator.translate(Columns([INT]))
    with pytest.raises(RuntimeError):
        translator.translate(Columns([INT]))


def test_text_without_a_collation_has_the_database_s() -> None:
    name = ResultColumn("name", SqlType("varchar", 10))
    translator = Translator("S", collation="Polish_CI_AS")
    assert collation_bytes("Polish_CI_AS") in translator.translate(Columns([name, ResultColumn("v", SqlType("sql_variant"))]))
    sent = translator.translate(Rows([("ż", Variant(SqlType("varchar", 5), "ł"))]))
    assert sent.startswith(b"\xd1\1\0" + "ż".encode("cp1250"))
    assert sent.endswith("ł".encode("cp1250"))


def test_a_procedure_s_status_is_its_own_and_not_the_batch_s() -> None:
    translator = Translator("S", in_procedure=True)
    translator.translate(Output("@__status", SqlType("int"), 7))
    translator.translate(Output("", SqlType("int"), 0))
    assert translator.status == 7


def test_notices_and_errors_differ_by_their_severity() -> None:
    assert tokens.info(Info(50000, "hello", 10), "S")[0] == tokens.INFO
    assert tokens.error(SqlError(50000, "hello", severity=11, line=7), "S")[-4:] == struct.pack("<I", 7)


def test_a_replay_of_more_than_rows_is_refused() -> None:
    with pytest.raises(Refused):
        Recording.check(Database("a", "b"))


def test_the_catalogue_of_types_and_the_described_parameters_can_be_sent() -> None:
    kinds = ["int", "xml", "timestamp", "sql_variant", "date", "uniqueidentifier", "image", "float"]
    sized = [
        SqlType("nvarchar", 30),
        SqlType("varbinary", MAX),
        SqlType("time", scale=3),
        SqlType("decimal", precision=9, scale=2),
    ]
    parameters = [Parameter(f"@P{n}", kind, None) for n, kind in enumerate([SqlType(name) for name in kinds] + sized)]
    for events in (datatype_events(0), datatype_events(-9), described_events(parameters)):
        translator = Translator("S", in_procedure=True)
        assert b"".join(map(translator.translate, events)).startswith(b"\x81")
    assert len(described_events(parameters)[0].columns) == 24  # type: ignore[union-attr]


def test_malformed_is_an_error_of_the_server() -> None:
    with pytest.raises(Malformed):
        Reader(b"\1").u16()
