"""pure: the agent's errors; the type says who must act, the code says what it is (docs/errors.md)."""

from __future__ import annotations

from typing import ClassVar

from cdc.errors_database import ENTRIES
from transport.errors import CodedError, Entry

REGISTRY: dict[str, Entry] = {}


def _entries(entries: dict[str, tuple[str, str, str]]) -> None:
    for code, (title, cause, remedy) in entries.items():
        REGISTRY[code] = Entry(title, cause, remedy)


class AgentError(CodedError):
    """Root of the agent's errors."""

    registry: ClassVar[dict[str, Entry]] = REGISTRY


class Transient(AgentError):
    """Retried with backoff by the supervisor: a lock, a timeout, a lost connection, a full disk.

    `progressed`: the service achieved something before it failed, so that earlier failures no longer count.
    """

    def __init__(self, code: str, message: str, *, where: str = "", progressed: bool = False) -> None:
        super().__init__(code, message, where=where)
        self.progressed = progressed


class DatasetPaused(AgentError):
    """One dataset cannot go on until a person acts; the others do."""


class CompanyStopped(AgentError):
    """Nothing of this company may go on until a person acts."""


class ProgramStopped(AgentError):
    """The program cannot run at all (configuration, state folder)."""


class ConfigError(ProgramStopped):
    """The configuration is refused; `problems` has every mistake, each with its place."""

    def __init__(self, problems: list[AgentError]) -> None:
        self.problems = problems
        first = problems[0]
        super().__init__(first.code, "; ".join(str(p) for p in problems), where="")


_entries(
    {
        # -- configuration ---------------------------------------------------------------------------------------------
        "A2001": (
            "Configuration file cannot be read",
            "The file is missing, not readable for this user, or not UTF-8.",
            "Check the path given with --config and the file's permissions.",
        ),
        "A2002": (
            "Configuration file is not TOML",
            "The text breaks a rule of TOML at the line and column named.",
            "Mend that line; a value with a backslash or a quote may need single quotes.",
        ),
        "A2003": (
            "Setting is not allowed",
            "A key is unknown, missing, of the wrong type, or its value is outside what is possible.",
            "Mend the key named; examples/agent.toml shows every setting.",
        ),
        "A2004": (
            "Settings contradict each other",
            "Two settings are each allowed, but not together (a name used twice, a channel that does not exist).",
            "Mend one of the two places named.",
        ),
        # -- state folder ----------------------------------------------------------------------------------------------
        "A2101": (
            "State folder is in use",
            "Another process holds the lock of the state folder.",
            "Stop the other agent, or give this one a folder of its own.",
        ),
        "A2102": (
            "State folder cannot be written",
            "The folder is missing, read-only, or belongs to another user.",
            "Create it and give the agent's user the right to write there.",
        ),
        "A2103": (
            "Journal is full",
            "The disk, or the journal's own limit, has no room for another window; capture waits.",
            "Free disk space, raise journal_limit, or look at why the cloud does not take what is waiting.",
        ),
        "A2104": (
            "Journal is damaged",
            "The journal's database does not pass its own check.",
            "It is set aside and made anew; the cloud's position is used. Check the disk.",
        ),
        "A2105": (
            "Journal is from a newer version",
            "The program was downgraded.",
            "Install the version that wrote it, or a newer one.",
        ),
    }
)

_entries(
    {
        # -- configuration, as it is taken into force --------------------------------------------------------------------
        "A2005": (
            "New configuration refused",
            "The file was changed and has a mistake, or a part of the program could not take it; the old one stays in force.",
            "Mend what is named and save the file again; nothing else needs doing.",
        ),
        "A2006": (
            "Setting needs a restart",
            "The new configuration is in force, except for a setting that is read only when the program starts.",
            "Restart the agent when it suits.",
        ),
        "A2007": (
            "File watcher stopped",
            "The operating system's file events are not available; the configuration is looked at every few seconds instead.",
            "Nothing needs doing; a file name in that folder may not be valid UTF-8.",
        ),
        # -- supervision -------------------------------------------------------------------------------------------------
        "A2501": (
            "Service failed",
            "A part of the program met an error that it does not know; it is started again by itself.",
            "If it happens again, report it with the lines of the log around it.",
        ),
        "A2502": (
            "Service ended",
            "A part of the program that runs until shutdown came to its end; it is started again by itself.",
            "If it happens again, report it with the lines of the log around it.",
        ),
        "A2503": (
            "Shutdown took too long",
            "A part of the program did not end within its time and was cut off. Nothing durable is lost by that.",
            "If it happens often, raise agent.grace; a slow disk or a lock in the ERP database are usual reasons.",
        ),
        "A2504": (
            "Copy is not fresh",
            "The cloud's copy of a channel is older than agent.fresh allows.",
            "Look at the problems shown with it: the link, the journal and the ERP database are the usual reasons.",
        ),
        "A2505": (
            "Load waits for a person",
            "A full read of a dataset would remove much of what the cloud has, so it is not swapped in by itself.",
            "Compare with the ERP; then, in the cloud, `cdc-cloud load accept COMPANY DATASET`, or `load reject`.",
        ),
        "A2506": (
            "Rows are withheld",
            "Some rows could not be read, carried or stored; the cloud keeps their last version, marked so.",
            "GET /api/v1/withheld in the cloud lists them; mend them in the ERP: a row is sent again when it changes.",
        ),
        # -- health and control --------------------------------------------------------------------------------------------
        "A2511": (
            "Not allowed to give orders",
            "The token is missing or is not the one in the state folder.",
            "Run the command as the agent's user, on the agent's machine.",
        ),
        "A2512": (
            "Refused for its origin",
            "Health and control answer only this machine, under a name of this machine.",
            "Ask from the agent's machine by http://127.0.0.1 and the port of agent.listen.",
        ),
        "A2513": (
            "No such company, channel or load",
            "The running agent does not know what the request names.",
            "Check the spelling with `cdc status`.",
        ),
        "A2514": (
            "Request is not understood",
            "The body of a control request is not what this version expects.",
            "Use the `cdc` command of the same version as the running agent.",
        ),
        "A2515": (
            "Agent is not running",
            "Nothing answers at the address that the state folder names.",
            "Start the agent, or name its configuration file with --config.",
        ),
        "A2516": (
            "Health address is in use",
            "Another program listens at the address of agent.listen.",
            "End the other program, or set agent.listen to another port.",
        ),
        "A2517": (
            "Not possible now",
            "The company is not in a state in which this can be done.",
            "Look at `cdc status`; it says what the company waits for.",
        ),
    }
)

_entries(
    {
        # -- capture ---------------------------------------------------------------------------------------------------
        "A2401": (
            "ERP was restored or is a copy",
            "The ERP database does not have the mark that the last window left in it, or its version went back.",
            "`cdc restored COMPANY real` if this is the real database, restored; `cdc restored COMPANY copy` if it is a copy.",
        ),
        "A2402": (
            "Another ERP database",
            "The database belongs to another installation or history than the one that was captured so far.",
            "Check the path. If this database shall take the other one's place: `cdc restored COMPANY real`; if not: `copy`.",
        ),
        "A2403": (
            "Journal was started anew",
            "The conversation with the cloud gave the channel another position while a window was being written.",
            "None: the window is read again by itself.",
        ),
        "A2404": (
            "Journal is closed",
            "A part of the agent used the journal while the agent was going down.",
            "None, unless it happens while the agent runs: then report it.",
        ),
        "A2405": (
            "Identity of the installation cannot be read",
            "The file beside the journal that holds the agent's key is damaged.",
            "Restore the file, or remove it and enrol the agent again with a new code.",
        ),
        "A2411": (
            "Changes of a table are not tracked",
            "Tracking is off for the table, or the permission to ask for it was withdrawn; what it lost cannot be known.",
            "Run `cdc doctor`, which says what is missing, then `cdc install`. The dataset is then read anew by itself.",
        ),
        "A2412": (
            "Dataset is not described",
            "The table, or something declared for it, was not found in the database.",
            "Run `cdc doctor` and mend the declaration or the table.",
        ),
        "A2418": (
            "Rows of a window can be of different moments",
            "Snapshot isolation is not allowed in the ERP database. No change is lost, but related rows may arrive apart.",
            "`cdc install --enable-snapshot` allows it, as a user who may.",
        ),
        "A2421": (
            "Row is too large",
            "One row takes more bytes than a frame may have.",
            "Exclude the large column, or shorten its value in the ERP.",
        ),
    }
)

_entries(
    {
        # -- the link to the cloud ---------------------------------------------------------------------------------------
        "A2601": (
            "Company is not enrolled",
            "The cloud does not know this agent yet for the company.",
            "Get a one-time code from the operator of the cloud and run `cdc enrol COMPANY CODE`.",
        ),
        "A2602": (
            "Cloud cannot be reached",
            "The connection could not be made, or was lost. Changes are kept in the journal; the agent goes on trying.",
            "Check the network, DNS, a proxy, the port outwards, and `cloud.url`; the message says what failed.",
        ),
        "A2603": (
            "Cloud's certificate is not accepted",
            "The certificate is of an unknown authority, expired, or for another name. Nothing was sent.",
            "Check `cloud.url`, `cloud.ca` and the clock. The authority of a device that inspects TLS belongs in `cloud.ca`.",
        ),
        "A2604": (
            "Something else answered",
            "A proxy, a portal or another server answered at the cloud's address.",
            "Check `cloud.url`; ask whoever runs the network to let WebSocket connections to that address pass.",
        ),
        "A2605": (
            "Cloud broke the protocol",
            "The cloud sent something that does not belong; the connection was ended and is made anew. Nothing is lost.",
            "If it happens again, compare the versions of both programs and report it.",
        ),
        "A2606": (
            "Cloud refused this agent",
            "The cloud gave a code and a reason: a revoked key, an old installation secret, a suspended company.",
            "Follow the reason. For an old secret: find the second installation; then `cdc takeover COMPANY` on the right one.",
        ),
        "A2607": (
            "Enrolment failed",
            "The one-time code is wrong, used or expired, or the company is not in this file.",
            "Ask the operator of the cloud for a new code, and compare the company's name.",
        ),
        "A2608": (
            "Database is a copy",
            "A person said that the ERP database of this company is only a copy (`cdc restored COMPANY copy`).",
            "Nothing, on a test machine. docs/05-operations.md says how to serve the company after all.",
        ),
        "A2609": (
            "Company was enrolled anew",
            "`cdc enrol` gave the company another identity while a connection with the old one was being made.",
            "Nothing: the next connection uses the new identity.",
        ),
    }
)

_entries(ENTRIES)
