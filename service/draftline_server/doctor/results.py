"""What an examination of a service and its surroundings finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it serves, but not as it should, or not for long
    FAULT = "fault"
    SKIPPED = "skipped"  # it cannot be told now


@dataclass(frozen=True, slots=True)
class Finding:
    """Of one check: what is so, and for a warning or a fault how to mend it."""

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
