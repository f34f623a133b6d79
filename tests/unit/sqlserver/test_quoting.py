from __future__ import annotations

import pytest

from cdc.sources.sqlserver.quoting import BadName, collation, literal, name, qualified, table_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("staff", ("staff",)),
        ("hr.staff", ("hr", "staff")),
        ("Order Details", ("Order Details",)),
        ("[a.b].[c]]d]", ("a.b", "c]d")),
        ('"a""b"."c.d"', ('a"b', "c.d")),
        (" hr . staff ", ("hr", "staff")),
    ],
)
def test_a_table_is_named_by_one_part_or_two(text: str, parts: tuple[str, ...]) -> None:
    assert table_name(text) == parts


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", "[a", "a]", "a'b.", '"a', "x" * 129, "a[b]", "a\0b"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        table_name(text)


def test_names_and_literals_cannot_end_early() -> None:
    assert name("a]b") == "[a]]b]"
    assert qualified(("s", "t] DROP TABLE x")) == "[s].[t]] DROP TABLE x]"
    assert literal("it's") == "N'it''s'"
    for bad in ("a b", "", "x;--", "Latin1_General_CI_AS COLLATE"):
        with pytest.raises(BadName):
            collation(bad)
