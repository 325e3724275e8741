"""Limits on the size of one message: many clients accept at most 4 MiB.

An oversized response to a write is rejected while the write can still be rolled back. An oversized page is shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from ..domain.errors import AnswerTooLargeError

MAX_RESPONSE_BYTES = 4 * 1024 * 1024 - 64 * 1024
# The store cannot know the size of a page as a message: a Struct may be several times as long as its JSON.
MAX_PAGE_MESSAGE_BYTES = 4 * 1024 * 1024 - 32 * 1024  # without the page token
TAG_BYTES = 6
M = TypeVar("M", bound=Message)
M_co = TypeVar("M_co", bound=Message, covariant=True)
T = TypeVar("T")


class Parts(Protocol[M_co]):
    """A repeated field of a message."""

    def add(self) -> M_co: ...


def append_within_limit(parts: Parts[M], items: Iterable[T], fill: Callable[[M, T], None]) -> None:
    """Add a part for each item to a message. Raises AnswerTooLargeError if they exceed MAX_RESPONSE_BYTES."""
    size = 0
    for item in items:
        part = parts.add()
        fill(part, item)
        size += part.ByteSize() + 16  # with its tag and length
        if size > MAX_RESPONSE_BYTES:
            raise AnswerTooLargeError(
                f"the response would exceed {MAX_RESPONSE_BYTES} bytes; nothing was written: "
                "request fewer fields or no content, or split the request",
                limit=MAX_RESPONSE_BYTES,
            )


def count_fitting(page: Message, parts: Sequence[Message]) -> int:
    """Return how many of the page's parts fit into one message: at least one, if there are any."""
    if page.ByteSize() <= MAX_PAGE_MESSAGE_BYTES:
        return len(parts)
    size = 0
    for index, part in enumerate(parts):
        size += part.ByteSize() + TAG_BYTES
        if index and size > MAX_PAGE_MESSAGE_BYTES:
            return index
    return len(parts)
