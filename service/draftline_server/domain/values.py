"""The decorator for immutable value classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[T]) -> type[T]:
    """Return the class as a dataclass that only the type checker treats as frozen.

    It is not frozen at run time, because constructing a frozen dataclass takes many times as long: every call makes a
    dozen values, a page of a list a thousand.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
