"""Conversion between attempts and answers of the store and the values of the connector interface."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from draftline import documents
from draftline.upstreams import (
    Applied,
    Capabilities,
    CollectionBinding,
    Create,
    Delete,
    Direction,
    Exists,
    FieldMapping,
    Gone,
    NotTaken,
    Outcome,
    PathEdit,
    Refused,
    RemoteRecord,
    Stale,
    Unknown,
    Update,
    Write,
    WriteItem,
)

from ..domain.content import Limits, check_value
from ..domain.edits import format_pointer
from ..domain.errors import DraftlineError
from ..domain.sync import (
    MAX_REMOTE_ID_BYTES,
    Answer,
    Attempt,
    BoundCollection,
    Effect,
    Op,
    Settlement,
    backoff_s,
)
from .breaker import asked_s

# What a document may contain that the database cannot store: NUL, and numbers with very many digits.
_SUSPECT = re.compile(r"\\u0000|[0-9][eE][+-]?[0-9]{3}|[0-9]{1000}")
_UNLIMITED = Limits(max_depth=documents.MAX_DEPTH, max_nodes=2**62)  # the merge checks sizes
MAX_BATCH = 1_000  # records of one request, whatever a system claims: they are prepared in one transaction
MAX_MESSAGE = 1_000  # characters of a message of the upstream that are stored


def to_binding(bound: BoundCollection) -> CollectionBinding:
    return CollectionBinding(
        collection=bound.collection,
        resource=bound.resource,
        fields=tuple(
            FieldMapping(
                local=format_pointer(each.path),
                remote=each.remote or format_pointer(each.path),
                direction=Direction[each.direction],
                type=each.type,
                format=each.format,
                values=each.values,
            )
            for each in bound.fields
        ),
    )


def usable(claimed: Capabilities) -> Capabilities:
    """Return the capabilities that a system claims, with durations and sizes within limits."""
    keys_s = claimed.idempotency_keys_s if claimed.idempotency_keys_s > 0.0 else 0.0
    size = min(max(claimed.max_batch, 1), MAX_BATCH)
    return replace(claimed, idempotency_keys_s=keys_s, read_lag_s=asked_s(claimed.read_lag_s), max_batch=size)


def to_item(attempt: Attempt) -> WriteItem:
    return WriteItem(
        idempotency_key=attempt.attempt_id,
        record_id=attempt.record_id,
        write=_write(attempt),
        repeat=attempt.in_doubt,
        remote_id=attempt.remote_id,
        expected_remote_version=attempt.if_match,
        commit_ids=(attempt.commit_id,) if attempt.commit_id else (),
        user_id=attempt.user_id,
    )


def _write(attempt: Attempt) -> Write:
    if attempt.op is Op.DELETE:
        return Delete()
    sent = documents.decode(attempt.sent or "{}")
    if attempt.op is Op.CREATE:
        return Create(sent)
    return Update(tuple(edits_between(documents.decode(attempt.base or "{}"), sent)))


def edits_between(old: Mapping[str, Any], new: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[PathEdit]:
    """Yield the paths of a document that change from `old` to `new`. Objects are compared key by key."""
    for name in sorted({*old, *new}):
        path = (*at, name)
        if name not in new:
            yield PathEdit(format_pointer(path), removed=True)
        elif name in old and isinstance(old[name], dict) and isinstance(new[name], dict):
            yield from edits_between(old[name], new[name], path)
        elif name not in old or documents.encode(old[name]) != documents.encode(new[name]):
            yield PathEdit(format_pointer(path), new[name])


def to_answer(remote: RemoteRecord, record_id: str = "") -> Answer:
    text = "{}" if remote.deleted else _document_text(remote.document)
    return Answer(
        remote.remote_id,
        storable(remote.remote_version) or None,
        remote.record_id if remote.record_id == storable(remote.record_id) else "",
        remote.deleted,
        text or "{}",
        record_id,
        is_storable=text is not None,
    )


def _document_text(document: Mapping[str, Any]) -> str | None:
    """Return the JSON text of a document; None if the database cannot store one of its values."""
    try:
        text = documents.encode_object(document)
        if _SUSPECT.search(text):
            check_value(documents.decode(text), _UNLIMITED, "document")
    except (TypeError, ValueError, DraftlineError):
        return None
    return text


def error_json(reason: str, message: str, field: str = "") -> str:
    """Return the error of a record as it is stored, without characters that the database cannot store."""
    clean = [storable(text)[:MAX_MESSAGE] for text in (reason, message, field)]
    return json.dumps(dict(zip(("reason", "message", "field"), clean, strict=True)))


def storable(text: str) -> str:
    """Return a text without the characters that the database cannot store: NUL and lone surrogates."""
    return text.replace("\0", "").encode(errors="ignore").decode()


def is_storable_id(remote_id: str) -> bool:
    """Return whether the database can store a remote id."""
    return bool(remote_id) and remote_id == storable(remote_id) and len(remote_id.encode()) <= MAX_REMOTE_ID_BYTES


def to_settlement(attempt: Attempt, outcome: Outcome, capabilities: Capabilities, now: datetime) -> Settlement:
    """Return what the outcome of an attempt changes. `now`: the time by the database's clock."""
    match outcome:
        case Applied() if not is_storable_id(outcome.remote_id):
            problem = error_json("OUTCOME_UNKNOWN", "the upstream applied the write, but returned no valid id")
            return Settlement(attempt.record_id, attempt.attempt_id, Effect.LOST, error=problem)
        case Applied():
            version = storable(outcome.remote_version) or None
            return Settlement(
                attempt.record_id, attempt.attempt_id, Effect.APPLIED, outcome.remote_id, remote_version=version
            )
        case Exists():
            found = outcome.record.remote_id if outcome.record is not None else ""
            remote_id = found if is_storable_id(found) else None
            problem = error_json("EXISTS", "the upstream has such a record already, and did not return its id")
            return Settlement(attempt.record_id, attempt.attempt_id, Effect.READ, remote_id, error=problem)
        case Stale() | Gone():
            return Settlement(attempt.record_id, attempt.attempt_id, Effect.READ)
        case Refused():
            where = outcome.fields[0] if outcome.fields else None
            message = "; ".join(filter(None, [outcome.message, where.message if where else ""]))
            problem = error_json(outcome.reason or "REFUSED", message, where.path if where else "")
            return Settlement(attempt.record_id, attempt.attempt_id, Effect.REFUSED, error=problem)
        case NotTaken():
            next_at = now + timedelta(seconds=max(asked_s(outcome.after_s), 1.0))
            return Settlement(attempt.record_id, attempt.attempt_id, Effect.NOT_TAKEN, next_at=next_at)
    if attempt.op is Op.CREATE and not capabilities.idempotency_keys_s and not capabilities.client_reference:
        problem = error_json("OUTCOME_UNKNOWN", "the response to the creation was lost; link the record, or retry it")
        return Settlement(attempt.record_id, attempt.attempt_id, Effect.LOST, error=problem)
    wait_s = asked_s(outcome.after_s) if isinstance(outcome, Unknown) else 0.0
    next_at = now + timedelta(seconds=max(wait_s, backoff_s(attempt.tries)))
    return Settlement(attempt.record_id, attempt.attempt_id, Effect.UNKNOWN, next_at=next_at)
