"""Retries of calls: only if it is safe, with exponential backoff, and within the call's timeout."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from draftline._core.arguments import checked_duration, checked_value
from draftline.errors import DraftlineError, UnauthenticatedError, UnavailableError

# Caps the exponent: after this many doublings, every backoff exceeds its bound; a watch may fail any number of times.
_MAX_DOUBLINGS = 30

# Codes besides UNAVAILABLE that a broken transport produces; errors of the service itself have a reason.
_CUT_OFF = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}

# The beginnings of gRPC's texts for a call without a connection.
_UNCONNECTED = ("failed to connect to all addresses", "DNS resolution failed", "connections to all backends failing")
_LAST_PAUSE_S = 0.1  # of a call's timeout: when less is left, a call without a connection fails


@dataclass(frozen=True)
class Retry:
    """The retry policy of calls.

    The pause before a retry is random (full jitter), between 0 and a bound that starts at
    `initial_backoff_s` and doubles up to `max_backoff_s`. A call fails at once if its timeout
    would expire during the pause.

    With `wait_for_connection`, a call that found no connection, for example because the service is
    being restarted, is not counted: it is tried until its timeout has passed. `max_attempts` limits
    it if the call has no timeout, and 1 disables every retry.
    """

    max_attempts: int = 6  # including the first; 1: no retries
    initial_backoff_s: float = 0.2
    max_backoff_s: float = 3.0
    wait_for_connection: bool = True

    def __post_init__(self) -> None:
        if checked_value("max_attempts", self.max_attempts, int) < 1:
            raise ValueError(
                f"max_attempts must be at least 1, which counts the first attempt, not {self.max_attempts}"
            )
        checked_duration("initial_backoff_s", self.initial_backoff_s)
        checked_duration("max_backoff_s", self.max_backoff_s)
        checked_value("wait_for_connection", self.wait_for_connection, bool)
        if self.initial_backoff_s > self.max_backoff_s:
            raise ValueError("initial_backoff_s must be at most max_backoff_s")

    def pause_s(self, failures: int, error: DraftlineError) -> float:
        """Return the pause after this many consecutive failures, at least as long as the service asks for."""
        doubled_s = self.initial_backoff_s * 2 ** min(failures - 1, _MAX_DOUBLINGS)
        backoff_s = random.uniform(0, min(doubled_s, self.max_backoff_s))  # noqa: S311  not a secret
        return backoff_s + (error.retry_delay_s or 0)


def is_transient(error: DraftlineError) -> bool:
    """Return True if the same call may succeed after a short pause."""
    return (
        isinstance(error, UnavailableError)
        or error.reason == "CONTENTION"
        or (error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_delay_s is not None)
    )


def is_unconnected(error: DraftlineError) -> bool:
    """Return True if a call failed before it was sent, because no connection could be opened.

    gRPC has no code of its own for that, so its texts are compared; a test pins them.
    """
    return isinstance(error, UnavailableError) and not error.reason and error.message.startswith(_UNCONNECTED)


def is_interrupted(error: DraftlineError) -> bool:
    """Return True if a watch can resume: the cause is the connection or an overload, not the watch itself."""
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
        self._unconnected: DraftlineError | None = None  # the last failure, if there was no connection

    def left_s(self) -> float | None:
        """Return the timeout of the next attempt: the rest of the call's timeout. None: no limit."""
        return None if self._ends_at is None else self._ends_at - self._clock()

    def progress(self) -> None:
        """Reset the failure count, because part of the response arrived."""
        self._failures = 0
        self._is_renewed = False

    def pause_s(self, error: DraftlineError) -> float | None:
        """Return the seconds to wait before the next attempt. None: the error is final."""
        # A call rejected for its token had no effect: retrying needs no request id, and it is not a service failure.
        if isinstance(error, UnauthenticatedError) and self._may_renew and not self._is_renewed:
            self._is_renewed = True
            return 0.0
        self._failures += 1
        if self._unconnected is None or error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self._unconnected = error if is_unconnected(error) else None
        if not self._may_repeat or not is_transient(error) or self._is_exhausted(error):
            return None
        pause_s = self._retry.pause_s(self._failures, error)
        left_s = self.left_s()
        if left_s is None or pause_s < left_s:
            return pause_s
        # Use the rest of the timeout for further attempts to connect.
        return left_s / 2 if self._waits_to_connect(error) and left_s > _LAST_PAUSE_S else None

    def final(self, error: DraftlineError) -> DraftlineError:
        """Return the error to raise for the last failure.

        If the time of the call has passed while there was no connection, that is more helpful than the deadline.
        """
        has_no_reason = error.code is grpc.StatusCode.DEADLINE_EXCEEDED and not error.reason
        return self._unconnected if self._unconnected is not None and has_no_reason else error

    def _is_exhausted(self, error: DraftlineError) -> bool:
        return self._failures >= self._retry.max_attempts and not self._waits_to_connect(error)

    def _waits_to_connect(self, error: DraftlineError) -> bool:
        """Return True if the call is to be tried until its timeout, because there was no connection to send it."""
        retry = self._retry
        has_end = self._ends_at is not None
        return retry.wait_for_connection and retry.max_attempts > 1 and has_end and is_unconnected(error)
