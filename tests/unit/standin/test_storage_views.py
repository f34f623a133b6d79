"""The catalogue views run, have exactly typed columns, and show what was declared."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.standin.engine import system, system_information, system_objects, system_server
from tests.standin.engine.database import Engine
from tests.standin.ports import SqlError, SqlType
from tests.standin.tsql import ast
from tests.support.standin_storage import INT, TEXT, Client, Storage, column, option, table, track

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = [*system_objects.VIEWS, *system_server.VIEWS, *system_information.VIEWS]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[Storage]:
    engine = await Engine.start()
    storage = Storage(engine)
    yield storage
    await storage.leave()
    await engine.stop()


async def client_with_tables(server: Storage) -> Client:
    client = await server.client(await server.database())
    default = ast.Literal("int", 0)
    parent = table(
        "parent", column("id", identity=(1, 1)), column("name", TEXT, nullable=True, default=default, default_name="named")
    )
    reference = ast.Constraint("foreign key", "to_parent", columns=(("p", False),), references=ast.Name(("parent",)))
    child = table(
        "child", column("id"), column("p"), column("d", SqlType("decimal", precision=9, scale=2)), constraints=[reference]
    )
    index = ast.CreateIndex("by_name", ast.Name(("parent",)), [("name", True)], include=("id",))
    await client.do(option("CHANGE_TRACKING", "ON"), parent, child, index, track("parent"))
    return client


async def select(client: Client, name: str, *columns: str) -> list[tuple[object, ...]]:
    relation = system.view(name, client.state)
    assert relation is not None
    places = [next(p for p, c in enumerate(relation.columns, 1) if c.name == wanted) for wanted in columns]
    return await client.fetch(f"SELECT {', '.join(f'k{p}' for p in places)} FROM {relation.sql} v")


@pytest.mark.parametrize("name", NAMES)
async def test_every_view_runs_with_its_declared_types_with_and_without_rows(server: Storage, name: str) -> None:
    from tests.standin.engine import types

    for client in (await client_with_tables(server), await server.client(await server.database())):
        relation = system.view(name.upper(), client.state)
        assert relation is not None
        statement = await client.state.connection.prepare(f"SELECT * FROM {relation.sql} v")
        await statement.fetch()
        stored = ["bool" if (base := types.pg_base(c.type)) == "boolean" else base for c in relation.columns]
        assert [attribute.type.name for attribute in statement.get_attributes()] == stored
        assert [attribute.name for attribute in statement.get_attributes()] == [f"k{n + 1}" for n in range(len(stored))]
    await server.leave()


async def test_an_unknown_view_is_none(server: Storage) -> None:
    client = await server.client(await server.database())
    assert system.view("sys.nothing", client.state) is None


async def test_tables_columns_and_keys_as_declared(server: Storage) -> None:
    client = await client_with_tables(server)
    assert sorted(await select(client, "sys.tables", "name", "type", "max_column_id_used")) == [
        ("child", "U ", 3),
        ("parent", "U ", 2),
    ]
    rows = await select(client, "sys.columns", "name", "max_length", "precision", "scale", "is_nullable", "is_identity")
    assert ("name", 100, 0, 0, True, False) in rows
    assert ("d", 5, 9, 2, True, False) in rows
    assert ("id", 4, 10, 0, False, True) in rows
    assert ("by_name", 2, "NONCLUSTERED", False) in await select(
        client, "sys.indexes", "name", "index_id", "type_desc", "is_primary_key"
    )
    assert await select(client, "sys.foreign_keys", "name", "delete_referential_action_desc") == [("to_parent", "NO_ACTION")]
    assert await select(client, "sys.default_constraints", "name", "definition") == [("named", "((0))")]
    [row] = await select(
        client, "sys.change_tracking_tables", "object_id", "min_valid_version", "begin_version", "cleanup_version"
    )
    assert row == (client.table("parent").object_id, 0, 0, None)


async def test_a_user_sees_what_it_has_a_permission_on(server: Storage) -> None:
    client = await client_with_tables(server)
    server.engine.create_login("limited", "secret")
    await client.do(
        ast.CreateUser("limited", "limited"),
        ast.Permission("GRANT", ("VIEW CHANGE TRACKING",), "OBJECT", ast.Name(("parent",)), ("limited",)),
    )
    limited = await server.client(client.state.database, user="limited")
    assert await select(limited, "sys.tables", "name") == [("parent",)]
    assert await limited.min_valid("parent") == 0
    await client.do(ast.Permission("REVOKE", ("VIEW CHANGE TRACKING",), "OBJECT", ast.Name(("parent",)), ("limited",)))
    limited.state.catalogue = limited.state.database.catalogue
    assert await limited.min_valid("parent") is None
    with pytest.raises(SqlError) as raised:
        await select(limited, "sys.dm_tran_commit_table", "commit_ts")
    assert raised.value.number == 262


async def test_a_snapshot_transaction_sees_newly_committed_metadata(server: Storage) -> None:
    client = await client_with_tables(server)
    await client.do(option("ALLOW_SNAPSHOT_ISOLATION", "ON"))
    reader = await server.client(client.state.database, isolation="SNAPSHOT")
    await reader.begin()
    assert len(await select(reader, "sys.tables", "name")) == 2
    await client.do(table("later", column("id", INT)))
    assert len(await select(reader, "sys.tables", "name")) == 3
    await reader.rollback()
