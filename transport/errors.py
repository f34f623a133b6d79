"""pure: the errors of the wire, each with a stable code; the base every coded error of the product builds on."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Entry(NamedTuple):
    """What `docs/errors.md` and the catalogues say of one code."""

    title: str
    cause: str
    remedy: str


class CodedError(Exception):
    """An error a person may read: what happened (`args[0]`), where, and a code that says the rest.

    `where` names the thing (file and key path, company, dataset, channel); never row contents or secrets.
    """

    registry: ClassVar[dict[str, Entry]] = {}

    def __init__(self, code: str, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where

    @property
    def remedy(self) -> str:
        """What the reader should do about it."""
        return self.registry[self.code].remedy

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.code} {place}{self.message}"


REGISTRY: dict[str, Entry] = {
    "T1001": Entry(
        "Frame is not readable",
        "The bytes are not an envelope of this protocol: cut off, damaged, or something else answered.",
        "If it happens again, look for a proxy or another device between agent and cloud that changes traffic.",
    ),
    "T1002": Entry(
        "Frame is too large",
        "A frame, or what it decompresses to, is over the limit of the protocol.",
        "Report it: a healthy peer never sends one.",
    ),
    "T1003": Entry(
        "Checksum differs",
        "The content of a frame is not what was sent.",
        "The connection is made anew by itself; if it happens again, check network hardware and memory.",
    ),
    "T1004": Entry(
        "Protocol version is not supported",
        "The other side speaks a newer major version of the protocol, or one that is no longer served.",
        "Upgrade the side that the message names.",
    ),
    "T1005": Entry(
        "Message is not allowed now",
        "The other side sent a message that does not belong in this state of the conversation.",
        "Report it: a healthy peer never sends one.",
    ),
    "T1006": Entry(
        "Sequence conflict",
        "A frame came twice with different content, or lies beyond the window that was granted.",
        "Check that the agent's folder was not copied to a second machine.",
    ),
    "T1007": Entry(
        "No progress",
        "Frames are waiting for an acknowledgement and none came for too long; the link was cut and is made anew.",
        "If it happens again, look at the cloud's health and at proxies between agent and cloud.",
    ),
    "T1008": Entry(
        "The other side is silent",
        "Nothing was heard for longer than the ping interval allows; the link was cut and is made anew.",
        "If it happens again, check the network between agent and cloud.",
    ),
    "T1009": Entry(
        "Not carried",
        "A value, key or schema is outside the limits of the wire.",
        "Exclude the column, or shorten the value in the ERP.",
    ),
    "T1010": Entry(
        "The cloud cannot be reached",
        "The name is not known, nothing listens at that address and port, or the network is down.",
        "Check `url` in the agent's file, DNS, and that port 443 is open outwards; the agent goes on trying.",
    ),
    "T1011": Entry(
        "The certificate is not accepted",
        "The cloud's certificate is not signed by an authority this machine trusts, has expired, or is for another name.",
        "Check `url`, the machine's clock, and `ca` in the agent's file; a device that inspects TLS needs its authority there.",
    ),
    "T1012": Entry(
        "Something else answered",
        "A proxy, a portal or another server answered at the cloud's address.",
        "Check `url`; ask whoever runs the network to let WebSocket connections to that address pass.",
    ),
    "T1013": Entry(
        "The connection was lost",
        "The link ended without a goodbye: a network fault, a restart of the cloud, or a device that cuts long connections.",
        "The agent connects again by itself; if it happens every few minutes, look for an idle time-out in proxies.",
    ),
}


class TransportError(CodedError):
    """Root of the wire's errors."""

    registry: ClassVar[dict[str, Entry]] = REGISTRY


class RemoteProtocolError(TransportError):
    """The peer misbehaved: end this connection, keep everything else."""


class LocalProtocolError(TransportError):
    """We misused the conversation: a defect on this side."""


class NotCarried(TransportError):
    """A value cannot travel; the row it belongs to is withheld."""


class Refused(TransportError):
    """The peer refused the conversation with its own code; `retry_after` seconds, or None: a person must act."""

    def __init__(self, code: str, message: str, *, retry_after: float | None, remedy: str = "") -> None:
        super().__init__(code, message)
        self.retry_after = retry_after
        self._remedy = remedy

    @property
    def remedy(self) -> str:
        """Of a foreign code, as the peer said it."""
        entry = self.registry.get(self.code)
        return entry.remedy if entry else self._remedy
