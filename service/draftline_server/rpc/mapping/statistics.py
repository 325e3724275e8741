"""Conversion of statistics between messages of the contract and domain values."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from draftline.v1 import collection_pb2, draft_pb2

from ...domain.edits import Path, format_pointer, parse_pointer
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import FilterError
from ...domain.filters.parser import parse_filter
from ...domain.statistics import (
    RANGES,
    Function,
    Grain,
    GroupCondition,
    GroupOrder,
    KeyType,
    Measure,
    Side,
    StatisticKey,
    StatisticSpec,
    StatisticsQuery,
    StatisticState,
)
from ...store.collections.statistic_specs import StoredStatistic
from ...store.record_errors import invalid_filter

GRAINS = {
    collection_pb2.GRAIN_UNSPECIFIED: Grain.VALUE,
    collection_pb2.GRAIN_DAY: Grain.DAY,
    collection_pb2.GRAIN_MONTH: Grain.MONTH,
    collection_pb2.GRAIN_YEAR: Grain.YEAR,
}
KEY_GRAINS = {
    KeyType.DATE: collection_pb2.GRAIN_DAY,
    KeyType.MONTH: collection_pb2.GRAIN_MONTH,
    KeyType.YEAR: collection_pb2.GRAIN_YEAR,
}
STATES = {
    StatisticState.BUILDING: collection_pb2.STATISTIC_STATE_BUILDING,
    StatisticState.READY: collection_pb2.STATISTIC_STATE_READY,
    StatisticState.INVALID: collection_pb2.STATISTIC_STATE_INVALID,
}
FUNCTIONS = {
    draft_pb2.STATISTIC_FUNCTION_COUNT: Function.COUNT,
    draft_pb2.STATISTIC_FUNCTION_SUM: Function.SUM,
    draft_pb2.STATISTIC_FUNCTION_AVG: Function.AVG,
    draft_pb2.STATISTIC_FUNCTION_MIN: Function.MIN,
    draft_pb2.STATISTIC_FUNCTION_MAX: Function.MAX,
    draft_pb2.STATISTIC_FUNCTION_COUNT_DISTINCT: Function.COUNT_DISTINCT,
}
SIDES = {
    draft_pb2.STATISTIC_SIDE_UNSPECIFIED: Side.MERGED,
    draft_pb2.STATISTIC_SIDE_BASELINE: Side.BASELINE,
    draft_pb2.STATISTIC_SIDE_MERGED: Side.MERGED,
    draft_pb2.STATISTIC_SIDE_DIFFERENCE: Side.DIFFERENCE,
}
COMPARISONS = {
    draft_pb2.STATISTIC_COMPARISON_EQ: "=",
    draft_pb2.STATISTIC_COMPARISON_NE: "!=",
    draft_pb2.STATISTIC_COMPARISON_LT: "<",
    draft_pb2.STATISTIC_COMPARISON_LE: "<=",
    draft_pb2.STATISTIC_COMPARISON_GT: ">",
    draft_pb2.STATISTIC_COMPARISON_GE: ">=",
}
DEFAULT_LIMIT = 1_000


def to_statistics_query(request: draft_pb2.GetStatisticsRequest) -> StatisticsQuery:
    """Return the query of a request. Raise InvalidFilterError or InvalidFieldError."""
    try:
        condition = parse_filter(request.filter)
    except FilterError as error:
        raise invalid_filter("filter", error) from None
    keys = tuple(to_keys(request.group_by, "group_by"))
    if len({path for path, _ in keys}) < len(keys):
        raise InvalidFieldError.of("group_by", "must name each field once")
    order = [
        GroupOrder(each.group_key, None, each.descending)
        if each.WhichOneof("by") == "group_key"
        else GroupOrder(each.measure, SIDES[each.side], each.descending)
        for each in request.order_by
    ]
    having = [
        GroupCondition(each.measure, SIDES[each.side], COMPARISONS[each.comparison], Decimal(each.value))
        for each in request.having
    ]
    measures = tuple(_measure(each, f"measures[{index}]") for index, each in enumerate(request.measures))
    return StatisticsQuery(
        request.collection,
        keys,
        measures,
        condition,
        tuple(order),
        tuple(having),
        request.limit or DEFAULT_LIMIT,
        request.allow_scan,
    )


def to_keys(messages: Iterable[collection_pb2.StatisticKey], where: str) -> Iterable[tuple[Path, Grain]]:
    for index, key in enumerate(messages):
        yield parse_pointer(key.path, f"{where}[{index}].path"), GRAINS[key.grain]


def _measure(message: draft_pb2.StatisticMeasure, where: str) -> Measure:
    function = FUNCTIONS[message.function]
    if not message.path and function is not Function.COUNT:
        raise InvalidFieldError.of(f"{where}.path", f"must be set for {function}")
    return Measure(function, parse_pointer(message.path, f"{where}.path") if message.path else ())


def to_declared_statistics(
    messages: Iterable[collection_pb2.DeclaredStatistic],
) -> list[tuple[str, list[tuple[Path, Grain]], list[Path], Path]]:
    return [
        (
            message.name,
            list(to_keys(message.group_by, f"statistics[{index}].group_by")),
            [
                parse_pointer(path, f"statistics[{index}].measures[{number}]")
                for number, path in enumerate(message.measures)
            ],
            parse_pointer(message.range_by, f"statistics[{index}].range_by") if message.range_by else (),
        )
        for index, message in enumerate(messages)
    ]


def to_collection_statistic(stored: StoredStatistic) -> collection_pb2.CollectionStatistic:
    return collection_pb2.CollectionStatistic(
        statistic=_declared(stored.spec),
        state=STATES[stored.state],
        group_count=stored.group_count,
        record_count=stored.record_count,
        record_total=stored.record_total,
    )


def _declared(spec: StatisticSpec) -> collection_pb2.DeclaredStatistic:
    return collection_pb2.DeclaredStatistic(
        name=spec.name,
        group_by=[_key(key) for key in spec.keys if key.type not in RANGES],
        measures=[format_pointer(path) for path in spec.measures],
        range_by="".join(format_pointer(key.path) for key in spec.keys if key.type in RANGES),
    )


def _key(key: StatisticKey) -> collection_pb2.StatisticKey:
    grain = KEY_GRAINS.get(key.type, collection_pb2.GRAIN_UNSPECIFIED)
    return collection_pb2.StatisticKey(path=format_pointer(key.path), grain=grain)
