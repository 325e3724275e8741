"""Observations of the values at one path of many contents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ..domain.filters.values import FieldType, read_date, read_timestamp

KINDS = ("string", "integer", "number", "boolean", "object", "array", "null")  # the types of JSON Schema
SCALARS = {"string", "integer", "number", "boolean"}

# An object with more keys is a map, whose keys are data: they are counted, but not described one by one.
MAX_KEYS = 256
MAX_DISTINCT = 1_000
MAX_EXAMPLES = 3
MAX_EXAMPLE_CHARACTERS = 40
_HASHED_CHARACTERS = 64  # a longer text is counted by its hash, which bounds memory


@dataclass(slots=True)
class Shape:
    """The values observed at one path: counts by type, the range, examples, and the shapes of members."""

    kinds: Counter[str] = field(default_factory=Counter)
    smallest: int | float | Decimal | None = None
    greatest: int | float | Decimal | None = None
    shortest: int | None = None  # characters of a text, and elements of an array below
    longest: int | None = None
    fewest: int | None = None
    most: int | None = None
    distinct: set[Any] = field(default_factory=set)  # scalar values, at most MAX_DISTINCT + 1
    examples: list[Any] = field(default_factory=list)
    dated: Counter[FieldType] = field(default_factory=Counter)  # texts that are dates or timestamps
    members: dict[str, Shape] = field(default_factory=dict)
    is_map: bool = False  # an object with more than MAX_KEYS keys
    elements: Shape | None = None

    @property
    def count(self) -> int:
        return self.kinds.total()

    @property
    def present_kinds(self) -> list[str]:
        """The types of the values except null, in the order of KINDS. An integer among numbers is a number."""
        found = [kind for kind in KINDS if self.kinds[kind] and kind != "null"]
        return [kind for kind in found if kind != "integer" or "number" not in found]

    def add(self, value: Any) -> None:
        """Observe a value, as the client decodes JSON."""
        kind = kind_of(value)
        self.kinds[kind] += 1
        if kind == "object":
            self._add_members(value)
        elif kind == "array":
            self.fewest, self.most = _range(self.fewest, self.most, len(value))
            self.elements = self.elements or Shape()
            for each in value:
                self.elements.add(each)
        elif kind in SCALARS:
            self._add_scalar(kind, value)

    def _add_members(self, value: Mapping[str, Any]) -> None:
        for key, member in value.items():
            if self.is_map:
                return
            if key not in self.members:
                if len(self.members) == MAX_KEYS:
                    self.members, self.is_map = {}, True
                    return
                self.members[key] = Shape()
            self.members[key].add(member)

    def _add_scalar(self, kind: str, value: Any) -> None:
        # True equals 1 in Python, so the type belongs to the key.
        key = (kind, hash(value)) if kind == "string" and len(value) > _HASHED_CHARACTERS else (kind, value)
        if len(self.distinct) <= MAX_DISTINCT and key not in self.distinct:
            self.distinct.add(key)
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(_example(value))
        if kind == "string":
            self.shortest, self.longest = _range(self.shortest, self.longest, len(value))
            is_date = read_date(value) is not None
            self.dated[FieldType.DATE] += is_date
            self.dated[FieldType.TIMESTAMP] += is_date or read_timestamp(value) is not None
        elif kind != "boolean":
            self.smallest, self.greatest = _range(self.smallest, self.greatest, value)


def kind_of(value: Any) -> str:
    """Return the type of a decoded JSON value, as JSON Schema names it. A number with a fraction part is a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float | Decimal):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def _range(least: Any, greatest: Any, value: Any) -> tuple[Any, Any]:
    return (value if least is None else min(least, value)), (value if greatest is None else max(greatest, value))


def _example(value: Any) -> Any:
    is_long = isinstance(value, str) and len(value) > MAX_EXAMPLE_CHARACTERS
    return value[: MAX_EXAMPLE_CHARACTERS - 1] + "…" if is_long else value
