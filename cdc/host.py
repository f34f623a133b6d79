"""shell: the machine we run on, and the only place that asks which one: event loop, signals, the state folder's lock, notify.

POSIX: SIGTERM and SIGINT stop, once more hurries, SIGHUP reloads. Windows: Ctrl-C and Ctrl-Break stop (SIGINT, SIGBREAK); a
service host calls `Signals.stop_now` from its own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar

from cdc.errors import ProgramStopped
from cdc.logs import logger
from transport.runtime import Durable, unwatched

T = TypeVar("T")
LOCK_FILE = "lock"
HOLDER_FILE = "lock.pid"  # on its own: Windows lets nobody read a locked file

if sys.platform == "win32":
    import msvcrt

    STOP_SIGNALS = (signal.SIGINT, signal.SIGBREAK)
    RELOAD_SIGNALS: tuple[signal.Signals, ...] = ()

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _lock_patiently(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # tries for ten seconds

else:
    import fcntl

    STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
    RELOAD_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGHUP,)

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock_patiently(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


# -- event loop ------------------------------------------------------------------------------------------------------------


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where it can be imported; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end on the best loop of this machine."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


# -- signals ---------------------------------------------------------------------------------------------------------------


class Signals:
    """What the operating system asks of the program; make it in the running loop, use it as a context manager."""

    def __init__(self, reload: Callable[[], None] | None = None) -> None:
        self.stop = asyncio.Event()  # finish what is under way and end
        self.hurry = asyncio.Event()  # asked a second time: no grace
        self._reload = reload
        self._loop = asyncio.get_running_loop()
        self._installed: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            self._install(number, self._stop)
        for number in RELOAD_SIGNALS:
            self._install(number, self._reload_now)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in reversed(self._installed):
            with contextlib.suppress(NotImplementedError, RuntimeError):
                self._loop.remove_signal_handler(number)
            signal.signal(number, before)
        self._installed.clear()

    def stop_now(self) -> None:
        """Asks for the end from any thread."""
        self._loop.call_soon_threadsafe(self._stop)

    def on_reload(self, reload: Callable[[], None]) -> None:
        """Names who is called at SIGHUP."""
        self._reload = reload

    def _install(self, number: signal.Signals, react: Callable[[], None]) -> None:
        before = signal.getsignal(number)
        try:
            self._loop.add_signal_handler(number, react)
        except NotImplementedError:  # the loops of Windows

            def handle(_number: int, _frame: FrameType | None) -> None:
                self._loop.call_soon_threadsafe(react)

            signal.signal(number, handle)
        self._installed.append((number, before))

    def _stop(self) -> None:
        again = self.stop.is_set()
        logger(__name__).info("signal.stop", again=again)
        (self.hurry if again else self.stop).set()

    def _reload_now(self) -> None:
        logger(__name__).info("signal.reload")
        if self._reload is not None:
            self._reload()


# -- state folder ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Creates the folder if need be and holds its lock; the system frees it when the process ends, however it ends.

    Raises ProgramStopped: A2101 when another process holds it, A2102 when the folder cannot be used.
    """
    descriptor = _open_lock(folder)
    try:
        _take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ProgramStopped("A2102", error.strerror or type(error).__name__, where=str(folder)) from error


def _take(descriptor: int, folder: Path) -> None:
    try:
        _lock(descriptor)
        (folder / HOLDER_FILE).write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise ProgramStopped("A2102", error.strerror or type(error).__name__, where=str(folder)) from error
        raise ProgramStopped("A2101", f"held by process {_holder(folder)}", where=str(folder)) from error


def _holder(folder: Path) -> str:
    try:
        text = (folder / HOLDER_FILE).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return "unknown"
    return text if text.isdecimal() else "unknown"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a file's lock for the time of the block, after whoever holds it now: for moments only. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock_patiently(descriptor)
        yield
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes, durable: Durable = unwatched) -> None:
    """Replaces a file that only this user may read. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with durable("state.private_file"):
        fresh.replace(path)


def open_to_others(path: Path, *, group: bool = True) -> bool:
    """Whether other users (`group`: also of the file's group) may read or write it, as far as mode bits say. Raises OSError."""
    return sys.platform != "win32" and bool(stat.S_IMODE(path.stat().st_mode) & (0o077 if group else 0o007))


# -- the service manager ---------------------------------------------------------------------------------------------------


def notify(*lines: str) -> bool:
    """Tells systemd, such as "READY=1" or "STATUS=...", in one datagram; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    family = getattr(socket, "AF_UNIX", None)
    if not address or family is None:
        return False
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send("\n".join(lines).encode())
        except OSError as error:
            logger(__name__).warning("host.notify", error=error)
            return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two signs of life that systemd expects, halved; None: it expects none."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    return int(wanted) / 2_000_000 if wanted.isdecimal() and int(wanted) else None


async def watchdog(stop: asyncio.Event) -> None:
    """Signs of life from the loop itself: a loop that hangs gives none, and systemd starts the program anew."""
    interval = watchdog_interval()
    while not stop.is_set():
        notify("WATCHDOG=1")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval)
