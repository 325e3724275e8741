"""Answers that could not be delivered: found while what they tell of can still be undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message

from ..domain.errors import AnswerTooLargeError

MAX_ANSWER_BYTES = 4 * 1024 * 1024 - 64 * 1024  # of the message: many clients take those of up to 4 MiB
M = TypeVar("M", bound=Message)


def deliverable(parts: Iterable[M]) -> list[M]:
    """The parts of a message. AnswerTooLargeError if it would be larger than clients take."""
    kept: list[M] = []
    size = 0
    for part in parts:
        size += part.ByteSize() + 16  # with its tag and length
        if size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(
                f"the answer would be over {MAX_ANSWER_BYTES} bytes; nothing was written: "
                "ask for fewer fields or for no content, or send less at once",
                limit=MAX_ANSWER_BYTES,
            )
        kept.append(part)
    return kept
