"""Reads the statistics of a collection: baseline, merged view and difference of one snapshot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    Side,
    StatisticSpec,
    StatisticsQuery,
    StatisticsResult,
    StatisticState,
)
from ..collections.cache import CollectionSpecs
from ..collections.statistic_specs import StoredStatistic, statistics_of
from ..database import Database
from ..record_errors import invalid_filter
from ..statements import Statement
from .needs import Needs, needs_of
from .query import is_number, statistics_statement

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
                    return await self._scan(actor, query, condition, needs, least, fields=fields)
                raise _not_ready(query.collection, needs.to_declare(fields), covering)
            chosen = min(ready, key=lambda each: (each.has_range, each.group_count))
            values: dict[str, object] = {"statistic_id": chosen.statistic_id}
            built = statistics_statement(query, condition, chosen.spec, needs.groups, "tally_rows")
            row = await self._row(actor, query.collection, built, values)
            if row["is_ready"]:
                return _result(query, needs, row, chosen.spec, chosen.spec.name)
        raise ContentionError("the statistics of the collection are being replaced; try again")

    async def _scan(
        self,
        actor: Actor,
        query: StatisticsQuery,
        condition: Filter[Condition] | None,
        needs: Needs,
        spec: StatisticSpec,
        *,
        fields: Mapping[Path, FieldType],
    ) -> StatisticsResult:
        built = statistics_statement(query, condition, spec, needs.groups, "scanned_rows")
        try:
            row = await self._row(actor, query.collection, built, scan_values(spec))
        except DeadlineExceededError as error:
            wanted = json.dumps(as_json(needs.to_declare(fields)), ensure_ascii=False)
            raise DeadlineExceededError(f"{error}: declare {wanted} by PutCollection") from None
        return _result(query, needs, row, spec, "")

    async def _row(
        self, actor: Actor, collection: str, built: tuple[Statement, Mapping[str, object]], values: Mapping[str, object]
    ) -> Mapping[str, Any]:
        statement, fixed = built
        own = {"tenant_id": actor.tenant_id, "user_id": actor.user_id, "collection": collection}
        rows = await self._database.fetch(statement, {**fixed, **values, **own}, idempotent=True)
        row: Mapping[str, Any] = rows[0]
        return row


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
        found = next((each for each in covering if each.state is StatisticState.BUILDING), covering[0])
        fix = "wait until it is READY"
        if found.state is StatisticState.INVALID:
            fix = f"it has {found.group_count:,} groups, too many: declare fewer or coarser group keys, or range_by"
        return StatisticNotReadyError(
            f"statistic {found.spec.name!r} of collection {collection!r} is {found.state}; {fix}, or set allow_scan",
            declare=wanted,
            state=found.state,
        )
    what = f"declare {wanted}" if least.keys else "declare a field, and a statistic that groups by it,"
    return StatisticNotReadyError(
        f"no statistic of collection {collection!r} covers the query: {what} by PutCollection, or set allow_scan",
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
    query: StatisticsQuery, needs: Needs, row: Mapping[str, Any], spec: StatisticSpec, name: str
) -> StatisticsResult:
    """Return the groups of a row of columns, without the one beyond the limit."""
    size = min(row["size"], query.limit)
    is_truncated = row["size"] > size
    numbers = [index for index, measure in enumerate(query.measures, 1) if is_number(measure, spec)]

    def column(name: str, *, are_numbers: bool) -> str:
        if not size:
            return "[]"
        if are_numbers:
            text: str = row[name]
            return f"[{text.rpartition(',')[0] if is_truncated else text}]"
        return _encode(row[name][:size]).decode()

    keys = [
        _unquoted(row[f"key_{index}"], size) if key.type in (KeyType.NUMBER, KeyType.BOOLEAN)
        else column(f"key_{index}", are_numbers=False)
        for index, key in enumerate(needs.groups, 1)
    ]  # fmt: skip
    baseline, merged, difference = (
        [column(f"{side.lower()}_{index}", are_numbers=index in numbers) for index in range(1, len(query.measures) + 1)]
        for side in Side
    )
    return StatisticsResult(size, keys, baseline, merged, difference, is_truncated, name)


def _unquoted(texts: Sequence[str | None] | None, size: int) -> str:
    """Return an array of the first numbers or booleans."""
    return f"[{','.join('null' if text is None else text for text in (texts or ())[:size])}]"
