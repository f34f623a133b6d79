"""Databases, backups, users and the rules of declarations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.standin import postgres
from tests.standin.engine import permissions
from tests.standin.engine.database import Engine
from tests.standin.ports import Refused, SqlError, SqlType
from tests.standin.tsql import ast
from tests.support.standin_storage import INT, TEXT, Client, Storage, column, option, primary, table, track, type_name

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[Engine]:
    engine = await Engine.start()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def server(engine: Engine) -> AsyncIterator[Storage]:
    storage = Storage(engine)
    yield storage
    await storage.leave()


async def number(operation: object) -> int:
    try:
        await operation  # type: ignore[misc]
    except SqlError as error:
        return error.number
    return 0


def name(*parts: str) -> ast.Name:
    return ast.Name(parts)


async def test_the_server_ends_and_leaves_nothing() -> None:
    server = await postgres.start()
    assert server.folder.exists()
    await server.stop()
    assert not server.folder.exists()
    with pytest.raises(FileNotFoundError):
        await server.connect(postgres.ADMIN)


async def test_databases_are_made_and_dropped_quickly_and_not_while_in_use(server: Storage) -> None:
    client = await server.client(await server.database())
    begin = time.perf_counter()
    await client.do(ast.CreateDatabase("Made", "Polish_CI_AS"))
    assert time.perf_counter() - begin < 2
    assert await number(client.do(ast.CreateDatabase("MADE"))) == 1801
    assert await number(client.do(ast.CreateDatabase("other", "Nowhere"))) == 448
    with pytest.raises(Refused):
        await client.do(ast.CreateDatabase("other", "Polish_CI_AI"))
    made = server.engine.database("made")
    assert made is not None
    user = await server.client(made)
    assert await number(client.do(ast.Drop("database", [name("Made")]))) == 3702
    await server.engine.leave(user.state)
    await client.do(ast.Drop("database", [name("Made")]), ast.Drop("database", [name("Made")], if_exists=True))
    assert server.engine.database("made") is None


async def test_a_restored_database_has_its_old_rows_and_versions_and_a_new_fork(server: Storage) -> None:
    database = await server.database()
    client, admin = await server.client(database), await server.client(await server.database())
    await client.do(option("CHANGE_TRACKING", "ON"), table("t", column("id")), track("t"))
    await client.write("t", "INSERT INTO {t} VALUES (1)")
    fork, same = database.guids.fork, database.guids.database
    await admin.do(ast.Backup(database.name, "f.bak"))
    await client.write("t", "INSERT INTO {t} VALUES (2)")
    assert await client.version() == 2
    assert await number(admin.do(ast.Restore(database.name, "f.bak"))) == 3101
    assert await number(admin.do(ast.Restore(database.name, "g.bak"))) == 3201
    assert await number(client.do(ast.Restore(database.name, "f.bak"))) == 3102
    await admin.do(ast.AlterDatabase(database.name, "SINGLE_USER", with_rollback=True), ast.Restore(database.name, "f.bak"))
    again = await server.client(database)
    assert (await again.version(), await again.read("t"), again.state.database.options.single_user) == (1, [(1,)], False)
    assert (database.guids.database, database.guids.fork != fork, database.guids.first_fork) == (same, True, fork)
    await again.write("t", "INSERT INTO {t} VALUES (3)")
    assert await again.version() == 2


async def test_users_have_what_was_granted_and_not_what_was_denied(server: Storage) -> None:
    client = await server.client(await server.database())
    server.engine.create_login("clerk", "x")
    await client.do(table("t", column("id")), ast.CreateUser("clerk", "clerk"))
    clerk = await server.client(client.state.database, user="clerk")

    async def may(permission: str) -> bool:
        clerk.state.catalogue = clerk.state.database.catalogue
        return permissions.may(clerk.state, permission, clerk.table("t"))

    assert not await may("SELECT")
    await client.do(ast.AlterRole("db_datareader", True, "clerk"))
    assert await may("SELECT")
    await client.do(ast.Permission("DENY", ("SELECT",), "SCHEMA", name("dbo"), ("clerk",)))
    assert not await may("SELECT")
    await client.do(ast.Permission("REVOKE", ("SELECT",), "SCHEMA", name("dbo"), ("clerk",)))
    assert await may("SELECT")
    assert not await may("VIEW CHANGE TRACKING")
    await client.do(ast.Permission("GRANT", ("VIEW CHANGE TRACKING",), "SCHEMA", name("dbo"), ("clerk",)))
    assert await may("VIEW CHANGE TRACKING")
    assert permissions.has(clerk.state, "select", "object", "[dbo].[t]") is True
    assert permissions.has(clerk.state, "INSERT", "OBJECT", "dbo.t") is False
    assert permissions.has(clerk.state, "INSERT", "OBJECT", "dbo.missing") is None
    assert await number(clerk.do(table("mine", column("id")))) == 262
    assert await number(clerk.do(track("t"))) == 4902
    assert await number(clerk.do(option("READ_ONLY"))) == 5011


async def test_a_rolled_back_declaration_is_forgotten_also_to_a_savepoint(server: Storage) -> None:
    from tests.standin.engine import storage

    client = await server.client(await server.database())
    await client.begin()
    await client.do(table("kept", column("id")))
    await storage.save(client.state, "here")
    await client.do(table("lost", column("id")), table("#lost", column("id")))
    await storage.rollback_to(client.state, "HERE")
    assert not client.state.temporaries
    await client.commit()
    assert [t.name for t in client.state.database.catalogue.tables.values()] == ["kept"]
    await client.begin()
    await client.do(ast.Drop("table", [name("kept")]))
    await client.rollback()
    assert await client.read("kept") == []


async def test_one_transaction_declares_at_a_time(server: Storage) -> None:
    database = await server.database()
    first, second = await server.client(database), await server.client(database)
    await first.begin()
    await first.do(table("a", column("id")))
    waiting = asyncio.create_task(second.do(table("b", column("id"))))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    await first.commit()
    await waiting
    assert sorted(t.name for t in database.catalogue.tables.values()) == ["a", "b"]


async def prepared(server: Storage) -> Client:
    client = await server.client(await server.database())
    reference = ast.Constraint("foreign key", "FK", columns=(("p", False),), references=name("parent"))
    unique = ast.Constraint("unique", "UQ", columns=(("a", False),))
    await client.do(
        table("parent", column("id"), column("a", TEXT), constraints=[unique]),
        table("child", column("id"), column("p"), constraints=[reference]),
        ast.CreateSchema("other"),
        ast.CreateTable(name("other", "x"), [column("id")], []),
        ast.CreateType(name("Flag"), type_name(SqlType("bit")), nullable=False),
        ast.CreateIndex("ix", name("child"), [("p", False)]),
    )
    return client


def altered(*actions: object, of: str = "parent") -> ast.AlterTable:
    return ast.AlterTable(name(of), actions)  # type: ignore[arg-type]


def reference(parent: str, *columns: str) -> ast.Constraint:
    return ast.Constraint("foreign key", columns=(("p", False),), references=name(parent), referenced=columns)


REFUSED = [
    (table("parent", column("id")), 2714),
    (ast.CreateTable(name("nowhere", "t"), [column("id")], []), 2760),
    (table("twice", column("id"), column("ID"), key=()), 2705),
    (ast.Drop("table", [name("missing")]), 3701),
    (ast.Drop("table", [name("parent")]), 3726),
    (ast.Truncate(name("parent")), 4712),
    (ast.Drop("schema", [name("other")]), 3729),
    (ast.Drop("index", [name("missing")], on=name("child")), 3701),
    (ast.CreateIndex("IX", name("child"), [("p", False)]), 1913),
    (ast.CreateIndex("i", name("child"), [("q", False)]), 1911),
    (ast.CreateSchema("OTHER"), 2714),
    (ast.CreateType(name("flag"), type_name(INT)), 219),
    (altered(ast.DropConstraint("UQ"), of="missing"), 4902),
    (altered(ast.DropConstraint("nothing")), 3728),
    (altered(ast.DropColumn("a")), 5074),
    (altered(ast.DropColumn("nothing")), 4924),
    (altered(ast.AlterColumn("id", type_name(SqlType("bigint")), nullable=False)), 5074),
    (altered(primary("a")), 1779),
    (altered(ast.Constraint("foreign key", columns=(("p", False),), references=name("nothing")), of="child"), 1767),
    (
        altered(
            ast.Constraint("foreign key", columns=(("p", False),), references=name("child"), referenced=("p",)), of="child"
        ),
        1776,
    ),
    (altered(column("id")), 2705),
]


@pytest.mark.parametrize(("statement", "expected"), REFUSED, ids=[f"{n}-{type(s).__name__}" for s, n in REFUSED])
async def test_a_wrong_declaration_is_refused_with_its_number(server: Storage, statement: ast.Statement, expected: int) -> None:
    client = await prepared(server)
    assert await number(client.do(statement)) == expected
    await server.leave()


async def test_a_column_is_added_altered_and_dropped_and_its_id_not_used_again(server: Storage) -> None:
    client = await server.client(await server.database())
    await client.do(table("t", column("id"), column("a", TEXT)))
    await client.write("t", "INSERT INTO {t} VALUES (1, 'long')")
    assert await number(client.do(altered(column("b", nullable=False), of="t"))) == 4901
    default = ast.Literal("int", 7)
    await client.do(altered(column("b", nullable=False, default=default, default_name="seven"), of="t"))
    assert await client.read("t") == [(1, "long", 7)]
    assert await number(client.do(altered(ast.DropColumn("b"), of="t"))) == 5074
    await client.do(altered(ast.DropConstraint("SEVEN"), ast.DropColumn("b"), column("c"), of="t"))
    assert [c.column_id for c in client.table("t").columns] == [1, 2, 4]
    await client.do(altered(ast.AlterColumn("a", type_name(SqlType("nvarchar", 60)), nullable=False), of="t"))
    changed = client.table("t").column("A")
    assert changed is not None
    assert (changed.type.length, changed.nullable, changed.type.collation) == (60, False, client.state.database.collation)


async def test_a_snapshot_transaction_may_not_alter_tables(server: Storage) -> None:
    client = await prepared(server)
    await client.do(option("ALLOW_SNAPSHOT_ISOLATION", "ON"))
    client.state.isolation = "SNAPSHOT"
    await client.begin()
    assert await number(client.do(altered(column("z")))) == 3964
    await client.rollback()


async def test_names_are_found_in_any_case_and_renamed(server: Storage) -> None:
    from tests.standin.engine import ddl, storage

    client = await prepared(server)
    for old, new, kind in [
        ("dbo.CHILD", "Kind", ""),
        ("[dbo].[Kind].p", "q", "COLUMN"),
        ("Kind.IX", "jx", "INDEX"),
        ("FK", "FK2", "OBJECT"),
    ]:
        async with storage.autocommit(client.state):
            await ddl.rename(client.state, old, new, kind)
    renamed = client.table("kind")
    assert (renamed.name, [c.name for c in renamed.columns]) == ("Kind", ["id", "q"])
    assert (renamed.indexes[1].name, renamed.foreign_keys[0].name) == ("jx", "FK2")
    async with storage.autocommit(client.state):
        assert await number(ddl.rename(client.state, "parent", "KIND", "")) == 15335
        assert await number(ddl.rename(client.state, "missing", "x", "")) == 15225
