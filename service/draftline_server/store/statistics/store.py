"""Reads the statistics of a collection: baseline, merged view and difference of one snapshot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ...domain.edits import format_pointer
from ...domain.errors import ContentionError, InvalidFieldError, StatisticNotReadyError
from ...domain.filters.ast import Filter, FilterError
from ...domain.filters.conditions import Condition
from ...domain.filters.type_resolution import with_types
from ...domain.records import Actor
from ...domain.statistics import (
    RANGES,
    Function,
    Grain,
    Group,
    KeyType,
    Side,
    StatisticKey,
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
from .query import statistics_statement

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
            condition = with_types(query.filter, fields, {}) if query.filter is not None else None
            needs = needs_of(query, condition, fields)
        except FilterError as error:
            raise invalid_filter("filter", error) from None
        _check_indexes(query)
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
        rows = await self._rows(actor, query.collection, built, scan_values(spec))
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


def _check_indexes(query: StatisticsQuery) -> None:
    for index, order in enumerate(query.order):
        size = len(query.group_by) if order.side is None else len(query.measures)
        if order.index >= size:
            what = "group_key" if order.side is None else "measure"
            raise InvalidFieldError.of(f"order_by[{index}].{what}", f"must be less than {size}, the number requested")
    for index, condition in enumerate(query.having):
        if condition.index >= len(query.measures):
            raise InvalidFieldError.of(f"having[{index}].measure", f"must be less than {len(query.measures)}")


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
    types = {key.path: key.type for key in spec.keys}
    texts = [
        measure.function in (Function.MIN, Function.MAX) and types[measure.path] is not KeyType.NUMBER
        for measure in query.measures
    ]
    groups = [_group(row, needs.groups, texts) for row in rows[: query.limit]]
    return StatisticsResult(groups, len(rows) > query.limit, name)


def _group(row: Mapping[str, Any], keys: Sequence[StatisticKey], texts: Sequence[bool]) -> Group:
    found = [_key_json(row[f"key_{index}"], key.type) for index, key in enumerate(keys, 1)]
    sides = [
        [_json(row[f"{side.lower()}_{index}"], is_text=is_text) for index, is_text in enumerate(texts, 1)]
        for side in Side
    ]
    return Group(found, *sides)


def _key_json(text: str | None, type_: KeyType) -> str:
    if text is None:
        return "null"
    return text if type_ in (KeyType.NUMBER, KeyType.BOOLEAN) else _encode(text).decode()


def _json(value: Decimal | int | str | None, *, is_text: bool) -> str:
    if value is None:
        return "null"
    if is_text:
        return _encode(str(value)).decode()
    return format(value, "f") if isinstance(value, Decimal) else str(value)
