"""shell: errors as RFC 9457 problem documents; the one place that answers a failed request. Never an HTML page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from cloud.documents import ParameterError, Problem
from cloud.errors import REGISTRY, ApiError, StoreError
from cloud.routes import PROBLEM_JSON, STATUS
from transport.errors import REGISTRY as WIRE

log = logging.getLogger("cloud.api")

RETRY_AFTER = 10  # seconds, for what mends itself

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    401: {"WWW-Authenticate": 'Bearer realm="erp-cdc"'},
    429: {"Retry-After": str(RETRY_AFTER)},
    503: {"Retry-After": str(RETRY_AFTER)},
}


def problem(
    code: str,
    status: int,
    detail: str,
    *,
    errors: list[tuple[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer with a code of either registry."""
    entry = REGISTRY.get(code) or WIRE.get(code)
    document = Problem(
        code=code,
        title=entry.title if entry else "",
        status=status,
        detail=detail,
        remedy=entry.remedy if entry else "",
        errors=[ParameterError(parameter, what) for parameter, what in errors or []],
    )
    return web.Response(
        body=msgspec.json.encode(document),
        status=status,
        content_type=PROBLEM_JSON,
        headers={"Cache-Control": "no-store", **HEADERS.get(status, {}), **(headers or {})},
    )


async def answered(handler: Handler, request: web.Request) -> web.StreamResponse:
    """Be the request's boundary: whatever `handler` raises becomes a problem document. Cancellation passes through."""
    try:
        return await handler(request)
    except ApiError as error:
        return problem(error.code, STATUS[error.code], error.message, errors=error.errors)
    except StoreError as error:
        log.error("store: %s", error, extra={"action": "api.store_failed", "code": error.code})  # noqa: TRY400 (expected)
        return problem("C3313", 503, f"the copy cannot be read now ({error.code})")
    except web.HTTPException as error:
        return _of_http(error)
    except ConnectionError:
        raise  # the client has gone
    except Exception:
        log.exception("unexpected error", extra={"action": "api.failed", "code": "C3312"})
        return problem("C3312", 500, "the request failed; the service has logged why")


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """`answered` for every route of an application, known or not."""
    return await answered(handler, request)


def _of_http(error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        raise error
    allow = error.headers.get("Allow")
    if error.status == 405:
        return problem("C3302", 405, f"allowed here: {allow}", headers={"Allow": allow or ""})
    code = "C3301" if error.status == 404 else "C3306"
    return problem(code, error.status, error.reason)


__all__ = ["answered", "problem", "problem_middleware"]
