"""What happens around every call: the request is decoded, checked and given its actor
and its time; whatever goes wrong becomes a status.

Handlers are wrapped once, when the server is built, from the descriptors of the
services: a method cannot be served without passing here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import protovalidate
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from ..domain.errors import DeadlineExceededError, DraftlineError, InvalidFieldError
from ..domain.records import Actor
from ..store.engine import call_deadline
from .auth import actor_of
from .status import abort, unexpected
from .wire import Refused, deserializer

NO_CONTROL_CHARACTERS = r"^\P{Cc}*$"  # the pattern of ids in the contract

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Actor], Awaitable[Message]]


def handlers(service: ServiceDescriptor, servicer: object, default_timeout_s: float) -> grpc.GenericRpcHandler:
    """The service's methods, each wrapped; `default_timeout_s` is for callers that set no deadline."""
    methods = {method.name: _handler(method, getattr(servicer, method.name), default_timeout_s)
               for method in service.methods}  # fmt: skip
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _handler(method: MethodDescriptor, behavior: Any, default_timeout_s: float) -> grpc.RpcMethodHandler[Any, Any]:
    request_type = message_factory.GetMessageClass(method.input_type)
    response_type = message_factory.GetMessageClass(method.output_type)
    if method.client_streaming:
        wrapped = _client_streaming(method, behavior)
        make = grpc.stream_unary_rpc_method_handler
    else:
        wrapped = _unary(method, behavior, default_timeout_s)
        make = grpc.unary_unary_rpc_method_handler
    return make(
        wrapped,
        request_deserializer=deserializer(request_type),
        response_serializer=response_type.SerializeToString,
    )


def _unary(method: MethodDescriptor, behavior: Unary, default_timeout_s: float) -> Any:
    async def handle(request: Message | Refused, context: Context) -> Message | None:
        try:
            message = checked(request)
            remaining = context.time_remaining()
            timeout_s = default_timeout_s if remaining is None else min(remaining, default_timeout_s)
            call_deadline.set(time.monotonic() + timeout_s)
            actor = actor_of(message.tenant_id, context.invocation_metadata())  # type: ignore[attr-defined]
            async with asyncio.timeout(timeout_s):
                return await behavior(message, actor)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except DraftlineError as error:
            await abort(context, error)
        except TimeoutError:
            await abort(context, DeadlineExceededError("the call's time is over"))
        except Exception as error:
            await abort(context, unexpected(error, method.full_name))
        return None

    return handle


def _client_streaming(method: MethodDescriptor, behavior: Any) -> Any:
    async def handle(requests: AsyncIterator[Message | Refused], context: Context) -> Message | None:
        async def messages() -> AsyncIterator[Message]:
            async for request in requests:
                yield checked(request)

        try:
            remaining = context.time_remaining()
            if remaining is not None:
                call_deadline.set(time.monotonic() + remaining)
            return await behavior(  # type: ignore[no-any-return]
                messages(), lambda tenant_id: actor_of(tenant_id, context.invocation_metadata())
            )
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except DraftlineError as error:
            await abort(context, error)
        except Exception as error:
            await abort(context, unexpected(error, method.full_name))
        return None

    return handle


def checked(request: Message | Refused) -> Message:
    """The request, if its bytes parsed and it keeps the rules of the contract."""
    if isinstance(request, Refused):
        raise request.error
    violations = protovalidate.collect_violations(request)
    if violations:
        fields = [(_path(violation.proto.field), _problem(violation)) for violation in violations]
        raise InvalidFieldError("; ".join(f"{field}: {problem}" for field, problem in fields), fields=fields)
    return request


def _problem(violation: protovalidate.Violation) -> str:
    if violation.rule_value == NO_CONTROL_CHARACTERS:
        return "must hold no control characters"
    return violation.proto.message


def _path(path: Any) -> str:
    parts: list[str] = []
    for element in path.elements:
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(element.field_name + index)
    return ".".join(parts)
