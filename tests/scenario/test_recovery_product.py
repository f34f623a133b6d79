"""Recovery as a person does it: real processes, the commands of both programs, edited files, restored folders."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cdc.model import Dataset
from tests.support.comparing import assert_equal, compare
from tests.support.product import Product, eventually, product

PEOPLE = Dataset(name="people", table="person", channel="hr")
LINES = Dataset(name="lines", table="line", channel="hr")
LINE = "line(doc INTEGER, pos INTEGER, note TEXT, PRIMARY KEY(doc, pos)) WITHOUT ROWID"
PHOTO = "photo(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, body BLOB)"
PHOTOS = Dataset(name="photos", table="photo", channel="binary", filter="kind < 3")


def copied(made: Product, dataset: str) -> list[tuple[object, ...]]:
    """The dataset's rows in the cloud."""
    with closing(sqlite3.connect(f"file:{made.copy}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(f"SELECT * FROM {dataset} ORDER BY 1, 2").fetchall()


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


def work(made: Product, number: int) -> None:
    """Some changes that differ by the number."""
    execute(
        made.erp,
        f"INSERT OR REPLACE INTO person VALUES ({100 + number}, 'new {number}')",
        f"UPDATE person SET name = 'changed {number}' WHERE id % 7 = {number % 7}",
        f"DELETE FROM person WHERE id = {number}",
        f"INSERT OR REPLACE INTO line VALUES (9, {number}, 'note')",
        f"UPDATE photo SET kind = (kind + 1) % 5 WHERE id % 20 = {number % 20}",
    )


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 60)"


def erp_in(folder: Path) -> Path:
    path = folder / "erp" / "erp.db"
    path.parent.mkdir()
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        f"CREATE TABLE {LINE}",
        f"CREATE TABLE {PHOTO}",
    )
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("recovery")
    with product(folder, erp_in(folder), [PEOPLE, LINES, PHOTOS]) as made:
        made.start_agent()
        yield made


@pytest.fixture
def running(shared: Product) -> Product:
    """Each test leaves it recovered; it begins with three datasets and equal."""
    shared.datasets[:] = [PEOPLE, LINES, PHOTOS]
    shared.write_agent_config()
    for table, values in (
        ("person", "i, 'person ' || i"),
        ("line", "i / 5, i, 'line ' || i"),
        ("photo", "i, i % 5, randomblob(i)"),
    ):
        execute(shared.erp, f"{NUMBERS} INSERT OR REPLACE INTO {table} SELECT {values} FROM n")
    eventually("all are live", lambda: set(states(shared).values()) == {"live"})
    equal(shared)
    return shared


def saved(folder: Path, name: str) -> Path:
    """A backup of a folder that no program has open."""
    place = folder.parent / f"{folder.name}-{name}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place


def put_back(folder: Path, place: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(place, folder)


def equal(made: Product) -> None:
    made.wait_until_caught_up()
    assert_equal(made.erp, made.copy, made.datasets, made.folder)


def states(made: Product) -> dict[str, str]:
    token = made.token()
    return {d["name"]: d["state"] for d in made.cloud_get("/api/v1/datasets", token)["datasets"]}


def stopped(made: Product, *codes: str) -> None:
    """Waits until the company stands still for this reason, and shows it."""
    eventually(f"{codes} in health", lambda: set(codes) <= made.problems())
    assert made.company_health()["status"] == "stopped"


# -- the agent's folder ----------------------------------------------------------------------------------------------------


def test_two_agents_of_one_installation_both_stop_until_one_takes_over(running: Product, tmp_path: Path) -> None:
    """The machine was cloned, or its folder restored: either may be the wrong one."""
    running.agent.stop()
    yesterday = saved(running.state, "yesterday")
    running.start_agent()
    work(running, 1)
    equal(running)
    (tmp_path / "clone").mkdir()
    clone = Product(tmp_path / "clone", running.erp, running.datasets)
    try:
        shutil.copytree(yesterday, clone.state)
        shutil.copy(running.folder / "ca.pem", clone.folder / "ca.pem")
        clone.agent_url_port = running.cloud_port
        clone.write_agent_config()
        clone.start_agent()
        stopped(clone, "A2606")
        stopped(running, "A2606")
        assert "C3206" in clone.agent.log()
        work(running, 2)
        running.agent.call("takeover", "acme")
        equal(running)
        assert clone.company_health()["status"] == "stopped"
    finally:
        clone.close()


def test_a_folder_restored_from_yesterday_follows_the_cloud_after_a_takeover(running: Product) -> None:
    running.agent.stop()
    yesterday = saved(running.state, "yesterday")
    running.start_agent()
    for number in range(5):
        work(running, number)
    equal(running)
    running.agent.stop()
    put_back(running.state, yesterday)
    work(running, 6)
    running.start_agent()
    stopped(running, "A2606")
    assert not compare(running.erp, running.copy, running.datasets, running.folder).equal
    running.agent.call("takeover", "acme")
    equal(running)


# -- the ERP ---------------------------------------------------------------------------------------------------------------


def restore_image(made: Product) -> None:
    """ERP and agent as they were; meanwhile the cloud went on. People work on in the restored ERP."""
    made.agent.stop()
    image = saved(made.state, "image"), saved(made.erp.parent, "image")
    made.start_agent()
    for number in range(3):
        work(made, number)
    equal(made)
    made.agent.stop()
    put_back(made.state, image[0])
    put_back(made.erp.parent, image[1])
    for number in range(10, 16):
        work(made, number)  # beyond the version that the cloud has
    made.start_agent()
    stopped(made, "A2606")
    made.agent.call("takeover", "acme")
    stopped(made, "A2401")


def test_a_restored_machine_waits_for_a_person_and_is_read_anew(running: Product) -> None:
    restore_image(running)
    before = copied(running, "people")
    work(running, 20)
    assert copied(running, "people") == before
    assert "new history" in running.agent.call("restored", "acme", "real").stdout
    equal(running)
    work(running, 21)
    equal(running)


# -- the configuration -----------------------------------------------------------------------------------------------------


def test_rows_that_a_changed_filter_leaves_out_go_from_the_copy(running: Product) -> None:
    running.datasets[2] = msgspec.structs.replace(PHOTOS, filter="kind < 2")
    running.write_agent_config()
    eventually("the filter is in force", lambda: "A2505" in running.problems() or len(copied(running, "photos")) == 24)
    if "A2505" in running.problems():
        running.cloud.call("load", "accept", "acme", "photos")
    equal(running)
    running.datasets[2] = msgspec.structs.replace(PHOTOS, filter="kind < 4")
    running.write_agent_config()
    eventually("the filter is in force", lambda: len(copied(running, "photos")) == 48)
    work(running, 1)
    equal(running)


def test_datasets_removed_from_the_file_moved_and_added_again(running: Product) -> None:
    running.datasets[:] = [PEOPLE, PHOTOS]
    running.write_agent_config()
    eventually("lines are detached", lambda: states(running)["lines"] == "detached")
    work(running, 1)
    equal(running)
    running.datasets[:] = [msgspec.structs.replace(PEOPLE, channel="binary"), LINES, PHOTOS]
    running.write_agent_config()
    work(running, 2)
    eventually("all are live", lambda: set(states(running).values()) == {"live"})
    equal(running)
    running.datasets[:] = [PEOPLE, LINES]
    running.write_agent_config()
    eventually("the channel is gone", lambda: states(running)["photos"] == "detached")
    work(running, 3)
    equal(running)


def test_a_full_read_is_ordered_for_now_and_for_the_next_run(running: Product) -> None:
    def generations() -> dict[str, int]:
        with closing(sqlite3.connect(f"file:{running.copy}?mode=ro", uri=True, timeout=30)) as db:
            return dict(db.execute("SELECT dataset, generation FROM _generation WHERE visible"))

    before = generations()
    assert "next run" in running.agent.call("sync", "acme", "hr", "--full", "--next").stdout
    assert running.agent.call("sync", "acme", "--next", check=False).returncode == 1
    assert generations() == before
    work(running, 1)
    equal(running)
    after = generations()
    assert {name for name in after if after[name] != before[name]} == {"people", "lines"}
    running.agent.call("sync", "acme", "binary", "--full")
    eventually("photos are read anew", lambda: generations()["photos"] != before["photos"])
    equal(running)


# -- the cloud -------------------------------------------------------------------------------------------------------------


def test_a_cloud_that_lost_its_data_needs_a_company_and_an_enrolment(running: Product) -> None:
    running.cloud.stop()
    shutil.rmtree(running.data)
    work(running, 1)
    running.start_cloud()
    stopped(running, "A2606")
    running.agent.call("enrol", "acme", running.enrolment_code())
    running.agent.call("sync", "acme")
    equal(running)


def test_a_cloud_restored_from_yesterday_gets_the_rest_again(running: Product) -> None:
    running.cloud.stop()
    yesterday = saved(running.data, "yesterday")
    running.start_cloud()
    for number in range(4):
        work(running, number)
    equal(running)
    running.cloud.stop()
    put_back(running.data, yesterday)
    running.start_cloud()
    work(running, 5)
    equal(running)


# -- a load that would remove much -----------------------------------------------------------------------------------------


def empty(made: Product, dataset: str, table: str) -> None:
    """The table is dropped and made anew; its tracking is mended by itself, once a minute for a channel at most."""
    before = len(copied(made, dataset))
    execute(made.erp, f"DROP TABLE {table.partition('(')[0]}", f"CREATE TABLE {table}")
    eventually("the load is held", lambda: "A2505" in made.problems())
    assert states(made)[dataset] == "held"
    assert len(copied(made, dataset)) == before > 30


def test_a_held_load_is_swapped_in_when_it_is_accepted(running: Product) -> None:
    empty(running, "lines", LINE)
    assert running.cloud.call("load", "accept", "acme", "lines").stdout == "lines: swapped in\n"
    assert running.cloud.call("load", "accept", "acme", "lines", check=False).returncode == 1
    work(running, 1)
    equal(running)
    eventually("health shows it no more", lambda: "A2505" not in running.problems())


def test_a_held_load_is_thrown_away_when_it_is_rejected(running: Product) -> None:
    empty(running, "photos", PHOTO)
    running.cloud.call("load", "reject", "acme", "photos")
    assert states(running)["photos"] == "reloading"
    assert len(copied(running, "photos")) > 30
    execute(running.erp, f"{NUMBERS} INSERT INTO photo SELECT i, i % 5, randomblob(i) FROM n")
    running.agent.call("sync", "acme", "binary", "--full")
    eventually("photos are live", lambda: states(running)["photos"] == "live")
    equal(running)


# -- the end -----------------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_only_a_copy_is_left_alone_for_good(running: Product) -> None:
    """The last test: nothing goes on afterwards."""
    restore_image(running)
    before = copied(running, "people")
    running.agent.call("restored", "acme", "copy")
    stopped(running, "A2608")
    running.agent.stop()
    running.start_agent()
    stopped(running, "A2608")
    work(running, 20)
    running.agent.call("sync", "acme")
    stopped(running, "A2608")
    assert copied(running, "people") == before
