"""What happens to a SQL Server over the years: real processes on both sides, the server ruled from outside."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cdc.model import Dataset
from tests.support.product import eventually
from tests.support.sqlserver import Server
from tests.support.sqlserver_product import SqlServerProduct

PEOPLE = Dataset(name="people", table="dbo.person", channel="hr")
ARTICLES = Dataset(name="articles", table="dbo.article", channel="shop")
NOTES = Dataset(name="notes", table="dbo.note", channel="shop")
ROWS = 60
TABLES = (
    "CREATE TABLE dbo.person (id int NOT NULL PRIMARY KEY, name nvarchar(60) NOT NULL, hours decimal(9,2) NULL)",
    "CREATE TABLE dbo.article (code nchar(6) NOT NULL PRIMARY KEY, title nvarchar(60) NULL, price money NULL)",
    "CREATE TABLE dbo.note (id uniqueidentifier NOT NULL PRIMARY KEY, body nvarchar(max) NULL, at datetime2(7) NULL)",
    "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
    "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
    *(f"ALTER TABLE {d.table} ENABLE CHANGE_TRACKING" for d in (PEOPLE, ARTICLES, NOTES)),
)


def rows_of(table: str) -> str:
    """Sixty rows, the same each time."""
    cells = {
        "person": "({0}, N'person {0}', {0}.25)",
        "article": "(N'A{0:04}', N'article {0}', {0}.99)",
        "note": "('00000000-0000-4000-8000-0000000{0:05}', N'note {0}', '2026-01-01 10:00:00.{0:07}')",
    }[table]
    return f"INSERT INTO dbo.{table} VALUES {', '.join(cells.format(n) for n in range(1, ROWS + 1))}"


def fill(table: str) -> tuple[str, str]:
    return f"DELETE FROM dbo.{table}", rows_of(table)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sql_server_process: Server) -> Iterator[SqlServerProduct]:
    """An agent that logs in as somebody with no more rights than it needs."""
    server = sql_server_process
    folder, database = tmp_path_factory.mktemp("life"), server.create()
    made = SqlServerProduct(folder, server, database, [PEOPLE, ARTICLES, NOTES])
    try:
        made.execute(*TABLES, *map(rows_of, ("person", "article", "note")))
        made.set_up()
        made.as_an_agent()
        made.start_agent()
        yield made
    finally:
        made.close()
        server.drop(database)


@pytest.fixture
def running(shared: SqlServerProduct, sql_server: Server) -> SqlServerProduct:
    """Each test leaves it recovered; it begins equal, with sixty rows in each of three tables."""
    for table in ("person", "article", "note"):
        shared.execute(f"SET XACT_ABORT ON; BEGIN TRANSACTION; {'; '.join(fill(table))}; COMMIT TRANSACTION")
    eventually("nothing is wrong", lambda: not shared.problems())
    shared.equal()
    return shared


def copied(made: SqlServerProduct, sql: str) -> list[Any]:
    """Rows of the cloud's copy."""
    with closing(sqlite3.connect(f"file:{made.copy}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(sql).fetchall()


def count(made: SqlServerProduct, dataset: str) -> int:
    return int(copied(made, f"SELECT count(*) FROM {dataset}")[0][0])


def generation(made: SqlServerProduct, dataset: str) -> int:
    return int(copied(made, f"SELECT generation FROM _generation WHERE visible AND dataset = '{dataset}'")[0][0])


def look(made: SqlServerProduct) -> None:
    """What is looked at once a minute is looked at now."""
    made.agent.call("sync", "acme")


def agent(made: SqlServerProduct) -> str:
    return f"[agent_{made.database}]"


# -- permissions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permission", ["VIEW CHANGE TRACKING", "SELECT"])
def test_a_withdrawn_permission_pauses_its_table_while_the_others_flow(running: SqlServerProduct, permission: str) -> None:
    running.execute(f"DENY {permission} ON OBJECT::dbo.article TO {agent(running)}")
    running.execute("UPDATE dbo.article SET title = N'unseen' WHERE code = N'A0001'")
    look(running)
    eventually("health says so", lambda: running.problems())
    running.execute("UPDATE dbo.person SET name = N'flows' WHERE id = 7", "UPDATE dbo.note SET body = N'flows'")
    eventually("people flow", lambda: copied(running, "SELECT name FROM people WHERE id = 7") == [("flows",)])
    eventually("notes of the same channel flow", lambda: copied(running, "SELECT DISTINCT body FROM notes") == [("flows",)])
    assert copied(running, "SELECT title FROM articles WHERE code = 'A0001 '") == [("article 1",)]
    assert count(running, "articles") == ROWS
    running.execute(f"REVOKE {permission} ON OBJECT::dbo.article FROM {agent(running)}")
    look(running)
    eventually("it goes on", lambda: copied(running, "SELECT title FROM articles WHERE code = 'A0001 '") == [("unseen",)])
    running.equal()


# -- TRUNCATE, clean-up ------------------------------------------------------------------------------------------------------


def test_a_table_truncated_exactly_at_the_watermark_is_noticed(running: SqlServerProduct) -> None:
    """No version is spent: only the table's own beginning tells that nothing is left."""
    running.execute("TRUNCATE TABLE dbo.article")
    look(running)
    eventually("the empty table waits for a person", lambda: "A2505" in running.problems())
    assert count(running, "articles") == ROWS
    running.cloud.call("load", "accept", "acme", "articles")
    running.equal()
    assert count(running, "articles") == 0


def test_a_table_truncated_and_filled_again_loses_the_rows_that_did_not_come_back(running: SqlServerProduct) -> None:
    running.execute(
        f"SET XACT_ABORT ON; BEGIN TRANSACTION; TRUNCATE TABLE dbo.note; {rows_of('note')}; "
        "DELETE FROM dbo.note WHERE body IN (N'note 3', N'note 5'); COMMIT TRANSACTION"
    )
    eventually("both are gone", lambda: count(running, "notes") == ROWS - 2)
    running.equal()


def test_a_table_truncated_during_an_outage_in_which_the_journal_was_lost_is_read_anew(running: SqlServerProduct) -> None:
    """The cloud's position alone tells where its tracking began."""
    running.agent.stop()
    before = generation(running, "articles"), generation(running, "people")
    for path in running.state.rglob("journal.db*"):
        path.unlink()
    running.execute(
        f"SET XACT_ABORT ON; BEGIN TRANSACTION; TRUNCATE TABLE dbo.article; {rows_of('article')}; "
        "DELETE FROM dbo.article WHERE code IN (N'A0003', N'A0005'); COMMIT TRANSACTION"
    )
    running.execute("UPDATE dbo.person SET name = N'meanwhile' WHERE id = 9", "DELETE FROM dbo.person WHERE id = 10")
    running.start_agent()
    running.equal()
    assert generation(running, "articles") > before[0]
    assert generation(running, "people") == before[1]


def test_changes_that_the_server_forgot_during_an_outage_are_read_anew(running: SqlServerProduct) -> None:
    control = running.server.control
    running.agent.stop()
    before = generation(running, "people")
    running.execute("DELETE FROM dbo.person WHERE id = 20", "UPDATE dbo.person SET name = N'forgotten' WHERE id = 21")
    control.cleanup(running.database)
    running.start_agent()
    running.equal()
    assert generation(running, "people") > before


def test_an_outage_longer_than_the_retention_is_noticed_when_the_clock_says_so(running: SqlServerProduct) -> None:
    """The server cleans up by its own clock."""
    control = running.server.control
    running.agent.stop()
    before = generation(running, "people")
    running.execute("DELETE FROM dbo.person WHERE id = 30")
    control.clock(8 * 86_400)
    try:
        running.execute("UPDATE dbo.person SET name = N'later' WHERE id = 31")
        running.start_agent()
        running.equal()
        assert generation(running, "people") > before
    finally:
        control.clock(-8 * 86_400)  # other tests share the server


# -- structures --------------------------------------------------------------------------------------------------------------


def test_a_column_added_with_a_default_comes_with_its_values_for_old_rows(running: SqlServerProduct) -> None:
    """The server tracks no change for it."""
    running.execute("ALTER TABLE dbo.person ADD grade nvarchar(10) NOT NULL CONSTRAINT df_grade DEFAULT N'junior'")
    try:
        look(running)
        eventually("the column has come", lambda: grades(running) == [("junior", ROWS)])
        running.execute("UPDATE dbo.person SET grade = N'senior' WHERE id <= 2")
        running.equal()
        assert grades(running) == [("junior", ROWS - 2), ("senior", 2)]
    finally:
        running.execute("ALTER TABLE dbo.person DROP CONSTRAINT df_grade", "ALTER TABLE dbo.person DROP COLUMN grade")


def grades(made: SqlServerProduct) -> list[Any]:
    try:
        return copied(made, "SELECT grade, count(*) FROM people GROUP BY 1 ORDER BY 1")
    except sqlite3.OperationalError:
        return []  # no such column yet


# -- keys and hot rows ---------------------------------------------------------------------------------------------------------


def test_a_key_changed_in_case_and_trailing_blanks_only_is_one_row(running: SqlServerProduct) -> None:
    running.execute("UPDATE dbo.article SET code = LOWER(code) WHERE price < 10")
    eventually("small letters arrive", lambda: copied(running, "SELECT count(*) FROM articles WHERE code LIKE 'a%'")[0][0])
    running.equal()
    assert copied(running, "SELECT code FROM articles WHERE title = 'article 1'") == [("a0001 ",)]
    assert count(running, "articles") == ROWS


@contextmanager
def hot_row(made: SqlServerProduct) -> Iterator[None]:
    """A counter that an ERP moves as fast as it can."""
    end = threading.Event()

    def work() -> None:
        with made.server.connected(made.database) as connection:
            while not end.is_set():
                connection.execute("UPDATE dbo.person SET hours = hours + 0.01 WHERE id = 1")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_a_row_updated_faster_than_the_poll_keeps_arriving(running: SqlServerProduct) -> None:
    """A reading that left out what was touched since it began would never show the row again."""

    def hours() -> Any:
        return copied(running, "SELECT hours FROM people WHERE id = 1")[0][0]

    with hot_row(running):
        for _ in range(5):
            before = hours()
            eventually("the counter has moved", lambda before=before: hours() != before)
    running.equal()


# -- history -------------------------------------------------------------------------------------------------------------------


def test_a_database_restored_to_an_earlier_state_waits_for_a_person(running: SqlServerProduct, tmp_path: Path) -> None:
    """Nothing is captured until somebody has said which history is the real one."""
    control, place, name = running.server.control, tmp_path / "erp.bak", running.database
    with running.server.connected() as admin:
        admin.execute(f"BACKUP DATABASE [{name}] TO DISK = '{place}'")
    running.execute(
        "UPDATE dbo.person SET name = N'lost in the restore' WHERE id = 2", "DELETE FROM dbo.note WHERE body = N'note 1'"
    )
    running.equal()
    control.add("agent_", name="kept out", login=True, error={"number": 18456}, times=0)
    with running.server.connected() as admin:
        admin.execute(f"ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
        admin.execute(f"RESTORE DATABASE [{name}] FROM DISK = '{place}' WITH REPLACE")
        admin.execute(f"ALTER DATABASE [{name}] SET MULTI_USER")
    control.remove("kept out")
    for number in range(5):
        running.execute(f"UPDATE dbo.person SET name = N'after the restore {number}' WHERE id = 3")
    eventually("health says so", lambda: "A2401" in running.problems())
    assert running.company_health()["status"] == "stopped"
    running.execute("UPDATE dbo.person SET name = N'not captured' WHERE id = 4")
    assert copied(running, "SELECT name FROM people WHERE id IN (2, 3, 4) ORDER BY id") == [
        ("lost in the restore",),
        ("person 3",),
        ("person 4",),
    ]
    running.agent.call("restored", "acme", "real")
    running.equal()
    assert count(running, "notes") == ROWS
