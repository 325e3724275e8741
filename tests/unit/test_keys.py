"""Keys are loaded from files and URLs, and reloaded while the service runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from draftline_server.auth import keys as keys_module
from draftline_server.auth.identity import Identity
from draftline_server.auth.keys import (
    KeyOptions,
    Keys,
    digest_of,
    new_service_key,
    public_keys,
    secret_key,
    service_keys,
)
from draftline_server.auth.permissions import Permission
from draftline_server.cli import main
from draftline_server.domain.errors import PermissionDeniedError
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from support.log_capture import logged
from support.polling import eventually
from support.tokens import SECRET, Issuer, is_taken, key_set, keys_of, secret_token

FIRST = Issuer.of()
SECOND = Issuer.of("second")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "FILE_INTERVAL_S", 0.01)


def replaced(path: Path, content: bytes) -> None:
    """Replace a file as tools do that change files of a running service."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


async def test_keys_of_a_file_are_those_that_are_in_it_now(tmp_path: Path) -> None:
    keys = await keys_of(tmp_path, FIRST)
    path = tmp_path / "jwks.json"
    assert [await is_taken(each.token(), keys) for each in (FIRST, SECOND)] == [True, False]
    replaced(path, key_set(FIRST, SECOND))
    await eventually(lambda: is_taken(SECOND.token(), keys))
    assert await is_taken(FIRST.token(), keys)
    version = keys.version
    replaced(path, key_set(SECOND))
    await eventually(lambda: keys.version > version)
    assert [await is_taken(each.token(), keys) for each in (FIRST, SECOND)] == [False, True]
    await keys.close()


@pytest.mark.parametrize("bad", [b"", b"{", b'{"keys": []}', b"[" * 100_000, b"\xff", None])
async def test_file_that_went_bad_leaves_the_keys_as_they_were(tmp_path: Path, bad: bytes | None) -> None:
    keys = await keys_of(tmp_path, FIRST)
    path = tmp_path / "jwks.json"
    with logged() as logs:
        if bad is None:
            path.unlink()
        else:
            replaced(path, bad)
        await eventually(lambda: [each for each in logs if each["event"] == "reload_failed"])
        assert await is_taken(FIRST.token(), keys)
        replaced(path, key_set(SECOND))
        await eventually(lambda: is_taken(SECOND.token(), keys))
    warnings = [each for each in logs if each["event"] == "reload_failed"]
    assert [(each["log_level"], each["source"], each["in_use"]) for each in warnings] == [
        ("warning", "the JWK set", "previous")
    ]
    assert str(tmp_path) not in str(logs)
    await keys.close()


async def test_shared_secret_is_the_one_that_is_in_the_file_now(tmp_path: Path) -> None:
    keys = await keys_of(tmp_path, secret=SECRET + b"\r\n")
    other = b"another secret that is long enough to sign with"
    assert [await is_taken(secret_token(each), keys) for each in (SECRET, other)] == [True, False]
    replaced(tmp_path / "secret", other)
    await eventually(lambda: is_taken(secret_token(other), keys))
    assert not await is_taken(secret_token(SECRET), keys)
    await keys.close()


@pytest.mark.parametrize("size", [0, 1, 8, 31])
async def test_short_secret_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"has {size} bytes; a secret needs at least 32"):
        await keys_of(tmp_path, secret=b"x" * size + b"\n")
    assert secret_key(b"x" * 32).algorithm_name == "HS256"


@pytest.mark.parametrize("around", [b"", b"\n", b"\r\n", b"\n\n", b" \t\n", b"\x0b\x0c"])
def test_white_space_around_a_secret_is_no_part_of_it(around: bytes) -> None:
    secret = b"a secret with spaces, longer than 32 bytes"
    assert secret_key(around + secret + around).key == secret_key(secret).key


@given(st.binary(min_size=32, max_size=64))
def test_secret_is_taken_as_text_or_refused_never_cut_by_chance(secret: bytes) -> None:
    try:
        expected = secret.decode().strip().encode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="is not UTF-8 text"):
            secret_key(secret)
        return
    if len(expected) < 32:
        with pytest.raises(ValueError, match="a secret needs at least 32"):
            secret_key(secret)
    else:
        assert secret_key(secret).key == expected


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\x0a\x0d"])
def test_bytes_at_random_are_refused_whatever_they_end_with(end: bytes) -> None:
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        secret_key(b"\xff" * 32 + end)


async def test_file_that_is_missing_is_refused_by_its_kind(tmp_path: Path) -> None:
    for options, name in (
        (KeyOptions(jwks=str(tmp_path / "none")), "the JWK set"),
        (KeyOptions(secret=tmp_path / "none"), "the shared secret"),
        (KeyOptions(service_keys=tmp_path / "none"), "the service keys"),
    ):
        with pytest.raises(ValueError, match=f"^{name} cannot be used: No such file or directory$"):
            await Keys(options).start()


@pytest.mark.parametrize(
    "unusable",
    [
        FIRST.jwk(kid=None),
        FIRST.jwk(kid=7),
        FIRST.jwk(use="enc"),
        FIRST.jwk(key_ops=["encrypt"]),
        FIRST.jwk(key_ops=7),
        FIRST.jwk(alg="none"),
        FIRST.jwk(alg="HS256"),
        FIRST.jwk(alg=["RS256"]),
        FIRST.jwk(kty="oct"),
        FIRST.jwk(kty=None),
        FIRST.jwk(n="AA"),
        FIRST.jwk(n=7),
        Issuer.of("short", size=1024).jwk(),
        {"kty": "oct", "kid": "first", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"},
        {**RSAAlgorithm.to_jwk(FIRST.key, as_dict=True), "kid": "first"},
        {},
    ],
    # Without the numbers of the keys, which are others in every run.
    ids=lambda key: ",".join(name if len(str(value)) > 12 else f"{name}={value}" for name, value in key.items()),
)
def test_key_that_cannot_verify_is_left_out(unusable: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="contains no public key"):
        public_keys(key_set(unusable))
    assert [*public_keys(key_set(unusable, SECOND))] == [("second", "RS256")]


@pytest.mark.parametrize(
    ("issuer", "algorithm"),
    [(FIRST, "RS256"), (Issuer.of("e", "ES256"), "ES256"), (Issuer.of("e3", "ES384"), "ES384"),
     (Issuer.of("d", "EdDSA"), "EdDSA")],
)  # fmt: skip
def test_key_that_names_no_algorithm_is_good_for_the_usual_one(issuer: Issuer, algorithm: str) -> None:
    assert [*public_keys(key_set(issuer.jwk(alg=None, use=None, key_ops=None)))] == [(issuer.key_id, algorithm)]


# Service keys


def test_service_key_is_kept_as_a_hash() -> None:
    key, entry = new_service_key("billing", ["acme"], ["content:read"])
    assert key not in entry
    assert key.removeprefix("draftline_") not in entry
    assert json.loads(entry)["sha256"] == digest_of(key)
    assert keys_module.SERVICE_KEY.fullmatch(key)
    assert new_service_key("billing", ["acme"], ["content:read"])[0] != key


async def test_services_are_known_by_any_of_their_keys_until_it_is_taken_out(tmp_path: Path) -> None:
    made = [new_service_key("billing", ["acme"], ["content:read"]) for _ in range(3)]
    keys = await keys_of(tmp_path, entries=[entry for _, entry in made[:2]])
    found = [keys.service(key) for key, _ in made]
    assert [each.user_id if each else None for each in found] == ["service:billing", "service:billing", None]
    assert found[0].grants == {"acme": {Permission.CONTENT_READ}}
    replaced(tmp_path / "keys.json", f'{{"keys": [{made[1][1]}, {made[2][1]}]}}'.encode())
    await eventually(lambda: keys.service(made[2][0]))
    assert [keys.service(key) is not None for key, _ in made] == [False, True, True]
    await keys.close()


def test_each_tenant_of_a_service_may_have_scopes_of_its_own() -> None:
    entry = {"name": "x", "sha256": "0" * 64, "tenants": {"acme": ["content:read"], "umbrella": []}}
    (key,) = service_keys(json.dumps({"keys": [entry]}).encode())
    assert key.grants == {"acme": {Permission.CONTENT_READ}, "umbrella": frozenset()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"sha256": "draftline_key"}, "sha256"),
        ({"sha256": None}, "sha256"),
        ({"scopes": ["content:reed"]}, "scopes"),
        ({"tenants": ["x" * 129]}, "128"),
        ({"tenants": "acme"}, "tenants"),
        ({"tenant": "acme"}, "tenant"),
    ],
)
def test_entry_that_cannot_be_meant_is_refused(change: dict[str, Any], told: str) -> None:
    entry = {"name": "billing", "sha256": "0" * 64, "tenants": ["acme"], "scopes": ["content:read"], **change}
    with pytest.raises(ValueError, match=told):
        service_keys(json.dumps({"keys": [entry]}).encode())


async def test_key_set_with_private_parts_is_not_read(tmp_path: Path) -> None:
    pem = FIRST.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(ValueError, match="the JWK set cannot be used"):
        await Keys(KeyOptions(jwks=str(tmp_path / "key.pem"))).start()
    assert os.listdir(tmp_path) == ["key.pem"]


def test_service_key_for_all_tenants_grants_its_scopes_everywhere() -> None:
    _, entry = new_service_key("backup", [], ["content:read"], all_tenants=True)
    (key,) = service_keys(f'{{"keys": [{entry}]}}'.encode())
    caller = Identity(key.user_id, key.grants)
    for tenant_id in ("acme", "of-the-future"):
        assert caller.actor(tenant_id, frozenset({Permission.CONTENT_READ})).tenant_id == tenant_id
        assert caller.may_read(tenant_id)
        with pytest.raises(PermissionDeniedError, match="content:write"):
            caller.actor(tenant_id, frozenset({Permission.CONTENT_WRITE}))
    assert caller.counted_as("peer") == "\0service:backup"  # of no tenant until the request names one


def test_service_key_has_no_tenants_unless_it_says_so() -> None:
    _, entry = new_service_key("idle", [], ["content:read"])
    (key,) = service_keys(f'{{"keys": [{entry}]}}'.encode())
    with pytest.raises(PermissionDeniedError, match="no access"):
        Identity(key.user_id, key.grants).actor("acme", frozenset())
    with pytest.raises(ValueError, match="either tenants or all_tenants"):
        new_service_key("both", ["acme"], ["content:read"], all_tenants=True)


def test_command_makes_a_key_for_all_tenants_only_if_it_is_asked_to() -> None:
    asked = CliRunner().invoke(main, ["service-key", "backup", "--all-tenants", "--scope", "content:read", "--json"])
    assert json.loads(asked.stdout)["entry"]["all_tenants"] is True
    for wrong in ([], ["--all-tenants", "--tenant", "acme"]):
        refused = CliRunner().invoke(main, ["service-key", "backup", *wrong])
        assert (refused.exit_code, "either --tenant or --all-tenants" in refused.stderr) == (2, True)
