"""shell: the verbs of the command line that work on a company's ERP database: install, uninstall, doctor.

They open the database themselves and need no running agent. Where several companies are meant, what goes wrong with one is
said and the others are done all the same; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar

from cdc.config import Company, Config
from cdc.control import Client
from cdc.daemon import open_source
from cdc.doctor import inspect_installation
from cdc.errors import AgentError
from cdc.model import Finding, Severity
from cdc.reload import load_files
from cdc.restart import ExitStatus
from cdc.sources.base import Installable
from cdc.status import Status
from transport.errors import CodedError
from transport.machine import system_runtime
from transport.settings import format_duration, parse_duration

T = TypeVar("T")
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
SHORTEST, LONGEST = 600.0, 90 * 86_400.0  # seconds of retention, as in the configuration


class Wanted(NamedTuple):
    """What `cdc install` was asked for beyond our own structures."""

    tracking: bool
    retention: float | None  # seconds; None: as the company's configuration says
    snapshot: bool

    def of(self, company: Company) -> float:
        """Seconds that change records are kept."""
        return company.retention if self.retention is None else self.retention


def add_verbs(add: Add) -> None:
    """Names the verbs to the parser."""
    doctor = add("doctor", _doctor, "look for everything a new installation gets wrong")
    doctor.add_argument("company", nargs="?", default="")
    install = add("install", _install, "create or upgrade change tracking in the ERP database")
    install.add_argument("company", nargs="?", default="")
    install.add_argument(
        "--script", action="store_true", help="print it all as a script for a DBA, and do nothing (SQL Server)"
    )
    install.add_argument(
        "--enable-tracking",
        action="store_true",
        help="also turn on change tracking, for the database and its tables (SQL Server)",
    )
    install.add_argument(
        "--retention",
        type=_retention,
        default=None,
        metavar="TIME",
        help='with --enable-tracking: how long changes are kept, such as "7d"',
    )
    install.add_argument("--enable-snapshot", action="store_true", help="also allow snapshot isolation (SQL Server)")
    install.set_defaults(refuse=install.error)
    uninstall = add("uninstall", _uninstall, "remove everything of ours from the ERP database")
    uninstall.add_argument("company")
    uninstall.add_argument("--yes", action="store_true", help="do not ask")


def _retention(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f'must be between "{format_duration(SHORTEST)}" and "{format_duration(LONGEST)}"')
    return seconds


# -- verbs -----------------------------------------------------------------------------------------------------------------


def _install(options: argparse.Namespace) -> int:
    if options.retention is not None and not options.enable_tracking:
        options.refuse("--retention goes with --enable-tracking")
    wanted = Wanted(options.enable_tracking, options.retention, options.enable_snapshot)
    companies = named(configuration(options), options.company)
    act = _print_script if options.script else _print_installed
    return _each(companies, lambda company: act(company, wanted))


def _print_script(company: Company, wanted: Wanted) -> None:
    say(asyncio.run(_with_source(company, partial(_script, company, wanted))).rstrip("\n"))


def _print_installed(company: Company, wanted: Wanted) -> None:
    done = asyncio.run(_with_source(company, partial(_installed, company, wanted)))
    say(*(f"{company.name}: {line}" for line in done or ["nothing to do, everything is there"]))


def _uninstall(options: argparse.Namespace) -> int:
    config = configuration(options)
    (company,) = named(config, options.company)
    _refuse_while_served(config, company)
    if not options.yes:
        _confirm(company)
    done = asyncio.run(_with_source(company, _removed))
    say(*(f"{company.name}: {line}" for line in done or ["nothing to do, there is nothing of ours"]))
    return ExitStatus.OK


def _doctor(options: argparse.Namespace) -> int:
    config = configuration(options)
    worst = ExitStatus.OK
    for company in named(config, options.company):
        findings = asyncio.run(_inspected(config, company))
        for finding in findings:
            _show(company, finding)
        if any(finding.severity is Severity.ERROR for finding in findings):
            worst = ExitStatus.FAILED
    return worst


def _each(companies: list[Company], act: Callable[[Company], None]) -> ExitStatus:
    worst = ExitStatus.OK
    for company in companies:
        try:
            act(company)
        except CodedError as error:
            complain(error)
            worst = ExitStatus.FAILED
    return worst


# -- parts -----------------------------------------------------------------------------------------------------------------


def _refuse_while_served(config: Config, company: Company) -> None:
    """A running agent would find its structures gone in the middle of a window. Raises AgentError A2517."""
    try:
        health = Client(config.agent.state).status()
    except AgentError as error:
        if error.code == "A2515":  # none runs
            return
        raise
    if any(c.name == company.name and c.status not in (Status.OFF, Status.STOPPED) for c in health.companies):
        raise AgentError("A2517", "the running agent serves it: stop the agent, or set active = false", where=company.name)


def _confirm(company: Company) -> None:
    """Raises AgentError A2322 unless a person types the company's name."""
    if not sys.stdin.isatty():
        raise AgentError("A2322", "nobody can be asked here: say --yes", where=company.name)
    say(
        f"Everything of ours is removed from the ERP database of {company.name}; its data and the cloud's copy stay.",
        "Changes made from now on are not recorded: a later install reads everything anew.",
    )
    sys.stdout.write("Type the company's name to go on: ")
    sys.stdout.flush()
    if sys.stdin.readline().strip() != company.name:
        raise AgentError("A2322", "that is not its name: nothing was done", where=company.name)


async def _with_source(company: Company, act: Callable[[Installable], Awaitable[T]]) -> T:
    source = open_source(company, system_runtime())
    try:
        return await act(source)
    finally:
        await source.close()


async def _script(company: Company, wanted: Wanted, source: Installable) -> str:
    retention = wanted.of(company)
    return await source.script(company.datasets, tracking=wanted.tracking, retention=retention, snapshot=wanted.snapshot)


async def _installed(company: Company, wanted: Wanted, source: Installable) -> list[str]:
    await source.open()
    done: list[str] = []
    if wanted.tracking or wanted.snapshot:
        retention = wanted.of(company)
        done += await source.enable(company.datasets, tracking=wanted.tracking, retention=retention, snapshot=wanted.snapshot)
    return done + await source.install(company.datasets)


async def _removed(source: Installable) -> list[str]:
    await source.open()
    return await source.uninstall()


async def _inspected(config: Config, company: Company) -> list[Finding]:
    source = open_source(company, system_runtime())
    try:
        return [*await source.inspect(company.datasets), *await inspect_installation(config, company)]
    finally:
        await source.close()


def _show(company: Company, finding: Finding) -> None:
    mark = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}[finding.severity]
    say(f"{mark} {finding.code} {company.name}: {finding.where}: {finding.message}")
    if finding.severity is not Severity.OK:
        text = "\n".join(part for part in (finding.remedy, finding.statement) if part)
        say(*(f"        {line}" for line in text.splitlines()))


# -- what other verbs share ------------------------------------------------------------------------------------------------


def configuration(options: argparse.Namespace) -> Config:
    """The one that `--config` names. Raises ConfigError."""
    loaded, _ = load_files(options.config)
    return loaded.required()


def named(config: Config, name: str) -> list[Company]:
    """The company of that name; "": all. Raises AgentError A2513."""
    found = [company for company in config.companies if name in ("", company.name)]
    if not found:
        raise AgentError("A2513", "no such company in the configuration", where=name)
    return found


def say(*lines: str) -> None:
    """To standard output."""
    for line in lines:
        if line:
            sys.stdout.write(line + "\n")


def complain(error: CodedError) -> None:
    """To standard error, with the remedy."""
    sys.stderr.write(f"{error}\n")
    if error.remedy:
        sys.stderr.write(f"    {error.remedy}\n")
