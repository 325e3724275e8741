"""Stored specs with the states of the indexes and statistics that they require."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...domain.collections import CollectionSpec, IndexOrder, IndexState
from ...domain.filters.ast import Path
from ..relations.dangling import Dangling
from ..transaction import Rows
from .cache import order_of
from .statistic_specs import StoredStatistic


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """An index, and how many records its build has read, of how many; 0: not counted."""

    state: IndexState = IndexState.BUILDING
    record_count: int = 0
    record_total: int = 0


@dataclass(frozen=True, slots=True)
class StoredCollection:
    spec: CollectionSpec
    indexes: Mapping[IndexOrder, StoredIndex]
    statistics: Sequence[StoredStatistic] = ()
    relations: Mapping[Path, IndexState] = field(default_factory=dict)  # the states of the indexes of relations
    dangling: Mapping[str, Dangling] = field(default_factory=dict)  # by relation; empty: not counted


def states_of(
    rows: Rows,
) -> tuple[dict[tuple[str, IndexOrder], StoredIndex], dict[str, dict[Path, IndexState]]]:
    """Return the states of orders, by collection and order, and those of relations, by collection and path."""
    states: dict[tuple[str, IndexOrder], StoredIndex] = {}
    relations: dict[str, dict[Path, IndexState]] = {}
    for row in rows:
        keys, state = json.loads(row["keys"]), IndexState(row["state"])
        if keys[0]["type"] == "ID":
            relations.setdefault(row["collection"], {})[tuple(keys[0]["path"])] = state
        else:
            states[row["collection"], order_of(keys)] = StoredIndex(state, row["record_count"], row["record_total"])
    return states, relations
