"""adapter: the service's own database: companies, their agents and how those prove themselves, tokens of applications.

Of codes, secrets and tokens only hashes are kept. Every change is durable before it is answered.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec

from cloud.errors import RegistryError
from cloud.store.credentials import code_hash, digest, new_code, new_secret, new_token
from cloud.store.file import MIB, SqliteFile, utc
from transport.errors import RemoteProtocolError
from transport.runtime import Runtime

APPLICATION = 0x63646372  # marks the file as a registry
ID_BYTES = 16
KEY_BYTES = 32
MAX_EPOCH = 2**53
SCOPES = frozenset({"read", "write"})
_COMPANY = re.compile(r"[a-z][a-z0-9_-]{0,39}")

MIGRATIONS = (
    """
    CREATE TABLE company(
      id TEXT PRIMARY KEY, created TEXT NOT NULL, state TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0,
      contested INTEGER NOT NULL DEFAULT 0, last_seen TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
    CREATE TABLE code(
      hash BLOB PRIMARY KEY, company TEXT NOT NULL, created TEXT NOT NULL, expires TEXT NOT NULL,
      used TEXT NOT NULL DEFAULT '', used_by BLOB NOT NULL DEFAULT x'') STRICT, WITHOUT ROWID;
    CREATE TABLE agent(
      number INTEGER PRIMARY KEY, company TEXT NOT NULL, installation BLOB NOT NULL, public_key BLOB NOT NULL,
      enrolled TEXT NOT NULL, revoked TEXT NOT NULL DEFAULT '', secret BLOB NOT NULL DEFAULT x'',
      next BLOB NOT NULL DEFAULT x'') STRICT;
    CREATE UNIQUE INDEX agent_of_company ON agent(company) WHERE revoked = '';
    CREATE TABLE token(
      hash BLOB PRIMARY KEY, company TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, created TEXT NOT NULL,
      revoked TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
    """,
)


class Company(msgspec.Struct, frozen=True):
    """One company of the service."""

    id: str
    created: str  # UTC, Z
    state: str  # active, suspended
    epoch: int  # the highest granted to a connection
    contested: bool  # two installations claim it; stopped until a person decides
    last_seen: str  # UTC, Z: when its agent was last heard; "": never


class Agent(msgspec.Struct, frozen=True):
    """The installation that was last enrolled for a company."""

    company: str
    installation: bytes
    public_key: bytes  # Ed25519
    enrolled: str  # UTC, Z
    revoked: bool


class EnrolledCompany(msgspec.Struct, frozen=True):
    """What a one-time code opened. The first hello may have any secret; b"" is usual."""

    company: str


class Grant(msgspec.Struct, frozen=True):
    """What a hello is answered with."""

    epoch: int
    next_secret: bytes  # valid once the agent has presented or confirmed it


class TokenInfo(msgspec.Struct, frozen=True):
    """Whom a token stands for."""

    company: str
    name: str
    scopes: frozenset[str]
    suspended: bool  # the company is


class Registry:
    """See the module. Any thread, one call at a time; other processes (the command line) may write too."""

    def __init__(self, path: Path, runtime: Runtime) -> None:
        """Open or create. Raises StoreError C3101 to C3106."""
        self._runtime = runtime
        self._file = SqliteFile(path, runtime.durable, migrations=MIGRATIONS, application=APPLICATION, cache=2 * MIB, readers=2)

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    # -- companies -------------------------------------------------------------------------------------------------------

    def add_company(self, company: str) -> Company:
        """Add a company. Raises RegistryError C3202, C3203."""
        if not _COMPANY.fullmatch(company):
            raise RegistryError("C3203", "this id is not allowed for a company", where=company[:80])
        with self._file.write("registry.add_company") as db:
            if _company(db, company) is not None:
                raise RegistryError("C3202", "the company exists", where=company)
            db.execute("INSERT INTO company(id, created, state) VALUES (?, ?, 'active')", (company, self._now()))
            return _known(db, company)

    def companies(self) -> list[Company]:
        """All companies, by id."""
        with self._file.read() as db:
            return [_as_company(row) for row in db.execute(f"SELECT {_COLUMNS} FROM company ORDER BY id")]

    def company(self, company: str) -> Company | None:
        """One company."""
        with self._file.read() as db:
            return _company(db, company)

    def suspend(self, company: str, *, suspended: bool = True) -> None:
        """Stop, or let on again, the company's agent and applications. Raises RegistryError C3201."""
        with self._file.write("registry.suspend") as db:
            _known(db, company)
            db.execute("UPDATE company SET state = ? WHERE id = ?", ("suspended" if suspended else "active", company))

    def seen(self, company: str) -> None:
        """Note that the company's agent was heard now."""
        with self._file.write("registry.seen") as db:
            db.execute("UPDATE company SET last_seen = ? WHERE id = ?", (self._now(), company))

    # -- enrolment -------------------------------------------------------------------------------------------------------

    def new_enrolment_code(self, company: str, valid_for: float) -> str:
        """Issue a one-time code, valid for that many seconds. Raises RegistryError C3201, C3208."""
        code = new_code(self._runtime.random)
        expires = utc(self._runtime.clock.now() + timedelta(seconds=valid_for))
        with self._file.write("registry.new_code") as db:
            _active(db, company)
            db.execute(
                "INSERT INTO code(hash, company, created, expires) VALUES (?, ?, ?, ?)",
                (code_hash(code), company, self._now(), expires),
            )
        return code

    def enrol(self, code: str, installation: bytes, public_key: bytes, wanted: str = "") -> EnrolledCompany:
        """Make the installation the company's agent; an earlier one is revoked. `wanted`: the company the agent means.

        The same installation may repeat it with the same code and key while the code is valid: the first answer can get lost.
        Raises RegistryError C3208 (suspended), C3209 (not a code), C3210 (used), C3211 (expired), C3212 (id or key),
        C3216 (the code is of another company than the one wanted; nothing has happened to either).
        """
        if len(installation) != ID_BYTES or len(public_key) != KEY_BYTES:
            raise RegistryError("C3212", "the installation's id or public key has a wrong length")
        now = self._now()
        with self._file.write("registry.enrol") as db:
            company = _open_code(db, code, installation, public_key, now)
            if wanted not in ("", company):
                raise RegistryError("C3216", "this enrolment code is of another company", where=wanted[:80])
            _active(db, company)
            db.execute("UPDATE code SET used = ?, used_by = ? WHERE hash = ?", (now, installation, code_hash(code)))
            db.execute("UPDATE agent SET revoked = ? WHERE company = ? AND revoked = ''", (now, company))
            db.execute(
                "INSERT INTO agent(company, installation, public_key, enrolled) VALUES (?, ?, ?, ?)",
                (company, installation, public_key, now),
            )
            db.execute("UPDATE company SET contested = 0 WHERE id = ?", (company,))
        return EnrolledCompany(company)

    def agent(self, company: str) -> Agent | None:
        """Return the company's agent, or the last one if it is revoked. None: it never had one, or is not known."""
        with self._file.read() as db:
            found = db.execute(
                "SELECT company, installation, public_key, enrolled, revoked <> '' FROM agent WHERE company = ? "
                "ORDER BY number DESC LIMIT 1",
                (company,),
            ).fetchone()
        return Agent(found[0], found[1], found[2], found[3], bool(found[4])) if found else None

    def revoke_agent(self, company: str) -> bool:
        """Trust the company's agent no longer. False: there was none. Raises RegistryError C3201."""
        with self._file.write("registry.revoke_agent") as db:
            _known(db, company)
            return (
                db.execute("UPDATE agent SET revoked = ? WHERE company = ? AND revoked = ''", (self._now(), company)).rowcount
                > 0
            )

    # -- connections -----------------------------------------------------------------------------------------------------

    def hello(self, company: str, installation: bytes, secret: bytes, epoch_seen: int, takeover: bool = False) -> Grant:
        """Grant the next epoch and secret to an installation that has proved its key.

        The current secret or the one granted last is accepted. Any other is an old one: the folder was restored or copied. Then
        the company is contested and every hello is refused, until one says `takeover` (a person has decided). An agent that
        has seen a higher epoch than was ever granted here is right, and this database was restored.
        Raises RegistryError C3201, C3204 (not enrolled), C3206 (old secret), C3207 (contested), C3208 (suspended);
        RemoteProtocolError T1005 for an impossible epoch.
        """
        if epoch_seen > MAX_EPOCH:
            raise RemoteProtocolError("T1005", "an epoch that no cloud ever granted", where=company)
        given = digest(secret)
        grant: Grant | None = None
        with self._file.write("registry.hello") as db:
            known = _active(db, company)
            current, offered = _secrets(db, company, installation)
            if known.contested and not takeover:
                raise RegistryError("C3207", "two installations claim the company; a person must decide", where=company)
            good = not current or given in (current, offered) or epoch_seen > known.epoch
            if good or takeover:
                grant = Grant(max(known.epoch, epoch_seen) + 1, new_secret(self._runtime.random))
                _grant(db, company, given, grant, self._now())
            else:
                db.execute("UPDATE company SET contested = 1 WHERE id = ?", (company,))
        if grant is None:  # raised after the commit, which keeps that it is contested
            raise RegistryError("C3206", "the installation's secret is an old one; there may be two of it", where=company)
        return grant

    def confirm(self, company: str, secret: bytes) -> None:
        """Note that the agent has stored the secret granted last. Raises RegistryError C3215: it was not that one."""
        given = digest(secret)
        with self._file.write("registry.confirm") as db:
            done = db.execute(
                "UPDATE agent SET secret = ?1, next = x'' WHERE company = ?2 AND revoked = '' AND (next = ?1 OR secret = ?1)",
                (given, company),
            ).rowcount
            if not done:
                raise RegistryError("C3215", "this is not the secret that was granted last", where=company)

    # -- tokens of applications ------------------------------------------------------------------------------------------

    def add_token(self, company: str, name: str, scopes: Iterable[str] = ("read",)) -> str:
        """Issue a token; it can be seen only now. An application may have several. Raises RegistryError C3201, C3213."""
        wanted = sorted(set(scopes))
        if not wanted or not SCOPES.issuperset(wanted):
            raise RegistryError("C3213", "scopes are read and write", where=company)
        token = new_token(self._runtime.random)
        with self._file.write("registry.add_token") as db:
            _known(db, company)
            db.execute(
                "INSERT INTO token(hash, company, name, scopes, created) VALUES (?, ?, ?, ?, ?)",
                (digest(token.encode()), company, name, " ".join(wanted), self._now()),
            )
        return token

    def token(self, plain: str) -> TokenInfo | None:
        """Say whom a token stands for. None: it was never issued, or is revoked."""
        hashed = digest(plain.encode("utf-8", "surrogateescape"))
        with self._file.read() as db:
            found = db.execute(
                "SELECT company, name, scopes, c.state = 'suspended' FROM token JOIN company AS c ON c.id = company "
                "WHERE hash = ? AND revoked = ''",
                (hashed,),
            ).fetchone()
        return TokenInfo(found[0], found[1], frozenset(found[2].split()), bool(found[3])) if found else None

    def revoke_token(self, company: str, name: str) -> int:
        """Revoke all tokens of an application. Returns how many. Raises RegistryError C3201, C3214 (none)."""
        with self._file.write("registry.revoke_token") as db:
            _known(db, company)
            revoked = db.execute(
                "UPDATE token SET revoked = ? WHERE company = ? AND name = ? AND revoked = ''", (self._now(), company, name)
            ).rowcount
            if not revoked:
                raise RegistryError("C3214", f"no token of {name[:80]} is valid", where=company)
            return revoked

    def _now(self) -> str:
        return utc(self._runtime.clock.now())


_COLUMNS = "id, created, state, epoch, contested, last_seen"


def _as_company(row: tuple[str, str, str, int, int, str]) -> Company:
    identity, created, state, epoch, contested, last_seen = row
    return Company(identity, created, state, epoch, bool(contested), last_seen)


def _company(db: sqlite3.Connection, company: str) -> Company | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM company WHERE id = ?", (company,)).fetchone()
    return _as_company(row) if row else None


def _known(db: sqlite3.Connection, company: str) -> Company:
    found = _company(db, company)
    if found is None:
        raise RegistryError("C3201", "the company is not known", where=company[:80])
    return found


def _active(db: sqlite3.Connection, company: str) -> Company:
    found = _known(db, company)
    if found.state != "active":
        raise RegistryError("C3208", "the company is suspended", where=company)
    return found


def _open_code(db: sqlite3.Connection, code: str, installation: bytes, public_key: bytes, now: str) -> str:
    """Return the company that a code opens for this installation."""
    found = db.execute("SELECT company, expires, used, used_by FROM code WHERE hash = ?", (code_hash(code),)).fetchone()
    if found is None:
        raise RegistryError("C3209", "this is not an enrolment code of this service")
    company, expires, used, used_by = found
    if used and not (used_by == installation and _is_agent(db, company, installation, public_key)):
        raise RegistryError("C3210", "this enrolment code was used", where=company)
    if expires <= now:
        raise RegistryError("C3211", "this enrolment code has expired", where=company)
    return str(company)


def _is_agent(db: sqlite3.Connection, company: str, installation: bytes, public_key: bytes) -> bool:
    """Whether it is this one that was enrolled, and it has not yet said hello."""
    found = db.execute(
        "SELECT 1 FROM agent WHERE company = ? AND installation = ? AND public_key = ? AND revoked = '' AND next = x'' "
        "AND secret = x''",
        (company, installation, public_key),
    ).fetchone()
    return found is not None


def _secrets(db: sqlite3.Connection, company: str, installation: bytes) -> tuple[bytes, bytes]:
    """Return the hashes of the current secret (b"": none yet) and of the one granted last (b"": it is the current one)."""
    found = db.execute(
        "SELECT secret, next FROM agent WHERE company = ? AND installation = ? AND revoked = ''", (company, installation)
    ).fetchone()
    if found is None:
        raise RegistryError("C3204", "the installation is not enrolled for the company", where=company)
    return found[0], found[1]


def _grant(db: sqlite3.Connection, company: str, given: bytes, grant: Grant, now: str) -> None:
    db.execute(
        "UPDATE agent SET secret = ?, next = ? WHERE company = ? AND revoked = ''", (given, digest(grant.next_secret), company)
    )
    db.execute("UPDATE company SET epoch = ?, contested = 0, last_seen = ? WHERE id = ?", (grant.epoch, now, company))
