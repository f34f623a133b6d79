"""Change tracking as documented, and where the documentation is silent as decided in tests/standin/README.md."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.standin.engine.database import Engine
from tests.standin.ports import SqlError, SqlType
from tests.standin.tsql import ast
from tests.support.standin_storage import INT, TEXT, Client, Storage, column, option, primary, table, track

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[Storage]:
    engine = await Engine.start()
    storage = Storage(engine)
    yield storage
    await storage.leave()
    await engine.stop()


async def tracked(server: Storage, *, columns: bool = False, collation: str = "") -> Client:
    """A session in a new database with a tracked table t (id, a, b)."""
    client = await server.client(await server.database(collation))
    await client.do(
        option("CHANGE_TRACKING", "ON"),
        table("t", column("id"), column("a", TEXT), column("b", TEXT)),
        track("t", columns=columns),
    )
    return client


def net(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """(operation, key, version) of each change."""
    return [(row[2], row[5], row[0]) for row in rows]


async def test_a_commit_gets_the_next_version_and_an_untracked_one_none(server: Storage) -> None:
    client = await tracked(server)
    assert await client.version() == 0
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.do(table("u", column("id")))
    await client.write("u", "INSERT INTO {t} VALUES (1)")
    await client.write("t", "UPDATE {t} SET c2 = 'z' WHERE c1 = 99", assigned=["a"])
    assert await client.version() == 1


async def test_operations_are_relative_to_the_baseline(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.write("t", "UPDATE {t} SET c2 = 'z'", assigned=["a"])
    assert net(await client.changes("t", 0)) == [("I", 1, 2)]
    assert net(await client.changes("t", 1)) == [("U", 1, 2)]
    assert await client.changes("t", 2) == []
    assert net(await client.changes("t", None)) == [("I", 1, 2)]


async def test_deleted_and_inserted_again_is_an_update_of_all_columns(server: Storage) -> None:
    client = await tracked(server, columns=True)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.write("t", "DELETE FROM {t}")
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    assert await client.changes("t", 1) == [(3, 3, "U", None, None, 1)]


async def test_inserted_and_deleted_is_reported_as_deleted(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.write("t", "DELETE FROM {t}")
    assert await client.changes("t", 0) == [(2, 1, "D", None, None, 1)]


async def test_a_changed_key_is_a_delete_and_an_insert_and_shifted_keys_are_updates(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} SELECT n, 'x', 'y' FROM generate_series(1, 3) n")
    await client.write("t", "UPDATE {t} SET c1 = 9 WHERE c1 = 1", assigned=["id"])
    assert net(await client.changes("t", 1)) == [("D", 1, 2), ("I", 9, 2)]


async def test_a_key_changed_only_in_case_or_blanks_is_one_update_with_the_new_text(server: Storage) -> None:
    client = await server.client(await server.database())
    await client.do(
        option("CHANGE_TRACKING", "ON"), table("t", column("id", TEXT), column("a", TEXT)), track("t", columns=True)
    )
    await client.write("t", "INSERT INTO {t} VALUES ('abc', 'x')")
    await client.write("t", "UPDATE {t} SET c1 = 'ABC  '", assigned=["id"])
    assert await client.changes("t", 1) == [(2, None, "U", None, None, "ABC  ")]


async def test_the_mask_is_the_union_of_what_was_assigned_in_the_order_of_assignment(server: Storage) -> None:
    client = await tracked(server, columns=True)
    await client.do(ast.AlterTable(ast.Name(("t",)), [column("c", TEXT)]))
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y', 'z')")
    await client.write("t", "UPDATE {t} SET c3 = 'q'", assigned=["b"])
    await client.write("t", "UPDATE {t} SET c2 = 'q'", assigned=["a"])
    [row] = await client.changes("t", 1)
    assert row[3].hex() == "00000000" + "03000000" + "02000000"
    [row] = await client.changes("t", 2)
    assert row[3].hex() == "00000000" + "02000000"


async def test_the_mask_is_null_when_all_columns_outside_the_key_or_the_key_itself_were_assigned(server: Storage) -> None:
    client = await tracked(server, columns=True)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.write("t", "UPDATE {t} SET c2 = 'q', c3 = 'q'", assigned=["a", "b"])
    assert [row[3] for row in await client.changes("t", 1)] == [None]
    await client.write("t", "UPDATE {t} SET c1 = 1, c2 = 'q'", assigned=["id", "a"])
    assert [row[2:4] for row in await client.changes("t", 2)] == [("U", None)]


async def test_a_context_belongs_to_its_statement_and_the_last_change_of_a_row(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y'), (2, 'x', 'y')", context=b"mine")
    await client.write("t", "UPDATE {t} SET c2 = 'z' WHERE c1 = 2", assigned=["a"])
    assert [(row[5], row[4]) for row in await client.changes("t", 0)] == [(1, b"mine"), (2, None)]


async def test_cascades_are_tracked_without_context_and_with_the_columns_that_differ(server: Storage) -> None:
    client = await tracked(server)
    reference = ast.Constraint(
        "foreign key", columns=(("p", False),), references=ast.Name(("t",)), on_delete="CASCADE", on_update="CASCADE"
    )
    child = table("child", column("id"), column("p", nullable=True), column("x", nullable=True), constraints=[reference])
    await client.do(child, track("child", columns=True))
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.write("child", "INSERT INTO {t} VALUES (10, 1, 0)")
    await client.write("t", "UPDATE {t} SET c1 = 2", assigned=["id"], context=b"mine")
    [row] = await client.changes("child", 2)
    assert (row[0], row[2], row[3].hex(), row[4]) == (3, "U", "00000000" + "02000000", None)
    await client.write("t", "DELETE FROM {t}", context=b"mine")
    [row] = await client.changes("child", 3)
    assert (row[0], row[2], row[4]) == (4, "D", None)


async def test_uncommitted_changes_have_no_version_and_are_not_seen_even_by_their_writer(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.begin()
    await client.write("t", "UPDATE {t} SET c2 = 'z'", assigned=["a"])
    assert net(await client.changes("t")) == [("I", 1, 1)]
    assert await client.version() == 1
    assert await versions(client, 1) == [(1, None, None)]
    await client.commit()
    assert await versions(client, 1) == [(1, 2, None)]


async def versions(client: Client, key: int) -> list[tuple[object, ...]]:
    from tests.standin.engine import tracking

    return await client.fetch(f"SELECT * FROM {tracking.version_of(client.table('t'), ['$1::int4']).sql} x", key)


async def test_version_of_a_row_that_is_gone_or_never_was_is_no_row(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.write("t", "DELETE FROM {t}")
    assert await versions(client, 1) == []
    assert await versions(client, 7) == []


async def test_a_rolled_back_change_leaves_nothing(server: Storage) -> None:
    client = await tracked(server)
    await client.begin()
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.rollback()
    assert await client.version() == 0
    assert await client.changes("t") == []


async def test_a_snapshot_sees_the_version_of_its_beginning_unless_versions_are_live(server: Storage) -> None:
    writer = await tracked(server)
    await writer.do(option("ALLOW_SNAPSHOT_ISOLATION", "ON"))
    reader = await server.client(writer.state.database, isolation="SNAPSHOT")
    await reader.begin()
    assert await reader.version() == 0
    await writer.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    assert await reader.version() == 0
    assert await reader.changes("t") == []
    server.engine.emulated.versions = "live"
    assert await reader.version() == 1
    server.engine.emulated.versions = "snapshot"
    await reader.rollback()


async def test_truncate_begins_tracking_anew_without_a_version(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    assert await client.min_valid("t") == 0
    await client.do(ast.Truncate(ast.Name(("t",))))
    assert (await client.version(), await client.min_valid("t"), await client.changes("t")) == (1, 1, [])
    assert await client.fetch("SELECT begin_version FROM standin.tracked") == [(1,)]


async def test_tracking_switched_off_and_on_forgets_the_changes_and_the_versions_go_on(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await client.do(track("t", on=False), option("CHANGE_TRACKING", "OFF"))
    assert await client.version() is None
    assert await client.min_valid("t") is None
    await client.do(option("CHANGE_TRACKING", "ON"), track("t"))
    assert (await client.version(), await client.min_valid("t"), await client.changes("t")) == (1, 1, [])
    await client.write("t", "DELETE FROM {t}")
    assert await client.version() == 2


async def test_an_added_columns_values_are_not_changes(server: Storage) -> None:
    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    identity = column("n", INT, identity=(5, 5), nullable=False)
    stamp = column("v", SqlType("timestamp"))
    await client.do(ast.AlterTable(ast.Name(("t",)), [identity, stamp]))
    assert await client.version() == 1
    [row] = await client.fetch(f"SELECT c4, length(c5) FROM {client.table('t').stored}")
    assert row == (5, 8)


async def test_errors_of_switching_tracking_on_and_off(server: Storage) -> None:
    client = await server.client(await server.database())
    await client.do(table("t", column("id")), table("heap", column("id"), key=()))
    wrong: list[tuple[ast.Statement, int]] = [
        (track("t"), 1718),
        (option("CHANGE_TRACKING", "OFF"), 5089),
        (option("CHANGE_TRACKING", settings=(("CHANGE_RETENTION", "3 DAYS"),)), 5089),
    ]
    for statement, number in wrong:
        with pytest.raises(SqlError) as raised:
            await client.do(statement)
        assert raised.value.number == number
    await client.do(option("CHANGE_TRACKING", "ON"), track("t"))
    key = client.table("t").indexes[0].name
    wrong = [
        (option("CHANGE_TRACKING", "ON"), 5088),
        (option("CHANGE_TRACKING", "OFF"), 22115),
        (track("t"), 4996),
        (track("heap"), 4997),
        (track("heap", on=False), 4998),
        (ast.AlterTable(ast.Name(("t",)), [ast.DropConstraint(key)]), 3735),
    ]
    for statement, number in wrong:
        with pytest.raises(SqlError) as raised:
            await client.do(statement)
        assert raised.value.number == number
    with pytest.raises(SqlError) as raised:
        await client.changes("heap")
    assert raised.value.number == 22105


async def test_clean_up_by_retention_forgets_old_changes_and_raises_the_oldest_valid_version(server: Storage) -> None:
    from tests.standin.engine import cleanup

    client = await tracked(server)
    await client.write("t", "INSERT INTO {t} VALUES (1, 'x', 'y')")
    await cleanup.move_clock(server.engine, 86400)
    assert await client.min_valid("t") == 0
    await client.write("t", "INSERT INTO {t} VALUES (2, 'x', 'y')")
    await cleanup.move_clock(server.engine, 86400 + 60)
    assert (await client.min_valid("t"), net(await client.changes("t"))) == (1, [("I", 2, 2)])
    assert await cleanup.force(server.engine, client.state.database.name, None, None) == 2
    assert (await client.version(), await client.min_valid("t"), await client.changes("t")) == (2, 2, [])
    await client.write("t", "DELETE FROM {t} WHERE c1 = 2")
    assert net(await client.changes("t", 2)) == [("D", 2, 3)]


async def test_composite_keys_of_several_types(server: Storage) -> None:
    client = await server.client(await server.database("Polish_CI_AS"))
    number = SqlType("decimal", precision=9, scale=2)
    columns = (column("id"), column("code", SqlType("nchar", 3)), column("n", number), column("x"))
    definition = table("t", *columns, key=("id", "code", "n"))
    await client.do(option("CHANGE_TRACKING", "ON"), definition, track("t"))
    await client.write("t", "INSERT INTO {t} VALUES (1, 'Żab', 1.5, 0), (1, 'x  ', 1.5, 0)")
    await client.write("t", "UPDATE {t} SET c2 = 'żAB' WHERE c2 = 'Żab'", assigned=["code"])
    rows = await client.changes("t", 1)
    assert [(row[2], row[6]) for row in rows] == [("U", "żAB")]


async def test_a_second_primary_key_constraint_is_refused(server: Storage) -> None:
    client = await tracked(server)
    with pytest.raises(SqlError) as raised:
        await client.do(ast.AlterTable(ast.Name(("t",)), [primary("a")]))
    assert raised.value.number == 1779
