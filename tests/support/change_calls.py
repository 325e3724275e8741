"""Shortcuts for calls of the change service for one tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, change_pb2_grpc, draft_pb2, types_pb2
from google.protobuf import json_format
from google.rpc import status_pb2

from support.draft_calls import conflicts_in
from support.responses import TIMEOUT_S, Refusal, exact, refused


@dataclass(frozen=True)
class Changes:
    channel: grpc.Channel
    tenant_id: str
    user: str = "ada"

    @property
    def stub(self) -> Any:
        return change_pb2_grpc.ChangeServiceStub(self.channel)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-draftline-user", self.user),)

    def send(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, timeout=TIMEOUT_S, metadata=self.metadata)

    def refused(self, method: str, request: Any) -> Refusal:
        return refused(getattr(self.stub, method), request, metadata=self.metadata)

    def listing(self, **query: Any) -> change_pb2.ListChangesRequest:
        query.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        return change_pb2.ListChangesRequest(tenant_id=self.tenant_id, **query)

    def page(self, **query: Any) -> change_pb2.ListChangesResponse:
        return self.send("ListChanges", self.listing(**query))

    def list(self, **query: Any) -> list[change_pb2.Change]:
        return list(self.page(**query).changes)

    def of(self, record_id: str, **query: Any) -> list[change_pb2.Change]:
        """Return the changes of a record, oldest first."""
        return self.list(collection="films", record_id=record_id, order_by="create_time", **query)

    def reverting(self, target: str | tuple[str, int], **options: Any) -> change_pb2.RevertChangeRequest:
        """Return a request to revert a commit, or one version of a record."""
        options.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        if isinstance(target, str):
            return change_pb2.RevertChangeRequest(tenant_id=self.tenant_id, commit_id=target, **options)
        change = change_pb2.ChangeRef(collection="films", record_id=target[0], version=target[1])
        return change_pb2.RevertChangeRequest(tenant_id=self.tenant_id, change=change, **options)

    def revert(self, target: str | tuple[str, int], **options: Any) -> change_pb2.RevertChangeResponse:
        return self.send("RevertChange", self.reverting(target, **options))

    def conflicts(self, target: str | tuple[str, int]) -> tuple[dict[str, str], list[draft_pb2.Conflict]]:
        """Return the metadata and the conflicts of a revert that must fail with conflicts."""
        with pytest.raises(grpc.RpcError) as caught:
            self.revert(target)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        trailers = dict(caught.value.trailing_metadata())
        return conflicts_in(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))


ABSENT = "absent"


def value_of(message: Any, name: str) -> Any:
    """Return the exact value, or ABSENT."""
    if not message.HasField(name):
        return ABSENT
    value = getattr(message, name)
    return exact(value.json) if value.WhichOneof("encoding") == "json" else json_format.MessageToDict(value.value)


def paths_of(change: change_pb2.Change) -> list[tuple[str, Any, Any]]:
    return [(path.path, value_of(path, "old_value"), value_of(path, "new_value")) for path in change.paths]


def attributes_of(change: change_pb2.Change) -> list[tuple[str, Any, Any]]:
    return [(each.name, value_of(each, "old_value"), value_of(each, "new_value")) for each in change.attributes]
