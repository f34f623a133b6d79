"""pure: what a collation holds equal, as far as the agent can repeat it.

Two keys that differ to the server must not be one to the agent (a row would be lost), and two that are one to the server must
not be two (a row would be there twice). The agent folds letters one to one (`transport.values.fold_text`); collations do more:

- `_CI` holds ß and ss, æ and ae, œ and oe, þ and th equal, and full-width, half-width, superscript and compatibility forms
  with plain ones; `_AI` a letter and its accented forms; all but the binary ones ignore control characters, soft hyphens,
  joiners and characters that their version has no weight for. `_CS` only tells a from A.
- Languages add their own: Turkish i, Swedish v and w, Lithuanian i and y, and pairs of letters that count as one (Czech ch,
  Danish aa, Hungarian cs ...), whose case then no longer follows from that of the two.

So for each collation there is a **repertoire** inside which folding is what the server does: ASCII letters, digits, blanks and
punctuation, without what the language treats in its own way; for the languages in PLAIN that are accent-sensitive also the
precomposed Latin, Greek and Cyrillic letters that have one upper-case form. A key outside of it is withheld by name. Binary
collations compare code by code, so everything is in theirs. Blanks at the end never count, in any collation.

https://learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from transport.frames import Fold

_ASCII = frozenset(map(chr, range(0x20, 0x7F)))
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LATIN = frozenset(map(chr, (*range(0xC0, 0x180), 0x178))) - frozenset("ÆæÐð\xd7\xf7ÞþßĐđĦħİ\u0131ĲĳĸĿŀŉŊŋŒœŦŧ\u017f")
_GREEK = frozenset("ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρστυφχψωΆΈΉΊΌΎΏάέήίόύώΪΫϊϋ")
_CYRILLIC = frozenset(map(chr, range(0x400, 0x460)))
_WIDE = _ASCII | _LATIN | _GREEK | _CYRILLIC

PLAIN = frozenset(
    {
        "latin1_general",
        "polish",
        "french",
        "modern_spanish",
        "greek",
        "cyrillic_general",
        "ukrainian",
    }
)
_ONLY_ASCII: Mapping[str, tuple[str, tuple[str, ...]]] = {  # language: letters, and pairs of letters, that it treats on its own
    "albanian": ("", ("dh", "gj", "ll", "nj", "rr", "sh", "th", "xh", "zh")),
    "arabic": ("", ()),
    "azeri_latin": ("iI", ()),
    "azeri_cyrillic": ("", ()),
    "bosnian_latin": ("", ("dz", "lj", "nj")),
    "chinese": ("", ()),
    "croatian": ("", ("dz", "lj", "nj")),
    "czech": ("", ("ch",)),
    "danish_norwegian": ("", ("aa",)),
    "danish_greenlandic": ("", ("aa",)),
    "estonian": ("vVwW", ()),
    "finnish_swedish": ("vVwW", ()),
    "georgian_modern_sort": ("", ()),
    "german_phonebook": ("", ("ae", "oe", "ue")),
    "hebrew": ("", ()),
    "hungarian": ("", ("cs", "dz", "gy", "ly", "ny", "sz", "ty", "zs")),
    "hungarian_technical": ("", ("cs", "dz", "gy", "ly", "ny", "sz", "ty", "zs")),
    "icelandic": ("", ()),
    "japanese": ("", ()),
    "korean": ("", ()),
    "latvian": ("iIyY", ()),
    "lithuanian": ("iIyY", ()),
    "macedonian_fyrom": ("", ()),
    "norwegian": ("", ("aa",)),
    "romanian": ("", ()),
    "serbian_latin": ("", ("dz", "lj", "nj")),
    "serbian_cyrillic": ("", ()),
    "slovak": ("", ("ch", "dz")),
    "slovenian": ("", ("dz", "lj", "nj")),
    "thai": ("", ()),
    "traditional_spanish": ("", ("ch", "ll")),
    "turkish": ("iI", ()),
    "vietnamese": ("", ("ch", "gh", "gi", "kh", "ng", "nh", "ph", "qu", "th", "tr")),
}
_OTHER_NAMES = {  # languages of the collations that begin with SQL_, and other spellings
    "ebcdic": "",
    "altdiction": "",
    "1xcompat": "",
    "scandinavian": "",
    "swedishphone": "finnish_swedish",
    "swedishstd": "finnish_swedish",
    "danish": "danish_norwegian",
    "icelandic": "icelandic",
    "croatian": "croatian",
    "chinese_prc": "chinese",
    "chinese_prc_stroke": "chinese",
    "chinese_taiwan_stroke": "chinese",
    "chinese_taiwan_bopomofo": "chinese",
    "chinese_hong_kong_stroke": "chinese",
    "chinese_simplified_pinyin": "chinese",
    "chinese_simplified_stroke_order": "chinese",
    "chinese_traditional_pinyin": "chinese",
    "chinese_traditional_stroke_count": "chinese",
    "chinese_traditional_stroke_order": "chinese",
    "chinese_traditional_bopomofo": "chinese",
    "japanese_unicode": "japanese",
    "japanese_bushu_kakusu": "japanese",
    "japanese_xjis": "japanese",
    "korean_wansung": "korean",
    "norwegian": "norwegian",
}
_FLAG = re.compile(r"_(?:(?:sc_)?(ci|cs)_(ai|as)|(bin2?))(?=_|\Z)")
_DIGITS_AND_SIGNS = _ASCII - _LETTERS


class Comparison(NamedTuple):
    """How the keys of a column are compared. Trailing blanks never count."""

    fold: Fold
    repertoire: frozenset[str] | None  # characters inside which `fold` is what the server does; None: all
    pairs: tuple[str, ...] = ()  # of lower-case letters that must not stand together
    plain: bytes = b""  # what of the repertoire is ASCII


@lru_cache(256)
def comparison(collation: str) -> Comparison:
    """What the name of a collation says; of a language that is not known here, only digits and signs are sure."""
    lower = collation.lower()
    flags = _FLAG.search(lower)
    if flags is None:
        return _comparison(Fold.UNICODE, _DIGITS_AND_SIGNS)
    if flags[3]:
        return Comparison(Fold.NONE, None)
    fold = Fold.UNICODE if flags[1] == "ci" else Fold.NONE
    language = _language(lower[: flags.start()])
    if language in PLAIN:
        return _comparison(fold, _WIDE if flags[2] == "as" else _ASCII)
    own = _ONLY_ASCII.get(language)
    if own is None:
        return _comparison(fold, _DIGITS_AND_SIGNS)
    return _comparison(fold, _ASCII - frozenset(own[0]), own[1])


def _comparison(fold: Fold, repertoire: frozenset[str], pairs: tuple[str, ...] = ()) -> Comparison:
    return Comparison(fold, repertoire, pairs, "".join(repertoire & _ASCII).encode())


def _language(name: str) -> str:
    """`sql_latin1_general_pref_cp850` -> `latin1_general`; `polish_100` -> `polish`."""
    name = name.removeprefix("sql_")
    name = re.sub(r"(_pref)?(_cp\d+)?(_\d{2,3})?\Z", "", name)
    return _OTHER_NAMES.get(name, name)


def outside(how: Comparison, texts: Sequence[str]) -> list[int]:
    """Places of the texts that are outside the repertoire. Cheap when there is none."""
    if how.repertoire is None:
        return []
    joined = "".join(texts)
    inside = not joined.encode().translate(None, how.plain) if joined.isascii() else how.repertoire.issuperset(set(joined))
    if inside and not any(pair in joined.lower() for pair in how.pairs):
        return []
    return [i for i, text in enumerate(texts) if not is_inside(how, text)]


def is_inside(how: Comparison, text: str) -> bool:
    """Whether folding this text is what the server does."""
    if how.repertoire is None:
        return True
    lower = text.lower()
    return how.repertoire.issuperset(text) and not any(pair in lower for pair in how.pairs)
