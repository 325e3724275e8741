"""Responses with many records or groups, which are encoded one by one instead of as messages.

See mapping/merged_bytes.py and mapping/statistic_groups.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import Message

from .mapping.merged_bytes import repeated, tag
from .response_size import MAX_PAGE_MESSAGE_BYTES, TAG_BYTES


class Response(Protocol):
    """A response that can be sent: a message, an EncodedPage or EncodedGroups."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802


@dataclass(slots=True)
class EncodedPage:
    """A response with encoded records: `message` has its other fields."""

    message: Message
    next_page_token: str = ""
    records: list[bytes] = field(default_factory=list)
    included: list[bytes] = field(default_factory=list)  # parts of the bytes of the field
    draft_count: int = 0  # records of the page with a draft

    def size(self) -> int:
        """Return the size of the response in bytes at most."""
        return self.message.ByteSize() + _size(self.records) + sum(map(len, self.included))

    def count_fitting(self) -> int:
        """Return how many of the records fit into the response: at least one, if there are any."""
        size = self.message.ByteSize()
        for index, part in enumerate(self.records):
            size += len(part) + TAG_BYTES
            if index and size > MAX_PAGE_MESSAGE_BYTES:
                return index
        return len(self.records)

    def SerializeToString(self) -> bytes:  # noqa: N802
        """Return the response as bytes."""
        parts = [self.message.SerializeToString()]
        if self.records:
            parts.append(repeated(tag(type(self.message), "records"), self.records))
        return b"".join(parts + self.included)


@dataclass(slots=True)
class EncodedGroups:
    """A response with encoded fields of groups: `message` has its other fields."""

    message: Message
    groups: list[bytes]

    def SerializeToString(self) -> bytes:  # noqa: N802
        """Return the response as bytes."""
        return b"".join((*self.groups, self.message.SerializeToString()))


def _size(parts: Sequence[bytes]) -> int:
    return sum(map(len, parts)) + TAG_BYTES * len(parts)
