from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.erp import Erp, closing, make_erp

KINDS = ["sqlite"]


@pytest.fixture(params=KINDS)
def erp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Erp]:
    with closing(make_erp(request.param, tmp_path)) as made:
        yield made
