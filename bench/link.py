"""shell: envelopes through the product's own two ends of a link, the receiving one in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from bench.processes import ROOT
from transport.client import connect, tls_context
from transport.codec import decode_frame
from transport.frames import STREAM_PATH

T = TypeVar("T")


def send(folder: Path, envelopes: Sequence[bytes]) -> tuple[float, float]:
    """Wall and CPU seconds of both ends together, from the first envelope to the receipt of the last."""
    from bench.installation import certificate

    certificate(folder)
    command = [sys.executable, "-m", "bench.link", str(folder), str(len(envelopes))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as receiver:
        if receiver.stdout is None:
            raise RuntimeError("no pipe")
        try:
            port = int(receiver.stdout.readline())
            wall, cpu = _run(_send(port, folder, envelopes))
            return wall, cpu + float(receiver.stdout.readline())
        finally:
            receiver.terminate()


async def _send(port: int, folder: Path, envelopes: Sequence[bytes]) -> tuple[float, float]:
    link = await connect(f"https://localhost:{port}", tls_context(folder / "cert.pem"))
    wall, cpu = time.perf_counter(), time.process_time()
    for envelope in envelopes:
        await link.send(envelope)
    await link.receive()  # the last one is there
    taken = time.perf_counter() - wall, time.process_time() - cpu
    link.abort()
    return taken


async def _receive(folder: Path, count: int) -> None:
    """One connection; prints the port, then the CPU seconds that `count` envelopes took."""
    from cloud.app import server_tls
    from transport.server import accept

    over = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        link, response = await accept(request)
        cpu = 0.0
        for _ in range(count):
            data = await link.receive()
            cpu = cpu or time.process_time()
            decode_frame(data or b"")
        await link.send(b"thanks")
        sys.stdout.write(f"{time.process_time() - cpu}\n")
        over.set()
        return response

    app = web.Application()
    app.add_routes([web.get(STREAM_PATH, stream)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls(folder / "cert.pem", folder / "key.pem")).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await over.wait()
    sys.stdout.flush()
    await asyncio.sleep(0.1)
    await runner.cleanup()


def _run(main: Coroutine[None, None, T]) -> T:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


if __name__ == "__main__":
    _run(_receive(Path(sys.argv[1]), int(sys.argv[2])))
