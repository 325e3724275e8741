"""Sends calls over a channel of grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, TypeVar

import grpc
import grpc.aio

from draftline.aio.ending import Ending
from draftline.channel import Connection
from draftline.errors import UnavailableError
from draftline.imports import RecordLike, import_messages, import_messages_async
from draftline.methods import Call, RequestT, ResponseT, ResultT, next_page
from draftline.models import ImportResult, Unset
from draftline.status import error_of_call
from draftline.v1 import content_pb2

ItemT = TypeVar("ItemT")
SelfT = TypeVar("SelfT", bound="Transport")


class Transport(Connection):
    def _open(self) -> None:
        # The channel belongs to the event loop, which may not run yet.
        self._opened: grpc.aio.Channel | None = None

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            if self._credentials is None:
                self._opened = grpc.aio.insecure_channel(self._target, self._options)
            else:
                self._opened = grpc.aio.secure_channel(self._target, self._credentials, self._options)
        return self._opened

    async def close(self) -> None:
        """Closes the channel and cancels what is under way. May be called twice."""
        self._is_closed = True
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self: SelfT) -> SelfT:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, call: Call[RequestT, ResponseT, ResultT], timeout: float | Unset | None) -> ResultT:
        return call.method.parse(await self._send(call, timeout))

    async def _pages(
        self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | Unset | None
    ) -> AsyncIterator[ItemT]:
        page: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while page is not None:
            response = await self._send(page, timeout)
            for item in call.method.parse(response):
                yield item
            page = next_page(page, response)

    async def _stream(
        self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | None
    ) -> AsyncIterator[ItemT]:
        self._check_open()
        rpc = self._rpc(self._channel.unary_stream, call.method)
        rest: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while rest is not None:
            sent, has_answered = rest, False
            answering = rpc(sent.request, timeout=timeout, metadata=self._metadata())
            try:
                async for response in answering:
                    has_answered, rest = True, next_page(sent, response)
                    for item in call.method.parse(response):
                        yield item
            except grpc.RpcError as failure:
                error = error_of_call(failure)
                if not has_answered or not isinstance(error, UnavailableError):
                    raise error from failure
            else:
                return
            finally:
                answering.cancel()  # of no effect on a call that is over

    async def _send(self, call: Call[RequestT, ResponseT, Any], timeout: float | Unset | None) -> ResponseT:
        self._check_open()
        rpc = self._rpc(self._channel.unary_unary, call.method)
        try:
            response: ResponseT = await rpc(call.request, timeout=self._timeout(timeout), metadata=self._metadata())
        except grpc.RpcError as failure:
            raise error_of_call(failure) from failure
        return response

    async def _import(
        self,
        call: Call[content_pb2.ImportContentRequest, content_pb2.ImportContentResponse, ImportResult],
        records: Iterable[RecordLike] | AsyncIterable[RecordLike],
        timeout: float | None,
    ) -> ImportResult:
        self._check_open()
        rpc = self._rpc(self._channel.stream_unary, call.method)
        sending = rpc(timeout=timeout, metadata=self._metadata())
        ending = Ending(sending)
        try:
            async for message in _messages(call.request, records):
                if not await _is_written(sending, message):
                    break
            else:
                await sending.done_writing()
            return call.method.parse(await _outcome(sending, ending))
        finally:
            # Whatever went wrong, the caller's records or this task: nothing is imported.
            # Of no effect on a call that is over.
            sending.cancel()


async def _messages(
    header: content_pb2.ImportContentRequest, records: Iterable[RecordLike] | AsyncIterable[RecordLike]
) -> AsyncIterator[content_pb2.ImportContentRequest]:
    if isinstance(records, AsyncIterable):
        async for message in import_messages_async(header, records):
            yield message
    else:
        for message in import_messages(header, records):
            yield message


async def _is_written(sending: Any, message: content_pb2.ImportContentRequest) -> bool:
    """Waits for room and writes the message. False: the call is over, `_outcome` tells why."""
    try:
        await sending.write(message)
    except (asyncio.InvalidStateError, grpc.RpcError):
        return False
    return True


async def _outcome(sending: Any, ending: Ending) -> Any:
    try:
        return await sending
    except grpc.RpcError as failure:
        raise error_of_call(ending.best(failure)) from failure
