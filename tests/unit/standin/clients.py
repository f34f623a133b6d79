"""shell: connections of Microsoft's driver to a server of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.support.sqlserver import driver_file

PASSWORD = "{right;}}{ł}"  # the driver's quoting of right;}{ł


def connect(server: Any, *, autocommit: bool = True, **more: str) -> Any:
    said = {
        "Server": f"127.0.0.1,{server.port}",
        "UID": "sa",
        "PWD": PASSWORD,
        "Encrypt": "yes",
        "TrustServerCertificate": "yes",
    }
    text = ";".join(f"{key}={value}" for key, value in {"Driver": str(driver_file()), **said, **more}.items())
    import pyodbc

    pyodbc.pooling = False
    return pyodbc.connect(text, autocommit=autocommit, timeout=10)


def state(server: Any) -> dict[str, int]:
    with closing(connect(server)) as opened:
        return dict(opened.execute("state").fetchall())


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
