"""shell: moves messages between one session and one link until either ends; the same on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from transport.errors import RemoteProtocolError, TransportError
from transport.runtime import Clock, Link
from transport.session import Event, Session, Stalled
from transport.tasks import cancel_all, first_of_all

SEND_TIMEOUT = 60.0  # seconds for one message; a link that takes longer is dead
LAST_WORDS = 2.0  # seconds that a goodbye may take, and again that the peer may take to hear it
MAX_UNSENT = 1_000  # control messages that wait behind a blocked link; until they have gone, nothing more is read

Handler = Callable[[Event], Awaitable[None]]


class LinkLost(TransportError):
    """The link ended without a goodbye."""


class Farewell(Exception):
    """Raised by a handler after it has said why the conversation is over: the peer gets a moment to hear it."""


class Conversation:
    """One session over one link.

    `handle` is awaited for each event, in order, and may call the session; it must not wait for the peer. Whoever calls the
    session from elsewhere calls `flush` afterwards.
    """

    def __init__(self, session: Session, link: Link, clock: Clock) -> None:
        self.session = session
        self._link = link
        self._clock = clock
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._work.set()

    def flush(self) -> None:
        """Something is to be sent."""
        self._idle.clear()
        self._work.set()

    async def run(self, handle: Handler) -> None:
        """Until the peer ends the link. Raises TransportError or ConnectionError; the link is gone afterwards in every case."""
        read = asyncio.create_task(self._read(handle), name="conversation.read")
        watch = asyncio.create_task(self._watch(handle), name="conversation.watch")
        write = asyncio.create_task(self._write(), name="conversation.write")
        tasks = [read, watch, write]  # what the peer has said counts more than that the link broke
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if write.done() and isinstance(write.exception(), ConnectionError):
                await asyncio.wait([read], timeout=LAST_WORDS)  # why it broke may have arrived before
            await first_of_all(tasks)
        except RemoteProtocolError as error:
            await self._last_words(error)
            await self._heard(read)
            raise
        except Farewell:
            await self._heard(read)
            raise
        finally:
            self._link.abort()
            await cancel_all(tasks)

    async def end(self, code: str = "", message: str = "") -> None:
        """Says goodbye and waits, for a moment, until it is sent; `run` then ends when the peer answers or the link is cut."""
        self.session.bye(code, message)
        await self.sent()

    async def sent(self) -> None:
        """Waits, for a moment, until everything said so far is on the link."""
        self.flush()
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._idle.wait()
        except TimeoutError:
            return  # the link is dead anyway: nothing was promised

    async def _last_words(self, error: TransportError) -> None:
        """Tells the peer what it did wrong, if the link still carries it."""
        try:
            self.session.bye(error.code, error.message)
            async with asyncio.timeout(LAST_WORDS):
                for data in self.session.outgoing():
                    await self._link.send(data)
        except (TransportError, ConnectionError, TimeoutError, RuntimeError):
            return  # the reason is raised by the caller; the peer sees the cut

    async def _heard(self, read: asyncio.Task[None]) -> None:
        """Waits, for a moment, until the peer ends the link: an abrupt end could overtake what was said last."""
        try:
            async with asyncio.timeout(LAST_WORDS):
                if not read.done():
                    await asyncio.wait([read])
                while await self._link.receive() is not None:
                    pass
        except (TransportError, ConnectionError, TimeoutError, RuntimeError):
            return

    async def _read(self, handle: Handler) -> None:
        while (data := await self._link.receive()) is not None:
            for event in self.session.receive(data, self._clock.monotonic()):
                await handle(event)
            self.flush()
            while self.session.unsent > MAX_UNSENT:  # a peer that asks and does not read the answers
                await self._idle.wait()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            for data in self.session.outgoing():
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self._link.send(data)
            if not self._work.is_set():
                self._idle.set()

    async def _watch(self, handle: Handler) -> None:
        while True:
            now = self._clock.monotonic()
            for event in self.session.tick(now):
                await handle(event)
                if isinstance(event, Stalled):
                    raise event.error
            self.flush()
            due = min(self.session.next_tick() - now, self.session.limits.ping_interval)  # meanwhile the state may change
            await asyncio.sleep(max(0.05, due))
