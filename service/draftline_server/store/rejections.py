"""Reasons why a commit or revert is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..domain.drafts import Conflict
from ..domain.errors import ConflictError, DraftlineError
from .record_errors import error_of


class Outcome(Protocol):
    @property
    def error(self) -> DraftlineError | None: ...


def of_conflicts(message: str, record_id: str, conflicts: Sequence[Conflict]) -> DraftlineError:
    """Return the error of one record that is in conflict."""
    return ConflictError(message, conflicts, record_id=record_id, conflicts_count=len(conflicts))


def of_content(failure: str | None, collection: str, record_id: str) -> DraftlineError | None:
    """Return the error of a content that the database reports as not storable; None if there is no failure."""
    return error_of(failure, collection, record_id, where_of(record_id)) if failure is not None else None


def where_of(record_id: str) -> str:
    """Return the name of a record in errors that no field of the request caused."""
    return f"record {record_id!r}"


def refuse_any(results: Sequence[Outcome], told: str) -> None:
    """Raise the errors of the results, if there are any: all conflicts as one error, or else the first error.

    `told` completes the message of the conflicts: `{records} of {results} {told}`.
    """
    errors = [result.error for result in results if result.error is not None]
    if not errors:
        return
    conflicts = [conflict for error in errors if isinstance(error, ConflictError) for conflict in error.conflicts]
    if not conflicts:
        raise errors[0]
    records = len({(conflict.collection, conflict.record_id) for conflict in conflicts})
    raise ConflictError(f"{records} of {len(results)} {told}", conflicts, conflicts_count=len(conflicts))
