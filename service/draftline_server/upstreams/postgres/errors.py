"""Errors of PostgreSQL, as what they mean for a write."""

from __future__ import annotations

from draftline.upstreams import (
    FieldProblem,
    NotTaken,
    Refused,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
    UpstreamError,
)
from sqlalchemy.exc import DBAPIError

RETRYABLE = frozenset({"40001", "40P01", "55P03", "57014"})  # serialization, deadlock, lock or statement timeout


def sqlstate(error: Exception) -> str:
    """Return the SQLSTATE of an error; empty if the server sent none."""
    return str(getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or "")


def refused(error: DBAPIError) -> Refused | NotTaken | None:
    """Return the outcome of the item that an error concerns; None if it concerns the database."""
    state, cause = sqlstate(error), error.orig.__cause__ if error.orig is not None else None
    if state in RETRYABLE:
        return NotTaken(f"SQLSTATE {state}")
    if state[:2] not in ("22", "23", "P0"):
        return None
    column = getattr(cause, "column_name", None)
    message = str(getattr(cause, "message", None) or f"SQLSTATE {state}")
    reason = getattr(cause, "constraint_name", None) or f"SQLSTATE_{state}"
    return Refused(reason, message, (FieldProblem(f"/{column}", message),) if column else ())


def of_database(error: Exception) -> UpstreamError:
    """Return the error of the upstream for an error after which nothing was applied."""
    state = sqlstate(error)
    if state.startswith("28") or state == "42501":
        return UnauthorizedError(f"the database rejects the user or lacks a privilege (SQLSTATE {state})")
    if state.startswith("53"):
        return ThrottledError(f"the database has no resources (SQLSTATE {state})")
    return UnreachableError(f"SQLSTATE {state}" if state else f"the connection failed ({type(error).__name__})")
