"""Random transactions, pages and windows in any order: what a follower has is what the table has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc.model import Dataset
from tests.support.erp import Erp, Follower, closing, following

KEYS = st.sampled_from(["a", "A", "b", "c", "d", "e", "f", "g"])
CODES = st.sampled_from([None, "p", "q", "r", "s"])
NUMBERS = st.integers(0, 3)
FULL = os.environ.get("CDC_TEST_SIZE") == "full"
STAFF = Dataset(name="t", table="t", channel="hr", filter="n < 3")

statement = st.one_of(
    st.tuples(st.just("INSERT INTO t(id, code, n) VALUES(?, ?, ?)"), st.tuples(KEYS, CODES, NUMBERS)),
    st.tuples(st.just("UPDATE t SET code = ?, n = ? WHERE id = ?"), st.tuples(CODES, NUMBERS, KEYS)),
    st.tuples(st.just("UPDATE t SET id = ? WHERE id = ?"), st.tuples(KEYS, KEYS)),
    st.tuples(st.just("DELETE FROM t WHERE id = ?"), st.tuples(KEYS)),
    st.tuples(st.just("DELETE FROM t WHERE n = ?"), st.tuples(NUMBERS)),
    st.tuples(st.just("REPLACE INTO t(id, code, n) VALUES(?, ?, ?)"), st.tuples(KEYS, CODES, NUMBERS)),
    st.tuples(st.just("UPDATE OR REPLACE t SET id = ?, code = ? WHERE n = ?"), st.tuples(KEYS, CODES, NUMBERS)),
    st.tuples(st.just("UPDATE OR IGNORE t SET code = ?, n = ?"), st.tuples(CODES, NUMBERS)),
)
transaction = st.tuples(st.lists(statement, min_size=1, max_size=6), st.booleans())
step = st.one_of(transaction, transaction, st.just("window"), st.just("page"), st.just("clean up"))


def run(erp: Erp, work: tuple[list[tuple[str, tuple[object, ...]]], bool]) -> None:
    session = erp.connect()
    statements, commits = work
    with contextlib.suppress(ZeroDivisionError), session.transaction():
        for sql, parameters in statements:
            if not erp.replaces and (sql.startswith("REPLACE") or " OR " in sql):
                continue
            with contextlib.suppress(Exception):  # a statement that breaks a constraint undoes only itself
                session.execute(sql, parameters)
        _ = 1 / commits
    session.close()


async def play(erp: Erp, steps: list[object]) -> None:
    erp.create("t", {"id": "NVARCHAR(9) NOT NULL", "code": "NVARCHAR(9)", "n": "INT"}, key=["id"], unique=[["code"]])
    async with following(erp, STAFF) as steady:
        loading = Follower(steady.source, [STAFF], page_rows=2)
        await loading.start()
        after, done = b"", False
        for one in steps:
            if isinstance(one, tuple):
                run(erp, one)
            elif one == "window":
                await steady.catch_up()
            elif one == "page" and not done:
                page = await loading.page(STAFF, after)
                after, done = page.after, page.done
                await loading.catch_up()
            elif one == "clean up":
                for follower in (steady, loading):
                    await follower.catch_up()
                await erp.expire(steady.source)
        while not done:
            page = await loading.page(STAFF, after)
            after, done = page.after, page.done
        session = erp.connect()
        expected = sorted(session.execute("SELECT id, code, n FROM t WHERE n < 3"), key=repr)
        for follower in (steady, loading):
            await follower.catch_up()
            assert follower.rows("t") == expected


def test_pages_and_windows_in_any_order_lead_to_the_table(
    request: pytest.FixtureRequest, new_erp: Callable[[Path], Erp]
) -> None:
    many = FULL or "sqlserver" not in request.node.name  # a database of a server takes a second to be made and dropped

    @settings(max_examples=40 if many else 12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=st.lists(step, max_size=14))
    def leads(steps: list[object]) -> None:
        with tempfile.TemporaryDirectory() as folder, closing(new_erp(Path(folder))) as erp:
            asyncio.run(play(erp, steps))

    leads()
