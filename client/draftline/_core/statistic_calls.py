"""The calls and messages of statistics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from draftline._core.arguments import checked
from draftline._core.methods import Call, Method
from draftline.documents import decode, json_value_of
from draftline.models import (
    CollectionStatistic,
    DeclaredStatistic,
    Grain,
    StatisticComparison,
    StatisticCondition,
    StatisticFunction,
    StatisticGroup,
    StatisticGroups,
    StatisticKey,
    StatisticOrder,
    Statistics,
    StatisticSide,
    StatisticState,
)
from draftline.models.str_enum import member_of
from draftline.v1 import collection_pb2
from draftline.v1 import draft_pb2 as pb
from draftline.v1.types_pb2 import ENCODING_JSON

GET_STATISTICS = Method(
    "DraftService", "GetStatistics", pb.GetStatisticsRequest, pb.GetStatisticsResponse, lambda it: it, is_read=True
)
METHODS = (GET_STATISTICS,)

_MEASURE = re.compile(r"(\w+)(?:\((/.*)\))?", re.DOTALL)
_DATE_KEY = re.compile(r"(day|month|year)\((/.*)\)", re.DOTALL)


@checked
def get_statistics(
    tenant_id: str,
    collection: str,
    *,
    measures: Iterable[str],
    group_by: Iterable[StatisticKey | str],
    filter: str,
    order_by: Iterable[StatisticOrder | str],
    having: Iterable[StatisticCondition],
    limit: int,
    allow_scan: bool,
) -> Call[pb.GetStatisticsRequest, pb.GetStatisticsResponse, Statistics]:
    measure_names = list(measures)
    keys = [_key(each) for each in group_by]
    key_names = [_key_name(each) for each in keys]
    request = pb.GetStatisticsRequest(
        tenant_id=tenant_id,
        collection=collection,
        group_by=[_key_message(each) for each in keys],
        measures=[_measure(each) for each in measure_names],
        filter=filter,
        order_by=[_order(each, key_names, measure_names) for each in order_by],
        having=[_condition(each, measure_names) for each in having],
        limit=limit,
        allow_scan=allow_scan,
        response_encoding=ENCODING_JSON,  # of a service that does not know columns
        as_columns=True,
    )
    method = Method(
        GET_STATISTICS.service,
        GET_STATISTICS.name,
        pb.GetStatisticsRequest,
        pb.GetStatisticsResponse,
        _reader(key_names, measure_names),
        is_read=True,
    )
    return Call(method, request)


def _key(key: StatisticKey | str) -> StatisticKey:
    if isinstance(key, StatisticKey):
        return key
    found = _DATE_KEY.fullmatch(key)
    return StatisticKey(found[2], Grain(found[1])) if found else StatisticKey(key)


def _key_name(key: StatisticKey) -> str:
    return key.path if key.grain is None else f"{Grain(key.grain).value}({key.path})"


def _key_message(key: StatisticKey) -> collection_pb2.StatisticKey:
    grain = collection_pb2.GRAIN_UNSPECIFIED
    if key.grain is not None:
        grain = collection_pb2.Grain.Value(f"GRAIN_{Grain(key.grain).name}")
    return collection_pb2.StatisticKey(path=key.path, grain=grain)


def _measure(name: str) -> pb.StatisticMeasure:
    found = _MEASURE.fullmatch(name)
    functions = [each.value for each in StatisticFunction]
    if found is None or found[1] not in functions:
        raise ValueError(
            f'{name!r} is not a measure such as "count" or "sum(/Gross)"; functions: {", ".join(functions)}'
        )
    function = pb.StatisticFunction.Value(f"STATISTIC_FUNCTION_{StatisticFunction(found[1]).name}")
    return pb.StatisticMeasure(function=function, path=found[2] or "")


def _side(side: StatisticSide | str) -> pb.StatisticSide.ValueType:
    return pb.StatisticSide.Value(f"STATISTIC_SIDE_{StatisticSide(side).name}")


def _order(order: StatisticOrder | str, keys: Sequence[str], measures: Sequence[str]) -> pb.StatisticOrder:
    if isinstance(order, str):
        order = StatisticOrder(order.removesuffix(" desc"), order.endswith(" desc"))
    if order.by in measures:
        index = measures.index(order.by)
        return pb.StatisticOrder(measure=index, side=_side(order.side), descending=order.descending)
    if order.by in keys:
        return pb.StatisticOrder(group_key=keys.index(order.by), descending=order.descending)
    raise ValueError(f"order_by: {order.by!r} is neither among the measures nor among the keys")


def _condition(condition: StatisticCondition, measures: Sequence[str]) -> pb.StatisticCondition:
    if condition.measure not in measures:
        raise ValueError(f"having: {condition.measure!r} is not among the measures")
    comparison = StatisticComparison(condition.comparison)
    return pb.StatisticCondition(
        measure=measures.index(condition.measure),
        side=_side(condition.side),
        comparison=pb.StatisticComparison.Value(f"STATISTIC_COMPARISON_{comparison.name}"),
        value=format(Decimal(str(condition.value)), "f"),
    )


def _reader(keys: Sequence[str], measures: Sequence[str]) -> Callable[[pb.GetStatisticsResponse], Statistics]:
    def named(titles: Sequence[str], columns: Iterable[str]) -> dict[str, Sequence[Any]]:
        return {title: decode(column) for title, column in zip(titles, columns, strict=True)}

    def read(response: pb.GetStatisticsResponse) -> Statistics:
        found = response.columns
        groups = StatisticGroups(
            found.group_count,
            named(keys, found.keys),
            named(measures, found.baseline),
            named(measures, found.merged),
            named(measures, found.difference),
        )
        return Statistics(groups, response.truncated, response.statistic)

    def read_groups(response: pb.GetStatisticsResponse) -> Statistics:
        """Read the response of a service that does not know columns."""
        groups = tuple(
            StatisticGroup(
                *(
                    dict(zip(titles, map(json_value_of, values), strict=True))
                    for titles, values in (
                        (keys, each.keys), (measures, each.baseline), (measures, each.merged),
                        (measures, each.difference),
                    )
                )
            )
            for each in response.groups
        )  # fmt: skip
        return Statistics(groups, response.truncated, response.statistic)

    return lambda response: (read if response.HasField("columns") else read_groups)(response)


def declared_statistic(statistic: DeclaredStatistic) -> collection_pb2.DeclaredStatistic:
    return collection_pb2.DeclaredStatistic(
        name=statistic.name,
        group_by=[_key_message(_key(each)) for each in statistic.group_by],
        measures=statistic.measures,
        range_by=statistic.range_by,
    )


def statistic_of(message: collection_pb2.CollectionStatistic) -> CollectionStatistic:
    declared = message.statistic
    keys = tuple(
        StatisticKey(each.path, member_of(Grain, collection_pb2.Grain, each.grain) if each.grain else None)
        for each in declared.group_by
    )
    return CollectionStatistic(
        DeclaredStatistic(declared.name, keys, tuple(declared.measures), declared.range_by),
        member_of(StatisticState, collection_pb2.StatisticState, message.state),
        message.group_count,
        message.record_count,
        message.record_total,
    )
