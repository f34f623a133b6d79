"""Names, other people's SQL, and declared types."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.sources.sqlite import quoting, types
from cdc.sources.sqlite.sqltext import IndexText, filter_problem, identifiers, index_text, tokens
from cdc.sources.sqlite.types import Affinity, TypeProblem
from transport.frames import Fold, Type

WORDS = st.text(st.sampled_from(list("aZ_ \"'`[]();.-/*\n\tąé")), min_size=1, max_size=12)


@given(WORDS)
def test_a_quoted_name_is_that_name_to_sqlite(word: str) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.execute(f"SELECT 1 AS {quoting.name(word)}")
        assert cursor.description[0][0] == word


def test_a_name_that_no_statement_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="U\\+0000"):
        quoting.name("a\0b")


def test_our_names_are_known_whatever_their_case() -> None:
    assert quoting.is_own("_CDC_log")
    assert not quoting.is_own("xcdc_log")
    assert quoting.names(["a", 'b"']) == '"a", "b"""'


def test_tokens_skip_comments_and_read_every_kind_of_quotes() -> None:
    found = [(t.kind, t.identifier or t.text) for t in tokens("a /* x */ [b c] `d``e` \"f\" 'g''h' -- i\n x'00' 1.5e3 :p <")]
    assert found == [
        ("word", "a"),
        ("quoted", "b c"),
        ("quoted", "d`e"),
        ("quoted", "f"),
        ("string", "'g''h'"),
        ("blob", "x'00'"),
        ("number", "1.5e3"),
        ("variable", ":p"),
        ("op", "<"),
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE UNIQUE INDEX i ON t(a)", IndexText(["a"], "")),
        (
            "CREATE UNIQUE INDEX i ON t(a DESC, lower(b) ASC , c COLLATE NOCASE)",
            IndexText(["a", "lower(b)", "c COLLATE NOCASE"], ""),
        ),
        (
            "CREATE UNIQUE INDEX \"i(x\" ON [t(] (substr(a, 1, 2)) WHERE b = ')' AND c",
            IndexText(["substr(a, 1, 2)"], "b = ')' AND c"),
        ),
        ("CREATE UNIQUE INDEX i ON t(/* a, */ b -- c\n) where d", IndexText(["b"], "d")),
        ('CREATE UNIQUE INDEX i ON t(asc, "desc" desc)', IndexText(["asc", '"desc"'], "")),
    ],
)
def test_an_index_definition_is_taken_apart(sql: str, expected: IndexText) -> None:
    assert index_text(sql) == expected


@pytest.mark.parametrize("sql", ["CREATE INDEX i", "CREATE INDEX i ON t(a"])
def test_what_is_no_index_definition_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="CREATE INDEX"):
        index_text(sql)


def test_identifiers_are_those_outside_of_strings() -> None:
    assert identifiers("lower(\"Name\") || 'other' -- third") == {"lower", "name"}


@pytest.mark.parametrize(
    "text", ["a = 1", "a IN (1, (2)) -- why", "d < date('2024-01-01')", "a = 'it''s; now)'", '"a;b" = [c;d]']
)
def test_a_condition_on_the_row_is_accepted(text: str) -> None:
    assert filter_problem(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "a = 1)",
        "(a = 1",
        "a) OR (b",
        "a = 1; b",
        "a = ?",
        "a = @b",
        "a = 'x",
        "d = date()",
        "d = datetime('NOW')",
        "d = Current_Date",
    ],
)
def test_a_condition_that_is_more_than_one_is_not(text: str) -> None:
    assert filter_problem(text)


AFFINITIES = [
    "",
    "INT",
    "FLOATING POINT",
    "CHARINT",
    "VARCHAR(5)",
    "CLOB",
    "BLOBTEXT",
    "BLOB",
    "DOUBLE",
    "MONEY",
    "STRING",
    "DATE",
]


@pytest.mark.parametrize("declared", AFFINITIES)
def test_affinity_is_what_sqlite_makes_of_the_declaration(declared: str) -> None:
    stored = {"integer": ("integer",) * 2, "numeric": ("integer",) * 2, "real": ("real",) * 2, "text": ("text",) * 2}
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t(a {declared})")
        connection.executemany("INSERT INTO t VALUES(?)", [("1",), (1,)])
        found = tuple(row[0] for row in connection.execute("SELECT typeof(a) FROM t"))
    assert found == stored.get(types.affinity(declared), ("text", "integer"))


@pytest.mark.parametrize(
    ("declared", "type_", "precision", "scale"),
    [
        ("integer", Type.INT, 0, 0),
        ("Unsigned  Big Int", Type.INT, 0, 0),
        ("BIT", Type.BOOL, 0, 0),
        ("double precision", Type.FLOAT, 0, 0),
        ("FLOAT(53)", Type.FLOAT, 0, 0),
        ("numeric(10, 2)", Type.DECIMAL, 10, 2),
        ("DECIMAL(9)", Type.DECIMAL, 9, 0),
        ("TEXT_DECIMAL(19,4)", Type.DECIMAL, 19, 4),
        ("smallmoney", Type.DECIMAL, 10, 4),
        ("date", Type.DATE, 0, 0),
        ("time(7)", Type.TIME, 0, 7),
        ("DATETIME", Type.DATETIME, 0, 0),
        ("DATETIME2(3)", Type.DATETIME, 0, 3),
        ("DATETIMEOFFSET(2)", Type.DATETIMEOFFSET, 0, 2),
        ("UniqueIdentifier", Type.GUID, 0, 0),
        ("xml", Type.XML, 0, 0),
        ("JSON", Type.JSON, 0, 0),
        ("NVARCHAR(50)", Type.TEXT, 0, 0),
        ("nvarchar(MAX)", Type.TEXT, 0, 0),
        ("character(20) varying", Type.TEXT, 0, 0),
        ("VARBINARY(8)", Type.BYTES, 0, 0),
        ("IMAGE", Type.BYTES, 0, 0),
    ],
)
def test_a_declared_type_is_one_of_the_closed_list(declared: str, type_: Type, precision: int, scale: int) -> None:
    column = types.column("x", declared, "", nullable=True)
    assert (column.type, column.precision, column.scale, column.source_type) == (type_, precision, scale, declared)


@pytest.mark.parametrize(
    ("declared", "override", "code"),
    [
        ("", "", "A2225"),
        ("STRING", "", "A2225"),
        ("TEXT", "POINT", "A2225"),
        ("NUMERIC", "", "A2225"),
        ("DECIMAL(5,7)", "", "A2225"),
        ("DECIMAL(x)", "", "A2225"),
        ("DECIMAL(1)(2)", "", "A2225"),
        ("TIME(10)", "", "A2225"),
        ("DECIMAL(16,2)", "", "A2226"),
        ("MONEY", "", "A2226"),
        ("REAL", "TEXT_DECIMAL(19,4)", "A2226"),
    ],
)
def test_a_type_that_cannot_be_carried_is_refused(declared: str, override: str, code: str) -> None:
    with pytest.raises(TypeProblem) as caught:
        types.column("x", declared, override, nullable=True)
    assert caught.value.code == code
    assert caught.value.message


def test_an_override_is_read_by_what_the_column_really_stores() -> None:
    assert types.column("x", "TEXT", "DECIMAL(38,10)", nullable=True).precision == 38
    assert types.column("x", "", "MONEY", nullable=True).scale == 4
    assert types.affinity("TEXT_DECIMAL(19,4)") is Affinity.TEXT


def test_a_key_is_never_null_and_only_text_is_folded() -> None:
    text = types.column("x", "TEXT", "", nullable=True, key=1, fold=Fold.ASCII, pad=True)
    number = types.column("x", "INT", "", nullable=True, key=1, fold=Fold.ASCII, pad=True)
    assert (text.nullable, text.fold, text.pad) == (False, Fold.ASCII, True)
    assert (number.nullable, number.fold, number.pad) == (False, Fold.NONE, False)
