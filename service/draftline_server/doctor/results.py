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
    told: str
    mend: str = ""


def ok(check: str, told: str) -> Finding:
    return Finding(check, State.OK, told)


def warning(check: str, told: str, mend: str) -> Finding:
    return Finding(check, State.WARNING, told, mend)


def fault(check: str, told: str, mend: str) -> Finding:
    return Finding(check, State.FAULT, told, mend)


def skipped(check: str, told: str) -> Finding:
    return Finding(check, State.SKIPPED, told)
