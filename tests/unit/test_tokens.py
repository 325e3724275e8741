"""Valid tokens are accepted, and all others are rejected."""

from __future__ import annotations

import base64
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from draftline_server.auth.identity import Identity
from draftline_server.auth.keys import KeyOptions, Keys
from draftline_server.auth.permissions import Permission
from draftline_server.auth.tokens import RejectedTokenError, authenticate_jwt, development_token
from hypothesis import given
from hypothesis import strategies as st
from support.tokens import RULES, SCOPES, SECRET, In, Issuer, keys_of, secret_token

ISSUER = Issuer.of()
STRANGER = Issuer.of("stranger")
GRANTED = frozenset(map(Permission, SCOPES.split()))


@pytest.fixture(scope="module")
async def keys(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keys]:
    issuers = [Issuer.of(algorithm, algorithm) for algorithm in ("PS256", "ES256", "ES384", "EdDSA")]
    made = await keys_of(tmp_path_factory.mktemp("keys"), ISSUER, *issuers, secret=SECRET)
    yield made
    await made.close()


async def refusal(token: str, keys: Keys) -> RejectedTokenError:
    with pytest.raises(RejectedTokenError) as caught:
        await authenticate_jwt(token, keys, RULES)
    return caught.value


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (header, claims))
    return ".".join([*parts, signature])


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "ES384", "EdDSA"])
async def test_token_tells_user_tenants_and_permissions(keys: Keys, algorithm: str) -> None:
    exp = int(time.time()) + 100
    token = Issuer.of(algorithm, algorithm).token(organization_ids=["acme", "umbrella"], exp=exp)
    assert await authenticate_jwt(token, keys, RULES) == Identity(
        "ada", dict.fromkeys(["acme", "umbrella"], GRANTED), exp + 30
    )


async def test_token_of_the_shared_secret_is_taken(keys: Keys) -> None:
    assert (await authenticate_jwt(secret_token(sub="bob"), keys, RULES)).user_id == "bob"


@pytest.mark.parametrize(
    ("changes", "grants"),
    [
        ({"scope": "content:read other:thing"}, {"acme": {Permission.CONTENT_READ}}),
        ({"scope": ["content:read", "draft:write"]}, {"acme": {Permission.CONTENT_READ, Permission.DRAFT_WRITE}}),
        ({"scope": None}, {"acme": set()}),
        ({"scope": "Content:Read content:read:all"}, {"acme": set()}),
        ({"organization_ids": None}, {}),
        ({"organization_ids": []}, {}),
        ({"organization_ids": "acme"}, {"acme": GRANTED}),
        ({"organization_ids": {"a": "draft:write", "b": ["x"]}}, {"a": {"draft:write"}, "b": set()}),
    ],
)  # fmt: skip
async def test_scopes_hold_in_the_tenants_of_the_token(keys: Keys, changes: Any, grants: Any) -> None:
    assert (await authenticate_jwt(ISSUER.token(**changes), keys, RULES)).grants == grants


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", "draftline"]},
        {"exp": In(-20)},  # the clock of the issuer may be off by half a minute
        {"iat": In(20), "nbf": In(20)},
        {"iat": In(-3000), "exp": In(600)},
        {"iat": In(-0.5), "exp": In(60.5)},
        {"unknown": {"nested": [1, 2]}},
    ],
)
async def test_token_within_the_rules_is_taken(keys: Keys, changes: dict[str, Any]) -> None:
    assert (await authenticate_jwt(ISSUER.token(**changes), keys, RULES)).user_id == "ada"


@pytest.mark.parametrize("exp", [In(-40), In(-1e6), 0, -1, 1, True])
async def test_expired_token_is_told_from_others(keys: Keys, exp: int) -> None:
    assert (await refusal(ISSUER.token(exp=exp, iat=0), keys)).expired


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iss", "aud", "sub", "exp", "iat")),
        *({"iss": value} for value in ("", "https://issuer.example/", ["https://issuer.example"], 7)),
        *({"aud": value} for value in ("", [], "draftlin", ["other"], {"draftline": 1}, [["draftline"]], 7)),
        *({"sub": value} for value in ("", " \n", "x" * 129, 7, ["ada"], True, "service:billing", "a\u0000b")),
        *({"exp": value} for value in ("4000000000", [4_000_000_000], float("nan"), float("inf"), "soon", {})),
        *({"iat": value} for value in ("1700000000", True, In(60), float("inf"), "x")),
        *({"nbf": value} for value in (In(60), "x", [], float("inf"))),
        {"exp": In(3601)},
        {"exp": In(10 * 365 * 86400)},
        {"iat": In(-3600), "exp": In(60)},
        {"iat": 0, "exp": In(60)},
        {"jti": 7},
        *({"organization_ids": value} for value in (7, [7], [["acme"]], [""], ["x" * 129], {"acme": 7}, {"": "x"})),
        *({"scope": value} for value in (7, [7], {"content:read": True})),
    ],
    ids=repr,
)
async def test_token_against_a_rule_is_refused(keys: Keys, changes: dict[str, Any]) -> None:
    assert not (await refusal(ISSUER.token(**changes), keys)).expired


async def test_unsigned_token_is_refused(keys: Keys) -> None:
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, [], "RS256", "HS256"):
        for header in ({"alg": algorithm}, {"alg": algorithm, "kid": ISSUER.key_id}):
            for signature in ("", "AAAA"):
                await refusal(unsigned(header, ISSUER.claims(), signature), keys)
    await refusal(unsigned({"kid": ISSUER.key_id}, ISSUER.claims()), keys)


async def test_public_key_is_no_secret_to_sign_with(keys: Keys, tmp_path: Path) -> None:
    public = ISSUER.key.public_key()
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(ISSUER.jwk()).encode(),
        ISSUER.jwk()["n"].encode(),
        base64.urlsafe_b64decode(ISSUER.jwk()["n"] + "=="),
    ]
    without_secret = await keys_of(tmp_path, ISSUER)
    for secret in forms:
        forged = hmac_token(secret, ISSUER.key_id)
        for known in (keys, without_secret):
            assert not (await refusal(forged, known)).expired
    await without_secret.close()
    # Nor does it become one by being put into its file.
    for secret in forms[:5]:
        with pytest.raises(ValueError, match="the shared secret cannot be used"):
            await keys_of(tmp_path, secret=secret)


def hmac_token(secret: bytes, key_id: str) -> str:
    """Signed by hand: PyJWT would refuse to use such a secret."""
    signer = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    text = unsigned({"alg": "HS256", "kid": key_id}, ISSUER.claims())[:-1]
    return f"{text}.{base64.urlsafe_b64encode(signer.sign(text.encode(), secret)).decode().rstrip('=')}"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_key_is_good_for_its_own_algorithm_alone(keys: Keys, algorithm: str) -> None:
    await refusal(Issuer(ISSUER.key_id, algorithm, ISSUER.key).token(), keys)
    await refusal(Issuer("PS256", "RS256", Issuer.of("PS256", "PS256").key).token(), keys)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_secret_is_good_for_its_own_algorithm_alone(keys: Keys, algorithm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is too short for them
        token = jwt.encode(ISSUER.claims(), SECRET, algorithm=algorithm)
    await refusal(token, keys)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"kid": "first"},
        {"kid": "../../dev/null"},
        {"kid": "first' OR '1'='1"},
        {"jwk": STRANGER.jwk()},
        {"kid": "first", "jwk": STRANGER.jwk(kid="first")},
        {"kid": "first", "jku": "http://127.0.0.1:1/jwks.json", "x5u": "http://127.0.0.1:1/x", "x5c": ["AAAA"]},
    ],
    ids=",".join,
)
async def test_token_of_a_stranger_is_refused_whatever_it_says_of_its_key(keys: Keys, headers: dict[str, Any]) -> None:
    await refusal(STRANGER.token(headers), keys)


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"crit": []},
        {"crit": "b64"},
        {"crit": None},
        {"b64": False},
        {"kid": 7},
        {"kid": None},
        {"kid": ["first"]},
        {"kid": "unknown"},
        {"kid": ""},
    ],
    ids=repr,
)
async def test_header_that_is_not_understood_is_refused(keys: Keys, header: dict[str, Any]) -> None:
    token = ISSUER.token()
    text = unsigned({"alg": "RS256", "typ": "JWT", "kid": "first", **header}, ISSUER.claims())[:-1]
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(text.encode(), ISSUER.key)
    signed = f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert (await authenticate_jwt(token, keys, RULES)).user_id == "ada"
    await refusal(signed, keys)


async def test_changed_token_is_refused(keys: Keys) -> None:
    header, claims, signature = ISSUER.token().split(".")
    other_claims = ISSUER.token(sub="bob").split(".")[1]
    middle = len(signature) // 2
    changed = signature[:middle] + ("A" if signature[middle] != "A" else "B") + signature[middle + 1 :]
    for parts in (
        [header, other_claims, signature],
        [header, claims, changed],
        [header, claims, ""],
        [header, claims],
        [header, claims, signature, signature],
        [header, claims, signature + "="],
        [header, claims, signature[:-1]],
        ["", claims, signature],
        [header, "", signature],
        [claims, header, signature],
    ):
        await refusal(".".join(parts), keys)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "draftline_x", "é.é.é", "\u0000", "A" * 8192, "." * 8192, f"{'A' * 8188}..A"],
    ids=lambda token: token[:12],
)
async def test_garbage_is_refused(keys: Keys, token: str) -> None:
    await refusal(token, keys)


async def test_deep_json_is_refused(keys: Keys) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 3000 + b"]" * 3000).decode().rstrip("=")
    await refusal(f"{deep}.{deep}.AAAA", keys)
    await refusal(f"{ISSUER.token().split('.')[0]}.{deep}.AAAA", keys)


@given(parts=st.lists(st.binary(max_size=60) | st.from_regex(rb"\{.{0,40}\}"), min_size=1, max_size=4))
async def test_any_bytes_are_refused(parts: list[bytes]) -> None:
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    await refusal(token, Keys(KeyOptions()))


def test_development_token_keeps_the_rules() -> None:
    def make(**changes: Any) -> str:
        wanted = {"user": "ada", "tenants": ["acme"], "scopes": ["content:read"], "lifetime_s": 60}
        return development_token(SECRET, RULES, **{**wanted, **changes})

    refused: list[Callable[[], str]] = [
        lambda: make(lifetime_s=0),
        lambda: make(lifetime_s=3601),
        lambda: make(user=""),
        lambda: make(tenants=[""]),
    ]
    for each in refused:
        with pytest.raises(ValueError, match=r"\w"):
            each()
    assert make().count(".") == 2


async def test_development_token_is_taken(keys: Keys) -> None:
    token = development_token(
        SECRET + b"\n", RULES, user="ada", tenants=["acme"], scopes=["content:read"], lifetime_s=60
    )
    identity = await authenticate_jwt(token, keys, RULES)
    assert (identity.user_id, identity.grants) == ("ada", {"acme": {Permission.CONTENT_READ}})
