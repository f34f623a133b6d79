"""What people and networks get wrong around two real programs: configuration, enrolment, keys, certificates, other servers."""

from __future__ import annotations

import contextlib
import http.server
import sqlite3
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trustme

from cdc.model import Dataset
from tests.support.product import Product, eventually, free_port
from tests.support.trouble import ThreadedProxy, behind, directly, equal, trusting
from transport.frames import ENROL_PATH, EnrolRequest

PEOPLE = [Dataset(name="people", table="person", channel="hr")]
STORM = 2.0  # seconds in which attempts are counted
FEW = 3  # connections in them that are no storm


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


def new_product(folder: Path) -> Product:
    erp = folder / "erp.db"
    execute(
        erp,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "INSERT INTO person VALUES (1, 'Zofia Wójcik')",
    )
    return Product(folder, erp, PEOPLE)


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[Product]:
    """Files only; nothing runs, nobody is enrolled."""
    made = new_product(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """For tests after which everything is well again."""
    made = new_product(tmp_path_factory.mktemp("shared"))
    try:
        made.set_up()
        made.start_agent()
        yield made
    finally:
        made.close()


@pytest.fixture
def running(shared: Product) -> Iterator[Product]:
    shared.wait_until_caught_up()
    yield shared
    directly(shared)


def goes_on(product: Product) -> None:
    execute(product.erp, "INSERT INTO person(name) VALUES ('Jan')")
    equal(product)


def said(product: Product, code: str, patience: float = 30.0) -> str:
    """The message with which health shows this code."""

    def look() -> str:
        health = product.health()
        company = next(c for c in health["companies"] if c["name"] == product.company)
        problems = [*health["problems"], *company["problems"], *health["config"]["problems"]]
        return next((str(p["message"]) for p in problems if p["code"] == code), "")

    return str(eventually(f"{code} in health", look, patience))


# -- configuration ---------------------------------------------------------------------------------------------------------


AGENT_MISTAKES = """version = 1
[agent]
listen = "0.0.0.0:8470"
fresch = "2m"
grace = "-5s"
[cloud]
url = "http://cloud.example"
[[company]]
name = "acme"
source = { kind = "oracle" }
poll = "1ms"
[[company.dataset]]
name = "people"
table = "person"
channel = "hr"
"""
AGENT_PLACES = ("agent.listen", "agent.fresch", "agent.grace", "cloud.url", "kind", "poll", "channel")
CLOUD_MISTAKES = """version = 1
dada = "x"
[listen]
address = 7
port = 700000
[limits]
credit_bytes = 0
feed_retention = "soon"
"""
CLOUD_PLACES = ("dada", "listen.address", "listen.port", "limits.credit_bytes", "limits.feed_retention")


@pytest.mark.parametrize("verb", ["check", "run"])
def test_every_mistake_of_the_agents_file_is_said_at_once_with_its_place(unstarted: Product, verb: str) -> None:
    (unstarted.folder / "agent.toml").write_text(AGENT_MISTAKES, encoding="utf-8")
    done = unstarted.agent.call(verb, check=False)
    assert done.returncode == 3, (done.stdout, done.stderr)
    complaints = [line for line in done.stderr.splitlines() if line.startswith("A200")]
    assert len(complaints) >= len(AGENT_PLACES), done.stderr
    for place in AGENT_PLACES:
        assert any("agent.toml" in line and place in line for line in complaints), (place, done.stderr)


def test_every_mistake_of_the_clouds_file_is_said_at_once_with_its_place(unstarted: Product) -> None:
    (unstarted.folder / "cloud.toml").write_text(CLOUD_MISTAKES, encoding="utf-8")
    done = unstarted.cloud.call("run", check=False)
    assert done.returncode == 3, (done.stdout, done.stderr)
    complaints = [line for line in done.stderr.splitlines() if line.startswith("C300")]
    for place in CLOUD_PLACES:
        assert any("cloud.toml" in line and place in line for line in complaints), (place, done.stderr)


@pytest.mark.parametrize(
    ("text", "words"),
    [("version = 1\n[agent\n", "line 2"), ("version = 1\nversion = 1\n", "line 2"), ("version = \\\n", "line 1")],
)
def test_a_mistake_of_syntax_has_line_and_column(unstarted: Product, text: str, words: str) -> None:
    (unstarted.folder / "agent.toml").write_text(text, encoding="utf-8")
    done = unstarted.agent.call("check", check=False)
    assert (done.returncode, "A2002" in done.stderr, words in done.stderr, "column" in done.stderr) == (3, True, True, True)


def test_a_file_that_is_not_there_is_said(unstarted: Product) -> None:
    (unstarted.folder / "agent.toml").unlink()
    (unstarted.folder / "cloud.toml").unlink()
    agent, cloud = unstarted.agent.call("run", check=False), unstarted.cloud.call("run", check=False)
    assert (agent.returncode, cloud.returncode) == (3, 3)
    assert "A2001" in agent.stderr
    assert "C3001" in cloud.stderr


def test_a_certificate_that_is_no_certificate_ends_the_cloud_with_its_name(unstarted: Product) -> None:
    (unstarted.folder / "cert.pem").write_text("not a certificate")
    done = unstarted.cloud.call("run", check=False)
    assert done.returncode != 0
    assert "C3009" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_said(running: Product) -> None:
    again = running.cloud.call("run", check=False)
    assert again.returncode == 1
    assert "C3008" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_reload_with_a_mistake_keeps_the_old_configuration_and_shows_it(running: Product) -> None:
    good = (running.folder / "agent.toml").read_text(encoding="utf-8")
    (running.folder / "agent.toml").write_text(good.replace('"200ms"', '"often"') + "\ncolour = 1\n", encoding="utf-8")
    assert "old configuration" in said(running, "A2005")
    assert any("poll" in p["where"] for p in running.health()["config"]["problems"])
    goes_on(running)
    running.write_agent_config()
    eventually("health is clean again", lambda: not running.problems())


def test_a_second_agent_on_the_same_state_folder_says_so_and_ends(running: Product) -> None:
    second = running.agent.call("run", check=False)
    assert (second.returncode, "A2101" in second.stderr) == (4, True), second.stderr
    assert running.agent.running


# -- enrolment -------------------------------------------------------------------------------------------------------------


def refused(product: Product, code: str, company: str = "acme") -> str:
    done = product.agent.call("enrol", company, code, check=False)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


def code_of(out: str) -> str:
    return next(line.split(":", 1)[1].strip() for line in out.splitlines() if line.startswith("enrolment code:"))


def test_codes_that_do_not_open_anything_are_told_apart_and_guessing_is_stopped(unstarted: Product) -> None:
    code = unstarted.enrolment_code()
    other = code_of(unstarted.cloud.call("company", "add", "other").stdout)
    unstarted.start_cloud()
    with ThreadedProxy(unstarted.cloud_port) as proxy:
        behind(unstarted, proxy)
        assert "C3209" in refused(unstarted, "AAAA-BBBB-CCCC")
        assert proxy.accepted == 1  # no retry
        assert "C3216" in refused(unstarted, other)
        assert not (unstarted.state / "acme" / "journal.identity").exists()
        unstarted.agent.call("enrol", "acme", code)
        assert "C3210" in refused(unstarted, code)
    directly(unstarted)
    expired = code_of(unstarted.cloud.call("company", "code", "acme").stdout)
    with closing(sqlite3.connect(unstarted.data / "cloud.db")) as registry, registry:
        registry.execute("UPDATE code SET expires = '2020-01-01T00:00:00.000Z' WHERE used = ''")
    assert "C3211" in refused(unstarted, expired)
    answers = [guess(unstarted, f"AAAA-BBBB-{n:04}") for n in range(11)]
    assert "C3209" in answers[0]
    assert "C3006" in answers[-1]


def guess(product: Product, code: str) -> str:
    """The code of the cloud's answer; as `cdc enrol` asks, without a process for each."""
    body = msgspec.json.encode(EnrolRequest(code, b"i" * 16, b"k" * 32))
    request = urllib.request.Request(f"https://localhost:{product.cloud_port}{ENROL_PATH}", body)
    try:
        urllib.request.urlopen(request, context=trusting(product.folder / "ca.pem"), timeout=20).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    return ""


def test_a_failed_enrolment_leaves_an_enrolled_agent_as_it_was(running: Product) -> None:
    assert "C3209" in refused(running, "AAAA-BBBB-CCCC")
    goes_on(running)


def test_enrolment_without_a_cloud_says_so(unstarted: Product) -> None:
    assert "T1010" in refused(unstarted, "AAAA-BBBB-CCCC")


def test_an_agent_that_was_never_enrolled_says_so(unstarted: Product) -> None:
    unstarted.agent.call("install")
    unstarted.start_agent()
    assert "cdc enrol" in said(unstarted, "A2601")
    assert unstarted.company_health()["status"] == "stopped"


def connections_in(proxy: ThreadedProxy, seconds: float) -> int:
    before = proxy.accepted
    time.sleep(seconds)
    return proxy.accepted - before


def test_a_revoked_agent_says_so_knocks_no_more_and_goes_on_after_a_new_enrolment(running: Product) -> None:
    with ThreadedProxy(running.cloud_port) as proxy:
        behind(running, proxy)
        eventually("the agent comes through the proxy", lambda: proxy.accepted)
        running.wait_until_caught_up()
        running.cloud.call("company", "revoke-agent", "acme")
        proxy.cut()
        assert "C3204" in said(running, "A2606")
        assert running.company_health()["link"]["state"] == "refused"
        assert connections_in(proxy, STORM) == 0
        running.agent.call("enrol", "acme", code_of(running.cloud.call("company", "code", "acme").stdout))
        goes_on(running)
        assert "A2606" not in running.problems()


def test_a_revoked_agent_is_cut_off_though_it_is_connected(running: Product) -> None:
    """Revoking must not wait for the next connection, which may be weeks away."""
    running.cloud.call("company", "revoke-agent", "acme")
    said(running, "A2606")
    running.agent.call("enrol", "acme", code_of(running.cloud.call("company", "code", "acme").stdout))
    goes_on(running)


# -- certificates and other servers ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def website(folder: Path, names: tuple[str, ...] = ("localhost",), ca: trustme.CA | None = None) -> Iterator[int]:
    """An HTTPS server that answers everything with a page. Yields its port; `site-ca.pem` in the folder trusts it."""
    authority = ca or trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "site-ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Page(http.server.BaseHTTPRequestHandler):
    """A captive portal."""

    def do_GET(self) -> None:
        body = b"<html><body>Please log in to the network</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def pointed_at(product: Product, port: int, ca: str) -> None:
    product.agent_url_port = port
    text = product.agent_config().replace('ca = "ca.pem"', f'ca = "{ca}"')
    (product.folder / "agent.toml").write_text(text, encoding="utf-8")


def test_a_certificate_of_an_unknown_authority_is_not_accepted_and_tried_seldom(running: Product) -> None:
    trustme.CA().cert_pem.write_to_path(str(running.folder / "other-ca.pem"))
    with ThreadedProxy(running.cloud_port) as proxy:
        pointed_at(running, proxy.port, "other-ca.pem")
        assert "certificate" in said(running, "A2603")
        assert connections_in(proxy, STORM) <= FEW
        behind(running, proxy)  # the file mended: at once, not after the long wait
        goes_on(running)


def test_a_certificate_for_another_name_is_not_accepted(running: Product) -> None:
    with website(running.folder, ("cloud.example",)) as port, ThreadedProxy(port) as proxy:
        pointed_at(running, proxy.port, "site-ca.pem")
        assert "certificate" in said(running, "A2603")
        assert connections_in(proxy, STORM) <= FEW


def test_another_server_at_the_clouds_address_is_said(running: Product) -> None:
    with website(running.folder) as port, ThreadedProxy(port) as proxy:
        pointed_at(running, proxy.port, "site-ca.pem")
        assert "200" in said(running, "A2604")
        assert connections_in(proxy, STORM) <= FEW
        assert "T1012" in refused(running, "AAAA-BBBB-CCCC")
        directly(running)
        goes_on(running)


def test_a_cloud_that_is_away_is_tried_ever_less_often_and_found_again(running: Product) -> None:
    with ThreadedProxy(free_port()) as proxy:
        behind(running, proxy)
        said(running, "A2602")
        assert connections_in(proxy, STORM) <= 12  # half a second, then twice as long each time, with jitter
        directly(running)
        goes_on(running)
