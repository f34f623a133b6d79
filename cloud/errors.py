"""pure: the cloud's errors; each has a stable code (docs/errors.md)."""

from __future__ import annotations

from typing import ClassVar

from transport.errors import CodedError, Entry

REGISTRY: dict[str, Entry] = {}


def _entries(entries: dict[str, tuple[str, str, str]]) -> None:
    for code, (title, cause, remedy) in entries.items():
        REGISTRY[code] = Entry(title, cause, remedy)


class CloudError(CodedError):
    """Root of the cloud's errors."""

    registry: ClassVar[dict[str, Entry]] = REGISTRY


class StoreError(CloudError):
    """A company's store cannot do what was asked (disk, damage); the company waits, others go on."""


class RegistryError(CloudError):
    """A company, code, key or token is not what it should be."""


class ConfigError(CloudError):
    """The configuration is refused; `problems` has every mistake, each with its place."""

    def __init__(self, problems: list[CloudError]) -> None:
        self.problems = problems
        super().__init__(problems[0].code, "; ".join(str(p) for p in problems))

    def __str__(self) -> str:
        return self.message


class ApiError(CloudError):
    """A request that is answered with a problem document; `cloud.routes.STATUS` has its status."""

    def __init__(self, code: str, message: str, *, where: str = "", errors: list[tuple[str, str]] | None = None) -> None:
        super().__init__(code, message, where=where)
        self.errors = errors or []  # (parameter, what is wrong with it)


_entries(
    {
        # -- configuration ---------------------------------------------------------------------------------------------
        "C3001": (
            "Configuration file cannot be read",
            "The file is missing, not readable for this user, or not UTF-8.",
            "Check the path given with --config and the file's permissions.",
        ),
        "C3002": (
            "Configuration file is not TOML",
            "The text breaks a rule of TOML at the line and column named.",
            "Mend that line; a value with a backslash or a quote may need single quotes.",
        ),
        "C3003": (
            "Setting is not allowed",
            "A key is unknown, missing, of the wrong type, or its value is outside what is possible.",
            "Mend the key named; examples/cloud.toml shows every setting.",
        ),
        # -- the API for applications ----------------------------------------------------------------------------------
        "C3301": (
            "No such address",
            "Nothing is served at this path.",
            "Compare the path with /api/v1/openapi.json.",
        ),
        "C3302": (
            "Method is not allowed",
            "The path exists, but not with this method.",
            "Use one of the methods in the answer's Allow header.",
        ),
        "C3303": (
            "Token is missing or not valid",
            "The request has no bearer token, or one that was never issued, or was revoked.",
            "Send `Authorization: Bearer <token>`; `cdc-cloud token add` issues one.",
        ),
        "C3304": (
            "Token does not cover this",
            "The token is valid, but was not issued for this kind of request.",
            "Issue a token with the scope that the answer names.",
        ),
        "C3305": (
            "Company is suspended",
            "The company's access was suspended by the operator of the service.",
            "Ask the operator of the service.",
        ),
        "C3306": (
            "Request is not valid",
            "One or more parameters are unknown, missing, repeated or outside their limits; the answer lists each.",
            "Correct the parameters listed; /api/v1/openapi.json describes them.",
        ),
        "C3307": (
            "No such dataset",
            "The company has no dataset of this name, or its first message has not arrived yet.",
            "GET /api/v1/datasets lists them; a dataset is declared in the agent's file.",
        ),
        "C3308": (
            "No such row",
            "The dataset has no row with this key now.",
            "It may have been deleted in the ERP; GET /api/v1/changes tells.",
        ),
        "C3309": (
            "Cursor is too old",
            "The feed of changes no longer reaches back to this cursor.",
            "Take a cursor from GET /api/v1/cursor, read the datasets anew, then follow the changes from that cursor.",
        ),
        "C3310": (
            "Cursor is not of this feed",
            "The cursor lies ahead of the feed: it belongs to another company, or the copy was restored from a backup.",
            "Take a cursor from GET /api/v1/cursor, read the datasets anew, then follow the changes from that cursor.",
        ),
        "C3311": (
            "Headers are too large",
            "The request's headers are larger than the service accepts.",
            "Leave out what is not needed; the answer says how large they may be.",
        ),
        "C3312": (
            "Internal error",
            "The service has a defect; it was logged.",
            "Try again; if it happens again, report it with the time and the address.",
        ),
        "C3313": (
            "Copy is not available",
            "The company's store cannot be read now (disk, damage, maintenance).",
            "Try again after the time in Retry-After; the operator of the service sees the cause in its log.",
        ),
        "C3314": (
            "Dataset is being loaded",
            "The first full read of this dataset has not ended, so nothing of it can be seen yet.",
            "Try again after the time in Retry-After; the dataset's `state` tells when it is there.",
        ),
        "C3315": (
            "Too many followers",
            "This company already has as many waiting requests and streams as the service allows.",
            "Close some, or share one stream between the application's parts; see limits.followers.",
        ),
        "C3316": (
            "Address is too long",
            "The request's path and query are longer than the service accepts.",
            "Name fewer datasets in one request; the answer says how long the address may be.",
        ),
    }
)

_entries(
    {
        # -- a company's store -----------------------------------------------------------------------------------------
        "C3101": (
            "Store cannot be opened",
            "The folder or file is missing, read-only, or belongs to another user.",
            "Check the state folder in the configuration and the permissions of the file named.",
        ),
        "C3102": (
            "Store is damaged",
            "The file is not a database of this program, or its content does not pass the database's own check.",
            "Restore the file from a backup, or move it away: the agent then sends everything again. Check the disk.",
        ),
        "C3103": (
            "Store is full",
            "The disk, or a limit on the file's size, has no room for what was received; the company waits.",
            "Free disk space or raise the limit; it goes on by itself.",
        ),
        "C3104": (
            "Store is from a newer version",
            "The program was downgraded.",
            "Install the version that wrote the file, or a newer one.",
        ),
        "C3105": (
            "Store is in use",
            "Another process holds the database's lock: a second service, a backup or an open tool.",
            "End the other process; it goes on by itself.",
        ),
        "C3106": (
            "Store failed",
            "The database reported an error that is none of the others, often of the disk.",
            "Look at the message and at the system's log; restart the service when the cause is gone.",
        ),
        "C3107": (
            "Dataset name cannot be used",
            "Names have a-z, 0-9 and _, begin with a letter, have at most 40 characters; sqlite_... and d_..._g1 are reserved.",
            "Give the dataset another name in the agent's file.",
        ),
        "C3108": (
            "Column name cannot be used",
            "A column's name is empty, over 63 bytes, has U+0000 or is there twice; or no column is a key.",
            "Rename or exclude the column in the agent's file.",
        ),
        # -- why a row is withheld by the store ------------------------------------------------------------------------
        "C3120": (
            "Row was refused by the store",
            "A constraint or trigger of the store's database does not take the row; the last version stays.",
            "Look at the detail; structures that somebody added to the store may be the cause.",
        ),
        "C3121": (
            "Whole number is too large for the store",
            "The value needs more than 64 bits.",
            "Declare the column as decimal or text in the agent's file.",
        ),
        "C3122": (
            "Value is too large for the store",
            "A text or binary value, or the whole row, is over the database's limit.",
            "Exclude the column in the agent's file, or shorten the value in the ERP.",
        ),
        "C3123": (
            "Value is not a number",
            "A floating-point value is NaN, which the store would keep as NULL.",
            "Correct the value in the ERP.",
        ),
        "C3124": (
            "Value is of another kind than its column",
            "The value cannot be kept in a column of that type without changing it.",
            "Correct the value in the ERP, or declare the column's type in the agent's file.",
        ),
    }
)

_entries(
    {
        # -- the service and the agents' door --------------------------------------------------------------------------
        "C3006": (
            "Too many wrong codes",
            "This address has shown several wrong enrolment codes.",
            "Wait five minutes, then enter the code exactly as `cdc-cloud company add` printed it.",
        ),
        "C3007": (
            "Enrolment request is not valid",
            "What was sent is not an enrolment request.",
            "Use `cdc enrol` of a version that this service knows.",
        ),
        "C3008": (
            "Cannot listen",
            "The address or port is in use, or needs more rights.",
            "Change `listen` in the cloud's file, or stop what uses the port.",
        ),
        "C3009": (
            "Certificate cannot be read",
            "The certificate or key file is missing, not PEM, or the two do not belong together.",
            "Check `tls.certificate` and `tls.key` in the cloud's file.",
        ),
        "C3010": (
            "Data folder cannot be used",
            "The folder of `data` cannot be made: a part of the path is missing, is a file, or belongs to another user.",
            "Check `data` in the cloud's file; the service's user must be able to write there.",
        ),
        "C3018": (
            "Too many strangers",
            "Very many connections are open that have not yet proved which agent they are.",
            "Agents come back by themselves. If it goes on, look in the log where the connections come from.",
        ),
        "C3017": (
            "Service is stopping",
            "The service is being stopped or restarted; agents come back by themselves.",
            "Nothing needs doing.",
        ),
    }
)

_entries(
    {
        # -- companies, agents, tokens ---------------------------------------------------------------------------------
        "C3201": (
            "Company is not known",
            "No company of this id was added.",
            "`cdc-cloud company list` shows the companies; ids are lower case.",
        ),
        "C3202": (
            "Company exists",
            "A company of this id was added before.",
            "Use it, or choose another id.",
        ),
        "C3203": (
            "Company id is not allowed",
            "An id has a-z, 0-9, _ and -, begins with a letter and has at most 40 characters.",
            "Choose another id.",
        ),
        "C3204": (
            "Installation is not enrolled",
            "The installation's key is not the one enrolled for the company, or it was revoked.",
            "Enrol it with a new code: `cdc-cloud company code` prints one, `cdc enrol` uses it.",
        ),
        "C3205": (
            "A newer connection has taken over",
            "The same installation connected again, or another was enrolled in its place.",
            "Nothing, if it happens once; otherwise look for a second agent with the same state folder.",
        ),
        "C3206": (
            "Installation is out of date",
            "It presented a secret that was replaced: its folder was restored or copied, so that there may be two of it.",
            "End the wrong one; on the right one, run `cdc takeover`.",
        ),
        "C3207": (
            "Two installations claim the company",
            "An installation with an old secret has tried to connect; both are stopped, since either may be the wrong one.",
            "End the wrong one; on the right one, run `cdc takeover`.",
        ),
        "C3208": (
            "Company is stopped by the operator",
            "The operator of the service has suspended the company.",
            "Ask the operator of the service.",
        ),
        "C3209": (
            "Enrolment code is not known",
            "No such code was issued, or it was mistyped.",
            "Compare it with what `cdc-cloud company code` printed.",
        ),
        "C3210": (
            "Enrolment code was used",
            "A code enrols one installation, once.",
            "Ask for a new code: `cdc-cloud company code`.",
        ),
        "C3211": (
            "Enrolment code has expired",
            "The code was not used in time.",
            "Ask for a new code: `cdc-cloud company code`.",
        ),
        "C3212": (
            "Enrolment is not readable",
            "The installation's id is not 16 bytes, or its public key is no Ed25519 key of 32 bytes.",
            "Report it: a healthy agent never sends one.",
        ),
        "C3213": (
            "Scope is not known",
            "A token's scopes are read and write.",
            "Use one or both of them.",
        ),
        "C3214": (
            "Token is not known",
            "The application has no token that is still valid for this company.",
            "Compare the ids with what was given to `cdc-cloud token add`.",
        ),
        "C3215": (
            "Secret was not the one granted",
            "The agent confirmed another secret than it was given at its last hello: a newer hello came in between.",
            "Nothing: the newer connection stands.",
        ),
        "C3216": (
            "Enrolment code is of another company",
            "`cdc enrol` named one company, and the code was made for another one. It is still valid.",
            "Compare the company in the command with the one in `cdc-cloud company code`.",
        ),
    }
)

_entries(
    {
        # -- held loads --------------------------------------------------------------------------------------------------
        "C3109": (
            "No load waits",
            "The company or dataset is not known here, or no finished load of it waits for a person.",
            "GET /api/v1/datasets shows the state `held` where one waits; compare the names.",
        ),
    }
)
