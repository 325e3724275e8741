"""Answers that could not be delivered: found while what they tell of can still be undone."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from ..domain.errors import AnswerTooLargeError

MAX_ANSWER_BYTES = 4 * 1024 * 1024 - 64 * 1024  # of the message: many clients take those of up to 4 MiB


def refuse_large(parts: Iterable[Message]) -> None:
    """AnswerTooLargeError if a message of these parts would be larger than clients take."""
    size = 0
    for part in parts:
        size += part.ByteSize() + 16  # with its tag and length
        if size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(
                f"the answer would be over {MAX_ANSWER_BYTES} bytes; nothing was written: "
                "ask for fewer fields or for no content, or send less at once",
                limit=MAX_ANSWER_BYTES,
            )
