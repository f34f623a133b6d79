"""shell: the command line of the agent, and the composition root: here the real machine meets the program.

Verbs that act on a running agent ask it through its control API; the others work on files and databases themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc import host, logs
from cdc.config import Company, Config
from cdc.control import Client, RestoredRequest, SyncRequest, TakeoverRequest
from cdc.daemon import Daemon
from cdc.database_commands import add_verbs, complain, configuration, named, say
from cdc.errors import AgentError, ConfigError, ProgramStopped
from cdc.journal_identity import Identity, IdentityFile
from cdc.reload import check, load_files
from cdc.render import render_status
from cdc.restart import ExitStatus
from transport.client import enrol, tls_context
from transport.errors import CodedError
from transport.frames import EnrolRequest
from transport.machine import calm_collector, system_runtime
from transport.runtime import Runtime

DEFAULT_CONFIG = Path("agent.toml")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 the answer is no, 2 usage, 3 configuration, 4 state folder, 5 a person must act."""
    options = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return _carried_out(verb, options)
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return ExitStatus.CONFIG
    except CodedError as error:
        complain(error)
        return ExitStatus.STATE if error.code in ("A2101", "A2102") else ExitStatus.FAILED
    except BrokenPipeError:  # whoever reads our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED
    except KeyboardInterrupt:
        return 130


def _carried_out(verb: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    status = verb(options)
    sys.stdout.flush()  # here, where a closed pipe is expected, and not at the interpreter's end
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cdc", description="Keeps the cloud's copy of an ERP database the same as the ERP.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="the agent's file, or a folder of files")
    parser.add_argument("--version", action="version", version=f"cdc {version('erp-cdc')}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, act: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=about, description=about)
        verb.set_defaults(verb=act)
        return verb

    add("run", _run, "run the agent until SIGTERM or SIGINT")
    add("check", _check, "read the configuration and name every mistake")
    add("status", _status, "show what the running agent does")
    add("reload", _reload, "have the running agent read its configuration again")
    add_verbs(add)
    enrolment = add("enrol", _enrol, "become the company's agent, with a one-time code from the cloud")
    enrolment.add_argument("company")
    enrolment.add_argument("code")
    sync = add("sync", _sync, "look for changes now")
    sync.add_argument("company")
    sync.add_argument("channel", nargs="?", default="")
    sync.add_argument("--full", action="store_true", help="read everything anew")
    sync.add_argument("--next", action="store_true", help="with --full: at the next scheduled run")
    restored = add("restored", _restored, "say what the ERP database is, after a restored backup was noticed")
    restored.add_argument("company")
    restored.add_argument("choice", choices=["real", "copy"])
    takeover = add("takeover", _takeover, "make this installation the one that serves the company")
    takeover.add_argument("company")
    demo = add("demo", _demo, "show it all on a generated company: ERP, agent and cloud on this machine")
    demo.add_argument("--once", action="store_true", help="stop after a while, compare both sides, exit 0 only if equal")
    demo.add_argument("--dir", type=Path, default=None, help="keep everything in this folder")
    demo.add_argument("--seed", type=int, default=2026)
    demo.add_argument("--employees", type=int, default=300)
    demo.add_argument("--years", type=int, default=3)
    return parser


# -- verbs -----------------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    return host.run(_daemon(options.config))


async def _daemon(path: Path) -> ExitStatus:
    loaded, texts = load_files(path)
    config = loaded.required()
    logs.configure(config.agent.log.format, config.agent.log.level)
    calm_collector()
    with host.state_lock(config.agent.state), host.Signals() as signals:
        return await Daemon(path, loaded, texts, system_runtime(), version("erp-cdc")).run(signals)


def _check(options: argparse.Namespace) -> int:
    problems = check(options.config)
    for problem in problems:
        complain(problem)
    if problems:
        return ExitStatus.CONFIG
    say(f"{options.config}: no mistakes")
    return ExitStatus.OK


def _status(options: argparse.Namespace) -> int:
    sys.stdout.write(render_status(_client(options).status()))
    return ExitStatus.OK


def _reload(options: argparse.Namespace) -> int:
    done = _client(options).reload()
    say(done.message, *done.details)
    return ExitStatus.OK


def _sync(options: argparse.Namespace) -> int:
    request = SyncRequest(options.company, options.channel, full=options.full, when="next" if options.next else "now")
    done = _client(options).sync(request)
    say(done.message, *done.details)
    return ExitStatus.OK


def _restored(options: argparse.Namespace) -> int:
    say(_client(options).restored(RestoredRequest(options.company, options.choice)).message)
    return ExitStatus.OK


def _takeover(options: argparse.Namespace) -> int:
    say(_client(options).takeover(TakeoverRequest(options.company)).message)
    return ExitStatus.OK


def _enrol(options: argparse.Namespace) -> int:
    config = configuration(options)
    (company,) = named(config, options.company)
    runtime = system_runtime()
    file = IdentityFile(_company_folder(config, company) / "journal.identity", runtime.durable)
    file.check()  # a code is good for once: first everything that can be wrong here
    file.save(asyncio.run(_enrolled(config, company, options.code, runtime)))
    say(f"{company.name}: enrolled at {config.cloud.url}")
    _wake(config, company)
    return ExitStatus.OK


def _wake(config: Config, company: Company) -> None:
    """A running agent whose company waits for this goes on at once."""
    try:
        Client(config.agent.state).sync(SyncRequest(company.name))
    except AgentError as error:
        if error.code != "A2515":  # no agent runs: it will see the new identity when it starts
            say(f"the running agent was not told ({error}): cdc sync {company.name}")


def _demo(options: argparse.Namespace) -> int:
    from cdc.demo.run import Options, demo

    return asyncio.run(
        demo(
            Options(once=options.once, folder=options.dir, seed=options.seed, employees=options.employees, years=options.years)
        )
    )


# -- parts -----------------------------------------------------------------------------------------------------------------


def _company_folder(config: Config, company: Company) -> Path:
    """Made if need be. Raises ProgramStopped A2102."""
    folder = config.agent.state / company.name
    try:
        config.agent.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ProgramStopped("A2102", error.strerror or type(error).__name__, where=str(folder)) from error
    return folder


def _client(options: argparse.Namespace) -> Client:
    return Client(configuration(options).agent.state)


async def _enrolled(config: Config, company: Company, code: str, runtime: Runtime) -> Identity:
    key = Ed25519PrivateKey.generate()
    installation = runtime.new_id()
    request = EnrolRequest(code, installation, key.public_key().public_bytes_raw(), company.name)
    reply = await enrol(config.cloud.url, tls_context(config.cloud.ca), request)
    if reply.company != company.name:
        raise AgentError("A2607", f"the code is of the company {reply.company}", where=company.name)
    return Identity(
        installation=installation,
        secret=b"",
        epoch=0,
        private_key=key.private_bytes_raw(),
        cloud=config.cloud.url,
        company=company.name,
    )
