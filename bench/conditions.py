"""shell: what the programs need: memory by size of the data, latency of single changes, the cost of doing nothing."""

from __future__ import annotations

import contextlib
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

from bench import data
from bench.end_to_end import differential
from bench.installation import free_port, installation


class Memory(NamedTuple):
    """Peak resident bytes of both programs."""

    name: str
    agent: int
    cloud: int


def memory_of_full(folder: Path, rows: int) -> Memory:
    """A first full read of so many rows."""
    with installation(folder, data.create(folder.with_suffix(".erp"), rows)) as made:
        made.agent.start()
        made.wait("the first full read", rows, made.loaded)
        return Memory(f"full, {rows:,} rows".replace(",", " "), made.agent.used().peak, made.cloud.used().peak)


def memory_of_transaction(folder: Path, rows: int) -> Memory:
    """One transaction that updates so many rows."""
    with installation(folder, data.create(folder.with_suffix(".erp"), rows)) as made:
        made.agent.start()
        made.wait("the first full read", rows, made.loaded)
        differential(made, rows)
        return Memory(f"one transaction of {rows:,} rows".replace(",", " "), made.agent.used().peak, made.cloud.used().peak)


def memory_of_large_rows(folder: Path, rows: int) -> Memory:
    """Rows of 1 MiB each."""
    erp = data.create(folder.with_suffix(".erp"), 0)
    rnd = random.Random(1)
    with closing(sqlite3.connect(erp)) as db, db:
        db.execute("CREATE TABLE SCAN(ID INTEGER PRIMARY KEY, CONTENT BLOB)")
        db.executemany("INSERT INTO SCAN VALUES (?, ?)", ((i, rnd.randbytes((1 << 20) - 64)) for i in range(rows)))
    with installation(folder, erp, ("SCAN",)) as made:
        made.agent.start()
        made.wait("the first full read", rows * 1000, lambda: made.loaded("scan"))
        return Memory(f"full, {rows} rows of 1 MiB", made.agent.used().peak, made.cloud.used().peak)


class Latency(NamedTuple):
    """Seconds from the commit in the ERP to the commit in the cloud."""

    samples: int
    p50: float
    p95: float
    p99: float


def latency(folder: Path, samples: int) -> Latency:
    """Single changes at random moments, polled once a second."""
    taken: list[float] = []
    rnd = random.Random(2026)
    with installation(folder, data.create(folder.with_suffix(".erp"), 1_000), settings='poll = "1s"') as made:
        made.agent.start()
        made.wait("the first full read", 1_000, made.loaded)
        with closing(sqlite3.connect(made.erp, timeout=60)) as db:
            for number in range(samples):
                time.sleep(rnd.uniform(0.0, 1.0))
                goal = made.cursor() + 1
                with db:
                    db.execute(f"UPDATE {data.TABLE} SET RATE = ? WHERE ID = ?", (number / 4, 1 + number % 1_000))
                began = time.monotonic()
                while made.cursor() < goal:
                    time.sleep(0.002)
                taken.append(time.monotonic() - began)
    taken.sort()
    p50, p95, p99 = (taken[min(len(taken) - 1, int(len(taken) * share))] for share in (0.50, 0.95, 0.99))
    return Latency(samples, p50, p95, p99)


class Idle(NamedTuple):
    """Per minute."""

    tables: int
    agent: float  # CPU seconds
    cloud: float
    up: int  # bytes on the wire, TLS included
    down: int


def idle(folder: Path, tables: int, seconds: float) -> Idle:
    """Nothing happens in the ERP; polled once a second."""
    erp = data.create(folder.with_suffix(".erp"), 0)
    names = [f"T{n:03}" for n in range(tables)]
    with closing(sqlite3.connect(erp)) as db, db:
        for name in names:
            db.execute(f"CREATE TABLE {name}(ID INTEGER PRIMARY KEY, NAME TEXT)")
            db.execute(f"INSERT INTO {name} VALUES (1, 'a'), (2, 'b')")
    ports = free_port(), free_port()
    with Counter(*ports) as counter, installation(folder, erp, names, settings='poll = "1s"', ports=ports) as made:
        made.agent.start()
        made.wait("the first full reads", 100_000, lambda: all(made.loaded(name.lower()) for name in names))
        time.sleep(5)
        before, bytes_before = (made.agent.used(), made.cloud.used()), (counter.up, counter.down)
        time.sleep(seconds)
        after, share = (made.agent.used(), made.cloud.used()), 60 / seconds
        return Idle(
            tables,
            (after[0].cpu - before[0].cpu) * share,
            (after[1].cpu - before[1].cpu) * share,
            int((counter.up - bytes_before[0]) * share),
            int((counter.down - bytes_before[1]) * share),
        )


class Counter:
    """Stands between agent and cloud and counts bytes; threads of this process."""

    def __init__(self, port: int, target: int) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._target = target
        self.up = self.down = 0
        self._ends: list[socket.socket] = [self._server]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        for one in self._accepted():
            other = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [one, other]
            threading.Thread(target=self._pump, args=(one, other, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(other, one, False), daemon=True).start()

    def _accepted(self) -> Iterator[socket.socket]:
        while True:
            try:
                yield self._server.accept()[0]
            except OSError:
                return  # closed

    def _pump(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                if upwards:
                    self.up += len(piece)
                else:
                    self.down += len(piece)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
