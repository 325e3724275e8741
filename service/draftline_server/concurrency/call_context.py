"""The deadline and the tenant of the current call, which everything that it waits for obeys."""

from __future__ import annotations

import time
from contextvars import ContextVar

from ..domain.errors import DeadlineExceededError

TIMER_S = 0.002  # the accuracy of timers

# The deadline of the current call, in terms of time.monotonic().
call_deadline: ContextVar[float | None] = ContextVar("call_deadline", default=None)
# The tenant of the current call; empty if it has none. Connections are shared fairly among tenants.
call_tenant: ContextVar[str] = ContextVar("call_tenant", default="")


def remaining_s(otherwise: float | None = None) -> float | None:
    """Return the time until the call's deadline; `otherwise` if it has none.

    Raises DeadlineExceededError if the deadline has passed.
    """
    deadline = call_deadline.get()
    if deadline is None:
        return otherwise
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise DeadlineExceededError("the call's deadline has passed")
    return remaining


def is_late() -> bool:
    """Return whether the call's deadline has passed, or does so within TIMER_S."""
    deadline = call_deadline.get()
    return deadline is not None and deadline - time.monotonic() < TIMER_S


def refuse_late() -> None:
    """Raise DeadlineExceededError if the call's deadline has passed. Call this only before anything was sent."""
    if is_late():
        raise DeadlineExceededError("the call's deadline has passed; nothing was changed")
