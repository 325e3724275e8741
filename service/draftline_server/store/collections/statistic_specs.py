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
    """A declared statistic, its id and its state. `group_count`: groups of the baseline when it was last folded."""

    statistic_id: int
    spec: StatisticSpec
    state: StatisticState
    group_count: int

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


def to_json(spec: StatisticSpec) -> dict[str, Any]:
    keys = [{"path": key.path, "type": key.type} for key in spec.keys]
    return {"name": spec.name, "keys": keys, "measures": spec.measures}


def from_json(stored: Mapping[str, Any]) -> StatisticSpec:
    keys = tuple(StatisticKey(tuple(key["path"]), KeyType(key["type"])) for key in stored["keys"])
    return StatisticSpec(stored["name"], keys, tuple(tuple(path) for path in stored["measures"]))
