"""A list that a caller asks for, with everything that its statements need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...domain.collections import CollectionSpec
from ...domain.filters.ast import Filter
from ...domain.filters.conditions import Condition
from ...domain.merged import MergedQuery, View
from ...domain.records import Actor
from .branches import ListQueryKey


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of one caller, typed by the spec of its collection.

    `shape` is the key of its statements over the tables, and `values` are those of its filter, which they bind by name.
    """

    actor: Actor
    query: MergedQuery
    spec: CollectionSpec
    condition: Filter[Condition] | None
    shape: ListQueryKey
    values: Mapping[str, object]

    @property
    def names(self) -> list[str]:
        """All ids but the record's that are part of the entries that the list may read."""
        names = [self.actor.tenant_id, self.query.collection]
        return names if self.query.view is View.BASELINE else [*names, self.actor.user_id]

    @property
    def has_deleted(self) -> bool:
        """True if deleted records are part of the list."""
        return self.query.show_deleted and self.query.view is not View.DRAFTS_ONLY
