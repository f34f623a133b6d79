"""pure: `[company.source]`: the settings of each kind of ERP database, and what cannot stand together in them.

A secret never stands in the file, only where to find it; a text in its place is refused without being repeated.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from transport.settings import Duration, Problem, decode_all

POINTERS = '{ env = "NAME" }, { file = "path" } or { credential = "name" }'


class SqliteSource(msgspec.Struct, frozen=True, kw_only=True):
    """`source = { kind = "sqlite", ... }`."""

    path: Path
    busy_timeout: Annotated[Duration, msgspec.Meta(ge=0, le=600)] = 5.0  # seconds to wait for a writer of the ERP


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """Where a secret is found: `{ env = "NAME" }`, `{ file = "path" }` or `{ credential = "name" }`; exactly one of them."""

    env: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z", description="the name of a variable")] | None = None
    file: Path | None = None
    credential: (
        Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,255}\Z", description="the name of a systemd credential")] | None
    ) = None

    def __post_init__(self) -> None:
        if sum(place is not None for place in (self.env, self.file, self.credential)) != 1:
            raise ValueError(f"must be exactly one of {POINTERS}")

    def __str__(self) -> str:
        """The place, for messages; never the secret."""
        if self.file is not None:
            return str(self.file)
        return f"environment variable {self.env}" if self.env is not None else f"credential {self.credential}"


class Login(enum.StrEnum):
    """How the agent says who it is."""

    SQL = "sql"  # user and password, kept by the database server
    INTEGRATED = "integrated"  # the account the agent runs as: Windows, or Kerberos elsewhere


class SnapshotUse(enum.StrEnum):
    """Whether windows may be read without snapshot isolation."""

    REQUIRE = "require"  # without it the company stops and says so
    AUTO = "auto"  # without it the agent runs in its degraded mode, free of loss, and health shows it


Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+\Z", description="a text of one line")]
Server = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(\(local\)|[A-Za-z0-9._:-]{1,255})(\\[A-Za-z0-9_$#]{1,64})?(,[0-9]{1,5})?\Z",
        description=r"""'host', 'host,port' or 'host\instance', in single quotes""",
    ),
]


class SqlServerSource(msgspec.Struct, frozen=True, kw_only=True):
    """`source = { kind = "sqlserver", ... }`."""

    server: Server
    database: Text
    driver: Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00-\x1f;{}]*\Z", description="a name or a path")] = ""
    login: Login = Login.SQL
    user: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00-\x1f]*\Z", description="a text of one line")] = ""
    password: Secret | None = None
    encrypt: bool = True
    trust_server_certificate: bool = False  # True: anybody between agent and server can read and change everything
    certificate_host: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[A-Za-z0-9.*-]*\Z", description="a host name")] = (
        ""  # the name in the server's certificate, where it is not the server's
    )
    login_timeout: Annotated[Duration, msgspec.Meta(ge=1, le=300)] = 15.0  # seconds
    query_timeout: Annotated[Duration, msgspec.Meta(ge=1, le=3_600)] = 120.0  # seconds until a statement's first row
    lock_timeout: Annotated[Duration, msgspec.Meta(ge=0, le=600)] = 5.0  # seconds to wait for a lock of the ERP
    multi_subnet_failover: bool = False  # `server` is the listener of an availability group
    snapshot: SnapshotUse = SnapshotUse.REQUIRE


SourceSettings: TypeAlias = SqliteSource | SqlServerSource
KINDS: Mapping[str, type[SourceSettings]] = {"sqlite": SqliteSource, "sqlserver": SqlServerSource}


class Found(NamedTuple):
    """A source as far as it can be understood, and its mistakes."""

    settings: SourceSettings | None
    shape: list[Problem]  # each is wrong by itself
    contradictions: list[Problem]  # each is right, but not together


def read_source(item: Any, where: str, path: str, base: Path) -> Found:
    """By its `kind`; a value that is no table was reported with the company's others."""
    if not isinstance(item, Mapping):
        return Found(None, [], [])
    rest = dict(item)
    kind = rest.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        return Found(None, [Problem(f"{path}.kind", "must be one of " + ", ".join(f'"{k}"' for k in KINDS), where)], [])
    bare = _bare_secret(rest, where, path) if kind == "sqlserver" else []
    source, problems = decode_all(rest, KINDS[kind], where=where, path=path)
    problems = [*bare, *problems]
    if source is None or problems:
        return Found(None, problems, [])
    clashes = [Problem(f"{path}.{key}", message, where) for key, message in _clashes(source)]
    return Found(None if clashes else _placed(source, base), problems, clashes)


def _bare_secret(table: dict[str, Any], where: str, path: str) -> list[Problem]:
    """A password written into the file: said once, and taken out, so that nothing else can repeat it."""
    if not isinstance(table.get("password"), str):
        return []
    del table["password"]
    return [Problem(f"{path}.password", f"must not stand in the file: {POINTERS} says where it is", where)]


def _clashes(source: SourceSettings) -> Iterator[tuple[str, str]]:
    if not isinstance(source, SqlServerSource):
        return
    name, _, port = source.server.partition(",")
    if "\\" in name and port:
        yield "server", "names an instance and a port, of which only one can count: leave out one"
    if port and not 1 <= int(port) <= 65_535:
        yield "server", "must have a port between 1 and 65535"
    if source.login is Login.SQL:
        if not source.user:
            yield "user", 'is missing: login = "sql" needs user and password'
        if source.password is None:
            yield "password", f'is missing: login = "sql" needs it as {POINTERS}'
    elif source.user or source.password is not None:
        key = "user" if source.user else "password"
        yield key, 'does not go with login = "integrated", which takes the account that the agent runs as'


def _placed(source: SourceSettings, base: Path) -> SourceSettings:
    """Relative paths begin where the file is."""
    if isinstance(source, SqliteSource):
        return msgspec.structs.replace(source, path=base / source.path)
    if source.password is None or source.password.file is None:
        return source
    return msgspec.structs.replace(source, password=Secret(file=base / source.password.file))
