"""JSON Web Tokens (RFC 7519), verified by the best practices of RFC 8725."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from .identity import Identity, is_user, parse_grants
from .keys import SECRET_ALGORITHM, SERVICE_USER, Keys, secret_key

REQUIRED = ["exp", "iat", "iss", "aud", "sub"]


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The required claims of a token, and the names of the claims for user, tenants and permissions."""

    issuer: str
    audience: str
    max_lifetime_s: float = 3600.0
    leeway_s: float = 30.0
    user_claim: str = "sub"
    tenants_claim: str = "organization_ids"
    permissions_claim: str = "scope"


class RejectedTokenError(Exception):
    """A token was rejected. The message is for the log: it gives the reason but nothing of what was sent."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired


async def authenticate_jwt(token: str, keys: Keys, rules: TokenRules) -> Identity:
    """Return the identity that a token proves. Raise RejectedTokenError if it is not valid."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise RejectedTokenError(f"header: {type(error).__name__}") from None
    if "crit" in header:
        raise RejectedTokenError("header: crit is not supported")
    # `jku`, `jwk`, `x5u` and the like are ignored: a token must not choose the key that verifies it.
    key_id, algorithm = header.get("kid", ""), header.get("alg")
    if not isinstance(key_id, str) or not isinstance(algorithm, str):
        raise RejectedTokenError("header: kid or alg is not a string")
    key = await keys.signing(key_id, algorithm)
    if key is None:
        raise RejectedTokenError("unknown signing key")
    return _identity(_claims(token, key, rules), rules)


def _claims(token: str, key: jwt.PyJWK, rules: TokenRules) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=rules.audience,
            issuer=rules.issuer,
            leeway=rules.leeway_s,
            options={
                "require": REQUIRED,
                "verify_signature": True,
                "verify_exp": True,
                "verify_iat": True,
                "verify_nbf": True,
                "verify_iss": True,
                "verify_aud": True,
                "verify_sub": True,
                "verify_jti": True,
                "strict_aud": False,  # one matching audience is enough
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.ExpiredSignatureError:
        raise RejectedTokenError("expired", expired=True) from None
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
        claim = f" {error.claim}" if isinstance(error, jwt.MissingRequiredClaimError) else ""
        raise RejectedTokenError(f"{type(error).__name__}{claim}") from None


def _identity(claims: dict[str, Any], rules: TokenRules) -> Identity:
    issued_at, expires_at = claims["iat"], claims["exp"]
    if not all(type(claim) in (int, float) for claim in (issued_at, expires_at)):
        raise RejectedTokenError("iat or exp is not a number")
    if expires_at - issued_at > rules.max_lifetime_s:
        raise RejectedTokenError(f"lifetime exceeds {rules.max_lifetime_s:g} s")
    user_id = claims.get(rules.user_claim)
    if not is_user(user_id) or user_id.startswith(SERVICE_USER):
        raise RejectedTokenError(f"{rules.user_claim} is not a valid user id")
    try:
        grants = parse_grants(claims.get(rules.tenants_claim), claims.get(rules.permissions_claim))
    except ValueError as error:
        raise RejectedTokenError(f"{rules.tenants_claim} or {rules.permissions_claim} {error}") from None
    return Identity(user_id, grants, expires_at + rules.leeway_s)


def development_token(
    secret: bytes, rules: TokenRules, *, user: str, tenants: Sequence[str], scopes: Sequence[str], lifetime_s: int
) -> str:
    """Return a token for development, signed with the shared secret. Raise ValueError if it would be rejected."""
    if not 0 < lifetime_s <= rules.max_lifetime_s:
        raise ValueError(f"the lifetime of a token must be from 1 to {rules.max_lifetime_s:g} s")
    now = int(time.time())
    claims = {
        "iss": rules.issuer,
        "aud": rules.audience,
        "sub": user,
        "iat": now,
        "exp": now + lifetime_s,
        rules.user_claim: user,
        rules.tenants_claim: list(tenants),
        rules.permissions_claim: " ".join(scopes),
    }
    try:
        _identity(claims, rules)
    except RejectedTokenError as error:
        raise ValueError(str(error)) from None
    return jwt.encode(claims, secret_key(secret), algorithm=SECRET_ALGORITHM)
