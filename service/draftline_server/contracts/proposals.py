"""A proposal for a collection spec: fields, orders and a JSON Schema that every observed content satisfies."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..domain.edits import format_pointer
from ..domain.filters.values import FieldType
from .shapes import KINDS, MAX_DISTINCT, SCALARS, Shape

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_FIELDS = 32  # each is an index, and a tenant has a limit on them
MAX_ORDERS = 3
MIN_POINTER, MAX_POINTER = 2, 512  # characters of the path of a field, as in collection.proto
MAX_DEPTH = 4  # levels of objects that the table and the fields describe
MAX_GROUPS = 50  # distinct values of a field by which an order groups
MIN_SHARE = 0.95  # of the values of a proposed field that have its type
_SORTED = (FieldType.NUMBER, FieldType.DATE, FieldType.TIMESTAMP)


@dataclass(frozen=True)
class Observed:
    """One path with the values observed at it."""

    path: tuple[str, ...]
    shape: Shape
    parent_count: int  # objects that could have the key

    @property
    def pointer(self) -> str:
        return format_pointer(self.path)

    @property
    def can_be_declared(self) -> bool:
        """True if a spec accepts the path for a field: the contract limits its length and its characters."""
        has_control = any(unicodedata.category(each) == "Cc" for each in self.pointer)
        return MIN_POINTER <= len(self.pointer) <= MAX_POINTER and not has_control


@dataclass(frozen=True)
class ProposedField:
    """A field to declare. `mistyped` values have another type, and count as missing in filters and orders."""

    pointer: str
    type: FieldType
    mistyped: int


@dataclass(frozen=True)
class Proposal:
    """The parts of a collection spec that fit the observed contents."""

    fields: tuple[ProposedField, ...]
    orders: tuple[tuple[tuple[str, bool], ...], ...]  # keys: a pointer, and true for descending
    json_schema: dict[str, Any]
    mixed: tuple[Observed, ...]  # paths with values of several types besides null
    left_out: int  # paths that could be declared as fields too, beyond MAX_FIELDS


def observed(root: Shape, above: tuple[str, ...] = ()) -> Iterator[Observed]:
    """Yield each path of objects, in the order of its first observation, parents first."""
    for key, shape in root.members.items():
        path = (*above, key)
        yield Observed(path, shape, root.kinds["object"])
        if len(path) < MAX_DEPTH:
            yield from observed(shape, path)


def propose(root: Shape) -> Proposal:
    """Return the proposal for the observed contents.

    A field is proposed for each path whose values have one type, or nearly so; those that most records have come
    first. An order combines a field with few values and a number or a date, as lists by category do.
    """
    paths = list(observed(root))
    typed = [(each, type_) for each in paths if (type_ := field_type(each.shape)) is not None and each.can_be_declared]
    typed.sort(key=lambda each: -_values(each[0].shape))
    chosen = {each.pointer: (each, type_) for each, type_ in typed[:MAX_FIELDS]}
    in_order = [each for each in paths if each.pointer in chosen]
    fields = tuple(_field(each, chosen[each.pointer][1]) for each in in_order)
    return Proposal(
        fields=fields,
        orders=_orders([chosen[each.pointer] for each in in_order]),
        json_schema={"$schema": SCHEMA_DIALECT, **schema_of(root)},
        mixed=tuple(each for each in paths if len(each.shape.present_kinds) > 1),
        left_out=max(0, len(typed) - MAX_FIELDS),
    )


def schema_of(shape: Shape) -> dict[str, Any]:
    """Return a JSON Schema that all observed values satisfy: types, members and the keys that every object has."""
    kinds = shape.present_kinds + ["null"] * bool(shape.kinds["null"])
    schema: dict[str, Any] = {}
    if kinds:
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    if shape.members:
        schema["properties"] = {key: schema_of(member) for key, member in shape.members.items()}
        required = [key for key, member in shape.members.items() if member.count == shape.kinds["object"]]
        if required:
            schema["required"] = required
    if shape.elements is not None and (items := schema_of(shape.elements)):
        schema["items"] = items
    return schema


def field_type(shape: Shape) -> FieldType | None:
    """Return the type as which the values can be declared, or None: they are objects, arrays, null or too mixed."""
    total = _values(shape)
    texts = shape.kinds["string"]
    counts = {
        FieldType.TEXT: texts,
        FieldType.NUMBER: shape.kinds["integer"] + shape.kinds["number"],
        FieldType.BOOLEAN: shape.kinds["boolean"],
    }
    type_, count = max(counts.items(), key=lambda each: each[1])
    if not total or count < MIN_SHARE * total:
        return None
    if type_ is FieldType.TEXT:
        for dated in (FieldType.DATE, FieldType.TIMESTAMP):
            if shape.dated[dated] == texts:
                return dated
    return type_


def _values(shape: Shape) -> int:
    return shape.count - shape.kinds["null"]


def _field(each: Observed, type_: FieldType) -> ProposedField:
    kinds = {FieldType.NUMBER: ("integer", "number"), FieldType.BOOLEAN: ("boolean",)}.get(type_, ("string",))
    typed = sum(each.shape.kinds[kind] for kind in kinds)
    return ProposedField(each.pointer, type_, _values(each.shape) - typed)


def _orders(fields: list[tuple[Observed, FieldType]]) -> tuple[tuple[tuple[str, bool], ...], ...]:
    """Return orders of a category and a number or date, descending: those that most records have."""
    categories = [each for each, type_ in fields if type_ is FieldType.TEXT and _is_category(each.shape)]
    ranked = [each for each, type_ in fields if type_ in _SORTED and len(each.shape.distinct) > MAX_GROUPS]
    categories.sort(key=lambda each: -_values(each.shape))
    ranked.sort(key=lambda each: -_values(each.shape))
    if not ranked:
        return ()
    return tuple(((each.pointer, False), (ranked[0].pointer, True)) for each in categories[:MAX_ORDERS])


def _is_category(shape: Shape) -> bool:
    return 1 < len(shape.distinct) <= min(MAX_GROUPS, _values(shape) // 2)


def report(root: Shape) -> list[dict[str, Any]]:
    """Return what was observed at each path, as JSON values."""
    return [_row(each) for each in observed(root)]


def _row(each: Observed) -> dict[str, Any]:
    shape = each.shape
    row: dict[str, Any] = {
        "path": each.pointer,
        "count": shape.count,
        "share": round(shape.count / each.parent_count, 4),
        "types": {kind: shape.kinds[kind] for kind in KINDS if shape.kinds[kind]},
    }
    ranges = {
        "range": (shape.smallest, shape.greatest),
        "characters": (shape.shortest, shape.longest),
        "elements": (shape.fewest, shape.most),
    }
    row |= {name: list(both) for name, both in ranges.items() if both[0] is not None}
    if set(shape.present_kinds) & SCALARS:
        row["distinct"] = min(len(shape.distinct), MAX_DISTINCT)
        row["distinct_is_exact"] = len(shape.distinct) <= MAX_DISTINCT
        row["examples"] = shape.examples
    if shape.is_map:
        row["is_map"] = True
    if shape.elements is not None:
        row["element_types"] = {kind: shape.elements.kinds[kind] for kind in KINDS if shape.elements.kinds[kind]}
    return row
