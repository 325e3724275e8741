"""Credentials of requests: bearer, basic, OAuth client credentials, and signatures of Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus, urlencode

import msgspec
from draftline.upstreams import Secret, UnauthorizedError, UnreachableError

from .definitions import Auth, Basic, Bearer, OAuth
from .endpoints_file import ConfiguredEndpoint
from .http_client import Authenticator, HttpClient, ResponseLostError

WEBHOOK_PREFIX = "whsec_"
EARLY_S = 30.0  # a token is renewed so long before it expires
DEFAULT_LIFETIME_S = 300.0  # of a token whose response gives none (RFC 6749, section 5.1)


class NoAuth:
    """No credentials."""

    async def headers(self, message_id: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return no headers."""
        return {}

    def expire(self) -> bool:
        """Return False."""
        return False

    def secrets(self) -> list[str]:
        """Return no secrets."""
        return []


class FixedAuth(NoAuth):
    """The same `authorization` for every request."""

    def __init__(self, scheme: str, credentials: str, secret: Secret) -> None:
        self._scheme = scheme
        self._credentials = Secret(credentials)
        self._secret = secret

    async def headers(self, message_id: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return the header."""
        return {"authorization": f"{self._scheme} {self._credentials.reveal()}"}

    def secrets(self) -> list[str]:
        """Return the secret, and its encoded form."""
        return [self._credentials.reveal(), self._secret.reveal()]


class SignatureAuth(NoAuth):
    """Signs the body (Standard Webhooks, https://www.standardwebhooks.com)."""

    def __init__(self, secret: Secret, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._key = webhook_key(secret.reveal())
        self._clock = clock

    async def headers(self, message_id: str, body: bytes) -> Mapping[str, str]:
        """Return the id, the time and the signature of the request."""
        timestamp = int(self._clock())
        signed = f"{message_id}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{signature}",
        }

    def secrets(self) -> list[str]:
        """Return the secret."""
        return [self._secret.reveal(), self._secret.reveal().removeprefix(WEBHOOK_PREFIX)]


def webhook_key(secret: str) -> bytes:
    """Return the bytes of the key. Raise ValueError if what follows `whsec_` is not base64."""
    if not secret.startswith(WEBHOOK_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("the secret after whsec_ is not base64") from None


class _TokenResponse(msgspec.Struct):
    access_token: str
    expires_in: float = DEFAULT_LIFETIME_S


class OAuthAuth:
    """A token of the client credentials grant, shared by all requests until it expires."""

    def __init__(self, definition: OAuth, secret: Secret, client: HttpClient) -> None:
        self._definition = definition
        self._secret = secret
        self._client = client
        self._token: Secret | None = None
        self._valid_until = 0.0
        self._fetching = asyncio.Lock()

    async def headers(self, message_id: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return the header with a valid token. Raises UpstreamError if there is none."""
        async with self._fetching:
            if self._token is None or time.monotonic() >= self._valid_until:
                self._token = await self._fetch()
            return {"authorization": f"Bearer {self._token.reveal()}"}

    def expire(self) -> bool:
        """Drop the token. Return whether there was one."""
        had_token, self._token = self._token is not None, None
        return had_token

    def secrets(self) -> list[str]:
        """Return the client's secret and the token."""
        return [self._secret.reveal(), *([self._token.reveal()] if self._token else [])]

    async def _fetch(self) -> Secret:
        definition = self._definition
        form = {"grant_type": "client_credentials", "scope": definition.scope, "audience": definition.audience}
        # RFC 6749, section 2.3.1: both are form-encoded before they are encoded as for Basic.
        login = f"{quote_plus(definition.client_id)}:{quote_plus(self._secret.reveal())}"
        headers = {
            "authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        body = urlencode({name: value for name, value in form.items() if value}).encode()
        try:
            response = await self._client.request("POST", definition.token_url, headers, body)
        except ResponseLostError as error:
            raise UnreachableError(f"no token: {error}") from None
        if response.status >= 500 or response.status == 429:
            raise UnreachableError(f"no token: status {response.status}")
        if response.status != 200:
            raise UnauthorizedError(f"the token server responded with status {response.status}")
        try:
            token = msgspec.json.decode(response.body, type=_TokenResponse)
        except msgspec.DecodeError:
            raise UnreachableError("no token: the response is not as RFC 6749 requires") from None
        self._valid_until = time.monotonic() + max(token.expires_in - EARLY_S, token.expires_in / 2)
        return Secret(token.access_token)


def authenticator(definition: Auth | None, endpoint: ConfiguredEndpoint, client: HttpClient) -> Authenticator:
    """Return the authenticator that a definition asks for. Raise ValueError if its secret has the wrong form."""
    if definition is None:
        return NoAuth()
    secret = endpoint.secrets[definition.secret_file]
    if isinstance(definition, OAuth):
        return OAuthAuth(definition, secret, client)
    if isinstance(definition, Bearer):
        return FixedAuth("Bearer", secret.reveal(), secret)
    if isinstance(definition, Basic):
        login = base64.b64encode(f"{definition.user}:{secret.reveal()}".encode()).decode()
        return FixedAuth("Basic", login, secret)
    return SignatureAuth(secret)
