"""The gRPC handlers of all methods. Each wraps a method of a service in the pipeline and in validation.

Handlers are built once, when the server is built, from the descriptors of the services, so no method can be served
without the pipeline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from ..auth.permissions import NEEDED, needed_by, shows_content
from ..auth.revocation import cancel_when_revoked
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    DeadlineExceededError,
    DrainingError,
    InvalidFieldError,
    UndecodableRequestError,
)
from ..domain.records import Actor, Request
from ..observability.outcome_counters import count_outcomes
from ..observability.telemetry import Call, Method
from .admission import Admission
from .call_tracker import CallTracker
from .idempotency import Fingerprint, normalize, request_of
from .import_pace import Pace
from .mapping.imports import ImportChecks
from .pipeline import Context, answering, authorize, send, serialize, set_deadline
from .redaction import redacted
from .validation import check, parser
from .write_stream import WriteStream

WATCHES = {"draftline.v1.ChangeService.WatchChanges"}  # mostly idle, and limited separately

UnaryMethod = Callable[[Any, Actor], Awaitable[Any]]


def handlers(service: ServiceDescriptor, servicer: object, calls: CallTracker) -> grpc.GenericRpcHandler:
    """Return a handler for all methods of the service, each wrapped in the pipeline."""
    methods = {method.name: _handler(method, servicer, calls) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _handler(method: MethodDescriptor, servicer: object, calls: CallTracker) -> grpc.RpcMethodHandler[Any, Any]:
    behavior = count_outcomes(method.full_name, getattr(servicer, method.name), calls.telemetry)
    # All handlers read messages themselves: grpc.aio would keep a unary call open forever if its message never comes.
    make: Any = grpc.stream_unary_rpc_method_handler
    if method.client_streaming and method.server_streaming:
        make, wrapped = grpc.stream_stream_rpc_method_handler, _bidirectional(method, servicer, calls)
    elif method.client_streaming:
        wrapped = _client_streaming(method, behavior, calls)
    elif method.server_streaming:
        make, wrapped = grpc.stream_stream_rpc_method_handler, _server_streaming(method, behavior, calls)
    else:
        wrapped = _unary(method, behavior, calls)
    handler: grpc.RpcMethodHandler[Any, Any] = make(wrapped)  # returns serialized responses
    return handler


def _counts(method: MethodDescriptor, calls: CallTracker) -> Method:
    streams = {"takes_stream": method.client_streaming, "sends_stream": method.server_streaming}
    return calls.telemetry.method(method.full_name, **streams)


def _parser(method: MethodDescriptor) -> Callable[[bytes], Message]:
    return parser(message_factory.GetMessageClass(method.input_type))


def _unary(method: MethodDescriptor, behavior: UnaryMethod, calls: CallTracker) -> Any:
    response_type = message_factory.GetMessageClass(method.output_type)
    writes = "request_id" in method.input_type.fields_by_name
    needed, parse, name = NEEDED[method.full_name], _parser(method), method.full_name

    async def answer(context: Context, call: Call) -> bytes:
        timeout_s = set_deadline(context, calls.call_timeout_s)
        async with asyncio.timeout(timeout_s):
            message: Any = parse(await calls.first_message(context, call))
            actor = authorize(calls, message, needed_by(name, message), call)
            async with calls.admission.slot(actor.tenant_id, timeout_s):
                calls.send_buffer.reject_if_full(actor.tenant_id)
                check(message)
                if not writes:
                    return serialize(await behavior(message, actor), call)
                request = request_of(message, name)
                if request is not None:
                    call.request_id = request.request_id
                    actor = Actor(actor.tenant_id, actor.user_id, request)
                response = calls.idempotency.call(behavior, message, actor, response_type)
                try:
                    if not shows_content(needed) and not call.identity.may_read(actor.tenant_id):
                        response = redacted(response)
                    else:
                        response = calls.conditions.add(message, actor, response)
                    return serialize(await response, call)
                finally:
                    calls.on_write(actor.tenant_id)

    return answering(_counts(method, calls), calls, answer)


def _server_streaming(method: MethodDescriptor, behavior: Any, calls: CallTracker) -> Any:
    needed, parse = NEEDED[method.full_name], _parser(method)

    async def answer(context: Context, call: Call) -> None:
        message: Any = parse(await calls.first_message(context, call))
        actor = authorize(calls, message, needed, call)
        check(message)
        timeout_s = set_deadline(context)
        stream = behavior(message, actor)
        if method.full_name not in WATCHES:
            stream = _with_slots(stream, actor, calls.admission, timeout_s)

        async def check_caller() -> None:
            identity = await calls.authenticator.identify(context.invocation_metadata())
            identity.actor(message.tenant_id, needed)

        async with cancel_when_revoked(call.identity, check_caller), aclosing(stream) as responses:
            async for response in responses:
                data = serialize(response, call)
                calls.send_buffer.reject_if_full(actor.tenant_id, len(data))
                with calls.send_buffer.track_message(call.peer, actor.tenant_id, len(data)):
                    await send(context, data, calls.idle_timeout_s, "resume after the last message")
                if calls.draining:
                    raise DrainingError("the server is shutting down; resume on another server after the last message")

    return answering(_counts(method, calls), calls, answer)


async def _with_slots(
    pages: AsyncGenerator[Message], actor: Actor, admission: Admission, timeout_s: float | None
) -> AsyncIterator[Message]:
    """Yield the pages. Each is built while holding an admission slot; none is held while the caller reads."""
    async with aclosing(pages):
        slot = admission.slot(actor.tenant_id, timeout_s)
        while True:
            async with slot:
                page = await anext(pages, None)
            if page is None:
                return
            yield page
            slot = admission.next_slot(actor.tenant_id)


def _client_streaming(method: MethodDescriptor, behavior: Any, calls: CallTracker) -> Any:
    response_type = message_factory.GetMessageClass(method.output_type)
    needed, parse = NEEDED[method.full_name], _parser(method)

    async def answer(context: Context, call: Call) -> bytes:
        timeout_s = set_deadline(context, calls.pace.total_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await load(context, call, timeout_s)
        except TimeoutError:
            raise DeadlineExceededError(f"the import took longer than {timeout_s:g} s; {WRITE_IS_UNKNOWN}") from None

    async def load(context: Context, call: Call, timeout_s: float | None) -> bytes:
        fingerprint = Fingerprint(method.full_name)
        stream = _messages(context, call, calls, parse, fingerprint)
        # The first message holds the tenant and the request id.
        first: Any = await anext(stream, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidFieldError.of("header", "the first message must be the header")
        header = first.header
        actor = authorize(calls, header, needed, call)
        if header.request_id:
            call.request_id = header.request_id
            actor = replace(actor, request=Request(header.request_id, fingerprint))

        async def write(_: Message, actor: Actor) -> Message:
            response: Message = await behavior(header, stream, actor)
            return response

        async with calls.admission.slot(actor.tenant_id, timeout_s):
            try:
                response = await calls.idempotency.call(write, header, actor, response_type, rest=stream)
                return serialize(response, call)
            finally:
                calls.on_write(actor.tenant_id)

    return answering(_counts(method, calls), calls, answer)


def _bidirectional(method: MethodDescriptor, servicer: object, calls: CallTracker) -> Any:
    needed = NEEDED[method.full_name]

    async def answer(context: Context, call: Call) -> None:
        await WriteStream(calls, context, call, servicer, needed).run()

    return answering(_counts(method, calls), calls, answer)


async def _messages(
    context: Context, call: Call, calls: CallTracker, parse: Callable[[bytes], Message], fingerprint: Fingerprint
) -> AsyncIterator[Message]:
    """Yield the validated messages of an import, and add each to the fingerprint."""
    checks = ImportChecks()
    try:
        data: Any = await calls.first_message(context, call)
    except UndecodableRequestError:
        return  # without any message, the error is the missing header
    pace = Pace(calls.pace)
    while data is not grpc.aio.EOF:
        message: Any = parse(data)
        checks.check(message)
        if message.WhichOneof("part") == "header":
            normalize(message.header)
        fingerprint.add(message)
        yield message
        # A partly consumed iterator would keep the call alive, as in status.abort.
        data = await pace.next(lambda: calls.next_message(context, call))
