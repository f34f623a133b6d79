"""shell: what `cdc doctor` looks at besides the ERP: state folder, enrolment, disk, and the way to the cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cdc.config import Company, Config
from cdc.errors import REGISTRY, AgentError
from cdc.journal_identity import IdentityFile
from cdc.model import Finding, Severity
from transport.client import NotOurs, Untrusted, probe, tls_context
from transport.errors import TransportError
from transport.runtime import unwatched


async def inspect_installation(config: Config, company: Company) -> list[Finding]:
    """State folder, enrolment, disk and cloud, in the order in which they matter."""
    folder = config.agent.state / company.name
    return [
        _folder(config.agent.state),
        _disk(config.agent.state, company),
        _enrolment(folder, company),
        await _cloud(config),
    ]


def _finding(code: str, where: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
    remedy = "" if severity is Severity.OK else REGISTRY[code].remedy
    return Finding(code=code, severity=severity, where=where, message=message, remedy=remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))  # noqa: PTH110  # never raises


def _folder(state: Path) -> Finding:
    if os.access(_existing(state), os.W_OK | os.X_OK):
        return _finding("A2102", str(state), "can be written", Severity.OK)
    return _finding("A2102", str(state), "cannot be written by this user")


def _disk(state: Path, company: Company, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> Finding:
    room = free(_existing(state))
    if room >= company.journal_limit:
        return _finding("A2103", str(state), "has room for the journal", Severity.OK)
    text = f"{room} bytes are free, the journal may take {company.journal_limit}"
    return _finding("A2103", str(state), text, Severity.WARNING)


def _enrolment(folder: Path, company: Company) -> Finding:
    try:
        identity = IdentityFile(folder / "journal.identity", unwatched).load()
    except AgentError as error:
        return _finding(error.code, error.where, error.message)
    if identity is None:
        return _finding("A2601", company.name, "the company is not enrolled")
    return _finding("A2601", company.name, f"enrolled at {identity.cloud}", Severity.OK)


async def _cloud(config: Config) -> Finding:
    url = config.cloud.url
    try:
        await probe(url, tls_context(config.cloud.ca))
    except TransportError as error:
        code = {Untrusted: "A2603", NotOurs: "A2604"}.get(type(error), "A2602")
        return _finding(code, error.where or url, error.message)
    return _finding("A2602", url, "answers", Severity.OK)
