"""The documents say what is there: links, commands, files, settings, fields, metrics, codes and names of structures."""

from __future__ import annotations

import argparse
import importlib
import operator
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin

import msgspec
import pytest

from cdc import cli as agent_cli
from cdc import config as agent_config
from cdc.board import StatusBoard
from cdc.control import CONTROL_FILE
from cdc.datasets import DatasetTable
from cdc.errors import REGISTRY as AGENT
from cdc.host import HOLDER_FILE, LOCK_FILE
from cdc.metrics import exposition
from cdc.reload import check
from cdc.restart import ExitStatus
from cdc.source_settings import KINDS, SqliteSource
from cdc.sources.sqlite.tracking import STRUCTURES
from cdc.sources.sqlserver.installing import layouts
from cdc.status import Health
from cloud import cli as cloud_cli
from cloud.app import COMPANIES_FOLDER, REGISTRY_FILE, render_metrics
from cloud.config import CloudConfig, parse_config
from cloud.errors import REGISTRY as CLOUD
from tests.support import tsqlcheck
from transport.errors import REGISTRY as WIRE

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
OPERATIONS = ROOT / "docs" / "05-operations.md"
SQL_SERVER = ROOT / "docs" / "08-sql-server.md"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FILE_ENDINGS = ("toml", "json", "md", "py", "pid", "identity", "db", "pem", "lock", "bin", "sh", "yml")
FOLDERS = "cdc|cloud|transport|tests|docs|examples|bench|tools|systemd|windows|requirements"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)


def inline(page: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def block_lines(page: Path) -> Iterator[str]:
    """Lines of code blocks, without comments."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```$", read(page), flags=re.MULTILINE | re.DOTALL):
        yield from (re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines())


# -- links and files -------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {"".join(c for c in text.lower().strip() if c.isalnum() or c in " -_").replace(" ", "-") for text in found}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        path = page if not file else (page.parent / file).resolve()
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pages
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*[\w/]", prose(page))
    missing = [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"{name.rstrip('/')}*"))]
    assert missing == []


# -- commands --------------------------------------------------------------------------------------------------------------

PARSERS = {"cdc": agent_cli._parser, "cdc-cloud": cloud_cli._parser}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, flags=re.MULTILINE))


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def whole_command_problem(words: list[str]) -> str:
    """What is wrong with a command as it would be typed."""
    if words[0] == "make":
        return make_problem(words[1:])
    try:
        PARSERS[words[0]]().parse_args(words[1:])
    except SystemExit as stop:
        return "" if stop.code == 0 else f"the parser refuses {' '.join(words)}"
    return ""


def make_problem(words: list[str]) -> str:
    settings = [word.partition("=")[0] for word in words if "=" in word]
    unknown = [word for word in words if "=" not in word and word not in targets()]
    unknown += [name for name in settings if f"$({name})" not in MAKEFILE and f"$(if $({name})" not in MAKEFILE]
    return f"make has no {', '.join(unknown)}" if unknown else ""


def mention_problem(words: list[str]) -> str:
    """What is wrong with a command that may be named without all of its arguments."""
    if words[0] == "make":
        return make_problem(words[1:])
    parser, rest = PARSERS[words[0]](), words[1:]
    while rest and (choices := subparsers(parser)):
        word = rest.pop(0)
        if word.startswith("-"):
            return "" if word in parser._option_string_actions else f"no option {word} in {' '.join(words)}"
        if word not in choices:
            return f"no verb {word} in {' '.join(words)}"
        parser = choices[word]
    options = [word for word in rest if word.startswith("-") and word not in parser._option_string_actions]
    positional = [action for action in parser._actions if not action.option_strings]
    too_many = len(rest) - len([w for w in rest if w.startswith("-")]) > len(positional)
    return f"too much, or unknown, in {' '.join(words)}" if options or too_many else ""


@pages
def test_commands_in_blocks_can_be_typed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line) for line in block_lines(page) if line.split(" ")[0] in ("cdc", "cdc-cloud", "make")]
    assert [p for words in commands if (p := whole_command_problem(words))] == []


@pages
def test_commands_that_are_mentioned_exist(page: Path) -> None:
    commands = [text.split() for text in inline(page) if re.match(r"(cdc|cdc-cloud|make) [a-z-]", text)]
    assert [p for words in commands if (p := mention_problem(words))] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_commands_that_an_example_mentions_exist(example: Path) -> None:
    mentioned = re.findall(r"`((?:cdc|cdc-cloud) [^`]+)`", read(example))
    assert [p for text in mentioned if (p := mention_problem(text.split()))] == []


def test_the_page_of_operations_names_every_command_of_the_agent() -> None:
    named = {text.split()[1] for text in inline(OPERATIONS) if text.startswith("cdc ")}
    named |= {word for line in block_lines(OPERATIONS) if line.startswith("cdc ") for word in line.split()}
    assert sorted(set(subparsers(agent_cli._parser())) - named - {"demo"}) == []


@pages
def test_t_sql_in_blocks_is_t_sql(page: Path) -> None:
    blocks = re.findall(r"^ *```sql\n(.*?)^ *```$", read(page), flags=re.MULTILINE | re.DOTALL)
    texts = [text for number, block in enumerate(blocks, 1) for text in tsqlcheck.batches(f"{page.name}, {number}", block)]
    if texts and (reason := tsqlcheck.missing()):
        pytest.skip(reason)
    assert [str(finding) for finding in (tsqlcheck.check(texts).findings if texts else [])] == []


# -- settings --------------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, type[msgspec.Struct]] = {
    "company": agent_config._CompanyTable,
    "company.source": SqliteSource,  # and of every other kind
    "company.channel": agent_config.Channel,
    "company.dataset": DatasetTable,
    "agent": agent_config.AgentSettings,
    "agent.log": agent_config.LogSettings,
    "cloud": agent_config.CloudSettings,
}


def cloud_tables() -> dict[str, type[msgspec.Struct]]:
    """`listen`, `tls`, `limits`, `log`."""
    found = [(f.name, kind) for f in msgspec.structs.fields(CloudConfig) for kind in (f.type, *get_args(f.type))]
    return {name: kind for name, kind in found if isinstance(kind, type) and issubclass(kind, msgspec.Struct)}


def is_setting(key: str) -> bool:
    table, _, name = key.rpartition(".")
    kind = (SETTINGS | cloud_tables()).get(table)
    if table == "company.source":
        return any(name in kind.__struct_fields__ for kind in KINDS.values())
    return key in SETTINGS or (kind is not None and name in kind.__struct_fields__)


def is_symbol(name: str) -> bool:
    """A module, or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
            operator.attrgetter(".".join(parts[cut:]) or "__name__")(module)
        except (ModuleNotFoundError, AttributeError):
            continue
        return True
    return False


@pages
def test_settings_and_modules_that_are_named_exist(page: Path) -> None:
    heads = "|".join(sorted({key.partition(".")[0] for key in SETTINGS | cloud_tables()} | {"transport", "cdc"}))
    named = [text for text in inline(page) if re.fullmatch(rf"(?:{heads})(?:\.\w+)+", text)]
    named = [name for name in named if name.rpartition(".")[2] not in FILE_ENDINGS]
    assert [name for name in named if not is_setting(name) and not is_symbol(name)] == []


@pytest.mark.parametrize("name", ["agent.toml", "sqlserver.toml"])
def test_the_agents_examples_have_no_mistake(name: str) -> None:
    assert check(ROOT / "examples" / name) == []


def test_the_clouds_example_has_no_mistake() -> None:
    example = ROOT / "examples" / "cloud.toml"
    assert parse_config(read(example), where=example.name).version == 1


# -- what is shown ---------------------------------------------------------------------------------------------------------


def has_field(kind: Any, path: list[str]) -> bool:
    """Whether a Struct has the field, and what is in it the rest of the path."""
    if not path:
        return True
    name = path[0].removesuffix("[]")
    fields = {f.name: f.type for f in msgspec.structs.fields(kind)} if isinstance(kind, type) else {}
    if name not in fields:
        return False
    inner = get_args(fields[name])[0] if get_origin(fields[name]) is tuple else fields[name]
    return len(path) == 1 or has_field(inner, path[1:])


def test_fields_of_health_exist() -> None:
    named = [text for text in inline(OPERATIONS) if re.match(r"(companies|services)\[\]|config\.", text)]
    assert len(named) > 10
    assert [name for name in named if not has_field(Health, name.split("."))] == []


def exported() -> set[str]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    tenants: Any = SimpleNamespace(opened=list, connected=lambda: 0)
    text = exposition(StatusBoard("0", now).health(now)).decode() + render_metrics(tenants)
    return set(re.findall(r"^# HELP (\w+)", text, flags=re.MULTILINE))


@pages
def test_metrics_that_are_named_are_exported(page: Path) -> None:
    assert sorted(set(re.findall(r"\bcdc_[a-z_]+\b", read(page))) - exported() - {"cdc_test_"}) == []


def test_the_page_of_operations_names_every_metric() -> None:
    assert sorted(exported() - set(re.findall(r"\bcdc_[a-z_]+\b", read(OPERATIONS)))) == []


@pages
def test_codes_that_are_named_are_registered(page: Path) -> None:
    assert sorted(set(re.findall(r"\b(?:T1|A2|C3)\d{3}\b", read(page))) - {*WIRE, *AGENT, *CLOUD}) == []


def test_the_page_of_operations_names_every_structure_in_the_erp_file() -> None:
    made = {name for text in STRUCTURES for name in re.findall(r"CREATE TABLE (_cdc_[a-z]+)", text)}
    named = {text for text in inline(OPERATIONS) if re.fullmatch(r"_cdc_[a-z]+", text)}
    assert named == made


def test_the_page_of_sql_server_removes_every_structure() -> None:
    made = {table for batch in layouts() for table in re.findall(r"CREATE TABLE (\[erp_cdc\]\.\[\w+\])", batch)}
    (dropped,) = re.findall(r"^DROP TABLE (.+);$", read(SQL_SERVER), flags=re.MULTILINE)
    assert set(dropped.split(", ")) == made


def test_the_page_of_sql_server_names_every_option_of_install() -> None:
    options = {o for a in subparsers(agent_cli._parser())["install"]._actions for o in a.option_strings if o.startswith("--")}
    assert sorted(options - {"--help"} - set(inline(SQL_SERVER))) == []


@pytest.mark.parametrize("name", [CONTROL_FILE, LOCK_FILE, HOLDER_FILE, REGISTRY_FILE, f"{COMPANIES_FOLDER}/COMPANY.db"])
def test_the_page_of_operations_names_the_files(name: str) -> None:
    assert name in inline(OPERATIONS)


def test_the_page_of_operations_names_every_exit_status() -> None:
    section = read(OPERATIONS).partition("## Exit statuses")[2].partition("\n## ")[0]
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", section, flags=re.MULTILINE)} == {int(s) for s in ExitStatus}


def test_promises_are_of_this_version() -> None:
    """What comes later does not stand among what can be done."""
    assert not re.search(r"postgres", read(OPERATIONS), flags=re.IGNORECASE)
