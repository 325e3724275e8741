"""Enums whose values are plain strings."""

from __future__ import annotations

from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Any, TypeVar

EnumT = TypeVar("EnumT", bound="StrEnum")


class StrEnum(str, Enum):
    """An enum of strings. An unknown value raises a ValueError that lists the valid ones."""

    def __str__(self) -> str:
        """Return the plain string; the default of `Enum` differs between Python versions."""
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> StrEnum:
        values = [str(each.value) for each in cls]
        similar = get_close_matches(str(value).lower().replace("-", "_"), values, n=1)
        suggestion = f"; did you mean {similar[0]!r}?" if similar else ""
        raise ValueError(f"{value!r} is not a {cls.__name__}; use one of {', '.join(map(repr, values))}{suggestion}")


def member_of(choice: type[EnumT], enum: Any, number: int) -> EnumT:
    """Return the member for a number of the contract's enum.

    A newer service may send a number that this client does not know, such as 7: the result is
    then "unknown_7", which equals itself but no other member.
    """
    known: dict[int, EnumT] = _members(choice, enum.DESCRIPTOR)
    return known[number] if number in known else _unknown(choice, number)


@cache
def _members(choice: Any, descriptor: Any) -> dict[int, Any]:
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = {number: each.name.removeprefix(prefix) for number, each in descriptor.values_by_number.items()}
    return {number: choice[name] for number, name in names.items() if name in choice.__members__}


def _unknown(choice: type[EnumT], number: int) -> EnumT:
    word = str.__new__(choice, f"unknown_{number}")
    word._name_, word._value_ = f"UNKNOWN_{number}", f"unknown_{number}"
    return word
