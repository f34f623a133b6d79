"""pure: the agent's errors; the type says who must act, the code says what it is (docs/errors.md)."""

from __future__ import annotations

from typing import ClassVar

from transport.errors import CodedError, Entry

REGISTRY: dict[str, Entry] = {}


def _entries(entries: dict[str, tuple[str, str, str]]) -> None:
    for code, (title, cause, remedy) in entries.items():
        REGISTRY[code] = Entry(title, cause, remedy)


class AgentError(CodedError):
    """Root of the agent's errors."""

    registry: ClassVar[dict[str, Entry]] = REGISTRY


class Transient(AgentError):
    """Retried with backoff by the supervisor: a lock, a timeout, a lost connection, a full disk."""


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
