"""When a call is sent again: only where that does no harm, later each time, and within its timeout."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from draftline.errors import DraftlineError, UnauthenticatedError, UnavailableError

# Doubled this often, any pause is over its bound; so a watch may fail any number of times.
_MOST_DOUBLINGS = 30

# What a transport that is cut off makes of a call, if it is not UNAVAILABLE: the service's own have a reason.
_CUT_OFF = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True)
class Retry:
    """How often, and how much later, a call is sent again.

    The pause before an attempt is a random one (full jitter), from nothing up to a bound
    that starts at `initial_backoff_s` and doubles up to `max_backoff_s`. A call that would
    pass its timeout in a pause fails at once.
    """

    max_attempts: int = 6  # in all; 1: nothing is sent again
    initial_backoff_s: float = 0.2
    max_backoff_s: float = 3.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts counts the first attempt too: at least 1")
        if not 0 <= self.initial_backoff_s <= self.max_backoff_s:
            raise ValueError("a backoff is 0 seconds or more, and the initial one at most the maximum")

    def pause_s(self, failures: int, error: DraftlineError) -> float:
        """A pause after so many failures in a row, and no shorter than the service asks for."""
        doubled_s = self.initial_backoff_s * 2 ** min(failures - 1, _MOST_DOUBLINGS)
        backoff_s = random.uniform(0, min(doubled_s, self.max_backoff_s))  # noqa: S311  no secret
        return backoff_s + (error.retry_delay_s or 0)


def is_transient(error: DraftlineError) -> bool:
    """Whether the same call may succeed in a moment."""
    return (
        isinstance(error, UnavailableError)
        or error.reason == "CONTENTION"
        or (error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_delay_s is not None)
    )


def is_interrupted(error: DraftlineError) -> bool:
    """Whether a watch goes on where it was: nothing is wrong with the watch, but with what is in between."""
    return is_transient(error) or error.reason == "OVERLOADED" or (error.code in _CUT_OFF and not error.reason)


class Attempts:
    """The attempts of one call."""

    def __init__(
        self,
        retry: Retry,
        timeout_s: float | None,
        *,
        may_repeat: bool,
        may_renew: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry = retry
        self._may_repeat = may_repeat
        self._may_renew = may_renew
        self._is_renewed = False
        self._clock = clock
        self._ends_at = None if timeout_s is None else clock() + timeout_s
        self._failures = 0

    def left_s(self) -> float | None:
        """The timeout of the next attempt: what is left of the call's. None: any time."""
        return None if self._ends_at is None else self._ends_at - self._clock()

    def progress(self) -> None:
        """Part of the answer came: what fails from here on is the first failure again."""
        self._failures = 0
        self._is_renewed = False

    def pause_s(self, error: DraftlineError) -> float | None:
        """Seconds to wait before the next attempt. None: the error stands."""
        # What was refused for its token did nothing; so this needs no request id, and is no failure of the service.
        if isinstance(error, UnauthenticatedError) and self._may_renew and not self._is_renewed:
            self._is_renewed = True
            return 0.0
        self._failures += 1
        if not self._may_repeat or not is_transient(error) or self._failures >= self._retry.max_attempts:
            return None
        pause_s = self._retry.pause_s(self._failures, error)
        left_s = self.left_s()
        return None if left_s is not None and pause_s >= left_s else pause_s
