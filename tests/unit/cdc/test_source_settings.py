"""`[company.source]` of a SQL Server: every mistake with its place, no secret in the file or in a message, reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.config import Changes, Company, Text, diff, load
from cdc.daemon import open_source
from cdc.source_settings import Login, Secret, SnapshotUse, SqlServerSource
from tests.support.virtual import VirtualClock, virtual_runtime

HEAD = 'version = 1\n[cloud]\nurl = "https://cloud.example"\n[[company]]\nname = "acme"\n[company.source]\nkind = "sqlserver"\n'
LEAST = {"server": "'erp.acme.example'", "database": '"ERP"', "user": '"cdc"', "password": '{ env = "CDC_ERP" }'}


def text(changed: dict[str, str | None] | None = None) -> str:
    settings = {**LEAST, **(changed or {})}
    return HEAD + "".join(f"{key} = {value}\n" for key, value in settings.items() if value is not None)


def loaded(changed: dict[str, str | None] | None = None):
    return load([Text(Path("/etc/cdc/agent.toml"), text(changed))])


def acme(changed: dict[str, str | None] | None = None) -> Company:
    result = loaded(changed)
    assert [str(p) for p in result.problems] == []
    assert result.config is not None
    return result.config.companies[0]


def source(changed: dict[str, str | None] | None = None) -> SqlServerSource:
    settings = acme(changed).source
    assert isinstance(settings, SqlServerSource)
    return settings


def messages(changed: dict[str, str | None]) -> list[str]:
    return [str(p).removeprefix("A2003 agent.toml: company[acme].source.") for p in loaded(changed).problems]


def test_four_settings_are_enough_and_the_rest_is_safe() -> None:
    found = source()
    assert (found.server, found.database, found.user, found.login) == ("erp.acme.example", "ERP", "cdc", Login.SQL)
    assert (found.encrypt, found.trust_server_certificate, found.multi_subnet_failover) == (True, False, False)
    assert (found.login_timeout, found.query_timeout, found.lock_timeout) == (15.0, 120.0, 5.0)
    assert (found.driver, found.certificate_host, found.snapshot) == ("", "", SnapshotUse.REQUIRE)
    assert found.password == Secret(env="CDC_ERP")


def test_an_integrated_login_needs_no_user() -> None:
    found = source({"login": '"integrated"', "user": None, "password": None})
    assert (found.login, found.user, found.password) == (Login.INTEGRATED, "", None)


def test_a_password_file_is_relative_to_the_configuration() -> None:
    assert source({"password": '{ file = "erp.password" }'}).password == Secret(file=Path("/etc/cdc/erp.password"))
    assert source({"password": '{ credential = "erp" }'}).password == Secret(credential="erp")


@pytest.mark.parametrize(
    "server",
    [
        "erp",
        "erp.acme.example",
        "erp,1433",
        r"erp\PROD",
        "10.1.2.3,50000",
        "tcp:erp,1433",
        "::1,1433",
        "(local)",
        r".\SQLEXPRESS",
    ],
)
def test_servers_that_can_be_named(server: str) -> None:
    assert source({"server": f"'{server}'"}).server == server


@pytest.mark.parametrize(
    "server", ["", "erp;PWD=x", "erp prod", "erp,", "erp,port", "{erp}", "erp\\", r"a\b\c", "erp,1433,1", "érp"]
)
def test_servers_that_cannot(server: str) -> None:
    (message,) = messages({"server": f"'{server}'"})
    assert message.startswith("server: must be ")


def test_every_mistake_is_said_at_once_with_its_place() -> None:
    found = messages(
        {
            "server": '"erp;1"',
            "database": None,
            "encrypt": '"yes"',
            "query_timeout": "30",
            "lock_timeout": '"1h"',
            "snapshot": '"maybe"',
            "pasword": '"x"',
            "password": '{ env = "A", file = "b" }',
        }
    )
    assert found == [
        r"server: must be 'host', 'host,port' or 'host\instance', in single quotes",
        "database: is missing",
        'password: must be exactly one of { env = "NAME" }, { file = "path" } or { credential = "name" }',
        "encrypt: must be true or false, but is a text",
        'query_timeout: must be a duration such as "15m", "12h", "1s" or "500ms", but is a whole number',
        'lock_timeout: must be at least "0s" and at most "10m"',
        'snapshot: must be one of "require", "auto"',
        'pasword: is not a setting; did you mean "password"?',
    ]


@pytest.mark.parametrize(
    "password",
    [
        '"hunter2"',
        "'''hunter2'''",
        '{ value = "hunter2" }',
        '["hunter2"]',
        '{ env = "hunter 2" }',
        '{ credential = "../hunter2" }',
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(password: str) -> None:
    found = loaded({"password": password})
    assert found.config is not None
    assert found.config.companies == ()
    assert found.problems
    assert "hunter2" not in " ".join(str(p) for p in found.problems)


def test_a_password_in_the_file_is_told_where_it_belongs() -> None:
    (message,) = messages({"password": '"hunter2"'})
    assert message == (
        'password: must not stand in the file: { env = "NAME" }, { file = "path" } or { credential = "name" } says where it is'
    )


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"user": None}, "user"),
        ({"password": None}, "password"),
        ({"login": '"integrated"'}, "user"),
        ({"login": '"integrated"', "user": None}, "password"),
        ({"server": r"'erp\PROD,1433'"}, "server"),
        ({"server": "'erp,0'"}, "server"),
        ({"server": "'erp,65536'"}, "server"),
    ],
)
def test_settings_that_do_not_go_together(changed: dict[str, str | None], key: str) -> None:
    (problem,) = loaded(changed).problems
    assert (problem.code, problem.where) == ("A2004", f"agent.toml: company[acme].source.{key}")


def test_contradictions_of_source_and_company_are_said_together() -> None:
    wrong = text({"user": None}).replace("[company.source]", 'poll = "1h"\nretention = "1d"\n[company.source]')
    found = load([Text(Path("agent.toml"), wrong)]).problems
    assert [p.where.rpartition("].")[2] for p in found] == ["source.user", "retention"]


@pytest.mark.parametrize("changed", [{"password": '{ file = "other" }'}, {"lock_timeout": '"9s"'}, {"snapshot": '"auto"'}])
def test_a_change_of_the_source_starts_only_that_company_anew(changed: dict[str, str | None]) -> None:
    beta = '[[company]]\nname = "beta"\nsource = { kind = "sqlite", path = "b.db" }\n'
    old, new = (load([Text(Path("agent.toml"), text(c) + beta)]).config for c in ({}, changed))
    assert old is not None
    assert new is not None
    assert diff(old, new) == Changes(restarted=("acme",))


def test_a_source_of_another_kind_starts_the_company_anew() -> None:
    sqlite = HEAD.partition("[company.source]")[0] + 'source = { kind = "sqlite", path = "erp.db" }\n'
    old, new = (load([Text(Path("agent.toml"), content)]).config for content in (sqlite, text()))
    assert old is not None
    assert new is not None
    assert diff(old, new).restarted == ("acme",)


def test_the_example_shows_every_setting() -> None:
    example = (Path(__file__).resolve().parents[3] / "examples" / "sqlserver.toml").read_text(encoding="utf-8")
    shown = {line.lstrip("# ").partition(" = ")[0] for line in example.splitlines()}
    assert set(SqlServerSource.__struct_fields__) - shown == set()


def test_the_adapter_is_chosen_by_the_kind_of_database() -> None:
    runtime = virtual_runtime(VirtualClock(), seed=1)
    assert type(open_source(acme(), runtime)).__module__ == "cdc.sources.sqlserver.source"
    sqlite = HEAD.partition("[company.source]")[0] + 'source = { kind = "sqlite", path = "erp.db" }\n'
    config = load([Text(Path("agent.toml"), sqlite)]).required()
    assert type(open_source(config.companies[0], runtime)).__module__ == "cdc.sources.sqlite.source"


def test_nothing_of_the_source_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_ERP", "hunter2")
    found = source()
    assert "hunter2" not in repr(found) + str(found) + repr(open_source(acme(), virtual_runtime(VirtualClock(), seed=1)))
