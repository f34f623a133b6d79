from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.erp import Erp, closing
from tests.support.sqlite_erp import SqliteErp

KINDS = ["sqlite", "sqlserver"]


@pytest.fixture(params=KINDS)
def new_erp(request: pytest.FixtureRequest) -> Callable[[Path], Erp]:
    """Makes an empty database of an ERP, with a folder for what it needs."""
    if request.param == "sqlite":
        return SqliteErp
    server = request.getfixturevalue("sql_server")
    from tests.support.sqlserver_erp import SqlServerErp

    return lambda _: SqlServerErp(server)


@pytest.fixture
def erp(new_erp: Callable[[Path], Erp], tmp_path: Path) -> Iterator[Erp]:
    with closing(new_erp(tmp_path)) as made:
        yield made
