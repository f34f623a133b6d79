"""The installation's identity while two programs write it: the running agent at each welcome, and `cdc enrol` beside it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cdc.errors import ProgramStopped, Transient
from cdc.journal_identity import Identity, IdentityFile
from transport.runtime import unwatched

OLD = Identity(b"o" * 16, b"secret 1", 1, b"k" * 32, "https://cloud.example", "acme")
NEW = msgspec.structs.replace(OLD, installation=b"n" * 16, secret=b"", epoch=0)


def test_the_secret_of_a_welcome_is_kept_for_the_installation_it_was_given_to(tmp_path: Path) -> None:
    file = IdentityFile(tmp_path / "journal.identity", unwatched)
    file.save(OLD)
    file.renew(OLD.installation, b"secret 2", 2)
    assert file.load() == msgspec.structs.replace(OLD, secret=b"secret 2", epoch=2)


def test_a_welcome_for_the_old_identity_leaves_the_new_one_alone(tmp_path: Path) -> None:
    file = IdentityFile(tmp_path / "journal.identity", unwatched)
    file.save(NEW)
    with pytest.raises(Transient, match="anew"):
        file.renew(OLD.installation, b"secret 2", 2)
    assert file.load() == NEW


def test_an_enrolment_in_the_middle_of_a_renewal_is_what_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.identity"
    enrolment = threading.Thread(target=lambda: IdentityFile(path, unwatched).save(NEW))

    @contextlib.contextmanager
    def meanwhile(step: str) -> Iterator[None]:
        enrolment.start()
        enrolment.join(0.2)
        assert enrolment.is_alive()  # it waits
        yield

    IdentityFile(path, unwatched).save(OLD)
    IdentityFile(path, meanwhile).renew(OLD.installation, b"secret 2", 2)
    enrolment.join()
    assert IdentityFile(path, unwatched).load() == NEW


def test_the_check_before_an_enrolment_leaves_nothing_and_names_what_is_wrong(tmp_path: Path) -> None:
    file = IdentityFile(tmp_path / "journal.identity", unwatched)
    file.check()
    assert file.load() is None
    assert not (tmp_path / "journal.identity.new").exists()
    with pytest.raises(ProgramStopped) as caught:
        IdentityFile(tmp_path / "missing" / "journal.identity", unwatched).check()
    assert caught.value.code == "A2102"
