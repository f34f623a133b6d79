"""shell: the control API seen from both ends: its messages, where its address and token stand, and the client for the CLI.

The running agent writes `control.json` (mode 0600) into its state folder: address and a token that is new at each start.
Whoever may read it may give orders.
"""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from cdc.errors import AgentError
from cdc.host import open_to_others
from cdc.status import Health

CONTROL_FILE = "control.json"
PREFIX = "/control/v1"
TIMEOUT = 30.0  # seconds
R = TypeVar("R")


class Door(msgspec.Struct, frozen=True):
    """Where the running agent listens, and what to show there."""

    url: str
    token: str
    pid: int = 0


class SyncRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Run a channel (or all) now; `full`: re-read everything, at once or at the next scheduled run."""

    company: str
    channel: str = ""
    full: bool = False
    when: Literal["now", "next"] = "now"


class RestoredRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's answer after the ERP's history changed: `real`: this is the real database now; `copy`: it is only a copy."""

    company: str
    choice: Literal["real", "copy"]


class TakeoverRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This installation is the one that serves the company from now on."""

    company: str


class LoadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's answer about a finished load that would remove much: swap it in, or throw it away."""

    company: str
    dataset: str
    accept: bool


class Done(msgspec.Struct, frozen=True):
    """What was done, in words."""

    message: str = ""
    details: list[str] = []


class ErrorBody(msgspec.Struct, frozen=True):
    """RFC 9457, as far as we need it."""

    code: str
    title: str = ""
    detail: str = ""
    where: str = ""
    advice: str = ""
    status: int = 0
    problems: list[str] = []


class Refusal(AgentError):
    """The running agent said no; `body` says why."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body.code, body.detail, where=body.where)
        self.body = body

    @property
    def remedy(self) -> str:
        """As the agent said it."""
        return self.body.advice


class Client:
    """Gives orders to the running agent that the state folder names. Blocks; calls raise Refusal, or AgentError A2515."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._door = read_door(state)

    def status(self) -> Health:
        """Everything, as `/health` shows it."""
        return self._call("GET", "status", None, Health)

    def sync(self, request: SyncRequest) -> Done:
        """Starts a run, or notes that the next one is full."""
        return self._call("POST", "sync", request, Done)

    def reload(self) -> Done:
        """Reads the configuration again."""
        return self._call("POST", "reload", None, Done)

    def restored(self, request: RestoredRequest) -> Done:
        """Says what the restored database is."""
        return self._call("POST", "restored", request, Done)

    def takeover(self, request: TakeoverRequest) -> Done:
        """Makes this installation the one."""
        return self._call("POST", "takeover", request, Done)

    def load(self, request: LoadRequest) -> Done:
        """Decides about a held load."""
        return self._call("POST", "load", request, Done)

    def _call(self, method: str, verb: str, body: msgspec.Struct | None, kind: type[R]) -> R:
        parts = urlsplit(self._door.url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {self._door.token}", "Content-Type": "application/json"}
        try:
            content = msgspec.json.encode(body) if body is not None else b"{}" if method == "POST" else None
            connection.request(method, f"{PREFIX}/{verb}", content, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise AgentError("A2515", f"no answer ({type(error).__name__})", where=self._door.url) from error
        finally:
            connection.close()
        return _decoded(response.status, answer, kind, self._door.url)


def read_door(state: Path) -> Door:
    """Address and token of the running agent. Raises AgentError A2515, or A2511 when the file is open to others."""
    path = state / CONTROL_FILE
    try:
        exposed = open_to_others(path)
        door = msgspec.json.decode(path.read_bytes(), type=Door)
    except FileNotFoundError as error:
        raise AgentError("A2515", "the state folder names no running agent", where=str(state)) from error
    except PermissionError as error:
        raise AgentError("A2511", "this user may not read the control token", where=str(path)) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AgentError("A2515", f"cannot be read ({type(error).__name__})", where=str(path)) from error
    if exposed:
        raise AgentError("A2511", "the control token is open to other users: restart the agent for a new one", where=str(path))
    return door


def _decoded(status: int, answer: bytes, kind: type[R], url: str) -> R:
    try:
        if status < 300:
            return msgspec.json.decode(answer, type=kind)
        raise Refusal(msgspec.json.decode(answer, type=ErrorBody))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AgentError("A2515", f"something else answered there (status {status})", where=url) from error
