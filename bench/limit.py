"""shell: the physical limit: the same rows through bare libraries in two processes, without any guarantee or check.

SQLite fetchmany, MessagePack columns, zstd, one TLS socket, decode, executemany into SQLite: no journal, no acknowledgement, no
types, no identity of rows, no position, commits without fsync.
"""

from __future__ import annotations

import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import zstandard

from bench import data
from bench.installation import certificate
from bench.processes import ROOT
from bench.report import Measured

CHUNK = 2_000  # rows
COMMIT = 20_000  # rows
LENGTH = struct.Struct("!I")


def bare_loop(folder: Path, rows: int) -> Measured:
    """From the first row read to the last commit."""
    folder.mkdir()
    erp = data.create(folder / "erp.db", rows)
    certificate(folder)
    command = [sys.executable, "-m", "bench.limit", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as receiver:
        if receiver.stdout is None:
            raise RuntimeError("no pipe")
        try:
            port = int(receiver.stdout.readline())
            wall, cpu = time.perf_counter(), time.process_time()
            _send(erp, folder, port)
            taken = time.perf_counter() - wall, time.process_time() - cpu
            return Measured("bare loop", rows, taken[0], taken[1] + float(receiver.stdout.readline()))
        finally:
            receiver.terminate()


def _send(erp: Path, folder: Path, port: int) -> None:
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    encoder, compressor = msgspec.msgpack.Encoder(), zstandard.ZstdCompressor(level=1)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as link,
        closing(sqlite3.connect(erp)) as db,
    ):
        cursor = db.execute(f"SELECT * FROM {data.TABLE} ORDER BY ID")
        while rows := cursor.fetchmany(CHUNK):
            body = compressor.compress(encoder.encode(list(zip(*rows, strict=True))))
            link.sendall(LENGTH.pack(len(body)) + body)
        link.sendall(LENGTH.pack(0))
        link.recv(1)  # everything is committed


def _receive(folder: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with closing(sqlite3.connect(folder / "copy.db")) as db, socket.create_server(("127.0.0.1", 0)) as server:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(data.DDL)
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        with context.wrap_socket(server.accept()[0], server_side=True) as link, link.makefile("rb") as stream:
            before = time.process_time()
            _store(db, stream)
            link.sendall(b"!")
            sys.stdout.write(f"{time.process_time() - before}\n")
            sys.stdout.flush()
            link.recv(1)


def _store(db: sqlite3.Connection, stream: object) -> None:
    decoder, decompressor = msgspec.msgpack.Decoder(), zstandard.ZstdDecompressor()
    insert = f"INSERT OR REPLACE INTO {data.TABLE} VALUES ({','.join('?' * data.COLUMNS)})"
    read = stream.read  # type: ignore[attr-defined]
    pending = 0
    while length := LENGTH.unpack(read(LENGTH.size))[0]:
        columns = decoder.decode(decompressor.decompress(read(length)))
        db.executemany(insert, zip(*columns, strict=True))
        pending += len(columns[0])
        if pending >= COMMIT:
            db.commit()
            pending = 0
    db.commit()


if __name__ == "__main__":
    _receive(Path(sys.argv[1]))
