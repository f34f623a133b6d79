"""What every source keeps, whatever the database. See `tests/support/erp.py` for how another kind joins."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from random import Random

import pytest

from cdc.errors import AgentError, DatasetPaused, Transient
from cdc.model import Dataset, Position, Severity, Witness
from tests.support.erp import Erp, Follower, Session, following, ops
from transport.frames import Op, Schema, Type

STAFF = Dataset(name="staff", table="staff", channel="hr")
TEAMS = Dataset(name="teams", table="teams", channel="hr")


def make_staff(erp: Erp) -> Session:
    erp.create(
        "staff",
        {"id": "INT NOT NULL", "name": "NVARCHAR(50)", "team": "INT", "email": "NVARCHAR(50)"},
        key=["id"],
        unique=[["email"]],
    )
    session = erp.connect()
    for i in range(1, 6):
        session.execute("INSERT INTO staff(id, name, team, email) VALUES(?, ?, ?, ?)", (i, f"n{i}", i % 2, f"e{i}"))
    return session


def staff_rows(session: Session) -> list[tuple[object, ...]]:
    return sorted(session.execute("SELECT id, name, team, email FROM staff"), key=repr)


# -- windows ----------------------------------------------------------------------------------------------------------------


async def test_a_loaded_copy_equals_the_table(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        assert follower.rows("staff") == staff_rows(session)


async def test_a_window_has_each_changed_key_once_as_it_is_now(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        for name in ("a", "b", "c"):
            session.execute("UPDATE staff SET name = ? WHERE id = 1", (name,))
        session.execute("INSERT INTO staff(id, name) VALUES(9, 'new')")
        session.execute("DELETE FROM staff WHERE id = 2")
        batches = await follower.catch_up()
        assert ops(batches) == [("delete", (2,)), ("upsert", (1,)), ("upsert", (9,))]
        assert follower.rows("staff") == staff_rows(session)


async def test_what_came_and_went_within_a_window_is_only_a_delete(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("INSERT INTO staff(id, name) VALUES(9, 'new')")
        session.execute("DELETE FROM staff WHERE id = 9")
        assert ops(await follower.catch_up()) == [("delete", (9,))]


async def test_a_row_deleted_and_inserted_again_is_an_upsert(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("DELETE FROM staff WHERE id = 3")
        session.execute("INSERT INTO staff(id, name) VALUES(3, 'back')")
        assert ops(await follower.catch_up()) == [("upsert", (3,))]
        assert follower.rows("staff") == staff_rows(session)


async def test_a_key_change_is_a_delete_and_an_upsert(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("UPDATE staff SET id = 40 WHERE id = 4")
        assert ops(await follower.catch_up()) == [("delete", (4,)), ("upsert", (40,))]
        assert follower.rows("staff") == staff_rows(session)


async def test_keys_swapped_in_one_transaction_arrive_swapped(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        with session.transaction():
            for old, new in ((1, 99), (2, 1), (99, 2)):
                session.execute("UPDATE staff SET id = ? WHERE id = ?", (new, old))
        assert ops(await follower.catch_up()) == [("delete", (99,)), ("upsert", (1,)), ("upsert", (2,))]
        assert follower.rows("staff") == staff_rows(session)


async def test_a_rolled_back_transaction_is_not_there(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        before = await follower.source.pulse()
        with contextlib.suppress(ZeroDivisionError), session.transaction():
            session.execute("DELETE FROM staff")
            _ = 1 / 0
        assert await follower.source.pulse() == before
        assert await follower.catch_up() == []


async def test_an_idle_pulse_stands_still_and_a_commit_or_a_structure_moves_it(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        first = await follower.source.pulse()
        assert await follower.source.pulse() == first
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        second = await follower.source.pulse()
        assert second.version > first.version
        assert second.structure == first.structure
        session.execute("CREATE TABLE other(a INT)")
        assert (await follower.source.pulse()).structure != second.structure


async def test_changed_names_only_the_datasets_with_changes(erp: Erp) -> None:
    session = make_staff(erp)
    erp.create("teams", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    async with following(erp, STAFF, TEAMS) as follower:
        assert follower.position is not None
        session.execute("INSERT INTO teams VALUES(1, 'a')")
        async with follower.source.reader() as reader:
            changed = await reader.changed(follower.position.version, [STAFF, TEAMS])
        assert set(changed) == {"teams"}
        assert changed["teams"] >= 1


async def test_two_datasets_of_one_table_each_get_its_changes(erp: Erp) -> None:
    session = make_staff(erp)
    names = Dataset(name="names", table="staff", channel="hr", columns=("id", "name"))
    async with following(erp, STAFF, names) as follower:
        session.execute("UPDATE staff SET name = 'both' WHERE id = 1")
        await follower.catch_up()
        assert (1, "both") in follower.rows("names")
        assert follower.rows("staff") == staff_rows(session)


async def test_triggers_of_the_erp_that_change_other_tables_are_seen(erp: Erp) -> None:
    session = make_staff(erp)
    erp.create("teams", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    session.execute("INSERT INTO teams VALUES(1, 'a')")
    erp.after_update(
        "staff", "UPDATE teams SET name = 'touched'", "INSERT INTO teams SELECT {row}.id + 100, 'made' {from_rows}"
    )
    async with following(erp, STAFF, TEAMS) as follower:
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        await follower.catch_up()
        assert follower.rows("teams") == sorted(session.execute("SELECT * FROM teams"), key=repr)


async def test_a_window_shows_one_state_though_the_erp_goes_on_writing(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        assert follower.position is not None
        session.execute("UPDATE staff SET name = 'first' WHERE id = 1")
        async with follower.source.reader() as reader:
            facts = await reader.facts(follower.position, [STAFF])
            session.execute("UPDATE staff SET name = 'second' WHERE id = 1")
            session.execute("DELETE FROM staff WHERE id = 2")
            found = [b async for b in reader.changes(STAFF, follower.schemas["staff"], follower.position.version)]
        assert ops(found) == [("upsert", (1,))]
        assert "first" in found[0].values[0]
        assert (await follower.source.pulse()).version > facts.version


def write_moves(number: int, session: Session) -> None:
    """Transactions of several rows in two tables, each with its transaction's number and size; some rolled back or undone."""
    random = Random(number)
    for turn in range(40):
        batch, size = number * 1000 + turn, random.randint(2, 8)
        with contextlib.suppress(ZeroDivisionError), session.transaction():
            for i in range(size):
                table = random.choice(("moves", "others"))
                session.execute(f"INSERT INTO {table} VALUES(?, ?, ?)", (batch * 10 + i, batch, size))
            _ = 1 / random.choice((0, 1, 1))
        if random.random() < 0.3:
            with session.transaction():
                session.execute("DELETE FROM moves WHERE batch = ?", (batch,))
                session.execute("DELETE FROM others WHERE batch = ?", (batch,))


async def test_a_window_never_splits_a_commit(erp: Erp) -> None:
    columns = {"id": "INT NOT NULL", "batch": "INT", "size": "INT"}
    for name in ("moves", "others"):
        erp.create(name, columns, key=["id"])
    sessions = [erp.connect() for _ in range(3)]
    async with following(erp, *(Dataset(name=t, table=t, channel="hr") for t in ("moves", "others"))) as follower:
        threads = [threading.Thread(target=write_moves, args=(i, s)) for i, s in enumerate(sessions)]
        for thread in threads:
            thread.start()
        running = True
        while running:
            running = any(thread.is_alive() for thread in threads)
            await follower.catch_up()
            rows = [*follower.rows("moves"), *follower.rows("others")]
            counts = Counter(row[1] for row in rows)
            assert [row for row in rows if counts[row[1]] != row[2]] == []
        for table in ("moves", "others"):
            assert follower.rows(table) == sorted(sessions[0].execute(f"SELECT * FROM {table}"), key=repr)
        for thread in threads:
            thread.join()


# -- filters ----------------------------------------------------------------------------------------------------------------


async def test_a_row_that_leaves_the_filter_is_a_delete_and_one_that_enters_an_upsert(erp: Erp) -> None:
    session = make_staff(erp)
    team1 = Dataset(name="staff", table="staff", channel="hr", filter="team = 1 -- the first")
    async with following(erp, team1) as follower:
        assert [row[0] for row in follower.rows("staff")] == [1, 3, 5]
        session.execute("UPDATE staff SET team = 2 WHERE id = 1")
        session.execute("UPDATE staff SET team = 1 WHERE id = 2")
        assert ops(await follower.catch_up()) == [("delete", (1,)), ("upsert", (2,))]


@pytest.mark.parametrize(
    "condition",
    [
        "team = (SELECT max(id) FROM teams)",
        "EXISTS (SELECT 1 FROM staff)",
        "team = 1; DELETE FROM staff",
        "team = 1) OR (team = 2",
        "team = ?",
        "team = :x",
        "nothing = 1",
        "team =",
        "(team = 1",
    ],
)
async def test_a_filter_that_is_no_condition_on_the_row_is_refused_by_name(erp: Erp, condition: str) -> None:
    session = make_staff(erp)
    erp.create("teams", {"id": "INT NOT NULL"}, key=["id"])
    source = erp.source()
    await source.open()
    bad = Dataset(name="bad", table="staff", channel="hr", filter=condition)
    found = await source.describe([STAFF, bad])
    await source.close()
    assert found[0].schema is not None
    assert (found[1].schema, found[1].code) == (None, "A2227")
    assert len(staff_rows(session)) == 5


# -- pages ------------------------------------------------------------------------------------------------------------------


async def test_pages_follow_a_composite_key_and_resume_at_each(erp: Erp) -> None:
    erp.create("days", {"person": "INT NOT NULL", "day": "NVARCHAR(10) NOT NULL", "n": "INT"}, key=["person", "day"])
    session = erp.connect()
    for i in range(50):
        session.execute("INSERT INTO days VALUES(?, ?, ?)", (i % 7, f"d{i:02}", i))
    days = Dataset(name="days", table="days", channel="hr")
    async with following(erp, days) as follower:
        fresh = Follower(follower.source, [days], page_rows=9)
        await fresh.start()
        after, sizes = b"", []
        while True:
            page = await fresh.page(days, after)
            sizes.append(page.rows)
            after = page.after
            if page.done:
                break
        assert fresh.rows("days") == sorted(session.execute("SELECT * FROM days"), key=repr)
        assert sum(sizes) == 50
        assert max(sizes) == 9


async def test_a_page_asked_for_twice_is_the_same(erp: Erp) -> None:
    make_staff(erp)
    async with following(erp, STAFF) as follower:
        async with follower.source.reader() as reader:
            first = await reader.page(STAFF, follower.schemas["staff"], 1, b"", 2)
            second = await reader.page(STAFF, follower.schemas["staff"], 1, first.after, 2)
            assert await reader.page(STAFF, follower.schemas["staff"], 1, first.after, 2) == second
        assert [b.keys for b in (*first.batches, *second.batches)] == [[[1, 2]], [[3, 4]]]
        assert {b.generation for b in first.batches} == {1}


async def test_an_empty_table_is_one_page_of_nothing(erp: Erp) -> None:
    erp.create("teams", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    async with following(erp, TEAMS) as follower, follower.source.reader() as reader:
        page = await reader.page(TEAMS, follower.schemas["teams"], 1, b"", 10)
        assert (page.batches, page.rows, page.done) == ([], 0, True)


async def test_changes_between_pages_lead_to_the_same_copy(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        fresh = Follower(follower.source, [STAFF], page_rows=2)
        await fresh.start()
        page = await fresh.page(STAFF, b"")
        session.execute("UPDATE staff SET id = 100 WHERE id = 1")  # from a page that was read to one that comes
        session.execute("UPDATE staff SET id = 0 WHERE id = 5")  # and the other way round
        session.execute("UPDATE staff SET name = 'x' WHERE id = 2")
        await fresh.catch_up()
        while not page.done:
            page = await fresh.page(STAFF, page.after)
        await fresh.catch_up()
        assert fresh.rows("staff") == staff_rows(session)


async def test_a_large_read_comes_in_bounded_batches(erp: Erp) -> None:
    make_staff(erp)
    async with following(erp, STAFF) as follower:
        session = erp.connect()
        with session.transaction():
            for i in range(100, 4600):
                session.execute("INSERT INTO staff(id, name) VALUES(?, 'many')", (i,))
        batches = await follower.catch_up()
        assert len(batches) > 1
        assert max(len(b.ops) for b in batches) <= 2000
        assert follower.rows("staff") == staff_rows(session)


# -- validity ---------------------------------------------------------------------------------------------------------------


async def test_facts_name_the_tables_and_prove_the_position(erp: Erp) -> None:
    make_staff(erp)
    async with following(erp, STAFF) as follower:
        facts = await follower.facts()
        assert facts.witness is Witness.FOUND
        assert [t.dataset for t in facts.tables] == ["staff"]
        assert facts.tables[0].object_id
        assert facts.tables[0].begin_version <= facts.version


async def test_clean_up_moves_what_is_valid_and_never_the_version_back(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        old = follower.position
        assert old is not None
        session.execute("UPDATE staff SET name = 'x'")
        before = await follower.source.pulse()
        await erp.expire(follower.source)
        assert (await follower.source.pulse()).version >= before.version
        async with follower.source.reader() as reader:
            facts = await reader.facts(old, [STAFF])
            assert facts.tables[0].min_valid is not None
            assert facts.tables[0].min_valid > old.version
            with pytest.raises(DatasetPaused, match="A2231"):
                _ = [b async for b in reader.changes(STAFF, follower.schemas["staff"], old.version)]
        fresh = Follower(follower.source, [STAFF])
        await fresh.start()
        session.execute("UPDATE staff SET name = 'y' WHERE id = 1")
        assert ops(await fresh.catch_up()) == [("upsert", (1,))]


async def test_clean_up_keeps_what_is_younger_than_the_retention(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'x'")
        assert await follower.source.clean_up(3600) == 0
        assert ops(await follower.catch_up()) == [("upsert", (i,)) for i in range(1, 6)]


async def test_a_rebuilt_table_has_lost_its_tracking_until_it_is_repaired(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        before = (await follower.facts()).tables[0]
        session.execute("UPDATE staff SET name = 'seen' WHERE id = 1")
        erp.rebuild("staff")
        session.execute("UPDATE staff SET name = 'unseen' WHERE id = 1")
        assert (await follower.facts()).tables[0].min_valid is None
        assert await follower.source.repair([STAFF])
        await erp.install(follower.source, [STAFF])  # where only a person turns tracking on
        after = await follower.facts()
        assert after.tables[0].begin_version > before.begin_version
        assert after.tables[0].object_id != before.object_id
        assert after.tables[0].min_valid is not None
        assert before.min_valid is not None
        assert before.min_valid < after.tables[0].min_valid <= after.version
        await follower.start()
        await follower.load()
        assert follower.rows("staff") == staff_rows(session)
        assert await follower.source.repair([STAFF]) == []


async def test_a_dropped_table_pauses_only_its_dataset(erp: Erp) -> None:
    session = make_staff(erp)
    erp.create("teams", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    async with following(erp, STAFF, TEAMS) as follower:
        session.execute("DROP TABLE teams")
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        facts = await follower.facts()
        assert [t.min_valid is None for t in facts.tables] == [False, True]
        found = {d.dataset: d.code for d in await follower.source.describe([STAFF, TEAMS])}
        assert found == {"staff": "", "teams": "A2221"}
        follower.datasets = [STAFF]
        assert ops(await follower.catch_up()) == [("upsert", (1,))]


async def test_a_table_dropped_and_made_again_is_another(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        before = (await follower.facts()).tables[0]
        session.execute("UPDATE staff SET name = 'seen' WHERE id = 1")
        session.execute("DROP TABLE staff")
        make_staff(erp)
        assert (await follower.facts()).tables[0].min_valid is None
        await erp.install(follower.source, [STAFF])
        after = (await follower.facts()).tables[0]
        assert after.object_id != before.object_id
        assert after.begin_version > before.begin_version


async def test_a_truncated_table_does_not_keep_its_rows_in_the_copy(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'seen' WHERE id = 1")
        await follower.catch_up()
        before = (await follower.facts()).tables[0]
        erp.truncate("staff")
        now = (await follower.facts()).tables[0]
        assert follower.position is not None
        valid = now.min_valid is not None and now.min_valid <= follower.position.version
        if valid and now.begin_version == before.begin_version:  # where it is recorded row by row
            await follower.catch_up()
            assert follower.rows("staff") == staff_rows(session) == []


async def test_a_column_that_comes_or_goes_changes_the_fingerprint(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        first = (await follower.source.describe([STAFF]))[0]
        session.execute("ALTER TABLE staff ADD note NVARCHAR(10)")
        second = (await follower.source.describe([STAFF]))[0]
        session.execute("ALTER TABLE staff DROP COLUMN name")
        third = (await follower.source.describe([STAFF]))[0]
        assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3
        assert third.schema is not None
        assert [c.name for c in third.schema.columns] == ["id", "team", "email", "note"]
        assert (await follower.facts()).tables[0].min_valid is not None


@pytest.mark.parametrize(
    "change",
    [
        {"filter": "team = 1"},
        {"channel": "other"},
        {"columns": ("id", "name")},
        {"exclude": ("name",)},
        {"types": {"team": "BIT"}},
    ],
)
async def test_what_is_declared_changes_the_fingerprint(erp: Erp, change: dict[str, object]) -> None:
    make_staff(erp)
    source = erp.source()
    await source.open()
    other = Dataset(**{"name": "staff", "table": "staff", "channel": "hr", **change})  # type: ignore[arg-type]
    one, same, two = [(await source.describe([d]))[0] for d in (STAFF, STAFF, other)]
    await source.close()
    assert one.fingerprint == same.fingerprint != two.fingerprint


async def test_a_table_that_changed_since_it_was_described_is_not_read(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("ALTER TABLE staff ADD note NVARCHAR(10)")
        async with follower.source.reader() as reader:
            with pytest.raises(Transient, match="A2211"):
                await reader.page(STAFF, follower.schemas["staff"], 1, b"", 10)


# -- the witness ------------------------------------------------------------------------------------------------------------


async def test_a_restored_backup_is_another_history(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        backup = erp.backup()
        session.execute("UPDATE staff SET name = 'lost' WHERE id = 1")
        await follower.catch_up()
        erp.restore(backup)
        erp.connect().execute("UPDATE staff SET name = 'x'")  # its versions pass the old ones
        with contextlib.suppress(Transient):  # a connection that has outlived its database
            assert (await follower.facts()).witness is Witness.FOREIGN
        await follower.source.close()
        await follower.source.open()
        assert (await follower.facts()).witness is Witness.FOREIGN


async def test_a_restored_backup_of_the_present_is_the_same_history(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        await follower.catch_up()
        erp.restore(erp.backup())
        await follower.source.close()
        await follower.source.open()
        assert (await follower.facts()).witness is Witness.FOUND


async def test_a_witness_is_not_written_into_a_history_that_was_not_read(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        backup = erp.backup()
        session.execute("UPDATE staff SET name = 'lost' WHERE id = 1")
        facts = await follower.facts()
        erp.restore(backup)
        with pytest.raises(Transient):
            await follower.source.witness(Position(facts.version, facts.incarnation, b"n" * 16), 0)


async def test_a_position_older_than_the_witness_log_is_unproven(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        old = follower.position
        assert old is not None
        session.execute("UPDATE staff SET name = 'x' WHERE id = 1")
        facts = await follower.facts()
        now = Position(facts.version, facts.incarnation, b"new" + bytes(13))
        await follower.source.witness(now, facts.version)
        async with follower.source.reader() as reader:
            assert (await reader.facts(old, [STAFF])).witness is Witness.UNPROVEN
            assert (await reader.facts(now, [STAFF])).witness is Witness.FOUND


async def test_a_position_of_an_unknown_nonce_version_or_incarnation_is_foreign(erp: Erp) -> None:
    make_staff(erp)
    async with following(erp, STAFF) as follower:
        p = follower.position
        assert p is not None
        strangers = [
            Position(p.version, p.incarnation, b"x" * 16),
            Position(p.version + 1, p.incarnation, p.nonce),
            Position(p.version, b"x" * 16, p.nonce),
        ]
        async with follower.source.reader() as reader:
            assert [(await reader.facts(s, [STAFF])).witness for s in strangers] == [Witness.FOREIGN] * 3
            assert (await reader.facts(None, [STAFF])).witness is Witness.FOUND


async def test_a_new_incarnation_makes_every_position_foreign(erp: Erp) -> None:
    make_staff(erp)
    async with following(erp, STAFF) as follower:
        made = await follower.source.new_incarnation()
        facts = await follower.facts()
        assert (facts.incarnation, facts.witness) == (made, Witness.FOREIGN)


# -- install, inspect -------------------------------------------------------------------------------------------------------


async def test_installing_twice_does_nothing_the_second_time(erp: Erp) -> None:
    make_staff(erp)
    source = erp.source()
    await source.open()
    assert await erp.install(source, [STAFF])
    before = await source.pulse()
    assert await erp.install(source, [STAFF]) == []
    assert await source.pulse() == before
    await source.close()


async def test_a_dataset_that_cannot_be_tracked_costs_the_others_nothing(erp: Erp) -> None:
    make_staff(erp)
    gone = Dataset(name="gone", table="gone", channel="hr")
    source = erp.source()
    await source.open()
    words = await erp.install(source, [gone, STAFF])
    found = {f.code for f in await source.inspect([gone, STAFF]) if f.severity is Severity.ERROR}
    async with source.reader() as reader:
        facts = await reader.facts(None, [gone, STAFF])
    await source.close()
    assert any("A2221" in text for text in words)
    assert found == {"A2221"}
    assert [t.min_valid is None for t in facts.tables] == [True, False]


async def test_a_dataset_that_left_the_file_is_no_longer_read(erp: Erp) -> None:
    session = make_staff(erp)
    erp.create("teams", {"id": "INT NOT NULL", "name": "NVARCHAR(50)"}, key=["id"])
    async with following(erp, STAFF, TEAMS) as follower:
        await erp.install(follower.source, [STAFF])
        follower.datasets = [STAFF]
        before = await follower.source.pulse()
        session.execute("INSERT INTO teams VALUES(1, 'a')")
        assert (await follower.source.pulse() == before) is erp.untracks
        assert await follower.catch_up() == []


async def test_inspect_names_what_is_missing_and_then_nothing(erp: Erp) -> None:
    make_staff(erp)
    source = erp.source()
    before = [f.code for f in await source.inspect([STAFF]) if f.severity is Severity.ERROR]
    await source.open()
    await erp.install(source, [STAFF])
    after = [f.code for f in await source.inspect([STAFF]) if f.severity is not Severity.OK]
    await source.close()
    assert "A2205" in before
    assert len(before) > 1  # and what is not tracked
    assert after == []


async def test_uninstall_can_be_followed_by_install(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        old = follower.position
        assert await follower.source.uninstall()
        assert await follower.source.uninstall() == []
        session.execute("UPDATE staff SET name = 'free' WHERE id = 1")
        with pytest.raises(AgentError, match="A2205"):
            await follower.source.pulse()
        await erp.install(follower.source, [STAFF])
        async with follower.source.reader() as reader:
            assert (await reader.facts(old, [STAFF])).witness is Witness.FOREIGN


# -- what a dataset looks like ----------------------------------------------------------------------------------------------


async def test_describe_finds_key_types_and_order(erp: Erp) -> None:
    erp.create(
        "mixed",
        {"b": "INT NOT NULL", "a": "NVARCHAR(20) NOT NULL", "born": "DATE", "pay": "DECIMAL(10,2)", "active": "BIT NOT NULL"},
        key=["a", "b"],
    )
    source = erp.source()
    await source.open()
    schema = (await source.describe([Dataset(name="mixed", table="MIXED", channel="hr")]))[0].schema
    await source.close()
    assert isinstance(schema, Schema)
    assert [(c.name, c.type, c.key, c.nullable) for c in schema.columns] == [
        ("b", Type.INT, 2, False),
        ("a", Type.TEXT, 1, False),
        ("born", Type.DATE, 0, True),
        ("pay", Type.DECIMAL, 0, True),
        ("active", Type.BOOL, 0, False),
    ]
    assert [column.name for column in schema.keys()] == ["a", "b"]  # noqa: SIM118  # no mapping


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        (Dataset(name="d", table="nothing", channel="c"), "A2221"),
        (Dataset(name="d", table="staff", channel="c", key=("name",)), "A2223"),
        (Dataset(name="d", table="staff", channel="c", key=("nothing",)), "A2223"),
        (Dataset(name="d", table="staff", channel="c", columns=("id", "nothing")), "A2224"),
        (Dataset(name="d", table="staff", channel="c", exclude=("id",)), "A2224"),
        (Dataset(name="d", table="staff", channel="c", exclude=("nothing",)), "A2224"),
        (Dataset(name="d", table="staff", channel="c", types={"nothing": "INT"}), "A2224"),
        (Dataset(name="d", table="staff", channel="c", types={"name": "WHATEVER"}), "A2225"),
        (Dataset(name="d", table="staff", channel="c", types={"name": "DECIMAL"}), "A2225"),
    ],
)
async def test_a_dataset_that_cannot_be_carried_is_refused_by_name(erp: Erp, dataset: Dataset, code: str) -> None:
    make_staff(erp)
    source = erp.source()
    await source.open()
    found = (await source.describe([dataset]))[0]
    await source.close()
    assert (found.schema, found.code) == (None, code)
    assert found.problem


# -- life -------------------------------------------------------------------------------------------------------------------


async def test_closing_is_idempotent_and_a_closed_source_says_so(erp: Erp) -> None:
    make_staff(erp)
    source = erp.source()
    await source.open()
    await source.close()
    await source.close()
    with pytest.raises(Transient, match="A2212"):
        await source.pulse()


async def test_readers_take_turns(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        for name in ("one", "two"):
            session.execute("UPDATE staff SET name = ? WHERE id = 1", (name,))
            async with follower.source.reader() as reader:
                page = await reader.page(STAFF, follower.schemas["staff"], 1, b"", 1)
            assert page.batches[0].values[0] == [name]
            assert page.batches[0].ops == bytes([Op.UPSERT])


async def test_changes_left_in_the_middle_do_not_hold_the_next_reader_up(erp: Erp) -> None:
    session = make_staff(erp)
    async with following(erp, STAFF) as follower:
        assert follower.position is not None
        session.execute("UPDATE staff SET name = 'x'")
        async with follower.source.reader() as reader:
            async for _ in reader.changes(STAFF, follower.schemas["staff"], follower.position.version):
                break
        assert len(ops(await follower.catch_up())) == 5
