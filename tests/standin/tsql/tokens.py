"""pure: T-SQL text to tokens. QUOTED_IDENTIFIER is ON: "x" is a name.

Reference: https://learn.microsoft.com/sql/t-sql/data-types/constants-transact-sql and
https://learn.microsoft.com/sql/relational-databases/databases/database-identifiers
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from decimal import Decimal

from tests.standin.ports import SqlError

END = "<end>"
INT_MAX = 2147483647


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# https://learn.microsoft.com/sql/t-sql/language-elements/reserved-keywords-transact-sql
RESERVED = words(
    """
    ADD ALL ALTER AND ANY AS ASC AUTHORIZATION BACKUP BEGIN BETWEEN BREAK BROWSE BULK BY CASCADE CASE CHECK CHECKPOINT CLOSE
    CLUSTERED COALESCE COLLATE COLUMN COMMIT COMPUTE CONSTRAINT CONTAINS CONTAINSTABLE CONTINUE CONVERT CREATE CROSS CURRENT
    CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATABASE DBCC DEALLOCATE DECLARE DEFAULT DELETE DENY DESC
    DISK DISTINCT DISTRIBUTED DOUBLE DROP DUMP ELSE END ERRLVL ESCAPE EXCEPT EXEC EXECUTE EXISTS EXIT EXTERNAL FETCH FILE
    FILLFACTOR FOR FOREIGN FREETEXT FREETEXTTABLE FROM FULL FUNCTION GOTO GRANT GROUP HAVING HOLDLOCK IDENTITY IDENTITYCOL
    IDENTITY_INSERT IF IN INDEX INNER INSERT INTERSECT INTO IS JOIN KEY KILL LEFT LIKE LINENO LOAD MERGE NATIONAL NOCHECK
    NONCLUSTERED NOT NULL NULLIF OF OFF OFFSETS ON OPEN OPENDATASOURCE OPENQUERY OPENROWSET OPENXML OPTION OR ORDER OUTER
    OVER PERCENT PIVOT PLAN PRECISION PRIMARY PRINT PROC PROCEDURE PUBLIC RAISERROR READ READTEXT RECONFIGURE REFERENCES
    REPLICATION RESTORE RESTRICT RETURN REVERT REVOKE RIGHT ROLLBACK ROWCOUNT ROWGUIDCOL RULE SAVE SCHEMA SECURITYAUDIT SELECT
    SEMANTICKEYPHRASETABLE SEMANTICSIMILARITYDETAILSTABLE SEMANTICSIMILARITYTABLE SESSION_USER SET SETUSER SHUTDOWN SOME
    STATISTICS SYSTEM_USER TABLE TABLESAMPLE TEXTSIZE THEN TO TOP TRAN TRANSACTION TRIGGER TRUNCATE TRY_CONVERT TSEQUAL UNION
    UNIQUE UNPIVOT UPDATE UPDATETEXT USE USER VALUES VARYING VIEW WAITFOR WHEN WHERE WHILE WITH WITHIN WRITETEXT
    """
)

_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]*)
  | (?P<comment>/\*)
  | (?P<string>[Nn]?'[^']*(?:''[^']*)*(?:'|\Z))
  | (?P<binary>0[xX](?:[0-9A-Fa-f]|\\\r?\n)*)
  | (?P<float>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE](?:[+-]?[0-9]+|[+-]?))
  | (?P<decimal>[0-9]+\.[0-9]*|\.[0-9]+)
  | (?P<int>[0-9]+)
  | (?P<variable>@[@\w\#$]+)
  | (?P<name>[^\W0-9][\w@\#$]*|\#[\w@\#$]+)
  | (?P<bracket>\[[^\]]*(?:\]\][^\]]*)*(?:\]|\Z))
  | (?P<quoted>"[^"]*(?:""[^"]*)*(?:"|\Z))
  | (?P<pseudo>\$[^\W0-9]\w*)
  | (?P<money>[$£€¥](?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)?)
  | (?P<op><>|!=|<=|>=|!<|!>|::|\+=|-=|\*=|/=|%=|&=|\|=|\^=|[=<>+\-*/%&|^~(),.;:{}])
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\\\r?\n")
_NEST = re.compile(r"/\*|\*/")


@dataclass(slots=True)
class Tokens:
    """Parallel lists; the last token is END.

    `keys`: an unquoted name in upper case, an operator as it is, otherwise "" (so that only words match words).
    """

    sql: str
    kinds: list[str]
    keys: list[str]
    texts: list[str]  # as written
    values: list[Decimal | float | str | bytes | None]
    offsets: list[int]
    ends: list[int]
    breaks: list[int]  # offsets of line breaks

    def line(self, index: int) -> int:
        """The line of a token, 1 first."""
        return bisect.bisect_left(self.breaks, self.offsets[index]) + 1


def syntax_error(message: str, line: int, number: int = 102) -> SqlError:
    """An error of the parser: severity 15."""
    return SqlError(number, message, severity=15, line=line)


def tokenize(sql: str) -> Tokens:
    """Raises SqlError 102, 103, 105, 113, 168, 1007, 1038."""
    tokens = Tokens(sql, [], [], [], [], [], [], [m.start() for m in re.finditer("\n", sql)])
    position, size = 0, len(sql)
    match_at = _TOKEN.match
    while position < size:
        found = match_at(sql, position)
        if found is None:
            raise syntax_error(f"Incorrect syntax near '{sql[position]}'.", _line(tokens, position))
        kind = found.lastgroup
        if kind == "space":
            position = found.end()
        elif kind == "comment":
            position = _skip_comment(tokens, position)
        else:
            _append(tokens, kind or "", found.group(), position)
            position = found.end()
    _add(tokens, "end", END, "", None, size)
    return tokens


def _line(tokens: Tokens, position: int) -> int:
    return bisect.bisect_left(tokens.breaks, position) + 1


def _skip_comment(tokens: Tokens, start: int) -> int:
    """Comments nest."""
    depth = 0
    for mark in _NEST.finditer(tokens.sql, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    raise syntax_error("Missing end comment mark '*/'.", _line(tokens, start), 113)


def _add(tokens: Tokens, kind: str, key: str, text: str, value: Decimal | float | str | bytes | None, at: int) -> None:
    tokens.kinds.append(kind)
    tokens.keys.append(key)
    tokens.texts.append(text)
    tokens.values.append(value)
    tokens.offsets.append(at)
    tokens.ends.append(at + len(text))


def _append(tokens: Tokens, kind: str, text: str, at: int) -> None:
    if kind == "name":
        _check_name(tokens, text, at)
        _add(tokens, "name", text.upper(), text, text, at)
    elif kind == "op":
        _add(tokens, "op", "<>" if text == "!=" else text, text, None, at)
    elif kind in ("bracket", "quoted"):
        _add(tokens, "quoted", "", text, _unquote(tokens, text, at), at)
    elif kind == "string":
        _add_string(tokens, text, at)
    elif kind == "variable":
        _check_name(tokens, text, at)
        _add(tokens, "variable", "", text, text, at)
    elif kind == "pseudo":
        _add(tokens, "pseudo", "", text, None, at)
    else:
        _add_number(tokens, kind, text, at)


def _check_name(tokens: Tokens, name: str, at: int) -> None:
    if len(name) > 128:
        message = f"The identifier that starts with '{name[:128]}' is too long. Maximum length is 128."
        raise syntax_error(message, _line(tokens, at), 103)


def _unquote(tokens: Tokens, text: str, at: int) -> str:
    closing = "]" if text[0] == "[" else '"'
    inner = text[1:-1]
    if len(text) < 2 or text[-1] != closing or (len(inner) - len(inner.rstrip(closing))) % 2:
        message = f"Unclosed quotation mark after the character string '{text[1:61]}'."
        raise syntax_error(message, _line(tokens, at), 105)
    name = inner.replace(closing * 2, closing)
    if not name:
        message = (
            "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. "
            'For other statements, look for empty alias names. Aliases defined as "" or [] are not allowed. '
            "Change the alias to a valid name."
        )
        raise syntax_error(message, _line(tokens, at), 1038)
    _check_name(tokens, name, at)
    return name


def _add_string(tokens: Tokens, text: str, at: int) -> None:
    kind = "nstring" if text[0] in "Nn" else "string"
    body = text[2:] if kind == "nstring" else text[1:]
    quotes = len(body) - len(body.rstrip("'"))
    if quotes % 2 == 0:
        message = f"Unclosed quotation mark after the character string '{body[:60]}'."
        raise syntax_error(message, _line(tokens, at), 105)
    value = body[:-1].replace("''", "'")
    if "\\" in value:
        value = _BREAK.sub("", value)  # a backslash before a line break continues the line
    _add(tokens, kind, "", text, value, at)


def _add_number(tokens: Tokens, kind: str, text: str, at: int) -> None:
    if kind == "int":
        small = len(text.lstrip("0")) <= 10 and int(text) <= INT_MAX
        _add_exact(tokens, "int" if small else "decimal", text, at)
    elif kind == "decimal":
        _add_exact(tokens, "decimal", text, at)
    elif kind == "money":
        _add(tokens, "money", "", text, Decimal(text[1:] or "0"), at)
    elif kind == "binary":
        digits = _BREAK.sub("", text[2:])
        _add(tokens, "binary", "", text, bytes.fromhex("0" * (len(digits) % 2) + digits), at)
    else:
        value = float(text if text[-1].isdigit() else text + "0")  # 1e is 1e0
        if value in (float("inf"), float("-inf")):
            message = f"The floating point value '{text}' is out of the range of computer representation (8 bytes)."
            raise syntax_error(message, _line(tokens, at), 168)
        _add(tokens, "float", "", text, value, at)


def _add_exact(tokens: Tokens, kind: str, text: str, at: int) -> None:
    if kind == "int":
        _add(tokens, kind, "", text, int(text), at)
        return
    digits = text.replace(".", "").lstrip("0")
    fraction = len(text.partition(".")[2])
    if max(len(digits), fraction) > 38:
        message = f"The number '{text[:100]}' is out of the range for numeric representation (maximum precision 38)."
        raise syntax_error(message, _line(tokens, at), 1007)
    _add(tokens, kind, "", text, Decimal(text), at)
