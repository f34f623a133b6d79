"""pure: what the registry says of ERP databases: connections, datasets, rows, and what a database lacks (see `cdc.errors`)."""

from __future__ import annotations

ENTRIES: dict[str, tuple[str, str, str]] = {}  # code -> title, cause, remedy


def _entries(entries: dict[str, tuple[str, str, str]]) -> None:
    ENTRIES.update(entries)


# SQLite source, and what every source says of databases, datasets and rows
_entries(
    {
        "A2201": (
            "ERP database is locked",
            "Another program holds the database longer than the agent waits.",
            "Tried again by itself. If it stays so, look for a program that keeps a transaction open or holds the file alone.",
        ),
        "A2202": (
            "ERP database is missing",
            "There is no file at the path that the configuration names. The agent never creates one.",
            "Mend the path, or bring the file back; check that the disk or share it lies on is there.",
        ),
        "A2203": (
            "File is not a database",
            "The file at the path is something else, or encrypted.",
            "Mend the path in the configuration.",
        ),
        "A2204": (
            "ERP database is not in WAL mode",
            "In the other journal modes a reader blocks writers of the ERP, and a writer blocks readers.",
            "Run `PRAGMA journal_mode = WAL;` once on the database while nobody uses it (the mode stays), then start again.",
        ),
        "A2205": (
            "Product is not installed in the ERP database",
            "The product's own tables (_cdc_..., schema erp_cdc) are not there: never made, removed, or lost in a restore.",
            "Run `cdc install`.",
        ),
        "A2206": (
            "ERP database is damaged",
            "SQLite found that the file's inner order is broken.",
            "Run `PRAGMA integrity_check;`, restore the ERP from a backup, and check the disk.",
        ),
        "A2207": (
            "ERP database cannot be read or written",
            "The operating system refused: a full disk, a lost network share, a limit of the machine.",
            "It is tried again by itself. Look at the disk the database lies on.",
        ),
        "A2208": (
            "No permission for the ERP database",
            "The agent's user cannot write the file or its folder; WAL mode needs both, also for reading.",
            "Give the agent's user the right to write the file and its folder.",
        ),
        "A2209": (
            "Structures in the ERP database are from a newer version",
            "A newer version of the product installed or upgraded them.",
            "Run that version, or a newer one.",
        ),
        "A2210": (
            "ERP database file was replaced",
            "The file at the path is another one than the one the agent has open: a restore, or a copy put in its place.",
            "The agent connects again by itself and checks which history it finds.",
        ),
        "A2211": (
            "Table changed while it was read",
            "The structure of the database was changed at this moment.",
            "It is looked at and read again by itself.",
        ),
        "A2212": (
            "Statement was ended",
            "The agent is going down, or gave the work up.",
            "None.",
        ),
        "A2213": (
            "ERP database was restored at this moment",
            "Between reading a window and noting it in the database, its history became another.",
            "The agent looks again by itself and says what it finds.",
        ),
        "A2214": (
            "Change records were removed",
            "Somebody deleted from the product's change log in the ERP database.",
            "The datasets are read anew by themselves. Leave tables named _cdc_... alone.",
        ),
        "A2221": (
            "Table not found",
            "The dataset names a table that the database does not have.",
            "Mend `table` of the dataset, or remove the dataset.",
        ),
        "A2222": (
            "Not an ordinary table",
            "The dataset names a view, a virtual table or an inner table; changes of those cannot be tracked.",
            "Name the tables that lie under it.",
        ),
        "A2223": (
            "Table has no usable key",
            "Nothing unique tells the table's rows apart.",
            "Give the table a primary key, or name columns with a unique index in `key`.",
        ),
        "A2224": (
            "Column not found",
            "The dataset names a column that the table does not have, or leaves out one that its key needs.",
            "Mend `columns`, `exclude`, `types` or `key` of the dataset.",
        ),
        "A2225": (
            "Column type is not known",
            "The column is declared with a type (or none) that does not say how to read it.",
            'Say it in the dataset: types = { column = "TEXT" }, or exclude the column.',
        ),
        "A2226": (
            "Decimal is wider than the database keeps",
            "SQLite stores numbers of such a column with 15 digits; more would be lost without a word.",
            "Declare the column TEXT_DECIMAL(precision, scale), or say in `types` that fewer digits are enough.",
        ),
        "A2227": (
            "Filter is not allowed",
            "A filter is one condition on the row's own columns, and says the same of the same row at any time.",
            "Mend `filter` of the dataset.",
        ),
        "A2228": (
            "Table is too wide",
            "The table has more columns, or a longer column name, than the copy can keep.",
            "Exclude columns, or rename the one that is named.",
        ),
        "A2229": (
            "Collation is not known",
            "The key compares texts in a way the agent cannot repeat.",
            "Name another key in `key`, or give the column one of the database's own collations.",
        ),
        "A2230": (
            "Table cannot be read",
            "The database refused the statement; a computed column may use a function that only the ERP's program has.",
            "Exclude the column that the message names.",
        ),
        "A2231": (
            "Tracking of a table was lost",
            "The table was rebuilt, or an index that tracking depends on was changed; what changed since is not recorded.",
            "None: it is tracked again and read anew by itself. If not, run `cdc install`.",
        ),
        "A2232": (
            "Table is not tracked",
            "The dataset is new, or the product's structures were not upgraded after the configuration was changed.",
            "Run `cdc install`.",
        ),
        "A2233": (
            "Table cannot be tracked without harm",
            "With the product's triggers the ERP's own statements would fail; nothing was changed.",
            "Report the message, with the table's and its indexes' definitions.",
        ),
        "A2234": (
            "Change log is large",
            "Records older than the retention are not removed.",
            "Let the agent run, or shorten the retention.",
        ),
        "A2235": (
            "Texts are not kept as UTF-8",
            "The database was made with another encoding; damaged texts in it cannot be recognised.",
            "Make the database anew in UTF-8 when there is an occasion.",
        ),
        # -- why a row is withheld -------------------------------------------------------------------------------------
        "A2301": (
            "NULL in a key",
            "A row without a whole key cannot be told from others.",
            "Give the row a key in the ERP.",
        ),
        "A2302": (
            "Cell is of another kind than its column",
            "SQLite lets anything stand in a column: here text in a number's place, or bytes in a text's.",
            "Mend the value in the ERP, or say in `types` how to read the column.",
        ),
        "A2303": (
            "Text is not valid UTF-8",
            "Bytes of another encoding were stored as text.",
            "Mend the text in the ERP.",
        ),
        "A2304": (
            "Text has half of a surrogate pair",
            "A character was cut in two; what is left is no Unicode text.",
            "Mend the text in the ERP.",
        ),
        "A2305": (
            "Text has the character U+0000",
            "Databases and applications cannot keep it.",
            "Remove it in the ERP.",
        ),
        "A2306": (
            "Value is not of its type's form",
            "A date that does not exist, or is written in another way; a guid or a truth value that is none.",
            'Mend the value in the ERP, or read the column as it is: types = { column = "TEXT" }.',
        ),
        "A2307": (
            "Number does not fit its column",
            "The number has more digits, before or after the point, than the column is declared with.",
            "Mend the value in the ERP, or give the column more digits in `types`.",
        ),
        "A2308": (
            "Row is too large",
            "A cell makes its row larger than can travel; it was not read.",
            "Exclude the column, or shorten the value in the ERP.",
        ),
        "A2309": (
            "Key is too long",
            "The key takes more bytes than a key may have.",
            "Shorten it in the ERP, or name another key in `key`.",
        ),
        "A2310": (
            "Number is not finite",
            "The cell holds an infinity, which other databases refuse.",
            "Mend the value in the ERP.",
        ),
    }
)

# Secrets, and what `cdc doctor` and `cdc install` find out about a server
_entries(
    {
        "A2320": (
            "Not a thing of this kind of database",
            "The option belongs to SQL Server; a file has neither a database administrator nor tracking of its own.",
            "Run `cdc install` without the option.",
        ),
        "A2321": (
            "Secret cannot be read",
            "The variable, file or credential that the configuration points to is missing, empty, or not readable.",
            "Put the secret where the message says, readable for the agent's user; systemd: `LoadCredential=` in the unit.",
        ),
        "A2322": (
            "Not confirmed",
            "What was asked for cannot be taken back, and nobody said yes to it.",
            "Run the command in a terminal and type the company's name, or say `--yes`.",
        ),
        "A2323": (
            "Connection is not encrypted",
            "`encrypt = false`: whoever can listen on the network between agent and server reads rows and changes.",
            "Give the server a certificate and remove the setting; at least keep both in a network of their own.",
        ),
        "A2324": (
            "Certificate is not verified",
            "`trust_server_certificate = true`: a device on the way can present a certificate of its own and read everything.",
            "Have this machine trust the certificate's authority (docs/08-sql-server.md says how) and remove the setting.",
        ),
        "A2325": (
            "Password's file is open to others",
            "Every user of the agent's machine may read the file that the configuration names.",
            "Give it to the agent's user, or to root with the agent's group, and take the rights of others away.",
        ),
        "A2326": (
            "Version of SQL Server is not supported",
            "It is older than SQL Server 2016, or not an SQL Server that the agent is tested with.",
            "Upgrade the server; with a service in Azure try the agent on a copy first.",
        ),
        "A2327": (
            "Server has a known defect",
            "Microsoft has mended a defect of change tracking in a later build than the server runs.",
            "Install the update that is named when there is an occasion; the agent goes round it, other programs may not.",
        ),
        "A2329": (
            "Change tracking is off for the database",
            "Without it SQL Server does not record what changes.",
            "Run the statement, or `cdc install --enable-tracking` as a user who may.",
        ),
        "A2330": (
            "Change tracking is off for a table",
            "Nothing is recorded of what changes in the table.",
            "Run the statement, or `cdc install --enable-tracking` as a user who may.",
        ),
        "A2331": (
            "Changes are forgotten too soon",
            "The server removes change records before a longer outage is over; what changed then has to be read in full.",
            "Run the statement; three days outlast a weekend, a week outlasts a holiday.",
        ),
        "A2332": (
            "Clean-up of change records is off",
            "The database keeps every change record for ever.",
            "Run the statement. The first clean-up then takes long; nothing waits for it.",
        ),
        "A2333": (
            "Snapshot isolation is not allowed yet",
            "The server is on the way to allowing it, and waits for the end of transactions that are open.",
            "Wait, or find the transaction that has been open for so long (`DBCC OPENTRAN`).",
        ),
        "A2334": (
            "Commits are not durable at once",
            "With delayed durability the server says that a change is kept before it is; a crash takes it back.",
            "Ask the ERP's maker whether that is meant; otherwise run the statement.",
        ),
        "A2335": (
            "Compatibility level is low",
            "The database behaves like a server that is older than the oldest supported one.",
            "Ask the ERP's maker whether the level can be raised; try the agent on a copy of the database first.",
        ),
        "A2336": (
            "Clean-up of change records does not get on",
            "The server's own clean-up fails or has stopped, so that change records grow and asking for them becomes slower.",
            "Look at the comments of the rows that the statement shows, and for long transactions in the ERP.",
        ),
        "A2338": (
            "Changes will soon be forgotten",
            "For over half of the time that the ERP keeps changes nothing could be captured.",
            "Mend what is shown beside it; what changed is read in full once it is forgotten.",
        ),
    }
)

_entries(
    {
        # -- SQL Server: driver, connection, and what the server says ----------------------------------------------------
        "A2240": (
            "ODBC is not installed",
            "The packages pyodbc and aioodbc, the ODBC driver manager of the system, or the driver itself cannot be loaded.",
            "Install erp-cdc[sqlserver]; on Linux also unixodbc and Microsoft's package msodbcsql18.",
        ),
        "A2241": (
            "No ODBC driver for SQL Server",
            "The driver that the configuration names is not registered, or none of Microsoft's is.",
            "Install Microsoft's ODBC Driver 18 for SQL Server, or name one in `source.driver`.",
        ),
        "A2242": (
            "ODBC driver would lose data",
            "The driver shortens values without an error; the agent does not use it.",
            "Install Microsoft's ODBC Driver 18 for SQL Server.",
        ),
        "A2244": (
            "SQL Server cannot be reached",
            "The server's name is not known, nothing listens at its port, or a firewall is between.",
            "Tried again by itself. Check `source.server`, that TCP/IP is on for the instance, its port, and the firewall.",
        ),
        "A2245": (
            "SQL Server's certificate is not accepted",
            "The certificate is of no trusted authority, expired, or for another name; or the server offers no encryption.",
            "Give the server a certificate this machine trusts, or set `source.certificate_host` to the name that is in it.",
        ),
        "A2246": (
            "Login refused",
            "The server does not accept user and password, or the agent's own account; or the login is locked or disabled.",
            "Check `source.user` and the password; the server's error log says more. Then reload the configuration.",
        ),
        "A2247": (
            "Database cannot be opened",
            "It is missing, offline, starting, or the login has no user in it.",
            "Check `source.database`; give the login a user in the database; bring the database online.",
        ),
        "A2248": (
            "Connection to SQL Server was lost",
            "The network, a restart of the server, or an administrator ended it.",
            "None: the agent connects again by itself and checks which history it finds.",
        ),
        "A2249": (
            "Statement took too long",
            "The server gave no answer within `source.query_timeout`.",
            "Tried again by itself. If it stays so, look at what the server waits for, or raise the time.",
        ),
        "A2250": (
            "Lock or deadlock",
            "Another session held a lock for too long, or the server ended our statement to solve a deadlock.",
            "Tried again by itself. If it happens often, look for long transactions in the ERP.",
        ),
        "A2251": (
            "Snapshot was not kept",
            "The structure of a table was changed meanwhile, or the server's store of row versions ran out of room.",
            "Read again by itself. If it stays so, look at the space of tempdb.",
        ),
        "A2252": (
            "Snapshot isolation is off",
            "Without it tables that are read one after the other are not of one moment.",
            '`cdc install` can turn it on when told so; or set `source.snapshot` to "auto".',
        ),
        "A2253": (
            "Database is a secondary, or read-only",
            "Changes can only be asked for where they are made: at the primary replica.",
            "Tried again by itself, for it may be a failover. Name the listener of the availability group in `source.server`.",
        ),
        "A2254": (
            "Permission is missing",
            "The agent's login may not do what is named.",
            "`cdc doctor` shows the statement that gives it; for `cdc install` a DBA can run the script of its `--script`.",
        ),
        "A2256": (
            "SQL Server lacks resources",
            "Memory, the log, tempdb or a limit of the service is used up.",
            "Tried again by itself. Look at the server's disks and memory.",
        ),
        "A2257": (
            "SQL Server refused a statement",
            "The server met an error that the agent does not know.",
            "Tried again by itself. If it stays so, report the message.",
        ),
        "A2258": (
            "Database is damaged",
            "The server read a page that is not what was written.",
            "Run DBCC CHECKDB, restore the database from a backup, and check the disks.",
        ),
        "A2259": (
            "Constraint refused a row",
            "A key is there twice, a reference leads nowhere, or a value is missing.",
            "Look at the row in the ERP; the number says which kind of constraint it was.",
        ),
        "A2260": (
            "Value does not fit",
            "A value is too long or too large for its column, or cannot be converted.",
            "Look at the row, or exclude the column.",
        ),
        "A2270": (
            "Type is not carried",
            "The column has a type that the agent cannot carry without loss: a type of an assembly, a column set, a new type.",
            'Leave the column out: exclude = ["..."] in the dataset.',
        ),
        "A2271": (
            "Column is encrypted by its clients",
            "Always Encrypted: the server itself does not know the values.",
            'Leave the column out: exclude = ["..."] in the dataset.',
        ),
        "A2272": (
            "Key type is not carried",
            "The server holds values of this type equal that are written differently, so rows cannot be told apart by them.",
            "Capture the table by another way, or give it a primary key of another type.",
        ),
        "A2273": (
            "Key has an unusual character",
            "The collation may hold the key equal to another one in a way that the agent cannot repeat.",
            "Use plain letters and digits in the key, or give the column a binary collation; then the row is sent.",
        ),
        "A2274": (
            "Column is masked",
            "Dynamic data masking shows the agent's user something else than what is stored.",
            "GRANT UNMASK to the agent's user, or leave the column out with `exclude`.",
        ),
        "A2275": (
            "Cell cannot be read",
            "The server itself fails at this row: a computed column that divides by zero, or a damaged value of a system type.",
            "Mend the row in the ERP, or leave the column out with `exclude`.",
        ),
    }
)
