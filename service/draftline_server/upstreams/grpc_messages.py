"""Conversion between the messages of UpstreamService and the public types."""

from __future__ import annotations

from collections.abc import Iterator

from draftline import documents
from draftline.upstreams import (
    Applied,
    Capabilities,
    Create,
    Delete,
    Exists,
    FieldProblem,
    Gone,
    NotTaken,
    Outcome,
    Page,
    Refused,
    RemoteRecord,
    Stale,
    Unknown,
    Update,
    WriteItem,
)
from draftline.v1 import types_pb2, upstream_pb2

from .field_mapping import FieldTranslator


def capabilities(message: upstream_pb2.DescribeResponse) -> Capabilities:
    """Return the capabilities that a system claims."""
    return Capabilities(
        idempotency_keys_s=message.idempotency_keys_s,
        conditional_writes=message.conditional_writes,
        client_reference=message.client_reference,
        ordered_versions=message.ordered_versions,
        returns_stored=message.returns_stored,
        changes=message.changes,
        deletions_in_changes=message.deletions_in_changes,
        snapshots=message.snapshots,
        lookups=message.lookups,
        read_lag_s=message.read_lag_s,
        max_batch=message.max_batch or 1,
        atomic_batch=message.atomic_batch,
    )


def item_message(item: WriteItem, fields: FieldTranslator) -> upstream_pb2.WriteItem:
    """Return the message of an item. Raises UnmappableError if a value cannot be converted."""
    message = upstream_pb2.WriteItem(
        idempotency_key=item.idempotency_key,
        repeat=item.repeat,
        record_id=item.record_id,
        remote_id=item.remote_id,
        expected_remote_version=item.expected_remote_version,
        commit_ids=item.commit_ids,
        user_id=item.user_id,
    )
    match item.write:
        case Create(document):
            message.create.CopyFrom(documents.document(fields.document_out(document)))
        case Update(edits):
            message.update.SetInParent()
            for edit in fields.edits_out(edits):
                sent = message.update.edits.add(path=edit.path)
                if not edit.removed:
                    sent.value.json = documents.encode(edit.value)
        case Delete():
            message.delete.SetInParent()
    return message


def outcome(message: upstream_pb2.WriteOutcome, fields: FieldTranslator) -> Outcome:
    """Return the outcome of one item."""
    match message.WhichOneof("outcome"):
        case "applied":
            applied = message.applied
            stored = record(applied.stored, fields) if applied.HasField("stored") else None
            return Applied(applied.remote_id, applied.remote_version, stored)
        case "exists":
            return Exists(record(message.exists.record, fields) if message.exists.HasField("record") else None)
        case "stale":
            return Stale(record(message.stale.record, fields) if message.stale.HasField("record") else None)
        case "gone":
            return Gone()
        case "refused":
            problems = [FieldProblem(fields.local_path(each.path), each.message) for each in message.refused.fields]
            return Refused(message.refused.reason, message.refused.message, tuple(problems))
        case "not_taken":
            after_s = message.not_taken.after_s if message.not_taken.HasField("after_s") else None
            return NotTaken(message.not_taken.message, after_s)
    return Unknown("the system does not know the outcome")


def record(message: upstream_pb2.RemoteRecord, fields: FieldTranslator) -> RemoteRecord:
    """Return a record. Raises ValueError if its document is not valid JSON."""
    document = {} if message.deleted else fields.document_in(_content(message.document))
    return RemoteRecord(
        remote_id=message.remote_id,
        remote_version=message.remote_version,
        record_id=message.record_id,
        deleted=message.deleted,
        document=document,
    )


def page(message: upstream_pb2.ReadPage, fields: FieldTranslator) -> Page:
    """Return a page."""
    return Page(tuple(_records(message, fields)), message.cursor or None, message.changes_cursor or None)


def _records(message: upstream_pb2.ReadPage, fields: FieldTranslator) -> Iterator[RemoteRecord]:
    for each in message.records:
        yield record(each, fields)


def _content(message: types_pb2.Document) -> dict[str, object]:
    content = documents.content_of(message)
    if not isinstance(content, dict):
        raise ValueError("a document of the system is not a JSON object")  # noqa: TRY004  as for other problems
    return content
