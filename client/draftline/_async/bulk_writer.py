"""Many writes over one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from draftline._aio.background_task import BackgroundTask
from draftline._aio.write_queue import WriteFuture, WriteQueue, new_future
from draftline._async.transport import Transport
from draftline._core import content_calls
from draftline._core.arguments import checked_callback, checked_count
from draftline._core.bulk_state import BulkState, PendingWrite
from draftline._core.methods import Call
from draftline._core.retries import Attempts, is_interrupted
from draftline._core.unclosed import warn_if_lost
from draftline.errors import BulkWriteError, CallCancelledError, DraftlineError, UnavailableError
from draftline.models import (
    UNSET,
    BulkFailure,
    BulkProgress,
    MergeStrategy,
    Patch,
    PatchResult,
    Record,
    StrategyName,
    Unset,
)
from draftline.operations import Operation

MAX_KEPT_FAILURES = 100  # that a BulkWriteError holds; all are counted


class AsyncBulkWriter:
    """Sends many writes over one stream. Created by `AsyncClient.bulk_writer`.

        async with client.bulk_writer() as writer:
            for number in range(1_000):
                await writer.patch("movies", f"m-{number}", {"Checked": True}, allow_missing=True)
        print(writer.progress.succeeded)  # 1000

    `patch`, `create` and `delete` return a future as soon as the write is queued, and wait before
    that while `max_pending` writes or `max_pending_bytes` are without an outcome. The writes of one
    record are applied in the order in which they were added, all others in any order.

    A connection that breaks is replaced, and the writes without an outcome are sent again with their
    request ids, so none is done twice. A write that the service has no capacity for is retried.

    A failed write fails its future, and is passed to `on_error`, which must not call `flush` or `close`.
    Without `on_error`, `close` and the end of the block raise a `BulkWriteError` if any write failed, so
    that no failure goes unnoticed. They raise the first exception that `on_error` has raised. A writer that
    is never closed loses the writes that are queued when the program ends, and logs a warning with their number.
    """

    def __init__(
        self,
        client: Transport,
        tenant_id: str,
        *,
        max_pending: int,
        max_pending_bytes: int,
        on_error: Callable[[BulkFailure], object] | None,
    ) -> None:
        checked_count("max_pending", max_pending)
        checked_count("max_pending_bytes", max_pending_bytes)
        checked_callback("on_error", on_error)
        self._client = client
        self._tenant_id = tenant_id
        self._on_error = on_error
        self._failures: list[BulkFailure] = []
        self._callback_error: Exception | None = None  # the first one that on_error raised
        self._queue = WriteQueue(BulkState(max_pending, max_pending_bytes), self._finish)
        self._sender = BackgroundTask(self._run, self._warn_if_lost)
        self._stream: Any = None
        self._is_closed = False

    @property
    def progress(self) -> BulkProgress:
        """The number of writes that are pending, succeeded and failed."""
        return self._queue.progress

    async def patch(
        self,
        collection: str,
        record_id: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        strategy: MergeStrategy | StrategyName | None = None,
        depth: int = 0,
        expected_version: int | None = None,
        condition: str = "",
        allow_missing: bool = False,
        allow_deleted: bool = False,
        parent_id: str | Unset | None = UNSET,
        position: int | None = None,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
    ) -> WriteFuture[PatchResult]:
        """Queue a patch. The arguments and errors are those of `patch_content`.

        async with client.bulk_writer() as writer:
            future = await writer.patch("movies", "m-1", operations=[op.increment("/Votes", 1)])
            await writer.flush()
            print(future.result().record.version)  # 2
        """
        patch = Patch(
            record_id,
            delta,
            operations=operations,
            strategy=strategy,
            depth=depth,
            expected_version=expected_version,
            condition=condition,
            allow_missing=allow_missing,
            allow_deleted=allow_deleted,
            parent_id=parent_id,
            position=position,
            fields=fields,
        )
        call = content_calls.patch_content(
            self._tenant_id,
            collection,
            patch,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._add(call)

    async def create(
        self,
        collection: str,
        content: Mapping[str, Any],
        *,
        record_id: str | None = None,
        parent_id: str | None = None,
        position: int | None = None,
        allow_deleted: bool = False,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
    ) -> WriteFuture[Record]:
        """Queue the creation of a record. The arguments and errors are those of `create_content`."""
        call = content_calls.create_content(
            self._tenant_id,
            collection,
            content,
            record_id=record_id,
            parent_id=parent_id,
            position=position,
            allow_deleted=allow_deleted,
            validate_only=validate_only,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._add(call)

    async def delete(
        self,
        collection: str,
        record_id: str,
        *,
        expected_version: int | None = None,
        condition: str = "",
        allow_missing: bool = False,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
    ) -> WriteFuture[Record | None]:
        """Queue the deletion of a record. The arguments and errors are those of `delete_content`."""
        call = content_calls.delete_content(
            self._tenant_id,
            collection,
            record_id,
            expected_version=expected_version,
            condition=condition,
            allow_missing=allow_missing,
            validate_only=validate_only,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._add(call)

    async def flush(self) -> None:
        """Wait until every queued write has its outcome."""
        await self._queue.flush()

    async def close(self) -> None:
        """Wait until every queued write has its outcome, and end the stream. May be called twice.

        If the wait is interrupted, the writes without an outcome fail with `CallCancelledError`.

        Raises:
            BulkWriteError: writes failed, and `on_error` was not given.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self.flush()
        finally:
            await self._end()
        if self._callback_error is not None:
            raise self._callback_error
        if self._failures and self._on_error is None:
            raise BulkWriteError(self._failures, self.progress.failed)

    async def __aenter__(self) -> AsyncBulkWriter:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.close()
            return
        # The block failed: what is queued is not waited for, and its exception must not be replaced.
        self._is_closed = True
        await self._end()

    async def _end(self) -> None:
        """End the stream, and fail the writes that have no outcome."""
        await self._queue.close()
        if self._stream is not None:
            self._stream.cancel()
        await self._sender.stop()
        await self._queue.fail(CallCancelledError(grpc.StatusCode.CANCELLED, "the bulk writer was closed"))

    async def _add(self, call: Call[Any, Any, Any]) -> WriteFuture[Any]:
        self._client._check_open()
        attempts = self._client._attempts(None, may_repeat=call.may_repeat)
        write = PendingWrite(self._client._parsing(call), new_future(), attempts)
        await self._queue.put(write)
        self._sender.start()
        return write.future

    def _warn_if_lost(self) -> None:
        if not self._is_closed:
            progress = self.progress
            warn_if_lost(progress.pending, progress.failed if self._on_error is None else 0)

    def _finish(self, write: PendingWrite[Any], _: object, error: Exception | None) -> None:
        if error is None:
            return
        failure = BulkFailure(write.call.request.collection, write.call.request.record_id, error)
        if self._on_error is not None:
            try:
                self._on_error(failure)
            except Exception as raised:  # the other writes must end all the same
                self._callback_error = self._callback_error or raised
        elif len(self._failures) < MAX_KEPT_FAILURES:
            self._failures.append(failure)

    async def _run(self) -> None:
        """Keep a stream open while there are writes."""
        attempts = self._client._attempts(None, may_repeat=True)
        while await self._queue.wait_for_work():
            try:
                await self._exchange(attempts)
            except DraftlineError as error:
                if self._queue.is_closed:
                    return
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    await self._queue.fail(error)
                    attempts = self._client._attempts(None, may_repeat=True)
                else:
                    await self._client._reconnect_wait.wait(pause_s)
            except Exception as error:  # of the function that returns the token
                await self._queue.fail(error)

    async def _exchange(self, attempts: Attempts) -> None:
        """Send writes and receive their outcomes until the stream ends."""
        if self._client._is_closed:
            raise CallCancelledError(grpc.StatusCode.CANCELLED, "the client is closed")
        metadata = await self._client._metadata()
        rpc = self._client._rpc(self._client._channel.stream_stream, content_calls.STREAM_PATCHES)
        stream = await self._queue.restart()
        with self._client._calling():
            self._stream = responses = rpc(self._queue.messages(stream), metadata=metadata)
        try:
            with self._client._calling():
                async for response in responses:
                    attempts.progress()
                    await self._queue.accept(response)
        except grpc.RpcError as failure:
            error = self._client._error(failure)
            # The service ends a stream that sends nothing for some time, which says nothing about its writes.
            if is_interrupted(error) or error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise UnavailableError(error.code, error.message, error.reason) from failure
            raise error from failure
        finally:
            responses.cancel()  # has no effect on a finished call
            await self._queue.end_stream()
