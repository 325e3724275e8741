"""Enums whose values are plain strings."""

from __future__ import annotations

from enum import Enum


class Choice(str, Enum):
    """One of a few words. What is none of them is refused by a ValueError that tells them all."""

    def __str__(self) -> str:
        """The word: what Python itself makes of it differs from version to version."""
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> Choice:
        allowed = ", ".join(repr(each.value) for each in cls)
        raise ValueError(f"{value!r} is no {cls.__name__}; there are {allowed}")
