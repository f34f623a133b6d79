"""shell: secrets that the configuration points to: from the environment, a file, or a systemd credential.

Read anew at each use, so that a changed password is taken at the next connection. Nothing here, nor any message, repeats one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cdc.errors import CompanyStopped
from cdc.host import open_to_others
from cdc.source_settings import Secret

LONGEST = 4_096  # bytes of a secret; what is longer is another file
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # where systemd puts them


def read_secret(secret: Secret, *, where: str, environ: Mapping[str, str] = os.environ) -> str:
    """The secret itself, without a line end. Raises CompanyStopped A2321, which says what is wrong with its place."""
    if secret.env is not None:
        if not environ.get(secret.env):
            raise _problem(secret, where, "is not set")
        return environ[secret.env]
    path = secret_path(secret, environ)
    if path is None:
        raise _problem(secret, where, f"systemd gave none ({CREDENTIALS} is not set)")
    return _from_file(secret, path, where)


def secret_path(secret: Secret, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that holds it; None: it is no file, or systemd gave no credentials."""
    if secret.file is not None:
        return secret.file
    folder = environ.get(CREDENTIALS)
    return Path(folder) / secret.credential if folder and secret.credential else None


def is_exposed(secret: Secret) -> bool:
    """Whether every user of the machine may read the file that the configuration names."""
    try:
        return secret.file is not None and open_to_others(secret.file, group=False)
    except OSError:
        return False  # it cannot be read: said by `read_secret`


def _from_file(secret: Secret, path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise _problem(secret, where, f"has more than {LONGEST} bytes")
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise _problem(secret, where, error.strerror or type(error).__name__) from error
    except UnicodeDecodeError:
        raise _problem(secret, where, "is not UTF-8") from None  # the error itself would quote it
    if not text or "\0" in text or "\n" in text:
        raise _problem(secret, where, "is empty" if not text else "is not one line of text")
    return text


def _problem(secret: Secret, where: str, what: str) -> CompanyStopped:
    return CompanyStopped("A2321", f"{secret}: {what}", where=where)
