# Generated from draftline/_async/transport.py by `make generate`; never edited.
"""Calls over a gRPC channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import grpc

from draftline._core.connection import Metadata
from draftline._core.methods import Call, Method, RequestT, ResponseT, ResultT, next_page
from draftline._core.retries import Attempts
from draftline._threads.channel import ChannelConnection
from draftline.errors import DraftlineError
from draftline.models import Unset

ItemT = TypeVar("ItemT")
SelfT = TypeVar("SelfT", bound="Transport")


class Transport(ChannelConnection):
    def close(self) -> None:
        """Close the channel and cancel running calls. May be called twice."""
        self._is_closed = True
        self._close_channel()

    def __enter__(self: SelfT) -> SelfT:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, call: Call[RequestT, ResponseT, ResultT], timeout: float | Unset | None) -> ResultT:
        return self._parse(call.method, self._send(call, timeout))

    def _pages(self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | Unset | None) -> Iterator[ItemT]:
        page: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while page is not None:
            response = self._send(page, timeout)
            yield from self._parse(call.method, response)
            page = next_page(page, response)

    def _stream(self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | None) -> Iterator[ItemT]:
        attempts = self._attempts(timeout, may_repeat=call.may_repeat)
        rest: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while rest is not None:
            self._check_open()
            rpc = self._rpc(self._channel.unary_stream, call.method)
            sent, metadata = rest, self._metadata()
            with self._calling():
                responses = rpc(sent.request, timeout=attempts.left_s(), metadata=metadata)
                try:
                    for response in responses:
                        attempts.progress()
                        rest = next_page(sent, response)
                        yield from self._parse(call.method, response)
                except grpc.RpcError as failure:
                    if rest is not None:
                        self._pause(attempts, self._error(failure))
                else:
                    return
                finally:
                    responses.cancel()  # has no effect on a finished call

    def _metadata(self) -> Metadata:
        """Build the metadata. Call this before computing the remaining timeout, since fetching a token takes time."""
        metadata = self._metadata_with(self._current_token())
        self._check_open()  # the client may have been closed while the token was fetched
        return metadata

    def _connect(self, method: Method[RequestT, ResponseT, Any], request: RequestT) -> Any:
        """Open a stream without a deadline."""
        self._check_open()
        rpc, metadata = self._rpc(self._channel.unary_stream, method), self._metadata()
        with self._calling():
            return rpc(request, metadata=metadata)

    def _send(self, call: Call[RequestT, ResponseT, Any], timeout: float | Unset | None) -> ResponseT:
        attempts = self._attempts(timeout, may_repeat=call.may_repeat)
        while True:
            self._check_open()
            rpc, metadata = self._rpc(self._channel.unary_unary, call.method), self._metadata()
            try:
                with self._calling():
                    response: ResponseT = rpc(call.request, timeout=attempts.left_s(), metadata=metadata)
            except grpc.RpcError as failure:
                self._pause(attempts, self._error(failure))
            else:
                return response

    def _pause(self, attempts: Attempts, error: DraftlineError) -> None:
        """Wait until the call may be retried, or raise the error."""
        pause_s = attempts.pause_s(error)
        if pause_s is None:
            raise attempts.final(error)
        self._reconnect_wait.wait(pause_s)
