"""pure: a filter's text, looked at before the server compiles it: one condition on the row alone, the same at any time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>[nN]?'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\])
    | (?P<number>0[xX][0-9A-Fa-f]*|[0-9][\w.]*|\.[0-9]\w*)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$@\#\x80-\U0010ffff]*)
    | (?P<variable>@[\w$@\#]*|\?|\#[\w$@\#]*)
    | (?P<op>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTIONS = _words(
    """abs ceiling floor round sign sqrt square power len datalength left right substring upper lower ltrim rtrim trim
    replace reverse replicate stuff space charindex patindex concat ascii unicode char nchar str translate isnull
    coalesce nullif iif choose cast convert try_cast try_convert parse try_parse year month day datepart datename
    dateadd datediff datediff_big datefromparts datetimefromparts datetime2fromparts timefromparts eomonth isdate
    isnumeric checksum binary_checksum hashbytes todatetimeoffset switchoffset"""
)
_TYPES = _words(
    """binary char datetime2 datetimeoffset dec decimal float nchar numeric nvarchar time varbinary varchar character
    varying national"""
)
_BEFORE_BRACKET = _words("and or not in between like case when then else is escape collate as") | _FUNCTIONS | _TYPES
_NEVER = _words(
    """select exists from where with union except intersect insert update delete merge into values drop create alter
    exec execute declare set begin commit rollback print raiserror throw waitfor if while return use go grant revoke
    deny truncate backup restore openrowset openquery opendatasource openxml openjson contains freetext containstable
    freetexttable any some all next over for option group order having top distinct current_timestamp current_date
    current_user session_user system_user user current_time current_timezone getdate getutcdate sysdatetime
    sysutcdatetime sysdatetimeoffset newid newsequentialid rand context_info session_context current_request_id
    current_transaction_id suser_sname suser_name user_name host_name app_name original_login db_name object_id
    object_name"""
)
_UNFINISHED = _words("and or not in between like when then else is escape collate as case")


class Token(NamedTuple):
    """One token: its kind (a group of the pattern) and its text, in lower case unless it is quoted."""

    kind: str
    text: str


def tokens(sql: str) -> Iterator[Token]:
    """Everything but blanks and comments; a comment that does not end is a token of the kind `comment`."""
    at = 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:  # pragma: no cover  # the last alternative takes any character
            return
        at = match.end()
        kind = str(match.lastgroup)
        if kind == "comment":
            end = _end_of_comment(sql, at)
            if end < 0:
                yield Token(kind, match.group())
                return
            at = end
        elif kind != "space":
            yield Token(kind, match.group().lower() if kind in ("word", "op") else match.group())


def _end_of_comment(sql: str, at: int) -> int:
    """Comments of T-SQL nest. -1: it does not end."""
    depth = 1
    for match in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return at + match.end()
    return -1


def problem(text: str) -> str:
    """Why a filter cannot be one condition on the row alone, as far as its text tells; "" if it can."""
    found = list(tokens(text))
    if not found:
        return "is empty"
    depth = 0
    for i, token in enumerate(found):
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "op" else 0
        if depth < 0:
            return "has a stray )"
        if reason := _refused(found, i):
            return reason
    last = found[-1]
    if depth:
        return "has a ( that is not closed"
    unfinished = (last.kind == "op" and last.text != ")") or (last.kind == "word" and last.text in _UNFINISHED)
    return f"is not finished: it ends with {last.text}" if unfinished else ""


def _refused(found: list[Token], i: int) -> str:
    kind, text = found[i]
    if kind == "comment":
        return "has a comment that is not closed"
    if kind == "variable":
        return f"has a parameter: {text}"
    if kind == "op" and text in "'\"[]`;:{}\\":
        return f"has a stray {text}"
    if kind == "word" and text in _NEVER:
        return f"uses {text.upper()}; it may only look at the row's own columns, and say the same at any time"
    called = i + 1 < len(found) and found[i + 1] == ("op", "(")
    if not called or kind not in ("word", "quoted"):
        return ""
    after_dot = i > 0 and found[i - 1] == ("op", ".")
    if kind == "quoted" or after_dot or text not in _BEFORE_BRACKET:
        return f"calls {text}, which is not known to look at the row alone"
    return ""
