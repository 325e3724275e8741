"""Calls of every rpc that writes: the data that each needs, and a request that can be repeated with its id."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, sync_pb2, types_pb2

from support.draft_calls import edit
from support.idempotent_calls import Caller, Request
from support.responses import document, steps

NUMBERS = '{"n": 1, "whole": 123456789012345678901, "one": 1E2, "two": 1.50, "in": {"long name": {"b": 1}, "a": 2}}'
SCHEMA = '{"properties": {"n": {"maximum": 3}}}'


def nothing(_: Caller) -> None:
    """Prepare nothing, for calls that need no data."""


@dataclass(frozen=True)
class Mutation:
    """A call that succeeds once; `writes` is false if it changes nothing."""

    method: str
    name: str
    prepare: Callable[[Caller], object]
    request: Callable[[Caller], Request]
    writes: bool = True

    def __str__(self) -> str:
        return f"{self.method}: {self.name}"


def head_of(request: Request) -> Any:
    """The message of a request that carries its id."""
    return request[0].header if isinstance(request, list) else request


def with_id(request: Request, request_id: str) -> Request:
    changed = copy.deepcopy(request)
    head_of(changed).request_id = request_id
    return changed


def shaped(request: Request, encoding: int, fields: Sequence[str]) -> Request:
    """The same, to be answered so; that of a batch says it of each patch."""
    changed = copy.deepcopy(request)
    for part in getattr(changed, "requests", [changed]):
        if hasattr(part, "response_encoding"):
            part.response_encoding = encoding
            part.fields[:] = fields
    return changed


def putting(caller: Caller, paths: Sequence[str] = (), **options: Any) -> collection_pb2.PutCollectionRequest:
    fields = [collection_pb2.DeclaredField(path=path, type=collection_pb2.FIELD_TYPE_NUMBER) for path in paths]
    return collection_pb2.PutCollectionRequest(tenant_id=caller.tenant_id, collection="films", fields=fields, **options)


def importing(
    caller: Caller, chunks: Sequence[dict[str, Any]], **options: Any
) -> list[content_pb2.ImportContentRequest]:
    part, records = content_pb2.ImportContentRequest, content_pb2.ImportRecord
    rows = [[records(record_id=name, content=document(row)) for name, row in chunk.items()] for chunk in chunks]
    return [
        part(header=content_pb2.ImportHeader(tenant_id=caller.tenant_id, collection="films", **options)),
        *(part(chunk=content_pb2.ImportChunk(records=row)) for row in rows),
        part(end=content_pb2.ImportEnd(record_count=sum(map(len, rows)))),
    ]


def batch(caller: Caller, patches: dict[str, dict[str, Any]], **options: Any) -> content_pb2.BatchPatchContentRequest:
    requests = [caller.records.patching(name, **patch) for name, patch in patches.items()]
    return content_pb2.BatchPatchContentRequest(tenant_id=caller.tenant_id, requests=requests, **options)


def creating(caller: Caller, record_id: str = "new", **options: Any) -> content_pb2.CreateContentRequest:
    return caller.records.creation(record_id, NUMBERS, **options)


def patching(caller: Caller, record_id: str = "a", **options: Any) -> content_pb2.PatchContentRequest:
    return caller.records.patching(record_id, **options)


def deleting(caller: Caller, **options: Any) -> content_pb2.DeleteContentRequest:
    return content_pb2.DeleteContentRequest(**caller.records.ids("a"), **options)


def undeleting(caller: Caller, **options: Any) -> content_pb2.UndeleteContentRequest:
    return content_pb2.UndeleteContentRequest(**caller.records.ids("a"), **options)


def purging(caller: Caller, **options: Any) -> content_pb2.PurgeContentRequest:
    return content_pb2.PurgeContentRequest(tenant_id=caller.tenant_id, collection="films", **options)


def saving(caller: Caller, edits: Sequence[draft_pb2.DraftEdit], **options: Any) -> draft_pb2.SaveDraftRequest:
    return caller.drafts.saving(*edits, **options)


def committing(caller: Caller, **options: Any) -> draft_pb2.CommitRequest:
    return caller.drafts.committing(**options)


def discarding(caller: Caller, **options: Any) -> draft_pb2.DiscardRequest:
    return caller.drafts.discarding(**options)


def reverting(caller: Caller, version: int | None = None, **options: Any) -> change_pb2.RevertChangeRequest:
    """Return a request that reverts a version of record `a`, or else the last commit."""
    change = version and change_pb2.ChangeRef(collection="films", record_id="a", version=version)
    target = {"change": change} if change else {"commit_id": [*caller.commits, str(uuid.UUID(int=0))][0]}
    return change_pb2.RevertChangeRequest(tenant_id=caller.tenant_id, **target, **options)


def syncing(caller: Caller, **options: Any) -> sync_pb2.PutSyncRequest:
    spec = sync_pb2.SyncSpec(endpoint="toy", collections=[sync_pb2.SyncCollection(collection="films")])
    return sync_pb2.PutSyncRequest(tenant_id=caller.tenant_id, upstream="toy", spec=spec, **options)


def pausing(caller: Caller) -> sync_pb2.PauseSyncRequest:
    return sync_pb2.PauseSyncRequest(tenant_id=caller.tenant_id, upstream="toy")


def resuming(caller: Caller) -> sync_pb2.ResumeSyncRequest:
    return sync_pb2.ResumeSyncRequest(tenant_id=caller.tenant_id, upstream="toy")


def running(caller: Caller) -> sync_pb2.RunSyncRequest:
    return sync_pb2.RunSyncRequest(tenant_id=caller.tenant_id, upstream="toy", run=sync_pb2.SYNC_RUN_SNAPSHOT)


def retrying(caller: Caller) -> sync_pb2.RetrySyncRequest:
    return sync_pb2.RetrySyncRequest(tenant_id=caller.tenant_id, collection="films", all=True)


def linking(caller: Caller) -> sync_pb2.LinkRecordRequest:
    return sync_pb2.LinkRecordRequest(**caller.records.ids("a"), remote_id="r-1")


def _record(caller: Caller) -> None:
    caller.records.create("a", NUMBERS, parent_id="p", position=1)


def _two(caller: Caller) -> None:
    _record(caller)
    caller.records.create("b", {"n": 1})


def _deleted(caller: Caller) -> None:
    _record(caller)
    caller.records.delete("a")


def _constrained(caller: Caller) -> None:
    _two(caller)
    caller.send("PutCollection", putting(caller, json_schema=SCHEMA))


def _declared(caller: Caller) -> None:
    caller.send("PutCollection", putting(caller, ["/n"]))


def _bound(caller: Caller) -> None:
    _record(caller)
    caller.send("PutSync", syncing(caller))


def _drafted(caller: Caller) -> None:
    _two(caller)
    edits = [edit("a", {"t": "mine"}), edit("new", create={"n": 1}), edit("b", delete=True)]
    caller.drafts.save(*edits, session_id="s", change_reason="of the draft")


def _conflicting(caller: Caller) -> None:
    _drafted(caller)
    caller.records.patch("a", {"t": "theirs"})


def _committed(caller: Caller) -> None:
    _two(caller)
    caller.commits.append(caller.send("BatchPatchContent", batch(caller, {"a": NEW, "b": NEW, "new": NEW})).commit_id)


def _changed_since(caller: Caller) -> None:
    _committed(caller)
    caller.records.patch("a", {"n": 9})


def increment(value: int = 1) -> dict[str, Any]:
    return {"operations": steps({"op": "increment", "path": "/n", "value": value})}


NEW = {"allow_missing": True, **increment()}
WHY = {"change_reason": "why"}
DELTA = {"delta": '{"n": 2, "in": {"a": 1e2, "long name": null}}'}
GROWS = steps({"op": "add", "path": "/l", "value": [1]}, {"op": "add", "path": "/l/-", "value": 2})
HOLDS_ONCE = steps({"op": "test", "path": "/n", "value": 1}, {"op": "replace", "path": "/n", "value": 2})
REMOVE = {"operations": steps({"op": "remove", "path": "/one"})}
SOME_FAIL = {"a": increment(), "missing": increment(), "b": REMOVE, "new": {}}
SNAPSHOT = content_pb2.IMPORT_MODE_SNAPSHOT
KEEP_MINE, KEEP_THEIRS = draft_pb2.CONFLICT_POLICY_KEEP_MINE, draft_pb2.CONFLICT_POLICY_KEEP_THEIRS

_CASES: dict[str, list[tuple[Any, ...]]] = {
    "CreateContent": [
        ("a record", nothing, partial(creating, parent_id="p", position=7, **WHY)),
        ("a record whose id the service makes", nothing, partial(creating, record_id="")),
        ("a record that fits the schema", _constrained, creating),
        ("a deleted record", _deleted, partial(creating, record_id="a", allow_deleted=True, **WHY)),
    ],
    "PatchContent": [
        *(
            (f"a delta, {name}", _record, partial(patching, strategy=strategy, **DELTA, **WHY))
            for name, strategy in types_pb2.MergeStrategy.items()
        ),
        ("an increment", _record, partial(patching, **increment())),
        ("a list that grows", _record, partial(patching, operations=GROWS)),
        ("a key that is removed", _record, partial(patching, **REMOVE)),
        ("a test that holds once", _record, partial(patching, operations=HOLDS_ONCE)),
        ("a missing record", nothing, partial(patching, allow_missing=True, parent_id="p", **increment())),
        ("a record that may be missing", _record, partial(patching, allow_missing=True, **increment())),
        ("a deleted record", _deleted, partial(patching, allow_missing=True, allow_deleted=True, **increment())),
        ("an expected version", _record, partial(patching, expected_version=1, **increment())),
        ("no record expected", nothing, partial(patching, allow_missing=True, expected_version=0, **increment())),
        ("a condition that holds once", _record, partial(patching, condition="n = 1", **increment())),
        ("attributes alone", _record, partial(patching, parent_id="", position=2)),
        ("nothing new", _record, partial(patching, delta='{"n": 1.0}'), False),
        ("a schema that holds once", _constrained, partial(patching, **increment(2))),
        ("a drafted record", _drafted, partial(patching, **increment())),
    ],
    "BatchPatchContent": [
        ("all", _two, partial(batch, patches={"b": increment(), "a": increment()}, **WHY)),
        ("some that fail", _two, partial(batch, patches=SOME_FAIL, allow_partial=True)),
        ("none but fail", _record, partial(batch, patches={"a": {}, "b": increment()}, allow_partial=True), False),
        ("nothing new", _record, partial(batch, patches={"a": {"position": 1}}), False),
        ("a deleted record", _deleted, partial(batch, patches={"a": {"allow_deleted": True, **NEW}, "b": NEW})),
        ("new records", nothing, partial(batch, patches={"a": NEW, "b": NEW})),
        (
            "a schema that holds once",
            _constrained,
            partial(batch, patches={"a": increment(2), "b": increment(9)}, allow_partial=True),
        ),
    ],
    "DeleteContent": [
        ("a record", _record, partial(deleting, **WHY)),
        ("an expected version", _record, partial(deleting, expected_version=1)),
        ("a condition", _record, partial(deleting, condition="n = 1")),
        ("a record that may be missing", _record, partial(deleting, allow_missing=True)),
        ("a missing record", nothing, partial(deleting, allow_missing=True), False),
        ("a deleted record", _deleted, partial(deleting, allow_missing=True), False),
    ],
    "UndeleteContent": [
        ("a record", _deleted, partial(undeleting, **WHY)),
        ("an expected version", _deleted, partial(undeleting, expected_version=2)),
    ],
    "ImportContent": [
        ("all modes", _two, partial(importing, chunks=[{"a": {"n": 2}, "b": {"n": 1}}, {"c": NUMBERS}], **WHY)),
        ("a snapshot", _two, partial(importing, chunks=[{"b": {"n": 2}, "c": NUMBERS}], mode=SNAPSHOT)),
        ("nothing new", _record, partial(importing, chunks=[]), False),
        ("the end of all", _two, partial(importing, chunks=[], mode=SNAPSHOT, allow_empty=True)),
    ],
    "PurgeContent": [
        ("a record", _deleted, partial(purging, record_ids=["a"], **WHY)),
        ("a missing record", nothing, partial(purging, record_ids=["a"]), False),
    ],
    "SaveDraft": [
        ("a change", _record, partial(saving, edits=[edit("a", {"t": 1})], session_id="s", **WHY)),
        ("an operation on a draft", _drafted, partial(saving, edits=[edit("a", **increment())], session_id="s")),
        (
            "a draft that is replaced",
            _drafted,
            partial(saving, edits=[edit("a", {"u": 1}, replace=True)], session_id="s"),
        ),
        ("a creation", nothing, partial(saving, edits=[edit("new", create={"n": 1})])),
        ("a deletion", _record, partial(saving, edits=[edit("a", delete=True)])),
        ("a creation that vanishes", _drafted, partial(saving, edits=[edit("new", delete=True)], session_id="s")),
        ("no draft expected", _record, partial(saving, edits=[edit("a", {"t": 1}, expected_draft_version=0)])),
        (
            "a draft version",
            _drafted,
            partial(saving, edits=[edit("a", {"t": 2}, expected_draft_version=1)], session_id="s"),
        ),
        ("several", _two, partial(saving, edits=[edit("b", {"t": 1}), edit("a", {"t": 2})], omit_content=True)),
        (
            "some that fail",
            _two,
            partial(saving, edits=[edit("a", {}), edit("x", {}), edit("b", "{")], allow_partial=True),
        ),
    ],
    "Commit": [
        ("all", _drafted, partial(committing, **WHY)),
        ("a session", _drafted, partial(committing, session_id="s", include_content=True)),
        ("some", _drafted, partial(committing, record_ids={"a": 1, "new": None})),
        ("no drafts", _record, committing, False),
        ("some that conflict", _conflicting, partial(committing, allow_partial=True)),
        ("my part", _conflicting, partial(committing, conflict_policy=KEEP_MINE, include_content=True)),
        ("their part", _conflicting, partial(committing, conflict_policy=KEEP_THEIRS)),
    ],
    "Discard": [
        ("all", _drafted, partial(discarding, include_content=True)),
        ("a session", _drafted, partial(discarding, session_id="s")),
        ("some", _drafted, partial(discarding, record_ids={"a": 1})),
        ("no drafts", _record, discarding, False),
    ],
    "RevertChange": [
        ("a change", _committed, partial(reverting, version=2, **WHY)),
        ("a creation", _record, partial(reverting, version=1)),
        ("a commit", _committed, partial(reverting, include_content=True)),
        ("some of a commit", _changed_since, partial(reverting, allow_partial=True)),
        ("my part", _changed_since, partial(reverting, conflict_policy=KEEP_MINE)),
        ("their part", _changed_since, partial(reverting, conflict_policy=KEEP_THEIRS)),
        ("nothing new", _changed_since, partial(reverting, version=2, conflict_policy=KEEP_THEIRS), False),
    ],
    "PutCollection": [
        ("a schema", nothing, partial(putting, json_schema=SCHEMA)),
        ("an index", nothing, partial(putting, paths=["/n", "/m"])),
        ("no version expected", nothing, partial(putting, paths=["/n"], expected_version=0)),
        ("an expected version", _declared, partial(putting, paths=["/n"], json_schema=SCHEMA, expected_version=1)),
        ("nothing new", _declared, partial(putting, paths=["/n"]), False),
    ],
    "PutSync": [
        ("a sync", nothing, syncing),
        ("no version expected", _record, partial(syncing, expected_version=0)),
        ("nothing new", _bound, syncing),
    ],
    "PauseSync": [("both directions", _bound, pausing)],
    "ResumeSync": [("both directions", _bound, resuming)],
    "RunSync": [("a snapshot", _bound, running)],
    "RetrySync": [("nothing refused", _bound, retrying, False)],
    "LinkRecord": [("a record", _bound, linking)],
}

MUTATIONS = [Mutation(method, *case) for method, cases in _CASES.items() for case in cases]
