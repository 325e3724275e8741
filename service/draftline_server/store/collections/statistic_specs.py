"""The declared statistics of collections, as they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...domain.statistics import RANGES, KeyType, StatisticKey, StatisticSpec, StatisticState
from ...domain.values import value_class
from ..database import Database
from ..statements import load

SQL = load("statistics")


@value_class
class StoredStatistic:
    """A declared statistic, its id and its state.

    `group_count`: groups of the baseline when it was last folded. `record_count`: the records that its build has read,
    of `record_total`; 0: no build is running.
    """

    statistic_id: int
    spec: StatisticSpec
    state: StatisticState
    group_count: int
    record_count: int = 0
    record_total: int = 0

    @property
    def is_ready(self) -> bool:
        return self.state is StatisticState.READY

    @property
    def has_range(self) -> bool:
        return self.spec.keys[0].type in RANGES


async def statistics_of(
    database: Database, tenant_id: str, collections: Sequence[str]
) -> Mapping[str, list[StoredStatistic]]:
    """Return the statistics of some collections."""
    values: dict[str, object] = {"tenant_id": tenant_id, "collections": list(collections)}
    found: dict[str, list[StoredStatistic]] = {}
    for row in await database.fetch(SQL["get_statistics"], values, idempotent=True):
        stored = StoredStatistic(
            row["statistic_id"], from_json(json.loads(row["spec"])), StatisticState(row["state"]), row["group_count"]
        )
        found.setdefault(row["collection"], []).append(stored)
    return found


async def with_progress(
    database: Database, tenant_id: str, found: Mapping[str, Sequence[StoredStatistic]]
) -> Mapping[str, Sequence[StoredStatistic]]:
    """Return statistics with the progress of those that are being built."""
    building = [
        collection
        for collection, statistics in found.items()
        if any(each.state is StatisticState.BUILDING for each in statistics)
    ]
    if not building:
        return found
    values: dict[str, object] = {"tenant_id": tenant_id, "collections": building}
    rows = await database.fetch(SQL["get_builds"], values, idempotent=True)
    counts = {row["statistic_id"]: (row["record_count"], row["record_total"]) for row in rows}
    return {
        collection: [_with_counts(each, *counts.get(each.statistic_id, (0, 0))) for each in statistics]
        for collection, statistics in found.items()
    }


def _with_counts(stored: StoredStatistic, count: int, total: int) -> StoredStatistic:
    return StoredStatistic(stored.statistic_id, stored.spec, stored.state, stored.group_count, min(count, total), total)


def to_json(spec: StatisticSpec) -> dict[str, Any]:
    keys = [{"path": key.path, "type": key.type} for key in spec.keys]
    return {"name": spec.name, "keys": keys, "measures": spec.measures}


def from_json(stored: Mapping[str, Any]) -> StatisticSpec:
    keys = tuple(StatisticKey(tuple(key["path"]), KeyType(key["type"])) for key in stored["keys"])
    return StatisticSpec(stored["name"], keys, tuple(tuple(path) for path in stored["measures"]))
