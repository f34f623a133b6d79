"""Trouble for real processes: a faulty proxy in a thread of its own, limits from outside, memory of a process, raw frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.support.comparing import Comparison, assert_equal
from tests.support.product import Product
from tests.support.proxy import FaultyProxy
from transport.codec import encode
from transport.frames import Message

T = TypeVar("T")
MIB = 1024 * 1024


class LoopThread:
    """An event loop in a thread, for tests that otherwise wait for processes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tests.loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, act: Callable[[], T]) -> T:
        async def acting() -> T:
            return act()

        return self.run(acting())


class ThreadedProxy:
    """`FaultyProxy` for tests without a loop of their own."""

    def __init__(self, target: int) -> None:
        self._threads = contextlib.ExitStack()
        self._loop = self._threads.enter_context(LoopThread())
        self._proxy = FaultyProxy(target)
        self._loop.run(self._proxy.__aenter__())
        self.port = self._proxy.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._proxy.__aexit__())
        self._threads.close()

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self._proxy.accepted

    def cut(self) -> None:
        self._loop.call(self._proxy.cut)

    def cut_after(self, more: int) -> None:
        """Reset once so many more bytes have gone upwards."""
        self._proxy.cut_after = self._proxy.bytes_up + more

    def stall(self) -> None:
        self._loop.call(self._proxy.stall)

    def flow(self) -> None:
        self._loop.call(self._proxy.flow)


def behind(product: Product, proxy: ThreadedProxy) -> None:
    """From the next reading of its configuration, the agent goes through the proxy."""
    product.agent_url_port = proxy.port
    product.write_agent_config()


def directly(product: Product) -> None:
    """From the next reading of its configuration, the agent goes straight to the cloud."""
    product.agent_url_port = product.cloud_port
    product.write_agent_config()


# -- both sides ------------------------------------------------------------------------------------------------------------


def equal(product: Product) -> Comparison:
    """The cloud is caught up, and the independent comparer finds both sides equal."""
    product.wait_until_caught_up()
    return assert_equal(product.erp, product.copy, product.datasets, product.folder)


# -- a process from outside --------------------------------------------------------------------------------------------------


def memory(pid: int, field: str = "VmHWM") -> int:
    """Bytes of VmHWM (most resident so far) or VmRSS (resident now)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1]) * 1024


@contextlib.contextmanager
def file_size_limit(pid: int, size: int) -> Iterator[None]:
    """No file that the process writes may grow beyond `size` bytes: to SQLite the same as a disk that takes no more."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


# -- what is said ------------------------------------------------------------------------------------------------------------


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


def envelope(message: Message, **place: Any) -> bytes:
    return encode(message, **place)


def shown(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
