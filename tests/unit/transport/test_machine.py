"""Threads behind the event loop: order, cancellation, and that nothing runs on behind the back of whoever cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from transport.machine import SharedExecutor, ThreadExecutor, pooled_runtime
from transport.runtime import Executor


class Gate:
    """A call that begins, and ends when it is let go."""

    def __init__(self, result: object = "done") -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.ended = False
        self._result = result

    def __call__(self) -> object:
        self.begun.set()
        assert self.open.wait(10)
        self.ended = True
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 10)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture(params=["thread", "shared"])
async def executor(request: pytest.FixtureRequest, pool: ThreadPoolExecutor) -> AsyncIterator[Executor]:
    made = ThreadExecutor("test") if request.param == "thread" else SharedExecutor(pool)
    yield made
    made.close()


async def test_calls_of_one_owner_run_in_order(executor: Executor) -> None:
    seen: list[int] = []
    await asyncio.gather(*(executor.run(lambda n=n: seen.append(n)) for n in range(20)))
    assert seen == list(range(20))


async def test_a_cancelled_wait_lets_the_call_that_has_begun_finish(executor: Executor) -> None:
    gate = Gate()
    wait = asyncio.create_task(executor.run(gate))
    await gate.has_begun()
    for _ in range(3):  # however often
        wait.cancel()
        await asyncio.sleep(0)
    assert not wait.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert gate.ended


async def test_the_exception_of_a_cancelled_call_disturbs_nobody(executor: Executor) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gate = Gate(ValueError("of no interest"))
    wait = asyncio.create_task(executor.run(gate))
    await gate.has_begun()
    wait.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await wait
    del wait
    assert await executor.run(lambda: "next") == "next"
    assert complaints == []


async def test_a_call_cancelled_before_it_began_never_runs(executor: Executor) -> None:
    gate, seen = Gate(), []
    first = asyncio.create_task(executor.run(gate))
    await gate.has_begun()
    second = asyncio.create_task(executor.run(lambda: seen.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await first
    await executor.run(lambda: seen.append("third"))
    assert seen == ["third"]


async def test_a_company_whose_call_is_long_leaves_the_pool_s_other_threads_to_the_rest(pool: ThreadPoolExecutor) -> None:
    slow, other = SharedExecutor(pool), SharedExecutor(pool)
    gate = Gate()
    waits = [asyncio.create_task(slow.run(gate)) for _ in range(5)]
    await gate.has_begun()
    assert await other.run(lambda: "at once") == "at once"
    gate.open.set()
    await asyncio.gather(*waits)


async def test_long_writes_of_all_companies_hold_up_neither_reads_nor_the_registry() -> None:
    with ThreadPoolExecutor(1) as writers, ThreadPoolExecutor(1) as readers:
        runtime = pooled_runtime({"store": writers, "read": readers})
        gate = Gate()
        write = asyncio.create_task(runtime.executor("store.acme").run(gate))
        await gate.has_begun()
        registry = runtime.executor("registry")
        assert await runtime.executor("read.acme").run(lambda: "read") == "read"
        assert await registry.run(lambda: "known") == "known"
        gate.open.set()
        await write
        registry.close()
