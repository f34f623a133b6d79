"""adapter: the views of the server, its databases, principals, sessions, and of change tracking.

https://learn.microsoft.com/sql/relational-databases/system-catalog-views/databases-and-files-catalog-views-transact-sql
https://learn.microsoft.com/sql/relational-databases/system-catalog-views/change-tracking-catalog-views-sys-change-tracking-tables
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.standin.engine import permissions
from tests.standin.engine.database import SYSTEM_DATABASES, Database
from tests.standin.engine.ddl_catalogue import stamp
from tests.standin.engine.model import State
from tests.standin.engine.system import Row, View, catalogue_of, literal, of_rows, of_sql, visible
from tests.standin.engine.values import guid_bytes, to_storage
from tests.standin.ports import SqlError, SqlType

GUID = SqlType("uniqueidentifier")
DURABILITY = {"DISABLED": 0, "ALLOWED": 1, "FORCED": 2}
RECOVERY = {"FULL": 1, "BULK_LOGGED": 2, "SIMPLE": 3}
UNITS = {"MINUTES": 1, "HOURS": 2, "DAYS": 3}
SECONDS = "YYYY-MM-DD HH24:MI:SS.MS"


def _databases(state: State) -> Iterator[Row]:
    """Of others, one sees master, tempdb and the own unless the login may VIEW ANY DATABASE (public may)."""
    for database in state.database.engine.databases.values():
        options = database.options
        yield {
            "name": database.name,
            "database_id": database.database_id,
            "create_date": stamp(database.created),
            "compatibility_level": options.compatibility,
            "collation_name": database.collation,
            "user_access": 1 if options.single_user else 0,
            "user_access_desc": "SINGLE_USER" if options.single_user else "MULTI_USER",
            "is_read_only": options.read_only,
            "snapshot_isolation_state": int(options.snapshot),
            "snapshot_isolation_state_desc": "ON" if options.snapshot else "OFF",
            "is_read_committed_snapshot_on": options.read_committed_snapshot,
            "recovery_model": RECOVERY[options.recovery],
            "recovery_model_desc": options.recovery,
            "delayed_durability": DURABILITY[options.delayed_durability],
            "delayed_durability_desc": options.delayed_durability,
        }


def _tracking_databases(state: State) -> Iterator[Row]:
    for database in state.database.engine.databases.values():
        tracking = database.options.tracking
        if tracking.on:
            yield {
                "database_id": database.database_id,
                "is_auto_cleanup_on": tracking.auto_cleanup,
                "retention_period": tracking.retention,
                "retention_period_units": UNITS[tracking.units],
                "retention_period_units_desc": tracking.units,
            }


def _tracking_tables(state: State) -> str:
    """Those the user sees; the versions are transactional."""
    rows = [(t.object_id, t.columns_updated) for t in visible(state) if t.tracked]
    listed = ", ".join(f"({number}, {'true' if updated else 'false'})" for number, updated in rows) or "(NULL::int4, false)"
    return (
        "SELECT t.object_id AS k1, v.updated AS k2, t.min_valid_version AS k3, t.begin_version AS k4, "
        f"nullif(t.cleanup_version, 0) AS k5 FROM standin.tracked t JOIN (VALUES {listed}) AS v (id, updated) "
        "ON v.id = t.object_id"
    )


def _commit_table(state: State) -> str:
    if not permissions.covers(state, "VIEW DATABASE STATE", ("DATABASE:",)) and not permissions.on_server(
        state, "VIEW SERVER STATE"
    ):
        raise _state_denied(state)
    return (
        "SELECT commit_ts AS k1, xdes_id AS k2, commit_ts * 16 AS k3, commit_ts AS k4, "
        f"to_char(commit_time AT TIME ZONE 'UTC', '{SECONDS}') AS k5 FROM standin.commits"
    )


def _state_denied(state: State) -> SqlError:
    return SqlError(262, f"VIEW DATABASE STATE permission denied in database '{state.database.name}'.", severity=14)


def _recovery(state: State) -> Iterator[Row]:
    """https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-recovery-status-transact-sql"""
    everything = permissions.on_server(state, "VIEW SERVER STATE") or permissions.on_server(state, "ALTER ANY DATABASE")
    for database in state.database.engine.databases.values():
        if everything or (database is state.database and permissions.is_owner(state)):
            yield _guids(database)


def _guids(database: Database) -> dict[str, Any]:
    guids = database.guids
    first = guids.first_fork
    return {
        "database_id": database.database_id,
        "database_guid": to_storage(GUID, guids.database),
        "family_guid": to_storage(GUID, guids.family),
        "last_log_backup_lsn": None,
        "recovery_fork_guid": to_storage(GUID, guids.fork),
        "first_recovery_fork_guid": to_storage(GUID, first) if first else None,
    }


def _principals(state: State) -> Iterator[Row]:
    for principal in catalogue_of(state).principals.values():
        login = state.database.engine.logins.get(principal.login.casefold())
        yield {
            "name": principal.name,
            "principal_id": principal.principal_id,
            "type": "S",
            "type_desc": "SQL_USER",
            "default_schema_name": "dbo" if principal.principal_id not in (3, 4) else None,
            "sid": _sid(login.principal_id) if login else None,
            "authentication_type": 1 if login else 0,
            "authentication_type_desc": "INSTANCE" if login else "NONE",
        }
    yield {"name": "public", "principal_id": 0, "type": "R", "type_desc": "DATABASE_ROLE", "is_fixed_role": False}
    for place, role in enumerate(permissions.ROLES):
        yield {"name": role, "principal_id": 16384 + place, "type": "R", "type_desc": "DATABASE_ROLE", "is_fixed_role": True}


def _sid(number: int) -> bytes:
    return b"\x01" if number == 1 else guid_bytes(f"{number:08x}-0000-0000-0000-000000000000")


def _members(state: State) -> Iterator[Row]:
    numbers = {role: 16384 + place for place, role in enumerate(permissions.ROLES)}
    for principal in catalogue_of(state).principals.values():
        owner = {"db_owner"} if principal.principal_id == 1 else set()
        for role in sorted(principal.roles | owner):
            yield {"role_principal_id": numbers[role], "member_principal_id": principal.principal_id}


def _server_principals(state: State) -> Iterator[Row]:
    everything = permissions.on_server(state, "ALTER ANY LOGIN")
    for login in state.database.engine.logins.values():
        if everything or login.principal_id == 1 or login is permissions.login_of(state):
            yield {
                "name": login.name,
                "principal_id": login.principal_id,
                "sid": _sid(login.principal_id),
                "type": "S",
                "type_desc": "SQL_LOGIN",
                "default_database_name": login.database,
            }


def _sessions(state: State) -> Iterator[Row]:
    """All with VIEW SERVER STATE, else the own one."""
    for other in state.database.engine.sessions.values():
        if other is state or permissions.on_server(state, "VIEW SERVER STATE"):
            yield {
                "session_id": other.spid,
                "login_time": stamp(state.database.engine.started),
                "host_name": other.login.host or None,
                "program_name": other.login.application or None,
                "login_name": other.login.user,
                "original_login_name": other.login.user,
                "status": "running" if other is state else "sleeping",
                "transaction_isolation_level": _ISOLATION[other.isolation],
                "lock_timeout": other.lock_timeout,
                "deadlock_priority": other.deadlock_priority,
                "open_transaction_count": other.trancount,
                "database_id": other.database.database_id,
            }


def _system_views(_: State) -> Iterator[Row]:
    """What there is here; the real server has some hundreds more."""
    from tests.standin.engine import system_information, system_objects

    names = [*system_objects.VIEWS, *VIEWS, *system_information.VIEWS]
    for place, (schema, _, name) in enumerate(name.partition(".") for name in names):
        number = 4 if schema == "sys" else 3
        yield {"name": name if number == 4 else name.upper(), "object_id": -100 - place, "schema_id": number}


_ISOLATION = {"READ UNCOMMITTED": 1, "READ COMMITTED": 2, "REPEATABLE READ": 3, "SERIALIZABLE": 4, "SNAPSHOT": 5}


def _system(name: str) -> bool:
    return name in SYSTEM_DATABASES


VIEWS: dict[str, View] = {
    "sys.databases": of_rows(
        "name:sysname database_id:int source_database_id:int? owner_sid:varbinary(85)? create_date:datetime "
        "compatibility_level:tinyint collation_name:sysname? user_access:tinyint? "
        "user_access_desc:nvarchar(60)? is_read_only:bit? "
        "is_auto_close_on:bit=0 is_auto_shrink_on:bit=0 state:tinyint=0 state_desc:nvarchar(60)=ONLINE is_in_standby:bit=0 "
        "is_cleanly_shutdown:bit=0 snapshot_isolation_state:tinyint? snapshot_isolation_state_desc:nvarchar(60)? "
        "is_read_committed_snapshot_on:bit? recovery_model:tinyint? recovery_model_desc:nvarchar(60)? is_cdc_enabled:bit=0 "
        "is_encrypted:bit=0 replica_id:uniqueidentifier? group_database_id:uniqueidentifier? delayed_durability:int? "
        "delayed_durability_desc:nvarchar(60)? containment:tinyint=0 containment_desc:nvarchar(60)=NONE",
        _databases,
    ),
    "sys.change_tracking_databases": of_rows(
        "database_id:int is_auto_cleanup_on:tinyint? retention_period:int? retention_period_units:tinyint? "
        "retention_period_units_desc:nvarchar(60)? max_cleanup_version:bigint?",
        lambda state: ({**row, "is_auto_cleanup_on": int(row["is_auto_cleanup_on"])} for row in _tracking_databases(state)),
    ),
    "sys.change_tracking_tables": of_sql(
        "object_id:int is_track_columns_updated_on:bit min_valid_version:bigint? begin_version:bigint? cleanup_version:bigint?",
        _tracking_tables,
    ),
    "sys.dm_tran_commit_table": of_sql(
        "commit_ts:bigint xdes_id:bigint commit_lbn:bigint commit_csn:bigint commit_time:datetime", _commit_table
    ),
    "sys.database_recovery_status": of_rows(
        "database_id:int database_guid:uniqueidentifier? family_guid:uniqueidentifier? last_log_backup_lsn:decimal(25,0)? "
        "recovery_fork_guid:uniqueidentifier? first_recovery_fork_guid:uniqueidentifier? fork_point_lsn:decimal(25,0)?",
        _recovery,
    ),
    "sys.database_principals": of_rows(
        "name:sysname principal_id:int type:char(1) type_desc:nvarchar(60)? default_schema_name:sysname? "
        "owning_principal_id:int? sid:varbinary(85)? is_fixed_role:bit=0 authentication_type:int=0 "
        "authentication_type_desc:nvarchar(60)=NONE",
        _principals,
    ),
    "sys.database_role_members": of_rows("role_principal_id:int member_principal_id:int", _members),
    "sys.server_principals": of_rows(
        "name:sysname principal_id:int sid:varbinary(85)? type:char(1) type_desc:nvarchar(60)? is_disabled:bit=0 "
        "default_database_name:sysname? default_language_name:sysname=us_english",
        _server_principals,
    ),
    "sys.dm_exec_sessions": of_rows(
        "session_id:smallint login_time:datetime host_name:nvarchar(128)? program_name:nvarchar(128)? login_name:nvarchar(128) "
        "original_login_name:nvarchar(128) status:nvarchar(30) transaction_isolation_level:smallint lock_timeout:int "
        "deadlock_priority:int is_user_process:bit=1 open_transaction_count:int database_id:smallint",
        _sessions,
    ),
    "sys.system_views": of_rows(
        "name:sysname object_id:int schema_id:int type:char(2)=V type_desc:nvarchar(60)=VIEW is_ms_shipped:bit=1", _system_views
    ),
}

__all__ = ["VIEWS", "literal"]
