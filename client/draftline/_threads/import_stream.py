"""Send the messages of an import over a blocking channel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from draftline._core.connection import Metadata
from draftline._core.imports import RecordLike, import_messages
from draftline._core.status import error_of_call
from draftline._threads.request_queue import RequestQueue
from draftline.v1 import content_pb2 as pb

Records = Iterable[RecordLike]


def send_import(
    rpc: Any,
    header: pb.ImportContentRequest,
    records: Records,
    max_message_bytes: int | None,
    *,
    timeout_s: float | None,
    metadata: Metadata,
) -> Any:
    """Send the header and the records, and return the response.

    On any failure, of iterating over the records as well, the call is cancelled and nothing is imported.

    Raises:
        DraftlineError: the call failed.
    """
    queue: RequestQueue[pb.ImportContentRequest] = RequestQueue()
    call = rpc.future(queue, timeout=timeout_s, metadata=metadata)
    call.add_done_callback(lambda _: queue.close())
    try:
        for message in import_messages(header, records, max_message_bytes):
            if not queue.put(message):
                break
        else:
            queue.end()
        return _result(call)
    finally:
        # The queue is closed after the call: closing it first would tell the service that the
        # records are complete. Cancelling a finished call has no effect.
        call.cancel()
        queue.close()


def _result(call: Any) -> Any:
    try:
        return call.result()
    except grpc.RpcError as failure:
        raise error_of_call(failure) from failure
