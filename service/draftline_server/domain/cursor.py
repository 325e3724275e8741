"""Page tokens: opaque, tamper-evident, and good for the query alone that they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence

from .errors import InvalidFieldError

_MAC_BYTES = 16
Position = Sequence[str | int | bool | None]


class Cursors:
    """Seals and opens tokens with a secret that all servers of a database share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, query: Sequence[object], position: Position) -> str:
        """A token for the place `position` in the answers of `query`."""
        payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return _encoded(self._mac(query, payload) + payload)

    def open(self, query: Sequence[object], token: str, field: str = "page_token") -> Position:
        """The place that a token tells. InvalidFieldError of the field unless it was sealed for this very query."""
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        mac, payload = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        # The form is compared too: other texts decode to the same bytes.
        if _encoded(sealed) != token or not hmac.compare_digest(mac, self._mac(query, payload)):
            raise InvalidFieldError.of(
                field, "is no token of this very query: send the other arguments as they were, or start anew"
            )
        position: Position = json.loads(payload)
        return position

    def _mac(self, query: Sequence[object], payload: bytes) -> bytes:
        bound = json.dumps(query, separators=(",", ":")).encode()
        return hmac.digest(self._secret, len(bound).to_bytes(8, "big") + bound + payload, hashlib.sha256)[:_MAC_BYTES]


def _encoded(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")
