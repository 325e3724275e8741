"""Values that are made once and not changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[T]) -> type[T]:
    """A dataclass that nothing assigns to, as the type checker sees to.

    Python does not: making a value that it keeps frozen itself takes it many times as long, and every call makes a
    dozen values, a page of a list a thousand.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
