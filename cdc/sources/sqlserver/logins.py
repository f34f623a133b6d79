"""pure: what is known of a database's login beyond one session: whether it ever worked, and since when it has not."""

from __future__ import annotations

from cdc.errors import AgentError, CompanyStopped, Transient
from cdc.sources.sqlserver.failures import Kind, failure_of

PATIENCE = 300.0  # seconds in which a refused login, or a database that cannot be opened, may be a failover or a server's start


class Logins:
    """Of one database and user; shared by all sources of a company, since a service that failed begins again with a new one."""

    def __init__(self) -> None:
        self._worked = False
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """A session was made."""
        self._worked, self._failing_since = True, None

    def passing(self) -> None:
        """The server could not be asked: nothing is known of the login now."""
        self._failing_since = None

    def refused(self, error: CompanyStopped, now: float) -> AgentError:
        """A login that worked once may be refused during a failover, a database be closed while the server starts.

        A login that never worked is not tried again: each attempt brings the account nearer to being locked. A database that
        was open once is waited for as long as it takes, an hour of maintenance included.
        """
        failure = failure_of(error)
        if self._failing_since is None:
            self._failing_since = now
        if failure is None or (failure.kind is not Kind.DATABASE and not (failure.kind is Kind.LOGIN and self._worked)):
            return error
        for_ever = failure.kind is Kind.DATABASE and self._worked
        if for_ever or now - self._failing_since < PATIENCE:
            return Transient(error.code, error.message, where=error.where)
        return error
