"""The whole product as real processes over a SQL Server database, and the comparer for it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cdc.model import Dataset
from tests.support.comparing import Comparison, declarations
from tests.support.product import Product
from tests.support.sqlserver import PASSWORD, Server, driver_file

AGENTS_PASSWORD = "Agent-Password-1!"
SCRIPT = Path(__file__).resolve().with_name("sqlserver_compare.py")


def source_table(server: Server, database: str, **changes: str) -> str:
    """`source = { kind = "sqlserver", ... }`; `changes`: TOML values."""
    values = {
        "kind": '"sqlserver"',
        "server": f"'{server.place}'",
        "database": f'"{database}"',
        "driver": f"'{driver_file()}'",
        "user": f"'{server.user}'",
        "password": f'{{ env = "{PASSWORD}" }}',
        **changes,
    }
    if server.options.get("TrustServerCertificate", "no").lower() in {"yes", "true"}:
        values["trust_server_certificate"] = "true"
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"


class SqlServerProduct(Product):
    """A cloud and an agent whose ERP is a SQL Server database."""

    def __init__(
        self, folder: Path, server: Server, database: str, datasets: Sequence[Dataset], *, source: str = "", **settings: str
    ) -> None:
        self.server = server
        self.database = database
        self._login = ""
        super().__init__(folder, folder, datasets, source=source or source_table(server, database), **settings)

    def as_an_agent(self) -> str:
        """After `set_up`: the agent logs in as somebody with no more rights than it needs. Returns its login's name."""
        login = self._login = f"agent_{self.database}"
        schemas = dict.fromkeys(d.table.partition(".")[0] for d in self.datasets)
        self.execute(
            f"CREATE LOGIN [{login}] WITH PASSWORD = '{AGENTS_PASSWORD}'",
            f"CREATE USER [{login}] FOR LOGIN [{login}]",
            *(f"GRANT SELECT, VIEW CHANGE TRACKING ON SCHEMA::[{schema}] TO [{login}]" for schema in schemas),
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::[erp_cdc] TO [{login}]",
        )
        file = self.folder / "password"
        file.write_text(AGENTS_PASSWORD, encoding="utf-8")
        file.chmod(0o600)
        self.source = source_table(self.server, self.database, user=f'"{login}"', password='{ file = "password" }')
        self.write_agent_config()
        return login

    def close(self) -> None:
        """Both programs end; the agent's login goes."""
        super().close()
        if self._login:
            with self.server.connected() as connection:
                for change in ("SINGLE_USER WITH ROLLBACK IMMEDIATE", "MULTI_USER"):  # ends sessions that are left
                    connection.execute(f"ALTER DATABASE [{self.database}] SET {change}")
                connection.execute(f"DROP LOGIN [{self._login}]")

    def execute(self, *statements: str) -> None:
        """As the ERP's owner, each in a transaction of its own."""
        with self.server.connected(self.database) as connection:
            for statement in statements:
                connection.execute(statement)

    def compare(self, copy: Path | None = None, datasets: Iterable[Dataset] | None = None) -> Comparison:
        """Holds both sides against each other, value by value, in a process of its own."""
        (self.folder / "erp.odbc").write_text(self.server.string(self.database), encoding="utf-8")
        listed = self.folder / "datasets.json"
        listed.write_text(json.dumps(declarations(self.datasets if datasets is None else datasets)), encoding="utf-8")
        words = [sys.executable, str(SCRIPT), str(copy or self.copy), "--erp", str(self.folder / "erp.odbc")]
        words += ["--datasets", str(listed), "--json"]
        done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300)
        return Comparison(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)

    def equal(self, datasets: Iterable[Dataset] | None = None, patience: float = 120.0) -> Comparison:
        """The cloud is caught up, and both sides are equal."""
        self.wait_until_caught_up(patience)
        result = self.compare(datasets=datasets)
        assert result.equal, (result.exit_code, result.differences[:20], result.errors)
        return result


@contextlib.contextmanager
def sqlserver_product(
    folder: Path, server: Server, database: str, datasets: Sequence[Dataset], **settings: str
) -> Iterator[SqlServerProduct]:
    """Set up and, at the end, killed."""
    made = SqlServerProduct(folder, server, database, datasets, **settings)
    try:
        made.set_up()
        yield made
    finally:
        made.close()
