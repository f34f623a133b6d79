"""shell: carries out the requests of one session: batches, calls, transaction orders, with the controller's verdicts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from tests.standin.ports import (
    Controller,
    Database,
    Event,
    Failed,
    Refused,
    Request,
    Rows,
    Session,
    SqlError,
    SqlType,
    Transaction,
    Verdict,
)
from tests.standin.wire import tokens
from tests.standin.wire.catalogue import datatype_events, described_events
from tests.standin.wire.collations import collation_bytes
from tests.standin.wire.link import Outgoing
from tests.standin.wire.packets import Kind, Message, Status
from tests.standin.wire.reader import Malformed, skip_headers
from tests.standin.wire.replay import Recording, Tape
from tests.standin.wire.rpc import Call, DatatypeInfo, Describe, Hand, Plan, Prepared, Run, plan, read_calls
from tests.standin.wire.transactions import Order, read_orders
from tests.standin.wire.translating import Returned, Translator, end_of_call

_SLICE = 500  # rows that are encoded at a time
_HANDLE = Returned(0, "", "@__handle", SqlType("int"))
_ENDS_TRANSACTION = {1205, 3960, 3961}  # deadlock victim, conflicts of snapshot isolation
_log = logging.getLogger(__name__)


class Cut(Exception):
    """The connection is to be cut, its session with it."""


class Fatal(Exception):
    """An error that ends the connection was sent."""


@dataclass(slots=True)
class Answer:
    """A request on its way: where its tokens go, and the rows after which the connection is cut."""

    outgoing: Outgoing
    translator: Translator
    cut_after: int | None = None
    recording: Recording | None = None

    async def event(self, event: Event) -> None:
        """Raises Cut."""
        if isinstance(event, Rows):
            for start in range(0, len(event.rows), _SLICE):
                await self._rows(event.rows[start : start + _SLICE])
            return
        if self.recording is not None:
            self.recording.check(event)
        await self.send(self.translator.translate(event))
        if self.cut_after == 0:
            raise Cut

    async def _rows(self, rows: Sequence[Sequence[object]]) -> None:
        if self.cut_after is None:
            await self.send(self.translator.translate(Rows(rows)))
            return
        await self.send(self.translator.translate(Rows(rows[: self.cut_after])))
        self.cut_after = max(self.cut_after - len(rows), 0)
        if not self.cut_after:
            raise Cut

    async def send(self, data: bytes) -> None:
        """Tokens."""
        if self.recording is not None:
            self.recording.add(data)
        await self.outgoing.send(data)


def _internal(error: Exception) -> Refused:
    """A mistake of the stand-in itself, told like what it does not emulate."""
    _log.error("a request failed", exc_info=error)
    return Refused(f"internal error: {type(error).__name__}: {error}")


async def _failing(error: SqlError, session: Session) -> AsyncIterator[Event]:
    """Instead of the engine's events; errors that end a transaction on a real server end it here too."""
    if error.number in _ENDS_TRANSACTION and session.descriptor:
        async for event in session.transaction("rollback"):
            if isinstance(event, Transaction):
                yield event
    yield Failed(error)


class Requests:
    """What the messages of one session ask for."""

    def __init__(
        self, session: Session, controller: Controller, server: str, tape: Tape, collation: Callable[[Session], str]
    ) -> None:
        self._session, self._controller, self._server, self._tape = session, controller, server, tape
        self._collation = collation
        self._prepared = Prepared()
        self._transaction = 0  # the descriptor of the one that the client knows to be open

    async def answer(self, message: Message, outgoing: Outgoing) -> None:
        """The whole answer to a message. Raises Cut, Fatal, ConnectionError."""
        try:
            await self._reset(message, outgoing)
            await self._dispatch(message, outgoing)
        except SqlError as error:
            self._fail(error, outgoing)
        except (Cut, Fatal, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 (the boundary of a message: the client and the test get it)
            self._fail(_internal(error), outgoing)

    async def _dispatch(self, message: Message, outgoing: Outgoing) -> None:
        if message.status & Status.IGNORE:
            outgoing.finish(tokens.done(tokens.DONE, tokens.FAILED))
        elif message.kind == Kind.BATCH:
            await self._batch(message.payload, outgoing)
        elif message.kind == Kind.RPC:
            await self._calls(message.payload, outgoing)
        elif message.kind == Kind.TRANSACTION:
            await self._orders(message.payload, outgoing)
        else:
            raise Refused(f"a message of kind {message.kind} (bulk load)")

    def _fail(self, error: SqlError, outgoing: Outgoing) -> None:
        self._note("", error)
        outgoing.finish(tokens.error(error, self._server) + tokens.done(tokens.DONE, tokens.FAILED))
        self._end_if_fatal(error)

    async def _reset(self, message: Message, outgoing: Outgoing) -> None:
        if not message.status & (Status.RESET | Status.RESET_KEEPING_TRANSACTION):
            return
        if message.status & Status.RESET_KEEPING_TRANSACTION and self._session.descriptor:
            raise Refused("a reset that keeps an open transaction")
        before = self._session.database
        await self._session.reset()
        self._prepared = Prepared()
        outgoing.put(self.lost_transaction())
        if self._session.database != before:
            outgoing.put(tokens.database_change(before, self._session.database, self._server))
        outgoing.put(tokens.reset_acknowledgement())

    def lost_transaction(self) -> bytes:
        """Tells of a transaction that ended while nobody could say so: by a reset, or with a cancelled request."""
        if not self._transaction or self._session.descriptor:
            return b""
        lost, self._transaction = self._transaction, 0
        return tokens.transaction_change("rolled back", lost)

    def _translator(self, *, in_procedure: bool = False) -> Translator:
        return Translator(self._server, in_procedure, self._collation(self._session))

    # -- the three kinds of messages -----------------------------------------------------------------------------------------

    async def _batch(self, payload: bytes, outgoing: Outgoing) -> None:
        reader = skip_headers(payload)
        request = Request(reader.utf16(reader.left // 2))
        translator = self._translator()
        await self._execute(request, Answer(outgoing, translator))
        outgoing.finish(translator.last())
        self._end_if_fatal(translator.failure)

    async def _calls(self, payload: bytes, outgoing: Outgoing) -> None:
        """One call after the other; the rest is not executed when one of them lost the transaction that they were in."""
        calls = read_calls(payload)
        within = self._session.descriptor
        for place, call in enumerate(calls):
            translator = self._translator(in_procedure=True)
            returned = await self._call(call, Answer(outgoing, translator))
            lost = translator.failure is not None and within and not self._session.descriptor
            more = place + 1 < len(calls) and not lost
            end = end_of_call(translator, returned, more=more)
            if not more:
                outgoing.finish(end)
                self._end_if_fatal(translator.failure)
                return
            await outgoing.send(end)

    async def _orders(self, payload: bytes, outgoing: Outgoing) -> None:
        translator = self._translator()
        answer = Answer(outgoing, translator)
        for order in read_orders(payload):
            if translator.failure is None:
                await self._order(order, answer)
        outgoing.finish(translator.last())
        self._end_if_fatal(translator.failure)

    # -- one request ---------------------------------------------------------------------------------------------------------

    async def _order(self, order: Order, answer: Answer) -> None:
        request = Request(order.text)
        verdict = await self._verdict(request)
        events = self._session.transaction(order.order, isolation=order.isolation, name=order.name)
        await self._forward(request, events, answer, verdict)

    async def _call(self, call: Call, answer: Answer) -> Sequence[Returned]:
        try:
            planned = plan(call, self._prepared)
        except SqlError as error:
            self._note(call.name, error)
            await answer.event(Failed(error))
            return ()
        if isinstance(planned, Run):
            await self._execute(planned.request, answer)
        else:
            await self._catalogue(call, planned, answer)
        if isinstance(planned, Run | Hand) and planned.handle is not None:
            return self._with_handle(planned, answer.translator)
        return planned.returned if isinstance(planned, Run) else ()

    def _with_handle(self, planned: Run | Hand, translator: Translator) -> Sequence[Returned]:
        translator.give(_HANDLE, planned.handle)
        return (_HANDLE, *(planned.returned if isinstance(planned, Run) else ()))

    async def _catalogue(self, call: Call, planned: Plan, answer: Answer) -> None:
        """Procedures that the wire answers itself."""
        try:
            if isinstance(planned, DatatypeInfo):
                events = datatype_events(planned.data_type)
            elif isinstance(planned, Describe):
                events = described_events(await self._session.describe(planned.request))
            else:
                events = []
        except SqlError as error:
            self._note(call.name, error)
            events = [Failed(error)]
        for event in events:
            await answer.event(event)

    async def _execute(self, request: Request, answer: Answer) -> None:
        verdict = await self._verdict(request)
        if not verdict.replay:
            await self._forward(request, self._session.run(request), answer, verdict)
            return
        key = (verdict.replay, answer.translator.in_procedure)
        if (kept := self._tape.find(key)) is not None:
            for portion in kept.portions:
                await answer.outgoing.send(portion)
            answer.translator.ending = kept.ending
            return
        answer.recording = Recording()
        await self._forward(request, self._session.run(request), answer, verdict)
        self._tape.keep(key, answer.recording, answer.translator)
        answer.recording = None

    async def _verdict(self, request: Request) -> Verdict:
        verdict = await self._controller.received(self._session.spid, request)
        if verdict.delay:
            await asyncio.sleep(verdict.delay)
        if verdict.kill:
            raise Cut
        return verdict

    async def _forward(self, request: Request, events: AsyncIterator[Event], answer: Answer, verdict: Verdict) -> None:
        """Everything that the engine reports, or the verdict's error instead. Raises Cut."""
        try:
            answer.cut_after = verdict.cut_after_rows
            async for event in events if verdict.error is None else _failing(verdict.error, self._session):
                self._watch(request, event)
                await answer.event(event)
                if isinstance(event, Database):
                    await self._moved(answer)
        except SqlError as error:
            self._note(request.sql, error)
            await answer.event(Failed(error))
        except (Cut, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 (the boundary of a request: the client and the test get it)
            internal = _internal(error)
            self._note(request.sql, internal)
            await answer.event(Failed(internal))
        finally:
            if (close := getattr(events, "aclose", None)) is not None:
                await close()

    async def _moved(self, answer: Answer) -> None:
        """Into another database: its collation is told, and holds for what follows."""
        answer.translator.collation = collation = self._collation(self._session)
        await answer.send(tokens.collation_change(collation_bytes(collation)))

    def _watch(self, request: Request, event: Event) -> None:
        if isinstance(event, Failed):
            self._note(request.sql, event.error)
        elif isinstance(event, Transaction):
            self._transaction = event.descriptor if event.change == "begun" else 0

    def _note(self, sql: str, error: SqlError) -> None:
        if isinstance(error, Refused | Malformed):
            self._controller.refused(self._session.spid, sql, error)

    @staticmethod
    def _end_if_fatal(error: SqlError | None) -> None:
        if error is not None and error.severity >= 20:
            raise Fatal
