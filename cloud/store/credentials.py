"""pure: forms of the cloud's secrets: one-time codes that people type, tokens, and the hashes that are kept of them."""

from __future__ import annotations

import base64
import hashlib
from random import Random

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # without 0 O, 1 I L
CODE_LETTERS = 12  # 59 bits, of which a server that counts wrong tries gives nothing away in a code's short life
TOKEN_PREFIX = "cdc_"  # noqa: S105  # so that scanners of leaked secrets can find it
SECRET_BYTES = 32


def new_code(random: Random) -> str:
    """Make a one-time code: `ABCD-EFGH-JKMN`."""
    letters = "".join(random.choice(ALPHABET) for _ in range(CODE_LETTERS))
    return "-".join(letters[i : i + 4] for i in range(0, CODE_LETTERS, 4))


def code_hash(code: str) -> bytes:
    """Hash a code as typed: case, blanks and hyphens do not count."""
    return digest("".join(code.upper().replace("-", " ").split()).encode())


def new_token(random: Random) -> str:
    """Make a token of 256 random bits."""
    return TOKEN_PREFIX + base64.urlsafe_b64encode(random.randbytes(SECRET_BYTES)).decode().rstrip("=")


def new_secret(random: Random) -> bytes:
    """Make an installation's next secret."""
    return random.randbytes(SECRET_BYTES)


def digest(secret: bytes) -> bytes:
    """Hash a secret. Plain SHA-256: the secrets are random, and a lookup by hash tells nothing by its time."""
    return hashlib.sha256(secret).digest()
