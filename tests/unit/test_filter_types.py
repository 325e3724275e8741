"""Filters are checked against the types of attributes."""

from __future__ import annotations

import pytest
from draftline_server.domain.filters.ast import MERGED_ATTRIBUTES, FieldType, FilterError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.filters.type_resolution import with_types


@pytest.mark.parametrize(
    "text", ["record.state = FOO", "record.state != draft", "a = 1 AND record.state:RECORD_STATE_DRAFT"]
)
def test_unknown_state_is_refused_with_those_there_are(text: str) -> None:
    parsed = parse_filter(text)
    assert parsed is not None
    with pytest.raises(FilterError, match="PRISTINE, DRAFT") as caught:
        with_types(parsed, {}, MERGED_ATTRIBUTES)
    assert text[caught.value.position :] in ("FOO", "draft", "RECORD_STATE_DRAFT")


@pytest.mark.parametrize("text", ["record.state = DRAFT", "record.state:*", "record.state = null"])
def test_known_state_is_taken(text: str) -> None:
    parsed = parse_filter(text)
    assert parsed is not None
    with_types(parsed, {}, MERGED_ATTRIBUTES)


@pytest.mark.parametrize("text", ["n = 1e5000", "n < -1e5000", "a.n:1e-5000", "r = 1 AND content.n != 1e5000"])
def test_unreadable_number_for_an_undeclared_field_is_refused_without_a_claim_about_the_field(text: str) -> None:
    parsed = parse_filter(text)
    assert parsed is not None
    with pytest.raises(FilterError, match=r"^the number cannot be read: expected a number such as ") as caught:
        with_types(parsed, {}, MERGED_ATTRIBUTES)
    assert "1e" in text[caught.value.position :]
    with pytest.raises(FilterError, match=r"^the field is a NUMBER: expected a number such as "):
        with_types(parsed, {("n",): FieldType.NUMBER, ("a", "n"): FieldType.NUMBER}, MERGED_ATTRIBUTES)
