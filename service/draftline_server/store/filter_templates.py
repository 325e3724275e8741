"""Templates of filters: filters that differ only in their values share one, and with it their statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from sqlalchemy import ColumnElement, func
from sqlalchemy.types import TypeEngine

from ..domain.filters.ast import And, FieldType, Filter, Not, Or
from ..domain.filters.conditions import (
    AnyValue,
    Comparison,
    Condition,
    HasKey,
    Like,
    Mistyped,
    Present,
    RelatedCondition,
    StartsWith,
    ValueCondition,
)
from ..domain.filters.values import value_text
from .fields import TYPES

# asyncpg would send the earliest and the latest date as infinity.
SENT_AS_TEXT: Mapping[FieldType, Callable[..., ColumnElement[Any]]] = {
    FieldType.DATE: func.draftline.read_date,
    FieldType.TIMESTAMP: func.draftline.read_instant,
}
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Parameterized:
    """A condition without its values, and the names under which they are bound.

    A prefix has two values, or one if no text sorts after all texts that start with it.
    """

    condition: Condition
    names: tuple[str, ...]


FilterTemplate: TypeAlias = Filter[Parameterized]


def parameterize(tree: Filter[Condition]) -> tuple[FilterTemplate, dict[str, object]]:
    """Return the filter's template, which does not depend on its values, and the values by their names in it."""
    values: dict[str, object] = {}
    return _parameterized(tree, values), values


def _parameterized(tree: Filter[Condition], values: dict[str, object]) -> FilterTemplate:
    if isinstance(tree, And):
        return And(tuple(_parameterized(term, values) for term in tree.terms))
    if isinstance(tree, Or):
        return Or(tuple(_parameterized(term, values) for term in _padded(tree.terms)))
    if isinstance(tree, Not):
        return Not(_parameterized(tree.term, values))
    if isinstance(tree, RelatedCondition):
        return Parameterized(replace(tree, tree=_parameterized(tree.tree, values)), ())
    own = {f"value_{index}": value for index, value in enumerate(condition_values(tree), len(values))}
    values |= own
    return Parameterized(_without_values(tree), tuple(own))


def _padded(terms: tuple[Filter[Condition], ...]) -> tuple[Filter[Condition], ...]:
    """Repeat the last value of an `in` until the number of values is a power of two.

    So lists of 5 to 8 values share a statement, and lists of any length have 7 at most.
    """
    if len({_without_values(term) if isinstance(term, Comparison) else term for term in terms}) > 1:
        return terms
    return terms + terms[-1:] * ((1 << (len(terms) - 1).bit_length()) - len(terms))


def _without_values(condition: Condition) -> Condition:
    match condition:
        case Comparison():
            return replace(condition, value="")
        case StartsWith():
            return replace(condition, prefix="")
        case Like():
            return replace(condition, parts=())
        case HasKey():
            return replace(condition, key="")
        case AnyValue():
            return replace(condition, condition=cast(ValueCondition, _without_values(condition.condition)))
        case Present() | Mistyped() | RelatedCondition():
            return condition


def condition_values(condition: Condition) -> tuple[object, ...]:
    """Return the values that a condition binds."""
    match condition:
        case Comparison(value=value):
            return (value_text(value) if condition.type in SENT_AS_TEXT else value,)
        case StartsWith(prefix=prefix):
            after = after_prefix(prefix)
            return (prefix,) if after is None else (prefix, after)
        case Like():
            return (condition.pattern,)
        case HasKey():
            return (condition.key,)
        case AnyValue():
            return condition_values(condition.condition)
        case Present() | Mistyped() | RelatedCondition():
            return ()


def bound_type(condition: Condition) -> TypeEngine[Any]:
    if isinstance(condition, AnyValue):
        return bound_type(condition.condition)
    if isinstance(condition, Comparison) and condition.type not in SENT_AS_TEXT:
        return TYPES[condition.type]
    return TYPES[FieldType.TEXT]


def after_prefix(prefix: str) -> str | None:
    """Return the first text, in code point order, after all texts that start with the prefix; None if there is none."""
    head = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not head:
        return None
    following = ord(head[-1]) + 1
    return head[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
