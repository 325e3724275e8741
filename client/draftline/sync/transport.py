"""Sends calls over a blocking channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import grpc

from draftline.channel import Connection
from draftline.errors import UnavailableError
from draftline.imports import RecordLike, import_messages
from draftline.methods import Call, RequestT, ResponseT, ResultT, next_page
from draftline.models import ImportResult, Unset
from draftline.status import error_of_call
from draftline.sync.feed import Feed
from draftline.v1 import content_pb2

ItemT = TypeVar("ItemT")
SelfT = TypeVar("SelfT", bound="Transport")


class Transport(Connection):
    def _open(self) -> None:
        if self._credentials is None:
            self._channel = grpc.insecure_channel(self._target, self._options)
        else:
            self._channel = grpc.secure_channel(self._target, self._credentials, self._options)

    def close(self) -> None:
        """Closes the channel and cancels what is under way. May be called twice."""
        self._is_closed = True
        self._channel.close()

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, call: Call[RequestT, ResponseT, ResultT], timeout: float | Unset | None) -> ResultT:
        return call.method.parse(self._send(call, timeout))

    def _pages(self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | Unset | None) -> Iterator[ItemT]:
        page: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while page is not None:
            response = self._send(page, timeout)
            yield from call.method.parse(response)
            page = next_page(page, response)

    def _stream(self, call: Call[RequestT, ResponseT, list[ItemT]], timeout: float | None) -> Iterator[ItemT]:
        self._check_open()
        rpc = self._rpc(self._channel.unary_stream, call.method)
        rest: Call[RequestT, ResponseT, list[ItemT]] | None = call
        while rest is not None:
            sent, has_answered = rest, False
            answering = rpc(sent.request, timeout=timeout, metadata=self._metadata())
            try:
                for response in answering:
                    has_answered, rest = True, next_page(sent, response)
                    yield from call.method.parse(response)
            except grpc.RpcError as failure:
                error = error_of_call(failure)
                if not has_answered or not isinstance(error, UnavailableError):
                    raise error from failure
            else:
                return
            finally:
                answering.cancel()  # of no effect on a call that is over

    def _send(self, call: Call[RequestT, ResponseT, Any], timeout: float | Unset | None) -> ResponseT:
        self._check_open()
        rpc = self._rpc(self._channel.unary_unary, call.method)
        try:
            response: ResponseT = rpc(call.request, timeout=self._timeout(timeout), metadata=self._metadata())
        except grpc.RpcError as failure:
            raise error_of_call(failure) from failure
        return response

    def _import(
        self,
        call: Call[content_pb2.ImportContentRequest, content_pb2.ImportContentResponse, ImportResult],
        records: Iterable[RecordLike],
        timeout: float | None,
    ) -> ImportResult:
        self._check_open()
        rpc = self._rpc(self._channel.stream_unary, call.method)
        feed: Feed[content_pb2.ImportContentRequest] = Feed()
        sending = rpc.future(feed, timeout=timeout, metadata=self._metadata())
        sending.add_done_callback(lambda _: feed.close())
        try:
            for message in import_messages(call.request, records):
                if not feed.put(message):
                    break
            else:
                feed.end()
            return call.method.parse(_outcome(sending))
        finally:
            # Whatever went wrong, the caller's records or this thread: nothing is imported.
            # Of no effect on a call that is over. The feed must close after the call, not
            # before, for its end would tell the service that the records are complete.
            sending.cancel()
            feed.close()


def _outcome(sending: Any) -> Any:
    try:
        return sending.result()
    except grpc.RpcError as failure:
        raise error_of_call(failure) from failure
