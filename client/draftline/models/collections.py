"""Models of collections and their specs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from draftline.models.index_state import IndexState
from draftline.models.relations import CollectionRelation
from draftline.models.statistics import CollectionStatistic, StatisticState
from draftline.models.str_enum import StrEnum


class FieldType(StrEnum):
    """The type as which the values of a declared field are compared, sorted and indexed."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


class OnTypeMismatch(StrEnum):
    """The treatment of a write whose value does not have the type of a declared field."""

    ACCEPT = "accept"  # stored, but treated as missing in comparisons and orders; `record.mistyped = true` finds it
    REFUSE = "refuse"  # InvalidArgumentError (TYPE_MISMATCH), whatever the call


class ChangeHistory(StrEnum):
    """The details that the change log stores of a collection's changes."""

    VALUES = "values"  # the paths that a change edited, with their values before and after
    PATHS = "paths"  # only the paths, which is smaller; such changes cannot be reverted


@dataclass(frozen=True)
class DeclaredField:
    """A field of a collection spec, with its type. It gets an ascending index."""

    path: str  # a JSON Pointer into the content: "/Major Genre"
    type: FieldType | str
    on_type_mismatch: OnTypeMismatch | str = OnTypeMismatch.ACCEPT


@dataclass(frozen=True)
class SortKey:
    """One key of a sort order. Null and missing values come last in both directions."""

    path: str  # of a declared field
    descending: bool = False


@dataclass(frozen=True)
class DeclaredOrder:
    """A sort order that has an index. Ties are broken by the record id."""

    keys: tuple[SortKey, ...]  # 1 to 4, the most significant first


@dataclass(frozen=True)
class CollectionIndex:
    """An index that a collection spec requires, with its state."""

    order: DeclaredOrder
    state: IndexState
    record_count: int = 0  # records that its build has read so far
    record_total: int = 0  # records that existed when its build began; 0: not counted, as in small collections


@dataclass(frozen=True)
class Collection:
    """A collection and its spec. Times are aware, in UTC; None if there is no spec."""

    tenant_id: str
    collection: str
    fields: tuple[DeclaredField, ...]
    orders: tuple[DeclaredOrder, ...]
    json_schema: dict[str, Any] | None
    version: int  # starts at 1, incremented by every change of the spec; 0: no spec
    indexes: tuple[CollectionIndex, ...]
    create_time: datetime | None
    update_time: datetime | None
    history: ChangeHistory = ChangeHistory.VALUES
    statistics: tuple[CollectionStatistic, ...] = ()
    relations: tuple[CollectionRelation, ...] = ()
    # The number of records with a mistyped value, by the path of each declared field; None unless requested.
    mismatch_counts: dict[str, int] | None = None

    @property
    def is_building(self) -> bool:
        """True while an index, an inverse or a statistic is being built. Lists are correct, but not yet fast."""
        return (
            any(index.state is IndexState.BUILDING for index in self.indexes)
            or any(each.state is StatisticState.BUILDING for each in self.statistics)
            or any(each.state is IndexState.BUILDING for each in self.relations)
        )

    @property
    def build_progress(self) -> float:
        """The part of the records that the builds of indexes and statistics have read, from 0 to 1.

        It is the least of all builds; 1 if there are none.
        """
        building: list[CollectionIndex | CollectionStatistic] = [
            *(each for each in self.indexes if each.state is IndexState.BUILDING),
            *(each for each in self.statistics if each.state is StatisticState.BUILDING),
        ]
        parts = [min(1.0, each.record_count / each.record_total) if each.record_total else 0.0 for each in building]
        return min(parts, default=1.0)
