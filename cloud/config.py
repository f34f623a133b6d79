"""pure: the cloud's configuration: `cloud.toml` as typed Structs, every mistake reported at once with its key."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cloud.errors import CloudError, ConfigError
from transport.frames import MIB
from transport.settings import Duration, NotToml, Size, decode_all, load_toml

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
DAY = 86_400.0  # seconds

Url = Annotated[
    str,
    msgspec.Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?\Z", description='an address such as "https://cloud.example.com"'),
]


class LogLevel(enum.StrEnum):
    """The least important entries that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """How an entry of the log looks."""

    TEXT = "text"
    JSON = "json"


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to standard error, and how."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.TEXT


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where agents and applications connect."""

    address: Annotated[str, msgspec.Meta(min_length=1)] = "0.0.0.0"  # noqa: S104 (a server's default)
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8443  # 0: any free port


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """The service's own certificate chain and its key, PEM files."""

    certificate: Path
    key: Path


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds memory, disk and patience."""

    credit_bytes: Annotated[Size, msgspec.Meta(ge=MIB, le=1024 * MIB)] = 8 * MIB
    credit_frames: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 512
    feed_retention: Annotated[Duration, msgspec.Meta(ge=3600.0, le=3650 * DAY)] = 30 * DAY
    followers: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    shutdown_grace: Annotated[Duration, msgspec.Meta(ge=0.0, le=300.0)] = 10.0


class CloudConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. Paths are absolute, or relative to where the program was started when no folder was given."""

    version: Literal[1]
    data: Path
    public_url: Url | None = None
    listen: Listen = Listen()
    tls: Tls | None = None
    limits: Limits = Limits()
    log: Log = Log()

    def __post_init__(self) -> None:
        if self.tls is None and self.listen.address not in LOOPBACK:
            raise ValueError(
                'without [tls] only this machine may connect: set listen.address = "127.0.0.1", or give a certificate'
            )

    def within(self, folder: Path) -> CloudConfig:
        """Relative paths taken from `folder`, which is where the file stands."""
        tls = self.tls and Tls(certificate=folder / self.tls.certificate, key=folder / self.tls.key)
        return msgspec.structs.replace(self, data=folder / self.data, tls=tls)


def parse_config(text: str, *, where: str, folder: Path | None = None) -> CloudConfig:
    """Return the settings of a file's text. Raises ConfigError with every mistake."""
    try:
        table = load_toml(text, where=where)
    except NotToml as error:
        place = f"{where}: line {error.line}, column {error.column}"
        raise ConfigError([CloudError("C3002", error.message, where=place)]) from None
    config, problems = decode_all(table, CloudConfig, where=where)
    if config is None:
        raise ConfigError([CloudError("C3003", p.message, where=f"{where}: {p.path}" if p.path else where) for p in problems])
    return config if folder is None else config.within(folder)


__all__ = ["CloudConfig", "Limits", "Listen", "Log", "LogFormat", "LogLevel", "Tls", "parse_config"]
