"""A gRPC server whose responses a test scripts, and which records the requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from draftline._core.change_calls import WATCH_CHANGES
from draftline._core.connection import METHODS
from draftline._core.content_calls import IMPORT_CONTENT
from draftline._core.draft_calls import STREAM_MERGED
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

CANCELLATION_S = 0.2
HOLD = object()  # in the place of an answer of a stream: stays open until the other end leaves
STATUS_TRAILER = "grpc-status-details-bin"


def failure(code: int, message: str, *details: Any) -> status_pb2.Status:
    """Return a status with packed details, as the service sends it."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code, message=message, details=packed)


def info(reason: str, domain: str = "draftline", **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


@dataclass
class ScriptedServer:
    """`answers[rpc]` is a function of the request (of the list of requests, for an import)
    whose result is a response, or a `google.rpc.Status` to fail with; for a stream, its
    responses, and at its end a status to fail with, or `HOLD`."""

    answers: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    time_remaining: list[float | None] = field(default_factory=list)
    stream_ended: threading.Event = field(default_factory=threading.Event)
    import_ended: threading.Event = field(default_factory=threading.Event)  # half-closed or broken
    address: str = "127.0.0.1:0"
    import_completed: bool = False  # half-closed by the client, and not cancelled if the server waits to see that
    waits_for_cancellation: bool = False  # at the end of each import, which takes CANCELLATION_S

    def __enter__(self) -> ScriptedServer:
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        for service in {method.service for method in METHODS}:
            handlers = {each.name: self._handler(each) for each in METHODS if each.service == service}
            generic = grpc.method_handlers_generic_handler(f"draftline.v1.{service}", handlers)
            self._server.add_generic_rpc_handlers((generic,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(self.address)}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def _handler(self, method: Any) -> Any:
        serialize, parse = method.response.SerializeToString, method.request.FromString
        if method is IMPORT_CONTENT:
            return grpc.stream_unary_rpc_method_handler(self._serve_import, parse, serialize)

        if method in (STREAM_MERGED, WATCH_CHANGES):

            def serve_stream(request: Any, context: Any) -> Any:
                return self._serve_stream(method.name, request, context)

            return grpc.unary_stream_rpc_method_handler(serve_stream, parse, serialize)

        def serve(request: Any, context: Any) -> Any:
            self._note(context)
            self.requests.append(request)
            return self._answer(method.name, request, context)

        return grpc.unary_unary_rpc_method_handler(serve, parse, serialize)

    def _serve_stream(self, name: str, request: Any, context: Any) -> Any:
        self._note(context)
        self.requests.append(request)
        ended = threading.Event()
        context.add_callback(ended.set)
        context.add_callback(self.stream_ended.set)
        for answer in self.answers[name](request):
            if answer is HOLD:
                ended.wait()
            else:
                yield self._given(answer, context)

    def _serve_import(self, messages: Any, context: Any) -> Any:
        self._note(context)
        terminated = threading.Event()
        context.add_callback(terminated.set)
        refuse_early = self.answers.get("refuse_import")
        received = []
        try:
            for message in messages:
                received.append(message)
                self.requests.append(message)
                if refuse_early is not None:
                    return self._answer("refuse_import", received, context)
            # To a server of grpcio, a stream that is cancelled may at first look like one that has ended.
            self.import_completed = not terminated.wait(CANCELLATION_S if self.waits_for_cancellation else 0)
        finally:
            self.import_ended.set()
        return self._answer("ImportContent", received, context)

    def _note(self, context: Any) -> None:
        self.metadata.append(dict(context.invocation_metadata()))
        self.time_remaining.append(context.time_remaining())

    def _answer(self, name: str, request: Any, context: Any) -> Any:
        return self._given(self.answers[name](request), context)

    def _given(self, answer: Any, context: Any) -> Any:
        if not isinstance(answer, status_pb2.Status):
            return answer
        context.set_trailing_metadata(((STATUS_TRAILER, answer.SerializeToString()),))
        codes = {code.value[0]: code for code in grpc.StatusCode}
        context.abort(codes[answer.code], answer.message)
        raise AssertionError("abort raises")
