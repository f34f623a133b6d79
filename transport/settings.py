"""pure: settings files: TOML into typed Structs, collecting every mistake with the path of its key.

Shared by agent and cloud, which put their own error codes on the problems. `msgspec.convert` alone stops at the first mistake;
here every field is decoded by itself, and msgspec judges the single values.

A field's annotation may be: bool, int, float, str, `pathlib.Path`, Literal, StrEnum, `Duration`, `Size`, any of these with
`msgspec.Meta` limits, another Struct, `list[T]`, `tuple[T, ...]`, `dict[str, T]`, `T | None`, a union of values, or a union of
tagged Structs. A Struct's `__post_init__` may raise ValueError for settings that do not go together.
"""

from __future__ import annotations

import difflib
import enum
import json
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class Problem(NamedTuple):
    """One mistake: the key's path within the file ("" is the file itself), what is wrong with it, and the file."""

    path: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class NotToml(ValueError):
    """The text breaks a rule of TOML; `line` and `column` count from 1."""

    def __init__(self, message: str, *, where: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"{self.where}: line {self.line}, column {self.column}: {self.message}"


class _Unit(enum.Enum):
    """How a text with units is read; stands in the annotation."""

    DURATION = 'a duration such as "15m", "12h", "1s" or "500ms"'
    SIZE = 'a size such as "64 MiB" or "1 GiB"'


Duration = Annotated[float, msgspec.Meta(extra={"settings": _Unit.DURATION})]
"""Seconds; written with its unit: ms, s, m, h, d, w, also several in order ("1h30m")."""

Size = Annotated[int, msgspec.Meta(extra={"settings": _Unit.SIZE})]
"""Bytes; written with its unit: B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB for powers of ten."""

_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:(\d{{1,9}}(?:\.\d{{1,3}})?)\s*{unit})?\s*" for unit in _SECONDS), re.ASCII)
_BYTES: dict[str, int] = (
    {"b": 1}
    | {f"{p}ib": 1024 ** (i + 1) for i, p in enumerate("kmgt")}
    | {f"{p}b": 1000 ** (i + 1) for i, p in enumerate("kmgt")}
)
_SIZE = re.compile(r"(\d{1,9})\s*([kmgt]?i?b)", re.ASCII | re.IGNORECASE)
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)


def load_toml(text: str, *, where: str) -> dict[str, Any]:
    """Return the document's root table. Raises NotToml with line and column."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise NotToml("brackets are nested too deep", where=where, line=1, column=1) from None
    except ValueError as error:
        message, line, column = _located(str(error), text)
        raise NotToml(message, where=where, line=line, column=column) from None


def decode_all(table: Mapping[str, Any], type: type[S], *, where: str, path: str = "") -> tuple[S | None, list[Problem]]:  # noqa: A002
    """Return the Struct, or None and every problem, in the order of the Struct's fields; unknown keys come last."""
    problems: list[Problem] = []

    def report(at: str, message: str) -> None:
        problems.append(Problem(at, message, where))

    value = _struct(table, type, path, report)
    return (None if problems else value), problems


def parse_duration(text: str) -> float:
    """Seconds of "15m", "1h30m", "500ms". Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError(f"must be {_Unit.DURATION.value}")
    return float(sum(float(n) * unit for n, unit in zip(match.groups(), _SECONDS.values(), strict=True) if n))


def parse_size(text: str) -> int:
    """Bytes of "64 MiB", "10 GB", "512 B". Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be {_Unit.SIZE.value}")
    return int(match[1]) * _BYTES[match[2].lower()]


def format_duration(seconds: float) -> str:
    """As a person would write it in the file."""
    for name, unit in _SECONDS.items():
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:g}s"


def format_size(size: int) -> str:
    """As a person would write it in the file."""
    for name in ("TiB", "GiB", "MiB", "KiB"):
        unit = _BYTES[name.lower()]
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


# -- the walk over the types -----------------------------------------------------------------------------------------------

_Report = Callable[[str, str], None]
_BAD: Any = object()  # a value that was reported; the Struct around it is not made


def _located(message: str, text: str) -> tuple[str, int, int]:
    match = _PLACE.search(message)
    if match and match[1]:
        return message[: match.start()], int(match[1]), int(match[2])
    lines = text.split("\n")
    return (message[: match.start()] if match else message), len(lines), len(lines[-1]) + 1


def _struct(table: object, cls: Any, path: str, report: _Report) -> Any:
    if not isinstance(table, Mapping):
        report(path, f"must be a table ([{_last(path)}]), but is {_kind(table)}")
        return _BAD
    fields = msgspec.structs.fields(cls)
    values = {f.name: _field(table, f, path, report) for f in fields}
    tag = cls.__struct_config__.tag_field
    _unknown(table, [f.encode_name for f in fields] + ([tag] if tag else []), path, report)
    if any(value is _BAD for value in values.values()):
        return _BAD
    try:
        return cls(**values)
    except ValueError as error:
        report(path, str(error))
        return _BAD


def _field(table: Mapping[str, Any], field: Any, path: str, report: _Report) -> Any:
    at = _join(path, field.encode_name)
    if field.encode_name in table:
        return _value(table[field.encode_name], field.type, at, report)
    if not field.required:
        return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    report(at, "is missing")
    return _BAD


def _unknown(table: Mapping[str, Any], known: list[str], path: str, report: _Report) -> None:
    for key in table:
        if key not in known:
            report(_join(path, key), "is not a setting" + _hint(key, known))


def _hint(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:60], list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def _value(value: Any, annotation: Any, path: str, report: _Report) -> Any:
    plain, metas = unannotated(annotation)
    origin = get_origin(plain)
    if origin in (Union, types.UnionType):
        return _union(value, plain, path, report)
    if origin in (list, tuple) and _is_tables(value, plain):
        return _list(value, plain, path, report)
    if origin in (list, tuple):
        return _checked(_list(value, plain, path, report), annotation, path, report)
    if origin is dict:
        return _dict(value, plain, path, report)
    if _is_struct(plain):
        return _struct(value, plain, path, report)
    return _leaf(value, annotation, plain, metas, path, report)


def unannotated(annotation: Any) -> tuple[Any, list[msgspec.Meta]]:
    """Split an annotation into the plain type and its limits and descriptions."""
    if get_origin(annotation) is Annotated:
        plain, *metas = get_args(annotation)
        return plain, [m for m in metas if isinstance(m, msgspec.Meta)]
    return annotation, []


def _is_struct(plain: Any) -> bool:
    return isinstance(plain, type) and issubclass(plain, msgspec.Struct)


def _is_tables(value: Any, plain: Any) -> bool:
    return (
        isinstance(value, list)
        and any(isinstance(item, Mapping) for item in value)
        and _is_struct(unannotated(get_args(plain)[0])[0])
    )


def _list(value: Any, plain: Any, path: str, report: _Report) -> Any:
    if not isinstance(value, list):
        report(path, f"must be a list, but is {_kind(value)}")
        return _BAD
    items = [_value(item, get_args(plain)[0], _item(path, item, i), report) for i, item in enumerate(value)]
    return _BAD if any(item is _BAD for item in items) else get_origin(plain)(items)


def _dict(value: Any, plain: Any, path: str, report: _Report) -> Any:
    if not isinstance(value, Mapping):
        report(path, f"must be a table, but is {_kind(value)}")
        return _BAD
    items = {key: _value(item, get_args(plain)[1], _join(path, key), report) for key, item in value.items()}
    return _BAD if any(item is _BAD for item in items.values()) else items


def _union(value: Any, plain: Any, path: str, report: _Report) -> Any:
    members = [m for m in get_args(plain) if m is not type(None)]
    if len(members) == 1:
        return _value(value, members[0], path, report)
    if isinstance(value, Mapping) and all(_is_struct(unannotated(m)[0]) for m in members):
        return _tagged(value, [unannotated(m)[0] for m in members], path, report)
    for member in members:
        mistakes: list[Problem] = []
        found = _value(value, member, path, _collector(mistakes))
        if not mistakes:
            return found
    report(path, "must be " + " or ".join(_expected(m) for m in members))
    return _BAD


def _collector(into: list[Problem]) -> _Report:
    return lambda at, message: into.append(Problem(at, message))


def _tagged(value: Mapping[str, Any], members: list[Any], path: str, report: _Report) -> Any:
    field = members[0].__struct_config__.tag_field
    tags = {m.__struct_config__.tag: m for m in members}
    if field not in value:
        report(_join(path, field), f"is missing; must be {_one_of(tags)}")
        return _BAD
    tag = value[field]
    if not isinstance(tag, str | int) or tag not in tags:
        report(_join(path, field), f"must be {_one_of(tags)}{_hint(str(tag), map(str, tags))}")
        return _BAD
    return _struct(value, tags[tag], path, report)


def _leaf(value: Any, annotation: Any, plain: Any, metas: list[msgspec.Meta], path: str, report: _Report) -> Any:
    unit = _unit(metas)
    try:
        if unit is not None:
            value = _with_unit(value, unit)
        elif plain is Path:
            return _path(value)
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        report(path, _reason(value, annotation, metas, unit, str(error)))
    except ValueError as error:
        report(path, str(error))
    return _BAD


def _path(value: Any) -> Path:
    if value == "" or "\0" in msgspec.convert(value, str):
        raise ValueError("must be the path of a file or folder")
    return Path(value)


def _checked(value: Any, annotation: Any, path: str, report: _Report) -> Any:
    """Limits on the length of a list."""
    _, metas = unannotated(annotation)
    for meta in metas if value is not _BAD else []:
        if meta.min_length is not None and len(value) < meta.min_length:
            report(path, f"must have at least {meta.min_length} entries" if meta.min_length > 1 else "must not be empty")
            return _BAD
        if meta.max_length is not None and len(value) > meta.max_length:
            report(path, f"must have at most {meta.max_length} entries")
            return _BAD
    return value


def _unit(metas: list[msgspec.Meta]) -> _Unit | None:
    return next((m.extra["settings"] for m in metas if m.extra and "settings" in m.extra), None)


def _with_unit(value: Any, unit: _Unit) -> float | int:
    if not isinstance(value, str):
        raise ValueError(f"must be {unit.value}, but is {_kind(value)}")  # noqa: TRY004 (a mistake in a file)
    return parse_duration(value) if unit is _Unit.DURATION else parse_size(value)


# -- words -----------------------------------------------------------------------------------------------------------------

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes", Path: "a path in quotes"}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a table"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a date or time")


def _expected(annotation: Any) -> str:
    plain, metas = unannotated(annotation)
    unit = _unit(metas)
    if unit is not None:
        return unit.value
    if get_origin(plain) is Literal:
        return _one_of(get_args(plain))
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return _one_of(m.value for m in plain)
    return _WORDS.get(plain, {list: "a list", tuple: "a list", dict: "a table"}.get(get_origin(plain), "a table"))


def _one_of(values: Iterable[Any]) -> str:
    words = [json.dumps(v, ensure_ascii=False) for v in values]
    return words[0] if len(words) == 1 else "one of " + ", ".join(words)


def _choices(annotation: Any) -> list[str]:
    plain, _ = unannotated(annotation)
    if get_origin(plain) is Literal:
        return [str(v) for v in get_args(plain)]
    return [str(m.value) for m in plain] if isinstance(plain, type) and issubclass(plain, enum.Enum) else []


def _reason(value: Any, annotation: Any, metas: list[msgspec.Meta], unit: _Unit | None, message: str) -> str:
    """Words for what msgspec refused; the value itself is not repeated: it could be a secret in the wrong place."""
    plain, _ = unannotated(annotation)
    choices = _choices(annotation)
    if choices:
        return f"must be {_expected(annotation)}" + (
            _hint(value, choices) if isinstance(value, str) else f", but is {_kind(value)}"
        )
    if plain in _WORDS and not _right_type(value, plain):
        return f"must be {_WORDS[plain]}, but is {_kind(value)}"
    limits = " and ".join(limit for meta in metas for limit in _limits(meta, unit))
    return f"must be {limits}" if limits else message.replace("`", "")


def _right_type(value: Any, plain: Any) -> bool:
    if plain is Path:
        return isinstance(value, str)
    if plain is float:
        return type(value) in (int, float)
    return type(value) is plain


def _limits(meta: msgspec.Meta, unit: _Unit | None) -> Iterable[str]:
    def shown(number: Any) -> str:
        if unit is _Unit.DURATION:
            return f'"{format_duration(number)}"'
        return f'"{format_size(number)}"' if unit is _Unit.SIZE else f"{number:g}" if isinstance(number, float) else str(number)

    numbers = {
        "at least": meta.ge,
        "more than": meta.gt,
        "at most": meta.le,
        "less than": meta.lt,
        "a multiple of": meta.multiple_of,
    }
    yield from (f"{words} {shown(number)}" for words, number in numbers.items() if number is not None)
    if meta.min_length is not None:
        yield f"at least {meta.min_length} characters long" if meta.min_length > 1 else "not empty"
    if meta.max_length is not None:
        yield f"at most {meta.max_length} characters long"
    if meta.pattern is not None:
        yield meta.description or f"of the form {meta.pattern}"


# -- paths -----------------------------------------------------------------------------------------------------------------


def _join(path: str, key: str) -> str:
    shown = key if _PLAIN_KEY.fullmatch(key) else json.dumps(key[:60], ensure_ascii=False)
    return f"{path}.{shown}" if path else shown


def _item(path: str, item: object, index: int) -> str:
    """`company[acme]` by its name where it has one, else `company[#1]`, counted from 1."""
    name = item.get("name") if isinstance(item, Mapping) else None
    return f"{path}[{name}]" if isinstance(name, str) and _PLAIN_KEY.fullmatch(name) else f"{path}[#{index + 1}]"


def _last(path: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", path).rpartition(".")[2]
