"""pure: the cloud's errors; each has a stable code (docs/errors.md)."""

from __future__ import annotations

from typing import ClassVar

from transport.errors import CodedError, Entry

REGISTRY: dict[str, Entry] = {}


def _entries(entries: dict[str, tuple[str, str, str]]) -> None:
    for code, (title, cause, remedy) in entries.items():
        REGISTRY[code] = Entry(title, cause, remedy)


class CloudError(CodedError):
    """Root of the cloud's errors."""

    registry: ClassVar[dict[str, Entry]] = REGISTRY


class StoreError(CloudError):
    """A company's store cannot do what was asked (disk, damage); the company waits, others go on."""


class RegistryError(CloudError):
    """A company, code, key or token is not what it should be."""


class ConfigError(CloudError):
    """The configuration is refused; `problems` has every mistake, each with its place."""

    def __init__(self, problems: list[CloudError]) -> None:
        self.problems = problems
        super().__init__(problems[0].code, "; ".join(str(p) for p in problems))

    def __str__(self) -> str:
        return self.message


class ApiError(CloudError):
    """A request that is answered with a problem document; `cloud.routes.STATUS` has its status."""

    def __init__(self, code: str, message: str, *, where: str = "", errors: list[tuple[str, str]] | None = None) -> None:
        super().__init__(code, message, where=where)
        self.errors = errors or []  # (parameter, what is wrong with it)


_entries(
    {
        # -- configuration ---------------------------------------------------------------------------------------------
        "C3001": (
            "Configuration file cannot be read",
            "The file is missing, not readable for this user, or not UTF-8.",
            "Check the path given with --config and the file's permissions.",
        ),
        "C3002": (
            "Configuration file is not TOML",
            "The text breaks a rule of TOML at the line and column named.",
            "Mend that line; a value with a backslash or a quote may need single quotes.",
        ),
        "C3003": (
            "Setting is not allowed",
            "A key is unknown, missing, of the wrong type, or its value is outside what is possible.",
            "Mend the key named; examples/cloud.toml shows every setting.",
        ),
        # -- the API for applications ----------------------------------------------------------------------------------
        "C3301": (
            "No such address",
            "Nothing is served at this path.",
            "Compare the path with /api/v1/openapi.json.",
        ),
        "C3302": (
            "Method is not allowed",
            "The path exists, but not with this method.",
            "Use one of the methods in the answer's Allow header.",
        ),
        "C3303": (
            "Token is missing or not valid",
            "The request has no bearer token, or one that was never issued, or was revoked.",
            "Send `Authorization: Bearer <token>`; `cdc-cloud token add` issues one.",
        ),
        "C3304": (
            "Token does not cover this",
            "The token is valid, but was not issued for this kind of request.",
            "Issue a token with the scope that the answer names.",
        ),
        "C3305": (
            "Company is suspended",
            "The company's access was suspended by the operator of the service.",
            "Ask the operator of the service.",
        ),
        "C3306": (
            "Request is not valid",
            "One or more parameters are unknown, missing, repeated or outside their limits; the answer lists each.",
            "Correct the parameters listed; /api/v1/openapi.json describes them.",
        ),
        "C3307": (
            "No such dataset",
            "The company has no dataset of this name, or its first message has not arrived yet.",
            "GET /api/v1/datasets lists them; a dataset is declared in the agent's file.",
        ),
        "C3308": (
            "No such row",
            "The dataset has no row with this key now.",
            "It may have been deleted in the ERP; GET /api/v1/changes tells.",
        ),
        "C3309": (
            "Cursor is too old",
            "The feed of changes no longer reaches back to this cursor.",
            "Take a cursor from GET /api/v1/cursor, read the datasets anew, then follow the changes from that cursor.",
        ),
        "C3310": (
            "Cursor is not of this feed",
            "The cursor lies ahead of the feed: it belongs to another company, or the copy was restored from a backup.",
            "Take a cursor from GET /api/v1/cursor, read the datasets anew, then follow the changes from that cursor.",
        ),
        "C3311": (
            "Request is too large",
            "The address or a header is longer than the service accepts.",
            "Shorten the address or the header; the answer says which and how long it may be.",
        ),
        "C3312": (
            "Internal error",
            "The service has a defect; it was logged.",
            "Try again; if it happens again, report it with the time and the address.",
        ),
        "C3313": (
            "Copy is not available",
            "The company's store cannot be read now (disk, damage, maintenance).",
            "Try again after the time in Retry-After; the operator of the service sees the cause in its log.",
        ),
        "C3314": (
            "Dataset is being loaded",
            "The first full read of this dataset has not ended, so nothing of it can be seen yet.",
            "Try again after the time in Retry-After; the dataset's `state` tells when it is there.",
        ),
        "C3315": (
            "Too many followers",
            "This company already has as many waiting requests and streams as the service allows.",
            "Close some, or share one stream between the application's parts; see limits.followers.",
        ),
    }
)
