"""One company's parts: its journal is open as long as any service uses it, and a new identity takes over from the old one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc.board import StatusBoard
from cdc.company import CompanyParts
from cdc.config import CloudSettings
from cdc.daemon import open_source
from cdc.errors import CompanyStopped, Transient
from cdc.journal_identity import Identity, IdentityFile
from cdc.model import Dataset
from tests.support.both_sides import COMPANY, AgentSide, CloudSide, both_sides, company
from tests.support.virtual import VirtualClock, run_virtually, virtual_runtime
from transport.errors import TransportError
from transport.machine import system_runtime

DATASETS = [Dataset(name="leave", table="leave", channel="hr")]


async def unreachable(_: CloudSettings) -> None:  # type: ignore[misc]
    raise TransportError("T1010", "no network")


def parts_in(folder: Path) -> CompanyParts:
    runtime = system_runtime()
    board = StatusBoard("test", runtime.clock.now())
    return CompanyParts(
        company(folder / "erp.db", DATASETS),
        CloudSettings(url="https://memory"),
        folder / "state",
        runtime,
        board,
        open_source=open_source,
        dial=unreachable,  # type: ignore[arg-type]
        software="test",
    )


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[CompanyParts]:
    made = parts_in(tmp_path)
    yield made
    await made.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("journal")] == []


def is_open(parts: CompanyParts) -> bool:
    return parts.journal._file._connection is not None


async def test_the_journal_is_open_from_the_first_user_to_the_last(parts: CompanyParts) -> None:
    async with parts._journal_open():
        async with parts._journal_open():
            assert is_open(parts)
        assert is_open(parts)
    assert not is_open(parts)


async def test_services_that_fail_at_once_close_it_once(parts: CompanyParts) -> None:
    together = asyncio.Barrier(5)

    async def service() -> None:
        async with parts._journal_open():
            await together.wait()
            raise ValueError("all of them")

    found = await asyncio.gather(*(service() for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in found] == [ValueError] * 5
    assert not is_open(parts)
    assert parts._users == 0


async def test_a_service_cancelled_at_any_moment_of_its_start_leaves_the_journal_closed(parts: CompanyParts) -> None:
    async def service() -> None:
        async with parts._journal_open():
            await asyncio.Event().wait()

    for steps in range(12):
        tasks = [asyncio.create_task(service()) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (parts._users, is_open(parts)) == (0, False)


async def test_a_folder_that_cannot_be_made_stops_this_company_alone(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    parts = parts_in(tmp_path)
    with pytest.raises(CompanyStopped) as caught:
        async with parts._journal_open():
            pass
    assert caught.value.code == "A2102"
    assert parts._users == 0
    await parts.close()


def test_a_new_enrolment_takes_over_from_the_connection_that_is_open(tmp_path: Path) -> None:
    """The cloud ends the old installation's connection with a refusal: with a new identity here that is no reason to stop."""
    clock = VirtualClock()
    runtime = virtual_runtime(clock, seed=5)
    erp = tmp_path / "erp.db"
    with closing(sqlite3.connect(erp)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE leave(id INTEGER PRIMARY KEY)")

    def enrol(cloud: CloudSide) -> None:
        key, installation = Ed25519PrivateKey.generate(), b"n" * 16
        code = cloud.registry.new_enrolment_code(COMPANY, 3600)
        cloud.registry.enrol(code, installation, key.public_key().public_bytes_raw())
        IdentityFile(tmp_path / "state" / COMPANY / "journal.identity", runtime.durable).save(
            Identity(installation, b"", 0, key.private_bytes_raw(), "https://memory", COMPANY)
        )

    async def course(agent: AgentSide, cloud: CloudSide) -> None:
        await agent.until(lambda: cloud.tenants.connected() == 1)
        enrol(cloud)
        with pytest.raises(Transient) as caught:
            await agent.until(lambda: False, patience=60)
        assert caught.value.code == "A2602"
        uplink = agent._tasks.pop(0)
        uplink.exception()
        again = asyncio.create_task(agent.parts._uplink(agent._stop))
        agent._tasks.append(again)
        await agent.until(lambda: cloud.tenants.connected() == 1)
        identity = agent.parts.journal.identity()
        assert identity is not None
        assert (identity.installation, identity.epoch > 0) == (b"n" * 16, True)

    async def main() -> None:
        async with both_sides(tmp_path, company(erp, DATASETS), runtime) as (agent, cloud):
            await course(agent, cloud)

    run_virtually(clock, main())
