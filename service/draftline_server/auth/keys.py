"""The keys that verify callers: token signing keys and hashed service keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from jwt.utils import base64url_encode

from .hot_reload import ReloadingValue
from .identity import EveryTenant, Grants, parse_grants
from .permissions import Permission

SECRET_ALGORITHM = "HS256"
PUBLIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
MIN_SECRET_BYTES = 32

SERVICE_KEY = re.compile(r"draftline_[A-Za-z0-9_-]{43}")  # 256 random bits
SERVICE_USER = "service:"

FILE_INTERVAL_S = 1.0
URL_INTERVAL_S = 300.0
REFRESH_PAUSE_S = 10.0  # minimum time between two reloads caused by unknown keys

T = TypeVar("T")
PublicKeys = Mapping[tuple[str, str], jwt.PyJWK]  # by kid and algorithm


@dataclass(frozen=True, slots=True)
class ServiceKey:
    user_id: str
    digest: str
    grants: Grants


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """The sources of keys. `jwks` is a path or a URL. At least one source must be given."""

    jwks: str = ""
    secret: Path | None = None
    service_keys: Path | None = None


class Keys:
    """The signing keys and service keys, as last loaded."""

    def __init__(self, options: KeyOptions) -> None:
        self._public: ReloadingValue[bytes, PublicKeys] | None = None
        self._secret: ReloadingValue[bytes, jwt.PyJWK] | None = None
        self._services: ReloadingValue[bytes, Sequence[ServiceKey]] | None = None
        self._is_remote = "://" in options.jwks
        if self._is_remote:
            from .http_fetch import check_url, fetch  # noqa: PLC0415  the library is slow to load

            check_url(options.jwks)
            self._public = ReloadingValue("the JWK set", partial(fetch, options.jwks), public_keys, URL_INTERVAL_S)
        elif options.jwks:
            self._public = _reloading_file("the JWK set", Path(options.jwks), public_keys)
        if options.secret is not None:
            self._secret = _reloading_file("the shared secret", options.secret, secret_key)
        if options.service_keys is not None:
            self._services = _reloading_file("the service keys", options.service_keys, service_keys)
        self._sources = [source for source in (self._public, self._secret, self._services) if source is not None]

    async def start(self) -> None:
        """Load the keys and keep them up to date. Raise ValueError if a file cannot be used.

        A URL may be unreachable: its keys are unknown until it answers.
        """
        for source in self._sources:
            await source.start(required=source is not self._public or not self._is_remote)

    async def close(self) -> None:
        for source in self._sources:
            await source.close()

    @property
    def version(self) -> int:
        """A number that changes whenever any key source changes."""
        return sum(source.version for source in self._sources)

    async def signing(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key that a token claims to be signed with; None if there is none.

        An unknown key may be new, so the JWK set is reloaded if it was not read recently.
        """
        if algorithm == SECRET_ALGORITHM:
            return self._secret.value if self._secret is not None else None
        if self._public is None or algorithm not in PUBLIC_ALGORITHMS:
            return None
        if (key_id, algorithm) not in (self._public.value or {}):
            await self._public.refresh(REFRESH_PAUSE_S)
        return (self._public.value or {}).get((key_id, algorithm))

    def service(self, key: str) -> ServiceKey | None:
        """Return the service that a key belongs to, or None. Compares with all keys, in constant time."""
        digest = digest_of(key)
        known = (self._services.value if self._services is not None else None) or ()
        matching = [service for service in known if hmac.compare_digest(service.digest, digest)]
        return matching[0] if matching else None


def _reloading_file(name: str, path: Path, parse: Callable[[bytes], T]) -> ReloadingValue[bytes, T]:
    return ReloadingValue(name, partial(asyncio.to_thread, path.read_bytes), parse, FILE_INTERVAL_S)


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def public_keys(text: bytes) -> PublicKeys:
    """Return the keys of a JWK set (RFC 7517) that can verify a signature. Raise ValueError if there are none.

    Each key is used for one algorithm only: its `alg`, else the default of its key type. Secret and private keys are
    ignored.
    """
    jwks = _decoded(text, _KeySet).keys
    keys = {(jwk["kid"], key.algorithm_name): key for jwk in jwks if (key := _public_key(jwk)) is not None}
    if not keys:
        raise ValueError("contains no public key with a kid that can verify a signature")
    return keys


def _public_key(jwk: dict[str, Any]) -> jwt.PyJWK | None:
    if not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    try:
        if "verify" not in jwk.get("key_ops", ["verify"]):
            return None
        key = jwt.PyJWK(jwk)
        is_too_short = key.Algorithm.check_key_length(key.key)
    except Exception:  # errors of many types; the other keys of the set remain usable
        return None
    return key if key.algorithm_name in PUBLIC_ALGORITHMS and not is_too_short else None


def secret_key(text: bytes) -> jwt.PyJWK:
    """Return the key of a shared secret: the UTF-8 bytes of a text without surrounding white space.

    Raises ValueError if the text is not UTF-8, is too short or is a public key. Random bytes are rejected, because a
    trailing byte that happens to be white space would be stripped.
    """
    try:
        secret = text.decode().strip().encode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; create a secret with `openssl rand -base64 48`") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"has {len(secret)} bytes; a secret needs at least {MIN_SECRET_BYTES}")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except jwt.InvalidKeyError:  # a public key is not a secret
        raise ValueError("is a public key or a certificate, not a secret") from None
    return jwt.PyJWK({"kty": "oct", "k": base64url_encode(secret).decode()}, SECRET_ALGORITHM)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    tenants: list[str] | dict[str, list[Permission]] = []
    scopes: list[Permission] = []
    all_tenants: bool = False  # instead of `tenants`: every tenant, those of the future included

    def __post_init__(self) -> None:
        if self.all_tenants and self.tenants:
            raise ValueError("a key has either tenants or all_tenants")

    def grants(self) -> Grants:
        return EveryTenant(frozenset(self.scopes)) if self.all_tenants else parse_grants(self.tenants, self.scopes)


class _Entries(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[_Entry]


def service_keys(text: bytes) -> Sequence[ServiceKey]:
    """Return the keys in a file of the form `{"keys": [...]}`, whose entries `new_service_key` makes.

    Raises ValueError if the file does not have this form.
    """
    return [
        ServiceKey(SERVICE_USER + entry.name, entry.sha256, entry.grants()) for entry in _decoded(text, _Entries).keys
    ]


def new_service_key(
    name: str, tenants: Sequence[str], scopes: Sequence[str], *, all_tenants: bool = False
) -> tuple[str, str]:
    """Return a new key and its entry for the key file, which holds only the key's hash.

    With `all_tenants`, the key is for every tenant, and `tenants` must be empty. Raises ValueError if an argument is
    invalid.
    """
    key = f"draftline_{secrets.token_urlsafe(32)}"
    where: dict[str, object] = {"all_tenants": True} if all_tenants else {}
    entry = {"name": name, "sha256": digest_of(key), "tenants": list(tenants), **where, "scopes": list(scopes)}
    service_keys(json.dumps({"keys": [entry]}).encode())
    return key, json.dumps(entry)


def _decoded(text: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=form)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None  # the message has the path, and of the values at most a scope
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("is not valid JSON") from None


def digest_of(key: str) -> str:
    """Return the hash of a key. A fast hash is sufficient, because 256 random bits cannot be guessed."""
    return hashlib.sha256(key.encode()).hexdigest()
