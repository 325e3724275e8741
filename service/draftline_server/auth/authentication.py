"""Authentication of calls by their metadata."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import structlog

from ..domain.errors import InvalidFieldError, UnauthenticatedError
from .identity import MAX_USER, Identity, is_user
from .keys import SERVICE_KEY, Keys
from .limited_log import LimitedLog
from .tokens import RejectedTokenError, TokenRules, authenticate_jwt

USER_KEY = "x-draftline-user"
DEFAULT_USER = "dev"

TOKEN_KEY = "authorization"
SCHEME = "bearer "
MAX_TOKEN_BYTES = 8192
MAX_REMEMBERED = 10_000  # identities

Metadata = Iterable[tuple[str, str | bytes]]


class Authenticator(Protocol):
    """Identifies callers by the metadata of their calls."""

    failure_count: int  # unauthenticated calls so far

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identify(self, metadata: Metadata | None) -> Identity: ...


class NoAuthentication:
    """Accepts the user named in the metadata without verification, for development on one machine."""

    failure_count = 0

    async def start(self) -> None:
        structlog.get_logger().warning(
            "no_authentication", reason="the user is taken from the metadata x-draftline-user without verification"
        )

    async def close(self) -> None:
        pass

    async def identify(self, metadata: Metadata | None) -> Identity:
        users = [value for key, value in metadata or () if key == USER_KEY]
        if len(users) > 1:
            raise InvalidFieldError.of(USER_KEY, "must be sent at most once")
        user = users[0] if users else DEFAULT_USER
        if not is_user(user):
            raise InvalidFieldError.of(USER_KEY, f"must be 1 to {MAX_USER} printable characters")
        return Identity(user)


class TokenAuthentication:
    """Authenticates callers by `authorization: Bearer` with a token or a service key.

    Callers get the same error for every failure except an expired token; the log has the reason.
    """

    def __init__(self, keys: Keys, rules: TokenRules) -> None:
        self._keys = keys
        self._rules = rules
        # By hash, so that no token is stored. Verifying a token costs many times as much as a lookup.
        self._remembered: OrderedDict[bytes, Identity] = OrderedDict()
        self._version = 0
        self._lines = LimitedLog("authentication_failed")
        self.failure_count = 0  # unauthenticated calls so far

    async def start(self) -> None:
        await self._keys.start()

    async def close(self) -> None:
        await self._keys.close()

    async def identify(self, metadata: Metadata | None) -> Identity:
        try:
            token = _token(metadata)
            digest = hashlib.sha256(token.encode()).digest()
            identity = self._recall(digest)
            if identity is None:
                identity = await self._verified(token)
                self._remember(digest, identity)
        except RejectedTokenError as error:
            self.failure_count += 1
            self._lines.info(str(error))
            if error.expired:
                raise UnauthenticatedError("the token has expired", expired="true") from None
            raise UnauthenticatedError("the call carries no valid token") from None
        return identity

    async def _verified(self, token: str) -> Identity:
        if SERVICE_KEY.fullmatch(token):
            service = self._keys.service(token)
            if service is None:
                raise RejectedTokenError("unknown service key")
            return Identity(service.user_id, service.grants)
        return await authenticate_jwt(token, self._keys, self._rules)

    def _recall(self, digest: bytes) -> Identity | None:
        if self._version != self._keys.version:
            self._version = self._keys.version
            self._remembered.clear()
        identity = self._remembered.get(digest)
        if identity is None:
            return None
        if identity.expires_at <= time.time():
            raise RejectedTokenError("expired", expired=True)
        self._remembered.move_to_end(digest)
        return identity

    def _remember(self, digest: bytes, identity: Identity) -> None:
        if self._version == self._keys.version:  # otherwise it was verified with keys that may be revoked
            self._remembered[digest] = identity
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)


def _token(metadata: Metadata | None) -> str:
    sent = [value for key, value in metadata or () if key == TOKEN_KEY]
    if len(sent) != 1:
        raise RejectedTokenError(f"{len(sent)} authorization headers")
    (value,) = sent
    if not isinstance(value, str) or value[: len(SCHEME)].lower() != SCHEME or not value.isascii():
        raise RejectedTokenError("not a bearer token")
    token = value[len(SCHEME) :]
    if not 0 < len(token) <= MAX_TOKEN_BYTES:
        raise RejectedTokenError(f"{len(token)} bytes")
    return token
