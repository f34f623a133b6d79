"""pure: which ODBC driver is used, and the connection string it gets.

Keywords: https://learn.microsoft.com/sql/connect/odbc/dsn-connection-string-attribute
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdc.errors import CompanyStopped
from cdc.source_settings import Login, SqlServerSource

APPLICATION = "erp-cdc"  # as the server's own lists of sessions show it
MICROSOFT = re.compile(r"ODBC Driver (1[78]) for SQL Server")
WHERE_FROM = "install Microsoft's package msodbcsql18 (Linux) or the ODBC Driver 18 for SQL Server (Windows)"
UNSUITABLE = {
    "freetds": "it cuts long texts at 4,000 characters and times at the microsecond, without an error",
    "tdsodbc": "it cuts long texts at 4,000 characters and times at the microsecond, without an error",
    "native client": "Microsoft has withdrawn it; it does not know current TLS",
}


def choose(named: str, registered: Sequence[str], where: str) -> str:
    """The driver to use: what the settings name (a name or a path), or the newest of Microsoft's that is registered.

    Raises CompanyStopped A2241 (there is none) or A2242 (the one named would lose data).
    """
    if named:
        reason = unsuitable(named)
        if reason:
            raise CompanyStopped("A2242", f"the driver {named} cannot be used: {reason}", where=where)
        if not is_path(named) and named not in registered:
            raise CompanyStopped("A2241", f"no driver {named} is registered; there is: {_listed(registered)}", where=where)
        return named
    known = sorted(name for name in registered if MICROSOFT.fullmatch(name))
    if known:
        return known[-1]
    reasons = [f"{name} cannot be used: {reason}" for name in registered if (reason := unsuitable(name))]
    found = "; ".join(reasons) or f"there is: {_listed(registered)}"
    raise CompanyStopped("A2241", f"no driver of Microsoft's is registered with ODBC ({found}); {WHERE_FROM}", where=where)


def unsuitable(driver: str) -> str:
    """Why a driver must not be used; "" when nothing speaks against it."""
    lower = driver.lower()
    if lower == "sql server":
        return "it is the old driver of Windows, which does not know datetime2"
    return next((reason for word, reason in UNSUITABLE.items() if word in lower), "")


def is_path(driver: str) -> bool:
    """Whether it names a file instead of a registered driver."""
    return "/" in driver or "\\" in driver


def _listed(registered: Sequence[str]) -> str:
    return ", ".join(sorted(registered)) or "none at all"


def connection_string(settings: SqlServerSource, driver: str, password: str) -> str:
    """Everything the driver needs; holds the password, so it goes nowhere else.

    Reads always ask the primary (a secondary answers questions about changes with error 22117, or not truthfully), and the
    driver never reconnects by itself: a new session must be told its settings, and the database may be another one by then.
    """
    parts = {
        "Driver": driver,
        "Server": settings.server,
        "Database": settings.database,
        **_login(settings, password),
        "Encrypt": _flag(settings.encrypt),
        "TrustServerCertificate": _flag(settings.trust_server_certificate),
        "HostNameInCertificate": settings.certificate_host,
        "MultiSubnetFailover": _flag(settings.multi_subnet_failover),
        "ApplicationIntent": "ReadWrite",
        "MARS_Connection": "no",
        "ConnectRetryCount": "0",
        "APP": APPLICATION,
    }
    return ";".join(f"{key}={quoted(value)}" for key, value in parts.items() if value)


def _login(settings: SqlServerSource, password: str) -> dict[str, str]:
    if settings.login is Login.INTEGRATED:
        return {"Trusted_Connection": "yes"}
    return {"UID": settings.user, "PWD": password}


def _flag(value: bool) -> str:
    return "yes" if value else "no"


def quoted(value: str) -> str:
    """A value that cannot end early or begin another keyword: in braces, a closing brace doubled, unless it is a plain word."""
    if re.fullmatch(r"[A-Za-z0-9_.:,/\\-]+", value):
        return value
    return "{" + value.replace("}", "}}") + "}"
