"""Health and reflection, which anyone may call: with small requests, and so many streams at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from google.rpc import error_details_pb2  # noqa: F401  so that reflection can tell what errors carry
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from ..domain.errors import DraftlineError, OverloadedError, UndecodableRequestError
from .health import WARNING, Health
from .status import abort
from .wire import parser

HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
MAX_BYTES = 4096  # of a request
MAX_STREAMS = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class Unguarded:
    """What is answered without asking who calls. `idle_timeout_s`: how long a message is waited for."""

    def __init__(self, idle_timeout_s: float) -> None:
        self._idle_timeout_s = idle_timeout_s
        self._streams = 0

    def health(self, health: Health) -> grpc.GenericRpcHandler:
        parse = _small(health_pb2.HealthCheckRequest)

        async def check(_: object, context: Context) -> bytes:
            request = await self._only(context, parse)
            status = health.status(request.service)
            if status is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
            if health.warning:
                context.set_trailing_metadata(((WARNING, health.warning),))
            data: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
            return data

        async def watch(context: Context) -> AsyncIterator[bytes]:
            request = await self._only(context, parse)
            async for status in health.follow(request.service):
                yield health_pb2.HealthCheckResponse(status=status).SerializeToString()

        methods: dict[str, Any] = {
            "Check": grpc.stream_unary_rpc_method_handler(check),
            "Watch": self._streaming(watch),
        }
        return grpc.method_handlers_generic_handler(HEALTH, methods)

    def reflection(self, services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
        _describe_reflection_v1()
        servicer = ReflectionServicer(service_names=[*services, HEALTH, *REFLECTION])
        parse = _small(reflection_pb2.ServerReflectionRequest)

        async def answer(context: Context) -> AsyncIterator[bytes]:
            async for response in servicer.ServerReflectionInfo(self._messages(context, parse), context):
                yield response.SerializeToString()

        # The two versions are the same on the wire.
        methods = {"ServerReflectionInfo": self._streaming(answer)}
        return [grpc.method_handlers_generic_handler(name, methods) for name in REFLECTION]

    def _streaming(self, answer: Any) -> Any:
        async def counted(_: object, context: Context) -> None:
            if self._streams >= MAX_STREAMS:
                await abort(context, OverloadedError(f"{MAX_STREAMS} such streams are open already; try again later"))
            self._streams += 1
            try:
                async with aclosing(answer(context)) as responses:
                    async for response in responses:
                        await context.write(response)
            finally:
                self._streams -= 1

        return grpc.stream_stream_rpc_method_handler(counted)

    async def _only(self, context: Context, parse: Any) -> Any:
        message = await self._next(context, parse)
        if message is None:
            await abort(context, UndecodableRequestError("the call ended without its message"))
        return message

    async def _messages(self, context: Context, parse: Any) -> AsyncIterator[Any]:
        while (message := await self._next(context, parse)) is not None:
            yield message

    async def _next(self, context: Context, parse: Any) -> Any:
        """None if no more come, or none for too long. The call is aborted for a message that is none."""
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                request = await context.read()
        except TimeoutError:
            return None
        if request is grpc.aio.EOF:
            return None
        try:
            return parse(request)
        except DraftlineError as error:
            await abort(context, error)


def _small(message_type: type[Message]) -> Callable[[bytes], Message]:
    parse = parser(message_type)

    def parse_small(data: bytes) -> Message:
        if len(data) > MAX_BYTES:
            raise UndecodableRequestError(f"the request has more than {MAX_BYTES} bytes")
        return parse(data)

    return parse_small


def _describe_reflection_v1() -> None:
    """grpcio describes the older version alone; the newer has another package and is the same otherwise."""
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    text = text_format.MessageToString(file).replace("v1alpha", "v1")
    renamed = text_format.Parse(text, FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(renamed.SerializeToString())
