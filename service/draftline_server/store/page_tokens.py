"""Page tokens, encrypted so that they are valid only for the query that they came from and reveal nothing.

Their contents are hidden from callers because positions in the log count the writes of all tenants.
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

    The cipher needs no nonce (RFC 5297): the same position of the same query has the same token.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(hashlib.sha512(secret).digest())

    def seal(self, query: Sequence[object], position: Position) -> str:
        """Return a token for `position` in the results of `query`."""
        payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return _encoded(self._cipher.encrypt(payload, [_bound(query)]))

    def open(self, query: Sequence[object], token: str, field: str = "page_token") -> Position:
        """Return the position in a token. Raise InvalidFieldError for `field` unless it was sealed for this query."""
        try:
            position: Position = json.loads(self._cipher.decrypt(_decoded(token), [_bound(query)]))
        except (ValueError, InvalidTag):
            raise InvalidFieldError.of(
                field, "does not match this request; repeat the original arguments, or omit the token"
            ) from None
        return position


def _bound(query: Sequence[object]) -> bytes:
    return json.dumps(query, separators=(",", ":")).encode()


def _encoded(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _decoded(token: str) -> bytes:
    """Decode a token; raise ValueError unless it is what `_encoded` returns, because other texts decode alike."""
    sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    if _encoded(sealed) != token:
        raise ValueError("unknown token format")
    return sealed
