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
