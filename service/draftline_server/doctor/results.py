"""The findings of `draftline doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # the service runs, but degraded, or will fail soon
    FAULT = "fault"
    SKIPPED = "skipped"  # the check could not run


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: the observation and, for a warning or a fault, how to fix it."""

    check: str
    state: State
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(check, State.OK, message)


def warning(check: str, message: str, fix: str) -> Finding:
    return Finding(check, State.WARNING, message, fix)


def fault(check: str, message: str, fix: str) -> Finding:
    return Finding(check, State.FAULT, message, fix)


def skipped(check: str, message: str) -> Finding:
    return Finding(check, State.SKIPPED, message)
