"""A copy as the cloud should have it, made without the product: for tests of the comparer and of what uses it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from cdc.model import Dataset


def ideal_copy(erp: Path, copy: Path, datasets: Iterable[Dataset]) -> None:
    """Tables with the datasets' names instead of views; only for values that are canonical but for decimals and guids."""
    with closing(sqlite3.connect(copy)) as database:
        database.execute("ATTACH ? AS erp", (str(erp),))
        database.execute("CREATE TABLE _withheld (dataset, key BLOB, code, column_name, detail, since, side)")
        for dataset in datasets:
            columns = database.execute("SELECT name, type FROM pragma_table_info(?, 'erp')", (dataset.table,)).fetchall()
            read = ", ".join(f'{_canonical(name, type_)} AS "{name}"' for name, type_ in columns if name not in dataset.exclude)
            where = f" WHERE {dataset.filter}" if dataset.filter else ""
            database.execute(f'CREATE TABLE "{dataset.name}" AS SELECT {read} FROM erp."{dataset.table}"{where}')
        database.commit()


def _canonical(name: str, declared: str) -> str:
    scale = re.search(r"DECIMAL\(\d+,\s*(\d+)\)", declared)
    if scale:
        return f"""CASE WHEN "{name}" IS NOT NULL THEN printf('%.{scale[1]}f', "{name}") END"""
    return f'lower("{name}")' if declared == "GUID" else f'"{name}"'
