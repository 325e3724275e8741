"""Send the messages of an import over grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import grpc

from draftline._aio.call_status import CallStatuses
from draftline._core.connection import Metadata
from draftline._core.imports import RecordLike, import_messages, import_messages_async
from draftline._core.status import error_of_call
from draftline.v1 import content_pb2 as pb

Records = Iterable[RecordLike] | AsyncIterable[RecordLike]


async def send_import(
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
    call = rpc(timeout=timeout_s, metadata=metadata)
    statuses = CallStatuses(call)
    try:
        async for message in _messages(header, records, max_message_bytes):
            if not await _is_written(call, message):
                break
        else:
            await call.done_writing()
        return await _result(call, statuses)
    finally:
        call.cancel()  # has no effect on a finished call


async def _messages(
    header: pb.ImportContentRequest, records: Records, max_message_bytes: int | None
) -> AsyncIterator[pb.ImportContentRequest]:
    if isinstance(records, AsyncIterable):
        async for message in import_messages_async(header, records, max_message_bytes):
            yield message
    else:
        for message in import_messages(header, records, max_message_bytes):
            yield message


async def _is_written(call: Any, message: pb.ImportContentRequest) -> bool:
    """Wait for room and write the message. Return False if the call is over; awaiting it then raises the reason."""
    try:
        await call.write(message)
    except (asyncio.InvalidStateError, grpc.RpcError):
        return False
    return True


async def _result(call: Any, statuses: CallStatuses) -> Any:
    try:
        return await call
    except grpc.RpcError as failure:
        raise error_of_call(statuses.best(failure)) from failure
