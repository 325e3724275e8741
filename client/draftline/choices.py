"""Enums whose values are plain strings."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any, TypeVar

ChoiceT = TypeVar("ChoiceT", bound="Choice")


class Choice(str, Enum):
    """One of a few words. What is none of them is refused by a ValueError that tells them all."""

    def __str__(self) -> str:
        """The word: what Python itself makes of it differs from version to version."""
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> Choice:
        allowed = ", ".join(repr(each.value) for each in cls)
        raise ValueError(f"{value!r} is no {cls.__name__}; there are {allowed}")


def received(choice: type[ChoiceT], enum: Any, number: int) -> ChoiceT:
    """The word for a number of the contract's enum.

    A newer service may send a number that this client does not know, 7 say: that is the word
    "unknown_7", equal to itself and to no other.
    """
    known: dict[int, ChoiceT] = _words(choice, enum.DESCRIPTOR)
    return known[number] if number in known else _unknown(choice, number)


@cache
def _words(choice: Any, descriptor: Any) -> dict[int, Any]:
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = {number: each.name.removeprefix(prefix) for number, each in descriptor.values_by_number.items()}
    return {number: choice[name] for number, name in names.items() if name in choice.__members__}


def _unknown(choice: type[ChoiceT], number: int) -> ChoiceT:
    word = str.__new__(choice, f"unknown_{number}")
    word._name_, word._value_ = f"UNKNOWN_{number}", f"unknown_{number}"
    return word
