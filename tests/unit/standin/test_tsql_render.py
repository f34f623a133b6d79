"""What is rendered reads as the same tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standin.ports import SqlError
from tests.standin.tsql import ast
from tests.standin.tsql.parser import parse
from tests.standin.tsql.render import render, render_query
from tests.support import tsqlcheck

QUERIES = [
    statement
    for text in tsqlcheck.batches("corpus.sql", (Path(__file__).parent / "corpus.sql").read_text())
    for statement in parse(text.sql).statements
    if isinstance(statement, ast.Query)
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_rendered_query_reads_as_the_same_tree(query: ast.Query) -> None:
    (again,) = parse(render_query(query)).statements
    assert again == query


EXPRESSIONS = [
    ("a+1", "[a] + 1"),
    ("(getdate())", "getdate()"),
    ("isnull(b,0)*1.", "isnull([b],0) * 1."),
    ("a - (b - c)", "[a] - ([b] - [c])"),
    ("- -5", "-(-5)"),
    ("N'it''s'", "N'it''s'"),
    ("convert(nvarchar(max),a,2)", "CONVERT(nvarchar(max),[a],2)"),
    ("cast(a as varchar)", "CONVERT(varchar(30),[a])"),
    ("0x0abc", "0x0ABC"),
    ("[a]]b]", "[a]]b]"),
]


@pytest.mark.parametrize(("sql", "expected"), EXPRESSIONS)
def test_expressions_are_normalised(sql: str, expected: str) -> None:
    (query,) = parse(f"SELECT {sql}").statements
    assert isinstance(query, ast.Query)
    assert isinstance(query.body, ast.Select)
    assert render(query.body.items[0].expression) == expected


def test_long_chains_are_rendered_without_recursion() -> None:
    (query,) = parse("SELECT 1 WHERE " + " OR ".join(f"a = {n}" for n in range(3000))).statements
    assert isinstance(query, ast.Query)
    assert len(render_query(query)) > 3000
    (union,) = parse(" UNION ALL ".join("SELECT 1" for _ in range(3000))).statements
    assert isinstance(union, ast.Query)
    assert render_query(union).count("UNION ALL") == 2999


def test_what_does_not_parse_is_not_rendered() -> None:
    with pytest.raises(SqlError):
        parse("SELECT")
