"""The identity's file on a disk that takes no more, or refuses: what ends a connection must not end the program."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.errors import AgentError, ProgramStopped, Transient
from cdc.journal_identity import Identity, IdentityFile

IDENTITY = Identity(b"i" * 16, b"secret", 7, b"k" * 32, "https://cloud.example", "acme")


class Disk:
    """Durable steps that fail with `number`."""

    def __init__(self) -> None:
        self.number = 0

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        if self.number:
            raise OSError(self.number, "no")
        yield


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, Transient, "A2103"),
        (errno.EDQUOT, Transient, "A2103"),
        (errno.EFBIG, Transient, "A2103"),
        (errno.EACCES, ProgramStopped, "A2102"),
    ],
)
def test_a_full_disk_is_waited_for_and_keeps_the_old_secret(
    tmp_path: Path, number: int, kind: type[AgentError], code: str
) -> None:
    disk = Disk()
    file = IdentityFile(tmp_path / "journal.identity", disk)
    file.save(IDENTITY)
    disk.number = number
    with pytest.raises(kind) as raised:
        file.renew(IDENTITY.installation, b"next", 8)
    assert raised.value.code == code
    assert file.load() == IDENTITY
    disk.number = 0
    file.renew(IDENTITY.installation, b"next", 8)
    renewed = file.load()
    assert renewed is not None
    assert renewed.secret == b"next"
