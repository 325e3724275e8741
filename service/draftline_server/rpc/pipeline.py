"""The steps that all calls share: authentication, authorization (AIP-211), deadlines, and errors as statuses.

Callers are authenticated before any error in their request is reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from ..auth.permissions import Permission
from ..concurrency.call_context import call_deadline, call_tenant, is_late
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    OverloadedError,
    ReaderTooSlowError,
)
from ..domain.records import Actor
from ..observability.telemetry import Call, Method
from .call_tracker import CallTracker
from .encoded_page import Response
from .status import GoneError, abort, code_of, forget, internal_error

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")
Answer = Callable[[Context, Call], Awaitable[T]]


def answering(method: Method, calls: CallTracker, answer: Answer[T]) -> Callable[[object, Context], Awaitable[T]]:
    """Wrap `answer`: authenticate the caller first, and convert every error to the call's status."""

    async def handle(_: object, context: Context) -> T:
        peer = context.peer()
        if calls.connections.is_closed(peer):  # calls that it sent before are still arriving
            raise asyncio.CancelledError
        call = calls.start(method, peer)
        try:
            calls.reject_if_draining()
            call.metadata = context.invocation_metadata()
            calls.assign_caller(call, await calls.identify(call))
            response = await answer(context, call)
        except asyncio.CancelledError:
            calls.mark_cancelled(call, context.time_remaining())
            raise
        except grpc.aio.InternalError:  # the caller has disconnected, so sending failed
            calls.mark_cancelled(call, context.time_remaining())
            raise asyncio.CancelledError from None
        except Exception as error:
            await calls.await_goaway()
            await _end_with_error(context, error, call, calls)
        else:
            await calls.await_goaway()
            if isinstance(response, bytes):
                calls.send_buffer.track_response(context, call.peer, call.tenant_id, len(response))
            return response
        finally:
            calls.finish(call)
        raise AssertionError("unreachable: the call was answered or aborted")

    return handle


async def _end_with_error(context: Context, error: Exception, call: Call, calls: CallTracker) -> None:
    """End the call with a status. Never returns."""
    reported = _reported_error(error, call)
    # A failed future and the task that awaits it form a cycle through the error's traceback, which keeps the call.
    forget(error)
    try:
        await abort(context, reported)
    except GoneError:
        calls.mark_cancelled(call, context.time_remaining())
        raise


def _reported_error(error: Exception, call: Call) -> DraftlineError:
    """Return the error to report to the caller.

    No frame may keep a reference to the error: it would keep the call alive, as in status.abort.
    """
    if isinstance(error, TimeoutError):
        error = DeadlineExceededError("the deadline of the call has passed")
    elif isinstance(error, DatabaseUnavailableError | OverloadedError) and is_late():
        error = DeadlineExceededError(f"the deadline of the call has passed; {WRITE_IS_UNKNOWN}")
    elif not isinstance(error, DraftlineError):
        error = internal_error(error, call.method.name)
    call.code, call.reason = code_of(error), error.reason
    return error


def authorize(calls: CallTracker, message: Any, needed: frozenset[Permission], call: Call) -> Actor:
    """Authorize the caller in the tenant of the message and return its actor.

    The tenant is empty if messages of this type have none. Tokens and keys for named tenants never grant access to it.
    """
    actor = call.identity.actor(getattr(message, "tenant_id", ""), needed)
    calls.assign_tenant(call, actor.tenant_id)
    call_tenant.set(actor.tenant_id)
    return actor


def set_deadline(context: Context, max_timeout_s: float | None = None) -> float | None:
    """Set the call's deadline to the caller's, capped by `max_timeout_s`, and return the remaining seconds."""
    timeout_s: float | None = context.time_remaining()
    if timeout_s is None or (max_timeout_s is not None and timeout_s > max_timeout_s):
        timeout_s = max_timeout_s
    if timeout_s is not None:
        call_deadline.set(time.monotonic() + timeout_s)
    return timeout_s


def serialize(response: Response, call: Call) -> bytes:
    """Return the response as bytes, and count them for the call."""
    data = response.SerializeToString()
    call.sent_bytes += len(data)
    return data


async def send(context: Context, message: bytes, timeout_s: float, advice: str) -> None:
    """Send a message of a stream. Raises ReaderTooSlowError if flow control blocks it for longer than `timeout_s`.

    `advice`: what the caller should do about the error.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await context.write(message)
    except TimeoutError:
        problem = f"the caller read nothing of the stream for {timeout_s:g} s; {advice}"
        raise ReaderTooSlowError(problem) from None
