"""The conditions of typed filters. They are translated to an SQL expression or, by `to_json`, to an argument of the
function `draftline.matches`.
"""

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..relations import Relation
from .ast import (
    And,
    Field,
    Filter,
    Not,
    Operator,
    Or,
    Path,
)
from .values import FieldType, Value, value_text

VALUE = Field(())  # the value that the enclosing AnyValue examines


@dataclass(frozen=True, slots=True)
class Comparison:
    """The field holds a value of `type` that compares to `value` by `operator` (EQ, LT, LE, GT or GE).

    `indexed` is true if the field is declared, so an index may cover it. `lowered` compares both texts in lower case.
    """

    field: Field
    type: FieldType
    operator: Operator
    value: Value
    indexed: bool = False
    lowered: bool = False


@dataclass(frozen=True, slots=True)
class StartsWith:
    """The field holds a text that starts with these code points."""

    field: Field
    prefix: str
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Like:
    """The field holds a text of these parts with any characters between them; `lowered` compares in lower case."""

    field: Field
    parts: tuple[str, ...]
    lowered: bool = False

    @property
    def pattern(self) -> str:
        """The LIKE pattern, in which only the stars are wildcards."""
        escaped = (part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in self.parts)
        return "%".join(escaped)


@dataclass(frozen=True, slots=True)
class HasKey:
    """The field holds an object with this key."""

    field: Field
    key: str


@dataclass(frozen=True, slots=True)
class Present:
    """The field exists and is not null."""

    field: Field


@dataclass(frozen=True, slots=True)
class AnyValue:
    """Some value at the field satisfies `condition`, which refers to it as VALUE.

    An array along the path is replaced by its elements. With `opened`, so is an array at its end. An array
    directly within an array is not expanded.
    """

    field: Field
    condition: "ValueCondition"
    opened: bool

    @property
    def through(self) -> str:
        """The path as a jsonpath, whose lax mode expands arrays along it."""
        names = "".join(f".{json.dumps(name)}" for name in self.field.path)
        return f"${names}[*]" if self.opened else f"${names}"


@dataclass(frozen=True, slots=True)
class Mistyped:
    """Some declared field holds a value that a field of its type cannot hold."""

    field: Field
    declared: tuple[tuple[Path, FieldType], ...]


@dataclass(frozen=True, slots=True)
class RelatedCondition:
    """Some record to which the relations lead, one after the other, satisfies `tree`, a filter of conditions."""

    relations: tuple[Relation, ...]
    tree: Any


ValueCondition: TypeAlias = Comparison | StartsWith | Like | HasKey | Present
Condition: TypeAlias = ValueCondition | AnyValue | Mistyped | RelatedCondition


def to_json(tree: Filter[Condition]) -> dict[str, Any]:
    """Return the filter for `draftline.matches`: only objects, arrays and texts, so any JSON encoder is exact.

    `{"op": "and"|"or", "terms": [...]}`, `{"op": "not", "term": ...}`, and for a condition
    `{"op": "="|"<"|"<="|">"|">="|"prefix"|"like"|"has_key"|"present"|"any"|"mistyped", "in": "content"|"record",
    "path": <text[] literal>, "type": <FieldType>, "value": <text>, "key": <text>, "lower": true,
    "through": <jsonpath>, "term": <condition>, "fields": [{"path", "type"}]}` with the members that the op needs.
    """
    if isinstance(tree, And | Or):
        terms = [to_json(term) for term in tree.terms]
        return {"op": "and" if isinstance(tree, And) else "or", "terms": terms}
    if isinstance(tree, Not):
        return {"op": "not", "term": to_json(tree.term)}
    match tree:
        case AnyValue():
            return {"op": "any", "in": "content", "through": tree.through, "term": to_json(tree.condition)}
        case RelatedCondition():
            raise ValueError("draftline.matches follows no relations")
        case Mistyped():
            fields = [{"path": _array_literal(path), "type": str(type_)} for path, type_ in tree.declared]
            return {"op": "mistyped", "in": "content", "fields": fields}
    members: dict[str, Any] = {"in": "record" if tree.field.of_record else "content"}
    members["path"] = _array_literal(tree.field.path)
    if isinstance(tree, Comparison | Like) and tree.lowered:
        members["lower"] = True
    match tree:
        case Comparison():
            return {"op": str(tree.operator), **members, "type": str(tree.type), "value": value_text(tree.value)}
        case StartsWith():
            return {"op": "prefix", **members, "value": tree.prefix}
        case Like():
            return {"op": "like", **members, "value": tree.pattern}
        case HasKey():
            return {"op": "has_key", **members, "key": tree.key}
        case Present():
            return {"op": "present", **members}


def _array_literal(path: Path) -> str:
    # PostgreSQL casts this to text[] directly; converting a JSON array would need a subquery in every condition.
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in path)
    return "{" + ",".join(quoted) + "}"
