"""pure: CREATE and DROP of everything but tables, databases, security, backup and restore."""

from __future__ import annotations

from collections.abc import Callable

from tests.standin.tsql.ast import (
    AlterDatabase,
    AlterRole,
    Backup,
    CreateDatabase,
    CreateLogin,
    CreateSchema,
    CreateType,
    CreateUser,
    Drop,
    Name,
    Permission,
    Restore,
    Statement,
)
from tests.standin.tsql.cursor import Cursor
from tests.standin.tsql.parser_modules import parse_procedure, parse_trigger, parse_view
from tests.standin.tsql.parser_tables import parse_alter_table, parse_create_index, parse_create_table
from tests.standin.tsql.parser_types import parse_type
from tests.standin.tsql.tokens import words

_BATCH_FIRST = ("SCHEMA", "VIEW", "TRIGGER", "PROC", "PROCEDURE", "FUNCTION")
_CREATE: dict[str, Callable[[Cursor], Statement]] = {
    "TABLE": parse_create_table,
    "VIEW": parse_view,
    "TRIGGER": parse_trigger,
    "PROC": parse_procedure,
    "PROCEDURE": parse_procedure,
}
_REFUSED_OBJECTS = words(
    """
    FUNCTION SEQUENCE SYNONYM ROLE RULE DEFAULT STATISTICS ASSEMBLY AGGREGATE FULLTEXT XML SPATIAL PARTITION CERTIFICATE
    ASYMMETRIC SYMMETRIC MASTER COLUMN CREDENTIAL ENDPOINT EVENT MESSAGE QUEUE CONTRACT ROUTE SERVICE SECURITY SERVER
    AVAILABILITY BROKER REMOTE EXTERNAL WORKLOAD RESOURCE APPLICATION SEARCH CRYPTOGRAPHIC DATABASE COLUMNSTORE PRIMARY
    SELECTIVE
    """
)


def parse_create(cursor: Cursor, first: bool) -> Statement:
    """CREATE. `first`: the statement is the batch's first. Raises SqlError 111 where it has to be."""
    start = cursor.at
    cursor.expect("CREATE")
    if cursor.peek("OR", "ALTER"):
        raise cursor.refuse("CREATE OR ALTER")
    word = cursor.key
    if word in _BATCH_FIRST and not first:
        shown = {"PROC": "CREATE/ALTER PROCEDURE", "PROCEDURE": "CREATE/ALTER PROCEDURE"}.get(word, f"CREATE {word}")
        raise cursor.raise_error(111, f"'{shown}' must be the first statement in a query batch.", start)
    if word in _CREATE:
        cursor.at += 1
        return _CREATE[word](cursor)
    if word in ("UNIQUE", "CLUSTERED", "NONCLUSTERED", "INDEX"):
        return parse_create_index(cursor)
    if word in _CREATE_NAMED:
        cursor.at += 1
        return _CREATE_NAMED[word](cursor)
    if word in _REFUSED_OBJECTS:
        raise cursor.refuse(f"CREATE {word}")
    raise cursor.error()


def _schema(cursor: Cursor) -> Statement:
    if cursor.key == "AUTHORIZATION":
        raise cursor.refuse("CREATE SCHEMA AUTHORIZATION without a name")
    name = cursor.identifier()
    owner = cursor.identifier() if cursor.accept("AUTHORIZATION") else ""
    if cursor.key in ("CREATE", "GRANT", "REVOKE", "DENY"):
        raise cursor.refuse("CREATE SCHEMA with elements")
    return CreateSchema(name, owner)


def _type(cursor: Cursor) -> Statement:
    name = cursor.name(2)
    if cursor.key in ("AS", "EXTERNAL"):
        raise cursor.refuse("a table type or CLR type")
    cursor.expect("FROM")
    base = parse_type(cursor)
    nullable = not cursor.accept("NOT", "NULL")
    if nullable:
        cursor.accept("NULL")
    return CreateType(name, base, nullable)


def _database(cursor: Cursor) -> Statement:
    name = cursor.identifier()
    if cursor.key in ("ON", "CONTAINMENT", "FOR", "WITH", "AS") or cursor.peek("LOG", "ON"):
        raise cursor.refuse(f"CREATE DATABASE with {cursor.key}")
    return CreateDatabase(name, cursor.identifier() if cursor.accept("COLLATE") else "")


def _login(cursor: Cursor) -> Statement:
    name = cursor.identifier()
    if cursor.key == "FROM":
        raise cursor.refuse("CREATE LOGIN FROM")
    cursor.expect("WITH", "PASSWORD", "=")
    password = cursor.string()
    if cursor.key in ("HASHED", "MUST_CHANGE"):
        raise cursor.refuse(f"PASSWORD {cursor.key}")
    options = []
    while cursor.accept(","):
        option = cursor.expect_any("DEFAULT_DATABASE", "DEFAULT_LANGUAGE", "CHECK_POLICY", "CHECK_EXPIRATION")
        cursor.expect("=")
        options.append((option, cursor.expect_any("ON", "OFF") if option.startswith("CHECK") else cursor.identifier()))
    return CreateLogin(name, password, tuple(options))


def _user(cursor: Cursor) -> Statement:
    name = cursor.identifier()
    login = name
    if cursor.accept_any("FOR", "FROM"):
        if cursor.key in ("CERTIFICATE", "ASYMMETRIC", "EXTERNAL"):
            raise cursor.refuse(f"CREATE USER FOR {cursor.key}")
        cursor.expect("LOGIN")
        login = cursor.identifier()
    elif cursor.accept("WITHOUT"):
        cursor.expect("LOGIN")
        login = ""
    schema = ""
    if cursor.accept("WITH"):
        if cursor.key != "DEFAULT_SCHEMA":
            raise cursor.refuse(f"CREATE USER WITH {cursor.tokens.texts[cursor.at]}")
        cursor.expect("DEFAULT_SCHEMA", "=")
        schema = cursor.identifier()
    return CreateUser(name, login, schema)


_CREATE_NAMED: dict[str, Callable[[Cursor], Statement]] = {
    "SCHEMA": _schema,
    "TYPE": _type,
    "DATABASE": _database,
    "LOGIN": _login,
    "USER": _user,
}


# -- DROP --------------------------------------------------------------------------------------------------------------------

_DROP = {
    "TABLE": ("table", 3),
    "SCHEMA": ("schema", 1),
    "TYPE": ("type", 2),
    "TRIGGER": ("trigger", 2),
    "VIEW": ("view", 2),
    "PROC": ("procedure", 2),
    "PROCEDURE": ("procedure", 2),
    "DATABASE": ("database", 1),
    "USER": ("user", 1),
    "LOGIN": ("login", 1),
}
_ONE_NAME = ("schema", "type", "user", "login")


def parse_drop(cursor: Cursor) -> Statement:
    """DROP."""
    cursor.expect("DROP")
    word = cursor.key
    if word == "INDEX":
        return _drop_index(cursor)
    if word not in _DROP:
        raise cursor.refuse(f"DROP {word}") if word in _REFUSED_OBJECTS else cursor.error()
    cursor.at += 1
    kind, parts = _DROP[word]
    if_exists = kind != "login" and cursor.accept("IF", "EXISTS")
    names = [cursor.name(parts)]
    while kind not in _ONE_NAME and cursor.accept(","):
        names.append(cursor.name(parts))
    if kind == "trigger" and cursor.key == "ON":
        raise cursor.refuse("a DDL trigger")
    return Drop(kind, names, if_exists)


def _drop_index(cursor: Cursor) -> Statement:
    cursor.expect("INDEX")
    if_exists = cursor.accept("IF", "EXISTS")
    name = cursor.name(3)
    if len(name.parts) > 1:
        raise cursor.refuse("DROP INDEX table.index")
    cursor.expect("ON")
    table = cursor.name()
    if cursor.key == "," or (cursor.key == "WITH" and cursor.look(1) == "("):
        raise cursor.refuse("DROP INDEX with several names or options")
    return Drop("index", [name], if_exists, table)


# -- ALTER -------------------------------------------------------------------------------------------------------------------


def parse_alter(cursor: Cursor) -> Statement:
    """ALTER TABLE, DATABASE, ROLE, SERVER ROLE."""
    cursor.expect("ALTER")
    word = cursor.key
    if cursor.accept("TABLE"):
        return parse_alter_table(cursor)
    if cursor.accept("DATABASE"):
        return _alter_database(cursor)
    if cursor.accept("ROLE"):
        return _alter_role(cursor, False)
    if cursor.accept("SERVER", "ROLE"):
        return _alter_role(cursor, True)
    others = ("VIEW", "TRIGGER", "PROC", "PROCEDURE", "SCHEMA", "USER", "LOGIN", "INDEX", "AUTHORIZATION", "SERVER")
    if word in others or word in _REFUSED_OBJECTS:
        raise cursor.refuse(f"ALTER {word}")
    raise cursor.error()


def _alter_role(cursor: Cursor, server: bool) -> Statement:
    role = cursor.identifier()
    if cursor.key == "WITH":
        raise cursor.refuse("ALTER ROLE WITH NAME")
    add = cursor.expect_any("ADD", "DROP") == "ADD"
    cursor.expect("MEMBER")
    return AlterRole(role, add, cursor.identifier(), server)


_SWITCHES = ("ALLOW_SNAPSHOT_ISOLATION", "READ_COMMITTED_SNAPSHOT")
_WORDS = ("READ_ONLY", "READ_WRITE", "SINGLE_USER", "MULTI_USER")


def _alter_database(cursor: Cursor) -> Statement:
    if cursor.peek("SCOPED"):
        raise cursor.refuse("ALTER DATABASE SCOPED")
    name = "" if cursor.accept("CURRENT") else cursor.identifier()
    if cursor.key in ("MODIFY", "ADD", "REMOVE", "COLLATE"):
        raise cursor.refuse(f"ALTER DATABASE {cursor.key}")
    cursor.expect("SET")
    option, value, settings = _database_option(cursor)
    if cursor.key == ",":
        raise cursor.refuse("several options in one ALTER DATABASE SET")
    rollback = False
    if cursor.accept("WITH"):
        if cursor.key == "NO_WAIT" or (cursor.key == "ROLLBACK" and cursor.look(1) != "IMMEDIATE"):
            raise cursor.refuse("ALTER DATABASE WITH NO_WAIT or ROLLBACK AFTER")
        cursor.expect("ROLLBACK", "IMMEDIATE")
        rollback = True
    return AlterDatabase(name, option, value, settings, rollback)


def _database_option(cursor: Cursor) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    option = cursor.key
    cursor.at += 1
    if option == "CHANGE_TRACKING":
        return _change_tracking(cursor)
    if option in _SWITCHES:
        return option, cursor.expect_any("ON", "OFF"), ()
    if option in _WORDS:
        return option, "", ()
    if option == "RECOVERY":
        return option, cursor.expect_any("FULL", "SIMPLE", "BULK_LOGGED"), ()
    if option == "DELAYED_DURABILITY":
        cursor.expect("=")
        return option, cursor.expect_any("DISABLED", "ALLOWED", "FORCED"), ()
    if option == "COMPATIBILITY_LEVEL":
        cursor.expect("=")
        return option, str(cursor.integer()), ()
    cursor.at -= 1
    if cursor.kind != "name":
        raise cursor.error()
    raise cursor.refuse(f"ALTER DATABASE SET {option}")


def _change_tracking(cursor: Cursor) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    value = ""
    if cursor.accept("="):
        value = cursor.expect_any("ON", "OFF")
    elif cursor.key != "(":
        raise cursor.error()
    settings = []
    if value != "OFF" and cursor.accept("("):
        while True:
            settings.append(_tracking_setting(cursor))
            if not cursor.accept(","):
                break
        cursor.expect(")")
    return "CHANGE_TRACKING", value, tuple(settings)


def _tracking_setting(cursor: Cursor) -> tuple[str, str]:
    if cursor.accept("AUTO_CLEANUP"):
        cursor.expect("=")
        return "AUTO_CLEANUP", cursor.expect_any("ON", "OFF")
    cursor.expect("CHANGE_RETENTION", "=")
    count = cursor.integer()
    return "CHANGE_RETENTION", f"{count} {cursor.expect_any('DAYS', 'HOURS', 'MINUTES')}"


# -- security ----------------------------------------------------------------------------------------------------------------

_SERVER_PERMISSIONS = frozenset(
    (
        "VIEW SERVER STATE",
        "VIEW SERVER PERFORMANCE STATE",
        "VIEW SERVER SECURITY STATE",
        "VIEW ANY DATABASE",
        "VIEW ANY DEFINITION",
        "CONTROL SERVER",
        "CONNECT SQL",
        "CONNECT ANY DATABASE",
        "CREATE ANY DATABASE",
        "ALTER ANY LOGIN",
        "ALTER ANY DATABASE",
        "ALTER ANY CONNECTION",
        "ALTER SERVER STATE",
    )
)


def parse_permission(cursor: Cursor) -> Statement:
    """GRANT, DENY, REVOKE."""
    action = cursor.expect_any("GRANT", "DENY", "REVOKE")
    if cursor.peek("GRANT", "OPTION", "FOR"):
        raise cursor.refuse("REVOKE GRANT OPTION FOR")
    permissions = [_permission(cursor)]
    while cursor.accept(","):
        permissions.append(_permission(cursor))
    securable, on = _securable(cursor, permissions)
    if action == "REVOKE":
        cursor.expect_any("TO", "FROM")
    else:
        cursor.expect("TO")
    principals = [_principal(cursor)]
    while cursor.accept(","):
        principals.append(_principal(cursor))
    if cursor.key in ("CASCADE", "AS") or cursor.peek("WITH", "GRANT"):
        raise cursor.refuse(f"{action} with {cursor.key}")
    return Permission(action, tuple(permissions), securable, on, tuple(principals))


def _principal(cursor: Cursor) -> str:
    return "public" if cursor.accept("PUBLIC") else cursor.identifier()


def _permission(cursor: Cursor) -> str:
    words = []
    while cursor.kind == "name" and cursor.key not in ("ON", "TO", "FROM"):
        words.append(cursor.key)
        cursor.at += 1
    if not words:
        raise cursor.error()
    if cursor.key == "(":
        raise cursor.refuse("a permission on columns")
    return " ".join(words)


def _securable(cursor: Cursor, permissions: list[str]) -> tuple[str, Name | None]:
    if not cursor.accept("ON"):
        return ("SERVER" if set(permissions) & _SERVER_PERMISSIONS else "DATABASE"), None
    if cursor.look(1) != "::":
        return "OBJECT", cursor.name()
    kind = cursor.key
    if kind not in ("OBJECT", "SCHEMA", "DATABASE"):
        raise cursor.refuse(f"a permission on {kind}")
    cursor.at += 2
    return kind, cursor.name()


# -- backup ------------------------------------------------------------------------------------------------------------------

_PLAIN_OPTIONS = ("INIT", "NOINIT", "FORMAT", "COPY_ONLY", "COMPRESSION", "NO_COMPRESSION", "CHECKSUM", "REPLACE", "RECOVERY")


def parse_backup(cursor: Cursor) -> Statement:
    """BACKUP DATABASE x TO DISK = 'f'."""
    cursor.expect("BACKUP")
    name, file, options = _media(cursor, "TO")
    return Backup(name, file, options)


def parse_restore(cursor: Cursor) -> Statement:
    """RESTORE DATABASE x FROM DISK = 'f'."""
    cursor.expect("RESTORE")
    name, file, options = _media(cursor, "FROM")
    return Restore(name, file, options)


def _media(cursor: Cursor, preposition: str) -> tuple[str, str, tuple[str, ...]]:
    if cursor.key in ("LOG", "FILELISTONLY", "HEADERONLY", "VERIFYONLY", "LABELONLY", "CERTIFICATE", "MASTER", "SERVICE"):
        raise cursor.refuse(f"backup or restore of {cursor.key}")
    cursor.expect("DATABASE")
    name = cursor.identifier()
    cursor.expect(preposition)
    if cursor.key in ("URL", "TAPE"):
        raise cursor.refuse(f"backup to {cursor.key}")
    cursor.expect("DISK", "=")
    file = cursor.string()
    options = []
    if cursor.accept("WITH"):
        options.append(_media_option(cursor))
        while cursor.accept(","):
            options.append(_media_option(cursor))
    return name, file, tuple(options)


def _media_option(cursor: Cursor) -> str:
    if cursor.accept("STATS"):
        return f"STATS {cursor.integer() if cursor.accept('=') else 10}"
    if cursor.key not in _PLAIN_OPTIONS:
        raise cursor.refuse(f"the option {cursor.tokens.texts[cursor.at]} of backup or restore")
    return cursor.expect_any(*_PLAIN_OPTIONS)
