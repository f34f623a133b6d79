"""shell: `python -m tests.standin`: a SQL Server stand-in as a process of its own.

Prints one JSON line when clients may come: {"port", "control", "certificate", "password"}. Ends, with everything that it
started, when its standard input ends, at SIGTERM and at SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from tests.standin.ports import Session
from tests.standin.server import Server
from tests.standin.wire.connection import Face, Identity
from tests.standin.wire.tls import make_context


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin")
    parser.add_argument("--port", type=int, default=0, help="of TDS; 0: any")
    parser.add_argument("--control-port", type=int, default=0, help="of the control channel; 0: any")
    parser.add_argument("--folder", type=Path, required=True, help="where the data lies; made when it is not there")
    parser.add_argument("--certificate", type=Path, help="where the certificate is left (default: in the folder)")
    parser.add_argument("--password", default="", help="of the login sa (default: the engine's)")
    parser.add_argument("--log", default="WARNING", help="what is written to standard error")
    return parser.parse_args(words)


@asynccontextmanager
async def running(options: argparse.Namespace) -> AsyncIterator[dict[str, object]]:
    """Everything, until the block ends; gives what the first line says."""
    from tests.standin.engine.database import SA_PASSWORD, Engine

    options.folder.mkdir(parents=True, exist_ok=True)
    certificate = (options.certificate or options.folder / "certificate.pem").absolute()
    password = options.password or SA_PASSWORD
    async with AsyncExitStack() as stack:
        engine = await Engine.start(options.folder, password)
        stack.push_async_callback(engine.stop)
        control = await engine.control.serve(options.control_port)

        def identity() -> Identity:
            return Identity(engine.emulated.server_name, engine.emulated.product_version)

        def collation(session: Session) -> str:
            state = engine.sessions.get(session.spid)  # none: it was killed
            return state.database.collation if state is not None else ""

        face = Face(identity, collation)
        server = Server(engine, engine.control, make_context(certificate), face, engine.control.cutters.__setitem__)
        stack.push_async_callback(server.stop)
        port = await server.start(options.port)
        yield {"port": port, "control": control, "certificate": str(certificate), "password": password}


async def serve(options: argparse.Namespace) -> None:
    """Until it is told to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with running(options) as said:
        print(json.dumps(said), flush=True)
        with suppress(PermissionError):  # a file or /dev/null never ends: signals only
            loop.add_reader(sys.stdin, _at_end_of_input, ended)
        await ended.wait()
        loop.remove_reader(sys.stdin)


def _at_end_of_input(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        ended.set()


def main() -> None:
    """The program."""
    options = arguments()
    logging.basicConfig(level=options.log.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
