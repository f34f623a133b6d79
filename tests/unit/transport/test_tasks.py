"""Waiting for tasks so that nothing is left half done and no failure is lost."""

from __future__ import annotations

import asyncio

import pytest

from transport.tasks import cancel_all, first_of_all, to_the_end


async def test_work_that_must_end_ends_before_its_cancellation_goes_on() -> None:
    gate, ended = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        ended.append(True)

    task = asyncio.create_task(to_the_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_the_failure_of_work_that_was_cancelled_is_its_cause() -> None:
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        raise ValueError("disk")

    task = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ValueError)


async def test_of_several_failures_at_once_the_first_named_decides() -> None:
    async def fail(error: Exception) -> None:
        raise error

    for _ in range(20):
        tasks = [asyncio.create_task(fail(e)) for e in (KeyError("said"), ConnectionError("cut"), OSError("late"))]
        with pytest.raises(KeyError):
            await first_of_all(tasks)
        await cancel_all(tasks)


async def test_cancelled_tasks_are_waited_for_even_by_a_cancelled_task() -> None:
    gate, ended = asyncio.Event(), []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()
            ended.append(True)

    inner = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    outer = asyncio.create_task(cancel_all([inner]))
    await asyncio.sleep(0)
    outer.cancel()
    await asyncio.sleep(0)
    assert not outer.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert ended == [True]
