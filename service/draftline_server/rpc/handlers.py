"""The pipeline around every call: authentication, authorization (AIP-211), validation of the
request, deadlines, and conversion of every error to a status. Callers are authenticated
before any error in their request is reported.

Handlers are wrapped once, when the server is built, from the descriptors of the services, so
no method can be served without this pipeline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from ..auth.authentication import cancel_when_revoked
from ..auth.permissions import NEEDED, Permission, needed_by, shows_content
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    DrainingError,
    InvalidFieldError,
    OverloadedError,
    ReaderTooSlowError,
    UndecodableRequestError,
)
from ..domain.records import Actor, Request
from ..observability.outcome_counters import counting
from ..observability.telemetry import Call, Method
from ..store.transaction import call_deadline, call_tenant, is_late
from .admission import Admission
from .call_tracker import CallTracker
from .idempotency import Fingerprint, normalize, request_of
from .import_pace import Pace
from .mapping.imports import ImportChecks
from .rules import check
from .status import GoneError, abort, code_of, forget, unexpected
from .wire import parser
from .withholding import withhold_content, without_content

WATCHES = {"draftline.v1.ChangeService.WatchChanges"}  # mostly idle, and limited separately

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Actor], Awaitable[Message]]
T = TypeVar("T")
Answer = Callable[[Context, Call], Awaitable[T]]


def handlers(service: ServiceDescriptor, servicer: object, calls: CallTracker) -> grpc.GenericRpcHandler:
    """Return a handler for all methods of the service, each wrapped in the pipeline."""
    methods = {method.name: _handler(method, getattr(servicer, method.name), calls)
               for method in service.methods}  # fmt: skip
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _handler(method: MethodDescriptor, behavior: Any, calls: CallTracker) -> grpc.RpcMethodHandler[Any, Any]:
    behavior = counting(method.full_name, behavior, calls.telemetry)
    # All handlers read messages themselves: grpc.aio would keep a unary call open forever if its message never comes.
    make: Any = grpc.stream_unary_rpc_method_handler
    if method.client_streaming:
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


def _answering(method: Method, calls: CallTracker, answer: Answer[T]) -> Callable[[object, Context], Awaitable[T]]:
    """Wrap `answer`: authenticate the caller first, and convert every error to the call's status."""

    async def handle(_: object, context: Context) -> T:
        peer = context.peer()
        if calls.connections.is_closed(peer):  # calls that it sent before are still arriving
            raise asyncio.CancelledError
        call = calls.come(method, peer)
        try:
            calls.refuse_late()
            call.metadata = context.invocation_metadata()
            calls.admit(call, await calls.identify(call))
            answered = await answer(context, call)
        except asyncio.CancelledError:
            calls.cancelled(call, context.time_remaining())
            raise
        except grpc.aio.InternalError:  # the caller has disconnected, so sending failed
            calls.cancelled(call, context.time_remaining())
            raise asyncio.CancelledError from None
        except Exception as error:
            await calls.settled()
            await _refuse(context, error, call, calls)
        else:
            await calls.settled()
            if isinstance(answered, bytes):
                calls.sending.answer(context, call.peer, call.tenant_id, len(answered))
            return answered
        finally:
            calls.gone(call)
        raise AssertionError("unreachable: the call was answered or aborted")

    return handle


async def _refuse(context: Context, error: Exception, call: Call, calls: CallTracker) -> None:
    """End the call with a status. Never returns."""
    told = _told(error, call)
    # A failed future and the task that awaits it form a cycle through the error's traceback, which keeps the call.
    forget(error)
    try:
        await abort(context, told)
    except GoneError:
        calls.cancelled(call, context.time_remaining())
        raise


def _told(error: Exception, call: Call) -> DraftlineError:
    """Return the error to report to the caller.

    No frame may keep a reference to the error: it would keep the call alive, as in status.abort.
    """
    if isinstance(error, TimeoutError):
        error = DeadlineExceededError("the call's time is over")
    elif isinstance(error, DatabaseUnavailableError | OverloadedError) and is_late():
        error = DeadlineExceededError(f"the call's time is over; {WRITE_IS_UNKNOWN}")
    elif not isinstance(error, DraftlineError):
        error = unexpected(error, call.method.name)
    call.code, call.reason = code_of(error), error.reason
    return error


def _unary(method: MethodDescriptor, behavior: Unary, calls: CallTracker) -> Any:
    response_type = message_factory.GetMessageClass(method.output_type)
    writes = "request_id" in method.input_type.fields_by_name
    needed, parse, name = NEEDED[method.full_name], _parser(method), method.full_name

    async def answer(context: Context, call: Call) -> bytes:
        timeout_s = _limit_time(context, calls.call_timeout_s)
        async with asyncio.timeout(timeout_s):
            message: Any = parse(await calls.message(context, call))
            actor = _actor(calls, message, needed_by(name, message), call)
            async with calls.admission.turn(actor.tenant_id, timeout_s):
                calls.sending.refuse_full(actor.tenant_id)
                check(message)
                if not writes:
                    return _sent(await behavior(message, actor), call)
                request = request_of(message, name)
                if request is not None:
                    call.request_id = request.request_id
                    actor = Actor(actor.tenant_id, actor.user_id, request)
                answered = calls.once.answer(behavior, message, actor, response_type)
                try:
                    if not shows_content(needed) and not call.identity.may_read(actor.tenant_id):
                        answered = _withheld(answered)
                    return _sent(await answered, call)
                finally:
                    calls.wrote(actor.tenant_id)

    return _answering(_counts(method, calls), calls, answer)


async def _withheld(answered: Awaitable[Message]) -> Message:
    """Return the answer or raise the error, in both cases without content."""
    try:
        response = await answered
    except DraftlineError as error:
        raise without_content(error) from None
    withhold_content(response)
    return response


def _server_streaming(method: MethodDescriptor, behavior: Any, calls: CallTracker) -> Any:
    needed, parse = NEEDED[method.full_name], _parser(method)

    async def answer(context: Context, call: Call) -> None:
        message: Any = parse(await calls.message(context, call))
        actor = _actor(calls, message, needed, call)
        check(message)
        timeout_s = _limit_time(context)
        stream = behavior(message, actor)
        if method.full_name not in WATCHES:
            stream = _in_turns(stream, actor, calls.admission, timeout_s)

        async def identified() -> None:
            again = await calls.authenticator.identify(context.invocation_metadata())
            again.actor(message.tenant_id, needed)

        async with cancel_when_revoked(call.identity, identified), aclosing(stream) as responses:
            async for response in responses:
                data = _sent(response, call)
                calls.sending.refuse_full(actor.tenant_id, len(data))
                with calls.sending.message(call.peer, actor.tenant_id, len(data)):
                    await _send(context, data, calls.idle_timeout_s)
                if calls.draining:
                    raise DrainingError("the server is stopping; go on with another, after the last message")

    return _answering(_counts(method, calls), calls, answer)


async def _in_turns(
    pages: AsyncGenerator[Message], actor: Actor, admission: Admission, timeout_s: float | None
) -> AsyncIterator[Message]:
    """Yield the pages. Each is built while holding an admission slot; none is held while the caller reads."""
    async with aclosing(pages):
        turn = admission.turn(actor.tenant_id, timeout_s)
        while True:
            async with turn:
                page = await anext(pages, None)
            if page is None:
                return
            yield page
            turn = admission.next_turn(actor.tenant_id)


def _sent(response: Message, call: Call) -> bytes:
    data = response.SerializeToString()
    call.sent_bytes += len(data)
    return data


async def _send(context: Context, response: bytes, timeout_s: float) -> None:
    """Send the message. Raises ReaderTooSlowError if flow control blocks it for longer than `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            await context.write(response)
    except TimeoutError:
        problem = f"nothing of the stream was read for {timeout_s:g} s; go on after the last message"
        raise ReaderTooSlowError(problem) from None


def _client_streaming(method: MethodDescriptor, behavior: Any, calls: CallTracker) -> Any:
    response_type = message_factory.GetMessageClass(method.output_type)
    needed, parse = NEEDED[method.full_name], _parser(method)

    async def messages(context: Context, fingerprint: Fingerprint, call: Call) -> AsyncIterator[Message]:
        checks = ImportChecks()
        try:
            request: Any = await calls.message(context, call)
        except UndecodableRequestError:
            return  # without any message, the error is the missing header
        pace = Pace(calls.pace)
        while request is not grpc.aio.EOF:
            message: Any = parse(request)
            checks.check(message)
            if message.WhichOneof("part") == "header":
                normalize(message.header)
            fingerprint.add(message)
            yield message
            # A partly consumed iterator would keep the call alive, as in status.abort.
            request = await pace.next(lambda: calls.next_message(context, call))

    async def answer(context: Context, call: Call) -> bytes:
        timeout_s = _limit_time(context, calls.pace.total_s)
        fingerprint = Fingerprint(method.full_name)
        try:
            async with asyncio.timeout(timeout_s):
                return await loaded(context, call, fingerprint, timeout_s)
        except TimeoutError:
            raise DeadlineExceededError(f"the import took longer than {timeout_s:g} s; {WRITE_IS_UNKNOWN}") from None

    async def loaded(context: Context, call: Call, fingerprint: Fingerprint, timeout_s: float | None) -> bytes:
        stream = messages(context, fingerprint, call)
        # The first message holds the tenant and the request id.
        first: Any = await anext(stream, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidFieldError.of("header", "the first message must be the header")
        header = first.header
        actor = _actor(calls, header, needed, call)
        if header.request_id:
            call.request_id = header.request_id
            actor = replace(actor, request=Request(header.request_id, fingerprint))

        async def load(_: Message, actor: Actor) -> Message:
            answered: Message = await behavior(header, stream, actor)
            return answered

        async with calls.admission.turn(actor.tenant_id, timeout_s):
            try:
                return _sent(await calls.once.answer(load, header, actor, response_type, rest=stream), call)
            finally:
                calls.wrote(actor.tenant_id)

    return _answering(_counts(method, calls), calls, answer)


def _actor(calls: CallTracker, message: Any, needed: frozenset[Permission], call: Call) -> Actor:
    """Authorize the caller in the tenant of the message and return its actor."""
    actor = call.identity.actor(message.tenant_id, needed)
    calls.belongs_to(call, actor.tenant_id)
    call_tenant.set(actor.tenant_id)
    return actor


def _limit_time(context: Context, default_timeout_s: float | None = None) -> float | None:
    """Set the call's deadline to the caller's, capped by the default, and return the remaining seconds."""
    timeout_s: float | None = context.time_remaining()
    if timeout_s is None or (default_timeout_s is not None and timeout_s > default_timeout_s):
        timeout_s = default_timeout_s
    if timeout_s is not None:
        call_deadline.set(time.monotonic() + timeout_s)
    return timeout_s


def _parser(method: MethodDescriptor) -> Callable[[bytes], Message]:
    return parser(message_factory.GetMessageClass(method.input_type))
