"""Statements of Microsoft's documentation with the results it states, sent through its own driver.

With CDC_TEST_SQLSERVER the same rows run on a real server: a row that fails there is wrong here.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from tests.support.sqlserver import Server

LEARN = "https://learn.microsoft.com/sql/"
CHANGETABLE = LEARN + "relational-databases/system-functions/changetable-transact-sql"
CONTEXT = LEARN + "relational-databases/system-functions/with-change-tracking-context-transact-sql"
MASK = LEARN + "relational-databases/system-functions/change-tracking-is-column-in-mask-transact-sql"
MIN_VALID = LEARN + "relational-databases/system-functions/change-tracking-min-valid-version-transact-sql"
CURRENT = LEARN + "relational-databases/system-functions/change-tracking-current-version-transact-sql"
MANAGE = LEARN + "relational-databases/track-changes/manage-change-tracking-sql-server"
ERRORS = LEARN + "relational-databases/errors-events/database-engine-events-and-errors"
TRUNCATE = LEARN + "t-sql/statements/truncate-table-transact-sql"
TRAN = LEARN + "t-sql/language-elements/transactions-transact-sql"
ISOLATION = LEARN + "t-sql/statements/set-transaction-isolation-level-transact-sql"
COLLATION = LEARN + "t-sql/statements/windows-collation-name-transact-sql"
CATALOGUE = LEARN + "relational-databases/system-catalog-views/catalog-views-transact-sql"
ALTER = LEARN + "t-sql/statements/alter-table-transact-sql"

ON = "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)"
TABLE = "CREATE TABLE dbo.t (id int NOT NULL CONSTRAINT PK_t PRIMARY KEY, a nvarchar(20) NULL, b int NULL, c int NULL)"
TRACKED = (ON, TABLE, "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON)")
ROW = "INSERT INTO dbo.t (id, a, b) VALUES (1, N'x', 1)"
NET = "SELECT SYS_CHANGE_OPERATION, SYS_CHANGE_VERSION, id FROM CHANGETABLE(CHANGES dbo.t, {}) AS ct ORDER BY id"

REFERRING = "CREATE TABLE dbo.u (id int NOT NULL PRIMARY KEY, t int REFERENCES dbo.t (id))"
FOLDING = "CREATE TABLE dbo.k (k nvarchar(9) COLLATE Latin1_General_100_CI_AS NOT NULL PRIMARY KEY)"
IN_MASK = (
    "SELECT CHANGE_TRACKING_IS_COLUMN_IN_MASK(COLUMNPROPERTY(OBJECT_ID(N'dbo.t'), 'b', 'ColumnId'), SYS_CHANGE_COLUMNS), "
    "CHANGE_TRACKING_IS_COLUMN_IN_MASK(COLUMNPROPERTY(OBJECT_ID(N'dbo.t'), 'a', 'ColumnId'), SYS_CHANGE_COLUMNS) "
    "FROM CHANGETABLE(CHANGES dbo.t, 1) AS ct"
)
VALIDITY = (
    "SELECT CHANGE_TRACKING_CURRENT_VERSION(), CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'dbo.t')), "
    "(SELECT COUNT(*) FROM CHANGETABLE(CHANGES dbo.t, 0) AS ct)"
)
COLUMNS = (
    "SELECT c.name, TYPE_NAME(c.user_type_id), c.max_length, c.is_nullable FROM sys.columns AS c "
    "WHERE c.object_id = OBJECT_ID(N'dbo.t') ORDER BY c.column_id"
)
KEYS = (
    "SELECT k.name, i.type_desc, i.is_unique FROM sys.key_constraints AS k INNER JOIN sys.indexes AS i "
    "ON i.object_id = k.parent_object_id AND i.index_id = k.unique_index_id"
)


class Case(NamedTuple):
    """`expected`: the rows of the last batch, or the number of its error."""

    page: str
    what: str
    batches: tuple[str, ...]
    expected: Any


CASES = [
    Case(CURRENT, "no version without change tracking", ("SELECT CHANGE_TRACKING_CURRENT_VERSION()",), [(None,)]),
    Case(CURRENT, "a commit counts one", (*TRACKED, ROW, "SELECT CHANGE_TRACKING_CURRENT_VERSION()"), [(1,)]),
    Case(CHANGETABLE, "an insert", (*TRACKED, ROW, NET.format(0)), [("I", 1, 1)]),
    Case(CHANGETABLE, "updated after the baseline", (*TRACKED, ROW, "UPDATE dbo.t SET b = 2", NET.format(1)), [("U", 2, 1)]),
    Case(CHANGETABLE, "inserted and updated", (*TRACKED, ROW, "UPDATE dbo.t SET b = 2", NET.format(0)), [("I", 2, 1)]),
    Case(CHANGETABLE, "deleted and inserted again", (*TRACKED, ROW, "DELETE dbo.t", ROW, NET.format(1)), [("U", 3, 1)]),
    Case(CHANGETABLE, "NULL: all that is tracked", (*TRACKED, ROW, NET.format("NULL")), [("I", 1, 1)]),
    Case(CHANGETABLE, "nothing after the last version", (*TRACKED, ROW, NET.format(1)), []),
    Case(CHANGETABLE, "a key that moves is deleted and inserted",
         (*TRACKED, ROW, "UPDATE dbo.t SET id = 5", NET.format(1)), [("D", 2, 1), ("I", 2, 5)]),
    Case(CHANGETABLE, "the version of one row",
         (*TRACKED, ROW, "SELECT id, SYS_CHANGE_VERSION FROM CHANGETABLE(VERSION dbo.t, (id), (1)) AS v"), [(1, 1)]),
    Case(CHANGETABLE, "an untracked table", (ON, TABLE, NET.format(0)), 22105),
    Case(CONTEXT, "the context of a change",
         (*TRACKED, ROW, "DECLARE @c varbinary(128) = 0x0102; WITH CHANGE_TRACKING_CONTEXT(@c) UPDATE dbo.t SET b = 2",
          "SELECT SYS_CHANGE_CONTEXT FROM CHANGETABLE(CHANGES dbo.t, 1) AS ct"), [(b"\x01\x02",)]),
    Case(MASK, "the columns of an update",
         (*TRACKED, ROW, "UPDATE dbo.t SET b = 2",
          IN_MASK), [(True, False)]),
    Case(MIN_VALID, "of a tracked table", (*TRACKED, "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'dbo.t'))"), [(0,)]),
    Case(MIN_VALID, "of no table", (*TRACKED, "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'dbo.u'))"), [(None,)]),
    Case(MANAGE, "TRUNCATE is not tracked and begins anew",
         (*TRACKED, ROW, "TRUNCATE TABLE dbo.t",
          VALIDITY), [(1, 1, 0)]),
    Case(MANAGE, "an added column's default is not tracked",
         (*TRACKED, ROW, "ALTER TABLE dbo.t ADD d int NOT NULL CONSTRAINT df DEFAULT 7",
          "SELECT d, CHANGE_TRACKING_CURRENT_VERSION() FROM dbo.t"), [(7, 1)]),
    Case(MANAGE, "the key of a tracked table stays", (*TRACKED, "ALTER TABLE dbo.t DROP CONSTRAINT PK_t"), 3735),
    Case(ERRORS, "tracked already", (*TRACKED, "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING"), 4996),
    Case(ERRORS, "without a key", (ON, "CREATE TABLE dbo.h (id int)", "ALTER TABLE dbo.h ENABLE CHANGE_TRACKING"), 4997),
    Case(ERRORS, "not tracked", (ON, TABLE, "ALTER TABLE dbo.t DISABLE CHANGE_TRACKING"), 4998),
    Case(ERRORS, "the database is not tracked", (TABLE, "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING"), 1718),
    Case(ERRORS, "the database is tracked already", (ON, ON), 5088),
    Case(ERRORS, "tables are tracked still", (*TRACKED, "ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF"), 22115),
    Case(ERRORS, "a duplicate key", (TABLE, ROW, ROW), 2627),
    Case(ERRORS, "NULL where there must be none", (TABLE, "INSERT INTO dbo.t (id) VALUES (NULL)"), 515),
    Case(ERRORS, "no such table", ("SELECT * FROM dbo.nothing",), 208),
    Case(ERRORS, "no such column", (TABLE, "SELECT nothing FROM dbo.t"), 207),
    Case(ERRORS, "the name is taken", (TABLE, "CREATE TABLE dbo.T (id int)"), 2714),
    Case(ERRORS, "referenced by a foreign key",
         (TABLE, REFERRING, "DROP TABLE dbo.t"), 3726),
    Case(TRUNCATE, "not when it is referenced",
         (TABLE, REFERRING, "TRUNCATE TABLE dbo.t"), 4712),
    Case(TRUNCATE, "identities begin again",
         ("CREATE TABLE dbo.i (id int IDENTITY(5, 2), a int)", "INSERT INTO dbo.i (a) VALUES (1), (2)", "TRUNCATE TABLE dbo.i",
          "INSERT INTO dbo.i (a) VALUES (3)", "SELECT id, a FROM dbo.i"), [(5, 3)]),
    Case(TRAN, "a commit without a transaction", ("COMMIT TRANSACTION",), 3902),
    Case(TRAN, "a rollback without a transaction", ("ROLLBACK TRANSACTION",), 3903),
    Case(ISOLATION, "snapshot that is not allowed",
         (TABLE, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION; SELECT id FROM dbo.t"), 3952),
    Case(ISOLATION, "snapshot chosen too late",
         (TABLE, "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
          "BEGIN TRANSACTION; SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT id FROM dbo.t"), 3951),
    Case(COLLATION, "case and trailing blanks do not count",
         (FOLDING, "INSERT dbo.k VALUES (N'ab')",
          "SELECT COUNT(*) FROM dbo.k WHERE k = N'AB '"), [(1,)]),
    Case(COLLATION, "a key is unique under its collation",
         (FOLDING, "INSERT dbo.k VALUES (N'ab')",
          "INSERT dbo.k VALUES (N'Ab ')"), 2627),
    Case(CATALOGUE, "columns",
         (TABLE, COLUMNS),
         [("id", "int", 4, False), ("a", "nvarchar", 40, True), ("b", "int", 4, True), ("c", "int", 4, True)]),
    Case(CATALOGUE, "keys",
         (TABLE, KEYS), [("PK_t", "CLUSTERED", True)]),
    Case(CATALOGUE, "a snapshot state",
         ("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
          "SELECT snapshot_isolation_state_desc, is_read_committed_snapshot_on FROM sys.databases WHERE database_id = DB_ID()"),
         [("ON", False)]),
    Case(ALTER, "a column that may not be NULL needs a default", (TABLE, ROW, "ALTER TABLE dbo.t ADD d int NOT NULL"), 4901),
    Case(ALTER, "a column in use is not dropped", (TABLE, "ALTER TABLE dbo.t DROP COLUMN id"), 5074),
    Case(ALTER, "a shorter type must hold what is there",
         (TABLE, ROW, "UPDATE dbo.t SET a = N'too long'", "ALTER TABLE dbo.t ALTER COLUMN a nvarchar(3) NULL"), 2628),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_as_documented(sql_server: Server, database: str, case: Case) -> None:
    import pyodbc

    with sql_server.connected(database) as connection:
        *before, last = case.batches
        for batch in before:
            connection.execute(batch)
        if isinstance(case.expected, int):
            with pytest.raises(pyodbc.Error) as raised:
                connection.execute(last).fetchall()
            numbers = [int(number) for number in re.findall(r"\((\d+)\) \(SQL", str(raised.value))]
            assert numbers[:1] == [case.expected], raised.value
        else:
            assert [tuple(row) for row in connection.execute(last).fetchall()] == case.expected
