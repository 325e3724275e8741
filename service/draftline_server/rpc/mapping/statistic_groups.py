"""Groups of statistics as the bytes of their messages.

An answer may have 10,000 groups with a hundred thousand values, and a message object for each would take a quarter of a
second. So the bytes of a column of values are made at once, and parsed as one message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from operator import add
from struct import pack

from draftline.v1 import draft_pb2, types_pb2
from google.protobuf import struct_pb2

from ...domain.statistics import StatisticsResult
from ..cooperative import yielding
from ..response_size import MAX_PAGE_MESSAGE_BYTES
from .documents import to_json_value

CHUNK = 500  # groups that are converted at once
# Numbers of at most 15 characters are the shortest decimal forms of their doubles.
MAX_EXACT_TEXT = 15
_LENGTH_DELIMITED = 2
_GROUPS = draft_pb2.GetStatisticsResponse.DESCRIPTOR.fields_by_name["groups"].number
_SIDES = [draft_pb2.StatisticGroup.DESCRIPTOR.fields_by_name[name].number
          for name in ("keys", "baseline", "merged", "difference")]  # fmt: skip
_JSON = types_pb2.JsonValue.DESCRIPTOR.fields_by_name["json"].number
_VALUE = types_pb2.JsonValue.DESCRIPTOR.fields_by_name["value"].number
_STRING = struct_pb2.Value.DESCRIPTOR.fields_by_name["string_value"].number


async def to_response(result: StatisticsResult, encoding: int) -> draft_pb2.GetStatisticsResponse:
    """Return the groups that fit into one message."""
    parts: list[bytes] = []
    size, truncated = 0, result.is_truncated
    async for groups in yielding(_chunks(result, encoding)):
        sizes = list(map(len, groups))
        if size + sum(sizes) <= MAX_PAGE_MESSAGE_BYTES:
            parts += groups
            size += sum(sizes)
            continue
        for group in groups:
            size += len(group)
            if parts and size > MAX_PAGE_MESSAGE_BYTES:
                break
            parts.append(group)
        truncated = True
        break
    response = draft_pb2.GetStatisticsResponse.FromString(b"".join(parts))
    response.truncated, response.statistic = truncated, result.statistic
    return response


def _chunks(result: StatisticsResult, encoding: int) -> Iterator[Sequence[bytes]]:
    """Yield the fields `groups` of a response, some at a time."""
    columns = [
        (side, column)
        for side, columns in zip(_SIDES, (result.keys, result.baseline, result.merged, result.difference), strict=True)
        for column in columns
    ]
    values = _StructValues() if encoding != types_pb2.ENCODING_JSON else None
    for start in range(0, result.size, CHUNK):
        parts = [_values(side, column[start : start + CHUNK], values) for side, column in columns]
        groups = list(map(b"".join, zip(*parts, strict=True)))
        yield list(map(add, map(_heads(_GROUPS).__getitem__, map(len, groups)), groups))


def _values(side: int, texts: Sequence[str], values: _StructValues | None) -> Iterator[bytes]:
    """Return for each JSON text the field of a group that has the value."""
    if values is not None:
        messages = list(map(values.__getitem__, texts))
        return map(add, map(_heads(side).__getitem__, map(len, messages)), messages)
    encoded = list(map(str.encode, texts))
    return map(add, map(_heads(side, _JSON).__getitem__, map(len, encoded)), encoded)


class _StructValues(dict[str, bytes]):
    """The bytes of JsonValue messages in ENCODING_STRUCT, by their JSON texts."""

    def __missing__(self, text: str) -> bytes:
        if len(text) <= MAX_EXACT_TEXT and text[-1].isdecimal():
            found = b"\x0a\x09\x11" + pack("<d", float(text))  # value: {number_value: ...}
        elif text[0] == '"' and "\\" not in text:
            content = text[1:-1].encode()
            found = _heads(_VALUE, _STRING)[len(content)] + content
        else:
            message = to_json_value(text, types_pb2.ENCODING_STRUCT) or types_pb2.JsonValue()
            found = message.SerializeToString()
        self[text] = found
        return found


class _Heads(dict[int, bytes]):
    """The bytes before the content of a length-delimited field, by the size of the content.

    `inner`: the number of the field that is the content of the outer one, and has the content; 0: there is none.
    """

    def __init__(self, number: int, inner: int) -> None:
        self._number, self._inner = number, inner

    def __missing__(self, size: int) -> bytes:
        inner = _head(self._inner, size) if self._inner else b""
        found = self[size] = _head(self._number, len(inner) + size) + inner
        return found


@cache
def _heads(number: int, inner: int = 0) -> _Heads:
    return _Heads(number, inner)


def _head(number: int, size: int) -> bytes:
    found = bytearray([number << 3 | _LENGTH_DELIMITED])
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)
