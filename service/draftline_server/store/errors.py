"""What the database refused, told by SQLSTATE and never by text."""

from __future__ import annotations

import asyncio

import asyncpg

from ..domain.errors import (
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    InvalidDocumentError,
    OverloadedError,
)

# InternalClientError: what asyncpg raises when PostgreSQL has said goodbye to an idle connection
# and its end has not been read yet.
LOST_CONNECTION = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, OSError)

# Classes of SQLSTATE (the first two characters), https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNAVAILABLE = {"08", "57", "25"}  # connection; operator intervention; a read-only standby after a failover
_EXHAUSTED = {"53"}
_BAD_DATA = {"22", "54"}  # what the checks before the database should have refused

REQUEST_KEY = "request_pkey"

QUERY_CANCELED = "57014"
LOCK_TIMEOUT = "55P03"


class AnsweredBeforeError(Exception):
    """The request was answered before, so nothing was written; store/requests.py has the answer."""


def translate(error: BaseException) -> DraftlineError | AnsweredBeforeError | None:
    """The caller's error for an exception of the driver; None when it is not one of those."""
    if isinstance(error, asyncpg.UniqueViolationError) and (error.constraint_name or "") == REQUEST_KEY:
        return AnsweredBeforeError()
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(error.sqlstate or "")
    if isinstance(error, asyncio.TimeoutError):
        return DeadlineExceededError("the call's time is over; the database was told to stop")
    if isinstance(error, LOST_CONNECTION):
        return DatabaseUnavailableError("the database is out of reach")
    return None


def _of_sqlstate(sqlstate: str) -> DraftlineError | None:
    if sqlstate == QUERY_CANCELED:
        return DeadlineExceededError("the call's time is over; the database was told to stop")
    if sqlstate == LOCK_TIMEOUT or sqlstate[:2] == "40":
        return ContentionError("concurrent writes kept colliding; nothing was changed, try again")
    if sqlstate[:2] in _UNAVAILABLE:
        return DatabaseUnavailableError("the database is out of reach")
    if sqlstate[:2] in _EXHAUSTED:
        return OverloadedError("the database has no room for this call now")
    if sqlstate[:2] in _BAD_DATA:
        return InvalidDocumentError("the document holds a value that the database cannot store")
    return None


def is_retryable(error: BaseException) -> bool:
    """Whether a transaction that ended so was rolled back for its neighbours' sake alone."""
    return isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError)
