"""adapter: who this installation is, in a small file of its own beside the journal: a lost journal costs no enrolment."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cdc.errors import ProgramStopped, Transient
from cdc.host import held
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

    def renew(self, installation: bytes, secret: bytes, epoch: int) -> None:
        """Keeps the secret and epoch of a welcome for this installation. Raises Transient A2609 when another was enrolled."""
        with self._lock():
            known = self.load()
            if known is None or known.installation != installation:
                raise Transient("A2609", "the company was enrolled anew meanwhile", where=str(self.path))
            self._replace(msgspec.structs.replace(known, secret=secret, epoch=max(epoch, known.epoch)))

    def save(self, identity: Identity) -> None:
        """Durably. Raises ProgramStopped (A2102), Transient (A2103: the disk is full)."""
        with self._lock():
            self._replace(identity)

    def check(self) -> None:
        """Whether `save` will do, as far as can be seen. Raises ProgramStopped (A2102)."""
        probe = self.path.with_name(self.path.name + ".new")
        try:
            with self._lock(), probe.open("wb"):
                pass
            probe.unlink()
        except OSError as error:
            raise ProgramStopped("A2102", f"{error.strerror}", where=str(self.path)) from error

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while the file is replaced: by the agent at each welcome, and by `cdc enrol` beside it."""
        try:
            with held(self.path.with_name(self.path.name + ".lock")):
                yield
        except OSError as error:
            raise ProgramStopped("A2102", f"{error.strerror}", where=str(self.path)) from error

    def _replace(self, identity: Identity) -> None:
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
            if error.errno in _NO_ROOM:
                raise Transient("A2103", f"the disk takes no new secret ({error.strerror})", where=self.path.name) from error
            raise ProgramStopped("A2102", f"{error.strerror}", where=str(self.path)) from error


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def _sync_folder(folder: Path) -> None:
    """Make a rename in it durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
