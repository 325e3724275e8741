"""Findings about an examination that failed: each error of the database with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from ..domain.errors import (
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    OperatorError,
    OverloadedError,
    StorageFullError,
)
from .results import Finding, fault

DEFAULT_FIX = "PostgreSQL's log has the reason; correct it, and run the doctor again"
_FIXES: Mapping[type[DraftlineError], str] = {
    ContentionError: "another session holds locks: find it by `draftline top`, end it, and run the doctor again",
    DatabaseUnavailableError: "check that PostgreSQL runs and that its log shows no restarts, and run the doctor again",
    DeadlineExceededError: "pass --quick, raise DRAFTLINE_STATEMENT_TIMEOUT_S for the doctor, or reduce the load",
    OverloadedError: "PostgreSQL lacks memory or connections: its log has the reason; free some, or raise its limits",
    StorageFullError: "free space on the disk of PostgreSQL (docs/operations.md, DraftlineStorageFull)",
}


def fix_of(error: DraftlineError) -> str:
    """Return what to do about an error of the database during the examination."""
    return next((fix for kind, fix in _FIXES.items() if isinstance(error, kind)), DEFAULT_FIX)


def fault_of(check: str, error: OperatorError | str) -> Finding:
    """Return a fault with the problem and the fix of a sentence of the form `problem: fix`."""
    problem, separator, fix = str(error).partition(": ")
    if isinstance(error, OperatorError) and isinstance(error.__cause__, DraftlineError):
        return fault(check, str(error), fix_of(error.__cause__))
    return fault(check, problem, fix if separator else DEFAULT_FIX)
