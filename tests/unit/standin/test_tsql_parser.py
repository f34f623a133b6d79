"""Which texts the stand-in's parser takes, which errors it gives, and what it refuses by name."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standin.ports import Refused, SqlError, SqlType
from tests.standin.tsql import ast
from tests.standin.tsql.parser import parse
from tests.standin.tsql.tokens import tokenize
from tests.support import tsqlcheck

CORPUS = list(tsqlcheck.batches("corpus.sql", (Path(__file__).parent / "corpus.sql").read_text()))


def only(sql: str) -> ast.Statement:
    (statement,) = parse(sql).statements
    return statement


def error_of(sql: str) -> SqlError:
    with pytest.raises(SqlError) as caught:
        parse(sql)
    assert not isinstance(caught.value, Refused), caught.value
    return caught.value


@pytest.mark.parametrize("text", CORPUS, ids=lambda text: text.name)
def test_every_batch_of_the_corpus_parses(text: tsqlcheck.Text) -> None:
    batch = parse(text.sql)
    assert len(batch.lines) == len(batch.statements)


@pytest.mark.skipif(bool(tsqlcheck.missing()), reason=tsqlcheck.missing() or "there")
def test_microsofts_parser_takes_every_batch_of_the_corpus() -> None:
    try:
        report = tsqlcheck.check(CORPUS)
    except tsqlcheck.Unavailable as reason:
        pytest.skip(str(reason))
    assert [str(finding) for finding in report.findings] == []


def mutants(count: int) -> Iterator[tsqlcheck.Text]:
    """Batches of the corpus with a token taken out, put in or replaced, the same ones every time."""
    chance = random.Random(2)
    for number in range(count):
        sql, other = chance.choice(CORPUS).sql, tokenize(chance.choice(CORPUS).sql)
        tokens = tokenize(sql)
        at, taken = chance.randrange(len(tokens.keys) - 1), chance.randrange(len(other.keys) - 1)
        start, end, text = tokens.offsets[at], tokens.ends[at], other.texts[taken]
        made = {0: sql[:start] + sql[end:], 1: f"{sql[:start]}{text} {sql[start:]}", 2: sql[:start] + text + sql[end:]}
        yield tsqlcheck.Text(f"mutant {number}", made[chance.randrange(3)])


@pytest.mark.skipif(bool(tsqlcheck.missing()), reason=tsqlcheck.missing() or "there")
def test_microsofts_parser_takes_what_this_one_takes() -> None:
    taken = []
    for text in mutants(1500):
        with suppress(SqlError):
            parse(text.sql)
            taken.append(text)
    try:
        report = tsqlcheck.check(taken)
    except tsqlcheck.Unavailable as reason:
        pytest.skip(str(reason))
    assert len(taken) > 100
    assert [str(finding) for finding in report.findings] == []


WRONG = [
    ("SELECT * FROM t LIMIT 5", 102, "Incorrect syntax near '5'."),
    ("SELECT ?", 102, "Incorrect syntax near '?'."),
    ("UPDATE t SET WHERE a = 1", 156, "Incorrect syntax near the keyword 'WHERE'."),
    ("SELECT * FROM CHANGETABLE(CHANGES t, @v - 1) AS c", 102, "Incorrect syntax near '-'."),
    ("SELECT * FROM CHANGETABLE(CHANGES t, @v)", 102, "Incorrect syntax near ')'."),
    ("SELECT * FROM CHANGETABLE(CHANGE t, @v) AS c", 102, "Incorrect syntax near 'CHANGE'."),
    ("SELECT * FROM (SELECT 1 AS a)", 102, "Incorrect syntax near ')'."),
    ("SELECT 1 FROM", 156, "Incorrect syntax near the keyword 'FROM'."),
    ("SELECT a > 1", 102, "Incorrect syntax near '>'."),
    ("SELECT a.order FROM a", 156, "Incorrect syntax near the keyword 'order'."),
    ("SELECT 1 2", 102, "Incorrect syntax near '2'."),
    ("CREATE TABLE t (a int,, b int)", 102, "Incorrect syntax near ','."),
    ("INSERT t (a VALUES (1)", 156, "Incorrect syntax near the keyword 'VALUES'."),
    ("SELECT 'abc", 105, "Unclosed quotation mark after the character string 'abc'."),
    ("SELECT [abc", 105, "Unclosed quotation mark after the character string 'abc'."),
    ("SELECT 1 /* a /* b */", 113, "Missing end comment mark '*/'."),
    ("SELECT 1 AS []", 1038, "An object or column name"),
    ("SELECT 1\nWITH a AS (SELECT 1 AS b) SELECT b FROM a", 319, "Incorrect syntax near the keyword 'with'."),
    ("DECLARE @c int WITH CHANGE_TRACKING_CONTEXT(@c) DELETE t", 319, "Incorrect syntax near the keyword 'with'."),
    ("SELECT * FROM t WITH a AS (SELECT 1 AS b) SELECT b FROM a", 319, "Incorrect syntax near the keyword 'with'."),
    ("WITH CHANGE_TRACKING_CONTEXT(CAST('a' AS varbinary)) DELETE t", 102, "Incorrect syntax near 'CAST'."),
    ("SELECT 1 WHERE 1", 4145, "An expression of non-boolean type"),
    ("SELECT 1 WHERE a = 1 AND b", 4145, "An expression of non-boolean type"),
    ("SELECT * FROM (SELECT a FROM t ORDER BY a) AS x", 1033, "The ORDER BY clause is invalid"),
    ("SELECT 1; CREATE SCHEMA s", 111, "'CREATE SCHEMA' must be the first statement in a query batch."),
    ("IF 1 = 1 CREATE VIEW v AS SELECT 1 AS a", 111, "'CREATE VIEW' must be the first statement in a query batch."),
    ("SET NOCOUNTS ON", 195, "'NOCOUNTS' is not a recognized SET option."),
    ("SELECT * FROM t WITH (NOLOCKS)", 321, '"NOLOCKS" is not a recognized table hints option.'),
    ("SELECT @a = 1, b FROM t", 141, "A SELECT statement that assigns a value to a variable"),
    ("EXEC p 1 + 1", 102, "Incorrect syntax near '+'."),
    ("EXEC p @a = 1, 2", 119, "Must pass parameter number 2"),
    ("SELECT * FROM t WITH (NOLOCK,)", 102, "Incorrect syntax near ')'."),
    ("ALTER TABLE t DROP IF EXISTS a", 156, "Incorrect syntax near the keyword 'IF'."),
    ("RAISERROR (N'x', 1.5, 1)", 102, "Incorrect syntax near '1.5'."),
    ("BEGIN SELECT 1", 102, "Incorrect syntax near '1'."),
    ("SELECT 1 END", 156, "Incorrect syntax near the keyword 'END'."),
    ("BEGIN TRY SELECT 1 END TRY", 102, "Incorrect syntax near 'TRY'."),
    ("SELECT TOP @n a FROM t", 102, "Incorrect syntax near '@n'."),
    ("SELECT $1.5.5", 102, "Incorrect syntax near '.5'."),
    ("SELECT " + "9" * 39, 1007, "The number"),
    ("SELECT 1e999", 168, "The floating point value"),
    ("SELECT " + "a" * 129, 103, "The identifier that starts with"),
    ("DECLARE @a varchar(9000)", 131, "The size (9000) given to the type 'varchar'"),
    ("SELECT " + "(" * 200 + "1" + ")" * 200, 191, "Some part of your SQL statement is nested too deeply."),
]


@pytest.mark.parametrize(("sql", "number", "message"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_what_the_grammar_refuses_is_an_error_with_its_number(sql: str, number: int, message: str) -> None:
    error = error_of(sql)
    assert (error.number, error.severity) == (number, 15)
    assert error.message.startswith(message)


def test_errors_name_the_line() -> None:
    assert error_of("SELECT 1;\n\nSELECT FROM t").line == 3


REFUSED = [
    "MERGE t USING u ON t.a = u.a WHEN MATCHED THEN DELETE;",
    "DECLARE c CURSOR FOR SELECT 1",
    "SELECT * FROM OPENJSON(N'[]')",
    "SELECT a FROM t FOR XML PATH",
    "SELECT TOP 5 PERCENT a FROM t",
    "SELECT SUM(a) OVER (ORDER BY b ROWS UNBOUNDED PRECEDING) FROM t",
    "SELECT a FROM t OPTION (LOOP JOIN)",
    "SELECT a FROM t WITH (SNAPSHOT)",
    "CREATE FUNCTION f() RETURNS int AS BEGIN RETURN 1 END",
    "INSERT t EXEC p",
    "SELECT a FROM t WHERE a LIKE 'x' ESCAPE '!'",
    "SET ROWCOUNT 5",
    "SELECT * FROM t PIVOT (SUM(a) FOR b IN ([x])) AS p",
    "SELECT dbo.f(1)",
    "ALTER TABLE t SWITCH TO u",
    "CREATE TABLE t (a int) ON [PRIMARY]",
    "DBCC CHECKDB",
    "EXECUTE AS USER = 'u'",
    "SELECT {fn NOW()}",
    "BULK INSERT t FROM 'f'",
    "GOTO x",
    "x: SELECT 1",
    "UPDATE t SET @v = a = 1",
    "CREATE OR ALTER VIEW v AS SELECT 1 AS a",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_valid_text_outside_the_list_is_refused_by_name(sql: str) -> None:
    with pytest.raises(Refused, match="is not emulated"):
        parse(sql)


# -- trees -------------------------------------------------------------------------------------------------------------------


def test_a_comma_in_from_is_a_cross_join_of_whole_joins() -> None:
    query = only("SELECT 1 FROM a, b JOIN c ON 1 = 1")
    assert isinstance(query, ast.Query)
    assert isinstance(query.body, ast.Select)
    source = query.body.source
    assert isinstance(source, ast.Join)
    assert source.kind == "CROSS"
    assert isinstance(source.right, ast.Join)


def test_and_binds_tighter_than_or_and_factors_tighter_than_terms() -> None:
    statement = only("IF a = 1 OR b = 2 AND c = 1 + 2 * 3 SELECT 1")
    assert isinstance(statement, ast.If)
    condition = statement.condition
    assert isinstance(condition, ast.Binary)
    assert condition.op == "OR"
    assert isinstance(condition.right, ast.Binary)
    assert condition.right.op == "AND"
    equal = condition.right.right
    assert isinstance(equal, ast.Binary)
    assert isinstance(equal.right, ast.Binary)
    assert equal.right.op == "+"


def test_literals_keep_kind_and_value() -> None:
    query = only(r"SELECT 1, 2147483648, 1.50, 1e, N'a''b', 0xABC, $2, NULL, 'x\\".replace("\\\\", "\\") + "\n" + "y'")
    assert isinstance(query, ast.Query)
    assert isinstance(query.body, ast.Select)
    found = [item.expression for item in query.body.items]
    assert all(isinstance(literal, ast.Literal) for literal in found)
    shown = [(literal.kind, str(literal.value)) for literal in found if isinstance(literal, ast.Literal)]
    assert shown == [
        ("int", "1"),
        ("decimal", "2147483648"),
        ("decimal", "1.50"),
        ("float", "1.0"),
        ("nstring", "a'b"),
        ("binary", str(b"\x0a\xbc")),
        ("money", "2"),
        ("null", "None"),
        ("string", "xy"),
    ]


TYPES = [
    ("int", SqlType("int")),
    ("[nvarchar](50)", SqlType("nvarchar", 50)),
    ("varchar(max)", SqlType("varchar", -1)),
    ("varchar", SqlType("varchar", 1)),
    ("sysname", SqlType("nvarchar", 128)),
    ("numeric(10, 2)", SqlType("decimal", precision=10, scale=2)),
    ("dec", SqlType("decimal", precision=18)),
    ("float(24)", SqlType("real")),
    ("datetime2", SqlType("datetime2", scale=7)),
    ("time(0)", SqlType("time", scale=0)),
    ("timestamp", SqlType("rowversion")),
    ("national character varying(5)", SqlType("nvarchar", 5)),
    ("sys.int", SqlType("int")),
    ("xml", SqlType("xml", -1)),
    ("dbo.Flag", None),
    ("Flag", None),
]


@pytest.mark.parametrize(("text", "expected"), TYPES)
def test_types_are_resolved(text: str, expected: SqlType | None) -> None:
    statement = only(f"DECLARE @a {text}")
    assert isinstance(statement, ast.Declare)
    assert statement.variables[0][1].builtin == expected


def test_a_length_left_out_is_30_in_cast() -> None:
    query = only("SELECT CAST(a AS varchar)")
    assert isinstance(query, ast.Query)
    assert isinstance(query.body, ast.Select)
    found = query.body.items[0].expression
    assert isinstance(found, ast.Convert)
    assert found.type.builtin == SqlType("varchar", 30)


def test_a_context_belongs_to_its_statement() -> None:
    statement = only("WITH CHANGE_TRACKING_CONTEXT(@c), s AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM s)")
    assert isinstance(statement, ast.Delete)
    assert statement.context == ast.Variable("@c")
    assert [name for name, _, _ in statement.ctes] == ["s"]


def test_lines_of_statements_are_kept_in_blocks_too() -> None:
    batch = parse("SELECT 1\n\nBEGIN\n  SELECT 2\n  SELECT 3\nEND")
    assert batch.lines == [1, 3]
    block = batch.statements[1]
    assert isinstance(block, ast.Block)
    assert block.lines == [4, 5]


def test_the_text_of_a_module_is_kept() -> None:
    sql = "/* why */ CREATE VIEW v AS SELECT 1 AS a"
    statement = only(sql)
    assert isinstance(statement, ast.CreateView)
    assert statement.text == sql


# -- sizes and odd texts -----------------------------------------------------------------------------------------------------


def test_a_union_of_two_thousand_branches_is_read_in_linear_time() -> None:
    def seconds(branches: int) -> float:
        sql = " UNION ALL ".join(f"SELECT {n} AS a WHERE EXISTS (SELECT 1 FROM t)" for n in range(branches))
        begin = time.perf_counter()
        parse(sql)
        return time.perf_counter() - begin

    seconds(100)
    assert min(seconds(2000), seconds(2000)) < 12 * max(seconds(500), seconds(500))


def test_long_chains_of_operators_do_not_recurse() -> None:
    parse("SELECT 1 WHERE " + " AND ".join(f"a{n} = {n}" for n in range(3000)))
    parse("SELECT " + " + ".join("1" for _ in range(3000)))


@pytest.mark.parametrize("opening", ["(", "NOT ", "- ", "CASE WHEN ", "f(", "SELECT * FROM (", "BEGIN ", "IF 1 = 1 ", "a.b("])
def test_deep_nesting_is_an_error_of_the_parser(opening: str) -> None:
    for prefix in ("SELECT ", "SELECT 1 WHERE ", ""):
        with pytest.raises(SqlError):
            parse(prefix + opening * 5000)


PIECES = sorted(
    {
        key
        for text in CORPUS
        for tokens in [tokenize(text.sql)]
        for key in [*tokens.keys[:-1], *tokens.texts[:-1]]
        if key and len(key) < 30
    }
)


def line_of(sql: str) -> int:
    """Where the error is; 1 without one. Anything but an SqlError fails the test."""
    try:
        parse(sql)
    except SqlError as error:
        return error.line
    return 1


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join))
def test_any_words_give_a_tree_or_an_error_of_sql(sql: str) -> None:
    assert line_of(sql) >= 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_a_tree_or_an_error_of_sql(sql: str) -> None:
    assert line_of(sql) >= 1


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([text.sql for text in CORPUS]), st.data())
def test_a_batch_with_a_token_missing_gives_a_tree_or_an_error_of_sql(sql: str, data: st.DataObject) -> None:
    tokens = tokenize(sql)
    gone = data.draw(st.integers(0, len(tokens.keys) - 1))
    assert 1 <= line_of(sql[: tokens.offsets[gone]] + sql[tokens.ends[gone] :]) <= sql.count("\n") + 1
