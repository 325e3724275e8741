"""A system of record that implements `draftline.v1.UpstreamService`, in threads of this process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import msgspec
from draftline.v1 import upstream_pb2, upstream_pb2_grpc
from draftline_server.demo.steps import films

from .records import record_id

MAX_BATCH = 100
PAGE_RECORDS = 1_000
THREADS = 16
encode = msgspec.json.Encoder(decimal_format="number").encode


class SystemOfRecord(upstream_pb2_grpc.UpstreamServiceServicer):
    """A system that applies every write.

    `records`: how many films a snapshot contains, by resource; their versions are 1 and never change. `latency_s`: the
    delay of each response to a write. `arrivals`: when a write arrived, by the clock of `time.perf_counter`.
    """

    def __init__(self) -> None:
        self.records: dict[str, int] = {}
        self.latency_s = 0.0
        self.arrivals: dict[str, float] = {}
        self._contents = [encode(content).decode().removesuffix("}") for _, content in films()]
        self._versions = itertools.count(2)

    def Describe(self, request: Any, context: Any) -> upstream_pb2.DescribeResponse:  # noqa: ARG002, N802
        return upstream_pb2.DescribeResponse(
            idempotency_keys_s=86_400, conditional_writes=True, client_reference=True, ordered_versions=True,
            snapshots=True, lookups=True, max_batch=MAX_BATCH,
        )  # fmt: skip

    def Write(self, request: Any, context: Any) -> upstream_pb2.WriteResponse:  # noqa: ARG002, N802
        arrived_at = time.perf_counter()
        for item in request.items:
            self.arrivals.setdefault(item.record_id, arrived_at)
        time.sleep(self.latency_s)
        version = str(next(self._versions))
        return upstream_pb2.WriteResponse(
            outcomes=[
                upstream_pb2.WriteOutcome(
                    applied=upstream_pb2.Applied(remote_id=item.remote_id or item.record_id, remote_version=version)
                )
                for item in request.items
            ]
        )

    def ReadChanges(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ARG002, N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "changes are not offered")

    def ReadSnapshot(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: ARG002, N802
        count = self.records.get(request.resource, 0)
        for first in range(0, count, PAGE_RECORDS):
            page = upstream_pb2.ReadPage()
            for number in range(first, min(first + PAGE_RECORDS, count)):
                key = record_id(number)
                record = page.records.add(remote_id=key, remote_version="1", record_id=key)
                record.document.json = f'{self._contents[number % len(self._contents)]},"Number":{number}}}'
            yield upstream_pb2.ReadSnapshotResponse(page=page)

    def Lookup(self, request: Any, context: Any) -> upstream_pb2.LookupResponse:  # noqa: ARG002, N802
        gone = (upstream_pb2.RemoteRecord(remote_id=each, deleted=True) for each in request.remote_ids)
        return upstream_pb2.LookupResponse(records=gone)


@contextmanager
def system_of_record() -> Iterator[tuple[SystemOfRecord, str]]:
    """Run a system on a free port, and yield it and its address."""
    system = SystemOfRecord()
    server = grpc.server(ThreadPoolExecutor(THREADS))
    upstream_pb2_grpc.add_UpstreamServiceServicer_to_server(system, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield system, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
