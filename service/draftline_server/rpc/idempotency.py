"""Idempotent calls (AIP-155): a call that is repeated with the same request id gets the same response."""

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
    """An incremental hash of all messages of a call. Two calls are the same request if their hashes are equal."""

    def __init__(self, method: str) -> None:
        self._hash = hashlib.blake2b(method.encode(), digest_size=16)

    def add(self, message: Message) -> None:
        text = message.SerializeToString(deterministic=True)
        self._hash.update(len(text).to_bytes(8, "big") + text)

    def digest(self) -> bytes:
        return self._hash.digest()


def request_of(message: Any, method: str) -> Request | None:
    """Return the identified request of a message, or None if it has no request id or is a preview."""
    if not getattr(message, "request_id", "") or getattr(message, "validate_only", False):
        return None
    normalize(message)
    fingerprint = Fingerprint(method)
    fingerprint.add(message)
    return Request(message.request_id, fingerprint)


def normalize(message: Any) -> None:
    """Lowercase the request id, because UUIDs are case-insensitive."""
    message.request_id = message.request_id.lower()


class IdempotencyLayer:
    """Runs calls such that a repeated call writes nothing and gets the stored response."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def call(
        self,
        write: Callable[[Any, Actor], Awaitable[M]],
        request: Message,
        actor: Actor,
        response_type: type[M],
        rest: AsyncIterator[Message] | None = None,
    ) -> M:
        """Return the response of `write`, or the stored response if the request was answered before.

        Raises RequestIdReusedError if the stored response belongs to a different request. `rest` is the stream that
        `write` may leave partly unread when it fails; it is read to its end, because all messages make up the request.
        """
        if actor.request is None:
            return await write(request, actor)
        try:
            return await write(request, actor)
        except (OverloadedError, DeadlineExceededError):
            raise  # no capacity or time for a lookup; the caller may retry
        except (AnsweredBeforeError, DraftlineError) as error:
            stored = await self._recall(actor, request, error)
            if rest is not None:
                async for _ in rest:
                    pass
            stored.refuse_other(actor.request)
            if stored.unfinished is not None:
                raise
        return _response(stored, actor, request, response_type)

    async def _recall(self, actor: Actor, request: Any, error: Exception) -> Recalled:
        """Return the stored response, or raise `error` if there is none."""
        try:
            record_key = getattr(request, "collection", ""), getattr(request, "record_id", "")
            stored = await self._requests.recall(actor, *record_key)
        except DatabaseUnavailableError as unknown:
            # The error may be a consequence of an earlier run of the same request.
            raise DatabaseUnavailableError(
                "the database is unreachable; whether the call was done is unknown, repeat it with the same request_id"
            ) from unknown
        if stored is not None:
            return stored
        if isinstance(error, AnsweredBeforeError):
            raise ContentionError(
                "the stored response to this request_id has expired; repeat the call with a new one"
            ) from error
        raise error


def _response(stored: Recalled, actor: Actor, request: Any, response_type: type[M]) -> M:
    if stored.response is not None:
        return response_type.FromString(stored.response)
    response: Any = response_type()
    if stored.record is not None:
        fill_record(response.record, stored.record, actor.tenant_id, request)
        if stored.changed_fields:
            response.changed_fields.extend(stored.changed_fields)
    filled: M = response
    return filled
