"""pure: the agent's configuration: texts of TOML files -> one Config, with every mistake and its place; what a change needs.

A mistake costs as little as possible: a dataset with a mistake is left out alone, a company with a mistake is left out alone,
and the agent does not run at all only when `[agent]` or `[cloud]` is wrong. (A *reload* takes a new configuration whole or not
at all, see `cdc.reload`.) Paths are relative to the file they stand in.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from cdc.datasets import DatasetTable, contradictions, declared
from cdc.errors import AgentError, ConfigError, ProgramStopped
from cdc.model import Dataset
from cdc.source_settings import SourceSettings, read_source
from transport.frames import KIB, MIB
from transport.settings import Duration, NotToml, Problem, Size, decode_all, load_toml

GIB = 1024 * MIB
MAIN = "main"  # the channel of a company that declares none
HEARTBEAT_POLLS = 60  # change records must outlive at least so many polls

Name = Annotated[
    str,
    msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,39}\Z", description="a-z, 0-9, - and _, beginning with a letter, 40 at most"),
]


class LogFormat(enum.StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[agent.log]`."""

    format: LogFormat = LogFormat.TEXT
    level: Literal["debug", "info", "warning", "error"] = "info"


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[agent]`."""

    state: Path = Path("state")  # folder of journal, keys, lock and control token
    listen: str = "127.0.0.1:8470"  # health and control; loopback only, port 0: any free one
    fresh: Annotated[Duration, msgspec.Meta(ge=1, le=7 * 86_400)] = 120.0  # seconds a copy may lag and still be ready
    grace: Annotated[Duration, msgspec.Meta(ge=0, le=3_600)] = 20.0  # seconds a shutdown waits for batches to end
    log: LogSettings = LogSettings()


class CloudSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[cloud]`."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https://[^/\s@]+/?\Z", description="an address such as https://cloud.example")]
    ca: Path | None = None  # certificate authorities; None: the machine's


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """`[[company.channel]]`."""

    name: Name
    weight: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1  # of the channel's turns when several have something to send


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """One company that may run: everything in it is right."""

    name: str
    source: SourceSettings
    poll: float  # seconds
    journal_limit: int  # bytes
    window_limit: int  # bytes
    page_rows: int
    retention: float  # seconds
    active: bool
    channels: tuple[Channel, ...]
    datasets: tuple[Dataset, ...]
    broken: tuple[str, ...] = ()  # datasets left out because of their mistakes: not removed, so not detached


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent runs with."""

    agent: AgentSettings
    cloud: CloudSettings
    companies: tuple[Company, ...]

    def company(self, name: str) -> Company | None:
        """By name."""
        return next((c for c in self.companies if c.name == name), None)


class Text(NamedTuple):
    """A configuration file's path and content; None: it cannot be read, for the reason `problem`."""

    path: Path
    content: str | None
    problem: str = ""


class Loaded(msgspec.Struct, frozen=True):
    """The configuration as far as it may run, and everything that is wrong with it."""

    config: Config | None  # None: [agent] or [cloud] is wrong
    problems: tuple[AgentError, ...] = ()  # all, in the order of the files
    companies: Mapping[str, tuple[AgentError, ...]] = {}  # of those, the ones that keep a company or its dataset out

    def required(self) -> Config:
        """The configuration to start with. Raises ConfigError when the agent cannot run, or nothing in it may."""
        if self.config is None or (self.problems and not self.config.companies):
            raise ConfigError(list(self.problems))
        return self.config


class Changes(msgspec.Struct, frozen=True):
    """What a new configuration needs: what applies as the agent runs, whose services start anew, what waits for a restart."""

    live: tuple[str, ...] = ()  # settings, by key path
    added: tuple[str, ...] = ()  # companies to start
    removed: tuple[str, ...] = ()  # companies to stop
    restarted: tuple[str, ...] = ()  # companies whose services start anew
    restart: tuple[str, ...] = ()  # settings that apply only after a restart of the program

    def __bool__(self) -> bool:
        return any((self.live, self.added, self.removed, self.restarted, self.restart))


def load(texts: Sequence[Text]) -> Loaded:
    """Reads all files and never raises for what stands in them: `problems` has codes A2001 to A2004, with file and key path."""
    reader = _Reader()
    for text in texts:
        reader.file(text)
    return reader.result()


def diff(old: Config, new: Config) -> Changes:
    """What it takes to go from one configuration to the other."""
    before, after = ({c.name: c for c in config.companies if c.active} for config in (old, new))
    everywhere = old.cloud != new.cloud
    return Changes(
        live=tuple(_differing(old.agent, new.agent, ("log", "fresh", "grace"))),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        restarted=tuple(name for name in after if name in before and (everywhere or after[name] != before[name])),
        restart=tuple(_differing(old.agent, new.agent, ("state", "listen"))),
    )


def listen_problem(listen: str) -> str:
    """What is wrong with a listen address, or "": only this machine may ask for health or give orders."""
    host, port = split_listen(listen)
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65_535:
        return 'must be an address and a port such as "127.0.0.1:8470"'
    return "" if is_loopback(host) else "must be a loopback address such as 127.0.0.1: others must not give orders"


def split_listen(listen: str) -> tuple[str, str]:
    """Host and port of "127.0.0.1:8470" or "[::1]:8470"."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port


def is_loopback(host: str) -> bool:
    """Whether a literal address (or the name localhost) is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- reading ---------------------------------------------------------------------------------------------------------------


class _Root(msgspec.Struct, frozen=True, kw_only=True):
    version: Literal[1]
    agent: dict[str, Any] | None = None
    cloud: dict[str, Any] | None = None
    company: list[Any] = []


class _CompanyTable(msgspec.Struct, frozen=True, kw_only=True):
    """`[[company]]` without what may be wrong alone."""

    name: Name
    source: dict[str, Any]
    poll: Annotated[Duration, msgspec.Meta(ge=0.1, le=86_400)] = 1.0
    journal_limit: Annotated[Size, msgspec.Meta(ge=16 * MIB)] = GIB
    window_limit: Annotated[Size, msgspec.Meta(ge=64 * KIB)] = 256 * MIB
    page_rows: Annotated[int, msgspec.Meta(ge=100, le=100_000)] = 20_000
    retention: Annotated[Duration, msgspec.Meta(ge=600, le=90 * 86_400)] = 3 * 86_400.0
    active: bool = True
    channel: tuple[Channel, ...] = ()
    dataset: list[Any] = []


class _Reader:
    """Collects from file to file; `result` ties the ends together."""

    def __init__(self) -> None:
        self._problems: list[AgentError] = []
        self._by_company: dict[str, list[AgentError]] = {}
        self._companies: dict[str, Company] = {}
        self._places: dict[str, str] = {}  # company, agent, cloud -> where it was first seen
        self._agent: AgentSettings | None = None
        self._cloud: CloudSettings | None = None
        self._base = Path()  # where relative paths begin that stand in no file

    def file(self, text: Text) -> None:
        where = text.path.name
        self._base = text.path.parent if not self._base.parts else self._base
        if text.content is None:
            self._problems.append(ProgramStopped("A2001", text.problem, where=where))
            return
        try:
            table = load_toml(text.content, where=where)
        except NotToml as error:
            place = f"{where}: line {error.line}, column {error.column}"
            self._problems.append(ProgramStopped("A2002", error.message, where=place))
            return
        companies = table.pop("company", [])
        root, problems = decode_all(table, _Root, where=where)
        self._add(problems)
        self._head(root if root is not None else _salvaged(table), where, text.path.parent)
        if not isinstance(companies, list):
            self._add([Problem("company", "must be written [[company]], with two brackets", where)])
            return
        for index, item in enumerate(companies):
            self._company(item, index, where, text.path.parent)

    def result(self) -> Loaded:
        if "cloud" not in self._places and not any(p.code in ("A2001", "A2002") for p in self._problems):
            self._add([Problem("cloud", "is missing: [cloud] with url", "")])
        agent = self._agent if "agent" in self._places else AgentSettings(state=self._base / AgentSettings().state)
        config = None
        if agent is not None and self._cloud is not None:
            config = Config(agent=agent, cloud=self._cloud, companies=tuple(self._companies.values()))
        return Loaded(config, tuple(self._problems), {name: tuple(p) for name, p in self._by_company.items()})

    def _head(self, root: _Root, where: str, base: Path) -> None:
        if root.agent is not None and self._first("agent", where):
            agent, problems = decode_all(root.agent, AgentSettings, where=where, path="agent")
            listen = root.agent.get("listen")
            wrong = listen_problem(listen) if isinstance(listen, str) else ""
            self._add([*problems, *([Problem("agent.listen", wrong, where)] if wrong else [])])
            agent = None if wrong else agent
            self._agent = agent and msgspec.structs.replace(agent, state=base / agent.state)
        if root.cloud is not None and self._first("cloud", where):
            cloud, problems = decode_all(root.cloud, CloudSettings, where=where, path="cloud")
            self._add(problems)
            self._cloud = cloud and msgspec.structs.replace(cloud, ca=cloud.ca and base / cloud.ca)

    def _first(self, what: str, where: str) -> bool:
        if what in self._places:
            self._add([Problem(what, f"stands in {self._places[what]} already", where)], code="A2004")
            return False
        self._places[what] = where
        return True

    def _company(self, item: Any, index: int, where: str, base: Path) -> None:
        path = _item("company", item, index)
        name = item.get("name") if isinstance(item, Mapping) else None
        label = name if isinstance(name, str) else path
        if isinstance(name, str) and not self._first(path, where):
            self._by_company.setdefault(label, []).append(self._problems[-1])
            self._companies.pop(label, None)  # which of the two is meant, nobody can know
            return
        company, problems = _decode_company(item, where, path, base)
        errors = [*self._add(problems.shape), *self._add(problems.contradictions, code="A2004")]
        if errors:
            self._by_company.setdefault(label, []).extend(errors)
        if company is not None:
            self._companies[company.name] = company

    def _add(self, problems: Iterable[Problem], code: str = "A2003") -> list[AgentError]:
        errors: list[AgentError] = [ProgramStopped(code, p.message, where=_place(p)) for p in problems]
        self._problems.extend(errors)
        return errors


class _Mistakes(NamedTuple):
    shape: list[Problem]  # each is wrong by itself
    contradictions: list[Problem]  # each is right, but not together


def _decode_company(item: Any, where: str, path: str, base: Path) -> tuple[Company | None, _Mistakes]:
    table, shape = decode_all(item, _CompanyTable, where=where, path=path)
    raw = item if isinstance(item, Mapping) else {}
    found_source = read_source(raw.get("source"), where, f"{path}.source", base)
    source, fatal = found_source.settings, [*shape, *found_source.shape]
    channels = table.channel if table and table.channel else (Channel(name=MAIN),)
    datasets, broken, mistakes = _datasets(raw.get("dataset"), _channel_names(raw), where, path)
    clashes = [Problem(f"{path}.{at}", message, where) for at, message in _clashes(table)] if table else []
    clashes = [*found_source.contradictions, *clashes]
    found = _Mistakes([*fatal, *mistakes.shape], [*clashes, *mistakes.contradictions])
    if table is None or source is None or clashes:
        return None, found
    company = Company(
        name=table.name,
        source=source,
        poll=table.poll,
        journal_limit=table.journal_limit,
        window_limit=table.window_limit,
        page_rows=table.page_rows,
        retention=table.retention,
        active=table.active,
        channels=channels,
        datasets=tuple(datasets),
        broken=tuple(broken),
    )
    return company, found


def _channel_names(raw: Mapping[str, Any]) -> list[str]:
    """The channels that are declared, even where something else is wrong with them."""
    tables = raw.get("channel")
    names = [t.get("name") for t in tables if isinstance(t, Mapping)] if isinstance(tables, list) else []
    return [n for n in names if isinstance(n, str)] or [MAIN]


def _datasets(items: Any, channels: list[str], where: str, path: str) -> tuple[list[Dataset], list[str], _Mistakes]:
    """The datasets that may run, the names of those that may not, and why."""
    good: list[Dataset] = []
    broken: list[str] = []
    mistakes = _Mistakes([], [])
    seen: set[str] = set()
    for index, item in enumerate(items if isinstance(items, list) else []):
        at = _item(f"{path}.dataset", item, index)
        table, shape = decode_all(item, DatasetTable, where=where, path=at)
        clashes = list(contradictions(table, channels, seen)) if table else []
        mistakes.shape.extend(shape)
        mistakes.contradictions.extend(Problem(f"{at}.{key}", message, where) for key, message in clashes)
        name = item.get("name") if isinstance(item, Mapping) else None
        if table is not None and not clashes:
            good.append(declared(table))
        elif isinstance(name, str):
            broken.append(name)
        if isinstance(name, str):
            seen.add(name)
    return good, broken, mistakes


def _clashes(table: _CompanyTable) -> Iterator[tuple[str, str]]:
    """Settings of a company that are possible alone, but not together."""
    if table.window_limit > table.journal_limit:
        yield "window_limit", "must not be greater than journal_limit, or it never fits"
    if table.retention < table.poll * HEARTBEAT_POLLS:
        yield "retention", f"must be at least {HEARTBEAT_POLLS} times poll, or changes are gone unread"
    names = [c.name for c in table.channel]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"channel[{name}]", "is declared twice"


def _salvaged(table: Mapping[str, Any]) -> _Root:
    """The tables of a root that has a mistake elsewhere, so that their own mistakes are reported too."""
    agent, cloud = (value if isinstance(value, dict) else None for value in (table.get("agent"), table.get("cloud")))
    return _Root(version=1, agent=agent, cloud=cloud)


def _differing(old: msgspec.Struct, new: msgspec.Struct, names: Iterable[str]) -> Iterator[str]:
    yield from (f"agent.{name}" for name in names if getattr(old, name) != getattr(new, name))


def _item(path: str, item: Any, index: int) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name)
    return f"{path}[{name}]" if plain else f"{path}[#{index + 1}]"


def _place(problem: Problem) -> str:
    return ": ".join(part for part in (problem.where, problem.path) if part)


def cloud_host(cloud: CloudSettings) -> str:
    """The host name the agent will connect to, for messages."""
    return urlsplit(cloud.url).hostname or cloud.url
