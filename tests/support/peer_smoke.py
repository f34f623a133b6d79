"""A smoke test in a process of another environment: `python peer_smoke.py pymssql|mssql_python`, connection as JSON on stdin.

Knows nothing of the project. Prints what it saw as JSON: values of every type, rows after commit and rollback, an error.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

TYPES = {
    "bit": "CAST(1 AS bit)",
    "tinyint": "CAST(255 AS tinyint)",
    "smallint": "CAST(-32768 AS smallint)",
    "int": "CAST(-2147483648 AS int)",
    "bigint": "CAST(9223372036854775807 AS bigint)",
    "decimal": "CAST(12345678901234567890.1234567890 AS decimal(30,10))",
    "money": "CAST(-922337203685477.5808 AS money)",
    "smallmoney": "CAST(214748.3647 AS smallmoney)",
    "float": "CAST(2.5E-300 AS float)",
    "real": "CAST(0.25 AS real)",
    "date": "CAST('2026-02-28' AS date)",
    "time": "CAST('23:59:58.1234567' AS time(7))",
    "datetime": "CAST('2026-02-28T10:11:12.997' AS datetime)",
    "datetime2": "CAST('2026-02-28T10:11:12.1234560' AS datetime2(7))",
    "smalldatetime": "CAST('2026-02-28T10:11:00' AS smalldatetime)",
    "char": "CAST('abc' AS char(5))",
    "varchar": "CAST('caf' AS varchar(10))",
    "nchar": "CAST(N'żó' AS nchar(4))",
    "nvarchar": "CAST(N'zażółć 🚲' AS nvarchar(20))",
    "nvarchar(max)": "REPLICATE(CAST(N'ł' AS nvarchar(max)), 9000)",
    "varchar(max)": "REPLICATE(CAST('x' AS varchar(max)), 9000)",
    "binary": "CAST(0x0102 AS binary(4))",
    "varbinary": "CAST(0x00FF AS varbinary(8))",
    "varbinary(max)": "CAST(0xDEADBEEF AS varbinary(max))",
    "uniqueidentifier": "CAST('00112233-4455-6677-8899-AABBCCDDEEFF' AS uniqueidentifier)",
    "xml": "CAST(N'<a>ł</a>' AS xml)",
    "null": "CAST(NULL AS nvarchar(10))",
}


def connected(driver: str, to: dict[str, Any]) -> Any:
    if driver == "pymssql":
        import pymssql

        names = {"server": to["host"], "port": str(to["port"]), "user": to["user"], "password": to["password"]}
        return pymssql.connect(**names, database=to["database"], tds_version="7.4", encryption="require")
    import mssql_python

    keywords = (
        f"Server={to['host']},{to['port']};Database={to['database']};UID={to['user']};PWD={{{to['password']}}};Encrypt=yes;"
    )
    return mssql_python.connect(keywords, autocommit=False)


def shown(value: Any) -> Any:
    """As JSON can say it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def values(cursor: Any) -> dict[str, Any]:
    found = {}
    for name, expression in TYPES.items():
        cursor.execute(f"SELECT {expression} AS v")
        found[name] = shown(cursor.fetchone()[0])
    return found


def parameters(cursor: Any, mark: str) -> list[Any]:
    cursor.execute("CREATE TABLE dbo.smoke (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, hours decimal(9,2) NULL)")
    insert = f"INSERT INTO dbo.smoke (id, name, hours) VALUES ({mark}, {mark}, {mark})"
    cursor.execute(insert, (1, "Łódź 🚲", 12.25))
    cursor.execute(insert, (2, None, None))
    cursor.execute(f"SELECT id, name, hours FROM dbo.smoke WHERE id >= {mark} ORDER BY id", (1,))
    return [[shown(cell) for cell in row] for row in cursor.fetchall()]


def count(cursor: Any) -> int:
    cursor.execute("SELECT COUNT(*) FROM dbo.smoke")
    return int(cursor.fetchone()[0])


def run(driver: str) -> dict[str, Any]:
    connection = connected(driver, json.load(sys.stdin))
    mark = "%s" if driver == "pymssql" else "?"
    cursor = connection.cursor()
    result: dict[str, Any] = {"values": values(cursor), "rows": parameters(cursor, mark)}
    connection.commit()
    cursor.execute("DELETE FROM dbo.smoke")
    result["inside"] = count(cursor)
    connection.rollback()
    result["after rollback"] = count(cursor)
    try:
        cursor.execute("INSERT INTO dbo.smoke (id) VALUES (1)")
    except Exception as error:  # noqa: BLE001 (each driver has its own)
        result["error"] = re.findall("2627|PRIMARY KEY", str(error))
    connection.rollback()
    connection.close()
    return result


if __name__ == "__main__":
    json.dump(run(sys.argv[1]), sys.stdout)
