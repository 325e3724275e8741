"""Reads the statistics of a collection: baseline, merged view and difference of one snapshot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from ...domain.edits import format_pointer
from ...domain.errors import ContentionError, DeadlineExceededError, InvalidFieldError, StatisticNotReadyError
from ...domain.filters.ast import MERGED_ATTRIBUTES, FieldType, Filter, FilterError, Path
from ...domain.filters.conditions import Condition
from ...domain.filters.type_resolution import with_types
from ...domain.records import Actor
from ...domain.statistics import (
    RANGES,
    Function,
    Grain,
    KeyType,
    StatisticSpec,
    StatisticsQuery,
    StatisticsResult,
)
from ..collections.cache import CollectionSpecs
from ..collections.statistic_specs import StoredStatistic, statistics_of
from ..database import Database
from ..record_errors import invalid_filter
from ..statements import Statement
from .needs import Needs, needs_of
from .query import is_sum, statistics_statement

MAX_ATTEMPTS = 5  # while the statistics of the collection are being replaced
_encode = msgspec.json.Encoder().encode


class StatisticsStore:
    """Answers queries from the tallies of declared statistics."""

    def __init__(self, database: Database, specs: CollectionSpecs) -> None:
        self._database = database
        self._specs = specs

    async def query(self, actor: Actor, query: StatisticsQuery) -> StatisticsResult:
        """Return the groups of a query.

        Raise InvalidFieldError or InvalidFilterError if no statistic can answer it, and StatisticNotReadyError if none
        that is ready covers it, unless the query allows a scan.
        """
        fields = (await self._specs.current(actor.tenant_id, query.collection)).fields
        try:
            condition = with_types(query.filter, fields, MERGED_ATTRIBUTES) if query.filter is not None else None
            needs = needs_of(query, condition, fields)
        except FilterError as error:
            raise invalid_filter("filter", error) from None
        _check_indexes(query, fields)
        least = needs.spec()
        for _ in range(MAX_ATTEMPTS):
            found = await statistics_of(self._database, actor.tenant_id, [query.collection])
            covering = [each for each in found.get(query.collection, []) if needs.covered_by(each.spec)]
            ready = [each for each in covering if each.is_ready]
            if not ready:
                if query.allow_scan:
                    return await self._scan(actor, query, condition, needs, least)
                raise _not_ready(query.collection, needs.spec(has_range=True), covering)
            chosen = min(ready, key=lambda each: (each.has_range, each.group_count))
            values: dict[str, object] = {"statistic_id": chosen.statistic_id}
            built = statistics_statement(query, condition, chosen.spec, needs.groups, "tally_rows")
            rows = await self._rows(actor, query.collection, built, values)
            if (rows and rows[0]["is_ready"]) or (not rows and await self._is_ready(actor, query, chosen)):
                return _result(query, needs, rows, chosen.spec, chosen.spec.name)
        raise ContentionError("the statistics of the collection are being replaced; try again")

    async def _is_ready(self, actor: Actor, query: StatisticsQuery, chosen: StoredStatistic) -> bool:
        """Return whether a statistic is still ready; it was so before, because it never becomes ready again."""
        found = await statistics_of(self._database, actor.tenant_id, [query.collection])
        return any(
            each.statistic_id == chosen.statistic_id and each.is_ready for each in found.get(query.collection, [])
        )

    async def _scan(
        self,
        actor: Actor,
        query: StatisticsQuery,
        condition: Filter[Condition] | None,
        needs: Needs,
        spec: StatisticSpec,
    ) -> StatisticsResult:
        built = statistics_statement(query, condition, spec, needs.groups, "scanned_rows")
        try:
            rows = await self._rows(actor, query.collection, built, scan_values(spec))
        except DeadlineExceededError as error:
            wanted = json.dumps(as_json(needs.spec(has_range=True)), ensure_ascii=False)
            raise DeadlineExceededError(f"{error}: declare {wanted} by PutCollection") from None
        return _result(query, needs, rows, spec, "")

    async def _rows(
        self, actor: Actor, collection: str, built: tuple[Statement, Mapping[str, object]], values: Mapping[str, object]
    ) -> Sequence[Mapping[str, Any]]:
        statement, fixed = built
        own = {"tenant_id": actor.tenant_id, "user_id": actor.user_id, "collection": collection}
        return await self._database.fetch(statement, {**fixed, **values, **own}, idempotent=True)


def scan_values(spec: StatisticSpec) -> dict[str, object]:
    """Return the values of a statement that computes a statistic from all records."""
    values: dict[str, object] = {"statistic_id": 0}
    for number in range(1, 4):
        key = spec.keys[number - 1] if number <= len(spec.keys) else None
        values |= {f"k{number}_path": list(key.path) if key else None, f"k{number}_type": key.type if key else None}
    for number in range(1, 5):
        values[f"m{number}_path"] = list(spec.measures[number - 1]) if number <= len(spec.measures) else None
    return values


def _check_indexes(query: StatisticsQuery, fields: Mapping[Path, FieldType]) -> None:
    for index, order in enumerate(query.order):
        size = len(query.group_by) if order.side is None else len(query.measures)
        if order.index >= size:
            what = "group_key" if order.side is None else "measure"
            raise InvalidFieldError.of(f"order_by[{index}].{what}", f"must be less than {size}, the number requested")
    for index, condition in enumerate(query.having):
        if condition.index >= len(query.measures):
            raise InvalidFieldError.of(f"having[{index}].measure", f"must be less than {len(query.measures)}")
        measure = query.measures[condition.index]
        if measure.function in (Function.MIN, Function.MAX) and fields[measure.path] is not FieldType.NUMBER:
            problem = f"{measure.function} of {format_pointer(measure.path)} is not a number"
            raise InvalidFieldError.of(f"having[{index}].measure", problem)


def _not_ready(collection: str, least: StatisticSpec, covering: Sequence[StoredStatistic]) -> StatisticNotReadyError:
    wanted = json.dumps(as_json(least), ensure_ascii=False)
    if covering:
        return StatisticNotReadyError(
            f"statistic {covering[0].spec.name!r} of collection {collection!r} is {covering[0].state}; "
            "wait until it is READY, or set allow_scan",
            declare=wanted,
            state=covering[0].state,
        )
    return StatisticNotReadyError(
        f"no statistic of collection {collection!r} covers the query: declare {wanted} by PutCollection, "
        "or set allow_scan",
        declare=wanted,
    )


def as_json(spec: StatisticSpec) -> dict[str, object]:
    """Return a statistic as JSON in the form of the contract."""
    grains = {KeyType.MONTH: Grain.MONTH, KeyType.YEAR: Grain.YEAR}
    keys = [
        {"path": format_pointer(key.path), **({"grain": str(grains[key.type])} if key.type in grains else {})}
        for key in spec.keys
        if key.type not in RANGES
    ]
    shown: dict[str, object] = {"group_by": keys, "measures": [format_pointer(path) for path in spec.measures]}
    ranged = [format_pointer(key.path) for key in spec.keys if key.type in RANGES]
    return {**shown, "range_by": ranged[0]} if ranged else shown


def _result(
    query: StatisticsQuery, needs: Needs, rows: Sequence[Mapping[str, Any]], spec: StatisticSpec, name: str
) -> StatisticsResult:
    size, count = min(len(rows), query.limit), len(query.measures)
    columns: list[Sequence[Any]] = [
        list(map(itemgetter(index), rows[:size])) for index in range(len(needs.groups) + 3 * count)
    ]
    keys = [_key_column(texts, key.type) for texts, key in zip(columns, needs.groups, strict=False)]
    baseline, merged, difference = (
        columns[start : start + count] for start in range(len(keys), len(keys) + 3 * count, count)
    )
    types = {key.path: key.type for key in spec.keys}
    for index, measure in enumerate(query.measures):
        if is_sum(measure):
            pairs = zip(merged[index], baseline[index], strict=True)
            merged[index] = [each if each is not None else before for each, before in pairs]
            difference[index] = [each if each is not None else "0" for each in difference[index]]
        else:
            is_text = measure.function in (Function.MIN, Function.MAX)
            type_ = types[measure.path] if is_text else KeyType.NUMBER
            for side in (baseline, merged, difference):
                side[index] = _key_column(side[index], type_)
    return StatisticsResult(size, keys, baseline, merged, difference, len(rows) > query.limit, name)


def _key_column(texts: Sequence[str | None], type_: KeyType) -> Sequence[str]:
    """Return the JSON texts of the values of a column."""
    if type_ in (KeyType.NUMBER, KeyType.BOOLEAN):
        return [text if text is not None else "null" for text in texts]
    json_of = {text: _encode(text).decode() for text in set(texts)}
    return [json_of[text] for text in texts]
