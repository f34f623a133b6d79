"""pure: the sequence of one channel within one connection: credits and acks on the sending side, order on the receiving one."""

from __future__ import annotations

from collections import deque

from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.frames import Ack, Frame, Stream

REMEMBERED = 4_096  # checksums of delivered frames, to tell a frame that came twice from another with its number


class Outbound:
    """What a channel of the agent has sent in this connection and the cloud has not yet staged."""

    def __init__(self, journal_id: bytes, next_seq: int, credit_bytes: int, credit_frames: int) -> None:
        self.journal_id = journal_id
        self.sent = self.staged = next_seq - 1
        self.applied = -1  # unknown until the first ack
        self._progress = 0
        self._credit_bytes = credit_bytes
        self._credit_frames = credit_frames
        self._sizes: deque[int] = deque()  # of the frames staged + 1 to sent
        self._bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether frames wait for an ack."""
        return bool(self._sizes)

    def room(self) -> int:
        """Bytes left of the credit; 0 also when the frames are used up."""
        return max(0, self._credit_bytes - self._bytes) if len(self._sizes) < self._credit_frames else 0

    def takes(self, size: int) -> bool:
        """Tell whether a frame of that size may go; one beyond the whole credit goes alone."""
        return not self._sizes or size <= self.room()

    def send(self, seq: int, size: int, where: str) -> None:
        """Count a frame as sent. Raises LocalProtocolError."""
        if seq != self.sent + 1:
            raise LocalProtocolError("T1006", f"seq {seq} does not follow {self.sent}", where=where)
        if not self.takes(size):
            raise LocalProtocolError("T1006", f"seq {seq} is beyond the credit", where=where)
        self.sent = seq
        self._sizes.append(size)
        self._bytes += size

    def take(self, ack: Ack) -> bool:
        """Take the cloud's ack; True if it is progress. Raises RemoteProtocolError."""
        if not (self.staged <= ack.staged <= self.sent and max(self.applied, 0) <= ack.applied <= ack.staged):
            raise RemoteProtocolError(
                "T1006",
                f"an ack of staged {ack.staged}, applied {ack.applied} after {self.staged}, {max(self.applied, 0)};"
                f" sent is {self.sent}",
                where=ack.channel,
            )
        advanced = (ack.staged, ack.applied) != (self.staged, self.applied) or ack.progress > self._progress
        for _ in range(ack.staged - self.staged):
            self._bytes -= self._sizes.popleft()
        self.staged, self.applied, self._progress = ack.staged, ack.applied, ack.progress
        return advanced


class Inbound:
    """What a channel of the cloud has received in this connection; delivers the contiguous prefix, once."""

    def __init__(self, stream: Stream, applied: int, credit_bytes: int, credit_frames: int) -> None:
        self.journal_id = stream.journal_id
        self.delivered = self.staged = stream.next_seq - 1
        self.applied = applied
        self._credit_bytes = credit_bytes
        self._credit_frames = credit_frames
        self._early: dict[int, tuple[Frame, bytes]] = {}  # frames beyond a gap
        self._sizes: dict[int, int] = {}  # of the frames received and not yet acked as staged
        self._bytes = 0
        self._checksums: dict[int, tuple[int, int]] = {}  # seq -> (crc, raw length), the latest REMEMBERED

    def take(self, frame: Frame, envelope: bytes) -> list[tuple[Frame, bytes]]:
        """Take a frame and return those that are now in order. Raises RemoteProtocolError (T1006)."""
        if frame.journal_id != self.journal_id:
            raise RemoteProtocolError("T1006", "a frame of another journal", where=frame.channel)
        if frame.seq <= self.delivered or frame.seq in self._early:
            self._check_twin(frame)
            return []
        self._grant(frame)
        self._early[frame.seq] = (frame, envelope)
        return self._in_order()

    def ack(self, ack: Ack) -> bool:
        """Count our own ack; False if it is a late note that says nothing new. Raises LocalProtocolError."""
        behind = ack.staged < self.staged or ack.applied < self.applied
        if behind and ack.progress:
            return False
        if behind or not ack.applied <= ack.staged <= self.delivered:
            raise LocalProtocolError(
                "T1006",
                f"an ack of staged {ack.staged}, applied {ack.applied} after {self.staged}, {self.applied};"
                f" delivered is {self.delivered}",
                where=ack.channel,
            )
        for seq in range(self.staged + 1, ack.staged + 1):
            self._bytes -= self._sizes.pop(seq)
        self.staged, self.applied = ack.staged, ack.applied
        return True

    def _grant(self, frame: Frame) -> None:
        """Refuse what is beyond the window: that bounds the memory that a peer can take."""
        inside = frame.seq <= self.staged + self._credit_frames
        if not inside or (self._sizes and self._bytes + frame.size > self._credit_bytes):
            raise RemoteProtocolError("T1006", f"seq {frame.seq} is beyond the window that was granted", where=frame.channel)
        self._sizes[frame.seq] = frame.size
        self._bytes += frame.size

    def _check_twin(self, frame: Frame) -> None:
        """Refuse a frame that came before with other content. Older ones than we remember were staged long ago."""
        known = self._checksums.get(frame.seq)
        if frame.seq in self._early:
            twin = self._early[frame.seq][0]
            known = (twin.crc, twin.raw_length)
        if known is not None and known != (frame.crc, frame.raw_length):
            raise RemoteProtocolError("T1006", f"seq {frame.seq} came twice with different content", where=frame.channel)

    def _in_order(self) -> list[tuple[Frame, bytes]]:
        ordered = []
        while (found := self._early.pop(self.delivered + 1, None)) is not None:
            frame = found[0]
            self.delivered = frame.seq
            self._checksums[frame.seq] = (frame.crc, frame.raw_length)
            self._checksums.pop(frame.seq - REMEMBERED, None)
            ordered.append(found)
        return ordered
