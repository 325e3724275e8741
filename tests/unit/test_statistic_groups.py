"""Groups of statistics as bytes equal messages that are built value by value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from draftline.v1 import draft_pb2, types_pb2
from draftline_server.domain.statistics import StatisticsResult
from draftline_server.rpc.mapping.documents import to_json_value
from draftline_server.rpc.mapping.statistic_groups import to_response
from draftline_server.rpc.response_size import MAX_PAGE_MESSAGE_BYTES
from hypothesis import given
from hypothesis import strategies as st

ENCODINGS = (types_pb2.ENCODING_JSON, types_pb2.ENCODING_STRUCT, types_pb2.ENCODING_UNSPECIFIED)
DIGITS = st.text("0123456789", min_size=1, max_size=25)


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Return a number as PostgreSQL writes a trimmed numeric."""
    text = (draw(DIGITS).lstrip("0") or "0") + draw(st.just("") | DIGITS.map(lambda it: "." + it))
    value = Decimal(text) * draw(st.sampled_from([1, -1]))
    return format(value.normalize() + 0, "f") if value else "0"


TEXTS = st.text(max_size=12) | st.sampled_from(['"', "\\", "a" * 130, "ü" * 80, "\n", "0", "-1"])
VALUES = (
    numbers() | TEXTS.map(lambda it: json.dumps(it, ensure_ascii=False)) | st.sampled_from(["null", "true", "false"])
)


@st.composite
def results(draw: st.DrawFn) -> StatisticsResult:
    size = draw(st.integers(0, 4))
    columns = st.lists(VALUES, min_size=size, max_size=size)
    keys = draw(st.lists(columns, max_size=3))
    count = draw(st.integers(1, 3))
    sides = [draw(st.lists(columns, min_size=count, max_size=count)) for _ in range(3)]
    return StatisticsResult(size, keys, *sides, draw(st.booleans()), draw(st.sampled_from(["", "genre"])))


def by_value(result: StatisticsResult, encoding: Any) -> draft_pb2.GetStatisticsResponse:
    response = draft_pb2.GetStatisticsResponse(truncated=result.is_truncated, statistic=result.statistic)
    for index in range(result.size):
        group = response.groups.add()
        for name in ("keys", "baseline", "merged", "difference"):
            values = [to_json_value(column[index], encoding) for column in getattr(result, name)]
            getattr(group, name).extend(value for value in values if value is not None)
    return response


@given(results(), st.sampled_from(ENCODINGS))
async def test_response_equals_one_built_value_by_value(result: StatisticsResult, encoding: Any) -> None:
    assert await to_response(result, encoding) == by_value(result, encoding)


async def test_response_has_the_groups_that_fit() -> None:
    texts = [json.dumps(f"{number:04}" + "a" * 2_000) for number in range(3_000)]
    column = ["1"] * len(texts)
    result = StatisticsResult(len(texts), [texts], [column], [column], [column], is_truncated=False)
    for encoding in ENCODINGS:
        response = await to_response(result, encoding)
        assert response.truncated
        size = len(response.SerializeToString())
        assert MAX_PAGE_MESSAGE_BYTES - 3_000 < size <= MAX_PAGE_MESSAGE_BYTES + 16
        assert response.groups == by_value(result, encoding).groups[: len(response.groups)]
