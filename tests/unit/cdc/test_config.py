"""The agent's configuration: every mistake at once, each with its place, and none at another's cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.config import Changes, Config, LogFormat, Text, diff, is_loopback, listen_problem, load
from cdc.errors import ConfigError
from cdc.reload import check, load_files, read_files
from cdc.source_settings import SqliteSource
from transport.frames import MIB

HEAD = 'version = 1\n[cloud]\nurl = "https://cloud.example"\n'


def company(name: str = "acme", more: str = "", datasets: str = "") -> str:
    return f'[[company]]\nname = "{name}"\nsource = {{ kind = "sqlite", path = "erp.db" }}\n{more}\n{datasets}\n'


def dataset(name: str, more: str = "") -> str:
    return f'[[company.dataset]]\nname = "{name}"\ntable = "T_{name}"\n{more}\n'


def loaded(text: str, name: str = "agent.toml"):
    return load([Text(Path("/etc/cdc") / name, text)])


def good(text: str) -> Config:
    result = loaded(text)
    assert [str(p) for p in result.problems] == []
    assert result.config is not None
    return result.config


def messages(text: str) -> list[str]:
    return [str(p) for p in loaded(text).problems]


def test_five_mistakes_in_one_file_give_five_messages_with_their_places() -> None:
    text = """
version = 1
[agent]
listen = "0.0.0.0:8470"
grase = "3s"
[cloud]
url = "http://cloud.example"
[[company]]
name = "acme"
source = { kind = "sqlite", path = "erp.db" }
poll = 3
[[company.dataset]]
name = "employee"
table = "EMPLOYEES"
channel = "hrr"
"""
    assert messages(text) == [
        'A2003 agent.toml: agent.grase: is not a setting; did you mean "grace"?',
        "A2003 agent.toml: agent.listen: must be a loopback address such as 127.0.0.1: others must not give orders",
        "A2003 agent.toml: cloud.url: must be an address such as https://cloud.example",
        'A2003 agent.toml: company[acme].poll: must be a duration such as "15m", "12h", "1s" or "500ms", but is a whole number',
        'A2004 agent.toml: company[acme].dataset[employee].channel: "hrr" is not a channel of this company',
    ]


def test_a_mistake_of_syntax_is_named_by_line_and_column() -> None:
    (problem,) = loaded('version = 1\n[cloud\nurl = "x"\n').problems
    assert (problem.code, problem.where) == ("A2002", "agent.toml: line 2, column 7")


def test_a_company_with_a_mistake_is_left_out_alone() -> None:
    result = loaded(HEAD + company("bad", 'poll = "1 fortnight"') + company("good", "", dataset("employee")))
    assert result.config is not None
    assert [c.name for c in result.config.companies] == ["good"]
    assert [e.code for e in result.companies["bad"]] == ["A2003"]
    assert "good" not in result.companies


def test_a_dataset_with_a_mistake_is_left_out_alone_and_remembered() -> None:
    result = loaded(HEAD + company("acme", "", dataset("employee") + dataset("absence", 'direction = "sideways"')))
    assert result.config is not None
    (acme,) = result.config.companies
    assert [d.name for d in acme.datasets] == ["employee"]
    assert acme.broken == ("absence",)
    assert len(result.companies["acme"]) == 1


def test_defaults_are_enough() -> None:
    config = good(HEAD + company(datasets=dataset("employee")))
    (acme,) = config.companies
    assert (acme.poll, acme.active, [c.name for c in acme.channels], acme.journal_limit) == (1.0, True, ["main"], 1024 * MIB)
    assert acme.datasets[0].channel == "main"
    assert (config.agent.listen, config.agent.fresh, config.agent.log.format) == ("127.0.0.1:8470", 120.0, LogFormat.TEXT)


def test_paths_are_relative_to_the_file() -> None:
    config = good(HEAD.replace("[cloud]\n", '[agent]\nstate = "s"\n[cloud]\nca = "ca.pem"\n') + company())
    assert config.agent.state == Path("/etc/cdc/s")
    assert config.cloud.ca == Path("/etc/cdc/ca.pem")
    source = config.companies[0].source
    assert isinstance(source, SqliteSource)
    assert source.path == Path("/etc/cdc/erp.db")


def test_the_state_folder_is_beside_the_file_also_where_no_agent_table_stands() -> None:
    assert good(HEAD + company()).agent.state == Path("/etc/cdc/state")


def test_absolute_paths_stay() -> None:
    config = good(HEAD + company().replace("erp.db", "/data/erp.db"))
    assert config.companies[0].source.path == Path("/data/erp.db")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + company("acme") + company("acme"), "A2004 agent.toml: company[acme]: stands in agent.toml already"),
        (
            HEAD + company("acme", "", dataset("a") + dataset("a")),
            "A2004 agent.toml: company[acme].dataset[a].name: is used by another dataset of this company",
        ),
        (
            HEAD + company("acme", 'journal_limit = "16 MiB"\nwindow_limit = "17 MiB"'),
            "A2004 agent.toml: company[acme].window_limit: must not be greater than journal_limit, or it never fits",
        ),
        (
            HEAD + company("acme", 'poll = "1h"\nretention = "2d"'),
            "A2004 agent.toml: company[acme].retention: must be at least 60 times poll, or changes are gone unread",
        ),
        (
            HEAD + company("acme", "", '[[company.channel]]\nname = "hr"\n[[company.channel]]\nname = "hr"\n'),
            "A2004 agent.toml: company[acme].channel[hr]: is declared twice",
        ),
        (
            HEAD + company("acme", "", dataset("a", 'key = ["ID"]\nexclude = ["id"]')),
            'A2004 agent.toml: company[acme].dataset[a].exclude: "ID" belongs to the key and cannot be left out',
        ),
        (
            HEAD + company("acme", "", dataset("a", 'key = ["ID"]\ncolumns = ["NAME"]')),
            'A2004 agent.toml: company[acme].dataset[a].columns: must contain the key column "ID"',
        ),
        (
            HEAD + company("acme", "", dataset("a", 'columns = ["ID", "id"]')),
            'A2004 agent.toml: company[acme].dataset[a].columns: names "id" twice',
        ),
        (
            HEAD + company().replace('"sqlite"', '"oracle"'),
            'A2003 agent.toml: company[acme].source.kind: must be one of "sqlite", "sqlserver"',
        ),
        (
            HEAD + company().replace('kind = "sqlite", ', ""),
            'A2003 agent.toml: company[acme].source.kind: must be one of "sqlite", "sqlserver"',
        ),
        (HEAD + '[[company]]\nname = "acme"\n', "A2003 agent.toml: company[acme].source: is missing"),
        (
            HEAD + company("Acme!"),
            "A2003 agent.toml: company[#1].name: must be a-z, 0-9, - and _, beginning with a letter, 40 at most",
        ),
        (HEAD + "[company]\n", "A2003 agent.toml: company: must be written [[company]], with two brackets"),
        (HEAD.replace("1", "2", 1) + company(), "A2003 agent.toml: version: must be 1"),
        (company().replace("[[", "version = 1\n[["), "A2003 cloud: is missing: [cloud] with url"),
        (
            HEAD + company(datasets=dataset("a", "colour = 1")),
            "A2003 agent.toml: company[acme].dataset[a].colour: is not a setting",
        ),
    ],
)
def test_a_mistake_is_said_with_its_key_path(text: str, expected: str) -> None:
    assert any(m.startswith(expected) for m in messages(text)), messages(text)


def test_values_of_the_file_are_not_repeated_in_messages() -> None:
    text = HEAD + company(datasets=dataset("a", 'filter = 7\nkey = "hunter2"')).replace("erp.db", "")
    assert "hunter2" not in " ".join(messages(text))


def test_the_channel_of_a_dataset_is_checked_even_where_the_company_has_another_mistake() -> None:
    found = messages(HEAD + company("acme", 'polll = "1s"', dataset("a", 'channel = "nowhere"')))
    assert [m[:5] for m in found] == ["A2003", "A2004"]


def test_nothing_that_may_run_is_an_error_of_the_program() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(HEAD + company("bad", "poll = 1")).required()
    assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError):
        loaded("version = 1\n" + company()).required()
    assert loaded(HEAD + company("bad", "poll = 1") + company("good")).required().companies[0].name == "good"


def test_a_folder_of_files_is_one_configuration(tmp_path: Path) -> None:
    (tmp_path / "00-agent.toml").write_text(HEAD)
    (tmp_path / "acme.toml").write_text("version = 1\n" + company("acme"))
    (tmp_path / "beta.toml").write_text("version = 1\n" + company("beta"))
    (tmp_path / "notes.txt").write_text("not read")
    result, _ = load_files(tmp_path)
    assert result.problems == ()
    assert [c.name for c in result.required().companies] == ["acme", "beta"]


def test_a_broken_file_of_a_folder_costs_only_its_own_companies(tmp_path: Path) -> None:
    (tmp_path / "00-agent.toml").write_text(HEAD)
    (tmp_path / "acme.toml").write_text("version = 1\n[[company\n")
    (tmp_path / "beta.toml").write_bytes(b"version = 1 # \xff\n")
    (tmp_path / "good.toml").write_text("version = 1\n" + company("good"))
    result, _ = load_files(tmp_path)
    assert [c.name for c in result.required().companies] == ["good"]
    assert [(p.code, p.where.split(":")[0]) for p in result.problems] == [("A2002", "acme.toml"), ("A2001", "beta.toml")]


def test_the_agent_table_may_stand_in_one_file_only(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(HEAD + '[agent]\nfresh = "3m"\n')
    (tmp_path / "b.toml").write_text('version = 1\n[agent]\nfresh = "4m"\n' + company())
    (problem,) = check(tmp_path)
    assert str(problem) == "A2004 b.toml: agent: stands in a.toml already"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: None, "No such file"),
        (lambda p: p.mkdir(), "no .toml file"),
        (lambda p: p.write_bytes(b"a = '\xff'"), "not UTF-8 (byte 5)"),
        (lambda p: p.write_bytes(b" " * (4 * 1024 * 1024 + 1)), "larger"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, write, words: str) -> None:
    path = tmp_path / "agent.toml"
    write(path)
    (problem,) = [p for p in check(path) if p.code == "A2001"]
    assert words in problem.message


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + company()).encode())
    assert check(path) == []


def test_the_example_is_a_right_configuration() -> None:
    path = Path(__file__).resolve().parents[3] / "examples" / "agent.toml"
    result, _ = load_files(path)
    assert result.problems == ()
    (acme,) = result.required().companies
    assert [d.name for d in acme.datasets] == ["employee", "absence", "photo"]


@pytest.mark.parametrize("name", ["agent.toml", "sqlserver.toml"])
def test_every_default_that_an_example_shows_is_the_default(name: str) -> None:
    path = Path(__file__).resolve().parents[3] / "examples" / name
    (text,) = read_files(path)
    lines = (text.content or "").splitlines()
    shown = "\n".join(line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in lines)
    shown = shown.replace('ca = "ca.pem"', "")
    assert load([Text(path, shown)]) == load([text])


@pytest.mark.parametrize(
    "nasty", ["a = " + "[" * 100_000, "version = 1\n" + "[a]" * 3, "\x00", "company = 3", "[[company]]\n" * 3]
)
def test_any_text_gives_problems_and_no_exception(nasty: str) -> None:
    assert loaded(nasty).problems
    assert loaded(HEAD + nasty).problems


# -- what a change needs ---------------------------------------------------------------------------------------------------


def test_nothing_changed_is_nothing_to_do() -> None:
    assert not diff(good(HEAD + company()), good(HEAD + company() + "# a comment\n"))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (company("a"), company("a") + company("b"), Changes(added=("b",))),
        (company("a") + company("b"), company("b"), Changes(removed=("a",))),
        (company("a"), company("a", "active = false"), Changes(removed=("a",))),
        (company("a", "active = false"), company("a"), Changes(added=("a",))),
        (company("a") + company("b"), company("a", 'poll = "2s"') + company("b"), Changes(restarted=("a",))),
        (company("a"), company("a", "", dataset("x")), Changes(restarted=("a",))),
    ],
)
def test_a_change_in_a_company_concerns_that_company(before: str, after: str, expected: Changes) -> None:
    assert diff(good(HEAD + before), good(HEAD + after)) == expected


def test_what_needs_a_restart_of_the_program_is_said() -> None:
    old = good(HEAD + company())
    new = good(
        HEAD + '[agent]\nlisten = "127.0.0.1:9999"\nstate = "other"\nfresh = "5m"\n[agent.log]\nlevel = "debug"\n' + company()
    )
    assert diff(old, new) == Changes(live=("agent.log", "agent.fresh"), restart=("agent.state", "agent.listen"))


def test_another_cloud_concerns_every_company() -> None:
    old = good(HEAD + company("a") + company("b"))
    new = good(HEAD.replace("cloud.example", "other.example") + company("a") + company("b"))
    assert diff(old, new).restarted == ("a", "b")


@pytest.mark.parametrize("listen", ["127.0.0.1:8470", "[::1]:8470", "localhost:0", "127.9.9.9:65535"])
def test_loopback_addresses_may_listen(listen: str) -> None:
    assert listen_problem(listen) == ""


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:80", "[::]:80", "8470", "127.0.0.1", "erp.local:80", "127.0.0.1:65536", "127.0.0.1:x", ""]
)
def test_other_addresses_may_not(listen: str) -> None:
    assert listen_problem(listen)


def test_a_name_that_only_looks_like_loopback_is_not() -> None:
    assert not is_loopback("127.0.0.1.evil.example")
    assert not is_loopback("localhost.evil.example")
