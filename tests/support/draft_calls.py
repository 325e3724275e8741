"""Shortcuts for calls of the draft service for one user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from draftline.v1 import draft_pb2, draft_pb2_grpc, types_pb2
from google.rpc import error_details_pb2, status_pb2

from support.responses import TIMEOUT_S, Refusal, content_of, document, refused


@dataclass(frozen=True)
class Drafts:
    channel: grpc.Channel
    tenant_id: str
    user: str
    collection: str = "films"

    @property
    def stub(self) -> Any:
        return draft_pb2_grpc.DraftServiceStub(self.channel)

    @property
    def where(self) -> dict[str, str]:
        return {"tenant_id": self.tenant_id, "collection": self.collection}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-draftline-user", self.user),)

    def of(self, **changes: str) -> Drafts:
        """Return the same shortcuts for another user, tenant or collection."""
        return replace(self, **changes)

    def send(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, timeout=TIMEOUT_S, metadata=self.metadata)

    def refused(self, method: str, request: Any) -> Refusal:
        return refused(getattr(self.stub, method), request, metadata=self.metadata)

    def saving(self, *edits: draft_pb2.DraftEdit, **options: Any) -> draft_pb2.SaveDraftRequest:
        options.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        return draft_pb2.SaveDraftRequest(**self.where, edits=edits, **options)

    def save(self, *edits: draft_pb2.DraftEdit, **options: Any) -> list[draft_pb2.SaveDraftResult]:
        return list(self.send("SaveDraft", self.saving(*edits, **options)).results)

    def change(self, record_id: str, delta: Any = None, **options: Any) -> draft_pb2.MergedRecord:
        """Save one edit."""
        request = {
            key: options.pop(key)
            for key in ("session_id", "move_to_session", "change_reason", "fields")
            if key in options
        }
        return self.save(edit(record_id, delta, **options), **request)[0].record

    def listing(self, **query: Any) -> draft_pb2.GetMergedRequest:
        query.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        return draft_pb2.GetMergedRequest(**self.where, **query)

    def page(self, **query: Any) -> draft_pb2.GetMergedResponse:
        return self.send("GetMerged", self.listing(**query))

    def ids(self, **query: Any) -> list[str]:
        return [each.record.record_id for each in self.page(**query).records]

    def contents(self, **query: Any) -> dict[str, Any]:
        return {each.record.record_id: content_of(each.record) for each in self.page(**query).records}

    def one(self, record_id: str, **query: Any) -> draft_pb2.MergedRecord:
        (found,) = self.page(record_ids=[record_id], **query).records
        return found

    def drafted(self) -> list[str]:
        return self.ids(view=draft_pb2.VIEW_DRAFTS_ONLY)

    def stream(self, **query: Any) -> Iterator[draft_pb2.StreamMergedResponse]:
        query.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        return self.send("StreamMerged", draft_pb2.StreamMergedRequest(**self.where, **query))

    def committing(self, **options: Any) -> draft_pb2.CommitRequest:
        return draft_pb2.CommitRequest(**self.where, **_selected(options))

    def commit(self, **options: Any) -> list[draft_pb2.CommitResult]:
        return list(self.send("Commit", self.committing(**options)).results)

    def discarding(self, **options: Any) -> draft_pb2.DiscardRequest:
        return draft_pb2.DiscardRequest(**self.where, **_selected(options))

    def discard(self, **options: Any) -> list[draft_pb2.MergedRecord]:
        return list(self.send("Discard", self.discarding(**options)).records)

    def conflicts(self, **options: Any) -> tuple[dict[str, str], list[draft_pb2.Conflict]]:
        """Return the metadata and the conflicts of a commit that must fail with conflicts."""
        with pytest.raises(grpc.RpcError) as caught:
            self.commit(**options)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        trailers = dict(caught.value.trailing_metadata())
        return conflicts_in(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))


def edit(record_id: str, delta: Any = None, **options: Any) -> draft_pb2.DraftEdit:
    if delta is not None:
        options["delta"] = document(delta)
    if "create" in options:
        options["create"] = document(options["create"])
    if options.get("delete") is True:
        options["delete"] = draft_pb2.DeleteMark()
    return draft_pb2.DraftEdit(record_id=record_id, **options)


def conflicts_in(status: Any) -> tuple[dict[str, str], list[draft_pb2.Conflict]]:
    """Return the details of a status with the reason CONFLICT."""
    read = status_pb2.Status.FromString(status.SerializeToString())
    info = error_details_pb2.ErrorInfo()
    assert read.details[0].Unpack(info)
    assert info.reason == "CONFLICT"
    conflicts = [draft_pb2.Conflict() for _ in read.details[1:]]
    assert all(detail.Unpack(conflict) for detail, conflict in zip(read.details[1:], conflicts, strict=True))
    return dict(info.metadata), conflicts


def _selected(options: dict[str, Any]) -> dict[str, Any]:
    """Return the selection: `record_ids` as a list or a dict of draft versions; by default all drafts."""
    record_ids = options.pop("record_ids", None)
    if record_ids is not None:
        versions = record_ids if isinstance(record_ids, dict) else dict.fromkeys(record_ids)
        options["drafts"] = draft_pb2.DraftSelection(
            drafts=[draft_pb2.SelectedDraft(record_id=key, expected_draft_version=it) for key, it in versions.items()]
        )
    elif "session_id" not in options:
        options["all"] = True
    options.setdefault("response_encoding", types_pb2.ENCODING_JSON)
    return options
