"""ContentService's import for asyncio. The docstring is copied from the blocking client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import grpc

from draftline._aio.call_status import CallStatuses
from draftline._async.transport import Transport
from draftline._core import content_calls
from draftline._core.imports import (
    ImportCall,
    RecordLike,
    import_messages,
    import_messages_async,
    max_message_bytes,
    may_repeat,
)
from draftline._core.retries import Attempts
from draftline._core.status import error_of_call
from draftline.errors import DraftlineError
from draftline.models import ImportMode, ImportResult
from draftline.v1 import content_pb2


class ImportMethods(Transport):
    async def import_content(
        self,
        collection: str,
        records: Iterable[RecordLike] | AsyncIterable[RecordLike],
        *,
        mode: ImportMode | str = ImportMode.UPSERT,
        allow_empty: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> ImportResult:
        call = content_calls.import_content(
            self._tenant(tenant_id),
            collection,
            mode=mode,
            allow_empty=allow_empty,
            change_reason=change_reason,
            request_id=request_id,
        )
        is_repeatable = may_repeat(call, records)
        attempts = self._attempts(timeout, may_repeat=is_repeatable, may_renew=is_repeatable)
        while True:
            self._check_open()
            try:
                return await self._import(call, records, attempts)
            except DraftlineError as error:
                await self._pause(attempts, error)

    async def _import(
        self, call: ImportCall, records: Iterable[RecordLike] | AsyncIterable[RecordLike], attempts: Attempts
    ) -> ImportResult:
        rpc, metadata = self._rpc(self._channel.stream_unary, call.method), await self._metadata()
        sending = rpc(timeout=attempts.left_s(), metadata=metadata)
        ending = CallStatuses(sending)
        try:
            async for message in _messages(call.request, records, max_message_bytes(self._options)):
                if not await _is_written(sending, message):
                    break
            else:
                await sending.done_writing()
            return call.method.parse(await _outcome(sending, ending))
        finally:
            # On any failure, of the caller's iterable or of this task, nothing may be imported.
            # Cancelling a finished call has no effect.
            sending.cancel()


async def _messages(
    header: content_pb2.ImportContentRequest,
    records: Iterable[RecordLike] | AsyncIterable[RecordLike],
    limit: int | None,
) -> AsyncIterator[content_pb2.ImportContentRequest]:
    if isinstance(records, AsyncIterable):
        async for message in import_messages_async(header, records, limit):
            yield message
    else:
        for message in import_messages(header, records, limit):
            yield message


async def _is_written(sending: Any, message: content_pb2.ImportContentRequest) -> bool:
    """Wait for room and write the message. Return False if the call is over; `_outcome` then raises the reason."""
    try:
        await sending.write(message)
    except (asyncio.InvalidStateError, grpc.RpcError):
        return False
    return True


async def _outcome(sending: Any, ending: CallStatuses) -> Any:
    try:
        return await sending
    except grpc.RpcError as failure:
        raise error_of_call(ending.best(failure)) from failure
