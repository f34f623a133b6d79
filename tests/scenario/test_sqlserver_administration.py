"""A running agent on SQL Server, with a login of its own that has the rights the page for administrators names, and no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product import eventually
from tests.support.sqlserver import Server
from tests.support.sqlserver_prepared import DATASETS, VARIABLE, Prepared, prepared
from tests.support.sqlserver_product import SqlServerProduct, source_table
from tests.support.tsqlcheck import batches

ALLOW = "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION {}"


class Installation(SqlServerProduct):
    """Prepared by a DBA with the script; the password is in a file that the tests can change."""

    def __init__(self, folder: Path, erp: Prepared) -> None:
        self.erp_as_owner = erp
        self.password = folder / "erp.password"
        self.password.write_text(os.environ[VARIABLE] + "\n", encoding="utf-8")
        self.password.chmod(0o600)
        super().__init__(folder, erp.server, erp.database, DATASETS, source=self.source_with())

    def source_with(self, **settings: str) -> str:
        """`source`, as the agent's own login."""
        settings |= {"user": f"'{self.erp_as_owner.user}'", "password": '{ file = "erp.password" }'}
        return source_table(self.erp_as_owner.server, self.erp_as_owner.database, **settings)

    def edit(self, **settings: str) -> None:
        """The agent reads its file again by itself."""
        self.source = self.source_with(**settings)
        self.write_agent_config()

    def sync(self) -> None:
        self.agent.call("sync", "acme")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sql_server_process: Server) -> Iterator[Installation]:
    database = sql_server_process.create()
    with prepared(sql_server_process, database) as erp:
        made = Installation(tmp_path_factory.mktemp("administration"), erp)
        try:
            script = made.agent.call("install", "acme", "--script", "--enable-tracking", "--enable-snapshot").stdout
            with made.server.connected() as connection:
                for batch in batches("script", script):
                    connection.execute(batch.sql)
            made.set_up()
            made.start_agent()
            yield made
        finally:
            made.close()
    sql_server_process.drop(database)


@pytest.fixture
def running(shared: Installation, sql_server: Server) -> Installation:
    """Nothing is wrong at the beginning of a test."""
    eventually("nothing is wrong", lambda: not shared.problems())
    return shared


def test_the_rights_of_the_page_are_enough(running: Installation) -> None:
    running.execute("INSERT INTO [HR].[Employee] VALUES (1, N'Zofia'), (2, N'Łukasz')")
    running.wait_until_caught_up()
    running.execute("UPDATE [HR].[Employee] SET [Name] = N'Jan' WHERE [Id] = 1", "DELETE FROM [HR].[Employee] WHERE [Id] = 2")
    running.equal()
    assert running.problems() == set()
    assert "ERROR" not in running.agent.call("doctor", "acme").stdout
    (channel,) = running.company_health()["channels"]
    assert channel["retention_hours_left"] == pytest.approx(72, abs=0.1)


def test_without_snapshots_the_agent_stops_or_goes_on_degraded_as_the_file_says(running: Installation) -> None:
    running.execute(ALLOW.format("OFF"))
    eventually("the company stops", lambda: running.sync() or "A2252" in running.problems(), 90)
    running.execute("INSERT INTO [HR].[Employee] VALUES (10, N'Ewa')")
    running.edit(snapshot='"auto"')  # it goes on by itself
    running.equal()
    assert running.problems() == {"A2418"}
    assert "A2418" in running.agent.call("status").stdout
    running.execute(ALLOW.format("ON"))
    eventually("the mode is over", lambda: running.sync() or not running.problems(), 90)
    running.edit()
    running.equal()


def test_a_company_that_is_served_is_not_uninstalled_and_never_by_the_agents_own_login(running: Installation) -> None:
    served = running.agent.call("uninstall", "acme", "--yes", check=False)
    assert (served.returncode, "A2517" in served.stderr) == (1, True)
    running.agent.stop()
    refused = running.agent.call("uninstall", "acme", "--yes", check=False)
    assert (refused.returncode, "A2254" in refused.stderr) == (1, True)
    running.start_agent()
    running.wait_until_caught_up()


def test_a_refused_login_waits_for_a_person_and_the_password_is_then_read_anew(running: Installation) -> None:
    running.agent.stop()
    right = running.password.read_text(encoding="utf-8")
    running.password.write_text("wrong-word\n", encoding="utf-8")
    running.start_agent()
    eventually("the login is refused", lambda: "A2246" in running.problems())
    assert "wrong-word" not in running.agent.log()
    running.password.write_text(right, encoding="utf-8")
    running.sync()
    running.execute("INSERT INTO [HR].[Employee] VALUES (5, N'Jan')")
    running.equal()
