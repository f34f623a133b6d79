"""shell: the command line of the cloud, and its composition root."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from cloud.app import COMPANIES_FOLDER, REGISTRY_FILE, Service, make_data_folder
from cloud.config import CloudConfig, parse_config
from cloud.errors import CloudError, ConfigError
from cloud.logs import configure
from cloud.store.registry import Registry
from cloud.store.sqlite import SqliteStore
from transport.errors import CodedError
from transport.machine import calm_collector, pooled_runtime, system_runtime

DEFAULT_CONFIG = Path("cloud.toml")
CODE_VALID = 7 * 86_400.0  # seconds
WRITE_THREADS = 16  # shared by all companies' writes: as many windows are applied at once
READ_THREADS = 32  # shared by all companies' reads, which no write holds up


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 the answer is no, 2 usage, 3 configuration."""
    options = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace, CloudConfig], int] = options.verb
    try:
        return verb(options, _config(options.config))
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        return 3
    except CodedError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cdc-cloud", description="Keeps companies' copies and serves them to applications.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="the service's file")
    parser.add_argument("--version", action="version", version=f"cdc-cloud {version('erp-cdc')}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("run", help="run the service until SIGTERM or SIGINT").set_defaults(verb=_run)
    _company_parser(verbs.add_parser("company", help="companies and their agents"))
    _token_parser(verbs.add_parser("token", help="what applications authenticate with"))
    _load_parser(verbs.add_parser("load", help="finished loads that wait for a person"))
    return parser


def _company_parser(company: argparse.ArgumentParser) -> None:
    acts = company.add_subparsers(required=True, metavar="ACT")
    add = acts.add_parser("add", help="add a company; prints a one-time code for its agent")
    add.add_argument("name")
    add.set_defaults(verb=_company_add)
    acts.add_parser("list", help="all companies").set_defaults(verb=_company_list)
    code = acts.add_parser("code", help="print a new one-time code for the company's agent")
    code.add_argument("name")
    code.set_defaults(verb=_company_code)
    for name, about in (("suspend", "shut agent and applications out"), ("resume", "let them in again")):
        act = acts.add_parser(name, help=about)
        act.add_argument("name")
        act.set_defaults(verb=_company_suspend, suspended=name == "suspend")
    revoke = acts.add_parser("revoke-agent", help="the company's agent is no longer trusted")
    revoke.add_argument("name")
    revoke.set_defaults(verb=_company_revoke)


def _token_parser(token: argparse.ArgumentParser) -> None:
    acts = token.add_subparsers(required=True, metavar="ACT")
    add = acts.add_parser("add", help="issue a token for an application; it is shown once")
    add.add_argument("company")
    add.add_argument("application")
    add.set_defaults(verb=_token_add)
    revoke = acts.add_parser("revoke", help="the application's tokens are no longer valid")
    revoke.add_argument("company")
    revoke.add_argument("application")
    revoke.set_defaults(verb=_token_revoke)


def _load_parser(load: argparse.ArgumentParser) -> None:
    acts = load.add_subparsers(required=True, metavar="ACT")
    for name, about in (("accept", "swap the load in"), ("reject", "throw the load away")):
        act = acts.add_parser(name, help=about)
        act.add_argument("company")
        act.add_argument("dataset")
        act.set_defaults(verb=_load_decide, accept=name == "accept")


# -- verbs -----------------------------------------------------------------------------------------------------------------


def _run(_: argparse.Namespace, config: CloudConfig) -> int:
    configure(config.log)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config))
    return 0


async def _serve(config: CloudConfig) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    _on_signals(stop, hurry)
    calm_collector()
    with (
        ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="store") as writers,
        ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read") as readers,
    ):
        runtime = pooled_runtime({"store": writers, "read": readers})
        async with Service(config, runtime, version("erp-cdc"), hurry=hurry):
            await stop.wait()


def _on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """SIGTERM and SIGINT stop; once more hurries."""
    loop = asyncio.get_running_loop()

    def react() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, react)
        except NotImplementedError:  # the loops of Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(react))


def _company_add(options: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        registry.add_company(options.name)
        _say(f"company: {options.name}", f"enrolment code: {registry.new_enrolment_code(options.name, CODE_VALID)}")
    return 0


def _company_list(_: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        _say(*(f"{company.id}  {company.state}  since {company.created}" for company in registry.companies()))
    return 0


def _company_code(options: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        _say(f"enrolment code: {registry.new_enrolment_code(options.name, CODE_VALID)}")
    return 0


def _company_suspend(options: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        registry.suspend(options.name, suspended=options.suspended)
    _say(f"{options.name}: {'suspended' if options.suspended else 'active'}")
    return 0


def _company_revoke(options: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        registry.revoke_agent(options.name)
    _say(f"{options.name}: its agent is revoked")
    return 0


def _token_add(options: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        _say(f"token: {registry.add_token(options.company, options.application)}")
    return 0


def _token_revoke(options: argparse.Namespace, config: CloudConfig) -> int:
    with _registry(config) as registry:
        registry.revoke_token(options.company, options.application)
    _say(f"{options.company}: tokens of {options.application} are revoked")
    return 0


def _load_decide(options: argparse.Namespace, config: CloudConfig) -> int:
    path = config.data / COMPANIES_FOLDER / f"{options.company}.db"
    if not path.exists():
        raise CloudError("C3109", "no such company, or nothing of it has arrived", where=options.company)
    store = SqliteStore(path, system_runtime())
    try:
        done = (store.approve if options.accept else store.reject)(options.dataset)
    finally:
        store.close()
    if not done:
        raise CloudError("C3109", "no load of this dataset waits for a person", where=f"{options.company}/{options.dataset}")
    _say(f"{options.dataset}: {'swapped in' if options.accept else 'thrown away'}")
    return 0


# -- parts -----------------------------------------------------------------------------------------------------------------


def _config(path: Path) -> CloudConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "it is not UTF-8") or type(error).__name__
        raise ConfigError([CloudError("C3001", reason, where=str(path))]) from error
    return parse_config(text, where=path.name, folder=path.resolve().parent)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextlib.contextmanager
def _registry(config: CloudConfig) -> Iterator[Registry]:
    make_data_folder(config.data)
    registry = Registry(config.data / REGISTRY_FILE, system_runtime())
    try:
        yield registry
    finally:
        registry.close()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _complain(error: CodedError) -> None:
    sys.stderr.write(f"{error}\n")
    if error.remedy:
        sys.stderr.write(f"    {error.remedy}\n")
