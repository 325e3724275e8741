"""Watchers that resume after their streams end for any reason."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from draftline.v1 import change_pb2, change_pb2_grpc

from support.call_history import Written
from support.retrying_writers import CHANNEL_OPTIONS, PASSING, PAUSE_S, reason_of

# Every message carries a token: a stream that says nothing for so long is as good as cut.
SILENCE_S = 10.0


@dataclass
class Watcher:
    """The changes that one watcher received, in order, over any number of streams."""

    address: str
    tenant_id: str
    token: str = ""
    seen: list[Written] = field(default_factory=list)
    streams: int = 0
    ends: Counter[str] = field(default_factory=Counter)  # of streams, by the reasons of their errors
    surprises: list[str] = field(default_factory=list)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Watch until cancelled."""
        async with grpc.aio.insecure_channel(self.address, CHANNEL_OPTIONS) as channel:
            stub = change_pb2_grpc.ChangeServiceStub(channel)
            while True:
                try:
                    async for message in self._messages(stub):
                        self.token = message.resume_token
                        self.seen += [_written(change) for change in message.changes]
                        self.is_ready.set()
                except grpc.aio.AioRpcError as error:
                    self.ends[reason_of(error)] += 1
                    if (error.code(), reason_of(error)) not in PASSING:
                        self.surprises.append(f"{error.code()} {reason_of(error)} {error.details()}")
                except TimeoutError:
                    pass
                await asyncio.sleep(random.uniform(*PAUSE_S))

    async def _messages(
        self, stub: change_pb2_grpc.ChangeServiceStub
    ) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        self.streams += 1
        stream = stub.WatchChanges(
            change_pb2.WatchChangesRequest(tenant_id=self.tenant_id, resume_token=self.token, omit_values=True)
        )
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    message = await stream.read()
                if message is grpc.aio.EOF:
                    return
                yield message
        finally:
            stream.cancel()


def _written(change: change_pb2.Change) -> Written:
    return Written(change.record_id, change.version, change.change_reason, (0, 0))
