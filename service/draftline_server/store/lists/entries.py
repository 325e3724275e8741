"""The choice of the order whose entries a list reads.

The list chooses, not the planner: the order with the longest prefix of fields that the filter compares by `=`, then one
whose next field has a range, then one that sorts as the list does. Only conditions that are terms of the filter's
top-level AND count. The range of keys stands for these conditions; the others are checked for each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from ...domain.collections import KEY_BYTES, IndexKey, IndexOrder
from ...domain.filters.ast import And, Field, FieldType, Filter, Operator, Path
from ...domain.filters.conditions import Comparison, Condition, StartsWith
from ..filters import parameterize
from . import order_keys
from .branches import Entries, ListQueryKey
from .order import OrderKey
from .order_keys import KeyRange

MAX_ENTRY_BYTES = 2_600  # of a key and the names beside it, as in draftline.order_entry_fits
MAX_ID_BYTES = 512  # 128 characters
MAX_COUNTED_RANGES = 4


@dataclass(frozen=True, slots=True)
class EntryRange:
    """A range of an order's entries that holds all records of a list."""

    order_id: int
    order: IndexOrder
    prefix: bytes  # the values of the first fields, which are equal in the whole range
    pinned: int  # the number of these fields
    keys: KeyRange
    terms: frozenset[int]  # the terms of the filter that hold for each key of the range
    is_sorted: bool = field(compare=False)  # the list has the order of the entries

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """The greater, the fewer entries the range is expected to have."""
        return self.pinned, len(self.terms), -len(self.order), -self.order_id

    def query_of(self, shape: ListQueryKey, tree: Filter[Condition] | None) -> tuple[ListQueryKey, dict[str, object]]:
        """Return the key of the list's statements over these entries, and the values that they bind by name."""
        rest = remaining(tree, self.terms)
        template, values = parameterize(rest) if rest is not None else (None, {})
        values |= {"order_id": self.order_id, "low": self.keys.low, "high": self.keys.high}
        entries, order = (Entries.IN_ORDER, ()) if self.is_sorted else (Entries.IN_RANGE, shape.order)
        return replace(shape, collection="", filter=template, order=order, entries=entries, after=None), values

    def texts_of(self, key: bytes) -> Mapping[Path, str | None]:
        """Return the values of an entry's key as texts, by their paths."""
        return dict(zip((each.path for each in self.order), order_keys.decoded(key, self.order), strict=True))

    def key_after(self, values: Mapping[Path, object]) -> bytes:
        """Return the key at a position, which has a value as text for each field by which the list is sorted."""
        rest = self.order[self.pinned :]
        return self.prefix + order_keys.encoded([order_keys.value_of(values[key.path], key) for key in rest], rest)


@dataclass(frozen=True, slots=True)
class Choice:
    """The ranges from which a list can be read.

    `in_order`: the range that has the list's order, of any size. `narrow`: ranges that other conditions make smaller,
    but whose entries have to be sorted.
    """

    in_order: EntryRange | None
    narrow: tuple[EntryRange, ...]


def choose(ranges: Sequence[EntryRange]) -> Choice:
    in_order = max((each for each in ranges if each.is_sorted), key=lambda each: each.rank, default=None)
    narrow: list[EntryRange] = []
    for each in sorted(ranges, key=lambda each: each.rank, reverse=True):
        is_narrower = in_order is None or not each.terms <= in_order.terms
        if each.terms and is_narrower and not any(each.terms <= other.terms for other in narrow):
            narrow.append(each)
    return Choice(in_order, tuple(narrow[:MAX_COUNTED_RANGES]))


def ranges_for(
    ready: Mapping[IndexOrder, int], tree: Filter[Condition] | None, sort: Sequence[OrderKey], names: Iterable[str]
) -> list[EntryRange]:
    """Return the range that each order has for a list; `names` are all ids but the record's that an entry has."""
    terms = terms_of(tree)
    room = MAX_ENTRY_BYTES - MAX_ID_BYTES - sum(len(name.encode()) for name in names)
    return [
        _range(order, order_id, terms, sort)
        for order, order_id in ready.items()
        if sum(KEY_BYTES[key.type] for key in order) <= room  # else some entries may be left out
    ]


def terms_of(tree: Filter[Condition] | None) -> Sequence[Filter[Condition]]:
    """Return the terms that each record of the list satisfies."""
    if tree is None:
        return ()
    return tree.terms if isinstance(tree, And) else (tree,)


def remaining(tree: Filter[Condition] | None, terms: frozenset[int]) -> Filter[Condition] | None:
    """Return the filter without the terms at the given positions."""
    rest = tuple(term for index, term in enumerate(terms_of(tree)) if index not in terms)
    if len(rest) > 1:
        return And(rest)
    return rest[0] if rest else None


def _range(
    order: IndexOrder, order_id: int, terms: Sequence[Filter[Condition]], sort: Sequence[OrderKey]
) -> EntryRange:
    prefix, used = b"", set[int]()
    pinned = 0
    for key in order:
        equal = next(((index, each) for index, each in _on(key, terms) if _is_equality(each)), None)
        if equal is None:
            break
        index, condition = equal
        prefix += order_keys.encoded_value(condition.value, key.type, descending=key.descending)
        used.add(index)
        pinned += 1
    keys = order_keys.with_prefix(prefix) if prefix else order_keys.all_keys(order)
    if pinned < len(order):
        for index, compared in _on(order[pinned], terms):
            keys = keys.intersection(_compared(prefix, order[pinned], compared))
            used.add(index)
    return EntryRange(order_id, order, prefix, pinned, keys, frozenset(used), _is_sorted(order, pinned, sort))


def _on(key: IndexKey, terms: Sequence[Filter[Condition]]) -> list[tuple[int, Comparison | StartsWith]]:
    """Return the terms, with their positions, that compare the declared field of the key."""
    return [
        (index, term)
        for index, term in enumerate(terms)
        if isinstance(term, Comparison | StartsWith)
        and term.indexed
        and term.field == Field(key.path)
        and (term.type if isinstance(term, Comparison) else FieldType.TEXT) is key.type
    ]


def _is_equality(condition: Comparison | StartsWith) -> TypeGuard[Comparison]:
    return isinstance(condition, Comparison) and condition.operator is Operator.EQ


def _compared(prefix: bytes, key: IndexKey, condition: Comparison | StartsWith) -> KeyRange:
    if isinstance(condition, StartsWith):
        return order_keys.starting_with(prefix, key, condition.prefix)
    return order_keys.compared(prefix, key, condition.operator, condition.value)


def _is_sorted(order: IndexOrder, pinned: int, sort: Sequence[OrderKey]) -> bool:
    """Return whether entries with equal first fields have the list's order."""
    seen = {key.path for key in order[:pinned]}
    wanted: list[tuple[Path, bool]] = []
    for each in sort:
        if not each.declared:
            return False
        if each.field.path not in seen:
            wanted.append((each.field.path, each.descending))
            seen.add(each.field.path)
    return wanted == [(key.path, key.descending) for key in order[pinned:]]
