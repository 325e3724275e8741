"""Calls over a gRPC channel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc

from draftline._aio.channel import ChannelConnection
from draftline._core.connection import Metadata
from draftline._core.methods import Call, Method, RequestT, ResponseT, ResultT, next_page
from draftline._core.retries import Attempts
from draftline.errors import DraftlineError
from draftline.models import Unset

ItemT = TypeVar("ItemT")
SelfT = TypeVar("SelfT", bound="Transport")


class Transport(ChannelConnection):
    async def close(self) -> None:
        """Close the channel and cancel running calls. May be called twice."""
        self._is_closed = True
        await self._close_channel()

    async def __aenter__(self: SelfT) -> SelfT:
        self._check_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, call: Call[RequestT, ResponseT, ResultT], timeout: float | Unset | None) -> ResultT:
        return self._parse(call.method, await self._send(call, timeout))

    async def _pages(
        self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | Unset | None
    ) -> AsyncIterator[ItemT]:
        page: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while page is not None:
            response = await self._send(page, timeout)
            for item in self._parse(call.method, response):
                yield item
            page = next_page(page, response)

    async def _stream(
        self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | None
    ) -> AsyncIterator[ItemT]:
        attempts = self._attempts(timeout, may_repeat=call.may_repeat)
        rest: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while rest is not None:
            self._check_open()
            rpc = self._rpc(self._channel.unary_stream, call.method)
            sent, metadata = rest, await self._metadata()
            with self._calling():
                responses = rpc(sent.request, timeout=attempts.left_s(), metadata=metadata)
                try:
                    async for response in responses:
                        attempts.progress()
                        rest = next_page(sent, response)
                        for item in self._parse(call.method, response):
                            yield item
                except grpc.RpcError as failure:
                    if rest is not None:
                        await self._pause(attempts, self._error(failure))
                else:
                    return
                finally:
                    responses.cancel()  # has no effect on a finished call

    async def _metadata(self) -> Metadata:
        """Build the metadata. Call this before computing the remaining timeout, since fetching a token takes time."""
        metadata = self._metadata_with(await self._current_token())
        self._check_open()  # the client may have been closed while the token was fetched
        return metadata

    async def _connect(self, method: Method[RequestT, ResponseT, Any], request: RequestT) -> Any:
        """Open a stream without a deadline."""
        self._check_open()
        rpc, metadata = self._rpc(self._channel.unary_stream, method), await self._metadata()
        with self._calling():
            return rpc(request, metadata=metadata)

    async def _send(self, call: Call[RequestT, ResponseT, Any], timeout: float | Unset | None) -> ResponseT:
        attempts = self._attempts(timeout, may_repeat=call.may_repeat)
        while True:
            self._check_open()
            rpc, metadata = self._rpc(self._channel.unary_unary, call.method), await self._metadata()
            try:
                with self._calling():
                    response: ResponseT = await rpc(call.request, timeout=attempts.left_s(), metadata=metadata)
            except grpc.RpcError as failure:
                await self._pause(attempts, self._error(failure))
            else:
                return response

    async def _pause(self, attempts: Attempts, error: DraftlineError) -> None:
        """Wait until the call may be retried, or raise the error."""
        pause_s = attempts.pause_s(error)
        if pause_s is None:
            raise attempts.final(error)
        await self._reconnect_wait.wait(pause_s)
