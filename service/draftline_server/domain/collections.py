"""Collection specs: field types, sort orders, schema and history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from .changes import History
from .edits import format_pointer
from .errors import InvalidFieldError
from .filters.ast import FieldType, Path
from .relations import Integrity, Relation, RelationSpec, declare_relations
from .statistics import Grain, StatisticSpec, declare_statistics
from .values import value_class


@value_class
class IndexKey:
    """One key of an index: a declared field and a direction. Nulls sort last in both directions."""

    path: Path
    type: FieldType
    descending: bool = False


IndexOrder = tuple[IndexKey, ...]

# The maximum size of an index entry's declared keys, in bytes. A btree entry is limited to 2,704 bytes,
# of which the tenant and record ids (128 characters of up to four bytes each) need 1,024.
MAX_KEY_BYTES = 1_650
KEY_BYTES = {
    FieldType.TEXT: 804,  # 800 bytes and a length header
    FieldType.NUMBER: 112,  # 100 digits before and after the point
    FieldType.BOOLEAN: 8,
    FieldType.DATE: 8,
    FieldType.TIMESTAMP: 8,
}


class IndexState(StrEnum):
    BUILDING = "BUILDING"
    READY = "READY"
    INVALID = "INVALID"


@value_class
class CollectionSpec:
    """The spec of a collection, as it was declared. `version` is 0 for a collection that was never declared."""

    collection: str
    fields: Mapping[Path, FieldType] = field(default_factory=dict)
    orders: Sequence[IndexOrder] = ()
    json_schema: str = ""
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    history: History = History.VALUES
    refusing: frozenset[Path] = frozenset()  # fields that reject values of other types
    statistics: Sequence[StatisticSpec] = ()
    # The ids of the orders whose entries were complete when the spec was read.
    ready_orders: Mapping[IndexOrder, int] = field(default_factory=dict, compare=False)
    relations: Sequence[RelationSpec] = ()
    # The inverses of other collections' relations, as they were when the spec was read.
    inverses: Sequence[Relation] = field(default=(), compare=False)
    upstream: str = field(default="", compare=False)  # the sync that the collection belongs to; empty: none
    # True: checked relations of some collection lead here, so deletions have to be checked.
    is_referred_to: bool = field(default=False, compare=False)
    _read_fields: frozenset[str] | None = field(default=None, init=False, repr=False, compare=False)
    _checked_fields: frozenset[str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def read_fields(self) -> frozenset[str]:
        """The top-level fields that orders and statistics read."""
        if self._read_fields is None:
            paths = [*self.fields, *(each.path for each in self.relations)]
            for statistic in self.statistics:
                paths += [*(key.path for key in statistic.keys), *statistic.measures]
            object.__setattr__(self, "_read_fields", frozenset(path[0] for path in paths))
        return self._read_fields or frozenset()

    @property
    def checked_fields(self) -> frozenset[str]:
        """The top-level fields of checked relations."""
        if self._checked_fields is None:
            checked = frozenset(each.path[0] for each in self.checked_relations())
            object.__setattr__(self, "_checked_fields", checked)
        return self._checked_fields or frozenset()

    def indexes(self) -> list[IndexOrder]:
        """Return the orders to index, without duplicates: each field ascending, then the declared orders."""
        wanted = [(IndexKey(path, type_),) for path, type_ in self.fields.items()]
        return list(dict.fromkeys([*wanted, *self.orders]))

    def checked_relations(self) -> list[RelationSpec]:
        return [each for each in self.relations if each.integrity is Integrity.CHECK]

    def indexed_text(self) -> list[Path]:
        return [path for path, type_ in self.fields.items() if type_ is FieldType.TEXT]


def declare(
    collection: str,
    fields: Sequence[tuple[Path, FieldType]],
    orders: Sequence[Sequence[tuple[Path, bool]]],
    json_schema: str,
    history: History = History.VALUES,
    *,
    refusing: frozenset[Path] = frozenset(),
    statistics: Sequence[tuple[str, Sequence[tuple[Path, Grain]], Sequence[Path], Path]] = (),
    relations: Sequence[RelationSpec] = (),
) -> CollectionSpec:
    """Build a spec and check it.

    Raises InvalidFieldError if a path is declared twice, or if an order uses an undeclared field, repeats a field or
    exceeds the size of an index entry.
    """
    types: dict[Path, FieldType] = {}
    for index, (path, type_) in enumerate(fields):
        if path in types:
            raise InvalidFieldError.of(f"fields[{index}].path", f"{format_pointer(path)} is declared twice")
        types[path] = type_
    checked: list[IndexOrder] = []
    for index, order in enumerate(orders):
        for key, (path, _) in enumerate(order):
            if path not in types:
                raise InvalidFieldError.of(
                    f"orders[{index}].keys[{key}].path", f"{format_pointer(path)} is not a declared field"
                )
        if len({path for path, _ in order}) < len(order):
            raise InvalidFieldError.of(f"orders[{index}].keys", "must name each field once")
        if sum(KEY_BYTES[types[path]] for path, _ in order) > MAX_KEY_BYTES:
            raise InvalidFieldError.of(f"orders[{index}].keys", "may have at most two text fields, and then no number")
        checked.append(tuple(IndexKey(path, types[path], descending) for path, descending in order))
    return CollectionSpec(
        collection,
        types,
        tuple(dict.fromkeys(checked)),
        json_schema,
        history=history,
        refusing=refusing,
        statistics=declare_statistics(statistics, types),
        relations=declare_relations(collection, relations, types),
    )
