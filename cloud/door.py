"""shell: what agents call over HTTP: the stream, and enrolment with a one-time code. Strangers come here: all is bounded."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

import msgspec
from aiohttp import web

from cloud.errors import CloudError, RegistryError
from cloud.ingest import AgentConnection, IngestSettings
from cloud.problems import problem
from cloud.tenants import Tenants
from transport.errors import TransportError
from transport.frames import ENROL_PATH, STREAM_PATH, EnrolReply, EnrolRequest
from transport.runtime import Clock, Runtime
from transport.server import accept

log = logging.getLogger("cloud")

ENROL_ATTEMPTS = 10  # wrong codes an address may show within ENROL_WINDOW
ENROL_WINDOW = 300.0  # seconds
ENROL_ADDRESSES = 10_000  # remembered at most
ENROL_PATIENCE = 10.0  # seconds for the request's body
MAX_ENROL_BODY = 4096  # bytes
MAX_STRANGERS = 64  # connections that have not yet proved who they are; each may have one message in memory, for 30 s
WRONG_CODE = frozenset({"C3209", "C3210", "C3211"})  # what somebody who guesses gets
STATUSES = {"C3007": 400, "C3212": 400}  # of the others: 403, and 503 for a fault of ours


class Attempts:
    """Counts wrong enrolment codes by address, in bounded memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def allowed(self, address: str) -> bool:
        """Whether this address may try again now."""
        since = self._clock.monotonic() - ENROL_WINDOW
        return sum(1 for at in self._failures.get(address, ()) if at > since) < ENROL_ATTEMPTS

    def began(self, address: str) -> None:
        """One more attempt, which counts as wrong until it is forgiven: many at once are counted too."""
        times = self._failures.pop(address, [])
        self._failures[address] = [*times[1 - ENROL_ATTEMPTS :], self._clock.monotonic()]
        if len(self._failures) > ENROL_ADDRESSES:
            self._failures.popitem(last=False)

    def forgiven(self, address: str) -> None:
        """The code was not wrong after all."""
        times = self._failures.get(address)
        if times:
            times.pop()
        if not times:
            self._failures.pop(address, None)


class AgentDoor:
    """What agents call: the stream and the enrolment."""

    def __init__(self, tenants: Tenants, settings: IngestSettings, runtime: Runtime) -> None:
        self._tenants = tenants
        self._settings = settings
        self._runtime = runtime
        self._attempts = Attempts(runtime.clock)
        self._strangers: set[object] = set()

    def routes(self) -> list[web.RouteDef]:
        """The two routes."""
        return [web.get(STREAM_PATH, self.stream), web.post(ENROL_PATH, self.enrol)]

    # -- stream ----------------------------------------------------------------------------------------------------------

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One agent's connection, until it ends."""
        if self._tenants.stopping:
            return problem("C3017", 503, "the service is stopping")
        if len(self._strangers) >= MAX_STRANGERS:
            return problem("C3018", 503, f"{MAX_STRANGERS} connections have not yet proved who they are")
        stranger = object()
        self._strangers.add(stranger)
        try:
            return await self._talk(request, stranger)
        finally:
            self._strangers.discard(stranger)

    async def _talk(self, request: web.Request, stranger: object) -> web.StreamResponse:
        link, ws = await accept(request)
        connection = AgentConnection(
            self._tenants, self._settings, self._runtime, proved=lambda: self._strangers.discard(stranger)
        )
        try:
            await connection.run(link)
        except (TransportError, CloudError) as error:
            log.info("connection ended: %s", error, extra={"action": "agent.ended", "code": error.code})
        except (ConnectionError, TimeoutError) as error:
            log.info("connection lost: %s", type(error).__name__, extra={"action": "agent.lost"})
        except Exception:
            log.exception("connection failed", extra={"action": "agent.failed", "code": "C3312"})
        return ws

    # -- enrolment -------------------------------------------------------------------------------------------------------

    async def enrol(self, request: web.Request) -> web.Response:
        """Exchanges a one-time code for the right to be the company's agent."""
        address = request.remote or ""
        if not self._attempts.allowed(address):
            return problem("C3006", 429, "too many wrong codes from this address; wait five minutes")
        try:
            body = await _small_body(request)
        except TimeoutError:
            return problem("C3007", 408, f"the request did not arrive within {ENROL_PATIENCE:g} seconds")
        if body is None:
            return problem("C3007", 413, "an enrolment request is small")
        try:
            wanted = msgspec.json.decode(body, type=EnrolRequest)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return problem("C3007", 400, str(error) if isinstance(error, msgspec.ValidationError) else "it is not JSON")
        return await self._exchange(address, wanted)

    async def _exchange(self, address: str, wanted: EnrolRequest) -> web.Response:
        self._attempts.began(address)
        wrong = False
        try:
            enrolled = await self._tenants.registry(
                lambda registry: registry.enrol(wanted.code, wanted.installation, wanted.public_key, wanted.company)
            )
        except RegistryError as error:
            wrong = error.code in WRONG_CODE
            log.warning("enrolment refused: %s", error, extra={"action": "agent.enrolment_refused", "code": error.code})
            return problem(error.code, STATUSES.get(error.code, 403), error.message)
        except CloudError as error:
            log.error("enrolment failed: %s", error, extra={"action": "agent.enrolment_failed", "code": error.code})  # noqa: TRY400
            return problem(error.code, 503, "the service cannot enrol anybody now; the code stays valid")
        finally:
            if not wrong:
                self._attempts.forgiven(address)
        log.info("agent enrolled", extra={"action": "agent.enrolled", "company": enrolled.company})
        return web.json_response(body=msgspec.json.encode(EnrolReply(company=enrolled.company)))


async def _small_body(request: web.Request) -> bytes | None:
    """The whole body; None: it is too long. Raises TimeoutError."""
    if (request.content_length or 0) > MAX_ENROL_BODY:
        return None
    body = bytearray()
    async with asyncio.timeout(ENROL_PATIENCE):
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > MAX_ENROL_BODY:
                return None
    return bytes(body)
