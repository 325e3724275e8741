"""Retries of work that is known to have changed nothing.

Invariant: only transactions that PostgreSQL rolled back (SQLSTATE 40) are retried, and those whose connection could not
be acquired or was lost before the commit. When their connection is lost, reads are sent again, and so are writes that
store their request id, because those cannot happen twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from typing import NoReturn, TypeVar

from ..concurrency.call_context import is_late, remaining_s
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    OverloadedError,
)
from .driver_errors import NothingDoneError, UnforeseenError, is_lost, is_retryable, translate

T = TypeVar("T")

BACKOFF_S = (0.02, 1.0)  # maximum pause before the second attempt, doubled for each further one, and its cap
_TRANSIENT = (ContentionError, DatabaseUnavailableError, OverloadedError)


class Retries:
    """Retries work up to `max_attempts` times within the call's deadline."""

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self.count = 0  # so far: attempts after a first one

    async def run(self, attempt: Callable[[], Awaitable[T]], *, idempotent: bool) -> T:
        """Return the result of the first attempt that succeeds, or raise the translated error of the last one."""
        lost = False
        for number in range(1, self._max_attempts + 1):
            try:
                return await attempt()
            except Exception as error:
                lost = lost or is_lost(error)
                may_retry = (
                    is_retryable(error) or isinstance(error, NothingDoneError) or (idempotent and is_lost(error))
                )
                if not may_retry or number == self._max_attempts:
                    raise_translated(error, lost=lost)
            self.count += 1
            await asyncio.sleep(min(pause_s(number), remaining_s() or 1e9))
        raise AssertionError("unreachable: the last attempt returns or raises")


def pause_s(attempt: int) -> float:
    """Return a random pause after so many attempts, so that calls that collided do not collide again."""
    first_s, cap_s = BACKOFF_S
    return uniform(0, min(first_s * 2 ** (attempt - 1), cap_s))  # noqa: S311  not for secrets


def raise_translated(error: Exception, *, lost: bool = False) -> NoReturn:
    """Raise the domain's error for one of the driver's, or else the error itself; see driver_errors.translate."""
    translated = translate(error, lost=lost)
    if isinstance(translated, _TRANSIENT) and is_late():
        # Do not report the database as unavailable or busy: a call with a later deadline may succeed.
        translated = DeadlineExceededError(f"the call's deadline has passed; {WRITE_IS_UNKNOWN}")
    if translated is None or translated is error:
        raise error
    # PostgreSQL's message for an unforeseen error may hold record contents, which must not reach the log.
    raise translated from (None if isinstance(translated, UnforeseenError) else error)
