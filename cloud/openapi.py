"""pure: the OpenAPI 3.1 document, made from the one table of operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cloud.documents import CURSOR_PATTERN, ChangeDocument, ParameterError, Problem
from cloud.errors import REGISTRY
from cloud.parameters import Parameter, parameters
from cloud.routes import EVENTS, JSON, OPERATIONS, PROBLEM_JSON, STATUS, Operation

TITLE = "Copy of an ERP database"
ABOUT = (
    "Reads a company's copy of its ERP database and follows its changes. The company is the one the token was issued for. "
    "Errors are problem documents (RFC 9457) with a stable `code` and a `remedy`."
)
REFERENCES = "#/components/schemas/{name}"
PLACES = {"WWW-Authenticate": [401], "Retry-After": [429, 503]}
"""Headers of error answers, by status."""

REQUIRED_HEADER = {"schema": {"type": "string"}, "required": True}


def openapi_document(*, version: str, url: str | None = None) -> dict[str, Any]:
    """Describe the whole API."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = _schemas()
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version, "description": ABOUT},
        **({"servers": [{"url": url}]} if url else {}),
        "paths": paths,
        "components": {
            "schemas": schemas["components"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Issued by `cdc-cloud token add`."}
            },
        },
    }


def _schemas() -> dict[str, Any]:
    """Collect references by type name, and the components they point at."""
    types: list[Any] = [
        *dict.fromkeys(op.response for op in OPERATIONS if op.response),
        ChangeDocument,
        ParameterError,
        Problem,
    ]
    references, components = msgspec.json.schema_components(types, ref_template=REFERENCES)
    return {"references": {t.__name__: r for t, r in zip(types, references, strict=True)}, "components": components}


def _operation(operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in parameters(operation)],
        "responses": {"200": _success(operation, schemas)} | dict(_failures(operation)),
        "security": [{"token": []}] if operation.scope else [],
    }
    return document | ({"description": operation.description} if operation.description else {})


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": _schema_of(parameter),
    }


def _schema_of(parameter: Parameter) -> dict[str, Any]:
    """Without null: an absent parameter is not sent."""
    schema = msgspec.json.schema(parameter.type)
    members = [member for member in schema.pop("anyOf", []) if member != {"type": "null"}]
    schema = {key: value for key, value in (schema | (members[0] if members else {})).items() if key != "description"}
    if parameter.default not in (None, []):
        schema["default"] = parameter.default
    return schema


def _success(operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    if operation.response:
        schema = schemas["references"][operation.response.__name__]
    else:
        schema = _event(schemas) if operation.media == EVENTS else {"type": "object"}
    return {"description": operation.summary, "content": {operation.media: {"schema": schema}}}


def _event(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """One event: before OpenAPI 3.2 the schema of an event stream is that of each event."""
    change = schemas["references"][ChangeDocument.__name__]
    return {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": CURSOR_PATTERN},
            "event": {"enum": ["upsert", "delete", "reset"]},
            "data": {"type": "string", "contentMediaType": JSON, "contentSchema": change},
        },
    }


def _failures(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    codes = operation.every_code()
    for status in sorted({STATUS[code] for code in codes}):
        here = [code for code in codes if STATUS[code] == status]
        yield (
            str(status),
            {
                "description": "\n".join(f"- `{code}` {REGISTRY[code].title}" for code in here),
                "headers": {name: REQUIRED_HEADER for name, at in PLACES.items() if status in at},
                "content": {PROBLEM_JSON: {"schema": _problem(here)}},
            },
        )


def _problem(codes: Sequence[str]) -> dict[str, Any]:
    return {"allOf": [{"$ref": REFERENCES.format(name="Problem")}, {"properties": {"code": {"enum": list(codes)}}}]}
