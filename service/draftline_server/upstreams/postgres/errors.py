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
# The classes of errors that no value of a row causes. All others refuse the row, also those that a trigger raises with
# a class of its own: otherwise one row would stop all.
NOT_OF_A_ROW = frozenset({
    "08", "0A", "0B", "0F", "0L", "0P", "0Z", "24", "25", "26", "28", "2B", "2D", "34", "3B", "3D", "3F", "40", "42",
    "53", "55", "57", "58", "72", "F0", "HV", "XX",
})  # fmt: skip
GENERATED_ALWAYS = "428C9"  # a value for a column that the database generates


def sqlstate(error: Exception) -> str:
    """Return the SQLSTATE of an error; empty if the server sent none."""
    return str(getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or "")


def refused(error: DBAPIError) -> Refused | NotTaken | None:
    """Return the outcome of the item that an error concerns; None if it concerns the database."""
    state, cause = sqlstate(error), error.orig.__cause__ if error.orig is not None else None
    if state in RETRYABLE:
        return NotTaken(f"SQLSTATE {state}")
    if not state or (state[:2] in NOT_OF_A_ROW and state != GENERATED_ALWAYS):
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
