"""Health and reflection without authentication, with limits on request size and concurrent streams."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from ..domain.errors import DeadlineExceededError, DraftlineError, OverloadedError, UndecodableRequestError
from .connections import Connections
from .receive_buffer import PUBLIC, ReceiveBuffer
from .reflection import Reflection
from .services.health import WARNING, Health
from .status import abort
from .validation import parser

HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
MAX_BYTES = 4096  # per request
MAX_STREAMS = 1000
MESSAGE_TIMEOUT_S = 2.0  # timeout for the first message of a call
MAX_WAITING_CALLS = 256  # calls that wait for their first message

Context = grpc.aio.ServicerContext[Any, Any]


class PublicServices:
    """Serves health and reflection to unauthenticated callers.

    When too many calls wait for their first message, the one that has waited longest is ended, so callers that send
    nothing cannot block health checks.
    """

    def __init__(self, idle_timeout_s: float, receive_buffer: ReceiveBuffer, connections: Connections) -> None:
        """Wait at most `idle_timeout_s` for the next message of a stream."""
        self._idle_timeout_s = idle_timeout_s
        self._receive_buffer = receive_buffer
        self._connections = connections
        self._streams = 0
        self._waiting_calls: OrderedDict[object, asyncio.Timeout] = OrderedDict()  # oldest first

    def health(self, health: Health) -> grpc.GenericRpcHandler:
        parse = _size_limited(health_pb2.HealthCheckRequest)

        async def check(_: object, context: Context) -> bytes:
            self._reject_closed(context)
            try:
                request = await self._only_message(context, parse)
            except asyncio.CancelledError:
                self._connections.record_reset(context.peer())
                raise
            status = health.status(request.service)
            if status is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            if health.warning:
                context.set_trailing_metadata(((WARNING, health.warning),))
            data: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
            return data

        async def watch(context: Context) -> AsyncIterator[bytes]:
            request = await self._only_message(context, parse)
            async for status in health.follow(request.service):
                yield health_pb2.HealthCheckResponse(status=status).SerializeToString()

        methods: dict[str, Any] = {
            "Check": grpc.stream_unary_rpc_method_handler(check),
            "Watch": self._streaming(watch),
        }
        return grpc.method_handlers_generic_handler(HEALTH, methods)

    def reflection(self, services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
        servicer = Reflection([*services, HEALTH, *REFLECTION])
        parse = _size_limited(reflection_pb2.ServerReflectionRequest)

        async def answer(context: Context) -> AsyncIterator[bytes]:
            async for response in servicer.ServerReflectionInfo(self._messages(context, parse), context):
                yield response.SerializeToString()

        # v1 and v1alpha are identical on the wire.
        methods = {"ServerReflectionInfo": self._streaming(answer)}
        return [grpc.method_handlers_generic_handler(name, methods) for name in REFLECTION]

    def _streaming(self, answer: Any) -> Any:
        async def counted(_: object, context: Context) -> None:
            self._reject_closed(context)
            if self._streams >= MAX_STREAMS:
                await abort(
                    context,
                    OverloadedError(
                        f"{MAX_STREAMS} streams of health and reflection are open, which is the limit; try again later"
                    ),
                )
            self._streams += 1
            try:
                async with aclosing(answer(context)) as responses:
                    async for response in responses:
                        await context.write(response)
            except (asyncio.CancelledError, grpc.aio.InternalError):  # the caller has disconnected
                self._connections.record_reset(context.peer())
                raise asyncio.CancelledError from None
            finally:
                self._streams -= 1

        return grpc.stream_stream_rpc_method_handler(counted)

    def _reject_closed(self, context: Context) -> None:
        if self._connections.is_closed(context.peer()):  # calls that it sent before are still arriving
            raise asyncio.CancelledError

    async def _only_message(self, context: Context, parse: Any) -> Any:
        message = await self._first_message(context, parse)
        if message is None:
            await abort(context, UndecodableRequestError("the call ended without a request message"))
        return message

    async def _messages(self, context: Context, parse: Any) -> AsyncIterator[Any]:
        message = await self._first_message(context, parse)
        while message is not None:
            yield message
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    message = await self._next_message(context, parse)
            except TimeoutError:
                return

    async def _first_message(self, context: Context, parse: Any) -> Any:
        limit_s, key = min(MESSAGE_TIMEOUT_S, self._idle_timeout_s), object()
        try:
            async with asyncio.timeout(limit_s) as limit:
                self._waiting_calls[key] = limit
                if len(self._waiting_calls) > MAX_WAITING_CALLS:
                    _, oldest = self._waiting_calls.popitem(last=False)
                    oldest.reschedule(asyncio.get_running_loop().time())
                return await self._next_message(context, parse)
        except TimeoutError:
            await abort(context, DeadlineExceededError("the request message did not arrive in time"))
        finally:
            self._waiting_calls.pop(key, None)

    async def _next_message(self, context: Context, parse: Any) -> Any:
        """Return the next message, or None at the end of the stream. Abort the call if the message is invalid."""
        request = await self._receive_buffer.read(context, PUBLIC, MAX_BYTES)
        if request is grpc.aio.EOF:
            return None
        try:
            return parse(request)
        except DraftlineError as error:
            await abort(context, error)


def _size_limited(message_type: type[Message]) -> Callable[[bytes], Message]:
    parse = parser(message_type)

    def parse_small(data: bytes) -> Message:
        if len(data) > MAX_BYTES:
            raise UndecodableRequestError(f"the request must not exceed {MAX_BYTES} bytes")
        return parse(data)

    return parse_small
