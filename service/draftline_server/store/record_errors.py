"""Errors of records: for the failures that statements return in index of a record, and for commits and reverts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..domain.collections import CollectionSpec
from ..domain.drafts import Conflict
from ..domain.errors import (
    ConditionNotMetError,
    ConflictError,
    DocumentTooLargeError,
    DraftDeletesRecordError,
    DraftInOtherSessionError,
    DraftlineError,
    DraftVersionMismatchError,
    IndexedTextTooLongError,
    InvalidDocumentError,
    InvalidFilterError,
    InvalidOperationError,
    OperationTestFailedError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotDeletedError,
    RecordNotFoundError,
    TypeMismatchError,
    VersionMismatchError,
)
from ..domain.filters.ast import Filter, FilterError, Restriction
from ..domain.filters.conditions import to_json
from ..domain.filters.related import refuse_related
from ..domain.filters.type_resolution import with_types
from ..domain.filters.values import EXPECTED_STORED, FieldType
from ..domain.relations import relations_of
from .collections.cache import StaleCollectionSpecError
from .driver_errors import LeftAloneError, RacedError


def not_found(collection: str, record_id: str) -> DraftlineError:
    message = f"there is no record {record_id!r} in collection {collection!r}"
    return RecordNotFoundError(message, record_id=record_id)


def deleted(record_id: str) -> DraftlineError:
    return RecordDeletedError(f"record {record_id!r} is deleted; restore it with UndeleteContent", record_id=record_id)


def drafted_over_deleted(record_id: str) -> DraftlineError:
    problem = f"record {record_id!r} is deleted; set allow_deleted to draft its restoration"
    return RecordDeletedError(problem, record_id=record_id)


def id_of_deleted(record_id: str) -> DraftlineError:
    """Return the error for creating a record with the id of a deleted one."""
    return RecordDeletedError(
        f"record {record_id!r} is deleted: create over it with allow_deleted, restore it with UndeleteContent, "
        "or remove it permanently with PurgeContent",
        record_id=record_id,
    )


def exists_already(record_id: str) -> DraftlineError:
    return RecordExistsError(f"record {record_id!r} already exists", record_id=record_id)


def error_of(failure_json: str, collection: str, record_id: str, where: str) -> DraftlineError:
    """Return the error for a failure. `where` names the field of the request that made the content.

    Raises StaleCollectionSpecError, RacedError and LeftAloneError, which the store itself handles.
    """
    failure = msgspec.json.decode(failure_json, type=dict[str, object])
    reason = failure["reason"]
    if reason == "STALE_DEFINITION":
        raise StaleCollectionSpecError
    if reason == "RACED":
        raise RacedError
    if reason == "LEFT_ALONE":
        raise LeftAloneError(str(failure["cause"]))
    if reason == "RECORD_DELETED":
        return drafted_over_deleted(record_id) if failure.get("is_draft") else deleted(record_id)
    if reason == "RECORD_NOT_DELETED":
        return RecordNotDeletedError(f"record {record_id!r} is not deleted", record_id=record_id)
    if reason == "VERSION_MISMATCH":
        return version_mismatch(record_id, failure["current_version"])
    if reason == "CONDITION_NOT_MET":
        return condition_not_met(record_id)
    if reason in _OF_DRAFTS:
        return _of_draft(failure, collection, record_id)
    if reason in ("INVALID_OPERATION", "TEST_FAILED"):
        return _of_operation(failure, where)
    return _of_content(failure, where)


_OF_DRAFTS = (
    "RECORD_NOT_FOUND",
    "RECORD_EXISTS",
    "DRAFT_VERSION_MISMATCH",
    "DRAFT_DELETES_RECORD",
    "DRAFT_IN_OTHER_SESSION",
)


def _of_draft(failure: dict[str, object], collection: str, record_id: str) -> DraftlineError:
    match failure["reason"]:
        case "RECORD_NOT_FOUND":
            return not_found(collection, record_id)
        case "RECORD_EXISTS":
            return exists_already(record_id)
        case "DRAFT_DELETES_RECORD":
            return DraftDeletesRecordError(
                f"your draft deletes record {record_id!r}: save with replace, or discard the draft", record_id=record_id
            )
        case "DRAFT_IN_OTHER_SESSION":
            return _in_other_session(record_id, str(failure["session_id"]))
    return draft_version_mismatch(record_id, failure["current_draft_version"])


def _in_other_session(record_id: str, session_id: str) -> DraftlineError:
    where = f"belongs to session {session_id!r}" if session_id else "belongs to no session"
    return DraftInOtherSessionError(
        f"your draft of record {record_id!r} {where}: save with that session_id, or set move_to_session",
        session_id=session_id,
        record_id=record_id,
    )


def draft_version_mismatch(record_id: str, current: object) -> DraftlineError:
    return DraftVersionMismatchError(
        f"your draft of record {record_id!r} is at version {current}"
        if current
        else f"you have no draft of record {record_id!r}",
        current_draft_version=current,
        record_id=record_id,
    )


def version_mismatch(record_id: str, current: object) -> DraftlineError:
    return VersionMismatchError(
        f"record {record_id!r} is at version {current}" if current else f"there is no record {record_id!r} yet",
        current_version=current,
        record_id=record_id,
    )


def deleted_counts_as_none(record_id: str) -> DraftlineError:
    return VersionMismatchError(
        f"record {record_id!r} is deleted, which allow_deleted treats as missing: expect version 0, or none",
        current_version=0,
        record_id=record_id,
    )


def condition_not_met(record_id: str) -> DraftlineError:
    return ConditionNotMetError(f"record {record_id!r} does not satisfy the condition", record_id=record_id)


def _of_operation(failure: dict[str, object], where: str) -> DraftlineError:
    index, path = failure.get("operation"), failure.get("path", "")
    field = where if index is None else f"{where}.operations[{index}]"
    if failure["reason"] == "TEST_FAILED":
        return OperationTestFailedError(f"{field}: the test of {path!r} failed", operation=index, path=path)
    problem = f"path {path!r} {failure['message']}"
    return InvalidOperationError(f"{field}: {problem}", fields=[(field, problem)], operation=index, path=path)


def _of_content(failure: dict[str, object], where: str) -> DraftlineError:
    if failure["reason"] == "TYPE_MISMATCH":
        return _of_type(failure, where)
    limit = failure["limit"]
    if failure["reason"] == "INDEXED_TEXT_TOO_LONG":
        problem = f"the text at {failure['path']} is indexed and must be at most {limit} bytes"
        return IndexedTextTooLongError(
            f"{where}: {problem}", fields=[(where, problem)], path=failure["path"], limit=limit
        )
    if failure["reason"] == "NUMBER_TOO_LONG":
        problem = f"the merged content's numbers must have at most {limit} digits before and after the point"
        return InvalidDocumentError(f"{where}: {problem}", fields=[(where, problem)])
    rule = {"size": "bytes of JSON text", "depth": "levels of nesting", "count": "values"}[str(failure["what"])]
    problem = f"the merged content must have at most {limit} {rule}"
    return DocumentTooLargeError(f"{where}: {problem}", fields=[(where, problem)], limit=limit)


def _of_type(failure: dict[str, object], where: str) -> DraftlineError:
    path, type_, kind = failure["path"], FieldType(str(failure["type"])), failure["kind"]
    expected = EXPECTED_STORED[type_]
    problem = (
        f"{path} is declared as {type_} and refuses other values: expected {expected}, found {_found(kind, type_)}"
    )
    return TypeMismatchError(f"{where}: {problem}", fields=[(where, problem)], path=path, type=str(type_), kind=kind)


def _found(kind: object, type_: FieldType) -> str:
    if kind == "string" and type_ in (FieldType.DATE, FieldType.TIMESTAMP):
        return "another text"
    if kind == "number" and type_ is FieldType.NUMBER:
        return "a longer one"
    return {"string": "a text", "number": "a number", "boolean": "a boolean", "array": "an array"}.get(
        str(kind), "an object"
    )


def condition_json(condition: Filter[Restriction] | None, spec: CollectionSpec) -> str | None:
    """Return a condition as `draftline.matches` takes it, typed by the spec.

    Raises InvalidFilterError if the condition does not fit the spec, or names related records.
    """
    if condition is None:
        return None
    try:
        if spec.relations or spec.inverses:
            refuse_related(condition, relations_of(spec.collection, spec.relations, spec.inverses))
        return json.dumps(to_json(with_types(condition, spec.fields)))
    except FilterError as error:
        raise invalid_filter("condition", error) from None


def invalid_filter(field: str, error: FilterError) -> DraftlineError:
    problem = f"at character {error.position}: {error.message}"
    return InvalidFilterError(f"{field}: {problem}", fields=[(field, problem)], position=error.position)


class Outcome(Protocol):
    @property
    def error(self) -> DraftlineError | None: ...


def conflict_error(message: str, record_id: str, conflicts: Sequence[Conflict]) -> DraftlineError:
    """Return the error of one record that is in conflict."""
    return ConflictError(message, conflicts, record_id=record_id, conflicts_count=len(conflicts))


def content_error(failure: str | None, collection: str, record_id: str) -> DraftlineError | None:
    """Return the error of a content that the database reports as not storable; None if there is no failure."""
    return error_of(failure, collection, record_id, record_field(record_id)) if failure is not None else None


def record_field(record_id: str) -> str:
    """Return the name of a record in errors that no field of the request caused."""
    return f"record {record_id!r}"


def raise_any(results: Sequence[Outcome], problem: str) -> None:
    """Raise the errors of the results, if there are any: all conflicts as one error, or else the first error.

    `problem` completes the message of the conflicts: `{records} of {results} {problem}`.
    """
    errors = [result.error for result in results if result.error is not None]
    if not errors:
        return
    conflicts = [conflict for error in errors if isinstance(error, ConflictError) for conflict in error.conflicts]
    if not conflicts:
        raise errors[0]
    records = len({(conflict.collection, conflict.record_id) for conflict in conflicts})
    raise ConflictError(f"{records} of {len(results)} {problem}", conflicts, conflicts_count=len(conflicts))
