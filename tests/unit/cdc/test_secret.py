"""A secret comes from where the configuration points, or the message says what is wrong with that place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdc.errors import CompanyStopped
from cdc.secret import CREDENTIALS, LONGEST, is_exposed, read_secret, secret_path
from cdc.source_settings import Secret

posix = pytest.mark.skipif(os.name != "posix", reason="mode bits")


def problem(secret: Secret, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(CompanyStopped) as caught:
        read_secret(secret, where="acme", environ=environ or {})
    assert (caught.value.code, caught.value.where) == ("A2321", "acme")
    return caught.value.message


def test_from_the_environment() -> None:
    assert read_secret(Secret(env="CDC_ERP"), where="acme", environ={"CDC_ERP": "pa ss}"}) == "pa ss}"


@pytest.mark.parametrize("environ", [{}, {"CDC_ERP": ""}])
def test_a_variable_that_is_not_set(environ: dict[str, str]) -> None:
    assert problem(Secret(env="CDC_ERP"), environ) == "environment variable CDC_ERP: is not set"


@pytest.mark.parametrize("content", [b"zazolc", b"zazolc\n", b"zazolc\r\n", b"\xef\xbb\xbfzazolc"])
def test_from_a_file_without_its_line_end(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    assert read_secret(Secret(file=tmp_path / "p"), where="acme") == "zazolc"


def test_blanks_belong_to_a_password(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(" ż \n", encoding="utf-8")
    assert read_secret(Secret(file=tmp_path / "p"), where="acme") == " ż "


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\nmore", "is not one line of text"),
        (b"hunter2\x00", "is not one line of text"),
        (b"hunter2\xff", "is not UTF-8"),
        (b"hunter2" * LONGEST, f"has more than {LONGEST} bytes"),
    ],
)
def test_a_file_that_holds_no_password_is_not_repeated(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "p").write_bytes(content)
    said = problem(Secret(file=tmp_path / "p"))
    assert said.endswith(words)
    assert "hunter2" not in said


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    assert problem(Secret(file=tmp_path / "none")).endswith("No such file or directory")


def test_from_a_credential_of_systemd(tmp_path: Path) -> None:
    (tmp_path / "erp").write_text("geheim\n")
    assert read_secret(Secret(credential="erp"), where="acme", environ={CREDENTIALS: str(tmp_path)}) == "geheim"


def test_a_credential_without_systemd() -> None:
    assert "systemd gave none" in problem(Secret(credential="erp"))
    assert secret_path(Secret(env="A"), {CREDENTIALS: "x"}) is None


def test_it_is_read_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("old")
    secret = Secret(file=tmp_path / "p")
    assert read_secret(secret, where="acme") == "old"
    (tmp_path / "p").write_text("new")
    assert read_secret(secret, where="acme") == "new"


@posix
@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o640, False), (0o644, True), (0o606, True)])
def test_a_file_that_everybody_may_read_is_noticed(tmp_path: Path, mode: int, exposed: bool) -> None:
    (tmp_path / "p").write_text("x")
    (tmp_path / "p").chmod(mode)
    assert is_exposed(Secret(file=tmp_path / "p")) is exposed


def test_what_is_no_file_cannot_be_exposed(tmp_path: Path) -> None:
    assert not is_exposed(Secret(file=tmp_path / "none"))
    assert not is_exposed(Secret(env="A"))


def test_nothing_that_may_be_shown_is_the_secret() -> None:
    assert str(Secret(env="CDC_ERP")) == "environment variable CDC_ERP"
    assert str(Secret(credential="erp")) == "credential erp"
    assert str(Secret(file=Path("/run/erp"))) == "/run/erp"
