"""Calls with a request id happen once (AIP-155): sent again, they get the same answer."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from ..domain.errors import (
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    OverloadedError,
)
from ..domain.records import Actor, Request
from ..store.driver_errors import AnsweredBeforeError
from ..store.idempotency import Recalled, Requests
from .mapping.records import fill_record

M = TypeVar("M", bound=Message)


class Fingerprint:
    """A hash of all messages of a call, as many as there will be: two calls are the same request if theirs are."""

    def __init__(self, method: str) -> None:
        self._hash = hashlib.blake2b(method.encode(), digest_size=16)

    def add(self, message: Message) -> None:
        text = message.SerializeToString(deterministic=True)
        self._hash.update(len(text).to_bytes(8, "big") + text)

    def digest(self) -> bytes:
        return self._hash.digest()


def request_of(message: Any, method: str) -> Request | None:
    """The request that a message is, if it carries an id and is no preview."""
    if not getattr(message, "request_id", "") or getattr(message, "validate_only", False):
        return None
    normalize(message)
    fingerprint = Fingerprint(method)
    fingerprint.add(message)
    return Request(message.request_id, fingerprint)


def normalize(message: Any) -> None:
    """A UUID is the same in upper and in lower case, and so is the request."""
    message.request_id = message.request_id.lower()


class IdempotencyLayer:
    """Runs calls so that one which was answered before is answered the same, and writes nothing."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def answer(
        self,
        write: Callable[[Any, Actor], Awaitable[M]],
        request: Message,
        actor: Actor,
        response_type: type[M],
        rest: AsyncIterator[Message] | None = None,
    ) -> M:
        """What `write` answers, or what it answered before. RequestIdReusedError if that was another request.

        `rest`: the messages of a stream that `write` may leave unread when it fails; all of them are the request.
        """
        if actor.request is None:
            return await write(request, actor)
        try:
            return await write(request, actor)
        except (OverloadedError, DeadlineExceededError):
            raise  # there is no room or no time to look, and the caller may send it again
        except (AnsweredBeforeError, DraftlineError) as error:
            recalled = await self._recalled(actor, request, error)
            if rest is not None:
                async for _ in rest:
                    pass
            recalled.refuse_other(actor.request)
            if recalled.unfinished is not None:
                raise
        return _response(recalled, actor, request, response_type)

    async def _recalled(self, actor: Actor, request: Any, error: Exception) -> Recalled:
        """What was answered before; if nothing was, `error` is the answer."""
        try:
            named = getattr(request, "collection", ""), getattr(request, "record_id", "")
            recalled = await self._requests.recall(actor, *named)
        except DatabaseUnavailableError as unknown:
            # The error may be for what an earlier run of the same request did.
            problem = "the database is out of reach; whether the call was done is not known, send it again with its id"
            raise DatabaseUnavailableError(problem) from unknown
        if recalled is not None:
            return recalled
        if isinstance(error, AnsweredBeforeError):
            raise ContentionError("the answer to this request was just dropped; send it with a new id") from error
        raise error


def _response(recalled: Recalled, actor: Actor, request: Any, response_type: type[M]) -> M:
    if recalled.response is not None:
        return response_type.FromString(recalled.response)
    response: Any = response_type()
    if recalled.record is not None:
        fill_record(response.record, recalled.record, actor.tenant_id, request)
        if recalled.changed_fields:
            response.changed_fields.extend(recalled.changed_fields)
    answer: M = response
    return answer
