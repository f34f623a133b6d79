"""Who waits for whom, as SQL Server's guide to locking says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.standin.engine import errors, storage
from tests.standin.engine.database import Engine
from tests.standin.engine.model import Catalogue
from tests.standin.ports import SqlError
from tests.standin.tsql import ast
from tests.support.standin_storage import TEXT, Client, Storage, column, option, table

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE = {"key": ("$1",), "arguments": (1,)}
FIVE = {"key": ("$1",), "arguments": (5,)}


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


async def two(server: Storage, **settings: Any) -> tuple[Client, Client]:
    """A writer and another session, and a table t with the rows 1 to 3."""
    database = await server.database()
    writer, other = await server.client(database), await server.client(database, **settings)
    await writer.do(
        table("t", column("id"), column("a", TEXT)), table("u", column("id")), option("ALLOW_SNAPSHOT_ISOLATION", "ON")
    )
    await writer.write("t", "INSERT INTO {t} SELECT n, 'x' FROM generate_series(1, 3) n")
    other.state.catalogue = database.catalogue
    return writer, other


async def number(operation: Any) -> int:
    """The number of the error it ends with."""
    try:
        await operation
    except SqlError as error:
        return error.number
    except asyncpg.PostgresError as error:
        nobody: Any = SimpleNamespace(spid=1, catalogue=Catalogue(), table_variables={}, temporaries={}, database=None)
        return errors.translate(error, nobody).number
    return 0


async def is_waiting(task: asyncio.Task[Any]) -> bool:
    """Whether it is still at work when others had every chance to finish."""
    done, _ = await asyncio.wait([task], timeout=0.15)
    return not done


async def test_a_reader_waits_for_an_uncommitted_writer(server: Storage) -> None:
    writer, reader = await two(server)
    await writer.begin()
    await writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    reading = asyncio.create_task(reader.read("t"))
    assert await is_waiting(reading)
    await writer.commit()
    assert (1, "y") in await reading


@pytest.mark.parametrize("hint", ["NOLOCK", "READUNCOMMITTED"])
async def test_nolock_does_not_wait(server: Storage, hint: str) -> None:
    writer, reader = await two(server)
    await writer.begin()
    await writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    assert len(await reader.read("t", hints=(hint,))) == 3
    await writer.rollback()


async def test_with_read_committed_snapshot_a_reader_does_not_wait_unless_a_hint_says_so(server: Storage) -> None:
    writer, reader = await two(server)
    writer.state.database.options.read_committed_snapshot = True
    await writer.begin()
    await writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    assert (1, "x") in await reader.read("t")
    reader.state.lock_timeout = 20
    assert await number(reader.read("t", hints=("READCOMMITTEDLOCK",))) == 1222
    await writer.rollback()


async def test_a_snapshot_reader_does_not_wait_and_sees_its_beginning(server: Storage) -> None:
    writer, reader = await two(server, isolation="SNAPSHOT")
    await reader.begin()
    assert (1, "x") in await reader.read("t")
    await writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    assert (1, "x") in await reader.read("t")
    await reader.commit()
    assert (1, "y") in await reader.read("t")


async def test_a_reader_by_key_waits_only_for_that_row(server: Storage) -> None:
    writer, reader = await two(server, lock_timeout=50)
    await writer.begin()
    await writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    assert await reader.read("t", key=("$1",), arguments=(2,))
    assert await number(reader.read("t", **ONE)) == 1222
    await writer.rollback()


async def test_a_reader_by_key_waits_for_an_uncommitted_insert_of_that_key(server: Storage) -> None:
    writer, reader = await two(server, lock_timeout=50)
    await writer.begin()
    await writer.write("t", "INSERT INTO {t} VALUES (5, 'new')")
    assert await number(reader.read("t", **FIVE)) == 1222
    await writer.commit()
    assert await reader.read("t", **FIVE) == [(5, "new")]


async def test_holdlock_on_an_absent_key_blocks_its_insert_and_no_other(server: Storage) -> None:
    writer, holder = await two(server)
    await holder.begin()
    await holder.read("t", hints=("UPDLOCK", "HOLDLOCK", "ROWLOCK"), **FIVE)
    await writer.write("t", "INSERT INTO {t} VALUES (6, 'other')")
    inserting = asyncio.create_task(writer.write("t", "INSERT INTO {t} VALUES (5, 'same')"))
    assert await is_waiting(inserting)
    await holder.write("t", "INSERT INTO {t} VALUES (5, 'mine')")
    await holder.commit()
    assert await number(inserting) == 50000 or inserting.exception() is not None  # 2627, which names a table


async def test_without_holdlock_an_absent_key_is_not_locked(server: Storage) -> None:
    writer, holder = await two(server)
    await holder.begin()
    await holder.read("t", hints=("UPDLOCK", "ROWLOCK"), **FIVE)
    await writer.write("t", "INSERT INTO {t} VALUES (5, 'same')")
    await holder.rollback()


async def test_two_holdlocks_without_updlock_share_and_then_deadlock(server: Storage) -> None:
    first, second = await two(server)
    for client in (first, second):
        await client.begin()
        await client.read("t", hints=("HOLDLOCK",), **FIVE)
    inserts = [asyncio.create_task(number(c.write("t", "INSERT INTO {t} VALUES (5, 'x')"))) for c in (first, second)]
    assert sorted(await asyncio.gather(*inserts)) == [0, 1205]
    for client in (first, second):
        await client.rollback()


async def test_updlock_on_a_row_blocks_another_and_a_writer_but_not_its_insert_elsewhere(server: Storage) -> None:
    writer, holder = await two(server)
    writer.state.lock_timeout = 50
    await holder.begin()
    await holder.read("t", hints=("UPDLOCK",), **ONE)
    assert await number(writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")) == 1222
    assert await number(writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 2")) == 0
    await writer.begin()
    assert await number(writer.read("t", hints=("UPDLOCK",), **ONE)) == 1222
    await writer.rollback()
    await holder.rollback()


async def test_serializable_range_blocks_inserts_into_the_table(server: Storage) -> None:
    writer, holder = await two(server, isolation="SERIALIZABLE")
    writer.state.lock_timeout = 50
    await holder.begin()
    await holder.read("t")
    assert await number(writer.write("t", "INSERT INTO {t} VALUES (9, 'x')")) == 1222
    await holder.rollback()


async def test_tablockx_keeps_readers_and_writers_out(server: Storage) -> None:
    other, holder = await two(server)
    other.state.lock_timeout = 50
    await holder.begin()
    await holder.read("t", hints=("TABLOCKX",))
    assert await number(other.write("t", "INSERT INTO {t} VALUES (9, 'x')")) == 1222
    assert await number(other.read("t")) == 1222
    await holder.rollback()
    assert await number(other.read("t")) == 0


async def test_a_deadlock_of_a_reader_and_a_writer_is_broken(server: Storage) -> None:
    first, second = await two(server)
    await first.begin()
    await second.begin()
    await first.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    await second.write("u", "INSERT INTO {t} VALUES (1)")
    waiting = asyncio.create_task(number(first.read("u")))
    assert await is_waiting(waiting)
    other = asyncio.create_task(number(second.read("t")))
    done, rest = await asyncio.wait([waiting, other], return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [1205]
    victim = first if waiting in done else second
    await victim.rollback()
    assert [await task for task in rest] == [0]
    await (second if victim is first else first).rollback()


async def test_the_session_of_low_priority_is_the_victim(server: Storage) -> None:
    first, second = await two(server, deadlock_priority=-5)
    await first.begin()
    await second.begin()
    await first.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    await second.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 2")
    tasks = [
        asyncio.create_task(number(first.write("t", "UPDATE {t} SET c2 = 'z' WHERE c1 = 2"))),
        asyncio.create_task(number(second.write("t", "UPDATE {t} SET c2 = 'z' WHERE c1 = 1"))),
    ]
    await asyncio.wait([tasks[1]])
    assert tasks[1].result() == 1205
    await second.rollback()
    assert await tasks[0] == 0
    await first.rollback()


async def test_an_update_conflict_of_a_snapshot_is_3960(server: Storage) -> None:
    writer, late = await two(server, isolation="SNAPSHOT")
    await late.begin()
    await late.read("t")
    await writer.write("t", "UPDATE {t} SET c2 = 'y' WHERE c1 = 1")
    with pytest.raises(asyncpg.SerializationError) as raised:
        await late.write("t", "UPDATE {t} SET c2 = 'z' WHERE c1 = 1")
    assert errors.translate(raised.value, late.state).number == 3960
    await late.rollback()


async def test_ddl_after_the_beginning_of_a_snapshot_is_3961_and_is_not_held_up_by_its_readers(server: Storage) -> None:
    writer, reader = await two(server, isolation="SNAPSHOT")
    await reader.begin()
    await reader.read("t")
    await writer.do(ast.AlterTable(ast.Name(("t",)), [column("b", TEXT)]))
    assert await number(reader.read("t")) == 3961
    await reader.rollback()
    await reader.begin()
    await reader.read("t")
    await writer.do(ast.Truncate(ast.Name(("t",))))
    assert await number(reader.read("t")) == 3961
    await reader.rollback()


async def test_snapshot_must_be_allowed_and_begin_the_transaction(server: Storage) -> None:
    writer, reader = await two(server)
    await reader.begin()
    reader.state.isolation = "SNAPSHOT"
    assert await number(reader.read("t")) == 3951
    await reader.rollback()
    await writer.do(option("ALLOW_SNAPSHOT_ISOLATION", "OFF"))
    assert await number(reader.read("t")) == 3952


async def test_uncommitted_ddl_is_waited_for_and_its_result_seen(server: Storage) -> None:
    writer, reader = await two(server)
    await writer.begin()
    async with storage.statement(writer.state):
        from tests.standin.engine import ddl

        await ddl.execute(writer.state, ast.AlterTable(ast.Name(("t",)), [column("b", TEXT)]))
    reader.state.lock_timeout = 20
    assert await number(reader.read("t")) == 1222
    assert await number(reader.read("t", hints=("NOLOCK",))) == 1222
    await writer.commit()
    assert (1, "x", None) in await reader.read("t")


async def test_a_bulk_insert_escalates_instead_of_filling_the_lock_table(server: Storage) -> None:
    writer, other = await two(server, lock_timeout=50)
    await writer.begin()
    await writer.write("t", "INSERT INTO {t} SELECT n, 'x' FROM generate_series(10, 60000) n")
    [(locks,)] = await writer.fetch("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert locks < 21_000
    assert await number(other.write("t", "INSERT INTO {t} VALUES (70000, 'x')")) == 1222
    await writer.rollback()
    assert await number(other.write("t", "INSERT INTO {t} VALUES (70000, 'x')")) == 0


async def test_an_unknown_hint_is_refused(server: Storage) -> None:
    writer, _ = await two(server)
    assert await number(writer.read("t", hints=("FASTFIRSTROW",))) == 50000
