"""`cdc install`, `cdc uninstall` and `cdc doctor` as commands, on SQL Server: by the agent's own login, and by a DBA's hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product import Program, datasets_toml
from tests.support.sqlserver import Server
from tests.support.sqlserver_prepared import DATASETS, VARIABLE, Prepared, prepared
from tests.support.sqlserver_product import source_table
from tests.support.tsqlcheck import batches


@pytest.fixture
def bare(sql_server: Server, database: str) -> Iterator[Prepared]:
    with prepared(sql_server, database) as made:
        yield made


class Commands:
    """An agent's file for the database, and the command line."""

    def __init__(self, folder: Path, erp: Prepared, **source: str) -> None:
        table = source_table(erp.server, erp.database, **source)
        (folder / "agent.toml").write_text(
            "version = 1\n[agent]\nlisten = '127.0.0.1:0'\n[cloud]\nurl = 'https://127.0.0.1:9'\n"
            f"[[company]]\nname = 'acme'\nsource = {table}\n{datasets_toml(DATASETS)}",
            encoding="utf-8",
        )
        self._program = Program("cdc", folder / "agent.toml", folder / "agent.log")

    def say(self, *words: str, status: int = 0) -> str:
        """What the command says; its exit status is as expected."""
        done = self._program.call(*words, check=False)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def findings(self) -> list[str]:
        """Codes of the errors that the doctor finds in the ERP database: none of the agent's own, which lacks a cloud here."""
        said = self.say("doctor", "acme", status=1)
        assert "Traceback" not in said
        return [code for code in re.findall(r"^ERROR   (A2\d+)", said, flags=re.MULTILINE) if code < "A2400"]


@pytest.fixture
def owner(bare: Prepared, tmp_path: Path) -> Commands:
    """The agent with the login of the database's owner."""
    return Commands(tmp_path, bare)


@pytest.fixture
def agent(bare: Prepared, tmp_path: Path) -> Commands:
    """The agent with its own login, which has no rights yet."""
    return Commands(tmp_path, bare, user=f"'{bare.user}'", password=f'{{ env = "{VARIABLE}" }}')


def test_install_says_what_it_did_and_the_doctor_is_content(owner: Commands, bare: Prepared) -> None:
    said = owner.say("install", "acme", "--enable-tracking", "--retention", "7d", "--enable-snapshot")
    for words in (
        "acme: allowed snapshot isolation",
        "acme: turned on change tracking for the database, kept for 7 days",
        "acme: turned on change tracking for the table HR.Employee",
        "acme: turned on change tracking for the table HR.Sick Leave",
        "acme: created the tables of the schema erp_cdc",
    ):
        assert words in said
    assert owner.findings() == []
    again = owner.say("install", "acme", "--enable-tracking", "--retention", "7d", "--enable-snapshot")
    assert again == "acme: nothing to do, everything is there\n"


def test_install_alone_changes_nothing_but_our_own_schema_and_says_what_is_not_tracked(owner: Commands, bare: Prepared) -> None:
    said = owner.say("install", "acme")
    assert "created the tables of the schema erp_cdc" in said
    assert said.count("not tracked: A2330") == 2
    assert "ALTER TABLE [HR].[Employee] ENABLE CHANGE_TRACKING;" in said
    assert bare.rows("SELECT COUNT(*) FROM sys.change_tracking_databases WHERE database_id = DB_ID()") == [(0,)]
    assert owner.findings() == ["A2252", "A2329", "A2330", "A2330"]


def test_a_dba_runs_the_script_and_the_agents_own_login_is_enough(agent: Commands, bare: Prepared) -> None:
    said = agent.say("install", "acme", status=1)
    assert "A2254" in said
    script = agent.say("install", "acme", "--script", "--enable-tracking", "--enable-snapshot")
    for _ in range(2):  # it may be run again
        with bare.server.connected() as connection:
            for batch in batches("script", script):
                connection.execute(batch.sql)
    assert agent.findings() == []
    assert agent.say("install", "acme") == "acme: nothing to do, everything is there\n"


def test_the_script_connects_to_nothing(tmp_path: Path, bare: Prepared) -> None:
    commands = Commands(tmp_path, bare, password='{ env = "CDC_TEST_NOWHERE" }')
    assert f"USE [{bare.database}];" in commands.say("install", "acme", "--script")


def test_the_doctor_shows_the_statement_that_mends(agent: Commands, bare: Prepared) -> None:
    said = agent.say("doctor", "acme", status=1)
    assert f"        ALTER DATABASE [{bare.database}] SET ALLOW_SNAPSHOT_ISOLATION ON;\n" in said
    assert f"        GRANT SELECT, VIEW CHANGE TRACKING ON OBJECT::[HR].[Employee] TO [{bare.user}];\n" in said


def test_uninstall_leaves_nothing_of_ours_and_the_rest_as_it_was(owner: Commands, bare: Prepared) -> None:
    owner.say("install", "acme", "--enable-tracking")
    said = owner.say("uninstall", "acme", status=1)  # nobody can be asked
    assert "A2322" in said
    said = owner.say("uninstall", "acme", "--yes")
    assert "acme: removed the schema erp_cdc" in said
    assert bare.rows("SELECT COUNT(*) FROM sys.schemas WHERE name = N'erp_cdc'") == [(0,)]
    assert bare.rows("SELECT COUNT(*) FROM sys.change_tracking_tables") == [(2,)]
    assert owner.say("uninstall", "acme", "--yes") == "acme: nothing to do, there is nothing of ours\n"
