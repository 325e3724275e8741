"""The choice of the order whose entries a list reads.

The list chooses, not the planner: the order with the longest prefix of fields that the filter compares by `=`, then one
whose next field has a range, then one that sorts as the list does. Only conditions that are terms of the filter's
top-level AND count. The range of keys stands for these conditions; the others are checked for each row. A comparison
of a field with several values (`in`, or OR) is checked too: the range leads from the least value to the greatest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import TypeAlias

from ...domain.collections import KEY_BYTES, IndexKey, IndexOrder
from ...domain.filters.ast import And, Field, FieldType, Filter, Operator, Or, Path
from ...domain.filters.conditions import Comparison, Condition, StartsWith
from ...domain.filters.values import Value
from ...domain.values import value_class
from ..filter_templates import parameterize
from . import order_keys
from .branches import Entries, ListQueryKey
from .order import OrderKey
from .order_keys import KeyRange

MAX_ENTRY_BYTES = 2_600  # of a key and the names beside it, as in draftline.order_entry_fits
MAX_ID_BYTES = 512  # 128 characters
MAX_COUNTED_RANGES = 4


@value_class
class OneOf:
    """The field holds one of these values of `type`."""

    field: Field
    type: FieldType
    values: tuple[Value, ...]


Compared: TypeAlias = Comparison | StartsWith | OneOf
ByPath: TypeAlias = Mapping[Path, Sequence[tuple[int, Compared]]]  # terms and their positions in the filter


@value_class
class EntryRange:
    """A range of an order's entries that holds all records of a list.

    Every list looks at all orders of its collection, so the keys are encoded only for the range that it uses.
    """

    order_id: int
    order: IndexOrder
    equal: Sequence[Comparison]  # for the first fields, whose values are the same in the whole range
    compared: Sequence[Compared]  # for the next field
    terms: frozenset[int]  # the positions of these conditions in the filter
    checked: frozenset[int]  # those of them that not all records of the range satisfy
    is_sorted: bool = field(compare=False)  # the list has the order of the entries

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """The greater, the fewer entries the range is expected to have."""
        return len(self.equal), len(self.terms), -len(self.order), -self.order_id

    @property
    def prefix(self) -> bytes:
        """The bytes with which all keys of the range start."""
        return b"".join(
            order_keys.encoded_value(condition.value, key.type, descending=key.descending)
            for condition, key in zip(self.equal, self.order, strict=False)
        )

    @property
    def keys(self) -> KeyRange:
        prefix = self.prefix
        keys = order_keys.with_prefix(prefix) if prefix else order_keys.all_keys(self.order)
        for condition in self.compared:
            keys = keys.intersection(_compared(prefix, self.order[len(self.equal)], condition))
        return keys

    def query_of(self, shape: ListQueryKey, tree: Filter[Condition] | None) -> tuple[ListQueryKey, dict[str, object]]:
        """Return the key of the list's statements over these entries, and the values that they bind by name."""
        rest, keys = remaining(tree, self.terms - self.checked), self.keys
        template, values = parameterize(rest) if rest is not None else (None, {})
        values |= {"order_id": self.order_id, "low": keys.low, "high": keys.high}
        entries, order = (Entries.IN_ORDER, ()) if self.is_sorted else (Entries.IN_RANGE, shape.order)
        return replace(shape, collection="", filter=template, order=order, entries=entries, after=None), values

    def texts_of(self, key: bytes) -> Mapping[Path, str | None]:
        """Return the values of an entry's key as texts, by their paths."""
        return dict(zip((each.path for each in self.order), order_keys.decoded(key, self.order), strict=True))

    def key_after(self, values: Mapping[Path, object]) -> bytes:
        """Return the key at a position, which has a value as text for each field by which the list is sorted."""
        rest = self.order[len(self.equal) :]
        return self.prefix + order_keys.encoded([order_keys.value_of(values[key.path], key) for key in rest], rest)


@value_class
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
    """Return the range of each order that is smaller than the order, or has the list's order.

    `names` are all ids but the record's that an entry has.
    """
    by_path = _by_path(tree)
    wanted = _declared(sort)
    room = MAX_ENTRY_BYTES - MAX_ID_BYTES - sum(len(name.encode()) for name in names)
    ranges = []
    for order, order_id in ready.items():
        found = _range(order, order_id, by_path, wanted)
        # Of longer keys some entries may be left out.
        if (found.terms or found.is_sorted) and sum(KEY_BYTES[key.type] for key in order) <= room:
            ranges.append(found)
    return ranges


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


def _by_path(tree: Filter[Condition] | None) -> ByPath:
    """Return the terms that compare declared fields, by the fields."""
    found: dict[Path, list[tuple[int, Compared]]] = {}
    for index, term in enumerate(terms_of(tree)):
        condition = _one_of(term) if isinstance(term, Or) else term
        if isinstance(condition, OneOf) or (isinstance(condition, Comparison | StartsWith) and condition.indexed):
            found.setdefault(condition.field.path, []).append((index, condition))
    return found


def _one_of(tree: Or[Condition]) -> OneOf | None:
    """Return the comparison with several values that the terms are; None if they are anything else."""
    first, values = tree.terms[0], []
    for term in tree.terms:
        if not isinstance(term, Comparison) or not isinstance(first, Comparison) or not term.indexed or term.lowered:
            return None
        if (term.operator, term.field, term.type) != (Operator.EQ, first.field, first.type):
            return None
        values.append(term.value)
    return OneOf(first.field, first.type, tuple(values)) if isinstance(first, Comparison) else None


def _declared(sort: Sequence[OrderKey]) -> list[tuple[Path, bool]] | None:
    """Return the fields by which a list is sorted, each once; None if not all of them are declared."""
    if not all(key.declared for key in sort):
        return None
    wanted: dict[Path, bool] = {}
    for key in sort:
        wanted.setdefault(key.field.path, key.descending)
    return list(wanted.items())


def _range(order: IndexOrder, order_id: int, by_path: ByPath, wanted: Sequence[tuple[Path, bool]] | None) -> EntryRange:
    equal: list[Comparison] = []
    compared: list[Compared] = []
    terms: list[int] = []
    checked: list[int] = []
    for key in order:
        conditions = [each for each in by_path.get(key.path, ()) if _type_of(each[1]) is key.type]
        for index, condition in conditions:
            if isinstance(condition, Comparison) and condition.operator is Operator.EQ:
                terms.append(index)
                equal.append(condition)
                break
        else:
            terms += [index for index, _ in conditions]
            compared = [condition for _, condition in conditions]
            checked = [index for index, condition in conditions if isinstance(condition, OneOf)]
            break
    is_sorted = False
    if wanted is not None:
        pinned = {key.path for key in order[: len(equal)]}
        rest = [(key.path, key.descending) for key in order[len(equal) :]]
        is_sorted = rest == [each for each in wanted if each[0] not in pinned]
    return EntryRange(order_id, order, equal, compared, frozenset(terms), frozenset(checked), is_sorted)


def _type_of(condition: Compared) -> FieldType:
    return FieldType.TEXT if isinstance(condition, StartsWith) else condition.type


def _compared(prefix: bytes, key: IndexKey, condition: Compared) -> KeyRange:
    if isinstance(condition, StartsWith):
        return order_keys.starting_with(prefix, key, condition.prefix)
    if isinstance(condition, OneOf):
        ranges = [order_keys.compared(prefix, key, Operator.EQ, value) for value in condition.values]
        return KeyRange(min(each.low for each in ranges), max(each.high for each in ranges))
    return order_keys.compared(prefix, key, condition.operator, condition.value)
