"""pure: the parameters of a request, from path, query and headers, into its Struct; every mistake at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

import msgspec

from cloud.errors import ApiError
from cloud.routes import Operation
from transport.settings import unannotated

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a pattern's `$` would let a last line break pass


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of an operation."""

    name: str  # as it is sent
    place: str  # path, query or header
    type: Any  # annotation
    required: bool
    default: Any
    repeated: bool
    description: str


def parameters(operation: Operation) -> list[Parameter]:
    """Every parameter of the operation's request, in order."""
    return [_parameter(operation, field) for field in msgspec.structs.fields(operation.request)]


def decode_request(
    operation: Operation, path: Mapping[str, str], query: Sequence[tuple[str, str]], headers: Mapping[str, str]
) -> msgspec.Struct:
    """Return the request's Struct. Raises ApiError C3306 that lists every mistake."""
    mistakes: list[tuple[str, str]] = []
    values: dict[str, Any] = {}
    known = parameters(operation)
    fields = msgspec.structs.fields(operation.request)
    for parameter, field in zip(known, fields, strict=True):
        try:
            values[field.name] = _decoded(parameter, _sent(parameter, path, query, headers))
        except ValueError as error:
            mistakes.append((parameter.name, str(error)))
    names = [p.name for p in known if p.place == "query"]
    mistakes.extend((name[:60], "is not a parameter here") for name in dict(query) if name not in names)
    if mistakes:
        words = "; ".join(f"{name} {what}" for name, what in mistakes[:20])
        raise ApiError("C3306", words, errors=mistakes[:20])
    return operation.request(**values)


def _parameter(operation: Operation, field: Any) -> Parameter:
    plain, metas = unannotated(field.type)
    extra = next((m.extra for m in metas if m.extra), None) or {}
    place = "path" if operation.in_path(field.encode_name) else str(extra.get("in", "query"))
    return Parameter(
        name=field.encode_name,
        place=place,
        type=field.type,
        required=field.required,
        default=_default(field),
        repeated=get_origin(plain) is list,
        description=_description(field.type),
    )


def _default(field: Any) -> Any:
    if field.required:
        return None
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _sent(
    parameter: Parameter, path: Mapping[str, str], query: Sequence[tuple[str, str]], headers: Mapping[str, str]
) -> list[str]:
    if parameter.place == "query":
        return [value for name, value in query if name == parameter.name]
    value = (path if parameter.place == "path" else headers).get(parameter.name)
    return [] if value is None else [value]


def _decoded(parameter: Parameter, sent: list[str]) -> Any:
    if not sent and parameter.required:
        raise ValueError("is missing")
    if not sent:
        return parameter.default
    if parameter.repeated:
        return _converted(parameter, sent)
    if len(sent) > 1:
        raise ValueError("is given more than once")
    return _converted(parameter, sent[0])


def _converted(parameter: Parameter, value: Any) -> Any:
    if any(_CONTROL.search(text) for text in ([value] if isinstance(value, str) else value)):
        raise ValueError("holds a control character")
    if _is_whole(parameter.type):
        if not _WHOLE.fullmatch(value):
            raise ValueError("is not a whole number")
        value = int(value)
    try:
        return msgspec.convert(value, parameter.type)
    except msgspec.ValidationError as error:
        raise ValueError(_reason(parameter, str(error))) from None


def _reason(parameter: Parameter, message: str) -> str:
    """Words for what msgspec refused; its own where they say more than the parameter's description (limits of numbers)."""
    if _is_whole(parameter.type) or "length" in message:
        return message.replace("`", "").replace("Expected", "must be").partition(" - at")[0]
    return f"is not {parameter.description}"


def _is_whole(annotation: Any) -> bool:
    return unannotated(annotation)[0] is int


def _description(annotation: Any) -> str:
    """Return the outermost description, looking through `| None`."""
    plain, metas = unannotated(annotation)
    for meta in metas:
        if meta.description:
            return meta.description
    return next((_description(member) for member in get_args(plain) if member is not type(None)), "")
