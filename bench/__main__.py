"""shell: `python -m bench [--quick] [--rows N] [SECTION ...]`: measures the product and prints Markdown tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import conditions
from bench.end_to_end import full_and_differential, start_up
from bench.limit import bare_loop
from bench.processes import load
from bench.report import mib, number, table
from bench.stages import stages


class Sizes:
    """How much is measured."""

    def __init__(self, rows: int, *, quick: bool) -> None:
        self.rows = rows
        self.large = 200_000 if quick else 5_000_000
        self.transaction = 100_000 if quick else 2_000_000
        self.samples = 10 if quick else 120
        self.seconds = 5.0 if quick else 60.0
        self.tables = 20 if quick else 200
        self.blobs = 20 if quick else 200
        self.from_server = 20_000 if quick else 200_000
        self.tracked = (10, 50) if quick else (10, 200, 2_000)


def speed(folder: Path, sizes: Sizes) -> str:
    """Each stage alone, the bare loop, and the programs, on the same rows."""
    rows = sizes.rows
    alone = stages(folder / "stages", rows)
    slowest = min(alone, key=lambda m: m.rate)
    bare = bare_loop(folder / "limit", rows)
    lines = [[f"{m.name}, alone", number(m.rate), f"{m.micros:.2f}", f"{m.rate / slowest.rate:.0%}"] for m in alone]
    lines.append([f"{bare.name}, both ends", number(bare.rate), f"{bare.micros:.2f}", f"{bare.rate / slowest.rate:.0%}"])
    for m in full_and_differential(folder / "e2e", rows, start_up(folder / "start")):
        cpu = f"{m.agent / rows * 1e6:.2f} + {m.cloud / rows * 1e6:.2f}"
        lines.append([f"end to end, {m.name}", number(m.rate), cpu, f"{m.rate / slowest.rate:.0%}"])
    return table([f"{number(rows)} rows of 12 columns", "rows/s", "CPU µs/row", "of the slowest stage"], lines)


def memory(folder: Path, sizes: Sizes) -> str:
    """Peak memory by size of the data."""
    found = [
        conditions.memory_of_full(folder / "m1", 100_000),
        conditions.memory_of_full(folder / "m2", sizes.large),
        conditions.memory_of_transaction(folder / "m3", sizes.transaction),
        conditions.memory_of_large_rows(folder / "m4", sizes.blobs),
    ]
    return table(["peak memory, MiB", "agent", "cloud"], [[m.name, mib(m.agent), mib(m.cloud)] for m in found])


def latency(folder: Path, sizes: Sizes) -> str:
    """Commit to cloud, single changes."""
    found = conditions.latency(folder / "latency", sizes.samples)
    line = [f"{found.samples} single changes, poll 1 s", *(f"{value:.2f}" for value in found[1:])]
    return table(["commit to cloud, seconds", "p50", "p95", "p99"], [line])


def idle(folder: Path, sizes: Sizes) -> str:
    """Nothing happens."""
    found = conditions.idle(folder / "idle", sizes.tables, sizes.seconds)
    line = [f"{found.tables} tables, poll 1 s"]
    line += [f"{found.agent / 60:.2%}", f"{found.cloud / 60:.2%}", number(found.up), number(found.down)]
    return table(["idle", "agent, of a core", "cloud, of a core", "bytes up a minute", "bytes down a minute"], [line])


def sql_server(folder: Path, sizes: Sizes) -> str:
    """The source for SQL Server, against a bare loop and a client of somebody else's; and its polls."""
    try:
        from bench import sqlserver, sqlserver_data
    except ImportError as error:
        return f"SQL Server: not measured, {error}"
    folder.mkdir(exist_ok=True)
    rows = sizes.from_server
    with sqlserver_data.server(folder) as server:
        idle = [sqlserver.idle(server, tables, 20) for tables in sizes.tracked]
        database = sqlserver_data.create(server, rows)
        found = sqlserver.against_the_bare_loop(server, database, rows)
        found += sqlserver.tap(folder, server, database, rows) if (sqlserver.PEERS / "tap-mssql").exists() else []
        found.append(sqlserver.pipeline(folder / "product", server, database, rows))
    bare = {m.name.partition(":")[0]: m for m in found if m.name.endswith("bare loop")}
    lines = [
        [m.name, number(m.rate), f"{m.micros:.2f}", f"{bare[m.name.partition(':')[0]].micros / m.micros:.0%}"] for m in found
    ]
    speeds = table([f"{number(rows)} rows of 12 columns", "rows/s", "CPU µs/row", "bare loop's CPU / this"], lines)
    polls = [[number(i.tables), *(f"{value:.2f}" for value in i[1:])] for i in idle]
    heads = ["idle tables, ms", "poll", "of it CPU", "check of all", "of it CPU"]
    return f"{speeds}\n\n{table(heads, polls)}"


SECTIONS: dict[str, Callable[[Path, Sizes], str]] = {
    "speed": speed,
    "memory": memory,
    "latency": latency,
    "idle": idle,
    "sqlserver": sql_server,
}


def main() -> int:
    """Runs the sections asked for."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures the product on this machine.")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--rows", type=int, default=0, help="rows of the speed section (500000, quick: 100000)")
    parser.add_argument("section", nargs="*", help=", ".join(SECTIONS))
    options = parser.parse_args()
    unknown = set(options.section) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    sizes = Sizes(options.rows or (100_000 if options.quick else 500_000), quick=options.quick)
    for name in options.section or SECTIONS:
        with tempfile.TemporaryDirectory(prefix="cdc-bench-") as folder:
            before = load()
            sys.stdout.write(f"\n{SECTIONS[name](Path(folder), sizes)}\n(load before: {before:.1f})\n")
            sys.stdout.flush()
    return 0


raise SystemExit(main())
