"""Groups of statistics as bytes and as columns equal messages that are built value by value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
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


def array(texts: list[str]) -> str:
    return f"[{','.join(texts)}]"


def values_of(column: str) -> list[str]:
    """Return the JSON texts of the values of a column."""
    return [bytes(each).decode() for each in msgspec.json.decode(column, type=list[msgspec.Raw])]


@st.composite
def results(draw: st.DrawFn) -> StatisticsResult:
    size = draw(st.integers(0, 4))
    columns = st.lists(VALUES, min_size=size, max_size=size).map(array)
    keys = draw(st.lists(columns, max_size=3))
    count = draw(st.integers(1, 3))
    sides = [draw(st.lists(columns, min_size=count, max_size=count)) for _ in range(3)]
    return StatisticsResult(size, keys, *sides, draw(st.booleans()), draw(st.sampled_from(["", "genre"])))


def by_value(result: StatisticsResult, encoding: Any) -> draft_pb2.GetStatisticsResponse:
    response = draft_pb2.GetStatisticsResponse(truncated=result.is_truncated, statistic=result.statistic)
    sides = {
        name: [values_of(column) for column in getattr(result, name)]
        for name in ("keys", "baseline", "merged", "difference")
    }
    for index in range(result.size):
        group = response.groups.add()
        for name, columns in sides.items():
            values = [to_json_value(column[index], encoding) for column in columns]
            getattr(group, name).extend(value for value in values if value is not None)
    return response


async def sent(result: StatisticsResult, **options: Any) -> draft_pb2.GetStatisticsResponse:
    """Return a response as a client receives it."""
    response = await to_response(result, draft_pb2.GetStatisticsRequest(**options))
    return draft_pb2.GetStatisticsResponse.FromString(response.SerializeToString())


@given(results(), st.sampled_from(ENCODINGS))
async def test_response_equals_one_built_value_by_value(result: StatisticsResult, encoding: Any) -> None:
    assert await sent(result, response_encoding=encoding) == by_value(result, encoding)


@given(results())
async def test_columns_are_those_of_the_result(result: StatisticsResult) -> None:
    response = await sent(result, as_columns=True)
    columns = response.columns
    assert (response.truncated, response.statistic, columns.group_count, list(response.groups)) == (
        result.is_truncated, result.statistic, result.size, []
    )  # fmt: skip
    for name in ("keys", "baseline", "merged", "difference"):
        assert list(getattr(columns, name)) == list(getattr(result, name))


async def test_response_has_the_groups_that_fit() -> None:
    texts = [json.dumps(f"{number:04}" + "a" * 2_000) for number in range(3_000)]
    column = array(["1"] * len(texts))
    result = StatisticsResult(len(texts), [array(texts)], [column], [column], [column], is_truncated=False)
    response = await sent(result, as_columns=True)
    size = len(response.SerializeToString())
    assert MAX_PAGE_MESSAGE_BYTES - 3_000 - 16 * 1024 < size <= MAX_PAGE_MESSAGE_BYTES + 16
    count = response.columns.group_count
    assert response.truncated
    assert values_of(response.columns.keys[0]) == texts[:count]
    assert {len(values_of(each)) for each in (*response.columns.baseline, *response.columns.difference)} == {count}
    for encoding in ENCODINGS:
        response = await sent(result, response_encoding=encoding)
        assert response.truncated
        size = len(response.SerializeToString())
        assert MAX_PAGE_MESSAGE_BYTES - 3_000 < size <= MAX_PAGE_MESSAGE_BYTES + 16
        assert response.groups == by_value(result, encoding).groups[: len(response.groups)]
