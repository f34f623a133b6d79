"""pure: SQL text as written by others (index definitions, filters), taken apart just far enough to be used safely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<blob>[xX]'[^']*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    | (?P<number>\d[\w.]*|\.\d\w*)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<variable>[?:@$\#][\w$]*)
    | (?P<op>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TIME_FUNCTIONS = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "strftime"})
_NOW = frozenset({"current_date", "current_time", "current_timestamp"})


class Token(NamedTuple):
    """One token: its kind (a group of the pattern), its text, and where it stands."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def identifier(self) -> str:
        """The name a word or a quoted word stands for; "" for other tokens."""
        if self.kind == "word":
            return self.text
        if self.kind != "quoted":
            return ""
        inner, close = self.text[1:-1], self.text[-1]
        return inner if close == "]" else inner.replace(close * 2, close)


def tokens(sql: str) -> Iterator[Token]:
    """Everything but blanks and comments."""
    for match in _TOKEN.finditer(sql):
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match.group(), match.start(), match.end())


class IndexText(NamedTuple):
    """The terms of a CREATE INDEX statement as written (without ASC and DESC), and its WHERE condition or ""."""

    terms: list[str]
    where: str


def index_text(sql: str) -> IndexText:
    """Take a CREATE INDEX statement apart, as SQLite keeps it. Raises ValueError if there is no list of terms."""
    terms: list[str] = []
    term: list[Token] = []
    depth = 0
    rest = iter(tokens(sql))
    for token in rest:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "op" else 0
        if depth == 0 and terms and token.text == ")":
            break
        if depth == 1 and token.kind == "op" and token.text in "(,":
            terms, term = [*terms, ""], []
        elif depth:
            term.append(token)
        if terms and term:
            terms[-1] = _without_order(sql, term)
    if not terms or depth:
        raise ValueError("not a CREATE INDEX statement")
    where = next((token.end for token in rest if token.kind == "word" and token.text.upper() == "WHERE"), None)
    return IndexText(terms, "" if where is None else sql[where:].strip())


def _without_order(sql: str, term: list[Token]) -> str:
    last = term[-1]
    ordered = len(term) > 1 and last.kind == "word" and last.text.upper() in ("ASC", "DESC")
    return sql[term[0].start : (term[-2] if ordered else last).end]


def identifiers(sql: str) -> set[str]:
    """Every word that could name a column, in lower case."""
    return {token.identifier.lower() for token in tokens(sql)} - {""}


def filter_problem(text: str) -> str:
    """Why a filter cannot be one condition on the row alone, as far as its text tells; "" if it can."""
    depth, previous = 0, ""
    for token in tokens(text):
        low = token.text.lower()
        if token.kind == "op":
            depth += {"(": 1, ")": -1}.get(low, 0)
            if low in "'\"`[;" or depth < 0:
                return f"has a stray {token.text}"
            if low == ")" and previous.endswith("(") and previous[:-1] in _TIME_FUNCTIONS:
                return "must not depend on the time it is read at"
        if token.kind == "variable":
            return f"has a parameter: {token.text}"
        if low in _NOW or low == "'now'":
            return "must not depend on the time it is read at"
        previous = previous + low if low == "(" and previous in _TIME_FUNCTIONS else low
    return "" if depth == 0 else "has a ( that is not closed"
