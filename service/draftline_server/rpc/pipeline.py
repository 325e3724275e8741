"""What happens around every call: its caller is identified and may do it or not (AIP-211), the
request is checked and given its time; whatever goes wrong becomes a status. Nobody is told
what is wrong with a request before it is known who asks.

Handlers are wrapped once, when the server is built, from the descriptors of the
services: a method cannot be served without passing here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import grpc
import protovalidate
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from ..domain.errors import (
    DeadlineExceededError,
    DraftlineError,
    DrainingError,
    InvalidFieldError,
    OverloadedError,
    ReaderTooSlowError,
    UndecodableRequestError,
)
from ..domain.records import Actor, Request
from ..store.transaction import call_deadline, call_tenant
from .admission import Admission
from .auth import Authenticator, while_valid
from .effects import counting
from .identity import Identity
from .lists import refuse_long_lists
from .once import Fingerprint, Once, normalize, request_of
from .permissions import NEEDED
from .status import abort, code_of, unexpected
from .telemetry import Call, Method, Telemetry
from .wire import parser

WATCHES = {"draftline.v1.ChangeService.WatchChanges"}  # which wait most of the time, and have a limit of their own
NO_CONTROL_CHARACTERS = r"^\P{Cc}*$"  # the pattern of ids in the contract

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Actor], Awaitable[Message]]


@dataclass(slots=True)
class Calls:
    """What the calls of a server share: who makes them, their limits, how many there are, and whether it drains."""

    once: Once
    authenticator: Authenticator
    admission: Admission
    most: int  # calls at once, of callers who are known
    call_timeout_s: float  # of a unary call
    idle_timeout_s: float  # of the other end of a stream: between two messages that it sends, or until it reads one
    wrote: Callable[[str], None]  # called with the tenant of each call that may have written
    telemetry: Telemetry
    count: int = 0
    known: int = 0  # of these, whose callers were identified
    draining: bool = False
    turned_away: asyncio.Event = field(default_factory=asyncio.Event)  # set once callers know to go elsewhere
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def one(self) -> Iterator[None]:
        self.count += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.count -= 1
            if not self.count:
                self.idle.set()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """grpc's own limit, maximum_concurrent_rpcs, lets everything pass once it was reached (1.78)."""
        if self.known >= self.most:
            raise OverloadedError(f"{self.most} calls are under way already; nothing was done, try again later")
        self.known += 1
        try:
            yield
        finally:
            self.known -= 1

    @contextmanager
    def writing(self, actor: Actor) -> Iterator[None]:
        """Those who watch are woken when the call is over, whatever became of it."""
        try:
            yield
        finally:
            self.wrote(actor.tenant_id)

    def drain(self) -> None:
        """From now on calls are not begun, those that wait are refused, and streams end at their next message."""
        self.draining = True
        self.admission.drain()

    def refuse_late(self) -> None:
        if self.draining:
            raise DrainingError("the server is stopping; nothing was done, call another one")

    async def settled(self) -> None:
        """While the server drains, until callers know to go elsewhere: who is answered before comes again at once."""
        if self.draining:
            await self.turned_away.wait()

    async def drained(self, timeout_s: float) -> None:
        """Returns when no call is left, or when the time is over."""
        self.turned_away.set()
        if self.count:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), timeout_s)


def handlers(service: ServiceDescriptor, servicer: object, calls: Calls) -> grpc.GenericRpcHandler:
    """The service's methods, each wrapped."""
    methods = {method.name: _handler(method, getattr(servicer, method.name), calls)
               for method in service.methods}  # fmt: skip
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _handler(method: MethodDescriptor, behavior: Any, calls: Calls) -> grpc.RpcMethodHandler[Any, Any]:
    behavior = counting(method.full_name, behavior, calls.telemetry)
    # All read their messages themselves: grpc.aio would leave a call open whose one message never comes, for ever.
    make: Any = grpc.stream_unary_rpc_method_handler
    if method.client_streaming:
        wrapped = _client_streaming(method, behavior, calls)
    elif method.server_streaming:
        make, wrapped = grpc.stream_stream_rpc_method_handler, _server_streaming(method, behavior, calls)
    else:
        wrapped = _unary(method, behavior, calls)
    handler: grpc.RpcMethodHandler[Any, Any] = make(wrapped)  # which answers what goes out, as bytes
    return handler


@asynccontextmanager
async def _answering(context: Context, method: Method, calls: Calls) -> AsyncIterator[tuple[Identity, Call]]:
    """For the caller, who must be known. Whatever goes wrong inside becomes the call's status."""
    call = calls.telemetry.began(method)
    try:
        with calls.one():
            calls.refuse_late()
            identity = await calls.authenticator.identify(context.invocation_metadata())
            call.user_id = identity.user_id
            with calls.admitted():
                yield identity, call
    except asyncio.CancelledError:
        left_s = context.time_remaining()
        is_late = left_s is not None and left_s <= 0
        call.code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
        raise
    except Exception as error:
        await calls.settled()
        await abort(context, _told(error, call))
    else:
        await calls.settled()
    finally:
        calls.telemetry.ended(call)


def _told(error: Exception, call: Call) -> DraftlineError:
    """What the caller is told of it. No frame may keep the error: it would keep the call, as in status.abort."""
    if isinstance(error, TimeoutError):
        error = DeadlineExceededError("the call's time is over")
    elif not isinstance(error, DraftlineError):
        error = unexpected(error, call.method.name)
    call.code, call.reason = code_of(error), error.reason
    return error


def _unary(method: MethodDescriptor, behavior: Unary, calls: Calls) -> Any:
    response_type = message_factory.GetMessageClass(method.output_type)
    writes = "request_id" in method.input_type.fields_by_name
    needed, parse, counts = NEEDED[method.full_name], _parser(method), calls.telemetry.method(method.full_name)

    async def handle(_: object, context: Context) -> bytes:
        async with _answering(context, counts, calls) as (identity, call):
            timeout_s = _limit_time(context, calls.call_timeout_s)
            async with asyncio.timeout(timeout_s):
                message: Any = parse(await _only_message(context, call))
                actor = identity.actor(message.tenant_id, needed)
                call.tenant_id = actor.tenant_id
                call_tenant.set(actor.tenant_id)
                async with calls.admission.turn(actor.tenant_id, timeout_s):
                    check(message)
                    actor = replace(actor, request=request_of(message, method.full_name))
                    write = partial(behavior, message, actor)
                    with calls.writing(actor) if writes else nullcontext():
                        answer = await calls.once.answer(write, actor, message, response_type)
            return _sent(answer, call)
        raise AssertionError("unreachable: the call was answered or aborted")

    return handle


def _server_streaming(method: MethodDescriptor, behavior: Any, calls: Calls) -> Any:
    needed, parse, counts = NEEDED[method.full_name], _parser(method), calls.telemetry.stream(method.full_name)

    async def handle(_: object, context: Context) -> None:
        async with _answering(context, counts, calls) as (identity, call):
            async with asyncio.timeout(calls.idle_timeout_s):
                message: Any = parse(await _only_message(context, call))
            actor = identity.actor(message.tenant_id, needed)
            call.tenant_id = actor.tenant_id
            call_tenant.set(actor.tenant_id)
            check(message)
            timeout_s = _limit_time(context)
            stream = behavior(message, actor)
            if method.full_name not in WATCHES:
                stream = _in_turns(stream, actor, calls.admission, timeout_s)

            async def identified() -> None:
                again = await calls.authenticator.identify(context.invocation_metadata())
                again.actor(message.tenant_id, needed)

            async with while_valid(identity, identified), aclosing(stream) as responses:
                async for response in responses:
                    await _send(context, _sent(response, call), calls.idle_timeout_s)
                    if calls.draining:
                        raise DrainingError("the server is stopping; go on with another, after the last message")

    return handle


async def _in_turns(
    pages: AsyncGenerator[Message], actor: Actor, admission: Admission, timeout_s: float | None
) -> AsyncIterator[Message]:
    """Each page is read and made in a turn; none is taken up while the other end reads."""
    async with aclosing(pages):
        turn = admission.turn(actor.tenant_id, timeout_s)
        while True:
            async with turn:
                page = await anext(pages, None)
            if page is None:
                return
            yield page
            turn = admission.next_turn(actor.tenant_id)


async def _only_message(context: Context, call: Call) -> bytes:
    """Of a call that sends one."""
    request = await context.read()
    if request is grpc.aio.EOF:
        raise UndecodableRequestError("the call ended without its message")
    data: bytes = request
    call.received_bytes = len(data)
    return data


def _sent(response: Message, call: Call) -> bytes:
    data = response.SerializeToString()
    call.sent_bytes += len(data)
    return data


async def _send(context: Context, response: bytes, timeout_s: float) -> None:
    """Waits until there is room for the message. ReaderTooSlowError if there is none for so long."""
    try:
        async with asyncio.timeout(timeout_s):
            await context.write(response)
    except TimeoutError:
        problem = f"nothing of the stream was read for {timeout_s:g} s; go on after the last message"
        raise ReaderTooSlowError(problem) from None


def _client_streaming(method: MethodDescriptor, behavior: Any, calls: Calls) -> Any:
    response_type = message_factory.GetMessageClass(method.output_type)
    needed, parse, counts = NEEDED[method.full_name], _parser(method), calls.telemetry.method(method.full_name)

    async def messages(context: Context, fingerprint: Fingerprint, call: Call) -> AsyncIterator[Message]:
        while True:
            try:
                async with asyncio.timeout(calls.idle_timeout_s):
                    # An iterator that is left half-way would keep the call, as in status.abort.
                    request = await context.read()
            except TimeoutError:
                problem = f"no message of the stream came for {calls.idle_timeout_s:g} s; nothing of it was kept"
                raise DeadlineExceededError(problem) from None
            if request is grpc.aio.EOF:
                return
            call.received_bytes += len(request)
            message: Any = parse(request)
            check(message)
            if message.WhichOneof("part") == "header":
                normalize(message.header)
            fingerprint.add(message)
            yield message

    async def handle(_: AsyncIterator[bytes], context: Context) -> bytes:
        async with _answering(context, counts, calls) as (identity, call):
            timeout_s = _limit_time(context)
            fingerprint = Fingerprint(method.full_name)
            stream = messages(context, fingerprint, call)
            # Its first message says for whom it is, and whether it is to happen once.
            first: Any = await anext(stream, None)
            if first is None or first.WhichOneof("part") != "header":
                raise InvalidFieldError.of("header", "the first message must be the header")
            header = first.header
            request = Request(header.request_id, fingerprint) if header.request_id else None
            actor = replace(identity.actor(header.tenant_id, needed), request=request)
            write = partial(behavior, header, stream, actor)
            call.tenant_id = actor.tenant_id
            call_tenant.set(actor.tenant_id)
            async with calls.admission.turn(actor.tenant_id, timeout_s):
                with calls.writing(actor):
                    answer = await calls.once.answer(write, actor, header, response_type, rest=stream)
            return _sent(answer, call)
        raise AssertionError("unreachable: the call was answered or aborted")

    return handle


def _limit_time(context: Context, default_timeout_s: float | None = None) -> float | None:
    """Sets the call's deadline: the caller's, but at most the default. The seconds that are left."""
    given = [limit for limit in (context.time_remaining(), default_timeout_s) if limit is not None]
    if not given:
        return None
    call_deadline.set(time.monotonic() + min(given))
    return min(given)


def _parser(method: MethodDescriptor) -> Callable[[bytes], Message]:
    return parser(message_factory.GetMessageClass(method.input_type))


def check(request: Message) -> None:
    """InvalidFieldError unless the request keeps the rules of the contract."""
    refuse_long_lists(request)
    violations = protovalidate.collect_violations(request)
    if violations:
        fields = [(_path(violation.proto.field), _problem(violation, request)) for violation in violations]
        raise InvalidFieldError("; ".join(f"{field}: {problem}" for field, problem in fields), fields=fields)


def _problem(violation: protovalidate.Violation, request: Message) -> str:
    if violation.rule_value == NO_CONTROL_CHARACTERS:
        return "must hold no control characters"
    descriptor: Any = request.DESCRIPTOR
    path: Any = violation.proto.field
    *above, last = path.elements
    for element in above:
        descriptor = descriptor.fields_by_name[element.field_name].message_type
    oneof = descriptor.oneofs_by_name.get(last.field_name)
    if oneof is not None:
        return f"exactly one of {', '.join(member.name for member in oneof.fields)} must be set"
    return violation.proto.message


def _path(path: Any) -> str:
    parts: list[str] = []
    for element in path.elements:
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(element.field_name + index)
    return ".".join(parts)
