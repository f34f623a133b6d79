"""adapter: agent and cloud of one company as processes, with a certificate of their own, in a folder."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import data
from bench.processes import NotInTime, Program, until

COMPANY = "bench"
DATASET = "work_time"
LEAST_RATE = 5_000  # rows a second below which something is wrong


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Installation:
    """Enrolled and ready; the cloud runs, the agent does not yet."""

    def __init__(
        self,
        folder: Path,
        erp: Path,
        tables: Sequence[str] = (data.TABLE,),
        settings: str = "",
        ports: tuple[int, int] = (0, 0),
        source: str = "",
    ) -> None:
        """`settings`: further lines of the company; `ports`: where the agent connects, and where the cloud listens.

        `source`: the TOML table of another source than the SQLite file `erp`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.erp = erp
        self.source = source or f'{{ kind = "sqlite", path = "{erp}" }}'
        self.folder = folder
        self.cloud_port = ports[1] or free_port()
        self.health_port = free_port()
        certificate(folder)
        self.cloud = Program("cloud", self._cloud_config())
        self.agent = Program("cdc", self._agent_config(tables, settings, ports[0] or self.cloud_port))
        code = _after("enrolment code:", self.cloud.call("company", "add", COMPANY))
        self.cloud.start()
        until("the cloud listens", lambda: self._get(f"https://localhost:{self.cloud_port}/live"), 60)
        self.agent.call("install")
        self.agent.call("enrol", COMPANY, code)

    def _cloud_config(self) -> Path:
        path = self.folder / "cloud.toml"
        path.write_text(
            f'version = 1\ndata = "data"\n[listen]\naddress = "127.0.0.1"\nport = {self.cloud_port}\n'
            '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        )
        return path

    def _agent_config(self, tables: Sequence[str], settings: str, port: int) -> Path:
        path = self.folder / "agent.toml"
        datasets = "".join(
            f'[[company.dataset]]\nname = "{t.rpartition(".")[2].lower()}"\ntable = "{t}"\nchannel = "hr"\n' for t in tables
        )
        path.write_text(
            f'version = 1\n[agent]\nstate = "state"\nlisten = "127.0.0.1:{self.health_port}"\n'
            f'[cloud]\nurl = "https://localhost:{port}"\nca = "cert.pem"\n'
            f'[[company]]\nname = "{COMPANY}"\nsource = {self.source}\n{settings}\n'
            f'[[company.channel]]\nname = "hr"\n{datasets}'
        )
        return path

    def close(self) -> None:
        """Both programs end."""
        self.agent.stop()
        self.cloud.stop()

    def token(self) -> str:
        """For the cloud's API."""
        return _after("token:", self.cloud.call("token", "add", COMPANY, "bench"))

    # -- looking: at the cloud's file, so that it costs the programs nothing -------------------------------------------------

    @contextlib.contextmanager
    def copy(self) -> Iterator[sqlite3.Connection]:
        """The cloud's copy, read only."""
        path = self.folder / "data" / "companies" / f"{COMPANY}.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            yield db

    def wait(self, what: str, rows: int, check: Callable[[], bool]) -> None:
        """Until it is so; raises NotInTime with what health says, RuntimeError when a program has ended."""

        def looked() -> bool:
            self.agent.used()
            self.cloud.used()
            return check()

        try:
            until(what, looked, 60 + rows / LEAST_RATE)
        except NotInTime as error:
            error.add_note(json.dumps(self.health(), indent=1)[:4000])
            raise

    def loaded(self, dataset: str = DATASET) -> bool:
        """Whether the first full read of a dataset is visible."""
        return bool(self._ask("SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ?", dataset))

    def cursor(self) -> int:
        """How many changes the cloud has told of."""
        return int(self._ask("SELECT cursor FROM _meta"))

    def _ask(self, sql: str, *parameters: object) -> int:
        try:
            with self.copy() as db:
                row = db.execute(sql, parameters).fetchone()
        except sqlite3.OperationalError:
            return 0  # not made yet
        return int(row[0]) if row else 0

    def health(self) -> dict[str, object] | None:
        """Of the agent; None: it does not answer yet."""
        return self._get(f"http://127.0.0.1:{self.health_port}/health")

    def _get(self, url: str) -> dict[str, object] | None:
        from ssl import create_default_context

        context = create_default_context(cafile=str(self.folder / "cert.pem")) if url.startswith("https") else None
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as response:
                return dict(json.load(response))
        except (OSError, urllib.error.URLError):
            return None


@contextlib.contextmanager
def installation(
    folder: Path,
    erp: Path,
    tables: Sequence[str] = (data.TABLE,),
    settings: str = "",
    ports: tuple[int, int] = (0, 0),
    source: str = "",
) -> Iterator[Installation]:
    """Set up; both programs end at the end."""
    made = Installation(folder, erp, tables, settings, ports, source)
    try:
        yield made
    finally:
        made.close()


def _after(label: str, text: str) -> str:
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(label))
