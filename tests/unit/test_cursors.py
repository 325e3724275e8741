"""Page tokens: good for their query alone, and nothing can be read from them."""

from __future__ import annotations

import base64
import json

import pytest
from draftline_server.domain.errors import InvalidFieldError
from draftline_server.store.page_tokens import PageTokens

QUERY = ["acme", "films", "a = 1"]
PLACE = [123_456_789, "m-1", None, True]
CURSORS = PageTokens(b"secret")


def test_token_tells_its_place_to_who_sealed_it() -> None:
    token = CURSORS.seal(QUERY, PLACE)
    assert CURSORS.open(QUERY, token) == PLACE
    assert CURSORS.seal(QUERY, PLACE) == token
    assert PageTokens(b"secret").open(QUERY, token) == PLACE


@pytest.mark.parametrize("place", [[123_456_789], [987_654_321, "umbrella"], ["a" * 500]])
def test_place_cannot_be_read_from_a_token(place: list[str | int]) -> None:
    token = CURSORS.seal(QUERY, place)
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for part in place:
        assert json.dumps(part).strip('"').encode()[:9] not in sealed


@pytest.mark.parametrize(
    ("query", "secret"), [(["acme", "films"], b"secret"), (["umbrella", *QUERY[1:]], b"secret"), (QUERY, b"other")]
)
def test_token_of_another_query_or_service_is_refused(query: list[str], secret: bytes) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        PageTokens(secret).open(query, CURSORS.seal(QUERY, PLACE), "resume_token")
    assert refused.value.fields[0][0] == "resume_token"


@pytest.mark.parametrize("token", ["", "A", "AAAA", "A" * 22, "=", "é", "\0", "\ud800", "A" * 65_536])
def test_text_that_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidFieldError):
        CURSORS.open(QUERY, token)


def test_token_in_another_form_is_refused() -> None:
    token = CURSORS.seal(QUERY, PLACE)
    for other in (token + "=", token + "\n", " " + token, token[:-1]):
        with pytest.raises(InvalidFieldError):
            CURSORS.open(QUERY, other)
