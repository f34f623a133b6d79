"""The embedded ERP database: SQLite with triggers that keep the contract of `cdc.sources.base`."""

from cdc.sources.sqlite.source import SqliteSource

__all__ = ["SqliteSource"]
