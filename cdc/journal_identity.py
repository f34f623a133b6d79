"""adapter: who this installation is, in a small file of its own beside the journal: a lost journal costs no enrolment."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from cdc.errors import ProgramStopped
from transport.runtime import Durable


class Identity(msgspec.Struct, frozen=True):
    """What the cloud knows this installation by."""

    installation: bytes
    secret: bytes  # the newest one given; an older one means a restored folder
    epoch: int  # the highest ever granted
    private_key: bytes  # Ed25519, raw
    cloud: str  # url
    company: str

    def __repr__(self) -> str:
        return f"Identity(company={self.company!r}, cloud={self.cloud!r}, epoch={self.epoch})"


class _File(msgspec.Struct, frozen=True):
    version: int
    identity: Identity


class IdentityFile:
    """Replaced whole: after a crash it is the old one or the new one."""

    def __init__(self, path: Path, durable: Durable) -> None:
        self.path = path
        self._durable = durable

    def load(self) -> Identity | None:
        """None: never enrolled. Raises ProgramStopped (A2102, A2105, A2405)."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProgramStopped("A2102", f"{error.strerror}", where=str(self.path)) from error
        try:
            file = msgspec.msgpack.decode(data, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProgramStopped("A2405", "the installation's identity cannot be read", where=str(self.path)) from error
        if file.version != 1:
            raise ProgramStopped("A2105", f"the file has version {file.version}, this program knows 1", where=str(self.path))
        return file.identity

    def save(self, identity: Identity) -> None:
        """Durably. Raises ProgramStopped (A2102)."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.msgpack.encode(_File(1, identity)))
                file.flush()
                os.fsync(file.fileno())
            with self._durable("journal.identity"):
                new.replace(self.path)
                _sync_folder(self.path.parent)
        except OSError as error:
            raise ProgramStopped("A2102", f"{error.strerror}", where=str(self.path)) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename in it durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
