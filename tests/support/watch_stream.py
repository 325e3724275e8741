"""A watcher that keeps the messages received so far and the last token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from draftline.v1 import change_pb2, change_pb2_grpc, types_pb2

from support.responses import TIMEOUT_S


@dataclass
class Watcher:
    stream: Any
    messages: list[change_pb2.WatchChangesResponse] = field(default_factory=list)

    def next(self) -> change_pb2.WatchChangesResponse:
        message: change_pb2.WatchChangesResponse = next(self.stream)
        self.messages.append(message)
        return message

    def broken(self) -> grpc.RpcError:
        """Read to the end of the stream and return the error that ends it."""
        try:
            while True:
                self.next()
        except grpc.RpcError as error:
            return error

    @property
    def token(self) -> str:
        return self.messages[-1].resume_token

    def changes(self, count: int) -> list[change_pb2.Change]:
        """Return at least `count` further changes."""
        found: list[change_pb2.Change] = []
        while len(found) < count:
            found += self.next().changes
        return found

    def versions(self, count: int) -> list[tuple[str, int]]:
        found = [(change.record_id, change.version) for change in self.changes(count)]
        assert len(found) == count
        return found

    def merged(self, count: int) -> list[change_pb2.MergedChange]:
        """Return at least `count` further records of a merged view."""
        found: list[change_pb2.MergedChange] = []
        while len(found) < count:
            found += self.next().merged
        return found


@contextmanager
def watching(channel: grpc.Channel, tenant_id: str, user: str = "ada", **request: Any) -> Iterator[Watcher]:
    """Yield a watcher that has received its first message; cancel it at the end."""
    request.setdefault("response_encoding", types_pb2.ENCODING_JSON)
    stream = change_pb2_grpc.ChangeServiceStub(channel).WatchChanges(
        change_pb2.WatchChangesRequest(tenant_id=tenant_id, **request),
        timeout=2 * TIMEOUT_S,
        metadata=(("x-draftline-user", user),),
    )
    watcher = Watcher(stream)
    try:
        watcher.next()
        yield watcher
    finally:
        stream.cancel()
