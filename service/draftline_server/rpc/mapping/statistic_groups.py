"""The groups of statistics as a response: as columns, or as the bytes of their messages.

An answer may have 10,000 groups with a hundred thousand values, and a message object for each would take a quarter of a
second. So the bytes of a column of values are made at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from operator import add
from struct import pack

import msgspec
from draftline.v1 import draft_pb2, types_pb2
from google.protobuf import struct_pb2

from ...domain.statistics import StatisticsResult
from ..cooperative import yielding
from ..encoded_page import EncodedGroups
from ..response_size import MAX_PAGE_MESSAGE_BYTES
from .documents import to_json_value

_COLUMNS_BYTES = 16 * 1024  # more than the other fields and the heads of all columns
_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
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


async def to_response(
    result: StatisticsResult, request: draft_pb2.GetStatisticsRequest
) -> draft_pb2.GetStatisticsResponse | EncodedGroups:
    """Return the groups that fit into one message."""
    if request.as_columns:
        return _as_columns(result)
    return await _as_groups(result, request.response_encoding)


def _as_columns(result: StatisticsResult) -> draft_pb2.GetStatisticsResponse:
    sides = [result.keys, result.baseline, result.merged, result.difference]
    size = result.size
    if sum(len(column.encode()) for side in sides for column in side) > MAX_PAGE_MESSAGE_BYTES - _COLUMNS_BYTES:
        texts = [[_texts(column) for column in side] for side in sides]
        size = _count_fitting([column for side in texts for column in side])
        sides = [[f"[{','.join(column[:size])}]" for column in side] for side in texts]
    response = draft_pb2.GetStatisticsResponse(
        truncated=result.is_truncated or size < result.size, statistic=result.statistic
    )
    keys, baseline, merged, difference = sides
    columns = draft_pb2.StatisticColumns(
        group_count=size, keys=keys, baseline=baseline, merged=merged, difference=difference
    )
    response.columns.CopyFrom(columns)
    return response


def _count_fitting(columns: Sequence[Sequence[str]]) -> int:
    """Return how many groups fit into one message: at least one."""
    size = _COLUMNS_BYTES
    for index, group in enumerate(zip(*columns, strict=True)):
        size += sum(len(text.encode()) + 1 for text in group)
        if index and size > MAX_PAGE_MESSAGE_BYTES:
            return index
    return len(columns[0])


def _texts(column: str) -> Sequence[str]:
    """Return the JSON texts of the values of a column."""
    if '"' not in column:
        return column[1:-1].split(",") if column != "[]" else []
    return [str(memoryview(raw), "utf-8") for raw in _decode(column)]


async def _as_groups(result: StatisticsResult, encoding: int) -> EncodedGroups:
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
    return EncodedGroups(draft_pb2.GetStatisticsResponse(truncated=truncated, statistic=result.statistic), parts)


def _chunks(result: StatisticsResult, encoding: int) -> Iterator[Sequence[bytes]]:
    """Yield the fields `groups` of a response, some at a time."""
    columns = [
        (side, _texts(column))
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
