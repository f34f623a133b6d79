from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.settings import (
    Duration,
    NotToml,
    Problem,
    Size,
    decode_all,
    format_duration,
    format_size,
    load_toml,
    parse_duration,
    parse_size,
)


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", description="lower-case letters")]
    every: Annotated[Duration, msgspec.Meta(ge=1.0)] = 1.0
    mode: Literal["up", "down"] = "up"
    colour: Colour = Colour.RED


class Sqlite(msgspec.Struct, frozen=True, tag="sqlite", tag_field="kind"):
    file: Path


class Server(msgspec.Struct, frozen=True, tag="sqlserver", tag_field="kind"):
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1433


class Root(msgspec.Struct, frozen=True, kw_only=True):
    version: Literal[1]
    limit: Annotated[Size, msgspec.Meta(ge=1024)] = 1024
    ratio: float = 0.5
    on: bool = True
    source: Sqlite | Server | None = None
    run: Literal["continuous"] | Duration = "continuous"
    types: dict[str, str] = {}
    columns: tuple[str, ...] = ()
    leaf: list[Leaf] = []

    def __post_init__(self) -> None:
        if self.ratio > 10 and self.on:
            raise ValueError("ratio over 10 needs on = false")


def decode(text: str) -> tuple[Root | None, list[Problem]]:
    return decode_all(load_toml(text, where="x.toml"), Root, where="x.toml")


def mistakes(text: str) -> dict[str, str]:
    value, problems = decode(text)
    assert value is None
    assert {p.where for p in problems} == {"x.toml"}
    return {p.path: p.message for p in problems}


def test_a_good_file_becomes_the_struct() -> None:
    value, problems = decode("""
        version = 1
        limit = "2 KiB"
        ratio = 2
        run = "1h30m"
        columns = ["a", "b"]
        types = { created = "DATETIME(3)" }
        source = { kind = "sqlite", file = "erp.db" }
        [[leaf]]
        name = "first"
        every = "15m"
        colour = "green"
        [[leaf]]
        name = "second"
    """)
    assert problems == []
    assert value == Root(
        version=1,
        limit=2048,
        ratio=2.0,
        run=5400.0,
        columns=("a", "b"),
        types={"created": "DATETIME(3)"},
        source=Sqlite(Path("erp.db")),
        leaf=[Leaf(name="first", every=900.0, colour=Colour.GREEN), Leaf(name="second")],
    )


def test_every_mistake_is_told_with_its_key() -> None:
    assert mistakes("""
        version = 2
        limit = "1 B"
        on = "yes"
        lefa = 1
        [[leaf]]
        name = "first"
        every = 15
        mode = "upp"
        [[leaf]]
        every = "500ms"
        colour = 5
    """) == {
        "version": "must be 1, but is a whole number",
        "limit": 'must be at least "1 KiB"',
        "on": "must be true or false, but is a text",
        "leaf[first].every": 'must be a duration such as "15m", "12h", "1s" or "500ms", but is a whole number',
        "leaf[first].mode": 'must be one of "up", "down"; did you mean "up"?',
        "leaf[#2].name": "is missing",
        "leaf[#2].every": 'must be at least "1s"',
        "leaf[#2].colour": 'must be one of "red", "green", but is a whole number',
        "lefa": 'is not a setting; did you mean "leaf"?',
    }


def test_an_empty_file_names_what_is_missing() -> None:
    assert mistakes("") == {"version": "is missing"}


@pytest.mark.parametrize(
    ("line", "path", "message"),
    [
        ('source = { kind = "oracle" }', "source.kind", 'must be one of "sqlite", "sqlserver"'),
        ("source = { }", "source.kind", 'is missing; must be one of "sqlite", "sqlserver"'),
        ('source = { kind = "sqlserver", host = "h", port = 0 }', "source.port", "must be at least 1 and at most 65535"),
        ('source = { kind = "sqlite", file = "" }', "source.file", "must be the path of a file or folder"),
        ('source = { kind = "sqlite", file = 1 }', "source.file", "must be a path in quotes, but is a whole number"),
        ('run = "sometimes"', "run", 'must be "continuous" or a duration such as "15m", "12h", "1s" or "500ms"'),
        ("leaf = 1", "leaf", "must be a list, but is a whole number"),
        ("leaf = [1]", "leaf[#1]", "must be a table ([leaf]), but is a whole number"),
        ("columns = [1]", "columns[#1]", "must be a text in quotes, but is a whole number"),
        ("types = { a = 1 }", "types.a", "must be a text in quotes, but is a whole number"),
        ("ratio = 2026-01-01", "ratio", "must be a number, but is a date or time"),
        ("ratio = 11", "", "ratio over 10 needs on = false"),
        ('leaf = [{ name = "Żółw" }]', "leaf[#1].name", "must be lower-case letters"),
        ('"a b" = 1', '"a b"', "is not a setting"),
        ("limit = '12'", "limit", 'must be a size such as "64 MiB" or "1 GiB"'),
    ],
)
def test_a_mistake_is_told_in_plain_words(line: str, path: str, message: str) -> None:
    assert mistakes(f"version = 1\n{line}") == {path: message}


def test_toml_mistakes_have_line_and_column() -> None:
    with pytest.raises(NotToml) as caught:
        load_toml("a = 1\nb = = 2\n", where="x.toml")
    assert (caught.value.line, caught.value.column) == (2, 5)
    assert str(caught.value) == "x.toml: line 2, column 5: Invalid value"


def test_a_text_that_ends_too_early_is_located_at_its_end() -> None:
    with pytest.raises(NotToml) as caught:
        load_toml('a = 1\nb = "x', where="x.toml")
    assert (caught.value.line, caught.value.column) == (2, 7)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 10_000, "[a]\n[a]"])
def test_hostile_toml_is_refused_as_toml(text: str) -> None:
    with pytest.raises(NotToml):
        load_toml(text, where="x.toml")


def test_a_problem_reads_as_one_line() -> None:
    assert str(Problem("a.b", "is missing", "x.toml")) == "x.toml: a.b: is missing"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15m", 900), ("12h", 43200), ("1s", 1), ("250ms", 0.25), ("1.5 h", 5400), ("1d 2h", 93600), ("2w", 1209600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-1s", "1m1h", "1 fortnight", "\u0661s", "9" * 40 + "s"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1 GiB", 1 << 30), ("64MiB", 64 << 20), ("5 kB", 5000), ("0 B", 0), ("2 tib", 2 << 40)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(0, 10**8))
@settings(max_examples=50)
def test_what_is_written_for_a_person_reads_back(number: int) -> None:
    assert parse_size(format_size(number)) == number
    assert parse_duration(format_duration(float(number))) == number
