"""pure: where the parser stands in the tokens, and what every part of it needs: words, names, numbers, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.standin.ports import Refused, SqlError
from tests.standin.tsql.ast import Name
from tests.standin.tsql.tokens import RESERVED, Tokens, syntax_error, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.standin.tsql.ast import Query, Statement

MAX_DEPTH = 60  # of nested parentheses, queries and blocks: far below Python's own limit


class Cursor:
    """The tokens and the place among them.

    `parse_query` and `parse_body` are given by the parser: expressions hold queries, and modules hold statements.
    """

    def __init__(
        self,
        sql: str,
        parse_query: Callable[[Cursor], Query],
        parse_body: Callable[[Cursor], tuple[Sequence[Statement], Sequence[int]]],
    ) -> None:
        self.parse_query = parse_query
        self.parse_body = parse_body  # up to the end of the batch
        self.tokens: Tokens = tokenize(sql)
        self.keys = self.tokens.keys
        self.at = 0
        self.depth = 0

    # -- words -----------------------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The word or operator here, upper case; "" for anything else."""
        return self.keys[self.at]

    @property
    def kind(self) -> str:
        return self.tokens.kinds[self.at]

    def peek(self, *words: str) -> bool:
        """Whether these words follow in this order."""
        return self.keys[self.at : self.at + len(words)] == list(words)

    def accept(self, *words: str) -> bool:
        """Steps over these words if they follow in this order."""
        if self.keys[self.at] != words[0] or (len(words) > 1 and not self.peek(*words)):
            return False
        self.at += len(words)
        return True

    def accept_any(self, *words: str) -> str:
        """Steps over one of the words; "" if none is here."""
        key = self.keys[self.at]
        if key not in words:
            return ""
        self.at += 1
        return key

    def expect(self, *words: str) -> None:
        for word in words:
            if self.keys[self.at] != word:
                raise self.error()
            self.at += 1

    def expect_any(self, *words: str) -> str:
        found = self.accept_any(*words)
        if not found:
            raise self.error()
        return found

    def look(self, ahead: int) -> str:
        """The word so many tokens ahead."""
        index = self.at + ahead
        return self.keys[index] if index < len(self.keys) else ""

    # -- errors ----------------------------------------------------------------------------------------------------------

    def error(self, at: int | None = None) -> SqlError:
        """102, or 156 at a reserved word."""
        index = self.at if at is None else at
        if self.tokens.kinds[index] == "end" and index > 0:
            index -= 1
        text, key = self.tokens.texts[index], self.keys[index]
        line = self.tokens.line(index)
        if key in RESERVED:
            return syntax_error(f"Incorrect syntax near the keyword '{text}'.", line, 156)
        shown = self.tokens.values[index] if self.tokens.kinds[index] in ("string", "nstring", "quoted") else text
        return syntax_error(f"Incorrect syntax near '{str(shown)[:128]}'.", line)

    def raise_error(self, number: int, message: str, at: int | None = None) -> SqlError:
        """An error of another number at a token."""
        return syntax_error(message, self.tokens.line(self.at if at is None else at), number)

    def refuse(self, what: str) -> Refused:
        """Valid T-SQL that is not on the list."""
        refused = Refused(f"{what} is not emulated")
        refused.line = self.tokens.line(self.at)
        return refused

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level deeper. Raises SqlError 191."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            message = (
                "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries."
            )
            raise self.raise_error(191, message)
        try:
            yield
        finally:
            self.depth -= 1

    # -- names and numbers -----------------------------------------------------------------------------------------------

    def is_name(self, ahead: int = 0) -> bool:
        """Whether an identifier is here: a quoted one, or a word that is not reserved."""
        index = min(self.at + ahead, len(self.keys) - 1)
        kind = self.tokens.kinds[index]
        return kind == "quoted" or (kind == "name" and self.keys[index] not in RESERVED)

    def identifier(self) -> str:
        """One name, unquoted."""
        if not self.is_name():
            raise self.error()
        self.at += 1
        return str(self.tokens.values[self.at - 1])

    def name(self, most: int = 4) -> Name:
        """`a.b.c`; a missing part in the middle (`db..t`) is ""."""
        if self.key == ".":
            raise self.refuse("a name that begins with a dot")
        parts = [self.identifier()]
        while self.key == ".":
            start = self.at
            self.at += 1
            while self.key == "." and len(parts) < most - 1:
                parts.append("")
                self.at += 1
            if len(parts) == most:
                raise self._too_many(parts, start)
            parts.append(self.identifier())
        return Name(tuple(parts))

    def _too_many(self, parts: list[str], at: int) -> SqlError:
        if len(parts) < 4:
            return self.error(at)
        message = f"The object name '{'.'.join(parts)}.' contains more than the maximum number of prefixes. The maximum is 3."
        return self.raise_error(117, message, at)

    def names(self) -> tuple[str, ...]:
        """`(a, b)`."""
        self.expect("(")
        found = [self.identifier()]
        while self.accept(","):
            found.append(self.identifier())
        self.expect(")")
        return tuple(found)

    def variable(self) -> str:
        """`@v`, not `@@v`."""
        if self.kind != "variable" or self.tokens.texts[self.at].startswith("@@"):
            raise self.error()
        self.at += 1
        return self.tokens.texts[self.at - 1]

    def string(self) -> str:
        """A literal, with or without N."""
        if self.kind not in ("string", "nstring"):
            raise self.error()
        self.at += 1
        return str(self.tokens.values[self.at - 1])

    def integer(self) -> int:
        """A whole number of any size, with a sign."""
        negative = self.accept("-") or (self.accept("+") and False)
        text = self.tokens.texts[self.at]
        if self.kind not in ("int", "decimal") or "." in text:
            raise self.error()
        self.at += 1
        return -int(text) if negative else int(text)

    def on_off(self) -> bool:
        return self.expect_any("ON", "OFF") == "ON"

    def text(self, start: int, stop: int | None = None) -> str:
        """The text from one token up to another, the last one excluded."""
        last = (self.at if stop is None else stop) - 1
        return self.tokens.sql[self.tokens.offsets[start] : self.tokens.ends[last]] if last >= start else ""
