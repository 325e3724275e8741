"""What the database refused, told by SQLSTATE and never by text.

Every message says what became of a write: nothing, or that it is not known. Then, and only then, its request_id
tells (see requests.py).
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
)

# InternalClientError: what asyncpg raises when PostgreSQL has said goodbye to an idle connection and its end has not
# been read yet.
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

# By SQLSTATE, or else by its class, the first two characters:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REFUSALS: Mapping[str, tuple[type[DraftlineError], str]] = {
    "08": (DatabaseUnavailableError, LOST),
    "22": (InvalidDocumentError, "the document holds a value that the database cannot store"),
    "25006": (DatabaseUnavailableError, "the database takes no writes now; nothing was changed, try again later"),
    "25P03": (DatabaseUnavailableError, OUT_OF_REACH),  # we were silent for too long
    "25P04": (DatabaseUnavailableError, OUT_OF_REACH),
    "40": (ContentionError, "concurrent writes kept colliding; nothing was changed, try again"),
    "40003": (DatabaseUnavailableError, LOST),
    "53": (OverloadedError, "the database has no room for this call now; nothing was changed, try again later"),
    "54": (InvalidDocumentError, "the document holds a value that the database cannot store"),
    "55P03": (ContentionError, "another write held what this one needs for too long; nothing was changed, try again"),
    "57": (DatabaseUnavailableError, LOST),
    "57014": (DeadlineExceededError, "the database took too long; nothing was changed"),
    "57P03": (DatabaseUnavailableError, OUT_OF_REACH),  # it starts, stops or recovers
    "58": (DatabaseUnavailableError, "the database's storage fails; nothing was changed, try again later"),
}
# What another attempt may meet after one whose outcome is not known.
_PASSING = (ContentionError, DatabaseUnavailableError, DeadlineExceededError, OverloadedError)


class RacedError(Exception):
    """A record that was to be created came into being meanwhile; nothing was written of it."""


class LeftAloneError(Exception):
    """A statement that many share did nothing for this one, which has to be sent by itself."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause  # see patch_content


class AnsweredBeforeError(Exception):
    """The request was answered before, so nothing was written; store/idempotency.py has the answer."""


class NothingDoneError(Exception):
    """A connection could not be had, or was lost before the commit; its cause tells why."""


class UnforeseenError(Exception):
    """PostgreSQL refused what it never should. For the log: of what was sent and stored it tells nothing."""

    def __init__(self, sqlstate: str, constraint: str) -> None:
        super().__init__(f"PostgreSQL answered SQLSTATE {sqlstate}" + (f", {constraint}" if constraint else ""))
        self.sqlstate = sqlstate


def translate(error: BaseException, *, lost: bool = False) -> Exception | None:
    """What an exception of the driver is for those above; None when it is not one of those.

    A DraftlineError, AnsweredBeforeError or UnforeseenError. `lost`: an attempt before had an unknown outcome.
    """
    translated = error if isinstance(error, DraftlineError) else _translate(error)
    if lost and isinstance(translated, DeadlineExceededError):
        return DeadlineExceededError(f"the call's time is over; {WRITE_IS_UNKNOWN}")
    return DatabaseUnavailableError(LOST) if lost and isinstance(translated, _PASSING) else translated


def _translate(error: BaseException) -> Exception | None:
    if isinstance(error, NothingDoneError):
        no_room = isinstance(error.__cause__, asyncpg.InsufficientResourcesError)
        return OverloadedError(_REFUSALS["53"][1]) if no_room else DatabaseUnavailableError(OUT_OF_REACH)
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(error)
    if isinstance(error, asyncio.TimeoutError):
        return DeadlineExceededError(f"the call's time is over; {WRITE_IS_UNKNOWN}")
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
    """Whether the connection is gone; a statement under way may have been done or not."""
    # To Python, a TimeoutError is an OSError.
    return isinstance(error, _LOST_CONNECTION) and not isinstance(error, TimeoutError)


def was_undone(error: BaseException) -> bool:
    """Whether PostgreSQL said so of what ended with this error, or of what it is translated from: it did nothing."""
    cause = error.__cause__ or error
    return isinstance(cause, asyncpg.PostgresError) and not is_lost(cause)


def is_retryable(error: BaseException) -> bool:
    """Whether a transaction that ended so was rolled back for its neighbours' sake alone."""
    return isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError)
