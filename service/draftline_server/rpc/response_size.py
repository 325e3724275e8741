"""What goes into one message: many clients take those of up to 4 MiB.

An answer that could not be delivered is found while what it tells of can still be undone; a page ends earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from ..domain.errors import AnswerTooLargeError

MAX_ANSWER_BYTES = 4 * 1024 * 1024 - 64 * 1024
# What a page is as a message is known here alone: a Struct may be several times its JSON, and more comes on top.
MAX_PAGE_MESSAGE_BYTES = 4 * 1024 * 1024 - 32 * 1024  # but for a token
TAG_BYTES = 6
M = TypeVar("M", bound=Message)
M_co = TypeVar("M_co", bound=Message, covariant=True)
T = TypeVar("T")


class Parts(Protocol[M_co]):
    """A repeated field of a message."""

    def add(self) -> M_co: ...


def deliver(parts: Parts[M], items: Iterable[T], fill: Callable[[M, T], None]) -> None:
    """Adds a part for each item to a message. AnswerTooLargeError if it would be larger than clients take."""
    size = 0
    for item in items:
        part = parts.add()
        fill(part, item)
        size += part.ByteSize() + 16  # with its tag and length
        if size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(
                f"the answer would be over {MAX_ANSWER_BYTES} bytes; nothing was written: "
                "ask for fewer fields or for no content, or send less at once",
                limit=MAX_ANSWER_BYTES,
            )


def count_fitting(page: Message, parts: Sequence[Message]) -> int:
    """How many of the page's parts go into one message; at least one, if there is one."""
    if page.ByteSize() <= MAX_PAGE_MESSAGE_BYTES:
        return len(parts)
    size = 0
    for place, part in enumerate(parts):
        size += part.ByteSize() + TAG_BYTES
        if place and size > MAX_PAGE_MESSAGE_BYTES:
            return place
    return len(parts)
