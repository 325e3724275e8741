"""Enums of the client: their words are taken, told, and listed where something else is given."""

from __future__ import annotations

from enum import Enum
from typing import Any

import draftline
import pytest
from draftline.choices import Choice

CHOICES = [each for each in vars(draftline).values() if isinstance(each, type) and issubclass(each, Choice)]


def test_every_enum_is_a_choice() -> None:
    enums = [each for each in vars(draftline).values() if isinstance(each, type) and issubclass(each, Enum)]
    assert {each.__name__ for each in enums} - {each.__name__ for each in CHOICES} == {"Unset"}
    assert len(CHOICES) >= 10


@pytest.mark.parametrize("choice", CHOICES, ids=lambda each: each.__name__)
def test_choice_is_its_word(choice: Any) -> None:
    for each in choice:
        assert (each, f"{each}", str(each), choice(each.value)) == (each.value, each.value, each.value, each)


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ({"strategy": "depe"}, "'depe' is no MergeStrategy; there are 'shallow', 'deep', 'merge_patch', 'replace'"),
        ({"strategy": 3}, "3 is no MergeStrategy; there are 'shallow', 'deep', 'merge_patch', 'replace'"),
    ],
)
def test_what_is_none_of_them_is_refused_with_what_there_is(refused: dict[str, Any], told: str) -> None:
    with draftline.Client("127.0.0.1:1", tenant_id="acme") as client, pytest.raises(ValueError, match=told):
        client.patch_content("movies", "m-1", {}, **refused)
