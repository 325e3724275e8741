"""Issue valid and invalid tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from draftline_server.auth.keys import KeyOptions, Keys
from draftline_server.auth.tokens import RejectedTokenError, TokenRules, authenticate_jwt
from jwt.algorithms import get_default_algorithms

RULES = TokenRules(issuer="https://issuer.example", audience="draftline")
SCOPES = (
    "content:read content:write content:purge draft:write change:read collection:admin sync:read sync:write sync:admin"
)
SECRET = b"a secret of more than 32 bytes, to sign with"


@dataclass(frozen=True)
class In:
    """A time, in seconds after a token is signed."""

    seconds: float

    def at(self, now: int) -> float:
        return now + self.seconds


@dataclass(frozen=True)
class Issuer:
    """Signs tokens with one key and names its id."""

    key_id: str
    algorithm: str
    key: Any

    @classmethod
    def of(cls, key_id: str = "first", algorithm: str = "RS256", size: int = 2048) -> Issuer:
        return cls(key_id, algorithm, private_key(key_id, algorithm, size))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a token that is valid for a minute; None removes a claim."""
        now = int(time.time())
        claims = {
            "iss": RULES.issuer,
            "aud": RULES.audience,
            "sub": "ada",
            "iat": In(0),
            "exp": In(3000),
            "organization_ids": ["acme"],
            "scope": SCOPES,
            **changes,
        }
        told = {name: value.at(now) if isinstance(value, In) else value for name, value in claims.items()}
        return {name: value for name, value in told.items() if value is not None}

    def token(self, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        return signed(self.claims(**changes), self.key, self.algorithm, {"kid": self.key_id, **(headers or {})})

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public key as a JWK; None removes a member."""
        public = get_default_algorithms()[self.algorithm].to_jwk(self.key.public_key(), as_dict=True)
        whole = {**public, "kid": self.key_id, "alg": self.algorithm, "use": "sig", "key_ops": ["verify"], **changes}
        return {name: value for name, value in whole.items() if value is not None}


def signed(claims: dict[str, Any], key: Any, algorithm: str, headers: dict[str, Any] | None = None) -> str:
    """Sign any claims, also those that jwt.encode rejects."""
    return jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm, headers)


@cache
def private_key(key_id: str, algorithm: str, size: int) -> Any:
    """Return the cached key of an id; RSA keys are slow to generate."""
    if algorithm.startswith("ES"):
        return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, size)


def key_set(*issuers: Issuer | dict[str, Any]) -> bytes:
    return json.dumps({"keys": [each.jwk() if isinstance(each, Issuer) else each for each in issuers]}).encode()


def secret_token(secret: bytes = SECRET, **changes: Any) -> str:
    """Return a token signed with a shared secret."""
    return signed(Issuer("", "", None).claims(**changes), secret, "HS256")


def key_file(folder: Path, *issuers: Issuer | dict[str, Any]) -> Path:
    path = folder / "jwks.json"
    path.write_bytes(key_set(*issuers))
    return path


async def keys_of(
    folder: Path, *issuers: Issuer | dict[str, Any], secret: bytes | None = None, entries: Sequence[str] = ()
) -> Keys:
    """Started; to be closed."""
    if secret is not None:
        (folder / "secret").write_bytes(secret)
    if entries:
        (folder / "keys.json").write_text(f'{{"keys": [{", ".join(entries)}]}}')
    options = KeyOptions(
        str(key_file(folder, *issuers)) if issuers else "",
        folder / "secret" if secret is not None else None,
        folder / "keys.json" if entries else None,
    )
    keys = Keys(options)
    await keys.start()
    return keys


async def is_taken(token: str, keys: Keys) -> bool:
    try:
        await authenticate_jwt(token, keys, RULES)
    except RejectedTokenError:
        return False
    return True
