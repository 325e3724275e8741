"""Errors of the database, classified by SQLSTATE and never by message text.

Every message states what became of a write: nothing was changed, or the outcome is unknown. Only in the latter case
is repeating the call with its request_id needed to find out (see idempotency.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg

from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    InvalidDocumentError,
    OverloadedError,
    StorageFullError,
)

# InternalClientError: asyncpg raises it if PostgreSQL has announced that it closes an idle connection, but the end of
# the connection has not been read yet.
_LOST_CONNECTION = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    OSError,
)

REQUEST_KEY = "request_pkey"

OUT_OF_REACH = "the database is out of reach; nothing was changed, try again later"
LOST = f"the connection to the database was lost; {WRITE_IS_UNKNOWN}"

DISK_FULL = "53100"

_UNSTORABLE = (InvalidDocumentError, "the document holds a value that the database cannot store")

# By SQLSTATE, or else by its class (its first two characters):
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REFUSALS: Mapping[str, tuple[type[DraftlineError], str]] = {
    "08": (DatabaseUnavailableError, LOST),
    # Of the classes 22 and 54, only what the content of a document can cause. The rest are errors of the service.
    "22003": _UNSTORABLE,  # a number is out of range
    "22007": _UNSTORABLE,  # a text is not a date
    "22008": _UNSTORABLE,  # a date is out of range
    "22021": _UNSTORABLE,  # a text is not UTF-8, or holds U+0000
    "22P02": _UNSTORABLE,  # a text is not JSON, or not a number
    "22P05": _UNSTORABLE,  # a text in JSON holds U+0000
    "25006": (DatabaseUnavailableError, "the database takes no writes now; nothing was changed, try again later"),
    "25P03": (DatabaseUnavailableError, OUT_OF_REACH),  # the transaction was idle for too long
    "25P04": (DatabaseUnavailableError, OUT_OF_REACH),
    "40": (ContentionError, "concurrent writes kept colliding; nothing was changed, try again"),
    "40003": (DatabaseUnavailableError, LOST),
    "53": (OverloadedError, "the database has no room for this call now; nothing was changed, try again later"),
    DISK_FULL: (StorageFullError, "the disk of the database is full; nothing was changed, an operator must free space"),
    "54000": _UNSTORABLE,  # a value is too large for jsonb or for an index
    "54001": _UNSTORABLE,  # a value is nested too deeply
    "55P03": (ContentionError, "another write held what this one needs for too long; nothing was changed, try again"),
    "57": (DatabaseUnavailableError, LOST),
    "57014": (DeadlineExceededError, "the database took too long; nothing was changed"),
    "57P03": (DatabaseUnavailableError, OUT_OF_REACH),  # the server is starting, stopping or recovering
    "58": (DatabaseUnavailableError, "the database's storage fails; nothing was changed, try again later"),
}
# Errors of a later attempt that do not reveal the outcome of an earlier one, if that is unknown.
_PASSING = (ContentionError, DatabaseUnavailableError, DeadlineExceededError, OverloadedError, StorageFullError)


class RacedError(Exception):
    """Another call created or changed the same data meanwhile; nothing was written."""


class UnsettledError(Exception):
    """A transaction that began earlier has to end first; nothing was written."""


class LeftAloneError(Exception):
    """A shared statement skipped this patch, which has to be sent by itself."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause  # see patch_content


class AnsweredBeforeError(Exception):
    """The request was answered before, so nothing was written; store/idempotency.py returns the stored response."""


class NothingDoneError(Exception):
    """A connection could not be acquired, or was lost before the commit; the cause is chained."""


class UnforeseenError(Exception):
    """PostgreSQL raised an error that it never should. Safe to log: it reveals nothing that was sent or stored."""

    def __init__(self, sqlstate: str, constraint: str) -> None:
        super().__init__(f"PostgreSQL answered SQLSTATE {sqlstate}" + (f", {constraint}" if constraint else ""))
        self.sqlstate = sqlstate


def translate(error: BaseException, *, lost: bool = False) -> Exception | None:
    """Translate an exception of the driver; return None for any other exception.

    The result is a DraftlineError, which is returned as it is, AnsweredBeforeError or UnforeseenError. `lost`: an
    earlier attempt had an unknown outcome.
    """
    translated = error if isinstance(error, DraftlineError) else _translate(error)
    if lost and isinstance(translated, DeadlineExceededError):
        return DeadlineExceededError(f"the call's deadline has passed; {WRITE_IS_UNKNOWN}")
    return DatabaseUnavailableError(LOST) if lost and isinstance(translated, _PASSING) else translated


def _translate(error: BaseException) -> Exception | None:
    if isinstance(error, NothingDoneError):
        if isinstance(error.__cause__, asyncpg.InsufficientResourcesError):
            return _of_sqlstate(error.__cause__)
        return DatabaseUnavailableError(OUT_OF_REACH)
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(error)
    if isinstance(error, asyncio.TimeoutError):
        return DeadlineExceededError(f"the call's deadline has passed; {WRITE_IS_UNKNOWN}")
    if is_lost(error):
        return DatabaseUnavailableError(LOST)
    return None


def _of_sqlstate(error: asyncpg.PostgresError) -> Exception:
    sqlstate, constraint = error.sqlstate or "", error.constraint_name or ""
    if constraint == REQUEST_KEY and isinstance(error, asyncpg.UniqueViolationError):
        return AnsweredBeforeError()
    refusal = _REFUSALS.get(sqlstate) or _REFUSALS.get(sqlstate[:2])
    if refusal is None:
        return UnforeseenError(sqlstate, constraint)
    kind, message = refusal
    return kind(message)


def is_lost(error: BaseException) -> bool:
    """Return whether the connection was lost; a statement in progress may or may not have taken effect."""
    # TimeoutError is a subclass of OSError.
    return isinstance(error, _LOST_CONNECTION) and not isinstance(error, TimeoutError)


def was_undone(error: BaseException) -> bool:
    """Return whether PostgreSQL itself raised this error, or its cause, which means that nothing was changed."""
    cause = error.__cause__ or error
    return isinstance(cause, asyncpg.PostgresError) and not is_lost(cause)


def is_retryable(error: BaseException) -> bool:
    """Return whether a transaction with this error was rolled back only because of concurrent transactions."""
    return isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError)
