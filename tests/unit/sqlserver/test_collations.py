from __future__ import annotations

import itertools

import pytest

from cdc.sources.sqlserver.collations import comparison, is_inside, outside
from transport.frames import Fold
from transport.values import fold_text

LATIN = comparison("SQL_Latin1_General_CP1_CI_AS")


@pytest.mark.parametrize(
    ("name", "fold"),
    [
        ("SQL_Latin1_General_CP1_CI_AS", Fold.UNICODE),
        ("Latin1_General_100_CI_AS_KS_WS_SC_UTF8", Fold.UNICODE),
        ("Polish_CS_AS", Fold.NONE),
        ("Latin1_General_BIN2", Fold.NONE),
        ("Latin1_General_100_BIN2_UTF8", Fold.NONE),
        ("Japanese_XJIS_140_CI_AS_KS_WS_VSS", Fold.UNICODE),
        ("SQL_Latin1_General_Pref_CP850_CI_AI", Fold.UNICODE),
    ],
)
def test_the_name_says_whether_case_counts(name: str, fold: Fold) -> None:
    assert comparison(name).fold is fold


def test_a_binary_collation_takes_every_text() -> None:
    assert outside(comparison("Latin1_General_BIN"), ["ß", "a\u0301", "\u00ad"]) == []


@pytest.mark.parametrize("text", ["", "Abc-1/2 (x)", "Zażółć GĘŚLĄ", "Ωμέγα", "Ёлка", "Çédille Ÿ"])
def test_plain_letters_are_inside_of_a_language_without_ways_of_its_own(text: str) -> None:
    assert is_inside(LATIN, text)
    assert outside(LATIN, ["a", text]) == []


@pytest.mark.parametrize(
    "text",
    [
        "Straße",
        "æ",
        "Œ",
        "þ",
        "\u00ad",
        "e\u0301",
        "ﬁ",
        "\uff21",
        "²",
        "\t",
        "\u200d",
        "ς",
        "\u0131",
        "İ",
        "中",
        "\u00a0",
        "😀",
    ],
)
def test_what_the_server_may_hold_equal_in_another_way_is_outside(text: str) -> None:
    assert not is_inside(LATIN, text)
    assert outside(LATIN, ["a", f"x{text}"]) == [1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Turkish_CI_AS", "ID"),
        ("Finnish_Swedish_CI_AS", "wall"),
        ("Czech_CI_AS", "cHata"),
        ("Danish_Norwegian_CI_AS", "Aarhus"),
        ("Hungarian_CI_AS", "ccs"),
        ("Latin1_General_CI_AI", "é"),
        ("Lithuanian_CI_AS", "y"),
        ("Klingon_CI_AS", "a"),
    ],
)
def test_languages_with_ways_of_their_own_have_less(name: str, text: str) -> None:
    assert not is_inside(comparison(name), text)
    assert outside(comparison(name), ["12-3", text]) == [1]


def test_no_two_letters_of_the_repertoire_are_one_unless_they_differ_in_case() -> None:
    assert LATIN.repertoire is not None
    groups = itertools.groupby(
        sorted(LATIN.repertoire, key=lambda c: fold_text(c, Fold.UNICODE, False)), lambda c: fold_text(c, Fold.UNICODE, False)
    )
    for _, group in groups:
        letters = list(group)
        assert len({letter.lower() for letter in letters}) == 1
        assert len(letters) <= 2
        if letters[0].isalpha():
            assert len(letters) == 2
