"""Page tokens: sealed, so that they are good for the query alone that they came from, and tell nobody anything.

What they hold is not for callers: the places of the log count the writes of all tenants.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ..domain.errors import InvalidFieldError

Position = Sequence[str | int | bool | None]


class PageTokens:
    """Seals and opens tokens with a secret that all servers of a database share.

    The cipher needs no nonce (RFC 5297): the same place of the same query has the same token.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(hashlib.sha512(secret).digest())

    def seal(self, query: Sequence[object], position: Position) -> str:
        """A token for the place `position` in the answers of `query`."""
        payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return _encoded(self._cipher.encrypt(payload, [_bound(query)]))

    def open(self, query: Sequence[object], token: str, field: str = "page_token") -> Position:
        """The place that a token tells. InvalidFieldError of the field unless it was sealed for this very query."""
        try:
            position: Position = json.loads(self._cipher.decrypt(_decoded(token), [_bound(query)]))
        except (ValueError, InvalidTag):
            raise InvalidFieldError.of(
                field, "is no token of this very query: send the other arguments as they were, or start anew"
            ) from None
        return position


def _bound(query: Sequence[object]) -> bytes:
    return json.dumps(query, separators=(",", ":")).encode()


def _encoded(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _decoded(token: str) -> bytes:
    """ValueError for what is not written as `_encoded` does: other texts decode to the same bytes."""
    sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    if _encoded(sealed) != token:
        raise ValueError("another form of the token")
    return sealed
